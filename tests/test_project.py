"""The files around the code name what exists: workflows, templates, hooks, metadata."""

import re
from pathlib import Path

import pytest

tomllib = pytest.importorskip("tomllib")  # since Python 3.11
ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
FORMS = [*sorted((ROOT / ".github").rglob("*.yml")), ROOT / ".pre-commit-config.yaml"]
PAGES = [ROOT / name for name in ("CONTRIBUTING.md", "SECURITY.md", "CODE_OF_CONDUCT.md")]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def load(path):
    return pytest.importorskip("yaml").safe_load(path.read_text())


def steps(workflow):
    return [step for job in load(workflow)["jobs"].values() for step in job["steps"]]


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_every_form_and_workflow_can_be_read(path):
    assert isinstance(load(path), dict)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_every_command_of_a_workflow_finds_its_files(path):
    commands = [step["run"] for step in steps(path) if "run" in step]
    assert commands
    text = "\n".join(commands)
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"\bmake ([\w./]+)", text):
        target = target.replace(".venv/", "$(VENV)/")
        assert re.search(rf"^{re.escape(target)}:", makefile, re.MULTILINE), target
    for name in re.findall(r"requirements/\w+\.txt|\.ci/\w+|\btests/\w+", text):
        assert (ROOT / name).exists(), name


def test_the_matrix_begins_with_the_oldest_python_of_the_package():
    jobs = load(ROOT / ".github" / "workflows" / "test.yml")["jobs"]
    pythons = jobs["python"]["strategy"]["matrix"]["python"]
    assert PROJECT["requires-python"] == f">={pythons[0]}"
    systems = {jobs["python"]["strategy"]["matrix"]["os"][0]} | {
        leg["os"] for leg in jobs["python"]["strategy"]["matrix"]["include"]
    }
    assert systems == {"ubuntu-latest", "macos-latest", "windows-latest"}
    for classifier in PROJECT["classifiers"]:
        if found := re.fullmatch(r"Programming Language :: Python :: (3\.\d+)", classifier):
            assert found[1] in [*pythons, "3.11"], classifier


def test_the_oldest_dependencies_are_those_of_the_package():
    text = (ROOT / "requirements" / "oldest.txt").read_text()
    pins = dict(re.findall(r"^([\w-]+)==([\d.]+)", text, re.MULTILINE))
    extras = PROJECT["optional-dependencies"]
    wanted = [*PROJECT["dependencies"], *(line for lines in extras.values() for line in lines)]
    floors = dict(re.fullmatch(r"([\w-]+)>=([\d.]+)", text).groups() for text in wanted)
    assert floors.keys() == pins.keys()
    for name, floor in floors.items():
        assert [*map(int, pins[name].split("."))][: len(floor.split("."))] == [
            *map(int, floor.split("."))
        ], name


def test_the_release_takes_the_version_from_where_it_stands():
    (check,) = [
        s["run"] for s in steps(ROOT / ".github/workflows/release.yml") if "sed" in s.get("run", "")
    ]
    pattern = re.search(r"s/\^(.*?)\\\(", check)[1]
    assert (ROOT / "litcache" / "__init__.py").read_text().count(f"\n{pattern}") == 1


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_link_and_command_of_a_page_exists(page):
    text = page.read_text()
    for target in re.findall(r"\]\((?!https:)([^)#\s]+)", text):
        assert (ROOT / target).exists(), target
    for target in re.findall(r"\bmake (\w+)", text):
        if "`make" in text or "\nmake" in text:
            assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.M), target
