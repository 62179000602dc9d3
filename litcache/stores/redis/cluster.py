"""Commands to a Redis Cluster, in one round trip to each node."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from redis import RedisError
from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot

from litcache.stores.redis.nodes import FAILURES, Node, Options, exchange, waiting
from litcache.stores.redis.wire import Command, ErrorAnswer


class Cluster:
    """The nodes of a Redis Cluster; each is asked for the keys of its slots.

    The map of slots is read at the first call, and again after a node did not answer or said that a
    slot has moved.

    Args:
        options: How to connect to one of its nodes, and so to the others.
    """

    def __init__(self, options: Options) -> None:
        self._options = options
        self._nodes = {options.address: Node(options, options.address)}
        self._slots: list[Node | None] | None = None
        self._turn = 0

    def send(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands in one round trip to each node and return their answers, in order.

        In each command, the key must follow the name of the command, or its script.
        """
        answers = self._send(commands)
        moved = [index for index, answer in enumerate(answers) if _told(answer, "MOVED")]
        if moved:
            self._slots = None
            again = self._send([commands[index] for index in moved])
            for index, answer in zip(moved, again, strict=True):
                answers[index] = answer
        self._ask_elsewhere(commands, answers)
        return answers

    def _ask_elsewhere(self, commands: Sequence[Command], answers: list[Any]) -> None:
        """Ask the nodes to which slots are moving for the keys that have moved already."""
        parts: dict[Node, list[int]] = {}
        for index, answer in enumerate(answers):
            address = _told(answer, "ASK")
            if address:
                node = self._nodes.get(address) or Node(self._options, address)
                self._nodes[address] = node
                parts.setdefault(node, []).append(index)
        if not parts:
            return
        asked = {
            node: [command for i in where for command in (("ASKING",), commands[i])]
            for node, where in parts.items()
        }
        found = exchange(asked)
        for node, where in parts.items():
            for index, answer in zip(where, found[node][1::2], strict=True):
                answers[index] = answer

    def confirm(self, commands: Sequence[Command], mark: Command) -> tuple[list[Any], bool]:
        """Send commands that must outlive a failover.

        Args:
            commands: The commands.
            mark: A write to the same slot as the first command, which comes after all of them:
                replicas are asked whether they have it.

        Returns:
            The answers, and whether a replica has confirmed; true if there is no replica.
        """
        answers = self.send(commands)
        node = (self._slots or self._read_slots())[_slot(mark)]
        if node is None or not node.replicas:
            return answers, True
        _, confirmed = exchange({node: [mark, waiting(node.timeout)]})[node]
        return answers, confirmed != 0

    def _send(self, commands: Sequence[Command]) -> list[Any]:
        slots = self._slots or self._read_slots()
        parts: dict[Node, list[int]] = {}
        for index, command in enumerate(commands):
            node = slots[_slot(command)]
            if node is None:
                self._slots = None
                raise RedisError("a slot has no node")
            parts.setdefault(node, []).append(index)
        try:
            found = exchange({node: [commands[i] for i in where] for node, where in parts.items()})
        except FAILURES:
            self._slots = None
            raise
        answers: list[Any] = [None] * len(commands)
        for node, where in parts.items():
            for index, answer in zip(where, found[node], strict=True):
                answers[index] = answer
        return answers

    def _read_slots(self) -> list[Node | None]:
        """Ask the nodes in turn for the map of slots, until one answers or the time is up."""
        until = time.monotonic() + self._options.timeout
        nodes = list(self._nodes.values())
        # In another order each time: the first node may be the one that hangs.
        self._turn = (self._turn + 1) % len(nodes)
        failure: Exception = RedisError("no node knows the slots")
        for node in nodes[self._turn :] + nodes[: self._turn]:
            try:
                (answer,) = node.send([("CLUSTER", "SLOTS")])
            except FAILURES as error:
                failure = error
            else:
                if isinstance(answer, list) and answer:
                    return self._map(answer, node)
                failure = answer if isinstance(answer, ErrorAnswer) else failure
            if time.monotonic() >= until:
                break
        raise failure

    def _map(self, ranges: Sequence[Any], asked: Node) -> list[Node | None]:
        """Take over the map of slots from the answer of a node."""
        slots: list[Node | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
        nodes: dict[tuple[str, int], Node] = {}
        for first, last, (host, port, *_), *replicas in ranges:
            # An empty host stands for the node that was asked.
            address = (host.decode() if host and host != b"?" else asked.address[0], int(port))
            node = nodes.get(address) or self._nodes.get(address) or Node(self._options, address)
            nodes[address] = node
            node.replicas = len(replicas)
            slots[first : last + 1] = [node] * (last + 1 - first)
        gone = [node for address, node in self._nodes.items() if address not in nodes]
        self._nodes, self._slots = nodes, slots
        for node in gone:
            node.close()
        return slots

    def look_up(self, first: Command, keys: Sequence[bytes]) -> tuple[Any, list[Any]]:
        """Return the answer to a command and the values of keys, in one round trip to each node."""
        head, *values = self.send([first, *(("GET", key) for key in keys)])
        return head, values

    def look_up_and_lease(
        self, first: Command, keys: Sequence[bytes], leasing: Callable[[Sequence[bytes]], Command]
    ) -> tuple[Any, list[Any], list[Any]]:
        """Return the same, and the answers to a command that leases a key, in one round trip."""
        ways = [command for key in keys for command in (("GET", key), leasing([key]))]
        head, *answers = self.send([first, *ways])
        # Errors are among them: a full node, a node that writes nothing.
        taken = [answer[0] if isinstance(answer, list) else answer for answer in answers[1::2]]
        return head, answers[::2], taken

    def each(self, commands: Sequence[Command]) -> list[list[Any]]:
        """Return the answers of each node to the same commands, in one round trip."""
        return list(exchange(dict.fromkeys(self.all(), commands)).values())

    def all(self) -> list[Node]:
        """Return the nodes that hold entries."""
        slots = self._slots or self._read_slots()
        return list({node for node in slots if node is not None})

    def close(self) -> None:
        """Close the idle connections."""
        for node in self._nodes.values():
            node.close()


def _slot(command: Command) -> int:
    key = command[3 if command[0] == "EVAL" else 1]
    return key_slot(key if isinstance(key, bytes) else str(key).encode())


def _told(answer: Any, code: str) -> tuple[str, int] | None:
    """Return the address that a node refers to, if its error has this code."""
    if not isinstance(answer, ErrorAnswer):
        return None
    said, _, rest = str(answer).partition(" ")
    host, _, port = rest.partition(" ")[2].rpartition(":")
    return (host, int(port)) if said == code else None
