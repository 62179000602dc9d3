"""Sizes in bytes, as a user says them and as a person reads them."""

from __future__ import annotations

import re

from litcache.checks import shown

_UNITS = {"": 1, "B": 1}
for _power, _letter in enumerate("KMGT", start=1):
    _UNITS[f"{_letter}B"] = 1000**_power
    _UNITS[f"{_letter}IB"] = 1024**_power
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*")


def parse_bytes(size: int | str, *, name: str = "") -> int:
    """Return a size in bytes.

    Args:
        size: A whole number of bytes, or text such as `"256 MiB"` or `"1.5 GB"`.
        name: The name of the option that it comes from, for messages.

    Returns:
        The number of bytes, at least 1.

    Raises:
        ValueError: If it is not a size, or less than one byte.
        TypeError: If it is neither a number nor text.

    Example:
        >>> parse_bytes("256 MiB"), parse_bytes("1 kB"), parse_bytes(5)
        (268435456, 1000, 5)
    """
    allowed = 'a positive whole number of bytes or text such as "256 MiB"'
    where = f"{name}={shown(size)}: " if name else ""
    problem = f"{where}a size must be {allowed}, not {shown(size)}"
    if isinstance(size, bool) or not isinstance(size, int | str):
        raise TypeError(problem)
    number = _read(size) if isinstance(size, str) else size
    if not 1 <= number < 2**63:
        raise ValueError(problem)
    return number


def _read(text: str) -> int:
    """Return the bytes that a text names; 0 if it names none."""
    match = _SIZE.fullmatch(text)
    unit = match and _UNITS.get(match[2].upper())
    if not match or not unit:
        return 0
    try:
        return int(float(match[1]) * unit if "." in match[1] else int(match[1]) * unit)
    except (ValueError, OverflowError):  # thousands of digits
        return 0


def format_bytes(size: float) -> str:
    """Return a size in bytes as a person reads it.

    Args:
        size: The number of bytes.

    Returns:
        Text that `parse_bytes` takes, rounded to a tenth of its unit.

    Example:
        >>> format_bytes(134217728), format_bytes(1850), format_bytes(5)
        ('128 MiB', '1.8 KiB', '5 B')
    """
    units = ("B", "KiB", "MiB", "GiB", "TiB")
    power = 0
    while size >= 1024 and power < len(units) - 1:
        size, power = size / 1024, power + 1
    return f"{size:.1f}".removesuffix(".0") + f" {units[power]}"
