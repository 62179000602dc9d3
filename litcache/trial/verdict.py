"""The verdict on one method: which hits are tried, what was agreed, and whether it is cached on."""

from __future__ import annotations

import math
import random
import threading
from collections.abc import Callable, Collection, Sequence
from operator import attrgetter
from typing import Protocol

from litcache.errors import DisagreementError
from litcache.observe.log import Reporter, logger
from litcache.stores.base import Entry
from litcache.trial.answers.compare import CONTEXT, Difference, Frozen, differences
from litcache.trial.proven import DIRECTIONS, Proven
from litcache.trial_policy import Trial

_MOST_DIFFERENCES = 3
_MOST_CAUSES = 3
_request_of = attrgetter("request")
_chance = random.SystemRandom()
"""Without a state: a draw changes nothing for users of `random` who have set its seed."""


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
        unlike: In what the digest of its request is unlike that of the request whose output was
            stored; 0 if one of them is not known.
        key: The key of the item, if its equal is computed in the same call.

    Attributes:
        fresh: What the model answers, frozen; `None` as long as it has not.
        at_encoding: Whether the answers are compared when they are encoded, not before.
        made: What an entry of the model's answer would be, with the changes of the context; `None`
            as long as it has not answered, and if that cannot be stored.
        contexts: What the hit and the model change in the context, frozen; `None`: nothing.
    """

    __slots__ = ("at_encoding", "contexts", "entry", "fresh", "key", "made", "unlike")

    def __init__(self, entry: Entry | None, *, unlike: int, key: bytes | None = None) -> None:
        self.entry = entry
        self.unlike = unlike
        self.key = key
        self.fresh: Frozen | None = None
        self.at_encoding = False
        self.made: Entry | None = None
        self.contexts: tuple[Frozen, Frozen] | None = None


def unlike(request: int, other: int) -> int:
    """Return in what the digests of two requests differ; 0 if one is not known.

    Example:
        >>> unlike(0b110, 0b011), unlike(0b110, 0)
        (5, 0)
    """
    return request ^ other if request and other else 0


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
        has_fields: Whether digests tell which fields of requests differ; if not, only that they do.
        output: How a person is told what the method returns, if that may be less than the answer.
        leaves: What the method leaves for later hooks, as the source shows it. A hit leaves
            nothing, so outputs that are equal prove nothing.

    Attributes:
        is_off: Whether a disagreement has ended caching.
        wants_large: Whether digests of large requests are still needed.
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
        has_fields: bool = True,
        output: str = "",
        leaves: Sequence[str] = (),
    ) -> None:
        self.trial = trial
        self._method = method
        self._counters = counters
        self._reporter = reporter
        self._stop = stop
        self._causes = causes
        self._directions = DIRECTIONS if has_fields else 1
        self._output = output
        # `compare="output"` says that the user knows, and that outputs are enough.
        self._leaves = () if trial.compare == "output" else leaves
        self._lock = threading.Lock()
        self.begin()

    def begin(self) -> None:
        """Begin the trial, or begin it again."""
        with self._lock:
            self.is_off = False
            self._agreed = self._by_output = self._unproven = 0
            self._left = self.trial.hits
            self._proven = Proven(self.trial.hits, self._directions)
            self._pause = self._until_next()
            self._counters.disagreement = ""
            self._note_state()
            self._counters.state = "trial" if self._is_open else "on"

    def _note_state(self) -> None:
        """Work out what each look-up asks for."""
        self._is_open = self.trial.observe or self._left > 0
        self.wants_large = self._is_open or self._proven.is_open

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
        if self._is_open:
            return {at for at, entry in enumerate(entries) if entry is not None}
        proven = self._proven
        if proven.is_open:
            try:
                made_by = list(map(_request_of, entries))
            except AttributeError:  # a miss, or an entry of a store that keeps no digests
                made_by = [getattr(entry, "request", 0) for entry in entries]
            if made_by != requests:
                wants, pairs = proven.wants, enumerate(zip(requests, made_by, strict=True))
                others = {at for at, (a, b) in pairs if a != b and a and b and wants(a ^ b)}
                if others:
                    return others
        # Without `verify`, the pause is infinite.
        self._pause -= len(entries)
        return () if self._pause > 0 else self._verified(entries)

    def chooses(self, unlike: int) -> bool:
        """Return whether the model answers a hit, too, that is looked up by itself.

        Args:
            unlike: In what the digests of its two requests differ; 0 if one is not known.
        """
        if self._is_open or (unlike and self._proven.is_open and self._proven.wants(unlike)):
            return True
        self._pause -= 1
        if self._pause > 0:
            return False
        self._pause = self._until_next()
        return True

    def _verified(self, entries: Sequence[Entry | None]) -> Collection[int]:
        self._pause = self._until_next()
        hits = [at for at, entry in enumerate(entries) if entry is not None]
        return (_chance.choice(hits),) if hits else ()

    def _until_next(self) -> float:
        """Return which of the next hits is verified, from 1 on: at random, so in no rhythm."""
        share = self.trial.verify
        if not share:
            return math.inf
        if share >= 1:
            return 1.0
        # How often a coin that falls so rarely is thrown until it does.
        return 1 + math.floor(math.log1p(-_chance.random()) / math.log1p(-share))

    def wants_equal(self, request: int, other: int) -> bool:
        """Return whether an item is computed though an equal one of another request is, too."""
        return self._is_open or self._proven.wants(unlike(request, other))

    # ------------------------------------------------------------------ what was found

    def compare(self, tried: Tried, stored: Frozen, fresh: Frozen) -> None:
        """Compare the outputs of a tried hit alone, and draw the conclusion."""
        found = self.differences(stored, fresh) + self.differences_of_context(tried)
        if found:
            self.disagreed(found)
        else:
            self.agreed(tried, by_output=True)

    def differences(
        self,
        stored: Frozen,
        fresh: Frozen,
        ignore: Collection[str] = (),
        limit: int = 16,
        tolerance: float = math.inf,
        root: str = "$",
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
            root=root,
        )

    def differences_of_context(self, tried: Tried, tolerance: float = math.inf) -> list[Difference]:
        """Return where a hit would change its context otherwise than the model has."""
        if tried.contexts is None:
            return []
        return self.differences(*tried.contexts, tolerance=tolerance, root=CONTEXT)

    def agreed(self, tried: Tried, *, by_output: bool = False, doubts: bool = False) -> None:
        """Count a hit that would have been answered as the model has answered it.

        Args:
            tried: The hit.
            by_output: Whether only what the method returns was compared.
            doubts: Whether the answers differ, though by what may be noise.
        """
        if (by_output or doubts) and self._leaves:
            self._note_unproven(1 if doubts else max(1, self.trial.hits))
            return
        with self._lock:
            was_open = self._is_open
            self._unproven = 0
            self._agreed += 1
            self._by_output += by_output
            self._left -= 1
            self._proven.note(tried.unlike)
            self._note_state()
            if not was_open or self._is_open or self.is_off:
                return
            self._counters.state = "on"
            count, alone = self._agreed, self._by_output if self._output else 0
        rest = f". {alone} of them were compared by {self._output} alone" if alone else ""
        logger.info(
            "%s: trial: %d of %d agreed: answering from the cache%s",
            self._method, count, count, rest,
        )  # fmt: skip

    def _note_unproven(self, most: int) -> None:
        """Count a hit of which nothing is proven; end caching after so many in a row."""
        with self._lock:
            self._unproven += 1
            if self._unproven < most:
                return
        alone, left = self._output or "the responses", self._leaves[0]
        found = f"hits agree by {alone} alone, which does not show {left}"
        remedy = 'If no answer depends on it, trial=Trial(compare="output") says so'
        self._end(found, lambda: f"{found}. {remedy}")

    def disagreed(self, found: Sequence[Difference]) -> None:
        """End caching, because a hit would have been another answer than the model's.

        Raises:
            DisagreementError: In strict mode.
        """
        texts = list(map(str, found[:_MOST_DIFFERENCES]))
        error = DisagreementError(self._method, texts)
        self._counters.add(disagreements=1)
        self._end("; ".join(texts), lambda: f"{error}{self._usual_causes()}")
        self._reporter.raise_if_strict(error)

    def _usual_causes(self) -> str:
        causes = [cause.rstrip(".") for cause in self._causes()[:_MOST_CAUSES]]
        return f". Usual causes: {'; '.join(causes)}" if causes else ""

    def _end(self, found: str, why: Callable[[], str]) -> None:
        """End caching, unless it is only observed; say why, at the first time."""
        with self._lock:
            is_first = not self._counters.disagreement
            if is_first:
                self._counters.disagreement = found
            ends = not (self.trial.observe or self.is_off)
            if ends:
                self.is_off = True
                self._counters.state = "off"
        if ends:
            self._stop()
        if ends or is_first:
            consequence = (
                "observing goes on, nothing is answered from the cache"
                if self.trial.observe
                else "off: this process answers nothing from the cache until it starts again"
            )
            logger.error("%s: %s, because %s", self._method, consequence, why())
