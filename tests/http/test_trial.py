"""The trial of CacheMiddleware: what is sent on, what agrees, and what ends caching on a path."""

import asyncio
import json
import logging
from contextvars import ContextVar

import pytest
from fastapi import HTTPException, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.middleware.gzip import GZipMiddleware
from support.asgi import Answer, Service
from support.followers import all_begun, following

from litcache import CacheMiddleware, MemoryStore, SharedStore, Trial
from litcache.errors import DisagreementError
from litcache.http.responses import LARGEST_BODY
from litcache.switches import strict

TRIED = "litcache; fwd=miss; detail=trial"
OFF = "litcache; fwd=bypass; detail=disagreement"


@pytest.fixture(autouse=True)
def said(caplog):
    """What the log says of level INFO and above, as level and message."""
    caplog.set_level(logging.INFO, "litcache")
    return lambda level: [r.getMessage() for r in caplog.records if r.levelname == level]


def answering(*answers, **options):
    """A service that gives these answers one after the other, the last for ever."""
    service = Service(**options)
    left = list(answers)

    def respond(payload):
        answer = left.pop(0) if len(left) > 1 else left[0]
        return answer if isinstance(answer, Response) else answer()

    service.respond = respond
    return service


def constant(**options):
    return answering(lambda: JSONResponse({"label": "cat"}), **options)


def by(user):
    return (b"x-user", user.encode())


def personal(**options):
    """A service whose answers depend on a context variable that its check sets."""
    user = ContextVar("user", default="nobody")

    async def authorize(request: Request):
        user.set(request.headers.get("x-user", "nobody"))

    service = Service(authorize=authorize, **options)
    service.respond = lambda payload: JSONResponse({"user": user.get()})
    return service


# ---------------------------------------------------------------------------- while it lasts


def test_so_many_first_hits_are_answered_by_litserve_then_the_cache_answers(said):
    async def main():
        service = constant(trial=3, paths=["/predict"])
        answers = [await service.ask() for _ in range(6)]
        stored, *tried, hit, _ = [answer.cache_status for answer in answers]
        assert stored == "litcache; fwd=miss; stored"
        assert tried == [TRIED] * 3
        assert hit.startswith("litcache; hit; ttl=")
        assert service.calls == 4
        info = service.cache.info()
        assert (info.misses, info.verified, info.hits) == (1, 3, 2)
        assert (info.state, info.disagreements) == ("on", 0)
        assert info.hit_rate == 5 / 6

    asyncio.run(main())
    assert said("INFO")[-1] == (
        "CacheMiddleware /predict: trial: 3 of 3 agreed: answering from the cache"
    )


def test_the_log_says_at_the_start_what_is_tried(said):
    async def main():
        service = constant(trial=Trial(hits=5))
        service.app.build_middleware_stack()
        lifespan = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])

        async def receive():
            return next(lifespan)

        await service.app({"type": "lifespan", "app": service.app}, receive, Answer().send)

    asyncio.run(main())
    (line,) = [line for line in said("INFO") if "caching under" in line]
    assert line.endswith("; trial: the first 5 hits are computed and compared")


def test_a_client_gets_the_new_answer_while_it_lasts():
    async def main():
        answers = [{"score": 0.5 + number / 1000} for number in range(4)]
        service = answering(*map(JSONResponse, answers), trial=2, paths=["/predict"])
        given = [json.loads((await service.ask()).body) for _ in range(5)]
        assert given == [answers[0], answers[1], answers[2], answers[0], answers[0]]
        assert service.cache.info().state == "on"

    asyncio.run(main())


def test_the_state_is_that_of_the_trial_until_every_path_has_passed_it():
    async def main():
        service = constant(trial=1)
        for path, state in (("/predict", "trial"), ("/other", "on")):
            await service.ask(path=path)
            assert service.cache.info().state == "trial"
            await service.ask(path=path)
            assert service.cache.info().state == state

    asyncio.run(main())


def test_without_a_trial_hits_are_answered_from_the_first():
    async def main():
        service = constant(trial=0)
        await service.ask()
        assert (await service.ask()).is_hit
        assert service.cache.info().state == "on"

    asyncio.run(main())


def test_a_trial_is_the_default_and_of_16_hits():
    async def main():
        service = constant(trial=Trial())
        for _ in range(17):
            assert not (await service.ask()).is_hit
        assert (await service.ask()).is_hit

    asyncio.run(main())
    assert CacheMiddleware(print).info().state == "trial"


def test_a_new_answer_that_a_client_asks_for_is_no_hit():
    async def main():
        service = constant(trial=1, client_control=True)
        await service.ask()
        new = await service.ask(b'{"x": 1}', (b"cache-control", b"no-cache"))
        assert new.cache_status == "litcache; fwd=request; stored"
        assert service.cache.info().verified == 0

    asyncio.run(main())


def test_an_entry_of_another_process_is_tried_too():
    async def main():
        store = MemoryStore()
        await answering(JSONResponse({"model": "old"}), store=store, trial=1).ask()
        service = answering(JSONResponse({"model": "new"}), store=store, trial=1)
        answer = await service.ask()
        assert (answer.cache_status, answer.body) == (TRIED, b'{"model":"new"}')
        assert service.cache.info().state == "off"

    asyncio.run(main())


def test_observing_never_ends_and_never_answers(said):
    async def main():
        service = answering(
            *map(JSONResponse, [{"n": 1}, {"n": 1}, {"n": 2}]), trial=Trial(observe=True, hits=1)
        )
        for _ in range(6):
            assert not (await service.ask()).is_hit
        info = service.cache.info()
        assert (info.misses, info.verified, info.disagreements) == (1, 5, 4)
        assert info.state == "trial"
        assert "$.n: 1 from the cache, 2 from the model" in info.disagreement
        assert info.seconds_verifying > 0

    asyncio.run(main())
    assert len(said("ERROR")) == 1


def test_a_share_of_the_hits_is_tried_for_good():
    async def main():
        service = constant(trial=Trial(hits=0, verify=1.0))
        await service.ask()
        for _ in range(5):
            assert (await service.ask()).cache_status == TRIED
        assert service.cache.info().state == "on"

    asyncio.run(main())


# ---------------------------------------------------------------------------- what agrees


def body(text, kind="application/json"):
    return lambda: Response(text, media_type=kind)


AGREES = {
    "order of keys": (body('{"a": 1, "b": 2}'), body('{"b":2,"a":1}')),
    "float noise": (body("[0.5, 0.25]"), body("[0.5001, 0.2499]")),
    "a number alone": (body("0.5"), body("0.5001")),
    "not a number": (body('{"a": NaN}'), body('{"a":NaN}')),
    "a kind of JSON": (body("[1, 2]", "application/x+json"), body("[1,2]", "application/x+json")),
    "bytes": (body(b"\0\1", "image/png"), body(b"\0\1", "image/png")),
    "JSON in name only": (body("{"), body("{")),
    "a stream of the same": (
        body('{"a": 1}'),
        lambda: StreamingResponse(iter([b'{"a"', b": 1}"]), media_type="application/json"),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("stored", "new"), AGREES.values(), ids=AGREES)
def test_answers_of_the_same_value_agree(stored, new):
    async def main():
        service = answering(stored, new, stored, trial=1)
        await service.ask()
        assert (await service.ask()).cache_status == TRIED
        assert (await service.ask()).is_hit

    asyncio.run(main())


DIFFERS = {
    "value": (body('{"a": 1}'), body('{"a": 2}'), "$.a: 1 from the cache, 2 from the model"),
    "number": (body("[0.5]"), body("[0.6]"), "$[0]: 0.5 from the cache, 0.6 from the model"),
    "kind": (body("[1]"), body("[1.0]"), "$[0]: int 1 from the cache, float 1.0 from the model"),
    "key": (body("{}"), body('{"a": 1}'), "$.a: not there from the cache, 1 from the model"),
    "bytes": (body(b"a", "image/png"), body(b"b", "image/png"), "$: b'a' from the cache"),
    "only one is JSON": (body("[1]"), body("["), "$: b'[1]' from the cache, b'[' from the model"),
    "content type": (
        body("[1]"), body("[1]", "text/plain"),
        "content-type: application/json from the cache, text/plain; charset=utf-8 from the model",
    ),
    "status": (
        body("[1]"), lambda: JSONResponse([1], 201),
        "status: 200 from the cache, 201 from the model",
    ),
    "refusal": (
        body("[1]"), lambda: JSONResponse([1], 403),
        "status: 200 from the cache, 403 from the model",
    ),
    "size": (
        body("[1]"), lambda: Response(bytes(LARGEST_BODY + 1), media_type="application/json"),
        f"$: 3 bytes from the cache, more than {LARGEST_BODY} from the model",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("stored", "new", "text"), DIFFERS.values(), ids=DIFFERS)
def test_answers_that_differ_end_caching_on_their_path(stored, new, text, said):
    async def main():
        service = answering(stored, new, stored, trial=1)
        await service.ask()
        answer = await service.ask()
        assert answer.cache_status == TRIED
        for _ in range(2):
            assert (await service.ask()).cache_status == OFF
        info = service.cache.info()
        assert (info.state, info.disagreements, info.entries) == ("off", 1, 0)
        assert text in info.disagreement
        assert info.disagreement.startswith("/predict: ")

    asyncio.run(main())
    (line,) = said("ERROR")
    assert line.startswith("CacheMiddleware /predict: ")
    assert text in line


@pytest.mark.parametrize("ends", ["on", "off"])
def test_what_is_compared_is_the_answer_before_an_outer_middleware_packs_it(ends):
    async def main():
        new = {"a": [1.0] * 5_000} if ends == "on" else {"a": [2.0] * 5_000}
        service = answering(
            JSONResponse({"a": [1.0] * 5_000}), lambda: JSONResponse(new), trial=1,
            paths=["/predict"], outer=[(GZipMiddleware, {"minimum_size": 10})],
        )  # fmt: skip
        for _ in range(2):
            answer = await service.ask(b'{"x": 1}', (b"accept-encoding", b"gzip"))
            assert answer.header("content-encoding") == ["gzip"]
        assert service.cache.info().state == ends

    asyncio.run(main())


def test_places_that_may_differ_are_left_out():
    async def main():
        numbers = iter(range(100))
        trial = Trial(hits=2, ignore=("$.seconds",))
        service = answering(lambda: JSONResponse({"a": 1, "seconds": next(numbers)}), trial=trial)
        answers = [await service.ask() for _ in range(4)]
        assert answers[-1].is_hit

    asyncio.run(main())


def test_a_disagreement_names_the_place_to_leave_out_first(said):
    async def main():
        numbers = iter(range(100))
        service = answering(lambda: JSONResponse({"at": next(numbers)}), trial=1)
        await service.ask()
        await service.ask()

    asyncio.run(main())
    (line,) = said("ERROR")
    usual = line.split("Usual causes: ")[1]
    assert usual.startswith("the answer holds a clock, an id or a random number")
    assert "ignore=('$.at',)" in usual


@pytest.mark.parametrize("parts", [1, 2])
def test_a_path_that_goes_off_while_a_body_arrives_gives_no_stored_answer(parts):
    async def main():
        service = constant(trial=Trial(hits=0, verify=0))
        await service.ask()
        assert (await service.ask()).is_hit
        messages = [
            {"type": "http.request", "body": part, "more_body": number < parts}
            for number, part in enumerate((b'{"x": 1}', b"")[:parts], start=1)
        ]

        async def receive():
            service.cache._trials["/predict"].verdict.is_off = True
            return messages.pop(0)

        assert (await service.ask(receive=receive)).cache_status == OFF
        assert service.calls == 2

    asyncio.run(main())


def test_other_paths_are_cached_on():
    async def main():
        service = Service(trial=1)  # each answer has the number of the call
        await service.ask()
        await service.ask()
        service.respond = lambda payload: JSONResponse(payload)
        for _ in range(2):
            await service.ask(path="/other")
        assert (await service.ask(path="/other")).is_hit
        assert (await service.ask()).cache_status == OFF
        assert service.cache.info().state == "off"

    asyncio.run(main())


def test_in_strict_mode_a_disagreement_is_raised_behind_the_answer():
    async def main():
        service = answering(body("[1]"), body("[2]"), trial=1)
        await service.ask()
        answer = Answer()
        with strict(), pytest.raises(DisagreementError, match=r"\$\[0\]: 1 from the cache"):
            await service.ask(answer=answer)
        assert answer.body == b"[2]"

    asyncio.run(main())


def test_a_store_that_waits_is_cleared_in_another_thread(tmp_path):
    async def main():
        store = SharedStore(tmp_path, "8 MiB", timeout=5)
        service = answering(
            body("[1]"), body("[2]"), store=store, namespace="n", version="1", trial=1
        )
        await service.ask()
        await service.ask()
        assert service.cache.info().state == "off"
        other = answering(body("[3]"), store=store, namespace="n", version="1", trial=0)
        assert (await other.ask()).body == b"[3]"
        store.close()

    asyncio.run(main())


# ---------------------------------------------------------------------------- no verdict

RAISES = [500, 503, 429, 408]


@pytest.mark.parametrize("status", RAISES)
def test_an_answer_that_fails_says_nothing_of_the_entry(status):
    async def main():
        def fail():
            raise HTTPException(status)

        service = answering(body("[1]"), fail, body("[1]"), trial=1)
        await service.ask()
        failed = await service.ask()
        assert (failed.status, failed.cache_status) == (status, TRIED)
        assert service.cache.info().state == "trial"
        assert service.cache.info().bypassed == 1
        assert (await service.ask()).cache_status == TRIED
        assert (await service.ask()).is_hit

    asyncio.run(main())


def test_an_answer_that_is_cut_short_says_nothing_of_the_entry():
    async def main():
        short = lambda: Response(b"[2", headers={"content-length": "3"})  # noqa: E731
        service = answering(body("[1]"), short, body("[1]"), trial=1)
        await service.ask()
        await service.ask()
        assert service.cache.info().state == "trial"

    asyncio.run(main())


def test_a_client_that_leaves_says_nothing_of_the_entry():
    async def main():
        class Gone(Answer):
            async def send(self, message):
                raise OSError("the client has left")

        service = answering(body("[1]"), body("[2]"), body("[1]"), trial=1)
        await service.ask()
        with pytest.raises(OSError, match="left"):
            await service.ask(answer=Gone())
        assert service.cache.info().state == "trial"
        assert (await service.ask()).cache_status == TRIED

    asyncio.run(main())


# ---------------------------------------------------------------------------- who asks


def test_an_answer_that_depends_on_what_authorize_keeps_reaches_nobody_else(said):
    async def main():
        service = personal(trial=Trial())
        for user in ("ann", "bob", "ann", "bob"):
            answer = await service.ask(b'{"x": 1}', by(user))
            assert json.loads(answer.body) == {"user": user}
        assert answer.cache_status == OFF

    asyncio.run(main())
    (line,) = said("ERROR")
    assert "$.user: 'ann' from the cache, 'bob' from the model" in line
    assert line.split("Usual causes: ")[1].startswith("the answer depends on who asks")


def test_a_rare_client_is_tried_when_the_first_hits_were_all_of_one():
    async def main():
        service = personal(trial=Trial(hits=4, verify=0))
        answers = [await service.ask(b'{"x": 1}', by("ann")) for _ in range(50)]
        assert answers[-1].is_hit
        rare = await service.ask(b'{"x": 1}', by("bob"))
        assert json.loads(rare.body) == {"user": "bob"}
        assert service.cache.info().state == "off"

    asyncio.run(main())


def test_another_client_with_the_same_answer_is_tried_so_often_and_then_answered():
    async def main():
        service = constant(trial=Trial(hits=3, verify=0))
        for _ in range(5):
            await service.ask()
        for user in ("ann", "bob", "eve"):
            assert (await service.ask(b'{"x": 1}', by(user))).cache_status == TRIED
        assert (await service.ask(b'{"x": 1}', by("zoe"))).is_hit

    asyncio.run(main())


def test_a_client_is_not_another_for_the_number_of_its_request():
    async def main():
        service = constant(trial=Trial(hits=1, verify=0))
        await service.ask()
        await service.ask()
        for number in range(5):
            header = (b"x-request-id", b"%d" % number)
            assert (await service.ask(b'{"x": 1}', header)).is_hit

    asyncio.run(main())


def test_a_header_of_vary_makes_another_entry_and_no_disagreement():
    async def main():
        service = personal(trial=Trial(hits=2), vary=["x-user"])
        for _ in range(4):
            for user in ("ann", "bob"):
                answer = await service.ask(b'{"x": 1}', by(user))
                assert json.loads(answer.body) == {"user": user}
        assert answer.is_hit

    asyncio.run(main())


def test_who_waits_for_an_equal_request_is_tried_too():
    async def main():
        service = personal(trial=Trial())
        service.go.clear()
        with following() as begun:
            tasks = [
                asyncio.create_task(service.ask(b'{"x": 1}', by(user))) for user in ("ann", "bob")
            ]
            await service.entered.acquire()
            await all_begun(begun, 1)
            service.go.set()
            answers = await asyncio.gather(*tasks)
        assert [json.loads(answer.body)["user"] for answer in answers] == ["ann", "bob"]
        assert service.cache.info().state == "off"

    asyncio.run(main())


def test_who_waited_while_caching_ended_is_answered_by_litserve():
    async def main():
        service = personal(trial=Trial())
        await service.ask(b"[1]", by("ann"))
        service.go.clear()
        with following() as begun:
            first = asyncio.create_task(service.ask(b"[2]", by("ann")))
            await service.entered.acquire()
            await service.entered.acquire()
            second = asyncio.create_task(service.ask(b"[2]", by("bob")))
            await all_begun(begun, 1)
            service.cache._trials["/predict"].verdict.disagreed([])
            service.go.set()
            await first
            answer = await second
        assert json.loads(answer.body) == {"user": "bob"}
        assert answer.cache_status == OFF
        assert service.cache.info().entries == 0

    asyncio.run(main())


# ---------------------------------------------------------------------------- options

REFUSED = [
    (True, TypeError, "trial=True"),
    (None, TypeError, "trial=None"),
    (1.5, TypeError, "trial=1.5"),
    ("16", TypeError, "trial='16'"),
    (-1, ValueError, "trial=-1"),
    (Trial(compare="output"), ValueError, 'compares "response"'),
]


@pytest.mark.parametrize(("trial", "error", "text"), REFUSED)
def test_a_trial_that_is_none_is_refused_by_name(trial, error, text):
    with pytest.raises(error, match=text):
        CacheMiddleware(print, trial=trial)
