"""Metrics for Prometheus: the counts of the caches in every process of a server."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import wrapt
from litserve import LitServer, Logger, loggers
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

from litcache.litapi.litserve import refuse
from litcache.observe import pages
from litcache.observe.families import families

if TYPE_CHECKING:
    from prometheus_client import Metric
    from prometheus_client.registry import Collector
    from starlette.types import Receive, Scope, Send

__all__ = ["PrometheusLogger", "collector"]

_PATHS = ("healthcheck_path", "info_path", "_shutdown_path")


class PrometheusLogger(Logger):  # type: ignore[misc]  # LitServe has no types
    """Serves the counters of every worker and HTTP process of a LitServer to Prometheus.

    Give it to `LitServer(…, loggers=…)`. A call of a cached method sends nothing: processes count
    in memory that they share, mapped files in a temporary folder, which goes when the server ends.
    `LIT_SERVER_API_KEY` does not protect the path, because LitServe guards no path of a logger.

    Args:
        path: The path at which the server gives the metrics.

    Raises:
        ImportError: If prometheus-client is not installed.
        ValueError: If `path` is not a path. `LitServer(…)` raises it if the path is taken.
        OSError: If no folder for temporary files can be written.
        UnsupportedLitServeError: If the installed LitServe mounts the app of a logger otherwise.

    Example:
        >>> import litserve as ls
        >>> logger = PrometheusLogger()
        >>> server = ls.LitServer(ls.LitAPI(), accelerator="cpu", loggers=[logger])
        >>> [route.path for route in server.app.routes if "metrics" in route.path]
        ['/metrics', '/metrics']
    """

    def __init__(self, path: str = "/metrics") -> None:
        super().__init__()
        if not isinstance(path, str) or not re.fullmatch(r"(/[\w.~-]+)+", path):
            raise ValueError(
                f"PrometheusLogger: path={path!r} must be a path such as '/metrics', of letters, "
                "digits and _ . ~ -, without a slash at the end"
            )
        _require_prometheus()
        _route_exact_paths()
        pages.of_this_process().share()
        self.mount(path, _Exposition())

    def process(self, key: str, value: Any) -> None:
        """Ignore what an API logs: metrics do not need it."""


def collector() -> Collector:
    """Return a collector for your own registry.

    Processes share their counts from the first call on. Call it before the server starts, in the
    process that starts it.

    Returns:
        A collector. In any process of the server it gives the metrics of all its processes.

    Raises:
        ImportError: If prometheus-client is not installed.
        OSError: If no folder for temporary files can be written.

    Example:
        >>> from prometheus_client import CollectorRegistry
        >>> registry = CollectorRegistry()
        >>> registry.register(collector())
        >>> registry.get_sample_value("litcache_items_total", {"api": "/none"}) is None
        True
    """
    _require_prometheus()
    pages.of_this_process().share()
    return _Collector()


def _require_prometheus() -> None:
    try:
        import prometheus_client  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "litcache.metrics needs prometheus-client, the extra litcache[metrics]: "
            "pip install prometheus-client"
        ) from error


class _Collector:
    """Reads the counts of all processes when it is asked."""

    def collect(self) -> Iterator[Metric]:
        yield from families(pages.of_this_process().read())


class _Exposition:
    """The ASGI app that answers a scrape."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        if request.method not in ("GET", "HEAD"):
            response = Response("Method Not Allowed", 405, {"allow": "GET, HEAD"})
        else:
            body, kind = await run_in_threadpool(_exposed, request.headers.get("accept", ""))
            response = Response(body, headers={"content-type": kind})
        await response(scope, receive, send)


def _exposed(accept: str) -> tuple[bytes, str]:
    """Return a scrape and its content type."""
    from prometheus_client import CollectorRegistry
    from prometheus_client.exposition import choose_encoder

    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector())
    encode, kind = choose_encoder(accept)
    return encode(registry), kind


# ---------------------------------------------------------------------- the server's paths


@functools.cache
def _route_exact_paths() -> None:
    """Make LitServers answer a scrape at the exact path, and check that no other route has it.

    LitServe 0.2.17-0.2.19 gives a logger no access to its server. Starlette's `Mount` answers only
    below its path, and redirects a request for the path itself. So this wraps the one method of
    LitServe that mounts the app of a logger. For other loggers that method does what it did.

    Raises:
        UnsupportedLitServeError: If there is no such method.
    """
    missing = _missing_in_litserve()
    if missing:
        refuse(missing, "PrometheusLogger")

    def mount(wrapped: Any, connector: Any, arguments: tuple[str, Any], _: dict[str, Any]) -> None:
        path, app = arguments
        if isinstance(app, _Exposition):
            server = connector._lit_server
            _check_free(server, path)
            server.app.router.routes.append(Route(path, app, include_in_schema=False))
        wrapped(path, app)

    wrapt.wrap_function_wrapper("litserve.loggers", "_LoggerConnector._mount", mount)


def _missing_in_litserve() -> tuple[str, ...]:
    """Return the internals of LitServe that the logger needs and does not find."""
    connector = getattr(loggers, "_LoggerConnector", None)
    mount = getattr(connector, "_mount", None)
    missing = []
    if mount is None or list(inspect.signature(mount).parameters) != ["self", "path", "app"]:
        missing.append("_LoggerConnector._mount(path, app)")
    for owner, method, names in (
        (connector, "__init__", ("_lit_server",)),
        (connector, "add_logger", ("_mount",)),
        (LitServer, "__init__", ("app", "litapi_connector", *_PATHS)),
    ):
        code = getattr(getattr(owner, method, None), "__code__", None)
        used = getattr(code, "co_names", ())
        where = f"{getattr(owner, '__name__', '_LoggerConnector')}.{method}"
        missing += [f"{name} in {where}" for name in names if name not in used]
    return tuple(missing)


def _check_free(server: LitServer, path: str) -> None:
    """Raise `ValueError` if a path of a server hides the metrics, or the metrics hide a path."""
    taken = {getattr(server, name): f"LitServer's {name.lstrip('_')}" for name in _PATHS}
    for api in server.litapi_connector:
        name = type(api).__qualname__
        taken[api.api_path] = f"the api_path of {name}"
        if api.spec is not None:
            taken.update({p: f"the spec of {name}" for p, *_ in api.spec.endpoints})
        if getattr(api, "mcp", None):
            taken["/mcp"] = f"the MCP tools of {name}"
    for route in server.app.routes:
        used = getattr(route, "path", "")
        if isinstance(route, Mount) and path.startswith(f"{used}/"):
            used = path
        taken.setdefault(used, "another logger" if isinstance(route, Mount) else "LitServer")
    for used, user in taken.items():
        if used == path or used.startswith(f"{path}/"):
            where = "is taken" if used == path else f"would hide {used!r}, which is taken"
            raise ValueError(
                f"PrometheusLogger: path={path!r} {where} by {user}; choose another path"
            )
