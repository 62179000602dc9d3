"""A Redis server or cluster: opened at first use, and left alone while it is dead."""

from __future__ import annotations

import logging
import os
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from litcache.errors import StoreError
from litcache.stores.breaker import Breaker
from litcache.stores.namespaces import Told
from litcache.stores.redis.url import check_url, public, resolved, stripped
from litcache.stores.redis.wire import Command

if TYPE_CHECKING:
    from litcache.stores.redis.cluster import Cluster
    from litcache.stores.redis.nodes import Server

logger = logging.getLogger("litcache")

_Answer = TypeVar("_Answer")


class _Process:
    """The connections and counters of one process."""

    def __init__(self, nodes: Server | Cluster, breaker: Breaker) -> None:
        self.nodes = nodes
        self.breaker = breaker
        self.full = False
        self.lock = threading.Lock()
        self.counts: Counter[str] = Counter()
        self.told = Told()
        self.epochs: dict[bytes, bytes] = {}


class Remote:
    """A server that may be dead, and what this process knows about it.

    Concurrency: safe in many threads. A forked process opens its own connections and counts from 0.

    Args:
        url: Any URL that redis-py takes; see `Options`.
        timeout: Seconds that an exchange may take, if it moves little data.
        cluster: Whether the URL is that of a node of a Redis Cluster.
        monotonic: The clock by which a failing server is probed, in seconds.

    Raises:
        ImportError: If redis-py is not installed.
        ValueError: If the URL is not one that redis-py takes.
        TypeError: If it is no text.
    """

    def __init__(
        self,
        url: str,
        timeout: float,
        *,
        cluster: bool = False,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        check_url(url)
        nodes = _nodes()
        if nodes.Options(url, timeout).database and cluster:
            raise ValueError("url: with cluster=True the URL must name database 0, or none")
        self._url = url
        self._name = public(resolved(url))
        self._timeout = timeout
        self._cluster = cluster
        self._monotonic = monotonic
        self._withheld = False
        self._processes: dict[int, _Process] = {}

    def __getstate__(self) -> dict[str, Any]:
        url = stripped(self._url)
        withheld = self._withheld or url != self._url
        return {**self.__dict__, "_url": url, "_withheld": withheld, "_processes": {}}

    def __str__(self) -> str:
        return self._name

    def send(self, commands: Sequence[Command]) -> list[Any]:
        """Return the answers to commands; errors may be among them. It takes one round trip a node.

        Raises:
            StoreError: If the server does not answer.
        """
        return self.ask(lambda nodes: nodes.send(commands)) if commands else []

    def confirm(self, commands: Sequence[Command], mark: Command) -> list[Any]:
        """Return the answers to commands that must outlive a failover; see `Server.confirm`.

        Raises:
            StoreError: If the server does not answer, or none of its replicas confirms in time.
        """
        answers, confirmed = self.ask(lambda nodes: nodes.confirm(commands, mark))
        if not confirmed:
            raise self.error(
                "did it, but no replica has confirmed that in time: do it again, since a failover "
                "would bring back what was there"
            )
        return answers

    def ask(self, question: Callable[[Server | Cluster], _Answer]) -> _Answer:
        """Ask the server, unless it has failed too often.

        Raises:
            StoreError: If it does not answer.
        """
        process, nodes = self._process(), _nodes()
        turn = process.breaker.admit()
        if turn is None:
            raise self.error("does not answer and is left alone for the moment")
        try:
            answer = question(process.nodes)
        except nodes.FAILURES as error:
            problem = nodes.described(error)
        except BaseException:
            process.breaker.failed(turn)
            raise
        else:
            if process.breaker.succeeded(turn):
                logger.warning("RedisStore: %s answers again", self)
            return answer
        if process.breaker.failed(turn):
            logger.warning("RedisStore: %s does not answer (%s): going on without", self, problem)
        # Outside of the handler, so that it is not chained: redis-py's error may hold credentials.
        raise self.error(f"does not answer ({problem})")

    def refused(self, error: Exception) -> StoreError:
        """Return the error to raise for an error that the server answered."""
        hint = "; for a Redis Cluster say cluster=True" if code(error) == "MOVED" else ""
        return self.error(f"refuses a command ({_nodes().described(error)}){hint}")

    def error(self, reason: str) -> StoreError:
        """Return the error to raise."""
        return StoreError(f"{self} {reason}", "RedisStore")

    def note_room(self, room: bool) -> None:
        """Log when the server becomes full, and when it has room again."""
        process = self._process()
        if room is not process.full:
            return
        process.full = not room
        if room:
            logger.warning("RedisStore: %s has room again", self)
        else:
            logger.warning(
                "RedisStore: %s is full and drops what is written; set a maxmemory-policy that "
                "evicts, such as allkeys-lru", self,
            )  # fmt: skip

    def count(self, **numbers: int) -> None:
        """Add to the counters of this process."""
        process = self._process()
        with process.lock:
            process.counts.update(numbers)

    @property
    def told(self) -> Told:
        """The versions that this process has noted in the server."""
        return self._process().told

    @property
    def epochs(self) -> dict[bytes, bytes]:
        """The epochs that this process saw last, by the tag of their namespace."""
        return self._process().epochs

    def counted(self) -> dict[str, int]:
        """Return the counters of this process."""
        process = self._process()
        with process.lock:
            return dict(process.counts)

    @property
    def breaker_open(self) -> bool:
        """Whether this process leaves the server alone."""
        process = self._processes.get(os.getpid())
        return process is not None and process.breaker.is_open

    def close(self) -> None:
        """Close the idle connections; a later call opens new ones."""
        process = self._processes.get(os.getpid())
        if process is not None:
            process.nodes.close()

    def _process(self) -> _Process:
        pid = os.getpid()
        process = self._processes.get(pid)
        if process is None:
            process = self._processes.setdefault(pid, self._open())
            # Connections from before a fork belong to the parent.
            for other in set(self._processes) - {pid}:
                self._processes.pop(other, None)
        return process

    def _open(self) -> _Process:
        if self._withheld:
            raise self.error(
                "cannot be used by a pickled copy, since passwords are not pickled: write it as "
                "${NAME} in the URL, the name of an environment variable"
            )
        nodes = _nodes()
        try:
            options = nodes.Options(self._url, self._timeout)
        except ValueError as error:
            problem = str(error)
        else:
            kind = _cluster() if self._cluster else nodes.Server
            return _Process(kind(options), Breaker(clock=self._monotonic))
        raise self.error(f"cannot be opened: {problem}")


def code(answer: object) -> str:
    """Return the code of an error that the server answered; `""` for any other answer."""
    if not isinstance(answer, Exception):
        return ""
    # Redis 6.2 puts its own words before the error of a command in a script.
    inner = re.search(r"@user_script: ?\d+: -?([A-Z]+)\b", str(answer))
    return inner[1] if inner else str(answer).partition(" ")[0]


def _nodes() -> Any:
    """Return the module that needs redis-py; it is loaded at first use."""
    try:
        from litcache.stores.redis import nodes
    except ImportError as error:
        raise ImportError(
            "RedisStore needs redis-py, the extra litcache[redis]: pip install redis"
        ) from error
    return nodes


def _cluster() -> type[Cluster]:
    from litcache.stores.redis.cluster import Cluster

    return Cluster
