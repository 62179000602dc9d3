"""Versions of models: short strings that change when what computes the outputs does."""

from __future__ import annotations

import hashlib
import os
import stat
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from blake3 import blake3

from litcache.keys.encoder import canonical
from litcache.keys.leaves import class_name
from litcache.stores import base

_CHUNK_BYTES = 1 << 20
# 96 bits: enough to tell models apart, short enough to be read in a log line.
_DIGITS = 24


def fingerprint(model: Any, *, extra: Any = None) -> str:
    """Return a short version string for a model, the same in every process.

    Read is what the model computes with, not when or where it was made:

    * a `torch.nn.Module`: the classes of its modules, and of everything in its `state_dict()` name,
      dtype, shape and bytes; on any device, training or not. Attributes that are not in the
      `state_dict` (an activation's slope, a maximum length) belong into `extra`.
    * a state dict, a mapping of names to tensors or arrays: the same without classes;
    * a `pathlib.Path`, or a string that is the path of something: the bytes of that file, or the
      relative names and bytes of all files of that folder, links followed, without those whose name
      begins with a dot;
    * any other string: itself, such as a model's name with its revision.

    Bytes are hashed by BLAKE3 (https://github.com/BLAKE3-team/BLAKE3-specs), the whole by BLAKE2b
    (RFC 7693). A change of the key format (see the changelog) changes it.

    Args:
        model: The model.
        extra: The rest of the recipe: pooling, normalisation, precision, the version of the code;
            anything that can be an item.

    Returns:
        24 hexadecimal digits.

    Raises:
        FileNotFoundError: If there is nothing at a path: at a `Path`, or at a string that begins as
            one (`/`, `./`, `../`, `~`).
        KeyEncodingError: If something in the state dict is no dense tensor or array and no plain
            value, or if `extra` cannot be an item; it says where.
        OSError: If a file cannot be read.
        TypeError: If the model is none of these.
        ValueError: If a folder holds no files, or something that is neither file nor folder.

    Example:
        >>> fingerprint("minilm@c5f93f7") == fingerprint("minilm@c5f93f7")
        True
        >>> fingerprint("minilm@c5f93f7", extra={"pooling": "cls"})
        'f9b1bba5a6e5bbb973b11e43'
    """
    # One by one, so that an error says where in the state dict, or where in `extra`.
    text = b"".join(map(canonical, (base.FORMAT, *_read(model), extra)))
    return hashlib.blake2b(text, digest_size=_DIGITS // 2).hexdigest()


def _read(model: Any) -> list[object]:
    """Return what makes a model what it is, as something that has a canonical form."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(model, torch.nn.Module):
        classes = {name: class_name(type(module)) for name, module in model.named_modules()}
        return ["module", classes, _plain(model.state_dict())]
    if isinstance(model, Mapping):
        return ["state", _plain(model)]
    if isinstance(model, str) and not _is_path(model):
        return ["text", model]
    if isinstance(model, str | os.PathLike):
        return _read_path(Path(model).expanduser())
    raise TypeError(
        f"model={model!r} must be a torch module, a state dict, a path or a string; for what a "
        "framework loaded give the path of its file"
    )


def _plain(state: Mapping[Any, Any]) -> dict[object, object]:
    """Return a state dict without what gradients need, and without the class of the mapping."""
    torch = sys.modules.get("torch")
    tensor = () if torch is None else torch.nn.Parameter
    return {
        name: value.detach() if isinstance(value, tensor)
        else _plain(value) if isinstance(value, Mapping)
        else value
        for name, value in state.items()
    }  # fmt: skip


def _is_path(text: str) -> bool:
    if text.startswith(("/", "./", "../", "~")):
        return True
    try:
        return os.path.exists(text)
    except ValueError:  # it holds a null character
        return False


def _read_path(path: Path) -> list[object]:
    if not path.is_dir():
        return ["file", _file_digest(path)]
    found = {file.relative_to(path).as_posix(): _file_digest(file) for file in _files(path, ())}
    if not found:
        raise ValueError(f"{path} holds no files")
    return ["folder", found]


def _files(folder: Path, above: tuple[Path, ...]) -> Iterator[Path]:
    """Yield the files in a folder and in those below, each folder once on its way down."""
    here = folder.resolve()
    if here in above:
        return
    for path in folder.iterdir():
        if path.name.startswith("."):
            continue
        if path.is_dir():
            yield from _files(path, (*above, here))
        else:
            yield path


def _file_digest(path: Path) -> bytes:
    # Opening a pipe waits for a writer otherwise.
    with open(path, "rb", buffering=0, opener=_open_at_once) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ValueError(f"{path} is neither a file nor a folder")
        digest, chunk = blake3(), memoryview(bytearray(_CHUNK_BYTES))
        while length := file.readinto(chunk):
            digest.update(chunk[:length])
        return digest.digest()


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
