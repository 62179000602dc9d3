"""The user's own hooks on the misses of a batch, as LitServe calls them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any, Protocol

from fastapi import HTTPException

from litcache.engine.modes import Unbatched
from litcache.errors import BatchSizeError
from litcache.litapi.classes import has_default, takes_context
from litcache.litapi.encoding import Encoding

# LitServe's own `unbatch` iterates these, with a warning: it gets keys or characters, no outputs.
_NO_ROWS = (str, bytes, Mapping, Set)
_CUT_BY_DEFAULT = (
    "LitServe's own unbatch iterated a {}, which gives no output of each item; return a list with "
    "an output for each item, or define unbatch"
)


class Method(Protocol):
    """A user's method, as the wrapper around it calls it."""

    def compute(self, item: Any, context: Any, items: int | None = None) -> Any:
        """Call the method with an item, or with a container of items; `items` says how many."""


class BatchSizeMismatch(BatchSizeError, HTTPException):
    """A `BatchSizeError` that reaches the client as LitServe's own check answers: with 500."""

    def __init__(self, method: str, expected: int, actual: int) -> None:
        HTTPException.__init__(self, 500, "Batch size mismatch")
        self.method = method
        self.expected = expected
        self.actual = actual


def call_hook(hook: Callable[..., Any], argument: Any, contexts: Any) -> Any:
    """Call a hook as LitServe does: with the context, if it takes one."""
    return hook(argument, context=contexts) if takes_context(hook) else hook(argument)


def compute_batch(api: Any, method: Method, items: list[Any], contexts: Any) -> Unbatched:
    """Run the user's `batch`, `predict` and `unbatch` as LitServe does; an `Encoding` encodes, too.

    Raises:
        BatchSizeMismatch: If `unbatch` returned another number of outputs.
    """
    predict = method.method if isinstance(method, Encoding) else method
    expected = len(items)  # now: a predict may empty the list that it is given
    batch = call_hook(api.batch, items, contexts)
    output = predict.compute(batch, contexts, expected)
    fault = None
    if isinstance(output, _NO_ROWS) and _cuts_by_default(api):
        fault = _CUT_BY_DEFAULT.format(type(output).__name__)
    outputs: Sequence[Any] = call_hook(api.unbatch, output, contexts)
    if len(outputs) != expected:  # LitServe asks so, too: a generator fails here as it does there
        name = f"{type(api).__qualname__}.predict"
        raise BatchSizeMismatch(name, expected, len(outputs))
    unbatched = Unbatched(list(outputs), fault)  # LitServe iterates: a Series has no positions
    return method.batch(unbatched, contexts) if isinstance(method, Encoding) else unbatched


def _cuts_by_default(api: Any) -> bool:
    return "unbatch" not in api.__dict__ and has_default(type(api), "unbatch")
