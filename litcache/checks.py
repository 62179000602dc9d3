"""The checks that options have in common: errors have the name, the value and what is allowed."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from numbers import Real
from typing import Any

LONGEST_SECONDS = 365 * 86_400
"""What an option of seconds to wait may be at most; the system takes no timeouts of centuries."""
WAIT = f"a positive number of seconds, at most {LONGEST_SECONDS:,} (a year)"
"""What an option of seconds to wait may be."""

HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""The name of a header (RFC 9110, 5.6.2)."""

_LARGEST = sys.float_info.max
_SHOWN = 200  # characters of a value
_PARTS_OF_A_STORE = ("get_many", "set_many", "delete_many", "clear", "info", "clock")


def told(name: str, value: object, allowed: str) -> str:
    """Return what an error says of an option.

    Args:
        name: The name of the option.
        value: What the user gave.
        allowed: What is allowed.

    Returns:
        The text; of a long value it shows the beginning.

    Example:
        >>> told("timeout", 0, "a positive number")
        'timeout=0 must be a positive number'
    """
    return f"{name}={shown(value)} must be {allowed}"


def shown(value: object) -> str:
    """Return a value as messages show it, whatever it is.

    Args:
        value: What the user gave.

    Returns:
        Its `repr`; of a long one the beginning, and its type if it has none.

    Example:
        >>> shown("a"), shown(10**5000)
        ("'a'", '<int>')
    """
    try:
        text = repr(value)
    except Exception:  # Python writes no number of thousands of digits, and a class is anybody's
        return f"<{type(value).__name__}>"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def check_flag(name: str, value: object) -> None:
    """Check an option that is `True` or `False`.

    Args:
        name: The name of the option.
        value: What the user gave.

    Raises:
        TypeError: If it is neither.

    Example:
        >>> check_flag("cluster", True)
    """
    if not isinstance(value, bool):
        raise TypeError(told(name, value, "True or False"))


def check_text(name: str, value: object, allowed: str = "text") -> None:
    """Check an option that leaves the process as UTF-8.

    Args:
        name: The name of the option.
        value: What the user gave.
        allowed: What is allowed, for messages.

    Raises:
        TypeError: If it is no text.
        ValueError: If it holds half a surrogate pair, which UTF-8 cannot write.

    Example:
        >>> check_text("prefix", "litcache")
    """
    if not isinstance(value, str):
        raise TypeError(told(name, value, allowed))
    if not is_utf8(value):
        raise ValueError(told(name, value, f"{allowed} that UTF-8 can write"))


def is_utf8(text: str) -> bool:
    """Return whether UTF-8 can write a text.

    Args:
        text: The text.

    Returns:
        Whether it holds no half of a surrogate pair.

    Example:
        >>> is_utf8("é"), is_utf8(chr(0xD800))
        (True, False)
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_choice(name: str, value: object, choices: Sequence[str | None]) -> None:
    """Check an option that is one of several texts, or `None`.

    Args:
        name: The name of the option.
        value: What the user gave.
        choices: What is allowed.

    Raises:
        ValueError: If it is none of them.

    Example:
        >>> check_choice("digest", "blake", ("blake", "sha256"))
    """
    if (value is None or isinstance(value, str)) and value in choices:
        return
    *others, last = ("None" if choice is None else f'"{choice}"' for choice in choices)
    raise ValueError(told(name, value, f"{', '.join(others)} or {last}"))


def check_whole_number(name: str, value: Any, allowed: str, *, least: int = 0) -> None:
    """Check an option that is a whole number.

    Args:
        name: The name of the option.
        value: What the user gave.
        allowed: What is allowed, for messages.
        least: The smallest number that is allowed.

    Raises:
        TypeError: If it is no whole number.
        ValueError: If it is less.

    Example:
        >>> check_whole_number("hits", 16, "a whole number, 0 or more")
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(told(name, value, allowed))
    if value < least:
        raise ValueError(told(name, value, allowed))


def check_number(
    name: str, value: Any, allowed: str, *, least: float = 0.0, most: float = _LARGEST
) -> None:
    """Check an option that is a finite number.

    Args:
        name: The name of the option.
        value: What the user gave.
        allowed: What is allowed, for messages.
        least: The smallest number that is allowed.
        most: The largest one.

    Raises:
        TypeError: If it is no number.
        ValueError: If it is less or more.

    Example:
        >>> check_number("tolerance", 0.01, "a number, 0 or more")
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(told(name, value, allowed))
    if not least <= value <= most:
        raise ValueError(told(name, value, allowed))


def check_seconds(name: str, value: Any) -> None:
    """Check an option that says how long to wait.

    Args:
        name: The name of the option.
        value: What the user gave.

    Raises:
        TypeError: If it is no number.
        ValueError: If it is not positive, or more than a year.

    Example:
        >>> check_seconds("timeout", 0.05)
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(told(name, value, WAIT))
    seconds: Any = value
    if not 0 < seconds <= LONGEST_SECONDS:
        raise ValueError(told(name, value, WAIT))


def is_store(value: object) -> bool:
    """Return whether a value has what every store has.

    Args:
        value: What the user gave.

    Returns:
        Whether it is one; a class of stores is none.

    Example:
        >>> from litcache import MemoryStore
        >>> is_store(MemoryStore()), is_store(MemoryStore), is_store("redis://")
        (True, False, False)
    """
    return not isinstance(value, type) and all(hasattr(value, n) for n in _PARTS_OF_A_STORE)


def check_store(name: str, value: object, allowed: str = "a Store") -> None:
    """Check an option that is a store.

    Args:
        name: The name of the option.
        value: What the user gave.
        allowed: What is allowed, for messages.

    Raises:
        TypeError: If it is none.
    """
    if not is_store(value):
        raise TypeError(told(name, value, allowed))
