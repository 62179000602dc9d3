"""The log: the start of a cache, its counters, and each warning once."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable, Iterable, Mapping

from litcache.keys.contexts import Opaque, snapshot
from litcache.observe.counters import CacheInfo
from litcache.sizes import format_bytes, parse_bytes
from litcache.stores.base import Store
from litcache.switches import is_strict

logger = logging.getLogger("litcache")

_MISSES_BEFORE_WARNING = 1_000
_MOST_CAUSES = 100


def _interval() -> float:
    """Return the seconds between two lines of counters; the environment may set them."""
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
        self._contexts = 0
        self._varied: dict[str, set[object]] = {}
        self._never_hit = True

    def warn_once(self, cause: object, message: str) -> None:
        """Log a warning unless one of the same cause was logged before."""
        if cause not in self._causes and len(self._causes) < _MOST_CAUSES:
            self._causes.add(cause)
            logger.warning("%s: %s", self.method, message)

    def swallow(self, cause: object, error: Exception, consequence: str) -> None:
        """Warn of an error once, and go on; in strict mode raise it."""
        self.raise_if_strict(error)
        self.warn_once((cause, type(error)), f"{consequence}: {error}")

    def raise_if_strict(self, error: Exception) -> None:
        """In strict mode, raise an error that serving only warns of."""
        if is_strict():
            raise error

    def started(
        self, namespace: str, version: str, store: Store, process: str, trial: str = ""
    ) -> None:
        """Log the start of a cache.

        Args:
            namespace: The namespace of its entries.
            version: The version of its entries.
            store: Where they live.
            process: The kind of process that has its own budget, if it does not share the store.
            trial: How the cache proves itself; empty if it does not.
        """
        size = getattr(store, "max_bytes", None)
        budget = "no budget of its own" if size is None else format_bytes(parse_bytes(size))
        if size is not None and not store.persistent:
            budget += f" in each {process}"
        logger.info(
            "%s: caching under namespace %r, version %r, in %s (%s)%s",
            self.method, namespace, version, type(store).__name__, budget,
            f"; {trial}" if trial else "",
        )  # fmt: skip

    def tick(self, info: Callable[[], CacheInfo], *, hit: bool = False) -> None:
        """Note the end of a call, and log the counters if a line is due.

        Args:
            info: Returns the counters.
            hit: Whether an item of the call hit; after that, misses need no explanation.
        """
        if hit and self._never_hit:
            self._stop_watching()
        if self._clock() >= self._next_line:
            self._next_line = self._clock() + self._interval
            self._log_counters(info())

    def _log_counters(self, info: CacheInfo) -> None:
        """Log the counters if they changed since the last line."""
        counters = _counters(info)
        if counters and info != self._last:
            self._last = info
            logger.info("%s: %s", self.method, ", ".join(counters))

    def missed(self, count: int, contexts: Iterable[Mapping[str, object]]) -> None:
        """Note misses, and warn if a thousand come before the first hit.

        Args:
            count: How many items missed.
            contexts: Their contexts, if the method reads them.
        """
        if not self._never_hit or not count:
            return
        self._misses += count
        for context in contexts:
            self._contexts += 1
            for name, form in snapshot(context).items():
                forms = self._varied.setdefault(name, set())
                forms.add(id(form.value) if isinstance(form, Opaque) else form)
        if self._misses >= _MISSES_BEFORE_WARNING:
            varied = list(self._varied.items())  # another thread may clear it meanwhile
            differed = sorted(name for name, forms in varied if len(forms) >= self._contexts)
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


_COUNTS = (
    "hits", "misses", "coalesced", "verified", "bypassed", "uncacheable", "disagreements",
    "entries", "bytes", "rejected", "evicted", "expired", "overflowed",
    "not_admitted", "store_errors",
)  # fmt: skip


def _counters(info: CacheInfo) -> list[str]:
    """Return the counters that a line shows: those that are not 0."""
    shown = []
    if info.hits or info.misses or info.coalesced or info.verified:
        shown.append(f"hit rate {100 * info.hit_rate:.1f} %")
    for name in _COUNTS:
        number = getattr(info, name)
        if number:
            text = format_bytes(number) if name == "bytes" else f"{number} {name}"
            shown.append(text.replace("_", " "))
    for seconds, what in ((info.seconds_computing, "computing"), (info.seconds_saved, "saved")):
        if seconds >= 1:
            shown.append(f"{seconds:.1f} s {what}")
        elif seconds >= 5e-5:
            shown.append(f"{1000 * seconds:.1f} ms {what}")
    if shown and info.state != "on":
        shown.append("on trial" if info.state == "trial" else info.state)
    return shown


# ---------------------------------------------------------------------- where lines go


class _AsLitServe(logging.Filter):
    """Prints litcache's lines as LitServe prints its own lines, unless the user sets up logging.

    It decides that at each line, for two reasons. LitServe calls `logging.info` for some specs,
    which adds a handler to the root logger; and a user may set up logging as late as in `setup`.
    """

    def __init__(self) -> None:
        super().__init__()
        self._chose_level = logger.level == logging.NOTSET and not _is_set_up()
        if self._chose_level:
            logger.setLevel(logging.INFO)

    def filter(self, record: logging.LogRecord) -> bool:
        """Print a line, or return true to leave it to the handlers of the user."""
        if logger.handlers:
            return True
        if _is_set_up():
            if self._chose_level:
                self._chose_level = False
                logger.setLevel(logging.NOTSET)
            return logger.isEnabledFor(record.levelno)
        litserve = logging.getLogger("litserve")
        if record.levelno >= litserve.level:
            for handler in litserve.handlers:
                if record.levelno >= handler.level:
                    handler.handle(record)
        return False


def show_log_lines() -> None:
    """Send litcache's lines where LitServe's go, unless the user has set up logging.

    Only processes of a server call this; elsewhere nobody has asked for log lines.
    """
    if not any(isinstance(known, _AsLitServe) for known in logger.filters):
        logger.addFilter(_AsLitServe())


def _is_set_up() -> bool:
    """Return whether the user has set up logging."""
    root = logging.getLogger()
    by_default = root.level == logging.WARNING and all(map(_is_by_default, root.handlers))
    return bool(logger.handlers) or (bool(root.handlers) and not by_default)


def _is_by_default(handler: logging.Handler) -> bool:
    """Return whether a handler is the one that `logging.info` adds by itself."""
    text = getattr(handler.formatter, "_fmt", None)
    return type(handler) is logging.StreamHandler and text == logging.BASIC_FORMAT
