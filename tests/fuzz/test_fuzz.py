"""Some seeds of the fuzz. More of them: `make fuzz`; one of them: `make fuzz SEED=…`."""

# ruff: noqa: E402 - without these packages the module skips before it imports them

import collections
import random
import time

import pytest

for package in ("torch", "pandas", "polars", "attrs"):
    pytest.importorskip(package)

from fuzz import afterwards, keys
from fuzz.draw import draw
from fuzz.leaves import LEAVES
from fuzz.policies import Stores
from fuzz.shrink import failure, shrink

CHUNKS, PLANS, SECONDS = 8, 150, 7.0


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """Stores of all kinds, those of a Valkey server too."""
    support = pytest.importorskip("support.redis_servers")
    with support.Server("valkey", tmp_path_factory.mktemp("valkey")) as server:
        yield Stores(server.url)


@pytest.mark.e2e
@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_a_random_api_answers_as_its_undecorated_twin(stores, chunk):
    until = time.monotonic() + SECONDS
    done = collections.Counter()
    for seed in range(chunk * PLANS, (chunk + 1) * PLANS):
        plan = draw(seed)
        error = failure(plan, stores)
        assert error is None, (
            f"{type(error).__name__}: {error}\n  make fuzz SEED={seed}\n"
            f"  {shrink(plan, stores, 20)}"
        )
        done[plan.driver] += 1
        if time.monotonic() > until:
            break
    assert len(done) >= 6, f"so few ways in {SECONDS} s: {done}"


def test_equal_items_share_a_key_and_others_do_not_and_none_is_changed():
    for seed in range(3000):
        keys.check(seed)


def test_every_value_has_a_key_of_its_own():
    seen = {}
    for number, make in enumerate(LEAVES):
        found = keys.key(make())
        assert found is not None, f"{make()!r} has no key"
        assert found not in seen, f"{make()!r} has the key of {LEAVES[seen[found]]()!r}"
        seen[found] = number


@pytest.mark.parametrize("name", sorted(afterwards.ITEMS))
def test_an_item_does_the_same_after_it_was_keyed(name):
    for seed in random.Random(name).sample(range(10**6), 200):
        afterwards.check(seed, name)
