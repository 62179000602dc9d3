"""Caches every LitAPI as soon as LitServe is imported, and counts what is found in the caches.

A variant is a comma-separated list: `predict` and `decode_request` are decorated in every class;
`loop` puts `CachedBatchedLoop` in the place of LitServe's batched loop, `overlap` the same with
`overlap=True`; `middleware` puts a `CacheMiddleware` into every server.
"""

from __future__ import annotations

import inspect
import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

import wrapt

_counts: dict[str, int] = {}
_lock = threading.Lock()


def count(what: str, number: int = 1) -> None:
    """Count something, in a file of this process that outlives it."""
    folder = os.environ.get("LITCACHE_CONFORMANCE_COUNTS")
    if not folder or not number:
        return
    with _lock:
        _counts[what] = _counts.get(what, 0) + number
        Path(folder, f"{os.getpid()}.json").write_text(json.dumps(_counts))


def install(variant: str) -> None:
    """Have LitServe changed once it is imported."""
    names = set(variant.split(","))
    os.register_at_fork(after_in_child=_counts.clear)
    wrapt.register_post_import_hook(lambda module: _change(module, names), "litserve")


def _change(litserve: Any, names: set[str]) -> None:
    hooks = [name for name in ("predict", "decode_request") if name in names]
    _count_hits()
    if hooks:
        _decorate_every_class(litserve.LitAPI, hooks)
    if names & {"loop", "overlap"}:
        _replace_loop("overlap" in names)
    if "middleware" in names:
        _add_middleware(litserve.LitServer)


def _count_hits() -> None:
    from litcache import MemoryStore

    original = MemoryStore.get_many

    def get_many(self: Any, scope: Any, keys: Any) -> Any:
        entries = original(self, scope, keys)
        names = ("decode_request", "predict")  # a path is "/predict", too
        kind = next((name for name in names if f".{name}" in scope.namespace), "http")
        count(f"{kind} look-ups", len(keys))
        count(f"{kind} hits", sum(entry is not None for entry in entries))
        return entries

    MemoryStore.get_many = get_many


# ---------------------------------------------------------------------- classes


def _decorate_every_class(base: Any, hooks: list[str]) -> None:
    """Decorate the classes there are, and those to come."""

    def init_subclass(cls: Any, **kwargs: Any) -> None:
        super(base, cls).__init_subclass__(**kwargs)
        _decorate(cls, hooks)

    base.__init_subclass__ = classmethod(init_subclass)
    for cls in reversed(_below(base)):  # before their bases, which then take hooks of theirs over
        _decorate(cls, hooks)


def _below(base: Any) -> list[Any]:
    """Return the classes made from a class, each behind its bases."""
    found: list[Any] = []
    for cls in base.__subclasses__():
        found += [cls, *_below(cls)]
    return found


def _decorate(cls: Any, hooks: list[str]) -> None:
    """Decorate what a class defines, as if it stood so in its body."""
    from litcache import cached_predict
    from litcache.errors import UnsupportedMethodError

    methods = {}
    for name in hooks:
        function = cls.__dict__.get(name)
        if not inspect.isfunction(function):
            continue
        try:
            methods[name] = cached_predict(trial=0)(function)
        except UnsupportedMethodError:  # it streams, or the like
            count(f"{name} left as it is")
    for name, method in methods.items():
        setattr(cls, name, method)
        count(f"{name} decorated")
    for name, method in methods.items():
        method.__set_name__(cls, name)


# ---------------------------------------------------------------------- loops


def _replace_loop(overlap: bool) -> None:
    from litcache import CachedBatchedLoop

    class ConformanceLoop(CachedBatchedLoop):
        """`CachedBatchedLoop` as LitServe's own loop is made: without arguments."""

        def __init__(self) -> None:
            super().__init__(overlap=overlap)

        def run_batched_loop(self, *args: Any, **kwargs: Any) -> None:
            count("loops run")
            super().run_batched_loop(*args, **kwargs)

    globals()["ConformanceLoop"] = ConformanceLoop  # a worker finds it by its name
    ConformanceLoop.__qualname__ = "ConformanceLoop"
    for name in ("litserve.loops", "litserve.loops.loops"):
        sys.modules[name].BatchedLoop = ConformanceLoop  # type: ignore[attr-defined]


# ---------------------------------------------------------------------- servers


def _add_middleware(server: Any) -> None:
    from litcache import CacheMiddleware

    original = server.__init__

    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        apis = self.lit_api if isinstance(self.lit_api, list) else [self.lit_api]
        paths = {api.api_path for api in apis}
        paths |= {path for api in apis for path in _paths_of(getattr(api, "spec", None))}
        cache = {"paths": sorted(paths), "ttl": 60, "trial": 0}  # a trial would give no hits
        self.middlewares.insert(0, (CacheMiddleware, cache))
        count("middlewares")

    server.__init__ = init


def _paths_of(spec: Any) -> list[str]:
    return [endpoint[0] for endpoint in getattr(spec, "endpoints", ())]
