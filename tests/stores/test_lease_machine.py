"""Leases of each store against a dictionary: asked in whatever order, they are what that says."""

from __future__ import annotations

import contextlib
import itertools

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from support.redis_servers import Server
from support.redis_stores import opened

from litcache import MemoryStore, RedisStore, SharedStore, TieredStore
from litcache.stores import Lease, NewEntry, Scope
from litcache.testing import FakeClock

# Keys hold their namespace, so that no two namespaces have one in common.
KEYS = {name: [name.encode() * 3 + bytes([number]) * 4 for number in range(4)]
        for name in ("shop", "blog")}  # fmt: skip
HOLDERS = [b"holder-1", b"holder-2", b"holder-3"]
namespaces = st.sampled_from(sorted(KEYS))
numbers = st.lists(st.integers(0, 3), min_size=1, max_size=4, unique=True)
holders = st.sampled_from(HOLDERS)
processes = st.integers(0, 1)
STEPS = settings(
    max_examples=20,
    stateful_step_count=30,
    phases=(Phase.explicit, Phase.generate),  # steps are few: a failure is short as it is
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


class AgainstADictionary(RuleBasedStateMachine):
    """Two processes at one store, beside what they may be told.

    Args:
        open_store: Opens the store of a process, with a clock.
        seconds: How long leases last; the clock is turned by 1 to 4 seconds if that is short.
    """

    def __init__(self, open_store, seconds) -> None:
        super().__init__()
        self.clock, self.seconds = FakeClock(1_000_000.0), seconds
        self.undo = contextlib.ExitStack()
        self.stores = [
            self.undo.enter_context(contextlib.closing(store)) for store in open_store(self.clock)
        ]
        self.entries: dict[bytes, tuple[bytes, float | None]] = {}
        self.leases: dict[bytes, tuple[bytes, float]] = {}
        # Leases under which another holder has stored an entry; a store may end them by that.
        self.unsure: set[bytes] = set()
        # Deleted keys of a server that marks them: nobody gets a lease there.
        self.marked: set[bytes] = set()

    def teardown(self) -> None:
        self.undo.close()

    @initialize(namespace=namespaces)
    def an_entry_opens_the_store(self, namespace) -> None:
        self.put(0, namespace, [0], None, b"first", None)

    def payload(self, key):
        payload, expires = self.entries.get(key, (None, None))
        return None if expires is not None and expires <= self.clock() else payload

    def lease(self, key):
        """Return who may be told to have a key."""
        holder, until = self.leases.get(key, (None, 0.0))
        if holder is None or until <= self.clock() or key in self.marked:
            return {None}
        return {holder, None} if key in self.unsure else {holder}

    @rule(process=processes, namespace=namespaces, wanted=numbers, holder=holders)
    def ask(self, process, namespace, wanted, holder) -> None:
        keys = [KEYS[namespace][number] for number in wanted]
        lease = Lease(holder, self.seconds)
        entries, others = self.stores[process].get_or_lease_many(Scope(namespace), keys, lease)
        payloads = [entry and bytes(entry.payload) for entry in entries]
        assert payloads == [self.payload(key) for key in keys]
        missing = [key for key, payload in zip(keys, payloads, strict=True) if payload is None]
        assert others.keys() <= set(missing)
        for key in missing:
            told, expected = others.get(key), self.lease(key) - {holder}
            assert told in (expected or {None})
            if told is None and key not in self.marked:
                self.leases[key] = holder, self.clock() + self.seconds
            self.unsure.discard(key)

    @rule(process=processes, namespace=namespaces, wanted=numbers, holder=holders)
    def release(self, process, namespace, wanted, holder) -> None:
        store, scope = self.stores[process], Scope(namespace)
        store.get_many(scope, ())  # the epoch of now
        keys = [KEYS[namespace][number] for number in wanted]
        store.release_many(scope, keys, Lease(holder, self.seconds))
        self.end(holder, keys)

    def end(self, holder, keys) -> None:
        for key in keys:
            if key in self.leases and self.leases[key][0] == holder:
                del self.leases[key]

    @rule(
        process=processes, namespace=namespaces, wanted=numbers, holder=st.none() | holders,
        payload=st.binary(max_size=20), life=st.none() | st.integers(1, 5),
    )  # fmt: skip
    def put(self, process, namespace, wanted, holder, payload, life) -> None:
        scope = Scope(namespace)
        scope.lease = None if holder is None else Lease(holder, self.seconds)
        keys = [KEYS[namespace][number] for number in wanted]
        expires = None if life is None or self.seconds > 100 else self.clock() + life
        entry = NewEntry(b"", payload, expires)
        self.stores[process].set_many(scope, dict.fromkeys(keys, entry))
        self.entries.update(dict.fromkeys(keys, (payload, expires)))
        self.end(holder, keys)
        self.marked.difference_update(keys)
        self.unsure.update(key for key in keys if key in self.leases)

    @rule(process=processes, namespace=namespaces, wanted=numbers)
    def delete(self, process, namespace, wanted) -> None:
        keys = [KEYS[namespace][number] for number in wanted]
        self.stores[process].delete_many(Scope(namespace), keys)
        self.drop(keys)
        if isinstance(self.stores[0], RedisStore):
            self.marked.update(keys)

    @rule(process=processes, namespace=st.none() | namespaces)
    def clear(self, process, namespace) -> None:
        self.stores[process].clear(namespace)
        names = KEYS if namespace is None else (namespace,)
        self.drop(key for name in names for key in KEYS[name])

    def drop(self, keys) -> None:
        for key in keys:
            self.entries.pop(key, None)
            self.leases.pop(key, None)
            self.unsure.discard(key)

    @rule(seconds=st.integers(1, 4))
    def wait(self, seconds) -> None:
        if self.seconds < 100:
            self.clock.advance(seconds)


def check(open_store, seconds) -> None:
    run_state_machine_as_test(lambda: AgainstADictionary(open_store, seconds), settings=STEPS)


@pytest.fixture
def folders(tmp_path):
    return (tmp_path / str(number) for number in itertools.count())


def test_leases_of_processes_of_one_host(folders):
    def open_store(clock):
        folder = next(folders)
        return [
            SharedStore(folder, "4 MiB", timeout=30, clock=clock, monotonic=clock) for _ in "ab"
        ]

    check(open_store, 6.0)


def test_leases_behind_a_front(folders):
    def open_store(clock):
        back = SharedStore(next(folders), "4 MiB", timeout=30, clock=clock, monotonic=clock)
        # The front of another process may be a second late.
        store = TieredStore(MemoryStore("1 MiB", clock=clock), back)
        return [store, store]

    check(open_store, 6.0)


def test_leases_of_processes_of_many_hosts(folders, tmp_path):
    with Server("valkey", tmp_path) as server:
        check(lambda clock: [opened(server.url, str(next(folders)), timeout=30)] * 2, 3_600.0)
