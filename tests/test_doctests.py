"""The examples in docstrings are true."""

import doctest
import importlib
import pkgutil

import pytest

import litcache

pytest.importorskip("numpy")  # some examples use it

MODULES = ["litcache", *(m.name for m in pkgutil.walk_packages(litcache.__path__, "litcache."))]


def examples(name):
    module = importlib.import_module(name)
    return [test for test in doctest.DocTestFinder().find(module) if test.examples]


WITH_EXAMPLES = [name for name in MODULES if examples(name)]


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_the_examples_of_a_module_are_true(name):
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted
    assert not result.failed


def test_what_is_public_has_an_example():
    """Classes and functions that are called; errors, protocols and interfaces are not."""
    uncalled = {litcache.Entry, litcache.Store}
    for module in ("litcache", "litcache.testing"):
        public = importlib.import_module(module)
        for name in public.__all__:
            thing = getattr(public, name)
            is_error = isinstance(thing, type) and issubclass(thing, Exception)
            assert is_error or thing in uncalled or ">>> " in (thing.__doc__ or ""), name
