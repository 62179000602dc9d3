"""Right and wrong uses of `cached_predict`, read by mypy and pyright and never run.

A wrong line is marked `# type: ignore[…]`, and both complain where there is nothing to ignore: an
error that is no longer found is one.
"""

from collections.abc import AsyncIterator, Generator, Iterator
from datetime import timedelta
from typing import Any

import litserve as ls
from typing_extensions import assert_type

from litcache import CacheInfo, CachePolicy, MemoryStore, SharedStore, cached_predict, contents

# ------------------------------------------------------------------ what is right


class Bare(ls.LitAPI):
    @cached_predict
    def predict(self, x: str, *, times: int = 1) -> list[float]:
        return [float(len(x))] * times


class Called(ls.LitAPI):
    @cached_predict()
    def predict(self, x: str, **kwargs: Any) -> list[float]:
        return [float(len(x))]


class WithOptions(ls.LitAPI):
    @cached_predict(ttl=60)
    def decode_request(self, request: dict[str, str], context: dict[str, Any]) -> str:
        return request["text"]

    @cached_predict(
        store_as="float16",
        ttl=timedelta(hours=1),
        store=MemoryStore("1 GiB"),
        version=lambda api: "1",
        namespace="texts",
        items="list",
        max_items=64,
        list_at=None,
        result="prediction",
        context=("user",),
        bypass_if=lambda item: len(item) > 1000,
        store_if=lambda item, output: True,
        digest="sha256",
        outcome_in="cache",
    )
    def predict(self, x: list[str]) -> list[float]:
        return [float(len(text)) for text in x]


class Leased(ls.LitAPI):
    @cached_predict(store=lambda api: SharedStore("folder"), lease="2s")
    def predict(self, x: str) -> str:
        return x


class Helped(Bare):
    @cached_predict(ttl=60)
    def encode_image(self, image: bytes) -> list[float]:
        return [float(len(image))]

    @cached_predict
    async def encode_text(self, text: str, context: dict[str, Any] | None = None) -> list[float]:
        return [float(len(text))]


def seconds_of(item: str, output: list[float], context: dict[str, Any]) -> float:
    return 60.0 if output else 0


def bytes_of(item: str, output: list[float]) -> bytes:
    return b"1h"


class WithPolicy(ls.LitAPI):
    @cached_predict(ttl=seconds_of)
    def decode_request(self, request: str) -> str:
        return request

    @cached_predict(key=contents)
    def transcribe(self, path: str) -> str:
        return path

    @cached_predict(ttl=lambda item, output: "2h30m" if item else None)
    def encode_text(self, text: str) -> list[float]:
        return [float(len(text))]

    @cached_predict(policy=CachePolicy(ttl="1.5h"))
    async def predict(self, x: str) -> list[float]:
        return [float(len(x))]


class Streaming(ls.LitAPI):
    @cached_predict
    def predict(self, x: str, *args: int, **kwargs: str) -> Iterator[str]:
        yield x


class Chat(ls.LitAPI):
    @cached_predict(store_if=lambda item, output: len(output) > 1)
    async def predict(self, x: str, context: dict[str, Any] | None = None) -> AsyncIterator[str]:
        yield x


class Returning(ls.LitAPI):
    @cached_predict
    def predict(self, x: str) -> Generator[str, None, int]:
        yield x
        return 1


class Override(Bare):
    @cached_predict(max_bytes="1 GiB")
    def predict(self, x: str, *, times: int = 1) -> list[float]:
        return super().predict(x, times=times)


async def right() -> None:
    assert_type(Bare().predict("a"), list[float])
    assert_type(Bare().predict("a", times=3), list[float])
    assert_type(Bare.predict(Bare(), "a"), list[float])
    assert_type(Called().predict("a", anything=3), list[float])
    assert_type(WithOptions().decode_request({"text": "a"}, context={}), str)
    assert_type(WithOptions().predict(["a"]), list[float])
    assert_type(await WithPolicy().predict("a"), list[float])
    assert_type(Streaming().predict("a", 1, 2, b="c"), Iterator[str])
    assert_type(Chat().predict("a", {}), AsyncIterator[str])
    assert_type([chunk async for chunk in Chat().predict("a")], list[str])
    assert_type(Returning().predict("a"), Generator[str, None, int])
    assert_type(Chat().predict.cache.info(), CacheInfo)
    assert_type(Override().predict(x="a"), list[float])
    assert_type(Helped().encode_image(b"a"), list[float])
    assert_type(Helped().encode_image.cache.info(), CacheInfo)
    assert_type(await Helped().encode_text("a", {}), list[float])

    assert_type(contents("a.wav"), str)
    assert_type(WithPolicy().transcribe("a.wav"), str)

    cache = Bare().predict.cache
    assert_type(cache.info(), CacheInfo)
    assert_type(cache.info().hits, int)
    assert_type(cache.info().hit_rate, float)
    assert_type(cache.key("a"), bytes)
    assert_type(cache.policy, CachePolicy)
    assert_type(Override().predict.cache.delete(["a"]), int)


# ------------------------------------------------------------------ what is wrong


def wrong() -> None:
    cached_predict(3600)  # type: ignore[call-overload]
    cached_predict("1 GiB")  # type: ignore[call-overload]
    cached_predict(CachePolicy(ttl=60))  # type: ignore[call-overload]
    cached_predict(tll=3)  # type: ignore[call-overload]
    cached_predict(ttl=b"1h")  # type: ignore[call-overload]
    cached_predict(ttl=bytes_of)  # type: ignore[arg-type]
    cached_predict(max_bytes=1.5)  # type: ignore[call-overload]
    cached_predict(version=3)  # type: ignore[call-overload]
    cached_predict(namespace=b"texts")  # type: ignore[call-overload]
    cached_predict(items="lists")  # type: ignore[call-overload]
    cached_predict(max_items="3")  # type: ignore[call-overload]
    cached_predict(list_at=("texts",))  # type: ignore[call-overload]
    cached_predict(result="output")  # type: ignore[call-overload]
    cached_predict(context=["user"])  # type: ignore[call-overload]
    cached_predict(key="text")  # type: ignore[call-overload]
    cached_predict(bypass_if=True)  # type: ignore[call-overload]
    cached_predict(digest="md5")  # type: ignore[call-overload]
    cached_predict(outcome_in=True)  # type: ignore[call-overload]
    cached_predict(lease=b"2s")  # type: ignore[call-overload]
    cached_predict(policy={"ttl": 60})  # type: ignore[call-overload]
    cached_predict(policy=CachePolicy(), ttl=60)  # type: ignore[call-overload]

    contents(3)  # type: ignore[arg-type]
    Bare().predict(3)  # type: ignore[arg-type]
    Bare().predict()  # type: ignore[call-arg]
    Bare().predict("a", 3)  # type: ignore[call-arg]
    Bare().predict("a", time=3)  # type: ignore[call-arg]
    Bare.predict("a")  # type: ignore[call-arg, arg-type]
    Bare().predict("a").append("b")  # type: ignore[arg-type]
    Override().predict(b"a")  # type: ignore[arg-type]
    Helped().encode_image("a")  # type: ignore[arg-type]
    WithPolicy().predict("a").append(1.0)  # type: ignore[attr-defined]
    Chat().predict(3)  # type: ignore[arg-type]
    Bare().predict.cache.infos()  # type: ignore[attr-defined]
    print(Bare().predict.cache.info().hit)  # type: ignore[attr-defined]
    Bare().predict.cache.info().hits = 3  # type: ignore[misc]
    Bare().predict.cache.key()  # type: ignore[call-arg]
