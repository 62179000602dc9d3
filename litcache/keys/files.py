"""Files in memory: their canonical msgpack, and their positions.

A file is read from its start to its end, and then put back to its position.
"""

from __future__ import annotations

import io
import tempfile
import types
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any, TypeVar

from litcache.keys.objects import state
from litcache.keys.writer import Handler, Unencodable, Writer

T = TypeVar("T")

_PLAIN = frozenset({type(None), bool, int, float, complex, str, bytes})
_MOST_PARTS = 1_000


def content(file: Any) -> bytes:
    """Return all bytes of a file, and put it back to its position."""
    if type(file) is io.BytesIO:
        return file.getvalue()
    place = file.tell()
    try:
        file.seek(0)
        data = file.read()
    finally:
        file.seek(place)
    if not isinstance(data, bytes):
        raise Unencodable("it is a file of text; give it as value.read()")
    return data


def _bytes_io(to: Writer, value: io.BytesIO) -> bytes:
    return _file(to, "io.BytesIO", value, vars(value))


def _spooled(to: Writer, value: Any) -> bytes:
    return _file(to, "tempfile.SpooledTemporaryFile", value, {})


def _file(to: Writer, name: str, file: Any, attributes: Mapping[str, object]) -> bytes:
    return to.record(name, content=content(file), position=file.tell(), attributes=attributes)


def _string_io(to: Writer, value: io.StringIO) -> bytes:
    whole: Any = value  # its types do not tell of its state
    text, newline, position, attributes = whole.__getstate__()
    parts = {"newline": newline, "position": position, "attributes": attributes}
    return to.record("io.StringIO", content=text, **parts)


FILES: dict[type, Handler] = {
    io.BytesIO: _bytes_io,
    io.StringIO: _string_io,
    tempfile.SpooledTemporaryFile: _spooled,
}
"""The handlers of files in memory."""


def rewinding(function: Callable[..., T]) -> Callable[..., T]:
    """Return a function that reads files in its arguments and puts them back to their positions.

    Args:
        function: A user's function of an item and what belongs to it.

    Returns:
        The same function. It also finds files in containers and attributes of the arguments.

    Example:
        >>> upload = {"image": io.BytesIO(b"pixels")}
        >>> rewinding(lambda item: item["image"].read())(upload)
        b'pixels'
        >>> upload["image"].tell()
        0
    """

    def rewound(*arguments: Any) -> T:
        places: list[tuple[Any, int]] = []
        for file in _files_in(arguments):
            with suppress(Exception):  # it is closed, or a pipe
                places.append((file, file.tell()))
        try:
            return function(*arguments)
        finally:
            for file, place in places:
                with suppress(Exception):  # the function closed it
                    if file.tell() != place:
                        file.seek(place)

    return rewound


def _files_in(values: object) -> Iterator[Any]:
    """Yield the files in a value that containers and attributes lead to."""
    waiting: list[Any] = [values]
    seen: dict[int, object] = {}
    while waiting and len(seen) < _MOST_PARTS:
        value = waiting.pop()
        if type(value) in _PLAIN or id(value) in seen:
            continue
        seen[id(value)] = value
        if isinstance(value, (io.IOBase, tempfile.SpooledTemporaryFile)):
            yield value
        elif isinstance(value, dict):
            waiting.extend(value.values())
        elif isinstance(value, (list, tuple, set, frozenset)):
            if not _PLAIN.issuperset(map(type, value)):
                waiting.extend(value)
        elif not isinstance(value, (type, types.ModuleType, types.FunctionType)):
            with suppress(Exception):  # a property of the user's may raise anything
                waiting.extend(state(value).values())
