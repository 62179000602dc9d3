"""The call of a stream, and the recorder through which its chunks pass."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

from litcache.engine import aliases
from litcache.engine.cache import Cache
from litcache.engine.call import UNCACHEABLE, Misses, Place
from litcache.engine.feeds import StreamClaim, runner
from litcache.engine.modes import One
from litcache.errors import StreamError, ValueEncodingError
from litcache.keys.contexts import Context, changes, snapshot
from litcache.sizes import format_bytes, parse_bytes
from litcache.stores.base import Entry, Store
from litcache.values import chunks as stored
from litcache.values.chunks import Chunk, Chunks, Read
from litcache.values.containers import duplicate
from litcache.values.layouts import Encoded, Payload

_SHARE = 20
"""A stream is stored if it takes at most this part of the store's budget."""
_DEFAULT_BUDGET = 256 << 20
"""What counts as the budget of a store that has none of its own."""


class Stream(One):
    """One item whose output is a stream.

    Args:
        item: The item.
        context: Its context, if the method or its policy takes one.
        cache: The cache of the method.
        is_async: Whether the method is async.

    Attributes:
        source: The user's generator, once it is called.
        chunks: The chunks of an entry, if the stream is taken from one.
        given: A hash of each chunk that the caller has got from a stream that may break off.
        before: The context as it was before the first of them.
        cause: What that stream has raised.
        returned: What the user's generator returned.
    """

    mode = stored.MODE

    def __init__(
        self, item: object, context: Context | None, cache: Cache, *, is_async: bool = False
    ) -> None:
        super().__init__((item,), None if context is None else (context,))
        self.is_async = is_async
        self.most_bytes = most_bytes(cache.store)
        self.source: Any = None
        self.chunks: Chunks | None = None
        self.given = array("q")
        self.before: Context | None = None
        self.returned: Any = None
        self.cause: Exception | None = None
        self._cache = cache

    def new_claim(self) -> StreamClaim:
        return StreamClaim(self.scope.epoch, self.most_bytes)

    def begin(self) -> None:
        pass

    def hold(self) -> None:
        pass

    def accept(self, entries: list[Any], device: Any) -> None:
        self.take(0, entries[0], device)

    def take(self, position: int, entry: Entry, device: Any) -> None:
        self.chunks = Chunks(entry.layout, entry.payload)

    def read(self, layout: bytes, payload: Payload, device: Any) -> Any:
        return stored.decode_all(layout, payload, device)

    def keep(
        self, position: int, entry: Entry | None, output: Any, index: int, device: Any
    ) -> None:
        pass

    def encode(
        self, method: str, output: Sequence[Chunk], places: Sequence[Place], store_as: str | None
    ) -> list[Encoded | ValueEncodingError]:
        return [stored.join(output)]

    def output_at(self, output: Sequence[Chunk], index: int) -> list[Any]:
        """Return what was yielded, as a list: `store_if` and `ttl` are asked with it."""
        return [self.read_chunk(chunk).value for chunk in output[:-1]]

    def read_chunk(self, chunk: Chunk) -> Read:
        """Return a chunk in memory of its own.

        Raises:
            ValueEncodingError: If it cannot be read.
        """
        return stored.read(chunk, self._cache.device)

    @property
    def count(self) -> int:
        """How many chunks the caller has got from a stream that may break off."""
        return len(self.given)

    def has(self, index: int, chunk: Chunk | None, *, is_end: bool = False) -> bool:
        """Return whether the caller has got a chunk, from a stream that broke off.

        Args:
            index: The number of the chunk in the stream that goes on in its place.
            chunk: The chunk; `None` if it cannot be stored.
            is_end: Whether that stream ends with it.

        Raises:
            Exception: If the caller has got another one. Nobody can take that back.
        """
        if index >= self.count:
            return False
        if is_end or chunk is None or self.given[index] != _hash(chunk):
            raise self.cause or StreamError(self._cache.method, self.count)
        return True

    def note(self, chunk: Chunk) -> None:
        """Note that the caller gets a chunk, in case that the rest comes from elsewhere."""
        self.given.append(_hash(chunk))

    def keep_context(self) -> None:
        """Keep a copy of the context before it is changed as another call's was."""
        context = self.context(0)
        if context is not None and self.before is None and self._cache.reads_context:
            self.before = duplicate(context)


def _hash(chunk: Chunk) -> int:
    """Return a number that stands for a chunk in this process."""
    return hash((chunk[0], bytes(chunk[1])))


def most_bytes(store: Store) -> int:
    """Return the most bytes that the entry of one stream may take in a store."""
    budget = getattr(store, "max_bytes", None)
    return (_DEFAULT_BUDGET if budget is None else parse_bytes(budget)) // _SHARE


class Passed(NamedTuple):
    """What has passed the recorder.

    Attributes:
        chunk: The chunk; `None` if it is not recorded.
        changed: The entries of the context that were added or changed before it, by name.
        removed: The names of those that were removed.
    """

    chunk: Chunk | None
    changed: Mapping[str, Any]
    removed: Sequence[str]


class Recorder:
    """Records a stream as it passes, and passes it on to those who follow.

    Args:
        cache: The cache.
        misses: The misses of the call that computes it.
        context: The context that the method gets, if it reads one.
    """

    def __init__(self, cache: Cache, misses: Misses, context: Context | None) -> None:
        self._cache = cache
        self._misses = misses
        self._context = context
        self._before: dict[str, object] = {}
        self._claim = cast("StreamClaim | None", misses.claim)
        self._is_async = cast(Stream, misses.call).is_async
        self._bytes = 0
        is_recorded = misses.keys[0] is not None or bool(misses.tried)
        self._chunks: list[Chunk] | None = [] if is_recorded else None

    def begin(self) -> None:
        """Note the context before the method runs on."""
        if self._context is not None:
            self._before = snapshot(self._context)
        if self._claim is not None:
            self._claim.runner = runner(is_async=self._is_async)

    def record(self, value: object, *, is_end: bool, wanted: bool) -> Passed:
        """Record what was yielded, or returned.

        Args:
            value: What.
            is_end: Whether the stream ends with it.
            wanted: Whether the chunk is needed even if it is not recorded.

        Returns:
            The chunk, and the changes of the context before it.
        """
        changed: dict[str, object] = {}
        removed: list[str] = []
        if self._context is not None:
            hidden = self._cache.policy.outcome_in
            changed, removed = changes(self._before, self._context, hidden)
        chunk = None
        if wanted or self._chunks is not None or (self._claim is not None and self._claim.seats):
            try:
                self._check_aliases(value, changed)
                chunk = stored.encode(value, changed, removed)
            except ValueEncodingError as error:
                self._refuse(error)
            else:
                self._keep(chunk, is_end=is_end)
        return Passed(chunk, changed, removed)

    def _check_aliases(self, value: object, changed: Mapping[str, object]) -> None:
        """Raise the reason why a chunk is not stored: it shares something with the context."""
        seen = self._misses.call.seen
        context = self._context if self._context is not None or seen is None else seen[0]
        fault = aliases.fault_of_output(value, context)
        if fault is None and changed and self._context is not None:
            fault = aliases.fault_of_changes(self._context, changed)
        if fault is not None:
            raise fault

    def _keep(self, chunk: Chunk, *, is_end: bool) -> None:
        """Keep a chunk, and pass it on."""
        self._bytes += stored.size_of(chunk)
        most = cast(Stream, self._misses.call).most_bytes
        if self._chunks is not None and self._bytes > most:
            self._outgrown(most)
        if self._chunks is not None:
            self._chunks.append(chunk)
        if self._claim is not None:
            if is_end:
                self._claim.end = chunk
            else:
                self._claim.pass_on(chunk)

    def _refuse(self, error: ValueEncodingError) -> None:
        if self._chunks is not None:
            self._cache.reporter.swallow(
                "encode", error, "a stream cannot be stored and goes uncached"
            )
        self.stop()

    def _outgrown(self, most: int) -> None:
        """Stop recording a stream that is too large; those who follow already get the rest."""
        self._chunks = None
        self._misses.outcomes[0] = UNCACHEABLE
        self._cache.reporter.warn_once(
            "stream",
            f"a stream is larger than {format_bytes(most)}, a twentieth of the store's budget, and "
            "is not stored; give the store a larger budget (max_bytes), or leave such streams out "
            "with bypass_if",
        )
        if self._claim is not None:
            self._claim.close()
            self._cache.flight.release(self._claim)

    def stop(self, message: str = "") -> None:
        """Stop recording: those who follow compute for themselves."""
        if self._chunks is None and self._claim is None:
            return
        if message:
            self._cache.reporter.warn_once("sent", message)
        self._chunks = None
        self._misses.outcomes[0] = UNCACHEABLE
        if self._claim is not None:
            self._cache.abandon(self._misses)
            self._claim = None

    def finish(self, seconds: float) -> None:
        """Take a stream that has ended by itself, and store it.

        Args:
            seconds: How long the user's generator took.
        """
        cache, misses = self._cache, self._misses
        if self._chunks is not None:
            cache.keep([(misses, 0)], self._chunks, seconds)
        else:
            cache.took(seconds, 1)
        cache.publish([misses])
        misses.to_compute = []
