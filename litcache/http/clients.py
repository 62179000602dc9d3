"""Which client sent a request, as far as its headers tell."""

from __future__ import annotations

from collections.abc import Iterable

from xxhash import xxh3_64_intdigest

# What differs from request to request of one client, or tells of the way that a request took.
_PASSING = frozenset(
    b"""
    connection keep-alive proxy-connection te trailer transfer-encoding upgrade expect
    content-length date age via forwarded priority referer cache-control pragma max-forwards
    x-real-ip x-client-ip x-cluster-client-ip true-client-ip cf-connecting-ip cf-ray
    request-id x-request-id correlation-id x-correlation-id trace-id x-trace-id x-transaction-id
    idempotency-key x-idempotency-key x-cloud-trace-context x-amzn-trace-id x-request-start
    x-queue-start traceparent tracestate baggage b3 sentry-trace uber-trace-id newrelic
    elastic-apm-traceparent x-stainless-retry-count x-stainless-read-timeout x-stainless-timeout
    """.split()
)
_PASSING_FAMILIES = (
    b"x-forwarded-", b"x-b3-", b"x-datadog-", b"x-envoy-", b"x-ot-span-", b"uberctx-", b"if-",
)  # fmt: skip
_MOST_NAMES = 1024


def client_of(headers: Iterable[tuple[bytes, bytes]]) -> int:
    """Return a digest of the headers that one client sends with each request.

    Credentials, cookies, languages and unknown headers are in it. Left out is what differs from
    request to request or is added on the way: dates, numbers of requests and traces, addresses.

    Args:
        headers: The headers of a request, their names in lower case.

    Returns:
        8 bytes; never 0.

    Example:
        >>> client_of([(b"cookie", b"user=a")]) == client_of([(b"cookie", b"user=b")])
        False
        >>> client_of([(b"x-request-id", b"1")]) == client_of([(b"x-request-id", b"2")])
        True
    """
    parts = [part for header in headers if not _passing[header[0]] for part in header]
    return xxh3_64_intdigest(b"\0".join(parts)) or 1


class _Names(dict[bytes, bool]):
    """Whether headers of a name are left out, as far as such names were asked for lately."""

    def __missing__(self, name: bytes) -> bool:
        if len(self) >= _MOST_NAMES:
            self.clear()
        passes = self[name] = name in _PASSING or name.startswith(_PASSING_FAMILIES)
        return passes


_passing = _Names()
