"""mypy and pyright both know what `cached_predict` takes and gives."""

import json
import os
import shutil
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
    "--follow-imports=silent",  # make types looks at the package
    "--python-version=3.10",
    "--allow-subclassing-any",
    "--allow-untyped-defs",
    "--allow-untyped-calls",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder of the uses and of the README's code as modules, and no more."""
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = [part.partition("```")[0] for part in page.split("```python\n")[1:]]
    assert any("@cached_predict" in block for block in blocks)
    folder = tmp_path_factory.mktemp("typing")
    (folder / "readme.py").write_text("\n\n".join(blocks), encoding="utf-8")
    shutil.copy(USES, folder)
    return folder


def check(*command):
    environment = {**os.environ, "MYPYPATH": str(ROOT), "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"}
    return subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, env=environment, capture_output=True, text=True
    )


def test_mypy_accepts_what_is_right_and_nothing_else(folder):
    pytest.importorskip("mypy", reason="mypy is not installed")
    done = check("mypy", *MYPY, str(folder))
    assert done.stdout == "Success: no issues found in 2 source files\n", done.stdout + done.stderr


def test_pyright_accepts_what_is_right_and_nothing_else(folder):
    pytest.importorskip("pyright", reason="pyright is not installed")
    config = {**PYRIGHT, "extraPaths": [str(ROOT)]}
    (folder / "pyrightconfig.json").write_text(json.dumps(config))
    done = check(
        "pyright", "--project", str(folder), "--pythonpath", sys.executable, "--outputjson"
    )
    found = json.loads(done.stdout)
    assert found["generalDiagnostics"] == [], done.stdout
    assert found["summary"]["filesAnalyzed"] == 2


def test_the_keywords_are_the_fields_of_the_policy():
    assert get_type_hints(CacheOptions) == get_type_hints(CachePolicy)
    assert list(get_type_hints(CacheOptions)) == list(get_type_hints(CachePolicy))
