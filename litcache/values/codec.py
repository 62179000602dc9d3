"""Values to entries, and back; an entry is a layout and a payload.

Arrays and tensors are stored as their elements, all other values as msgpack. A value of a type that
msgpack lacks becomes a list behind a tag, which is an extension of one byte. Only exact types are
stored. Objects of subclasses, enums, dataclasses and models are not: to read one, litcache would
have to import the class that the bytes name. Reading executes nothing, and takes memory in
proportion to the bytes that it gets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import repeat
from typing import Any

from litcache import arrays
from litcache.arrays import is_array, is_tensor, tensor_elements
from litcache.errors import ValueEncodingError
from litcache.stores.base import Entry
from litcache.values.devices import to_cpu
from litcache.values.elements import (
    cut,
    encode_alike,
    encode_elements,
    encode_narrow,
    stored_fault,
)
from litcache.values.layouts import Encoded, Payload, interned, parse, tensor_layout
from litcache.values.narrow import FLOATS, narrow_bytes
from litcache.values.order import order_of
from litcache.values.packing import MALFORMED
from litcache.values.tagged import NATIVE, decode_plain, encode_plain

_PLAIN = b"v"
_CONTEXT = b"c"
_LENGTH_BYTES = 8
_CONTAINERS = frozenset({list, tuple, dict, set, frozenset})
_ELEMENTS = frozenset((b"a", b"t"))


def encode(value: object, store_as: str | None = None) -> Encoded:
    """Make the entry of a value.

    Args:
        value: Builtins in any nesting, arrays, tensors, numpy scalars, dates, paths and the like.
        store_as: The form in which its arrays and tensors of floats are stored; `None`: in full.

    Returns:
        The layout, interned, and the payload, in its own memory.

    Raises:
        ValueEncodingError: If something in the value, at `path`, is of a type that is not stored,
            or is nested more than 100 levels deep.

    Example:
        >>> decode(*encode({"label": "cat", "box": (1, 2)}))
        {'label': 'cat', 'box': (1, 2)}
    """
    if is_array(value) or is_tensor(value):
        return encode_elements(value, store_as)
    return _PLAIN, encode_plain(value, store_as=store_as)


def encode_many(
    values: Sequence[object], store_as: str | None = None
) -> list[Encoded | ValueEncodingError]:
    """Make the entries of a batch of values; tensors that can be stacked are copied together.

    Args:
        values: The values.
        store_as: As for `encode`; arrays that can be stacked are converted together, too.

    Returns:
        For each value its layout and payload, or the error that says why it is not stored.

    Example:
        >>> [decode(*encoded) for encoded in encode_many([1, "two"])]
        [1, 'two']
    """
    alike = encode_alike(values) if store_as is None else None
    if alike is not None:
        return list(alike)
    together = _encode_like_tensors(values, store_as)
    if store_as is not None:
        together |= _encode_like_arrays(values, store_as)
    results: list[Encoded | ValueEncodingError] = []
    for position, value in enumerate(values):
        try:
            results.append(together.get(position) or encode(value, store_as))
        except ValueEncodingError as error:  # noqa: PERF203 - one bad value is one bad result
            results.append(error)
    return results


def decode(layout: bytes, payload: Payload, device: object = None) -> object:
    """Make the value of an entry.

    Args:
        layout: What `encode` made.
        payload: What `encode` made.
        device: Where tensors go that were stored from a device of its type; others to the CPU.

    Returns:
        The value, writable, in its own memory.

    Raises:
        ValueEncodingError: If the entry is malformed, or holds a row or a context, not a value.

    Example:
        >>> decode(*encode([1, (2, 3)]))
        [1, (2, 3)]
    """
    return _read(layout, (payload,), device)[0]


def decode_many(entries: Sequence[Entry], device: object = None) -> list[object]:
    """Make the values of a batch of entries.

    Arrays of one layout become rows of one array, which one copy makes; so do tensors on another
    device. On the CPU each tensor has its own storage, because pickle writes the whole storage of a
    row.

    Args:
        entries: The entries.
        device: Where tensors go that were stored from a device of its type; others to the CPU.

    Returns:
        The values, in order, writable.

    Raises:
        ValueEncodingError: If an entry is malformed, or holds a row or a context, not a value.

    Example:
        >>> from litcache.stores.base import NewEntry
        >>> decode_many([NewEntry(*encode(1)), NewEntry(*encode("two"))])
        [1, 'two']
    """
    if len(entries) == 1:
        return _read(entries[0].layout, (entries[0].payload,), device)
    return read_many([e.layout for e in entries], [e.payload for e in entries], device)


def read_many(
    layouts: Sequence[bytes], payloads: Sequence[Payload], device: object = None
) -> list[object]:
    """Make the values of layouts and their payloads, as `decode_many` does for entries."""
    if layouts and layouts.count(layouts[0]) == len(layouts):
        return _read(layouts[0], payloads, device)
    places: dict[bytes, list[int]] = {}
    for place, layout in enumerate(layouts):
        places.setdefault(layout, []).append(place)
    values: list[object] = [None] * len(layouts)
    for layout, like in places.items():
        for place, value in zip(
            like, _read(layout, [payloads[i] for i in like], device), strict=True
        ):
            values[place] = value
    return values


def with_context(
    layout: bytes, payload: Payload, changed: Mapping[str, object], removed: Sequence[str]
) -> Encoded:
    """Add the changes of a context to an entry.

    Args:
        layout: The layout of the output.
        payload: The payload of the output.
        changed: The entries of the context that were added or changed, by name.
        removed: The names of those removed.

    Returns:
        The layout, interned, and the payload of both.

    Raises:
        ValueEncodingError: If an entry of the context, at a path such as `$context.usage`, is of
            a type that is not stored.

    Example:
        >>> context_changes(*with_context(*encode("out"), {"tokens": 3}, ["raw"]))[2:]
        ({'tokens': 3}, ['raw'])
    """
    changes = encode_plain([encode_plain(dict(changed), "$context"), list(removed)], "$context")
    size = len(changes).to_bytes(_LENGTH_BYTES, "little")
    return interned(_CONTEXT + layout), b"".join((size, changes, payload))


def has_context(layout: bytes) -> bool:
    """Return whether an entry of a layout holds changes of a context.

    Example:
        >>> has_context(encode("out")[0])
        False
    """
    return layout[:1] == _CONTEXT


def context_changes(
    layout: bytes, payload: Payload
) -> tuple[bytes, Payload, dict[str, object], list[str]] | None:
    """Return the parts of an entry that `with_context` made.

    Args:
        layout: The layout of any entry.
        payload: Its payload.

    Returns:
        The layout and payload of the output, the changed entries of the context (in their own
        memory) and the names of those removed; `None` if the entry holds no changes.

    Raises:
        ValueEncodingError: If the entry is malformed.

    Example:
        >>> context_changes(*encode("out")) is None
        True
    """
    if not has_context(layout):
        return None
    view = memoryview(payload)
    start = _LENGTH_BYTES + int.from_bytes(view[:_LENGTH_BYTES], "little")
    changes = decode_plain(bytes(view[_LENGTH_BYTES:start]))
    if len(view) >= start and type(changes) is list and len(changes) == 2:
        changed, removed = changes
        context = decode_plain(changed) if type(changed) is bytes else None
        if type(context) is dict and type(removed) is list:
            return interned(layout[1:]), view[start:], context, removed
    raise ValueEncodingError("malformed context")


def differs_from_stored(value: Any) -> bool:
    """Return whether a hit would give a value's tensors or arrays back changed.

    Args:
        value: Any value; of containers, only builtin ones are searched.

    Returns:
        Whether it holds a tensor that requires a gradient (hits are detached), or an array that is
        read-only (hits are writable).

    Example:
        >>> differs_from_stored([1.0, {"label": "cat"}])
        False
    """
    if type(value) in NATIVE:
        return False
    if is_array(value):
        return not value.flags.writeable
    seen: set[int] = set()
    waiting: list[Any] = [value]
    while waiting:
        value = waiting.pop()
        if is_tensor(value):
            if value.requires_grad:
                return True
        elif is_array(value):
            if not value.flags.writeable:
                return True
        elif type(value) in _CONTAINERS and id(value) not in seen:
            seen.add(id(value))
            parts: Any = value.values() if isinstance(value, dict) else value
            if not NATIVE.issuperset(map(type, parts)):
                waiting.extend(parts)
    return False


def _encode_like_arrays(values: Sequence[object], store_as: str) -> dict[int, Encoded]:
    """Return the entries of arrays that can be stacked, by place; each stack is converted once."""
    like: dict[tuple[Any, Any, Any], list[int]] = {}
    for place, value in enumerate(values):
        array: Any = value
        if is_array(value) and array.dtype.metadata is None:  # a stack would have none
            like.setdefault((array.dtype, array.shape, order_of(array)), []).append(place)
    encoded: dict[int, Encoded] = {}
    for (dtype, shape, order), places in like.items():
        if dtype.char not in FLOATS or narrow_bytes(shape, dtype.itemsize, store_as) is None:
            continue
        numpy = arrays.numpy()
        stack = numpy.empty((len(places), *shape), dtype)  # of this byte order
        numpy.stack([values[place] for place in places], out=stack)
        narrow = encode_narrow(stack, store_as, order=order)
        encoded.update(zip(places, narrow or (), strict=True))
    return encoded


def _encode_like_tensors(values: Sequence[object], store_as: str | None) -> dict[int, Encoded]:
    """Return the entries of tensors that can be stacked, by place; each stack takes one copy."""
    like: dict[tuple[Any, Any, Any, Any], list[int]] = {}
    for place, value in enumerate(values):
        if is_tensor(value) and stored_fault(value) is None:
            tensor: Any = value
            form = tensor.dtype, tensor.shape, tensor.device, order_of(tensor)
            like.setdefault(form, []).append(place)
    encoded: dict[int, Encoded] = {}
    for (dtype, shape, device, order), places in like.items():
        layout = tensor_layout(b"t", dtype, shape, device.type, order=order)
        try:
            stack = arrays.torch().stack([values[place] for place in places])
            narrow = None if store_as is None else encode_narrow(stack, store_as, order=order)
            if narrow is not None:
                encoded.update(zip(places, narrow, strict=True))
                continue
            rows = cut(tensor_elements(to_cpu(stack)), len(places))  # it holds elements alone
        except (RuntimeError, ValueEncodingError):  # no memory for the stack: one by one
            continue
        encoded.update(zip(places, zip(repeat(layout), rows), strict=True))
    return encoded


def _read(layout: bytes, payloads: Sequence[Payload], device: object) -> list[Any]:
    """Make the values of payloads of one layout."""
    try:
        if layout[:1] in _ELEMENTS:
            return parse(layout).read(payloads, device)
        if layout == _PLAIN:
            return [decode_plain(bytes(payload), device) for payload in payloads]
    except MALFORMED as error:
        raise ValueEncodingError(f"malformed payload: {error}") from error
    raise ValueEncodingError(f"no layout of a value: {layout[:1]!r}")
