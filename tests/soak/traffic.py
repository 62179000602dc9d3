"""What the clients of the soak send: a pure function of a seed, and of the client's number."""

from __future__ import annotations

import gzip
import itertools
import json
import random
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from soak.service import LARGEST

TEXTS = 4_000
EXPONENT = 0.9
"""The k-th most popular text is asked for in proportion to k^-EXPONENT."""

SHARES = {"text": 55, "list": 15, "stream": 10, "odd": 20}
LONGEST_LIST = 8
LEAVING = 0.1
"""The share of streams whose client leaves at once."""

DEEP = 10_000


class Request(NamedTuple):
    """What a client sends.

    Attributes:
        kind: `text`, `list`, `stream`, or one of `ODD`.
        texts: The texts that it asks for.
        pieces: Its bytes, sent one after the other with a pause.
        leaves: Whether the client then leaves without waiting for the answer.
    """

    kind: str
    texts: Sequence[str]
    pieces: Sequence[bytes]
    leaves: bool = False


def raw(body: bytes, *headers: str, line: str = "POST /predict", length: str = "right") -> bytes:
    """Return the bytes of a request."""
    head = [f"{line} HTTP/1.1", "Host: server", *headers]
    if not any(header.lower().startswith("content-type:") for header in headers):
        head.append("Content-Type: application/json")
    if length:
        head.append(f"Content-Length: {len(body) if length == 'right' else length}")
    return "\r\n".join([*head, "", ""]).encode("latin-1") + body


def _json(text: str) -> bytes:
    return json.dumps({"text": text}).encode()


def _chunked(body: bytes, *, end: bytes = b"0\r\n\r\n", size: int = 7) -> bytes:
    parts = (body[start : start + size] for start in range(0, len(body), size))
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)
    return raw(b"", "Transfer-Encoding: chunked", length="") + chunks + end


def _slowly(text: str) -> list[bytes]:
    whole = raw(_json(text))
    return [whole[:20], whole[20:-9], whole[-9:]]


MULTIPART = "Content-Type: multipart/form-data"
FORM = "Content-Type: application/x-www-form-urlencoded"
BOMB = [f"X-Header-{number}: {'x' * 1_000}" for number in range(60)]
ODD: dict[str, Callable[[str], bytes | list[bytes]]] = {
    "not JSON": lambda text: raw(text.encode()),
    "no body": lambda text: raw(b""),
    "truncated JSON": lambda text: raw(_json(text)[:-2]),
    "not UTF-8": lambda text: raw(b'{"text": "\xff\xfe"}'),
    "a list": lambda text: raw(json.dumps([text]).encode()),
    "null": lambda text: raw(b"null"),
    "text of a wrong type": lambda text: raw(b'{"text": 7}'),
    "no text": lambda text: raw(json.dumps({"txt": text}).encode()),
    "nested 10,000 deep": lambda text: raw(b"[" * DEEP + b"]" * DEEP),
    "text nested 100 deep": lambda text: raw(b'{"text": ' + b"[" * 100 + b"]" * 100 + b"}"),
    "the model raises": lambda text: raw(_json("raise " + text)),
    "gzip-encoded": lambda text: raw(gzip.compress(_json(text)), "Content-Encoding: gzip"),
    "too large": lambda text: raw(_json(text * (LARGEST // 5))),
    "too large, chunked": lambda text: _chunked(_json(text * (LARGEST // 5)), size=60_000),
    "multipart without a boundary": lambda text: raw(_json(text), MULTIPART),
    "a form": lambda text: raw(f"text={text.replace(' ', '+')}".encode(), FORM),
    "chunked": lambda text: _chunked(_json(text)),
    "a broken chunk": lambda text: _chunked(b"", end=b"zz\r\nzz\r\n"),
    "slow": _slowly,
    "another path": lambda text: raw(_json(text), line="POST /predicts"),
    "another method": lambda text: raw(_json(text), line="PUT /predict"),
    "no method": lambda text: raw(_json(text), line="BREW /predict"),
    "not HTTP": lambda text: text.encode() + b"\r\n\r\n",
    "two lengths": lambda text: raw(_json(text), "Content-Length: 3"),
    "no number for a length": lambda text: raw(_json(text), length="many"),
    "a length and chunks": lambda text: raw(_json(text), "Transfer-Encoding: chunked"),
    "a header without a name": lambda text: raw(_json(text), ": nameless"),
    "a header with a space in its name": lambda text: raw(_json(text), "X Header: 1"),
    "two content types": lambda text: raw(
        _json(text), "Content-Type: application/json", "Content-Type: text/plain"
    ),
    "60 KB of headers": lambda text: raw(_json(text), *BOMB),
    "leaves within the headers": lambda text: raw(_json(text))[:40],
    "leaves within the body": lambda text: raw(_json(text), length="1000"),
    "leaves within a chunk": lambda text: _chunked(_json(text), end=b"ff\r\nab"),
    "leaves before the answer": lambda text: raw(_json(text)),
}  # fmt: skip


def odd(kind: str, text: str) -> Request:
    """Return an odd request of a kind that asks for a text."""
    made = ODD[kind](text)
    pieces = made if isinstance(made, list) else [made]
    return Request(kind, [text], pieces, kind.startswith("leaves"))


_POPULARITY = [*itertools.accumulate((k + 1) ** -EXPONENT for k in range(TEXTS))]


def texts(drawn: random.Random, count: int) -> list[str]:
    """Draw texts, of which few are popular."""
    places = drawn.choices(range(TEXTS), cum_weights=_POPULARITY, k=count)
    return [f"text {place}" for place in places]


def draw(seed: int, client: int) -> Iterator[Request]:
    """Yield the requests of a client, without an end."""
    drawn, kinds = random.Random(f"{seed} {client}"), list(ODD)
    while True:
        (kind,) = drawn.choices(list(SHARES), SHARES.values())
        wanted = texts(drawn, drawn.randint(1, LONGEST_LIST) if kind == "list" else 1)
        if kind == "odd":
            yield odd(drawn.choice(kinds), wanted[0])
        elif kind == "list":
            body = json.dumps({"texts": wanted}).encode()
            yield Request(kind, wanted, [raw(body, line="POST /lists")])
        elif kind == "stream":
            # Without a length, so that the end of the connection is the end of the answer.
            last = raw(_json(wanted[0]), "Connection: close", line="POST /stream")
            yield Request(kind, wanted, [last], leaves=drawn.random() < LEAVING)
        else:
            yield Request(kind, wanted, [raw(_json(wanted[0]))])
