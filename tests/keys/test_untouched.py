"""Keying never changes an item: all that a user does with it does what it does to a twin."""

import array
import atexit
import io
import tempfile
import warnings
from collections import deque
from contextlib import suppress

import pytest
from support.pictures import frames, gradient, image_bytes, readable

from litcache.errors import KeyEncodingError
from litcache.keys.encoder import canonical
from litcache.values import codec

pytestmark = pytest.mark.filterwarnings("ignore")


def keyed(value):
    """Key a value and store it, as far as it can be; return it."""
    with suppress(KeyEncodingError):
        canonical({"item": [value]})
        canonical({"item": [value]}, "sha256")
    codec.encode_many([[value], value])
    return value


def outcome(act, *arguments):
    """What an act gives, or the error that it raises."""
    try:
        return facts(act(*arguments))
    except Exception as error:
        return type(error), str(error).split(" at 0x")[0].split("object at")[0]


def facts(value):
    """What can be compared of a value."""
    name = type(value).__module__.partition(".")[0]
    if name == "torch":
        return tensor_facts(value)
    if name == "numpy" and hasattr(value, "tobytes"):
        return str(value.dtype), value.shape, value.tobytes()
    if name == "PIL" and hasattr(value, "tobytes"):
        return value.mode, value.size, outcome(value.getpalette), outcome(value.tobytes)
    if isinstance(value, (list, tuple)):
        return type(value), [facts(part) for part in value]
    if isinstance(value, (type(None), bool, int, float, complex, str, bytes, bytearray, dict)):
        return type(value), repr(value)
    if isinstance(value, (array.array, deque, range)):
        return type(value), list(value)
    return type(value)


def tensor_facts(value):
    import torch

    if isinstance(value, torch.Tensor) and value.layout is torch.strided:
        return value.dtype, tuple(value.shape), value.requires_grad, repr(value.tolist())
    return type(value)


def public(cls, *but):
    return [name for name in dir(cls) if name[0] != "_" and name not in but]


def compare(make, name, *arguments, end=facts):
    """Do one thing to a value that was keyed and to a twin that was not, and look at both."""
    results = []
    for first in (keyed, lambda value: value):
        value = first(make())
        done = outcome(lambda: attribute(value, name, arguments))  # noqa: B023 - called at once
        results.append((done, outcome(end, value)))
    assert results[0] == results[1], (name, arguments)


def attribute(value, name, arguments):
    found = getattr(value, name)
    return found(*arguments) if callable(found) else found


# ---------------------------------------------------------------------------------------- images

ARGUMENTS = {
    "thumbnail": [((16, 16),)], "draft": [("L", (10, 10)), ("RGB", (20, 15))],
    "resize": [((5, 5),)], "crop": [((0, 0, 5, 5),)], "rotate": [(90,)], "convert": [("L",)],
    "paste": [(3, (0, 0, 5, 5))], "putpixel": [((0, 0), 1)], "getpixel": [((0, 0),)],
    "point": [(lambda x: x // 2,)], "reduce": [(2,)], "transpose": [(0,)],
    "putpalette": [([0, 1, 2] * 256,)], "seek": [(0,), (1,), (2,), (9,)], "putalpha": [(5,)],
    "getchannel": [(0,)], "remap_palette": [(list(range(256)),)], "quantize": [(4,)],
}  # fmt: skip
OUTSIDE = ("show", "effect_spread", "toqimage", "toqpixmap", "_repr_png_", "im", "close")


def edited(image):
    image.thumbnail((20, 20))
    return image


def palette_changed(image):
    image.putpalette([7, 8, 9] * 256)
    return image


def pasted_over(image):
    image.paste(3, (0, 0, 5, 5))
    return image


def loaded(image):
    image.load()
    return image


def at_the_second_frame(image):
    image.seek(1)
    return image


def with_exif(image):
    image.getexif()[0x0112] = 6
    return image


BEFORE = [lambda image: image, loaded, edited, palette_changed, pasted_over, at_the_second_frame,
          with_exif]  # fmt: skip


def opened(data, before):
    from PIL import Image

    image = Image.open(io.BytesIO(data))
    try:
        return before(image)
    except Exception:  # it has no second frame, no palette, or is broken
        return image


def position(image):
    return None if image.fp is None else image.fp.tell()


@pytest.mark.parametrize("name", readable())
def test_an_image_does_what_it_would_have_done(name):
    data = readable()[name]
    image = opened(data, BEFORE[0])
    for before in BEFORE:
        for method in public(type(image), *OUTSIDE):
            for arguments in ARGUMENTS.get(method, [()]):
                compare(lambda: opened(data, before), method, *arguments)  # noqa: B023
        compare(lambda: opened(data, before), "tell", end=position)  # noqa: B023
        compare(lambda: opened(data, before), "fp", end=lambda image: image.tile)  # noqa: B023


def test_an_image_file_is_closed_where_it_would_have_been(tmp_path):
    Image = pytest.importorskip("PIL.Image")
    path = tmp_path / "image.jpg"
    path.write_bytes(image_bytes(gradient(), "JPEG"))
    image, twin = keyed(Image.open(path)), Image.open(path)
    assert image.fp.tell() == twin.fp.tell()
    image.load()
    assert image.fp is None
    path.write_bytes(b"")  # nothing holds it
    twin.close()


def test_the_second_frame_is_edited_as_without_a_key():
    Image = pytest.importorskip("PIL.Image")

    def make():
        return Image.open(io.BytesIO(frames("GIF", "P")))

    results = []
    for image in (keyed(make()), make()):
        image.seek(1)
        keyed(image)
        image.thumbnail((9, 9))
        keyed(image)
        results.append((image.tobytes(), image.is_animated, image.n_frames, image.tell()))
    assert results[0][0] == results[1][0]
    assert results[0] == results[1]


# ------------------------------------------------------------------------------ tensors and arrays


def test_a_tensor_does_what_it_would_have_done():
    torch = pytest.importorskip("torch")

    def make():
        torch.manual_seed(1)
        return torch.arange(12.0).reshape(3, 4)

    skipped = ("cuda", "xpu", "ipu", "hpu", "mtia", "share_memory_", "share_memory", "pin_memory",
               "module_load", "storage", "data_ptr", "const_data_ptr", "register_hook", "new",
               "new_empty", "new_empty_strided", "untyped_storage")  # fmt: skip
    for name in public(torch.Tensor, *skipped):
        for arguments in [(), (1,), ((2, 2),)]:
            compare(make, name, *arguments)
    parameter = keyed(torch.nn.Parameter(make(), requires_grad=False))
    for tensor in (keyed(make()), keyed([make()])[0], parameter.data):
        assert tensor.resize_(100).shape == (100,)


def test_a_tensor_in_an_output_can_be_resized():
    torch = pytest.importorskip("torch")
    output = {"a": torch.ones(3), "b": [torch.ones(2)], "c": (torch.ones(5, dtype=torch.bfloat16),)}
    back = codec.decode(*codec.encode(output))
    rows = codec.decode_many([codec_entry(torch.ones(3)) for _ in range(2)])
    for held in (output, back):
        for tensor in (held["a"], held["b"][0], held["c"][0]):
            assert tensor.resize_(100).shape == (100,)
    for tensor in rows:
        assert tensor.resize_(100).shape == (100,)


def codec_entry(value):
    from litcache.stores.base import NewEntry

    return NewEntry(*codec.encode(value))


def test_an_array_does_what_it_would_have_done():
    np = pytest.importorskip("numpy")

    def make():
        return np.arange(12.0).reshape(3, 4)

    def resized(value):
        value.resize((50,), refcheck=False)
        return value

    for name in public(np.ndarray, "ctypes", "data", "dump"):
        for arguments in [(), (1,), ((2, 2),)]:
            compare(make, name, *arguments)
    compare(make, "shape", end=resized)
    assert resized(codec.decode(*codec.encode(make()))).shape == (50,)


# ------------------------------------------------------------------------------------------- files


def spooled(rolled):
    file = tempfile.SpooledTemporaryFile()  # noqa: SIM115
    atexit.register(file.close)
    file.write(b"pixels\nand more\n")
    if rolled:
        file.rollover()
    file.seek(3)
    return file


def in_memory():
    file = io.BytesIO(b"pixels\nand more\n")
    file.seek(3)
    return file


def place(file):
    return outcome(file.tell), outcome(file.read)


@pytest.mark.parametrize(
    ("make", "cls"),
    [
        (in_memory, io.BytesIO),
        (lambda: spooled(False), tempfile.SpooledTemporaryFile),
        (lambda: spooled(True), tempfile.SpooledTemporaryFile),
    ],
    ids=["BytesIO", "SpooledTemporaryFile", "rolled over"],
)
def test_a_file_stands_where_it_stood(make, cls):
    for name in public(cls, "fileno", "name", "detach"):
        for arguments in [(), (2,), (b"x",)]:
            compare(make, name, *arguments, end=place)


def test_an_upload_stands_where_it_stood():
    from starlette.datastructures import FormData, UploadFile

    upload = UploadFile(in_memory(), filename="a.png")
    keyed({"file": upload})
    assert upload.file.read() == b"els\nand more\n"
    upload = UploadFile(spooled(True), filename="a.png")
    keyed(FormData([("file", upload)]))
    assert upload.file.read() == b"els\nand more\n"


def test_an_iterator_gives_all_that_it_would_have_given():
    assert list(keyed(iter([1, 2]))) == [1, 2]
    assert list(keyed(n for n in (1, 2))) == [1, 2]
    assert list(keyed(map(str, [1, 2]))) == ["1", "2"]
    file = io.BufferedReader(io.BytesIO(b"pixels"))
    assert keyed(file).read() == b"pixels"


def test_buffers_can_grow_as_before():
    for make in (bytearray, lambda: array.array("B")):
        value = make()
        value.extend(b"x" * 9000)
        keyed(value)
        value.extend(b"x")
        assert len(value) == 9001


def test_a_frame_is_changed_as_before():
    pandas = pytest.importorskip("pandas")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for frame in (keyed(pandas.DataFrame({"a": [1, 2]})), pandas.DataFrame({"a": [1, 2]})):
            frame.loc[0, "a"] = 9
            frame["b"] = ["x", "y"]
            frame.index.name = "rows"
            assert frame.to_dict("list") == {"a": [9, 2], "b": ["x", "y"]}
