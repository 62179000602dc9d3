import os
import socket
import tracemalloc
from pathlib import Path

import litserve as ls
import pytest
from blake3 import blake3
from support.loops import running

from litcache import CachedBatchedLoop, cached_predict, contents
from litcache.testing import APIRunner


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 2**20 - 1, 2**20, 2**20 + 1, 3 * 2**20])
def test_contents_is_the_digest_of_the_whole_file(size, tmp_path):
    data = os.urandom(size)
    file = tmp_path / "file"
    file.write_bytes(data)
    assert contents(file) == blake3(data).hexdigest()


def test_a_file_is_named_by_text_bytes_or_path(tmp_path, monkeypatch):
    (tmp_path / "a.wav").write_bytes(b"sound")
    (tmp_path / "link.wav").symlink_to(tmp_path / "a.wav")
    monkeypatch.chdir(tmp_path)
    named = [tmp_path / "a.wav", str(tmp_path / "a.wav"), os.fsencode(tmp_path / "a.wav"), "a.wav",
             Path("a.wav"), "link.wav"]  # fmt: skip
    assert {contents(path) for path in named} == {blake3(b"sound").hexdigest()}


def test_a_changed_file_of_equal_size_and_times_has_other_contents(tmp_path):
    file = tmp_path / "a.wav"
    file.write_bytes(b"one")
    status = file.stat()
    before = contents(file)
    file.write_bytes(b"two")
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert file.stat().st_mtime_ns == status.st_mtime_ns
    assert contents(file) != before


def test_a_big_file_is_read_in_bounded_memory(tmp_path):
    file = tmp_path / "big"
    with file.open("wb") as big:
        big.truncate(64 << 20)
    tracemalloc.start()
    contents(file)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 3 << 20


def test_a_file_that_says_that_it_is_empty_is_read_to_its_end():
    status = Path("/proc/self/status")
    if not status.exists():
        pytest.skip("there is no /proc")
    assert contents(status) != blake3(b"").hexdigest()


@pytest.mark.parametrize(
    ("path", "error", "words"),
    [
        ("missing.wav", FileNotFoundError, "finds no file there.*missing.wav"),
        ("", FileNotFoundError, "finds no file there"),
        ("https://example.org/a.wav", FileNotFoundError, "behind a URL, read in decode_request"),
        (".", IsADirectoryError, "not a folder"),
        ("pipe", OSError, "not a pipe or device"),
        ("socket", OSError, "not a pipe or device"),
        ("a\0b", ValueError, "null"),
        (0, TypeError, r"contents\(0\) takes the path of a file"),
        (None, TypeError, "not NoneType"),
        ({"path": "a"}, TypeError, "not dict"),
    ],
)
def test_what_is_no_file_raises_and_says_why(path, error, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind("socket")
        with pytest.raises(error, match=words):
            contents(path)


# ---------------------------------------------------------------------- as a key


def api_of(key, *, lists=False, **arguments):
    class API(ls.LitAPI):
        @cached_predict(key=key, items="list" if lists else "request")
        def predict(self, item):
            if lists or self.max_batch_size > 1:
                return [self.read(each) for each in item]
            return self.read(item)

        def read(self, item):
            path = item["path"] if isinstance(item, dict) else item
            return Path(path).read_text() if Path(path).exists() else "nothing"

    return API(**arguments)


LOOPS = {
    "single": {},
    "batched": {"max_batch_size": 4},
    "cached": {"max_batch_size": 4, "batch_timeout": 0},
    "overlap": {"max_batch_size": 4, "batch_timeout": 0},
}


@pytest.mark.parametrize("name", LOOPS)
def test_items_are_equal_if_their_files_are(name, tmp_path):
    arguments = dict(LOOPS[name])
    if "batch_timeout" in arguments:
        arguments["loop"] = CachedBatchedLoop(overlap=name == "overlap")
    api = api_of(contents, **arguments)
    one, other = tmp_path / "one.txt", tmp_path / "other.txt"
    one.write_text("cat")
    other.write_text("cat")
    with running(api) as driven:
        assert driven.get(str(one)) == driven.get(str(other)) == ["cat"]
        one.write_text("dog")
        assert driven.get(str(one)) == driven.get(str(one)) == ["dog"]
        info = api.predict.cache.info()
    assert (info.hits, info.misses, info.uncacheable) == (2, 2, 0)


def test_the_rest_of_an_item_is_in_the_key_beside_its_file(tmp_path):
    file = tmp_path / "a.txt"
    file.write_text("cat")
    api = api_of(lambda item: (contents(item["path"]), item["language"]))
    with APIRunner(api) as runner:
        for language in ("en", "de", "en"):
            assert runner.run({"path": str(file), "language": language}) == "cat"
        assert runner.model_batches == [1, 1]


def test_elements_of_lists_are_equal_if_their_files_are(tmp_path):
    paths = []
    for name, text in (("a", "cat"), ("b", "dog"), ("c", "cat")):
        (tmp_path / name).write_text(text)
        paths.append(str(tmp_path / name))
    with APIRunner(api_of(contents, lists=True)) as runner:
        assert runner.run(paths) == ["cat", "dog", "cat"]
        assert runner.model_batches == [2]


def test_an_item_without_contents_is_answered_uncached_and_warned_of_once(tmp_path, caplog):
    api = api_of(contents)
    with APIRunner(api) as runner:
        for _ in range(2):
            assert runner.run(str(tmp_path / "missing.wav")) == "nothing"
        assert api.predict.cache.info().uncacheable == 2
    (warning,) = [r.message for r in caplog.records if "contents()" in r.message]
    assert "an item has no key and goes uncached" in warning
    assert "missing.wav" in warning
