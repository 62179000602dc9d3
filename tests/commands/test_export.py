"""A store to a file, and back into a store of any kind."""

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import threading

import pytest
from support.servers import ROOT

from litcache import RedisStore, SharedStore
from litcache.__main__ import main
from litcache.commands import archive, export
from litcache.stores import base
from litcache.stores.base import NewEntry, Scope

pytestmark = pytest.mark.e2e

ENTRIES = {
    n.to_bytes(16, "big"): NewEntry(b"layout", n.to_bytes(4, "big") * 375, None, n)
    for n in range(2_500)
}
BLOG = [n.to_bytes(16, "little") for n in range(1, 41)]
LATER = 4e9


@pytest.fixture
def stack():
    with contextlib.ExitStack() as stack:
        yield stack


@pytest.fixture
def made(tmp_path, stack):
    """Makes empty stores of a kind; a store's `arguments` name it on the command line."""
    numbers = itertools.count()

    def make(kind):
        if kind == "shared":
            folder = tmp_path / f"store{next(numbers)}"
            store = SharedStore(folder, "32 MiB", timeout=10)
            store.clear("nothing")  # so that there is one
            store.arguments = [str(folder)]
        else:
            redis_servers = pytest.importorskip("support.redis_servers")
            server = stack.enter_context(redis_servers.Server("valkey", tmp_path))
            store = RedisStore(server.url, "mine", timeout=10)
            store.arguments = [server.url, "--prefix", "mine"]
        stack.callback(store.close)
        return store

    return make


def fill(store):
    store.set_many(Scope("shop", "minilm-2"), ENTRIES)
    store.set_many(Scope("shop", "minilm-1"), dict(list(ENTRIES.items())[:1]))
    store.set_many(Scope("blog \udc80 ü"), {b"b" * 16: NewEntry(b"", b"payload", LATER)})
    store.set_many(Scope("old"), {b"o" * 16: NewEntry(b"", b"of before the clear")})
    store.clear("old")


@pytest.fixture
def command(capsys):
    """Runs a command, and returns its exit code, what programs are told, and its errors."""

    def run(name, *arguments):
        capsys.readouterr()
        code = main([name, *map(str, arguments), "--json"])
        told, errors = capsys.readouterr()
        return code, json.loads(told) if told else None, errors

    return run


def entries_of(store, namespace):
    keys = [*ENTRIES, *BLOG, b"b" * 16, b"o" * 16]
    found = store.get_many(Scope(namespace), keys)
    return {
        key: (bytes(e.layout), bytes(e.payload), e.expires, e.request)
        for key, e in zip(keys, found, strict=True)
        if e is not None
    }


ALL = {key: tuple(entry) for key, entry in ENTRIES.items()}


@pytest.mark.parametrize("source", ["shared", "redis"])
@pytest.mark.parametrize("target", ["shared", "redis"])
def test_a_store_comes_back_from_a_file_with_namespaces_versions_and_expiry(
    made, command, tmp_path, source, target
):
    first, second, file = made(source), made(target), tmp_path / "entries"
    fill(first)
    code, told, errors = command("export", *first.arguments, file)
    assert (code, errors, told["entries"], told["corrupt"]) == (0, "", 2_501, 0)
    assert file.stat().st_mode & 0o777 == 0o600
    code, told, errors = command("import", file, *second.arguments)
    assert (code, errors, told["stored"], told["whole"]) == (0, "", 2_501, True)
    assert entries_of(second, "shop") == ALL
    assert entries_of(second, "blog \udc80 ü") == {b"b" * 16: (b"", b"payload", LATER, 0)}
    assert entries_of(second, "old") == {}
    spaces = {space.name: space.versions for space in second.namespaces()}
    assert spaces["shop"] == ("minilm-1", "minilm-2")


def test_one_namespace_is_exported_or_imported_alone(made, command, tmp_path):
    store, file = made("shared"), tmp_path / "entries"
    fill(store)
    told = command("export", *store.arguments, file, "--namespace", "shop")[1]
    assert [space["name"] for space in told["namespaces"]] == ["shop"]
    assert command("import", file, *store.arguments, "--namespace", "blog")[0] == 3
    command("export", *store.arguments, file)
    other = made("shared")
    told = command("import", file, *other.arguments, "--namespace", "shop")[1]
    assert (told["stored"], told["namespaces"]) == (2_500, ["shop"])
    assert other.names() == ["shop"]


def test_a_namespace_that_is_not_there_is_not_exported(made, command, tmp_path):
    store = made("shared")
    code, _, errors = command(
        "export", *store.arguments, tmp_path / "entries", "--namespace", "shpo"
    )
    assert (code, "no namespace 'shpo'" in errors) == (3, True)
    assert not list(tmp_path.glob("entries*"))


def test_an_import_into_a_cleared_namespace_is_seen(made, command, tmp_path):
    store, file = made("shared"), tmp_path / "entries"
    fill(store)
    command("export", *store.arguments, file)
    store.clear("shop")
    assert entries_of(store, "shop") == {}
    assert command("import", file, *store.arguments)[1]["stored"] == 2_500
    assert entries_of(store, "shop") == ALL


def test_what_a_store_holds_is_not_replaced(made, command, tmp_path):
    store, file = made("shared"), tmp_path / "entries"
    fill(store)
    command("export", *store.arguments, file)
    key = next(iter(ENTRIES))
    store.set_many(Scope("shop"), {key: NewEntry(b"layout", b"newer")})
    told = command("import", file, *store.arguments)[1]
    assert (told["stored"], told["there"]) == (0, 2_501)
    assert store.get_many(Scope("shop"), [key])[0].payload == b"newer"


def test_what_has_expired_is_neither_exported_nor_imported(made, command, tmp_path, monkeypatch):
    store, file = made("shared"), tmp_path / "entries"
    store.set_many(
        Scope("shop"), {b"a" * 16: NewEntry(b"", b"", 1e9), b"b" * 16: NewEntry(b"", b"", LATER)}
    )
    assert command("export", *store.arguments, file)[1]["entries"] == 1
    monkeypatch.setattr(SharedStore, "clock", staticmethod(lambda: LATER + 1))
    other = SharedStore(tmp_path / "other", "8 MiB", clock=lambda: LATER + 1)
    other.clear("nothing")
    other.close()
    told = command("import", file, tmp_path / "other")[1]
    assert told["stored"] + told["expired"] == 1


# ------------------------------------------------------------------ interruptions


class Interrupted(Exception):
    """What stands for the end of the process."""


def interrupt_after(monkeypatch, owner, name, times):
    """Let the first so many calls of a function pass, and the next one fail."""
    left, original = iter(range(times)), getattr(owner, name)

    def call(*arguments):
        if next(left, None) is None:
            raise Interrupted
        return original(*arguments)

    monkeypatch.setattr(owner, name, call)


@pytest.mark.parametrize("kind", ["shared", "redis"])
def test_an_export_goes_on_where_it_stopped(made, command, tmp_path, monkeypatch, kind):
    store, file = made(kind), tmp_path / "entries"
    fill(store)
    with monkeypatch.context() as patch:
        interrupt_after(patch, export, "_add", 2)
        with pytest.raises(Interrupted):
            command("export", *store.arguments, file)
    part = tmp_path / "entries.part"
    with part.open("ab") as torn:
        torn.write(b"E of which the rest was not written")
    assert not file.exists()
    asked = []
    original = export._add
    monkeypatch.setattr(
        export, "_add", lambda *arguments: asked.append(arguments[2]) or original(*arguments)
    )
    code, told, _ = command("export", *store.arguments, file)
    assert (code, told["entries"]) == (0, 2_501)
    assert 0 < told["resumed"] < 2_501
    assert sum(page.seen for page in asked) <= 2_501 + 1 + 1 - told["resumed"]
    assert not part.exists()
    other = made("shared")
    command("import", file, *other.arguments)
    assert entries_of(other, "shop") == ALL


@pytest.mark.parametrize("change", ["cleared", "another store", "another namespace", "garbage"])
def test_what_was_exported_of_something_else_is_not_gone_on_with(
    made, command, tmp_path, monkeypatch, change
):
    store, file = made("shared"), tmp_path / "entries"
    fill(store)
    with monkeypatch.context() as patch:
        interrupt_after(patch, export, "_add", 2)
        with pytest.raises(Interrupted):
            command("export", *store.arguments, file)
    more = []
    if change == "cleared":
        store.clear("shop")
        store.set_many(Scope("shop"), dict(list(ENTRIES.items())[:7]))
    elif change == "another store":
        store = made("shared")
        store.set_many(Scope("shop"), dict(list(ENTRIES.items())[:7]))
    elif change == "another namespace":
        more = ["--namespace", "blog \udc80 ü"]
    else:
        (tmp_path / "entries.part").write_bytes(b"something else")
    code, told, _ = command("export", *store.arguments, file, *more)
    assert (code, told["resumed"]) == (0, 0)
    expected = {"cleared": 8, "another store": 7, "another namespace": 1, "garbage": 2_501}
    assert told["entries"] == expected[change]


def test_entries_that_are_cleared_during_an_export_are_in_no_file(
    made, command, tmp_path, monkeypatch
):
    store, file = made("shared"), tmp_path / "entries"
    fill(store)
    original = export._add

    def add(*arguments):
        store.clear("shop")
        original(*arguments)

    monkeypatch.setattr(export, "_add", add)
    code, _, errors = command("export", *store.arguments, file)
    assert (code, "was cleared while it was exported" in errors) == (3, True)
    assert not list(tmp_path.glob("entries*"))


@pytest.mark.parametrize("kind", ["shared", "redis"])
def test_an_import_goes_on_where_it_stopped(made, command, tmp_path, monkeypatch, kind):
    store, file = made("shared"), tmp_path / "entries"
    fill(store)
    command("export", *store.arguments, file)
    other = made(kind)
    with monkeypatch.context() as patch:
        interrupt_after(patch, type(other), "set_many", 2)
        with pytest.raises(Interrupted):
            command("import", file, *other.arguments)
    some = len(entries_of(other, "shop"))
    assert 0 < some < 2_500
    told = command("import", file, *other.arguments)[1]
    assert told["stored"] + told["there"] == 2_501
    assert told["there"] >= some
    assert entries_of(other, "shop") == ALL


@pytest.mark.parametrize("kind", ["shared", "redis"])
def test_a_clear_or_delete_during_an_import_holds(made, command, tmp_path, monkeypatch, kind):
    source, file = made("shared"), tmp_path / "entries"
    fill(source)
    command("export", *source.arguments, file)
    store = made(kind)
    store.set_many(Scope("shop"), {b"x" * 16: NewEntry(b"", b"")})
    store.delete_many(Scope("shop"), [b"x" * 16])
    erased = list(ENTRIES)[-1]
    original = type(store).set_many
    # The first write is followed by one that notes the second version.
    then = [None, None, lambda: store.delete_many(Scope("shop"), [erased])]

    def set_many(self, scope, entries):
        original(self, scope, entries)
        if scope.namespace == "shop" and then and (change := then.pop(0)):
            change()

    monkeypatch.setattr(type(store), "set_many", set_many)
    assert command("import", file, *store.arguments)[0] == 0
    assert entries_of(store, "shop") == {k: v for k, v in ALL.items() if k != erased}

    store.clear("shop")
    then.append(lambda: store.clear("shop"))
    code, _, errors = command("import", file, *store.arguments)
    assert (code, "was cleared while entries were imported" in errors) == (3, True)
    assert entries_of(store, "shop") == {}


def test_a_process_that_is_killed_loses_no_more_than_the_last_page(made, command, tmp_path):
    store, file = made("shared"), tmp_path / "entries"
    fill(store)
    program = (
        "import os, sys; from litcache.__main__ import main; from litcache.commands import export\n"
        "add = export._add\n"
        "def kill(*args):\n"
        "    add(*args); args[0]._file.flush(); os.kill(os.getpid(), 9)\n"
        "export._add = kill; main(sys.argv[1:])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "export", *store.arguments, str(file)],
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == -signal.SIGKILL
    told = command("export", *store.arguments, file)[1]
    assert (told["entries"], told["resumed"]) == (2_501, 1_000)


def test_a_service_may_write_meanwhile(made, command, tmp_path):
    store, file = made("shared"), tmp_path / "entries"
    fill(store)
    stop, failures = threading.Event(), []

    def serve():
        try:
            for number in itertools.count(10_000):
                if stop.is_set():
                    return
                key = number.to_bytes(16, "big")
                store.set_many(Scope("busy"), {key: NewEntry(b"", bytes(1_500))})
        except Exception as error:
            failures.append(error)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        assert command("export", *store.arguments, file, "--namespace", "shop")[0] == 0
    finally:
        stop.set()
        thread.join()
    other = made("shared")
    assert command("import", file, *other.arguments)[1]["stored"] >= 2_400
    assert failures == []
    assert entries_of(other, "shop").items() <= ALL.items()


# ------------------------------------------------------------------ damage


@pytest.fixture
def exported(made, command, tmp_path):
    store, file = made("shared"), tmp_path / "entries"
    few = dict(list(ENTRIES.items())[:40])
    store.set_many(Scope("shop", "1"), few)
    store.set_many(Scope("blog"), {key: NewEntry(b"", b"blog" + key) for key in BLOG})
    command("export", *store.arguments, file)
    return file


def importable(file, tmp_path, number):
    """Import a file into a new store; return the exit code and all entries of the store."""
    folder = tmp_path / f"target{number}"
    code = main(["import", str(file), str(folder), "--max-bytes", "4 MiB"])
    found = {}
    if folder.exists():
        store = SharedStore(folder, "4 MiB")
        for name in store.names():
            found[name] = entries_of(store, name)
        store.close()
    return code, found


def is_right(found):
    blog = {key: (b"", b"blog" + key, None, 0) for key in BLOG}
    return (
        found.get("shop", {}).items() <= ALL.items()
        and found.get("blog", {}).items() <= blog.items()
        and set(found) <= {"shop", "blog"}
    )


def test_no_damaged_byte_imports_a_wrong_entry(exported, tmp_path, capsys):
    whole = exported.read_bytes()
    places = [*range(0, 300, 7), *range(300, len(whole), 2_113), len(whole) - 1]
    damaged = tmp_path / "damaged"
    for number, place in enumerate(places):
        damaged.write_bytes(whole[:place] + bytes([whole[place] ^ 0x41]) + whole[place + 1 :])
        code, found = importable(damaged, tmp_path, number)
        assert code in (1, 3), place
        assert is_right(found), place


def test_no_truncation_imports_a_wrong_entry(exported, tmp_path, capsys):
    whole = exported.read_bytes()
    damaged = tmp_path / "damaged"
    for number, length in enumerate([*range(0, 300, 13), *range(300, len(whole), 4_001)]):
        damaged.write_bytes(whole[:length])
        code, found = importable(damaged, tmp_path, number)
        assert code in (1, 3), length
        assert is_right(found), length


def test_blocks_of_two_files_do_not_make_one(exported, made, command, tmp_path, capsys):
    """A block that is whole, but of another file, must not be read under this one's namespaces."""
    store, other = made("shared"), tmp_path / "other"
    store.set_many(Scope("evil"), {b"b" * 16: NewEntry(b"", b"wrong")})
    command("export", *store.arguments, other)

    def cut(file):
        with file.open("rb") as opened:
            ends = [(block.kind, block.end) for block in archive.blocks(opened)]
        begin = next(end for kind, end in reversed(ends) if kind == archive.NAMESPACE)
        return file.read_bytes()[:begin], file.read_bytes()[begin:]

    mixed = tmp_path / "mixed"
    mixed.write_bytes(cut(exported)[0] + cut(other)[1])
    code, found = importable(mixed, tmp_path, 0)
    assert (code, is_right(found)) == (1, True)
    assert not any(found.values())


def test_a_damaged_block_costs_its_own_entries_only(made, command, tmp_path):
    store, file = made("shared"), tmp_path / "entries"
    fill(store)
    command("export", *store.arguments, file)
    data = bytearray(file.read_bytes())
    data[2_000] ^= 1
    file.write_bytes(data)
    other = made("shared")
    code, told, _ = command("import", file, *other.arguments)
    assert (code, told["corrupt"], told["stored"], told["whole"]) == (1, 1_000, 1_501, False)
    assert entries_of(other, "shop").items() <= ALL.items()


def test_a_file_of_another_format_is_refused(exported, made, command, monkeypatch):
    store = made("shared")
    monkeypatch.setattr(base, "FORMAT", base.FORMAT + 1)
    code, _, errors = command("import", exported, *store.arguments)
    assert (code, f"in format {base.FORMAT - 1}" in errors) == (3, True)


@pytest.mark.parametrize("content", [b"", b"{}", bytes(1000)])
def test_a_file_of_something_else_is_refused_and_no_store_is_made(command, tmp_path, content):
    (tmp_path / "file").write_bytes(content)
    code, _, errors = command(
        "import", tmp_path / "file", tmp_path / "store", "--max-bytes", "8 MiB"
    )
    assert (code, "cannot be imported" in errors) == (3, True)
    assert not (tmp_path / "store").exists()


def test_without_a_budget_no_store_is_made(exported, command, tmp_path):
    assert command("import", exported, tmp_path / "new")[0] == 3
    assert not (tmp_path / "new").exists()
    code, told, _ = command("import", exported, tmp_path / "new", "--max-bytes", "8 MiB")
    assert (code, told["stored"]) == (0, 80)


def test_a_store_that_is_too_small_says_what_it_evicted(made, command, tmp_path):
    store, file = made("shared"), tmp_path / "entries"
    store.set_many(Scope("shop"), {k: NewEntry(b"", bytes(4_000)) for k in ENTRIES})
    command("export", *store.arguments, file)
    told = command("import", file, tmp_path / "new", "--max-bytes", "4 MiB")[1]
    assert told["evicted"] > 1_000


def test_corrupt_entries_are_left_out_of_the_file_and_the_exit_code_says_so(
    made, command, tmp_path
):
    store, file = made("shared"), tmp_path / "entries"
    fill(store)
    (ring,) = (tmp_path / "store0").glob("*.ring")
    with ring.open("r+b") as damaged:
        damaged.seek(5_000)
        damaged.write(b"\xff" * 3)
    code, told, _ = command("export", *store.arguments, file)
    assert (code, told["entries"], told["corrupt"]) == (1, 2_500, 1)


def test_progress_is_shown_on_a_terminal_only(made, tmp_path):
    store, file = made("shared"), tmp_path / "entries"
    fill(store)
    controller, terminal = os.openpty()
    done = subprocess.run(
        [sys.executable, "-m", "litcache", "export", *store.arguments, str(file)],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=terminal, stdout=subprocess.PIPE,
    )  # fmt: skip
    os.close(terminal)
    assert done.returncode == 0
    with open(controller, "rb", buffering=0) as shown:
        assert b"entries exported" in shown.read(4096)
