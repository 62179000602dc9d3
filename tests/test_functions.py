import functools
import operator
import zlib

import pytest

from litcache.functions import (
    check_clocks,
    check_function,
    check_predicate,
    wants_context,
    with_context,
)


@pytest.mark.parametrize(
    ("function", "wanted"),
    [
        (lambda item: 1, False),
        (lambda item, context: 1, True),
        (lambda item, ctx: 1, True),
        (lambda item, size=3: 1, False),
        (lambda item, context=None: 1, True),
        (lambda item, *, context: 1, True),
        (len, False),
        (str, False),
    ],
)
def test_a_function_is_given_the_context_if_it_takes_one(function, wanted):
    assert wants_context(function, 1) is wanted


def test_with_context_passes_the_context_as_the_function_takes_it():
    seen = []
    with_context(lambda item: seen.append(item), 1)("a", "c")
    with_context(lambda item, where: seen.append((item, where)), 1)("a", "c")
    with_context(lambda item, *, context: seen.append((item, context)), 1)("a", "c")
    assert seen == ["a", ("a", "c"), ("a", "c")]


class Asked:
    def __call__(self, item):
        return item


class AskedLater:
    async def __call__(self, item):
        return item


async def later(item):
    return item


def steps(item):
    yield item


def wrapped_otherwise():
    """Return a function that takes more than its signature, which is that of another one."""

    @functools.wraps(lambda: None)
    def function(*arguments):
        return arguments

    return function


@pytest.mark.parametrize(
    "function",
    [
        lambda item: 1, lambda item, context: 1, lambda item, ctx: 1, lambda *items: 1,
        lambda item, size=3: 1, lambda item, *, context=None: 1, lambda item, **rest: 1,
        functools.partial(pow, 2), operator.itemgetter("a"), str, str.lower, len, print, zlib.crc32,
        Asked(), wrapped_otherwise(), dict.fromkeys, type,
    ],
)  # fmt: skip
def test_a_function_that_can_be_called_with_an_item_is_taken(function):
    check_predicate("key", function, ["item"])


@pytest.mark.parametrize(
    "function",
    [
        lambda: 1, lambda item, context, more: 1, lambda *, item: 1, lambda context: 1,
        lambda context, item: 1, lambda item, *, more: 1, later, steps, AskedLater(), Asked,
        functools.partial(later), object, "lower", 5,
    ],
)  # fmt: skip
def test_a_function_that_can_never_be_called_with_an_item_is_refused(function):
    with pytest.raises(TypeError, match=r"^key=.* must be a (plain )?function"):
        check_predicate("key", function, ["item"])


def test_the_error_says_how_the_function_is_called_and_what_it_takes():
    told = r"^store_if=.* must be a function store_if\(item, output\[, context\]\) or None"
    with pytest.raises(TypeError, match=rf"{told}, and it takes \(item\)$"):
        check_predicate("store_if", lambda item: 1, ["item", "output"])


def test_a_function_of_c_that_has_no_signature_is_taken():
    check_function("version", getattr, "a function", "api", "name")  # none up to Python 3.12
    check_function("version", max, "a function", "any", "number", "of", "arguments")


@pytest.mark.parametrize("clock", [None, 0.0, "now", lambda since: since, later, steps])
def test_a_clock_that_cannot_be_asked_is_refused(clock):
    with pytest.raises(TypeError, match=r"^monotonic=.* must be a (plain )?function"):
        check_clocks(clock=lambda: 1.0, monotonic=clock)
