"""Each store against a dictionary: done in whatever order, it answers what that would."""

from __future__ import annotations

import contextlib
import shutil
import tempfile

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from litcache import MemoryStore, SharedStore, TieredStore
from litcache.stores import NewEntry, Scope
from litcache.testing import FakeClock

# Keys hold their namespace, so that no two namespaces have one in common.
KEYS = {name: [name.encode() * 3 + bytes([number]) * 4 for number in range(6)]
        for name in ("shop", "blog")}  # fmt: skip
numbers = st.lists(st.integers(0, 5), min_size=1, max_size=6, unique=True)
namespaces = st.sampled_from(sorted(KEYS))
payloads = st.binary(max_size=40)
lives = st.none() | st.integers(1, 5)
STEPS = settings(
    max_examples=40,
    stateful_step_count=30,
    phases=(Phase.explicit, Phase.generate),  # steps are few: a failure is short as it is
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


class AgainstADictionary(RuleBasedStateMachine):
    """What a store does, beside a dictionary of what it may answer.

    Attributes:
        held: For each namespace and key: payload and expiry, or nothing where there is no entry.
        begun: Look-ups whose entries are not set yet, with what was dropped since.
    """

    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock(1_000_000.0)
        self.undo = contextlib.ExitStack()
        self.store = self.make_store()
        self.undo.callback(self.store.close)
        self.held: dict[tuple[str, bytes], tuple[bytes, float | None]] = {}
        self.begun: list[tuple[Scope, set[bytes], list[bool]]] = []

    def make_store(self):
        raise NotImplementedError

    def teardown(self) -> None:
        self.undo.close()

    @initialize()
    def an_entry_opens_the_store(self) -> None:
        self.put("shop", [0], b"first", None)

    @rule(namespace=namespaces, wanted=numbers, payload=payloads, life=lives)
    def set(self, namespace, wanted, payload, life) -> None:
        self.put(namespace, wanted, payload, life)

    def put(self, namespace, wanted, payload, life) -> None:
        wanted = [KEYS[namespace][number] for number in wanted]
        expires = None if life is None else self.clock() + life
        self.store.set_many(Scope(namespace), {k: NewEntry(b"", payload, expires) for k in wanted})
        self.held.update({(namespace, k): (payload, expires) for k in wanted})

    @rule(namespace=namespaces, wanted=numbers)
    def get(self, namespace, wanted) -> None:
        wanted = [KEYS[namespace][number] for number in wanted]
        found = self.store.get_many(Scope(namespace), wanted)
        assert [entry and bytes(entry.payload) for entry in found] == [
            self.expected(namespace, k) for k in wanted
        ]

    def expected(self, namespace: str, key: bytes) -> bytes | None:
        payload, expires = self.held.get((namespace, key), (None, None))
        return None if expires is not None and expires <= self.clock() else payload

    @rule(namespace=namespaces, wanted=numbers)
    def delete(self, namespace, wanted) -> None:
        wanted = [KEYS[namespace][number] for number in wanted]
        there = sum((namespace, k) in self.held for k in wanted)
        alive = sum(self.expected(namespace, k) is not None for k in wanted)
        assert alive <= self.store.delete_many(Scope(namespace), wanted) <= there
        for k in wanted:
            self.held.pop((namespace, k), None)
        self.drop(namespace, set(wanted))

    @rule(namespace=st.none() | namespaces)
    def clear(self, namespace) -> None:
        self.store.clear(namespace)
        for place in [place for place in self.held if namespace in (None, place[0])]:
            del self.held[place]
        for name in ("shop", "blog") if namespace is None else (namespace,):
            self.drop(name, set(KEYS[name]))

    def drop(self, namespace: str, dropped: set[bytes]) -> None:
        for scope, gone, changed in self.begun:
            if scope.namespace == namespace:
                gone |= dropped
                changed[0] = True

    @rule(namespace=namespaces, wanted=numbers)
    def begin(self, namespace, wanted) -> None:
        """Look up, as a call does that will compute what it misses."""
        scope = Scope(namespace)
        self.store.get_many(scope, [KEYS[namespace][number] for number in wanted])
        self.begun.append((scope, set(), [False]))

    @precondition(lambda self: self.begun)
    @rule(data=st.data(), payload=payloads)
    def finish(self, data, payload) -> None:
        """Set what was computed: what was dropped since the look-up never comes back."""
        scope, gone, changed = self.begun.pop(data.draw(st.integers(0, len(self.begun) - 1)))
        key = data.draw(st.sampled_from(KEYS[scope.namespace]))
        self.store.set_many(scope, {key: NewEntry(b"", payload)})
        (found,) = self.store.get_many(Scope(scope.namespace), [key])
        answered = found and bytes(found.payload)
        if not changed[0]:
            assert answered == payload
        elif key in gone:
            assert answered == self.expected(scope.namespace, key)
        else:  # nobody dropped this key: the store may take it, or miss
            assert answered in (None, payload, self.expected(scope.namespace, key))
        if answered is None:
            self.held.pop((scope.namespace, key), None)
        elif answered == payload:
            self.held[scope.namespace, key] = (payload, found.expires)

    @rule(seconds=st.integers(1, 4))
    def wait(self, seconds) -> None:
        self.clock.advance(seconds)

    @rule()
    def count(self) -> None:
        alive = sum(self.expected(*place) is not None for place in self.held)
        assert self.store.info().entries >= alive


class Memory(AgainstADictionary):
    def make_store(self):
        return MemoryStore("1 MiB", clock=self.clock)


class OnDisk(AgainstADictionary):
    def folder(self) -> str:
        path = tempfile.mkdtemp()
        self.undo.callback(shutil.rmtree, path, ignore_errors=True)
        return path

    def make_store(self):
        return SharedStore(self.folder(), "8 MiB", timeout=5, clock=self.clock)

    @rule()
    def start_again(self) -> None:
        """Close the store, as a worker that ends, and go on with what it left."""
        self.store.close()


class Tiered(OnDisk):
    def make_store(self):
        back = SharedStore(self.folder(), "8 MiB", timeout=5, clock=self.clock)
        return TieredStore(MemoryStore("1 MiB", clock=self.clock), back)


@pytest.mark.parametrize("machine", [Memory, OnDisk, Tiered])
def test_a_store_answers_what_a_dictionary_would(machine):
    from hypothesis.stateful import run_state_machine_as_test

    run_state_machine_as_test(machine, settings=STEPS)


@pytest.fixture(scope="module")
def valkey(tmp_path_factory):
    from support.redis_servers import Server

    server = Server("valkey", tmp_path_factory.mktemp("valkey"))
    yield server
    server.kill()


def test_a_store_in_valkey_answers_what_a_dictionary_would(valkey):
    from hypothesis.stateful import run_state_machine_as_test
    from support.redis_stores import opened

    class InValkey(AgainstADictionary):
        def make_store(self):
            valkey.flush()
            return opened(valkey.url, timeout=5)

        def put(self, namespace, wanted, payload, life) -> None:
            super().put(namespace, wanted, payload, None)  # Redis' clock cannot be turned

    run_state_machine_as_test(InValkey, settings=settings(STEPS, max_examples=25))
