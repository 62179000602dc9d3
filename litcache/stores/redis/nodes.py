"""Commands to a Redis server in one round trip, over the connections of redis-py."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from redis import Connection, RedisError, ResponseError
from redis.backoff import NoBackoff
from redis.connection import parse_url
from redis.retry import Retry

Command = Sequence[bytes | str | int]

# What talking to a node may raise; ValueError is redis-py's when something else answers there.
FAILURES = (RedisError, OSError, ValueError)

_REFERENCE = re.compile(r"\$\{(\w+)\}")
# Options of redis-py's client and pool, which say nothing to a connection.
_FOR_POOLS = ("max_connections", "timeout")


def stripped(url: str) -> str:
    """Return a URL without its passwords, nor the user of one; `${NAME}` stays where it stands."""
    parts = urlsplit(url)
    account, _, place = parts.netloc.rpartition("@")
    query = parse_qsl(parts.query, keep_blank_values=True)
    kept = [(name, value) for name, value in query if "password" not in name or _named(value)]
    secret = account.partition(":")[2]
    if kept == query and (not secret or _named(secret)):
        return url
    if secret and not _named(secret):
        account = ""
    account += "@" if account else ""
    options = f"?{urlencode(kept, safe='${}/:')}" if kept else ""
    return f"{parts.scheme}://{account}{place}{parts.path}{options}"


def public(url: str) -> str:
    """Return what may be shown of a URL: neither its account nor its options."""
    parts = urlsplit(url)
    return (
        f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}" if parts.scheme else url
    )


def _named(value: str) -> re.Match[str] | None:
    """Return the match if a value is `${NAME}`."""
    return _REFERENCE.fullmatch(value)


def resolved(value: Any) -> Any:
    """Return the variable of the environment that `${NAME}` stands for; anything else as it is."""
    name = _named(value) if isinstance(value, str) else None
    if name is None:
        return value
    try:
        return os.environ[name[1]]
    except KeyError:
        raise ValueError(f"the environment variable {name[1]} is not set") from None


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


def _parsed(url: str) -> dict[str, Any]:
    """Return the options of a URL; the error repeats nothing of it, as redis-py's would."""
    try:
        options: dict[str, Any] = parse_url(url)  # type: ignore[no-untyped-call]
        if "path" in options or "@" not in urlsplit(url).path:
            return options
    except ValueError:
        pass
    raise ValueError(
        "the URL is not of the form redis://, rediss:// or unix:// that redis-py takes; "
        "in a password, / ? # @ : and % must be percent-encoded"
    )


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
        options = _parsed(resolved(url))
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
