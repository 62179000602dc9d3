"""Two answers: which agree, and what is said of those that do not."""

import contextlib
import copy
import dataclasses
import datetime as dt
import enum
import io
import json
import math
import pathlib
import re
import subprocess
import sys
import types
import uuid
from collections import Counter, OrderedDict, UserDict, defaultdict, deque, namedtuple
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from support.values import everything, facts, nested

from litcache.trial.answers import objects
from litcache.trial.answers.compare import Difference, differences, freeze, raised
from litcache.trial.answers.places import path

# With numpy, lists are compared by it; a test below compares that with what is done without it.
with contextlib.suppress(ImportError):
    import numpy  # noqa: F401

some = settings(max_examples=150, deadline=None)
NAN, INF = math.nan, math.inf
Point = namedtuple("Point", "x y")
NOW = 1_764_398_400.123


class Colour(enum.Enum):
    RED, GREEN = 1, 2


class Plain:
    """An object without `__eq__`."""

    def __init__(self, **attributes):
        vars(self).update(attributes)


class Slotted:
    __slots__ = ("x", "y")

    def __init__(self, x):
        self.x = x


@dataclasses.dataclass
class Box:
    x: float
    label: str = "cat"


class Words(list):
    def __init__(self, *words, language="en"):
        super().__init__(words)
        self.language = language


class Marked(str):
    """A text with an attribute."""

    def __new__(cls, text, mark):
        made = super().__new__(cls, text)
        made.mark = mark
        return made


class Scores(dict):
    """A dict whose keys are attributes too, as a `ModelOutput` of transformers has them."""

    def __init__(self, **scores):
        super().__init__(scores)
        vars(self).update(scores)


def said(cached, model, **options):
    """What is said of two answers."""
    return [str(found) for found in differences(freeze(cached), freeze(model), **options)]


def of_itself(value):
    """What is said of an answer beside itself."""
    return said(value, value)


AGREE = [
    ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    (OrderedDict(a=1, b=2), OrderedDict(b=2, a=1)),
    ({"a", "b", 3}, {3, "b", "a"}),
    (0.914, 0.912),
    (0.914 + 0.1j, 0.912 + 0.1j),
    (NAN, float("nan")),
    ([1.0, NAN], [1.0, float("nan")]),
    (complex(NAN, 0), complex(NAN, 0)),
    (INF, INF),
    ([INF, 1.0], [INF, 1.001]),
    (-0.0, 0.0),
    (0.0, 0.0),
    (1e308, 1e308),
    ([100.0], [101.005]),  # the larger one of both gives the magnitude
    (NOW, NOW + 1e-4),
    ([NOW, NOW], [NOW, NOW + 1e-4]),
    (1_500_000_000.0, 1_500_128_000.0),  # a model's, of single precision
    ({0.0: 1}, {-0.0: 1}),
    # a number near zero counts with those that belong to it
    ([0.5, 1e-9], [0.5, 2e-9]),
    ((0.5, 1e-9), (0.5, 2e-9)),
    ([[0.5, 0.1], [1e-9, 0.0]], [[0.5, 0.1], [-1e-9, 1e-9]]),
    ([{"score": 0.9}, {"score": 1e-9}], [{"score": 0.9}, {"score": 3e-9}]),
    ([("cat", 0.9), ("dog", 1e-9)], [("cat", 0.9), ("dog", 3e-9)]),
    ([[Box(0.9)], [Box(1e-9)]], [[Box(0.9)], [Box(2e-9)]]),
    ({"cat": 0.9, "dog": 1e-9}, {"cat": 0.9, "dog": 2e-9}),
    ({"cat": 640.0, "dog": 1e-9}, {"cat": 640.0, "dog": 0.009}),
    ([1e-9, None, 0.5], [2e-9, None, 0.5]),
    # zero but for rounding
    (0.0, 2.0**-24),
    ({"distance": -(2.0**-23)}, {"distance": 16 * 2.0**-24}),
    ({"distance": 0.0}, {"distance": -(2.0**-53)}),
    ([2.0**-24], [0.0]),
    # text that is JSON
    ('{"a": [1.0, 2]}', '{"a":[1.001,2]}'),
    (b' [1.0, {"b": 1, "a": 2}]', b'[1.001,{"a":2,"b":1}]\n'),
    ('data: {"score": 0.912}\n\n', 'data: {"score": 0.914}\n\n'),
    (["[1.0]", "[2.0]"], ["[1.001]", "[2]".replace("2", "2.001")]),
    (Words("a"), Words("a")),
]
DISAGREE = [
    # rounding leaves a few whole units
    (0.0, 17 * 2.0**-24, "$: 0.0 from the cache, 1.013279e-06 from the model"),
    (0.0, 1.5 * 2.0**-24, "$: 0.0 from the cache, 8.940697e-08 from the model"),
    (2.0**-24, 0.25, "$: 5.960464e-08 from the cache, 0.25 from the model"),
    ([0.0, 0.0], [0.0, 2.0**-24], "$[1]: 0.0 from the cache, 5.960464e-08 from the model"),
    # types
    (1, 1.0, "$: int 1 from the cache, float 1.0 from the model"),
    (True, 1, "$: bool True from the cache, int 1 from the model"),
    (0, False, "$: int 0 from the cache, bool False from the model"),
    ([True], [1], "$[0]: bool True from the cache, int 1 from the model"),
    ([1, 2], [1, 2.0], "$[1]: int 2 from the cache, float 2.0 from the model"),
    (None, 0, "$: None from the cache, int 0 from the model"),
    ([None], [0.0], "$[0]: None from the cache, float 0.0 from the model"),
    ("a", b"a", "$: str 'a' from the cache, bytes b'a' from the model"),
    (b"a", bytearray(b"a"), "$: bytes b'a' from the cache, bytearray b'a' from the model"),
    ([1], (1,), "$: a list of 1 from the cache, a tuple of 1 from the model"),
    ({1}, frozenset({1}), "$: a set from the cache, a frozenset from the model"),
    ({}, [], "$: a dict of 0 from the cache, a list of 0 from the model"),
    ({}, OrderedDict(), "$: a dict of 0 from the cache, a collections.OrderedDict of 0 from"),
    ({1: 0}, {"1": 0}, "$[1]: 0 from the cache, not there from the model"),
    ({1: 0}, {True: 0}, "$[1]: 0 from the cache, not there from the model"),
    (Words("a"), ["a"], "Words from the cache, a list of 1 from the model"),
    (Point(1, 2), (1, 2), "Point from the cache, a tuple of 2 from the model"),
    # keys and lengths
    ({"a": {}}, {"a": {"b": 1}}, "$.a.b: not there from the cache, 1 from the model"),
    ({"a b": 1}, {}, '$["a b"]: 1 from the cache, not there from the model'),
    ({"a": [1, 2, 3]}, {"a": [1]}, "$.a: 3 parts from the cache, 1 from the model"),
    ([0.5], [], "$: 1 part from the cache, 0 from the model"),
    ({"x": {1, 2}}, {"x": {1}}, '$.x["2"]: 2 from the cache, not there from the model'),
    # values
    (1, 2, "$: 1 from the cache, 2 from the model"),
    (10**5000, 10**5000 + 1, "$: a large number from the cache, a large number from the model"),
    ([1, 2, 3], [1, 5, 6], "$[1]: 2 from the cache, 5 from the model"),
    ([False, True], [False, False], "$[1]: True from the cache, False from the model"),
    ({"a": [[1, 2], [3, 4]]}, {"a": [[1, 2], [3, 5]]}, "$.a[1][1]: 4 from the cache, 5 from"),
    ("Hallo", "Bonjour", "$: 'Hallo' from the cache, 'Bonjour' from the model"),
    ("x" * 90 + "a", "x" * 90 + "b", "$: …'xxxxxxxxxxxxxxxxxxxxa' from the cache, …'xxx"),
    (
        "x" * 90,
        "x" * 91,
        "$: …'xxxxxxxxxxxxxxxxxxxx' from the cache, …'xxxxxxxxxxxxxxxxxxxxx' from",
    ),
    (b"\0\1", b"\0\2", r"$: b'\x00\x01' from the cache, b'\x00\x02' from the model"),
    # floats
    ({"e": [0.1, 0.12]}, {"e": [0.1, 0.57]}, "$.e[1]: 0.12 from the cache, 0.57 from the model"),
    ([0.5, 0.2, 0.9], [0.6, 0.5, 0.9], "$[1]: 0.2 from the cache, 0.5 from the model"),
    ([[0.1], [0.2]], [[0.1], [0.9]], "$[1][0]: 0.2 from the cache, 0.9 from the model"),
    ({"score": 0.12}, {"score": 0.57}, "$.score: 0.12 from the cache, 0.57 from the model"),
    ({"a": 1e-9, "b": "x"}, {"a": 2e-9, "b": "x"}, "$.a: 1e-09 from the cache, 2e-09 from the"),
    (0.0, 1e-300, "$: 0.0 from the cache, 1e-300 from the model"),
    (1.0, -1.0, "$: 1.0 from the cache, -1.0 from the model"),
    (1e308, -1e308, "$: 1e+308 from the cache, -1e+308 from the model"),
    (NAN, 0.0, "$: nan from the cache, 0.0 from the model"),
    ([1.0, 0.0], [1.0, NAN], "$[1]: 0.0 from the cache, nan from the model"),
    (INF, -INF, "$: inf from the cache, -inf from the model"),
    ([INF, 1e300], [1e300, 1e300], "$[0]: inf from the cache, 1e+300 from the model"),
    ([INF, 0.1], [INF, 0.2], "$[1]: 0.1 from the cache, 0.2 from the model"),
    (1j, 2j, "$: 1j from the cache, 2j from the model"),
    (complex(1.7e308, 1.7e308), 0j, "$: 1.7e+308+1.7e+308j from the cache, 0j from the model"),
    ({"cat": 640.0, "dog": 0.1}, {"cat": 640.0, "dog": 0.2}, "$.dog: 0.1 from the cache, 0.2 from"),
    # what is of several sorts is measured apart
    (([640.0], [0.1]), ([640.0], [0.9]), "$[1][0]: 0.1 from the cache, 0.9 from the model"),
    ({"w": [640.0], "s": [0.1]}, {"w": [640.0], "s": [0.9]}, "$.s[0]: 0.1 from the cache, 0.9"),
    ({"w": 640.0, "s": 0.1, "i": 0}, {"w": 640.0, "s": 0.9, "i": 0}, "$.s: 0.1 from the cache"),
    (Plain(w=640.0, s=1e-9), Plain(w=640.0, s=2e-9), "$.s: 1e-09 from the cache, 2e-09 from the"),
    # clocks
    ({"at": NOW}, {"at": NOW + 1}, f"$.at: {NOW} from the cache, {NOW + 1} from the model"),
    ({"at": NOW * 1e3}, {"at": NOW * 1e3 + 999}, "$.at: 1764398400123.0 from the cache"),
    ([NOW, 0.1], [NOW, 0.9], "$[1]: 0.1 from the cache, 0.9 from the model"),
    ([[NOW], [0.1]], [[NOW], [0.9]], "$[1][0]: 0.1 from the cache, 0.9 from the model"),
    ([[INF], [0.1]], [[INF], [0.9]], "$[1][0]: 0.1 from the cache, 0.9 from the model"),
    ([NOW, 640.0], [NOW + 1, 640.0], f"$[0]: {NOW} from the cache, {NOW + 1} from the model"),
    ([NOW * 1e3, 1e6], [NOW * 1e3 + 9, 1e6], "$[0]: 1764398400123.0 from the cache, 17643984001"),
    ([0.1, NOW], [0.1, NOW + 0.1], f"$[1]: {NOW} from the cache, {NOW + 0.1} from the model"),
    # text that is JSON, and text that is none
    ('{"a": [1.0, 2]}', '{"a":[1.0,3]}', "$.a[1]: 2 from the cache, 3 from the model"),
    ('{"a": 1}', '{"a": 1', """$: '{"a": 1}' from the cache, '{"a": 1' from the model"""),
    ("0.5", "0.50", "$: '0.5' from the cache, '0.50' from the model"),
    ("[" * 9999, "[" * 9998, "$: …'[[[[[[[[[[[[[[[[[[[[[' from the cache, …'["),
    # objects
    (Plain(a=1), Plain(a=2), "$.a: 1 from the cache, 2 from the model"),
    (Plain(a=1), Plain(), "$.a: 1 from the cache, not there from the model"),
    (Plain(), Slotted(1), "Plain from the cache, a "),
    (Slotted(1), Slotted(2), "$.x: 1 from the cache, 2 from the model"),
    (Box(0.1), Box(0.9), "$.x: 0.1 from the cache, 0.9 from the model"),
    (Point(1, 2), Point(1, 3), "$.y: 2 from the cache, 3 from the model"),
    (Words("a"), Words("b"), "$.value[0]: 'a' from the cache, 'b' from the model"),
    (Words(language="a"), Words(language="b"), "$.language: 'a' from the cache, 'b' from the"),
    (Scores(a=1), Scores(a=2), "$.a: 1 from the cache, 2 from the model"),
    (Marked("a", 1), Marked("a", 2), "$.mark: 1 from the cache, 2 from the model"),
    (Marked("a", 1), Marked("b", 1), "$.value: 'a' from the cache, 'b' from the model"),
    (UserDict(a=1), UserDict(a=2), "$.data.a: 1 from the cache, 2 from the model"),
    (deque([1]), deque([2]), "$[0]: 1 from the cache, 2 from the model"),
    (defaultdict(int, a=1), defaultdict(int, a=2), "$.a: 1 from the cache, 2 from the model"),
    (types.SimpleNamespace(a=1), types.SimpleNamespace(a=2), "$.a: 1 from the cache, 2 from"),
    (types.MappingProxyType({"a": 1}), types.MappingProxyType({"a": 2}), "$.a: 1 from the cache"),
    (range(3), range(4), "$.arguments[1]: 3 from the cache, 4 from the model"),
    (re.compile("a"), re.compile("b"), "$.arguments[0]: 'a' from the cache, 'b' from the model"),
    (ValueError("a"), ValueError("b"), "$.arguments[0]: 'a' from the cache, 'b' from the model"),
    # values without parts
    (Colour.RED, Colour.GREEN, "$: RED from the cache, GREEN from the model"),
    (Colour.RED, 1, "Colour RED from the cache, int 1 from the model"),
    (Decimal("1.10"), Decimal("1.1"), "$: 1.10 from the cache, 1.1 from the model"),
    (Fraction(1, 2), Fraction(1, 3), "$: 1/2 from the cache, 1/3 from the model"),
    (dt.date(2026, 1, 1), dt.date(2026, 1, 2), "$: 2026-01-01 from the cache, 2026-01-02 from"),
    (dt.datetime(2026, 1, 1), dt.datetime(2026, 1, 1, 1), "$: 2026-01-01 00:00:00 from the"),
    (
        dt.datetime(2026, 1, 1),
        dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc),
        "$: 2026-01-01 00:00:00 from the cache, 2026-01-01 00:00:00+00:00 from the model",
    ),
    (dt.datetime(2026, 1, 1), dt.datetime(2026, 1, 1, fold=1), "$: 2026-01-01 00:00:00 from the"),
    (dt.timedelta(1), dt.timedelta(2), "$: 1 day, 0:00:00 from the cache, 2 days, 0:00:00 from"),
    (uuid.UUID(int=1), uuid.UUID(int=2), "0001 from the cache, 00000000-0000-0000-0000-0000000"),
    (pathlib.Path("a"), pathlib.Path("b"), "$: a from the cache, b from the model"),
    (io.BytesIO(b"a"), io.BytesIO(b"b"), "$: b'a' from the cache, b'b' from the model"),
    (io.StringIO("a"), io.StringIO("b"), "$: 'a' from the cache, 'b' from the model"),
    (bytearray(b"a"), bytearray(b"b"), "$: b'a' from the cache, b'b' from the model"),
    (memoryview(b"a"), memoryview(b"b"), "$: 1 bytes from the cache, 1 bytes from the model"),
    (int, float, "$: int from the cache, float from the model"),
]


@pytest.mark.parametrize(("cached", "model"), AGREE, ids=range(len(AGREE)))
def test_these_agree(cached, model):
    assert said(cached, model) == said(model, cached) == []


@pytest.mark.parametrize(
    ("cached", "model", "text"), DISAGREE, ids=[text[:50] for *_, text in DISAGREE]
)
def test_these_do_not_and_the_text_says_where(cached, model, text):
    found = said(cached, model)
    assert len(found) == 1 or isinstance(cached, dict)  # of keys, each side has its own
    assert text in found[0]
    assert said(model, cached) != []
    assert of_itself(cached) == of_itself(model) == []


def test_what_cannot_be_compared_is_said_to_be_so(tmp_path):
    def tokens():
        yield 1

    async def later():
        return 1

    coroutine = later()
    file = (tmp_path / "a").open("w+")
    for value, why in [
        (tokens(), "a generator, which can be read only once"),
        (map(int, "1"), "a map, which can be read only once"),
        (coroutine, "a coroutine, which can be read only once"),
        (file, "a _io.TextIOWrapper, which is a file"),
        (sys._getframe(), "a frame, of which Python shows no parts"),
    ]:
        text = f"what cannot be compared ({why})"
        assert of_itself({"a": value}) == [f"$.a: {text} from the cache, {text} from the model"]
        assert said({"a": value}, {"a": 1})[0].endswith("from the cache, int 1 from the model")
    coroutine.close()
    file.close()


def test_more_values_agree_with_their_copies():
    for value in [
        Counter("aab"), {}.keys(), {"a": 1}.items(), slice(1, 2), ..., NotImplemented, len, math,
        object(), types.SimpleNamespace(), b"", "", (), [], {}, set(), [[]], {None: 1, 1.5: 2},
        {(1, "a"): 1, Colour.RED: 2, frozenset({1}): 3}, Words(), Exception(), lambda: 0,
        {float("nan"): 1}, {0.0: 1}, dt.time(1, fold=1), Point([1], {}), [Decimal("NaN")],
        re.compile("a").match("a").re, Plain(lock=__import__("threading").Lock()), type(None),
    ]:  # fmt: skip
        assert of_itself(value) == []


def test_what_is_both_an_entry_and_an_attribute_is_said_once():
    assert len(said(Scores(a=1), Scores(a=2))) == 1
    one, other = Scores(a=1), Scores(a=1)
    other.more = 2
    assert said(one, other) == ["$.more: not there from the cache, 2 from the model"]


def test_keys_that_cannot_be_compared_are_equal_to_no_others():
    assert said({iter("a"): 1}, {iter("a"): 1})
    assert said({iter("a")}, {iter("a")})


def test_numbers_of_a_row_belong_together_though_a_place_in_it_is_ignored():
    for row in (list, tuple):
        assert said(row([0.5, 1e-9, 1.0]), row([0.5, 2e-9, 9.0]), ignore=["$[2]"]) == []


def test_text_that_is_too_large_to_be_read_as_json_is_compared_as_text(monkeypatch):
    monkeypatch.setattr(objects, "_LARGEST_JSON", 9)
    assert said("[1.0, 2]", "[1.0,2]") == []
    assert said("[1.0, 2, 3]", "[1.0,2,3]") == [
        "$: '[1.0, 2, 3]' from the cache, '[1.0,2,3]' from the model"
    ]


def test_a_difference_of_floats_up_to_the_tolerance_agrees_and_one_beyond_it_does_not():
    for shape in (lambda x: x, lambda x: [x, 100.0], lambda x: {"a": [[x], [100.0]]}):
        assert said(shape(100.0), shape(101.0), tolerance=0.01) == []
        assert len(said(shape(100.0), shape(101.5), tolerance=0.01)) == 1
        assert said(shape(100.0), shape(150.0), tolerance=0.5) == []
        assert said(shape(100.0), shape(100.0), tolerance=0) == []
        found = said(shape(100.0), shape(100.0 + 1e-9), tolerance=0)
        assert found[0].endswith(": 100.0 from the cache, 100.000000001 from the model")


def test_there_are_no_more_differences_than_the_limit():
    one, other = {f"k{i}": i for i in range(50)}, {f"k{i}": i + 1 for i in range(50)}
    assert len(said(one, other)) == 16
    assert len(said(one, other, limit=3)) == 3
    assert len(said(one, other, limit=0)) == 1
    floats = [{"a": float(i)} for i in range(50)], [{"a": -float(i)} for i in range(50)]
    assert len(said(*floats, limit=3)) == 3
    assert len(said([[i] for i in range(50)], [[i + 1] for i in range(50)], limit=3)) == 3


def test_differences_stand_in_the_order_of_the_answer():
    one = {"a": 0.1, "b": 1, "c": [0.1, 0.2], "d": 1}
    other = {"a": 0.9, "b": 2, "c": [0.1, 0.9], "e": 2}
    found = differences(freeze(one), freeze(other))
    assert [difference.path for difference in found] == ["$.a", "$.b", "$.c[1]", "$.d", "$.e"]
    assert [difference.place for difference in found] == ["$.a", "$.b", "$.c", "$.d", "$.e"]


def test_a_long_path_is_cut_in_the_text_alone():
    key = "k" * 1000
    (found,) = differences(freeze({key: 1}), freeze({key: 2}))
    assert found.path == f"$.{key}"
    assert len(str(found)) < 300
    assert str(Difference("$.a", "1", "2")) == "$.a: 1 from the cache, 2 from the model"


def test_equal_errors_agree_and_an_error_beside_a_value_does_not():
    error = raised(ValueError("a"))
    assert differences(error, raised(ValueError("a"))) == []
    for other, text in [
        (raised(ValueError("b")), "$.text: 'a' from the cache, 'b' from the model"),
        (raised(KeyError("a")), "$: the error ValueError from the cache, the error KeyError from"),
        (freeze("a"), "$: the error ValueError from the cache, str 'a' from the model"),
        (freeze(ValueError("a")), "$: the error ValueError from the cache, a ValueError from the"),
    ]:
        assert str(differences(error, other)[0]).startswith(text)
        assert differences(other, error)


def test_errors_for_clients_agree_by_status_and_detail():
    fastapi = pytest.importorskip("fastapi")
    error = raised(fastapi.HTTPException(429, {"retry": 1}))
    assert differences(error, raised(fastapi.HTTPException(429, {"retry": 1}))) == []
    for other in (
        fastapi.HTTPException(429, {"retry": 2}),
        fastapi.HTTPException(430, {"retry": 1}),
    ):
        assert differences(error, raised(other))


def test_a_detail_that_the_text_of_an_error_does_not_show_counts():
    def error(detail):
        made = ValueError("a")
        made.detail = detail
        return raised(made)

    assert differences(error([1]), error([1])) == []
    assert [str(found) for found in differences(error([1]), error([2]))] == [
        "$.detail[0]: 1 from the cache, 2 from the model"
    ]


def test_an_error_that_cannot_be_read_agrees_with_nothing():
    class Mute(Exception):
        def __str__(self):
            raise RuntimeError

        @property
        def detail(self):
            raise RuntimeError

    found = differences(raised(Mute()), raised(Mute()))
    assert found


# ---------------------------------------------------------------------- laws


def leaves(value, place=None):
    """The places of what has no parts in a value of lists and dicts, with it."""
    if isinstance(value, dict) and value:
        for key, part in value.items():
            yield from leaves(part, (place, key))
    elif isinstance(value, list) and value:
        for at, part in enumerate(value):
            yield from leaves(part, (place, at))
    else:
        yield place, value


def replaced(value, place, leaf):
    """A copy of a value with another leaf in one place."""
    if place is None:
        return leaf
    steps = []
    while place is not None:
        place, step = place
        steps.append(step)
    changed = copy.deepcopy(value)
    inner = changed
    for step in reversed(steps[1:]):
        inner = inner[step]
    inner[steps[0]] = leaf
    return changed


def turned(value):
    """A value with its dicts in another order."""
    if isinstance(value, dict):
        return {key: turned(value[key]) for key in reversed(value)}
    return list(map(turned, value)) if isinstance(value, list) else value


finite = st.floats(-1e6, 1e6, allow_nan=False)
plain = st.one_of(st.none(), st.booleans(), st.integers(), st.text(), st.binary(), finite)
answers = st.recursive(
    plain,
    lambda parts: st.lists(parts, max_size=4) | st.dictionaries(st.text(), parts, max_size=4),
    max_leaves=12,
)


@some
@given(everything())
def test_a_value_agrees_with_a_copy_of_itself(value):
    copied = copy.deepcopy(value)
    assume(facts(copied) == facts(value))  # of PureWindowsPath("a:a:") Python makes another path
    assert said(value, copied) == []


@some
@given(answers)
def test_an_answer_agrees_with_itself_in_another_order(answer):
    assert said(answer, turned(answer), tolerance=0) == []


@some
@given(answers, answers)
def test_the_comparison_is_symmetric(one, other):
    back = differences(freeze(other), freeze(one), limit=10**6)
    there = differences(freeze(one), freeze(other), limit=10**6)
    assert {found.path for found in there} == {found.path for found in back}
    assert (there == []) == (said(one, other) == [])


@some
@given(answers, plain, st.data())
def test_one_leaf_that_is_changed_is_found_in_its_place(answer, leaf, data):
    place, old = data.draw(st.sampled_from(list(leaves(answer))))
    if type(leaf) is type(old) is float:
        leaf = old + data.draw(st.sampled_from([-1, 1])) * 3e6  # beyond all in its array
    assume(type(leaf) is not type(old) or leaf != old)
    found = differences(freeze(answer), freeze(replaced(answer, place, leaf)))
    assert [difference.path for difference in found] == [path(place)]
    assert said(answer, replaced(answer, place, leaf), ignore=[path(place)]) == []
    assert said(answer, replaced(answer, place, leaf), ignore=[found[0].place]) == []


@some
@given(nested(st.floats(-1e3, 1e3)), st.floats(-0.0099, 0.0099))
def test_noise_within_the_tolerance_is_no_difference(value, noise):
    def noisy(part):
        if isinstance(part, dict):
            return {key: noisy(inner) for key, inner in part.items()}
        if isinstance(part, (list, tuple)):
            return type(part)(map(noisy, part))
        return part * (1 + noise)

    assert said(value, noisy(value)) == []


@some
@given(answers, answers)
def test_whatever_differs_is_left_out_when_its_places_are_ignored(one, other):
    found = differences(freeze(one), freeze(other), limit=10**6)
    assert said(one, other, ignore=[difference.place for difference in found]) == []


# ---------------------------------------------------------------------- arrays


def test_arrays_agree_by_dtype_shape_and_elements():
    np = pytest.importorskip("numpy")
    rng = np.random.default_rng(0)
    vector = rng.normal(size=768).astype("f4")
    noise = (vector.max() * rng.uniform(-0.009, 0.009, 768)).astype("f4")
    for one, other in [
        (vector, vector + noise),
        (vector.reshape(3, -1), np.asfortranarray(vector.reshape(3, -1))),
        (vector, vector.astype(">f4")),
        (vector[::2], vector[::2].copy()),
        (np.array([np.nan, 1, -0.0, np.inf]), np.array([np.nan, 1, 0.0, np.inf])),
        (np.array([1 + 1j, np.nan]), np.array([1.001 + 1j, np.nan])),
        (np.zeros((0, 3)), np.zeros((0, 3))),
        (np.float32(0), np.float32(2.0**-24)),  # zero but for rounding
        (np.zeros(1, "f4"), np.full(1, 2.0**-24, "f4")),
        (np.array(0.5), np.array(0.501)),
        ([np.array([0.5]), np.array([1e-9])], [np.array([0.5]), np.array([2e-9])]),
        ([np.float32(0.5), np.float32(1e-9)], [np.float32(0.5), np.float32(2e-9)]),
        (np.array(["a", "bc"]), np.array(["a", "bc"], dtype="U9")),
        (np.array(["NaT", "2026"], "M8[s]"), np.array(["NaT", "2026"], "M8[s]")),
        (np.datetime64("2026"), np.datetime64("2026")),
        (np.array([None, {"a": 1}]), np.array([None, {"a": 1}])),
        (np.ma.array([1, 2], mask=[0, 1]), np.ma.array([1, 3], mask=[0, 1])),
        (np.zeros(2, [("a", "f4"), ("b", "U2")]), np.zeros(2, [("a", "f4"), ("b", "U2")])),
        (np.longdouble(0.5), np.longdouble(0.501)),
    ]:
        assert said(one, other) == said(other, one) == []


def test_of_arrays_the_worst_element_is_named():
    np = pytest.importorskip("numpy")
    zeros = np.zeros((2, 3), "f4")
    two, four = zeros.copy(), zeros.copy()
    two[0, 1], two[1, 2] = 0.5, 1
    four[1, 2] = np.nan
    for one, other, text in [
        (zeros, two, "$[1][2]: 0.0 from the cache, 1.0 from the model"),
        (zeros, four, "$[1][2]: 0.0 from the cache, nan from the model"),
        (
            zeros,
            zeros.astype("f8"),
            "$: a numpy.ndarray of float32 of shape (2, 3) from the",
        ),
        (zeros, zeros.T, "$: shape (2, 3) from the cache, shape (3, 2) from the model"),
        (
            zeros,
            zeros.tolist(),
            "$: a numpy.ndarray of float32 of shape (2, 3) from the",
        ),
        (zeros > 0, two > 0, "$[0][1]: False from the cache, True from the model"),
        (np.arange(3), np.array([0, 2, 1]), "$[1]: 1 from the cache, 2 from the model"),
        (np.array([2**64 - 1], "u8"), np.array([2**64 - 2], "u8"), "$[0]: 18446744073709551615 "),
        (np.float32(1), 1.0, "$: numpy.float32 1.0 from the cache, float 1.0 from the model"),
        (np.float32(1), np.float32(2), "$: 1.0 from the cache, 2.0 from the model"),
        (np.float64(NOW), np.float64(NOW + 1), f"$: {NOW} from the cache, {NOW + 1} from the"),
        (np.array([NOW, 0]), np.array([NOW + 1, 0]), f"$[0]: {NOW} from the cache, {NOW + 1} from"),
        (np.array([NOW, 640], ">f8"), np.array([NOW + 1, 640], ">f8"), f"$[0]: {NOW} from the"),
        (np.array([NOW, 0.1]), np.array([NOW, 0.9]), "$[1]: 0.1 from the cache, 0.9 from the mode"),
        (np.int64(1), np.int64(2), "$: 1 from the cache, 2 from the model"),
        (np.uint8(1), np.uint8(2), "$: 1 from the cache, 2 from the model"),
        (np.bool_(0), np.bool_(1), "$: False from the cache, True from the model"),
        (np.str_("a"), np.str_("b"), "$: 'a' from the cache, 'b' from the model"),
        (np.str_("a"), "a", "$: numpy.str_ 'a' from the cache, str 'a' from the model"),
        (np.datetime64("2026"), np.datetime64("2027"), "$: 2026 from the cache, 2027 from the"),
        (np.array(["a", "b"]), np.array(["a", "c"]), "$[1]: 'b' from the cache, 'c' from the"),
        (np.array([b"a"]), np.array([b"b"]), "$[0]: b'a' from the cache, b'b' from the model"),
        (np.array([1], "M8[s]"), np.array([2], "M8[s]"), "$[0]: 1 from the cache, 2 from the"),
        (np.array([{"a": 1}]), np.array([{"a": 2}]), "$[0].a: 1 from the cache, 2 from the model"),
        (np.zeros(1, [("a", "f4")]), np.ones(1, [("a", "f4")]), "$.a[0]: 0.0 from the cache, 1.0"),
        (np.ma.array([1], mask=[0]), np.ma.array([1], mask=[1]), "$.data[0]: 1 from the cache, 0"),
        (([zeros + 640], [two]), ([zeros + 640], [zeros]), "$[1][0][1][2]: 1.0 from the cache"),
        ([zeros + 640, two], [zeros + 640, zeros], "$[1][1][2]: 1.0 from the cache, 0.0 from"),
        (np.array([INF]), np.array([-INF]), "$[0]: inf from the cache, -inf from the model"),
        (np.array([1e308]), np.array([-1e308]), "$[0]: 1e+308 from the cache, -1e+308 from"),
    ]:
        assert said(one, other)[0].startswith(text)
        assert said(other, one)
        assert of_itself(one) == of_itself(other) == []


def test_elements_beyond_the_first_piece_of_an_array_are_compared_too():
    np = pytest.importorskip("numpy")
    large = np.ones(3_000_000, "f4")
    large[0] = 640  # what is large in one piece counts in all
    noisy = large.copy()
    noisy[2_500_000] = 5
    assert said(large, noisy) == []
    ones = np.ones(3_000_000, "f2")
    other = ones.copy()
    other[2_500_000] = 2
    assert said(ones, other) == ["$[2500000]: 1.0 from the cache, 2.0 from the model"]
    other = ones.astype("u1")
    other[2_500_000] = 2
    assert said(ones.astype("u1"), other) == ["$[2500000]: 1 from the cache, 2 from the model"]


def test_an_array_in_a_file_agrees_by_its_elements(tmp_path):
    np = pytest.importorskip("numpy")
    for name, value in (("a", 1), ("b", 1), ("c", 2)):
        np.memmap(tmp_path / name, "f4", "w+", shape=(2,)).fill(value)
    one, same, other = (np.memmap(tmp_path / name, "f4", "r") for name in "abc")
    assert said(one, same) == []
    assert said(one, other) == ["$[0]: 1.0 from the cache, 2.0 from the model"]


def test_places_inside_arrays_can_be_ignored():
    np = pytest.importorskip("numpy")
    one, other = {"a": np.zeros((2, 3))}, {"a": np.zeros((2, 3))}
    other["a"][1, 2] = 5
    for ignore in ("$.a", "$.a[1]", "$.a[1][2]", "$.a[*][2]", "$.a[1][*]", "$.a[*]", "$[*]", "$"):
        assert said(one, other, ignore=[ignore]) == []
    for ignore in ("$.a[0]", "$.a[1][0]", "$.a[*][0]", "$.a[7]", "$.a[1][2][0]", "$.a.x", "$.b"):
        assert len(said(one, other, ignore=[ignore])) == 1
    one["a"][0], other["a"][0] = 640, 640  # what is left out lends its magnitude to nothing
    assert len(said(one, other, ignore=["$.a[0]"])) == 1


def test_tensors_agree_within_the_noise_of_their_precision():
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    whole = torch.randn(64, 32)
    marked, more, noted = (torch.zeros(2) for _ in range(3))
    marked.tokens, more.tokens, noted._dynamo_propagated_dynamic_indices = 2, 3, {0}
    for one, other in [
        (marked, copy.deepcopy(marked)),
        (noted, torch.zeros(2)),
        (whole.bfloat16(), (whole * 1.004).bfloat16()),
        (whole.half(), (whole * 1.001).half()),
        (whole.bfloat16().tolist(), whole.tolist()),
        (whole, whole.T.contiguous().T),
        (whole.requires_grad_(), whole.detach()),
        (torch.complex(whole, whole).detach(), torch.complex(whole, whole).conj().conj().detach()),
        (torch.tensor([math.nan, math.inf, -0.0]), torch.tensor([math.nan, math.inf, 0.0])),
        (torch.zeros(2, dtype=torch.float8_e4m3fn), torch.zeros(2, dtype=torch.float8_e4m3fn)),
        (torch.tensor([0.5]), torch.tensor([0.501])),
        (torch.nn.Parameter(whole), torch.nn.Parameter(whole)),
        (torch.float32, torch.float32),
        (torch.device("cpu"), torch.device("cpu")),
        (torch.Size([1]), torch.Size([1])),
    ]:
        assert said(one, other) == said(other, one) == []
    for one, other, text in [
        (whole, whole.half(), "$: a torch.Tensor of float32 of shape (64, 32) from the cache, a"),
        (torch.zeros(2), torch.ones(2), "$[0]: 0.0 from the cache, 1.0 from the model"),
        (marked, more, "$.tokens: 2 from the cache, 3 from the model"),
        (marked, torch.zeros(2), "$: a torch.Tensor from the cache, a torch.Tensor of float32"),
        (torch.zeros(2), torch.zeros(3), "$: shape (2,) from the cache, shape (3,) from the model"),
        (torch.zeros(2), torch.zeros(2).numpy(), "$: a torch.Tensor of float32 of shape (2,) from"),
        (torch.tensor(1), torch.tensor(2), "$: 1 from the cache, 2 from the model"),
        (torch.tensor([True]), torch.tensor([False]), "$[0]: True from the cache, False from"),
        (torch.tensor([1], dtype=torch.uint64), torch.tensor([2], dtype=torch.uint64), "$[0]: 1 "),
        (torch.tensor([1j]), torch.tensor([-1j]), "$[0]: 1j from the cache, (-0-1j) from the"),
        (torch.eye(2).to_sparse(), torch.eye(2), "$: what cannot be compared (a torch.Tensor, it"),
        (torch.nn.Parameter(whole), whole, "$: a torch.nn.parameter.Parameter of float32 of sha"),
        (
            torch.tensor([NOW], dtype=torch.float64),
            torch.tensor([NOW + 1], dtype=torch.float64),
            "$",
        ),
        (torch.zeros(3_000_000), torch.arange(3_000_000).float(), "$[2999999]: 0.0 from the cache"),
    ]:
        assert said(one, other)[0].startswith(text)
        assert said(other, one)
    assert said(torch.zeros(2), torch.ones(2), ignore=["$[*]"]) == []


def test_large_floats_of_a_model_are_no_clocks():
    np = pytest.importorskip("numpy")
    single = np.array([1.5e9, 2.5e9], "f4")
    for one in (single, single.astype("f8"), single.tolist()):
        other = (np.array(one, dtype="f8") * 1.001).astype("f4")
        other = other.tolist() if isinstance(one, list) else other.astype(one.dtype)
        assert said(one, other) == []


def test_lists_of_numbers_are_measured_the_same_without_numpy():
    code = """
import math, random, sys
from litcache.trial.answers.compare import differences, freeze
from litcache.trial.answers import numbers
assert "numpy" not in sys.modules and "torch" not in sys.modules
def found(one, other):
    return [str(one) for one in differences(freeze(one), freeze(other))]
cases = [
    ([0.5, 1e-9], [0.5, 2e-9]), ([0.5, 0.1], [0.5, 0.9]), ([math.nan], [math.nan]),
    ([1.0, math.nan], [1.0, 0.0]), ([math.inf], [-math.inf]), ([1j], [2j]), ([], []),
    ([1764398400.123, 0.1], [1764398400.123, 0.9]), ([1764398400.123], [1764398401.123]),
    ([complex(1.7e308, 1.7e308)], [0j]), ([1e308], [-1e308]), ([math.inf, 0.1], [math.inf, 0.2]),
    ([1764398400.123, 640.0], [1764398401.123, 640.0]), ([1764398400.123], [1764398400.1231]),
    ([1764398400123.5, 1e6], [1764398409123.5, 1e6]), ([100.0], [101.005]), ([101.005], [100.0]),
    ([1764398400.123, math.inf], [1764398400.123, math.inf]), ([0.1, 0.2], [0.1, 0.2]),
]
before = [found(*case) for case in cases]
assert "numpy" not in sys.modules
import numpy
assert [found(*case) for case in cases] == before
print(sum(map(bool, before)))
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "11"


# ---------------------------------------------------------------------- other libraries


def test_models_of_pydantic_and_classes_of_attrs_agree_by_their_fields():
    pydantic, attrs = pytest.importorskip("pydantic"), pytest.importorskip("attrs")

    class Answer(pydantic.BaseModel):
        score: float
        more: list[dict] = pydantic.Field(default_factory=list)

    Own = attrs.make_class("Own", ["score", "more"])
    for cls in (Answer, Own):
        one = cls(score=0.5, more=[{"a": 1}])
        assert said(one, cls(score=0.501, more=[{"a": 1}])) == []
        assert said(one, cls(score=0.5, more=[{"a": 2}])) == [
            "$.more[0].a: 1 from the cache, 2 from the model"
        ]
    assert said(Answer(score=1.0), Answer(score=1.0, more=[])) == []  # set or not, it is the same


def test_images_agree_by_mode_size_pixels_and_info():
    image = pytest.importorskip("PIL.Image")
    black = image.new("RGB", (4, 4))
    white = image.new("RGB", (4, 4), "white")
    palette = image.new("P", (4, 4))
    other = palette.copy()
    palette.putpalette([0, 0, 0] * 256)
    other.putpalette([9, 9, 9] * 256)
    assert said(black, black.copy()) == []
    for one, two in [
        (black, white), (black, image.new("RGBA", (4, 4))), (black, image.new("RGB", (2, 8))),
        (palette, other), (black, image.new("YCbCr", (4, 4), (0, 0, 0))),
    ]:  # fmt: skip
        assert said(one, two)
    saved = io.BytesIO()
    white.save(saved, "PNG")
    assert said(image.open(saved), white) == []
    seeded, other_seed = white.copy(), white.copy()
    seeded.info["seed"], other_seed.info["seed"] = 1, 2
    assert said(seeded, seeded.copy()) == []
    assert said(seeded, other_seed) == ["$.info.seed: 1 from the cache, 2 from the model"]


@pytest.mark.parametrize("make", [lambda: io.BytesIO(b"a"), lambda: io.StringIO("a")])
def test_files_in_memory_agree_by_their_attributes_too(make):
    one, other = make(), make()
    one.name, other.name = "a.png", "b.png"
    assert said(one, other) == ["$.name: 'a.png' from the cache, 'b.png' from the model"]
    assert said(make(), make()) == []


def test_tables_agree_by_columns_dtypes_and_index():
    pd, pl = pytest.importorskip("pandas"), pytest.importorskip("polars")
    columns = {"score": [0.5, 1e-9], "name": ["a", None], "n": [1, 2]}
    near = {**columns, "score": [0.5, 2e-9]}
    for make in (pd.DataFrame, pl.DataFrame):
        assert said(make(columns), make(near)) == []
        for other, text in [
            (
                {**columns, "score": [0.9, 0.1]},
                "$.score[0]: 0.5 from the cache, 0.9 from the",
            ),
            ({**columns, "name": ["a", "b"]}, "$.name[1]: "),
            ({**columns, "n": [1.0, 2.0]}, "$.n: a numpy.ndarray of int64 of shape (2,) from the"),
            ({"score": [0.5, 1e-9], "n": [1, 2]}, "$.columns: 3 parts from the cache, 2 from the"),
            (dict(reversed(columns.items())), "$.columns[0]: 'score' from the cache, 'n' from the"),
        ]:
            assert said(make(columns), make(other))[0].startswith(text)
    for make in (pd.Series, pl.Series):
        assert said(make([0.5]), make([0.501])) == []
        assert said(make([0.5]), make([0.9])) == [
            "$.values[0]: 0.5 from the cache, 0.9 from the model"
        ]
    indexed = pd.DataFrame(columns, index=["x", "y"])
    assert said(indexed, pd.DataFrame(columns))
    assert said(pd.Index([1]), pd.Index([2])) == ["$[0]: 1 from the cache, 2 from the model"]
    twins = pd.DataFrame([[1, 2]], columns=["a", "a"])
    for row in ([1, 3], [3, 2]):
        assert said(twins, pd.DataFrame([row], columns=["a", "a"]))
    for value in [
        indexed, twins, pd.NA, pd.NaT, pd.Timestamp(5), pd.Categorical(["a"]), pd.RangeIndex(3),
        pd.Series(["a"], dtype="category"), pd.Series([1, None], dtype="Int64"),
        pd.MultiIndex.from_tuples([(1, 2)]), pl.Series([None, 1]), pl.Series([["a"], []]),
    ]:  # fmt: skip
        assert of_itself(value) == []
    assert said(pd.Timestamp(5), pd.Timestamp(6))


def test_arrays_of_other_libraries_are_compared_by_what_they_give_numpy():
    np = pytest.importorskip("numpy")

    class Device:
        """An array as jax and tensorflow have them: its elements are elsewhere."""

        def __init__(self, *values):
            self._at = iter(())
            self._values = values

        dtype = property(lambda self: np.dtype("f4"))

        def __array__(self, dtype=None, copy=None):
            return np.array(self._values, "f4")

    assert said(Device(0.5, 1e-9), Device(0.5, 2e-9)) == []
    assert said(Device(0.5), Device(0.9)) == ["$[0]: 0.5 from the cache, 0.9 from the model"]


# ---------------------------------------------------------------------- responses


def test_responses_agree_by_status_headers_and_body():
    responses = pytest.importorskip("starlette.responses")
    js, plain, stream = responses.JSONResponse, responses.Response, responses.StreamingResponse

    def answer(**changes):
        return plain(**{"content": b"a", "headers": {"x-model": "1"}, **changes})

    for one, other in [
        (js({"a": 0.5, "b": 1}), js({"b": 1, "a": 0.501})),
        (js(0.5), js(0.501)),
        (js([1.0]), js([1.001], headers={"Date": "now"})),
        (plain('{"a": 1.5}'), plain('{ "a": 1.50 }')),
        (answer(), answer(headers={"X-Model": "1", "date": "today"})),
        (answer(content=b""), answer(content=None)),
        (js(list(range(9))), js(list(range(9)))),
        (plain("[" * 5000), plain("[" * 5000)),
    ]:
        assert said(one, other) == said(other, one) == []
    for one, other, text in [
        (js({"a": 1}), js({"a": 2}), "$.body.a: 1 from the cache, 2 from the model"),
        (js({"a": 1}, 200), js({"a": 1}, 201), "$.status_code: 200 from the cache, 201 from"),
        (js({}), plain("{}"), "$: a starlette.responses.JSONResponse from the cache, a starlette"),
        (answer(), answer(content=b"b"), "$.body: b'a' from the cache, b'b' from the model"),
        (answer(), answer(headers={"x-model": "2"}), "$.headers.x-model[0]: '1' from the cache"),
        (answer(), answer(headers={}), "$.headers.x-model: a list of 1 from the cache, not there"),
        (answer(), answer(media_type="text/plain"), "$.media_type: None from the cache, str 'tex"),
        (stream(iter("a")), stream(iter("a")), "$.body: what cannot be compared (a stream) from"),
        (responses.FileResponse("/a"), responses.FileResponse("/a"), "$.body: what cannot be comp"),
    ]:
        assert said(one, other)[0].startswith(text)
        assert said(other, one)


def test_a_response_of_any_other_package_is_known_by_what_it_has():
    def answer(**changes):
        return Plain(**{"status_code": 200, "headers": {}, "body": "[1.0]", **changes})

    assert said(answer(), answer(headers={"Content-Length": "5"}, body="[1.001]")) == []
    assert said(answer(), answer(body="[2]".replace("2", "2.0")))
    assert said(answer(), answer(headers={"X": "5"}))
    assert said(answer(headers=[(b"a", b"1")]), answer(headers=[("A", "1")])) == []


def test_values_that_json_brought_back_agree_with_what_it_was_given():
    answer = {"scores": [0.25, 0.5], "label": "é", "n": 3, "ok": True, "none": None}
    assert said(json.dumps(answer), json.dumps(answer, indent=2, ensure_ascii=False)) == []


def test_numbers_of_more_than_64_bits_are_compared_alone():
    np = pytest.importorskip("numpy")
    for kind in "gG":
        assert said(np.zeros(1, kind), np.zeros(1, kind)) == []
        assert said(np.zeros(1, kind), np.ones(1, kind)) != []


def test_with_no_tolerance_what_rounding_leaves_counts():
    assert differences(freeze(0.0), freeze(2.0**-24), tolerance=0)
    assert not differences(freeze(0.0), freeze(-0.0), tolerance=0)
