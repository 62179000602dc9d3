"""What is equal, what differs and what is refused: builtins, the library, classes of users."""

import array
import atexit
import ctypes
import datetime as dt
import enum
import functools
import io
import ipaddress
import pathlib
import re
import struct
import sys
import tempfile
import time
import types
import uuid
from collections import (
    Counter,
    OrderedDict,
    UserDict,
    UserList,
    UserString,
    defaultdict,
    deque,
    namedtuple,
)
from dataclasses import dataclass, field, make_dataclass
from decimal import Decimal
from fractions import Fraction
from functools import cached_property
from typing import Generic, NamedTuple, TypeVar
from zoneinfo import ZoneInfo

import msgpack
import pytest
from blake3 import blake3
from support.forms import collisions

from litcache.errors import KeyEncodingError
from litcache.keys.encoder import canonical

BIG = 5000  # beyond the 4 KiB that stand in full
UTC = dt.timezone.utc
T = TypeVar("T")
CHARACTERS = "w" if sys.version_info >= (3, 13) else "u"


class Color(enum.Enum):
    RED = 1
    BLUE = 2


class Shade(enum.Enum):
    RED = 1


class Level(enum.IntEnum):
    LOW = 1


class Access(enum.Flag):
    READ = 1
    WRITE = 2
    EXECUTE = 4


@dataclass
class Point:
    x: object
    y: object = 0


@dataclass
class Vector:
    x: object
    y: object = 0


@dataclass(frozen=True)
class Slotted:
    __slots__ = ("x",)
    x: object


class Pair(NamedTuple):
    a: object
    b: object


class Couple(NamedTuple):
    a: object
    b: object


class Text(str):
    pass


class Title(str):
    __slots__ = ()


class Number(int):
    pass


class Real(float):
    pass


class Plane(complex):
    pass


class Data(bytes):
    pass


class Buffer(bytearray):
    pass


class Items(list):
    pass


class Row(tuple):
    pass


class Table(dict):
    pass


class Tags(set):
    pass


class Names(frozenset):
    pass


class Ordered(OrderedDict):
    pass


class Grouped(defaultdict):
    pass


class Title2(str):
    __slots__ = ("language",)


class Queue(deque):
    pass


class Features(UserDict):
    """As BatchEncoding and BatchFeature of transformers are."""


@dataclass
class Crate(Generic[T]):
    held: T


def read(file):
    file.read(1)
    return file


def spooled(data, **options):
    file = tempfile.SpooledTemporaryFile(**options)  # noqa: SIM115
    atexit.register(file.close)
    file.write(data)
    file.seek(0)
    return file


def marked(value, **attributes):
    for name, attribute in attributes.items():
        setattr(value, name, attribute)
    return value


# Every value here differs from every other one.
DIFFERENT = [
    None, False, True, 0, 1, -1, 255, 256, 2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63),
    -(2**63) - 1, -(2**64), 2**64 + 1, 10**400, 0.0, -0.0, 1.0, 5e-324, float("inf"),
    float("-inf"), float("nan"), 0j, -0j, complex(0, -0.0), complex(-0.0, 0), 1 + 0j, 1j,
    complex(float("nan"), 0), complex(0, float("nan")), Decimal("1"), Decimal("1.0"),
    Decimal("1.00"), Decimal("-1"), Decimal("-0"), Decimal("0"), Decimal("NaN"),
    Decimal("NaN1"), Decimal("-NaN"), Decimal("sNaN"), Decimal("Infinity"),
    "", "1", "a", "A", "é", "e\u0301", "\ud800", "\udc00", "\ud800\udc00", "\U00010000",
    "a\0", "\0", "nan", "None", "x" * 4096, "x" * 4097, "x" * 4098, "é" * 4096, "é" * 4097,
    "x" * 4096 + "\ud800", "x" * 4096 + "\udc00",
    b"", b"1", b"a", b"\0", b"x" * 4096, b"x" * 4097, b"x" * 4098,
    bytearray(), bytearray(b"1"), bytearray(b"x" * 4097), memoryview(b"1"), memoryview(b""),
    memoryview(array.array("b", b"1")), memoryview(b"12").cast("B", (1, 2)),
    memoryview(b"12"), memoryview(b"12").cast("B", (2, 1)),
    memoryview(b"x" * 4097), array.array("b", b"1"), array.array("B", b"1"), array.array("b"),
    array.array("i", [1]), array.array("d", [1.0]), array.array("d", [1.0] * BIG),
    array.array("d", [-0.0]), array.array("d", [0.0]), array.array(CHARACTERS, "a"),
    (), (1,), (1, 2), ((1,), 2), (1, (2,)), ((1, 2),), [], [1], [1, 2], [2, 1], [[1], 2],
    [1, [2]], [[1, 2]], [[]], [()], ([],), [1.0], [True], ["1"], [b"1"], [None], [2**64],
    [float("nan")], ["\ud800"], ["x" * 4097], [b"x" * 4097], [1] * BIG, [1.0] * BIG,
    set(), {1}, {1.0}, {True}, {"1"}, {(1,)}, {1, 2}, {frozenset({1, 2})}, frozenset(),
    frozenset({1}), frozenset({1, 2}), frozenset({frozenset({1}), 2}),
    {}, {1: 2}, {2: 1}, {"1": 2}, {b"1": 2}, {1.0: 2}, {True: 2}, {None: 2}, {(1,): 2},
    {"a": 1}, {"a": 1.0}, {"a": True}, {"a": "1"}, {"b": 1}, {"a": 1, "b": 2}, {"a": 2, "b": 1},
    {"a": {"b": 1}}, {"a": [("b", 1)]}, [("a", 1)], {"\ud800": 1}, {"x" * 4097: 1},
    {"a": float("nan")}, {"a": 2**64}, {"a": "x" * 4097}, {"ab": "c"}, {"a": "bc"},
    OrderedDict(), OrderedDict(a=1), OrderedDict(a=1, b=2), OrderedDict(b=2, a=1),
    OrderedDict(a=2, b=1), defaultdict(None), defaultdict(None, a=1), defaultdict(list),
    defaultdict(list, a=1), defaultdict(int, a=1), Counter(), Counter(a=1), Counter(a=2),
    dt.date(2020, 1, 2), dt.datetime(2020, 1, 2), dt.datetime(2020, 1, 2, fold=1),
    dt.datetime(2020, 1, 2, tzinfo=UTC), dt.datetime(2020, 1, 2, 0, 0, 0, 1),
    dt.datetime(2020, 1, 2, 1, tzinfo=dt.timezone(dt.timedelta(hours=1))),
    dt.datetime(2020, 1, 2, tzinfo=dt.timezone(dt.timedelta(hours=1))),
    dt.datetime(2020, 1, 2, tzinfo=dt.timezone(dt.timedelta(hours=-1))),
    dt.datetime(2020, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Paris")),
    dt.datetime(2020, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Paris"), fold=1),
    dt.time(), dt.time(1), dt.time(0, 1), dt.time(fold=1), dt.time(tzinfo=UTC), dt.timedelta(),
    dt.timedelta(1), dt.timedelta(0, 1), dt.timedelta(0, 0, 1), dt.timedelta(-1),
    uuid.UUID(int=0), uuid.UUID(int=1), pathlib.PurePosixPath("a"), pathlib.PurePosixPath("a/b"),
    pathlib.PurePosixPath("."), pathlib.PurePosixPath("/a"), pathlib.PureWindowsPath("a"),
    pathlib.PurePosixPath("\udcff"), pathlib.Path("a"),
    Color.RED, Color.BLUE, Shade.RED, Level.LOW, Access.READ, Access.WRITE, Access(0),
    Access.READ | Access.WRITE, Access.READ | Access.EXECUTE,
    Point(1), Point(1.0), Point(2), Point(1, 2), Point(2, 1), Vector(1), marked(Point(1), z=1),
    marked(Point(1), z=2), Slotted(1), Slotted(2), Pair(1, 2), Pair(2, 1), Couple(1, 2),
    Text("a"), Text("b"), Title("a"), marked(Text("a"), x=1), Number(1), Number(2), Real(1),
    Real("nan"), Plane(1), Data(b"a"), Data(b"b" * 4097), Buffer(b"a"), Items([1]), Items([2]),
    Items(), marked(Items([1]), x=1), Row((1,)), Row(([1],)), Table(a=1), Table(a=2), Tags({1}),
    Tags({2}), Names({1}), Ordered(a=1, b=2), Ordered(b=2, a=1), Grouped(list), Grouped(int),
    Grouped(list, a=1), msgpack.ExtType(5, b"a"),
    range(0), range(2, 1), range(3), range(0, 3, 2), range(0, 4, 2), range(2**70),
    deque(), deque([1]), deque([1], 1), deque([1], 2), deque([[1]]), Fraction(1), Fraction(1, 2),
    Fraction(-1, 2), ipaddress.ip_address("10.0.0.1"), ipaddress.ip_network("10.0.0.1"),
    ipaddress.ip_interface("10.0.0.1"), ipaddress.ip_address("::1"), ipaddress.ip_address("::1%a"),
    UserDict(), UserDict(a=1), Features(a=1), marked(Features(a=1), device="cpu"), UserList([1]),
    UserString("a"), types.SimpleNamespace(), types.SimpleNamespace(a=1), Crate(1), Crate[int](1),
    Crate[str](1), Queue([1]), pathlib.PureWindowsPath("./a:b"), pathlib.PureWindowsPath("a:b"),
    marked(Text("a"), language="de"), marked(Text("a"), language="fr"),
    marked(Title2("a"), language="de"),
    io.BytesIO(), io.BytesIO(b"a"), read(io.BytesIO(b"a")), marked(io.BytesIO(b"a"), name="a.png"),
    io.StringIO(), io.StringIO("a"), read(io.StringIO("a")), io.StringIO("a", newline=""),
    spooled(b""), spooled(b"a"), read(spooled(b"a")),
]  # fmt: skip


@pytest.mark.parametrize("digest", ["blake", "sha256"])
def test_values_of_another_type_or_content_never_share_a_form(digest):
    assert collisions(DIFFERENT, digest) == []


def test_a_large_buffer_never_shares_the_form_of_a_small_one():
    large = b"x" * BIG
    digest = blake3(large).digest()
    form = canonical(large)
    assert digest in form
    small = [digest, digest + len(large).to_bytes(8, "big"), form, form[5:], list(digest)]
    assert collisions([large, large.decode(), bytearray(large), *small]) == []


EQUAL = {
    "dict order": ({"a": 1, "b": [2], "c": {}}, {"c": {}, "b": [2], "a": 1}),
    "dict order of mixed keys": ({1: 0, "a": 1, b"a": 2}, {b"a": 2, "a": 1, 1: 0}),
    "dict order of long keys": ({"x" * BIG: 0, "a": 1}, {"a": 1, "x" * BIG: 0}),
    "dict order of subclasses": (Table(a=1, b=2), Table(b=2, a=1)),
    "Counter order": (Counter("aab"), Counter("baa")),
    "set order": ({1, 2**40, "a"}, {"a", 2**40, 1}),
    "two NaN keys": ({float("nan"): 1, float("-nan"): 2}, {float("nan"): 2, float("nan"): 1}),
    "NaN bits": (float("nan"), struct.unpack(">d", bytes.fromhex("fff8000000000123"))[0]),
    "NaN in a list": ([float("nan")], [-float("nan")]),
    "NaN in complex": (complex(float("nan"), 1), complex(-float("nan"), 1)),
    "datetime of two zones, one offset": (
        dt.datetime(2020, 1, 1, tzinfo=UTC),
        dt.datetime(2020, 1, 1, tzinfo=ZoneInfo("Europe/London")),
    ),
    "a path's spelling": (pathlib.PurePosixPath("a/./b/"), pathlib.PurePosixPath("a//b")),
    "alias of a member": (Access.READ | Access.WRITE, Access(3)),
    "bytearray": (bytearray(b"a" * BIG), bytearray(b"a") * BIG),
    "memoryview strides": (memoryview(b"abcdef")[::2], memoryview(b"ace")),
    "unset slot": (Slotted(1), Slotted(1)),
    "OrderedDict": (OrderedDict(a=1, b=2), OrderedDict([("a", 1), ("b", 2)])),
    "UserDict order": (UserDict(a=1, b=2), UserDict(b=2, a=1)),
    "file rolled over": (spooled(b"ab"), spooled(b"ab", max_size=1)),
    "range": (range(3), range(0, 3, 1)),
    "subclass of OrderedDict": (Ordered(a=1, b=2), Ordered([("a", 1), ("b", 2)])),
}


@pytest.mark.parametrize(("one", "other"), EQUAL.values(), ids=EQUAL)
def test_equal_values_share_a_form(one, other):
    assert canonical(one) == canonical(other)
    assert canonical([one, {"x": one}]) == canonical([other, {"x": other}])


JSON = {"b": [1, -2.5, "text", None, True, {"d": "é", "c": []}], "a": {}, "bytes": b"\0\1"}


def test_json_values_stand_as_plain_msgpack_with_sorted_keys():
    plain = msgpack.unpackb(canonical(JSON))
    assert plain == JSON
    assert list(plain) == ["a", "b", "bytes"]


def test_the_order_of_keys_is_that_of_their_bytes():
    assert list(msgpack.unpackb(canonical({"b": 1, "aa": 2, "ab": 3, "a": 4}))) == [
        "a", "b", "aa", "ab",
    ]  # fmt: skip


# What is refused, and where.


class Custom:
    pass


class Zone(dt.tzinfo):
    def utcoffset(self, when):
        return None


@dataclass
class Computed:
    x: int

    def __getattribute__(self, name):
        if name == "x":
            raise LookupError("no x")
        return super().__getattribute__(name)


@dataclass
class Failure(Exception):
    code: int


def cycle():
    items = []
    items.append({"again": items})
    return items


REFUSED = {
    "object": (object(), "$", object),
    "custom": (Custom(), "$", Custom),
    "in a list": ([1, [2, Custom()]], "$[1][1]", Custom),
    "in a tuple": ((1, Custom()), "$[1]", Custom),
    "in a dict": ({"images": [0, 1, 2, {"meta": Custom()}]}, "$.images[3].meta", Custom),
    "under a strange key": ({"a b": {"": Custom()}}, '$["a b"][""]', Custom),
    "under a surrogate": ({"\ud800": Custom()}, '$["\\ud800"]', Custom),
    "under a number": ({3: Custom()}, "$[3]", Custom),
    "under a tuple": ({(1, 2): Custom()}, "$[tuple]", Custom),
    "as a key": ({"a": {Custom(): 1}}, "$.a[Custom]", Custom),
    "in a set": ([{Custom()}], "$[0][0]", Custom),
    "in a field": ([Point(1, Point(Custom()))], "$[0].y.x", Custom),
    "in an attribute": ({"p": marked(Items(), extra=Custom())}, "$.p.extra", Custom),
    "in a subclass": (Items([0, Custom()]), "$[1]", Custom),
    "in a named tuple": (Pair(1, Custom()), "$[1]", Custom),
    "in an OrderedDict": (OrderedDict(a=Custom()), "$.a", Custom),
    "function": ({"f": len}, "$.f", type(len)),
    "lambda": (lambda: 1, "$", type(lambda: 1)),
    "generator": ((i for i in ()), "$", type(i for i in ())),
    "iterator": (iter([]), "$", type(iter([]))),
    "file": (io.BufferedReader(io.BytesIO(b"a")), "$", io.BufferedReader),
    "class": (Point, "$", type),
    "enum class": (Color, "$", type(Color)),
    "module": (sys, "$", type(sys)),
    "slice": (slice(1), "$", slice),
    "exception": (ValueError(1), "$", ValueError),
    "dataclass over C state": (Failure(1), "$", Failure),
    "struct_time": (time.gmtime(0), "$", time.struct_time),
    "subclass of datetime": (type("Stamp", (dt.datetime,), {})(2020, 1, 1), "$", None),
    "subclass of Decimal": (type("Money", (Decimal,), {})(1), "$", None),
    "subclass of array": (type("Arr", (array.array,), {})("b"), "$", None),
    "factory that is no class": (defaultdict(lambda: 1), "$", defaultdict),
    "zone without offset": ([dt.datetime(2020, 1, 1, tzinfo=Zone())], "$[0]", dt.datetime),
    "time without offset": (dt.time(1, tzinfo=ZoneInfo("Europe/Paris")), "$", dt.time),
    "msgpack's Timestamp": ([msgpack.Timestamp(1)], "$[0]", msgpack.Timestamp),
    "memoryview of structs": (memoryview(array.array(CHARACTERS, "a")), "$", memoryview),
    "cycle": (cycle(), "$" + "[0].again" * 50, list),
    "field that raises": ({"p": Computed(1)}, "$.p", Computed),
}  # fmt: skip


@pytest.mark.parametrize(("value", "path", "kind"), REFUSED.values(), ids=REFUSED)
def test_what_has_no_form_is_named_by_path_and_type(value, path, kind):
    with pytest.raises(KeyEncodingError) as caught:
        canonical(value)
    assert caught.value.path == path
    assert caught.value.type is (kind or type(value))


def test_a_cycle_is_refused_at_the_level_that_is_too_deep():
    with pytest.raises(KeyEncodingError, match="100 levels deep, or contains itself"):
        canonical(cycle())


def nested(levels, make=lambda inner: [inner]):
    value = 1
    for _ in range(levels):
        value = make(value)
    return value


MAKERS = {
    "list": lambda inner: [inner],
    "tuple": lambda inner: (inner,),
    "dict": lambda inner: {"a": inner},
    "dict by number": lambda inner: {1: inner},
    "frozenset": lambda inner: frozenset([inner]),
    "OrderedDict": lambda inner: OrderedDict(a=inner),
    "dataclass": Point,
    "named tuple": lambda inner: Pair(inner, 0),
    "subclass": lambda inner: Items([inner]),
}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_a_hundred_levels_are_keyed_and_one_more_is_not(make):
    assert canonical(nested(100, make)) != canonical(nested(99, make))
    with pytest.raises(KeyEncodingError, match="100 levels"):
        canonical(nested(101, make))


@pytest.mark.parametrize("make", [MAKERS["list"], MAKERS["dict"], MAKERS["tuple"]])
def test_ten_thousand_levels_end_in_the_error(make):
    with pytest.raises(KeyEncodingError, match="100 levels"):
        canonical(nested(10_000, make))


def test_little_stack_left_ends_in_the_error():
    def deep(levels):
        return canonical(nested(90)) if levels == 0 else deep(levels - 1)

    with pytest.raises(KeyEncodingError, match="RecursionError"):
        deep(sys.getrecursionlimit() - 200)


def test_what_a_property_raises_is_the_errors_cause():
    with pytest.raises(KeyEncodingError, match="reading it raised LookupError") as caught:
        canonical(Computed(1))
    assert isinstance(caught.value.__cause__, LookupError)


def test_an_error_survives_pickling():
    with pytest.raises(KeyEncodingError) as caught:
        canonical({"a": [object()]})
    assert "$.a[0]" in str(caught.value)
    assert "object" in str(caught.value)


def forbidden(*args, **kwargs):
    raise SystemExit("code of an unknown type was run")


HOOKS = [
    "__repr__", "__str__", "__eq__", "__bytes__", "__reduce__", "__reduce_ex__", "__iter__",
    "__len__", "__getstate__", "__format__", "__bool__", "__index__", "__int__", "__float__",
    "__contains__", "__getitem__", "__instancecheck__", "__sizeof__", "__dir__", "keys", "items",
    "__buffer__", "__array__", "__fspath__", "__copy__", "__deepcopy__",
]  # fmt: skip


@pytest.mark.parametrize(
    ("base", "arguments"),
    [(object, ()), (str, ("a",)), (int, (1,)), (float, (1.5,)), (bytes, (b"a",)), (list, ([1],)),
     (tuple, ([1],)), (dict, ({"a": 1},)), (set, ([1],)), (frozenset, ([1],)), (complex, (1j,)),
     (bytearray, (b"a",)), (OrderedDict, ({"a": 1},)), (defaultdict, (list, {"a": 1}))],
)  # fmt: skip
def test_no_method_of_a_users_class_is_run(base, arguments):
    plain = type("Plain", (base,), {})(*arguments)
    guarded = type("Plain", (base,), dict.fromkeys([*HOOKS, "__hash__"], forbidden))(*arguments)
    if base is object:
        with pytest.raises(KeyEncodingError):
            canonical([guarded])
    else:
        assert canonical([guarded]) == canonical([plain])


def test_a_class_that_claims_to_equal_int_is_not_taken_for_one():
    class Impostor(type):
        def __hash__(cls):
            return hash(int)

        def __eq__(cls, other):
            return other is int or type.__eq__(cls, other)

    class Fake(metaclass=Impostor):
        pass

    class FakeNumber(int, metaclass=Impostor):
        pass

    for value in (Fake(), [Fake()], {"a": Fake()}):
        with pytest.raises(KeyEncodingError):
            canonical(value)
    assert canonical(FakeNumber(1)) != canonical(1)


def test_the_class_that_an_object_claims_does_not_count():
    class Claims:
        __class__ = int

    with pytest.raises(KeyEncodingError) as caught:
        canonical(Claims())
    assert caught.value.type is Claims


def test_an_attribute_added_to_a_dataclass_counts_by_value():
    assert canonical(marked(Point(1), z=[1])) == canonical(marked(Point(1), z=[1]))
    assert canonical(marked(Point(1), z=[1])) != canonical(marked(Point(1), z=[2]))


def test_slots_of_every_base_and_private_ones_count():
    class Base(str):
        __slots__ = ()

    class Parent(list):
        __slots__ = ("__hidden", "seen")

        def hide(self, value):
            self.__hidden = value
            return self

    class Child(Parent):
        __slots__ = ("more",)

    def child(hidden, **slots):
        return marked(Child([1]).hide(hidden), **slots)

    values = [child(1), child(2), child(1, seen=1), child(1, more=1), child(1, seen=1, more=1)]
    assert collisions(values) == []
    assert canonical(child(1, seen=2)) == canonical(child(1, seen=2))


def test_a_slot_that_a_subclass_hides_by_its_name_counts():
    class First:
        __slots__ = ("__own", "q")

    class Second(First):
        __slots__ = ("__dict__", "q")

    one = type("Second", (First,), {"__slots__": ("_First__own",)})

    @dataclass
    class Bearer(Second):
        x: int = 0

    @dataclass
    class Twice(one):
        x: int = 0

    def bearer(hidden, seen=0, **named):
        made = marked(Bearer(), q=seen)
        First.q.__set__(made, hidden)
        vars(made).update(named)
        return made

    def twice(hidden):
        made = marked(Twice(), _First__own=0)
        First._First__own.__set__(made, hidden)
        return made

    values = [bearer(1), bearer(2), bearer(1, 1), bearer(0, 1), bearer(1, q=5), bearer(2, q=5)]
    assert collisions([*values, twice(1), twice(2)]) == []
    assert canonical(bearer([1], q=5)) == canonical(bearer([1], q=5))
    with pytest.raises(KeyEncodingError):
        canonical(bearer(object()))


def test_a_field_that_a_descriptor_keeps_elsewhere_counts():
    class Elsewhere:
        def __init__(self):
            self.values = {}

        def __get__(self, instance, owner):
            return None if instance is None else self.values[id(instance)]

        def __set__(self, instance, value):
            self.values[id(instance)] = value

    @dataclass
    class Query:
        text: object = Elsewhere()

    one, same, other = Query("a"), Query("a"), Query("b")
    assert vars(one) == {}
    assert canonical(one) == canonical(same)
    assert canonical(one) != canonical(other)


def test_class_variables_and_initvars_of_a_dataclass_do_not_count():
    from dataclasses import InitVar
    from typing import ClassVar

    @dataclass
    class Setup:
        x: int
        shared: ClassVar[object] = object()
        seed: InitVar[int] = 0
        unhashed: int = field(default=1, compare=False)

    assert canonical(Setup(1, 5)) == canonical(Setup(1, 6))
    assert canonical(Setup(1, 5, 1)) != canonical(Setup(1, 5, 2))


def test_two_named_tuples_of_one_shape_differ_by_name():
    assert canonical(namedtuple("A", "x")(1)) != canonical(namedtuple("B", "x")(1))


def made_tuple(base=tuple, **attributes):
    return type("Request", (base,), attributes)


def records():
    """Values of one class name each; what else their classes say is made at run time."""
    for fields in ("width", "height", "width height", "height width", ""):
        made = namedtuple("Request", fields)
        some = range(len(made._fields))
        yield made(*some)
        yield marked(made_tuple(made)(*some), unit="m")
        yield [made(*some)]
        yield {made(*some): 1}
    yield made_tuple()((0,))
    yield made_tuple(_fields=3)((0, 1))  # of which nothing is known


def test_named_tuples_differ_by_the_names_of_their_fields():
    assert collisions(list(records())) == []
    for one, other in zip(records(), records(), strict=True):
        assert canonical(one) == canonical(other)


def test_rows_of_a_frame_differ_by_the_names_of_their_columns():
    pandas = pytest.importorskip("pandas")
    rows = [
        next(pandas.DataFrame([dict(zip(names, (1, 2), strict=True))]).itertuples())
        for names in ("ab", "ba", "ac")
    ]
    assert collisions(rows) == []


MADE = {
    "dataclasses": lambda names: make_dataclass("R", names)(1, 2),
    "dataclasses with slots": lambda names: make_dataclass("R", names, slots=True)(1, 2),
    "namespaces": lambda names: type("R", (types.SimpleNamespace,), {})(
        **dict(zip(names, (1, 2), strict=True))
    ),
    "attrs": lambda names: pytest.importorskip("attrs").make_class("R", list(names))(1, 2),
    "pydantic": lambda names: pytest.importorskip("pydantic").create_model(
        "R", **dict.fromkeys(names, (int, ...))
    )(**dict(zip(names, (1, 2), strict=True))),
}


@pytest.mark.parametrize("make", MADE.values(), ids=MADE)
def test_objects_of_classes_made_at_run_time_differ_by_the_names_of_their_fields(make):
    assert collisions([make("ab"), make("ba"), make("ac")]) == []
    assert canonical(make("ab")) == canonical(make("ab"))


def test_pydantic_models_count_fields_extras_and_private_attributes():
    pydantic = pytest.importorskip("pydantic")

    class Query(pydantic.BaseModel):
        model_config = pydantic.ConfigDict(extra="allow")
        text: str
        top: int = 3
        _note: object = pydantic.PrivateAttr(None)

    class Other(pydantic.BaseModel):
        text: str
        top: int = 3

    noted = Query(text="a")
    noted._note = "n"
    values = [
        Query(text="a"),
        Query(text="a", top=3),
        Query(text="b"),
        Query(text="a", top=4),
        Query(text="a", more=1),
        Query(text="a", more=2),
        noted,
        Other(text="a"),
        {"text": "a", "top": 3},
    ]
    assert collisions(values) == []
    assert canonical(Query(text="a", top=3)) == canonical(Query(top=3, text="a"))
    with pytest.raises(KeyEncodingError) as caught:
        canonical([Query(text="a", more={"deep": object()})])
    assert caught.value.path == "$[0].__pydantic_extra__.more.deep"


def test_which_fields_of_a_model_were_given_is_part_of_it():
    """`model_dump(exclude_unset=True)` tells them apart."""
    pydantic = pytest.importorskip("pydantic")

    class Prompt(pydantic.BaseModel):
        prompt: str
        temperature: float = 1.0

    given, left = Prompt(prompt="hi", temperature=1.0), Prompt(prompt="hi")
    assert given.model_dump(exclude_unset=True) != left.model_dump(exclude_unset=True)
    assert collisions([given, left, Prompt.model_construct(prompt="hi")]) != [given]
    assert canonical(given) != canonical(left)
    assert canonical(left) == canonical(Prompt.model_validate_json('{"prompt": "hi"}'))


def test_special_fields_of_pydantic_are_keyed_by_what_they_hold():
    pydantic = pytest.importorskip("pydantic")

    class Call(pydantic.BaseModel):
        url: pydantic.HttpUrl = "http://a.de"
        many: pydantic.PostgresDsn = "postgres://a,b/c"
        host: pydantic.IPvAnyAddress = "10.0.0.1"
        key: pydantic.SecretStr = "s"
        raw: pydantic.SecretBytes = b"s"
        some: pydantic.Secret[int] = 1
        size: pydantic.ByteSize = 1

        model_config = pydantic.ConfigDict(validate_default=True)

    changes = [{}, {"url": "http://a.de/x"}, {"many": "postgres://a,c/c"}, {"host": "10.0.0.2"},
               {"host": "::1"}, {"key": "t"}, {"raw": b"t"}, {"some": 2}, {"size": 2}]  # fmt: skip
    assert collisions([Call(**change) for change in changes]) == []
    assert canonical(Call(key="t")) == canonical(Call(key="t"))
    adapter = pydantic.TypeAdapter(pydantic.AnyUrl)
    assert canonical(adapter.validate_python("HTTP://A.de")) == canonical(
        adapter.validate_python("http://a.de/")
    )


def test_a_cached_property_that_was_touched_changes_nothing():
    pydantic, attrs = pytest.importorskip("pydantic"), pytest.importorskip("attrs")

    @dataclass
    class Plain:
        x: int = 1

        @cached_property
        def double(self):
            return 2 * self.x

    @attrs.define(unsafe_hash=True, cache_hash=True)
    class Slotted:
        x: int = 1

        @cached_property
        def double(self):
            return 2 * self.x

    class Model(pydantic.BaseModel):
        x: int = 1

        @pydantic.computed_field
        @cached_property
        def double(self) -> int:
            return 2 * self.x

    class Word(str):
        x = 1

        @cached_property
        def double(self):
            return 2 * self

    for make in (Plain, Slotted, Model, lambda: Word("a"), lambda: pathlib.PurePosixPath("a/b")):
        touched = make()
        for name in ("double", "parts", "name"):
            getattr(touched, name, None)
        if make is not Model:
            hash(touched) if make is not Plain else None
        assert canonical(touched) == canonical(make())


def test_attributes_of_a_text_count_whatever_its_class_does():
    class Eager(str):
        def __getattr__(self, name):
            return None

    class Private(str):
        __slots__ = ("__language",)

    class Hidden(str):
        __dict__ = {}

    first, second = marked(Eager("a"), language="de"), marked(Eager("a"), language="fr")
    values = [[first], [second], {first: 1}, {second: 1}, ("a", first), ("a", second)]
    assert collisions([Eager("a"), first, second, *values]) == []
    private = marked(Private("a"), _Private__language="de")
    assert collisions([Private("a"), private]) == []
    with pytest.raises(KeyEncodingError, match="hides its attributes"):
        canonical(marked(Hidden("a"), language="de"))


def test_classes_of_attrs_are_keyed_by_class_and_fields():
    attrs = pytest.importorskip("attrs")

    @attrs.define
    class One:
        x: object
        y: int = attrs.field(default=0, eq=False)

    @attrs.define(slots=False)
    class Two:
        x: object

    @attrs.frozen
    class Three(One):
        z: int = 1

    values = [One(1), One(2), One(1, y=1), Two(1), marked(Two(1), more=1), Three(1), Three(1, z=2)]
    assert collisions(values) == []
    assert canonical(One([1])) == canonical(One([1]))
    with pytest.raises(KeyEncodingError) as caught:
        canonical([One(object())])
    assert caught.value.path == "$[0].x"


def test_a_generic_class_counts_what_it_was_made_with():
    assert canonical(Crate[int](1)) == canonical(Crate[int](1))
    assert canonical(Crate([1])) != canonical(Crate([2]))
    nested = [Crate[list[int]](1), Crate[list[str]](1), Crate[dict[str, list[int]]](1)]
    assert collisions(nested) == []


def test_what_a_generic_builtin_was_made_with_counts_though_it_claims_to_be_a_class():
    """Up to Python 3.10 `list[int]` does."""

    class Claims(types.GenericAlias):
        __class__ = type

    assert isinstance(Claims(list, int), type)
    refused = types.GenericAlias(Crate, Claims(list, int))
    with pytest.raises(KeyEncodingError):
        canonical(refused)
    with pytest.raises(KeyEncodingError, match="no class"):
        canonical(defaultdict(Claims(list, int)))


# What is sent to services


def uploads():
    from starlette.datastructures import FormData, Headers, UploadFile

    def upload(data=b"pixels", name="a.png", kind="image/png", place=0):
        file = io.BytesIO(data)
        file.seek(place)
        headers = Headers({"content-type": kind})
        return UploadFile(file, size=len(data), filename=name, headers=headers)

    forms = [FormData(), FormData(a="1"), FormData([("a", "1"), ("a", "2")]),
             FormData([("a", "2"), ("a", "1")]), FormData(file=upload())]  # fmt: skip
    return [upload(), upload(b"pixel"), upload(name="b.png"), upload(kind="image/gif"),
            upload(place=3), *forms]  # fmt: skip


def test_uploads_and_forms_are_keyed_by_content_name_type_and_position():
    pytest.importorskip("starlette")
    assert collisions(uploads()) == []
    for one, other in zip(uploads(), uploads(), strict=True):
        assert canonical(one) == canonical(other)


def test_a_text_with_the_encoding_of_a_tokenizer_is_keyed():
    tokenizers = pytest.importorskip("tokenizers")
    words = {"[UNK]": 0, "a": 1, "b": 2}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()

    def features(text):
        encoding = tokenizer.encode(text)
        return marked(Features(input_ids=[encoding.ids]), _encodings=[encoding])

    assert collisions([features("a b"), features("b a"), features("a  b")]) == []
    assert canonical(features("a b")) == canonical(features("a b"))


# What to do about what has no key


class Pixel(ctypes.Structure):
    _fields_ = [("x", ctypes.c_int), ("y", ctypes.c_int)]


class Word(ctypes.Union):
    _fields_ = [("x", ctypes.c_int), ("y", ctypes.c_short)]


@pytest.mark.parametrize(
    ("value", "remedy"),
    [
        (iter([1]), "list(value)"),
        ((n for n in (1,)), "list(value)"),
        (zip([1]), "list(value)"),
        (len, "value.__qualname__"),
        (types.MappingProxyType({1: 2}), "dict(value)"),
        (io.BufferedReader(io.BytesIO(b"a")), "value.read()"),
        (object(), "what the model reads of it, or name what counts in key="),
        (Custom(), "vars(value)"),
        (ctypes.c_int(1), "value.value"),
        (ctypes.c_char_p(b"a"), "value.value"),
        (Pixel(1, 2), "bytes(value)"),
        (Word(1), "bytes(value)"),
        ((ctypes.c_int * 2)(1, 2), "bytes(value)"),
        (type("Arr", (array.array,), {})("b"), "what the model reads of it"),
        (ctypes.pointer(ctypes.c_int(1)), "what the model reads of it"),
        (functools.partial(print, 1), "what the model reads of it"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_error_names_the_remedy(value, remedy):
    with pytest.raises(KeyEncodingError, match=re.escape(f"give it as {remedy}")):
        canonical({"x": value})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (ctypes.c_int(1), ctypes.c_int(2)),
        (Pixel(1, 2), Pixel(1, 3)),
        (Word(1), Word(2)),
        ((ctypes.c_int * 2)(1, 2), (ctypes.c_int * 2)(1, 3)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_the_remedy_gives_of_values_of_c_tells_them_apart(one, other):
    with pytest.raises(KeyEncodingError) as caught:
        canonical(one)
    given = re.search(r"give it as (value\.\w+|bytes\(value\))", str(caught.value))[1]
    forms = [canonical(eval(given, {"value": value})) for value in (one, other)]
    assert forms[0] != forms[1]
