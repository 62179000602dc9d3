"""`store_as`: what is rounded when it is stored is rounded on a miss, too."""

import copy
import subprocess
import sys
import threading

import litserve as ls
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import followers
from support.batches import undecorated
from support.servers import wait_until
from support.values import facts

from litcache import (
    CachedBatchedLoop,
    CachePolicy,
    MemoryStore,
    SharedStore,
    Trial,
    UnsupportedMethodError,
    cached_predict,
    disabled,
)
from litcache.testing import APIRunner

np = pytest.importorskip("numpy")

FORMS = ["float16", "bfloat16", "int8"]
KINDS = ["array", "tensor", "list", "dicts", "columns", "tuples"]
MODES = ["single", "batch", "loop", "rows", "list"]


def table(seed, dtype, shape):
    """Six items; one is stored in full, because it is not finite."""
    values = np.random.default_rng(seed).standard_normal((6, *shape))
    values[4].flat[0] = np.nan
    return values.astype(dtype)


def container(rows, kind):
    """The rows as a method returns them."""
    if kind == "array":
        return rows
    if kind == "tensor":
        return pytest.importorskip("torch").from_numpy(rows.astype(rows.dtype.newbyteorder("=")))
    if kind == "columns":
        return {"vector": rows, "length": [row.size for row in rows]}
    if kind == "dicts":
        return [{"vector": row, "parts": [row[..., :2].copy(), 0.1]} for row in rows]
    return tuple(rows) if kind == "tuples" else list(rows)


def made(mode, kind, form, rows, *, decorate=cached_predict):
    """An API whose item n gives row n, in a mode of call."""
    options = {"items": "list"} if mode == "list" else {}

    class API(ls.LitAPI):
        @decorate(store_as=form, **options)
        def predict(self, x):
            return container(rows[[int(text) for text in ([x] if mode == "single" else x)]], kind)

        def encode_response(self, output):
            self.outputs.append(output)
            return 0

    API.outputs = []
    size = 1 if mode == "single" else 8
    return API(max_batch_size=size, loop=CachedBatchedLoop() if mode == "loop" else None)


def answers(mode, api, items):
    """What a caller gets for some items: an output or a container of them, call by call."""
    if mode == "rows":
        return [api.predict(items)]
    if mode == "single":
        return [api.predict(item) for item in items]
    with APIRunner(api) as runner:
        runner.run_batch([items] if mode == "list" else items)
    return [api.outputs.pop() for _ in range(len(api.outputs))]


shapes = st.sampled_from([(8,), (3, 6), (2, 1, 5), (1,)])


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(MODES), st.sampled_from(KINDS), st.sampled_from(FORMS), shapes,
    st.sampled_from(["<f2", "<f4", ">f4", "<f8", "<i4"]), st.integers(0, 99),
    st.lists(st.sampled_from("012345"), min_size=1, max_size=6),
)  # fmt: skip
def test_a_hit_equals_a_miss_bit_for_bit(mode, kind, form, shape, dtype, seed, items):
    if kind == "columns" and mode not in ("single", "list"):
        kind = "array"  # a batch has no columns
    if kind == "tuples" and mode == "list":
        kind = "list"  # there, a tuple is one of columns
    with np.errstate(invalid="ignore"):
        rows = table(seed, dtype, shape)
    api = made(mode, kind, form, rows)
    miss = answers(mode, api, items)
    for _ in range(2):
        assert list(map(facts, answers(mode, api, items))) == list(map(facts, miss))
    fresh = made(mode, kind, form, rows)
    mixed = [*items, *"012345"][:8]
    answers(mode, fresh, items)
    half_hits = answers(mode, fresh, mixed)  # some hit, some are computed in the same call
    all_hits = answers(mode, fresh, mixed)
    assert list(map(facts, half_hits)) == list(map(facts, all_hits))
    assert fresh.predict.cache.info().misses == len(set(mixed))


ROWS = np.random.default_rng(0).standard_normal((6, 32)).astype("f4")


@pytest.mark.parametrize("form", FORMS)
def test_answers_are_rounded_and_come_in_their_own_dtype(form):
    api = made("rows", "array", form, ROWS)
    for _ in range(2):
        answer = api.predict(["0", "1"])
        assert (answer.dtype, answer.shape) == (ROWS.dtype, (2, 32))
        assert answer.flags.writeable
        assert not np.array_equal(answer, ROWS[:2])
        assert np.allclose(answer, ROWS[:2], rtol=0, atol=0.02)
        answer[:] = 0  # nobody else's
    with disabled():
        assert np.array_equal(api.predict(["0", "1"]), ROWS[:2])


def test_policies_that_store_in_other_forms_share_no_entries():
    store, apis = MemoryStore(), []
    for form in (None, *FORMS):

        class API(ls.LitAPI):
            @cached_predict(store=store, namespace="one", version="1", store_as=form)
            def predict(self, x):
                return ROWS[list(x)]

        apis.append(API(max_batch_size=8))
    keys = {api.predict.cache.key(0) for api in apis}
    assert len(keys) == 4
    found = [api.predict([0]).tobytes() for api in apis]
    assert [api.predict.cache.info().misses for api in apis] == [1] * 4
    assert len(set(found)) == 4
    assert [api.predict([0]).tobytes() for api in apis] == found
    apis[0].predict.cache.clear()  # of the namespace, whatever the form
    assert store.info().entries == 0


@pytest.mark.parametrize("form", FORMS)
def test_entries_take_the_bytes_that_are_promised(form):
    most = {"float16": 1_090, "bfloat16": 1_090, "int8": 710}[form]
    vectors = np.random.default_rng(1).standard_normal((1000, 384)).astype("f4")

    class API(ls.LitAPI):
        @cached_predict(store_as=form)
        def predict(self, x):
            return vectors[list(x)]

    api = API(max_batch_size=1000)
    api.predict(list(range(1000)))
    info = api.predict.cache.info()
    assert info.entries == 1000
    assert info.bytes / 1000 <= most


def test_decode_request_and_helpers_are_rounded_too():
    class API(ls.LitAPI):
        @cached_predict(store_as="float16")
        def decode_request(self, request):
            return {"x": ROWS[request].copy()}

        @cached_predict(store_as="int8")
        def embed(self, number):
            return ROWS[number].copy()

        def predict(self, x):
            return x["x"], self.embed(1)

        def encode_response(self, output):
            return [part.tobytes() for part in output]

    with APIRunner(API()) as runner:
        first, second = runner.run(0), runner.run(0)
    assert first == second
    assert first[0] == ROWS[0].astype("f2").astype("f4").tobytes()
    assert first[1] != ROWS[1].tobytes()


def test_who_waits_for_a_computation_gets_what_a_hit_gets():
    entered, go = threading.Event(), threading.Event()

    class API(ls.LitAPI):
        @cached_predict(store_as="float16")
        def predict(self, x):
            entered.set()
            assert go.wait(30)
            return ROWS[x].copy()

    api, got = API(), []

    def ask():
        got.append(api.predict(0).tobytes())

    threads = [threading.Thread(target=ask) for _ in range(3)]
    with followers.following() as begun:
        threads[0].start()
        assert entered.wait(30)
        for thread in threads[1:]:
            thread.start()
            assert begun.acquire(timeout=30)
        go.set()
        for thread in threads:
            thread.join()
    assert len({*got, api.predict(0).tobytes()}) == 1
    assert (api.predict.cache.info().misses, api.predict.cache.info().coalesced) == (1, 2)


def test_items_that_are_not_looked_up_are_rounded_like_the_others():
    class API(ls.LitAPI):
        @cached_predict(
            store_as="float16",
            bypass_if=lambda item: item == 0,
            refresh_if=lambda item: item == 1,
            store_if=lambda item, output: not seen.append(output) and item != 2,
        )
        def predict(self, x):
            return ROWS[list(x)]

    seen = []
    api = API(max_batch_size=8)
    rounded = ROWS.astype("f2").astype("f4")
    for _ in range(2):
        assert api.predict([0, 1, 2, 3, 3]).tobytes() == rounded[[0, 1, 2, 3, 3]].tobytes()
    assert {row.tobytes() for row in seen} == {row.tobytes() for row in rounded[1:4]}


def test_what_cannot_be_stored_is_answered_as_it_is():
    class API(ls.LitAPI):
        @cached_predict(store_as="int8")
        def predict(self, x):
            return [ROWS[0], {"vector": ROWS[1], "box": object()}]

    first, second = API(max_batch_size=2).predict([0, 1])
    assert first.tobytes() != ROWS[0].tobytes()
    assert second["vector"] is not ROWS[0]
    assert second["vector"].tobytes() == ROWS[1].tobytes()


@pytest.mark.parametrize("items", ["request", "list"])
def test_warmed_entries_and_looked_up_ones_are_rounded(items):
    class API(ls.LitAPI):
        @cached_predict(store_as="float16", items=items)
        def predict(self, x):
            raise AssertionError("it is stored")

    api = API()
    api.predict.cache.warm(["a", "b"], ROWS[:2] if items == "list" else list(ROWS[:2]))
    rounded = ROWS[0].astype("f2").astype("f4").tobytes()
    assert api.predict.cache.get("a").tobytes() == rounded
    answer = api.predict(["a"])[0] if items == "list" else api.predict("a")
    assert answer.tobytes() == rounded


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("compare", ["response", "output"])
@pytest.mark.parametrize("loop", [None, CachedBatchedLoop()])
def test_the_trial_agrees_with_what_was_only_rounded(form, compare, loop, caplog):
    class API(ls.LitAPI):
        @cached_predict(store_as=form)
        def predict(self, x):
            return ROWS[list(x)]

        def encode_response(self, output):
            return {"vector": output.tolist()}

    api = API(max_batch_size=8, loop=copy.copy(loop))
    trial = Trial(hits=4, tolerance=0, compare=compare)  # what is rounded equally is equal
    with APIRunner(api, trial=trial) as runner:
        found = [runner.run_batch([0, 1, 2, 3, 3]) for _ in range(4)]
    info = api.predict.cache.info()
    assert (info.state, info.verified >= 4, info.hits > 0) == ("on", True, True)
    assert all(answer == found[0] for answer in found)


def test_the_trial_sees_another_answer_through_the_rounding(caplog):
    class API(ls.LitAPI):
        calls = 0

        @cached_predict(store_as="int8")
        def predict(self, x):
            self.calls += 1
            return ROWS[list(x)] * self.calls

        def encode_response(self, output):
            return output.tolist()

    with APIRunner(API(max_batch_size=8), trial=4) as runner:
        for _ in range(3):
            runner.run(0)
        assert runner.api.predict.cache.info().state == "off"


READER = """
import sys
import litserve as ls
from litcache import SharedStore, cached_predict

class API(ls.LitAPI):
    @cached_predict(
        store=SharedStore(sys.argv[1]), namespace="n", version="1", store_as=sys.argv[2]
    )
    def predict(self, x):
        raise AssertionError("it is stored")

print(API(max_batch_size=8).predict(["b", "a"])[::-1].tobytes().hex())
"""


def test_another_process_hits_what_was_stored_bit_for_bit(tmp_path):
    class API(ls.LitAPI):
        @cached_predict(store=SharedStore(tmp_path), namespace="n", version="1", store_as="int8")
        def predict(self, x):
            return ROWS[["ab".index(text) for text in x]]

    api = API(max_batch_size=8)
    miss = api.predict(["a", "b"])
    wait_until(lambda: api.predict.cache.info().entries == 2, "both are written", 60)
    other = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", READER, str(tmp_path), "int8"],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert other.returncode == 0, other.stderr
    assert bytes.fromhex(other.stdout) == miss.tobytes() != ROWS[:2].tobytes()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"store_as": "float8"}, ["store_as", "'float8'", "float16", "bfloat16", "int8", "None"]),
        ({"store_as": np.float16}, ["store_as", "float16", "int8"]),
        ({"store_as": True}, ["store_as", "True", "int8"]),
        ({"store_as": "int8", "result": "response"}, ["store_as", "response"]),
    ],
)
def test_a_bad_form_raises(options, words):
    with pytest.raises(ValueError, match="store_as") as raised:
        CachePolicy(**options)
    assert all(word in str(raised.value) for word in words)


def test_a_generator_has_no_form():
    with pytest.raises(UnsupportedMethodError, match="store_as='int8' is not for a generator"):

        class API(ls.LitAPI):
            @cached_predict(store_as="int8")
            def predict(self, x):
                yield ROWS[x]


def test_undecorated_twins_answer_in_full():
    api = made("rows", "array", "int8", ROWS, decorate=lambda **options: undecorated)
    assert api.predict(["0"]).tobytes() == ROWS[[0]].tobytes()
