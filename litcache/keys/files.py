"""Files in memory: their canonical msgpack, and the places at which they stand.

A file is read from its start to its end and put back to where it stood.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from litcache.keys.writer import Handler, Unencodable, Writer

_PLAIN = frozenset({type(None), bool, int, float, complex, str, bytes})
_MOST_PARTS = 10_000


def content(file: Any) -> bytes:
    """Return all bytes of a file, which stands afterwards where it stood."""
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
    text, newline, position, attributes = value.__getstate__()  # type: ignore[misc]
    parts = {"newline": newline, "position": position, "attributes": attributes}
    return to.record("io.StringIO", content=text, **parts)


FILES: dict[type, Handler] = {
    io.BytesIO: _bytes_io,
    io.StringIO: _string_io,
    tempfile.SpooledTemporaryFile: _spooled,
}
"""The handlers of files in memory."""


@contextmanager
def rewound(*values: object) -> Iterator[None]:
    """Put the files in values back to where they stood, whatever is done to them meanwhile.

    Args:
        values: An item and its context; files in containers and attributes are found too.

    Example:
        >>> file = io.BytesIO(b"pixels")
        >>> with rewound({"image": file}):
        ...     file.read()
        b'pixels'
        >>> file.tell()
        0
    """
    places: list[tuple[Any, int]] = []
    for file in _files_in(values):
        with suppress(Exception):  # it is closed, or a pipe
            places.append((file, file.tell()))
    try:
        yield
    finally:
        for file, place in places:
            with suppress(Exception):
                if file.tell() != place:
                    file.seek(place)


def _files_in(values: object) -> Iterator[Any]:
    """Yield the files in a value, as far as containers and attributes lead to them."""
    waiting: list[Any] = [values]
    seen: set[int] = set()
    while waiting and len(seen) < _MOST_PARTS:
        value = waiting.pop()
        if type(value) in _PLAIN or id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, (io.IOBase, tempfile.SpooledTemporaryFile)):
            yield value
        elif isinstance(value, dict):
            waiting.extend(value.values())
        elif isinstance(value, (list, tuple, set, frozenset)):
            if not _PLAIN.issuperset(map(type, value)):
                waiting.extend(value)
        elif not isinstance(value, type):
            waiting.extend(getattr(value, "__dict__", {}).values())
