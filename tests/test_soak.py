"""`benchmarks/soak.py` in small: good and bad requests to a server with everything on."""

from importlib.util import find_spec

import pytest

pytest.importorskip("prometheus_client")
pytest.importorskip("uvloop")  # for the clients

from benchmarks import soak

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def count(times):
    return times(1_000, soak=50_000)


@pytest.fixture(scope="module")
def run(count):
    return soak.run(count)


def test_every_answer_is_right(run, count):
    assert run.warm.wrong + run.sent.wrong == []
    assert run.warm.hanging + run.sent.hanging == []
    kinds = run.warm.kinds + run.sent.kinds
    assert kinds.keys() == {"plain", *soak.ODD}
    assert kinds.total() == count


def test_a_server_without_litcache_takes_bad_requests_for_bad(run):
    good = {"chunked", "slow", "two content types", "60 KB of headers"}
    if find_spec("python_multipart"):  # with which FastAPI reads forms
        good.add("a form")
    assert {kind for kind, (status, _) in run.told.items() if status == 200} == good


def test_all_tiers_had_their_part(run):
    assert run.sent.tiers["litcache; hit; ttl"] > 0
    assert {row.name for row in soak.tables(run)["What the caches counted"]} >= {
        "http: hit", "http: miss", "loop: hit", "loop: miss",
    }  # fmt: skip


def test_nothing_is_left_of_clients_that_are_gone(run):
    assert run.first.keys() == run.last.keys()
    for name, usage in run.last.items():
        assert usage.descriptors <= run.first[name].descriptors, name
        assert usage.tasks <= run.first[name].tasks, name
    assert sum(usage.tasks for usage in run.last.values()) > 0


def test_a_wrong_answer_would_be_seen():
    sent = soak.Sent()
    request = soak.Request("plain", "text 1", [])
    for numbers in (soak.numbers("text 1"), soak.numbers("text 2")):
        body = soak.json.dumps({"numbers": numbers}).encode()
        soak.judge(sent, request, soak.load.Answer(200, b"", body), {}, 1.0)
    assert len(sent.wrong) == 1
