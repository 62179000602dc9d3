"""The look at a class's source: what passes the cache, and what differs each time.

Nothing of the class is run: its methods are read as syntax trees.
"""

from __future__ import annotations

import ast
import logging
import os
import time
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from litcache.policy import CachePolicy
from litcache.trial.source.changing import cause_of, is_seed, samples, samples_in
from litcache.trial.source.events import Reader
from litcache.trial.source.findings import Finding, causes
from litcache.trial.source.flow import Flow, Source
from litcache.trial.source.methods import Method, Methods
from litcache.trial.source.owners import is_log
from litcache.trial.source.state import regions, state_findings

__all__ = ["Finding", "causes", "look"]

logger = logging.getLogger("litcache")

_SECONDS = 0.015  # A look at one method may take twice as long; a start waits no longer than 0.05

_GIVES_CONTENTS = {"BytesIO", "b64decode", "file", "read", "Image", "frombuffer", "imdecode"}
_SHAPES = {"shape", "size", "dtype", "device", "ndim"}
_DIFFERS = {
    "clock": "{shown} is in what {cached} returns: a hit repeats the time of the first answer; "
    "take it in encode_response",
    "uuid": "{shown} is in what {cached} returns: a hit repeats the id of the first answer; make "
    "it in encode_response",
    "random": "{shown} is in what {cached} returns: a hit repeats the first draw; seed it from the "
    "item, or do not cache {cached}",
    "path": "{cached} returns the name of a file that it writes ({shown}): a hit names a file that "
    "may be gone or another one; return the content",
}


def look(cls: type, cached: Collection[str] | Mapping[str, CachePolicy]) -> list[Finding]:
    """Return what the source of a class shows to be wrong with caching its methods.

    It never raises: what cannot be read is not looked at. Nothing of the class is run.

    Args:
        cls: The class.
        cached: The names of its cached methods; with their policies, these count too.

    Returns:
        The findings, in the order of the source.

    Example:
        >>> look(int, ["predict"])
        []
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python has warned of the source when it loaded it
            found: dict[tuple[str, ...], Finding] = {}
            for finding in _findings(cls, cached):
                found.setdefault((finding.file, finding.attribute, finding.message), finding)
    except Exception:  # a source that is not what it seems must not end a start
        logger.debug("the source of %r cannot be looked at", cls, exc_info=True)
        return []
    return sorted(map(_relative, found.values()), key=lambda finding: (finding.file, finding.line))


def _relative(finding: Finding) -> Finding:
    """Return a finding with its file as seen from the folder of the process."""
    folder = os.path.join(os.getcwd(), "")
    return replace(finding, file=finding.file.removeprefix(folder))


def _findings(cls: type, cached: Collection[str] | Mapping[str, CachePolicy]) -> Iterator[Finding]:
    methods = Methods(cls)
    end = time.perf_counter() + _SECONDS
    for name in cached:
        if time.perf_counter() > end:
            logger.debug("%r has so much source that %s is not looked at", cls, name)
            return
        policy = cached[name] if isinstance(cached, Mapping) else None
        if methods.get(name) is not None:
            for finding in _Look(methods, name, policy).findings():
                yield replace(finding, method=name)


class _Look:
    """The look at one cached method."""

    def __init__(self, methods: Methods, cached: str, policy: CachePolicy | None) -> None:
        encodes = getattr(policy, "result", "") == "response"
        self._methods = methods
        self._cached = cached
        self._hooks, others = regions(cached, encodes)
        self._has_key = policy is not None and policy.key is not None
        self._bypasses = policy is not None and policy.bypass_if is not None
        reader = Reader(methods, cached)
        self._inside = reader.read(self._hooks)
        self._entered = list(reader.entered.values())
        self._outside = Reader(methods, cached).read(others)
        self._is_seeded = any(self._seeds(method) for method in self._entered)

    def findings(self) -> Iterator[Finding]:
        yield from state_findings(self._inside, self._outside, self._cached)
        flow = Flow(self._methods)
        for hook in self._hooks:
            method = self._methods.get(hook)
            if method is not None:
                items = [] if hook in ("unbatch", "encode_response") else method.parameters[:1]
                for source in flow.returned(method, items):
                    yield from self._differing(source, flow)
        yield from self._files_of_items(flow)
        yield from self._files_of_outputs()
        if not self._is_seeded and not self._bypasses:
            yield from self._sampling()
        yield from self._neighbours()

    # ---------------------------------------------------------------- what differs each time

    def _differing(self, source: Source, flow: Flow) -> Iterator[Finding]:
        cause, shown, file, line = source
        if cause == "item" or (cause == "random" and self._is_seeded):
            return
        if cause == "path" and shown not in flow.written:
            return
        text = _DIFFERS[cause].format(
            shown=shown if cause == "path" else f"{shown}()", cached=self._cached
        )
        yield Finding(file, line, shown, text, "file" if cause == "path" else cause)

    def _seeds(self, method: Method) -> bool:
        for call in _calls(method.nodes):
            if is_seed(method.dotted(call.func) or getattr(call.func, "attr", "")):
                inner = (c for argument in call.args for c in _calls(ast.walk(argument)))
                if not any(cause_of(method.dotted(c.func), c) for c in inner):
                    return True
        return False

    def _sampling(self) -> Iterator[Finding]:
        for method in self._entered:
            for node in method.nodes:
                option = _samples(node)
                if option:
                    yield self._sampled(method, node, option)
        yield from self._sampling_of_setup()

    def _sampling_of_setup(self) -> Iterator[Finding]:
        """Yield the options of a model that samples, made in `setup` and used in the method."""
        used = {event.root for event in self._inside if event.kind in ("read", "lookup")}
        for name in ("__init__", "setup"):
            method = self._methods.get(name)
            for node in method.nodes if method is not None else ():
                if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Attribute):
                    option = _samples(node.value)
                    if option and node.targets[0].attr in used:
                        assert method is not None
                        yield self._sampled(method, node, option)

    def _sampled(self, method: Method, node: Any, option: str) -> Finding:
        text = (
            f"{self._cached} samples ({option}): a hit repeats the first answer; seed it, sample "
            f"at temperature 0, or do not cache {self._cached}"
        )
        return Finding(method.file, node.lineno, option, text, "random")

    # ---------------------------------------------------------------- files, neighbours

    def _files_of_items(self, flow: Flow) -> Iterator[Finding]:
        if self._has_key:
            return
        gives_contents = self._cached == "predict" and self._gives_contents()
        for (file, line), (shown, is_named) in flow.opened.items():
            if is_named or not gives_contents:
                text = (
                    f"{shown} gets a file or an address that the item names: its content is not in "
                    "the key; let decode_request read it, or give key=contents"
                )
                yield Finding(file, line, shown, text, "file")

    def _gives_contents(self) -> bool:
        """Return whether `decode_request` reads files itself, and gives what is in them."""
        method = self._methods.get("decode_request")
        if method is None:
            return False
        words = {getattr(n, "attr", getattr(n, "id", "")) for n in method.nodes}
        returned = Flow(self._methods).returned(method, method.parameters[:1])
        return bool(words & _GIVES_CONTENTS) and not any(s.cause == "path" for s in returned)

    def _files_of_outputs(self) -> Iterator[Finding]:
        method = self._methods.get("encode_response")
        if self._cached != "predict" or method is None:
            return
        flow = Flow(self._methods)
        flow.returned(method, method.parameters[:1])
        for (file, line), (shown, _) in flow.opened.items():
            text = (
                f"{shown} gets a file that the output names: a hit names a file that may be gone "
                "or another one; let predict return its content"
            )
            yield Finding(file, line, shown, text, "file")

    def _neighbours(self) -> Iterator[Finding]:
        """Yield where an option of the first request is taken for a whole batch."""
        own = [self._methods.get(hook) for hook in ("batch", "unbatch")]
        for hook in ("batch", "predict"):
            method = self._methods.get(hook)
            if self._cached != "predict" or method is None or not method.parameters:
                continue
            batch = method.parameters[0]
            if hook == "batch" or any(own) or _iterates(method.nodes, batch):
                for node in _of_first(method.nodes, batch):
                    shown = ast.unparse(node)
                    text = (
                        f"{shown} is an option of the batch's first request, taken for all; group "
                        "by it, or refuse what differs"
                    )
                    yield Finding(method.file, node.lineno, shown, text, "neighbours")


def _calls(nodes: Iterable[ast.AST]) -> Iterator[ast.Call]:
    return (node for node in nodes if isinstance(node, ast.Call))


def _samples(node: ast.AST) -> str:
    """Return the option by which a call or a dict of options makes a model sample."""
    if isinstance(node, ast.Call):
        name = getattr(node.func, "attr", "")
        return "" if is_log(node) or name.startswith("set_") else samples(node)
    return samples_in(node) if isinstance(node, ast.Dict) else ""


def _iterates(nodes: list[ast.AST], name: str) -> bool:
    """Return whether a method goes through a parameter: it is a batch."""
    iterated: Iterable[ast.AST] = (
        inner.iter for inner in nodes if isinstance(inner, ast.For | ast.comprehension)
    )
    return any(isinstance(inner, ast.Name) and inner.id == name for inner in iterated)


def _of_first(nodes: list[ast.AST], batch: str) -> Iterator[Any]:
    """Yield the expressions that read a named option of a batch's first item."""
    shapes = {
        id(inner.value)
        for inner in nodes
        if isinstance(inner, ast.Attribute) and inner.attr in _SHAPES
    }
    for inner in nodes:
        owner: Any = None
        if isinstance(inner, ast.Subscript) and isinstance(inner.slice, ast.Constant):
            owner = inner.value if isinstance(inner.slice.value, str) else None
        elif isinstance(inner, ast.Call) and getattr(inner.func, "attr", "") == "get":
            owner = inner.func.value  # type: ignore[attr-defined]
        if id(inner) not in shapes and _is_first(owner, batch):
            yield inner


def _is_first(node: Any, batch: str) -> bool:
    return (
        isinstance(node, ast.Subscript)
        and isinstance(node.value, ast.Name)
        and node.value.id == batch
        and isinstance(node.slice, ast.Constant)
        and node.slice.value == 0
    )
