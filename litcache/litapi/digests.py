"""The digests of requests as they came, by which two requests are told apart."""

from __future__ import annotations

import threading
from collections.abc import Hashable, Mapping
from typing import Any, cast

import msgpack
from xxhash import xxh3_64_intdigest

from litcache.errors import KeyEncodingError
from litcache.keys.encoder import canonical
from litcache.keys.writer import inherits, loaded

_LARGE = 64 * 1024
_NUMBER_BYTES = 9
_LEVELS = 4
_HASH_BITS = 10
"""A field gives one of so many bits to digests: few, or a few ids would fill all directions."""
_HALF = _HASH_BITS // 2
_HALF_MASK = (1 << _HALF) - 1
_ORDER = "order of all names"
_MOST_KNOWN = 4_096
_MOST_NAMES = 512
_PLAIN = frozenset({type(None), bool, int, float, str, bytes})
_NOT_PACKED = (TypeError, ValueError, OverflowError, RecursionError)

Hashes = Mapping[Hashable, int]
"""A hash of each field's value, by the names that lead to the field."""

_known: dict[int, int] = {}
"""The digests of requests that have come before, by a hash of the whole request."""
_vectors: dict[Hashable, tuple[int, list[int], list[int]]] = {}
"""What the fields of some names give to digests."""


class _Thread(threading.local):
    """What a thread packs requests with: a new packer for each takes longer than the packing."""

    def __init__(self) -> None:
        self.pack = msgpack.Packer().pack


_thread = _Thread()


def digest_of(request: object, *, large: bool = True) -> int:
    """Return a digest of a request as it came, by which two requests are told apart.

    It is a linear sketch of the fields: the sum, in GF(2), of a pseudorandom vector of each name
    and of one for each bit that is set in a hash of the value. So the XOR of two digests is the sum
    of what the fields that differ give, whatever the other fields are. The order of the names is a
    field, too. Two values of a field look alike once in a thousand.

    Args:
        request: What the server gives to `decode_request`.
        large: Whether a request above 64 KiB gets a digest, too; that may take a millisecond.

    Returns:
        8 bytes as a number, never 0; 0 if the request has no canonical form, or is too large.

    Example:
        >>> def unlike(one, other):
        ...     return digest_of(one) ^ digest_of(other)
        >>> unlike({"id": 1, "to": "de"}, {"id": 2, "to": "de"}) == unlike({"id": 1}, {"id": 2})
        True
    """
    if not large and _size(request, _LEVELS) > _LARGE:
        return 0
    try:
        packed = _thread.pack(request)
    except _NOT_PACKED:  # no JSON: an upload, a model of pydantic, an array
        return _by_field(request)
    whole = xxh3_64_intdigest(packed)
    digest = _known.get(whole)
    if digest is None:
        if len(packed) > _LARGE:
            _thread.pack = msgpack.Packer().pack  # the old one keeps a buffer of that size
        if len(_known) >= _MOST_KNOWN:
            _known.clear()
        digest = _known[whole] = _by_field(request)
    return digest


def _by_field(request: object) -> int:
    hashes = hashes_of(request)
    return 0 if hashes is None else sketch(hashes)


def hashes_of(request: object, *, large: bool = True) -> Hashes | None:
    """Return a hash of each field of a request; `None` where `digest_of` returns 0."""
    if not large and _size(request, _LEVELS) > _LARGE:
        return None
    fields: dict[Hashable, Any] = {}
    _collect(request, None, fields, _LEVELS)
    if len(fields) > 1:
        fields[_ORDER] = list(fields)
    pack = _thread.pack
    try:
        return {name: xxh3_64_intdigest(pack(value)) for name, value in fields.items()}
    except _NOT_PACKED:
        pass
    try:
        return {name: xxh3_64_intdigest(_packed(value)) for name, value in fields.items()}
    except KeyEncodingError:
        return None


def sketch(hashes: Hashes) -> int:
    """Return the digest of a request by the hashes of its fields; never 0."""
    digest = 0
    for name, number in hashes.items():
        found = _vectors.get(name)
        base, low, high = _vectors_of(name) if found is None else found
        digest ^= base ^ low[number & _HALF_MASK] ^ high[number >> _HALF & _HALF_MASK]
    return digest or 1


def _vectors_of(name: Hashable) -> tuple[int, list[int], list[int]]:
    """Return the vector of a name, and the sums of those of the bits of each half of a hash."""
    packed = repr(name).encode("utf-8", "surrogatepass")
    base, *bits = (xxh3_64_intdigest(packed, seed) for seed in range(1 + _HASH_BITS))
    low, high = [0], [0]
    for bit in range(_HALF):
        low += [bits[bit] ^ other for other in low]
        high += [bits[_HALF + bit] ^ other for other in high]
    if len(_vectors) >= _MOST_NAMES:  # names may come from clients
        _vectors.clear()
    found = _vectors[name] = base, low, high
    return found


def _collect(value: object, name: Hashable, fields: dict[Hashable, Any], levels: int) -> None:
    """Put the fields of a request into a dict, those of inner dicts and models by themselves.

    The fields of a list of dicts are the values that its elements have under one name, in order.
    """
    inner = value if type(value) is dict else _as_dict(value)
    if inner is None and levels and type(value) is list:
        inner = _columns(value)
    if not inner:
        fields[name] = value
        return
    for key, field in inner.items():
        place = key if name is None else (name, key)
        if levels and type(field) not in _PLAIN:
            _collect(field, place, fields, levels - 1)
        else:
            fields[place] = field


def _as_dict(value: object) -> dict[Any, Any] | None:
    """Return the fields of a model, or of a form; `None` of anything else."""
    kind = type(value)
    if inherits(kind, loaded("pydantic", "BaseModel")):
        return {**vars(value), **(getattr(value, "__pydantic_extra__", None) or {})}
    if inherits(kind, loaded("starlette.datastructures", "ImmutableMultiDict")):
        fields: dict[Any, Any] = {}
        for name, part in cast("Any", value).multi_items():
            fields.setdefault(name, []).append(part)
        return fields
    return value if isinstance(value, dict) else None


def _columns(rows: list[Any]) -> dict[Hashable, list[Any]] | None:
    """Return the fields of dicts or models in a list; `None` if there are other elements."""
    found: dict[Hashable, list[Any]] = {}
    for row in rows:
        fields = row if type(row) is dict else _as_dict(row)
        if fields is None:
            return None
        for name, part in fields.items():
            found.setdefault(("*", name), []).append(part)
    return found


def _packed(field: Any) -> bytes:
    """Return the bytes of a field. Most are JSON; the order of a dict in a list may count."""
    try:
        return _thread.pack(field)  # type: ignore[no-any-return]
    except _NOT_PACKED:
        return canonical(field)


def _size(value: object, levels: int) -> int:
    """Return about how many bytes a value has."""
    kind = type(value)
    if kind is str or kind is bytes:
        return len(value)  # type: ignore[arg-type]
    if kind is int or kind is float or kind is bool or value is None:
        return _NUMBER_BYTES
    if isinstance(value, str | bytes | bytearray | memoryview):
        return len(value)
    if isinstance(value, dict):
        value = list(value.values())
    elif not isinstance(value, list | tuple):
        size = getattr(value, "size", None) or getattr(value, "nbytes", None)
        return size if type(size) is int else _NUMBER_BYTES  # an upload, or an array
    if not levels:
        return _NUMBER_BYTES * len(value)
    some = value[:_LEVELS]
    mean = sum([_size(part, levels - 1) for part in some]) / (len(some) or 1)
    return int(mean * len(value))
