"""How far a long command is, shown on a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TextIO

_EVERY = 0.2  # seconds


class Progress:
    """One line of a terminal that says how far a command is; nothing where there is no terminal.

    Args:
        what: What is done.
        stream: Where it is shown: by default, the errors of this process.
        clock: The clock by which it is renewed, in seconds.

    Example:
        >>> with Progress("read") as progress:
        ...     progress.show(10, 0.5)
    """

    def __init__(
        self,
        what: str,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._what = what
        self._stream = sys.stderr if stream is None else stream
        self._clock = clock
        self._is_shown = self._stream.isatty()
        self._began = self._next = clock()
        self._first: float | None = None

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._is_shown:
            self._stream.write("\r\x1b[K")
            self._stream.flush()

    def show(self, count: int, part: float | None = None) -> None:
        """Say how far it is.

        Args:
            count: How many are done.
            part: Which part of the whole that is, from 0 to 1; `None` if that is not known.
        """
        if not self._is_shown or (now := self._clock()) < self._next:
            return
        self._next = now + _EVERY
        line = f"{count:,} {self._what}"
        if part is not None:
            part = min(1.0, part)
            if self._first is None:  # a command that goes on does not begin at 0
                self._first = part
            line += f", {part:.0%}"
            done = part - self._first
            if done > 0 and now > self._began:
                left = (now - self._began) * (1 - part) / done
                line += f", {left:,.0f} s left"
        self._stream.write(f"\r\x1b[K{line}")
        self._stream.flush()
