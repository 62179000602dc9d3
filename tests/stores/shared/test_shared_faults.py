"""SharedStore among real processes that are killed, stopped, forked and cheated of their disk."""

import multiprocessing
import os
import random
import signal
import subprocess
import threading
import time
import warnings
from contextlib import suppress
from itertools import count

import pytest
from support.disks import after_a_power_cut, as_root, disk_of_its_own, mounted

from litcache.errors import StoreError
from litcache.stores.base import FORMAT, NewEntry, Scope
from litcache.stores.shared.frames import Frames
from litcache.stores.shared.store import SharedStore
from litcache.testing.doubles import FakeClock

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and signals"),
]

SECONDS = 120  # what anything may take before it counts as hung
forking = multiprocessing.get_context("fork")


def payload(key):
    """Return what belongs to a key, and to no other: 100 bytes to 600 KB, mostly short."""
    size = int(100 * 6000 ** (key[0] / 256) ** 3)
    return (key * (size // 16 + 1))[:size]


def keys(rng, number):
    return [rng.randbytes(16) for _ in range(number)]


def use(store, rng, hot, wrong):
    """Read and write once, as a service does; note what is not the answer to its key."""
    asked = [*rng.sample(hot, 4), *keys(rng, 4)]
    scope = Scope("shop")
    try:
        found = store.get_many(scope, asked)
        missing = [key for key, entry in zip(asked, found, strict=True) if entry is None]
        store.set_many(scope, {key: NewEntry(b"layout", payload(key)) for key in missing})
    except StoreError:
        return 0
    except Exception as error:
        wrong.append(repr(error))
        return 0
    for key, entry in zip(asked, found, strict=True):
        if entry is not None and (entry.layout, entry.payload) != (b"layout", payload(key)):
            wrong.append(key.hex())
    return len(asked) - len(missing)


class Worker:
    """A forked process that does `work(connection, *args)` and can be stopped and killed."""

    def __init__(self, work, *args):
        self.connection, theirs = forking.Pipe()
        self.process = forking.Process(target=self._run, args=(work, theirs, *args), daemon=True)
        with warnings.catch_warnings():
            # Python 3.12 and later warn of forks with threads, which other tests may have started.
            warnings.simplefilter("ignore", DeprecationWarning)
            self.process.start()
        theirs.close()

    def _run(self, work, connection, *args):
        self.connection.close()
        work(connection, *args)

    def hear(self):
        """Return the next thing that it says."""
        assert self.connection.poll(SECONDS), "a process hangs"
        return self.connection.recv()

    def send(self, number):
        os.kill(self.process.pid, number)

    def end(self):
        """Wait for its end."""
        self.process.join(SECONDS)
        assert not self.process.is_alive(), "a process hangs"


@pytest.fixture
def start():
    """Start workers, and kill those that are left in the end."""
    workers = []

    def start(work, *args):
        workers.append(Worker(work, *args))
        return workers[-1]

    yield start
    for worker in workers:
        worker.process.kill()
        worker.process.join(SECONDS)
        worker.connection.close()


@pytest.fixture(params=["disk", "memory"])
def path(request, tmp_path):
    """The path of a store, on disk and on tmpfs."""
    if request.param == "disk":
        yield str(tmp_path / "store")
        return
    if not os.access("/dev/shm", os.W_OK):
        pytest.skip("there is no writable /dev/shm")
    folder = f"/dev/shm/litcache-test-{os.getpid()}-{random.randrange(1 << 32)}"
    yield folder
    subprocess.run(["rm", "-r", folder], check=True)


def size_of(path):
    total = 0
    for name in os.listdir(path):
        with suppress(FileNotFoundError):
            total += os.stat(os.path.join(path, name)).st_size
    return total


def fill(folder):
    """Leave no room on a disk, and return the file to remove."""
    filler = os.path.join(folder, "filler")
    with suppress(OSError), open(filler, "wb", buffering=0) as stream:
        while stream.write(bytes(4096)) == 4096:
            pass
    return filler


# Killed


def write_for_ever(connection, path, seed):
    store, rng, wrong = SharedStore(path, "16 MiB"), random.Random(seed), []
    hot = keys(random.Random(0), 50)
    while not wrong:
        use(store, rng, hot, wrong)
        connection.send(b".")


def use_until_told(connection, path, seed):
    store, rng, wrong = SharedStore(path, "16 MiB"), random.Random(seed), []
    hot, hits = keys(random.Random(0), 50), 0
    while not connection.poll():
        hits += use(store, rng, hot, wrong)
    connection.send((hits, wrong, store.info()))


def test_writers_killed_in_mid_write_harm_nobody(path, start, times):
    survivors = [start(use_until_told, path, seed) for seed in (1, 2)]
    rng = random.Random(7)
    for seed in range(10, 10 + times(15, soak=500)):
        victim = start(write_for_ever, path, seed)
        for _ in range(rng.randrange(1, 20)):
            victim.hear()
        victim.send(signal.SIGKILL)
        victim.end()
    for survivor in survivors:
        survivor.connection.send("stop")
        hits, wrong, info = survivor.hear()
        assert wrong == []
        assert hits > 0
        assert info.corrupt == 0
    store = SharedStore(path, "16 MiB")
    checked, corrupt = store.verify()
    assert checked > 0
    assert corrupt == 0
    store.set_many(Scope("shop"), {bytes(16): NewEntry(b"", b"payload")})
    assert store.get_many(Scope("shop"), [bytes(16)])[0].payload == b"payload"
    assert os.listdir(path).count(f"litcache-v{FORMAT}-2.ring") == 1
    store.close()


# Stopped


def stop_inside_a_write(connection, path):
    store = SharedStore(path, "16 MiB")

    def stop(frames, place, data):
        connection.send("inside")
        connection.recv()

    Frames.write = stop
    store.set_many(Scope("shop"), {bytes(16): NewEntry(b"", b"")})


def test_a_writer_stopped_inside_a_write_holds_up_no_reader(path, start):
    store = SharedStore(path, "16 MiB", timeout=0.05)
    known = keys(random.Random(1), 20)
    store.set_many(Scope("shop"), {key: NewEntry(b"", payload(key)) for key in known})
    worker = start(stop_inside_a_write, path)
    assert worker.hear() == "inside"
    worker.send(signal.SIGSTOP)
    for number in range(5):
        began = time.monotonic()
        store.set_many(Scope("shop"), {number.to_bytes(16, "big"): NewEntry(b"", b"")})
        # After three in vain none waits.
        assert (0.05 if number < 3 else 0.0) <= time.monotonic() - began < 5
        found = store.get_many(Scope("shop"), known)
        assert [entry.payload for entry in found] == [payload(key) for key in known]
    assert store.info().dropped == 5
    with pytest.raises(StoreError, match="lock"):
        store.delete_many(Scope("shop"), known[:1])
    worker.send(signal.SIGKILL)
    worker.end()
    store.set_many(Scope("shop"), {bytes(16): NewEntry(b"", b"payload")})
    assert store.get_many(Scope("shop"), [bytes(16)])[0].payload == b"payload"
    store.close()


def test_a_stopped_writer_that_goes_on_later_harms_nothing(path, start):
    store = SharedStore(path, "16 MiB")
    worker = start(stop_inside_a_write, path)
    assert worker.hear() == "inside"
    worker.send(signal.SIGSTOP)
    store.set_many(Scope("shop"), {b"k" * 16: NewEntry(b"", b"dropped")})
    worker.send(signal.SIGCONT)
    worker.connection.send("go on")
    worker.end()
    store.set_many(Scope("shop"), {b"k" * 16: NewEntry(b"", b"payload")})
    assert store.get_many(Scope("shop"), [b"k" * 16])[0].payload == b"payload"
    store.close()


def stop_inside_a_read(connection, path):
    store = SharedStore(path, "16 MiB")
    store.get_many(Scope("shop"), [bytes(16)])
    reader = store._folder._opened().index.reader
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM entries").fetchall()
    connection.send("inside")
    connection.recv()


def test_a_reader_stopped_inside_a_read_leaves_files_bounded(path, start):
    store, rng, wrong = SharedStore(path, "16 MiB"), random.Random(1), []
    hot = keys(rng, 50)
    use(store, rng, hot, wrong)
    worker = start(stop_inside_a_read, path)
    assert worker.hear() == "inside"
    worker.send(signal.SIGSTOP)
    while store.info().dropped == 0:
        entries = {key: NewEntry(b"", key) for key in keys(rng, 200)}
        store.set_many(Scope("shop"), entries)
        assert size_of(path) <= 1.1 * store.max_bytes
    for _ in range(20):
        use(store, rng, hot, wrong)
        assert size_of(path) <= 1.1 * store.max_bytes
    worker.send(signal.SIGKILL)
    worker.end()
    dropped = store.info().dropped
    store.set_many(Scope("shop"), {bytes(16): NewEntry(b"", b"payload")})
    assert store.get_many(Scope("shop"), [bytes(16)])[0].payload == b"payload"
    assert store.info().dropped == dropped
    assert wrong == []
    store.close()


# At once


def create(connection, path, barrier, number):
    store = SharedStore(path, "16 MiB", timeout=5.0)
    barrier.wait(SECONDS)
    key = number.to_bytes(16, "big")
    store.set_many(Scope("shop"), {key: NewEntry(b"", payload(key))})
    connection.send(store.info().dropped)
    store.close()


def test_processes_that_create_a_store_at_once_share_it(tmp_path, start, times):
    for turn in range(times(10, soak=200)):
        path = str(tmp_path / f"store{turn}")
        barrier = forking.Barrier(3)
        workers = [start(create, path, barrier, number) for number in range(3)]
        assert [worker.hear() for worker in workers] == [0, 0, 0]
        for worker in workers:
            worker.end()
        store = SharedStore(path, "16 MiB")
        asked = [number.to_bytes(16, "big") for number in range(3)]
        found = store.get_many(Scope("shop"), asked)
        assert [entry.payload for entry in found] == [payload(key) for key in asked]
        assert {name.split(".")[0] for name in os.listdir(path)} == {f"litcache-v{FORMAT}-2"}
        store.close()


def write_ten_budgets(connection, path, seed):
    store, rng, written = SharedStore(path, "16 MiB"), random.Random(seed), 0
    store.get_many(Scope("shop"), [])
    wrong, worst = [], 0.0
    while written < 10 * store.max_bytes // 4:
        entries = {key: NewEntry(b"layout", payload(key)) for key in keys(rng, 16)}
        began = time.monotonic()
        store.set_many(Scope("shop"), entries)
        found = store.get_many(Scope("shop"), list(entries))
        worst = max(worst, time.monotonic() - began)
        for (key, entry), hit in zip(entries.items(), found, strict=True):
            written += len(entry.payload)
            if hit is not None and hit.payload != entry.payload:
                wrong.append(key)
    connection.send((wrong, worst, store.info()))


def test_four_writers_of_ten_budgets_keep_the_files_within_one(path, start):
    workers = [start(write_ten_budgets, path, seed) for seed in range(4)]
    peak = 0
    while not all(worker.connection.poll(0.002) for worker in workers):
        peak = max(peak, size_of(path)) if os.path.isdir(path) else peak
    for worker in workers:
        wrong, worst, info = worker.hear()
        assert wrong == []
        assert worst < 10
        assert info.rejected == info.corrupt == 0
        assert info.bytes <= 16 << 20
    assert 0.5 * (16 << 20) < peak <= 1.1 * (16 << 20)


# Forked


def use_in_a_fork(connection, store, seed):
    rng, wrong = random.Random(seed), []
    hot = keys(random.Random(0), 50)
    hits = sum(use(store, rng, hot, wrong) for _ in range(20))
    connection.send((hits, wrong))


def test_processes_forked_while_threads_hold_the_store_can_use_it(path, start, times):
    store, stop, wrong = SharedStore(path, "16 MiB", timeout=5.0), threading.Event(), []
    hot = keys(random.Random(0), 50)

    def work(seed):
        rng = random.Random(seed)
        while not stop.is_set():
            use(store, rng, hot, wrong)

    threads = [threading.Thread(target=work, args=(seed,), daemon=True) for seed in (1, 2)]
    for thread in threads:
        thread.start()
    try:
        for seed in range(10, 10 + times(10, soak=300)):
            hits, theirs = start(use_in_a_fork, store, seed).hear()
            assert hits > 0
            assert theirs == []
    finally:
        stop.set()
        for thread in threads:
            thread.join(SECONDS)
    assert wrong == []
    assert store.verify()[1] == 0
    store.close()


# Damaged


def damage(connection, path, seed):
    """Flip a bit in 1 % of the bytes stored, or cut the files, while others use them."""
    rng = random.Random(seed)
    for name in sorted(os.listdir(path)):
        if name.endswith("-shm"):  # not stored, and mapped by SQLite
            continue
        file = os.path.join(path, name)
        length = os.stat(file).st_size
        if seed % 3 == 2:
            os.truncate(file, int(rng.random() * length))
            continue
        with open(file, "r+b") as stream:
            data = bytearray(stream.read())
            for position in rng.sample(range(length), length // 100):
                data[position] ^= 1 << rng.randrange(8)
            stream.seek(0)
            stream.write(data)
    connection.send("done")


@pytest.mark.parametrize("opened", [True, False], ids=["in use", "at rest"])
@pytest.mark.parametrize("seed", range(9))
def test_flipped_bytes_and_cut_files_give_no_wrong_entry(tmp_path, start, seed, opened, caplog):
    path = str(tmp_path / "store")
    stores = [SharedStore(path, "4 MiB", timeout=5.0) for _ in range(2)]
    rng, wrong = random.Random(seed), []
    hot = keys(rng, 200)
    for _ in range(100):
        use(stores[0], rng, hot, wrong)
    if not opened:
        stores[0].close()
    worker = start(damage, path, seed)
    assert worker.hear() == "done"
    worker.end()
    began = time.monotonic()
    for _ in range(300):
        for store in stores:
            use(store, rng, hot, wrong)
    assert time.monotonic() - began < SECONDS
    assert wrong == []
    # What was damaged is found and replaced, whatever it was, and the store goes on.
    for turn in count():
        if all(use(store, rng, hot[:8], wrong) for store in stores):
            break
        assert turn < 1000
    assert wrong == []
    assert len([r for r in caplog.records if r.levelname == "WARNING"]) <= 2
    for store in stores:
        store.close()


# Cheated of their disk


def test_a_full_disk_drops_writes_and_reads_go_on(tmp_path, caplog):
    folder = str(tmp_path / "small")
    with mounted(folder, "24m"):
        store = SharedStore(os.path.join(folder, "store"), "1 GiB")
        known = {key: NewEntry(b"", key * 10) for key in keys(random.Random(1), 100)}
        store.set_many(Scope("shop"), known)
        assert "has room for" in caplog.text
        filler = fill(folder)
        rng = random.Random(2)
        for _ in range(50):
            store.set_many(Scope("shop"), {key: NewEntry(b"", key * 100) for key in keys(rng, 64)})
            found = store.get_many(Scope("shop"), list(known))
            assert [e.payload for e in found] == [entry.payload for entry in known.values()]
        assert store.info().dropped > 0
        os.unlink(filler)
        dropped = store.info().dropped
        store.set_many(Scope("shop"), {bytes(16): NewEntry(b"", b"payload")})
        assert store.get_many(Scope("shop"), [bytes(16)])[0].payload == b"payload"
        assert store.info().dropped == dropped
        store.close()


def test_a_disk_that_fills_as_the_store_grows_drops_writes(tmp_path):
    folder = str(tmp_path / "small")
    with mounted(folder, "24m"):
        store, rng, wrong = (
            SharedStore(os.path.join(folder, "store"), "1 GiB"),
            random.Random(1),
            [],
        )
        hot = keys(rng, 20)
        use(store, rng, hot, wrong)
        with open(os.path.join(folder, "filler"), "wb") as filler:
            filler.write(bytes(18 << 20))
        for _ in range(1000):
            use(store, rng, hot, wrong)
        assert wrong == []
        assert store.info().dropped > 0
        store.close()


def test_a_full_disk_at_the_start_is_one_warning_and_an_error(tmp_path, caplog):
    folder = str(tmp_path / "small")
    with mounted(folder, "1m"):
        store = SharedStore(os.path.join(folder, "store"), "1 GiB")
        for _ in range(3):
            with pytest.raises(StoreError, match="has room for"):
                store.get_many(Scope("shop"), [bytes(16)])
        assert len(caplog.records) == 1


@pytest.mark.parametrize("made_before", [False, True])
def test_a_read_only_folder_is_one_warning_and_an_error(tmp_path, caplog, made_before):
    folder = str(tmp_path / "still")
    with mounted(folder, "24m"):
        path = os.path.join(folder, "store")
        if made_before:
            maker = SharedStore(path, "8 MiB")
            maker.set_many(Scope("shop"), {bytes(16): NewEntry(b"", b"payload")})
            maker.close()
        assert as_root("mount", "-o", "remount,ro", folder) == ""
        store = SharedStore(path, "8 MiB")
        began = time.monotonic()
        for _ in range(100):
            with pytest.raises(StoreError, match="cannot be used"):
                store.get_many(Scope("shop"), [bytes(16)])
            with pytest.raises(StoreError, match="cannot be used"):
                store.set_many(Scope("shop"), {bytes(16): NewEntry(b"", b"payload")})
        assert time.monotonic() - began < 5
        assert len(caplog.records) == 1


def test_a_disk_that_turns_read_only_is_an_error(tmp_path):
    folder = str(tmp_path / "still")
    with mounted(folder, "24m"):
        store = SharedStore(os.path.join(folder, "store"), "8 MiB")
        store.set_many(Scope("shop"), {bytes(16): NewEntry(b"", b"payload")})
        store.close()
        assert as_root("mount", "-o", "remount,ro", folder) == ""
        with pytest.raises(StoreError):
            store.set_many(Scope("shop"), {bytes(16): NewEntry(b"", b"payload")})
        assert as_root("mount", "-o", "remount,rw", folder) == ""


def test_a_disk_without_room_for_shared_memory_costs_no_entry(tmp_path, caplog):
    folder = str(tmp_path / "small")
    with mounted(folder, "24m"):
        clock = FakeClock()
        store = SharedStore(os.path.join(folder, "store"), "8 MiB", monotonic=clock)
        known = keys(random.Random(1), 100)
        store.set_many(Scope("shop"), {key: NewEntry(b"", key) for key in known})
        store.close()
        filler = fill(folder)
        for _ in range(3):
            with pytest.raises(StoreError, match="cannot be used"):
                store.get_many(Scope("shop"), known)
            clock.advance(0.4)
        os.unlink(filler)
        found = store.get_many(Scope("shop"), known)
        assert [entry and entry.payload for entry in found] == known
        assert len(caplog.records) == 1
        store.close()


def test_a_store_that_found_little_room_grows_when_there_is_more(tmp_path, caplog):
    folder = str(tmp_path / "small")
    with mounted(folder, "40m"):
        with open(os.path.join(folder, "filler"), "wb") as filler:
            filler.write(bytes(30 << 20))
        clock = FakeClock()
        store = SharedStore(os.path.join(folder, "store"), "24 MiB", monotonic=clock)
        rng = random.Random(1)

        def write(number):
            for _ in range(number // 50):
                entries = {key: NewEntry(b"", key * 100) for key in keys(rng, 50)}
                store.set_many(Scope("shop"), entries)

        write(10_000)
        assert store.info().entries * 1600 < 10 << 20
        assert "has room for" in caplog.text
        os.unlink(os.path.join(folder, "filler"))
        clock.advance(30)
        write(20_000)
        assert store.info().entries * 1600 > 0.6 * (24 << 20)
        assert size_of(store.path) <= 1.1 * store.max_bytes
        assert store.info().dropped == 0
        store.close()


@pytest.mark.parametrize("call", ["clear", "clear all", "delete", "purge"])
def test_what_was_cleared_or_deleted_is_not_answered_after_a_power_cut(tmp_path, call):
    folder, image = str(tmp_path / "disk"), str(tmp_path / "image")
    with disk_of_its_own(folder, image):
        store = SharedStore(os.path.join(folder, "store"), "4 MiB", timeout=10)
        rng = random.Random(1)
        asked = keys(rng, 2)
        for _ in range(20):  # some of it in the WAL, some copied back
            entries = {key: NewEntry(b"", key * 10) for key in [*asked, *keys(rng, 200)]}
            store.set_many(Scope("shop"), entries)
        subprocess.run(["sync", "-f", folder], check=True)
        for _ in range(20):
            entries = {key: NewEntry(b"", key * 10) for key in [*asked, *keys(rng, 200)]}
            store.set_many(Scope("shop"), entries)
        if call == "delete":
            assert store.delete_many(Scope("shop"), asked[:1]) == 1
        elif call == "purge":
            store._folder.purge("a test")
        else:
            store.clear("shop" if call == "clear" else None)
        with after_a_power_cut(str(tmp_path / "later"), image):
            later = SharedStore(os.path.join(tmp_path, "later", "store"), "4 MiB", timeout=10)
            assert later.get_many(Scope("shop"), asked)[0] is None
            if call != "delete":
                assert later.get_many(Scope("shop"), asked) == [None, None]
            later.close()
        store.close()


def test_before_it_was_cleared_it_is_answered_after_a_power_cut(tmp_path):
    """Else the test above would show nothing."""
    folder, image = str(tmp_path / "disk"), str(tmp_path / "image")
    with disk_of_its_own(folder, image):
        store = SharedStore(os.path.join(folder, "store"), "4 MiB", timeout=10)
        store.set_many(Scope("shop"), {bytes(16): NewEntry(b"", b"payload")})
        subprocess.run(["sync", "-f", folder], check=True)
        with after_a_power_cut(str(tmp_path / "later"), image):
            later = SharedStore(os.path.join(tmp_path, "later", "store"), "4 MiB", timeout=10)
            assert later.get_many(Scope("shop"), [bytes(16)]) != [None]
            later.close()
        store.close()
