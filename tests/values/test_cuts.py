"""The list of a request, cut out of what stands around it."""

import collections
import copy
from typing import NamedTuple

import numpy as np
import pytest

from litcache.keys.encoder import canonical
from litcache.values.cuts import cut, cut_one, is_empty


class Pair(NamedTuple):
    query: str
    texts: list[str]


class Fields(dict):
    pass


class Odd(tuple):
    __slots__ = ()


@pytest.mark.parametrize(
    ("decoded", "at"),
    [
        ({"texts": ["a", "b"], "model": "m"}, "texts"),
        ({0: ["a", "b"], "model": "m"}, 0),
        ((["a", "b"], {"model": "m"}), 0),
        (("q", ["a", "b"]), -1),
        (Pair("q", ["a", "b"]), "texts"),
        (Pair("q", ["a", "b"]), 1),
        (Fields(texts=["a", "b"]), "texts"),
        (collections.OrderedDict(texts=["a", "b"], n=1), "texts"),
        (collections.defaultdict(list, texts=["a", "b"]), "texts"),
    ],
)
def test_a_list_is_cut_out_of_dicts_and_tuples_and_put_back(decoded, at):
    before = copy.deepcopy(decoded)
    found = cut(decoded, at)
    assert found.items == ["a", "b"]
    filled = found.filled(["a", "b"])
    assert type(filled) is type(decoded)
    assert filled == decoded == before
    assert filled is not decoded
    if isinstance(decoded, dict):
        assert list(filled) == list(decoded)


@pytest.mark.parametrize(
    ("decoded", "at"),
    [
        ({"model": "m"}, "texts"),
        ({"texts": "b" and 3}, "texts"),
        ({"texts": None}, "texts"),
        ({"texts": []}, "texts"),
        ((1, 2), 0),
        ((["a"],), 1),
        ((["a"],), -2),
        ((["a"],), "texts"),
        (Odd([["a"]]), 0),
        ([["a"], "q"], 0),
        (["a"], "texts"),
        ("text", "texts"),
        (None, 0),
        (collections.defaultdict(list), "texts"),
    ],
)
def test_what_has_no_list_in_the_place_is_not_cut(decoded, at):
    assert cut(decoded, at) is None
    if isinstance(decoded, dict):
        assert len(decoded) in (0, 1)


def test_a_bare_text_and_token_ids_are_one_item_in_the_place_as_by_themselves():
    assert cut({"input": "abc"}, "input").filled(["abc"]) == {"input": ["abc"]}
    assert cut({"input": [1, 2]}, "input").items == [[1, 2]]
    rows = cut({"input": np.zeros((2, 3), np.float32)}, "input")
    assert rows.filled(rows.items)["input"].shape == (2, 3)


def test_the_method_gets_a_copy_of_what_stands_around_the_list():
    decoded = {"texts": ["a"], "options": {"words": ["x"]}}
    found = cut(decoded, "texts")
    found.filled(["a"])["options"]["words"].append("y")
    assert found.filled(["a"])["options"] == {"words": ["x"]}


def test_rests_are_equal_if_all_but_the_list_is():
    rests = [
        cut(decoded, "texts").rest
        for decoded in (
            {"texts": ["a"], "n": 1},
            {"n": 1, "texts": ["b", "c"]},
            {"texts": ["a"], "n": 1.0},
            {"texts": ["a"], "n": 1, "m": None},
        )
    ]
    forms = [canonical(rest) for rest in rests]
    assert forms[0] == forms[1]
    assert len(set(forms)) == 3


def test_one_item_stands_in_the_place_of_the_list():
    assert cut_one("a", None).items == ["a"]
    assert cut_one({"texts": [1, 2], "n": 1}, "texts").items == [[1, 2]]
    with pytest.raises(ValueError, match="nothing at 'texts'"):
        cut_one({"n": 1}, "texts")


def test_only_an_empty_list_is_empty():
    assert is_empty([], None)
    assert is_empty(([],), 0)
    for decoded, at in (({}, "texts"), ({"texts": ()}, "texts"), ("", None), (["a"], None)):
        assert not is_empty(decoded, at)
