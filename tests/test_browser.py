"""Explorers in a real JupyterLab and in Voila, driven by a real browser: sliders move curves, sentences and plans."""

from __future__ import annotations

import ast
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
import urllib.request
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import nbformat
import pandas as pd
import plotly.graph_objects as go
import pytest
from conftest import ROOT
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, sync_playwright
from scripts import script

pytestmark = [pytest.mark.browser, pytest.mark.slow]

BUILD = ROOT / "build"
# Alone on its machine: no sandbox for root, no GPU, and nothing that asks the network.
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
FLAGS += ["--disable-component-update", "--disable-sync"]
LAB = ["jupyterlab", "--no-browser", "--allow-root", "--LabApp.expose_app_in_browser=True", "--LabApp.news_url=None"]
LAB += ["--ServerApp.ip=127.0.0.1", "--ServerApp.port_retries=0", "--ServerApp.terminals_enabled=False"]
LAB += ["--IdentityProvider.token=", "--ServerApp.password=", "--ServerApp.disable_check_xsrf=True"]
LAB += ["--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate", "--LabApp.extension_manager=readonly"]
TOKEN = "of-this-test"
VOILA = ["voila", ".", "--no-browser", "--Voila.ip=127.0.0.1", "--Voila.port_retries=0", "--preheat_kernel=False"]
VOILA += [f"--Voila.token={TOKEN}"]
IDLE = "() => window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'"
EXPLORER = ".jp-OutputArea-output:has(.widget-slider):has(.js-plotly-plot)"
APP = ".jupyter-widgets:has(.js-plotly-plot)"
PATIENCE = 300_000  # milliseconds until a figure stands; the machine may be busy
SLOWEST = 2000  # milliseconds of median latency that fail a test; what was measured is printed and kept
KEYS = 15
# Everything that the figure in an explorer draws, as one string.
DRAWN = """explorer => [...explorer.querySelectorAll('.scatterlayer path, .scatterlayer text')]
    .map(p => [p.getAttribute('d'), p.getAttribute('transform')]).join('|')"""
# From a key event on a slider's handle to the first frame in which the figure is another one, in milliseconds.
LATENCY = (
    """async ([selector, place, key]) => {
    const drawn = """
    + DRAWN
    + """;
    const explorer = document.querySelector(selector);
    const handle = explorer.querySelectorAll('.widget-slider .noUi-handle')[place];
    handle.focus();
    const before = drawn(explorer), start = performance.now();
    handle.dispatchEvent(new KeyboardEvent('keydown', {key, bubbles: true, cancelable: true}));
    return await new Promise((done, fail) => (function look() {
        if (drawn(explorer) !== before) return done(performance.now() - start);
        if (performance.now() - start > 20000) return fail(new Error('the figure stays as it was'));
        setTimeout(look, 0);
    })());
}"""
)


@contextmanager
def serving(command: list[str], folder: Path, home: Path, ready: str) -> Iterator[str]:
    """Run a Jupyter server with settings of its own until the block ends; hands out its address."""
    folders = ("CONFIG_DIR", "DATA_DIR", "RUNTIME_DIR")
    places = {f"JUPYTER_{f}": str(home / f) for f in folders} | {"IPYTHONDIR": str(home / "ipython")}
    places |= {f"JUPYTERLAB_{f}_DIR": str(home / f) for f in ("SETTINGS", "WORKSPACES")}
    places |= {"JUPYTER_PATH": str(folder)}
    news = home / "SETTINGS" / "@jupyterlab" / "apputils-extension" / "notification.jupyterlab-settings"
    news.parent.mkdir(parents=True)
    news.write_text('{"fetchNews": "false", "checkForUpdates": false}')  # else a question covers the page
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{s.getsockname()[1]}"
    option = "Voila" if command[0] == "voila" else "ServerApp"
    full = [sys.executable, "-m", *command, f"--{option}.port={address.partition(':')[2]}"]
    with (home / "log").open("w") as log:
        server = subprocess.Popen(
            full, cwd=folder, env=os.environ | places, stdout=log, stderr=log, start_new_session=True
        )
    try:
        _wait(f"http://{address}/{ready}", server, home / "log")
        yield f"http://{address}"
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
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            if server.poll() is not None or time.monotonic() > end:
                pytest.fail(f"the server does not answer: {log.read_text()[-2000:]}")
            time.sleep(0.2)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the notebooks beside our data."""
    place = tmp_path_factory.mktemp("repository")
    shutil.copytree(ROOT / "notebooks", place / "notebooks")
    (place / "data").symlink_to(ROOT / "data")
    return place


@pytest.fixture(scope="module")
def lab(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a JupyterLab's notebooks."""
    with serving(LAB, repository, tmp_path_factory.mktemp("lab"), "api/status") as address:
        yield f"{address}/doc/tree/notebooks"


@pytest.fixture(scope="module")
def voila(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the apps' index, as `make app` serves it."""
    apps, home = repository / "notebooks" / "apps", tmp_path_factory.mktemp("voila")
    with serving(VOILA, apps, home, f"?token={TOKEN}") as address:
        yield address


@pytest.fixture(scope="module")
def running(chromium: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(running: Browser) -> Iterator[Page]:
    """A page that fails its test over any error in the console and any request that leaves the machine."""
    context = running.new_context(viewport={"width": 1300, "height": 1200})
    page, errors = context.new_page(), []

    def note(message: ConsoleMessage) -> None:
        if message.type == "error":
            errors.append(message.text)

    page.on("console", note)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda r: None if _ours(r.url) else errors.append(f"asked for {r.url}"))
    yield page
    context.close()
    assert errors == []


def _ours(url: str) -> bool:
    return url.startswith(("http://127.0.0.1:", "ws://127.0.0.1:", "data:", "blob:"))


def names(node: ast.AST) -> tuple[set[str], set[str]]:
    """The names that code binds, or assigns a part of, and those that it takes from code before it.

    A method that changes its object is not seen; a cell that is missing shows no explorer, and the test fails.
    """
    bound, used = set(), set()
    if isinstance(node, ast.Name):
        (bound if isinstance(node.ctx, ast.Store) else used).add(node.id)
    elif isinstance(node, ast.alias):
        bound.add((node.asname or node.name).partition(".")[0])
    elif isinstance(node, ast.Module):
        for statement in node.body:
            here, taken = names(statement)
            used, bound = used | (taken - bound), bound | here
    else:
        parts = [names(part) for part in ast.iter_child_nodes(node)]
        bound, used = (set().union(*(part[i] for part in parts)) for i in (0, 1))
        if isinstance(node, ast.comprehension | ast.For):
            used -= names(node.target)[0]
        elif isinstance(node, ast.GeneratorExp | ast.ListComp | ast.SetComp | ast.DictComp):
            bound, used = set(), used - bound
        elif isinstance(node, ast.FunctionDef | ast.Lambda):
            inside = bound | {arg.arg for arg in ast.walk(node.args) if isinstance(arg, ast.arg)}
            bound, used = {node.name} if isinstance(node, ast.FunctionDef) else set(), used - inside
        elif isinstance(node, ast.Subscript | ast.Attribute) and isinstance(node.ctx, ast.Store):
            bound |= used
    return bound, used


def bare(place: Path, number: str) -> str:
    """Write a notebook's first explorer beside it, with the code that it needs; hands out the new one's name.

    The other cells are run by `make execute`; here their figures would only cost time.
    """
    path = next(place.glob(f"{number}_*.ipynb"))
    notebook = nbformat.read(path, as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    last = next(i for i, cell in enumerate(cells) if "ds.explore." in cell.source)
    kept, wanted = [cells[last]], names(ast.parse(cells[last].source))[1]
    for cell in reversed(cells[:last]):
        bound, used = names(ast.parse(cell.source))
        if bound & wanted:
            kept, wanted = [cell, *kept], wanted | used
    notebook.cells = kept
    nbformat.write(notebook, place / f"bare_{number}.ipynb")
    return f"bare_{number}.ipynb"


def run_all(page: Page, url: str) -> Locator:
    """Open a notebook in JupyterLab, run every cell, and find the explorer in it."""
    page.goto(url, wait_until="domcontentloaded")
    page.wait_for_function(IDLE, timeout=PATIENCE)
    page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-all-cells')")
    page.wait_for_function(IDLE, timeout=PATIENCE)
    return drawn(page)


def drawn(page: Page, selector: str = EXPLORER) -> Locator:
    """The explorer, once its figure stands."""
    explorer = page.locator(selector).first
    explorer.locator(".scatterlayer path").first.wait_for(state="attached", timeout=PATIENCE)
    explorer.scroll_into_view_if_needed()
    return explorer


def shown(explorer: Locator) -> tuple[str, str]:
    """What an explorer draws, and what it says."""
    return explorer.evaluate(DRAWN), "\n".join(explorer.locator(".widget-html").all_inner_texts())


def press(page: Page, explorer: Locator, slider: int, key: str, times: int = 1) -> None:
    explorer.locator(".widget-slider .noUi-handle").nth(slider).focus()
    for _ in range(times):
        page.keyboard.press(key)


def changed(explorer: Locator, before: tuple[str, str], words: Callable[[], str], seconds: float = 30) -> str:
    """Wait until the figure is another one and the words have what ``words`` says by then; hand out the words."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        figure, said = shown(explorer)
        if figure != before[0] and said != before[1] and words() in said:
            return said
        time.sleep(0.1)
    pytest.fail(f"the slider moved, and figure or words stayed: {words()!r} is not in {shown(explorer)[1]!r}")


def readout(explorer: Locator) -> str:
    """What the first slider says it is at."""
    return explorer.locator(".widget-slider .widget-readout").first.inner_text()


def measure(page: Page, name: str, slider: int = 0, selector: str = EXPLORER) -> None:
    """Time key presses to redrawn figures, print the median, and keep it in build/latency.json."""
    times = []
    for i in range(KEYS):
        times.append(page.evaluate(LATENCY, [selector, slider, "ArrowLeft" if i % 2 else "ArrowRight"]))
        page.wait_for_timeout(150)
    ordered = sorted(times)
    found = {"median": statistics.median(times), "least": ordered[0], "p90": ordered[round(0.9 * (KEYS - 1))]}
    print(f"\n{name}: key to redrawn figure, ms: " + ", ".join(f"{k} {v:.0f}" for k, v in found.items()))
    BUILD.mkdir(exist_ok=True)
    kept = BUILD / "latency.json"
    known = json.loads(kept.read_text()) if kept.exists() else {}
    kept.write_text(json.dumps(known | {name: {k: round(v) for k, v in found.items()}}, indent=1) + "\n")
    assert found["median"] < SLOWEST


@pytest.mark.parametrize(
    ("source", "bound", "used"),
    [
        ("import numpy as np\nfrom a.b import c, d as e", {"np", "c", "e"}, set()),
        ("x = x + [y for y in z]", {"x"}, {"x", "z"}),
        ("t = 1\nprint(t, u)", {"t"}, {"print", "u"}),
        ("for form, side in cases:\n    table[form] = side", {"form", "side", "table"}, {"cases", "table"}),
        ("def f(a, b=c):\n    return a + d", {"f"}, {"c", "d"}),
    ],
)
def test_what_a_cell_binds_and_uses(source: str, bound: set[str], used: set[str]) -> None:
    found = names(ast.parse(source))
    assert used == found[1]
    assert bound == found[0]


def test_the_law_explorer_in_its_notebook(lab: str, repository: Path, page: Page) -> None:
    explorer = run_all(page, f"{lab}/{bare(repository / 'notebooks', '03')}?reset")
    before = shown(explorer)
    press(page, explorer, 0, "ArrowLeft", 2)
    changed(explorer, before, lambda: f"fitted up to {readout(explorer)}:")
    assert page.locator(".jp-OutputArea-output[data-mime-type='application/vnd.jupyter.stderr']").count() == 0
    measure(page, "law explorer in JupyterLab")
    page.screenshot(path=BUILD / "law.png")


def test_the_budget_explorer_in_its_notebook(lab: str, repository: Path, page: Page) -> None:
    explorer = run_all(page, f"{lab}/{bare(repository / 'notebooks', '07')}?reset")
    before = shown(explorer)
    plans = explorer.locator(".scatterlayer .trace:last-child .points path")
    places = plans.evaluate_all("points => points.map(p => p.getAttribute('transform'))")
    press(page, explorer, 0, "ArrowRight", 3)
    changed(explorer, before, lambda: f"{readout(explorer)} buys")
    moved = plans.evaluate_all("points => points.map(p => p.getAttribute('transform'))")
    assert places
    assert all(a != b for a, b in zip(places, moved, strict=True)), "the best plan stays where it was"

    code = explorer.get_by_text("These settings as code")
    code.click()
    budget = float(readout(explorer).removeprefix("$").replace(",", ""))
    assert f"budget={budget}" in explorer.locator("textarea").input_value()
    code.click()
    measure(page, "budget explorer in JupyterLab")
    page.screenshot(path=BUILD / "explorer.png")


# Every name and text of a table is hostile, and so is the name of the measure.
HOSTILE = """\
import drscale as ds
from drscale import frontier
from drscale.plotting.live import LiveFigure
from IPython.display import display

EVIL = '<script>hit()</script><img src=x onerror="hit()"><a href="javascript:hit()">go</a><svg onload="hit()">'
runs, y = ds.example_runs(), "loss" + EVIL
for column in ("key", "texts", "rung", "strategy", "fingerprint"):
    runs[column] = runs[column].astype(str) + EVIL
for end in ("", "_low", "_high"):
    runs[y + end] = runs["in_domain_entropy" + end]
fit = ds.fit_law(runs, ds.joint_law, y=y, warn=False)
plan = ds.allocate(fit.curve(100), budget=5000, prices=ds.paper_prices())
display(fit, plan, ds.choose_law(runs, y), fit.table())
for figure in (ds.plot.series(runs, ds.data_law, y=y, by="rung", warn=False), ds.plot.front(runs, y, "ood_entropy")):
    display(LiveFigure(figure))
display(ds.explore.law(runs))
display(ds.explore.budget({EVIL: fit.curve(100)}, ds.paper_prices()))
display(ds.explore.front(frontier.draw(runs, [y, "ood_entropy"], pool=("rung", "train_pairs"), n_boot=100)))
"""
# What a hostile text would have become in the page.
BECOME = """() => [...document.querySelectorAll('img[onerror], svg[onload], a')].filter(e =>
    e.tagName.toUpperCase() !== 'A' ||
    [e.getAttribute('href'), e.getAttribute('xlink:href')].some(h => (h || '').trim().startsWith('javascript')))
    .map(e => e.outerHTML)"""


EVIL = '<script>hit()</script></script><img src=x alt="" onerror="hit()"><a href="javascript:hit()">go</a>'
EVIL += '<svg onload="hit()">'
PHONE = 390  # pixels


def hostile_notebook() -> nbformat.NotebookNode:
    """A stored notebook with hostile names wherever a name may stand: sentences, tables, figures, what is printed."""
    v4, table = nbformat.v4, pd.DataFrame({EVIL: [EVIL, "fine"], "law": ["a < b", EVIL]}, index=[EVIL, "b"])
    figure = go.Figure(go.Scatter(x=[1, 2], y=[3, 4], name=EVIL), {"title": {"text": EVIL}, "xaxis": {"title": EVIL}})
    shown = [
        {"text/plain": EVIL, "text/markdown": f"**The best is {EVIL}.** `{EVIL}`\n\n{EVIL}"},
        {"text/plain": "", "text/html": table.to_html()},
        {"text/plain": "", "text/html": table.style.format("{} !").to_html()},  # pandas escapes nothing here
        {"image/svg+xml": f"<svg xmlns='http://www.w3.org/2000/svg'>{EVIL}</svg>", "text/plain": ""}
        | {"application/vnd.plotly.v1+json": json.loads(figure.to_json())},
    ]
    outputs = [v4.new_output("display_data", data) for data in shown]
    cell = v4.new_code_cell("runs", outputs=[*outputs, v4.new_output("stream", text=EVIL)])
    words = [f"# Names {EVIL}\n\n*Which run {EVIL}?*", f"A run called {EVIL}\n\n{EVIL}\n\n| a |\n| - |\n| {EVIL} |"]
    language = {"kernelspec": {"name": "python3", "display_name": "Python 3"}, "language_info": {"name": "python"}}
    return v4.new_notebook(cells=[*map(v4.new_markdown_cell, words), cell], metadata=language)


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a site of three notebooks, one of them hostile, beside all the other pages but the reference."""
    pytest.importorskip("sphinx", reason="the site needs the extra docs")
    site = script("docs/make_site.py")
    site.reference = lambda folder: (folder.mkdir(), (folder / "index.rst").write_text("Reference\n=========\n"))
    place = tmp_path_factory.mktemp("site")
    nbformat.write(hostile_notebook(), place / "hostile.ipynb")
    kept = [next((ROOT / "notebooks").glob(f"{number}_*.ipynb")) for number in ("05", "11")]  # the widest
    with warnings.catch_warnings():  # Sphinx and its theme warn of each other's next versions
        warnings.simplefilter("ignore")
        assert site.build(place / "book", [*kept, place / "hostile.ipynb"]) == 0
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=place / "book")) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def phone(running: Browser) -> Iterator[Page]:
    """A page as wide as a phone, moved by a finger."""
    context = running.new_context(viewport={"width": PHONE, "height": 844}, is_mobile=True, has_touch=True)
    yield context.new_page()
    context.close()


def test_the_site_runs_no_name(book: str, running: Browser) -> None:
    context = running.new_context(viewport={"width": 1300, "height": 1200})
    page, said, asked = context.new_page(), [], []
    page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
    page.on("request", lambda r: None if _ours(r.url) else asked.append(r.url))
    page.add_init_script("window.hits = 0; window.hit = () => { window.hits += 1; }")
    for name in ("notebooks/hostile.html", "index.html", "search.html?q=hit"):
        page.goto(f"{book}/{name}", wait_until="load")
        page.wait_for_timeout(500)
        text = page.locator("body").inner_text()
        assert page.evaluate("window.hits") == 0, name
        assert page.evaluate(BECOME) == [], name
        assert "<script>hit()</script>" in text or name.startswith("search")
        if name.startswith("notebooks"):
            page.screenshot(path=BUILD / "hostile_site.png", full_page=True)
            assert text.count("<script>hit()</script>") > 9, "sentences, tables and figures show the names as they are"
            words = page.locator("figure.drawn img").get_attribute("alt")
            assert words is not None
            assert "hit()" in words
    assert said == asked == []
    context.close()


@pytest.mark.parametrize(
    "name", ["index", "notebooks/05_published_laws", "notebooks/11_strategies", "docs/command_line"]
)
def test_the_site_fits_a_phone(book: str, phone: Page, name: str) -> None:
    phone.goto(f"{book}/{name}.html", wait_until="load")
    assert phone.evaluate("document.documentElement.scrollWidth") <= PHONE + 10
    figures = phone.locator("figure.drawn").all()
    assert len(figures) > 2 or not name.startswith("notebooks")
    for figure in figures:  # readable, so wider than the page, in a box that scrolls
        box, image = figure.bounding_box(), figure.locator("img").bounding_box()
        assert box is not None
        assert image is not None
        assert box["x"] + box["width"] <= PHONE < image["width"]
    phone.screenshot(path=BUILD / f"phone_{Path(name).name}.png")


def test_hostile_names_stay_texts(running: Browser, tmp_path_factory: pytest.TempPathFactory) -> None:
    context = running.new_context(viewport={"width": 1300, "height": 1200})
    page, asked = context.new_page(), []
    page.on("request", lambda r: None if _ours(r.url) else asked.append(r.url))
    apps, home = tmp_path_factory.mktemp("hostile") / "one" / "apps", tmp_path_factory.mktemp("home")
    shutil.copytree(ROOT / "notebooks" / "apps", apps)
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(HOSTILE)]), apps / "hostile.ipynb")
    page.add_init_script("window.hits = 0; window.hit = () => { window.hits += 1; }")
    with serving(VOILA, apps, home, f"?token={TOKEN}") as address:
        page.goto(
            f"{address}/voila/render/hostile.ipynb?token={TOKEN}", wait_until="domcontentloaded", timeout=PATIENCE
        )
        page.locator(".js-plotly-plot .scatterlayer path").nth(4).wait_for(state="attached", timeout=PATIENCE)
        figures = page.locator(".js-plotly-plot")
        page.wait_for_function(
            "document.querySelectorAll('.js-plotly-plot .scatterlayer').length >= 5", timeout=PATIENCE
        )
        labels = []
        for figure in figures.all():
            figure.scroll_into_view_if_needed()
            for point in figure.locator(".scatterlayer .points path").all()[:40:8]:
                point.hover(force=True)
                page.wait_for_timeout(150)
                labels += figure.locator(".hoverlayer text").all_text_contents()
        page.screenshot(path=BUILD / "hostile.png", full_page=True)
        text = page.locator("body").inner_text()
        assert page.evaluate("window.hits") == 0
        assert page.evaluate(BECOME) == []
        assert text.count("<script>hit()</script>") > 5, "the tables show the names as they are"
        assert any("hit()" in label for label in labels), labels[:9]
        assert asked == []
        context.close()  # before the server goes


def test_apps_from_their_index(voila: str, page: Page) -> None:
    explorer = app(page, voila, "What nothing beats", ".widget-select-multiple")
    before = shown(explorer)
    explorer.locator("select").nth(1).select_option("In-domain nDCG@10")
    changed(explorer, before, lambda: "In-domain nDCG@10")
    page.screenshot(path=BUILD / "frontier.png")
    page.get_by_text("All explorers").click()
    page.wait_for_url(f"{voila}/**", wait_until="domcontentloaded")
    assert page.locator("li a").all_inner_texts() == ["What to buy", "What nothing beats", "What a law is worth"]
    explorer = app(page, voila, "What to buy", ".widget-slider")
    before = shown(explorer)
    press(page, explorer, 0, "ArrowLeft")
    changed(explorer, before, lambda: f"{readout(explorer)} buys")
    measure(page, "budget explorer in Voila", selector=f"{APP}:has(.widget-slider)")
    page.screenshot(path=BUILD / "app.png", full_page=True)


# The right ends, in pixels, of what an explorer shows: its controls, what sliders say, and the box of its figure.
ENDS = """explorer => [...explorer.querySelectorAll('.widget-inline-hbox, .widget-readout, .widget-dropdown select'),
    explorer.querySelector('.js-plotly-plot').parentElement].map(e => e.getBoundingClientRect())
    .filter(box => box.width > 0).map(box => Math.round(box.right))"""


@pytest.mark.parametrize(
    ("title", "control", "panels"),
    [
        ("What to buy", ".widget-slider", 2),
        ("What nothing beats", ".widget-select-multiple", 1),
        ("What a law is worth", ".widget-slider", 1),
    ],
)
def test_an_app_fits_a_phone(voila: str, phone: Page, title: str, control: str, panels: int) -> None:
    explorer = app(phone, voila, title, control)
    phone.wait_for_timeout(1000)
    assert phone.evaluate("document.documentElement.scrollWidth") <= PHONE + 10
    assert max(explorer.evaluate(ENDS)) <= PHONE
    said = explorer.locator(".widget-readout").evaluate_all("all => all.map(e => e.scrollWidth - e.clientWidth)")
    assert max(said, default=0) <= 2, "a slider's value is cut"
    width = float(explorer.locator(".main-svg").first.get_attribute("width") or 0)
    assert width <= PHONE if panels == 1 else PHONE < width < 700  # two panels scroll in their own box
    phone.screenshot(path=BUILD / f"phone_{control.strip('.')}_{panels}.png")


def app(page: Page, index: str, title: str, control: str) -> Locator:
    """Open an app by its title in the index, and find its explorer."""
    page.goto(f"{index}/?token={TOKEN}", wait_until="domcontentloaded", timeout=PATIENCE)
    page.get_by_text(title).click()
    return drawn(page, f"{APP}:has({control})")
