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
from litcache.keys.encoder import canonical
from litcache.keys.keyer import Keyer
from litcache.keys.writer import class_name
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
import dataclasses, enum, multiprocessing
from litcache.keys.keyer import Keyer

@dataclasses.dataclass
class Query:
    text: str

class Kind(enum.Enum):
    QUERY = 1

class Name(str):
    pass

def keys():
    values = [Query("a"), Kind.QUERY, Name("b")]
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
    assert len(set(main[1])) == 3


# Frozen keys. A change here needs a new FORMAT and a line in the changelog.

Frozen = make_dataclass("Frozen", ["x", "y"])
Frozen.__module__ = "golden"
Named = namedtuple("Named", "a b", module="golden")
Bits = enum.Flag("Bits", "A B C", module="golden")
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
        "flags": Bits(5),
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
        "none": ["dd5c7711981ae252c80909ed390059cc", "01dc7a0d55f3afb9167eb68827415983"],
        "true": ["09eed65672427bc1f3f53f18945add15", "09754b68989a48cd2291693cbc9730cb"],
        "one": ["4d5bd750e9ae8eb0e22a67654c4d3ce7", "f937e37751861b0faeecbab80acf8829"],
        "negative": ["636de0587774882844fd395bd9c6b80c", "9125608265f57f237e8251f04f5c2ffd"],
        "long": ["e396b22b03aeecdeed793998695561dd", "92a48b6af9de63b8706e206abb9f740f"],
        "float": ["6a1cd1af6c0a0473cc205e50ca4561f2", "8c3e16198c1b2326d02ec04ef9b9a1de"],
        "nan": ["cde6d397453c14ba6f374f04f8cdd55b", "2ef5905c435b52fe1890bc47317498fc"],
        "negative zero": ["eacecfe0f00ce93c26099fca359408dd", "2dfe0ff812c05d83af16273defb5d907"],
        "complex": ["028c294e368fa42537b4728d8eacd264", "e763c31903930ee8f0502b66c04ec9a6"],
        "decimal": ["1b98481fb3e801d7f6647c8123417d88", "6692fb4a0c1d66be05d69f937af4f335"],
        "text": ["d45654288512141e6bb56f24d5a9c982", "35e37abf78b8c4f7885b989f7c895402"],
        "surrogate": ["596650a66692636ffaced231c36d3fec", "2c18b48166e42aa0d82209958c31e229"],
        "long text": ["e73aae18732f5a6ad6bfa11b99818fa9", "85396c0c5844cb09689529ba60441a32"],
        "bytes": ["077a1a74e42399588573711f3fa0c4dc", "9640a541aa94dcbc99590990c1170bfe"],
        "long bytes": ["649fe4da0bce7aca30e7d89d224b9943", "1d7b7ecb947007c2ffbad68047459517"],
        "bytearray": ["325c9f2709b53da9f5a7440287a5e2b7", "20d3793849b0eb78e56cd39213fdcc04"],
        "tuple": ["23348dc02bad396f5561af444cf5a4e1", "a9941028ccd0ae8ce33837f9aa4797da"],
        "list": ["784ef55b37e96219e54f741427de041e", "3cd98938edc5bcfb5f03d69c9aaf21ec"],
        "token ids": ["4fa264cba8379587b1cbc95e648f8b0c", "b1d8934a44ddca92780d6c79f641e0de"],
        "set": ["6ab67d66b039a75794c3ff5767fd0ccf", "654d33c88bac9b847874fdf1b406063d"],
        "frozenset": ["301168df7f3ba5f0f79ec57165441b99", "33a4b98c1946da48baee20d71c3d064c"],
        "dict": ["6c7b3c89f3be8ac62e2e97609cdf9022", "ac660984ba6994517091b3517ba421a9"],
        "OrderedDict": ["1e8b0550cbee3450e2b1f3b07ef01e55", "11e4d5d129f2245b92a22da04a06b1b8"],
        "defaultdict": ["0210256c0f3c539b0e97632fd8e88537", "8e561278d77f809e0c842d43b5cf2e94"],
        "Counter": ["d3c55715d888f8d36f4ab13d2c7d4369", "cb655b53ff472b4b40ef95b52e5d62e1"],
        "datetime": ["7804654df4bfb7ccccf7b1e517d89a72", "bec5aa4886f7c7277cda38b03df0221a"],
        "naive datetime": ["7b60f6d80d8eac99cc133a9badf372b8", "f4a954e29df4f5321194ebe180214413"],
        "date": ["5b6353acf3b66fe653f8957ecd5d42a8", "dd167818ebb4b9a5fb3db2fb8cb7d3d3"],
        "time": ["5d6b457f8d295e4c1ffef5616f5efb22", "8d6fba3aa20cf59bc699cf8b379507ad"],
        "timedelta": ["e85d3001709ed711faa7b6598c0600b4", "e437a4c5ba348f213f6d2b90af0fdce1"],
        "uuid": ["9a11a33b282cbe7e9181058ed6bccb8b", "feae6eaf7a6eb9dc861cde6fff56cefa"],
        "path": ["d8413b392ffdb0dc969fcb6a989d4df6", "bfdc2969d61b07112882039fc37bea8e"],
        "enum": ["af3dc83eca08918268f0313ba8db0f6e", "15c7275a608290b34809052a61485ee8"],
        "flags": ["b094a0bcb7342b6fd67fbf67d359247b", "ea901a9e75556cae5569b480411d0adf"],
        "dataclass": ["b9d290bffde5fd839bfbf6fecc6500b7", "0bfb2e023d5285622a7d346839067cf9"],
        "named tuple": ["984afede417b14f328f9007e11998b25", "b7ea452e0404d11b0ccfa418d99eefc1"],
        "subclass": ["213caf29b260d6b5671bd2bc23f9ee2e", "d5ad39e0b416dd84e8d7e3334cad31d7"],
        "range": ["8d87d50fc6b572f166c116469e15af34", "4d8bd3bddb7942b9dbc73b2645c84b54"],
        "deque": ["09c2dc22777643e3e2ba24003de74083", "f1a2242237a5ecc60eaea6ad6d2e52dc"],
        "fraction": ["c29aaef4776ee6132c8fe8f2c83f95f5", "aaff2f60c34766fa58491667fe0b82af"],
        "address": ["eb2c0be8bcfa97ca90acfd7d9d1f9ae6", "a06faa85a5085ff13b953ea232b4fde5"],
        "UserDict": ["46102ef622c574d92d3941eff672345b", "7924637a8efdc7815f17812f7bdba6f0"],
        "namespace": ["c43922ec1baa9b9da536f6fa2774157f", "a07b0325f4276f8478479c19c5469eda"],
        "path that looks like a drive": [
            "47d847a01faa88c898269912d74353bc",
            "fcdc021ad4f94aa3fdac715eddedd8c8",
        ],
        "file": ["b6b3bec806b6797ef4a539545a9772e9", "5caf54e3c2054375d98a06c623fd05b4"],
    },
    "numpy": {
        "np.float32": ["44950649ab9f66aef8ebe19201c03a20", "23c143d29127df7b86327f1e64cfbd40"],
        "np.float64": ["f49ae483914f6b99fd26ba5dd074c26d", "056742021dec4b082853261b3cc510fc"],
        "np.str_": ["5ac1d9f5c2ef2159d6673de9f64f0737", "ab6b2c1c50f8a5553079c0b5c081208f"],
        "np.datetime64": ["1f4123f43eaee3eed7a0463830fcc9c8", "7797741e95155eeb4adbc3c55598d6a8"],
        "array of no dimension": [
            "2b7c617c09b0640fa0f96bf0f08a7a55",
            "221604e292b8f5d8e6f04295422903d2",
        ],
        "small array": ["325f2c5bb487f6913eee97c8cc725ba9", "5ed143b990d17b3065e0b1cb95b327de"],
        "large array": ["d03dbff8515115782215827448f8e720", "16586fd4e3a12d2ca8420143c9fd3862"],
        "structured array": [
            "10e5f16df01301ef1887787d61fd588a",
            "59cda2e2db10282926fcdcfea9d3d11f",
        ],
        "dates": ["8180eedb67de4d8afff0de9fca82ea58", "59707d82befb2df2448ed95c7cc70c68"],
        "strings": ["acc609c7186f4e04d4cd432de66ce464", "7f9d8f4b64d6383fefbb43763f675a90"],
        "big endian": ["b16f90a3613dfaded85344d0ddd571d8", "fbc5beccd786ba536781bf8bae6d5d79"],
    },
    "torch": {
        "tensor of no dimension": [
            "90bd404c5d8633dc10962e228f04e26e",
            "c47af189402e1bb6999aedc3b27d6de1",
        ],
        "bfloat16": ["fa3065db2b41dd32e57fdb193bfc58fe", "82791c3946181a46d7a23463658fd638"],
        "float8": ["11422299bc8e4e766dc6a12e8e5bf890", "779634e51e4d7b48a2fd838550024ac3"],
        "conjugate": ["31a4229b4ea016f331f25f88a0f1b72a", "8299d0eae4fb98a358675ec38ed63e77"],
        "large tensor": ["f14474831cb3f6c3d7cd5fa6ebd81e08", "97c7b1d0ab565c42c2c0aab0b957886b"],
    },
    "PIL": {
        "image": ["8beed244870cc04e7dcdff65c819b59a", "74d7b187a34518c5bfa6db8d503a81d4"],
        "turned image": ["f55e28edfb14e4bdc2840fb2577deec0", "f0d0bebacef40149528ebfe103624034"],
        "palette image": ["ce5beb041befc68d628958b6f31a289b", "0d9c70ae45d49115163ec85f4f4c5d6d"],
    },
}

GROUPS = {"plain": plain_values, "numpy": numpy_values, "torch": torch_values, "PIL": image_values}


def keys_by_name(group):
    values = GROUPS[group]()
    return {name: [KEYER.key(value).hex(), SHA.key(value).hex()] for name, value in values.items()}


def test_the_format_is_the_one_that_the_golden_keys_were_made_by():
    assert FORMAT == 2


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
