"""The HTTP tier: an ASGI middleware that answers whole responses before LitServe's queue."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable
from datetime import timedelta
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from litcache.checks import HEADER_NAME, check_flag, check_store, is_utf8, told
from litcache.http.exchange import answer
from litcache.http.paths import CachedPath
from litcache.http.route_check import UncheckableError, find
from litcache.http.tier import ResponseTier
from litcache.http.trials import PathTrial, Standings
from litcache.litapi.litserve import refuse, submission_faults
from litcache.observe.counters import CacheInfo, Labels
from litcache.policy import CachePolicy, Default
from litcache.stores.base import Store
from litcache.stores.memory import MemoryStore
from litcache.switches import is_disabled
from litcache.trial_policy import Trial, trial_of
from litcache.ttl import ALWAYS, seconds_of

__all__ = ["CacheMiddleware"]

_PATHS = "paths as requests have them, which start with / and have none of ? # { }"
_NAMESPACE = Default("http")
_SIZE = Default("64 MiB")
_TRIAL = Trial()


class CacheMiddleware:
    """Answers equal POST requests with whole stored responses, in the HTTP process.

    The key of a request is made of method, path, query, content type, the body as it was sent, and
    the headers named in `vary`. LitServe checks clients behind its middlewares. So LitServe's own
    check of the route (the API key, or `LitAPI.authorize`) runs on the request before it gets a
    stored response; a client that it refuses gets LitServe's refusal. If the check cannot be run on
    a path, nothing is cached there.

    It stores complete responses with status 200 and a known length, without `set-cookie`, without
    `content-range`, without `Cache-Control: no-store`, `no-cache` or `private`, and without a
    `Vary` beyond `vary`. Multipart requests pass through. Every answer on a cached path says in
    `Cache-Status` (RFC 9211) what happened, and a hit has an `Age`. This is the cache of the
    service itself: it does what the service's owner configures, and is not a cache as RFC 9111
    defines it.

    Put it first in `LitServer(middlewares=[...])`: middlewares before it in that list stand behind
    it, and do not see the requests that it answers. `litcache.disabled` and `LITCACHE_DISABLED=1`
    turn it off.

    Concurrency: each HTTP process, and each thread with its own event loop, has its own instance.
    With a `SharedStore` or `RedisStore` the instances share entries. Of equal requests that arrive
    together at one instance, one goes on to LitServe.

    Args:
        app: The ASGI app behind this middleware.
        paths: The paths whose POST requests are cached, such as the `api_path` of each `LitAPI`;
            without a query, and without places for parameters.
        ttl: The longest time that an answer stays valid: positive seconds, a `timedelta`, or
            text such as `"2h30m"`.
        max_bytes: The budget of the default `MemoryStore`, for each HTTP process.
        store: The `Store` to use instead.
        namespace: Whose entries these are. Part of every key; `clear` drops those of a namespace.
        version: Which model makes the answers. Part of every key.
        vary: Names of request headers whose values change the answer; they are part of the key.
        client_control: Whether requests may ask for `Cache-Control: no-cache` (a new answer) or
            `no-store`.
        trial: How the cache proves itself on each path: a `Trial`, or how many first hits are
            answered by LitServe and compared; 0: none.
        lease: With a store that processes share: of the processes that get equal requests, one
            sends its request on, and the others wait for the stored answer, at most so long.

    Raises:
        ValueError: If an option's value is not allowed, or options contradict each other.
        TypeError: If an option is of the wrong type.
        UnsupportedLitServeError: If the installed LitServe may give a worker more of a request than
            its body.

    Example:
        >>> middlewares = [(CacheMiddleware, {"paths": ["/predict"], "ttl": 60})]
        >>> CacheMiddleware(print, ttl=60).info().hits
        0
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        paths: Iterable[str] = ("/predict",),
        ttl: float | timedelta | str = 60,
        max_bytes: int | str = _SIZE,
        store: Store | None = None,
        namespace: str = _NAMESPACE,
        version: str = "",
        vary: Iterable[str] = (),
        client_control: bool = False,
        trial: Trial | int = _TRIAL,
        lease: float | timedelta | str | None = None,
    ) -> None:
        if faults := submission_faults():
            refuse(faults, "CacheMiddleware")
        if not callable(app):
            raise TypeError(told("app", app, "the ASGI app behind the middleware"))
        policy = _policy(ttl, max_bytes, store, namespace, version, lease)
        check_flag("client_control", client_control)
        tries = _trial(trial)
        self._app = app
        self._paths = frozenset(_names("paths", paths))
        self._found: dict[str, CachedPath] = {}
        self._tier = ResponseTier(
            MemoryStore(max_bytes) if store is None else store,
            namespace=str(namespace),
            version=version,
            seconds=policy.seconds or 0.0,
            vary=frozenset(name.lower().encode("ascii") for name in _names("vary", vary)),
            client_control=client_control,
            lease=policy.lease_seconds,
            labels=Labels(" ".join(sorted(self._paths)), "POST", "http"),
        )
        self._standings = Standings(self._tier.counters)
        self._trials = (
            {path: PathTrial(path, tries, self._tier, self._standings) for path in self._paths}
            if tries is not None
            else {}
        )

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Answer one connection; the cache may answer a POST to a cached path."""
        if scope["type"] == "http" and scope["method"] == "POST" and not is_disabled():
            path = _path_in_app(scope) if scope.get("root_path") else scope["path"]
            found = self._found.get(path)
            if found is None and path in self._paths:
                found = self._find(scope, path)
            if found is not None:
                return answer(found, self._app, scope, receive, send)
        elif scope["type"] == "lifespan":
            self._start(scope)
        return self._app(scope, receive, send)

    def info(self) -> CacheInfo:
        """Return the counters of this instance and of its store.

        `misses` are requests whose answer was stored, `uncacheable` those that were answered with
        what may not be stored, such as a stream or a cookie. `bypassed` are those that passed
        through unread, those that LitServe refused and those that failed.

        Example:
            >>> CacheMiddleware(print).info().hit_rate
            0.0
        """
        return self._tier.info()

    def _start(self, scope: Scope) -> None:
        """Log what is cached, and find the check of each path, before the first request."""
        trial = next(iter(self._trials.values()), None)  # that of each path is the same
        self._tier.started("" if trial is None else trial.verdict.announcement())
        if "app" in scope and not is_disabled():
            for path in self._paths:
                self._find(scope, path)

    def _find(self, scope: Scope, path: str) -> CachedPath:
        """Find the check of a path; warn once if nothing may be cached there."""
        if path not in self._found:
            check, trial = None, self._trials.get(path)
            try:
                check = find(scope, self._app, path)
            except UncheckableError as error:
                why: Exception = error
            except Exception as error:  # routes and apps may be anybody's
                why = error
            else:
                if trial is not None:
                    trial.remade = check.remade
            if check is None:
                self._tier.reporter.warn_once(path, f"nothing is cached on {path}: {why}")
                self._standings.note(path, "on", "")  # nothing is tried there
            self._found[path] = CachedPath(self._tier, check, trial)
        return self._found[path]


def _policy(
    ttl: Any, max_bytes: Any, store: Any, namespace: Any, version: Any, lease: Any
) -> CachePolicy:
    """Check the options that a cached method has, too, in the same way."""
    if ttl is None or callable(ttl):
        raise TypeError(told("ttl", ttl, ALWAYS))
    seconds_of(ttl, allowed=ALWAYS)
    if store is not None:
        check_store("store", store)
    for name, value in (("version", version), ("namespace", namespace)):
        if not isinstance(value, str):
            raise TypeError(told(name, value, "text"))
    if namespace is _NAMESPACE and getattr(store, "persistent", False):
        namespace = None  # not given, which a persistent store needs
    return CachePolicy(
        ttl=ttl, max_bytes=max_bytes, store=store, namespace=namespace, version=version,
        lease=lease,
    )  # fmt: skip


def _trial(option: Any) -> Trial | None:
    """Check the trial that is asked for."""
    trial = trial_of(option)
    if trial is not None and trial.compare != "response":
        raise ValueError(f'trial={option!r}: CacheMiddleware compares "response", and nothing else')
    return trial


def _names(option: str, names: Any) -> list[str]:
    """Check a list of paths or header names."""
    kind = _PATHS if option == "paths" else "names of request headers (and not * for all of them)"
    if isinstance(names, str | bytes) or not isinstance(names, Iterable):
        raise TypeError(told(option, names, f"a list or tuple of {kind}"))
    found = list(names)
    for name in found:
        if not isinstance(name, str):
            raise TypeError(told(option, names, f"a list or tuple of {kind}"))
        good = _is_path(name) if option == "paths" else name != "*" and HEADER_NAME.fullmatch(name)
        if not good:
            raise ValueError(f"{told(option, found, kind)}, which {name!r} is not")
    if option == "paths" and not found:
        raise ValueError(told(option, names, "at least one path, such as '/predict'"))
    return found


def _is_path(name: str) -> bool:
    """Return whether the path of a request can be this: a server has cut off the query."""
    return name.startswith("/") and not set(name) & set("?#{}") and is_utf8(name)


def _path_in_app(scope: Scope) -> str:
    """Return the path without the root path under which a proxy serves the app."""
    path: str = scope["path"]
    root = scope["root_path"]
    # As Starlette's routes read it.
    return path[len(root) :] if path.startswith(root + "/") else path
