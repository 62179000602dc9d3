"""Versions of models: short strings that change when the model changes."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from blake3 import blake3

from litcache.keys.encoder import canonical
from litcache.keys.modules import plain_state, read_module
from litcache.stores import base

_CHUNK_BYTES = 1 << 20
# 96 bits: enough to tell models apart, short enough to be read in a log line.
_DIGITS = 24
_PATH = re.compile(r"/|\.{1,2}[/\\]|~|[A-Za-z]:[/\\]|[^\s]*\\[^\s]*$")
_WEIGHTS = (
    ".bin", ".ckpt", ".engine", ".gguf", ".h5", ".joblib", ".keras", ".mar", ".npy", ".npz",
    ".onnx", ".pb", ".pickle", ".pkl", ".plan", ".pt", ".pt2", ".pth", ".safetensors", ".tflite",
    ".torchscript", ".xml", ".zip",
)  # fmt: skip


def fingerprint(model: Any, *, extra: Any = None) -> str:
    """Return a short version string for a model, the same in every process.

    It depends on what the model computes with, and not on when or where it was made:

    * for a `torch.nn.Module`, on the names of its classes (without their files), on all parameters
      and buffers, on whether it is training, on its hooks, on what each module has as attributes
      and tells in `extra_repr()`, and on configurations (`to_dict()`, `get_config_dict()`), those
      of adapters among them; not on its device, nor on whether it is compiled or wrapped by
      `DataParallel`. Tokenizers and the code of `forward` belong in `extra`;
    * for a state dict (a mapping of names to tensors or arrays), on names, dtypes, shapes, bytes;
    * for a `pathlib.Path`, or a string that is the path of something, on the bytes of that file, or
      on the relative names and bytes of all files in that folder. Links are followed; files whose
      names begin with a dot are left out;
    * for any other string, on the string: a model's name with its revision, for example. One that
      looks like a path or a URL, and names no file here, is refused: it would stay the same when
      the model changes.

    Files and large buffers are hashed with BLAKE3 (https://github.com/BLAKE3-team/BLAKE3-specs),
    the whole with BLAKE2b (RFC 7693). Another format (see the changelog) makes other fingerprints.

    Args:
        model: The model.
        extra: The rest of the recipe: pooling, normalisation, precision, the version of the code;
            anything that can be an item.

    Returns:
        24 hexadecimal digits.

    Raises:
        FileNotFoundError: If there is nothing at a path: at a `Path`, or at a string that looks
            like one (`/models/m`, `./m`, `a/b/c`, `m.safetensors`), or like a URL.
        KeyEncodingError: If the state dict holds something else than dense tensors, arrays and
            plain values, or if `extra` cannot be an item; the error says where.
        OSError: If a file cannot be read.
        TypeError: If the model is none of these.
        ValueError: If a folder holds no files, or something that is neither file nor folder.

    Example:
        >>> fingerprint("minilm@c5f93f7") == fingerprint("minilm@c5f93f7")
        True
        >>> fingerprint("minilm@c5f93f7", extra={"pooling": "cls"})
        '7fb23d945f08b337ef5e2c29'
    """
    # One by one, so that an error says where in the state dict, or where in `extra`.
    text = b"".join(map(canonical, (base.FORMAT, *_read(model), extra)))
    return hashlib.blake2b(text, digest_size=_DIGITS // 2).hexdigest()


def _read(model: Any) -> list[object]:
    """Return what a model computes with, as values that have a canonical form."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(model, torch.nn.Module):
        return ["module", read_module(model)]
    if isinstance(model, Mapping):
        return ["state", plain_state(_unwrapped(model))]
    if isinstance(model, str) and not _is_path(model):
        return ["text", model]
    if isinstance(model, str | os.PathLike):
        return _read_path(Path(model).expanduser())
    raise TypeError(
        f"model={model!r} must be a torch module, a state dict, a path or a string; for a "
        "model of another framework give the path of its file"
    )


def _unwrapped(state: Mapping[Any, Any]) -> Mapping[Any, Any]:
    """Return a state dict with the names that it has without `torch.compile` and `DataParallel`."""
    for prefix in ("_orig_mod.", "module."):
        if state and all(isinstance(name, str) and name.startswith(prefix) for name in state):
            return _unwrapped({name.removeprefix(prefix): part for name, part in state.items()})
    return state


def _is_path(text: str) -> bool:
    """Return whether a text is the path of something, or looks so much like one that it must be."""
    try:
        if os.path.exists(text):
            return True
    except ValueError:  # it holds a null character
        return False
    if "://" in text:
        raise FileNotFoundError(
            f"model={text!r} is a URL, which stays the same when the model behind it changes: give "
            "the file, or a name with its revision such as 'minilm@c5f93f7'"
        )
    return text.endswith(_WEIGHTS) or text.count("/") > 1 or bool(_PATH.match(text))


def _read_path(path: Path) -> list[object]:
    if not path.is_dir():
        return ["file", _file_digest(path)]
    found = {file.relative_to(path).as_posix(): _file_digest(file) for file in _files(path, ())}
    if not found:
        raise ValueError(f"{path} holds no files")
    return ["folder", found]


def _files(folder: Path, above: tuple[Path, ...]) -> Iterator[Path]:
    """Yield the files in a folder and in the folders below it; links may lead round in circles."""
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
