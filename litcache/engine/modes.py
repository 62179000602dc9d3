"""The modes of a call whose outputs are values: one item, and a batch of LitServe's loop."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from litcache.engine.call import Call, Misses, Part, Place
from litcache.errors import BatchSizeError, ValueEncodingError
from litcache.keys.keyer import Keyring
from litcache.stores.base import Entry
from litcache.values import codec
from litcache.values.containers import own
from litcache.values.layouts import Encoded, Payload


class _Values(Call):
    """A call whose outputs are values, one for each item."""

    values: list[Any]

    def begin(self) -> None:
        self.values = [None] * len(self.items)

    def accept(self, entries: list[Any], api: Any) -> None:
        device = getattr(api, "device", None)
        if all(entries):
            self.values = codec.decode_many(entries, device)
            return
        hits = [position for position, entry in enumerate(entries) if entry is not None]
        found = codec.decode_many([entries[position] for position in hits], device)
        for position, value in zip(hits, found, strict=True):
            self.values[position] = value

    def take(self, position: int, entry: Entry, device: Any) -> None:
        self.values[position] = codec.decode(entry.layout, entry.payload, device)

    def keep(
        self, position: int, entry: Entry | None, output: Any, index: int, device: Any
    ) -> None:
        value = self.output_at(output, index)
        if entry is not None and codec.differs_from_stored(value):
            value = codec.decode(entry.layout, entry.payload, device)
        self.values[position] = value

    def keep_all(
        self, places: Sequence[Place], entries: Sequence[Entry], output: Any, device: Any
    ) -> None:
        outputs = self.outputs(output)
        for (_, position), entry, value in zip(places, entries, outputs, strict=True):
            if codec.differs_from_stored(value):
                value = codec.decode(entry.layout, entry.payload, device)
            self.values[position] = value

    def read(self, layout: bytes, payload: Payload, device: Any) -> Any:
        return codec.decode(layout, payload, device)

    def joined(self, entries: Sequence[Entry], device: Any) -> Any:
        return codec.decode_many(entries, device)[0]

    def hold(self) -> None:
        self.values = list(map(own, self.values))

    def outputs(self, output: Any) -> Sequence[Any]:
        """Return the outputs of the items of a part."""
        raise NotImplementedError

    def output_at(self, output: Any, index: int) -> Any:
        return self.outputs(output)[index]

    def result(self, device: Any) -> Any:
        return self.values


class One(_Values):
    """One item: the method's argument itself."""

    mode = "single"

    def keys_at_once(self, keyring: Keyring) -> list[bytes]:
        if self.contexts is None:
            return [keyring.keyer(self.mode).key(self.items[0])]
        return super().keys_at_once(keyring)

    def parts(self, group: Sequence[Misses]) -> Iterator[Part]:
        for misses in group:
            yield Part(self.items[0], self.context(0), [(misses, 0)])

    def encode(
        self, method: str, output: Any, places: Sequence[Place], store_as: str | None
    ) -> list[Encoded | ValueEncodingError]:
        return codec.encode_many((output,), store_as)

    def as_stored(
        self, output: Any, encoded: Sequence[Encoded | ValueEncodingError], device: Any
    ) -> Any:
        return _as_stored([output], encoded, device)[0]

    def outputs(self, output: Any) -> Sequence[Any]:
        return (output,)

    def result(self, device: Any) -> Any:
        return self.values[0]


class NoOutputError(ValueEncodingError):
    """One output of a batch could not be made, and what stands in its place is not stored."""


class Unbatched(NamedTuple):
    """The outputs of a batch of LitServe's loop, after `unbatch`.

    Attributes:
        outputs: One output for each item.
        fault: The reason why none of them may be stored, if there is one.
        missing: The positions of those that could not be made, and what was raised instead.
    """

    outputs: list[Any]
    fault: str | None = None
    missing: Mapping[int, Exception] = MappingProxyType({})


class Batch(_Values):
    """A batch of LitServe's loop: `batch`, `predict` and `unbatch` give each item its output."""

    mode = "batch"

    def parts(self, group: Sequence[Misses]) -> Iterator[Part]:
        places = [(misses, position) for misses in group for position in misses.to_compute]
        items = [misses.call.items[position] for misses, position in places]
        contexts = None
        if self.contexts is not None:
            contexts = [misses.call.context(position) for misses, position in places]
        yield Part(items, contexts, places)

    def encode(
        self, method: str, output: Unbatched, places: Sequence[Place], store_as: str | None
    ) -> list[Encoded | ValueEncodingError]:
        if len(output.outputs) != len(places):
            raise BatchSizeError(method, len(places), len(output.outputs))
        if output.fault is not None:
            error = ValueEncodingError(output.fault, "$", type(output.outputs))
            return [error] * len(places)
        encoded = codec.encode_many(output.outputs, store_as)
        for position, raised in output.missing.items():
            encoded[position] = error = NoOutputError("it could not be made")
            error.__cause__ = raised
        return encoded

    def as_stored(
        self, output: Unbatched, encoded: Sequence[Encoded | ValueEncodingError], device: Any
    ) -> Any:
        return output._replace(outputs=_as_stored(output.outputs, encoded, device))

    def outputs(self, output: Unbatched) -> Sequence[Any]:
        return output.outputs


def _as_stored(
    outputs: Sequence[Any], encoded: Sequence[Encoded | ValueEncodingError], device: Any
) -> list[Any]:
    """Return outputs as their entries hold them; those that are not stored as they are."""
    stored = list(outputs)
    pairs = [(at, pair) for at, pair in enumerate(encoded) if type(pair) is tuple]
    values = codec.read_many([pair[0] for _, pair in pairs], [pair[1] for _, pair in pairs], device)
    for (at, _), value in zip(pairs, values, strict=True):
        stored[at] = value
    return stored
