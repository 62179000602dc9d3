"""Generators: recorded as they pass, given again, and joined while they run."""

import asyncio
import itertools
import json
import threading
import tracemalloc
from contextlib import closing

import litserve as ls
import numpy as np
import pytest
from support.loops import running
from support.streams import DrivenStreams

from litcache import (
    MemoryStore,
    SharedStore,
    Trial,
    UnsupportedMethodError,
    cached_predict,
    disabled,
)
from litcache.errors import StreamError
from litcache.testing import APIRunner

pytestmark = pytest.mark.filterwarnings("ignore:.*LitServe will asyncify")


class Words(ls.LitAPI):
    """Streams the words of a text; it counts how often it is asked."""

    calls = 0

    @cached_predict
    def predict(self, text):
        self.calls += 1
        yield from text.split()

    def encode_response(self, words):
        for word in words:
            yield {"word": word}


class AsyncWords(ls.LitAPI):
    calls = 0

    @cached_predict
    async def predict(self, text):
        self.calls += 1
        for word in text.split():
            yield word

    async def encode_response(self, words):
        async for word in words:
            yield {"word": word}


KINDS = [lambda: Words(stream=True), lambda: AsyncWords(stream=True, enable_async=True)]


def counted(api, *names):
    info = api.predict.cache.info()
    return tuple(getattr(info, name) for name in names)


async def collect(stream):
    return [chunk async for chunk in stream]


# ------------------------------------------------------------------ hits


@pytest.mark.parametrize("make", KINDS)
def test_a_hit_streams_the_same_chunks_through_the_loop_without_the_model(make):
    api = make()
    with running(api, beside=DrivenStreams()) as driven:
        first, again, other = (
            driven.get("one two three"),
            driven.get("one two three"),
            driven.get(""),
        )
    assert first == again
    assert len(first[0]) == 3
    assert other == [[]]
    assert api.calls == 2
    assert counted(api, "hits", "misses", "stored") == (1, 2, 2)


VALUES = [
    "text", "", None, 3, 2.5, b"bytes", (1, "two"), {"a": [1]}, np.arange(6.0).reshape(2, 3),
    np.float32(1.5),
]  # fmt: skip


def test_chunks_come_back_as_they_were_and_fresh_each_time():
    class API(ls.LitAPI):
        @cached_predict
        def predict(self, x):
            yield from VALUES

    api = API()
    list(api.predict(1))
    one, two = list(api.predict(1)), list(api.predict(1))
    for value, hit, other in zip(VALUES, one, two, strict=True):
        assert type(hit) is type(value)
        np.testing.assert_equal(hit, value)
        if isinstance(value, dict | np.ndarray):
            assert hit is not other
    one[8][0] = 7  # writable, and nobody else's
    one[7]["a"].append(2)
    np.testing.assert_equal(list(api.predict(1)), two)


def test_a_chunk_that_is_changed_after_it_was_yielded_is_stored_as_it_was():
    class API(ls.LitAPI):
        @cached_predict
        def predict(self, x):
            buffer = np.zeros(2)
            for step in range(3):
                buffer[:] = step
                yield buffer

    api = API()
    seen = [chunk.tolist() for chunk in api.predict(1)]
    assert seen == [[0, 0], [1, 1], [2, 2]]
    assert [chunk.tolist() for chunk in api.predict(1)] == seen


def test_the_value_that_a_generator_returns_comes_back():
    class API(ls.LitAPI):
        @cached_predict
        def predict(self, x):
            yield x
            return {"tokens": 1}

    returned = []

    def through(api):
        returned.append((yield from api.predict("a")))

    api = API()
    assert [list(through(api)) for _ in range(2)] == [["a"], ["a"]]
    assert returned == [{"tokens": 1}] * 2
    assert counted(api, "hits", "misses") == (1, 1)


class Telling(ls.LitAPI):
    """Changes its context before, between and after its chunks."""

    @cached_predict
    def predict(self, text, context):
        context["begun"] = True
        for place, word in enumerate(text.split()):
            context["place"] = place
            yield word
        context["tokens"] = len(text)
        context.pop("begun")

    def encode_response(self, words, context):
        for word in words:
            yield word, dict(context)
        yield "end", dict(context)


def test_the_context_of_a_hit_changes_chunk_by_chunk_as_that_of_a_miss():
    with APIRunner(Telling(stream=True)) as runner:
        first = runner.run("one two")
        assert first == [
            ("one", {"begun": True, "place": 0}),
            ("two", {"begun": True, "place": 1}),
            ("end", {"place": 1, "tokens": 7}),
        ]
        assert runner.run("one two") == first
        assert runner.model_batches == [1]


def test_nothing_runs_before_the_first_chunk_is_asked_for():
    api = Words()
    api.predict("a")
    assert api.calls == 0
    assert counted(api, "hits", "misses") == (0, 0)


# ------------------------------------------------------------------ what is not stored


class Failing(ls.LitAPI):
    fails = True

    @cached_predict
    def predict(self, text):
        yield "one"
        if self.fails:
            raise ValueError("in mid-way")
        yield "two"


def test_a_stream_that_raises_is_not_stored_and_computed_anew():
    api = Failing()
    for _ in range(2):
        stream = api.predict("a")
        assert next(stream) == "one"
        with pytest.raises(ValueError, match="in mid-way"):
            next(stream)
    api.fails = False
    assert [list(api.predict("a")) for _ in range(2)] == [["one", "two"]] * 2
    assert counted(api, "hits", "misses", "stored") == (1, 3, 1)


def test_a_stream_whose_caller_leaves_is_closed_and_not_stored():
    closed = []

    class API(ls.LitAPI):
        @cached_predict
        def predict(self, text):
            try:
                yield "one"
                yield "two"
            finally:
                closed.append(text)

    api = API()
    stream = api.predict("a")
    next(stream)
    stream.close()
    assert closed == ["a"]
    assert counted(api, "misses", "stored") == (1, 0)
    assert list(api.predict("a")) == ["one", "two"]
    assert counted(api, "misses", "stored") == (2, 1)


def test_an_async_stream_whose_caller_leaves_is_closed_and_not_stored():
    closed = []

    class API(ls.LitAPI):
        @cached_predict
        async def predict(self, text):
            try:
                yield "one"
                yield "two"
            finally:
                closed.append(text)

    api = API()

    async def leave():
        stream = api.predict("a")
        await anext(stream)
        await stream.aclose()
        assert closed == ["a"]
        return await collect(api.predict("a"))

    assert asyncio.run(leave()) == ["one", "two"]
    assert counted(api, "misses", "stored") == (2, 1)


def test_a_stream_larger_than_a_twentieth_of_the_budget_passes_and_is_forgotten(caplog):
    class API(ls.LitAPI):
        @cached_predict(max_bytes=200_000)
        def predict(self, count):
            for _ in range(count):
                yield "x" * 1000

    api = API()
    for _ in range(2):
        assert len(list(api.predict(20))) == 20
    assert len(list(api.predict(9))) == 9
    assert counted(api, "misses", "uncacheable", "stored", "hits") == (1, 2, 1, 0)
    (line,) = [r.message for r in caplog.records if "a twentieth" in r.message]
    assert "9.8 KiB" in line


def test_a_stream_that_never_ends_is_not_kept():
    class API(ls.LitAPI):
        @cached_predict(max_bytes=200_000)
        def predict(self, x):
            while True:
                yield bytes(1000)

    api = API()
    stream = api.predict(1)
    for _ in range(100):
        next(stream)
    assert not api.predict.cache._cache.flight._claims  # its beginning is gone: nobody joins it
    tracemalloc.start()
    for _ in range(1000):
        next(stream)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 100_000  # of a million bytes
    stream.close()
    assert counted(api, "uncacheable", "stored") == (1, 0)


def test_chunks_that_cannot_be_stored_pass_and_are_warned_of_once(caplog):
    thing = object()

    class API(ls.LitAPI):
        @cached_predict
        def predict(self, x):
            yield "first"
            yield thing

    api = API()
    assert [list(api.predict(1)) for _ in range(3)] == [["first", thing]] * 3
    assert counted(api, "uncacheable", "stored", "hits") == (3, 0, 0)
    assert len([r for r in caplog.records if "a stream cannot be stored" in r.message]) == 1


def test_what_a_caller_sends_or_throws_reaches_the_generator_and_is_not_stored():
    class API(ls.LitAPI):
        @cached_predict
        def predict(self, x):
            heard = yield "first"
            try:
                yield heard
            except KeyError:
                yield "caught"

    api = API()
    stream = api.predict(1)
    assert [next(stream), stream.send("hello"), stream.throw(KeyError())] == [
        "first", "hello", "caught",
    ]  # fmt: skip
    assert list(stream) == []
    assert counted(api, "uncacheable", "stored") == (1, 0)


def test_batches_pass_uncached_and_are_warned_of_once(caplog):
    class API(ls.LitAPI):
        calls = 0

        @cached_predict
        def predict(self, texts):
            self.calls += 1
            yield [text.upper() for text in texts]

        def unbatch(self, output):
            yield from output

        def encode_response(self, outputs):
            yield from outputs

    api = API(stream=True, max_batch_size=2)
    with APIRunner(api) as runner:
        for _ in range(2):
            assert runner.run_batch(["a", "b"]) == [["A"], ["B"]]
    assert api.calls == 2
    assert len([r for r in caplog.records if "streams of batches" in r.message]) == 1
    assert counted(api, "hits", "misses") == (0, 0)


# ------------------------------------------------------------------ what is refused


def test_generators_are_refused_where_they_are_not_predict():
    with pytest.raises(UnsupportedMethodError, match="it is a generator; of generators, only pred"):

        class Helper(ls.LitAPI):
            @cached_predict
            def tokens(self, text):
                yield text

    with pytest.raises(UnsupportedMethodError, match="generator"):

        class Decoding(ls.LitAPI):
            @cached_predict
            async def decode_request(self, request):
                yield request

    with pytest.raises(UnsupportedMethodError, match='items="list" is not for a generator'):

        class Lists(ls.LitAPI):
            @cached_predict(items="list")
            def predict(self, texts):
                yield texts

    with pytest.raises(UnsupportedMethodError, match='result="response" is not for a generator'):

        class Responses(ls.LitAPI):
            @cached_predict(result="response")
            def predict(self, text):
                yield text

    class Renamed(ls.LitAPI):
        tokens = Words.__dict__["predict"]

    with pytest.raises(UnsupportedMethodError, match=r"Renamed.tokens .*generator"):
        Renamed().tokens("a")


# ------------------------------------------------------------------ options


def test_every_option_of_a_policy_holds_for_streams():
    asked = []

    class API(ls.LitAPI):
        calls = 0

        @cached_predict(
            key=str.lower,
            bypass_if=lambda item: item == "bypass",
            refresh_if=lambda item: item == "REFRESH",
            store_if=lambda item, output: asked.append(output) or item != "drop",
            ttl=lambda item, output: 0 if item == "zero" else "1h",
        )
        def predict(self, text):
            self.calls += 1
            yield text
            yield self.calls

    api = API()

    def calls_for(*texts):
        before = api.calls
        for text in texts:
            assert len(list(api.predict(text))) == 2
        return api.calls - before

    assert calls_for("Key", "kEY") == 1
    assert asked == [["Key", 1]]
    assert calls_for("bypass", "bypass") == 2
    assert calls_for("drop", "drop") == 2
    assert calls_for("zero", "zero") == 2
    assert calls_for("refresh", "REFRESH", "refresh") == 2
    assert next(api.predict("refresh")) == "REFRESH"
    with disabled():
        assert calls_for("key") == 1
    assert counted(api, "hits", "bypassed", "stored") == (3, 2, 3)


def test_what_became_of_a_stream_is_told_before_its_first_chunk_and_not_stored():
    class API(ls.LitAPI):
        @cached_predict(outcome_in="cache", bypass_if=lambda item, context: item == "bypass")
        def predict(self, text, context):
            context["text"] = text
            yield text

        def encode_response(self, chunks, context):
            for chunk in chunks:
                yield f"{chunk} {context['cache']} {context['text']}"

    with APIRunner(API(stream=True)) as runner:
        answers = [runner.run(text) for text in ("a", "a", "bypass")]
        assert answers == [["a miss a"], ["a hit a"], ["bypass bypassed bypass"]]


def test_a_handle_reads_writes_and_deletes_streams():
    api = Words()
    cache = api.predict.cache
    list(api.predict("one two"))
    assert cache.get("one two") == ["one", "two"]
    cache.warm(["three"], [["drei", "trois"]])
    assert list(api.predict("three")) == ["drei", "trois"]
    assert cache.delete(["three", "one two"]) == 2
    assert list(api.predict("three")) == ["three"]
    with pytest.raises(KeyError):
        cache.get("four")


@pytest.mark.parametrize("make", KINDS)
def test_a_stream_is_one_entry_of_a_shared_store(make, tmp_path):
    api = make()
    store = SharedStore(tmp_path / "cache", max_bytes="64 MiB")
    with closing(store), APIRunner(api, store=store) as runner:
        first = runner.run("one two three")
        assert runner.run("one two three") == first
        assert store.info().entries == 1
        assert runner.model_batches == [1]


class Blocking(MemoryStore):
    """A store that may wait for I/O, and notes the threads it is asked in."""

    blocking = True
    threads = frozenset()

    def get_many(self, scope, keys):
        self.threads |= {threading.current_thread()}
        return super().get_many(scope, keys)

    def set_many(self, scope, entries):
        self.threads |= {threading.current_thread()}
        super().set_many(scope, entries)


def test_an_async_stream_leaves_the_io_of_its_store_to_threads():
    store = Blocking()

    class API(ls.LitAPI):
        @cached_predict(store=store)
        async def predict(self, text):
            yield text

    api = API()

    async def ask():
        return await collect(api.predict("a")), await collect(api.predict("a"))

    assert asyncio.run(ask()) == (["a"], ["a"])
    assert threading.main_thread() not in store.threads


# ------------------------------------------------------------------ one stream for many


class Stepped:
    """Async generators that yield a chunk each time that they are let go on."""

    def __init__(self):
        self.calls = 0
        self.steps = asyncio.Semaphore(0)

    async def chunks(self, *chunks):
        self.calls += 1
        for chunk in chunks:
            await self.steps.acquire()
            if isinstance(chunk, Exception):
                raise chunk
            yield chunk

    def go_on(self, count=1):
        for _ in range(count):
            self.steps.release()


def test_an_equal_request_joins_a_running_stream():
    async def ask():
        model = Stepped()

        class API(ls.LitAPI):
            @cached_predict
            async def predict(self, text):
                async for chunk in model.chunks("one", "two", "three"):
                    yield chunk

        api = API()
        leader, follower, late = (api.predict("a") for _ in range(3))
        model.go_on(2)
        assert [await anext(leader), await anext(leader)] == ["one", "two"]
        # What there is at once, while the model waits; the rest as it comes.
        assert [await anext(follower), await anext(follower)] == ["one", "two"]
        rest = asyncio.create_task(collect(follower))
        whole = asyncio.create_task(collect(late))
        await asyncio.sleep(0)
        model.go_on()
        assert await collect(leader) == ["three"]
        assert (await rest, await whole) == (["three"], ["one", "two", "three"])
        assert model.calls == 1
        assert await collect(api.predict("a")) == ["one", "two", "three"]
        assert counted(api, "hits", "misses", "coalesced", "stored") == (1, 1, 2, 1)

    asyncio.run(ask())


def test_equal_requests_of_a_loop_are_computed_once():
    gate = threading.Event()

    class API(AsyncWords):
        @cached_predict
        async def predict(self, text):
            self.calls += 1
            yield "first"
            await asyncio.to_thread(gate.wait, 20)
            yield "last"

    api = API(stream=True, enable_async=True)
    with running(api, beside=DrivenStreams()) as driven:
        uids = driven.ask("a", "a", "a")
        for uid in uids:
            driven.wait_for_chunks(uid, 1)  # each gets the first while the model is on its way
        gate.set()
        answers = driven.wait(*uids)
    assert answers[0] == answers[1] == answers[2]
    assert len(answers[0]) == 2
    assert api.calls == 1


def test_threads_join_a_running_stream():
    go_on, joined = threading.Event(), threading.Event()

    class API(ls.LitAPI):
        calls = 0

        @cached_predict
        def predict(self, text):
            self.calls += 1
            yield "one"
            assert go_on.wait(20)
            yield "two"

    api = API()
    results = {}

    def lead():
        results["leader"] = list(api.predict("a"))

    def follow():
        stream = api.predict("a")
        first = next(stream)
        joined.set()
        results["follower"] = [first, *stream]

    leader, follower = threading.Thread(target=lead), threading.Thread(target=follow)
    leader.start()
    while not api.predict.cache._cache.flight._claims:
        leader.join(0.001)
    follower.start()
    assert joined.wait(20)
    go_on.set()
    leader.join(20)
    follower.join(20)
    assert results == {"leader": ["one", "two"], "follower": ["one", "two"]}
    assert api.calls == 1


def test_one_thread_that_takes_two_equal_streams_in_turns_does_not_wait_for_itself():
    api = Words()
    one, two = api.predict("a b c"), api.predict("a b c")
    assert next(one) == "a"
    assert list(two) == ["a", "b", "c"]
    assert list(one) == ["b", "c"]
    assert api.calls == 2
    assert list(api.predict("a b c")) == ["a", "b", "c"]
    assert api.calls == 2


# What the leader's model yields, and how it ends; what the follower's own yields after two chunks
# of the leader's; what the follower gets.
BROKEN = ValueError("in mid-way")
ENDS = [
    (["one", "two", BROKEN], ["one", "two", "three"], ["one", "two", "three"]),
    (["one", "two", BROKEN], ["one", "else", "three"], BROKEN),
    (["one", "two", BROKEN], ["one"], BROKEN),
    (["one", "two", BROKEN], ["one", "two", object()], None),
    (["one", "two", "closed"], ["one", "two", "three"], ["one", "two", "three"]),
    (["one", "two", "closed"], ["one", "else", "three"], StreamError),
]


@pytest.mark.parametrize(("leads", "follows", "expected"), ENDS)
def test_a_follower_survives_its_leader_and_repeats_no_chunk(leads, follows, expected):
    async def ask():
        model = Stepped()

        class API(ls.LitAPI):
            @cached_predict
            async def predict(self, text):
                async for chunk in model.chunks(*(follows if model.calls else leads)):
                    yield chunk

        api = API()
        leader, follower = api.predict("a"), api.predict("a")
        model.go_on(2)
        assert [await anext(leader), await anext(leader)] == ["one", "two"]
        got = [await anext(follower), await anext(follower)]
        model.go_on(10)
        if leads[2] == "closed":
            await leader.aclose()
        else:
            with pytest.raises(ValueError, match="in mid-way"):
                await anext(leader)
        if isinstance(expected, list | None):
            assert got + await collect(follower) == (expected or follows)
        else:
            with pytest.raises(type(BROKEN) if expected is BROKEN else expected) as caught:
                await collect(follower)
            assert expected is not BROKEN or caught.value is BROKEN
        assert model.calls == 2
        assert not api.predict.cache._cache.flight._claims
        assert counted(api, "stored") == (expected == follows,)

    asyncio.run(ask())


def test_a_follower_that_waits_is_woken_when_its_leader_is_closed():
    async def ask():
        model = Stepped()

        class API(ls.LitAPI):
            @cached_predict
            async def predict(self, text):
                async for chunk in model.chunks("one", "two"):
                    yield chunk

        api = API()
        leader = api.predict("a")
        model.go_on()
        assert await anext(leader) == "one"
        followers = [asyncio.create_task(collect(api.predict("a"))) for _ in range(3)]
        await asyncio.sleep(0.01)
        assert not any(task.done() for task in followers)
        await leader.aclose()
        model.go_on(2)
        assert await asyncio.gather(*followers) == [["one", "two"]] * 3
        assert model.calls == 2  # one of them leads the others

    asyncio.run(ask())


def test_a_follower_whose_leader_fails_has_its_context_changed_once():
    async def ask():
        model = Stepped()

        class API(ls.LitAPI):
            @cached_predict
            async def predict(self, text, context):
                last = "three" if model.calls else BROKEN
                async for chunk in model.chunks("one", "two", last):
                    context["seen"] = (*context.get("seen", ()), chunk)
                    yield chunk
                context["end"] = True

        api = API()
        contexts = {}, {}, {}
        leader, follower = api.predict("a", contexts[0]), api.predict("a", contexts[1])
        model.go_on(2)
        await anext(leader), await anext(leader)
        assert await anext(follower) == "one"
        assert contexts[1] == {"seen": ("one",)}
        model.go_on(10)
        with pytest.raises(ValueError, match="mid-way"):
            await collect(leader)
        assert await collect(follower) == ["two", "three"]
        assert await collect(api.predict("a", contexts[2])) == ["one", "two", "three"]
        assert contexts[1] == contexts[2] == {"seen": ("one", "two", "three"), "end": True}
        assert model.calls == 2

    asyncio.run(ask())


def test_who_has_joined_a_stream_gets_all_of_it_though_it_grows_too_large():
    async def ask():
        model = Stepped()
        chunks = [bytes([number]) * 1000 for number in range(30)]

        class API(ls.LitAPI):
            @cached_predict(max_bytes=200_000)
            async def predict(self, text):
                async for chunk in model.chunks(*chunks):
                    yield chunk

        api = API()
        leader, follower = api.predict("a"), api.predict("a")
        for chunk in chunks:
            model.go_on()
            assert (await anext(leader), await anext(follower)) == (chunk, chunk)
        assert (await collect(leader), await collect(follower)) == ([], [])
        assert model.calls == 1
        assert counted(api, "coalesced", "uncacheable", "stored") == (1, 1, 0)

    asyncio.run(ask())


def test_a_follower_that_is_too_slow_for_a_stream_that_is_too_large_computes_for_itself():
    async def ask():
        model = Stepped()
        chunks = [bytes([number]) * 1000 for number in range(30)]

        class API(ls.LitAPI):
            @cached_predict(max_bytes=200_000)
            async def predict(self, text):
                async for chunk in model.chunks(*chunks):
                    yield chunk

        api = API()
        leader, follower = api.predict("a"), api.predict("a")
        model.go_on(60)
        first = await anext(leader), await anext(follower)
        assert first == (chunks[0], chunks[0])
        assert await collect(leader) == chunks[1:]
        assert await collect(follower) == chunks[1:]
        assert model.calls == 2

    asyncio.run(ask())


def test_a_cancelled_leader_and_a_cancelled_follower_disturb_nobody():
    async def ask():
        model = Stepped()

        class API(ls.LitAPI):
            @cached_predict
            async def predict(self, text):
                async for chunk in model.chunks("one", "two"):
                    yield chunk

        api = API()
        leader, follower, last = (asyncio.create_task(collect(api.predict("a"))) for _ in range(3))
        await asyncio.sleep(0.01)
        follower.cancel()
        await asyncio.sleep(0.01)
        leader.cancel()
        model.go_on(4)
        assert await last == ["one", "two"]
        done = await asyncio.gather(leader, follower, return_exceptions=True)
        assert all(isinstance(result, asyncio.CancelledError) for result in done)

    asyncio.run(ask())


# ---------------------------------------------------------------------- the trial of streams


def words(answer):
    """The words of an answer; LitServe sends a dict as a line of JSON."""
    return [json.loads(line)["word"] for line in answer]


def telling(cls, sample):
    """An API that streams, whose last chunk is what `sample` returns."""
    if cls is AsyncWords:

        class Telling(AsyncWords):
            @cached_predict
            async def predict(self, text):
                for word in text.split():
                    yield word
                yield sample(self)

        return Telling(stream=True, enable_async=True)

    class Telling(Words):
        @cached_predict
        def predict(self, text):
            yield from text.split()
            yield sample(self)

    return Telling(stream=True)


@pytest.mark.parametrize("cls", [Words, AsyncWords])
def test_a_stream_that_is_sampled_is_caught_and_never_given_again(cls):
    count = itertools.count()
    api = telling(cls, lambda self: next(count))
    with APIRunner(api, trial=16) as runner:
        for number in range(4):
            assert words(runner.run("a b")) == ["a", "b", number]
        info = api.predict.cache.info()
        assert (info.state, info.hits, info.verified) == ("off", 0, 1)
        assert "[2]: 0 from the cache, 1 from the model" in info.disagreement


@pytest.mark.parametrize("cls", [Words, AsyncWords])
def test_a_stream_that_is_always_the_same_proves_itself(cls):
    api = telling(cls, lambda self: "end")
    with APIRunner(api, trial=Trial(hits=3, verify=0)) as runner:
        for _ in range(6):
            assert words(runner.run("a b")) == ["a", "b", "end"]
        info = api.predict.cache.info()
        assert (info.state, info.misses, info.verified, info.hits) == ("on", 1, 3, 2)


def test_an_option_on_self_is_caught_in_a_stream_after_the_trial():
    class API(Words):
        def decode_request(self, request):
            self.language = request["language"]
            return request["text"]

        @cached_predict
        def predict(self, text):
            for word in text.split():
                yield f"{self.language}: {word}"

    with APIRunner(API(stream=True), trial=2) as runner:
        for language in ("en", "en", "en", "en", "fr", "en"):
            answer = runner.run({"text": "a b", "language": language})
            assert words(answer) == [f"{language}: a", f"{language}: b"]
        assert runner.api.predict.cache.info().state == "off"


def test_a_stream_that_raises_gives_no_verdict():
    class API(Words):
        @cached_predict
        def predict(self, text):
            yield from text.split()
            if self.calls:
                raise ValueError("broken")

    with APIRunner(API(stream=True), trial=2) as runner:
        runner.run("a b")
        runner.api.calls = 1
        with pytest.raises(ValueError, match="broken"):
            runner.run("a b")
        assert runner.api.predict.cache.info().state == "trial"
