"""mypy and pyright both know what `cached_predict` takes and gives."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import get_type_hints

import pytest

from litcache import CachePolicy
from litcache.policy import CacheOptions

ROOT = Path(__file__).parents[2]
USES = Path(__file__).with_name("uses.py")

PYRIGHT = {
    "typeCheckingMode": "standard",
    "pythonVersion": "3.10",
    "reportUnnecessaryTypeIgnoreComment": "error",
    # LitServe's hooks take **kwargs, so pyright finds that no override of one fits, decorated or
    # not; and no descriptor fits over another that stands for a method of another class.
    "reportIncompatibleMethodOverride": "none",
    "reportIncompatibleVariableOverride": "none",
}
# Strict, but for what LitServe and code without annotations lack.
MYPY = [
    "--strict",
    "--python-version=3.10",
    "--allow-subclassing-any",
    "--allow-untyped-defs",
    "--allow-untyped-calls",
]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The uses, and the code of the README as one module."""
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = [part.partition("```")[0] for part in page.split("```python\n")[1:]]
    assert any("@cached_predict" in block for block in blocks)
    readme = tmp_path_factory.mktemp("typing") / "readme.py"
    readme.write_text("\n\n".join(blocks), encoding="utf-8")
    return [str(USES), str(readme)]


def check(*command):
    environment = {**os.environ, "MYPYPATH": str(ROOT), "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_mypy_accepts_what_is_right_and_nothing_else(files):
    check("mypy", *MYPY, *files)


def test_pyright_accepts_what_is_right_and_nothing_else(files, tmp_path):
    pytest.importorskip("pyright", reason="pyright is not installed")
    config = {**PYRIGHT, "include": files, "extraPaths": [str(ROOT)]}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(config))
    check("pyright", "--project", str(tmp_path), "--pythonpath", sys.executable)


def test_the_keywords_are_the_fields_of_the_policy():
    assert get_type_hints(CacheOptions) == get_type_hints(CachePolicy)
    assert list(get_type_hints(CacheOptions)) == list(get_type_hints(CachePolicy))
