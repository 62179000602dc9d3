"""A sample of the items of a log, by their hashes, with all requests for each of them."""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Iterable
from dataclasses import dataclass

from xxhash import xxh3_64_intdigest

_ALL = 1 << 64
_LEAST = 1 << 16  # requests that are kept before some are dropped


@dataclass(frozen=True)
class Sample:
    """The requests for some of the items of a log.

    Attributes:
        asked: The hash of the item of each request, in the order of the log.
        distinct: How many items these are.
        rate: Which part of all items they are, from 0 to 1.
        requests: How many requests the whole log has, for all its items.
    """

    asked: array[int]
    distinct: int
    rate: float
    requests: int

    @property
    def extra(self) -> float:
        """How many requests an even sample of this rate would have more.

        What a sample lacks or has too much are most often requests for the hottest items, which hit
        at every size: the correction SHARDS-adj.
        """
        return self.requests * self.rate - len(self.asked)

    def groups(self, count: int) -> list[Sample]:
        """Return samples of this sample that have no item in common.

        Args:
            count: How many.

        Returns:
            The samples.
        """
        parts = [array("Q") for _ in range(count)]
        for item in self.asked:
            parts[item % count].append(item)
        rate = self.rate / count
        return [Sample(part, len(set(part)), rate, self.requests) for part in parts]


def sampled(items: Iterable[bytes], most: int) -> Sample:
    """Return a sample of so many items at most, in memory that depends on their requests alone.

    Items are chosen by a threshold on their hashes, which is lowered when there are too many
    (Waldspurger et al., "Efficient MRC Construction with SHARDS", FAST '15, fixed size).

    Args:
        items: The item of each request.
        most: How many items.

    Returns:
        The sample; all of the log if it has no more items.

    Example:
        >>> sample = sampled([b"a", b"b", b"a"], 10)
        >>> len(sample.asked), sample.distinct, sample.rate, sample.requests
        (3, 2, 1.0, 3)
    """
    asked = array("Q")
    known: set[int] = set()
    largest: list[int] = []
    threshold, requests, room = _ALL, 0, _LEAST
    for item in items:
        requests += 1
        hash = xxh3_64_intdigest(item)
        if hash >= threshold:
            continue
        asked.append(hash)
        if hash in known:
            continue
        known.add(hash)
        heapq.heappush(largest, -hash)
        if len(known) > most:
            threshold = -heapq.heappop(largest)
            known.remove(threshold)
            if len(asked) > room:
                asked = array("Q", [hash for hash in asked if hash < threshold])
                room = max(_LEAST, 2 * len(asked))
    asked = array("Q", [hash for hash in asked if hash < threshold])
    return Sample(asked, len(known), threshold / _ALL, requests)
