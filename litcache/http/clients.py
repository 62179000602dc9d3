"""Which client sent a request, as far as its headers tell."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

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
    parts: list[bytes] = []
    for header in headers:
        if not _passes(header[0]):
            parts += header
    return xxh3_64_intdigest(b"\0".join(parts)) or 1


@lru_cache(maxsize=1024)
def _passes(name: bytes) -> bool:
    return name in _PASSING or name.startswith(_PASSING_FAMILIES)
