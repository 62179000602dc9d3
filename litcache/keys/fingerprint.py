"""Versions of models: short strings that change when the model changes."""

from __future__ import annotations

import hashlib
import os
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from litcache.keys.contents import NotAFileError, file_digest
from litcache.keys.encoder import canonical
from litcache.keys.modules import plain_state, read_module
from litcache.stores import base

# 96 bits: enough to distinguish models, short enough for a log line.
_DIGITS = 24
_PATH = re.compile(r"/|\.{1,2}[/\\]|~|[A-Za-z]:[/\\]|[^\s]*\\[^\s]*$")
_WEIGHTS = (
    ".bin", ".ckpt", ".engine", ".gguf", ".h5", ".joblib", ".keras", ".mar", ".npy", ".npz",
    ".onnx", ".pb", ".pickle", ".pkl", ".plan", ".pt", ".pt2", ".pth", ".safetensors", ".tflite",
    ".torchscript", ".xml", ".zip",
)  # fmt: skip


def fingerprint(model: Any, *, extra: Any = None) -> str:
    """Return a short version string for a model, the same in every process.

    It depends on everything that the model computes with, and not on where or when it was made:

    * for a `torch.nn.Module`, on the names of its classes (without their files), on all parameters
      and buffers, on `training`, on hooks, on the attributes and the `extra_repr()` of each module,
      and on configurations (`to_dict()`, `get_config_dict()`), also those of adapters. It does not
      depend on the device, on `torch.compile` or on `DataParallel`. Of a function that an attribute
      holds, its name counts, and of a lambda its compiled code, which another Python compiles
      otherwise. Put tokenizers and the code of `forward` into `extra`;
    * for a state dict (a mapping of names to tensors or arrays), on names, dtypes, shapes, bytes;
    * for a `pathlib.Path`, or a string that is an existing path, on the bytes of the file, or on
      the relative names and bytes of all files in the folder. Links are followed; files whose names
      begin with a dot are left out;
    * for any other string, on the string: for example a model's name with its revision. A string
      that looks like a path or a URL, but names no file here, is refused: it would stay the same
      when the model changes.

    Files and large buffers are hashed with BLAKE3 (https://github.com/BLAKE3-team/BLAKE3-specs),
    the whole with BLAKE2b (RFC 7693). A new format (see the changelog) makes new fingerprints.

    Args:
        model: The model.
        extra: The rest of the recipe, such as pooling, normalisation, precision, the version of
            the code: any value that can be an item.

    Returns:
        24 hexadecimal digits.

    Raises:
        FileNotFoundError: If nothing exists at a `Path`, or at a string that looks like a path
            (`/models/m`, `./m`, `a/b/c`, `m.safetensors`) or a URL.
        KeyEncodingError: If the state dict holds anything but dense tensors, arrays and plain
            values, or if `extra` cannot be an item; the error says where.
        OSError: If a file cannot be read.
        TypeError: If the model is not of one of these kinds.
        ValueError: If a folder holds no files, or something that is neither a file nor a folder.

    Example:
        >>> fingerprint("minilm@c5f93f7") == fingerprint("minilm@c5f93f7")
        True
        >>> fingerprint("minilm@c5f93f7", extra={"pooling": "cls"})
        '7507ded7e4cee8c5b40a13bc'
    """
    # One by one, so that an error says where in the state dict, or where in `extra`.
    text = b"".join(map(canonical, (base.FORMAT, *_read(model), extra)))
    return hashlib.blake2b(text, digest_size=_DIGITS // 2).hexdigest()


def _read(model: Any) -> list[object]:
    """Return everything that a model computes with, as values that have a canonical form."""
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
    """Return a state dict with its names as they are without `torch.compile` and `DataParallel`."""
    for prefix in ("_orig_mod.", "module."):
        if state and all(isinstance(name, str) and name.startswith(prefix) for name in state):
            return _unwrapped({name.removeprefix(prefix): part for name, part in state.items()})
    return state


def _is_path(text: str) -> bool:
    """Return whether a text is an existing path, or can only be meant as a path."""
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
    """Yield the files in a folder and in the folders below it; links may form circles."""
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
    try:
        return file_digest(path)
    except NotAFileError:
        raise ValueError(f"{path} is neither a file nor a folder") from None
