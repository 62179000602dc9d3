"""Items and outputs that name files, through LitServe's loops."""

import asyncio
import os
from pathlib import Path

import litserve as ls
import pytest
from support.loops import running

from litcache import CachedBatchedLoop, ValueEncodingError, cached_predict, contents
from litcache.testing import APIRunner, strict


def warnings_of(caplog, words):
    return [record.message for record in caplog.records if words in record.message]


def reader(**options):
    """An API whose items name files, and which answers what is in them."""

    class API(ls.LitAPI):
        @cached_predict(**options)
        def predict(self, item):
            many = self.max_batch_size > 1 or options.get("items") == "list"
            return [self.read(each) for each in item] if many else self.read(item)

        def read(self, item):
            path = item["path"] if isinstance(item, dict) else item
            return Path(path).read_text() if os.path.exists(path) else f"no {path}"

    return API


def writer(folder, *, is_async=False):
    """An API that answers the name of a new file, which `encode_response` reads and deletes."""

    class API(ls.LitAPI):
        written = 0

        @cached_predict
        def predict(self, item):
            if self.max_batch_size > 1:
                return [self.write(each) for each in item]
            return self.write(item)

        def write(self, item):
            self.written += 1
            path = folder / f"{self.written}.txt"
            path.write_text(item.upper())
            return {"audio": str(path), "seconds": 3} if item != "plain" else {"audio": "none"}

        def encode_response(self, output):
            if output["audio"] == "none":
                return "none"
            text = Path(output["audio"]).read_text()
            os.unlink(output["audio"])
            return text

    class AsyncAPI(API):
        async def decode_request(self, request):
            return request

        @cached_predict
        async def predict(self, item):
            await asyncio.sleep(0)
            return self.write(item)

        async def encode_response(self, output):
            return super().encode_response(output)

    return AsyncAPI if is_async else API


def loops():
    return {
        "single": {},
        "batched": {"max_batch_size": 4},
        "cached": {"max_batch_size": 4, "batch_timeout": 0, "loop": CachedBatchedLoop()},
        "overlap": {
            "max_batch_size": 4, "batch_timeout": 0, "loop": CachedBatchedLoop(overlap=True),
        },
    }  # fmt: skip


LOOPS = sorted(loops())


# ---------------------------------------------------------------------- items


@pytest.mark.parametrize("name", LOOPS)
def test_an_item_that_names_a_file_is_warned_of_once_and_cached_by_its_name(name, tmp_path, caplog):
    file = tmp_path / "a.txt"
    file.write_text("cat")
    request = {"path": str(file), "language": "en"}
    with running(reader()(**loops()[name])) as driven:
        assert (
            driven.get("just a text", request, request, dict(request, language="de"))[1:]
            == ["cat"] * 3
        )
    (warning,) = warnings_of(caplog, "an item names a file")
    assert "API.predict" in warning
    assert repr(str(file)) in warning
    assert "$.path" in warning
    assert "key=contents" in warning


def test_elements_of_lists_are_looked_at(tmp_path, caplog):
    (tmp_path / "a.txt").write_text("cat")
    with APIRunner(reader(items="list")()) as runner:
        assert runner.run(["missing", str(tmp_path / "a.txt")]) == ["no missing", "cat"]
    assert len(warnings_of(caplog, "an item names a file")) == 1


@pytest.mark.parametrize("options", [{"key": contents}, {"bypass_if": lambda item: True}])
def test_items_that_are_not_keyed_by_their_names_are_not_warned_of(options, tmp_path, caplog):
    (tmp_path / "a.txt").write_text("cat")
    with APIRunner(reader(**options)()) as runner:
        assert runner.run(str(tmp_path / "a.txt")) == "cat"
    assert warnings_of(caplog, "names a file") == []


def test_hits_and_texts_that_name_no_file_are_not_warned_of(tmp_path, caplog, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with APIRunner(reader()()) as runner:
        for text in ("a.txt", "./a.txt", "read a.txt, please"):
            assert runner.run(text) == f"no {text}"
            (tmp_path / "a.txt").write_text("cat")  # now there is one, but these hit
            assert runner.run(text) == f"no {text}"
            (tmp_path / "a.txt").unlink()
    assert warnings_of(caplog, "names a file") == []


def test_after_the_first_misses_a_sample_of_the_items_is_looked_at(tmp_path, caplog, monkeypatch):
    asked = []
    isfile = os.path.isfile
    monkeypatch.setattr(os.path, "isfile", lambda path: asked.append(path) or isfile(path))
    api = reader(items="list")()
    asked_of = {}
    with APIRunner(api) as runner:
        for start in range(0, 1280, 10):
            asked.clear()
            runner.run([f"./{number}" for number in range(start, start + 10)])
            asked_of[start] = len([path for path in asked if path.startswith("./")])
        assert sum(asked_of[start] for start in range(0, 250, 10)) == 250
        later = [asked_of[start] for start in range(260, 1280, 10)]
        assert set(later) == {0, 1}
        assert sum(later) == pytest.approx(len(later) * 10 / 64, abs=1)

        (tmp_path / "a.txt").write_text("cat")
        runner.run([{"path": str(tmp_path / "a.txt"), "n": number} for number in range(64)])
    assert len(warnings_of(caplog, "an item names a file")) == 1


# ---------------------------------------------------------------------- outputs


@pytest.mark.parametrize("name", [*LOOPS, "async"])
def test_an_output_that_names_a_file_is_answered_anew_and_warned_of_once(name, tmp_path, caplog):
    if name == "async":
        api = writer(tmp_path, is_async=True)(enable_async=True)
    else:
        api = writer(tmp_path)(**loops()[name])
    with running(api) as driven:
        for _ in range(3):
            assert driven.get("a") == ["A"]
        assert driven.get("plain") == driven.get("plain") == ["none"]
        info = api.predict.cache.info()
    assert api.written == 4
    assert (info.uncacheable, info.misses, info.hits, info.entries) == (3, 1, 1, 1)
    (warning,) = warnings_of(caplog, "it names the file")
    assert "an output cannot be stored and goes uncached" in warning
    assert "return what is in the file (at $.audio, of type str)" in warning


@pytest.mark.parametrize("name", ["batched", "cached"])
def test_equal_items_do_not_share_a_file(name, tmp_path):
    api = writer(tmp_path)(**loops()[name])
    with running(api) as driven:
        assert driven.get("a", "a", "a") == ["A", "A", "A"]
    assert api.written == 3


def test_the_warning_of_a_file_comes_beside_that_of_another_output(tmp_path, caplog):
    class API(ls.LitAPI):
        @cached_predict
        def predict(self, item):
            return object() if item == "object" else tmp_path / "a.txt"

        def encode_response(self, output):
            return None

    (tmp_path / "a.txt").write_text("cat")
    with APIRunner(API()) as runner:
        runner.run("object")
        runner.run("file")
        with strict(), pytest.raises(ValueEncodingError) as caught:
            runner.run("file")
    assert caught.value.path == "$"
    assert len(warnings_of(caplog, "cannot be stored")) == 2


def test_a_row_that_names_a_file_is_not_stored_and_the_others_are(tmp_path):
    (tmp_path / "a").write_text("cat")

    class API(ls.LitAPI):
        @cached_predict(items="list")
        def predict(self, items):
            return {"file": [str(tmp_path / item) for item in items], "n": [1] * len(items)}

    api = API()
    with APIRunner(api) as runner:
        for _ in range(2):
            files = runner.run(["a", "missing"])["file"]
            assert files == [str(tmp_path / "a"), str(tmp_path / "missing")]
        assert runner.model_batches == [2, 1]
    assert api.predict.cache.info().uncacheable == 2


def test_a_context_entry_that_names_a_file_is_not_stored(tmp_path, caplog):
    class API(ls.LitAPI):
        written = 0

        @cached_predict
        def predict(self, item, context):
            self.written += 1
            context["audio"] = tmp_path / f"{self.written}"
            context["audio"].write_text(item)
            return "done"

        def encode_response(self, output, context):
            context["audio"].unlink()
            return output

    api = API()
    with APIRunner(api) as runner:
        assert [runner.run("a"), runner.run("a")] == ["done", "done"]
    assert api.written == 2
    assert "$context.audio" in warnings_of(caplog, "it names the file")[0]


def test_a_decoded_item_that_names_an_upload_on_disk_is_not_stored(tmp_path):
    class API(ls.LitAPI):
        decoded = 0

        @cached_predict
        def decode_request(self, request):
            self.decoded += 1
            path = tmp_path / f"upload-{self.decoded}"
            path.write_text(request)
            return str(path)

        def predict(self, path):
            text = Path(path).read_text()
            os.unlink(path)
            return text

    api = API()
    with APIRunner(api) as runner:
        assert [runner.run("a"), runner.run("a")] == ["a", "a"]
    assert api.decoded == 2


def test_an_output_that_names_a_file_cannot_be_warmed(tmp_path):
    (tmp_path / "a").write_text("cat")
    cache = reader()().predict.cache
    with pytest.raises(ValueEncodingError, match="it names the file"):
        cache.warm(["a"], [str(tmp_path / "a")])
    assert cache.info().entries == 0
