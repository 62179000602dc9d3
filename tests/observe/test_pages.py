"""Counts in files that processes share: none lost, none twice, whatever becomes of a process."""

import os
import signal
import subprocess
import sys
import tempfile
import time

import pytest
from support.disks import mounted

from litcache.observe.counters import (
    HITS,
    MISSES,
    SECONDS,
    STATE,
    STATES,
    Counters,
    Labels,
    Sample,
)
from litcache.observe.page import (
    BREAKER_OPEN,
    BYTES,
    CORRUPT,
    DROPPED,
    ENTRIES,
    EVICTED,
    EXPIRED,
    PAGE_BYTES,
    REJECTED,
    SAMPLED,
    SUFFIX,
)
from litcache.observe.pages import VARIABLE, Pages, of_this_host
from litcache.stores.base import StoreInfo
from litcache.testing import FakeClock

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX file locks")

LABELS = Labels("/predict", "predict", "decorator")


class Source:
    def __init__(self, labels=LABELS):
        self.labels = labels
        self.counters = Counters()
        self.store = StoreInfo()
        self.more = {}

    def sample(self):
        return Sample(self.store, **self.more)


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def pages(tmp_path, clock):
    """The pages of a process that has just begun to share."""
    return Pages(tmp_path, clock=clock, in_background=False)


def entered(pages, labels=LABELS):
    source = Source(labels)
    pages.enter(source)
    return source


def total(pages, place, labels=LABELS):
    return sum(page.numbers[place] for page in pages.read() if page.labels == labels)


def test_what_is_counted_is_read_at_once(pages):
    source = entered(pages)
    source.counters.add_hits(3)
    source.counters.add(misses=2, seconds=0.5)
    (page,) = pages.read()
    assert (page.labels, page.alive) == (LABELS, True)
    assert [page.numbers[place] for place in (HITS, MISSES, SECONDS)] == [3, 2, 0.5]


def test_what_was_counted_before_sharing_is_shared_too():
    pages = Pages(in_background=False)
    source = entered(pages)
    source.counters.add_hits(3)
    assert pages.read() == []
    pages.share()
    source.counters.add_hits(1)
    assert total(pages, HITS) == source.counters.info(StoreInfo()).hits == 4


def test_sharing_again_changes_nothing(pages):
    source = entered(pages)
    source.counters.add_hits(3)
    assert pages.share() == pages.share() == pages.folder
    assert total(pages, HITS) == 3


def test_pages_made_anew_know_nothing_of_others_and_take_their_folder_with_them():
    first, second = Pages(in_background=False), Pages(in_background=False)
    source = entered(first)
    source.counters.add_hits(3)
    folders = first.share(), second.share()
    assert os.environ[VARIABLE] == f"{os.getpid()}:{folders[1]}"
    assert (total(first, HITS), second.read()) == (3, [])
    del first
    assert [folder.exists() for folder in folders] == [False, True]
    assert VARIABLE in os.environ
    del second
    assert not folders[1].exists()
    assert VARIABLE not in os.environ


def test_a_page_is_taken_over_with_its_counts_when_its_owner_is_gone(pages):
    first = entered(pages)
    first.counters.add_hits(3)
    first.store = StoreInfo(entries=7, evicted=5)
    pages.read()
    del first
    (orphan,) = pages.read()
    assert not orphan.alive
    second = entered(pages)
    assert second.counters.info(StoreInfo()).hits == 0
    second.counters.add_hits(2)
    second.store = StoreInfo(entries=1, evicted=1)
    (page,) = pages.read()
    assert page.alive
    assert [page.numbers[place] for place in (HITS, EVICTED, ENTRIES)] == [5, 6, 1]
    assert second.counters.info(StoreInfo()).hits == 2


PLACES = {
    "entries": ENTRIES,
    "bytes": BYTES,
    "evicted": EVICTED,
    "expired": EXPIRED,
    "rejected": REJECTED,
    "dropped": DROPPED,
    "corrupt": CORRUPT,
}


def test_each_figure_of_a_store_has_a_place_of_its_own(pages):
    source = entered(pages)
    source.store = StoreInfo(**{name: number for number, name in enumerate(PLACES, 1)})
    (page,) = pages.read()
    assert [page.numbers[place] for place in PLACES.values()] == [1, 2, 3, 4, 5, 6, 7]


def test_a_page_in_use_is_not_taken_over_nor_one_of_other_labels(pages):
    http = LABELS._replace(tier="http")
    sources = [entered(pages), entered(pages), entered(pages, http)]
    for source in sources:
        source.counters.add_hits(1)
    del sources[2], source
    sources.append(entered(pages))
    assert len(pages.read()) == 4
    assert (total(pages, HITS), total(pages, HITS, http)) == (2, 1)


def test_counts_are_read_while_the_words_are_being_changed(pages):
    source = entered(pages)
    source.more = {"about": {"version": "1"}}
    source.counters.add_hits(3)
    pages.read()
    (path,) = pages.folder.glob(f"*{SUFFIX}")
    text = path.read_bytes()
    half = text.index(b'"version"') + 3
    path.write_bytes(text[:half] + b"\0" * (len(text) - half))
    (page,) = pages.read()
    assert (page.labels, page.numbers[HITS], page.words) == (LABELS, 3, {})
    assert page.numbers[SAMPLED] == 0


@pytest.mark.parametrize("garbage", [b"", b"\xff" * 100, b"\0" * PAGE_BYTES, b"{" * PAGE_BYTES])
def test_what_is_no_page_is_left_alone(pages, garbage):
    source = entered(pages)
    (path,) = pages.folder.glob(f"*{SUFFIX}")
    stem = path.name.partition("-")[0]
    (pages.folder / f"{stem}-0{SUFFIX}").write_bytes(garbage)
    source.counters.add_hits(1)
    assert total(pages, HITS) == 1
    if len(garbage) < PAGE_BYTES:
        again = entered(pages)
        again.counters.add_hits(1)
        assert total(pages, HITS) == 2
        assert (pages.folder / f"{stem}-0{SUFFIX}").read_bytes() == garbage


def test_labels_of_any_text_are_kept_apart_and_fit(pages):
    for text in ("a" * 500, "\U0001f600" * 500, "\0" * 500, "\udc80"):
        source = entered(pages, Labels(text, text, text))
        source.more = {"about": {"version": text, "namespace": text, "store": text}}
        assert any(page.labels.api[:1] in (text[0], "?") for page in pages.read())
        del source
    assert len(pages.read()) == 4


def test_words_are_of_the_last_sample(pages):
    source = entered(pages)
    source.more = {"about": {"version": "1"}, "shared": True, "breaker_open": True}
    (page,) = pages.read()
    assert page.words == {"version": "1", "shared": True}
    assert page.numbers[BREAKER_OPEN] == 1


def test_a_disagreement_is_told_at_once_and_stays(pages, clock):
    source = entered(pages)
    assert "disagreement" not in pages.read()[0].words
    source.counters.disagreement = "$[3]: 0.1 from the cache, 0.2 from the model"
    for _ in range(2):
        assert pages.read()[0].words["disagreement"] == source.counters.disagreement
        clock.advance(60)


def test_a_state_is_that_of_the_process_which_owns_the_page(pages):
    first = entered(pages)
    first.counters.state, first.counters.disagreement = "off", "$: 1 and 2"
    assert total(pages, STATE) == STATES.index("off")
    del first
    second = entered(pages)
    (page,) = pages.read()
    assert (page.numbers[STATE], page.words.get("disagreement")) == (STATES.index("on"), None)
    second.counters.state = "trial"
    assert total(pages, STATE) == STATES.index("trial")


def test_a_page_of_another_layout_is_left_alone(pages):
    source = entered(pages)
    (path,) = pages.folder.glob(f"*{SUFFIX}")
    del source
    for name in (f"{path.stem}.page", f"{path.stem}.page1"):
        path.with_name(name).write_bytes(path.read_bytes())
    path.unlink()
    assert pages.read() == []
    source = entered(pages)
    source.counters.add_hits(1)
    assert total(pages, HITS) == 1
    assert len(list(pages.folder.iterdir())) == 3


def test_the_pages_of_other_servers_of_the_host_are_found_but_for_what_is_none(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    servers = [Pages(in_background=False) for _ in range(2)]
    sources = [entered(server) for server in servers]
    folder, other = (server.share() for server in servers)
    sources[0].counters.state = "off"
    (folder / f"torn{SUFFIX}").write_bytes(b"{" * 100)
    (other / f"gone{SUFFIX}").symlink_to(tmp_path / "nowhere")
    states = sorted(STATES[int(page.numbers[STATE])] for page in of_this_host() if page.alive)
    assert states == ["off", "on"]


@pytest.mark.parametrize(("shared", "seconds"), [(False, 1), (True, 10)])
def test_a_store_is_asked_no_more_often_than_it_can_bear(pages, clock, shared, seconds):
    source = entered(pages)
    source.more = {"shared": shared}
    pages.read()
    source.store = StoreInfo(entries=5)
    clock.advance(seconds - 0.5)
    assert total(pages, ENTRIES) == 0
    clock.advance(0.5)
    assert total(pages, ENTRIES) == 5


def test_a_store_of_two_sources_of_one_process_counts_once(pages, clock):
    sources = [entered(pages) for _ in range(3)]
    for source, store_id in zip(sources, (1, 1, 2), strict=True):
        source.store = StoreInfo(entries=5, bytes=50, evicted=3)
        source.more = {"store_id": store_id}
    for _ in range(2):
        assert [total(pages, place) for place in (ENTRIES, BYTES, EVICTED)] == [10, 100, 6]
        clock.advance(1)


def test_a_folder_that_cannot_be_written_costs_the_metrics_alone(tmp_path, caplog):
    source = entered(Pages(tmp_path / "gone", in_background=False))
    source.counters.add_hits(1)
    assert source.counters.info(StoreInfo()).hits == 1
    assert f"no page can be written in {tmp_path / 'gone'}" in caplog.text


@pytest.mark.skipif(not hasattr(os, "fork"), reason="os.fork is missing")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_counts_in_a_page_of_its_own(pages):
    source = entered(pages)
    source.counters.add_hits(10)
    child = os.fork()
    if not child:
        source.counters.add_hits(1)
        os._exit(source.counters.info(StoreInfo()).hits)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 1
    source.counters.add_hits(100)
    assert total(pages, HITS) == 111
    assert sorted(page.alive for page in pages.read()) == [False, True]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="os.fork is missing")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_that_ends_leaves_the_folder_to_its_parent():
    pages = Pages(in_background=False)
    folder = pages.share()
    child = os.fork()
    if not child:
        del pages
        os._exit(folder.exists())
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 1
    assert folder.exists()


# ------------------------------------------------------------------- with processes of their own

OWNER = """
import sys
from litcache.observe import pages
if __name__ == "__main__":
    print(pages.of_this_process().share(), flush=True)
    sys.stdin.read()
"""


@pytest.mark.e2e
@pytest.mark.parametrize("end", ["exit", "kill"])
def test_the_folder_goes_with_its_server_or_at_the_start_of_the_next(tmp_path, end):
    def start():
        return subprocess.Popen(
            [sys.executable, "-c", OWNER], env={**os.environ, "TMPDIR": str(tmp_path)},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    with start() as first:
        folder = first.stdout.readline().strip()
        assert os.path.isdir(folder)
        if end == "kill":
            first.send_signal(signal.SIGKILL)
    assert os.path.isdir(folder) == (end == "kill")
    if end == "kill":
        long_ago = time.time() - 3600
        os.utime(folder, (long_ago, long_ago))
    with start() as running:
        held = running.stdout.readline().strip()
        os.utime(held, (0, 0))
        with start() as second:
            assert second.stdout.readline().strip() != held
            assert os.path.isdir(held)
            assert not os.path.isdir(folder)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.e2e
def test_a_full_disk_costs_the_metrics_of_some_processes_alone(tmp_path, caplog):
    with mounted(str(tmp_path), "64k"):
        pages = Pages(tmp_path, in_background=False)
        sources = [entered(pages) for _ in range(50)]
        for source in sources:
            source.counters.add_hits(1)
        assert sum(source.counters.info(StoreInfo()).hits for source in sources) == 50
        counted = [page for page in pages.read() if page.labels == LABELS]
        assert 1 < len(counted) < 10
        assert sum(page.numbers[HITS] for page in counted) == len(counted)
        assert caplog.text.count("the metrics lack caches") == 1
        del pages, sources, source


JOINS = """
import multiprocessing, subprocess, sys
from litcache.observe import pages
CODE = "from litcache.observe import pages; print(pages.of_this_process().folder)"
def say():
    print(pages.of_this_process().folder, flush=True)
if __name__ == "__main__":
    print(pages.of_this_process().share(), flush=True)
    spawned = multiprocessing.get_context("spawn").Process(target=say)
    spawned.start()
    spawned.join()
    subprocess.run([sys.executable, "-c", CODE])
"""


@pytest.mark.e2e
def test_spawned_processes_join_a_server_and_programs_that_it_merely_runs_do_not(tmp_path):
    script = tmp_path / "server.py"
    script.write_text(JOINS)
    run = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    server, spawned, program = run.stdout.splitlines()
    assert (spawned, program) == (server, "None")
