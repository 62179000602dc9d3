"""Files in items stay where they stand, whoever reads them for the sake of the cache."""

import atexit
import io
import tempfile
from dataclasses import dataclass

import litserve as ls
import pytest
from starlette.datastructures import FormData, UploadFile

from litcache import cached_predict
from litcache.keys.files import rewinding
from litcache.testing import APIRunner


def upload(data=b"pixels", **options):
    return UploadFile(io.BytesIO(data), filename="a.png", **options)


def reads(item, *others):
    """What a `key`, or a predicate, of an upload does."""
    return item["file"].file.read() != b""


@pytest.mark.parametrize("option", ["key", "bypass_if", "refresh_if", "store_if"])
def test_a_function_of_the_policy_leaves_an_upload_where_it_was(option):
    class API(ls.LitAPI):
        @cached_predict(**{option: reads})
        def decode_request(self, request):
            return request["file"].file.read()

        def predict(self, data):
            return len(data)

    with APIRunner(API()) as runner:
        for _ in range(2):
            assert runner.run({"file": upload()}) == 6
        form = FormData(file=upload())
        assert runner.run(form) == 6


def test_a_key_that_reads_an_upload_tells_contents_apart():
    class API(ls.LitAPI):
        @cached_predict(key=lambda request: request["file"].file.read())
        def decode_request(self, request):
            return request["file"].file.read().decode()

        def predict(self, text):
            return text.upper()

    api = API()
    with APIRunner(api) as runner:
        assert [runner.run({"file": upload(data)}) for data in (b"a", b"b", b"a")] == [
            "A",
            "B",
            "A",
        ]
    assert api.decode_request.cache.info().hits == 1


def spooled():
    file = tempfile.SpooledTemporaryFile()  # noqa: SIM115
    atexit.register(file.close)
    file.write(b"pixels")
    file.seek(2)
    return file


class Held:
    __slots__ = ("file",)

    def __init__(self, file):
        self.file = file


@pytest.mark.parametrize(
    "hold",
    [
        lambda file: file,
        lambda file: {"a": [(file,)]},
        lambda file: {1, file},
        lambda file: UploadFile(file),
        lambda file: FormData(a=UploadFile(file)),
        lambda file: Held(file),
    ],
    ids=["alone", "containers", "set", "upload", "form", "slot"],
)
@pytest.mark.parametrize("make", [lambda: io.BytesIO(b"pixels"), spooled], ids=["bytes", "spooled"])
def test_files_are_found_wherever_they_are_held(make, hold):
    file = make()
    place = file.tell()
    rewinding(lambda *values: file.read())(hold(file))
    assert file.tell() == place
    rewinding(lambda *values: file.read())(1, hold(file))
    assert file.tell() == place
    with pytest.raises(ZeroDivisionError):
        rewinding(lambda value: file.read() and 1 / 0)(hold(file))
    assert file.tell() == place
    file.close()


def test_a_file_that_the_function_closed_is_left_closed():
    file = io.BytesIO(b"pixels")
    rewinding(lambda value: value.close())(file)
    assert file.closed


def test_an_object_that_cannot_be_looked_into_is_passed_by():
    @dataclass
    class Broken:
        x: int = 0

        def __getattribute__(self, name):
            if name == "x":
                raise LookupError("no x")
            return super().__getattribute__(name)

    file = io.BytesIO(b"pixels")
    assert rewinding(lambda value, file: file.read())(Broken(), file) == b"pixels"
    assert file.tell() == 0


def test_a_value_that_holds_itself_is_searched_once():
    file = io.BytesIO(b"pixels")
    value = [file]
    value.append(value)
    rewinding(lambda value: value[0].read())(value)
    assert file.tell() == 0
