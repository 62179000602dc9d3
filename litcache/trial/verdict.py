"""The verdict on one method: which hits are tried, what was agreed, and whether it is cached on."""

from __future__ import annotations

import math
import random
import threading
from collections.abc import Callable, Collection, Sequence
from typing import Protocol

from litcache.errors import DisagreementError
from litcache.observe.log import Reporter, logger
from litcache.stores.base import Entry
from litcache.trial.compare import Difference, Frozen, differences
from litcache.trial_policy import Trial

_MOST_DIFFERENCES = 3
_MOST_CAUSES = 3


class Standing(Protocol):
    """Where a verdict is told: the counters of a method, or the state of one path of several.

    Attributes:
        state: `"trial"`, `"on"` or `"off"`.
        disagreement: What differed; empty if nothing did.
    """

    state: str
    disagreement: str

    def add(self, *, disagreements: int) -> None:
        """Count disagreements."""


class Tried:
    """A hit that the model answers, too.

    Args:
        entry: The entry; `None` for an item whose equal is computed in the same call.
        is_other: Whether its request is another one than the request whose output was stored.
        key: The key of the item, if its equal is computed in the same call.

    Attributes:
        fresh: What the model answers, frozen; `None` as long as it has not.
        at_encoding: Whether the answers are compared when they are encoded, not before.
    """

    __slots__ = ("at_encoding", "entry", "fresh", "is_other", "key")

    def __init__(self, entry: Entry | None, *, is_other: bool, key: bytes | None = None) -> None:
        self.entry = entry
        self.is_other = is_other
        self.key = key
        self.fresh: Frozen | None = None
        self.at_encoding = False


class Verdict:
    """What the trial of one method has found in this process.

    Concurrency: safe in many threads.

    Args:
        method: The method's qualified name.
        trial: The options of the trial.
        counters: Where the state and disagreements are counted.
        reporter: Logs in the name of the method.
        stop: Drops the entries of the method.
        causes: Returns the usual causes of a disagreement, the likeliest first.

    Attributes:
        is_off: Whether a disagreement has ended caching.
    """

    def __init__(
        self,
        method: str,
        trial: Trial,
        counters: Standing,
        reporter: Reporter,
        *,
        stop: Callable[[], object],
        causes: Callable[[], Sequence[str]] = tuple,
    ) -> None:
        self.trial = trial
        self._method = method
        self._counters = counters
        self._reporter = reporter
        self._stop = stop
        self._causes = causes
        self._lock = threading.Lock()
        self.begin()

    def begin(self) -> None:
        """Begin the trial, or begin it again."""
        with self._lock:
            self.is_off = False
            self._agreed = 0
            self._left = self._left_other = self.trial.hits
            self._pause = self._until_next()
            self._counters.disagreement = ""
            self._counters.state = "trial" if self._is_open else "on"

    @property
    def _is_open(self) -> bool:
        return self.trial.observe or self._left > 0

    @property
    def wants_large(self) -> bool:
        """Whether digests of large requests are still needed."""
        return self._is_open or self._left_other > 0

    def announcement(self) -> str:
        """Return what the log says of the trial at the start."""
        if self.trial.observe:
            return "trial: every hit is computed and compared, none is answered from the cache"
        if not self.trial.hits:
            return f"trial: {self.trial.verify:.2%} of the hits are computed and compared"
        return f"trial: the first {self.trial.hits} hits are computed and compared"

    # ------------------------------------------------------------------ which hits

    def choose(self, requests: Sequence[int], entries: Sequence[Entry | None]) -> Collection[int]:
        """Return the positions of the hits that the model answers, too.

        Args:
            requests: The digest of each item's request; 0 if it is not known.
            entries: What the store has for each item.
        """
        if self._left > 0 or self.trial.observe:
            return {at for at, entry in enumerate(entries) if entry is not None}
        if self._left_other > 0:
            made_by = [getattr(entry, "request", 0) for entry in entries]
            if made_by != requests:
                others = {
                    at
                    for at, pair in enumerate(zip(requests, made_by, strict=True))
                    if self.is_other(*pair) and entries[at] is not None
                }
                if others:
                    return others
        return self._verified(entries) if self.trial.verify else ()

    def _verified(self, entries: Sequence[Entry | None]) -> Collection[int]:
        self._pause -= len(entries)
        if self._pause > 0:
            return ()
        self._pause = self._until_next()
        hits = [at for at, entry in enumerate(entries) if entry is not None]
        return (random.choice(hits),) if hits else ()

    def _until_next(self) -> float:
        """Return which of the next hits is verified, from 1 on: at random, so in no rhythm."""
        share = self.trial.verify
        if not 0 < share < 1:
            return 1.0  # each, or none is asked for
        # How often a coin that falls so rarely is thrown until it does.
        return 1 + math.floor(math.log1p(-random.random()) / math.log1p(-share))

    def wants_equal(self, request: int, other: int) -> bool:
        """Return whether an item is computed though an equal one of another request is, too."""
        return self._is_open or (self._left_other > 0 and self.is_other(request, other))

    @staticmethod
    def is_other(request: int, other: int) -> bool:
        """Return whether two digests are those of different requests."""
        return request != other and bool(request and other)

    # ------------------------------------------------------------------ what was found

    def compare(self, tried: Tried, stored: Frozen, fresh: Frozen) -> None:
        """Compare the outputs of a tried hit, and draw the conclusion."""
        found = self.differences(stored, fresh)
        if found:
            self.disagreed(found)
        else:
            self.agreed(tried)

    def differences(
        self,
        stored: Frozen,
        fresh: Frozen,
        ignore: Collection[str] = (),
        limit: int = 16,
        tolerance: float = math.inf,
    ) -> list[Difference]:
        """Return where two answers differ, as far as the options of the trial do not allow it.

        With `tolerance`, floats may differ no more than that, even if the options allow more.
        """
        trial = self.trial
        return differences(
            stored,
            fresh,
            tolerance=min(trial.tolerance, tolerance),
            ignore=(*trial.ignore, *ignore),
            limit=limit,
        )

    def agreed(self, tried: Tried) -> None:
        """Count a hit that would have been answered as the model has answered it."""
        with self._lock:
            was_open = self._is_open
            self._agreed += 1
            self._left -= 1
            self._left_other -= tried.is_other
            if not was_open or self._is_open or self.is_off:
                return
            self._counters.state = "on"
            count = self._agreed
        logger.info(
            "%s: trial: %d of %d agreed: answering from the cache", self._method, count, count
        )

    def disagreed(self, found: Sequence[Difference]) -> None:
        """End caching, because a hit would have been another answer than the model's.

        Raises:
            DisagreementError: In strict mode.
        """
        texts = list(map(str, found[:_MOST_DIFFERENCES]))
        error = DisagreementError(self._method, texts)
        with self._lock:
            self._counters.add(disagreements=1)
            is_first = not self._counters.disagreement
            if is_first:
                self._counters.disagreement = "; ".join(texts)
            ends = not (self.trial.observe or self.is_off)
            if ends:
                self.is_off = True
                self._counters.state = "off"
        if ends:
            self._stop()
        if ends or is_first:
            logger.error("%s: %s", self._method, self._explanation(error))
        self._reporter.raise_if_strict(error)

    def _explanation(self, error: DisagreementError) -> str:
        consequence = (
            "observing goes on, nothing is answered from the cache"
            if self.trial.observe
            else "off: this process answers nothing from the cache until it starts again"
        )
        causes = [cause.rstrip(".") for cause in self._causes()[:_MOST_CAUSES]]
        why = f". Usual causes: {'; '.join(causes)}" if causes else ""
        return f"{consequence}, because {error}{why}"
