"""The mode of `items="list"`: the items of a call are the elements of lists."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from litcache.engine.call import COALESCED, HIT, Call, Misses, Part, Place
from litcache.engine.rows import RowCall
from litcache.errors import KeyEncodingError
from litcache.keys.contexts import Context
from litcache.keys.encoder import canonical, differ
from litcache.keys.keyer import Keyring, Shared
from litcache.values import codec
from litcache.values.containers import duplicate
from litcache.values.cuts import Cut


class Lists(RowCall):
    """Lists of items, each a request or the argument of a call: their misses are pooled.

    The items of a request share what stands around its list, and its context. The method gets
    items of several requests together if these are equal. It gets a copy of the context, so that
    each of its calls finds the context as it was at the look-up; what it changed is done in the
    contexts of the requests when every item has its output.

    Args:
        cuts: The list of each request.
        max_items: The largest number of items in one call of the method; `None`: any number.
        contexts: The context of each request, if the method or its policy takes one.
    """

    mode = "list"
    columns = True

    def __init__(
        self,
        cuts: Sequence[Cut],
        max_items: int | None,
        contexts: Sequence[Context] | None = None,
    ) -> None:
        super().__init__([item for cut in cuts for item in cut.items])
        self.max_items = max_items
        self._changed: dict[int, tuple[Mapping[str, Any], Sequence[str]]] = {}
        self._take_requests(cuts, contexts)

    def _take_requests(self, cuts: Sequence[Cut], contexts: Sequence[Context] | None) -> None:
        self.cuts = cuts
        self._sizes = [len(cut.items) for cut in cuts]
        self._contexts = contexts
        self._shares_nothing = contexts is None and all(cut.at is None for cut in cuts)
        self._request_of = [at for at, size in enumerate(self.sizes) for _ in range(size)]
        if contexts is not None:
            self.contexts = [contexts[at] for at in self._request_of]
        self._shared: dict[int, Shared] = {}
        self._given: dict[int, Context] = {}
        self._rests: list[Any] | None = None

    @property
    def sizes(self) -> Sequence[int]:
        return self._sizes

    # ------------------------------------------------------------------ keys

    def keys_at_once(self, keyring: Keyring) -> list[bytes]:
        keys: list[bytes] = []
        start, keyer = 0, keyring.keyer(self.mode)
        if self._shares_nothing:
            return keyer.keys(self.items)
        for request, size in enumerate(self.sizes):
            prefix = self._share(keyring, request).prefix
            keys += keyer.keys(self.items[start : start + size], prefix)
            start += size
        return keys

    def key_of(self, keyring: Keyring, position: int) -> bytes:
        prefix = self._share(keyring, self._request_of[position]).prefix
        return keyring.key(self.mode, self.items[position], self.context(position), prefix)

    def keys_again(self, keyring: Keyring) -> list[bytes]:
        self._shared, self._given = {}, {}
        return super().keys_again(keyring)

    def _share(self, keyring: Keyring, request: int) -> Shared:
        """Return what the keys of a request's items share.

        Raises:
            KeyEncodingError: If it has no canonical form.
        """
        shared = self._shared.get(request)
        if shared is None:
            contexts = self._contexts
            context = None if contexts is None else contexts[request]
            shared = self._shared[request] = keyring.shared(self.cuts[request].rest, context)
        return shared

    # ------------------------------------------------------------------ contexts

    @property
    def request_contexts(self) -> Sequence[Context] | None:
        return self._contexts

    def context(self, position: int) -> Context | None:
        """Return the context of an item: the one that the method got for it, if it was computed."""
        given = self._given.get(position)
        return super().context(position) if given is None else given

    def change(self, position: int, changed: Mapping[str, Any], removed: Sequence[str]) -> None:
        self._changed[position] = changed, removed

    def adopt(self) -> None:
        """Take the context as the method left it, if it answered the only request at once."""
        context = super().context(0)
        if context is not None and 0 in self._given:
            context.clear()
            context.update(self._given[0])

    def put_back(self) -> None:
        self._changed = {}  # the method gets copies of the contexts

    def _do_changes(self) -> None:
        """Do what the method changed for the items in the contexts of their requests."""
        for position, (changed, removed) in sorted(self._changed.items()):
            context = super().context(position)
            if context is not None:
                context.update((name, duplicate(value)) for name, value in changed.items())
                for name in removed:
                    context.pop(name, None)
        self._changed = {}

    # ------------------------------------------------------------------ buffers used again

    def protect(self) -> None:
        super().protect()
        if self._rests is None:
            self._rests = [duplicate(cut.rest) for cut in self.cuts]

    def restore(self) -> None:
        super().restore()
        for cut, copy in zip(self.cuts, self._rests or (), strict=False):
            if differ(cut.rest, copy):
                cut.rest = copy

    def renew(self, fresh: Call) -> None:
        super().renew(fresh)
        assert isinstance(fresh, Lists)
        self._take_requests(fresh.cuts, fresh.request_contexts)

    # ------------------------------------------------------------------ parts and results

    def parts(self, group: Sequence[Misses]) -> Iterator[Part]:
        alike: dict[object, list[Place]] = {}
        for misses in group:
            assert isinstance(misses.call, Lists)
            for position in misses.to_compute:
                alike.setdefault(misses.call._pool_of(position), []).append((misses, position))
        for places in alike.values():
            size = self.max_items or len(places)
            for start in range(0, len(places), size):
                yield self._part(places[start : start + size])

    def _pool_of(self, position: int) -> object:
        """Return what is equal for items that the method may get together.

        It depends on the item's own request, never on the others.
        """
        request = self._request_of[position]
        cut = self.cuts[request]
        contexts = self._contexts
        if self._shares_nothing:
            return cut.kind
        shared = self._shared.get(request)
        form: object = shared and shared.form
        if shared is None:
            try:
                form = canonical([cut.rest, None if contexts is None else contexts[request]])
            except KeyEncodingError:  # nobody knows what it equals
                form = id(cut)
        return cut.kind, form

    def _part(self, places: list[Place]) -> Part:
        first, position = places[0]
        call = first.call
        assert isinstance(call, Lists)
        request = call._request_of[position]
        context = None
        if call._contexts is not None:
            context = {n: duplicate(v) for n, v in call._contexts[request].items()}
            for misses, place in places:
                misses.call._given[place] = context  # type: ignore[attr-defined]
        items = [misses.call.items[place] for misses, place in places]
        return Part(call.cuts[request].filled(items), context, places)

    def argument(self, request: int) -> Any:
        self.restore()
        start = sum(self.sizes[:request])
        return self.cuts[request].filled(self.items[start : start + self.sizes[request]])

    def result(self, device: Any) -> Any:
        """Return the rows of the only list."""
        if self.whole is not None and not codec.differs_from_stored(self.whole):
            merged = self.whole
        else:
            merged = self.merge(0, len(self.items), device)
        self._do_changes()
        return merged

    def results(self, device: Any) -> list[Any]:
        """Return the rows of each list, in the container that the method returns."""
        merged, start = [], 0
        for size in self.sizes:
            merged.append(self.merge(start, start + size, device))
            start += size
        self._do_changes()
        return merged


def answered(misses: Misses | None, sizes: Sequence[int]) -> tuple[int, int, int]:
    """Count requests by how many of their items were hits or coalesced.

    Args:
        misses: The misses of the call; `None`: all items hit.
        sizes: How many items each request has, in the order of the items; 1 or more.

    Returns:
        For how many requests that was all items, some of them, and none.
    """
    if misses is None:
        return len(sizes), 0, 0
    counts, start = [0, 0, 0], 0
    for size in sizes:
        found = sum(o in (HIT, COALESCED) for o in misses.outcomes[start : start + size])
        counts[0 if found == size else 1 if found else 2] += 1
        start += size
    return counts[0], counts[1], counts[2]
