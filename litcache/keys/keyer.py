"""The keys of items: digests of format, namespace, mode, version, item and context."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from itertools import repeat
from typing import Any, NamedTuple

import msgpack

from litcache.functions import with_context
from litcache.keys.contexts import ContextForms, select
from litcache.keys.encoder import canonical
from litcache.keys.files import rewinding
from litcache.keys.writer import LARGE
from litcache.policy import CachePolicy
from litcache.stores import base

_SIZE = 16
_NO_FORMS = repeat(b"")
# For texts alone, which it packs without running any Python: so threads can share it.
_pack = msgpack.Packer(strict_types=True).pack


class Keyer:
    """Makes the keys of one method's items, in one mode.

    A key is a digest of the format, the namespace, the mode, the version, the canonical msgpack of
    the item and, if there is one, that of its context. The digest is BLAKE2b (RFC 7693), and BLAKE3
    (https://github.com/BLAKE3-team/BLAKE3-specs) for large buffers, or SHA-256 for both.

    Concurrency: safe to use from any number of threads; nothing changes after it is made.

    Args:
        namespace: The namespace of the entries.
        mode: How the items reach the method: `single`, `batch`, `row`, `list` or `stream`.
        version: Which model makes the outputs.
        digest: `"blake"` or `"sha256"`.

    Example:
        >>> keyer = Keyer("app.EmbeddingAPI.predict", "batch", "v1")
        >>> keyer.key("hello").hex()
        'fc92ff055264dac45097fa4f7c4b5cfc'
    """

    __slots__ = ("_digest", "_start")

    def __init__(self, namespace: str, mode: str, version: str, *, digest: str = "blake") -> None:
        parts = [base.FORMAT, namespace, mode, version]
        prefix = msgpack.packb(parts, unicode_errors="surrogatepass")
        sha = digest == "sha256"
        # This state has read the common part of all keys; each key begins with a copy.
        self._start: Any = hashlib.sha256() if sha else hashlib.blake2b(digest_size=_SIZE)
        self._start.update(prefix)
        self._digest = digest

    def key(
        self, item: object, context: Mapping[str, object] | None = None, prefix: bytes = b""
    ) -> bytes:
        """Return the key of one item.

        Args:
            item: The decoded item.
            context: The entries of its context that are in the key, if there are any.
            prefix: What stands before the item in the key, in its canonical form.

        Returns:
            16 bytes.

        Raises:
            KeyEncodingError: If the item or its context has no canonical form.

        Example:
            >>> keyer = Keyer("app.EmbeddingAPI.predict", "single", "v1")
            >>> keyer.key({"a": 1, "b": 2}) == keyer.key({"b": 2, "a": 1})
            True
        """
        state = self._start.copy()
        if prefix:
            state.update(prefix)
        try:
            is_short = type(item) is str and len(item) <= LARGE
            state.update(_pack(item) if is_short else canonical(item, self._digest))
        except UnicodeEncodeError:  # as below
            state.update(canonical(item, self._digest))
        if context is not None:
            state.update(canonical(dict(context), self._digest, "$context"))
        return state.digest()[:_SIZE]  # type: ignore[no-any-return]

    def keys(
        self, items: Sequence[object], prefix: bytes = b"", forms: Sequence[bytes] = ()
    ) -> list[bytes]:
        """Return the keys of many items.

        Args:
            items: The decoded items.
            prefix: What stands before each item in its key, in its canonical form.
            forms: What stands behind each item in its key: the canonical form of its context;
                empty if the items have no contexts.

        Returns:
            16 bytes for each.

        Raises:
            KeyEncodingError: If an item has no canonical form.

        Example:
            >>> keyer = Keyer("app.EmbeddingAPI.predict", "batch", "v1")
            >>> keyer.keys(["a", "b"]) == [keyer.key("a"), keyer.key("b")]
            True
        """
        begun = self._start
        if prefix:
            begun = begun.copy()
            begun.update(prefix)
        first = items[0] if len(items) > 1 else None
        if type(first) is str and len(first) * len(items) <= LARGE:
            made = self._of_short_texts(items, begun, forms)
            if made is not None:
                return made
        keys: list[bytes] = []
        for item, form in zip(items, forms or _NO_FORMS, strict=False):
            state = begun.copy()
            try:
                is_short = type(item) is str and len(item) <= LARGE
                state.update(_pack(item) if is_short else canonical(item, self._digest))
            except UnicodeEncodeError:  # a lone surrogate
                state.update(canonical(item, self._digest))
            if form:
                state.update(form)
            keys.append(state.digest())
        return [key[:_SIZE] for key in keys] if self._digest == "sha256" else keys

    def _of_short_texts(
        self, items: Sequence[Any], begun: Any, forms: Sequence[bytes]
    ) -> list[bytes] | None:
        """Return the keys of short texts, without a loop in Python; `None` for any other items."""
        kind, pack = type(begun), _pack
        try:
            if len("".join(items)) > LARGE:  # if all together are short, none is large
                return None
            states = [begun.copy() for _ in items]
            any(map(kind.update, states, map(pack, items)))  # update returns None, so any runs all
            any(map(kind.update, states, forms))
        except (TypeError, UnicodeEncodeError):  # no text, a subclass, or a lone surrogate
            return None
        keys = list(map(kind.digest, states))
        return [key[:_SIZE] for key in keys] if self._digest == "sha256" else keys


class Shared(NamedTuple):
    """What the items of one list share, in canonical form.

    Attributes:
        prefix: What of it is in their keys: what stands around the list, and the context, unless
            the policy's `key` stands for that.
        form: What of it the method sees: both.
    """

    prefix: bytes
    form: bytes


class Keyring:
    """Makes the keys of one method of one API, in every mode.

    Args:
        method: The method's qualified name, for messages.
        namespace: The namespace of the entries.
        policy: The method's policy.
        api: The API; if the policy's `version` is a function, it is called with it.
        persistent: Whether entries outlive the process, and so need a version.
        reads_context: Whether the method reads a context.

    Attributes:
        turn: How often the model may have changed: `setup` began or ended, or its user said so.
        suspended: Whether `setup` runs now.
    """

    def __init__(
        self,
        method: str,
        namespace: str,
        policy: CachePolicy,
        api: Any,
        *,
        persistent: bool,
        reads_context: bool,
    ) -> None:
        self._method = method
        self._namespace = namespace
        self._policy = policy
        self._api = api
        self._persistent = persistent
        self._context = policy.context if reads_context else False
        key = with_context(policy.key, 1)
        self._key = None if key is None else rewinding(key)
        self._forms = ContextForms(policy.digest)
        self._asked: tuple[int, str] | None = None  # in which turn, and the version then
        self.turn = 0
        self.suspended = False
        self._keyers: dict[str, Keyer] = {}

    @property
    def version(self) -> str:
        """The version in every key; a callable version of the policy is called at first use."""
        asked, turn = self._asked, self.turn
        if asked is not None and asked[0] == turn:
            return asked[1]
        version = self._policy.version
        if not isinstance(version, str):
            version = version(self._api)
            if not isinstance(version, str) or (self._persistent and not version):
                raise ValueError(
                    f"{self._method}: version returned {version!r}; it must return text, not "
                    "empty where entries outlive the process"
                )
        self._asked = turn, version
        return version

    @property
    def known_version(self) -> str:
        """The version if it is known already, else empty: a callable one is not called."""
        version, asked = self._policy.version, self._asked
        if isinstance(version, str):
            return version
        return asked[1] if asked is not None and asked[0] == self.turn else ""

    @property
    def is_custom(self) -> bool:
        """Whether keys are made of what the policy's `key` returns, not of whole items."""
        return self._key is not None

    def suspend(self) -> None:
        """Note that `setup` runs: until it ends, outputs may be of the old or of the new model."""
        self.turn += 1
        self.suspended = True

    def resume(self) -> None:
        """Note that `setup` has ended."""
        self.suspended = False
        self.renew_version()

    def renew_version(self) -> None:
        """Forget the version, since the model has changed: a callable one is called anew."""
        self.turn += 1
        self._keyers = {}

    def keyer(self, mode: str) -> Keyer:
        """Return the keyer of a mode."""
        keyers = self._keyers
        keyer = keyers.get(mode)
        if keyer is None:
            # One namespace may serve several methods of an API, whose outputs differ.
            name = self._method.rpartition(".")[2]
            at = self._policy.list_at
            stage = mode if at is None else f"{mode} at {at!r}"
            if self._policy.result == "response":  # a store may hold predictions of the method, too
                stage = f"{stage} response"
            if self._policy.store_as is not None:  # others of the namespace may store in full
                stage = f"{stage} as {self._policy.store_as}"
            stage = {"predict": stage, "decode_request": "decode"}.get(name, f"{stage} of {name}")
            keyer = Keyer(self._namespace, stage, self.version, digest=self._policy.digest)
            keyers[mode] = keyer
        return keyer

    def keys(
        self, mode: str, items: Sequence[object], contexts: Sequence[Mapping[str, object]]
    ) -> list[bytes]:
        """Return the keys of items with a context each; the policy has no `key`.

        Raises:
            KeyEncodingError: If an item or a context has no canonical form.
        """
        keyer = self.keyer(mode)
        if self._context is False:
            return keyer.keys(items)
        if self._context is not True or self._policy.outcome_in is not None:
            contexts = list(map(self._selected, contexts))
        return keyer.keys(items, forms=self._forms.of(contexts))

    def shared(self, rest: object, context: Mapping[str, object] | None) -> Shared:
        """Return what the items of one list share.

        Args:
            rest: What stands around the list, if the policy says where the list stands.
            context: The context of the list, if there is one.

        Raises:
            KeyEncodingError: If one of them has no canonical form.
        """
        digest = self._policy.digest
        prefix = form = b"" if self._policy.list_at is None else canonical(rest, digest)
        if context is not None and self._context is not False:
            form += canonical(self._selected(context), digest, "$context")
        return Shared(prefix if self.is_custom else form, form)

    def key(
        self,
        mode: str,
        item: object,
        context: Mapping[str, object] | None,
        prefix: bytes | None = None,
    ) -> bytes:
        """Return the key of an item, with the entries of its context that the policy names.

        Args:
            mode: How the item reaches the method.
            item: The decoded item.
            context: Its context, if there is one.
            prefix: The `prefix` of what its list shares, which holds the context; `None` if it is
                no item of a list.

        Raises:
            KeyEncodingError: If the item, its context or the result of the policy's `key` has no
                canonical form.
        """
        if self._key is not None:
            made = self._key(item, {} if context is None else context)
            return self.keyer(mode).key(made, prefix=prefix or b"")
        if prefix is not None:
            return self.keyer(mode).key(item, prefix=prefix)
        if context is None or self._context is False:
            return self.keyer(mode).key(item)
        return self.keyer(mode).key(item, self._selected(context))

    def _selected(self, context: Mapping[str, object]) -> dict[str, object]:
        """Return the entries of a context that are in the key."""
        return select(context, self._context, self._policy.outcome_in)
