"""Which values of a method reach its output, and which of its item: followed through its source."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from typing import Any, NamedTuple

from litcache.trial.source.changing import (
    IN_PLACE,
    cause_of,
    is_opener,
    is_temporary,
    makes_a_path,
    names_a_path,
)
from litcache.trial.source.methods import Method, Methods
from litcache.trial.source.owners import is_log

# Calls whose result holds their arguments. From others a clock or an id does not come back: they
# often name only a temporary file.
_PASSING = {
    "str", "int", "float", "round", "dict", "list", "tuple", "set", "repr", "format", "isoformat",
    "strftime", "timestamp", "total_seconds", "join", "hex", "dumps", "strip", "replace", "split",
    "lower", "upper", "min", "max", "abs", "sum", "sorted", "get", "items", "values", "copy",
    "fromtimestamp", "mktime", "enumerate", "zip", "reversed", "next", "iter", "as_posix",
    "resolve", "with_suffix", "localtime", "gmtime", "model_dump", "array", "asarray", "tensor",
    "append", "fspath", "abspath", "basename", "expanduser", "splitext", "guess_type", "urlparse",
    "quote", "unquote", "len", "isinstance", "endswith", "startswith",
}  # fmt: skip
_CONTENTS = {"BytesIO", "StringIO"}
_ADDS = {"append", "extend", "insert", "add", "update", "setdefault"}
_DEEPEST = 8


class Source(NamedTuple):
    """Where a value comes from.

    Attributes:
        cause: `clock`, `uuid`, `random`; `path`, the name of a file; `item`.
        shown: What is called.
        file: The file.
        line: The line.
    """

    cause: str
    shown: str
    file: str
    line: int


Sources = frozenset[Source]
_NONE: Sources = frozenset()


class Flow:
    """What the methods of a class return.

    Args:
        methods: The methods.
    """

    def __init__(self, methods: Methods) -> None:
        self.methods = methods
        self.opened: dict[tuple[str, int], tuple[str, bool]] = {}
        self.written: set[str] = set()
        self._returned: dict[tuple[int, frozenset[str]], Sources] = {}
        self._depth = 0

    def returned(self, method: Method, items: Iterable[str]) -> Sources:
        """Return the sources of what a method returns.

        Args:
            method: The method.
            items: Its parameters that hold the item, or a part of it.
        """
        key = id(method), frozenset(items)
        if key not in self._returned:
            self._returned[key] = _NONE  # if it calls itself
            if self._depth < _DEEPEST:
                self._depth += 1
                self._returned[key] = _Run(self, method, key[1]).sources()
                self._depth -= 1
        return self._returned[key]


class _Run:
    """One method, gone through with what its names hold."""

    def __init__(self, flow: Flow, method: Method, items: frozenset[str]) -> None:
        self._flow = flow
        self._method = method
        self._held: dict[str, Sources] = {
            name: frozenset([Source("item", name, method.file, 0)]) for name in items
        }
        self._decides: list[Sources] = []
        self._result: Sources = _NONE

    def sources(self) -> Sources:
        loops = (ast.For, ast.While, ast.AsyncFor)
        self._statements(self._method.node.body)
        if any(isinstance(node, loops) for node in self._method.nodes):
            self._statements(self._method.node.body)  # what is set below may be read above
        return self._result

    # ---------------------------------------------------------------- statements

    def _statements(self, statements: list[ast.stmt]) -> None:
        for statement in statements:
            self._statement(statement)

    def _statement(self, node: Any) -> None:
        if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
            held = _NONE if node.value is None else self._of(node.value)
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                self._hold(target, held, more=isinstance(node, ast.AugAssign))
        elif isinstance(node, ast.Return):
            decided = frozenset().union(*self._decides)
            self._result |= decided | (_NONE if node.value is None else self._of(node.value))
        elif isinstance(node, ast.Expr):
            self._expression(node.value)
        elif isinstance(node, ast.For | ast.AsyncFor):
            self._hold(node.target, self._of(node.iter))
            self._statements([*node.body, *node.orelse])
        elif isinstance(node, ast.With | ast.AsyncWith):
            for item in node.items:
                held = self._of(item.context_expr)
                if item.optional_vars is not None:
                    self._hold(item.optional_vars, held)
            self._statements(node.body)
        elif isinstance(node, ast.If):
            self._decides.append(self._without_items(self._of(node.test)))
            self._statements([*node.body, *node.orelse])
            self._decides.pop()
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            self._others(node)

    def _others(self, node: ast.AST) -> None:
        """Go through a statement of another kind, such as `try`, `while` and `match`."""
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.stmt):
                self._statement(child)
            elif isinstance(child, ast.expr):
                self._of(child)
            else:  # a handler, a case
                self._others(child)

    def _expression(self, node: Any) -> None:
        held = self._of(node)
        if isinstance(node, ast.Yield | ast.YieldFrom):
            self._result |= held
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            name, owner = node.func.attr, node.func.value
            if name in _ADDS:
                self._hold(owner, self._all(self._arguments(node)), more=True)
            elif name in IN_PLACE:
                changed = node.args[0] if name == "shuffle" and node.args else owner
                self._hold(changed, self._source("random", node), more=True)

    def _hold(self, target: Any, held: Sources, more: bool = False) -> None:
        """Note what a target holds from now on."""
        for decided in self._decides:
            held |= decided
        if isinstance(target, ast.Tuple | ast.List):
            for element in target.elts:
                self._hold(element, held)
            return
        if isinstance(target, ast.Subscript | ast.Starred):
            more, target = True, target.value
        name = self._name(target)
        while not name and isinstance(target, ast.Attribute | ast.Subscript):
            more, target = True, target.value
            name = self._name(target)
        self._held[name] = held | (self._held.get(name, _NONE) if more else _NONE)
        if name == "context":  # what is written there is stored with the output
            self._result |= self._without_items(held)

    def _name(self, node: ast.AST) -> str:
        if isinstance(node, ast.Name):
            return node.id
        is_own = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
        if is_own and node.value.id == self._method.me:  # type: ignore[attr-defined]
            return f"self.{node.attr}"  # type: ignore[attr-defined]
        return ""

    # ---------------------------------------------------------------- expressions

    def _of(self, node: Any) -> Sources:
        """Return the sources of an expression."""
        name = self._name(node)
        if name:
            return self._held.get(name, _NONE)
        if isinstance(node, ast.Call):
            return self._call(node)
        if isinstance(node, ast.Lambda | ast.Constant):
            return self._source("path", node) if makes_a_path(node) else _NONE
        if isinstance(node, ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp):
            for part in node.generators:
                self._hold(part.target, self._of(part.iter))
        if isinstance(node, ast.NamedExpr):
            held = self._of(node.value)
            self._hold(node.target, held)
            return held
        held = self._all(ast.iter_child_nodes(node))
        if isinstance(node, ast.Attribute) and node.attr in ("file", "content", "body"):
            return self._without_items(held)
        return self._as_path(held, node) if makes_a_path(node) else held

    def _all(self, nodes: Iterable[ast.AST]) -> Sources:
        return frozenset().union(*map(self._of, nodes))

    def _as_path(self, held: Sources, node: ast.AST) -> Sources:
        """Return what the name of a file holds: it is no clock and no id, whatever is in it."""
        is_item = any(source.cause == "item" for source in held)
        return held if is_item else self._source("path", node)

    @staticmethod
    def _without_items(held: Sources) -> Sources:
        return frozenset(source for source in held if source.cause not in ("item", "path"))

    @staticmethod
    def _arguments(node: ast.Call) -> list[ast.AST]:
        return [*node.args, *(keyword.value for keyword in node.keywords)]

    def _source(self, cause: str, node: Any) -> Sources:
        shown = ast.unparse(node.func) if isinstance(node, ast.Call) else ast.unparse(node)
        return frozenset([Source(cause, shown[:60], self._method.file, node.lineno)])

    def _call(self, node: ast.Call) -> Sources:
        dotted = self._method.dotted(node.func)
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        arguments = self._arguments(node)
        held = [self._of(argument) for argument in arguments]
        everything = frozenset().union(*held)
        if is_log(node):
            return _NONE
        if isinstance(node.func, ast.Attribute):
            owner = self._of(node.func.value)
            everything |= owner
            self._note_opened(node, dotted or name, [(node.func.value, owner)], only_openers=True)
        cause = cause_of(dotted, node)
        if cause:
            return self._source(cause, node)
        if makes_a_path(node, dotted):
            return self._as_path(everything, node)
        own = self._own(node, held)
        if own is not None:
            return own
        self._note_opened(node, dotted or name, list(zip(arguments, held, strict=True)))
        is_class = name[:1].isupper() and name not in _CONTENTS
        if name in _PASSING or is_class:
            return everything if not is_class else frozenset(
                source for source in everything if source.cause != "item"
            )  # fmt: skip
        return frozenset(source for source in everything if source.cause == "random")

    def _own(self, node: ast.Call, held: list[Sources]) -> Sources | None:
        """Return what a method of the class returns; `None` if another thing is called."""
        function = node.func
        if not (isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name)):
            return None
        if not self._method.me or function.value.id != self._method.me:
            return None
        method = self._flow.methods.get(function.attr)
        if method is None:
            return None
        names = [*method.parameters[: len(node.args)], *(k.arg for k in node.keywords)]
        items = (
            name
            for name, sources in zip(names, held, strict=False)
            if name and any(source.cause == "item" for source in sources)
        )
        return self._flow.returned(method, items)

    def _note_opened(
        self,
        node: ast.Call,
        dotted: str,
        given: list[tuple[Any, Sources]],
        only_openers: bool = False,
    ) -> None:
        """Note that a call reads a file that the item names, or is given the name of a new one."""
        opens = is_opener(dotted) and not is_temporary(dotted)
        if only_openers and not dotted.endswith(("read_bytes", "read_text")):
            return
        for argument, held in given:
            causes = {source.cause for source in held}
            named = names_a_path(argument)
            is_passed = getattr(node.func, "attr", getattr(node.func, "id", "")) in _PASSING
            if "item" in causes and ((opens and argument is given[0][0]) or named) and (
                opens or not is_passed
            ):  # fmt: skip
                place = self._method.file, node.lineno
                self._note(place, ast.unparse(node.func), named)
            if "path" in causes and not is_passed:
                self._flow.written.update(s.shown for s in held if s.cause == "path")

    def _note(self, place: tuple[str, int], shown: str, named: bool) -> None:
        self._flow.opened.setdefault(place, (shown, named))
