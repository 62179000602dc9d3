"""What the code of `encode_response` names, and whether it may be run twice."""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from contextvars import ContextVar
from functools import _lru_cache_wrapper
from itertools import islice
from types import (
    AsyncGeneratorType,
    CodeType,
    CoroutineType,
    FunctionType,
    GeneratorType,
    ModuleType,
)
from typing import Any, NamedTuple

from litserve import LitAPI

_DEEPEST = 20
_DEEPEST_MODULE = 2
_MOST_FUNCTIONS = 200
_MOST_MEMBERS = 50
_MEMBERS = (dict, list, tuple, set, frozenset, deque)
_BY_NAME = frozenset({"__dict__", "vars", "getattr", "setattr", "delattr", "__getattribute__"})
_OURS = frozenset({"litserve", "litcache"})
_LIBRARIES = ("site-packages", "dist-packages")

_EFFECTS = frozenset({
    "unlink", "remove", "rmtree", "rmdir", "wait", "acquire", "release", "put", "put_nowait",
    "get_nowait", "send", "sendall", "commit", "execute", "submit", "urlopen", "notify",
    "notify_all", "publish", "terminate", "kill",
})  # fmt: skip
"""Names of calls that reach beyond the process, that wait, or that another call answers."""
_DRAWS = frozenset({
    "random", "rand", "randn", "randint", "randrange", "randperm", "uniform", "normal", "gauss",
    "choice", "choices", "sample", "shuffle", "permutation", "getrandbits", "seed", "manual_seed",
    "multinomial", "bernoulli", "rand_like", "randn_like", "dropout", "standard_normal",
})  # fmt: skip
"""Names of what draws from the generators of random numbers that all share."""
_ONCE = (
    GeneratorType,
    AsyncGeneratorType,
    CoroutineType,
    memoryview,
    ContextVar,
    _lru_cache_wrapper,
)
"""What gives each thing once, or keeps what is made of a twin."""
_IN_C = frozenset({"_hashlib", "_blake2", "_md5", "_sha1", "_sha2", "_sha3", "_csv", "torch._C"})
"""Modules whose objects change, and do not show how."""
_LOCKS = type(threading.Lock()) | type(threading.RLock())
_WAITED_FOR = ("asyncio.locks", "threading", "multiprocessing.synchronize")


class Reached(NamedTuple):
    """What the code of `encode_response`, and of what it calls, names.

    Attributes:
        values: Classes, functions, globals and variables beside `self`.
        names: All names; `None` if it may reach attributes by names that do not stand in it.
        is_once: Whether a global or a function is among them that must not be used twice.
    """

    values: list[Any]
    names: frozenset[str] | None
    is_once: bool = False

    @property
    def draws(self) -> bool:
        """Whether the code may draw random numbers from the generators that all share."""
        return self.names is None or bool(self.names & _DRAWS)

    def may_run_twice(self, api: LitAPI) -> bool:
        """Return whether the hook of an API may be run twice, as far as its code tells."""
        names, attributes = self.names, vars(api).items()
        named = [value for name, value in attributes if names is None or name in names]
        return not (self.is_once or (names and names & _EFFECTS) or any(map(_is_once, named)))


def _is_once(value: Any) -> bool:
    """Return whether others see a second use of an object, and it cannot be taken back."""
    kind = type(value)
    if kind in _MEMBERS:
        parts = islice(value.values() if kind is dict else value, _MOST_MEMBERS)
        return any(_is_once(part) for part in parts if type(part) not in _MEMBERS)
    if issubclass(kind, _ONCE) or kind.__module__ in _IN_C:
        return True
    if kind is ModuleType:
        return not is_library(value.__name__)
    is_waited_for = any(base.__module__ in _WAITED_FOR for base in kind.__mro__)
    return is_waited_for and not issubclass(kind, threading.local | _LOCKS)


def reached(api: LitAPI) -> Reached:
    """Return what the code of `encode_response` of an API names."""
    reach, attributes, every = _Reach(), vars(api), set[str]()
    bases = [base for base in type(api).__mro__ if not is_library(base.__module__)]
    for base in bases:
        reach.enter(vars(base).get("encode_response"))
    while reach.functions and reach.count < _MOST_FUNCTIONS:
        names = reach.read(reach.functions.popleft())
        every |= names
        for name in names:
            for base in bases:  # `super()` asks the later ones
                reach.enter(vars(base).get(name))
            if name in attributes:
                reach.enter_attribute(attributes[name], names)
    others = [base for base in type(api).__mro__ if _is_of_a_package(base.__module__)]
    is_open = bool(reach.functions or every & _BY_NAME) or any(every & set(vars(b)) for b in others)
    named = [each.value for each in reach.values if type(each) is Global]
    is_once = reach.is_once or any(issubclass(type(value), _ONCE) for value in named)
    return Reached([*bases, *reach.values], None if is_open else frozenset(every), is_once)


class Global(NamedTuple):
    """A global, which may get another value."""

    namespace: dict[str, Any]
    name: str

    @property
    def value(self) -> Any:
        """Its value now."""
        return self.namespace.get(self.name)


class _Reach:
    """The functions that are still to be read, and what those read have named.

    Attributes:
        functions: Those still to be read.
        values: What was named.
        count: How many functions were read.
        is_once: Whether one of them keeps what it was called with, as `functools.cache` does.
    """

    def __init__(self) -> None:
        self.functions: deque[FunctionType] = deque()
        self.values: list[Any] = []
        self.count = 0
        self.is_once = False
        self._met: set[int] = set()

    def enter(self, value: Any) -> None:
        """Have a function be read, or what is behind a method or a decorator."""
        for _ in range(_DEEPEST):
            if isinstance(value, FunctionType):
                break
            self.is_once = self.is_once or type(value) is _lru_cache_wrapper
            value = _behind(value)
        if (
            not isinstance(value, FunctionType)
            or id(value) in self._met
            or is_library(value.__module__)
        ):
            return
        self._met.add(id(value))
        self.functions.append(value)
        self.values.append(value)  # its variables, its defaults, its attributes
        self.enter(vars(value).get("__wrapped__"))

    def read(self, function: FunctionType) -> set[str]:
        """Take what a function names; return its names."""
        self.count += 1
        names = set(_names(function.__code__))
        self._name_in(function.__globals__, names)
        for cell in function.__closure__ or ():
            with suppress(ValueError):  # not set yet
                self._name(cell.cell_contents, names)
        return names

    def _name_in(self, namespace: dict[str, Any], names: set[str], depth: int = 0) -> None:
        """Take the globals of a module that are named, and those of the modules among them."""
        for name in names & namespace.keys():
            value = namespace[name]
            if not isinstance(value, ModuleType):
                self.values.append(Global(namespace, name))
                self._name(value, names)
            elif depth < _DEEPEST_MODULE and not is_library(value.__name__):
                self._name_in(vars(value), names, depth + 1)

    def _name(self, value: Any, names: set[str]) -> None:
        """Take what a global or a variable stands for."""
        self.enter(value)
        self.enter_object(value, names)

    def enter_attribute(self, value: Any, names: set[str]) -> None:
        """Take an attribute of the API: its class, or it as a function; or those of its parts."""
        parts = value.values() if type(value) is dict else value
        for part in islice(parts, _MOST_MEMBERS) if type(value) in _MEMBERS else (value,):
            self.enter(part)
            self.enter_object(part, names)

    def enter_object(self, value: Any, names: set[str]) -> None:
        """Take the class of an object; have those of its methods be read that are named."""
        for base in (value if isinstance(value, type) else type(value)).__mro__:
            if is_library(base.__module__):
                continue
            if id(base) not in self._met:
                self._met.add(id(base))
                self.values.append(base)
            for name in names & vars(base).keys():
                self.enter(vars(base)[name])


def _behind(value: Any) -> Any:
    """Return what is behind a property, a method, a decorator or a hook; `None` of others."""
    for name in ("fget", "__func__", "func", "__wrapped__"):
        if hasattr(type(value), name):
            return getattr(value, name)
    return None


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _is_of_a_package(name: str) -> bool:
    """Return whether a module belongs to a package that is neither Python's nor LitServe's."""
    top = name.partition(".")[0]
    return is_library(name) and top not in _OURS and top not in sys.stdlib_module_names


def is_library(name: str | None) -> bool:
    """Return whether a module is no part of the service."""
    top = (name or "").partition(".")[0]
    if top == "__main__" or not top:
        return False
    if top in _OURS or top in sys.stdlib_module_names:
        return True
    file = getattr(sys.modules.get(name or ""), "__file__", None) or ""
    return any(part in file for part in _LIBRARIES)
