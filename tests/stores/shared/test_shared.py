"""SharedStore: the contract, and what is its own: budget, damage, other processes' doings."""

import contextlib
import itertools
import os
import pickle
import random
import shutil
import sqlite3
import threading
import time
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.interrupts import interrupted

from litcache.errors import StoreError
from litcache.stores.base import FORMAT, NewEntry, Scope
from litcache.stores.shared.database import DamageError
from litcache.stores.shared.finding import find
from litcache.stores.shared.ring import Ring
from litcache.stores.shared.sizes import Sizes
from litcache.stores.shared.store import SharedStore
from litcache.testing.contract import StoreContract
from litcache.testing.doubles import FakeClock

SHOP = Scope("shop")


class TestContract(StoreContract):
    @pytest.fixture(autouse=True)
    def _in_a_folder(self, tmp_path):
        self.folder = tmp_path

    def make_store(self, clock):
        return SharedStore(self.folder / "store", "64 MiB", clock=clock)


class TestContractOfAFullStore(TestContract):
    filled_bytes = 65 << 20


@pytest.fixture
def open_store(tmp_path):
    """Open a store on one folder, as each process of a host would."""
    opened = []

    def open_store(max_bytes="8 MiB", **options):
        opened.append(SharedStore(tmp_path / "store", max_bytes, **options))
        return opened[-1]

    yield open_store
    for store in opened:
        store.close()


@pytest.fixture
def warned(caplog):
    """Return the warnings logged so far."""
    return lambda: [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]


@pytest.fixture
def always_checked(monkeypatch):
    """Let stores look after their files at every call, not only every quarter of a second."""
    monkeypatch.setattr("litcache.stores.shared.folder._CHECK_SECONDS", 0.0)


def key(number):
    return number.to_bytes(16, "big")


def payload(number, size=1536):
    return random.Random(number).randbytes(size)


def put(store, *numbers, size=1536, scope=None):
    for start in range(0, len(numbers), 100):
        part = numbers[start : start + 100]
        entries = {key(n): NewEntry(b"layout", payload(n, size)) for n in part}
        store.set_many(scope or Scope("shop"), entries)


def got(store, *numbers, size=1536, namespace="shop"):
    """Return the numbers that are hits; a hit must be right."""
    found = store.get_many(Scope(namespace), [key(n) for n in numbers])
    hits = [(n, entry) for n, entry in zip(numbers, found, strict=True) if entry is not None]
    assert all(entry.payload == payload(n, size) for n, entry in hits)
    return [n for n, _ in hits]


def file(store, suffix):
    (name,) = (n for n in os.listdir(store.path) if n.endswith(suffix))
    return os.path.join(store.path, name)


def size_of(store):
    return sum(os.stat(os.path.join(store.path, name)).st_size for name in os.listdir(store.path))


def index_of(store):
    """Return a connection of our own to the index, as another process would have."""
    return sqlite3.connect(file(store, ".db"), isolation_level=None, timeout=0)


# What one does, the others see


def test_entries_are_kept_over_restarts(open_store):
    first = open_store()
    put(first, 1, 2)
    first.close()
    assert got(open_store(), 1, 2, 3) == [1, 2]


def test_what_one_wrote_another_hits(open_store):
    one, other = open_store(), open_store()
    assert got(one, 1) == got(other, 1) == []
    put(one, 1)
    assert got(other, 1) == [1]


@pytest.mark.parametrize("namespace", ["shop", None])
def test_another_sees_a_clear_at_its_next_look_up(open_store, namespace):
    one, other = open_store(), open_store()
    put(one, 1)
    assert got(other, 1) == [1]
    one.clear(namespace)
    assert got(other, 1) == []


def test_another_sees_a_delete_at_its_next_look_up_and_by_the_epoch(open_store):
    one, other = open_store(), open_store()
    put(one, 1, 2)
    before, after = Scope("shop"), Scope("shop")
    other.get_many(before, [])
    assert one.delete_many(SHOP, [key(1)]) == 1
    other.get_many(after, [])
    assert before.epoch != after.epoch
    assert got(other, 1, 2) == [2]


def test_what_was_being_computed_during_a_delete_is_not_stored(open_store):
    store = open_store()
    scope = Scope("shop")
    store.get_many(scope, [key(1)])
    store.delete_many(SHOP, [key(1)])
    put(store, 1, scope=scope)
    assert got(store, 1) == []
    assert store.info().dropped == 1


def test_only_valid_entries_count_as_deleted(open_store):
    clock = FakeClock()
    store = open_store(clock=clock)
    store.set_many(Scope("shop"), {key(1): NewEntry(b"", b"", clock() + 1)})
    put(store, 2)
    clock.advance(2)
    assert store.delete_many(SHOP, [key(1), key(2)]) == 1
    put(store, 3)
    store.clear("shop")
    assert store.delete_many(SHOP, [key(3)]) == 0


# The budget


def test_files_stay_within_the_budget_and_the_newest_entries_are_there(open_store):
    store = open_store()
    peak = 0
    for start in range(0, 15_000, 500):
        put(store, *range(start, start + 500))
        peak = max(peak, size_of(store))
    info = store.info()
    assert peak <= 1.1 * store.max_bytes
    assert info.bytes <= store.max_bytes
    assert info.entries * 1536 >= 0.55 * store.max_bytes
    assert info.evicted == 15_000 - info.entries
    assert info.dropped == info.corrupt == 0
    newest = range(15_000 - info.entries, 15_000)
    assert got(store, *newest) == [*newest]


@pytest.mark.parametrize("size", [0, 200, 4000, 400_000])
def test_files_of_entries_of_any_size_stay_within_the_budget(open_store, size):
    store = open_store()
    count = min(40_000, 40 * store.max_bytes // (10 * size + 3000))
    for start in range(0, count, 500):
        put(store, *range(start, min(start + 500, count)), size=size)
        assert size_of(store) <= 1.1 * store.max_bytes
    assert store.info().dropped == 0
    assert got(store, count - 1, size=size) == [count - 1]


def test_what_is_hit_outlives_what_is_not(open_store):
    store, other = open_store(), open_store()
    put(store, *range(100))
    for start in range(100, 15_100, 500):
        got(other, *range(50))
        put(other, 1_000_000 + start)  # tells of the hits
        put(store, *range(start, start + 500))
    assert got(store, *range(100)) == [*range(50)]


def test_moved_entries_are_those_that_were_hit_since(open_store):
    store = open_store()
    put(store, *range(100))
    got(store, *range(50))
    put(store, *range(100, 10_000))
    assert got(store, *range(100)) == []


def test_an_entry_too_large_is_rejected_and_what_was_there_removed(open_store):
    store = open_store()
    put(store, 1)
    put(store, 1, 2, size=store.max_bytes // 18)
    assert got(store, 1, 2, size=store.max_bytes // 18) == []
    assert store.info().rejected == 2
    put(store, 1, size=store.max_bytes // 22)
    assert got(store, 1, size=store.max_bytes // 22) == [1]


def test_entries_of_older_epochs_are_evicted_in_due_course(open_store):
    store = open_store()
    put(store, *range(5_000))
    store.clear("shop")
    put(store, *range(10_000, 20_000))
    newest = range(20_000 - store.info().entries, 20_000)
    assert got(store, *newest) == [*newest]


def test_a_raised_budget_takes_effect_at_the_first_write_and_keeps_what_is_there(
    open_store, warned
):
    small = open_store("4 MiB")
    put(small, *range(4_000))
    before = small.info().entries
    small.close()
    large = open_store("12 MiB")
    kept = [*range(4_000 - before, 4_000)]
    assert got(large, *kept) == kept
    put(large, 4_000)
    # Some of the oldest stood where the head goes on.
    assert len(got(large, *kept)) > 0.9 * before
    put(large, *range(4_000, 12_000))
    assert got(large, *range(11_000, 12_000)) == [*range(11_000, 12_000)]
    assert 8 << 20 < size_of(large) <= 1.1 * large.max_bytes
    assert warned() == []


@pytest.mark.parametrize("written", [500, 2_000, 7_000, 9_000])
def test_a_lowered_budget_takes_effect_at_the_first_write_and_keeps_what_fits(
    open_store, warned, written
):
    large = open_store("12 MiB")
    put(large, *range(written))
    large.close()
    small = open_store("4 MiB")
    put(small, written)
    assert size_of(small) <= 1.1 * small.max_bytes
    share = small.info().entries * 1536 / min(small.max_bytes, written * 1536)
    # Which ones depends on where the ring's head was.
    assert share > 0.4
    assert len(got(small, *range(written + 1))) == small.info().entries
    for start in range(50_000, 56_000, 500):
        put(small, *range(start, start + 500))
        assert size_of(small) <= 1.1 * small.max_bytes
        assert got(small, start, start + 499) == [start, start + 499]
    assert small.verify()[1] == small.info().corrupt == 0
    assert small.info().entries * 1536 > 0.6 * small.max_bytes
    assert warned() == []


def test_who_closes_a_store_that_gets_a_smaller_budget_waits_until_its_file_is_cut_off(
    open_store, monkeypatch
):
    """Else the number of the file could be that of another one by then."""
    large = open_store("12 MiB")
    put(large, *range(7_000))
    large.close()
    small, held, cut = open_store("4 MiB"), [], os.ftruncate

    def truncate(number, length):
        held.append(small._folder._ring.index.reading.locked())
        cut(number, length)

    monkeypatch.setattr("litcache.stores.shared.frames.os.ftruncate", truncate)
    put(small, 7_000)
    assert held == [True]
    assert got(small, 7_000) == [7_000]
    assert size_of(small) <= 1.1 * small.max_bytes


def test_an_interrupt_before_a_write_leaves_no_lock_behind(open_store):
    store = open_store()
    put(store, 1)
    index, begun = store._folder._ring.index, []

    def write():
        with index.transaction(1.0, durable=True):
            begun.append(True)

    for place in itertools.count(1):
        met = interrupted(write, place, "stores/shared")
        if begun:
            break
        assert met
        assert not index._writing.locked()
    assert place > 5
    put(store, 2)
    assert got(store, 1, 2) == [1, 2]


def test_a_look_up_uses_the_connection_that_has_in_its_cache_what_this_process_wrote(open_store):
    store, asked = open_store(), []
    put(store, 1)
    index = store._folder._ring.index
    index.reader.set_trace_callback(asked.append)
    assert got(store, 1) == [1]
    assert asked == []
    with index.transaction(1.0):  # and does not wait for a write
        assert got(store, 1) == [1]
    assert len(asked) == 1


def test_a_look_up_that_meets_a_lock_waits_for_it_with_the_connection_for_reading(
    open_store, monkeypatch
):
    store = open_store()
    put(store, 1)
    index = store._folder._ring.index

    class Locked:
        in_transaction = False

        def execute(self, *_):
            raise sqlite3.OperationalError("database is locked")

    with monkeypatch.context() as patch:
        patch.setattr(index, "_writer", Locked())
        assert got(store, 1) == [1]


def test_a_store_that_is_closed_before_its_file_is_cut_off_cuts_off_none(open_store, monkeypatch):
    large = open_store("12 MiB")
    put(large, *range(7_000))
    large.close()
    small, cut = open_store("4 MiB"), []
    got(small, 0)
    ring = small._folder._ring
    lock = ring.index.reading

    class Late:
        """A lock that another thread gets first, to close the index; the frames are still open."""

        def __enter__(self):
            monkeypatch.setattr(ring.index, "reading", lock)
            ring.index.close()
            lock.acquire()

        def __exit__(self, *_):
            lock.release()

    transaction = ring.index.transaction

    @contextlib.contextmanager
    def then_late(*arguments):
        with transaction(*arguments) as db:
            yield db
        monkeypatch.setattr(ring.index, "reading", Late())

    monkeypatch.setattr(ring.index, "transaction", then_late)
    monkeypatch.setattr("litcache.stores.shared.frames.os.ftruncate", lambda *_: cut.append(_))
    with pytest.raises(sqlite3.ProgrammingError):
        ring.resize(small.max_bytes, Sizes.of_budget(small.max_bytes).capacity, 1.0)
    assert cut == []


def test_a_budget_lowered_while_another_process_writes_holds_for_both(open_store):
    large = open_store("12 MiB")
    put(large, *range(6_000))
    small = open_store("4 MiB")
    for start in range(20_000, 26_000, 500):
        put(small, *range(start, start + 250))
        put(large, *range(start + 250, start + 500))
        assert size_of(small) <= 1.1 * small.max_bytes
    assert got(large, *range(25_900, 26_000)) == [*range(25_900, 26_000)]
    assert large.info().dropped == small.info().dropped == 0
    assert large.verify()[1] == 0


@pytest.mark.usefixtures("always_checked")
def test_processes_of_different_budgets_do_not_replace_each_others_files(open_store, warned):
    one, other = open_store("4 MiB"), open_store("8 MiB")
    for number in range(20):
        put(one, number)
        put(other, number)
    assert got(one, *range(20)) == got(other, *range(20)) == [*range(20)]
    assert warned() == []


# Laws

operations = st.lists(
    st.tuples(
        st.sampled_from(["set", "set", "set", "get", "delete", "clear", "reopen"]),
        st.lists(st.integers(0, 30), max_size=8),
        st.sampled_from([0, 300, 5_000, 100_000]),
    ),
    max_size=30,
)


@settings(max_examples=40, deadline=None)
@given(operations)
def test_a_hit_is_what_was_set_last(tmp_path_factory, operations):
    store = SharedStore(tmp_path_factory.mktemp("law") / "store", "4 MiB")
    expected = {}
    for version, (operation, numbers, size) in enumerate(operations):
        keys = [key(n) for n in numbers]
        if operation == "set":
            entries = {k: NewEntry(b"%d" % version, k * (size // 16)) for k in keys}
            store.set_many(Scope("shop"), entries)
            expected |= entries
            # What was written last has not been evicted.
            assert store.get_many(Scope("shop"), keys) == [entries[k] for k in keys]
        elif operation == "delete":
            store.delete_many(Scope("shop"), keys)
            expected = {k: entry for k, entry in expected.items() if k not in keys}
        elif operation == "clear":
            store.clear("shop")
            expected = {}
        elif operation == "reopen":
            store.close()
        for k, entry in zip(keys, store.get_many(Scope("shop"), keys), strict=True):
            assert entry is None or entry == expected[k]
    assert store.verify()[1] == 0
    store.close()


# Contention


def test_a_write_is_given_up_after_its_timeout_and_look_ups_go_on(open_store):
    store = open_store(timeout=0.05)
    put(store, 1)
    with_lock = index_of(store)
    with_lock.execute("BEGIN IMMEDIATE")
    start = time.monotonic()
    put(store, 2, 3)
    assert 0.05 <= time.monotonic() - start < 5
    assert store.info().dropped == 2
    assert got(store, 1, 2) == [1]
    with_lock.close()
    put(store, 2)
    assert got(store, 2) == [2]


def test_while_the_lock_is_held_three_writes_wait_for_it_and_no_other(open_store):
    store = open_store(timeout=1.0)
    put(store, 1)
    with_lock = index_of(store)
    with_lock.execute("BEGIN IMMEDIATE")
    start = time.monotonic()
    for number in range(2, 22):
        put(store, number)
        assert got(store, 1, number, namespace="shop") == [1]
        store.get_many(Scope("one without an epoch"), [key(1)])
    assert 3.0 <= time.monotonic() - start < 10
    assert store.info().dropped == 20
    with_lock.close()
    put(store, 2)
    assert got(store, 1, 2) == [1, 2]


def test_hits_of_what_is_evicted_by_now_take_no_memory(open_store):
    store = open_store("4 MiB")
    most = Sizes.of_budget(store.max_bytes).most_entries
    for start in range(0, 2 * most, 100):
        numbers = range(start, start + 100)
        put(store, *numbers, size=16)
        assert got(store, *numbers, size=16) == list(numbers)
    assert store._folder.run(lambda ring: len(ring.touched)) <= most + 100


def test_a_lock_whose_holders_write_is_waited_for_again_and_again(open_store):
    store = open_store(timeout=0.05)
    put(store, 1)
    with_lock = index_of(store)
    for number in range(2, 8):
        with_lock.execute("BEGIN IMMEDIATE")
        with_lock.execute("INSERT INTO touched VALUES (?)", (number,))
        start = time.monotonic()
        put(store, number)
        assert time.monotonic() - start >= 0.05
        with_lock.execute("COMMIT")
    with_lock.close()


def test_a_thread_that_waits_to_write_holds_up_no_thread_that_reads(open_store):
    store = open_store(timeout=30.0)
    put(store, 1)
    with_lock = index_of(store)
    with_lock.execute("BEGIN IMMEDIATE")
    writer = threading.Thread(target=put, args=(store, 2), daemon=True)
    writer.start()
    for _ in range(100):
        assert got(store, 1, 2) == [1]
    assert writer.is_alive()
    with_lock.close()
    writer.join(30)
    assert got(store, 1, 2) == [1, 2]


def test_a_delete_that_gets_no_lock_raises(open_store):
    store = open_store(timeout=0.005)
    put(store, 1)
    with_lock = index_of(store)
    with_lock.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="lock"):
        store.delete_many(SHOP, [key(1)])
    with_lock.close()
    assert got(store, 1) == [1]


@pytest.mark.usefixtures("always_checked")
def test_a_clear_that_a_stopped_writer_holds_up_begins_anew(open_store, warned):
    store, other = open_store(timeout=0.05), open_store()
    put(store, 1)
    assert got(other, 1) == [1]
    with_lock = index_of(store)
    with_lock.execute("BEGIN IMMEDIATE")
    with_lock.execute("DELETE FROM entries")
    began = time.monotonic()
    store.clear("shop")
    assert time.monotonic() - began < 10
    assert got(store, 1) == got(other, 1) == []
    put(other, 2)
    with_lock.execute("COMMIT")
    with_lock.close()
    assert got(store, 1, 2) == got(other, 1, 2) == [2]
    assert len(warned()) == 1
    assert "cannot be cleared" in warned()[0]


def test_a_clear_that_waits_for_a_writer_who_goes_on_keeps_other_namespaces(open_store):
    store = open_store(timeout=5.0)
    put(store, 1)
    put(store, 2, scope=Scope("blog"))
    with_lock = index_of(store)
    cleared = threading.Thread(target=store.clear, args=("shop",), daemon=True)
    with_lock.execute("BEGIN IMMEDIATE")
    cleared.start()
    cleared.join(0.3)
    with_lock.execute("ROLLBACK")
    cleared.join(30)
    with_lock.close()
    assert got(store, 1) == []
    assert got(store, 2, namespace="blog") == [2]


def test_a_namespace_whose_epoch_cannot_be_made_is_a_miss_and_not_stored(open_store):
    store = open_store(timeout=0.005)
    put(store, 1)
    with_lock = index_of(store)
    with_lock.execute("BEGIN IMMEDIATE")
    scope = Scope("blog")
    assert store.get_many(scope, [key(1)]) == [None]
    with_lock.close()
    put(store, 1, scope=scope)
    assert got(store, 1, namespace="blog") == []


def test_a_reader_that_does_not_end_bounds_the_wal_and_then_the_writes(open_store):
    store = open_store()
    put(store, *range(100))
    reader = index_of(store)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM entries").fetchall()
    for start in range(100, 20_100, 500):
        put(store, *range(start, start + 500))
        assert size_of(store) <= 1.1 * store.max_bytes
    assert store.info().dropped > 0
    store.clear("blog")
    assert got(store, *range(20_000))
    reader.close()
    dropped = store.info().dropped
    put(store, *range(50_000, 60_000))
    assert store.info().dropped == dropped
    assert got(store, 59_999) == [59_999]


# Damage


def flip(path, share, seed=1):
    rng = random.Random(seed)
    data = bytearray(Path(path).read_bytes())
    for position in rng.sample(range(len(data)), max(1, int(share * len(data)))):
        data[position] ^= 1 << rng.randrange(8)
    with open(path, "r+b") as damaged:
        damaged.write(data)


def test_what_does_not_verify_is_a_miss_deleted_and_counted(open_store):
    store = open_store()
    put(store, *range(200))
    flip(file(store, ".ring"), 0.0005)
    checked, corrupt = store.verify()
    assert checked == 200
    assert 0 < corrupt < 200
    hits = got(store, *range(200))
    assert len(hits) == 200 - corrupt
    assert store.info().corrupt == corrupt
    assert store.verify() == (200 - corrupt, 0)
    put(store, *range(200))
    assert got(store, *range(200)) == [*range(200)]


def test_an_index_that_points_to_other_entries_gives_none_of_them(open_store):
    store = open_store()
    put(store, *range(10))
    index = index_of(store)
    rows = index.execute("SELECT hash, place FROM entries ORDER BY place").fetchall()
    for (hash, _), (_, place) in zip(rows, rows[1:] + rows[:1], strict=True):
        index.execute("UPDATE entries SET place = ? WHERE hash = ?", (place + (1 << 50), hash))
    index.execute("UPDATE entries SET place = place - (1 << 50)")
    index.close()
    assert got(store, *range(10)) == []
    assert store.info().corrupt == 10


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_truncated_ring_costs_what_it_held(open_store, share):
    store = open_store()
    put(store, *range(1000))
    ring = file(store, ".ring")
    os.truncate(ring, int(share * os.stat(ring).st_size))
    assert len(got(store, *range(1000))) == pytest.approx(1000 * share, abs=1)
    put(store, *range(1000))
    assert got(store, *range(1000)) == [*range(1000)]


def overwritten(path):
    Path(path).write_bytes(b"no database at all, " * 1000)


def halved(path):
    os.truncate(path, os.stat(path).st_size // 2)


def flipped(path):
    flip(path, 0.05)


def garbled(path):
    Path(path).write_bytes(Path(path).read_bytes().replace(b"UNIQUE", b"\xe3NIQUE"))


def blanked(path):
    size = os.stat(path).st_size
    os.truncate(path, size // 2)
    os.truncate(path, size)


@pytest.mark.parametrize("damage", [overwritten, halved, flipped, garbled, blanked])
def test_a_damaged_index_costs_one_warning_and_a_fresh_start(open_store, warned, damage):
    store = open_store()
    foreign = os.path.join(store.path, "litcache-notes.db")
    put(store, *range(2000))
    store.close()
    Path(foreign).write_text("not ours")
    damage(file(store, f"v{FORMAT}-2.db"))
    for number in range(2000):
        got(store, number)
        put(store, number)
    assert got(store, 1999) == [1999]
    assert [message for message in warned() if "damaged" in message] == warned()
    assert len(warned()) == 1
    assert Path(foreign).read_text() == "not ours"
    assert {n.partition(".")[0] for n in os.listdir(store.path)} == {
        f"litcache-v{FORMAT}-2",
        "litcache-notes",
    }


def test_verify_says_that_an_index_is_damaged_and_replaces_nothing(open_store):
    store = open_store()
    put(store, *range(2000))
    store.close()
    blanked(file(store, ".db"))
    for look_at_all in (store.verify, store.namespaces):
        with pytest.raises(StoreError, match="is damaged"):
            look_at_all()
    assert file(store, ".db")
    assert got(store, *range(2000)) == []
    put(store, 1)
    assert store.verify() == (1, 0)


def test_all_go_on_with_the_same_fresh_files_after_damage(open_store, warned):
    stores = [open_store() for _ in range(3)]
    put(stores[0], *range(2000))
    for store in stores:
        store.close()
        got(store, 1)
    overwritten(file(stores[0], ".db"))
    for store in stores:
        store.close()
        got(store, *range(2000))
    put(stores[0], 1)
    assert [got(store, 1) for store in stores] == [[1]] * 3
    assert len(warned()) == 1


@pytest.mark.usefixtures("always_checked")
def test_a_clear_reaches_who_still_has_replaced_files_open(open_store):
    one, other = open_store(), open_store()
    put(one, 1)
    assert got(other, 1) == [1]
    one.close()
    overwritten(file(one, ".db"))
    one.clear("shop")
    assert got(one, 1) == []
    assert got(other, 1) == []


@pytest.mark.parametrize("call", ["delete", "clear"])
def test_a_clear_or_delete_holds_though_others_just_replaced_the_files(open_store, call):
    one, other = open_store(), open_store()
    put(one, 1)
    assert got(other, 1) == [1]
    one.close()
    overwritten(file(one, ".db"))
    put(one, 1)  # into fresh files, which the other has not looked for yet
    assert got(one, 1) == [1]
    if call == "clear":
        other.clear("shop")
    else:
        assert other.delete_many(Scope("shop"), [key(1)]) == 1
    assert got(one, 1) == []


@pytest.mark.usefixtures("always_checked")
def test_a_folder_removed_in_use_is_made_again(open_store):
    store = open_store()
    put(store, 1)
    shutil.rmtree(store.path)
    assert got(store, 1) == []
    put(store, 1)
    assert got(store, 1) == [1]


def test_files_that_another_makes_while_this_one_misses_them_are_used(open_store, monkeypatch):
    put(open_store(), 1)
    store, tries = open_store(), []

    def missed_once(*args):
        tries.append(args)
        if len(tries) == 1:
            raise FileNotFoundError("no index")
        return Ring(*args)

    with monkeypatch.context() as patch:
        patch.setattr("litcache.stores.shared.generations.Ring", missed_once)
        assert got(store, 1) == [1]


def test_a_store_of_another_format_is_left_alone_with_one_warning(open_store, warned):
    store = open_store()
    os.makedirs(store.path)
    other = os.path.join(store.path, "litcache-v7-3.db")
    Path(other).write_text("another format")
    put(store, 1)
    assert got(store, 1) == [1]
    assert Path(other).read_text() == "another format"
    assert len(warned()) == 1
    assert "another version" in warned()[0]


def test_two_formats_share_a_folder_and_nothing_else(open_store, monkeypatch, warned):
    older = open_store()
    put(older, 1)
    with monkeypatch.context() as patch:
        patch.setattr("litcache.stores.base.FORMAT", FORMAT + 1)
        newer = open_store()
        assert got(newer, 1) == []
        put(newer, 2)
        newer.clear("blog")
    put(older, 3)
    assert got(older, 1, 2, 3) == [1, 3]
    with monkeypatch.context() as patch:
        patch.setattr("litcache.stores.base.FORMAT", FORMAT + 1)
        assert got(newer, 1, 2, 3) == [2]
        assert newer.info().corrupt == older.info().corrupt == 0
    assert len(warned()) == 1


# Disks


def test_a_budget_beyond_the_free_space_is_clamped_with_one_warning(
    open_store, warned, monkeypatch
):
    usage = shutil._ntuple_diskusage(100 << 20, 90 << 20, 10 << 20)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    store = open_store("1 GiB")
    peak = 0
    for start in range(0, 20_000, 500):
        put(store, *range(start, start + 500))
        peak = max(peak, size_of(store))
    assert peak <= 10 << 20
    assert store.info().entries * 1536 > 5 << 20
    assert len(warned()) == 1
    assert "has room for" in warned()[0]


def test_no_room_is_one_warning_and_an_error_at_once(open_store, warned, monkeypatch):
    usage = shutil._ntuple_diskusage(100 << 20, 99 << 20, 1 << 20)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    store = open_store()
    for _ in range(3):
        with pytest.raises(StoreError, match="has room for"):
            put(store, 1)
        with pytest.raises(StoreError):
            got(store, 1)
        with pytest.raises(StoreError):
            store.info()
    assert len(warned()) == 1


def test_a_path_that_is_a_file_is_an_error_until_it_is_none(open_store, warned):
    clock = FakeClock()
    store = open_store(monotonic=clock)
    Path(store.path).write_text("a file")
    for _ in range(3):
        with pytest.raises(StoreError, match="cannot be used"):
            got(store, 1)
        clock.advance(0.4)
    assert len(warned()) == 1
    assert Path(store.path).read_text() == "a file"
    os.unlink(store.path)
    put(store, 1)
    assert got(store, 1) == [1]


def test_a_system_without_positioned_reads_is_one_warning_and_an_error(
    open_store, warned, monkeypatch
):
    monkeypatch.delattr(os, "pread")
    store = open_store()
    for _ in range(2):
        with pytest.raises(StoreError, match="cannot be used"):
            got(store, 1)
    assert len(warned()) == 1
    assert not os.path.exists(store.path)


def test_what_cannot_be_opened_is_left_alone_and_tried_again(open_store):
    clock = FakeClock()
    store = open_store(monotonic=clock)
    assert store.breaker_open is False
    Path(store.path).write_text("a file")
    with pytest.raises(StoreError):
        got(store, 1)
    assert store.breaker_open is True
    os.unlink(store.path)
    clock.advance(0.39)
    with pytest.raises(StoreError):
        got(store, 1)
    assert store.breaker_open is True
    clock.advance(0.01)
    assert got(store, 1) == []
    assert store.breaker_open is False


def test_a_store_whose_writes_wait_for_nobody_any_more_says_so(open_store):
    store = open_store(timeout=0.005)
    put(store, 1)
    with_lock = index_of(store)
    with_lock.execute("BEGIN IMMEDIATE")
    said = []
    for number in range(4):
        said.append(store.breaker_open)
        put(store, number)
    assert said == [False, False, False, True]
    with_lock.close()
    put(store, 2)
    assert store.breaker_open is False


# All of it


def test_namespaces_says_what_each_holds(open_store):
    store = open_store()
    assert store.namespaces() == []
    put(store, 1, 2, 3)
    put(store, 4, size=100, scope=Scope("blog \udc80"))
    put(store, 5, scope=Scope("cleared"))
    store.clear("cleared")
    (blog, cleared, shop) = store.namespaces()
    assert cleared == ("cleared", (), 0, 0)
    assert (blog.name, blog.entries, shop.name, shop.entries) == ("blog \udc80", 1, "shop", 3)
    assert 100 < blog.bytes < 200
    assert 3 * 1536 < shop.bytes < 3 * 1636


def test_namespaces_says_which_versions_wrote_since_it_was_cleared(open_store):
    one, other = open_store(), open_store()
    put(one, 1, scope=Scope("shop", "v1"))
    put(other, 2, scope=Scope("shop", "v2 \udc80"))
    put(other, 2, scope=Scope("blog", "v3"))
    (blog, shop) = open_store().namespaces()
    assert (blog.versions, shop.versions) == (("v3",), ("v1", "v2 \udc80"))
    other.clear("shop")
    assert [space.versions for space in one.namespaces()] == [("v3",), ()]
    put(one, 1, scope=Scope("shop", "v1"))
    assert [space.versions for space in one.namespaces()] == [("v3",), ("v1",)]
    one.clear()
    assert [space.versions for space in one.namespaces()] == [(), ()]


def test_a_clear_makes_no_namespace(open_store):
    store = open_store()
    put(store, 1)
    store.clear("a slip of the pen")
    assert store.delete_many(Scope("another"), [key(1)]) == 0
    assert [space.name for space in store.namespaces()] == ["shop"]


def test_verify_reads_more_than_one_page_of_rows(open_store):
    store = open_store()
    put(store, *range(2500), size=10)
    assert store.verify() == (2500, 0)
    assert store.namespaces()[0].entries == 2500


def test_expired_entries_are_counted(open_store):
    clock = FakeClock()
    store = open_store(clock=clock)
    store.set_many(Scope("shop"), {key(1): NewEntry(b"", b"", clock() + 1)})
    clock.advance(1)
    store.get_many(Scope("shop"), [key(1), key(2)])
    assert store.info().expired == 1


def test_it_says_that_it_outlives_processes_and_waits(open_store):
    assert SharedStore.persistent
    assert SharedStore.blocking


@pytest.mark.parametrize(
    "options",
    [
        {"max_bytes": "3 MiB"},
        {"max_bytes": 0},
        {"max_bytes": "much"},
        {"timeout": 0},
        {"timeout": -1.0},
        {"timeout": float("nan")},
        {"timeout": float("inf")},
    ],
)
def test_impossible_options_are_refused(tmp_path, options):
    with pytest.raises(ValueError, match=r"max_bytes|size|timeout"):
        SharedStore(tmp_path / "store", **options)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("options", "error", "told"),
    [
        ({"path": None}, TypeError, "path=None must be the path of a folder"),
        ({"path": 5}, TypeError, "path=5 must be the path of a folder"),
        ({"path": "\ud800"}, ValueError, r"path='\\ud800' must be the path of a folder"),
        ({"max_bytes": 0}, ValueError, "max_bytes=0: .*256 MiB"),
        ({"max_bytes": None}, TypeError, "max_bytes=None: .*256 MiB"),
        ({"timeout": None}, TypeError, "timeout=None must be a positive number of seconds"),
        ({"timeout": "1s"}, TypeError, "timeout='1s' must be a positive number of seconds"),
        ({"timeout": True}, TypeError, "timeout=True must be a positive number of seconds"),
        ({"timeout": 1e10}, ValueError, "timeout=1.* must be .* at most 31,536,000"),
        ({"timeout": 10**400}, ValueError, "timeout=1.* must be .* at most 31,536,000"),
        ({"clock": 5.0}, TypeError, r"clock=5.0 must be a function clock\(\)"),
        ({"monotonic": None}, TypeError, r"monotonic=None must be a function monotonic\(\)"),
    ],
)
def test_a_bad_option_is_named_with_its_value_and_what_is_allowed(tmp_path, options, error, told):
    with pytest.raises(error, match=f"^{told}"):
        SharedStore(**{"path": tmp_path / "store", **options})
    assert os.listdir(tmp_path) == []


def test_a_writer_may_wait_a_year(open_store):
    store = open_store(timeout=365 * 86_400)
    put(store, 1)
    assert got(store, 1) == [1]
    assert store.delete_many(Scope("shop"), [key(1)]) == 1
    store.clear("shop")


def test_it_pickles_with_its_options_and_an_absolute_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = SharedStore("here", "5 MiB", 0.2, clock=FakeClock(7.0))
    monkeypatch.chdir("/")
    again = pickle.loads(pickle.dumps(store))
    assert repr(again) == repr(store) == f"SharedStore({str(tmp_path / 'here')!r}, 5242880)"
    assert (again.timeout, again.clock()) == (0.2, 7.0)
    assert os.listdir(tmp_path) == []


# Surroundings: what is no damage leaves the files as they are


def sqlite_error(code, text, kind=sqlite3.OperationalError):
    """Return an error of SQLite with the code that it has from Python 3.11 on."""
    error = kind(text)
    error.sqlite_errorcode = code
    return error


INNOCENT = {
    "ENOSPC as -shm grows": sqlite_error(4874, "disk I/O error"),
    "EDQUOT in the WAL": sqlite_error(778, "disk I/O error"),
    "ENOMEM in mmap": sqlite_error(5386, "disk I/O error"),
    "a disk that cannot be read": sqlite_error(266, "disk I/O error"),
    "too little memory": MemoryError(),
    "too many files": OSError(24, "Too many open files"),
    "no rights": sqlite_error(14, "unable to open database file"),
    "an error of ours": TypeError("'<=' not supported between instances"),
    "another error of ours": ValueError("no"),
    "an interrupt": sqlite_error(9, "interrupted"),
}


@pytest.mark.parametrize("error", INNOCENT.values(), ids=INNOCENT)
@pytest.mark.parametrize("when", ["opened", "used"])
def test_an_error_of_the_surroundings_leaves_the_files(
    open_store, warned, monkeypatch, error, when
):
    clock = FakeClock()
    store = open_store(monotonic=clock)
    put(store, 1)
    before = os.stat(file(store, ".db")).st_ino
    if when == "opened":
        store.close()

    def fail(*args):
        raise error

    with monkeypatch.context() as patch:
        place = "database.insist" if when == "opened" else "ring.find"
        patch.setattr(f"litcache.stores.shared.{place}", fail)
        with pytest.raises(StoreError):
            got(store, 1)
        with pytest.raises(StoreError):
            got(store, 1)
    clock.advance(1)
    assert got(store, 1) == [1]
    assert os.stat(file(store, ".db")).st_ino == before
    assert len(warned()) == 1


@pytest.mark.parametrize("error", INNOCENT.values(), ids=INNOCENT)
def test_an_error_of_the_surroundings_leaves_the_files_that_another_process_has_mended(
    open_store, monkeypatch, error
):
    clock = FakeClock()
    store = open_store(monotonic=clock)
    put(store, 1)
    before = os.stat(file(store, ".db")).st_ino
    store.close()
    errors = [DamageError("seen before the other process made new files"), error]

    def fail(*args):
        raise errors.pop(0)

    with monkeypatch.context() as patch:
        patch.setattr("litcache.stores.shared.database.insist", fail)
        with pytest.raises(StoreError):
            got(store, 1)
    assert errors == []
    clock.advance(1)
    assert got(store, 1) == [1]
    assert os.stat(file(store, ".db")).st_ino == before


DAMAGED = {
    "malformed": sqlite_error(11, "database disk image is malformed", sqlite3.DatabaseError),
    "malformed index": sqlite_error(779, "malformed", sqlite3.DatabaseError),
    "no database": sqlite_error(26, "file is not a database", sqlite3.DatabaseError),
    "cut short": sqlite_error(522, "disk I/O error"),
    "a message that is no text": UnicodeDecodeError("utf-8", b"\xe3", 0, 1, "invalid"),
}


@pytest.mark.parametrize("error", DAMAGED.values(), ids=DAMAGED)
def test_what_says_that_files_are_not_what_was_written_begins_anew(
    open_store, warned, monkeypatch, error
):
    store = open_store()
    put(store, 1)
    failed = []

    def fail_once(*args):
        if not failed:
            failed.append(error)
            raise error
        return find(*args)

    monkeypatch.setattr("litcache.stores.shared.ring.find", fail_once)
    assert got(store, 1) == []
    assert len(warned()) == 1
    put(store, 1)
    assert got(store, 1) == [1]


def test_a_clock_that_tells_no_seconds_is_an_error_and_costs_no_entry(open_store):
    put(open_store(), 1)
    store = open_store(clock=lambda: datetime(2020, 1, 1))
    for call in (lambda: got(store, 1), lambda: store.delete_many(SHOP, [key(1)])):
        with pytest.raises(StoreError, match="clock"):
            call()
    assert got(open_store(), 1) == [1]


def test_files_that_are_damaged_again_at_once_are_not_repaired_again_at_once(open_store, warned):
    clock = FakeClock()
    store = open_store(monotonic=clock)
    for _ in range(5):
        put(store, 1) if not store.breaker_open else None
        store.close()
        overwritten(file(store, ".db"))
        with contextlib.suppress(StoreError):
            got(store, 1)
        clock.advance(0.5)
    assert len([line for line in warned() if "starting with an empty one" in line]) == 1
    clock.advance(5)
    assert got(store, 1) == []
    assert len([line for line in warned() if "starting with an empty one" in line]) == 2


# A pair


def test_an_index_that_is_removed_alone_takes_its_ring_with_it(open_store):
    store = open_store("4 MiB")
    put(store, *range(4_000))
    store.close()
    os.unlink(file(store, ".db"))
    for start in range(10_000, 16_000, 500):
        put(store, *range(start, start + 500))
        assert size_of(store) <= 1.1 * store.max_bytes
    assert len(os.listdir(store.path)) == 5
    assert got(store, *range(15_500, 16_000)) == [*range(15_500, 16_000)]


@pytest.mark.parametrize("how", ["removed", "of another store", "emptied"])
def test_a_ring_that_is_not_that_of_its_index_is_damage(open_store, tmp_path, warned, how):
    store = open_store()
    put(store, 1)
    store.close()
    ring = file(store, ".ring")
    if how == "removed":
        os.unlink(ring)
    elif how == "emptied":
        os.truncate(ring, 0)
    else:
        other = SharedStore(tmp_path / "other", "8 MiB")
        put(other, 1)
        other.close()
        shutil.copy(file(other, ".ring"), ring)
    assert got(store, 1) == []
    put(store, 2)
    assert got(store, 1, 2) == [2]
    assert len(warned()) == 1


@pytest.mark.parametrize("capacity", [17, 1, 2**62, int(0.8 * (4 << 20)) * 64])
@pytest.mark.parametrize("when", ["at rest", "in use"])
def test_a_length_of_the_ring_that_is_not_its_own_is_not_believed(open_store, capacity, when):
    store = open_store("4 MiB")
    put(store, *range(100))
    if when == "at rest":
        store.close()
    index = index_of(store)
    index.execute("UPDATE ring SET capacity = ?", (capacity,))
    index.close()
    for start in range(0, 6_000, 500):
        put(store, *range(start, start + 500))
        assert size_of(store) <= 1.1 * store.max_bytes
    assert store.info().rejected == store.info().dropped == 0
    assert got(store, *range(5_500, 6_000)) == [*range(5_500, 6_000)]


@pytest.mark.usefixtures("always_checked")
def test_who_closes_replaced_files_takes_nothing_from_the_new_ones(open_store):
    one, other = open_store(), open_store()
    put(one, 1)
    assert got(other, 1) == [1]
    shutil.move(file(one, ".db"), file(one, ".db") + "-away")
    put(one, 2)
    wal = file(one, ".db-wal")
    before = os.stat(wal)
    other.close()
    assert (os.stat(wal).st_ino, os.stat(wal).st_size) == (before.st_ino, before.st_size)
    assert got(other, 1, 2) == got(one, 1, 2) == [2]


def test_entries_of_small_payloads_take_little_more(open_store):
    store = open_store("8 MiB")
    for start in range(0, 60_000, 500):
        put(store, *range(start, start + 500), size=200)
    assert store.info().entries * 200 >= 0.6 * store.max_bytes
    assert size_of(store) <= 1.1 * store.max_bytes


# Who may write there


@pytest.mark.parametrize("suffix", [".ring", ".db"])
@pytest.mark.parametrize("index", ["there", "gone"])
def test_a_link_in_place_of_a_file_is_not_followed(open_store, tmp_path, suffix, index):
    store, victim = open_store(), tmp_path / "victim"
    victim.write_bytes(b"precious" * 1000)
    put(store, 1)
    store.close()
    place = file(store, suffix)
    os.unlink(place)
    os.symlink(victim, place)
    if index == "gone" and suffix == ".ring":
        os.unlink(file(store, ".db"))
    with contextlib.suppress(StoreError):
        got(store, 1)
        put(store, 1)
    assert victim.read_bytes() == b"precious" * 1000


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o770, 0o707])
def test_a_folder_that_others_can_write_to_is_refused(tmp_path, mode):
    folder = tmp_path / "store"
    folder.mkdir()
    folder.chmod(mode)
    store = SharedStore(folder, "4 MiB")
    with pytest.raises(StoreError, match="others own it or can write to it"):
        got(store, 1)
    assert os.listdir(folder) == []
    folder.chmod(0o755)
    inner = SharedStore(folder / "inner", "4 MiB")
    put(inner, 1)
    assert got(inner, 1) == [1]
    assert os.stat(folder / "inner").st_mode & 0o777 == 0o700
    inner.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to give a folder away")
def test_a_folder_that_others_own_is_refused(tmp_path):
    folder = tmp_path / "store"
    folder.mkdir(mode=0o700)
    os.chown(folder, 12345, -1)
    for store in (SharedStore(folder, "4 MiB"),):
        with pytest.raises(StoreError, match="others own it"):
            put(store, 1)
    assert os.listdir(folder) == []


# Looking at it


def test_what_only_looks_makes_no_files(open_store, tmp_path):
    store = open_store()
    put(store, 1, 2)
    store.close()
    before = sorted(os.listdir(store.path))
    looking = SharedStore.existing(store.path)
    assert looking.verify() == (2, 0)
    assert looking.info().entries == 2
    assert looking.namespaces()[0].name == "shop"
    assert got(looking, 1) == [1]
    looking.close()
    assert sorted(os.listdir(store.path)) == before
    for suffix in (".ring", ".db"):
        os.unlink(file(store, suffix))
        before = sorted(os.listdir(store.path))
        with pytest.raises(StoreError, match=r"damaged|no store"):
            SharedStore.existing(store.path)
        assert sorted(os.listdir(store.path)) == before
    with pytest.raises(StoreError, match="no store"):
        SharedStore.existing(tmp_path / "absent")
    assert not (tmp_path / "absent").exists()


@pytest.mark.usefixtures("always_checked")
def test_what_only_looks_can_purge_behind_a_stopped_writer(open_store):
    store = open_store()
    put(store, 1)
    with_lock = index_of(store)
    with_lock.execute("BEGIN IMMEDIATE")
    looking = SharedStore.existing(store.path, timeout=5.0)
    began = time.monotonic()
    looking.clear("shop")
    assert time.monotonic() - began < 20
    with_lock.close()
    assert got(store, 1) == []
    assert looking.max_bytes == SharedStore.existing(store.path).max_bytes == 8 << 20
    looking.close()


# Paths


@pytest.mark.parametrize("path", ["", "a\0b", "x" * 5000, "/" + "y/" * 250])
def test_a_path_that_can_be_no_folder_is_refused_at_once(path):
    with pytest.raises(ValueError, match="path"):
        SharedStore(path)


def test_a_path_of_bytes_is_refused():
    with pytest.raises(TypeError, match="path"):
        SharedStore(b"/tmp/somewhere")


def test_the_longest_path_that_is_taken_works(tmp_path):
    whole = str(tmp_path)
    while True:
        part = f"/{'p' * 50}"
        try:
            SharedStore(whole + part)
        except ValueError:
            break
        whole += part
    for length in range(60, 0, -1):
        with contextlib.suppress(ValueError):
            store = SharedStore(f"{whole}/{'q' * length}", "4 MiB")
            break
    put(store, 1)
    store.clear("shop")
    put(store, 2)
    assert got(store, 1, 2) == [2]
    store.close()
    with pytest.raises(ValueError, match="longer"):
        SharedStore(store.path + "q")


def test_a_tilde_is_the_users_home(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert SharedStore("~/cache").path == str(tmp_path / "cache")


@pytest.mark.parametrize("max_bytes", [2**40 + 1, "2 TiB"])
def test_a_budget_beyond_what_places_can_tell_is_refused(tmp_path, max_bytes):
    with pytest.raises(ValueError, match="max_bytes"):
        SharedStore(tmp_path / "store", max_bytes)


# What was deleted


def test_it_remembers_what_was_deleted_since_a_look_up(open_store):
    one, other = open_store(), open_store()
    put(one, *range(10))
    seen, later = Scope("shop"), Scope("shop")
    other.get_many(seen, [])
    assert other.deleted_since(seen, seen.epoch) is None  # nothing was
    one.delete_many(SHOP, [key(1), key(2)])
    other.get_many(later, [])
    one.delete_many(SHOP, [key(3)])
    assert other.deleted_since(SHOP, seen.epoch) == [key(1), key(2), key(3)]
    assert other.deleted_since(SHOP, later.epoch) == [key(3)]
    one.clear("blog")
    assert other.deleted_since(SHOP, later.epoch) == [key(3)]
    one.clear("shop")
    assert other.deleted_since(SHOP, later.epoch) is None


def test_it_remembers_no_more_than_the_last_deletes(open_store):
    store, seen = open_store(), Scope("shop")
    store.get_many(seen, [])
    store.delete_many(SHOP, [key(n) for n in range(400)])
    assert len(store.deleted_since(SHOP, seen.epoch)) == 400
    store.delete_many(SHOP, [key(n) for n in range(400)])
    assert store.deleted_since(SHOP, seen.epoch) is None


@pytest.mark.parametrize(
    ("budget", "cache"), [("16 MiB", 16 << 20), ("2 GiB", 32 << 20), ("64 GiB", 64 << 20)]
)
def test_of_a_large_index_more_stays_in_memory_up_to_a_bound(tmp_path, budget, cache):
    store = SharedStore(tmp_path, budget)
    store.get_many(SHOP.renewed(), [b"k" * 16])
    index = store._folder._opened().index
    for db in (index.reader, index._writer):
        assert db.execute("PRAGMA cache_size").fetchone() == (-cache >> 10,)
    store.close()
