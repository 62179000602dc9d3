"""How long an entry stays valid, as a user says it."""

from __future__ import annotations

import math
import re
from datetime import timedelta
from numbers import Real
from typing import Any

from litcache.checks import told

Ttl = float | timedelta | str | None
"""Seconds, a `timedelta`, or text such as `"2h30m"`; `None`: until the entry is evicted."""

ALWAYS = (
    'a positive number of seconds, a positive timedelta, or text such as "2h30m" or "90s" (units '
    "w, d, h, m for minutes, s, ms, the largest first)"
)
"""What a ttl may be that has an end."""
ALLOWED = f"{ALWAYS.replace(', or text', ', text')}, or None (until evicted)"
"""What a ttl may be."""

_UNITS = {"w": 604_800.0, "d": 86_400.0, "h": 3_600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
# "m" is not the beginning of "ms".
_TEXT = re.compile(
    "".join(rf"(?:(\d+(?:\.\d+)?)\s*{unit}(?![a-z])\s*)?" for unit in _UNITS), re.ASCII
)


LEASES = ALLOWED.replace("until evicted", "no process waits for another")
"""What a lease may be."""


def seconds_of(
    ttl: Any, *, name: str = "ttl", may_be_zero: bool = False, allowed: str = ALLOWED
) -> float | None:
    """Return a ttl in seconds.

    Args:
        ttl: Seconds, a `timedelta`, text such as `"2h30m"`, or `None`.
        name: What the ttl is called in messages.
        may_be_zero: Whether 0 is allowed.
        allowed: What is allowed, for messages.

    Returns:
        The seconds; `None`: until the entry is evicted.

    Raises:
        ValueError: If it is text of another form, negative, 0 where that is not allowed, NaN or
            infinite.
        TypeError: If it is of another type.

    Example:
        >>> seconds_of("2h30m"), seconds_of("1.5d"), seconds_of("250ms"), seconds_of(None)
        (9000.0, 129600.0, 0.25, None)
    """
    if ttl is None:
        return None
    allowed += ", or 0 (not stored)" if may_be_zero else ""
    if isinstance(ttl, bool) or not isinstance(ttl, Real | timedelta | str):
        raise TypeError(told(name, ttl, allowed))
    if isinstance(ttl, str):
        seconds = _read(ttl)
    else:
        seconds = ttl.total_seconds() if isinstance(ttl, timedelta) else _number(ttl)
    if not (math.isfinite(seconds) and (seconds > 0 or (may_be_zero and seconds == 0))):
        raise ValueError(told(name, ttl, allowed))
    return seconds


def _read(text: str) -> float:
    """Return the seconds that a text names; NaN if it names none."""
    match = _TEXT.fullmatch(text.strip())
    if not match or not text.strip():
        return math.nan
    numbers = zip(match.groups(), _UNITS.values(), strict=True)
    return sum((float(number) * unit for number, unit in numbers if number), 0.0)


def _number(seconds: Any) -> float:
    try:
        return float(seconds)
    except OverflowError:  # a whole number beyond all floats
        return math.inf
