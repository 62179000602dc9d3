"""Answers frozen: what is done to them later, what cannot be read, and how much is read."""

import io
import subprocess
import sys
import threading

import pytest

from litcache.trial.answers import freezer
from litcache.trial.answers.compare import differences, freeze
from litcache.trial.answers.frozen import Unreadable


class Plain:
    def __init__(self, **attributes):
        vars(self).update(attributes)


def agrees(one, other):
    """Whether two frozen answers agree."""
    return differences(one, other) == []


def why(value):
    """Why a part cannot be compared."""
    tree = freeze(value).tree
    assert isinstance(tree, Unreadable), tree
    return tree.why


def buffers():
    """Values that can be changed, and a change of each that it must not show."""
    np, torch = pytest.importorskip("numpy"), pytest.importorskip("torch")
    image = pytest.importorskip("PIL.Image")
    pd, pl = pytest.importorskip("pandas"), pytest.importorskip("polars")
    return [
        ([1.0], lambda value: value.append(2.0)),
        ([[1, 2]], lambda value: value[0].clear()),
        ({"a": 1}, lambda value: value.update(a=2)),
        ({1, 2}, lambda value: value.add(3)),
        (([1],), lambda value: value[0].append(2)),
        (bytearray(b"a"), lambda value: value.extend(b"b")),
        (memoryview(bytearray(b"a")), lambda value: value.__setitem__(0, 9)),
        (io.BytesIO(b"a"), lambda value: value.write(b"b")),
        (Plain(a=[1]), lambda value: value.a.append(2)),
        (np.zeros(3, "f4"), lambda value: value.fill(1)),
        (np.zeros((3, 3), "f4").T, lambda value: value.fill(1)),
        (np.array([{"a": 1}]), lambda value: value[0].update(a=2)),
        (np.array(["a"]), lambda value: value.fill("b")),
        (np.zeros(2, [("a", "f4")]), lambda value: value["a"].fill(1)),
        (np.zeros(2, "M8[s]"), lambda value: value.fill(5)),
        (torch.zeros(3), lambda value: value.fill_(1)),
        (torch.zeros(3, 3).T, lambda value: value.fill_(1)),
        (torch.zeros(3).expand(2, 3), lambda value: value[0].fill_(1)),
        (torch.nn.Parameter(torch.zeros(3)), lambda value: value.data.fill_(1)),
        (image.new("RGB", (2, 2)), lambda value: value.putpixel((0, 0), (9, 9, 9))),
        (pd.DataFrame({"a": [1]}), lambda value: value.insert(0, "b", [2])),
        (pd.Series([1]), lambda value: value.__setitem__(0, 5)),
        (pl.DataFrame({"a": [1]}), lambda value: value.insert_column(0, pl.Series("b", [2]))),
    ]


def test_what_is_done_to_an_answer_later_changes_nothing():
    for value, change in buffers():
        before, same = freeze({"in": value}), freeze({"in": value})
        change(value)
        assert agrees(before, same), value
        assert not agrees(before, freeze({"in": value})), value


def test_a_buffer_that_is_used_again_is_frozen_as_it_was_each_time():
    np = pytest.importorskip("numpy")
    buffer, seen = np.zeros(2), []
    for turn in range(3):
        buffer[:] = turn
        seen.append(freeze(buffer))
    assert not agrees(seen[0], seen[1])
    assert not agrees(seen[1], seen[2])


def test_parts_that_are_one_array_are_frozen_once_and_in_each_place():
    np = pytest.importorskip("numpy")
    shared = np.zeros(1000)
    frozen = freeze([shared, {"a": shared}]).tree
    assert frozen.values[0].data is frozen.values[1].values["a"].data
    other = np.zeros(1000)
    other[5] = 1
    found = differences(freeze([shared, shared]), freeze([shared, other]))
    assert [difference.path for difference in found] == ["$[1][5]"]


class Rude(Exception):
    """What hostile objects raise."""


def rude(*_args, **_options):
    raise Rude


class RudeMeta(type):
    __getattribute__ = rude


def hostile():
    """Objects that raise wherever they are asked."""
    names = ["__eq__", "__hash__", "__repr__", "__str__", "__len__", "__iter__", "__getattr__"]
    names += ["__bool__", "__contains__", "__getitem__", "__getattribute__", "__format__"]
    everywhere = dict.fromkeys(names, rude)
    return {
        "object": type("Object", (), everywhere)(),
        "list": type("List", (list,), everywhere)([1]),
        "tuple": type("Tuple", (tuple,), everywhere)([1]),
        "dict": type("Dict", (dict,), {**everywhere, "items": rude, "keys": rude})(a=1),
        "set": type("Set", (set,), everywhere)([1]),
        "str": type("Str", (str,), everywhere)("a"),
        "int": type("Int", (int,), everywhere)(1),
        "float": type("Float", (float,), everywhere)(1.5),
        "bytes": type("Bytes", (bytes,), everywhere)(b"a"),
        "error": type("Error", (Exception,), everywhere)("a"),
        "file": type("File", (io.BytesIO,), {"getvalue": rude, "read": rude})(b"a"),
        "dict that hides": type("Hidden", (), {"__dict__": property(rude)})(),
        "response": type("Response", (), {"media_type": property(rude)})(),
        "property": type("Property", (), {"a": property(rude), "dtype": property(rude)})(),
        "array": type("Array", (), {"__array__": rude, "dtype": 1})(),
        "pickle": type("Pickle", (threading.local,), {"__reduce_ex__": rude})(),
        "class": RudeMeta("Class", (), {}),
        "metaclass": object.__new__(RudeMeta("Class", (), {})),
    }


@pytest.mark.parametrize("name", hostile())
def test_objects_that_raise_never_raise_into_the_comparison(name):
    value = hostile()[name]
    for answer in (value, [value], {"a": {"b": (value, 1)}}):
        frozen = freeze(answer)
        assert isinstance(differences(frozen, freeze(answer)), list)
        assert differences(frozen, freeze({"other": 1}))
        assert differences(freeze("a"), frozen)
        assert repr(frozen)
    assert differences(freeze([value, 1]), freeze([value, 2]))


def test_what_hostile_containers_hold_is_read_without_asking_them():
    for name in ("list", "tuple", "dict", "set", "str", "int", "float", "bytes", "object"):
        value = hostile()[name]
        assert agrees(freeze(value), freeze(value)), name


def test_only_interruptions_pass():
    class Stop(list):
        @property
        def __dict__(self):
            raise KeyboardInterrupt

    assert isinstance(freeze(Stop()).tree, Unreadable)  # a class may not hide what it has
    pickle = type("Pickle", (threading.local,), {"__reduce_ex__": lambda *_: sys.exit()})()
    with pytest.raises(SystemExit):
        freeze(pickle)


def test_cycles_agree_if_they_close_at_the_same_place():
    def ring(length, payload=1):
        first = inner = [payload]
        for _ in range(length):
            inner.append([payload])
            inner = inner[1]
        inner.append(first)
        return first

    me = Plain()
    me.me = me
    assert agrees(freeze(ring(3)), freeze(ring(3)))
    assert agrees(freeze(me), freeze(me))
    inner, itself = [], []
    outer = [inner]
    inner.append(outer)
    itself.append(itself)
    assert not agrees(freeze(outer), freeze([itself]))
    assert not agrees(freeze(ring(3)), freeze(ring(4)))
    assert not agrees(freeze(ring(3)), freeze(ring(3, payload=2)))


def nest(levels, value=1):
    for _ in range(levels):
        value = [value]
    return value


def test_parts_up_to_a_hundred_levels_deep_are_compared_and_no_deeper_ones():
    assert agrees(freeze(nest(100)), freeze(nest(100)))
    assert not agrees(freeze(nest(100)), freeze(nest(100, 2)))
    for levels in (101, 5000, 100_000):
        found = differences(freeze(nest(levels)), freeze(nest(levels)))
        text = "what cannot be compared (a part more than 100 levels deep)"
        assert [difference.cached for difference in found] == [text]


def counted(monkeypatch):
    """A list that grows by one for each part that is read."""
    reads = []
    node = freezer.Freezer.node

    def count(self, value):
        reads.append(None)
        return node(self, value)

    monkeypatch.setattr(freezer.Freezer, "node", count)
    return reads


def bomb(levels):
    value = []
    for _ in range(levels):
        value = [value, value]
    return value


def test_no_more_parts_are_read_than_the_limit(monkeypatch):
    monkeypatch.setattr(freezer, "MOST_PARTS", 1000)
    reads = counted(monkeypatch)
    for value in (bomb(60), [[] for _ in range(5000)], {at: [] for at in range(5000)}):
        reads.clear()
        frozen = freeze(value)
        assert len(reads) <= 2200  # a key is read, too
        assert differences(frozen, frozen)
        assert "more than 1,000 parts" in str(differences(frozen, frozen)[0])
    for value in (range(9000), dict.fromkeys(range(1001)), set(range(1001)), [None] * 9000):
        reads.clear()
        freeze(list(value) if isinstance(value, range) else value)
        assert len(reads) == 1
    assert agrees(freeze(list(range(7999))), freeze(list(range(7999))))


def test_iterators_without_end_are_not_followed(monkeypatch):
    monkeypatch.setattr(freezer, "MOST_PARTS", 1000)

    class Endless(threading.local):
        def __reduce_ex__(self, protocol):
            return Plain, (), None, iter(int, 1)

    assert "more than 1,000 parts" in str(differences(freeze(Endless()), freeze(1))[0])


def test_more_bytes_than_the_limit_are_not_copied(monkeypatch):
    np, torch = pytest.importorskip("numpy"), pytest.importorskip("torch")
    huge = np.broadcast_to(np.zeros(1), (10**6, 10**6))
    assert why(huge) == "a numpy.ndarray of more than 1,073,741,824 bytes"
    assert why(torch.zeros(1).expand(10**12)).endswith("of more than 1,073,741,824 bytes")
    monkeypatch.setattr(freezer, "MOST_BYTES", 1000)
    large = bytes(1001)
    for value in (bytearray(large), np.zeros(1001, "u1"), io.BytesIO(large), memoryview(large)):
        assert why(value).endswith("of more than 1,000 bytes")
        assert differences(freeze([value]), freeze([value]))
    halves = [np.zeros(501, "u1"), np.zeros(501, "u1")]
    assert differences(freeze(halves), freeze(halves))[0].path == "$[1]"
    assert agrees(freeze([halves[0]] * 9), freeze([halves[0]] * 9))  # read once


def test_a_comparison_ends_when_it_has_found_enough(monkeypatch):
    from litcache.trial.answers import walk

    steps = []
    compare = walk.Walk.compare
    monkeypatch.setattr(
        walk.Walk, "compare", lambda self, *parts: (steps.append(None), compare(self, *parts))
    )
    one, other = [[at] for at in range(10_000)], [[-at - 1] for at in range(10_000)]
    found = differences(freeze(one), freeze(other), limit=4)
    assert len(found) == 4
    assert len(steps) <= 10


def test_freezing_imports_nothing():
    code = """
import sys
from litcache.trial.answers.compare import differences, freeze
class Own: pass
assert not differences(freeze([Own(), {"a": 0.5}]), freeze([Own(), {"a": 0.5}]))
print([name for name in ("numpy", "torch", "PIL", "pandas", "polars") if name in sys.modules])
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_freezing_leaves_an_answer_as_it_was():
    torch = pytest.importorskip("torch")
    generator = (n for n in range(3))
    tensor = torch.zeros(2, requires_grad=True) * 2
    file = io.BytesIO(b"ab")
    file.read(1)
    freeze({"a": generator, "b": tensor, "c": file})
    assert list(generator) == [0, 1, 2]
    assert tensor.grad_fn is not None
    assert file.read() == b"b"
