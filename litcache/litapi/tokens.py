"""What a loop carries of a batch from hook to hook, where `predict` does the work of all three."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any


class Items:
    """The decoded items of a batch, on their way from `batch` to `predict`.

    LitServe's loops hand it on as it is. A loop of the user's that looks into it finds the
    container that the user's own `batch` makes, and `predict` then gets that.

    Args:
        items: The decoded items.
        make: Calls the user's own `batch`.
    """

    __slots__ = ("_container", "_make", "is_opened", "items")

    def __init__(self, items: list[Any], make: Callable[[], Any]) -> None:
        self.items = items
        self.is_opened = False
        self._make = make
        self._container: Any = None

    def open(self) -> Any:
        """Return the container, made at the first look."""
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


def _opened(name: str) -> Callable[..., Any]:
    def method(self: Items, *args: Any) -> Any:
        return getattr(self.open(), name)(*args)

    method.__name__ = name
    return method


# Python looks these up in the class, past __getattr__.
for _name in (
    "__len__", "__iter__", "__reversed__", "__contains__",
    "__getitem__", "__setitem__", "__delitem__",
    "__eq__", "__ne__", "__add__", "__radd__", "__sub__", "__mul__", "__rmul__", "__matmul__",
    "__truediv__",
):  # fmt: skip
    setattr(Items, _name, _opened(_name))
