"""Objects of any class by their attributes, and HTTP responses."""

from __future__ import annotations

import copyreg
import json
from typing import Any

from litcache.keys.objects import bases_in_c, is_plain, state
from litcache.keys.writer import Unencodable, inherits, loaded
from litcache.trial.answers.freezer import Freezer, Unfit, class_kind
from litcache.trial.answers.frozen import Body, Fields, Node, Unreadable
from litcache.trial.answers.places import Key, Step

# Bodies of more bytes are compared as bytes.
_LARGEST_JSON = 64 << 20
# Headers that say nothing of the answer itself.
_PASSING = frozenset({"content-length", "date"})
_HEADERS = ("raw_headers", "headers")
# What pydantic keeps beside the fields of a model.
_BESIDE_FIELDS = ("__pydantic_fields_set__", "__pydantic_private__")


def read(to: Freezer, cls: type, value: Any) -> Node:
    """Freeze an object by its attributes; one whose class is written in C as pickle reads it."""
    if is_plain(cls) or not bases_in_c(cls):
        attributes = _attributes(cls, value)
        if _is_response(attributes):
            return _response(to, cls, attributes)
        return to.fields(class_kind(cls), attributes)
    reduce = copyreg.dispatch_table.get(cls)
    try:
        found = reduce(value) if reduce is not None else value.__reduce_ex__(4)
    except TypeError:
        raise Unfit("of which Python shows no parts") from None
    if isinstance(found, str):
        return to.fields(class_kind(cls), {"name": found})
    parts = dict(zip(("made_by", "arguments", "state", "items", "entries"), found, strict=False))
    for name in ("items", "entries"):
        if parts.get(name) is not None:
            parts[name] = to.bounded(parts[name])
    if parts["arguments"] == () and isinstance(parts.get("state"), dict):
        parts = parts["state"]
    return to.fields(class_kind(cls), parts)


def with_attributes(to: Freezer, value: Any, content: Node) -> Node:
    """Return the content of an instance of a subclass, with the attributes beside it.

    A `ModelOutput` of transformers has its entries as attributes, too: those count once.
    """
    attributes = _attributes(type(value), value)
    if inherits(type(value), dict):
        held = dict(dict.items(value))
        attributes = {
            name: part
            for name, part in attributes.items()
            if not (name in held and held[name] is part)
        }
    return beside(to, value, content, attributes)


def beside(to: Freezer, value: Any, content: Node, attributes: dict[Any, Any]) -> Node:
    """Return the content of an object with its attributes beside it, if it has any."""
    if not attributes:
        return content
    parts: dict[Step, Any] = {
        Key("attribute", name, str(name)): to.node(part) for name, part in attributes.items()
    }
    if isinstance(content, Fields):
        return Fields(content.kind, {**content.values, **parts}, content.is_mapping)
    return Fields(class_kind(type(value)), {"value": content, **parts})


def _attributes(cls: type, value: Any) -> dict[Any, object]:
    try:
        found = state(value)
    except Unencodable as error:
        raise Unfit(str(error)) from None
    if inherits(cls, loaded("pydantic", "BaseModel")):
        for name in _BESIDE_FIELDS:
            found.pop(name, None)
    return found


def _is_response(attributes: dict[Any, object]) -> bool:
    """Return whether an object is an HTTP response, of Starlette, FastAPI, LitServe or any other.

    It is known by what it has, since those packages are not imported here.
    """
    return "status_code" in attributes and not attributes.keys().isdisjoint(_HEADERS)


def _response(to: Freezer, cls: type, attributes: dict[Any, Any]) -> Node:
    """Freeze a response: its status, headers and body."""
    media_type = attributes.get("media_type", getattr(cls, "media_type", None))
    parts: dict[Step, Node] = {
        "status_code": to.node(attributes["status_code"]),
        "media_type": to.node(media_type),
        "headers": to.part(lambda: _headers(to, attributes)),
    }
    if "body" in attributes:
        parts["body"] = _body(to, attributes["body"])
    elif "body_iterator" in attributes:
        parts["body"] = Unreadable("a stream")
    else:
        parts["body"] = Unreadable("a file" if "path" in attributes else "a body that is not there")
    return Fields(class_kind(cls), parts)


def _headers(to: Freezer, attributes: dict[Any, Any]) -> dict[str, list[str]]:
    """Return the values of each header, those that say nothing of the answer left out."""
    headers = next(attributes[name] for name in _HEADERS if name in attributes)
    found: dict[str, list[str]] = {}
    pairs = headers.items() if hasattr(headers, "items") else headers or ()
    for name, value in to.bounded(pairs):
        lower = _text(name).lower()
        if lower not in _PASSING:
            found.setdefault(lower, []).append(_text(value))
    return found


def _text(value: object) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def _body(to: Freezer, body: Any) -> Node:
    """Freeze a body: text that may be JSON, or what it is."""
    if type(body) in (bytearray, memoryview):
        body = bytes(body)
    return Body(body) if type(body) in (str, bytes) else to.node(body)


def parsed(text: str | bytes) -> tuple[object] | None:
    """Return the value that JSON stands for, in a tuple; `None` if it is no JSON.

    An event of a stream (`data: {…}`) is the JSON in it.

    Example:
        >>> parsed("[1]"), parsed('data: {"a": 1}'), parsed("a")
        (([1],), ({'a': 1},), None)
    """
    if len(text) > _LARGEST_JSON:
        return None
    text = text.removeprefix("data:") if isinstance(text, str) else text.removeprefix(b"data:")
    try:
        return (json.loads(text),)
    except (ValueError, RecursionError):
        return None
