"""`api.predict.cache`: the cache of a method, for its user."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from litcache.engine.cache import Cache
from litcache.engine.lists import Lists
from litcache.errors import LitCacheError, StoreError, ValueEncodingError
from litcache.keys.contexts import Context
from litcache.observe.counters import CacheInfo
from litcache.policy import CachePolicy
from litcache.stores.base import Entry, NewEntry
from litcache.values import chunks, codec
from litcache.values.cuts import cut_one
from litcache.values.layouts import Encoded
from litcache.values.rows import encode_rows, row_at, row_value

_INFO_SECONDS = 1.0
_READ = {"list": row_value, chunks.MODE: chunks.decode_all}


class CacheHandle:
    """The entries of one method of one API: look up, warm, delete, clear, renew.

    These methods count nothing, and use the keys that the API serves with. If the store fails they
    raise `StoreError`, where serving would compute.

    Args:
        cache: The method's cache.
        mode: How the API serves: `single`, `batch`, `list` or `stream`.
        elsewhere: Returns whether only other processes hold entries.
    """

    def __init__(self, cache: Cache, mode: str, elsewhere: Callable[[], bool]) -> None:
        self._cache = cache
        self._mode = mode
        self._elsewhere = elsewhere

    @property
    def policy(self) -> CachePolicy:
        """The options of the method."""
        return self._cache.policy

    def info(self) -> CacheInfo:
        """Return the counters of this process, once what it has queued is written; never raises.

        It waits a second at most.
        """
        self._cache.guarded.flush(_INFO_SECONDS)
        return self._cache.info()

    def key(self, item: object, context: Context | None = None) -> bytes:
        """Return the key of an item.

        Args:
            item: The decoded item; for a cached `decode_request`, the request.
            context: Its context, if the method takes one.

        Returns:
            16 bytes, the same in every process.

        Raises:
            KeyEncodingError: If the item has no canonical form.
        """
        context, policy = self._context(context), self.policy
        if self._mode != "list":
            return self._cache.keyring.key(self._mode, item, context)
        cut = cut_one(item, policy.list_at)
        call = Lists([cut], None, None if context is None else [context])
        return call.key_of(self._cache.keyring, 0)

    def get(self, item: object, context: Context | None = None) -> Any:
        """Return the stored output of an item.

        Args:
            item: The decoded item; for a cached `decode_request`, the request.
            context: Its context, if the method takes one.

        Returns:
            A copy of the output. With `items="list"`, the item's row; of a generator, the list of
            what it yielded.

        Raises:
            KeyError: If it is not stored.
            KeyEncodingError: If the item has no canonical form.
            StoreError: If the store cannot answer.
        """
        key = self.key(item, context)
        entry = self._cache.guarded.ask(self._cache.scope.renewed(), [key])[0]
        if entry is None:
            raise KeyError(item)
        found = codec.context_changes(entry.layout, entry.payload)
        layout, payload = found[:2] if found is not None else (entry.layout, entry.payload)
        read = _READ.get(self._mode, codec.decode)
        return read(layout, payload, self._cache.device)

    def warm(
        self, items: Sequence[object], outputs: Any, contexts: Sequence[Context] | None = None
    ) -> None:
        """Store outputs that were computed elsewhere.

        Args:
            items: The decoded items; for a cached `decode_request`, the requests.
            outputs: An output for each item, as `unbatch` (or an unbatched `predict`) returns it.
                With `items="list"`, what `predict` returns for all items together. If it is a
                generator, a list for each item of what it yields.
            contexts: Their contexts, if the method takes one.

        Raises:
            ValueError: If there is not one output, and one context if any, for each item, or if
                the policy's `ttl` returns no time for one.
            TypeError: If `ttl` returns a value of another type.
            KeyEncodingError: If an item has no canonical form.
            ValueEncodingError: If an output cannot be stored.
            StoreError: If the store cannot write.
        """
        cache = self._cache
        keys = self._keys(items, contexts)
        rows = self._mode == "list"
        encoded: Sequence[Encoded | ValueEncodingError]
        if self._mode == chunks.MODE:
            encoded = [chunks.encode_all(output) for output in outputs]
        else:
            store_as = self.policy.store_as
            encoded = (
                encode_rows(outputs, columns=True, store_as=store_as)
                if rows
                else codec.encode_many(outputs, store_as)
            )
        if len(encoded) != len(keys):
            raise ValueError(f"{len(encoded)} outputs for {len(keys)} items")
        entries: dict[bytes, Entry] = {}
        for index, (key, pair) in enumerate(zip(keys, encoded, strict=True)):
            if isinstance(pair, Exception):
                raise pair
            output = row_at(outputs, index, columns=True) if rows else outputs[index]
            context = self._context(None if contexts is None else contexts[index])
            fault = cache.files.fault_of(output)
            if fault is not None:
                raise fault
            lifetime = cache.predicates.lifetime_of(items[index], output, context)
            if lifetime.is_stored:
                entries[key] = NewEntry(*pair, lifetime.ends(cache.store.clock))
        scope = cache.scope.renewed()
        scope.version = cache.keyring.version
        if not cache.guarded.flush():  # what is queued is older
            store = type(cache.store).__name__
            raise StoreError("warm: older entries are still queued, the store is slow", store)
        cache.store.set_many(scope, entries)

    def delete(self, items: Sequence[object], contexts: Sequence[Context] | None = None) -> int:
        """Delete the entries of items.

        Args:
            items: The decoded items; for a cached `decode_request`, the requests.
            contexts: Their contexts, if the method takes one.

        Returns:
            How many of the items were stored.

        Raises:
            KeyEncodingError: If an item has no canonical form.
            StoreError: If the store cannot write.
        """
        keys = list(dict.fromkeys(self._keys(items, contexts)))
        # What is queued counts. If it takes too long, the store drops it after the delete.
        self._cache.guarded.flush()
        return self._cache.store.delete_many(self._cache.scope.renewed(), keys)

    def clear(self) -> None:
        """Drop the entries of the namespace; what is being computed for it now is not stored.

        Raises:
            StoreError: If the store cannot write, or if the entries are in the memory of other
                processes, which this process cannot reach.
        """
        cache = self._cache
        if not cache.store.persistent and self._elsewhere() and not self.info().entries:
            raise StoreError(
                f"{cache.method}: this process holds no entries; each worker has a memory store of "
                "its own. Call clear() in the workers, or use a store that they share "
                "(SharedStore, RedisStore)",
                type(cache.store).__name__,
            )
        # What is being computed now has the old epoch: nobody waits for it, and it is not stored.
        cache.store.clear(cache.scope.namespace)

    def renew(self) -> None:
        """Tell the cache that the model has changed, for instance by `load_state_dict` or a LoRA.

        This calls the policy's `version` again, if that is a function, and clears the namespace.
        What the model is computing at this moment is answered, but not stored.

        Raises:
            ValueError: If `version` does not return text.
            StoreError: In the same cases as `clear`.

        Example:
            >>> import litserve as ls
            >>> from litcache import cached_predict
            >>> class GreetingAPI(ls.LitAPI):
            ...     greeting = "hello"
            ...     @cached_predict
            ...     def predict(self, name):
            ...         return f"{self.greeting} {name}"
            >>> api = GreetingAPI()
            >>> first = api.predict("you")
            >>> api.greeting = "goodbye"
            >>> api.predict.cache.renew()
            >>> first, api.predict("you")
            ('hello you', 'goodbye you')
        """
        keyring = self._cache.keyring
        keyring.renew_version()
        _ = keyring.version  # asked now, so that this call raises if it fails
        self.clear()

    def trial(self) -> None:
        """Begin the trial of the method again in this process, also after a disagreement.

        The first hits are computed and compared again. The entries stay.

        Raises:
            LitCacheError: If the method is on no trial, because its policy has `trial=0` or because
                this process does not serve it.
        """
        verdict = self._cache.verdict
        if verdict is None:
            raise LitCacheError(
                f"{self._cache.method}: there is no trial to begin again: its policy has trial=0, "
                "or this process does not serve it"
            )
        verdict.begin()

    def _keys(self, items: Sequence[object], contexts: Sequence[Context] | None) -> list[bytes]:
        if contexts is None:
            return [self.key(item) for item in items]
        if len(contexts) != len(items):
            raise ValueError(f"{len(contexts)} contexts for {len(items)} items")
        return [self.key(*pair) for pair in zip(items, contexts, strict=True)]

    def _context(self, context: Context | None) -> Context | None:
        """Return the context to key with: serving gives every method that takes one at least {}."""
        return {} if context is None and self._cache.reads_context else context
