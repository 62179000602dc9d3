"""Commands to a Redis server in one round trip, over the connections of redis-py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from redis import Connection, RedisError, ResponseError
from redis.backoff import NoBackoff
from redis.retry import Retry

from litcache.stores.redis.url import parsed, resolved

Command = Sequence[bytes | str | int]

# What talking to a node may raise; ValueError is redis-py's when something else answers there.
FAILURES = (RedisError, OSError, ValueError)

# Options of redis-py's client and pool, which say nothing to a connection.
_FOR_POOLS = ("max_connections", "timeout")


def described(error: BaseException) -> str:
    """Return what went wrong in words that hold no credentials: servers echo what they are sent."""
    text = type(error).__name__
    if isinstance(error, ResponseError):
        code = str(error).partition(" ")[0]
        return f"{text} {code}" if code.isalpha() and code.isupper() else text
    cause = error if isinstance(error, OSError) else error.__context__
    if isinstance(cause, OSError) and cause.strerror:
        return f"{text}: {cause.strerror}"
    return text


class Options:
    """How to connect to the nodes of a URL.

    Args:
        url: Any URL that redis-py takes. `${NAME}` as the whole of it, or as its user name or
            password, stands for that environment variable.
        timeout: Seconds to wait for a connection, and for each answer.

    Attributes:
        address: Host and port; the path of the socket and 0.
        timeout: The timeout.

    Raises:
        ValueError: If it is no such URL; the message repeats nothing of it.
    """

    def __init__(self, url: str, timeout: float) -> None:
        options = parsed(resolved(url))
        self.timeout = timeout
        self._class: type[Any] = options.pop("connection_class", Connection)
        self._options = {
            **{name: resolved(options[name]) for name in options if name not in _FOR_POOLS},
            "decode_responses": False,
            "protocol": 2,
            "socket_timeout": timeout,
            "socket_connect_timeout": timeout,
            "retry": Retry(NoBackoff(), 0),
            "retry_on_timeout": False,
            "health_check_interval": 0,
        }
        self.address = (
            (str(options["path"]), 0)
            if "path" in options
            else (str(options.get("host", "localhost")), int(options.get("port", 6379)))
        )
        try:
            self.connection(self.address)
        except (TypeError, *FAILURES) as error:
            problem = type(error).__name__
        else:
            return
        raise ValueError(f"redis-py does not take an option in the URL ({problem})")

    def connection(self, address: tuple[str, int]) -> Any:
        """Return a new connection to a node, not yet open."""
        where = {} if "path" in self._options else {"host": address[0], "port": address[1]}
        return self._class(**{**self._options, **where})


class Node:
    """One server, with a connection for each call under way and those that are idle.

    Args:
        options: How to connect.
        address: Its host and port.
    """

    def __init__(self, options: Options, address: tuple[str, int]) -> None:
        self.address = address
        self._options = options
        self._idle: list[Any] = []

    def take(self) -> Any:
        """Return a connection that is open and has nothing to read."""
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                break
            try:
                if not connection.can_read(timeout=0):
                    return connection
            except FAILURES:
                pass  # the server closed it meanwhile; so have the others been, most likely
            connection.disconnect()
        connection = self._options.connection(self.address)
        connection.connect()
        return connection

    def give(self, connection: Any) -> None:
        """Take a connection back, all its answers read."""
        self._idle.append(connection)

    def send(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands in one round trip and return their answers, in order."""
        return exchange({self: commands})[self]

    def close(self) -> None:
        """Close the idle connections."""
        while self._idle:
            self._idle.pop().disconnect()


def exchange(parts: Mapping[Node, Sequence[Command]]) -> dict[Node, list[Any]]:
    """Send each node its commands, then read all answers: one round trip, however many nodes.

    Args:
        parts: The commands of each node.

    Returns:
        The answers of each; errors that a node answered are among them as `ResponseError`.

    Raises:
        RedisError, OSError, ValueError: If a node does not answer; after one timeout at most.
    """
    taken: list[tuple[Node, Any]] = []
    answers: dict[Node, list[Any]] = {}
    complete = False
    try:
        # All first: what a cluster is asked beside a write must not be answered long before it.
        for node in parts:
            taken.append((node, node.take()))  # noqa: PERF401 - kept if the next one fails
        for node, connection in taken:
            packed = connection.pack_commands(parts[node])
            connection.send_packed_command(packed, check_health=False)
        for node, connection in taken:
            answers[node] = [_answer(connection) for _ in parts[node]]
        complete = True
    finally:
        for node, connection in taken:
            if complete:
                node.give(connection)
            else:
                connection.disconnect()
                node.close()
    return answers


def _answer(connection: Any) -> Any:
    try:
        return connection.read_response(disable_decoding=True)
    except ResponseError as error:
        return error


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
        if isinstance(values, RedisError):
            raise values
        if not isinstance(values, list) or len(values) != len(keys):
            raise RedisError("no answer of Redis")
        return head, values

    def each(self, commands: Sequence[Command]) -> list[list[Any]]:
        """Return the answers of each node to the same commands, in one round trip."""
        return [self.send(commands)]

    def all(self) -> list[Node]:
        """Return the nodes that hold entries."""
        return [self._node]

    def close(self) -> None:
        """Close the idle connections."""
        self._node.close()
