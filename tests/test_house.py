"""The house: which room may import which, and how large a module and a function may grow."""

import ast
import functools
import graphlib
import re
import tokenize
from pathlib import Path

import litcache

ROOT = Path(litcache.__file__).parent

# From the ground up. A room is a folder, or a module beside the folders. A room imports from the
# floors below its own, and from rooms of its own floor that do not import it in turn.
FLOORS = [
    [
        "policy",
        "checks",
        "functions",
        "ttl",
        "sizes",
        "trial_policy",
        "errors",
        "switches",
        "arrays",
        "forks",
    ],
    ["keys", "values", "stores", "observe"],
    ["trial"],
    ["engine"],
    ["litapi"],
    ["loop", "http", "metrics", "openai"],
    ["litcache"],
    ["testing", "commands", "__main__"],
]
FLOOR = {room: height for height, floor in enumerate(FLOORS) for room in floor}
KNOW_LITSERVE = {"litapi", "loop", "http", "metrics", "openai", "testing"}
OPTIONAL = {"numpy", "torch", "PIL", "pydantic", "pandas", "polars", "prometheus_client", "redis"}
# The modules that are loaded when a RedisStore is made, and not before.
NEED_REDIS = {"litcache.stores.redis.nodes", "litcache.stores.redis.cluster"}
LONGEST_MODULE = 330
LONGEST_FUNCTION = 40


@functools.cache
def modules():
    found = []
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT.parent).with_suffix("").parts
        name = ".".join(parts).removesuffix(".__init__")
        found.append((name, path, ast.parse(path.read_text())))
    return found


NAMES = {name for name, _, _ in modules()}


def room_of(module):
    """The room in which a module of litcache is."""
    return module.split(".")[1] if "." in module else module


def imported(node):
    """The modules that an import statement names, as exactly as they are modules of litcache."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, "imports are absolute"
        for alias in node.names:
            inner = f"{node.module}.{alias.name}"
            yield inner if inner in NAMES else node.module


def imports(tree):
    """All modules that a module names: those for types and those of its functions included."""
    return {name for node in ast.walk(tree) for name in imported(node)}


def imports_at_once(tree):
    """The modules that are imported when this one is."""
    return {name for node in tree.body for name in imported(node)}


def test_every_room_has_its_floor():
    assert {room_of(name) for name in NAMES} == set(FLOOR)


def test_the_page_of_the_architecture_shows_these_floors():
    page = (ROOT.parent / "docs" / "architecture.md").read_text()
    rows = re.findall(r"^\| (\d) \| `([\w./]+)` \| .* \| (.*) \| (yes|no) \|$", page, re.MULTILINE)
    floors = [[] for _ in FLOORS]
    for height, file, below, knows in rows:
        room = file.removesuffix("/").removesuffix(".py").replace("__init__", "litcache")
        floors[int(height) - 1].append(room)
        assert below == ("floor 1" if height == "1" else f"floors 1 to {height}"), room
        assert (knows == "yes") == (room in KNOW_LITSERVE), room
    assert floors == FLOORS


def test_imports_point_one_way():
    rooms = {room: set() for room in FLOOR}
    for name, _, tree in modules():
        here = room_of(name)
        for other in imports(tree):
            if other.startswith("litcache"):
                there = room_of(other)
                assert FLOOR[there] <= FLOOR[here], f"{name} imports {other}, which stands above it"
                rooms[here].add(there)
    for room, others in rooms.items():
        others.discard(room)
    list(graphlib.TopologicalSorter(rooms).static_order())  # raises on a circle


def test_no_modules_import_each_other():
    graph = {
        name: {other for other in imports(tree) if other in NAMES and other != name}
        for name, _, tree in modules()
    }
    list(graphlib.TopologicalSorter(graph).static_order())  # raises on a circle


def test_only_those_who_must_know_litserve():
    for name, _, tree in modules():
        foreign = {i.split(".")[0] for i in imports(tree)} & {"litserve", "fastapi", "starlette"}
        assert not foreign or room_of(name) in KNOW_LITSERVE, f"{name} imports {foreign}"


def test_what_users_may_not_have_is_imported_when_it_is_needed():
    for name, _, tree in modules():
        at_once = imports_at_once(tree)
        optional = {i.split(".")[0] for i in at_once} & OPTIONAL
        allowed = {"redis"} if name in NEED_REDIS else set()
        assert optional <= allowed, f"{name} imports {optional} when it is imported"
        assert name in NEED_REDIS or not at_once & NEED_REDIS, f"{name} loads redis-py"


def test_no_module_reads_what_wrapt_keeps_for_another():
    """A wrapper's `_self_…` attributes are its own: others ask its methods."""
    own = {"litcache.litapi.method", "litcache.litapi.proxies"}
    for name, path, _ in modules():
        assert name in own or not re.search(r"\._self_\w", path.read_text()), name


def test_modules_stay_short():
    long = {name: len(path.read_text().splitlines()) for name, path, _ in modules()}
    assert {name: lines for name, lines in long.items() if lines > LONGEST_MODULE} == {}


def test_forks_are_heard_of_in_one_place():
    users = {name for name, _, tree in modules() if "register_at_fork" in ast.unparse(tree)}
    assert users == {"litcache.forks"}


QUIET = {
    tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT,
    tokenize.ENCODING, tokenize.ENDMARKER,
}  # fmt: skip


def lines_of_code(path):
    """The numbers of the lines that hold code: no blank lines and no comments."""
    with path.open("rb") as file:
        return {
            line
            for token in tokenize.tokenize(file.readline)
            if token.type not in QUIET
            for line in range(token.start[0], token.end[0] + 1)
        }


def test_functions_stay_short():
    long = {}
    for name, path, tree in modules():
        code = lines_of_code(path)
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                body = node.body[1:] if ast.get_docstring(node) is not None else node.body
                lines = code & set(range(body[0].lineno, node.end_lineno + 1)) if body else ()
                if len(lines) > LONGEST_FUNCTION:
                    long[f"{name}.{node.name}"] = len(lines)
    assert long == {}
