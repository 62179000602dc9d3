"""Counts in files that processes share: none lost, none twice, whatever becomes of a process."""

import os
import re
import signal
import subprocess
import sys
import time

import pytest
from support.disks import mounted

from litcache.observe import counters as stats
from litcache.observe import pages as ledger
from litcache.observe.counters import Counters
from litcache.observe.pages import Labels, Sample
from litcache.stores.base import StoreInfo

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
def folder(monkeypatch, tmp_path):
    """The ledger as it is in a process that has just begun to share."""
    monkeypatch.setattr(ledger, "_folder", tmp_path)
    return tmp_path


def entered(labels=LABELS):
    source = Source(labels)
    ledger.enter(source)
    return source


def total(place, labels=LABELS):
    return sum(page.numbers[place] for page in ledger.read() if page.labels == labels)


def test_what_is_counted_is_read_at_once(folder):
    source = entered()
    source.counters.add_hits(3)
    source.counters.add(misses=2, seconds=0.5)
    (page,) = ledger.read()
    assert (page.labels, page.alive) == (LABELS, True)
    assert [page.numbers[p] for p in (stats.HITS, stats.MISSES, stats.SECONDS)] == [3, 2, 0.5]


def test_what_was_counted_before_sharing_is_shared_too(folder, monkeypatch):
    monkeypatch.setattr(ledger, "_folder", None)
    source = entered()
    source.counters.add_hits(3)
    assert ledger.read() == []
    monkeypatch.setattr(ledger, "_folder", folder)
    ledger.enter(source)
    source.counters.add_hits(1)
    assert total(stats.HITS) == source.counters.info(StoreInfo()).hits == 4


def test_a_page_is_taken_over_with_its_counts_when_its_owner_is_gone(folder):
    first = entered()
    first.counters.add_hits(3)
    first.store = StoreInfo(entries=7, evicted=5)
    ledger.read()
    del first
    (orphan,) = ledger.read()
    assert not orphan.alive
    second = entered()
    assert second.counters.info(StoreInfo()).hits == 0
    second.counters.add_hits(2)
    second.store = StoreInfo(entries=1, evicted=1)
    (page,) = ledger.read()
    assert page.alive
    places = (stats.HITS, ledger.EVICTED, ledger.ENTRIES)
    assert [page.numbers[place] for place in places] == [5, 6, 1]
    assert second.counters.info(StoreInfo()).hits == 2


SAMPLED = {
    "entries": ledger.ENTRIES,
    "bytes": ledger.BYTES,
    "evicted": ledger.EVICTED,
    "expired": ledger.EXPIRED,
    "rejected": ledger.REJECTED,
    "dropped": ledger.DROPPED,
    "corrupt": ledger.CORRUPT,
}


def test_each_figure_of_a_store_has_a_place_of_its_own(folder):
    source = entered()
    source.store = StoreInfo(**{name: number for number, name in enumerate(SAMPLED, 1)})
    (page,) = ledger.read()
    assert [page.numbers[place] for place in SAMPLED.values()] == [1, 2, 3, 4, 5, 6, 7]


def test_a_page_in_use_is_not_taken_over_nor_one_of_other_labels(folder):
    sources = [entered(), entered(), entered(LABELS._replace(tier="http"))]
    for source in sources:
        source.counters.add_hits(1)
    del sources[2], source
    sources.append(entered())
    assert len(ledger.read()) == 4
    assert (total(stats.HITS), total(stats.HITS, LABELS._replace(tier="http"))) == (2, 1)


def test_counts_are_read_while_the_words_are_being_changed(folder):
    source = entered()
    source.more = {"about": {"version": "1"}}
    source.counters.add_hits(3)
    ledger.read()
    (path,) = folder.glob("*.page")
    text = path.read_bytes()
    half = text.index(b'"version"') + 3
    path.write_bytes(text[:half] + b"\0" * (len(text) - half))
    (page,) = ledger.read()
    assert (page.labels, page.numbers[stats.HITS], page.words) == (LABELS, 3, {})
    assert page.numbers[ledger.SAMPLED] == 0


@pytest.mark.parametrize("garbage", [b"", b"\xff" * 100, b"\0" * 8192, b"{" * 8192])
def test_what_is_no_page_is_left_alone(folder, garbage):
    source = entered()
    (path,) = folder.glob("*.page")
    stem = path.name.partition("-")[0]
    (folder / f"{stem}-0.page").write_bytes(garbage)
    source.counters.add_hits(1)
    assert total(stats.HITS) == 1
    if len(garbage) < 8192:
        again = entered()
        again.counters.add_hits(1)
        assert total(stats.HITS) == 2
        assert (folder / f"{stem}-0.page").read_bytes() == garbage


def test_labels_of_any_text_are_kept_apart_and_fit(folder):
    for text in ("a" * 500, "\U0001f600" * 500, "\0" * 500, "\udc80"):
        source = entered(Labels(text, text, text))
        source.more = {"about": {"version": text, "namespace": text, "store": text}}
        assert any(page.labels.api[:1] in (text[0], "?") for page in ledger.read())
        del source
    assert len(ledger.read()) == 4


def test_words_are_of_the_last_sample(folder):
    source = entered()
    source.more = {"about": {"version": "1"}, "shared": True, "breaker_open": True}
    (page,) = ledger.read()
    assert page.words == {"version": "1", "shared": True}
    assert page.numbers[ledger.BREAKER_OPEN] == 1


def test_a_store_of_two_sources_of_one_process_counts_once(folder, monkeypatch):
    first, second, other = entered(), entered(), entered()
    for source, store_id in ((first, 1), (second, 1), (other, 2)):
        source.store = StoreInfo(entries=5, bytes=50, evicted=3)
        source.more = {"store_id": store_id}
    monkeypatch.setattr(ledger, "_SAMPLE_SECONDS", 0.0)
    for _ in range(2):
        ledger.sample()
        assert [total(p) for p in (ledger.ENTRIES, ledger.BYTES, ledger.EVICTED)] == [10, 100, 6]


def test_a_folder_that_cannot_be_written_costs_the_metrics_alone(folder, monkeypatch, caplog):
    monkeypatch.setattr(ledger, "_folder", folder / "gone")
    source = entered()
    source.counters.add_hits(1)
    assert source.counters.info(StoreInfo()).hits == 1
    assert "metrics lack" in caplog.text


@pytest.mark.skipif(not hasattr(os, "fork"), reason="os.fork is missing")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_counts_in_a_page_of_its_own(folder):
    source = entered()
    source.counters.add_hits(10)
    child = os.fork()
    if not child:
        source.counters.add_hits(1)
        os._exit(source.counters.info(StoreInfo()).hits)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 1
    source.counters.add_hits(100)
    assert total(stats.HITS) == 111
    assert sorted(page.alive for page in ledger.read()) == [False, True]


# ------------------------------------------------------------------- with processes of their own

OWNER = """
import sys, time
sys.path.insert(0, {tests!r})
from litcache.observe import pages as ledger
if __name__ == "__main__":
    print(ledger.start(), flush=True)
    sys.stdin.read()
"""


@pytest.mark.e2e
@pytest.mark.parametrize("end", ["exit", "kill"])
def test_the_folder_goes_with_its_server_or_at_the_start_of_the_next(tmp_path, end):
    def start():
        return subprocess.Popen(
            [sys.executable, "-c", OWNER.format(tests=os.path.dirname(__file__))],
            env={**os.environ, "TMPDIR": str(tmp_path)},
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
def test_a_full_disk_costs_the_metrics_of_some_processes_alone(tmp_path, folder, caplog):
    with mounted(str(folder), "64k"):
        sources = [entered() for _ in range(50)]
        for source in sources:
            source.counters.add_hits(1)
        assert sum(source.counters.info(StoreInfo()).hits for source in sources) == 50
        counted = [page for page in ledger.read() if page.labels == LABELS]
        assert 1 < len(counted) < 10
        assert sum(page.numbers[stats.HITS] for page in counted) == len(counted)
        assert caplog.text.count("the metrics lack one process") == 50 - len(counted)
        del sources, source


@pytest.mark.e2e
def test_programs_that_a_server_merely_runs_do_not_join_it(tmp_path):
    code = "from litcache.observe import pages; print(pages._folder)"
    variable = {ledger.VARIABLE: f"{os.getpid()}:{tmp_path}"}
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **variable}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert re.fullmatch("None\n", run.stdout)
