"""Frames come back as they were, and nothing else does."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from litcache.errors import ValueEncodingError
from litcache.stores.base import FORMAT, NewEntry
from litcache.stores.frame import EPOCH_BYTES, frame, new_epoch, unframe

EPOCH = b"epoch--1"
entries = st.builds(
    NewEntry,
    st.binary(max_size=100),
    st.binary(max_size=600),
    st.none() | st.floats(allow_nan=False),
    st.integers(0, 2**64 - 1),
)
epochs = st.binary(min_size=EPOCH_BYTES, max_size=EPOCH_BYTES)
keys = st.binary(max_size=24)


@given(entries, epochs, keys)
def test_an_entry_comes_back_as_it_was(entry, epoch, key):
    assert unframe(frame(entry, epoch, key), epoch, key) == entry


@given(entries, keys)
def test_views_are_framed_and_unframed_like_bytes(entry, key):
    view = entry._replace(payload=memoryview(entry.payload))
    data = frame(view, EPOCH, key)
    assert data == frame(entry, EPOCH, key)
    assert unframe(memoryview(data), EPOCH, key) == entry


def test_an_unframed_entry_owns_its_memory():
    buffer = bytearray(frame(NewEntry(b"l", b"payload"), EPOCH))
    entry = unframe(memoryview(buffer), EPOCH)
    buffer[:] = bytes(len(buffer))
    assert entry == NewEntry(b"l", b"payload")


@given(entries, keys, st.data())
def test_any_flipped_bit_is_detected(entry, key, data):
    damaged = bytearray(frame(entry, EPOCH, key))
    bit = data.draw(st.integers(0, 8 * len(damaged) - 1))
    damaged[bit // 8] ^= 1 << bit % 8
    with pytest.raises(ValueEncodingError):
        unframe(bytes(damaged), EPOCH, key)


def test_every_single_flipped_bit_of_one_frame_is_detected():
    whole = frame(NewEntry(b"layout", b"payload", 1.5), EPOCH, b"key")
    for bit in range(8 * len(whole)):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ValueEncodingError):
            unframe(bytes(damaged), EPOCH, b"key")


@given(entries, keys, st.data())
def test_any_truncation_or_extension_is_detected(entry, key, data):
    whole = frame(entry, EPOCH, key)
    cut = data.draw(st.integers(0, len(whole) - 1))
    more = data.draw(st.binary(min_size=1, max_size=40))
    for damaged in (whole[:cut], whole + more):
        with pytest.raises(ValueEncodingError):
            unframe(damaged, EPOCH, key)


@given(st.binary(max_size=200), keys)
def test_foreign_bytes_raise_the_declared_error_alone(data, key):
    with pytest.raises(ValueEncodingError):
        unframe(data, EPOCH, key)


@given(entries, keys)
def test_another_epoch_is_told_apart_from_damage(entry, key):
    data = frame(entry, EPOCH, key)
    assert unframe(data, b"epoch--2", key) is None
    with pytest.raises(ValueEncodingError):
        unframe(data[:-1] + bytes([data[-1] ^ 1]), b"epoch--2", key)


@given(entries, keys, keys)
def test_a_frame_under_another_key_does_not_verify(entry, key, other):
    if key != other:
        with pytest.raises(ValueEncodingError):
            unframe(frame(entry, EPOCH, key), EPOCH, other)


def test_layout_and_payload_do_not_run_into_each_other():
    first = frame(NewEntry(b"ab", b"c"), EPOCH)
    second = frame(NewEntry(b"a", b"bc"), EPOCH)
    assert unframe(first, EPOCH) != unframe(second, EPOCH)


def test_an_entry_of_another_format_is_none_and_not_damaged(monkeypatch):
    earlier = frame(NewEntry(b"l", b"p"), EPOCH)
    monkeypatch.setattr("litcache.stores.base.FORMAT", FORMAT + 1)
    later = frame(NewEntry(b"l", b"p"), EPOCH)
    assert unframe(earlier, EPOCH) is None
    assert unframe(later, EPOCH) == NewEntry(b"l", b"p")
    monkeypatch.undo()
    assert unframe(later, EPOCH) is None


@pytest.mark.parametrize("expires", [0.0, -1.0, 1.7e9, math.inf, 5e-324])
def test_expiries_come_back_exactly(expires):
    assert unframe(frame(NewEntry(b"", b"", expires), EPOCH), EPOCH).expires == expires


@pytest.mark.parametrize("epoch", [b"", b"short", b"nine byte"])
def test_an_epoch_of_another_length_is_refused(epoch):
    with pytest.raises(ValueError, match="8 bytes"):
        frame(NewEntry(b"", b""), epoch)


def test_epochs_are_random():
    assert len({new_epoch() for _ in range(1000)}) == 1000


def test_the_format_is_frozen():
    data = frame(NewEntry(b"layout", b"payload", 1.5), EPOCH, b"key")
    head = "f4af26cf5e9496dc0306000000000000000000f83f"
    assert data.hex() == head + b"epoch--1layoutpayload".hex()


def test_a_frame_with_its_request_is_frozen():
    data = frame(NewEntry(b"layout", b"payload", 1.5, 0x0102), EPOCH, b"key")
    head = "c2aec050bf73d5920306000080000000000000f83f"
    rest = b"epoch--1" + bytes([2, 1, 0, 0, 0, 0, 0, 0]) + b"layoutpayload"
    assert data.hex() == head + rest.hex()
