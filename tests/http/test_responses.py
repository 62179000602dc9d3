"""Stored responses come back as they were, and what else a store may hold is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from litcache.errors import ValueEncodingError
from litcache.http.responses import content_length, lifetime, of_hit, pack, unpack
from litcache.stores.base import NewEntry

NAMES = st.binary(min_size=1, max_size=20).filter(lambda name: name.lower() != b"content-length")
HEADERS = st.lists(st.tuples(NAMES, st.binary(max_size=40)), max_size=6)


@given(HEADERS, st.binary(max_size=200), st.floats(0.5, 1e6), st.integers(0, 6))
def test_a_response_comes_back_as_it_was(headers, body, seconds, position):
    headers.insert(position, (b"Content-Length", b"%d" % len(body)))
    entry = pack(headers, body, seconds, 1_000.0)
    assert unpack(entry) == (entry, tuple(headers), body, seconds, 1_000.0 + seconds)


def test_responses_of_equal_headers_share_a_layout_and_no_length():
    def entry(body):
        return pack([(b"content-length", b"%d" % len(body)), (b"a", b"b")], body, 60.0, 0.0)

    one, other = entry(b"1"), entry(b"22")
    assert one.layout == other.layout
    assert unpack(one)[1] == ((b"content-length", b"1"), (b"a", b"b"))
    assert unpack(other)[1][0] == (b"content-length", b"2")


@given(st.binary(max_size=60))
def test_any_other_layout_is_refused_and_raises_nothing_else(layout):
    with pytest.raises(ValueEncodingError):
        unpack(NewEntry(layout, b"body", 1.0))


@pytest.mark.parametrize(
    "layout",
    [
        b"\x93\x63\xcb@N\x00\x00\x00\x00\x00\x00\x90",  # another format
        b"\x93\x01\xc4\x01a\x90",  # a lifetime that is no number
        b"\x93\x01\x01\x91\x01",  # a header that is no pair
        b"\x93\x01\x01\x91\x92\xa1a\xc4\x01b",  # a name that is text
        b"\x93\x01\x01\x91\x92\xc4\x01a\xcf\x7f" + b"\xff" * 7,  # a value that is a number
    ],
)
def test_a_layout_of_another_make_is_refused(layout):
    with pytest.raises(ValueEncodingError):
        unpack(NewEntry(layout, b"body", 1.0))


def test_an_entry_without_an_expiry_is_no_response():
    with pytest.raises(ValueEncodingError):
        unpack(pack([], b"", 60.0, 0.0)._replace(expires=None))


@pytest.mark.parametrize(
    ("values", "length"),
    [
        ([b"12"], 12), ([b"12", b"12"], 12), ([b"1", b"2"], None), ([], None), ([b"-1"], None),
        ([b"1e3"], None), ([b"\xd9\xa1"], None), ([b" 1"], None), ([b"9" * 30], None),
    ],
)  # fmt: skip
def test_a_length_is_one_number_or_none(values, length):
    assert content_length([(b"content-length", value) for value in values]) == length


@pytest.mark.parametrize(
    ("control", "seconds"),
    [
        (b"max-age=5", 5.0), (b"max-age=90", 60.0), (b'max-age="5"', 5.0), (b"MAX-AGE = 5", 5.0),
        (b"max-age=9, s-maxage=3", 3.0), (b"max-age=-1", None), (b"max-age", None),
        (b"max-age=1, max-age=0", None), (b"public", 60.0), (b"", 60.0), (b"no-transform", 60.0),
        (b"x=no-store", 60.0), (b"no-cache=set-cookie", None), (b",,no-store", None),
    ],
)  # fmt: skip
def test_cache_control_shortens_and_forbids(control, seconds):
    assert lifetime(200, [(b"Cache-Control", control)], 60.0) == seconds


def test_cache_control_may_come_in_many_fields():
    headers = [(b"cache-control", b"max-age=9"), (b"cache-control", b"private")]
    assert lifetime(200, headers, 60.0) is None


@pytest.mark.parametrize(("seconds", "said"), [(0, b"0"), (59.0, b"59"), (-3.0, b"0")])
def test_neither_age_nor_ttl_of_a_hit_is_below_nothing(seconds, said):
    assert of_hit(seconds, seconds) == (
        (b"age", said),
        (b"cache-status", b"litcache; hit; ttl=" + said),
    )
