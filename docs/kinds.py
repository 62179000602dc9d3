"""Every kind of item and of output, with what becomes of it: the tables of the docs.

`python docs/generate.py` writes them into the pages; `tests/test_kinds.py` holds each row true.
"""

from __future__ import annotations

from dataclasses import dataclass

SETUP = """
import atexit
import array, collections, ctypes, dataclasses, datetime, decimal, enum, fractions, functools
import http, io, ipaddress, pathlib, re, tempfile, types, typing, uuid, warnings, zoneinfo
from collections import OrderedDict, UserDict, defaultdict, deque
from typing import Generic, NamedTuple, TypeVar

warnings.simplefilter("ignore")  # of some layouts torch says that they are beta
T = TypeVar("T")


class Thing:
    def __init__(self):
        self.a = 1


class Color(enum.Enum):
    RED = 1


@dataclasses.dataclass
class Point(Generic[T]):
    x: T


class Pair(NamedTuple):
    a: int
    b: int


class Text(str):
    pass


class Features(UserDict):
    pass


def file():
    stream = tempfile.SpooledTemporaryFile()
    atexit.register(stream.close)
    stream.write(b"pixels")
    stream.seek(0)
    return stream


def image(kind, frames=1):
    pictures = [Image.linear_gradient("L").convert("P").rotate(90 * n) for n in range(frames)]
    stream = io.BytesIO()
    more = {"save_all": True, "append_images": pictures[1:]} if frames > 1 else {}
    if kind in ("JPEG", "MPO", "WEBP"):
        pictures = [picture.convert("RGB") for picture in pictures]
        more = more and {"save_all": True, "append_images": pictures[1:]}
    pictures[0].save(stream, kind, **more)
    return Image.open(stream)


def loaded(picture):
    picture.load()
    return picture


def nested(levels):
    value = []
    for _ in range(levels):
        value = [value]
    return value
"""

IMPORTS = {
    "numpy": "import numpy, numpy as np",
    "torch": "import torch",
    "PIL": "from PIL import Image",
    "pydantic": "import pydantic",
    "attrs": "import attrs",
    "starlette": "from starlette.background import BackgroundTask\n"
    "from starlette.datastructures import FormData, UploadFile\n"
    "from starlette.responses import JSONResponse, RedirectResponse, Response",
    "pandas": "import pandas",
    "polars": "import polars",
    "tokenizers": "import tokenizers",
}


@dataclass(frozen=True)
class Kind:
    """A row of a table.

    Attributes:
        what: What it is, for people.
        verdict: `cached`, `uncached`, or `refused`.
        note: What of it counts, or how it comes back.
        examples: Expressions that make such values, each time anew.
        remedy: An expression of `value` that is cached in its place.
        needs: The libraries that the examples use.
    """

    what: str
    verdict: str
    note: str
    examples: tuple[str, ...]
    remedy: str = ""
    needs: tuple[str, ...] = ()


def _cached(what: str, note: str, *examples: str, needs: str = "") -> Kind:
    return Kind(what, "cached", note, examples, "", tuple(needs.split()))


def _uncached(what: str, remedy: str, *examples: str, needs: str = "") -> Kind:
    return Kind(what, "uncached", "", examples, remedy, tuple(needs.split()))


ITEMS = [
    _cached("`None`, `bool`, `int` of any size, `float`, `complex`, `str`, `bytes`",
            "type and value; floats by bits, with one NaN; text by code points",
            "None", "True", "7", "2**100", "1.5", "float('nan')", "1j", "'text'", "'\\ud800'",
            "b'bytes'", "'x' * 9000"),
    _cached("`list`, `tuple`, `set`, `frozenset`, `deque`, `range`", "type, elements and, but for "
            "sets, their order; the `maxlen` of a `deque`; `start`, `stop`, `step`",
            "[1, 'a']", "(1, 'a')", "{1, 'a'}", "frozenset({1})", "deque([1], 3)", "range(9)",
            "nested(99)"),
    _cached("`dict`, `defaultdict`, `Counter`", "entries in any order",
            "{'a': 1, 2: [3]}", "defaultdict(list, a=[1])", "collections.Counter('aab')"),
    _cached("`OrderedDict`", "entries in order", "OrderedDict(a=1, b=2)"),
    _cached("`UserDict` and its subclasses: `BatchEncoding` and `BatchFeature` of transformers",
            "entries in any order, other attributes, what tokenizers found",
            "Features(input_ids=[[1, 2]])", "collections.UserList([1])"),
    _cached("`bytearray`, `memoryview`, `array.array`", "type, format, shape, bytes",
            "bytearray(b'a')", "memoryview(b'a')", "array.array('d', [1.0])"),
    _cached("`Decimal`, `Fraction`, `UUID`, IP addresses, paths", "type and value; of a path its "
            "text, not what is in the file",
            "decimal.Decimal('1.0')", "fractions.Fraction(1, 3)", "uuid.UUID(int=1)",
            "ipaddress.ip_address('10.0.0.1')", "pathlib.Path('a/b')",
            "pathlib.PureWindowsPath('./a:b')"),
    _cached("`datetime`, `date`, `time`, `timedelta`", "wall time, offset and fold, not the name "
            "of the zone", "datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone.utc)",
            "datetime.datetime(2024, 1, 1, tzinfo=zoneinfo.ZoneInfo('Europe/Paris'))",
            "datetime.date(2024, 1, 1)", "datetime.time(1)", "datetime.timedelta(1)"),
    _cached("dataclasses (generic ones too), named tuples, `SimpleNamespace`, subclasses of "
            "builtins", "the class's name; the names and values of fields, slots and attributes, "
            "but for what a `cached_property` keeps", "Point(1)", "Point[int](1)", "Pair(1, 2)",
            "types.SimpleNamespace(a=1)", "Text('a')",
            "collections.namedtuple('Row', 'a b')(1, 2)"),
    _cached("members of enums, combinations of flags", "the class's name; name and value, if the "
            "value has a key; of an enum that is made at run time all members, with their "
            "attributes", "http.HTTPStatus.OK", "re.I | re.M", "Color.RED",
            "enum.Enum('Label', {'cat': 1})['cat']"),
    _cached("classes of attrs", "the class's name and all fields",
            "attrs.make_class('Box', ['x'])(1)", needs="attrs"),
    _cached("pydantic models, with URLs, IP addresses and secrets",
            "the class's name, fields, extras, private attributes, and which fields were given",
            "pydantic.create_model('Query', url=(pydantic.HttpUrl, ...), key=(pydantic.SecretStr, "
            "'s'))(url='http://a.de')", needs="pydantic"),
    _cached("`BytesIO`, `StringIO`, `SpooledTemporaryFile`", "content, position, attributes",
            "io.BytesIO(b'pixels')", "io.StringIO('text')", "file()"),
    _cached("uploads and forms (`UploadFile`, `FormData`)", "fields in order; of a file content, "
            "name, headers and position", "UploadFile(io.BytesIO(b'pixels'), filename='a.png')",
            "FormData([('a', '1'), ('file', UploadFile(file(), filename='a.png'))])",
            needs="starlette"),
    _cached("numpy arrays, scalars and memory maps", "kind, dtype with its metadata, shape, "
            "elements, attributes; not memory order, padding, or the file of a memory map", "np.arange(6.0)", "np.float32(1)",
            "np.zeros(2, [('a', 'u1'), ('b', 'f8')])", "np.array(['a'])", "np.longlong(1)",
            "np.zeros(2, np.dtype('f4', metadata={'unit': 'm'}))",
            "np.memmap(file(), mode='r', dtype='u1', shape=(6,))", needs="numpy"),
    _cached("dense tensors, `nn.Parameter`", "kind, dtype, shape, elements, attributes; not "
            "device, strides or `requires_grad`", "torch.ones(2, dtype=torch.bfloat16)",
            "torch.nn.Parameter(torch.ones(2))", needs="torch"),
    _cached("an image that is still in its file (`Image.open`)", "class, mode, size, `info`, "
            "frame, edits of its EXIF, and the bytes of the file: it is not decoded",
            "image('JPEG')", "image('PNG')", "image('GIF', 3)", "image('MPO', 2)",
            "image('WEBP', 2)", needs="PIL"),
    _cached("any other image of PIL", "class, mode, size, pixels, palette, `info` (EXIF, ICC "
            "profile, dpi …); of several frames the frame, and the bytes of the file too",
            "Image.new('RGB', (4, 4))", "loaded(image('JPEG'))", "image('JPEG').convert('L')",
            "loaded(image('GIF', 3))", needs="PIL"),
    _cached("`DataFrame`, `Series` and `Index` of pandas", "columns and index in order, dtypes, "
            "values, names, `attrs`", "pandas.DataFrame({'a': [1, 2], 'b': ['x', None]})",
            "pandas.Series([1.5], index=['x'])", needs="pandas"),
    _cached("`DataFrame` and `Series` of polars", "columns in order, dtypes, values",
            "polars.DataFrame({'a': [1, 2], 'b': ['x', None]})", "polars.Series('a', [1])",
            needs="polars"),
    _uncached("an iterator, a generator", "list(value)", "iter([1])", "(n for n in [1])",
              "map(str, [1])"),
    _uncached("an open file", "value.read()", "io.BufferedReader(io.BytesIO(b'a'))",
              "io.TextIOWrapper(io.BytesIO(b'a'))"),
    _uncached("another mapping", "dict(value)", "types.MappingProxyType({'a': 1})"),
    _uncached("an object of another class", "vars(value)", "Thing()"),
    _uncached("a number or text of `ctypes`", "value.value", "ctypes.c_int(1)",
              "ctypes.c_char_p(b'a')"),
    _uncached("a structure, union or array of `ctypes`", "bytes(value)", "(ctypes.c_int * 2)(1, 2)",
              "type('Pixel', (ctypes.Structure,), {'_fields_': [('x', ctypes.c_int)]})(1)"),
    _uncached("a member of an enum that is made at run time, of which a value has no key",
              "value.name", "enum.Enum('Act', {'A': Thing(), 'B': 1})['B']"),
    _uncached("a function, a class", "value.__qualname__", "len", "Thing"),
    _uncached("a subclass of `date` or `datetime`", "value.isoformat()",
              "type('Stamp', (datetime.datetime,), {})(2024, 1, 1)"),
    _uncached("a subclass of `Decimal`", "decimal.Decimal(value)",
              "type('Money', (decimal.Decimal,), {})(1)"),
    _uncached("an exception", "repr(value)", "ValueError('a')"),
    _uncached("another array: masked, of records, of a class of its own", "numpy.asarray(value)",
              "np.ma.array([1])", "np.matrix([[1]])", needs="numpy"),
    _uncached("an array of objects", "value.tolist()", "np.array([1, None])", needs="numpy"),
    _uncached("a sparse tensor", "value.to_dense()", "torch.eye(2).to_sparse()", needs="torch"),
    _uncached("a nested tensor", "value.unbind()",
              "torch.nested.nested_tensor([torch.zeros(1)], layout=torch.strided)", needs="torch"),
    _uncached("a quantized tensor", "value.dequantize()",
              "torch.quantize_per_tensor(torch.zeros(2), 1.0, 0, torch.quint8)", needs="torch"),
    _uncached("a tensor of a class of its own", "value.as_subclass(torch.Tensor)",
              "torch.zeros(1).as_subclass(type('Mine', (torch.Tensor,), {}))", needs="torch"),
    _uncached("a decoded image whose other frames Pillow keeps to itself (WebP, AVIF)",
              'value.convert("RGB")', "loaded(image('WEBP', 2))", needs="PIL"),
    _uncached("a frame of pandas with periods, intervals or sparse columns", "value.astype(str)",
              "pandas.DataFrame({'a': pandas.period_range('2024', periods=2)})", needs="pandas"),
    _uncached("a subclass of a frame (`GeoDataFrame`)", "pandas.DataFrame(value)",
              "type('Mine', (pandas.DataFrame,), {})({'a': [1]})", needs="pandas"),
    _uncached("a `LazyFrame`", "value.collect()", "polars.DataFrame({'a': [1]}).lazy()",
              needs="polars"),
    _uncached("more than 100 levels, or a value in itself", "", "nested(101)"),
]  # fmt: skip

OUTPUTS = [
    _cached("`None`, `bool`, `int`, `float`, `complex`, `str`, `bytes`, `bytearray`",
            "exactly", "None", "True", "2**100", "float('nan')", "1j", "'\\ud800'", "b'a'",
            "bytearray(b'a')"),
    _cached("`list`, `tuple`, `dict`, `set`, `frozenset` in any nesting",
            "exactly; a dict in its order; what stood at several places is one object again",
            "[1, (2,)]", "{'b': 1, 'a': {2}}", "frozenset({1})"),
    _cached("`Decimal`, `UUID`, paths, `date`, `time`, `timedelta`, `datetime` without a zone or "
            "with a fixed offset", "exactly", "decimal.Decimal('1.0')", "uuid.UUID(int=1)",
            "pathlib.Path('a')", "datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone.utc)",
            "datetime.date(2024, 1, 1)", "datetime.time(1)", "datetime.timedelta(1)"),
    _cached("numpy arrays and scalars", "exactly, in their memory order, writable; rows of texts as wide as their own "
            "longest", "np.arange(6.0)", "np.float32(1)", "np.array(['a'])",
            "np.zeros(2, [('a', 'u1')])", needs="numpy"),
    _cached("dense tensors", "without a graph, in their memory order; on the API's device if they were made on one of its "
            "type", "torch.ones(2, dtype=torch.bfloat16)", "[torch.ones(2)]", needs="torch"),
    _cached("`Response`, `JSONResponse`, `PlainTextResponse`, `HTMLResponse` and `RedirectResponse` "
            "of Starlette and FastAPI, without a background task", "status, headers, media type "
            "and body", "Response(b'a', media_type='image/png')", "JSONResponse({'a': [1]}, 201)",
            "RedirectResponse('/b')", needs="starlette"),
    _uncached("a dataclass", "dataclasses.asdict(value)", "Point(1)"),
    _uncached("a pydantic model", "value.model_dump()",
              "pydantic.create_model('Answer', text=(str, ...))(text='a')", needs="pydantic"),
    _uncached("a class of attrs", "attrs.asdict(value)", "attrs.make_class('Box', ['x'])(1)",
              needs="attrs"),
    _uncached("an enum", "value.value", "Color.RED"),
    _uncached("a named tuple", "value._asdict()", "Pair(1, 2)"),
    _uncached("`OrderedDict`, `defaultdict`, `UserDict`", "dict(value)", "OrderedDict(a=1)",
              "defaultdict(list)", "Features(a=[1])"),
    _uncached("a subclass of a builtin", "str(value)", "Text('a')"),
    _uncached("`range`, `deque`, an iterator", "list(value)", "range(3)", "deque([1])",
              "iter([1])"),
    _uncached("an object of another class", "vars(value)", "Thing()"),
    _uncached("a `datetime` in a named zone", "value.astimezone(datetime.timezone.utc)",
              "datetime.datetime(2024, 1, 1, tzinfo=zoneinfo.ZoneInfo('Europe/Paris'))"),
    _uncached("a file in memory", "value.getvalue()", "io.BytesIO(b'a')"),
    _uncached("an image", "numpy.asarray(value)", "Image.new('RGB', (4, 4))", needs="PIL numpy"),
    _uncached("a frame of pandas", 'value.to_dict("list")', "pandas.DataFrame({'a': [1]})",
              needs="pandas"),
    _uncached("a frame of polars", "value.to_dicts()", "polars.DataFrame({'a': [1]})",
              needs="polars"),
    _uncached("another array: masked, of records, of a class of its own", "numpy.asarray(value)",
              "np.ma.array([1])", "np.zeros(2).view(np.recarray)", needs="numpy"),
    _uncached("an array of objects", "value.tolist()", "np.array([1, None])", needs="numpy"),
    _uncached("an array whose dtype has metadata", "value.astype(value.dtype.str)",
              "np.zeros(2, np.dtype('f4', metadata={'unit': 'm'}))", needs="numpy"),
    _uncached("an array with a field whose dtype has metadata", "value.tolist()",
              "np.zeros(2, [('a', np.dtype('f4', metadata={'unit': 'm'}))])", needs="numpy"),
    _uncached("`nn.Parameter`; a tensor with attributes of your own or with a `grad`",
              "value.detach()", "torch.nn.Parameter(torch.ones(2))",
              "(lambda t: vars(t).update(tokens=2) or t)(torch.ones(2))",
              "(lambda t: (t.sum().backward(), t)[1])(torch.ones(2, requires_grad=True))",
              needs="torch"),
    _uncached("a sparse tensor", "value.to_dense()", "torch.eye(2).to_sparse()", needs="torch"),
    _uncached("arrays or tensors that are views of one another", "[part.copy() for part in value]",
              "(lambda a: [a, a[0]])(np.zeros((2, 2)))", needs="numpy"),
    _uncached("a response with a background task", "Response(value.body, value.status_code)",
              "Response('a', background=BackgroundTask(print))", needs="starlette"),
    _uncached("more than 100 levels, or a value in itself", "", "nested(101)"),
]  # fmt: skip

METHODS = [
    Kind("a generator (`yield`) that is not `predict`", "refused", "",
         ("def decode_request(self, request):\n    yield request",
          "async def tokens(self, text):\n    yield text"), "return a list"),
    Kind("a static or class method", "refused", "",
         ("@staticmethod\ndef predict(x):\n    return x",
          "@classmethod\ndef predict(cls, x):\n    return x"), "make it a method"),
    Kind("another hook of LitServe's", "refused", "", ("def batch(self, inputs):\n    return inputs",
         "def encode_response(self, output):\n    return output"), "decorate `predict`"),
    Kind("another method with other arguments than one item and `context`", "refused", "",
         ("def score(self, query, text):\n    return text",
          "def score(self, *texts):\n    return texts", "def score(self):\n    return 1"),
         "give it one tuple or dict"),
]  # fmt: skip


def evaluated(kind: Kind, expression: str, **names: object) -> object:
    """Return the value of an expression of a row.

    Args:
        kind: The row.
        expression: An example of it, or its remedy.
        names: What else the expression may name.
    """
    # One namespace for all, so that a class of an example is the same each time.
    for library in (*kind.needs, "numpy") if "numpy." in expression else kind.needs:
        exec(IMPORTS[library], _namespace)
    return eval(expression, _namespace, dict(names))


_namespace: dict[str, object] = {"__name__": "kinds"}
exec(SETUP, _namespace)
