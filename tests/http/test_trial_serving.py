"""The trial of CacheMiddleware in a real server of two HTTP processes that share a store."""

import re
from collections import Counter

import httpx
import pytest
from support.servers import ROOT, serve, wait_until

pytestmark = pytest.mark.e2e

pytest.importorskip("prometheus_client")

SCRIPT = str(ROOT / "tests" / "support" / "trial_server.py")
CHAT = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    store = {"STORE": str(tmp_path_factory.mktemp("store") / "store")}
    with serve(SCRIPT, environment=store) as running:
        yield running


def ask(server, path, body, user="nobody"):
    """Ask with a client of its own, so that both HTTP processes are asked; return the answer."""
    answer = httpx.post(
        f"{server.url}{path}", json=body, headers={"x-user": user}, timeout=30, trust_env=False
    )
    assert answer.status_code == 200, answer.text
    return answer


def caches(server):
    """Return how many HTTP processes are in each state."""
    text = httpx.get(f"{server.url}/metrics", trust_env=False).text
    found = re.findall(r'^litcache_caches\{.*state="(\w+)",tier="http"\} (\d+)', text, re.MULTILINE)
    return {state: int(number) for state, number in found}


def test_chat_is_answered_from_the_cache_after_its_trial_with_ids_of_its_own_until_then(server):
    ids = Counter()
    for number in range(200):
        answer = ask(server, "/v1/chat/completions", CHAT)
        assert answer.json()["choices"][0]["message"]["content"] == "HELLO"
        ids[answer.json()["id"]] += 1
        hit = answer.headers["cache-status"].startswith("litcache; hit")
        if hit and number > 50:
            break
    assert hit, answer.headers["cache-status"]
    assert len(ids) > 16
    assert "/v1/chat/completions: trial: 16 of 16 agreed" in server.log


def test_nobody_gets_the_answer_of_another_whom_a_context_variable_tells_apart(server):
    users = ["ann"] * 60 + ["bob", "ann", "eve"] * 20
    for user in users:
        answer = ask(server, "/personal", {"text": "hello"}, user)
        assert answer.json() == {"answer": f"hello for {user}"}

    def is_off_everywhere():
        for user in ("ann", "bob"):
            ask(server, "/personal", {"text": "again"}, user)
        return caches(server)["off"] == 2

    wait_until(is_off_everywhere, "both processes to stop", 60)
    lines = [line for line in server.log.splitlines() if "ERROR" in line and "/personal: " in line]
    assert len(lines) == 2
    assert all("depends on who asks" in line and "$.answer" in line for line in lines)
    answer = ask(server, "/personal", {"text": "hello"}, "bob")
    assert answer.headers["cache-status"] == "litcache; fwd=bypass; detail=disagreement"
