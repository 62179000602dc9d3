import sys
from fractions import Fraction

import pytest

from litcache.checks import check_choice, check_number, check_seconds, is_store, told
from litcache.stores.memory import MemoryStore


class Nameless:
    def __repr__(self):
        raise RuntimeError("it has none")


def test_a_message_shows_any_value():
    assert told("ttl", "soon", "seconds") == "ttl='soon' must be seconds"
    assert told("ttl", 10**5000, "seconds") == "ttl=<int> must be seconds"
    assert told("ttl", Nameless(), "seconds") == "ttl=<Nameless> must be seconds"
    assert len(told("ttl", "x" * 10_000, "seconds")) < 250


@pytest.mark.parametrize("value", ["md5", None, 5, b"blake", ["blake"], {}])
def test_a_choice_tells_all_that_is_allowed(value):
    with pytest.raises(ValueError, match=r'^digest=.* must be "blake", "sha256" or "none"$'):
        check_choice("digest", value, ("blake", "sha256", "none"))


@pytest.mark.parametrize("seconds", [1, 0.05, 365 * 86_400, Fraction(1, 3)])
def test_seconds_may_be_any_real_number(seconds):
    check_seconds("timeout", seconds)


@pytest.mark.parametrize("number", [0, 0.5, sys.float_info.max])
def test_a_number_may_be_any_finite_one(number):
    check_number("tolerance", number, "a number, 0 or more")


@pytest.mark.parametrize("value", [None, "redis://", {}, MemoryStore, 5])
def test_what_has_not_all_parts_of_a_store_is_none(value):
    assert not is_store(value)
    assert is_store(MemoryStore())
