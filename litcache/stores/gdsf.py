"""GDSF with lazy promotion: a queue of entries that decides which entry is evicted next."""

from __future__ import annotations

import math
from collections.abc import Iterable

from litcache.stores.ghosts import Ghosts
from litcache.stores.nodes import MOST_HITS, NEW, YOUNG, Node, Space

# The queue's buckets; an entry takes its place at most one bucket less ahead of the hand.
BUCKETS = 128
# How many buckets more it stands ahead for each hit, and if it returns after it was evicted.
HIT, RETURNED = 5, 6
# One that returns is worth at most this: how popular it was long ago says little.
MOST_RETURNED = 32
# The newest entries are not evicted: so many, and at most this part of all. Without them a new
# entry that is asked for again soon is gone by then, if all others are popular.
MOST_YOUNG, YOUNG_PART = 12, 8
# The largest number of entries that one eviction looks at. It bounds the slowest eviction; the hits
# that were counted bound the mean. benchmarks/hit_rate.py shows that it costs no hits.
SCAN_STEPS = 512

# Whose space the marks between buckets have.
NOWHERE = Space(b"")


class Gdsf:
    """The queue of all entries of a store, in buckets, those to be evicted first in front.

    An entry's priority is the hand's when it took its place, and its worth: what was hit more
    often, and what takes more model seconds for a byte, stands more buckets ahead. The hand goes
    from bucket to bucket and evicts, so that what is not hit any more comes to its turn, too.
    (GDSF: Cherkasova 1998, after GreedyDual-Size, Cao & Irani, USITS '97.) A hit only counts; the
    hand moves what was hit when it meets it, as in SIEVE (Zhang et al., NSDI '24). A new entry of a
    namespace that weighs least stands in the hand's bucket, so that a flood of what is asked for
    once evicts itself; one that returns takes up its old worth, up to a quarter of the buckets
    (quick demotion and ghosts: S3-FIFO, Yang et al., SOSP '23).

    The buckets are parts of one ring; a mark, a node without an entry, opens each. The last entries
    of the hand's bucket are the young, and the hand leaves them alone. A second hand looks for
    expired entries, as long as there can be any.

    Concurrency: the caller holds a lock. Only a hit counts `Node.uncounted` down without it; a
    count that is lost when two threads hit at once does no harm.
    """

    def __init__(self) -> None:
        marks = [Node() for _ in range(BUCKETS)]
        for index, mark in enumerate(marks):
            mark.space, mark.expires, mark.uncounted, mark.worth = NOWHERE, None, MOST_HITS, NEW
            mark.newer, mark.older = marks[(index + 1) % BUCKETS], marks[index - 1]
        self._marks = marks
        self._hand = 0  # the bucket from which is evicted
        # The end of the hand's bucket, and the first of the young before it, if there are any.
        self._entrance = self._first_young = marks[NEW]
        self._young = self._most_young = 0
        self._ghosts = Ghosts()
        self._sweep = marks[0]
        # No entry expires before the first time; none that this round has seen, before the second.
        self._soonest = self._soonest_seen = math.inf

    @property
    def timed(self) -> bool:
        """Whether there can be entries that expire."""
        return self._soonest < math.inf

    def fit(self, entries: int) -> None:
        """Adapt to the number of entries: remember as many evicted ones, and let some be young."""
        self._ghosts.fit(entries)
        self._most_young = min(MOST_YOUNG, entries // YOUNG_PART)
        while self._young > self._most_young:
            self._grow_up()

    def add_all(self, space: Space, nodes: Iterable[Node]) -> None:
        """Add new entries of one namespace, and some that return or replace others."""
        ghosts, after, most_young = self._ghosts, self._entrance, self._most_young
        take = ghosts.take if ghosts.sets else None
        is_light = space.weight == 1
        last = after.older
        for node in nodes:
            node.space = space
            if node.expires is not None:
                self._note(node.expires)
            if node.worth > NEW:
                self._place(node, node.worth)
            elif take is not None and (known := take(node.key)):
                worth = known + RETURNED
                self._place(node, worth if worth < MOST_RETURNED else MOST_RETURNED)
            elif not is_light:
                self._place(node, NEW)
            else:  # in the hand's bucket; no other branch puts an entry there
                node.older = last
                last.newer = node
                last = node
                if most_young:
                    self._be_young(node)
        if is_light:
            last.newer = after
            after.older = last

    def _be_young(self, node: Node) -> None:
        """Let a new entry be the newest of the young."""
        node.worth = YOUNG
        if self._young == self._most_young:
            first = self._first_young
            first.worth = NEW
            self._first_young = first.newer
        else:
            if not self._young:
                self._first_young = node
            self._young += 1

    def _grow_up(self) -> None:
        """Let the oldest of the young be one of the others."""
        first = self._first_young
        first.worth = NEW
        self._first_young = first.newer
        self._young -= 1

    def _place(self, node: Node, worth: int) -> None:
        """Put an entry at the end of a bucket that is as far ahead of the hand as it is worth."""
        node.worth = worth = min(worth, BUCKETS)
        ahead = min(worth * node.space.weight, BUCKETS)
        after = self._marks[(self._hand + ahead) % BUCKETS]
        before = after.older
        node.older = before
        node.newer = after
        before.newer = after.older = node

    def _note(self, expires: float) -> None:
        """Note when an entry expires that took a place."""
        if expires < self._soonest:
            self._soonest = expires
        if expires < self._soonest_seen:
            self._soonest_seen = expires

    def remove(self, node: Node) -> None:
        """Take an entry out."""
        if node is self._sweep:
            self._sweep = node.newer
        if node.worth == YOUNG:
            self._young -= 1
            if node is self._first_young:
                self._first_young = node.newer
        node.older.newer = node.newer
        node.newer.older = node.older
        # Code that still holds the entry must not keep its neighbours alive.
        del node.older, node.newer

    def evict(self, now: float) -> Node:
        """Take the entry out that is to be evicted, and note its ghost; the queue is not empty.

        It is the first that has expired, or was not hit since it took its place.
        """
        steps, buckets = SCAN_STEPS, BUCKETS
        mark = self._marks[self._hand]
        while True:
            node = mark.newer
            if node is self._first_young:
                if buckets:
                    buckets -= 1
                    mark = self._advance()
                    continue
                self._grow_up()  # there are no others
            expired = node.expires is not None and node.expires <= now
            if node.uncounted < MOST_HITS and steps and not expired:
                steps, buckets = steps - 1, BUCKETS
                self._promote(node)
                continue
            if not expired:
                self._ghosts.note(node.key, node.worth)
            following = node.newer
            mark.newer = following
            following.older = mark
            if node is self._sweep:
                self._sweep = following
            del node.older, node.newer
            return node

    def _advance(self) -> Node:
        """Move the hand, and the young, to the next bucket; return its mark."""
        mark, first, last = self._entrance, self._first_young, self._entrance.older
        self._hand = (self._hand + 1) % BUCKETS
        self._entrance = end = self._marks[(self._hand + 1) % BUCKETS]
        if first is mark:
            self._first_young = end
            return mark
        if self._soonest < math.inf:
            node = first
            while node is not mark:  # the second hand may stand here, or have passed the next place
                if node is self._sweep:
                    self._sweep = mark
                if node.expires is not None:
                    self._note(node.expires)
                node = node.newer
        first.older.newer, mark.older = mark, first.older
        first.older, last.newer = end.older, end
        end.older.newer = first
        end.older = last
        return mark

    def _promote(self, node: Node) -> None:
        """Move an entry that was hit ahead."""
        self.remove(node)
        hits, node.uncounted = MOST_HITS - node.uncounted, MOST_HITS
        self._place(node, node.worth + HIT * hits)
        if node.expires is not None:  # the second hand may have passed its place already
            self._note(node.expires)

    def expired(self, now: float, steps: int) -> list[Node]:
        """Return the expired entries among the next ones of the round, if any can have expired."""
        found: list[Node] = []
        if now < self._soonest:
            return found
        start, node = self._marks[0], self._sweep
        if node is start:  # a new round
            self._soonest_seen = math.inf
            node = node.newer
        while steps:
            if node is start:
                self._soonest = self._soonest_seen
                break
            if node.space is not NOWHERE:
                steps -= 1
            if node.expires is not None:
                if node.expires <= now:
                    found.append(node)
                elif node.expires < self._soonest_seen:
                    self._soonest_seen = node.expires
            node = node.newer
        self._sweep = node
        return found
