"""The methods of a class as syntax trees, without running anything of the class."""

from __future__ import annotations

import ast
import functools
import linecache
import os
import types
from collections.abc import Iterator
from typing import Any

import wrapt

HOOKS = ("decode_request", "batch", "predict", "unbatch", "encode_response")
"""The hooks of a request, in the order in which LitServe calls them."""

# What is not the user's: its methods are not looked at.
_FOREIGN = {"litserve", "litcache", "builtins", "abc", "typing", "torch", "lightning", "pydantic"}
# By its name: this room stands below that one.
_HOOKS_OF_LITCACHE = "litcache.litapi.hooks"
# A look costs about 1.5 µs a character, of dense lines. What is beyond these is not looked at.
_MOST_CHARACTERS = 20_000
_MOST_BYTES = 1_000_000
_MOST_TRIES = 30
_DEEPEST = 20


class Method:
    """A method of a class, and the names that stand for something in it.

    Args:
        name: Its name in the class.
        place: The place of its class in the method resolution order.
        function: The function.
        node: Its syntax tree, with the line numbers of its file.
    """

    def __init__(self, name: str, place: int, function: Any, node: Any, is_static: bool) -> None:
        self.name = name
        self.place = place
        self.node = node
        self.file = function.__code__.co_filename
        arguments = node.args
        names = [a.arg for a in (*arguments.posonlyargs, *arguments.args)]
        self.me = "" if is_static or not names else names[0]
        self.parameters = names if is_static else names[1:]
        code = function.__code__
        self._cells = dict(zip(code.co_freevars, function.__closure__ or (), strict=False))
        self._globals: dict[str, Any] = function.__globals__
        self._locals = {*code.co_varnames, *code.co_cellvars}
        self.nodes = [n for n in ast.walk(node) if not isinstance(n, ast.expr_context)]
        self._imports = dict(_imports(self.nodes))
        self.globals_set = {
            name for n in self.nodes if isinstance(n, ast.Global) for name in n.names
        }

    def value(self, name: str) -> Any:
        """Return what a global or a variable of an enclosing function is; `None` if unknown."""
        if name in self._cells:
            try:
                return self._cells[name].cell_contents
            except ValueError:  # not set yet
                return None
        return None if name in self._locals else self._globals.get(name)

    def is_outside(self, name: str) -> bool:
        """Return whether a name is a global's, or that of a variable of an enclosing function."""
        return name not in self._locals and (name in self._cells or name in self._globals)

    def dotted(self, node: ast.AST) -> str:
        """Return the full name of what is called: `numpy.random.rand` for `np.random.rand`."""
        parts: list[str] = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        if not isinstance(node, ast.Name):
            return ""
        name = node.id
        parts.append(self._imports.get(name) or _full_name(self.value(name)) or name)
        return ".".join(reversed(parts))


class Methods:
    """The methods of a class.

    Args:
        cls: The class.
    """

    def __init__(self, cls: type) -> None:
        self.cls = cls
        # Not `cls.__mro__`: a metaclass may give anything there.
        self.bases: tuple[type, ...] = type.__dict__["__mro__"].__get__(cls)
        self._found: dict[tuple[str, int], Method | None] = {}
        self._characters = 0

    def get(self, name: str, after: int = -1) -> Method | None:
        """Return a method; `None` if it is not the user's or cannot be read.

        Args:
            name: Its name.
            after: The place of the class whose `super()` is asked.
        """
        key = name, after
        if key not in self._found:
            self._found[key] = None  # if reading it fails
            self._found[key] = self._find(name, after)
        return self._found[key]

    def _find(self, name: str, after: int) -> Method | None:
        for place, base in enumerate(self.bases):
            attribute = vars(base).get(name)
            if place <= after or attribute is None:
                continue
            if str(base.__module__).split(".")[0] in _FOREIGN:
                return None
            function = _function(attribute, name)
            if function is None and _is_inherited(attribute):
                continue
            if function is None:
                return None
            node = self._read(function)
            is_static = isinstance(_behind(attribute), staticmethod)
            return None if node is None else Method(name, place, function, node, is_static)
        return None

    def _read(self, function: Any) -> Any:
        code = function.__code__
        try:
            if os.stat(code.co_filename).st_size > _MOST_BYTES:
                return None
        except OSError:
            pass  # in a zip archive, or in a notebook
        lines = linecache.getlines(code.co_filename, function.__globals__)
        block = _Block(lines, code.co_firstlineno - 1)
        node = block.parse(code.co_name, _MOST_CHARACTERS - self._characters)
        self._characters += block.characters
        return node


class _Block:
    """The lines from a function's first to its last; where that is, their indentation tells."""

    def __init__(self, lines: list[str], first: int) -> None:
        self._lines = lines
        self._first = first
        self.characters = 0

    def parse(self, name: str, most: int) -> Any:
        """Return the function's tree; `None` if there is no such function or it is too long."""
        if self._first >= len(self._lines):
            return None
        depth = _indentation(self._lines[self._first])
        for _, end in zip(range(_MOST_TRIES), self._ends(depth), strict=False):
            source = "".join(self._lines[self._first : end])
            if len(source) > most:
                return None
            self.characters = len(source)
            try:
                # Blank lines before it, so that the tree has the line numbers of the file.
                before = "\n" * (self._first - 1) + "if 1:\n" if depth else "\n" * self._first
                tree = ast.parse(before + source)
            except SyntaxError:  # a string or a bracket that goes on
                continue
            node: Any = tree.body[0]
            if isinstance(node, ast.If):
                node = node.body[0]
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or node.name != name:
                return None  # a lambda, or the file has changed since it was loaded
            return node
        return None

    def _ends(self, depth: int) -> Iterator[int]:
        """Yield the lines that may be the first one after the function."""
        in_body = False
        for number in range(self._first, len(self._lines)):
            line = self._lines[number]
            start = line.lstrip()
            if not start or start[0] in "#)]}" or _indentation(line) > depth:
                continue
            if in_body:
                yield number
            in_body = in_body or start.startswith(("def ", "async "))
        yield len(self._lines)


def _indentation(line: str) -> int:
    line = line.expandtabs()
    return len(line) - len(line.lstrip())


def _imports(nodes: list[ast.AST]) -> Iterator[tuple[str, str]]:
    """Yield the names that a function imports, and what they stand for."""
    for inner in nodes:
        if isinstance(inner, ast.Import):
            for alias in inner.names:
                top = alias.name.split(".")[0]
                yield (alias.asname, alias.name) if alias.asname else (top, top)
        elif isinstance(inner, ast.ImportFrom):
            for alias in inner.names:
                yield alias.asname or alias.name, f"{inner.module}.{alias.name}"


def _full_name(value: Any) -> str:
    """Return the full name of a module, class or function; nothing of another value."""
    kind = type(value)
    if kind is types.ModuleType:
        return str(value.__name__)
    if kind is types.FunctionType or issubclass(kind, type):
        return f"{value.__module__}.{value.__qualname__}"
    if kind in (types.BuiltinFunctionType, types.MethodType):
        # `from random import random` and `from numpy.random import rand` give bound methods.
        owner = value.__self__
        if type(owner) is types.ModuleType:
            return f"{owner.__name__}.{value.__name__}"
        module = str(owner.__module__ if isinstance(owner, type) else type(owner).__module__)
        top = "numpy.random" if module.startswith("numpy.random") else module.split(".")[0]
        return f"{top}.{value.__name__}"
    return ""


def _is_inherited(attribute: Any) -> bool:
    """Return whether an attribute is a hook that litcache has taken over and the class inherits."""
    return type(attribute).__module__ == _HOOKS_OF_LITCACHE and attribute.own is None


def _behind(attribute: Any) -> Any:
    """Return what the user has put into a class, behind what litcache has put around it."""
    return attribute.own if type(attribute).__module__ == _HOOKS_OF_LITCACHE else attribute


def _function(attribute: Any, name: str) -> Any:
    """Return the user's function behind decorators; `None` if there is none to be seen."""
    for _ in range(_DEEPEST):
        attribute = _behind(attribute)
        kind = type(attribute)
        if kind is types.FunctionType:
            inner = attribute.__dict__.get("__wrapped__") or _in_closure(attribute, name)
            if inner is None:
                return attribute
            attribute = inner
        elif issubclass(kind, wrapt.FunctionWrapper | wrapt.ObjectProxy):
            attribute = attribute.__wrapped__
        elif kind in (staticmethod, classmethod, types.MethodType):
            attribute = attribute.__func__
        elif kind is property:
            attribute = attribute.fget
        elif kind in (functools.partialmethod, functools.cached_property, functools.partial):
            attribute = attribute.func
        else:
            return None
    return None


def _in_closure(function: Any, name: str) -> Any:
    """Return the method that a decorator without `functools.wraps` has put another one around."""
    if function.__code__.co_name == name:
        return None
    for cell in function.__closure__ or ():
        try:
            inner = cell.cell_contents
        except ValueError:
            continue
        if type(inner) is types.FunctionType and inner.__code__.co_name == name:
            return inner
    return None
