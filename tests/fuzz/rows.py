"""The kinds of outputs: what a model answers to one item."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import pathlib
import uuid
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from fuzz.items import EPOCH, RECORD, Data, Number, Opaque

LANGUAGES = ("en", "de", "fr")
SPECIAL = (float("nan"), -0.0, 0.0, float("inf"), 1e300, 5e-324, 0.1, -1.0)


@dataclasses.dataclass(frozen=True)
class Kind:
    """One kind of outputs.

    Attributes:
        make: Makes the output of a number and a language.
        stored: Whether it can be stored.
        stacks: What container its rows can be stacked in: `""`, `"array"`, `"tensor"`.
        fill: Writes another output into one that is used again and again.
    """

    make: Callable[[int, str], Any]
    stored: bool = True
    stacks: str = ""
    fill: Callable[[Any, int, str], None] | None = None


def _code(n: int, language: str) -> int:
    return n * 3 + LANGUAGES.index(language)


def _nested(n: int, language: str) -> Any:
    code = _code(n, language)
    return {
        "text": f"{language} {n}",
        "parts": [(code, None), [np.full(2, code, np.int16)], {b"k": torch.full((2,), code)}],
        n: {"deep": {"list": [code, 1.0, True, "ü"]}},
    }


def _vector(n: int, language: str) -> Any:
    return np.array([_code(n, language), SPECIAL[n % 8], 0.5], np.float32)


def _fill(output: Any, n: int, language: str) -> None:
    output[...] = _code(n, language)


def _mixed(n: int, language: str) -> Any:
    kinds = ("text", "array", "dict", "int", "tensor", "none", "tuple", "bytes")
    return KINDS[kinds[n % len(kinds)]].make(n, language)


def _half(n: int, language: str) -> Any:
    return _nested(n, language) if n % 2 else Opaque(_code(n, language))


def _aliased(n: int, language: str) -> Any:
    part = [_code(n, language)]
    return [part, part, {"again": part}]


def _record(n: int, language: str) -> Any:
    return np.array([(n, language, 1)], RECORD)


KINDS: dict[str, Kind] = {
    "text": Kind(lambda n, language: f"{language} {n}"),
    "int": Kind(_code),
    "float": Kind(lambda n, language: SPECIAL[n % 8] if n % 2 else _code(n, language) / 7),
    "bytes": Kind(lambda n, language: b"%d" % _code(n, language)),
    "none": Kind(lambda n, language: None),
    "dict": Kind(lambda n, language: {"n": n, "language": language, "list": [n]}),
    "tuple": Kind(lambda n, language: (n, [language], (n,))),
    "nested": Kind(_nested),
    "array": Kind(_vector, stacks="array", fill=_fill),
    "array_int": Kind(
        lambda n, language: np.full((2, 2), _code(n, language)), stacks="array", fill=_fill
    ),
    "array_big": Kind(
        lambda n, language: np.full((30, 20), _code(n, language), ">f8", "F"),
        stacks="array", fill=_fill,
    ),
    "array_bool": Kind(lambda n, language: np.array([n % 2 == 0, True]), stacks="array"),
    "array_text": Kind(lambda n, language: np.array([language, str(n)], "U8"), stacks="array"),
    "empty": Kind(lambda n, language: np.empty((0, 3), np.float16), stacks="array"),
    "ragged": Kind(lambda n, language: np.full(n + 1, _code(n, language))),
    "record": Kind(_record, stacks="array"),
    "scalar": Kind(lambda n, language: np.float32(_code(n, language)), stacks="array"),
    "scalar_64": Kind(lambda n, language: np.float64(SPECIAL[n % 8]), stacks="array"),
    "tensor": Kind(
        lambda n, language: torch.full((3,), float(_code(n, language))),
        stacks="tensor", fill=_fill,
    ),
    "tensor_16": Kind(
        lambda n, language: torch.full((2, 2), _code(n, language), dtype=torch.bfloat16),
        stacks="tensor",
    ),
    "tensor_0": Kind(lambda n, language: torch.tensor(_code(n, language)), stacks="tensor"),
    "set": Kind(lambda n, language: {n, language}),
    "decimal": Kind(lambda n, language: decimal.Decimal(_code(n, language)).scaleb(-3)),
    "date": Kind(lambda n, language: EPOCH + dt.timedelta(hours=_code(n, language))),
    "uuid": Kind(lambda n, language: uuid.UUID(int=_code(n, language))),
    "path": Kind(lambda n, language: pathlib.PurePosixPath(language, str(n))),
    "long": Kind(lambda n, language: f"{language} {n} " * 1500),
    "mixed": Kind(_mixed),
    "half": Kind(_half, stored=False),
    "aliased": Kind(_aliased),
    "enum": Kind(lambda n, language: Number(n), stored=False),
    "data": Kind(lambda n, language: Data(n, [language]), stored=False),
    "opaque": Kind(lambda n, language: Opaque(_code(n, language)), stored=False),
    "in_list": Kind(lambda n, language: [language, Opaque(n)], stored=False),
}  # fmt: skip


def stack(rows: list[Any]) -> Any:
    """Return rows as one array or tensor."""
    if isinstance(rows[0], torch.Tensor):
        return torch.stack(rows)
    return np.stack(rows) if isinstance(rows[0], np.ndarray) else np.array(rows)
