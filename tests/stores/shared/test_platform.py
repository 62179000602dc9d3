"""A system without POSIX file locks, such as Windows: all but SharedStore and metrics works."""

import subprocess
import sys

WITHOUT_LOCKS = """
import sys
sys.modules["fcntl"] = None  # what `import fcntl` meets on Windows
import litserve as ls
from litcache import MemoryStore, SharedStore, cached_predict
from litcache.errors import StoreError
from litcache.testing import APIRunner

class API(ls.LitAPI):
    @cached_predict(store=MemoryStore("1 MiB"))
    def predict(self, request):
        return request["x"] * 2

with APIRunner(API()) as runner:
    assert [runner.run({"x": 2}) for _ in range(2)] == [4, 4]
    assert runner.model_batches == [1]
try:
    SharedStore("cache")
except StoreError as error:
    print(error)
"""


def test_without_file_locks_all_else_works_and_the_shared_store_says_why_it_does_not(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_LOCKS], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    last = done.stdout.splitlines()[-1]
    assert last.startswith("SharedStore: it needs POSIX file locks")
    assert "RedisStore" in last
