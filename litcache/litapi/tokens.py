"""What a loop carries from hook to hook while `predict` does all the work."""

from __future__ import annotations

import operator as op
from collections.abc import Callable, Sequence
from typing import Any


class Items:
    """The decoded items of a batch, on their way from `batch` to `predict`.

    LitServe's loops hand it on as it is. If a user's own loop looks into it, it looks like the
    container that the user's `batch` returns, and `predict` then gets that container.

    Args:
        items: The decoded items.
        make: Calls the user's own `batch`.

    Attributes:
        items: The decoded items.
        is_opened: Whether somebody has looked into it.
    """

    __slots__ = ("_container", "_make", "is_opened", "items")

    def __init__(self, items: list[Any], make: Callable[[], Any]) -> None:
        self.items = items
        self.is_opened = False
        self._make = make
        self._container: Any = None

    def open(self) -> Any:
        """Return the container; the first call makes it."""
        if not self.is_opened:
            self._container = self._make()
            self.is_opened = True
        return self._container

    @property  # type: ignore[misc]  # for isinstance()
    def __class__(self) -> type:
        return type(self.open())

    def __getattr__(self, name: str) -> Any:
        return getattr(self.open(), name)

    def __repr__(self) -> str:
        return repr(self.open())


class Outputs:
    """The outputs of a batch, on their way from `predict` to `unbatch`.

    Args:
        values: The outputs, one for each item.
    """

    __slots__ = ("values",)

    def __init__(self, values: Sequence[Any]) -> None:
        self.values = values

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(
            f"a loop asks what predict returned for its {name!r}, but predict is cached and "
            "answered item by item: do that in predict or in unbatch, not between them"
        )


class Raised:
    """The place of a response whose `encode_response` raised.

    Args:
        error: What it raised.
    """

    __slots__ = ("error",)

    def __init__(self, error: Exception) -> None:
        self.error = error


class Answer:
    """A response, on its way from `predict` to `encode_response` (`result="response"`).

    Args:
        response: What the user's `encode_response` returned, or `Raised`.
    """

    __slots__ = ("response",)

    def __init__(self, response: Any) -> None:
        self.response = response

    def open(self) -> Any:
        """Return the response.

        Raises:
            Exception: What `encode_response` raised.
        """
        if type(self.response) is Raised:
            raise self.response.error
        return self.response

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(
            f"a loop asks what predict returned for its {name!r}, but with "
            'result="response" that is encoded already: ask in encode_response'
        )


def _on_container(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda items, *args: function(items.open(), *args)


# Python looks these up in the class, and does not ask __getattr__.
for _function in (
    len, iter, reversed, op.contains, op.getitem, op.setitem, op.delitem,
    op.eq, op.ne, op.add, op.sub, op.mul, op.truediv, op.matmul,
):  # fmt: skip
    setattr(Items, f"__{_function.__name__}__", _on_container(_function))
