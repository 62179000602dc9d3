"""The user's hooks on a batch of misses, with LitServe's callbacks around them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from litserve import LitAPI

from litcache.engine.modes import Unbatched
from litcache.litapi.batches import Method, call_hook, compute_batch
from litcache.litapi.encoding import Encoding
from litcache.loop.litserve import EventTypes


class Model:
    """Runs `batch`, `predict` and `unbatch` of an API.

    Args:
        api: The API.
        method: Its cached `predict`; `None` if that is not cached.
        callbacks: LitServe's callbacks, called before and after each call of `predict`.
    """

    def __init__(self, api: LitAPI, method: Method | None, callbacks: Any) -> None:
        self._api = api
        self._method = method
        self._callbacks = callbacks

    def compute(self, item: Any, context: Any, items: int | None = None) -> Any:
        """Call `predict` with an item or a container; `items` says how many items, if known."""
        method = self._method
        if method is None:
            return self._announced(lambda: call_hook(self._api.predict, item, context))
        return self._announced(lambda: method.compute(item, context, items))

    def compute_batch(
        self, items: list[Any], contexts: Sequence[Any] | None, *, encodes: bool = False
    ) -> Unbatched:
        """Return an output for each of the items, or with `encodes` a response."""
        method = Encoding(self._api, self, apart=True) if encodes else self
        return compute_batch(self._api, method, items, contexts)

    def _announced(self, predict: Callable[[], Any]) -> Any:
        self._tell(EventTypes.BEFORE_PREDICT)
        output = predict()
        self._tell(EventTypes.AFTER_PREDICT)
        return output

    def _tell(self, event: Any) -> None:
        self._callbacks.trigger_event(event.value, lit_api=self._api)
