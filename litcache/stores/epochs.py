"""The epochs of namespaces in a hash of Redis, beside the entries that carry them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeGuard

from litcache.stores.base import Scope
from litcache.stores.frame import EPOCH_BYTES, new_epoch
from litcache.stores.remote import Remote, code

if TYPE_CHECKING:
    from litcache.stores.nodes import Command


class Epochs:
    """The hash that says which entries are valid.

    It has two fields a namespace: `e<namespace>` is its epoch, `d<namespace>` a token that each
    delete renews. Both are random. What `Scope.epoch` holds is the one, and behind it the other.

    Args:
        remote: The server.
        key: The hash.
    """

    def __init__(self, remote: Remote, key: bytes) -> None:
        self._remote = remote
        self._key = key

    def question(self, scope: Scope) -> Command:
        """Return the command that rides along with those for entries."""
        return ("HMGET", self._key, *_fields(scope))

    def noted(self, answer: Any) -> bytes | None:
        """Return what `Scope.epoch` is by the answer to the question; `None` without an epoch."""
        if not is_pair(answer):
            return None
        epoch, deletes = answer
        valid = isinstance(epoch, bytes) and len(epoch) == EPOCH_BYTES
        return epoch + (deletes or b"") if valid else None

    def made(self, scope: Scope, answer: Any) -> bytes:
        """Make an epoch, unless another process just did, where the answer had none.

        Raises:
            StoreError: If the server does not answer or keeps none.
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

    def renew_deletes(self, scope: Scope) -> None:
        """Renew the token of deletes; where there is no room for it, clear the namespace.

        Raises:
            StoreError: If the server does not answer or refuses.
        """
        _, field = _fields(scope)
        (answer,) = self._remote.send([("HSET", self._key, field, new_epoch())])
        if code(answer) == "OOM":
            self.clear(scope.namespace)
        elif isinstance(answer, Exception):
            raise self._remote.refused(answer)

    def clear(self, namespace: str | None) -> None:
        """Remove the epoch of a namespace, or all: what was framed with it is not valid any more.

        Raises:
            StoreError: If the server does not answer or refuses.
        """
        if namespace is not None:
            fields = _fields(Scope(namespace))
            (answer,) = self._remote.send([("HDEL", self._key, *fields)])
            if code(answer) != "WRONGTYPE":
                if isinstance(answer, Exception):
                    raise self._remote.refused(answer)
                return
        self._remote.do([("UNLINK", self._key)])

    def names(self) -> dict[bytes, str]:
        """Return the namespace of each epoch that is valid now.

        Raises:
            StoreError: If the server does not answer or refuses.
        """
        (answer,) = self._remote.send([("HGETALL", self._key)])
        if isinstance(answer, Exception):
            raise self._remote.refused(answer)
        pairs = zip(answer[::2], answer[1::2], strict=True)
        return {
            epoch: field[1:].decode("utf-8", "surrogatepass")
            for field, epoch in pairs
            if field[:1] == b"e"
        }


def is_pair(answer: object) -> TypeGuard[list[Any]]:
    """Return whether an answer is a list of two."""
    return isinstance(answer, list) and len(answer) == 2


def _fields(scope: Scope) -> tuple[bytes, bytes]:
    """Return the fields of a namespace's epoch and of the token of its deletes."""
    name = scope.namespace.encode("utf-8", "surrogatepass")
    return b"e" + name, b"d" + name
