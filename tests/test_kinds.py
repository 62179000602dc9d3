"""The tables of kinds in the docs: each row is true, and the pages have them as they are."""

import importlib.util
import sys
import warnings
from pathlib import Path

import litserve as ls
import pytest

from litcache import KeyEncodingError, UnsupportedMethodError, cached_predict
from litcache.errors import ValueEncodingError
from litcache.testing import APIRunner
from litcache.values import codec

DOCS = Path(__file__).parents[1] / "docs"


def load(name):
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


kinds = load("kinds")
generate = load("generate")
pytestmark = pytest.mark.filterwarnings("ignore")


def rows(table, verdict):
    return [
        pytest.param(kind, example, id=f"{kind.what[:40]}: {example[:40]}")
        for kind in table
        if kind.verdict == verdict
        for example in kind.examples
    ]


def made(kind, example):
    for library in kind.needs:
        pytest.importorskip(library)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return kinds.evaluated(kind, example)


def instead(kind, value):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return kinds.evaluated(kind, kind.remedy, value=value)


class ItemAPI(ls.LitAPI):
    items = ()

    def decode_request(self, request):
        return self.items[request]  # which need not be picklable, as a request must

    @cached_predict
    def predict(self, item):
        return type(item).__name__


def served(*items):
    """Serve items one by one; return the counters."""
    api = ItemAPI()
    api.items = items
    with APIRunner(api) as runner:
        answers = [runner.run(place) for place in range(len(items))]
    assert answers == [type(item).__name__ for item in items]
    return api.predict.cache.info()


@pytest.mark.parametrize(("kind", "example"), rows(kinds.ITEMS, "cached"))
def test_an_item_of_this_kind_is_cached(kind, example):
    info = served(made(kind, example), made(kind, example))
    assert (info.misses, info.hits) == (1, 1)


@pytest.mark.parametrize(("kind", "example"), rows(kinds.ITEMS, "uncached"))
def test_an_item_of_this_kind_is_answered_uncached_and_the_warning_names_the_remedy(
    kind, example, caplog
):
    info = served(made(kind, example), made(kind, example))
    assert (info.uncacheable, info.hits) == (2, 0)
    (record,) = caplog.records
    assert kind.remedy in record.getMessage()
    with pytest.raises(KeyEncodingError):
        ItemAPI().predict.cache.key(made(kind, example))
    if kind.remedy:
        values = [instead(kind, made(kind, example)) for _ in range(2)]
        assert served(*values).hits == 1


@pytest.mark.parametrize(("kind", "example"), rows(kinds.OUTPUTS, "cached"))
def test_an_output_of_this_kind_comes_back(kind, example):
    value = made(kind, example)
    back = codec.decode(*codec.encode(value))
    assert type(back) is type(value)
    assert codec.encode(back) == codec.encode(value)


@pytest.mark.parametrize(("kind", "example"), rows(kinds.OUTPUTS, "uncached"))
def test_an_output_of_this_kind_is_answered_and_not_stored(kind, example):
    made(kind, example)

    class OutputAPI(ls.LitAPI):
        @cached_predict
        def predict(self, item):
            return made(kind, example)

        def encode_response(self, output):
            return type(output).__name__

    api = OutputAPI()
    with APIRunner(api) as runner:
        assert [runner.run(1) for _ in range(2)] == [type(made(kind, example)).__name__] * 2
    info = api.predict.cache.info()
    assert (info.uncacheable, info.entries) == (2, 0)
    with pytest.raises(ValueEncodingError):
        codec.encode(made(kind, example))
    if kind.remedy:
        codec.encode(instead(kind, made(kind, example)))


@pytest.mark.parametrize(("kind", "example"), rows(kinds.METHODS, "refused"))
def test_a_method_of_this_kind_is_refused(kind, example):
    body = "\n".join(f"    {line}" for line in ["@cached_predict", *example.splitlines()])
    with pytest.raises(UnsupportedMethodError):
        exec(f"class API(ls.LitAPI):\n{body}", {"ls": ls, "cached_predict": cached_predict})


@pytest.mark.parametrize("path", sorted(DOCS.glob("*.md")), ids=lambda path: path.stem)
def test_the_tables_of_a_page_are_those_of_the_kinds(path):
    assert generate.page(path.read_text()) == path.read_text(), "run python docs/generate.py"


def test_every_table_stands_on_a_page():
    text = "".join(path.read_text() for path in DOCS.glob("*.md"))
    for name, verdict in generate._HEADS:
        assert f"<!-- {name} that are {verdict}:" in text
