"""Keys as a whole: the laws they obey, the values they are frozen at, and who may make them."""

import copy
import datetime as dt
import decimal
import enum
import http
import json
import os
import pathlib
import runpy
import struct
import subprocess
import sys
import threading
import uuid
from collections import Counter, OrderedDict, defaultdict, namedtuple
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
    }


GOLDEN = {
    "plain": {
        "none": ["cb097999fbbf13ffd9170b0fb1892ad4", "0d2ebae40f34a9c64386dcae900fa430"],
        "true": ["74b9992638a103554984888a6ced992b", "e14265a83e499128c6afca986ae139e8"],
        "one": ["5fb2bbd20b61e7801b5a21a7d47cb939", "60578e653e3006cb6b3fcaf1fde668a5"],
        "negative": ["4750f4103ad3838afb548714deb215fa", "38cd08efe9b6c457bb3b70d6eb9f04a9"],
        "long": ["704e718b94765a5017f294022b819a32", "da97bcea5821e4e46e683f54d2be49b7"],
        "float": ["10a5abd97936d7b26c5379e2f1fc7607", "c06bf17ed46338dd6d1cf8024bd649ba"],
        "nan": ["d7af960665f20bd4df2919923e55d5be", "9df9432c8236fa934532c58111ed96e0"],
        "negative zero": ["83966af0e1d9a86168296199f1670515", "b64613a02a0899d358c3bf54714a5f57"],
        "complex": ["3e9f385e851742a66b6bf41110cb2563", "1682e564faa7fbb89fcd403f3e761c6e"],
        "decimal": ["db15b135500a2914da047ef1c9181fe3", "5cf80be6ff05480b09f3d9671b427e57"],
        "text": ["5f670f0ae956218887db3078ba579d2f", "b261e9d2697bd4590c29d01c6345b62d"],
        "surrogate": ["ff16579412f16ac737753fe7919ae20f", "32decb62dc06ef9aa55ac80904c62bd3"],
        "long text": ["f84d338273223a5d1e2ae67ea7ddd1b7", "ddbc222ea43a50389259ff884559895f"],
        "bytes": ["0868cef4f0e946363285b135f426f865", "9857f85cc3340440928fe0fef0324378"],
        "long bytes": ["eeda6126adf282109ef5995c60340c1f", "13b8c222b8259fbe49428a52a23c9373"],
        "bytearray": ["a5c4315c4fe2af4d90a727cd0a8c734f", "f33a3ca8eb11b2dad44690ce54d4b78a"],
        "tuple": ["7e03e5d36696f488e0e40c5cd88d93e3", "2fd4dde1c712f04c9ef196e0ce55a3cd"],
        "list": ["b16abe64e61cff9c7bed30f6b8758280", "f117949ffbb27920c89e8d2b6a44b6bf"],
        "token ids": ["7ddd6597e2ae0fea89abca22a85f1e5f", "1ed6ab8256548651299a02ed5680b8fe"],
        "set": ["602790a5feff7380c72bc1652d751433", "7a69dfebe8c466c490dae8ca1098bd92"],
        "frozenset": ["c67e9ace9b20d10af7d305f85d850127", "a32458cce390974368923d96e342d9ba"],
        "dict": ["ce4aa9efb468109d4d7ffdf0a488fbd5", "a7684d7a6c7b1779e9c7d1fa84fee0da"],
        "OrderedDict": ["b44e2e7b1e297e30b75e76c99e8cddbc", "cbdaf7d482cd28cdbe6a0773110c9c1f"],
        "defaultdict": ["b26bf216a4773d16fdc8ceb0188f2c04", "ce88d1a1e5c04a0d26bf305dcae68ac2"],
        "Counter": ["6ed0286d4ef55acbf712c4960ef1de06", "ff62750d9aa44ea50e274e2c55d7869c"],
        "datetime": ["9422af68481fafd3d9e069a93524116b", "cbba1ab7288fbf91edc5bb20b1c49e9a"],
        "naive datetime": ["97f091970774c2d6c5cef0a28ca7a09f", "b4f47760b69f8d89fcc906c85e025c17"],
        "date": ["8e73dd2f31fd5c325f50ffb0962ff9c6", "01610ce94e2ebf3bdbf1124a7dd22311"],
        "time": ["dd050f677d2f908841ba117e895a13db", "5686b13fa92ecf3167ca09b239a764bb"],
        "timedelta": ["ccf46e5e91695f0b0df2aa613181ca8b", "19af02140e5d08dbcc755860d17d0198"],
        "uuid": ["6195560ab82e637c69697625baddd932", "c08a01aba57b87de5babd526679594a9"],
        "path": ["8e12ab6ed8af150f69447d744cd84dc0", "ec50767bd9d52225109f53dfb4a3edce"],
        "enum": ["72537723267cf7b92fc6d93271f3f9c8", "ee9d80b4a109c614c971e19497090db4"],
        "flags": ["3ef36a474630d6f78dda9b30fd330778", "78b938002868c9788ead49c16a444188"],
        "dataclass": ["6088f8ccdb96b99edcb2b562c2cec653", "85a92b3cffeba152e16a0f58c7ec5ee7"],
        "named tuple": ["7a479c198940be84c25f8219ca478fdd", "76dcf0e5ec9efbbdad4f7ab5338607e3"],
        "subclass": ["52fd5e8bfa85ce20285df40d05735a51", "a5b23de3f4da332885ed37199050db86"],
    },
    "numpy": {
        "np.float32": ["846959936530d32e5a3b6f892a26e4a0", "be8e83060c1e345811949c8f74aba5d8"],
        "np.float64": ["176e3a6d6f6a2db3152facd1689abbb7", "dbb4f821884a011812fef5a9d1125378"],
        "np.str_": ["d62d671ea3e8bf8815e128595104526d", "992f59ff3e2c040c2e287a956fe98eaa"],
        "np.datetime64": ["c31379e321574b8e707d4c471ce7e2c2", "5319a9c8b450b0777c759f4f51654610"],
        "array of no dimension": [
            "eed16bb1d183b61cb343384d05841fd9",
            "038cda70ebd6f39fcf678789134116b7",
        ],
        "small array": ["0b0f21e8038ec91cdd05c59ebb76c833", "c9b256a581f02324213d8256b7ed923f"],
        "large array": ["2219744cfb8a777c6b859355264555ce", "dee9520ee9dde2b6bab056143b1757ed"],
        "structured array": [
            "497b3e1408117d1fa0db46c4689b03d8",
            "c060beae5b2361507e9f1127a0b0bd48",
        ],
        "dates": ["d96c63c10cee2eb8dff3e1a61754b726", "edfa2b28829395feb3ce0add1c2e70df"],
        "strings": ["3f19b4616946a68323416d61319f3035", "8361aa6b90c330e7c402f59e0b93dc50"],
        "big endian": ["63f1b48206b917bc0427270f7b9e5810", "a9130f3f7ab1653b527a4d9f569cae4e"],
    },
    "torch": {
        "tensor of no dimension": [
            "f7fc13b68d7f11a036d2de481777b26c",
            "a560a81af159c8f9c53f35159fd6ad04",
        ],
        "bfloat16": ["a711ec04d2d7a6ca3cc515e535203aaa", "7aeb163835df1874bb87e6f756f6339b"],
        "float8": ["eef1528188262e6b3b9951189fdbbbdc", "7f2669b401b3bdf8c42303aeacf62459"],
        "conjugate": ["90a41d3c28865c5eefa7d069cdf96cf4", "57af06f9ca45702d487976173021e682"],
        "large tensor": ["40be96ba61a37d69dad1e06f77788d84", "ebd3b049cd966448fd76b9b4ed2b5ea2"],
    },
    "PIL": {
        "image": ["cdf34acd3572b8ffcf4fc61c1fb188f5", "8321187ac61d0403ddb8fa7e0e46f5c5"],
        "turned image": ["305f4fdbb716c2f3eb66127bedac8e61", "acc607a247eca18dc0b002c4f0e2bee9"],
        "palette image": ["3d6b47e1efef509140c4f07532f9d41a", "7c3018b1f3bbc7c3191adefc81f88e9f"],
    },
}

GROUPS = {"plain": plain_values, "numpy": numpy_values, "torch": torch_values, "PIL": image_values}


def keys_by_name(group):
    values = GROUPS[group]()
    return {name: [KEYER.key(value).hex(), SHA.key(value).hex()] for name, value in values.items()}


def test_the_format_is_the_one_that_the_golden_keys_were_made_by():
    assert FORMAT == 1


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
