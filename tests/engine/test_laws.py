"""Laws: whatever the values and the batches, a hit is indistinguishable from a miss."""

import copy
import datetime as dt
import decimal
import pathlib

import litserve as ls
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from litcache import cached_predict
from litcache.testing import APIRunner

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.complex_numbers(),
    st.text(max_size=20),
    st.binary(max_size=20),
    st.decimals(allow_nan=False).map(decimal.Decimal),
    st.uuids(),
    st.datetimes(timezones=st.sampled_from([None, dt.timezone.utc])),
    st.timedeltas(),
    st.just(pathlib.PurePosixPath("a/b")),
    st.sampled_from([np.float32(1.5), np.int8(3), np.bool_(True), np.datetime64("2024-01-01")]),
    st.sampled_from(["f4", "i8", "c16", "?", "U3", ">u2"]).flatmap(
        lambda dtype: st.sampled_from([(), (0,), (3,), (2, 2)]).map(
            lambda shape: np.zeros(shape, dtype)
        )
    ),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=4),
    ),
    max_leaves=8,
)


def same(left, right):
    """Exact equality: type, dtype, shape, bits, order of dicts."""
    if type(left) is not type(right):
        return False
    if isinstance(left, np.ndarray | np.generic):
        return (
            left.dtype == right.dtype
            and left.shape == right.shape
            and left.tobytes() == right.tobytes()
        )
    if isinstance(left, dict):
        return same(list(left.items()), list(right.items()))
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, float | complex):
        return repr(left) == repr(right)
    if isinstance(left, decimal.Decimal):
        return left.as_tuple() == right.as_tuple()
    return left == right and repr(left) == repr(right)


def spoil(value):
    """Change a value in place, wherever that is possible."""
    if isinstance(value, np.ndarray) and value.size and value.dtype != "U3":
        value += np.ones((), value.dtype) if value.dtype != bool else value
        value[...] = np.zeros((), value.dtype)
    elif isinstance(value, list):
        for inner in value:
            spoil(inner)
        value.append("spoilt")
    elif isinstance(value, dict):
        for inner in value.values():
            spoil(inner)
        value["spoilt"] = True


def twins(outputs):
    """An API that answers item n with output n, with and without the decorator."""

    def make(decorate):
        class API(ls.LitAPI):
            @decorate
            def predict(self, items):
                return [copy.deepcopy(outputs[item]) for item in items]

            def encode_response(self, output):
                kept.append(copy.deepcopy(output))
                spoil(output)
                return

        kept = []
        return APIRunner(API(max_batch_size=16)), kept

    return make(cached_predict), make(lambda function: function)


@settings(max_examples=60, deadline=None)
@given(
    outputs=st.lists(values, min_size=1, max_size=6),
    batches=st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=8), min_size=1, max_size=5),
)
def test_a_hit_is_indistinguishable_from_a_miss(outputs, batches):
    (cached, got), (plain, expected) = twins(outputs)
    with cached, plain:
        for batch in batches:
            batch = [item % len(outputs) for item in batch]
            cached.run_batch(batch)
            plain.run_batch(batch)
            assert len(got) == len(expected)
            assert all(map(same, got, expected))
    items = {item % len(outputs) for batch in batches for item in batch}
    assert sum(cached.model_batches) == len(items)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 12), min_size=1, max_size=10), min_size=1, max_size=6),
    st.sampled_from(["array", "list", "tuple", "tensor"]),
)
def test_rows_of_a_direct_call_come_back_in_order_and_in_kind(batches, kind):
    torch = pytest.importorskip("torch")
    table = np.random.default_rng(0).standard_normal((13, 5)).astype(np.float32)

    def pick(items):
        rows = table[list(items)].copy()
        if kind == "array":
            return rows
        return (
            torch.from_numpy(rows)
            if kind == "tensor"
            else {"list": list, "tuple": tuple}[kind](rows)
        )

    class API(ls.LitAPI):
        @cached_predict
        def predict(self, items):
            return pick(items)

    api = API(max_batch_size=16)
    for batch in batches:
        got, expected = api.predict(batch), pick(batch)
        assert type(got) is type(expected)
        assert [row.tolist() for row in got] == [row.tolist() for row in expected]
        got[0][...] = -1  # writable, and nobody else's
    info = api.predict.cache.info()
    assert info.misses == len({item for batch in batches for item in batch})
    assert info.hits + info.misses + info.coalesced == sum(map(len, batches))
