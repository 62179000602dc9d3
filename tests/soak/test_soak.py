"""One minute of the soak, and what judges it. More: `make soak`; one seed: `make soak SEED=…`."""

# ruff: noqa: E402 - without these packages the module skips before it imports them

import itertools
import json
from importlib.util import find_spec

import pytest

for package in ("prometheus_client", "redis", "uvloop"):
    pytest.importorskip(package)

from benchmarks.load import Answer
from soak import clients, faults, judge, run, service, traffic, verdict
from soak.processes import Usage
from soak.traffic import Request

SEED, SECONDS = 1, 60.0


@pytest.fixture(scope="module")
def done():
    return run.soak(SEED, SECONDS, print)


@pytest.mark.e2e
def test_every_answer_is_right_and_nothing_grows(done):
    assert verdict.faults_of(done) == []


@pytest.mark.e2e
def test_every_kind_of_fault_and_of_request_had_its_part(done):
    assert {fault.kind for fault in done.faults} == {*faults.LASTING, *faults.AT_ONCE}
    assert done.ledger.kinds.keys() == {"text", "list", "stream", *traffic.ODD}
    assert {name for name, count in done.counted.items() if count} >= {
        "http /lists /predict /stream hit", "loop /predict hit", "loop /lists hit",
        "decorator /stream hit",
    }  # fmt: skip


@pytest.mark.e2e
def test_a_server_without_litcache_takes_bad_requests_for_bad(done):
    good = {"chunked", "slow", "two content types", "60 KB of headers"}
    if find_spec("python_multipart"):  # with which FastAPI reads forms
        good.add("a form")
    assert {kind for kind, (status, _) in done.ledger.told.items() if status == 200} == good


# The sequence ------------------------------------------------------------------------------


def first(many, count=500):
    return [*itertools.islice(many, count)]


def test_a_seed_is_the_same_faults_and_requests_each_time():
    assert first(faults.draw(7)) == first(faults.draw(7)) != first(faults.draw(8))
    assert first(traffic.draw(7, 3)) == first(traffic.draw(7, 3))
    assert first(traffic.draw(7, 3)) != first(traffic.draw(7, 4))


def test_faults_come_in_order_and_those_that_last_one_after_the_other():
    drawn = first(faults.draw(7))
    assert drawn == sorted(drawn)
    lasting = [fault for fault in drawn if fault.kind in faults.LASTING]
    for before, after in itertools.pairwise(lasting):
        assert before.at + before.seconds < after.at
    assert {fault.seconds for fault in drawn if fault.kind in faults.AT_ONCE} == {0.0}


def test_each_kind_of_fault_comes_before_one_comes_a_third_time():
    drawn = first(faults.draw(7))
    for kinds in (faults.LASTING, faults.AT_ONCE):
        chain = [fault.kind for fault in drawn if fault.kind in kinds]
        assert set(chain[: len(kinds)]) == set(chain[len(kinds) : 2 * len(kinds)]) == set(kinds)


# Who judges --------------------------------------------------------------------------------


@pytest.fixture
def ledger(tmp_path):
    return judge.Ledger({"null": (422, "no")}, judge.Revisions(tmp_path / "revision"))


def text(row, asked=0.0, status=200):
    """What became of a request of text 1 at a time: the arguments of `Ledger.judge`."""
    body = json.dumps({"row": row}).encode()
    return Request("text", ["text 1"], []), Answer(status, b"", body), asked, asked + 0.1


def row(revision, name="text 1"):
    return [float(revision), *service.numbers(name)]


def seen(ledger):
    return len(ledger.wrong), len(ledger.failed), len(ledger.lost)


def test_the_answer_to_another_text_is_wrong(ledger):
    ledger.judge(*text(row(1)))
    assert seen(ledger) == (0, 0, 0)
    ledger.judge(*text(row(1, "text 2")))
    assert seen(ledger) == (1, 0, 0)


def test_an_answer_from_before_a_clear_is_wrong_after_the_time_in_which_it_must_hold(ledger):
    ledger.revisions.end(ledger.revisions.begin(), now=100.0)
    for asked, wrong in (
        (99.9, 0),
        (99.9 + judge.HOLDS_WITHIN, 0),
        (100.1 + judge.HOLDS_WITHIN, 1),
    ):
        ledger.judge(*text(row(1), asked))
        ledger.judge(*text(row(2), asked))
        assert len(ledger.wrong) == wrong
    ledger.judge(*text(row(3), 100.0))
    assert len(ledger.wrong) == 2, "of a revision that there has not been"


def test_a_delete_holds_for_the_texts_that_it_names(ledger):
    ledger.revisions.end(ledger.revisions.begin(), 100.0, ["text 1"])
    assert ledger.revisions.removed_for("text 1", 1, 130.0) == 30.0
    assert ledger.revisions.removed_for("text 1", 2, 130.0) == 0.0
    assert ledger.revisions.removed_for("text 2", 1, 130.0) == 0.0


def test_an_error_is_a_failure_unless_a_worker_that_may_have_had_the_request_was_killed(ledger):
    ledger.killed.append(10.0)
    ledger.judge(*text(row(1), 9.0, status=500))
    assert seen(ledger) == (0, 1, 0)
    ledger.judge(*text(row(1), 9.95, status=500))
    assert seen(ledger) == (0, 1, 1)
    ledger.judge(*text(row(1), 10.0 + judge.DEAD_SECONDS + 0.01, status=500))
    assert seen(ledger) == (0, 2, 1)


def test_a_wrong_answer_is_wrong_also_when_a_worker_was_killed(ledger):
    ledger.killed.append(10.0)
    ledger.judge(*text(row(1, "text 2"), 10.0))
    assert seen(ledger) == (1, 0, 0)


def test_an_odd_request_must_be_answered_as_without_litcache(ledger):
    for body, failed in ((b"no", 0), (b"yes", 1)):
        ledger.judge(Request("null", [""], []), Answer(422, b"", body), 0.0, 0.1)
        assert len(ledger.failed) == failed


@pytest.mark.parametrize(
    ("body", "whole"),
    [
        (b"3\r\n1 2\r\n2\r\n 3\r\n0\r\n\r\n", b"1 2 3"),
        (b"3\r\n1 2\r\n2\r\n 3\r\n", None),
        (b"", None),
    ],
)
def test_a_stream_without_its_end_is_cut_short(body, whole):
    assert judge.unchunked(body) == whole


def soak_with(**usages):
    """A soak whose HTTP process used this after the warm-up, and this at the end."""
    before = Usage(50.0, 20, 9, 5)
    ledger = judge.Ledger({}, None)
    done = run.Soak(SEED, ledger, first={"HTTP 1": before}, last={"HTTP 1": before})
    done.last = {"HTTP 1": before._replace(**usages)}
    return done


@pytest.mark.parametrize(
    ("usages", "wrong"),
    [
        ({"memory": 50.0 + verdict.GROWTH_MIB}, 0),
        ({"memory": 50.1 + verdict.GROWTH_MIB}, 1),
        ({"descriptors": 21}, 1),
        ({"threads": 10}, 1),
        ({"tasks": 6}, 1),
    ],
)
def test_what_a_process_holds_more_than_after_the_warm_up_is_seen(usages, wrong):
    assert len(verdict.faults_of(soak_with(**usages))) == wrong


def test_files_above_their_budget_and_a_silent_store_are_seen():
    done = soak_with()
    done.disk, done.silent = (9.0, 1.1 * service.SHARED_MIB + 0.01), ["/lists"]
    assert len(verdict.faults_of(done)) == 2


def test_more_lost_requests_than_the_killed_workers_can_have_had_are_seen():
    done = soak_with()
    done.ledger.killed.append(1.0)
    done.ledger.lost += ["a request"] * clients.CLIENTS
    assert verdict.faults_of(done) == []
    done.ledger.lost.append("one more")
    assert len(verdict.faults_of(done)) == 1
