"""Commands to Redis servers in one round trip, over the connections of redis-py."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from redis import Connection, RedisError
from redis.backoff import NoBackoff
from redis.retry import Retry

from litcache.stores.redis.url import parsed, resolved
from litcache.stores.redis.wire import Command, Deadline, ErrorAnswer, Wire, packed

# What a call of a node may raise; ValueError means that something else than Redis answers.
FAILURES = (RedisError, OSError, ValueError, ErrorAnswer)

# Options of redis-py's client and pool, which a connection does not take.
_FOR_POOLS = ("max_connections", "timeout")

# The share of a timeout in which replicas must confirm.
_CONFIRM_SHARE = 0.5


def described(error: BaseException) -> str:
    """Return what went wrong without credentials: servers repeat what they are sent."""
    text = type(error).__name__
    if isinstance(error, ErrorAnswer):
        code = str(error).partition(" ")[0]
        return f"{text} {code}" if code.isalpha() and code.isupper() else text
    cause = error if isinstance(error, OSError) else error.__context__
    if isinstance(cause, OSError) and cause.strerror:
        return f"{text}: {cause.strerror}"
    return text


class Options:
    """How to connect to the nodes of a URL.

    Args:
        url: Any URL that redis-py takes. `${NAME}` as the whole URL, or as its user name or
            password, stands for that environment variable.
        timeout: Seconds that an exchange may take, with connecting, if it moves little data.

    Attributes:
        address: Host and port; the path of the socket and 0.
        timeout: The timeout.
        database: The number of the database.

    Raises:
        ValueError: If it is not such a URL; the message repeats no part of it.
    """

    def __init__(self, url: str, timeout: float) -> None:
        options = parsed(resolved(url))
        self.timeout = timeout
        self.database = int(options.get("db", 0))
        self._class: type[Any] = options.pop("connection_class", Connection)
        self._options = {
            **{name: resolved(options[name]) for name in options if name not in _FOR_POOLS},
            "decode_responses": False,
            "protocol": 2,
            "retry": Retry(NoBackoff(), 0),
            "retry_on_timeout": False,
            "health_check_interval": 0,
            "redis_connect_func": _nothing,  # the handshake is our own, within the deadline
        }
        self.address = (
            (str(options["path"]), 0)
            if "path" in options
            else (str(options.get("host", "localhost")), int(options.get("port", 6379)))
        )
        try:
            self._connection(self.address, timeout)
        except (TypeError, *FAILURES) as error:
            problem = type(error).__name__
        else:
            return
        raise ValueError(f"url: redis-py does not take an option in the URL ({problem})")

    def _connection(self, address: tuple[str, int], timeout: float) -> Any:
        where: dict[str, Any] = {"socket_timeout": timeout, "socket_connect_timeout": timeout}
        if "path" not in self._options:
            where |= {"host": address[0], "port": address[1]}
        return self._class(**{**self._options, **where})

    def connect(self, address: tuple[str, int], deadline: Deadline) -> Wire:
        """Return a new connection to a node, open and with the handshake done.

        Raises:
            Any of `FAILURES`: If the node does not answer or refuses.
        """
        connection = self._connection(address, deadline.left())
        connection.connect()
        wire = Wire(connection)
        try:
            greeting = self._greeting()
            wire.send(packed(greeting), deadline)
            for answer in wire.answers(len(greeting), deadline):
                if isinstance(answer, Exception):
                    raise answer
        except BaseException:
            wire.close()
            raise
        return wire

    def _greeting(self) -> list[Command]:
        options, commands = self._options, list[Command]()
        user, password = options.get("username"), options.get("password")
        if user or password:
            commands.append(("AUTH", *([user] if user else []), password or ""))
        if self.database:
            commands.append(("SELECT", self.database))
        if options.get("client_name"):
            commands.append(("CLIENT", "SETNAME", options["client_name"]))
        return commands


class Node:
    """One server, with a connection for each running call, and idle connections.

    Args:
        options: How to connect.
        address: Its host and port.

    Attributes:
        timeout: Seconds that an exchange may take.
        replicas: How many replicas it has, in a cluster.
    """

    def __init__(self, options: Options, address: tuple[str, int]) -> None:
        self.address = address
        self.timeout = options.timeout
        self.replicas = 0
        self._options = options
        self._idle: list[Wire] = []

    def take(self, deadline: Deadline) -> Wire:
        """Return an open connection that has nothing to read."""
        while True:
            try:
                wire = self._idle.pop()
            except IndexError:
                return self._options.connect(self.address, deadline)
            try:
                if wire.is_quiet():
                    return wire
            except FAILURES:
                pass  # the server has closed it, and most likely the others, too
            wire.close()

    def give(self, wire: Wire) -> None:
        """Take back a connection; all its answers have been read."""
        self._idle.append(wire)

    def send(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands in one round trip and return their answers, in order."""
        return exchange({self: commands})[self]

    def close(self) -> None:
        """Close the idle connections."""
        while self._idle:
            self._idle.pop().close()


def exchange(parts: Mapping[Node, Sequence[Command]]) -> dict[Node, list[Any]]:
    """Send each node its commands, then read all answers: one round trip for any number of nodes.

    Args:
        parts: The commands of each node.

    Returns:
        The answers of each node; an error that a node answered is an `ErrorAnswer` among them.

    Raises:
        Any of `FAILURES`: If a node does not answer in time.
    """
    deadline = Deadline(max((node.timeout for node in parts), default=0.0))
    taken: list[tuple[Node, Wire]] = []
    answers: dict[Node, list[Any]] = {}
    complete = False
    try:
        # Send to all first: a question beside a write must not be answered long before the write.
        for node in parts:
            taken.append((node, node.take(deadline)))  # noqa: PERF401 - kept if the next one fails
        for node, wire in taken:
            wire.send(packed(parts[node]), deadline)
        for node, wire in taken:
            answers[node] = wire.answers(len(parts[node]), deadline)
        complete = True
    finally:
        for node, wire in taken:
            if complete:
                node.give(wire)
            else:
                wire.close()
                node.close()
    return answers


def waiting(timeout: float) -> Command:
    """Return the command that waits until a replica has the earlier writes of the connection."""
    return ("WAIT", 1, max(1, int(timeout * _CONFIRM_SHARE * 1000)))


def _list(answer: Any, keys: Sequence[bytes]) -> list[Any]:
    """Return an answer that has a part for each key."""
    if isinstance(answer, ErrorAnswer):
        raise answer
    if not isinstance(answer, list) or len(answer) != len(keys):
        raise ValueError("no answer of Redis")
    return answer


def _bytes(answer: object) -> bytes:
    return answer if isinstance(answer, bytes) else b""


def _nothing(connection: object) -> None:
    """Do nothing, in the place of redis-py's handshake."""


class Server:
    """A single server.

    Args:
        options: How to connect to it.
    """

    def __init__(self, options: Options) -> None:
        self._node = Node(options, options.address)

    def send(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands in one round trip and return their answers, in order."""
        return self._node.send(commands)

    def look_up(self, first: Command, keys: Sequence[bytes]) -> tuple[Any, list[Any]]:
        """Return the answer to a command and the values of keys, in one round trip."""
        if not keys:
            return self.send([first])[0], []
        head, values = self.send([first, ("MGET", *keys)])
        return head, _list(values, keys)

    def look_up_and_lease(
        self, first: Command, keys: Sequence[bytes], leasing: Callable[[Sequence[bytes]], Command]
    ) -> tuple[Any, list[Any], list[Any]]:
        """Return the same, and the answers to a command that leases keys, in one round trip."""
        head, values, answers = self.send([first, ("MGET", *keys), leasing(keys)])
        if isinstance(answers, ErrorAnswer):  # a full server, or one that writes nothing
            answers = [answers] * len(keys)
        return head, _list(values, keys), _list(answers, keys)

    def confirm(self, commands: Sequence[Command], mark: Command) -> tuple[list[Any], bool]:
        """Send commands that must outlive a failover.

        Args:
            commands: The commands.
            mark: A write that comes after them: replicas are asked whether they have it.

        Returns:
            The answers, and whether a replica has confirmed; true if there is no replica.
        """
        *answers, about = self.send([*commands, ("INFO", "replication")])
        replicas = re.search(rb"^connected_slaves:([1-9])", _bytes(about), re.MULTILINE)
        if replicas is None:
            return answers, True
        _, confirmed = self.send([mark, waiting(self._node.timeout)])
        return answers, confirmed != 0

    def each(self, commands: Sequence[Command]) -> list[list[Any]]:
        """Return the answers of each node to the same commands, in one round trip."""
        return [self.send(commands)]

    def all(self) -> list[Node]:
        """Return the nodes that hold entries."""
        return [self._node]

    def close(self) -> None:
        """Close the idle connections."""
        self._node.close()
