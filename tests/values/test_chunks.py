"""Chunks of a stream as one entry: laws, and bytes from elsewhere."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from litcache.errors import ValueEncodingError
from litcache.values import chunks

VALUES = st.one_of(st.text(), st.binary(), st.none(), st.integers(), st.floats(allow_nan=False))
CONTEXTS = st.dictionaries(st.text(max_size=5), VALUES, max_size=2)


@given(st.lists(st.tuples(VALUES, CONTEXTS, st.lists(st.text(max_size=5), max_size=2)), min_size=1))
def test_what_is_joined_is_split_again(parts):
    encoded = [chunks.encode(*part) for part in parts]
    split = chunks.Chunks(*chunks.join(encoded))
    assert len(split) == len(parts)
    read = [chunks.read(chunk) for chunk in split]
    assert [(value, dict(changed), list(removed)) for value, changed, removed in read] == parts


@given(st.lists(VALUES))
def test_a_stream_without_a_context_is_a_list(values):
    assert chunks.decode_all(*chunks.encode_all(values)) == values


@given(st.data())
def test_an_entry_that_was_cut_or_changed_is_read_or_refused(data):
    layout, payload = chunks.encode_all(["one", 2, [3]])
    cut = payload[: data.draw(st.integers(0, len(payload) - 1))]
    at = data.draw(st.integers(0, len(payload) - 1))
    changed = payload[:at] + bytes([data.draw(st.integers(0, 255))]) + payload[at + 1 :]
    for damaged in (cut, changed):
        with contextlib.suppress(ValueEncodingError):
            chunks.decode_all(layout, damaged)


@pytest.mark.parametrize("layout", [b"", b"v", b"ss"])
def test_what_is_no_stream_is_refused(layout):
    with pytest.raises(ValueEncodingError, match="no layout of a stream"):
        chunks.Chunks(layout, b"")


def test_the_bytes_of_a_stream_stay_as_they_are():
    numbers = [3, 1, 2, 1, 1, 1, 1]  # of chunks; of each, the sizes of its layout and its payload
    before = b"".join(number.to_bytes(8, "little") for number in numbers)
    assert chunks.encode_all(["a", 7]) == (b"s", before + b"v\xa1a" + b"v\x07" + b"v\xc0")
