"""msgpack as values use it: exact builtins, read from bytes that nobody trusts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgpack

MALFORMED = (
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    RuntimeError,
    ImportError,
    msgpack.UnpackException,
)
"""What msgpack, numpy, torch and the constructors of values raise for malformed bytes. RuntimeError
covers torch, RecursionError and the paths of another system; torch without CUDA asserts."""


def packed(form: object, default: Callable[[Any], object] | None = None) -> bytes:
    """Return the msgpack of exact builtins; strings may hold lone surrogates.

    Args:
        form: The builtins.
        default: A function that turns other values into builtins; without it they are refused.

    Returns:
        The msgpack.

    Raises:
        TypeError: If something is of another type.
        ValueError: If something is too large or too deep for msgpack.
        OverflowError: If an integer has more than 64 bits.
    """
    try:
        return bytes(msgpack.packb(form, default=default, strict_types=True))
    except UnicodeEncodeError:
        errors = "surrogatepass"
        return bytes(msgpack.packb(form, default=default, strict_types=True, unicode_errors=errors))


def unpacked(data: bytes, **hooks: Callable[..., object]) -> Any:
    """Return the value of a msgpack; it takes memory in proportion to the length of the data.

    Args:
        data: What `packed` returned, or any other bytes.
        hooks: As for `msgpack.unpackb`.

    Returns:
        The value.

    Raises:
        Exception: One of `MALFORMED`, if the data are not msgpack.

    Example:
        >>> unpacked(packed(["a", 1]))
        ['a', 1]
    """
    if b"\xdc" in data or b"\xdd" in data:
        # For the header of a long array msgpack allocates before it has seen the elements.
        # Skipping over the value first allocates nothing, and shows that they are there.
        unpacker = msgpack.Unpacker(read_size=len(data), max_buffer_size=len(data))
        unpacker.feed(data)
        unpacker.skip()
    return msgpack.unpackb(data, strict_map_key=False, unicode_errors="surrogatepass", **hooks)
