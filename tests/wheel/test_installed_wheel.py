"""Run against the installed wheel, in an environment with nothing but its dependencies."""

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import litserve as ls

import litcache
from litcache.testing import APIRunner


def test_the_installed_package_is_tested():
    assert Path(litcache.__file__).parts[-3] == "site-packages"
    assert importlib.metadata.version("litcache") == litcache.__version__
    assert (Path(litcache.__file__).parent / "py.typed").exists()


def test_a_cached_api_answers_from_its_cache():
    class API(ls.LitAPI):
        @litcache.cached_predict
        def predict(self, texts):
            return [text.upper() for text in texts]

    with APIRunner(API(max_batch_size=8)) as runner:
        assert runner.run_batch(["a", "b"]) == ["A", "B"]
        assert runner.run_batch(["b", "c", "a"]) == ["B", "C", "A"]
        assert runner.model_batches == [2, 1]


def test_numpy_and_torch_are_not_imported_by_the_package():
    code = "import litcache, sys; sys.exit('numpy' in sys.modules or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_pytest_plugin_is_there(api_runner):
    class API(ls.LitAPI):
        @litcache.cached_predict
        def predict(self, x):
            return x * 2

    runner = api_runner(API())
    assert [runner.run(2), runner.run(2)] == [4, 4]
    assert runner.model_batches == [1]
