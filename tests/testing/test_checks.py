"""What the helpers of tests say of arguments that are none."""

import math

import litserve as ls
import pytest

from litcache.testing import APIRunner, assert_batch_invariant, assert_cacheable


class Plain(ls.LitAPI):
    def predict(self, x):
        return x


BATCHED = Plain(max_batch_size=4)
NO_APIS = [None, 5, "server:API", Plain, object()]
NO_REQUESTS = [None, 5, "abc", b"abc", {"text": "a"}, {"a"}, list, (text for text in "abc")]


@pytest.mark.parametrize("use", [APIRunner, lambda api: assert_cacheable(api, ["a"]),
                                 lambda api: assert_batch_invariant(api, ["a"])])  # fmt: skip
@pytest.mark.parametrize("api", NO_APIS)
def test_what_is_no_api_is_named(use, api):
    with pytest.raises(TypeError, match=r"^api=.* must be a LitAPI, made by calling its class"):
        use(api)


@pytest.mark.parametrize("check", [assert_cacheable, assert_batch_invariant])
@pytest.mark.parametrize("requests", NO_REQUESTS)
def test_what_is_no_list_of_requests_is_named(check, requests):
    with pytest.raises(TypeError, match=r"^requests=.* must be a list of the arguments"):
        check(BATCHED, requests)


@pytest.mark.parametrize("requests", [[], ()])
def test_without_requests_nothing_is_asserted(requests):
    with pytest.raises(ValueError, match=r"^requests=.* must be at least one request"):
        assert_batch_invariant(BATCHED, requests)


@pytest.mark.parametrize("store", ["redis://", 5, object()])
def test_what_is_no_store_for_a_runner_is_named(store):
    with pytest.raises(TypeError, match=r"^store=.* must be a Store or None"):
        APIRunner(BATCHED, store=store)


@pytest.mark.parametrize("tolerance", [None, "0", True, -1, math.nan, math.inf, 10**400])
@pytest.mark.parametrize(
    ("check", "name"),
    [
        (assert_cacheable, "tolerance"),
        (assert_batch_invariant, "rtol"),
        (assert_batch_invariant, "atol"),
    ],
)
def test_a_tolerance_with_which_nothing_is_compared_is_named(check, name, tolerance):
    error = TypeError if tolerance in (None, "0", True) else ValueError
    with pytest.raises(error, match=f"^{name}=.* must be a number, 0 or more"):
        check(BATCHED, ["a"], **{name: tolerance})


@pytest.mark.parametrize("ignore", [None, 5, "$.seconds"])
def test_places_to_ignore_are_named_if_they_are_no_tuple(ignore):
    with pytest.raises(TypeError, match=r"^ignore=.* must be a tuple of places"):
        assert_cacheable(BATCHED, ["a"], ignore=ignore)
