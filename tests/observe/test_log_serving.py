"""What the processes of a real server write: each line once, as LitServe writes its own."""

import re

import pytest
from support.servers import ROOT, serve, wait_until

pytestmark = pytest.mark.e2e

# LitServe's format: time, process, logger, level, place, message.
LINE = re.compile(r"[\d-]+ [\d:,]+ - \S+\[\d+\] - litcache - (INFO|WARNING) - \S+ - (.*)")


@pytest.fixture(scope="module")
def lines(tmp_path_factory):
    """The lines of litcache, as level and message; its store is a folder that cannot be made."""
    file = tmp_path_factory.mktemp("folder") / "file"
    file.touch()
    environment = {"FOLDER": str(file / "store")}
    script = str(ROOT / "tests" / "support" / "log_server.py")
    with serve(script, environment=environment) as server:
        for text in ("a", "bb", "a"):
            server.post("/v1/embeddings", {"model": "m", "input": text})
        hit = "CacheMiddleware: hit rate 33.3 %, 1 hits, 2 misses"
        wait_until(lambda: hit in server.log, "the counters of the middleware", 30)
        written = server.log.splitlines()
    ours = [line for line in written if "litcache" in line or "caching under" in line]
    assert all(LINE.fullmatch(line) for line in ours), ours
    return [LINE.fullmatch(line).groups() for line in ours]


def test_every_line_comes_once(lines):
    assert len(set(lines)) == len(lines)


def test_a_worker_and_an_http_process_tell_what_they_cache(lines):
    worker, http = (
        [message for level, message in lines if f"{name}: caching under" in message]
        for name in ("EmbeddingAPI.predict", "CacheMiddleware")
    )
    assert [line.endswith("in SharedStore (1 GiB)") for line in worker] == [True]
    assert [line.endswith("in MemoryStore (128 MiB in each HTTP process)") for line in http] == [
        True
    ]


def test_counters_of_both_are_told_without_those_that_are_0(lines):
    counters = [message for _, message in lines if "misses" in message]
    assert any("EmbeddingAPI.predict: hit rate 0.0 %, 2 misses, " in line for line in counters)
    assert not [line for line in counters if re.search(r"(?<![\d.])0 \w", line)]


def test_a_folder_that_cannot_be_used_is_told_of_once(lines):
    (warning,) = [message for level, message in lines if level == "WARNING"]
    assert "Not a directory" in warning
