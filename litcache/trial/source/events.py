"""What the hooks of a class read and write of `self` and of globals, in order."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from litcache.trial.source.methods import Method, Methods
from litcache.trial.source.owners import NOWHERE, Frame, is_effectless, is_log

# What changes the object that it is called on: by adding to it, or as one adds to a dict.
_APPENDS = {
    "append", "appendleft", "extend", "insert", "add", "push", "put", "put_nowait", "update",
    "remove", "discard",
}  # fmt: skip
_ITEMS = {"setdefault", "pop", "popitem", "popleft", "move_to_end", "clear", "get_nowait"}
_CHANGES = _APPENDS | _ITEMS
# What writes a whole buffer anew.
_OVERWRITES = {"zero_", "fill_", "copy_", "normal_", "uniform_", "fill"}
# What a buffer keeps, whatever is written into it.
_FORM = {"shape", "dtype", "device", "ndim"}
_SAME = {"to", "eval", "cuda", "cpu", "half", "float", "bfloat16", "compile", "pop", "get"}
_DEEPEST = 12
_MOST_EVENTS = 5_000


class Event(NamedTuple):
    """A read or a write.

    Attributes:
        kind: `read`; `test` (only decides whether something is logged or freed), `lookup` (of one
            item in it); `set`; `count` (`+=`), `append`, `item` (one item of it), `part` (one of
            its attributes); `setup`, a call of `self.setup`; `call`, one of the cached method.
        root: The attribute's name, or `global NAME`.
        shown: What is read or written, as `self.tokenizer.src_lang`.
        method: Where it stands.
        line: Its line.
        lazy: Whether it runs only if the attribute is not there yet.
        conditional: Whether it may not run.
        hook: The hook that has called, directly or not.
    """

    kind: str
    root: str
    shown: str
    method: Method
    line: int
    lazy: bool
    conditional: bool
    hook: str


class Reader:
    """Goes through a hook and the methods that it calls on `self`.

    Args:
        methods: The methods of the class.
        cached: The cached method; another's way ends where it is called.
    """

    def __init__(self, methods: Methods, cached: str) -> None:
        self._methods = methods
        self._cached = cached
        self.found: list[Event] = []
        self.entered: dict[int, Method] = {}
        self._hook = ""
        self._stack: list[Frame] = []
        self._lazy: list[str] = []
        self._conditional = self._quiet = 0

    def read(self, hooks: Iterable[str]) -> list[Event]:
        """Return the events of hooks that are called in this order."""
        before = len(self.found)
        for hook in hooks:
            method = self._methods.get(hook)
            if method is not None:
                self._hook = hook
                self._enter(method)
        return self.found[before:]

    def _enter(self, method: Method) -> None:
        if any(frame.method is method for frame in self._stack) or len(self._stack) > _DEEPEST:
            return
        self.entered[id(method)] = method
        self._stack.append(Frame(method, self._methods.bases))
        self._body(method.node.body)
        self._stack.pop()

    @property
    def _frame(self) -> Frame:
        return self._stack[-1]

    def _note(self, kind: str, root: str, shown: str, node: ast.AST) -> None:
        if kind == "read" and self._quiet:
            kind = "test"
        if len(self.found) < _MOST_EVENTS:
            line, conditional = getattr(node, "lineno", 0), self._conditional > 0
            lazy = root in self._lazy or "*" in self._lazy
            method = self._frame.method
            self.found.append(Event(kind, root, shown, method, line, lazy, conditional, self._hook))

    @contextmanager
    def _within(self, *, lazy: str = "", maybe: bool = False, quiet: bool = False) -> Any:
        self._lazy.append(lazy)
        self._conditional, self._quiet = self._conditional + maybe, self._quiet + quiet
        yield
        self._lazy.pop()
        self._conditional, self._quiet = self._conditional - maybe, self._quiet - quiet

    # ---------------------------------------------------------------- statements

    def _body(self, statements: list[ast.stmt]) -> None:
        before = len(self._lazy)
        for statement in statements:
            self._visit(statement)
            if isinstance(statement, ast.If) and isinstance(statement.body[-1], ast.Return):
                guard, what = self._frame.guard(statement.test)
                if guard == "there":  # if self.model is not None: return
                    is_bare = statement.body[-1].value is None
                    self._lazy.append(what if is_bare or what != "*" else "")
        del self._lazy[before:]

    def _visit(self, node: Any) -> None:
        act = getattr(self, f"_on_{type(node).__name__.lower()}", None)
        if act is not None:
            act(node)
        else:
            self._inside(node)

    def _inside(self, node: ast.AST) -> None:
        for child in ast.iter_child_nodes(node):
            self._visit(child)

    def _on_functiondef(self, node: Any) -> None:
        with self._within(maybe=True):
            self._body(node.body)

    _on_asyncfunctiondef = _on_functiondef

    def _on_assign(self, node: Any) -> None:
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        if node.value is None:  # a bare annotation
            return
        before = len(self.found)
        self._visit(node.value)
        place = self._frame.place(targets[0]) if not isinstance(targets[0], ast.Name) else None
        reads = [e.root for e in self.found[before:] if place and e.root == place.root]
        if place and place.root and reads:  # self.total = self.total + 1: reads it for itself
            self.found[before:] = [
                event._replace(kind="test") if event.root == place.root else event
                for event in self.found[before:]
            ]
            if not self._is_itself(node.value):
                self._note("count", place.root, place.shown, node)
            return
        for target in targets:
            self._written(target)
            self._frame.note_alias(target, node.value)

    def _is_itself(self, value: ast.AST) -> bool:
        """Return whether a value is what it was: `self.model.to("cuda")`, `self.cache.pop(key)`."""
        function = value.func if isinstance(value, ast.Call) else None
        return isinstance(function, ast.Attribute) and function.attr in _SAME

    _on_annassign = _on_namedexpr = _on_assign

    def _on_augassign(self, node: ast.AugAssign) -> None:
        self._visit(node.value)
        root, shown, depth = self._frame.place(node.target)
        is_alias = isinstance(node.target, ast.Name) and depth
        if root and not is_alias:
            self._note("count", root, shown, node)

    def _written(self, target: Any) -> None:
        if isinstance(target, ast.Tuple | ast.List):
            for element in target.elts:
                self._written(element)
        elif isinstance(target, ast.Starred):
            self._written(target.value)
        elif isinstance(target, ast.Attribute | ast.Subscript):
            if isinstance(target, ast.Subscript):
                self._visit(target.slice)
            root, shown, depth = self._frame.place(target)
            if root:
                is_slice = isinstance(target, ast.Attribute) or any(
                    isinstance(node, ast.Slice) for node in ast.walk(target.slice)
                )  # a slice of a buffer, written again and again
                self._note(
                    ("part" if is_slice else "item") if depth else "set", root, shown, target
                )
        elif isinstance(target, ast.Name) and target.id in self._frame.method.globals_set:
            self._note("set", f"global {target.id}", target.id, target)

    def _on_for(self, node: Any) -> None:
        self._visit(node.iter)
        self._written(node.target)
        self._frame.note_alias(node.target, node.iter)
        self._body(node.body)
        self._body(node.orelse)

    _on_asyncfor = _on_for

    def _on_withitem(self, node: ast.withitem) -> None:
        self._visit(node.context_expr)
        if node.optional_vars is not None:
            self._written(node.optional_vars)

    def _on_if(self, node: ast.If) -> None:
        with self._within(quiet=is_effectless([*node.body, *node.orelse])):
            self._visit(node.test)
        guard, what = self._frame.guard(node.test)
        with self._within(maybe=True, lazy=what if guard == "missing" else ""):
            self._body(node.body)
        with self._within(maybe=True, lazy=what if guard == "there" else ""):
            self._body(node.orelse)

    def _on_try(self, node: ast.Try) -> None:
        self._body(node.body)
        for handler in node.handlers:
            caught = ast.dump(handler.type) if handler.type is not None else ""
            with self._within(maybe=True, lazy="*" if "AttributeError" in caught else ""):
                self._body(handler.body)
        self._body(node.orelse)
        self._body(node.finalbody)

    # ---------------------------------------------------------------- expressions

    def _on_expr(self, node: ast.Expr) -> None:
        if isinstance(node.value, ast.Call):
            self._on_call(node.value, is_used=False)
        else:
            self._visit(node.value)

    def _on_call(self, node: ast.Call, is_used: bool = True) -> None:
        function = node.func
        by_name = isinstance(function, ast.Name)
        root, shown, depth = self._frame.called(node) if by_name else NOWHERE
        arguments = node.args[1:] if root else node.args
        with self._within(quiet=is_log(node)):
            for argument in (*arguments, *(keyword.value for keyword in node.keywords)):
                self._visit(argument)
        if isinstance(function, ast.Attribute):
            self._method_call(node, function, is_used)
        elif root:
            sets = "part" if depth else "set"
            kind = {"setattr": sets, "hasattr": "test"}.get(getattr(function, "id", ""), "read")
            self._note(kind, root, shown, node)
        else:
            self._visit(function)

    def _method_call(self, node: ast.Call, function: ast.Attribute, is_used: bool) -> None:
        name, owner = function.attr, function.value
        if self._frame.is_self(owner):
            self._own_call(node, name)
            return
        if isinstance(owner, ast.Call) and getattr(owner.func, "id", "") == "super":
            method = self._methods.get(name, self._frame.method.place)
            if method is not None:
                self._enter(method)
            return
        root, shown, depth = self._frame.place(owner)
        if root and name in _CHANGES:
            is_item = name in _ITEMS or (name == "update" and not is_used)
            self._note("item" if is_item and not depth else "append", root, shown, node)
            if is_used:
                self._note("read" if name in _APPENDS else "lookup", root, shown, node)
        elif root and name == "get":
            self._note("lookup", root, shown, node)
        elif root and name == "set" and len(node.args) == 1:  # a ContextVar
            self._note("part" if depth else "set", root, shown, node)
        elif root and name in _OVERWRITES and not is_used:
            self._note("part", root, shown, node)
        elif not root or name not in ("acquire", "release", "locked"):
            self._visit(owner)

    def _own_call(self, node: ast.Call, name: str) -> None:
        if name == "setup":
            self._note("setup", "setup", "self.setup", node)
            return
        if name == self._cached and self._hook != name:
            self._note("call", "", f"self.{name}", node)
            return
        method = self._methods.get(name)
        if method is not None:
            self._enter(method)
        elif not any(name in vars(base) for base in self._methods.bases):
            self._note("read", name, f"self.{name}", node)

    def _on_compare(self, node: ast.Compare) -> None:
        self._visit(node.left)
        for operator, right in zip(node.ops, node.comparators, strict=True):
            root, shown, depth = self._frame.place(right)
            if isinstance(operator, ast.In | ast.NotIn) and root and not depth:
                self._note("lookup", root, shown, node)
            else:
                self._visit(right)

    def _on_attribute(self, node: Any) -> None:
        own = node.value if isinstance(node, ast.Subscript) else node  # self.buffer.shape[0]
        owner, name = self._frame.place(getattr(own, "value", None)), getattr(own, "attr", "")
        if owner.root and name in _CHANGES | _FORM:
            # Not called here: task.add_done_callback(self.tasks.discard)
            kind = "append" if name in _CHANGES else "test"
            self._note(kind, owner.root, owner.shown, node)
            return
        root, shown, depth = self._frame.place(node)
        if root and isinstance(node.ctx, ast.Load):
            is_lookup = depth == 1 and isinstance(node, ast.Subscript)
            self._note("lookup" if is_lookup else "read", root, shown, node)
        if isinstance(node, ast.Subscript):
            self._visit(node.slice)
        if not root:
            self._visit(node.value)

    _on_subscript = _on_attribute

    def _on_name(self, node: ast.Name) -> None:
        root, shown, depth = self._frame.named(node.id)
        if root and not depth and isinstance(node.ctx, ast.Load):
            self._note("read", root, shown, node)


def roots(events: Iterable[Event]) -> Iterator[str]:
    """Yield the attributes that events write, each once, in order."""
    writes = (e.root for e in events if e.kind in ("set", "count", "append", "item", "part"))
    yield from dict.fromkeys(writes)
