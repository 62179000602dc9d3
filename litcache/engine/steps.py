"""The steps in which the misses of a call are settled; a driver takes each and sends its result."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, NamedTuple

from litcache.engine.call import Part
from litcache.engine.flight import Claim, Waited


class Compute(NamedTuple):
    """Call the method with a part; send back what it returned and the seconds it took."""

    part: Part


class Ask(NamedTuple):
    """Call a function that may wait for a store; send back what it returned."""

    function: Callable[[], Any]


class Wait(NamedTuple):
    """Wait for a claim of another call, or for its event; send back whether that came in time."""

    claim: Claim
    seconds: float | None
    event: Waited | None = None


Step = Compute | Ask | Wait
Steps = Generator[Step, Any, None]
