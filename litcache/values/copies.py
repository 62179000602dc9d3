"""True copies: what is done to a copy is not seen in its original."""

from __future__ import annotations

import copyreg
import io
import re
import threading
import types
from array import array
from collections import Counter, OrderedDict, defaultdict, deque
from enum import Enum
from typing import Any

from litcache.arrays import has_gradient, is_array, is_tensor
from litcache.values.copyable import (
    has_protocol,
    hides_state,
    is_constant,
    is_lock,
    is_ours,
    loaded,
)
from litcache.values.sharing import overlap

_ATOMS = frozenset({
    type(None), bool, int, float, complex, str, bytes, type(Ellipsis), type(NotImplemented), range,
    re.Pattern, object,
})  # fmt: skip
_CONTAINERS = frozenset(
    {list, dict, tuple, set, frozenset, deque, OrderedDict, defaultdict, Counter}
)
_SAME = (type, types.ModuleType, Enum)
_MOST_PARTS = 50_000
_MOST_BYTES = 256 << 20
_MOST_SHARING = 5_000, 16 << 20
"""How many parts and bytes are copied where the rest may be shared: of all values together."""
_ATOMS_A_PART = 32
"""Atoms of a list or dict are copied together, and take so much less time than a part."""


class UncopyableError(Exception):
    """A value of which there is no true copy, or none within the bounds."""


class _TooLargeError(UncopyableError):
    """A value with too many parts or bytes."""


class Copies:
    """True copies of several values; what is one object in the originals is one in the copies.

    Attributes:
        shared: What stands in copies as it is in the originals, since it cannot be copied.
    """

    def __init__(self) -> None:
        self.shared: list[Any] = []
        self._parts = self._bytes = 0
        self._left = _MOST_SHARING
        # By the id of the original, which is its own as long as the original is kept.
        self._made: dict[int, Any] = {}
        self._originals: list[Any] = []
        self._may_share = False
        self._depth = 0

    def put(self, original: Any, copy: Any) -> Any:
        """Have an object stand in the copies for another one."""
        self._made[id(original)] = copy
        self._originals.append(original)
        return copy

    def of(self, value: Any) -> Any:
        """Return a true copy of a value.

        Raises:
            UncopyableError: If there is none: an iterator over something that cannot be copied, a
                file, a lock, an object whose class hides its state, arrays that share memory.

        Example:
            >>> item = {"steps": [1]}
            >>> copy = Copies().of(item)
            >>> item["steps"].append(2)
            >>> copy
            {'steps': [1]}
        """
        copy = self._whole(value, _MOST_PARTS, _MOST_BYTES)
        self.check_memory()
        return copy

    def check_memory(self) -> None:
        """Raise if arrays or tensors share memory, which their copies do not.

        Raises:
            UncopyableError: If they do, or if that cannot be told.
        """
        try:
            is_shared = overlap([o for o in self._originals if is_array(o) or is_tensor(o)])
        except Exception as error:  # tensors without a storage
            raise UncopyableError(f"arrays whose memory is not known: {error!r}") from error
        if is_shared:
            raise UncopyableError("arrays that share memory")

    def sharing(self, value: Any) -> Any:
        """Return a copy in which stands as it is what cannot be copied; see `shared`.

        So does a value above what is left of the bounds, as a whole. Locks stand so too, though
        not in `shared`: they keep out the same others.
        """
        self._may_share = True
        try:
            copy = self._whole(value, *self._left)
            self._left = self._parts, self._bytes
            return copy
        except UncopyableError:
            return self._share(value)
        finally:
            self._may_share = False

    def _whole(self, value: Any, parts: int, size: int) -> Any:
        before, self._depth = len(self._originals), 0
        self._parts, self._bytes = parts, size
        try:
            return self._copy(value)
        except UncopyableError:
            self._forget(before)
            raise
        except Exception as error:  # of the user's class, or another thread changes it meanwhile
            self._forget(before)
            raise UncopyableError(f"{type(value).__qualname__}: {error!r}") from error

    def _forget(self, before: int) -> None:
        for original in self._originals[before:]:
            self._made.pop(id(original), None)
        del self._originals[before:]

    def _share(self, value: Any) -> Any:
        self.shared.append(value)
        return self.put(value, value)

    # ------------------------------------------------------------------ parts

    def _copy(self, value: Any) -> Any:
        kind = type(value)
        if kind in _ATOMS or isinstance(value, _SAME):
            return value
        if id(value) in self._made:
            return self._made[id(value)]
        self._take(parts=1)
        if kind in _CONTAINERS:
            return self._container(kind, value)
        if is_array(value):
            return self._array(value)
        if is_tensor(value):
            return self._tensor(value)
        made = self._callable(kind, value)
        if made is None:
            made = self._object(kind, value)
        return made

    def _part(self, value: Any) -> Any:
        """Return a copy of a part of a container, which may stand there as it is."""
        if not self._may_share or self._depth:
            return self._copy(value)
        before = len(self._originals)
        try:
            return self._copy(value)
        except _TooLargeError:
            raise
        except Exception:
            self._forget(before)
            self._depth = 0
            return self._share(value)

    def _take(self, *, parts: int = 0, size: int = 0) -> None:
        self._parts -= parts
        self._bytes -= size
        if self._parts < 0 or self._bytes < 0:
            raise _TooLargeError("too many parts, or bytes")

    def _container(self, kind: type, value: Any) -> Any:
        self._take(parts=len(value) // _ATOMS_A_PART)
        if kind is tuple or kind is frozenset:
            copy = kind(map(self._part, value))
            # A part may lead back to it.
            return self._made.get(id(value)) or self.put(value, copy)
        if kind is defaultdict:
            copy = self.put(value, defaultdict(self._copy(value.default_factory)))
        elif kind is deque:
            copy = self.put(value, deque(maxlen=value.maxlen))
        else:
            copy = self.put(value, kind())
        if issubclass(kind, dict):
            for key, part in value.items():
                copy[self._part(key)] = self._part(part)
        else:
            add = copy.add if kind is set else copy.append
            for part in value:
                add(self._part(part))
        return copy

    def _array(self, value: Any) -> Any:
        self._take(size=value.nbytes)
        if value.dtype.hasobject:
            return self._reduced(value)
        copy = value.copy(order="K")
        copy.flags.writeable = value.flags.writeable
        return self.put(value, copy)

    def _tensor(self, value: Any) -> Any:
        self._take(size=value.numel() * value.element_size())
        if has_gradient(value):
            raise UncopyableError("a tensor with a gradient, of a graph that is not copied")
        copy = self.put(value, value.clone())
        vars(copy).update((name, self._copy(part)) for name, part in vars(value).items())
        return copy

    def _callable(self, kind: type, value: Any) -> Any:
        """Return a copy of a function or method; `None` if it is none."""
        if kind is types.MethodType:
            return types.MethodType(value.__func__, self._copy(value.__self__))
        if kind is types.BuiltinMethodType:
            owner = value.__self__
            if owner is None or isinstance(owner, _SAME):
                return value
            return getattr(self._copy(owner), value.__name__)
        if kind is types.FunctionType:
            if value.__closure__:
                raise UncopyableError(f"{value.__qualname__} keeps variables of another function")
            return value
        return None

    def _object(self, kind: type, value: Any) -> Any:
        if is_constant(value):
            return value
        if isinstance(value, threading.local):
            raise UncopyableError("a threading.local holds another state in each thread")
        if self._may_share and (is_lock(kind) or is_ours(kind)):
            return self.put(value, value)
        if kind is bytearray or kind is array:
            self._take(size=len(value))
            return self.put(value, value[:])
        if kind is loaded("PIL.Image", "Image"):
            return self._image(value)
        if kind is io.BytesIO:
            self._take(size=value.getbuffer().nbytes)
        elif kind is not io.StringIO and (is_lock(kind) or hides_state(kind, value)):
            raise UncopyableError(f"{kind.__qualname__} may share what it holds")
        if isinstance(value, loaded("numpy", "ndarray") or ()):
            self._take(size=value.nbytes)
        if has_protocol(kind):
            raise UncopyableError(f"{kind.__qualname__} says itself how it is copied")
        self._depth += 1
        copy = self._reduced(value)
        self._depth -= 1
        return copy

    def _image(self, value: Any) -> Any:
        width, height = value.size
        self._take(size=width * height * len(value.getbands()))
        copy = self.put(value, value.copy())
        for name, part in vars(value).items():
            if name not in vars(copy):
                vars(copy)[name] = self._copy(part)
        return copy

    def _reduced(self, value: Any) -> Any:
        """Return a copy of an object as `copy.deepcopy` makes it, of what its class tells."""
        reduce = copyreg.dispatch_table.get(type(value))
        found: Any = reduce(value) if reduce is not None else value.__reduce_ex__(4)
        if isinstance(found, str):
            return value
        function, arguments, state, items, entries = (*found, None, None, None)[:5]
        copy = function(*map(self._copy, arguments))
        if copy is value:  # what its class made is there once, for all
            if state or items or entries:
                raise UncopyableError(f"{type(value).__qualname__} makes no second object")
            return value
        self.put(value, copy)
        if state is not None:
            _set_state(copy, self._copy(state))
        for item in items or ():
            copy.append(self._copy(item))
        for key, entry in entries or ():
            copy[self._copy(key)] = self._copy(entry)
        return copy


def _set_state(copy: Any, state: Any) -> None:
    if hasattr(copy, "__setstate__"):
        copy.__setstate__(state)
        return
    slots: dict[str, Any] = {}
    if isinstance(state, tuple) and len(state) == 2:
        state, slots = state
    if state:
        vars(copy).update(state)
    for name, part in (slots or {}).items():
        object.__setattr__(copy, name, part)
