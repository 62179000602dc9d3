"""Keys of requests: equal for equal requests, different for all others, and frozen."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from litcache.http.request_key import RequestKeyer

TEXT = st.text(max_size=5)
BYTES = st.binary(max_size=5)
PARTS = st.tuples(
    TEXT, TEXT, TEXT, BYTES,
    st.lists(BYTES, max_size=2), st.lists(st.tuples(BYTES, BYTES), max_size=2),
    st.one_of(BYTES, st.integers(4_095, 4_098).map(bytes)),
)  # fmt: skip


def key(namespace, version, path, query, kinds, varied, body):
    scope = {"method": "POST", "path": path, "query_string": query}
    return RequestKeyer(namespace, version).key(scope, tuple(kinds), varied, body)


@given(PARTS, PARTS)
def test_keys_are_equal_for_equal_requests_alone(one, other):
    assert (key(*one) == key(*other)) == (one == other)


@given(st.text(max_size=4), st.text(max_size=4))
def test_no_part_can_be_taken_for_a_piece_of_another(left, right):
    parts = {(left, right), (left + right, ""), ("", left + right)}
    keys = {key(n, v, "/", b"", [], [], b"") for n, v in parts}
    assert len(keys) == len(parts)


def test_a_digest_sent_as_a_body_is_not_the_body_of_that_digest():
    from blake3 import blake3

    large = b"x" * 5_000
    assert key("", "", "/", b"", [], [], large) != key(
        "", "", "/", b"", [], [], blake3(large).digest()
    )


@pytest.mark.parametrize("surrogate", ["/\ud800", "\udcff/"])
def test_paths_that_are_no_utf8_have_keys_and_disturb_no_other_key(surrogate):
    before = key("n", "v", "/", b"", [], [], b"")
    assert len(key("n", "v", surrogate, b"", [], [], b"")) == 16
    assert key("n", "v", surrogate, b"", [], [], b"") != key("n", "v", "/?", b"", [], [], b"")
    assert key("n", "v", "/", b"", [], [], b"") == before


GOLDEN = {
    (
        "http",
        "1",
        "/predict",
        b"a=1",
        (b"application/json",),
        ((b"x", b"y"),),
        b"{}",
    ): "5e692a2467f92e506a4998bdc878c6ef",
    ("http", "", "/predict", b"", (), (), b"x" * 10_000): "f130cba45b992aa2ee03d05390290917",
}


@pytest.mark.parametrize(("parts", "digest"), GOLDEN.items())
def test_keys_are_the_same_for_ever(parts, digest):
    assert key(*parts).hex() == digest


def test_keys_are_the_same_in_another_process():
    parts = next(iter(GOLDEN))
    namespace, version, path, query, kinds, varied, body = parts
    code = (
        "from litcache.http.request_key import RequestKeyer\n"
        f"scope = {{'method': 'POST', 'path': {path!r}, 'query_string': {query!r}}}\n"
        f"keyer = RequestKeyer({namespace!r}, {version!r})\n"
        f"print(keyer.key(scope, {kinds!r}, {varied!r}, {body!r}).hex())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == key(*parts).hex()


@given(PARTS, st.lists(BYTES, min_size=1, max_size=3))
def test_a_key_is_the_same_from_a_kept_state(parts, bodies):
    namespace, version, path, query, kinds, varied, _ = parts
    scope = {"method": "POST", "path": path, "query_string": query}
    keyer = RequestKeyer(namespace, version)
    for body in [*bodies, *bodies]:
        fresh = key(namespace, version, path, query, kinds, varied, body)
        assert keyer.key(scope, tuple(kinds), varied, body) == fresh


def test_few_states_are_kept_and_none_of_a_long_query_or_of_headers_that_vary():
    keyer, scope = RequestKeyer("", ""), {"method": "POST", "path": "/", "query_string": b""}
    keyer.key(scope, (), [(b"authorization", b"Bearer a")], b"")
    keyer.key(scope, (), [], bytes(5_000))
    keyer.key({**scope, "query_string": b"q" * 1_000}, (), [], b"")
    assert len(keyer._known) == 0
    for number in range(1_000):
        keyer.key({**scope, "query_string": b"%d" % number}, (), [], b"")
    assert 0 < len(keyer._known) <= 256
