"""What the suite promises: tests stand alone, and run as well in the background of a script."""

import ast
import signal
import subprocess
import sys

import pytest
from support.servers import ROOT, interruptible

TESTS = ROOT / "tests"


def modules(node):
    """The modules that an import names."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return ["." * node.level + (node.module or "")]
    return []


@pytest.mark.parametrize("path", sorted(TESTS.rglob("*.py")), ids=lambda p: p.stem)
def test_no_test_imports_another(path):
    folders = {folder.name for folder in TESTS.iterdir() if folder.is_dir()}
    # Beside the helpers, programs that tests run and that a person can run by hand.
    own = folders - {"support", "fuzz", "conformance", "census", "soak"} - sys.stdlib_module_names
    for node in ast.walk(ast.parse(path.read_text())):
        for module in modules(node):
            first = module.split(".")[0]
            assert first not in {"", "tests", *own}, f"{path}:{node.lineno}"
            assert not first.startswith("test_"), f"{path}:{node.lineno}"


def test_parameters_are_in_an_order_that_no_hash_decides():
    """The processes that share the tests must find the same ones: no set, whose order is random."""
    for path in sorted(TESTS.rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.Call) and ast.unparse(node.func).endswith("parametrize")):
                continue
            for argument in node.args[1:]:
                of_keys = isinstance(argument, ast.BinOp) and "keys()" in ast.unparse(argument)
                is_set = isinstance(argument, ast.Set | ast.SetComp) or of_keys
                assert not is_set, f"{path}:{node.lineno}: use a list"


def test_a_process_can_be_interrupted_though_the_tests_run_in_the_background():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as a shell does for such a job
    code = "import signal; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
    try:
        with interruptible():
            child = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    assert child.stdout.strip() == b"True"


def test_files_of_the_user_in_the_clone_are_not_linted(tmp_path):
    ruff = pytest.importorskip("ruff").find_ruff_bin()
    (tmp_path / "pyproject.toml").write_bytes((ROOT / "pyproject.toml").read_bytes())
    (tmp_path / "server.py").write_text("import os,sys")
    (tmp_path / "litcache").mkdir()
    (tmp_path / "litcache" / "ours.py").touch()
    shown = subprocess.run(
        [ruff, "check", "--show-files", "."], cwd=tmp_path, capture_output=True, text=True
    ).stdout
    assert {line.rpartition("/")[2] for line in shown.splitlines()} == {"ours.py", "pyproject.toml"}
