"""The requests in hand: those that the hooks work for which run in this thread or task.

A helper is called by a hook with an item that says nothing of the request. So the digest by which
its hits are told apart is that of the requests in hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar

from xxhash import xxh3_64_intdigest

from litcache.litapi.digests import Hashes, hashes_of, sketch

Requests = tuple[Hashes | None, ...]
"""The hashes of the fields of each request; `None` for one that is not known."""


class _Hand:
    """The requests in hand.

    Attributes:
        requests: The requests.
        is_whole: Whether they are all of a batch, so that the next one is of another.
    """

    __slots__ = ("is_whole", "requests")

    def __init__(self, requests: Requests = ()) -> None:
        self.requests = requests
        self.is_whole = True


_hand: ContextVar[_Hand | None] = ContextVar("litcache_hand", default=None)


def begin() -> None:
    """Begin with no request, in a task whose hooks may run in other threads."""
    _hand.set(_Hand())


def read(most: int, request: object, *, large: bool = True) -> int:
    """Take a request in hand that is to be decoded.

    Args:
        most: How many requests make a batch.
        request: The request.
        large: As for `digest_of`.

    Returns:
        Its digest, as `digest_of` returns it.
    """
    hashes = hashes_of(request, large=large)
    hand = _hand.get()
    if hand is None:
        hand = _Hand()
        _hand.set(hand)
    before = () if hand.is_whole or len(hand.requests) >= most else hand.requests
    hand.requests, hand.is_whole = (*before, hashes), most == 1
    return 0 if hashes is None else sketch(hashes)


def close() -> None:
    """Note that all requests of a batch are decoded."""
    hand = _hand.get()
    if hand is not None:
        hand.is_whole = True


def held() -> Requests:
    """Return the requests in hand; none if nobody knows them."""
    hand = _hand.get()
    return () if hand is None else hand.requests


def hold(requests: Requests) -> None:
    """Take other requests in hand."""
    _hand.set(_Hand(requests))


def digest_with(item: Hashes | None = None) -> int:
    """Return a digest of the requests in hand; 0 if one of them is not known.

    Args:
        item: The fields of an item that count as well.
    """
    hashes = together(held())
    if hashes is None and item is None:
        return 0
    return sketch(
        {**(hashes or {}), **{("item", name): part for name, part in (item or {}).items()}}
    )


def together(requests: Sequence[Hashes | None]) -> Hashes | None:
    """Return one hash for each field of several requests: of the values that it has, in order.

    A batch of requests in one language is like any other batch in that language.

    Example:
        >>> together([{"to": 1, "id": 5}, {"to": 1, "id": 6}])["to"]
        1
    """
    known = [request for request in requests if request is not None]
    if not known or len(known) < len(requests):
        return None
    names = {name: None for request in known for name in request}
    return {name: _one([request.get(name) for request in known]) for name in names}


def _one(hashes: list[int | None]) -> int:
    """Return a hash of the hashes of one field."""
    distinct = dict.fromkeys(hashes)
    if len(distinct) == 1:
        return hashes[0] or 0
    return xxh3_64_intdigest(repr(list(distinct)).encode())
