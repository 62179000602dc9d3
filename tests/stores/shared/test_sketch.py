"""The sketch of a shared store: the index has nothing that it lacks, and its tokens count."""

import errno
import itertools
import os
import random
import threading

import pytest

from litcache.stores.base import NewEntry, Scope
from litcache.stores.shared import sketch as sketches
from litcache.stores.shared.database import IDENTITY_BYTES, DamageError
from litcache.stores.shared.finding import find
from litcache.stores.shared.places import LAP
from litcache.stores.shared.sketch import Sketch
from litcache.stores.shared.store import SharedStore
from litcache.testing import FakeClock

IDENTITY = b"i" * IDENTITY_BYTES


@pytest.fixture
def open_store(tmp_path):
    """Open stores of one folder; they are closed at the end."""
    stores = []

    def opened(max_bytes="4 MiB", **options):
        stores.append(SharedStore(tmp_path / "store", max_bytes, timeout=5.0, **options))
        return stores[-1]

    yield opened
    for store in stores:
        store.close()


@pytest.fixture
def a_sketch(tmp_path):
    """Return an empty sketch of 4,096 places, and its path."""
    path = str(tmp_path / "sketch")
    sketches.make(path, IDENTITY, 4096)
    sketch = Sketch(path, IDENTITY)
    yield sketch, path
    sketch.close()


def key(number):
    return number.to_bytes(16, "big")


def put(store, *numbers, scope=None, size=100):
    scope = scope or Scope("shop")
    store.get_many(scope, ())
    store.set_many(scope, {key(n): NewEntry(b"", bytes(size)) for n in numbers})


def got(store, *numbers, name="shop"):
    found = store.get_many(Scope(name), [key(n) for n in numbers])
    return [n for n, entry in zip(numbers, found, strict=True) if entry is not None]


def check(store):
    """Compare what the sketch tells with the index."""
    ring = store._folder._ring
    with ring.index.reading:
        hashes = ring.index.reader.execute("SELECT hash FROM entries").fetchall()
        spaces = ring.index.reader.execute("SELECT tag, tokens FROM spaces").fetchall()
    assert [hash for (hash,) in hashes if ring.sketch.lacks([hash])] == []
    assert [tag for tag, tokens in spaces if ring.sketch.tokens(tag) not in (None, tokens)] == []
    return len(hashes)


def numbers_of(seed, count):
    return [random.Random(f"{seed}{n}").getrandbits(63) for n in range(count)]


# ------------------------------------------------------------------ in a store


def test_a_look_up_of_what_was_never_stored_asks_no_index(open_store, monkeypatch):
    store = open_store()
    put(store, *range(100))

    asked = []

    def find_and_note(*args):
        asked.append(args)
        return find(*args)

    monkeypatch.setattr("litcache.stores.shared.ring.find", find_and_note)
    scope = Scope("shop")
    assert store.get_many(scope, [key(n) for n in range(1000, 1032)]) == [None] * 32
    assert asked == []
    assert got(store, *range(1000, 1031), 7) == [7]
    assert len(asked) == 1
    put(store, 1000, scope=scope)
    assert got(store, *range(999, 1002), 7) == [1000, 7]


def test_what_the_index_has_the_sketch_never_lacks_over_many_laps(open_store):
    rng = random.Random(7)
    stores = [open_store(), open_store()]
    fresh, laps, held = itertools.count(), 0, 0
    while laps < 4:
        store = rng.choice(stores)
        numbers = [next(fresh) for _ in range(rng.randrange(1, 200))]
        put(store, *numbers, size=rng.choice([50, 1000, 5000]))
        assert set(got(rng.choice(stores), *numbers)) <= set(numbers)
        newest = max(numbers)
        got(store, *range(max(0, newest - 1000), newest, 7))  # what was hit moves, later
        if rng.random() < 0.1:
            store.delete_many(Scope("shop"), [key(n) for n in numbers[-5:]])
        if rng.random() < 0.02:
            store.clear(rng.choice([None, "shop"]))
        if rng.random() < 0.02:
            stores[0] = open_store(rng.choice(["4 MiB", "6 MiB"]))
        held = max(held, check(stores[0]), check(stores[1]))
        ring = stores[0]._folder._ring
        with ring.index.reading:
            ((place,),) = ring.index.reader.execute("SELECT max(place) FROM entries").fetchall()
        laps = max(laps, (place or 0) // LAP)
    assert held > 500


def test_all_that_was_deleted_begins_at_the_first_lap_again(open_store):
    store = open_store()
    for start in range(0, 9000, 100):
        put(store, *range(start, start + 100), size=1000)
    store.delete_many(Scope("shop"), [key(n) for n in range(9000)])
    assert check(store) == 0
    put(store, *range(50))
    assert check(store) == 50
    assert got(store, *range(60)) == list(range(50))


@pytest.mark.parametrize("namespace", ["shop", None])
def test_the_sketch_knows_the_tokens_of_a_clear_and_of_a_delete(open_store, namespace):
    store, other = open_store(), open_store()
    put(store, 1)
    before, after = Scope("shop"), Scope("shop")
    store.get_many(before, [key(9)])
    other.clear(namespace)
    store.get_many(after, [key(9)])
    assert after.epoch[:8] != before.epoch[:8]
    put(other, 1)
    other.delete_many(Scope("shop"), [key(1)])
    store.get_many(before, [key(9)])
    assert before.epoch[:8] == after.epoch[:8]
    assert before.epoch != after.epoch
    check(store)


def test_misses_are_answered_at_once_while_the_files_are_known(open_store, tmp_path):
    clock = FakeClock()
    store, other = open_store(monotonic=clock), open_store()
    assert store.get_at_once(Scope("shop"), [key(1)]) is None  # the files are not open
    put(store, 1)
    scope, known = Scope("shop"), Scope("shop")
    assert store.get_at_once(scope, [key(8), key(9)]) == [None, None]
    store.get_many(known, [key(8)])
    assert scope.epoch == known.epoch
    assert store.get_at_once(Scope("shop"), [key(8), key(1)]) is None  # one of them may be there
    assert store.get_at_once(Scope("blog"), [key(8)]) is None  # it has no tokens yet
    other.delete_many(Scope("shop"), [key(1)])
    assert store.get_at_once(scope, [key(8)]) == [None]
    assert scope.epoch != known.epoch
    put(store, 8, scope=scope)
    assert got(other, 8) == [8]
    clock.advance(1)  # others may have replaced the files meanwhile
    assert store.get_at_once(Scope("shop"), [key(9)]) is None
    assert got(store, 9) == []
    assert store.get_at_once(Scope("shop"), [key(9)]) == [None]
    store.close()
    assert store.get_at_once(Scope("shop"), [key(9)]) is None


@pytest.mark.parametrize("tokens", [b"other tokens: 16", None])
def test_tokens_that_were_never_committed_cost_one_write(open_store, tokens):
    store, scope = open_store(), Scope("shop")
    put(store, 1)
    ring = store._folder._ring
    if tokens is None:  # the index lost the namespace
        with ring.index.transaction(1.0) as db:
            db.execute("DELETE FROM spaces")
    else:
        ring.sketch.note([(scope.tag, tokens)])
    put(store, 2)
    assert store.info().dropped == 1
    put(store, 2)
    assert 2 in got(store, 2)
    check(store)


def test_namespaces_of_one_slot_do_not_disturb_each_other(open_store):
    store = open_store()
    by_slot = {}
    for n in itertools.count():
        name, slot = f"n{n}", int.from_bytes(Scope(f"n{n}").tag, "little") % sketches._SLOTS
        if slot in by_slot:
            names = by_slot[slot], name
            break
        by_slot[slot] = name
    for number, name in enumerate((*names, *names)):
        put(store, number, scope=Scope(name))
    for number, name in enumerate(names):
        assert got(store, number, number + 2, 9, name=name) == [number, number + 2]
        store.clear(name)
        assert got(store, number, number + 2, name=name) == []
        put(store, number, scope=Scope(name))
        assert got(store, number, number + 2, name=name) == [number]
    check(store)


@pytest.mark.parametrize("damage", ["removed", "cut off", "of another index"])
def test_without_its_sketch_a_store_begins_anew(open_store, tmp_path, caplog, damage):
    store = open_store()
    put(store, 1)
    store.close()
    (path,) = (tmp_path / "store").glob("*.sketch")
    if damage == "removed":
        path.unlink()
    elif damage == "cut off":
        os.truncate(path, 5000)
    else:
        path.write_bytes(path.read_bytes().replace(b"litseen", b"litSeen"))
    assert got(store, 1) == []
    assert "is damaged" in caplog.text
    put(store, 1)
    assert got(store, 1, 2) == [1]


def test_look_ups_go_on_while_another_thread_closes_the_store(open_store):
    store, stop, wrong = open_store(), threading.Event(), []
    put(store, 1)

    def look_up():
        try:
            while not stop.is_set():
                assert got(store, 1) == [1]
                assert got(store, 2, 3) == []
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=look_up) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(50):
        store.close()
    stop.set()
    for thread in threads:
        thread.join(60)
    assert wrong == []


# ------------------------------------------------------------------ alone


def test_a_sketch_keeps_the_last_two_laps(a_sketch):
    sketch, path = a_sketch
    laps = [numbers_of(lap, 100) for lap in range(5)]
    for lap, hashes in enumerate(laps):
        sketch.add(hashes, lap * LAP + 7)
        for shown in (sketch, Sketch(path, IDENTITY)):
            for known in laps[max(0, lap - 1) : lap + 1]:
                assert not any(shown.lacks([hash]) for hash in known)
            forgotten = [hash for old in laps[: max(0, lap - 1)] for hash in old]
            assert sum(not shown.lacks([hash]) for hash in forgotten) <= 5
    assert sum(not sketch.lacks([hash]) for hash in numbers_of("never", 1000)) < 20


def test_a_closed_sketch_says_so(tmp_path):
    path = str(tmp_path / "sketch")
    sketches.make(path, IDENTITY, 4096)
    sketch = Sketch(path, IDENTITY)
    sketch.close()
    for use in (lambda: sketch.lacks([1]), lambda: sketch.tokens(b"t" * 8)):
        with pytest.raises(OSError, match="closed") as told:
            use()
        assert told.value.errno == errno.EBADF
    with pytest.raises(DamageError):
        Sketch(path, b"j" * IDENTITY_BYTES)


def test_what_is_no_tag_or_no_tokens_is_not_noted(a_sketch):
    sketch, _ = a_sketch
    sketch.note([(b"t" * 8, b"x" * 16), (7, b"x" * 16), (b"short", b"x" * 16), (b"u" * 8, "text")])
    assert sketch.tokens(b"t" * 8) == b"x" * 16
    assert sketch.tokens(b"u" * 8) is None
    sketch.note([(b"t" * 8, None)])
    assert sketch.tokens(b"t" * 8) is None
