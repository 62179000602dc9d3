"""Run an API in LitServe's own loop, without a server."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import pickle
import queue
import sys
import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

import wrapt
from litserve import LitAPI, LitServer
from litserve.callbacks import CallbackRunner
from litserve.transport.base import MessageTransport
from litserve.utils import LitAPIStatus

from litcache.checks import check_store
from litcache.litapi.classes import attribute_of, policy_of, takes_context
from litcache.litapi.state import state_of
from litcache.litapi.tokens import Answer
from litcache.stores.base import Store
from litcache.testing.checks import check_api
from litcache.trial_policy import Trial, trial_of

_STOP = (None, None, None, None)  # LitServe's sentinel: its loops return when they meet it


class APIRunner:
    """Runs requests of an API through LitServe's own loop, in this process.

    The runner prepares the API as a `LitServer` does, and calls `setup("cpu")`. Requests and
    answers are pickled, as between LitServe's processes. If the API raises, the runner raises the
    same error.

    Args:
        api: The API, decorated or not, `def` or `async def`.
        store: The store to use instead of those of the policies.
        trial: A `Trial`, or a number of hits, by which the cached methods prove themselves here;
            without one, none is tried.

    Attributes:
        model_batches: How many items reached the user's `predict`, call by call.
        contexts: The contexts of the last requests, as they were when the requests were answered.

    Raises:
        ValueError: If `trial` is negative.
        TypeError: If an option is of the wrong type.

    Example:
        >>> import litserve as ls
        >>> from litcache import cached_predict
        >>> class UpperAPI(ls.LitAPI):
        ...     def decode_request(self, request):
        ...         return request["text"]
        ...     @cached_predict
        ...     def predict(self, texts):
        ...         return [text.upper() for text in texts]
        >>> with APIRunner(UpperAPI(max_batch_size=8)) as runner:
        ...     runner.run({"text": "a"})
        ...     runner.run_batch([{"text": "a"}, {"text": "b"}])
        ...     runner.model_batches
        'A'
        ['A', 'B']
        [1, 1]
    """

    def __init__(
        self, api: LitAPI, store: Store | None = None, trial: Trial | int | None = None
    ) -> None:
        check_api(api)
        if store is not None:
            check_store("store", store, "a Store or None")
        self.api = api
        self.model_batches: list[int] = []
        self.contexts: list[dict[str, Any]] = []
        self._outputs: dict[str, Any] = {}
        self._contexts: dict[str, dict[str, Any]] = {}
        self._uids: list[str] = []
        self._store = store
        self._trial = None if trial is None else trial_of(trial)
        self._timeout_before: float | None = None

    def __enter__(self) -> APIRunner:
        api = self.api
        self._timeout_before = api.request_timeout
        LitServer(api, accelerator="cpu")  # its checks, pre_setup and request_timeout
        state = state_of(api)
        state.store = self._store or state.store
        state.trial, state.has_own_trial = self._trial, True
        state.arrivals, state.encodes_in_sight = None, True
        state.caches.clear()
        state.on_model_call = self._count
        if policy_of(type(api), "predict") is None:
            api.predict = wrapt.FunctionWrapper(api.predict, self._counted)
        if not api.stream:
            api.encode_response = state.encode_watch = self._watched(api.encode_response)
        api.setup("cpu")
        self.model_batches.clear()  # a warm-up in setup is not a request
        api.device = "cpu"
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for name in ("predict", "encode_response"):
            self.api.__dict__.pop(name, None)
        self.api.request_timeout = self._timeout_before
        state = state_of(self.api)
        self._flush()
        state.on_model_call = state.encode_watch = None

    @property
    def outputs(self) -> list[Any]:
        """What `encode_response` was called with for each of the last requests.

        With `result="response"` it is the response: `encode_response` has run behind `predict`.

        Raises:
            RuntimeError: If it was not called for one of them.
        """
        if missing := ", ".join(uid for uid in self._uids if uid not in self._outputs):
            why = "the API streams" if self.api.stream else "it failed before encode_response"
            raise RuntimeError(f"no output of request {missing}, counted from 0: {why}")
        return [self._outputs[uid] for uid in self._uids]

    def run(self, request: Any) -> Any:
        """Return the answer to one request.

        Args:
            request: The argument of `decode_request`.

        Returns:
            What `encode_response` returned; for a streaming API, the list of what it yielded.
        """
        return self.run_batch([request])[0]

    def run_batch(self, requests: Sequence[Any]) -> list[Any]:
        """Return the answers to requests that arrive together; with batching, they are one batch.

        Args:
            requests: The arguments of `decode_request`.

        Returns:
            An answer for each, in order.

        Raises:
            RuntimeError: If the runner is not in a `with` statement, or the loop gave no answer.
        """
        if state_of(self.api).on_model_call != self._count:
            raise RuntimeError("use APIRunner in a with statement: with APIRunner(api) as runner")
        if not requests:
            return []
        api = self.api
        size, window = api.max_batch_size, api.batch_timeout
        if size > 1:
            api.max_batch_size, api.batch_timeout = max(size, len(requests)), 0.0
        self._uids = [str(number) for number in range(len(requests))]
        self._outputs, self._contexts = {}, {}
        try:
            answers = self._drive(_Transport(self._uids, stream=api.stream), requests)
        finally:
            api.max_batch_size, api.batch_timeout = size, window
            self._flush()
            self.contexts = [self._contexts.get(uid, {}) for uid in self._uids]
        return answers

    def _flush(self) -> None:
        """Write what is queued for stores, so that a test finds it there."""
        for cache in state_of(self.api).caches.values():
            cache.guarded.flush()

    def _drive(self, transport: _Transport, requests: Sequence[Any]) -> list[Any]:
        """Put the requests into the queue, and run the loop until it has answered the last."""
        for uid, request in zip(self._uids, requests, strict=True):
            copied = pickle.loads(pickle.dumps(request))
            transport.requests.put((0, uid, time.monotonic(), copied))
        watchdog = threading.Timer(60.0, transport.requests.put, [_STOP])
        watchdog.daemon = True
        watchdog.start()
        api = self.api

        def loop() -> None:
            try:
                api.loop(api, "cpu", 0, transport.requests, transport, {}, CallbackRunner())
            except Exception as error:
                # LitServe's batched streaming loop raises this at the sentinel.
                if type(error).__name__ != "_StopLoopError":
                    raise

        try:
            if api.enable_async and _in_event_loop():
                # An async loop cannot run in a thread whose event loop runs already.
                context = contextvars.copy_context()
                thread = threading.Thread(target=context.run, args=(loop,))
                thread.start()
                thread.join()
            else:
                loop()
        finally:
            watchdog.cancel()
            transport.close()
        return transport.results()

    def _count(self, items: int | None) -> None:
        """Note a call of the user's `predict`; of `None` items, the items of all requests."""
        whole = len(self._uids) if self.api.max_batch_size > 1 else 1
        self.model_batches.append(whole if items is None else items)

    def _counted(self, wrapped: Callable[..., Any], _: Any, args: Any, kwargs: Any) -> Any:
        self._count(None)
        return wrapped(*args, **kwargs)

    def _watched(self, encode: Callable[..., Any]) -> Callable[..., Any]:
        """Return an `encode_response` that notes outputs and contexts."""
        own = self.api.__dict__.get("encode_response")
        wants = takes_context(encode)

        def now() -> Callable[..., Any]:
            """Return the hook as the class gives it now: it may prove an answer."""
            hook = attribute_of(type(self.api), "encode_response")
            return encode if own is not None else hook.__get__(self.api, type(self.api))

        def note(uid: str, output: Any, context: dict[str, Any]) -> dict[str, Any]:
            self._outputs[uid] = output.response if type(output) is Answer else output
            self._contexts[uid] = context
            return {"context": context} if wants else {}

        # LitServe's loops pass the context; the user's own loop may pass none.
        def encode_in_order(output: Any, context: dict[str, Any] | None = None) -> Any:
            # CachedBatchedLoop says which request it answers. LitServe's loops without async answer
            # the requests in order, without those that failed before.
            in_order = self._uids[min(len(self._outputs), len(self._uids) - 1)]
            uid = getattr(self.api.loop, "answering", in_order) or in_order
            return now()(output, **note(uid, output, {} if context is None else context))

        async def encode_in_task(output: Any, context: dict[str, Any] | None = None) -> Any:
            task = asyncio.current_task()  # LitServe names it after the request
            uid = task.get_name().removeprefix("process_request_") if task else ""
            arguments = note(uid, output, {} if context is None else context)
            if inspect.iscoroutinefunction(encode):
                return await now()(output, **arguments)
            result = await asyncio.to_thread(now(), output, **arguments)
            return await result if inspect.isawaitable(result) else result

        return encode_in_task if self.api.enable_async else encode_in_order


class _Transport(MessageTransport):  # type: ignore[misc]
    """Collects the answers of a loop, and stops the loop after the last one."""

    def __init__(self, uids: Sequence[str], *, stream: bool) -> None:
        self.requests: queue.Queue[Any] = queue.Queue()
        self._answers: dict[str, list[Any]] = {uid: [] for uid in uids}
        self._errors: dict[str, BaseException] = {}
        self._open = set(uids)
        self._stream = stream
        self._event_loop: asyncio.AbstractEventLoop | None = None

    def send(self, item: Any, consumer_id: int) -> None:
        """Take a message of the loop."""
        # The loops send an error where they catch it, so this is the error that the API raised.
        raised = sys.exc_info()[1]
        if _in_event_loop():
            self._event_loop = asyncio.get_running_loop()
        uid, (data, status, *_) = pickle.loads(pickle.dumps(item))
        if status == LitAPIStatus.START:
            return
        if status == LitAPIStatus.ERROR:
            sent = pickle.loads(data) if raised is None and isinstance(data, bytes) else data
            self._errors[uid] = raised or sent
        elif status == LitAPIStatus.OK:
            self._answers[uid].append(data)
        if status != LitAPIStatus.OK or not self._stream:
            self._open.discard(uid)
            if not self._open:
                self.requests.put(_STOP)

    async def areceive(self, timeout: int | None = None, consumer_id: int | None = None) -> Any:
        """Refuse: this transport only collects what is sent."""
        raise RuntimeError("the transport of APIRunner only collects")

    def close(self, **_: Any) -> None:
        """Close the event loop that LitServe's async loop leaves open."""
        loop = self._event_loop
        if loop is not None and not loop.is_running():
            loop.run_until_complete(loop.shutdown_default_executor())
            loop.close()

    def results(self) -> list[Any]:
        """Return the answers in order, or raise the error of the first request that failed."""
        for uid in self._answers:
            if uid in self._errors:
                raise self._errors[uid]
            if uid in self._open:
                raise RuntimeError(f"the loop gave no answer to request {uid}")
        return [answers if self._stream else answers[0] for answers in self._answers.values()]


def _in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
