"""The house: which module may import which, and how large they may grow."""

import ast
import graphlib
import tokenize
from pathlib import Path

import litcache

ROOT = Path(litcache.__file__).parent

# From the ground up; a module imports from its own floor and from those below it.
FLOORS = [
    ["errors", "policy", "stats", "switches"],
    ["canonical", "keys", "contexts", "dtypes", "layouts", "plain", "columns", "codec", "batching"],
    ["stores", "stores.base", "stores.memory", "flight", "log", "threads", "versions", "ledger"],
    ["stores.frame", "stores.breaker", "stores.notes"],
    ["stores.index", "stores.ring", "stores.survey", "stores.folder", "stores.shared"],
    ["stores.nodes", "stores.cluster", "stores.remote", "stores.epochs", "stores.scan",
     "stores.redis"],
    ["stores.tiered"],
    ["call", "keyring", "rules", "guard", "outputs", "cache", "handle"],
    ["litapi", "hooks", "calls", "facts"],
    ["decorator", "metrics", "openai"],
    ["internals", "misses", "desk", "serving", "loop"],
    ["requestkey", "responses", "routecheck", "exchange", "middleware"],
    ["__main__"],
    [""],
    ["testing", "testing.compare", "testing.contract", "testing.doubles", "testing.plugin",
     "testing.runner"],
]  # fmt: skip
FLOOR = {module: height for height, floor in enumerate(FLOORS) for module in floor}
KNOW_LITSERVE = {
    "litapi", "hooks", "facts", "decorator", "metrics", "openai", "internals", "misses", "desk",
    "loop", "routecheck", "testing.runner", "testing.plugin",
}  # fmt: skip


def modules():
    for path in sorted(ROOT.rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        yield name.removesuffix("__init__").rstrip("."), ast.parse(path.read_text())


def imports(tree):
    """The modules that are imported when this one is, or by one of its functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                is_module = inner.startswith("litcache.") and inner[9:] in FLOOR
                yield inner if is_module else node.module


def test_every_module_has_its_floor():
    assert {name for name, _ in modules()} == set(FLOOR)


def test_imports_point_one_way():
    graph = {}
    for name, tree in modules():
        inside = {i[9:] for i in imports(tree) if i.startswith("litcache.")}
        graph[name] = inside
        for other in inside:
            assert FLOOR[other] <= FLOOR[name], f"{name} imports {other}, which stands above it"
    order = list(graphlib.TopologicalSorter(graph).static_order())  # raises on a cycle
    assert order.index("errors") < order.index("cache") < order.index("decorator")


def test_only_those_who_must_know_litserve():
    for name, tree in modules():
        foreign = {i.split(".")[0] for i in imports(tree)} & {"litserve", "fastapi", "starlette"}
        assert not foreign or name in KNOW_LITSERVE, f"{name} imports {foreign}"


# Loaded when a RedisStore is made, and not before.
NEED_REDIS = {"stores.nodes", "stores.cluster"}


def test_what_users_may_not_have_is_imported_by_nobody():
    for name, tree in modules():
        top = [n for n in tree.body if isinstance(n, ast.Import | ast.ImportFrom)]
        names = {i.split(".")[0] for i in imports(ast.Module(top, []))}
        assert not names & {"numpy", "torch", "PIL", "pydantic", "prometheus_client"}, name
        assert "redis" not in names or name in NEED_REDIS
        needs = {i.removeprefix("litcache.") for i in names_inside(tree)} & NEED_REDIS
        assert not needs or name in NEED_REDIS, f"{name} loads redis-py when it is imported"


def names_inside(tree):
    """What a module imports of litcache when it is imported itself."""
    top = [n for n in tree.body if isinstance(n, ast.Import | ast.ImportFrom)]
    return {i for i in imports(ast.Module(top, [])) if i.startswith("litcache.")}


QUIET = {
    tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT,
    tokenize.ENCODING, tokenize.ENDMARKER,
}  # fmt: skip


def code_lines(path):
    """How many lines hold code: no blank lines, comments or docstrings."""
    documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    docstrings = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, documented) and ast.get_docstring(node) is not None:
            docstrings.update(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    with path.open("rb") as file:
        lines = {
            line
            for token in tokenize.tokenize(file.readline)
            if token.type not in QUIET
            for line in range(token.start[0], token.end[0] + 1)
        }
    return len(lines - docstrings)


def test_modules_and_the_package_stay_small():
    sizes = {path.relative_to(ROOT).as_posix(): code_lines(path) for path in ROOT.rglob("*.py")}
    assert {name: size for name, size in sizes.items() if size > 300} == {}
    assert sum(sizes.values()) < 8_500
