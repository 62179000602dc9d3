"""The epochs of namespaces, in a hash of Redis beside the entries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeGuard

from litcache.stores.base import Scope
from litcache.stores.frame import EPOCH_BYTES, new_epoch
from litcache.stores.namespaces import NamespaceInfo
from litcache.stores.redis.remote import Remote, code
from litcache.stores.redis.scripts import PLACE_AT, deleted, marked, placed
from litcache.stores.redis.wire import Command

# About how many deletes of a namespace are remembered, for stores in front.
_REMEMBERED = 500
_REMEMBERED_MS = 86_400_000


class Epochs:
    """The hash that says which entries are valid.

    It has two fields for each namespace. `e<namespace>` is its epoch, a random one. `d<namespace>`
    describes its last delete: a random token of 8 bytes, and the place in a stream that holds the
    keys. `Scope.epoch` holds the first field, and after it the second.

    A second hash holds facts for people: `v<epoch><version>` says that a version wrote in an epoch.

    Args:
        remote: The server.
        prefix: What the names of both hashes begin with.
    """

    def __init__(self, remote: Remote, prefix: str) -> None:
        self._remote = remote
        self._key = f"{prefix}:epochs".encode()
        self._notes = f"{prefix}:notes".encode()
        self._deletes = f"{prefix}:deleted:".encode()

    def question(self, scope: Scope) -> Command:
        """Return the command that is sent together with the commands for entries."""
        return ("HMGET", self._key, *_fields(scope))

    def noted(self, answer: Any) -> bytes | None:
        """Return `Scope.epoch` from the answer to the question; `None` if there is no epoch."""
        if not is_pair(answer):
            return None
        epoch, deletes = answer
        valid = isinstance(epoch, bytes) and len(epoch) == EPOCH_BYTES
        return epoch + (deletes or b"") if valid else None

    def made(self, scope: Scope, answer: Any) -> bytes:
        """Make an epoch if the answer had none, and no other process has just made one.

        Raises:
            StoreError: If the server does not answer, or does not keep the epoch.
        """
        field, _ = _fields(scope)
        repairs: list[Command] = []
        if code(answer) == "WRONGTYPE":
            repairs = [("UNLINK", self._key)]
        elif isinstance(answer, Exception):
            raise self._remote.refused(answer)
        elif not is_pair(answer):
            raise self._remote.error("does not answer as Redis does")
        elif answer[0] is not None:
            repairs = [("HDEL", self._key, field)]
        make = ("HSETNX", self._key, field, new_epoch())
        answers = self._remote.send([*repairs, make, self.question(scope)])
        epoch = self.noted(answers[-1])
        if epoch is None:
            for error in answers:
                if isinstance(error, Exception):
                    raise self._remote.refused(error)
            raise self._remote.error("does not keep an epoch")
        return epoch

    def delete(self, scope: Scope, names: Sequence[bytes], keys: Sequence[bytes]) -> None:
        """Delete entries so that look-ups notice it; if there is no room, clear the namespace.

        Args:
            scope: Whose entries, with the epoch that a look-up noted.
            names: The names of the entries.
            keys: The keys of the entries.

        Raises:
            StoreError: If the server does not answer or refuses, or no replica confirms.
        """
        token, log = new_epoch(), self._log(scope)
        epoch = scope.epoch or b""
        # First of all: if a delete has its place, or its token was seen, this is done.
        errors = self._remote.send([deleted(name, epoch, token) for name in names])
        fields = [part for key in keys for part in ("k", key)]
        added = ("XADD", log, "MAXLEN", "~", _REMEMBERED, "*", *fields)
        place, expires = self._remote.send([added, ("PEXPIRE", log, _REMEMBERED_MS)])
        if code(place) == "WRONGTYPE":
            place, expires = self._remote.send([("UNLINK", log), added])[::-1]
        _, field = _fields(scope)
        mark = marked(self._key, field, token, _bytes_of(place))
        errors += [place, expires, *self._remote.confirm([mark], mark)]
        errors = [error for error in errors if isinstance(error, Exception)]
        if "OOM" in map(code, errors):
            self.clear(scope.namespace)
            return
        for error in errors:
            raise self._remote.refused(error)
        self._remote.send([placed(name, epoch, token, place) for name in names])

    def deleted_since(self, scope: Scope, epoch: bytes) -> list[bytes] | None:
        """Return the keys deleted since a look-up noted an epoch; `None` if they are not known.

        Raises:
            StoreError: If the server does not answer.
        """
        before = epoch[PLACE_AT:]
        current = (scope.epoch or b"")[:EPOCH_BYTES]
        if not before or current != epoch[:EPOCH_BYTES]:
            return None
        (answer,) = self._remote.send([("XRANGE", self._log(scope), before, "+")])
        if not isinstance(answer, list) or not answer or answer[0][0] != before:
            return None  # evicted, or older than the deletes that are remembered
        return [key for _, fields in answer[1:] for key in fields[1::2]]

    def clear(self, namespace: str | None) -> None:
        """Remove the epoch of a namespace, or all epochs: frames with it are not valid any more.

        Raises:
            StoreError: If the server does not answer or refuses, or no replica confirms.
        """
        if namespace is not None:
            fields = _fields(Scope(namespace))
            mark: Command = ("HSET", self._key, fields[1], new_epoch())
            (answer,) = self._remote.confirm([("HDEL", self._key, *fields)], mark)
            if code(answer) != "WRONGTYPE":
                if isinstance(answer, Exception):
                    raise self._remote.refused(answer)
                return
        mark = ("HSET", self._key, _fields(Scope(""))[1], new_epoch())
        commands = [("UNLINK", self._key), ("UNLINK", self._notes)]
        for answer in self._remote.confirm(commands, mark):
            if isinstance(answer, Exception):
                raise self._remote.refused(answer)

    def _log(self, scope: Scope) -> bytes:
        return self._deletes + _bytes(scope.namespace)

    def version_told(self, scope: Scope) -> list[Command]:
        """Return the command that notes which version writes, if it is not noted yet."""
        epoch = (scope.epoch or b"")[:EPOCH_BYTES]
        if not self._remote.told.lacks(epoch, scope.version):
            return []
        self._remote.told.add(epoch, scope.version)
        return [("HSET", self._notes, b"v" + epoch + _bytes(scope.version), b"")]

    def spaces(self) -> dict[bytes, NamespaceInfo]:
        """Return the namespaces by their epochs of now, without counts of entries.

        Raises:
            StoreError: If the server does not answer or refuses.
        """
        # Notes first: an epoch that is made in between has no notes yet.
        notes, epochs = self._all(self._notes), self._all(self._key)
        spaces = {
            epoch: NamespaceInfo(_text(field[1:]), (), 0, 0)
            for field, epoch in epochs.items()
            if field[:1] == b"e" and len(epoch) == EPOCH_BYTES
        }
        old = []
        for field in sorted(notes):
            epoch, version = field[1 : 1 + EPOCH_BYTES], field[1 + EPOCH_BYTES :]
            space = spaces.get(epoch)
            if space is None or field[:1] != b"v":
                old.append(field)
            else:
                spaces[epoch] = space._replace(versions=(*space.versions, _text(version)))
        if old:
            self._remote.send([("HDEL", self._notes, *old)])
        return spaces

    def _all(self, key: bytes) -> dict[bytes, bytes]:
        """Return all fields of a hash; none if the key is not a hash."""
        (answer,) = self._remote.send([("HGETALL", key)])
        if isinstance(answer, Exception) and code(answer) != "WRONGTYPE":
            raise self._remote.refused(answer)
        if not isinstance(answer, list):
            return {}
        return dict(zip(answer[::2], answer[1::2], strict=True))


def is_pair(answer: object) -> TypeGuard[list[Any]]:
    """Return whether an answer is a list of two."""
    return isinstance(answer, list) and len(answer) == 2


def _fields(scope: Scope) -> tuple[bytes, bytes]:
    """Return the names of the two fields of a namespace: of its epoch and of its last delete."""
    name = _bytes(scope.namespace)
    return b"e" + name, b"d" + name


def _bytes_of(answer: object) -> bytes:
    """Return an answer that is bytes; no bytes for an error."""
    return answer if isinstance(answer, bytes) else b""


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogatepass")
