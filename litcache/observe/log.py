"""What a person reads in the log: the start of a cache, its counters, and each warning once."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable, Iterable, Mapping

from litcache.keys.contexts import Opaque, snapshot
from litcache.observe.counters import CacheInfo
from litcache.switches import is_strict

logger = logging.getLogger("litcache")

_MISSES_BEFORE_WARNING = 1_000
_MOST_CAUSES = 100


def _interval() -> float:
    """Return the seconds between two lines of counters, which the environment may set."""
    asked = os.environ.get("LITCACHE_LOG_SECONDS") or "60"
    try:
        seconds = float(asked)
    except ValueError:
        seconds = -1.0
    if not seconds >= 0:
        logger.warning(
            "LITCACHE_LOG_SECONDS=%r is no number of seconds, 0 or more: 60 is used", asked
        )
        return 60.0
    return seconds or math.inf


class Reporter:
    """The log lines of one cached method in this process.

    Args:
        method: The name at the start of each line.
        clock: The clock by which lines of counters are due, in seconds.
    """

    def __init__(self, method: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.method = method
        self._clock = clock
        self._interval = _interval()
        self._next_line = clock() + self._interval
        self._last: CacheInfo | None = None
        self._causes: set[object] = set()
        self._misses = 0
        self._varied: dict[str, set[object]] = {}
        self._never_hit = True

    def warn_once(self, cause: object, message: str) -> None:
        """Log a warning unless one of the same cause was logged before."""
        if cause not in self._causes and len(self._causes) < _MOST_CAUSES:
            self._causes.add(cause)
            logger.warning("%s: %s", self.method, message)

    def swallow(self, cause: object, error: Exception, consequence: str) -> None:
        """Warn of an error once, and go on; in strict mode raise it."""
        if is_strict():
            raise error
        self.warn_once((cause, type(error)), f"{consequence}: {error}")

    def started(self, namespace: str, version: str, store: str, size: str) -> None:
        """Log the start of a method in a worker."""
        logger.info(
            "%s: caching under namespace %r, version %r, in %s (%s)",
            self.method, namespace, version, store, size,
        )  # fmt: skip

    def tick(self, info: Callable[[], CacheInfo], *, hit: bool = False) -> None:
        """Note the end of a call, and log the counters if a line is due.

        Args:
            info: Returns the counters.
            hit: Whether an item of the call hit: then misses need no explanation any more.
        """
        if hit and self._never_hit:
            self._stop_watching()
        if self._clock() >= self._next_line:
            self._next_line = self._clock() + self._interval
            self._log_counters(info())

    def _log_counters(self, info: CacheInfo) -> None:
        """Log the counters if they changed since the last line."""
        if info == self._last:
            return
        self._last = info
        logger.info(
            "%s: hit rate %.1f %%, %d hits, %d misses, %d coalesced, %d bypassed, %d uncacheable, "
            "%d entries, %d bytes, %d evicted, %d store errors, %.1f s computing, %.1f s saved",
            self.method, 100 * info.hit_rate, info.hits, info.misses, info.coalesced,
            info.bypassed, info.uncacheable, info.entries, info.bytes, info.evicted,
            info.store_errors, info.seconds_computing, info.seconds_saved,
        )  # fmt: skip

    def missed(self, count: int, contexts: Iterable[Mapping[str, object]]) -> None:
        """Note misses, and explain them if a thousand come before the first hit.

        Args:
            count: How many items missed.
            contexts: Their contexts, if the method reads them.
        """
        if not self._never_hit or not count:
            return
        self._misses += count
        for context in contexts:
            for name, form in snapshot(context).items():
                forms = self._varied.setdefault(name, set())
                forms.add(id(form.value) if isinstance(form, Opaque) else form)
        if self._misses >= _MISSES_BEFORE_WARNING:
            differed = sorted(n for n, forms in self._varied.items() if len(forms) >= self._misses)
            self._stop_watching()
            why = (
                f"these context entries differed each time: {', '.join(differed)}; leave them out "
                "of the key with context=(names that matter)"
                if differed
                else "check that requests repeat, and that decoded items hold nothing that varies"
            )
            self.warn_once("never hit", f"{self._misses} misses without one hit; {why}")

    def _stop_watching(self) -> None:
        self._never_hit = False
        self._varied.clear()
