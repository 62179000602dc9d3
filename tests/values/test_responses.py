"""Responses of Starlette come back as they were; what is not stored names what to return."""

import collections
import contextlib
import dataclasses
import enum
import sys
from http import HTTPStatus

import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.background import BackgroundTask
from starlette.responses import (
    FileResponse,
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)  # fmt: skip

from litcache.errors import ValueEncodingError
from litcache.values import codec
from litcache.values.responses import remedy
from litcache.values.tagged import encode_plain

texts = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=9)
responses = st.builds(
    Response,
    st.binary(max_size=99) | st.text(st.characters(exclude_categories=["Cs"]), max_size=9),
    status_code=st.sampled_from([200, 201, 404, HTTPStatus.IM_A_TEAPOT]),
    headers=st.none() | st.dictionaries(texts, texts, max_size=3),
    media_type=st.none() | st.sampled_from(["image/png", "text/plain"]),
)


def facts(response):
    found = {name: value for name, value in vars(response).items() if name != "_headers"}
    return type(response), type(response.status_code), found


@settings(max_examples=60, deadline=None)
@given(responses)
def test_a_response_comes_back_as_a_fresh_one(response):
    before = facts(response)
    encoded = codec.encode(response)
    back = codec.decode(*encoded)
    assert facts(back) == before
    back.headers["x-seen"] = "1"
    back.set_cookie("a", "1")
    assert facts(response) == before
    assert facts(codec.decode(*encoded)) == before


@pytest.mark.parametrize(
    "response",
    [JSONResponse({"a": 1}), PlainTextResponse("a"), HTMLResponse("<p>"), RedirectResponse("/b")],
)
def test_each_class_comes_back_as_itself_in_any_nesting(response):
    value = {"parts": [response, ("a", response)]}
    back = codec.decode(*codec.encode(value))
    first, (_, second) = back["parts"]
    assert facts(first) == facts(response)
    assert first is second  # as in the value: a change of one is seen in the other


class Own(JSONResponse):
    pass


class Level(enum.Enum):
    HIGH = "high"


@dataclasses.dataclass
class Box:
    x: int


class Model(pydantic.BaseModel):
    x: int


Pair = collections.namedtuple("Pair", "a b")


def marked():
    response = Response("a")
    response.seconds = 0.1
    return response


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Response("a", background=BackgroundTask(print)), "background task"),
        (lambda: Response(memoryview(b"a")), "another type"),
        (marked, "'seconds'"),
        (lambda: Own({}), "Starlette's own classes"),
        (lambda: StreamingResponse(iter([b"a"])), "Response of the whole body"),
        (lambda: FileResponse(__file__), "Response of its bytes"),
        (lambda: Box(1), "dataclasses.asdict(value)"),
        (lambda: Model(x=1), "value.model_dump()"),
        (lambda: Level.HIGH, "value.value"),
        (lambda: Pair(1, 2), "value._asdict()"),
        (lambda: collections.OrderedDict(), "dict(value)"),
        (lambda: iter([1]), "list(value)"),
    ],
)
def test_what_is_not_stored_says_why_or_what_to_return(make, words):
    with pytest.raises(ValueEncodingError) as caught:
        codec.encode([make()])
    assert words in str(caught.value)
    assert caught.value.path == "$[0]"


def test_an_object_of_which_nothing_is_known_has_no_remedy():
    assert remedy(object()) == ""


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_changed_bytes_are_a_response_or_a_malformed_value(data):
    layout, payload = codec.encode(JSONResponse({"a": 1}, headers={"x-a": "b"}))
    changed = bytearray(payload)
    changed[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ValueEncodingError):
        codec.decode(layout, bytes(changed))


@pytest.mark.parametrize(
    "parts",
    [
        ["FileResponse", 200, False, b"", [], {}],
        ["Response", 200, False, "text", [], {}],
        ["Response", "200", False, b"", [], {}],
        ["Response", 200, False, b"", [], {"path": "/etc/passwd"}],
        ["Response", 200, False, b"", [b"a"], {}],
        ["Response", 7, True, b"", [], {}],
        ["Response"],
    ],
)
def test_bytes_that_name_another_class_or_other_parts_are_malformed(parts):
    data = encode_plain(Response()).replace(
        encode_plain(["Response", 200, False, b"", [b"content-length", b"0"], {}])[1:],
        encode_plain(parts)[1:],
    )
    with pytest.raises(ValueEncodingError, match="malformed"):
        codec.decode(b"v", data)


def test_where_starlette_is_not_loaded_an_entry_cannot_be_read(monkeypatch):
    encoded = codec.encode(Response("a"))
    monkeypatch.delitem(sys.modules, "starlette.responses")
    with pytest.raises(ValueEncodingError, match="malformed"):
        codec.decode(*encoded)
