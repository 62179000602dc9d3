"""The digests of requests as they came."""

import numpy as np
import pydantic
import pytest
from starlette.datastructures import FormData

from litcache.litapi.digests import digest_of

LARGE = "x" * 100_000


@pytest.mark.parametrize(
    "request_",
    [
        {"text": "a", "to": "de"},
        {"text": "a", "options": {"to": "de", "top": [1, 2]}},
        {"image": np.zeros(3), "to": "de"},
        {"text": LARGE, "to": "de"},
    ],
)
def test_the_digest_is_the_same_again(request_):
    assert digest_of(request_) == digest_of(dict(request_)) == digest_of(request_) != 0


def unlike(one, other):
    return digest_of(one) ^ digest_of(other)


def test_what_a_field_gives_to_the_digest_depends_on_its_name_and_value_alone():
    fields = {"text": "a", "id": 1, "options": {"top": [1, 2], "tone": "dry"}, "c": 0, "d": 0}
    of_id = unlike(fields, {**fields, "id": 2})
    for other in (
        {"id": 1},
        {"z": 0, "id": 1},
        {**fields, "text": "b"},
        fields["options"] | {"id": 1},
    ):
        assert unlike(other, {**other, "id": 2}) == of_id != 0
    of_tone = unlike({"tone": "dry"}, {"tone": "wet"})
    inner = {**fields, "options": {"top": [1, 2], "tone": "wet"}}
    assert unlike(fields, inner) not in (0, of_tone)


def test_a_field_that_is_left_out_moves_no_other():
    with_client, without = {"client": "web", "to": "de", "text": "a"}, {"to": "de", "text": "a"}
    of_language = unlike(without, {**without, "to": "fr"})
    assert unlike(with_client, {**with_client, "to": "fr"}) == of_language
    assert unlike(with_client, without) not in (0, of_language)


def test_the_order_of_names_is_a_field_of_its_own():
    one, other = {"a": 1, "b": {"x": 1, "y": 2}}, {"a": 1, "b": {"y": 2, "x": 1}}
    of_order = unlike(one, other)
    assert of_order != 0
    assert unlike({**one, "a": 2}, {**other, "a": 3}) == of_order ^ unlike({"a": 2}, {"a": 3})
    assert unlike({"a": 1, "b": 2}, {"b": 2, "a": 1}) != 0


def test_the_differences_of_one_field_span_few_directions():
    differences = {unlike({"id": 0}, {"id": number}) for number in range(1, 20_000)}
    assert len(differences) == 1 << 10  # 0 is one of them
    assert all(one ^ other in differences for one in differences for other in list(differences)[:9])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1}, {"a": True}),
        ({"a": 1}, {"a": 1.0}),
        ({"a": 1}, {"b": 1}),
        ({"a": {"b": 1}}, {"a": {"b": 2}}),
        ({"a": np.zeros((2, 3))}, {"a": np.zeros((3, 2))}),
        ("a", "b"),
        ([1], [2]),
    ],
)
def test_two_requests_have_two_digests(one, other):
    for _ in range(2):
        assert digest_of(one) != digest_of(other)


@pytest.mark.parametrize(
    "large",
    [LARGE, {"image": LARGE}, {"a": {"images": [LARGE, LARGE]}}, {"numbers": [0.5] * 20_000}],
)
def test_a_large_request_gets_a_digest_only_if_that_is_asked_for(large):
    assert digest_of(large, large=False) == 0
    assert digest_of(large) != 0
    assert digest_of({"a": [1, 2.0, None, "b"], "c": True}, large=False) != 0


def test_an_early_request_has_its_digest_after_many_others():
    first = digest_of({"text": "a", "id": 0})
    for number in range(1, 5_000):
        digest_of({"text": "a", "id": number})
    assert digest_of({"text": "a", "id": 0}) == first


class Meta(pydantic.BaseModel):
    id: int
    lang: str


class WithModel(pydantic.BaseModel):
    text: str
    meta: Meta


class WithExtras(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")
    text: str


SHAPES = {
    "a form": lambda number, lang: FormData([("id", str(number)), ("lang", lang), ("text", "a")]),
    "a model in a model": lambda number, lang: WithModel(text="a", meta=Meta(id=number, lang=lang)),
    "dicts in a list": lambda number, lang: {"inputs": [{"text": "a", "id": number, "lang": lang}]},
    "extras of a model": lambda number, lang: WithExtras(text="a", id=number, lang=lang),
    "inner dicts": lambda number, lang: {"text": "a", "options": {"id": number, "lang": lang}},
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_a_field_is_told_apart_from_an_id_beside_it_wherever_both_are(shape):
    ids = {digest_of(shape(number, "en")) ^ digest_of(shape(0, "en")) for number in range(1, 9)}
    langs = {digest_of(shape(number, "fr")) ^ digest_of(shape(number, "en")) for number in range(9)}
    assert len(ids) == 8
    assert len(langs) == 1
    assert not ids & langs
