"""The command line, run as users run it, on stores that others are using."""

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import litcache
from litcache import RedisStore, SharedStore
from litcache.stores.base import FORMAT, NewEntry, Scope

pytestmark = pytest.mark.e2e

ROOT = Path(litcache.__file__).parents[1]
ENTRIES = {n.to_bytes(16, "big"): NewEntry(b"layout", bytes(1500)) for n in range(300)}


def run(*arguments, stdout=subprocess.PIPE, **environment):
    return subprocess.run(
        [sys.executable, "-m", "litcache", *map(str, arguments)],
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    )


def told(*arguments, **environment):
    """Return what a command that succeeds prints for programs."""
    done = run(*arguments, "--json", **environment)
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


@pytest.fixture
def stack():
    with contextlib.ExitStack() as stack:
        yield stack


@pytest.fixture(params=["shared", "redis"])
def store(request, tmp_path, stack):
    """A store, with the arguments that name it on the command line."""
    if request.param == "shared":
        store = SharedStore(tmp_path / "store", "16 MiB", timeout=10)
        arguments = [tmp_path / "store"]
    else:
        redis_servers = pytest.importorskip("support.redis_servers")
        server = stack.enter_context(redis_servers.Server("valkey", tmp_path))
        store = RedisStore(server.url, "mine", timeout=10)
        arguments = [server.url, "--prefix", "mine"]
    stack.callback(store.close)
    store.arguments = arguments
    return store


def fill(store):
    store.set_many(Scope("shop", "minilm-2"), ENTRIES)
    store.set_many(Scope("shop", "minilm-1"), dict(list(ENTRIES.items())[:1]))
    store.set_many(Scope("blog"), {b"b" * 16: NewEntry(b"", b"payload")})


def test_info_tells_namespaces_versions_entries_and_bytes(store):
    fill(store)
    found = told("info", *store.arguments)
    blog, shop = found["namespaces"]
    assert found["entries"] == 301
    assert found["bytes"] == blog["bytes"] + shop["bytes"]
    assert blog == {"name": "blog", "versions": [], "entries": 1, "bytes": blog["bytes"]}
    assert (shop["name"], shop["versions"]) == ("shop", ["minilm-1", "minilm-2"])
    assert shop["entries"] == 300
    assert 300 * 1500 < shop["bytes"] < 300 * 1600

    lines = run("info", *store.arguments).stdout.splitlines()
    assert "301 entries" in lines[0]
    assert [line.split() for line in lines[1:]] == [
        ["namespace", "versions", "entries", "bytes"],
        ["blog", "-", "1", "36", "B"],
        ["shop", "minilm-1,", "minilm-2", "300", "449.7", "KiB"],
    ]


SERVING = """
import sys
from litcache import MemoryStore, SharedStore
from litcache.observe import pages
from litcache.observe.counters import Counters, Labels, Sample
from litcache.stores.base import StoreInfo

class Cache:
    def __init__(self, state, disagreement=""):
        self.counters = Counters()
        self.counters.state, self.counters.disagreement = state, disagreement
        self.counters.add(verified=3, disagreements=bool(disagreement))
        self.labels = Labels("/predict", "predict", "decorator")
        here.enter(self)

    def sample(self):
        return Sample(StoreInfo(), about={"namespace": "shop", "version": "v7\x1b[2J"})

if __name__ == "__main__":
    here = pages.of_this_process()
    here.share()
    caches = [Cache("on"), Cache("on"), Cache("off", "$.label: 'cat' \x1b[2J from the cache")]
    here.sample()
    print("ready", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def serving(tmp_path, stack):
    """The environment of a service with three caches of one method, of which one is off."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
    service = subprocess.Popen(
        [sys.executable, "-c", SERVING], env=environment,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    stack.enter_context(service)
    assert service.stdout.readline() == b"ready\n"
    return {"TMPDIR": str(tmp_path)}


def test_info_tells_the_states_of_running_services(serving):
    shown = run("info", **serving)
    assert (shown.returncode, shown.stderr) == (0, "")
    heads, states, differed = shown.stdout.splitlines()
    assert heads.split("  ")[0] == "api"
    assert states.split() == [
        "/predict", "predict", "decorator", r"v7\x1b[2J", "2", "on,", "1", "off",
    ]  # fmt: skip
    assert differed == (
        r"/predict predict (decorator) differed: $.label: 'cat' \x1b[2J from the cache"
    )
    caches = told("info", **serving)["serving"]
    assert sorted(cache["state"] for cache in caches) == ["off", "on", "on"]
    (off,) = (cache for cache in caches if cache["state"] == "off")
    assert (off["namespace"], off["verified"], off["disagreements"]) == ("shop", 3, 1)
    assert off["disagreement"].startswith("$.label: 'cat'")


@pytest.mark.parametrize(("namespace", "caches"), [("shop", 3), ("blog", 0)])
def test_info_of_a_store_tells_the_states_of_those_who_use_its_namespaces(
    serving, tmp_path, namespace, caches
):
    store = SharedStore(tmp_path / "store", "16 MiB")
    store.set_many(Scope(namespace), {b"k" * 16: NewEntry(b"", b"payload")})
    store.close()
    assert len(told("info", tmp_path / "store", **serving)["serving"]) == caches
    shown = run("info", tmp_path / "store", **serving).stdout
    assert ("2 on, 1 off" in shown) == bool(caches)


def test_where_no_service_shares_its_counters_info_says_what_does(tmp_path):
    shown = run("info", TMPDIR=str(tmp_path))
    assert shown.returncode == 0
    assert str(tmp_path) in shown.stdout
    assert "litcache.metrics" in shown.stdout
    assert told("info", TMPDIR=str(tmp_path)) == {"serving": []}


def test_entries_of_cleared_namespaces_are_nobodys_and_do_not_count(store):
    fill(store)
    for which in (["--namespace", "shop"], ["--all"]):
        told("clear", *store.arguments, *which)
        left = 0 if which == ["--all"] else 1
        found = told("info", *store.arguments)
        assert found["entries"] == left
        assert sum(space["entries"] for space in found["namespaces"]) == left
        assert f" {left} entries, " in run("info", *store.arguments).stdout


def test_a_namespace_that_is_not_there_is_not_cleared_and_not_made(store):
    fill(store)
    done = run("clear", *store.arguments, "--namespace", "shpo")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("litcache: ")
    assert "no namespace 'shpo'; there are 'blog', 'shop'" in done.stderr
    assert [space["name"] for space in told("info", *store.arguments)["namespaces"]] == [
        "blog", "shop",
    ]  # fmt: skip
    assert store.get_many(Scope("shop"), list(ENTRIES)[:1])[0] is not None


def test_clear_drops_one_namespace_or_all_in_the_processes_that_serve(store):
    fill(store)
    keys = list(ENTRIES)[:2]
    assert told("clear", *store.arguments, "--namespace", "shop")["cleared"] == "shop"
    assert store.get_many(Scope("shop"), keys) == [None, None]
    assert store.get_many(Scope("blog"), [b"b" * 16])[0].payload == b"payload"
    assert told("clear", *store.arguments, "--all")["cleared"] is None
    assert store.get_many(Scope("blog"), [b"b" * 16]) == [None]


def test_verify_counts_what_does_not_verify_and_its_exit_code_says_so(store):
    fill(store)
    assert told("verify", *store.arguments)["corrupt"] == 0
    if isinstance(store, SharedStore):
        (ring,) = Path(store.path).glob("*.ring")
        with ring.open("r+b") as file:
            file.seek(5_000)
            file.write(b"\xff" * 3)
    else:
        import redis

        with redis.Redis.from_url(store.arguments[0]) as client:
            name = f"mine:e{FORMAT}:".encode() + Scope("shop").tag + next(iter(ENTRIES))
            assert client.setrange(name, 1_000, b"\xff" * 3)
    done = run("verify", *store.arguments, "--json")
    assert (done.returncode, json.loads(done.stdout)["corrupt"]) == (1, 1)
    assert "1 do not verify" in run("verify", *store.arguments).stdout


def test_every_command_runs_while_a_service_writes(store):
    stop, failures = threading.Event(), []

    def serve():
        number = 0
        try:
            while not stop.is_set():
                number += 1
                scope = Scope("busy")
                key = number.to_bytes(16, "big")
                store.get_many(scope, [key])
                store.set_many(scope, {key: NewEntry(b"", bytes(1500))})
        except Exception as error:
            failures.append(error)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        assert told("info", *store.arguments)["namespaces"][0]["name"] == "busy"
        assert told("verify", *store.arguments)["corrupt"] == 0
        told("clear", *store.arguments, "--namespace", "busy")
        assert thread.is_alive()
    finally:
        stop.set()
        thread.join()
    assert failures == []


def test_names_that_are_no_text_are_printed(store):
    store.set_many(Scope("shop \udc80 ü", "v\ud800"), {b"k" * 16: NewEntry(b"", b"payload")})
    (space,) = told("info", *store.arguments)["namespaces"]
    assert (space["name"], space["versions"]) == ("shop \udc80 ü", ["v\ud800"])
    for encoding in ("utf-8", "ascii"):
        done = run("info", *store.arguments, PYTHONIOENCODING=encoding)
        assert (done.returncode, done.stderr) == (0, "")
        assert "shop \\udc80" in done.stdout


STOPPED = """
import os, signal, sqlite3, sys
index = sqlite3.connect(sys.argv[1], isolation_level=None)
index.execute("BEGIN IMMEDIATE")
os.kill(os.getpid(), signal.SIGSTOP)
"""


@pytest.mark.parametrize("which", [["--namespace", "shop"], ["--all"]])
def test_a_stopped_process_that_holds_the_lock_cannot_keep_entries_from_being_cleared(
    tmp_path, which
):
    store = SharedStore(tmp_path, "16 MiB")
    fill(store)
    (index,) = tmp_path.glob("*.db")
    stopped = subprocess.Popen([sys.executable, "-c", STOPPED, str(index)])
    try:
        os.waitpid(stopped.pid, os.WUNTRACED)
        started = time.monotonic()
        done = run("clear", tmp_path, *which)
        assert (done.returncode, "cleared" in done.stdout) == (0, True), done.stderr
        assert time.monotonic() - started < 30
        assert store.get_many(Scope("shop"), list(ENTRIES)[:2]) == [None, None]
    finally:
        stopped.kill()
        stopped.wait()
        store.close()


ESCAPES = "\x1b]0;owned\x07\x1b[2J", "v\r\n\u202e1\x9b31m"


def test_what_a_terminal_obeys_is_not_printed(store):
    name, version = ESCAPES
    store.set_many(Scope(name, version), {b"k" * 16: NewEntry(b"", b"payload")})
    shown = [run("info", *store.arguments), run("clear", *store.arguments, "--namespace", "x")]
    shown.append(run("clear", *store.arguments, "--namespace", name))
    for done in shown:
        text = done.stdout + done.stderr
        assert r"\x1b]0;owned\x07\x1b[2J" in text
        assert all(c.isprintable() or c == "\n" for c in text)
    assert r"v\r\n\u202e1\x9b31m" in shown[0].stdout
    assert shown[0].stdout.count("\n") == 3


def test_an_error_has_nothing_that_a_terminal_obeys(tmp_path):
    done = run("info", tmp_path / "\x1b[2J")
    assert (done.returncode, done.stdout) == (3, "")
    assert r"\x1b[2J" in done.stderr
    assert "\x1b" not in done.stderr


def test_the_version_is_that_of_the_package():
    done = run("--version")
    assert (done.returncode, done.stdout) == (0, f"litcache {litcache.__version__}\n")


@pytest.mark.parametrize("command", ["info", "verify", "info --json"])
def test_a_reader_that_has_read_enough_is_no_error(tmp_path, command):
    SharedStore(tmp_path / "store", "16 MiB").clear("shop")
    readable, writable = os.pipe()
    os.close(readable)
    done = run(*command.split(), tmp_path / "store", stdout=writable)
    os.close(writable)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_a_result_that_cannot_be_written_is_not_taken_for_entries_that_do_not_verify(tmp_path):
    SharedStore(tmp_path / "store", "16 MiB").clear("shop")
    with open("/dev/full", "w") as full:
        done = run("verify", tmp_path / "store", stdout=full)
    assert done.returncode == 3
    assert done.stderr.startswith("litcache: the result cannot be written: ")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", [["info"], ["verify"], ["clear", "--all"]])
def test_where_there_is_no_store_it_says_so_and_makes_none(tmp_path, command):
    for place in (tmp_path / "absent", tmp_path, "redis://127.0.0.1:1", "${NOT_SET_ANYWHERE}"):
        done = run(*command, place)
        assert done.returncode == 3
        assert done.stdout == ""
        assert done.stderr.startswith("litcache: ")
        assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", [["info"], ["verify"], ["clear", "--all"]])
def test_a_damaged_store_is_said_to_be_and_left_as_it_is(tmp_path, command):
    store = SharedStore(tmp_path, "16 MiB")
    store.set_many(Scope("shop"), ENTRIES)
    store.close()
    (index,) = tmp_path.glob("*.db")
    index.write_bytes(os.urandom(50_000))
    before = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    done = run(*command, tmp_path)
    assert (done.returncode, done.stdout) == (3, "")
    assert "is damaged" in done.stderr
    assert {path.name: path.stat().st_size for path in tmp_path.iterdir()} == before


def test_another_budget_than_the_service_has_changes_nothing(tmp_path):
    store = SharedStore(tmp_path, "16 MiB")
    store.set_many(Scope("shop"), ENTRIES)
    store.set_many(Scope("blog"), {b"b" * 16: NewEntry(b"", b"payload")})
    assert told("info", tmp_path)["max_bytes"] == 16 << 20
    told("clear", tmp_path, "--namespace", "blog")
    assert store.get_many(Scope("shop"), list(ENTRIES)[:1])[0] is not None
    store.close()


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["flush", "."],
        ["verify"],
        ["clear", "."],
        ["clear", ".", "--namespace", "a", "--all"],
        ["info", ".", "--timeout", "soon"],
        ["info", ""],
    ],
)
def test_a_command_that_is_none_exits_with_2(arguments):
    done = run(*arguments)
    assert done.returncode == 2
    assert "usage: litcache" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        *(
            (["info", ".", f"--timeout={timeout}"], f"--timeout: '{timeout}' must be a positive")
            for timeout in ("0", "nan", "-1", "soon")
        ),
        (
            ["info", ".", "--timeout=1e300"],
            "--timeout: '1e300' must be a positive number of seconds",
        ),
        (["info", "redis://host", "--prefix", "\udcff"], "--prefix: '\\udcff' must be text"),
        (["plan", "log", "--entry-bytes", "9" * 5000], "--entry-bytes: a size must be a positive"),
        (["plan", "log", "--sample", "9" * 5000], "must be a whole number, 1 or more"),
        (
            ["warm", "log", "--url", "http://a:x"],
            "--url: 'http://a:x' is no http:// or https:// URL",
        ),
        (["warm", "log", "--url", "http://[a"], "--url: 'http://[a' is no http:// or https:// URL"),
        (
            ["warm", "log", "--url", "http://a/b c"],
            "--url: 'http://a/b c' must be of ASCII without",
        ),
        (["warm", "log", "--url", "http://a/é"], "must be of ASCII without blanks"),
        (
            ["warm", "log", "--url", "http://a", "--header", "a b: c"],
            "--header: the header 'a b' must",
        ),
        (["warm", "log", "--url", "http://a", "--header", "a: b\nc: d"], "the header 'a' must be"),
        (
            ["warm", "log", "--url", "http://a", "--header", "a: €"],
            "a value of Latin-1 on one line",
        ),
        (["plan", "log", "--sizes", "0"], "--sizes: a size must be a positive whole number"),
        (["plan", "log", "--sizes", "1 MiB,much"], "not 'much'"),
        (["plan", "log", "--sample", "-1"], "--sample: '-1' must be a whole number, 1 or more"),
        (
            ["warm", "log", "--url", "http://a", "--concurrency", "0"],
            "--concurrency: '0' must be a whole number, 1 or more",
        ),
    ],
)
def test_an_impossible_option_is_told_with_what_is_allowed(arguments, told):
    done = run(*arguments)
    assert done.returncode == 2
    assert told in done.stderr


def test_credentials_are_not_printed():
    done = run("info", "redis://someone:S3cret@127.0.0.1:1/0")
    assert done.returncode == 3
    assert "S3cret" not in done.stderr + done.stdout


def test_help_names_the_exit_codes():
    assert "exit codes" in run("--help").stdout


# ---------------------------------------------------------------------- check

SERVER = """
import sys
import litserve as ls
from litcache import cached_predict

print("a line that the service prints")

class Base(ls.LitAPI):
    def setup(self, device):
        raise RuntimeError("the model is loaded")

class TextAPI(Base):
    def __init__(self):
        raise RuntimeError("an API is made")

    def decode_request(self, request):
        return request["text"]

    @cached_predict(ttl=60, version=lambda api: "1")
    def predict(self, text):
        return text

class LanguageAPI(Base):
    def decode_request(self, request):
        self.language = request["language"]
        return request["text"]

    @cached_predict(namespace="languages")
    def predict(self, text):
        return text, self.language

class PlainAPI(Base):
    pass

api = LanguageAPI(api_path="/languages")
number = 3

if __name__ == "__main__":
    sys.exit("it is served")
"""


def check(folder, target, *more):
    done = subprocess.run(
        [sys.executable, "-m", "litcache", "check", target, *more],
        capture_output=True, text=True, check=False, cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def project(tmp_path):
    (tmp_path / "server.py").write_text(SERVER)
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "api.py").write_text(SERVER)
    return tmp_path


UNGUARDED = """
import litserve as ls
from litcache import cached_predict

class TextAPI(ls.LitAPI):
    @cached_predict
    def predict(self, text):
        return text

ls.LitServer(TextAPI(), accelerator="cpu").run(port=0)
"""


def test_check_starts_no_server_of_a_script_that_runs_it_when_it_is_imported(tmp_path):
    (tmp_path / "unguarded.py").write_text(UNGUARDED)
    code, text, _ = check(tmp_path, "unguarded:TextAPI")
    assert (code, text.splitlines()[-1][:13]) == (0, "nothing found")


def test_check_shows_what_a_class_caches_without_loading_a_model(project):
    code, text, printed = check(project, "server:TextAPI")
    assert (code, printed) == (0, "a line that the service prints\n")
    method, count = text.splitlines()
    assert method == (
        "predict: namespace 'server.TextAPI.predict/predict', version 'TextAPI.<lambda>', ttl=60"
    )
    assert count.startswith("nothing found")


@pytest.mark.parametrize("target", ["app.api:LanguageAPI", "app/api.py:LanguageAPI", "app.api:api"])
def test_check_shows_findings_and_says_so_by_its_code(project, target):
    code, text, _ = check(project, target)
    method, finding, count = text.splitlines()
    assert (code, count) == (1, "1 finding")
    assert method == "predict: namespace 'languages', version ''"
    assert finding.startswith(f"{Path('app', 'api.py')}:25: self.language: decode_request sets it")


def test_check_tells_programs(project):
    code, text, _ = check(project, "server:LanguageAPI", "--json")
    found = json.loads(text)
    assert (code, found["class"]) == (1, "server.LanguageAPI")
    (method,), (finding,) = found["methods"], found["findings"]
    assert method == {"method": "predict", "namespace": "languages", "version": "", "options": {}}
    assert (finding["file"], finding["line"], finding["cause"]) == ("server.py", 25, "state")


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("server", "'server' names no class; name it as module:Class"),
        ("server:", "'server:' names no class"),
        ("nowhere:API", "there is no module nowhere in "),
        ("nowhere.py:API", "there is no file "),
        (
            "server:TxtAPI",
            "server has no TxtAPI; its APIs are Base, TextAPI, LanguageAPI, P",
        ),
        ("server:number", "server:number is no litserve.LitAPI but 3"),
        ("server:PlainAPI", "PlainAPI caches nothing: put @cached_predict on its predict"),
        ("json:API", "json has no API; it has no LitAPI at all"),
        ("broken:API", "broken cannot be imported: ModuleNotFoundError: No module named 'gone'"),
        ("faulty.py:API", "faulty.py cannot be imported: SyntaxError: "),
        ("leaving:API", "leaving called sys.exit('usage: …') when it was imported; put what runs"),
    ],
)
def test_check_says_what_it_cannot_look_at(project, target, said):
    (project / "broken.py").write_text("import gone\n")
    (project / "faulty.py").write_text("class API(:\n")
    (project / "leaving.py").write_text("import sys\nsys.exit('usage: …')\n")
    code, text, error = check(project, target)
    assert (code, text) == (2, "")
    line = error.splitlines()[-1]
    assert line.startswith("litcache: ")
    assert said in line
