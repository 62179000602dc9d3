"""The canonical msgpack of what libraries of services hold in C: URLs, encodings of tokenizers."""

from __future__ import annotations

from typing import Any

from litcache.keys.writer import Handler, Writer, class_name, loaded

# Everything that can be read of an encoding, without the encodings that it overflowed into.
_ENCODING = (
    "ids", "type_ids", "tokens", "offsets", "attention_mask", "special_tokens_mask", "word_ids",
    "sequence_ids", "n_sequences", "overflowing",
)  # fmt: skip


def handler_of(cls: type) -> Handler | None:
    """Return the handler of a class of pydantic's core or of tokenizers; `None` for others."""
    if cls is loaded("pydantic_core", "Url") or cls is loaded("pydantic_core", "MultiHostUrl"):
        return _url
    return _encoding if cls is loaded("tokenizers", "Encoding") else None


def _url(to: Writer, value: Any) -> bytes:
    return to.record(class_name(type(value)), text=value.unicode_string())


def _encoding(to: Writer, value: Any) -> bytes:
    return to.record("tokenizers.Encoding", **{name: getattr(value, name) for name in _ENCODING})
