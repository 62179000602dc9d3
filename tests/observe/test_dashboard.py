"""The dashboard and the alerts ask for what a real server serves."""

import json
import re

import httpx
import pytest
from support.servers import ROOT, serve, wait_until

promql = pytest.importorskip("promql_parser")
parser = pytest.importorskip("prometheus_client.parser")

BOARD = json.loads((ROOT / "docs" / "grafana.json").read_text())
PAGE = (ROOT / "docs" / "metrics.md").read_text()
QUERIES = [target["expr"] for panel in BOARD["panels"] for target in panel["targets"]]
ALERTS = re.findall(r"^ +expr: (.*)$", PAGE, re.MULTILINE)
ALERT = dict(re.findall(r"- alert: (\w+)\n +expr: (.*)$", PAGE, re.MULTILINE))
BY_PROMETHEUS = {"instance", "job"}  # labels that a scrape gets from who makes it


def parsed(query):
    """Return a query's tree, with Grafana's variables as Grafana fills them in for all."""
    for variable in BOARD["templating"]["list"]:
        query = query.replace(f"${variable['name']}", variable.get("allValue", "?"))
    return promql.parse(query.replace("$__rate_interval", "1m"))


def inside(node):
    """Yield the nodes of a tree, from the top."""
    yield node
    parts = [getattr(node, name, None) for name in ("expr", "lhs", "rhs", "param")]
    for part in [*parts, *getattr(node, "args", [])]:
        if isinstance(part, promql.Expr):
            yield from inside(part)
    if isinstance(node, promql.MatrixSelector):
        yield node.vector_selector


def selectors(query):
    return [node for node in inside(query) if isinstance(node, promql.VectorSelector)]


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """The families of a real scrape, once every store was asked."""
    store = {"STORE": str(tmp_path_factory.mktemp("store") / "store")}
    server_script = str(ROOT / "tests" / "support" / "metrics_server.py")
    with serve(server_script, "process", environment=store) as server:
        server.post("/predict", {"text": "a"})
        server.post("/lists", {"texts": ["a"]})
        scrape = lambda: httpx.get(f"{server.url}/metrics", trust_env=False).text  # noqa: E731
        wait_until(lambda: scrape().count("litcache_cache_info{") == 3, "samples", 30)
        return list(parser.text_string_to_metric_families(scrape()))


def selected(selector, served):
    """Return the labels of the samples that a selector finds."""
    return [
        set(sample.labels)
        for family in served
        for sample in family.samples
        if sample.name == selector.name
        and all(matches(m, sample.labels.get(m.name)) for m in selector.matchers.matchers)
    ]


def matches(matcher, value):
    if value is None:
        return False
    if matcher.op == promql.MatchOp.Re:
        return re.fullmatch(matcher.value, value) is not None
    assert matcher.op == promql.MatchOp.Equal
    return matcher.value == value


def words_of(matcher):
    return matcher.value.split("|") if matcher.op == promql.MatchOp.Re else [matcher.value]


def test_there_are_queries():
    assert len(QUERIES) > 15
    assert len(ALERTS) == 7


@pytest.mark.e2e
@pytest.mark.parametrize("query", [*QUERIES, *ALERTS])
def test_a_query_selects_what_is_served(query, served):
    tree = parsed(query)
    assert selectors(tree)
    for selector in selectors(tree):
        assert selected(selector, served), f"{selector} selects nothing"
        values = {
            (name, value)
            for family in served for sample in family.samples if sample.name == selector.name
            for name, value in sample.labels.items()
        }  # fmt: skip
        for matcher in selector.matchers.matchers:
            for word in words_of(matcher):
                assert word == ".*" or (matcher.name, word) in values, f"{word!r} is no value"


@pytest.mark.e2e
@pytest.mark.parametrize("query", [*QUERIES, *ALERTS])
def test_a_query_groups_by_labels_that_are_there_and_rates_counters(query, served):
    types = {
        sample.name: family.type for family in served for sample in family.samples
    }  # fmt: skip
    for node in inside(parsed(query)):
        below = selectors(node)
        if isinstance(node, promql.AggregateExpr):
            labels = set(node.modifier.labels) - BY_PROMETHEUS
            for selector in below:
                assert all(labels <= names for names in selected(selector, served))
        if isinstance(node, promql.Call) and node.func.name == "rate":
            assert {types[selector.name] for selector in below} <= {"counter", "histogram"}
        if isinstance(node, promql.Call) and node.func.name == "histogram_quantile":
            assert all(selector.name.endswith("_bucket") for selector in below)
            assert "le" in node.args[1].modifier.labels


@pytest.mark.e2e
def test_every_metric_is_on_the_dashboard_and_in_its_row_of_the_page(served):
    shown = {selector.name for query in QUERIES for selector in selectors(parsed(query))}
    rows = "".join(re.findall(r"^\| (`litcache_[^|]*) \|", PAGE, re.MULTILINE))
    for family in served:
        names = {sample.name for sample in family.samples}
        # The gauge is for people: a rate is asked of the counters behind it.
        assert names & shown or family.name == "litcache_saved_seconds", family.name
        documented = {name for name in names if re.search(rf"`{name}\b", rows)}
        assert documented or f"`{family.name}" in rows, family.name
    spoken_of = set(re.findall(r"`(litcache_\w+)", rows))
    known = {sample.name for family in served for sample in family.samples}
    assert spoken_of - known == {"litcache_model_batch_items", "litcache_lookup_seconds"}


@pytest.mark.e2e
def test_variables_are_filled_from_labels_that_are_there(served):
    queries = [v["definition"] for v in BOARD["templating"]["list"] if v["type"] == "query"]
    assert len(queries) == 2
    for query in queries:
        name, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", query).groups()
        samples = [s for family in served for s in family.samples if s.name == name]
        assert {bool(sample.labels[label]) for sample in samples} == {True}


def test_panels_do_not_lie_on_each_other():
    taken = set()
    for panel in BOARD["panels"]:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & taken
        assert at["x"] + at["w"] <= 24
        taken |= cells


# ---------------------------------------------------------------------- what sets an alert off


def result(node, rates):
    """Return what a query of rates gives, by the labels that it groups by.

    Args:
        node: The tree of the query.
        rates: The rate of each series, by its labels as a set of pairs.
    """
    if isinstance(node, promql.NumberLiteral):
        return node.val
    if isinstance(node, promql.Call):
        matchers = node.args[0].vector_selector.matchers.matchers
        return {
            labels: rate
            for labels, rate in rates.items()
            if all(matches(m, dict(labels).get(m.name)) for m in matchers)
        }
    if isinstance(node, promql.AggregateExpr):
        sums = {}
        for labels, value in result(node.expr, rates).items():
            group = frozenset(pair for pair in labels if pair[0] in node.modifier.labels)
            sums[group] = sums.get(group, 0) + value
        return sums
    left, right = result(node.lhs, rates), result(node.rhs, rates)
    if str(node.op) == "/":
        return {group: value / right[group] for group, value in left.items() if right[group]}
    kept = {">": lambda value: value > right, "<": lambda value: value < right}[str(node.op)]
    return {group: value for group, value in left.items() if kept(value)}


@pytest.mark.parametrize(
    ("alert", "rates", "fires"),
    [
        ("CacheCannotKeyOrStore", {"hit": 900, "miss": 50, "bypassed": 500}, False),
        ("CacheCannotKeyOrStore", {"hit": 995, "miss": 0, "uncacheable": 5}, False),
        ("CacheCannotKeyOrStore", {"hit": 98, "miss": 0, "uncacheable": 2}, True),
        ("CacheCannotKeyOrStore", {"hit": 98, "uncacheable": 2, "bypassed": 900}, True),
        ("CacheHardlyHits", {"hit": 20, "coalesced": 10, "miss": 70, "bypassed": 900}, False),
        ("CacheHardlyHits", {"hit": 5, "coalesced": 1, "miss": 94}, True),
        ("CacheHardlyHits", {"hit": 5, "verified": 16, "miss": 79}, False),
        ("CacheCannotKeyOrStore", {"verified": 995, "uncacheable": 5}, False),
    ],
)
def test_an_alert_is_set_off_by_what_the_cache_was_asked_alone(alert, rates, fires):
    def series(tier, outcome):
        labels = {"api": "/predict", "method": "POST", "tier": tier, "outcome": outcome}
        return frozenset(labels.items())

    healthy = {series("decorator", outcome): 1e6 for outcome in ("hit", "miss")}
    asked = {series("http", outcome): rate for outcome, rate in rates.items()}
    fired = [dict(group)["tier"] for group in result(parsed(ALERT[alert]), healthy | asked)]
    assert fired == (["http"] if fires else [])
