"""A loop for LitServe that answers hits before a batch is formed."""

from __future__ import annotations

from queue import Empty
from typing import Any

from litserve import LitAPI

from litcache.checks import check_flag
from litcache.errors import UnsupportedMethodError
from litcache.litapi.classes import cached_methods, wants_contexts
from litcache.litapi.hooks import caches_batches
from litcache.litapi.state import cache_of
from litcache.loop import litserve
from litcache.loop.dispatch import Dispatcher
from litcache.loop.inbox import Backlog, Inbox
from litcache.loop.litserve import BatchedLoop, SingleLoop
from litcache.loop.model import Model
from litcache.loop.outbox import Outbox
from litcache.loop.schedule import Overlap, serve
from litcache.loop.strategy import Cached, Plain, Strategy
from litcache.observe.log import logger, show_log_lines
from litcache.switches import is_disabled

_NOTHING_TO_CACHE = (
    "CachedBatchedLoop has nothing to cache, and does what LitServe's own loop does; put "
    "@cached_predict on predict, decode_request or a method that they call, also where a subclass "
    "overrides it, or leave loop= out"
)

_MOST_ATTEMPTS = 3


class CachedBatchedLoop(BatchedLoop):  # type: ignore[misc]
    """LitServe's batched loop for an API with a cached method.

    It decodes and looks up each request when the request arrives. It answers a hit at once. A batch
    holds only misses, and its window (`batch_timeout`) opens at the first of them. Callbacks are
    called for the decoding and encoding of each request, and for `predict` when the model runs.

    Without a cached method, or with `LITCACHE_DISABLED=1`, it does the same as LitServe's batched
    loop. With `max_batch_size=1` it does the same as LitServe's loop without batches, in which a
    hit does not wait anyway.

    Args:
        overlap: Whether requests are decoded, and hits answered, while the model computes.
        isolate_errors: Whether a batch that raises is computed again in parts, so that only the
            request at fault fails; if not, the whole batch fails, as in LitServe's own loop.

    Raises:
        UnsupportedLitServeError: If the installed LitServe is not one that the loop knows.
        TypeError: If an option is neither `True` nor `False`.

    Example:
        >>> import litserve as ls
        >>> from litcache import cached_predict
        >>> class UpperAPI(ls.LitAPI):
        ...     @cached_predict
        ...     def predict(self, texts):
        ...         return [text.upper() for text in texts]
        >>> api = UpperAPI(loop=CachedBatchedLoop(), max_batch_size=32, batch_timeout=0.05)
    """

    tier = "loop"
    """What the metrics call it."""

    def __init__(self, *, overlap: bool = False, isolate_errors: bool = True) -> None:
        litserve.check()
        for name, value in (("overlap", overlap), ("isolate_errors", isolate_errors)):
            check_flag(name, value)
        super().__init__()
        self.overlap = overlap
        self.isolate_errors = isolate_errors
        self.answering = ""  # the request being encoded, for the APIRunner
        self._workers: Any = {}

    def pre_setup(self, lit_api: LitAPI, spec: Any = None) -> None:
        """Check an API before its workers start.

        Args:
            lit_api: The API.
            spec: Its spec; LitServe does not pass it.

        Raises:
            UnsupportedMethodError: If the API streams or is async.
            ValueError: If `overlap=True` and there are no batches.
        """
        name = type(lit_api).__qualname__
        for asked, what in ((lit_api.stream, "stream"), (lit_api.enable_async, "enable_async")):
            if asked:
                raise UnsupportedMethodError(
                    f"{name}.predict",
                    f"CachedBatchedLoop does not take {what}=True; leave loop= out, and LitServe "
                    "chooses its own loop",
                )
        if self.overlap and lit_api.max_batch_size == 1:
            raise ValueError(
                f"{name}: overlap=True needs max_batch_size of 2 or more, which is 1: without "
                "batches LitServe's own loop is used"
            )
        if not is_disabled() and not cached_methods(type(lit_api)):
            show_log_lines()
            logger.warning("%s: %s", name, _NOTHING_TO_CACHE)
        super().pre_setup(lit_api, spec)

    def __call__(
        self,
        lit_api: LitAPI,
        device: str,
        worker_id: int,
        request_queue: Any,
        transport: Any,
        workers_setup_status: Any,
        callback_runner: Any,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        """Serve requests in a worker, as `run_batched_loop` does; LitServe calls this.

        Args:
            lit_api: The API, set up.
            device: Its device.
            worker_id: The worker's number among those of the API.
            request_queue: Where requests come from.
            transport: Where answers go.
            workers_setup_status: An entry for each worker of the server.
            callback_runner: Calls the callbacks for each step.
            *args: Any further arguments of LitServe.
            **kwargs: Any further keyword arguments of LitServe.
        """
        self._workers = workers_setup_status
        super().__call__(
            lit_api, device, worker_id, request_queue, transport, workers_setup_status,
            callback_runner, *args, **kwargs,
        )  # fmt: skip

    def run_batched_loop(
        self,
        lit_api: LitAPI,
        request_queue: Any,
        transport: Any,
        callback_runner: Any,
        lit_spec: Any = None,
    ) -> None:
        """Serve requests until the sentinel comes; LitServe calls this in a worker.

        Args:
            lit_api: The API, set up.
            request_queue: Where requests come from.
            transport: Where answers go.
            callback_runner: Calls the callbacks for each step.
            lit_spec: Not used, as in LitServe's batched loop: the API has it.
        """
        self.answering = ""
        if lit_api.max_batch_size == 1:
            SingleLoop.run_single_loop(self, lit_api, request_queue, transport, callback_runner)
        elif not _has_cached_method(lit_api):
            super().run_batched_loop(lit_api, request_queue, transport, callback_runner)
        else:
            dispatcher = self._dispatcher(lit_api, transport, callback_runner)
            inbox = Inbox(request_queue)
            backlog = Backlog(inbox, lambda: litserve.count_workers(lit_api, self._workers) > 1)
            try:
                if self.overlap:
                    Overlap(dispatcher, inbox, backlog).run()
                else:
                    serve(dispatcher, inbox, backlog)
            except KeyboardInterrupt:
                self.kill()
            finally:
                dispatcher.close()

    def _dispatcher(self, api: LitAPI, transport: Any, callbacks: Any) -> Dispatcher:
        strategy: Strategy = Plain(Model(api, None, callbacks))
        if caches_batches(api):
            model = Model(api, api.predict, callbacks)
            cache = cache_of(api, "predict")
            wants_context = wants_contexts(type(api), "predict", cache.policy)
            strategy = Cached(api, cache, model, wants_context=wants_context)
        outbox = Outbox(self, api, transport, callbacks)
        return Dispatcher(api, strategy, outbox, isolate_errors=self.isolate_errors)

    def get_batch_requests(
        self, lit_api: LitAPI, request_queue: Any, transport: Any
    ) -> tuple[list[Any], list[Any]]:
        """Collect a batch as LitServe does, once there is a first request.

        If `batch_timeout` is 0, LitServe's own method asks the queue without a pause, which takes a
        whole core.

        Args:
            lit_api: The API.
            request_queue: Where requests come from.
            transport: Where answers go.

        Returns:
            The batch, and the requests that waited too long.
        """
        try:
            first = request_queue.get(timeout=litserve.IDLE_SECONDS)
        except Empty:
            return [], []
        returned = _Returned(first, request_queue)
        # LitServe asks the queue for nothing if `batch_timeout` is over at once: on a busy machine,
        # or each time if it is shorter than LitServe's way to its first look at the clock.
        for _ in range(_MOST_ATTEMPTS):
            batch, late = super().get_batch_requests(lit_api, returned, transport)
            if not returned.is_whole:
                return batch, late
        # Without a window LitServe does not look at the clock.
        batch, late = super().get_batch_requests(_Windowless(lit_api), returned, transport)
        return batch, late


def _has_cached_method(api: LitAPI) -> bool:
    if is_disabled():
        return False
    return bool(cached_methods(type(api)).keys() - {"predict"}) or caches_batches(api)


class _Windowless:
    """An API whose batches take what is there."""

    batch_timeout = 0.0

    def __init__(self, api: LitAPI) -> None:
        self._api = api

    def __getattr__(self, name: str) -> Any:
        return getattr(self._api, name)


class _Returned:
    """A queue with its first request put back."""

    def __init__(self, first: Any, queue: Any) -> None:
        self._first = [first]
        self._queue = queue

    @property
    def is_whole(self) -> bool:
        """Whether the first request is still here."""
        return bool(self._first)

    def get(self, timeout: float | None = None) -> Any:
        return self._first.pop() if self._first else self._queue.get(timeout=timeout)

    def get_nowait(self) -> Any:
        return self._first.pop() if self._first else self._queue.get_nowait()
