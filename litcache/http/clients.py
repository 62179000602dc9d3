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


def tells(name: bytes) -> bool:
    """Return whether a header tells one client from another.

    Credentials, cookies, languages and unknown headers do. What differs from request to request or
    is added on the way does not: dates, numbers of requests and traces, addresses.

    Args:
        name: Its name in lower case.

    Example:
        >>> tells(b"cookie"), tells(b"x-request-id")
        (True, False)
    """
    return name not in _PASSING and not name.startswith(_PASSING_FAMILIES)


def digest_of(told: Iterable[bytes]) -> int:
    """Return a digest of a client.

    Args:
        told: The names and values of the headers that tell it from others, in their order.

    Returns:
        8 bytes; never 0.

    Example:
        >>> digest_of([b"cookie", b"user=a"]) == digest_of([b"cookie", b"user=b"])
        False
    """
    return xxh3_64_intdigest(b"\0".join(told)) or 1
