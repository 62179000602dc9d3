"""Which headers tell one client from another."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from litcache.http.clients import digest_of
from litcache.http.request_headers import HeaderReader

READER = HeaderReader(frozenset(), client_control=False)


def client_of(headers):
    """The digest of the client that sends these headers."""
    return digest_of(READER.read(headers)[-1])


ONE = [(b"host", b"service"), (b"authorization", b"Bearer a"), (b"accept", b"*/*")]

TELLING = [
    (b"authorization", b"Bearer b"),
    (b"cookie", b"session=b"),
    (b"x-api-key", b"b"),
    (b"x-user", b"b"),
    (b"x-tenant-id", b"b"),
    (b"accept-language", b"de"),
    (b"cf-ipcountry", b"DE"),
    (b"host", b"b.service"),
    (b"user-agent", b"b"),
]
PASSING = [
    (b"content-length", b"9"),
    (b"date", b"now"),
    (b"x-request-id", b"7"),
    (b"traceparent", b"00-1-2-01"),
    (b"x-b3-spanid", b"1"),
    (b"x-amzn-trace-id", b"Root=1"),
    (b"x-forwarded-for", b"10.0.0.1"),
    (b"x-forwarded-proto", b"https"),
    (b"cf-ray", b"1"),
    (b"if-none-match", b"1"),
    (b"idempotency-key", b"1"),
    (b"connection", b"close"),
]


@pytest.mark.parametrize("header", TELLING)
def test_credentials_languages_and_unknown_headers_tell_clients_apart(header):
    assert client_of([*ONE, header]) != client_of(ONE)


@pytest.mark.parametrize("header", PASSING)
def test_what_differs_from_request_to_request_does_not(header):
    assert client_of([*ONE, header]) == client_of(ONE)


headers = st.lists(
    st.tuples(st.sampled_from([name for name, _ in TELLING]), st.binary(max_size=3)), max_size=4
).map(lambda pairs: [(name, value.replace(b"\0", b"")) for name, value in pairs])


@given(headers, headers)
def test_a_digest_is_that_of_names_and_values_in_their_order(one, other):
    assert (client_of(one) == client_of(other)) == (one == other)
    assert 0 < client_of(one) < 1 << 64
