"""Files that values name."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from itertools import islice
from pathlib import PurePath
from typing import NamedTuple

from litcache.errors import path_of

_LONGEST = 4096
_SUFFIX = re.compile(r"\.\w{1,12}\Z")
_URL = "file://"
_LEAVES = frozenset({int, float, bool, type(None), bytes})


class Named(NamedTuple):
    """A file that a part of a value names.

    Attributes:
        file: The name, as it stands there.
        place: Where it stands, such as `$.path`.
        type: The class of that part.
    """

    file: str
    place: str
    type: type


def named_file(value: object, most: int) -> Named | None:
    """Return the first existing file that a text or a path in a value names.

    Args:
        value: Text, a path, or dicts, lists, tuples, dataclasses and pydantic models of them. All
            else, bytes too, names no file.
        most: How many parts of it are looked at.

    Returns:
        The file; `None` if none of these parts names one.

    Example:
        >>> named_file({"path": __file__, "size": 3}, 16).place
        '$.path'
        >>> named_file("a text, in which and/or stands.", 16)
    """
    if isinstance(value, str | PurePath):
        return Named(os.fspath(value), "$", type(value)) if _is_file(value) else None
    waiting: list[tuple[tuple[object, ...], object]] = [((), value)]
    for steps, whole in waiting:  # it grows meanwhile
        for name, part in islice(_parts(whole), most):
            most -= 1
            if type(part) in _LEAVES:
                continue
            if not isinstance(part, str | PurePath):
                waiting.append(((*steps, name), part))
            elif _is_file(part):
                return Named(os.fspath(part), path_of((*steps, name)), type(part))
    return None


def _parts(value: object) -> Iterable[tuple[object, object]]:
    """Return the parts of a container, each with its name or number."""
    # As the builtins have them: a subclass may do anything when it is asked.
    if isinstance(value, dict):
        return dict.items(value)
    if isinstance(value, list):
        return enumerate(list.__iter__(value))
    if isinstance(value, tuple):
        return enumerate(tuple.__iter__(value))
    cls = type(value)
    if hasattr(cls, "__dataclass_fields__") or hasattr(cls, "__pydantic_fields__"):
        return getattr(value, "__dict__", {}).items()
    return ()


def _is_file(name: str | PurePath) -> bool:
    """Return whether a path, or a text that looks like one, is that of a file which exists."""
    if isinstance(name, str):
        if not 0 < len(name) < _LONGEST or "\n" in name:
            return False
        if not ("/" in name or os.sep in name or _SUFFIX.search(name)):
            return False
        name = name.removeprefix(_URL)
    return os.path.isfile(name)
