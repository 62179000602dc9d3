"""The headers of a request: what of them the key and the trial get, and what passes through."""

import pytest

from litcache.http import request_headers
from litcache.http.request_headers import HeaderReader
from litcache.http.responses import LARGEST_BODY

JSON = (b"content-type", b"application/json")


def read(headers, *vary, client_control=False):
    return HeaderReader(frozenset(vary), client_control=client_control).read(headers)


def test_the_headers_of_vary_are_sorted_by_name_and_equal_names_stay_in_order():
    headers = [(b"x-b", b"2"), (b"x-a", b"1"), (b"x-b", b"1"), (b"x-c", b"3")]
    _, varied, _, _ = read(headers, b"x-a", b"x-b")
    assert list(varied) == [(b"x-a", b"1"), (b"x-b", b"2"), (b"x-b", b"1")]


def test_a_content_type_is_read_as_such_in_vary_too():
    headers = [JSON, (b"content-length", b"2")]
    kinds, varied, _, told = read(headers, b"content-type", b"content-length")
    assert kinds == (b"application/json",)
    assert list(varied) == [(b"content-length", b"2"), JSON]
    assert told == [*JSON]


def test_content_types_stay_in_order():
    kinds, _, _, _ = read([(b"content-type", b"b"), (b"content-type", b"a")])
    assert kinds == (b"b", b"a")


@pytest.mark.parametrize(
    "header",
    [
        (b"content-type", b"multipart/form-data; boundary=x"),
        (b"content-type", b" Multipart/Mixed"),
        (b"content-length", b"%d" % (LARGEST_BODY + 1)),
        (b"content-length", b"9" * 99),
    ],
)
@pytest.mark.parametrize("vary", [(), (b"content-type", b"content-length")])
def test_forms_and_large_bodies_pass_through(header, vary):
    assert read([JSON, header], *vary) is None


@pytest.mark.parametrize("length", [b"0", b"%d" % LARGEST_BODY, b"no length at all"])
def test_other_lengths_are_read_on(length):
    assert read([JSON, (b"content-length", length)]) is not None


@pytest.mark.parametrize(
    ("wish", "refresh"),
    [(b"no-cache", True), (b"max-age=0, No-Cache", True), (b"max-age=0", False)],
)
def test_wishes_are_read_if_clients_may_have_some(wish, refresh):
    headers = [JSON, (b"cache-control", wish)]
    assert read(headers, client_control=True)[2] is refresh
    assert read(headers)[2] is False
    assert read(headers, b"cache-control")[1:3] == ([(b"cache-control", wish)], False)


def test_a_wish_that_nothing_is_stored_passes_through():
    headers = [(b"cache-control", b"no-cache"), (b"cache-control", b"no-store")]
    assert read(headers, client_control=True) is None
    assert read(headers) is not None


def test_of_many_names_only_the_latest_are_remembered():
    for number in range(3_000):
        read([(b"x-%d" % number, b"")])
    assert len(request_headers._roles) <= 1_024
