"""A notebook in a real JupyterLab, driven by a real browser: the slider moves the curve and the sentence under it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

pytestmark = [pytest.mark.browser, pytest.mark.slow]

# Alone on its machine: no sandbox for root, no GPU, and nothing that asks the network.
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
FLAGS += ["--disable-component-update", "--disable-sync"]
SERVER = ["--no-browser", "--allow-root", "--LabApp.expose_app_in_browser=True", "--LabApp.news_url=None"]
SERVER += ["--ServerApp.ip=127.0.0.1", "--ServerApp.port_retries=0", "--ServerApp.terminals_enabled=False"]
SERVER += ["--IdentityProvider.token=", "--ServerApp.password=", "--ServerApp.disable_check_xsrf=True"]
SERVER += ["--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate", "--LabApp.extension_manager=readonly"]
IDLE = "() => window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'"
EXPLORER = ".jp-OutputArea-output:has(.widget-slider):has(.js-plotly-plot)"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a JupyterLab over a copy of the notebooks, with settings of its own."""
    home = tmp_path_factory.mktemp("lab")
    shutil.copytree(ROOT / "notebooks", home / "repository" / "notebooks")
    (home / "repository" / "data").symlink_to(ROOT / "data")
    folders = ("CONFIG_DIR", "DATA_DIR", "RUNTIME_DIR")
    places = {f"JUPYTER_{f}": str(home / f) for f in folders} | {"IPYTHONDIR": str(home / "ipython")}
    places |= {f"JUPYTERLAB_{f}_DIR": str(home / f) for f in ("SETTINGS", "WORKSPACES")}
    news = home / "SETTINGS" / "@jupyterlab" / "apputils-extension" / "notification.jupyterlab-settings"
    news.parent.mkdir(parents=True)
    news.write_text('{"fetchNews": "false", "checkForUpdates": false}')  # else a question covers the page
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    place = [f"--ServerApp.port={port}", f"--ServerApp.root_dir={home / 'repository'}"]
    with (home / "lab.log").open("w") as log:
        command = [sys.executable, "-m", "jupyterlab", *SERVER, *place]
        server = subprocess.Popen(command, env=os.environ | places, stdout=log, stderr=log, start_new_session=True)
    try:
        _wait(f"http://127.0.0.1:{port}/api/status", server, home / "lab.log")
        yield f"http://127.0.0.1:{port}/doc/tree/notebooks"
    finally:
        os.killpg(server.pid, signal.SIGTERM)  # a session of its own, so that the kernels go with it
        try:
            server.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def _wait(url: str, server: subprocess.Popen[bytes], log: Path, seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except OSError:
            if server.poll() is not None or time.monotonic() > end:
                pytest.fail(f"JupyterLab does not answer: {log.read_text()[-2000:]}")
            time.sleep(0.2)


@pytest.fixture(scope="module")
def running(chromium: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(running: Browser) -> Iterator[Page]:
    """A page that fails its test over an error which one of our cells or widgets writes to the console."""
    context = running.new_context(viewport={"width": 1300, "height": 1100})
    page, errors = context.new_page(), []

    def note(message: ConsoleMessage) -> None:
        if message.type == "error" and any(
            word in message.text for word in ("widget", "Widget", "plotly", "anywidget")
        ):
            errors.append(message.text)

    page.on("console", note)
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    context.close()
    assert errors == []


def run_all(page: Page, url: str) -> None:
    """Open a notebook, run every cell and wait until the kernel is idle again."""
    page.goto(url, wait_until="domcontentloaded")
    page.wait_for_function(IDLE, timeout=90_000)
    page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-all-cells')")
    page.wait_for_function(IDLE, timeout=120_000)


def curve(explorer: Any) -> list[str]:
    """The paths of every line that the explorer's figure draws."""
    paths: list[str] = explorer.locator("path.js-line").evaluate_all("lines => lines.map(p => p.getAttribute('d'))")
    return paths


def test_the_slider_moves_the_curve_and_the_sentence(lab: str, page: Page) -> None:
    name = next((ROOT / "notebooks").glob("03_*.ipynb")).name
    run_all(page, f"{lab}/{name}?reset")
    explorer = page.locator(EXPLORER).first
    explorer.scroll_into_view_if_needed()
    explorer.locator("path.js-line").first.wait_for(state="attached", timeout=60_000)
    before, said = curve(explorer), explorer.locator(".widget-html").all_inner_texts()
    assert before
    assert any(said)

    explorer.locator(".widget-slider .noUi-handle").first.focus()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    page.wait_for_function(
        """([selector, before, said]) => {
            const explorer = document.querySelector(selector);
            const paths = [...explorer.querySelectorAll('path.js-line')].map(p => p.getAttribute('d'));
            const words = [...explorer.querySelectorAll('.widget-html')].map(e => e.innerText).join();
            const cut = explorer.querySelector('.widget-readout').innerText;
            return paths.join() !== before.join() && words !== said.join() && words.includes(cut);
        }""",
        arg=[EXPLORER, before, said],
        timeout=30_000,
    )
    page.wait_for_function(IDLE, timeout=30_000)
    assert page.locator(".jp-OutputArea-output[data-mime-type='application/vnd.jupyter.stderr']").count() == 0
    (ROOT / "build").mkdir(exist_ok=True)
    page.screenshot(path=ROOT / "build" / "explorer.png")
