"""The attributes of an API, put back after something that should leave no trace."""

from __future__ import annotations

from collections import deque
from typing import Any

from litserve import LitAPI

from litcache.litapi.state import ApiState

_MOST_PARTS = 10_000


class Attributes:
    """The attributes of an API as they are now, with what small containers among them hold.

    Args:
        api: The API.
    """

    def __init__(self, api: LitAPI) -> None:
        self._attributes = api.__dict__
        self._before = {
            name: (value, _parts(value))
            for name, value in api.__dict__.items()
            if not isinstance(value, ApiState)
        }

    def put_back(self) -> None:
        """Give the API the attributes that it had, and its containers what they held."""
        attributes = self._attributes
        for name in [n for n in attributes if n not in self._before]:
            if not isinstance(attributes[name], ApiState):
                del attributes[name]
        for name, (value, parts) in self._before.items():
            if attributes.get(name, self) is not value:
                attributes[name] = value
            if parts is not None and not _is_same(_parts(value), parts):
                value.clear()
                getattr(value, "extend" if isinstance(value, list | deque) else "update")(parts)


def _parts(value: Any) -> Any:
    """Return a copy of a small builtin container; `None` for all else."""
    kinds = (list, dict, set, deque)
    return value.copy() if type(value) in kinds and len(value) <= _MOST_PARTS else None


def _is_same(parts: Any, others: Any) -> bool:
    """Return whether containers hold the same objects; their `==` may be the user's."""
    if parts is None or len(parts) != len(others):
        return False
    if isinstance(parts, dict):
        parts, others = [*parts, *parts.values()], [*others, *others.values()]
    elif isinstance(parts, set):
        return {id(part) for part in parts} == {id(other) for other in others}
    return all(one is other for one, other in zip(parts, others, strict=True))
