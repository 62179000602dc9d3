"""To which attribute of `self`, or to which global, an expression of a method leads."""

from __future__ import annotations

import ast
import threading
from collections.abc import Iterable
from typing import Any, NamedTuple

from litcache.trial.source.methods import Method

_LOGS = {
    "print", "log", "debug", "info", "warning", "warn", "error", "exception", "critical",
    "observe", "inc", "dec", "labels", "record", "write_log", "set_postfix",
}  # fmt: skip
_FREES = {
    "collect", "empty_cache", "sleep", "clear", "pop", "popleft", "popitem", "close", "flush",
    "cleanup", "commit", "reset",
}  # fmt: skip
_STATE = {
    "dict", "list", "set", "deque", "defaultdict", "OrderedDict", "Counter", "str", "bytes", "int",
    "float", "bool", "NoneType", "ContextVar", "Queue", "LifoQueue", "PriorityQueue", "SimpleQueue",
    "SimpleNamespace",
}  # fmt: skip


class Place(NamedTuple):
    """Where an expression leads.

    Attributes:
        root: The attribute's name, or `global NAME`; empty if it leads to neither.
        shown: How a person reads it: `self.tokenizer.src_lang`.
        depth: How far below the attribute it is.
    """

    root: str
    shown: str
    depth: int


NOWHERE = Place("", "", 0)
_UNGUARDED = ("", "")


def _below(place: Place, attribute: str) -> Place:
    """Return a place in another one. What is behind an item is not shown."""
    if not place.root:
        return place
    shown = place.shown if "[" in place.shown else place.shown + attribute
    return Place(place.root, shown, place.depth + 1)


class Frame:
    """A method that is gone through, and what its local names stand for.

    Args:
        method: The method.
        bases: The classes of the API.
    """

    def __init__(self, method: Method, bases: tuple[type, ...]) -> None:
        self.method = method
        self._classes = bases[:-1]
        self._aliases: dict[str, Place] = {}

    def is_self(self, node: ast.AST) -> bool:
        """Return whether an expression is the API, or its class."""
        if isinstance(node, ast.Name):
            if node.id in self._aliases:
                return self._aliases[node.id].shown == "self"
            value = self.method.value(node.id)
            is_class = value is not None and any(value is base for base in self._classes)
            return (bool(self.method.me) and node.id == self.method.me) or is_class
        if isinstance(node, ast.Attribute):
            return node.attr == "__class__" and self.is_self(node.value)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            return node.func.id == "type" and len(node.args) == 1 and self.is_self(node.args[0])
        return False

    def place(self, node: ast.AST | None) -> Place:
        """Return where an expression leads."""
        if isinstance(node, ast.Attribute):
            if self.is_self(node.value):
                return Place(node.attr, f"self.{node.attr}", 0)
            return _below(self.place(node.value), f".{node.attr}")
        if isinstance(node, ast.Subscript):
            place = self.place(node.value)
            if place.root == "__dict__" and isinstance(node.slice, ast.Constant):
                name = str(node.slice.value)
                return Place(name, f"self.{name}", 0)
            return _below(place, "[…]")
        if isinstance(node, ast.Name):
            return self.named(node.id)
        return self.called(node) if isinstance(node, ast.Call) else NOWHERE

    def named(self, name: str) -> Place:
        """Return where a name leads."""
        if name in self._aliases:
            place = self._aliases[name]
            return place._replace(depth=place.depth + 1) if place.root else NOWHERE
        method = self.method
        if name in method.globals_set or (
            method.is_outside(name) and _is_state(type(method.value(name)))
        ):
            return Place(f"global {name}", name, 0)
        return NOWHERE

    def called(self, node: ast.Call) -> Place:
        """Return where what a call returns is kept."""
        function = node.func
        names = ("getattr", "hasattr", "setattr")
        if isinstance(function, ast.Name) and function.id in names and len(node.args) > 1:
            name = getattr(node.args[1], "value", None)
            if isinstance(name, str) and self.is_self(node.args[0]):
                return Place(name, f"self.{name}", 0)
            return _below(self.place(node.args[0]), f".{name}" if isinstance(name, str) else "[…]")
        if isinstance(function, ast.Attribute) and function.attr in ("setdefault", "get"):
            return _below(self.place(function.value), "[…]")
        return NOWHERE

    def note_alias(self, target: ast.AST, value: ast.AST) -> None:
        """Note what a local name stands for from now on."""
        if isinstance(target, ast.Name):
            self._aliases.pop(target.id, None)
            place = self.place(value)
            if self.is_self(value):
                self._aliases[target.id] = Place("", "self", 0)
            elif place.root:
                self._aliases[target.id] = place

    def guard(self, test: ast.AST) -> tuple[str, str]:
        """Return whether a test asks if something is `missing` or `there`, and what is made then.

        That is `*`, whatever is made there, if it is an attribute that is asked for: `is None` and
        `hasattr`. Otherwise it is that attribute or global alone.
        """
        if isinstance(test, ast.BoolOp):
            guards = {self.guard(value) for value in test.values} - {_UNGUARDED}
            return guards.pop() if len(guards) == 1 else _UNGUARDED
        if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
            kind, what = self.guard(test.operand)
            return {"missing": "there", "there": "missing"}.get(kind, ""), what
        if isinstance(test, ast.Compare) and len(test.ops) == 1:
            return self._comparison(test.left, test.ops[0], test.comparators[0])
        root, _, depth = self.place(test)
        is_asked = isinstance(test, ast.Call) and getattr(test.func, "id", "") == "hasattr"
        return ("there" if root else "", "*" if is_asked and not depth else root)

    def _comparison(self, left: ast.AST, operator: ast.cmpop, right: ast.AST) -> tuple[str, str]:
        root, _, depth = self.place(left)
        if root and isinstance(right, ast.Constant) and right.value is None:
            is_missing = isinstance(operator, ast.Is | ast.Eq)
            return "missing" if is_missing else "there", root if depth else "*"
        if isinstance(operator, ast.NotIn | ast.In):
            root = self.place(right).root
            if root:
                return "missing" if isinstance(operator, ast.NotIn) else "there", root
        return _UNGUARDED


def _is_state(kind: type) -> bool:
    """Return whether a global of this class may be there to keep something."""
    return kind.__name__ in _STATE or issubclass(kind, threading.local)


def is_log(call: ast.Call) -> bool:
    """Return whether a call tells a person or a metric, so that no answer depends on it."""
    return _name_of(call) in _LOGS


def _name_of(call: ast.Call) -> str:
    function = call.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def is_effectless(statements: Iterable[ast.AST]) -> bool:
    """Return whether statements only log, free or count: what they depend on is in no answer.

    A `raise` is an answer as well.
    """
    return all(map(_changes_nothing, statements))


def _changes_nothing(node: Any) -> bool:
    if isinstance(node, ast.Assign | ast.AugAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        return all(isinstance(target, ast.Attribute) for target in targets)
    if isinstance(node, ast.Expr):
        call = node.value
        return isinstance(call, ast.Call) and (is_log(call) or _name_of(call) in _FREES)
    if isinstance(node, ast.If):
        return is_effectless([*node.body, *node.orelse])
    if isinstance(node, ast.With):
        return is_effectless(node.body)
    return isinstance(node, ast.Pass | ast.Import | ast.ImportFrom)
