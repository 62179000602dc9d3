"""How canonical forms are written: as msgpack, extension types, and digests of large buffers.

`None`, `bool`, `int`, `float`, `str` and `bytes` are written as msgpack's own types. Every other
value, and one that is too large for those types, is written as an extension type: its code, and a
body of msgpack values. So the bytes of every value say where it ends.
"""

from __future__ import annotations

import hashlib
import os.path
import struct
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgpack
from blake3 import blake3

LARGE = 4096
"""Buffers of more bytes, and strings of more characters, stand as their digest."""

MAX_DEPTH = 100
"""How many levels of containers an item may have; a cycle has more than any number of them."""


class Code:
    """The extension types. They are part of the format; add new ones at the end."""

    LARGE_STR, LARGE_BYTES, SURROGATES, BIG_INT, COMPLEX, BYTEARRAY, MEMORYVIEW = range(7)
    PY_ARRAY, DECIMAL, DATETIME, DATE, TIME, TIMEDELTA, UUID, PATH, ENUM = range(7, 16)
    NP_ARRAY, NP_SCALAR, TENSOR, IMAGE = range(16, 20)
    TUPLE, SET, FROZENSET, ORDERED, DEFAULT, OBJECT, RECORD = range(20, 27)


_HEADER = struct.Struct(">BIb")
_HASHES: dict[str, Callable[[Any], Any]] = {"blake": blake3, "sha256": hashlib.sha256}


class Unencodable(Exception):
    """A value has no canonical form. The message says why; the encoder adds the path."""


class Writer:
    """Packs msgpack, and hashes large buffers in place.

    Args:
        digest: `"blake"` or `"sha256"`: what large buffers are hashed with.
        root: The first part of all paths.

    Attributes:
        pack: Writes the msgpack of exact builtins.
        packer: The packer to which `pack` belongs.
        trail: The steps from the root to the value that is being read.
    """

    __slots__ = ("_hash", "pack", "packer", "root", "trail")

    def __init__(self, digest: str, root: str = "$") -> None:
        self.packer = msgpack.Packer(strict_types=True, buf_size=1024)
        self.pack: Callable[[object], bytes] = self.packer.pack
        self.root = root
        self.trail: list[object] = []
        self._hash = _HASHES[digest]

    def encode(self, value: object) -> bytes:
        """Return the canonical bytes of a value; the error says which part has none."""
        raise NotImplementedError

    def base(self, value: object) -> bytes:
        """Return the form of what an object holds in C, without its attributes; maybe nothing."""
        raise NotImplementedError

    def buffer(self, data: Any) -> bytes:
        """Encode bytes, or a one-dimensional buffer of bytes."""
        return self.large(Code.LARGE_BYTES, data) if len(data) > LARGE else self.pack(bytes(data))

    def large(self, code: int, data: Any) -> bytes:
        """Encode a buffer as its digest and length."""
        digest: bytes = self._hash(data).digest()
        return ext(code, digest + len(data).to_bytes(8, "big"))

    def enter(self) -> None:
        """Refuse to go too deep."""
        if len(self.trail) >= MAX_DEPTH:
            raise Unencodable(f"it is more than {MAX_DEPTH} levels deep, or contains itself")

    def walk(self, steps: Iterable[tuple[object, object]]) -> list[bytes]:
        """Encode parts; each comes with the step that leads to it."""
        self.enter()
        trail, encode, parts = self.trail, self.encode, []
        trail.append(None)
        for step, part in steps:
            trail[-1] = step
            parts.append(encode(part))
        trail.pop()
        return parts

    def array(self, parts: Sequence[bytes]) -> bytes:
        """Return an array of parts that are encoded already."""
        return b"".join([self.packer.pack_array_header(len(parts)), *parts])

    def record(self, name: str, /, **parts: object) -> bytes:
        """Encode a value of a known class by the name of the class and its parts, in order."""
        return ext(Code.RECORD, self.pack(name) + self.array(self.walk(parts.items())))


Handler = Callable[[Any, Any], bytes]  # of a Writer and a value


def ext(code: int, body: bytes) -> bytes:
    """Return an extension value; its length always takes four bytes."""
    return _HEADER.pack(0xC9, len(body), code) + body


def class_name(cls: type) -> str:
    """Return the name of a class, the same in every process.

    Args:
        cls: Any class.

    Returns:
        `module.qualname`. For the script, the module is the name of its file: LitServe's workers
        import the script as `__mp_main__`, and other programs may import it by its name.

    Example:
        >>> class_name(dict)
        'builtins.dict'
    """
    module = cls.__module__
    if module in ("__main__", "__mp_main__"):
        file = getattr(sys.modules.get(module), "__file__", None)
        module = os.path.splitext(os.path.basename(file))[0] if file else "__main__"
    return f"{module}.{cls.__qualname__}"


def loaded(module: str, name: str) -> Any:
    """Return an attribute of a module if the user has imported the module; else `None`."""
    return getattr(sys.modules.get(module), name, None)


def inherits(cls: type, base: object) -> bool:
    """Return whether a class has a base; unlike `issubclass`, this runs no code of a metaclass."""
    return any(parent is base for parent in cls.__mro__)
