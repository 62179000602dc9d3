"""The keys of one method: its namespace and version, and what its policy puts into a key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from litcache.keys.contexts import select
from litcache.keys.encoder import Keyer
from litcache.policy import CachePolicy, with_context


class Keyring:
    """Makes the keys of one method of one API, in every mode.

    Args:
        method: The method's qualified name, for messages.
        namespace: Whose entries.
        policy: The method's policy.
        api: What the policy's `version` is given, if it is a function.
        persistent: Whether entries outlive the process, and so need a version.
        reads_context: Whether the method reads a context.
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
        self._key = with_context(policy.key, 1)
        self._version: str | None = None
        self.turn = 0
        self.suspended = False
        self._keyers: dict[str, Keyer] = {}

    @property
    def version(self) -> str:
        """The version in every key, asked of the policy at first use."""
        if self._version is None:
            version = self._policy.version
            if not isinstance(version, str):
                version = version(self._api)
                if not isinstance(version, str) or (self._persistent and not version):
                    raise ValueError(
                        f"{self._method}: version returned {version!r}; it must return text, not "
                        "empty where entries outlive the process"
                    )
            self._version = version
        return self._version

    @property
    def known_version(self) -> str:
        """The version if it was asked for already; asks nobody."""
        version = self._policy.version
        return self._version or (version if isinstance(version, str) else "")

    @property
    def is_custom(self) -> bool:
        """Whether keys are made of what the policy's `key` returns, not of whole items."""
        return self._key is not None

    def suspend(self) -> None:
        """Note that `setup` runs: what is computed meanwhile may be of the old model or the new."""
        self.turn += 1
        self.suspended = True

    def renew_version(self) -> None:
        """Ask the policy for the version again: the model was set up anew."""
        self.turn += 1
        self.suspended = False
        self._version = None
        self._keyers = {}

    def keyer(self, mode: str) -> Keyer:
        """Return what makes the keys of a mode."""
        keyers = self._keyers
        keyer = keyers.get(mode)
        if keyer is None:
            # One namespace may serve both methods of an API, whose outputs differ.
            stage = "decode" if self._method.endswith(".decode_request") else mode
            keyer = Keyer(self._namespace, stage, self.version, digest=self._policy.digest)
            keyers[mode] = keyer
        return keyer

    def key(self, mode: str, item: object, context: Mapping[str, object] | None) -> bytes:
        """Return the key of an item, with what the policy wants of its context.

        Raises:
            KeyEncodingError: If the item, its context, or what `key` makes of them has none.
        """
        if self._key is not None:
            return self.keyer(mode).key(self._key(item, {} if context is None else context))
        if context is None or self._context is False:
            return self.keyer(mode).key(item)
        return self.keyer(mode).key(item, select(context, self._context))
