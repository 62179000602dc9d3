"""Files by what is in them."""

from __future__ import annotations

import errno
import os
import stat
from typing import Any

from blake3 import blake3

_CHUNK_BYTES = 1 << 20
_LEAST_BYTES = 1 << 12


def contents(path: str | bytes | os.PathLike[Any]) -> str:
    """Return a digest of what is in a file, for `key=`.

    An item that names a file says nothing of what is in it. With `key=contents`, items are equal
    if their files are equal, wherever these are and whatever their names.

    The whole file is read at each call, a MiB at a time: about 0.3 ms for each MiB that the system
    has in memory. No digest is kept by size and times, because a file can change without changing
    them: `os.utime`, `rsync -t` and `tar` set times, and two writes may come within one tick of the
    clock. What is read here and what your model reads later are the same only if nobody writes the
    file meanwhile: write a new file and rename it.

    Args:
        path: The path, as your model opens it: relative to the working directory, links followed.

    Returns:
        The BLAKE3 digest (https://github.com/BLAKE3-team/BLAKE3-specs), 64 hexadecimal digits.

    Raises:
        FileNotFoundError: If nothing is there, for instance if it is a URL.
        IsADirectoryError: If it is a folder.
        OSError: If it is a pipe, socket or device, or if it cannot be read.
        TypeError: If it is no path.

    Example:
        >>> import litserve as ls
        >>> from litcache import cached_predict, contents
        >>> class TranscribeAPI(ls.LitAPI):
        ...     @cached_predict(key=lambda item: (contents(item["path"]), item["language"]))
        ...     def predict(self, item):
        ...         return self.model.transcribe(item["path"], language=item["language"])
    """
    if not isinstance(path, str | bytes | os.PathLike):  # open() takes the number of an open file
        raise TypeError(
            f"contents({path!r:.100}) takes the path of a file: str, bytes or Path, not "
            f"{type(path).__name__}"
        )
    try:
        return file_digest(path).hex()
    except FileNotFoundError:
        reason = "contents() finds no file there"
        if "://" in str(path):
            reason += "; what is behind a URL, read in decode_request, and return the bytes"
        raise FileNotFoundError(errno.ENOENT, reason, path) from None
    except IsADirectoryError:
        reason = "contents() takes a file, not a folder: give the contents of each file in it"
        raise IsADirectoryError(errno.EISDIR, reason, path) from None
    except NotAFileError:
        raise OSError(errno.EINVAL, "contents() takes a file, not a pipe or device", path) from None


class NotAFileError(Exception):
    """What a path names is neither a file nor a folder."""


def file_digest(path: str | bytes | os.PathLike[Any]) -> bytes:
    """Return the BLAKE3 digest of a file, which is read in chunks.

    Raises:
        OSError: If it cannot be read.
        NotAFileError: If it is neither a file nor a folder.
    """
    try:
        file = open(path, "rb", buffering=0, opener=_open_at_once)  # noqa: SIM115 - closed below
    except OSError as error:
        if error.errno == errno.ENXIO:  # a socket
            raise NotAFileError from None
        raise
    with file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise NotAFileError
        # A file may grow meanwhile, and those of /proc say that they are empty.
        size = max(_LEAST_BYTES, min(status.st_size + 1, _CHUNK_BYTES))
        digest, chunk = blake3(), memoryview(bytearray(size))
        while length := file.readinto(chunk):
            digest.update(chunk[:length])
        return digest.digest()


def _open_at_once(path: str, flags: int) -> int:
    # Opening a pipe waits for a writer otherwise.
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
