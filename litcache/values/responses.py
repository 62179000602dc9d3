"""Responses of Starlette, and what to return instead of an output that is not stored."""

from __future__ import annotations

import sys
from http import HTTPStatus
from typing import Any

from litcache.errors import ValueEncodingError

_STARLETTE = "starlette.responses"
_CLASSES = (
    "Response", "JSONResponse", "PlainTextResponse", "HTMLResponse", "RedirectResponse",
)  # fmt: skip
_OPTIONAL = {"media_type": str, "charset": str}
_ATTRIBUTES = {"status_code", "body", "raw_headers", "background", *_OPTIONAL}
_VIEW = "_headers"  # Starlette's view of raw_headers, made when somebody asks for it

# Of two lines that fit, the first one counts.
_REMEDIES: tuple[tuple[str, str, str], ...] = (
    (_STARLETTE, "StreamingResponse", "it is read once; return a Response of the whole body"),
    (_STARLETTE, "FileResponse", "the file may change; return a Response of its bytes"),
    (_STARLETTE, "Response", "of responses, those of Starlette's own classes are stored"),
    ("PIL.Image", "Image", "return its bytes, or a Response of them"),
    ("pydantic", "BaseModel", "return value.model_dump()"),
    ("pandas", "DataFrame", 'return value.to_dict("list")'),
    ("enum", "Enum", "return value.value"),
)


def is_response(value: object) -> bool:
    """Return whether a value is exactly one of Starlette's responses whose body is complete."""
    kind = type(value)
    return kind.__module__ == _STARLETTE and kind is _class(kind.__name__)


def _class(name: object) -> Any:
    """Return a class of Starlette's; `None` if it is none of those, or Starlette is not loaded."""
    return getattr(sys.modules.get(_STARLETTE), str(name), None) if name in _CLASSES else None


def response_parts(response: Any) -> list[Any]:
    """Return the parts of a response: its class, status, body, headers, and what else it has.

    Raises:
        ValueEncodingError: If it holds something that would not come back.
    """
    found = {name: value for name, value in vars(response).items() if name != _VIEW}
    if found.get("background") is not None:
        raise ValueEncodingError(
            "its background task would not run again on a hit; start it in encode_response"
        )
    if extra := sorted(found.keys() - _ATTRIBUTES):
        raise ValueEncodingError(f"it has an attribute of your own, {extra[0]!r}")
    status, body, headers = (found.get(name) for name in ("status_code", "body", "raw_headers"))
    others = {name: found[name] for name in _OPTIONAL if name in found}
    if not (
        type(status) in (int, HTTPStatus)
        and type(body) is bytes
        and type(headers) is list
        and all(type(part) is bytes for pair in headers for part in pair)
        and all(type(text) in (str, type(None)) for text in others.values())
    ):
        raise ValueEncodingError("its status, headers, media type or body is of another type")
    flat = [part for pair in headers for part in pair]
    is_enum = type(status) is HTTPStatus
    return [type(response).__name__, int(status), is_enum, body, flat, others]  # type: ignore[arg-type]


def make_response(parts: list[Any]) -> object:
    """Return a response of its parts, without running its constructor."""
    name, status, is_enum, body, flat, others = parts
    if type(body) is not bytes or type(status) is not int or not others.keys() <= _OPTIONAL.keys():
        raise TypeError("no parts of a response")
    response = object.__new__(_class(name))
    response.__dict__.update(
        others,
        status_code=HTTPStatus(status) if is_enum else status,
        background=None,
        body=body,
        raw_headers=list(zip(flat[::2], flat[1::2], strict=True)),
    )
    return response


def remedy(value: object) -> str:
    """Return what to return instead of a value that is not stored, as the end of a reason.

    Args:
        value: A value of a type that is not stored.

    Returns:
        Text, or nothing if litcache knows no better.

    Example:
        >>> remedy(iter([1]))
        ': return list(value)'
    """
    kind = type(value)
    for module, name, instead in _REMEDIES:
        base = getattr(sys.modules.get(module), name, None)
        if isinstance(base, type) and issubclass(kind, base):
            return f": {instead}"
    if hasattr(kind, "__dataclass_fields__"):
        return ": return dataclasses.asdict(value)"
    if issubclass(kind, tuple):
        return ": return value._asdict()" if hasattr(kind, "_asdict") else ": return tuple(value)"
    for builtin in (dict, list, str, int, float):
        if issubclass(kind, builtin):
            return f": return {builtin.__name__}(value)"
    return ": return list(value)" if hasattr(kind, "__next__") else ""
