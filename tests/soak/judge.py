"""Which answers are right, while revisions change and workers are killed."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.load import Answer
from soak.faults import LONGEST
from soak.service import TTL, numbers
from soak.traffic import Request

HOLDS_WITHIN = TTL + 1.0 + LONGEST
"""Within so many seconds a clear must hold: in every front within a second, but a fault may keep a
worker from it; `CacheMiddleware` keeps a response for its ttl."""

DEAD_SECONDS = 2.0
"""So long after a worker is killed, LitServe's queue may still give a request to it."""

Told = tuple[int, str]
"""The status and body with which a server without litcache answers."""


class Revisions:
    """Which revisions an answer may have: none that was removed long before it was asked for.

    Args:
        file: Where the model reads the revision.
    """

    def __init__(self, file: Path) -> None:
        self.current = 0
        self._file = file
        self._cleared: list[tuple[float, int]] = []
        self._deleted: dict[str, list[tuple[float, int]]] = {}
        self.begin()

    def begin(self) -> int:
        """Let the model answer with the next revision; return it."""
        self.current += 1
        new = self._file.with_suffix(".new")
        new.write_text(str(self.current))
        new.replace(self._file)
        return self.current

    def end(self, revision: int, now: float, texts: Iterable[str] | None = None) -> None:
        """Note that entries of earlier revisions, of all texts or of some, are removed by now."""
        if texts is None:
            self._cleared.append((now, revision))
        else:
            for text in texts:
                self._deleted.setdefault(text, []).append((now, revision))

    def removed_for(self, text: str, revision: float, asked: float) -> float:
        """Return for how many seconds entries of a revision were removed when it was asked for."""
        removals = [*self._cleared, *self._deleted.get(text, [])]
        return max([0.0, *(asked - at for at, newer in removals if newer > revision)])


@dataclass
class Ledger:
    """What became of the requests.

    Attributes:
        told: What a server without litcache answers to each odd request.
        revisions: Which revisions are right.
        kinds: How many requests there were of each kind.
        tiers: How many right answers `Cache-Status` calls hits, misses or such.
        wrong: Answers with what stock LitServe would not have answered, and how.
        failed: Errors where stock LitServe would have answered, and requests without an answer.
        lost: Requests that a worker may have had when it was killed, which is stock LitServe's too.
        killed: When workers were killed.
        oldest: The longest that entries were still answered after a clear or delete, in seconds.
    """

    told: dict[str, Told]
    revisions: Revisions
    kinds: Counter[str] = field(default_factory=Counter)
    tiers: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    killed: list[float] = field(default_factory=list)
    oldest: float = 0.0

    def may_be_lost(self, begun: float, now: float) -> bool:
        """Return whether a worker was killed while it may have had a request."""
        return any(at <= now and begun <= at + DEAD_SECONDS for at in self.killed)

    def judge(self, request: Request, answer: Answer | None, begun: float, now: float) -> None:
        """Note whether an answer is right; `None` is that of a client who waited in vain."""
        self.kinds[request.kind] += 1
        if request.leaves:
            return
        fault = self._fault(request, answer, begun)
        if not fault:
            found = re.search(rb"cache-status: (.*)", answer.headers if answer else b"")
            said = found[1].decode().strip() if found else "not cached"
            self.tiers[re.sub(r"ttl=\d+", "ttl", said)] += 1
            return
        said = f"{begun:.3f} to {now:.3f}: {request.kind}, {list(request.texts)}: {fault}"
        if answer is not None and answer.status == 200 and fault != "cut short":
            self.wrong.append(said)
        elif self.may_be_lost(begun, now):
            self.lost.append(said)
        else:
            self.failed.append(said)

    def _fault(self, request: Request, answer: Answer | None, asked: float) -> str:
        """Return what is wrong with an answer; nothing if it is right."""
        if answer is None:
            return "no answer"
        status, body = self.told.get(request.kind, (200, ""))
        if answer.status != status:
            return f"{answer}, not {status} {body}"
        if status != 200:
            return "" if answer.body.decode() == body else f"{answer}, not {body}"
        rows = read(request, answer)
        if rows is None:
            return "cut short"
        if len(rows) != len(request.texts):
            return f"{len(rows)} rows"
        faults = (
            self._row_fault(text, row, asked) for text, row in zip(request.texts, rows, strict=True)
        )
        return next(filter(None, faults), "")

    def _row_fault(self, text: str, row: list[float], asked: float) -> str:
        if row[1:] != numbers(text):
            return f"{row} for {text}"
        if row[0] > self.revisions.current:
            return f"revision {row[0]:.0f} of {text}, which there has not been"
        age = self.revisions.removed_for(text, row[0], asked)
        self.oldest = max(self.oldest, age)
        return f"{text} was removed {age:.3f} s before" if age > HOLDS_WITHIN else ""


def read(request: Request, answer: Answer) -> list[list[float]] | None:
    """Return the rows of an answer; `None` if it is a stream that was cut short."""
    if request.kind == "stream":
        whole = unchunked(answer.body)
        return None if whole is None else [[float(number) for number in whole.split()]]
    content = json.loads(answer.body)
    return content["rows"] if request.kind == "list" else [content["row"]]


def unchunked(body: bytes) -> bytes | None:
    """Return what a chunked body says; `None` if it has no end."""
    whole, rest = b"", body
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        length = int(size, 16)
        if not length:
            return whole
        whole, rest = whole + rest[:length], rest[length + 2 :]
    return None
