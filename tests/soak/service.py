"""The server of the soak: all tiers, every kind of store, and a model whose answers change.

What the model answers depends on the text and on the revision, a number in a file. Whoever raises
it clears or deletes entries; so an answer tells whether an entry outlived that.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import litserve as ls
from fastapi import HTTPException

from litcache import (
    CachedBatchedLoop,
    CacheMiddleware,
    MemoryStore,
    RedisStore,
    SharedStore,
    TieredStore,
    cached_predict,
)  # fmt: skip
from litcache.metrics import PrometheusLogger

WORKERS = 2
LARGEST = 200_000
TIMEOUT = 10.0
TTL = 2.0
"""How long `CacheMiddleware` keeps a response, in seconds."""

SHARED_MIB = 4
NUMBERS = 32
SECONDS_BETWEEN = 1


def numbers(text: str) -> list[float]:
    """Return what the model makes of a text, whatever the revision is."""
    return [float(byte) for byte in hashlib.sha512(text.encode()).digest()[:NUMBERS]]


def folder() -> Path:
    """Return the folder in which the processes of one soak leave their files."""
    return Path(os.environ["SOAK_FOLDER"])


def _rows(texts: list[str]) -> list[list[float]]:
    if any(text.startswith("raise") for text in texts):
        raise ValueError("a text that the model cannot bear")
    revision = float((folder() / "revision").read_text())
    return [[revision, *numbers(text)] for text in texts]


class TextAPI(ls.LitAPI):
    """A text a request, as stock LitServe answers it."""

    def setup(self, device: str) -> None:
        tell_role(f"worker {self.api_path}")

    def decode_request(self, request):  # annotated, FastAPI would check it
        text = request["text"]
        if not isinstance(text, str):
            raise HTTPException(422, "text must be a string")
        return text

    def predict(self, texts: list[str]) -> list[list[float]]:
        return _rows(texts)

    def encode_response(self, output: list[float]) -> dict[str, Any]:
        return {"row": output}


def _shared(api: ls.LitAPI) -> SharedStore:
    return SharedStore(folder() / "disk" / "entries", f"{SHARED_MIB} MiB")


def _tiered(api: ls.LitAPI) -> TieredStore:
    return TieredStore(MemoryStore("1 MiB"), RedisStore(os.environ["SOAK_VALKEY"]))


class TieredAPI(TextAPI):
    """The same on a front and a Valkey, with leases."""

    @cached_predict(store=_tiered, namespace="tiered", version="1", trial=0, lease=1.0)
    def predict(self, texts: list[str]) -> list[list[float]]:
        return super().predict(texts)


class ListAPI(TextAPI):
    """A list of texts a request, on the files of a `SharedStore`."""

    def decode_request(self, request):
        return request["texts"]

    @cached_predict(store=_shared, namespace="lists", version="1", trial=0, items="list")
    def predict(self, texts: list[str]) -> list[list[float]]:
        return _rows(texts)

    def encode_response(self, output: list[list[float]]) -> dict[str, Any]:
        return {"rows": output}


class StreamAPI(TextAPI):
    """A stream of numbers, on the same files."""

    @cached_predict(store=_shared, namespace="streams", version="1", trial=0)
    def predict(self, text: str) -> Iterator[float]:
        yield from _rows([text])[0]

    def encode_response(self, outputs: Iterator[float]) -> Iterator[str]:
        for output in outputs:
            yield f"{output} "


BATCHES = {"max_batch_size": 16, "batch_timeout": 0.002}


def cached() -> dict[str, ls.LitAPI]:
    """Return the cached APIs, by path."""
    tiered = TieredAPI(loop=CachedBatchedLoop(overlap=True), api_path="/predict", **BATCHES)
    lists = ListAPI(loop=CachedBatchedLoop(), api_path="/lists", **BATCHES)
    stream = StreamAPI(stream=True, api_path="/stream")
    return {api.api_path: api for api in (tiered, lists, stream)}


class Watched:
    """A middleware that does nothing but to note that this is an HTTP process, and its tasks."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            tell_role("HTTP")
            self._note_tasks(asyncio.get_running_loop())
        await self.app(scope, receive, send)

    def _note_tasks(self, loop: asyncio.AbstractEventLoop) -> None:
        note = folder() / f"tasks.{os.getpid()}"
        note.write_text(str(len(asyncio.all_tasks(loop))))
        loop.call_later(SECONDS_BETWEEN, self._note_tasks, loop)


def tell_role(role: str) -> None:
    """Note what this process is."""
    (folder() / f"role.{os.getpid()}").write_text(role)


def main() -> None:
    """Run one server in this process: `stock`, or `cached`."""
    if sys.argv[1] == "stock":
        apis = [TextAPI(api_path="/predict", **BATCHES)]
        options: dict[str, Any] = {"workers_per_device": 1}
    else:
        apis = [*cached().values()]
        paths = [api.api_path for api in apis]
        cache = (CacheMiddleware, {"paths": paths, "ttl": TTL, "max_bytes": "1 MiB", "trial": 0})
        options = {"workers_per_device": WORKERS, "loggers": PrometheusLogger()}
        options |= {"middlewares": [cache, Watched], "restart_workers": True}
    server = ls.LitServer(
        apis, accelerator="cpu", max_payload_size=LARGEST, timeout=TIMEOUT, **options
    )
    server.run(
        host="127.0.0.1", port=int(os.environ["PORT"]), log_level="warning", access_log=False,
        generate_client_file=False, num_api_servers=WORKERS,
    )  # fmt: skip


if __name__ == "__main__":
    main()
