"""Keys as a whole: the laws they obey, the values they are frozen at, and who may make them."""

import copy
import datetime as dt
import decimal
import enum
import fractions
import http
import io
import ipaddress
import json
import os
import pathlib
import re
import runpy
import struct
import subprocess
import sys
import threading
import types
import uuid
from collections import Counter, OrderedDict, UserDict, defaultdict, deque, namedtuple
from dataclasses import dataclass, make_dataclass

import hypothesis.strategies as st
import msgpack
import pytest
from hypothesis import given, settings

from litcache.errors import KeyEncodingError
from litcache.keys.contexts import ContextForms
from litcache.keys.encoder import canonical
from litcache.keys.keyer import Keyer, Keyring
from litcache.keys.writer import class_name
from litcache.policy import CachePolicy
from litcache.stores.base import FORMAT

KEYER = Keyer("app.EmbeddingAPI.predict", "batch", "v1")
SHA = Keyer("app.EmbeddingAPI.predict", "batch", "v1", digest="sha256")

# Equal keys ⇔ equal values.


@dataclass
class Box:
    held: object


@dataclass
class Crate:
    held: object


class Text(str):
    pass


class Items(list):
    pass


Pair = namedtuple("Pair", "a b")


class Mode(enum.Enum):
    ONE = 1
    TWO = 2


def same(a, b):
    """Equality in the contract's sense, told without any encoding."""
    if type(a) is not type(b):
        return False
    if isinstance(a, float):
        return (a != a and b != b) or struct.pack("d", a) == struct.pack("d", b)
    if isinstance(a, complex):
        return same(a.real, b.real) and same(a.imag, b.imag)
    if isinstance(a, decimal.Decimal):
        return a.as_tuple() == b.as_tuple()
    if isinstance(a, (dt.datetime, dt.time)):
        return same_time(a, b)
    if isinstance(a, (Box, Crate)):
        return same(vars(a), vars(b))
    if isinstance(a, Text):
        return str(a) == str(b) and same(vars(a), vars(b))
    if isinstance(a, OrderedDict):
        return same(list(a.items()), list(b.items()))
    if isinstance(a, dict):
        return len(a) == len(b) and all(any(same(x, y) for y in b.items()) for x in a.items())
    if isinstance(a, (set, frozenset)):
        return len(a) == len(b) and all(any(same(x, y) for y in b) for x in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def same_time(a, b):
    walls = a.replace(tzinfo=None), b.replace(tzinfo=None)
    return walls[0] == walls[1] and a.fold == b.fold and a.utcoffset() == b.utcoffset()


# Small domains, so that values that are nearly or wholly equal are met often.
numbers = st.sampled_from([0, 1, -1, 2**63, 2**64, -(2**63) - 1, False, True, None])
floats = st.sampled_from([0.0, -0.0, 1.0, float("nan"), -float("nan"), float("inf")])
texts = st.sampled_from(["", "a", "b", "1", "\ud800", "é", "x" * 4096, "x" * 4097])
times = st.builds(
    dt.datetime,
    st.just(2020),
    st.integers(1, 2),
    st.just(1),
    tzinfo=st.sampled_from([None, dt.timezone.utc, dt.timezone(dt.timedelta(hours=1))]),
    fold=st.integers(0, 1),
)
leaves = st.one_of(
    numbers,
    floats,
    texts,
    texts.map(lambda text: text.encode("utf-8", "surrogatepass")),
    texts.map(lambda text: bytearray(text.encode("utf-8", "surrogatepass"))),
    texts.map(Text),
    st.builds(complex, floats, floats),
    st.sampled_from(["0", "-0", "1", "1.0", "NaN", "sNaN", "Infinity"]).map(decimal.Decimal),
    st.sampled_from(Mode),
    st.integers(0, 1).map(lambda number: uuid.UUID(int=number)),
    st.sampled_from(["a", "b", "a/b"]).map(pathlib.PurePosixPath),
    st.sampled_from(["a", "b", "a/b"]).map(pathlib.PureWindowsPath),
    times,
    times.map(dt.datetime.date),
    times.map(dt.datetime.timetz),
    st.integers(0, 2).map(lambda hours: dt.timedelta(hours=hours)),
)
hashable = st.one_of(
    numbers, floats, texts, st.sampled_from(Mode), st.tuples(numbers), st.frozensets(numbers)
)


def grow(inner):
    lists = st.lists(inner, max_size=3)
    dicts = st.dictionaries(hashable, inner, max_size=3)
    return st.one_of(
        lists,
        lists.map(tuple),
        lists.map(Items),
        dicts,
        dicts.map(OrderedDict),
        dicts.map(lambda entries: defaultdict(list, entries)),
        st.sets(hashable, max_size=3),
        st.frozensets(hashable, max_size=3),
        st.builds(Box, inner),
        st.builds(Crate, inner),
        st.builds(Pair, inner, inner),
    )


zoo = st.recursive(leaves, grow, max_leaves=6)


def rebuilt(value):
    """Return an equal value of other objects, its dicts and sets made in another order."""
    if type(value) in (dict, defaultdict):
        turned = [(rebuilt(key), rebuilt(entry)) for key, entry in reversed(value.items())]
        return dict(turned) if type(value) is dict else defaultdict(list, turned)
    if type(value) in (list, tuple, Items):
        return type(value)([rebuilt(element) for element in value])
    if type(value) in (set, frozenset):
        return type(value)([rebuilt(element) for element in reversed(list(value))])
    return copy.deepcopy(value)


@settings(max_examples=150, deadline=None)
@given(st.lists(zoo, min_size=2, max_size=8))
def test_keys_are_equal_exactly_when_values_are(values):
    keys = KEYER.keys(values)
    for first, one in zip(keys, values, strict=True):
        for second, other in zip(keys, values, strict=True):
            assert (first == second) == same(one, other)


@settings(max_examples=150, deadline=None)
@given(zoo)
def test_a_value_made_anew_in_another_order_has_the_same_key(value):
    again = rebuilt(value)
    assert same(value, again)
    assert KEYER.key(again) == KEYER.key(value)
    assert SHA.key(again) == SHA.key(value)


packer = msgpack.Packer()


@settings(max_examples=150, deadline=None)
@given(st.one_of(st.lists(zoo), st.lists(leaves), st.lists(floats), st.lists(texts)))
def test_a_list_is_its_elements_one_after_the_other(values):
    header = packer.pack_array_header(len(values))
    assert canonical(values) == header + b"".join(map(canonical, values))


@settings(max_examples=150, deadline=None)
@given(st.one_of(st.dictionaries(texts, leaves), st.dictionaries(hashable, zoo)))
def test_a_dict_is_its_entries_sorted_by_the_bytes_of_their_keys(entries):
    pairs = sorted((canonical(key), canonical(value)) for key, value in entries.items())
    header = packer.pack_map_header(len(pairs))
    assert canonical(entries) == header + b"".join(key + value for key, value in pairs)


@settings(max_examples=200, deadline=None)
@given(zoo)
def test_every_form_is_one_whole_msgpack_value(value):
    unpacker = msgpack.Unpacker(
        strict_map_key=False, object_pairs_hook=list, ext_hook=lambda code, body: (code, body)
    )
    form = canonical(value)
    unpacker.feed(form)
    unpacker.skip()
    assert unpacker.tell() == len(form)


# What else is in a key.


def test_a_key_is_sixteen_bytes_of_namespace_mode_version_item_and_context():
    made = [
        Keyer("a", "batch", "v1"),
        Keyer("b", "batch", "v1"),
        Keyer("a", "row", "v1"),
        Keyer("a", "batch", "v2"),
        Keyer("a", "batch", ""),
        Keyer("ab", "atch", "v1"),
        Keyer("a", "batchv1", ""),
        Keyer("a", "batch", "v1", digest="sha256"),
    ]
    keys = [keyer.key("text") for keyer in made]
    keys += [made[0].key("text", context) for context in ({}, {"a": 1}, {"a": 2}, {"b": 1})]
    keys += [made[0].key(["text", {}]), made[0].key(("text", {})), made[0].key({})]
    assert len(set(keys)) == len(keys)
    assert {len(key) for key in keys} == {16}


def test_a_context_is_keyed_by_its_entries_in_any_order_and_kind_of_mapping():
    from types import MappingProxyType

    one, other = {"a": 1, "b": 2}, {"b": 2, "a": 1}
    assert KEYER.key("x", one) == KEYER.key("x", other)
    assert KEYER.key("x", MappingProxyType(one)) == KEYER.key("x", one)


def test_an_error_in_a_context_is_named_from_the_context():
    with pytest.raises(KeyEncodingError) as caught:
        KEYER.key("x", {"user": {"session": object()}})
    assert caught.value.path == "$context.user.session"
    assert caught.value.type is object


CONTEXTS = [
    {}, {"a": 1}, {"a": True}, {"a": 1.0}, {"a": "1"}, {"a": b"1"}, {"a": None}, {"a": -0.0},
    {"a": 1, "b": 2}, {"b": 2, "a": 1}, {"a": "b"}, {"b": "a"}, {"a": [1]}, {"a": {"b": 1}},
    {1: "a"}, {True: "a"}, {"\ud800": 1}, {"a": 1},
]  # fmt: skip
PARTS = st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from("ab") | st.floats(-1, 1)


@pytest.mark.parametrize("digest", ["blake", "sha256"])
@pytest.mark.parametrize("context", [True, ("a",), False])
@pytest.mark.parametrize("item", ["text", 7])
def test_keys_of_a_batch_with_contexts_are_those_of_its_items(digest, context, item):
    keyring = Keyring(
        "API.predict", "space", CachePolicy(digest=digest, context=context), None,
        persistent=False, reads_context=True,
    )  # fmt: skip
    items = [item] * len(CONTEXTS)
    alone = [keyring.key("batch", item, each) for each in CONTEXTS]
    assert keyring.keys("batch", items, CONTEXTS) == alone
    distinct = {True: len(CONTEXTS) - 2, ("a",): 11, False: 1}[context]
    assert len(set(alone)) == distinct


@given(st.lists(st.dictionaries(st.sampled_from("abc"), PARTS), min_size=2))
def test_contexts_of_a_batch_have_the_forms_that_they_have_alone(contexts):
    forms, alone = ContextForms(), [canonical(each) for each in contexts]
    assert forms.of(contexts) == alone
    assert forms.of(contexts) == alone  # as they are remembered


def test_of_contexts_that_never_come_again_few_are_remembered():
    forms = ContextForms()
    for number in range(300):
        forms.of([{"user": f"{number} {at}", "at": at} for at in range(64)])
    forms.of([{"user": "x" * 1_000}])
    assert 0 < len(forms._known) <= 1_024 + 64
    assert max(map(len, forms._known)) < 300


class Text(str):
    __slots__ = ()


def nan(payload):
    return struct.unpack(">d", bytes.fromhex(f"7ff80000000000{payload:02x}"))[0]


@pytest.mark.parametrize(
    "contexts",
    [
        [{"a": b"x"}, {"a": bytearray(b"x")}, {"a": b"x"}],
        [{"a": bytearray(b"x")}, {"a": b"x"}],
        [{"a": nan(1)}, {"a": nan(2)}, {"a": 1.0}],
        [{"a": 2**70}, {"a": -(2**70)}, {"a": 1}],
        [{"a": "x" * 5_000}, {"a": b"x" * 5_000}, {"a": "x"}],
        [{"x" * 5_000: 1}, {"x": 1}],
        [{"a": (1,)}, {"a": [1]}, {"a": {"c": 1, "b": 2}}],
        [{"a": Text("x")}, {"a": "x"}, {Text("a"): "x"}],
        [OrderedDict(a=1, b=2), {"b": 2, "a": 1}, {"a": 1, "b": 2}],
        [{b"x": 1}, {memoryview(b"x"): 1}, {1: 1, "x": 1}],
        [{"\ud800": 1}, {"a": "\ud800"}],
        [{"b": 1, "aa": 2, "é": 3}, {"é": 3, "aa": 2, "b": 1}, {}],
    ],
)
def test_contexts_that_msgpack_writes_alike_are_told_apart(contexts):
    one_by_one = ContextForms()
    for each in contexts:
        assert one_by_one.of([each]) == [canonical(each)]
    forms, alone = ContextForms(), [canonical(each) for each in contexts]
    assert forms.of(contexts) == alone
    assert forms.of(contexts) == alone  # as they are remembered


def test_a_surrogate_in_namespace_or_version_is_keyed():
    assert Keyer("\ud800", "batch", "v").key(1) != Keyer("\ud801", "batch", "v").key(1)


# Many at a time.

MIXED = ["a", "\ud800", "b", "x" * 5000, 1, "a", ["a"], "é" * 4096, b"a"]


@pytest.mark.parametrize("keyer", [KEYER, SHA], ids=["blake", "sha256"])
def test_many_keys_are_those_of_the_items_one_by_one(keyer):
    for items in (MIXED, [], ["a"], ["a", "b"] * 40, tuple(MIXED)):
        assert keyer.keys(items) == [keyer.key(item) for item in items]


def test_an_item_without_key_raises_with_its_path():
    with pytest.raises(KeyEncodingError) as caught:
        KEYER.keys(["a", ["b", len], "c"])
    assert (caught.value.path, caught.value.type) == ("$[1]", type(len))
    with pytest.raises(KeyEncodingError) as caught:
        KEYER.key("a", {"n": len})
    assert caught.value.path == "$context.n"


def test_eight_threads_with_one_keyer_make_the_keys_of_one_thread():
    items = [*MIXED, {"a": [1, 2.5]}, (1, "b"), list(range(500)), *map(str, range(300))]

    def keys_of(keyer):
        alone = [keyer.key(item, {"n": n % 3}) for n, item in enumerate(items)]
        return keyer.keys(items), alone

    for keyer in (Keyer("t", "batch", "1"), Keyer("t", "batch", "1", digest="sha256")):
        expected = keys_of(keyer)
        start, results = threading.Barrier(8), [None] * 8

        def work(place, keyer=keyer, start=start, results=results):
            start.wait()
            results[place] = [keys_of(keyer) for _ in range(10)]

        threads = [threading.Thread(target=work, args=(place,)) for place in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert results == [[expected] * 10] * 8


def describe(keys):
    return [str(key) if isinstance(key, KeyEncodingError) else key for key in keys]


# Names of classes.


def test_a_class_is_named_by_module_and_qualified_name():
    assert class_name(dict) == "builtins.dict"
    assert class_name(Counter) == "collections.Counter"
    assert class_name(Mode) == f"{__name__}.Mode"


def test_a_class_of_a_session_without_a_file_is_named_main(monkeypatch):
    made = type("Made", (), {"__module__": "__main__"})
    monkeypatch.delattr(sys.modules["__main__"], "__file__", raising=False)
    assert class_name(made) == "__main__.Made"
    monkeypatch.setattr(sys.modules["__main__"], "__file__", "/srv/app.v2.py", raising=False)
    assert class_name(made) == "app.v2.Made"


SCRIPT = """
import collections, dataclasses, enum, multiprocessing
from litcache.keys.keyer import Keyer

@dataclasses.dataclass
class Query:
    text: str

class Kind(enum.Enum):
    QUERY = 1

    def __init__(self, value):
        self.lock = multiprocessing.Lock

class Name(str):
    pass

Pair = collections.namedtuple("Pair", "a b")

def keys():
    values = [Query("a"), Kind.QUERY, Name("b"), Pair(1, 2)]
    return [key.hex() for key in Keyer("n", "batch", "1").keys(values)]

def report(pipe):
    pipe.send((__name__, keys()))

if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    worker = context.Process(target=report, args=(theirs,))
    worker.start()
    print(repr([(__name__, keys()), ours.recv()]))
    worker.join()
"""


def run(*arguments, **variables):
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **variables}
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout


@pytest.mark.e2e
def test_a_script_its_spawned_worker_and_its_importer_make_the_same_keys(tmp_path):
    script = tmp_path / "embed_app.py"
    script.write_text(SCRIPT)
    imported = runpy.run_path(str(script), run_name="embed_app")
    main, worker = eval(run(script))
    assert (main[0], worker[0]) == ("__main__", "__mp_main__")
    assert main[1] == worker[1] == imported["keys"]()
    assert len(set(main[1])) == 4


# Frozen keys. A change here needs a new FORMAT and a line in the changelog.

Frozen = make_dataclass("Frozen", ["x", "y"])
Frozen.__module__ = "golden"
Named = namedtuple("Named", "a b", module="golden")
Bits = enum.Flag("Bits", "A B C", module="golden")
Made = enum.Enum("Made", {"A": 1, "B": "x"}, module="builtins")  # which has none of this name
Label = type("Label", (str,), {"__module__": "golden"})


def numpy_values():
    import numpy as np

    structured = np.zeros(2, np.dtype([("a", "u1"), ("b", "<f8", (2,))], align=True))
    return {
        "np.float32": np.float32(1),
        "np.float64": np.float64(1),
        "np.str_": np.str_("a"),
        "np.datetime64": np.datetime64("2020-01-02"),
        "array of no dimension": np.array(1, "<i8"),
        "small array": np.arange(6, dtype="<f4").reshape(2, 3).T,
        "large array": np.arange(9000, dtype="<u2").reshape(3, -1),
        "structured array": structured,
        "dates": np.array(["2020-01-02", "NaT"], "<M8[D]"),
        "strings": np.array(["a", "bc"], "<U2"),
        "big endian": np.array([1, 2], ">i4"),
        "array with metadata": np.zeros(2, np.dtype("<f4", metadata={"unit": "m"})),
    }


def torch_values():
    import torch

    return {
        "tensor of no dimension": torch.tensor(1),
        "bfloat16": torch.ones(2, 2, dtype=torch.bfloat16),
        "float8": torch.ones(2, dtype=torch.float8_e4m3fn),
        "conjugate": torch.tensor([1 + 2j]).conj(),
        "large tensor": torch.arange(9000, dtype=torch.int16).reshape(3, -1).T,
    }


def image_values():
    from PIL import Image

    palette = Image.new("P", (2, 2), 1)
    palette.putpalette([0, 0, 0, 255, 0, 0])
    turned = Image.new("RGB", (60, 40), (1, 2, 3))
    turned.getexif()[0x0112] = 6
    return {"image": Image.new("L", (3, 2), 7), "turned image": turned, "palette image": palette}


def plain_values():
    zone = dt.timezone(dt.timedelta(hours=1, minutes=30))
    return {
        "none": None,
        "true": True,
        "one": 1,
        "negative": -(2**63),
        "long": 2**64,
        "float": 1.5,
        "nan": float("nan"),
        "negative zero": -0.0,
        "complex": complex(1, -0.0),
        "decimal": decimal.Decimal("1.00"),
        "text": "text",
        "surrogate": "a\ud800",
        "long text": "é" * 5000,
        "bytes": b"text",
        "long bytes": b"x" * 5000,
        "bytearray": bytearray(b"text"),
        "tuple": (1, "a", (2.0,)),
        "list": [1, "a", [2.0]],
        "token ids": list(range(3000)),
        "set": {"a", "b", "c", 1, 2.0},
        "frozenset": frozenset({"x", "y", "z"}),
        "dict": {"b": 1, "a": {"d": [], 1: None}},
        "OrderedDict": OrderedDict(b=1, a=2),
        "defaultdict": defaultdict(list, a=[1]),
        "Counter": Counter("abca"),
        "datetime": dt.datetime(2020, 1, 2, 3, 4, 5, 6, tzinfo=zone, fold=1),
        "naive datetime": dt.datetime(2020, 1, 2),
        "date": dt.date(2020, 1, 2),
        "time": dt.time(1, 2, 3, 4),
        "timedelta": dt.timedelta(-1, 2, 3),
        "uuid": uuid.UUID(int=5),
        "path": pathlib.PurePosixPath("a/b"),
        "enum": http.HTTPStatus.OK,
        "enum made at run time": Made.A,
        "flags": Bits(5),
        "flags of a module": re.IGNORECASE | re.MULTILINE,
        "dataclass": Frozen([1], {"a": 2}),
        "named tuple": Named(1, 2),
        "subclass": Label("a"),
        "range": range(1, 9, 2),
        "deque": deque([1, "a"], 3),
        "fraction": fractions.Fraction(1, 3),
        "address": ipaddress.ip_address("10.0.0.1"),
        "UserDict": UserDict(b=[1], a=2),
        "namespace": types.SimpleNamespace(a=1),
        "path that looks like a drive": pathlib.PureWindowsPath("./a:b"),
        "file": io.BytesIO(b"pixels"),
    }


GOLDEN = {
    "plain": {
        "none": ["c86919e026db8e03947d984bfd64ec38", "dca3dbc2d3cc080bfaa0e502c15c2bf9"],
        "true": ["977c6f23ab2599ebd819d76abe99318e", "03339dbe9b961254000acd0556d00b15"],
        "one": ["81f90019f6d68cce89500458c12c9216", "791dab6f1d7ebebffba244efd7bfbaa5"],
        "negative": ["0d12f21e334fff7cb0489b176da6b63a", "42101cab7d9198d745ac137ceee2b87b"],
        "long": ["c027470d19692171bd175fe552fe7866", "5852913e8f08ae9be2a9db7596984dcf"],
        "float": ["b975d59ae325b133ae8db7b7c97c8b9d", "b5ce7725a50f07fbc9bd392b1efcce54"],
        "nan": ["06d04e76245faeebf4e77e2505bca73b", "ac02af6fb85d02d3ffcece2bfe66e60f"],
        "negative zero": ["261746802dac793df621c08baa9d8075", "015ecee27140f2686919b04504f5d94c"],
        "complex": ["2a6355151cefad1ca7cad5e9fb13ea71", "3fbad6d43b561b3ce4976f4ec1e25415"],
        "decimal": ["aa55efcfbea4a54fb405a3cf97fbbfb3", "e9150556a9e426af0507b3b6a7e2e86f"],
        "text": ["b7a0dab7eca8759f16633dc2b0725d7b", "568894b7d89a849f0ee69d8ea4938b2d"],
        "surrogate": ["c70cff35d1bcff858da1c38cdb00b45e", "cee61464a3d983c673d5dd692dffaa4f"],
        "long text": ["9afc9da9c72bd8d4443278f3cd99beda", "b30cb91ff1b1b79edaf1215cec85dda2"],
        "bytes": ["a0150f659e996b3bc7206f8e774c8af3", "46b3454b3bd4d7bded7aaf6b4dc6a600"],
        "long bytes": ["7acb491233a462ab007f137848d3c7da", "1c2fa8bf76391657231c102c27a59508"],
        "bytearray": ["dbdd957add92b4f295c23f88393bf503", "98c9946a1ec8152d90b1d78cc2b7aad5"],
        "tuple": ["0fce33214cedf4cedad67a87c1a80999", "0180af922cf2f760d3e156c56c9352b0"],
        "list": ["dacf4afe1c922fca4315b421d2c31a25", "709fb163f81b54b3fc62e2e2baed2fbf"],
        "token ids": ["4236307fdb61e42ae2ff0315ccc1a124", "ff9e5d7cc6e6690f52119c144f180fab"],
        "set": ["1e6aac1b0b9e10083e88f4a62fd37e06", "846cc1e24c13fe39bfc5cd33e248b39e"],
        "frozenset": ["2be2f032b188169aa2229c713b9f6c95", "ee137f9273d4d17550d3635225b31100"],
        "dict": ["7f6b691f089d0d71b227d334ea4615cf", "7499f1adbbec62a755bc58ca8f792503"],
        "OrderedDict": ["247635f35f32f8d3185cf9abe560f007", "bdc2c5f73dd996674c063fabce0f3733"],
        "defaultdict": ["7e7f2bcd6f888ed522f3f9d8b1228c6a", "895de8402aa8af01aa2a7b8cc2d25577"],
        "Counter": ["fe61a99e1a6a87b6567fe5ab7a8c6aa2", "3cf988bb30ed9b8ebc4bfb1f35d97a44"],
        "datetime": ["82cfb321615d5920bab0013e7f6ca461", "ef262e581c70befb3ecd04bd72192b2c"],
        "naive datetime": ["c744061052ba30c3a16ed1e00febda0d", "fac5d57b2a474d6169cd77b1178e261b"],
        "date": ["f85bf6d853a041b0bb31dcd68721dfab", "865767ffd95e745d0e83d02d026b5651"],
        "time": ["0c4765900f48aa89b14a524ff74c42ce", "ddf4711836c7c45368838591010b08d7"],
        "timedelta": ["6c7edd1d33cc6151cb461c469c9cea42", "c46ecd463e23a2e91022508d8b847a94"],
        "uuid": ["a55ba64ee6eef09adaa337ac3d6a7fad", "1b961830393f5ddd86c4ece44967edfc"],
        "path": ["b5bdff5c451ed2c0d0a644396d7453d5", "4705854267b8b5b7c61b3938a5736d83"],
        "enum": ["a031c9aa8d0bccf5cbd9417a77de2ba4", "d9c9b53a234540aac56537c4b6f2626d"],
        "enum made at run time": [
            "9124181f7a9862939d8f5293dac27642",
            "8be877f9850178f6dba8ba7a4fe3b425",
        ],
        "flags of a module": [
            "d6217746c20e826dc0b50e0c5b4acbbf",
            "00b2b1aa0505d0a8461507d920b1403f",
        ],
        "flags": ["c127995298609d5cbfd9318c9b83a4f8", "492c3da8e241cbd9acf6fb9a012cdd0d"],
        "dataclass": ["33e63deab32e99897d37570ac85daadb", "b791a2c9370ce5f44ff15b7f00cdb0d6"],
        "named tuple": ["d00282a6b0e7897638c6278a6083ad1d", "0ea6f31df81b643e277bb8a876fbe4f5"],
        "subclass": ["538b96db74adfa9cff3bd28401c77b3d", "3cc58f31cc8808b21e9a4d0bfa95794f"],
        "range": ["d7b1d8024e9f7f7b743273294b992ab3", "08f22768c687a1854e47bc9dea6bc0ce"],
        "deque": ["d64888c4e0614be18adee1a07a4642e6", "1648565feb02c66747111e5356e04a83"],
        "fraction": ["114236649c015077d82469db1692df0a", "4afe1e39ff86d82a6d06f6b1472c95bc"],
        "address": ["c6582b3e9586097e9dc5fb3394536277", "b15680708f8a86541aa4958876c7f619"],
        "UserDict": ["1b8843474ebb9e21b821ff42f23d6e8f", "456fce18ef4f75ddc0abda7b312c39ae"],
        "namespace": ["d227ce4d5ccb5187a3fa52a542389536", "b64902916ba0734310419302955d9ca4"],
        "path that looks like a drive": [
            "cd4db500e32dcf88ffaffdcf08f80ca3",
            "68a54f71582384116a960d21530ee5db",
        ],
        "file": ["09d518cc5e143ab09dd0888b1656bc82", "58fed74e0fb5a9e63e97e58c8e8c839a"],
    },
    "numpy": {
        "np.float32": ["37a4d458965c62862744bdc68988438a", "659e1a655f92895d3e9bfdf4c0b24191"],
        "np.float64": ["11e5029e640644caf68afcb60e1781a6", "e33d0b5dfe59fbcabd2a51aa204e1695"],
        "np.str_": ["012bc706bb6c077f43cae604997a1690", "f4cf14f6065a8e46fdce6324571e14b1"],
        "np.datetime64": ["1c247e05392960e3610bf2e0083d8389", "8b4e725f158ed9404421e6f26bcad594"],
        "array of no dimension": [
            "91a14a24ba826066407caec7894f1a52",
            "3f4d3476783488ab6dc22f8ba14bb7dc",
        ],
        "small array": ["e2d5002973400d8d5682892ef5f505a1", "ad6156781663aa734d4eeba678183308"],
        "large array": ["0ff9143322ef30a8c467e037c87a1a7c", "cf7f0903e18bc13fb4576797484d357a"],
        "structured array": [
            "cc31c4872f8600e02c09371effbe4d47",
            "2b001d4809a2d558cca014d482ae6abd",
        ],
        "dates": ["2a9d6a3cb92b2ebbe6e998bd2a600512", "bc9d9fa05145354b6b99b5d33135290e"],
        "strings": ["92d13ce760dbaf35c2729f9d7b3a5d67", "c692b2fc2ec1d96fb0f43607d66ae281"],
        "big endian": ["a97283094b21a1eba433c94dd6a4cafe", "b05368c2807abdf77224aa47e9ad1186"],
        "array with metadata": [
            "cf199d3a9909ec4e1ccc41e775a6c7b4",
            "cbb33b79522580805d100d2cb51573aa",
        ],
    },
    "torch": {
        "tensor of no dimension": [
            "e81734211816f9700d3f26b236b428e9",
            "4d46993264d7608c79c39c9f670f69c2",
        ],
        "bfloat16": ["fc662cd2f297229405d0fd90b93a1c86", "16d3acb18edafb005e5e7b2dded214a2"],
        "float8": ["0f615399f679e5db706347d7547e172f", "fdba96f180ed7b31f792a50df31edaed"],
        "conjugate": ["5bcdfb4d418942b7bf248056d4dbd9fc", "8fce9872f791f4d0b248f50775c2a857"],
        "large tensor": ["5f0390cc30063f782b1ce184e99ea1ce", "7ee2d468278836ab3274fa499a6b26f7"],
    },
    "PIL": {
        "image": ["cb9132e94f4c24dab6469b21957dee95", "68f6510fa2c4571c3ac93e29f595bf36"],
        "turned image": ["c8a3839617a451a29f363a2f4a5aaded", "ab0385865591151949a679dc4c5a13f4"],
        "palette image": ["45902e1621af6d0770465e3c0e24a7ff", "4ea64951094b89a41bd13df027078faa"],
    },
}

GROUPS = {"plain": plain_values, "numpy": numpy_values, "torch": torch_values, "PIL": image_values}


def keys_by_name(group):
    values = GROUPS[group]()
    return {name: [KEYER.key(value).hex(), SHA.key(value).hex()] for name, value in values.items()}


def test_the_format_is_the_one_that_the_golden_keys_were_made_by():
    assert FORMAT == 3


@pytest.mark.parametrize("group", GROUPS)
def test_keys_are_those_that_were_frozen(group):
    if group != "plain":
        pytest.importorskip(group)
    assert keys_by_name(group) == GOLDEN[group]


@pytest.mark.e2e
def test_another_process_with_another_hash_seed_makes_the_frozen_keys():
    code = "import json, runpy, sys; made = runpy.run_path(sys.argv[1])['keys_by_name']('plain')"
    seed = "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"
    made = run("-c", f"{code}; print(json.dumps(made))", __file__, PYTHONHASHSEED=seed)
    assert json.loads(made) == GOLDEN["plain"]
