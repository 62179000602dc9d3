"""The trial of a path: hits are sent on to LitServe, and both answers are compared."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Sequence
from typing import Any

from starlette.types import Message

from litcache.engine import threads
from litcache.http.clients import digest_of
from litcache.http.responses import LARGEST_BODY, Headers, Stored, content_length
from litcache.http.tier import ResponseTier
from litcache.observe.counters import Counters
from litcache.trial.answers.compare import Difference, freeze
from litcache.trial.refusals import OF_THE_MOMENT
from litcache.trial.verdict import Tried, Verdict
from litcache.trial_policy import Trial

_JSON = re.compile(rb"application/(.*\+)?json\s*(;.*)?", re.IGNORECASE)
_SMALL = 65536
# Clients have no fields: that it is another one is known, and not what differs.
_OTHER_CLIENT = 1


class Standings:
    """The states of all paths of a middleware, of which its counters tell the worst.

    Args:
        counters: The counters of the middleware.
    """

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._lock = threading.Lock()
        self._states: dict[str, str] = {}
        self._disagreements: dict[str, str] = {}

    def note(self, path: str, state: str, disagreement: str) -> None:
        """Note the state of a path, and what differed there."""
        with self._lock:
            self._states[path] = state
            self._disagreements[path] = disagreement
            states, counters = self._states.values(), self._counters
            counters.state = next((s for s in ("off", "trial") if s in states), "on")
            counters.disagreement = "; ".join(
                f"{path}: {text}" for path, text in self._disagreements.items() if text
            )

    def add(self, disagreements: int) -> None:
        """Count disagreements of any path."""
        self._counters.add(disagreements=disagreements)


class _Standing:
    """The state of one path, as `Verdict` keeps it.

    Attributes:
        state: `"trial"`, `"on"` or `"off"`.
        disagreement: What differed; empty if nothing did.
    """

    def __init__(self, standings: Standings, path: str) -> None:
        self._standings = standings
        self._path = path
        self._state, self._disagreement = "on", ""

    @property
    def state(self) -> str:
        return self._state

    @state.setter
    def state(self, state: str) -> None:
        self._state = state
        self._standings.note(self._path, state, self._disagreement)

    @property
    def disagreement(self) -> str:
        return self._disagreement

    @disagreement.setter
    def disagreement(self, text: str) -> None:
        self._disagreement = text
        self._standings.note(self._path, self._state, text)

    def add(self, *, disagreements: int) -> None:
        self._standings.add(disagreements)


class PathTrial:
    """The trial of one path in this process.

    Args:
        path: The path.
        trial: The options of the trial.
        tier: The cache of the middleware.
        standings: The states of its paths.

    Attributes:
        remade: Places of a response that LitServe itself makes anew for each request.
        verdict: What the trial has found.
    """

    def __init__(self, path: str, trial: Trial, tier: ResponseTier, standings: Standings) -> None:
        self.remade: Sequence[str] = ()
        self._tier = tier
        self._hint: Sequence[str] = ()
        self.verdict = Verdict(
            f"{tier.reporter.method} {path}", trial, _Standing(standings, path), tier.reporter,
            stop=tier.forget, causes=lambda: self._hint, has_fields=False,
        )  # fmt: skip

    def take_up(self, stored: Stored, told: Sequence[bytes]) -> TriedHit | None:
        """Return a hit that LitServe is to answer, too; `None` if the stored response is given.

        Args:
            stored: The stored response.
            told: What tells the client that asks from others.
        """
        verdict, entry = self.verdict, stored[0]
        try:
            made_by = entry.request  # type: ignore[attr-defined]
        except AttributeError:  # an entry of a store that keeps no digests
            made_by = 0
        # Where the entry does not say whose it is, no client is known to be another one.
        is_other = made_by and verdict.wants_large and digest_of(told) != made_by
        unlike = _OTHER_CLIENT if is_other else 0
        return TriedHit(self, stored, unlike) if verdict.chooses(unlike) else None

    async def compare(self, hit: TriedHit) -> None:
        """Compare the two answers of a hit, and draw the conclusion.

        Raises:
            DisagreementError: In strict mode, if they differ.
        """
        if self._tier.blocking or len(hit.stored) > _SMALL or hit.size > _SMALL:
            await threads.run(self._compare, hit)
        else:
            self._compare(hit)

    def _compare(self, hit: TriedHit) -> None:
        if found := self._differences(hit):
            self._hint = _causes(hit.tried, found[0])
            self.verdict.disagreed(found)
        else:
            self.verdict.agreed(hit.tried)

    def _differences(self, hit: TriedHit) -> Sequence[Difference]:
        stored, kind = hit.stored, hit.stored_kind
        if hit.status != 200:
            return [Difference("status", "200", str(hit.status))]
        if hit.kind != kind:
            return [Difference("content-type", _shown(kind), _shown(hit.kind))]
        fresh = hit.body()
        if fresh is None:
            return [Difference("$", f"{len(stored)} bytes", f"more than {LARGEST_BODY}")]
        if fresh == stored:
            return []
        one, other = _values(stored, fresh, kind)
        return self.verdict.differences(freeze(one), freeze(other), self.remade)


class TriedHit:
    """A hit that LitServe answers, too.

    Args:
        trial: The trial of its path.
        stored: The response that was found.
        unlike: Whether its client is another one; 0 if it is not, or not known.

    Attributes:
        stored: The body of the response that was found.
        stored_kind: Its content type.
        tried: Its place in the trial.
        status: The status of LitServe's answer.
        kind: Its content type.
        size: How many bytes its body has so far.
        is_compared: Whether the answers were compared.
    """

    def __init__(self, trial: PathTrial, stored: Stored, unlike: int) -> None:
        entry, headers, self.stored, _, _ = stored
        self.stored_kind = _content_type(headers)
        self.tried = Tried(entry, unlike=unlike)
        self.status = self.size = 0
        self.kind = b""
        self.is_compared = False
        self._trial = trial
        self._parts: list[bytes] = []
        self._length: int | None = None
        self._is_whole = False

    def take(self, message: Message) -> None:
        """Take a message of LitServe's answer."""
        if message["type"] == "http.response.start":
            headers = message.get("headers", ())
            self.status, self.kind = message["status"], _content_type(headers)
            self._length = content_length(headers)
        elif message["type"] == "http.response.body":
            part = message.get("body", b"")
            self.size += len(part)
            if self.size <= LARGEST_BODY:
                self._parts.append(bytes(part))
            else:
                self._parts.clear()
            self._is_whole = not message.get("more_body", False)

    async def compare(self) -> None:
        """Compare the answers, once the client has all of LitServe's.

        Raises:
            DisagreementError: In strict mode, if they differ.
        """
        if self._is_whole and self._tells and not self.is_compared:
            self.is_compared = True
            await self._trial.compare(self)

    @property
    def _tells(self) -> bool:
        """Whether the answer came as a whole, and says something of the entry."""
        passing = self.status >= 500 or self.status in OF_THE_MOMENT
        return not passing and self._length in (None, self.size)

    def body(self) -> bytes | None:
        """Return the body of LitServe's answer; `None` if it was too large to be kept."""
        return b"".join(self._parts) if self.size <= LARGEST_BODY else None


def _content_type(headers: Headers) -> bytes:
    return b", ".join(value for name, value in headers if name.lower() == b"content-type")


def _shown(kind: bytes) -> str:
    return kind.decode("latin-1") or "none"


def _values(stored: bytes, fresh: bytes, kind: bytes) -> tuple[Any, Any]:
    """Return two bodies as what they hold if both are JSON, else as they are."""
    if _JSON.fullmatch(kind):
        try:
            return json.loads(stored), json.loads(fresh)
        except (ValueError, RecursionError):
            pass
    return stored, fresh


def _causes(tried: Tried, difference: Difference) -> list[str]:
    """Return the usual causes of a disagreement, the likeliest first."""
    client = (
        "the answer depends on who asks, by a header or by what authorize keeps of it: name the "
        "header in vary, or leave the path out of paths"
    )
    place = difference.place if difference.place.startswith("$") else "$.id"
    changing = (
        "the answer holds a clock, an id or a random number: leave its place out with "
        f"trial=Trial(ignore=({place!r},))"
    )
    model = "the model samples, or it was replaced: leave the path out of paths, or set version"
    return [client, changing, model] if tried.unlike else [changing, model, client]
