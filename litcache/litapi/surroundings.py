"""What `encode_response` may change beside `self` and its arguments: a rehearsal would do it twice.

That is what a twin shares with its API, class attributes, the globals and variables of enclosing
functions that the code names, and the generators of random numbers.
"""

from __future__ import annotations

import random
import sys
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from types import FunctionType, MethodType, ModuleType
from typing import Any

from litcache.arrays import is_array, is_tensor
from litcache.keys.objects import state
from litcache.litapi.reach import Global, Reached, is_library

_ATOMS = frozenset({type(None), bool, int, str, bytes})
_NUMBERS = frozenset({float, complex})
_SEQUENCES = (list, tuple, deque, set, frozenset)
_COUNTS = ("qsize", "tell", "total_changes")
"""What queues, files and databases tell of themselves."""
_SIZED = (dict, *_SEQUENCES)
_MOST_PARTS = 1_000
MOST_PARTS_ONCE = 50_000
"""How many parts are looked at around a response that nothing has encoded before."""
_MOST_BYTES = 1 << 20
_OURS = frozenset({"litserve", "litcache"})
_SILENT = _OURS | {"logging", "pathlib"}
"""Whose objects keep what they were asked, though no answer depends on it."""


class Surroundings:
    """What surrounds `encode_response` of an API, and whether it is as it was.

    Args:
        reached: What the code of the hook names.
        shared: What a twin of the API shares with it.
        most: How many parts of each are looked at.

    Attributes:
        is_whole: Whether every part was looked at.
    """

    def __init__(self, reached: Reached, shared: list[Any], most: int = _MOST_PARTS) -> None:
        self.is_whole = True
        self._most = most
        self._kept: list[Any] = []  # or another object could get the id of one that is gone
        self._roots = [*shared, *reached.values]
        # Others draw, too: what they do is no trace of this.
        self._draws = reached.draws
        self._before = self._now()

    def have_changed(self) -> bool:
        """Return whether something has changed."""
        return self._before != self._now()

    def _now(self) -> list[Any]:
        found: list[Any] = list(_random_states()) if self._draws else []
        for root in self._roots:
            found.extend(self._parts(root))
        return found

    def _parts(self, root: Any) -> Iterator[Any]:
        """Yield what shows that a part of a value has changed, of a bounded number of parts."""
        met: set[int] = set()
        waiting = deque([root])
        left = self._most
        while waiting and left > 0:
            value, left = waiting.popleft(), left - 1
            kind = type(value)
            if kind in _ATOMS:
                yield value
            elif kind in _NUMBERS:
                yield repr(value)  # NaN is no change
            else:
                yield id(value)
                if id(value) in met:
                    continue
                met.add(id(value))
                self._kept.append(value)
                yield from _look(value)
                parts = _parts_of(value, left)
                if issubclass(kind, _SIZED):
                    yield len(value)
                waiting.extend(parts)
        self.is_whole = self.is_whole and left > 0


def _look(value: Any) -> Iterator[Any]:
    """Yield what tells of a change of a value without parts."""
    kind = type(value)
    if is_array(value) and value.nbytes <= _MOST_BYTES and not value.dtype.hasobject:
        yield value.tobytes()
    elif is_tensor(value):
        if not value.is_inference():  # which counts no changes
            yield value._version
    elif kind.__module__ == "itertools":
        yield repr(value)
    elif kind is bytearray or any(base.__module__ == "_ctypes" for base in kind.__mro__):
        yield bytes(value)
    else:
        with suppress(Exception):  # a file that is closed, a connection of another thread
            yield from (_counted(value, name) for name in _COUNTS if hasattr(kind, name))


def _counted(value: Any, name: str) -> Any:
    count = getattr(value, name)
    return count() if callable(count) else count


def _parts_of(value: Any, most: int) -> list[Any]:
    """Return up to `most` parts of a container, or those of an object, if they can be read."""
    kind = type(value)  # to ask a proxy for its class would ask what is behind it
    if kind is Global:
        return [value.value]
    if issubclass(kind, type | FunctionType) and is_library(value.__module__):
        return []
    if issubclass(kind, type):
        own = [(name, part) for name, part in vars(value).items() if not name.startswith("__")]
        return [part for _, part in own if not hasattr(type(part), "__get__")]
    if kind is ModuleType or kind.__module__.partition(".")[0] in _SILENT:
        return []
    if kind is MethodType:
        return [value.__self__]
    if issubclass(kind, threading.local):
        return list(vars(value).values())  # of this thread
    found: list[Any] = []
    try:
        if kind is FunctionType:
            cells = [cell.cell_contents for cell in value.__closure__ or ()]
            return [*cells, value.__defaults__, value.__kwdefaults__, vars(value)]
        if issubclass(kind, dict):
            found = [*islice(dict.keys(value), most), *islice(dict.values(value), most)]
        elif issubclass(kind, _SEQUENCES):
            found = list(islice(value, most))
        return [*found, *state(value).values()]
    except Exception:  # the user's class, or another thread changes it meanwhile
        return found


def _random_states() -> Iterator[Any]:
    yield random.getstate()
    numpy = sys.modules.get("numpy.random")
    if numpy is not None:
        yield repr(numpy.get_state(legacy=False)["state"])
    torch = sys.modules.get("torch")
    if torch is not None:
        yield bytes(torch.get_rng_state().numpy())
