"""Members of enums: those of modules by name and value, those made at run time by all they hold."""

import datetime as dt
import enum
import http
import sys
import threading
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
from support.forms import collisions

from litcache.errors import KeyEncodingError
from litcache.keys.encoder import canonical


class Act(enum.Enum):
    """Its values are functions, so they have no form; in a module the names stand for them."""

    UPPER = enum.member(str.upper) if hasattr(enum, "member") else (str.upper,)
    LOWER = enum.member(str.lower) if hasattr(enum, "member") else (str.lower,)


class Planet(enum.Enum):
    EARTH = (6.0, 6.4)
    MARS = (0.6, 3.4)

    def __init__(self, mass, radius):
        self.lock = threading.Lock()  # of the module's code, and without a form
        self.density = mass / radius**3


class Access(enum.Flag):
    READ = 1
    WRITE = 2


class Open(enum.Enum):
    OTHER = "other"

    @classmethod
    def _missing_(cls, value):
        made = object.__new__(cls)
        made._name_, made._value_ = "OTHER", value
        return made


class Circle(enum.Enum):
    ONE = SimpleNamespace(n=1)
    TWO = SimpleNamespace(n=2)


def made(values, name="Label", kind=enum.Enum, **options):
    """An enum that is made at run time, each time of one name."""
    return kind(name, values, module=__name__, **options)


def local(scale, name="cat"):
    class Sized(enum.Enum):
        A = 1

        def __init__(self, value):
            self.scale = scale
            self.label = name

    return Sized


def shown(data):
    class Shown(bytes, enum.Enum):
        A = 1

        def __new__(cls, value):
            self = bytes.__new__(cls, data)
            self._value_ = value
            return self

    return Shown.A


@dataclass
class Sides:
    width: int
    height: int = 1


# In each row every value differs from every other one, though their classes have one name.
APART = {
    "values": [made({"cat": value})["cat"] for value in (1, 2, 1.0, "1", None, (1,), [1])],
    "values of texts": [made({"cat": value}, type=str)["cat"] for value in ("1", "2")],
    "values of a dataclass": [
        enum.Enum("Box", {"A": value}, module=__name__, type=Sides).A for value in ((1, 2), (1, 3))
    ],
    "names": [made({name: 1})(1) for name in ("cat", "dog")],
    "other members": [made(names)["cat"] for names in ("cat dog", "cat bird", "cat")],
    "other values of other members": [made({"a": 1, "b": n})["a"] for n in (2, 3)],
    "aliases": [made(values)["a"] for values in ({"a": 1}, {"a": 1, "b": 1}, {"a": 1, "c": 1})],
    "order": [made(names)["cat"] for names in ({"cat": 1, "dog": 2}, {"dog": 2, "cat": 1})],
    "attributes": [local(1).A, local(2).A, local(1, "dog").A],
    "the builtin that it is": [shown(b"a"), shown(b"b")],
    "kinds": [made({"cat": 1}, kind=kind)["cat"] for kind in (enum.Enum, enum.IntEnum)],
    "flags": [
        made(values, kind=enum.Flag)(3)
        for values in ({"a": 1, "b": 2}, {"b": 1, "a": 2}, {"a": 1, "b": 2, "c": 4})
    ],
    "combinations": [made("a b", kind=enum.Flag)(value) for value in (0, 1, 2, 3)],
    "in a module": [Access.READ, Access.WRITE, Access(3), Access(0), *Planet, *Act, *Open],
    "made by _missing_": [Open.OTHER, Open("x"), Open("y"), Open(1)],
}


@pytest.mark.parametrize("values", APART.values(), ids=APART)
def test_members_that_can_be_told_apart_have_other_forms(values):
    assert collisions(values) == []
    assert collisions([[value] for value in values]) == []


def test_an_enum_of_a_module_and_one_made_of_its_name_differ():
    members = {each.name: each.value for each in Access}
    assert canonical(made(members, "Access", enum.Flag).READ) != canonical(Access.READ)


EQUAL = {
    "made twice": lambda: made({"cat": [1], "dog": "x"})["cat"],
    "combination made twice": lambda: made("a b", kind=enum.Flag)(3),
    "local": lambda: local([1]).A,
    "by _missing_": lambda: Open("x"),
    "of the standard library": lambda: http.HTTPStatus.OK,
}


@pytest.mark.parametrize("make", EQUAL.values(), ids=EQUAL)
def test_what_is_made_twice_alike_has_one_form(make):
    assert canonical(make()) == canonical(make())


def test_what_python_notes_in_a_member_when_it_is_used_does_not_count():
    used, fresh = (made("a b", kind=enum.Flag) for _ in range(2))
    assert ~used.a == used.b
    repr(used(3))
    assert canonical(used.a) == canonical(fresh.a)
    assert canonical(used(3)) == canonical(fresh(3))


def test_the_value_of_an_enum_in_its_module_counts_where_it_has_a_form(monkeypatch):
    module = sys.modules[__name__]
    keys = []
    for values in ({"cat": 1}, {"cat": 2}, {"cat": 1}):
        monkeypatch.setattr(module, "Label", made(values), raising=False)
        keys.append(canonical(module.Label["cat"]))
    assert keys[0] == keys[2] != keys[1]


def test_a_member_of_a_module_keeps_its_form_whatever_its_value_or_attributes():
    assert collisions([*Act, *Planet]) == []
    assert canonical(Act.UPPER) == canonical(Act.UPPER)


def test_a_member_made_at_run_time_that_holds_what_has_no_form_is_refused_with_the_remedy():
    for values in ({"a": object()}, {"a": 1, "b": object()}):
        with pytest.raises(KeyEncodingError, match=r"give it as value\.name") as caught:
            canonical({"x": [made(values)["a"]]})
        assert caught.value.path == "$.x[0]"
    with pytest.raises(KeyEncodingError, match=r"value\.name"):
        canonical(enum.Enum("Day", {"A": (2024, 1, 1)}, module=__name__, type=dt.date).A)


def test_members_that_hold_each_other_end_in_the_error(monkeypatch):
    for each in Circle:
        monkeypatch.setattr(each.value, "all", [*Circle] * 2, raising=False)
    with pytest.raises(KeyEncodingError, match="contains itself"):
        canonical(Circle.ONE)
    label = made("a b")
    label.a.next, label.b.next = label.b, label.a
    with pytest.raises(KeyEncodingError, match="contains itself"):
        canonical(label.a)


def test_little_stack_left_is_an_error_and_no_other_form():
    def deep(levels):
        return canonical(Planet.EARTH) if levels == 0 else deep(levels - 1)

    def tried(levels):
        try:
            return deep(levels)
        except (KeyEncodingError, RecursionError) as error:
            return type(error)

    limit = sys.getrecursionlimit()
    found = {tried(levels) for levels in range(limit - 150, limit)}
    assert found >= {canonical(Planet.EARTH), KeyEncodingError}
    assert found <= {canonical(Planet.EARTH), KeyEncodingError, RecursionError}


def test_where_there_is_no_module_to_look_into_the_name_decides(monkeypatch):
    class Local(enum.Enum):
        A = threading.Lock()

    monkeypatch.delitem(sys.modules, __name__)
    assert collisions([*Planet, *Act, *(made({"cat": value})["cat"] for value in (1, 2))]) == []
    with pytest.raises(KeyEncodingError, match=r"value\.name"):
        canonical(Local.A)


def test_no_code_of_a_module_is_run_to_look_for_an_enum_in_it(monkeypatch):
    asked = []
    monkeypatch.setattr(sys.modules[__name__], "__getattr__", asked.append, raising=False)
    canonical(made({"cat": 1}, "Absent")["cat"])
    assert asked == []


def test_a_combination_of_flags_counts_by_its_value_alone():
    assert canonical(Access.READ | Access.WRITE) == canonical(Access(3))
