"""Committed notebooks: executed, light, in form; the tool that stores them, and the one that makes the site of them."""

from __future__ import annotations

import ast
import json
import re
import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import nbformat
import pandas as pd
import pytest
from conftest import ROOT
from scripts import script

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
APPS = sorted((ROOT / "notebooks" / "apps").glob("*.ipynb"))
HEAVIEST = 400_000  # bytes
LONGEST_CELL, MEDIAN_CELL, WORDS_PER_LINE, MOST_IMPORTS = 25, 5, 5, 4
LONGEST_LINE = 120
FOLDED = re.compile(r"<details><summary>Solution</summary>\n\n(?P<said>.*?)\n\n</details>", re.DOTALL)
FENCED = re.compile(r"^```(?P<language>\w*)\n(?P<code>.*?)^```$", re.DOTALL | re.MULTILINE)


def read(path: Path) -> Any:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    return notebook


def code_lines(source: str) -> list[str]:
    """The lines of a cell that are code, neither blank nor a comment."""
    return [line for line in source.splitlines() if line.strip() and not line.strip().startswith("#")]


def imports(notebook: Any) -> list[str]:
    """The import statements of a notebook; ``import drscale as ds`` with a line of its packages is one."""
    trees = [ast.parse(c.source) for c in notebook.cells if c.cell_type == "code"]
    found = [ast.unparse(n) for tree in trees for n in ast.walk(tree) if isinstance(n, ast.Import | ast.ImportFrom)]
    door, packages = "import drscale as ds", [line for line in found if line.startswith("from drscale import ")]
    return [line for line in found if line not in packages[:1]] if door in found else found


def faults_of_form(notebook: Any) -> list[str]:
    """What in a notebook is not as the plan of the house wants it."""
    cells = notebook.cells
    blocks = [b for c in cells if c.cell_type == "code" and (b := code_lines(c.source))]
    words = sum(len(c.source.split()) for c in cells if c.cell_type == "markdown")
    sizes = [len(b) for b in blocks]
    found = []
    if not cells or cells[0].cell_type != "markdown" or not cells[0].source.startswith("# "):
        found.append("it does not open with a title")
    elif not re.search(r"^[*_][^*_\n].*\?[*_]$", cells[0].source, flags=re.MULTILINE | re.DOTALL):
        found.append("its first cell asks no question in italics")
    if sizes and statistics.median(sizes) > MEDIAN_CELL:
        found.append(f"the median code cell has {statistics.median(sizes)} lines")
    if sizes and max(sizes) > LONGEST_CELL:
        found.append(f"the longest code cell has {max(sizes)} lines")
    if words < WORDS_PER_LINE * sum(sizes):
        found.append(f"{words} words of prose for {sum(sizes)} lines of code")
    if any(line.lstrip().startswith("class ") for block in blocks for line in block):
        found.append("it defines a class, which wants a room")
    if len(imports(notebook)) > MOST_IMPORTS:
        found.append(f"it has {len(imports(notebook))} imports, at most {MOST_IMPORTS} are allowed")
    return found


def faults_of_storage(notebook: Any) -> list[str]:
    """What in a notebook was not stored by ``make notebooks``."""
    code = [c for c in notebook.cells if c.cell_type == "code"]
    outputs = [o for c in code for o in c.outputs]
    found = []
    if notebook.metadata.get("kernelspec", {}).get("name") != "python3":
        found.append("kernelspec is not python3, so JupyterLab would ask for a kernel")
    if "widgets" in notebook.metadata:
        found.append("it holds widget state")
    if [c.execution_count for c in code] != list(range(1, len(code) + 1)):
        found.append("its cells were not executed once each, from top to bottom")
    if any(o.output_type == "error" for o in outputs):
        found.append("it holds an error")
    if any(o.output_type == "stream" and o.name == "stderr" for o in outputs):
        found.append("it holds what went to stderr")
    figures = [o.data for o in outputs if "application/vnd.plotly.v1+json" in o.get("data", {})]
    if not all("image/svg+xml" in data or "image/png" in data for data in figures):
        found.append("it holds a figure without a static image")
    return found


def faults_of_exercises(notebook: Any) -> list[str]:
    """What in 'Your turn' is not as the plan of the house wants it: numbered exercises, each with a folded solution."""
    texts = [c.source for c in notebook.cells if c.cell_type == "markdown"]
    if not texts or "## Your turn\n" not in texts[-1]:
        return ["its last words are no 'Your turn'"]
    turn = texts[-1].partition("## Your turn\n")[2]
    found = ["it has a section after 'Your turn'"] if re.search(r"^#+ ", FENCED.sub("", turn), re.MULTILINE) else []
    asked = re.split(
        r"^\d\. ", FOLDED.sub(lambda m: f"<details>{m['said'].strip() and '...'}", turn), flags=re.MULTILINE
    )
    numbers = re.findall(r"^(\d)\. ", FOLDED.sub("", turn), flags=re.MULTILINE)
    if numbers != [str(k) for k in range(1, len(numbers) + 1)] or len(numbers) < 2:
        found.append(
            f"its exercises are numbered {', '.join(numbers) or 'not at all'}; two or more are wanted, from 1 on"
        )
    found += [
        f"exercise {k}: {one.count('<details>...')} folded solutions"
        for k, one in enumerate(asked[1:], 1)
        if one.count("<details>...") != 1
    ]
    for k, solution in enumerate(FOLDED.finditer(turn), 1):
        said = solution["said"]
        blocks = [m["code"] for m in FENCED.finditer(said) if m["language"] == "python"]
        long = [line for block in blocks for line in block.splitlines() if len(line) > LONGEST_LINE]
        found += [f"solution {k}: a line of {len(line)} characters" for line in long]
        spans = re.findall(r"`([^`\n]+)`", FENCED.sub("", said))  # a name in a sentence is no code, a call is
        for code in [*blocks, *(span for span in spans if "(" in span)]:
            try:
                compile(code, "solution", "exec")
            except SyntaxError as e:
                found.append(f"solution {k}: {e.msg}: {code.splitlines()[0]}")
    return found


def test_there_are_notebooks() -> None:
    assert [p.name[:3] for p in NOTEBOOKS][:4] == ["01_", "02_", "03_", "04_"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.name)
def test_form(path: Path) -> None:
    assert faults_of_form(read(path)) == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.name)
def test_exercises_have_solutions(path: Path) -> None:
    assert faults_of_exercises(read(path)) == []


@pytest.mark.parametrize("path", APPS, ids=lambda p: p.name)
def test_apps_import_little_too(path: Path) -> None:
    made = read(path)
    assert len(imports(made)) <= MOST_IMPORTS
    setups = [
        ast.literal_eval(node.value) if isinstance(node.value, ast.Constant) else ast.unparse(node.value)
        for cell in made.cells
        if cell.cell_type == "code"
        for node in ast.walk(ast.parse(cell.source))
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "SETUP"
    ]
    assert setups
    for setup in setups:  # in the repository, and without it
        assert len(imports(notebook(setup))) <= 1


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.name)
def test_storage(path: Path) -> None:
    assert faults_of_storage(read(path)) == []
    assert path.stat().st_size < HEAVIEST


def test_the_start_page_lists_every_notebook() -> None:
    page = (ROOT / "notebooks" / "README.md").read_text()
    assert re.findall(r"^\| \[[^\]]*\]\(([^)]*\.ipynb)\)", page, flags=re.MULTILINE) == [p.name for p in NOTEBOOKS]


def test_jupyterlab_asks_nobody_for_news() -> None:
    """What the server that ``make lab`` starts gives as the default of JupyterLab's own settings."""
    utils = pytest.importorskip("jupyterlab_server.settings_utils")
    folder, schemas = ROOT / "notebooks" / ".lab", Path(sys.prefix) / "share" / "jupyter" / "lab" / "schemas"
    assert 'app_settings_dir="$(CURDIR)/notebooks/.lab"' in (ROOT / "Makefile").read_text()
    overrides = json.loads((folder / "overrides.json").read_text())
    for name, own in overrides.items():
        found, _ = utils.get_settings(str(folder), str(schemas), str(folder), name)
        for key, value in own.items():
            assert found["schema"]["properties"][key]["default"] == value


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_a_copy_for_a_class_keeps_its_paths_and_what_was_written_in_it(tmp_path: Path) -> None:
    words = ["make", "-s", "student", f"DIR={tmp_path / 'course'}"]
    subprocess.run(words, cwd=ROOT, check=True, capture_output=True)
    copies = tmp_path / "course" / "notebooks"
    assert sorted(p.name for p in copies.glob("*.ipynb")) == sorted(p.name for p in NOTEBOOKS)
    assert (copies / "../data/runs/docs-standard").resolve() == ROOT / "data" / "runs" / "docs-standard"
    (copies / NOTEBOOKS[0].name).write_text("mine")
    subprocess.run(words, cwd=ROOT, check=True, capture_output=True)
    assert (copies / NOTEBOOKS[0].name).read_text() == "mine"


def test_the_readme_lists_every_notebook() -> None:
    named = re.findall(
        r"^\| \[[^\]]*\]\(notebooks/([^)]*\.ipynb)\)", (ROOT / "README.md").read_text(), flags=re.MULTILINE
    )
    assert named == [p.name for p in NOTEBOOKS]


# ------------------------------------------------------------------------------------------ the checks and the tool


def notebook(*sources: str, question: str = "*How big is it?*") -> Any:
    v4 = nbformat.v4
    opening = v4.new_markdown_cell(f"# A title\n\n{question}\n\n" + "word " * 200)
    return v4.new_notebook(cells=[opening, *(v4.new_code_cell(s) for s in sources)])


@pytest.mark.parametrize(
    ("made", "fault"),
    [
        (notebook("a = 1"), []),
        (notebook("a = 1", question="How big?"), ["its first cell asks no question in italics"]),
        (notebook("class A:\n    pass"), ["it defines a class, which wants a room"]),
        (notebook("a = 1\n" * 6), ["the median code cell has 6 lines"]),
        (notebook(*["a = 1"] * 3, "a = 1\n" * 26), ["the longest code cell has 26 lines"]),
        (notebook(*["a = 1"] * 60), ["205 words of prose for 60 lines of code"]),
        (
            notebook("import a\nimport b\nimport c", "from d import e\nimport f"),
            ["it has 5 imports, at most 4 are allowed"],
        ),
        (notebook("import a\nimport b\nimport c", "import drscale as ds\nfrom drscale import laws"), []),
        (
            notebook("import a\nimport b\nimport c\nfrom drscale import x", "from drscale import laws"),
            ["it has 5 imports, at most 4 are allowed"],
        ),
        (nbformat.v4.new_notebook(), ["it does not open with a title"]),
    ],
)
def test_form_can_fail(made: Any, fault: list[str]) -> None:
    if fault and "words" in fault[0]:
        fault = [f"{len(made.cells[0].source.split())} words of prose for 60 lines of code"]
    assert faults_of_form(made) == fault


def turn(*parts: str) -> Any:
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("## Your turn\n\n" + "\n\n".join(parts))])


SOLVED = "<details><summary>Solution</summary>\n\n{}\n\n</details>"


@pytest.mark.parametrize(
    ("made", "fault"),
    [
        (turn("1. How?", SOLVED.format("`f(x)`."), "2. Why?", SOLVED.format("```python\na = 1\n```\n\nSo.")), []),
        (notebook("a = 1"), ["its last words are no 'Your turn'"]),
        (turn("Try."), ["its exercises are numbered not at all; two or more are wanted, from 1 on"]),
        (
            turn("1. How?", SOLVED.format("So.")),
            ["its exercises are numbered 1; two or more are wanted, from 1 on"],
        ),
        (turn("1. How?", SOLVED.format("So."), "2. Why?"), ["exercise 2: 0 folded solutions"]),
        (
            turn("1. How?", SOLVED.format("`f(x`"), "2. Why?", SOLVED.format("```python\na =\n```")),
            ["solution 1: '(' was never closed: f(x", "solution 2: invalid syntax: a ="],
        ),
        (
            turn("1. How?", SOLVED.format("So."), "2. Why?", SOLVED.format("So."), "## More"),
            ["it has a section after 'Your turn'"],
        ),
    ],
)
def test_exercises_can_fail(made: Any, fault: list[str]) -> None:
    assert faults_of_exercises(made) == fault


def test_storage_can_fail() -> None:
    made = notebook("a", "b")
    made.metadata.widgets = {}
    made.cells[1].outputs = [
        nbformat.v4.new_output("error", ename="E", evalue="", traceback=[]),
        nbformat.v4.new_output("stream", name="stderr", text="ah"),
        nbformat.v4.new_output("display_data", data={"application/vnd.plotly.v1+json": {}}),
    ]
    assert len(faults_of_storage(made)) == 6


@pytest.fixture(scope="module")
def build() -> ModuleType:
    return script("notebooks/build.py")


@pytest.fixture(scope="module")
def site() -> ModuleType:
    return script("docs/make_site.py")


def test_equal_figures_are_stored_equal(build: ModuleType) -> None:
    svg = '<svg><defs id="defs-{0}"/><g class="trace scatter trace{1}" clip-path="url(#clip{0}x)"/>{2}</svg>'
    one, same = (build.steady(svg.format(*names, "point")) for names in (("0a1b2c", "ffffff"), ("999999", "123456")))
    assert one == same
    assert one != build.steady(svg.format("0a1b2c", "ffffff", "line"))
    assert build.steady("<svg/>") == "<svg/>"


def test_what_draws_nothing_is_not_stored(build: ModuleType) -> None:
    made = '<svg><g class="a"><g class="b"/><g class="c"></g></g>'
    made += '<g class="d"><path style="opacity: 1; fill: red;"/><g/></g>'
    made += '<rect class="legendtoggle" x="0"/><path style="stroke: rgb(1, 2, 255); vector-effect: none;"/></svg>'
    kept = '<svg><g class="d"><path style=" fill: red;"/></g><path style="stroke: #0102ff;"/></svg>'
    assert build.lean(made) == kept
    assert build.lean(kept) == kept


def test_the_title_and_the_question_are_read(site: ModuleType) -> None:
    assert site.heading(notebook(question="*How big\nis it?*")) == ("A title", "How big is it?")
    assert site.heading(notebook(question="none")) == ("A title", "")


def test_a_figure_is_told_in_words(site: ModuleType) -> None:
    layout = {"xaxis": {"title": {"text": "N, <i>parameters</i>"}}, "yaxis": {"title": {"text": "entropy"}}}
    traces = [{"name": "in-domain"}, {"name": "in-domain"}, {"name": "fit", "showlegend": False}]
    figure = {"data": traces, "layout": layout | {"title": {"text": "Figure 2"}}}
    assert site.alt_text(figure) == "Figure 2. entropy against N, parameters. drawn: in-domain"
    assert site.alt_text({"data": [{"type": "bar"}]}) == "A figure of bar"
    assert len(site.alt_text({"data": [{"name": f"model {i}"} for i in range(99)]})) <= site.LONGEST_ALT


def test_a_figure_becomes_a_file_with_its_numbers(site: ModuleType, tmp_path: Path) -> None:
    made, data = notebook("figure"), {"x": [1, 2], "y": [3, 4], "type": "scatter", "name": 'the "fit"'}
    both = {site.SVG: "<svg/>", site.FIGURE: {"data": [data], "layout": {}}}
    made.cells[1].outputs = [nbformat.v4.new_output("display_data", both)]
    (output,) = site.with_figures(made, "01", tmp_path / "figures").cells[1].outputs
    assert 'src="../figures/01-1.svg" alt="drawn: the &quot;fit&quot;"' in output.data["text/html"]
    rows = (tmp_path / "figures" / "01-1.csv").read_text().splitlines()
    assert rows[1:] == ['"the ""fit""",1,3', '"the ""fit""",2,4']
    assert site.faults(output.data["text/html"], "page") == []
    assert 'src="figures/01-1.svg"' in site.card(made, "01", tmp_path / "figures")


@pytest.mark.parametrize(
    "page",
    [
        '<script src="https://cdn.example/x.js"></script>',
        '<link rel="stylesheet" href="//fonts.example/x.css">',
        '<script type="module">import x from "https://esm.example/x.js"</script>',
        "<style>@import url(https://fonts.example/x.css)</style>",
        '<img src="x.svg">',
    ],
)
def test_a_page_that_asks_another_host_is_a_fault(site: ModuleType, page: str) -> None:
    assert len(site.faults(page, "page")) == 1


def test_a_link_to_another_host_is_none(site: ModuleType) -> None:
    assert (
        site.faults('<a href="https://arxiv.org">x</a><img src="x.svg" alt=""><script src="x.js"></script>', "") == []
    )


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("<details><summary>Solution</summary>", None),  # a page hands over the two ends of a fold one by one
        ("</details>", None),
        ('<a href="#x" class="y">a &lt; b &#955;</a>', None),
        ('<td style="text-align: left">1</td>', None),
        ("a < b & c", "a &lt; b &amp; c"),
        ("<style>p { color: red }</style>a", "a"),
        ("<!-- said -->a", "a"),
        ("<script>f()</script>", "&lt;script&gt;f()&lt;/script&gt;"),
        ('<img src="x" onerror="f()">', '<img src="x">'),
        ('<img src="//host/x">', "<img>"),
        ('<p style="background: url(//host/x)">a', "<p>a"),
        ('<a href=" java\tscript:f()">a</a>', "<a>a</a>"),
        ('<a href="&#106;avascript:f()">a</a>', "<a>a</a>"),
        ('<a href="data:text/html,x">a</a>', "<a>a</a>"),
        ('<p title="&quot;><script>">a</p>', '<p title="&quot;&gt;&lt;script&gt;">a</p>'),
        ("<svg/onload=f()>", "&lt;svg/onload=f()&gt;"),
        ("<iframe srcdoc='x'>", "&lt;iframe srcdoc='x'&gt;"),
    ],
)
def test_a_page_keeps_what_draws_and_nothing_that_runs(given: str, kept: str | None) -> None:
    assert "".join(script("docs/conf.py").Harmless(given).parts) == (kept or given)


def test_the_reference_has_every_public_name(site: ModuleType, tmp_path: Path) -> None:
    site.reference(tmp_path)
    pages = {page.stem: page.read_text() for page in tmp_path.iterdir()}
    for module, names in site.public():
        assert [name for name in names if f":: {module}.{name}\n" not in pages[module]] == []
        assert f"   {module}\n" in pages["index"]


LIVE = "from drscale.laws.explore import law_explorer\n"
LIVE += "import numpy as np, pandas as pd\nn = np.geomspace(1e5, 1e7, 8)\n"
LIVE += "runs = pd.DataFrame({'params_layers': n, 'in_domain_entropy': (3e4 / n) ** 0.5 + 0.1})\nlaw_explorer(runs)"
FIGURE = "import plotly.graph_objects as go\ngo.Figure(go.Scatter(x=[1, 2], y=[3, 4]))"
WIDGET = "import ipywidgets\nipywidgets.IntSlider()"


@pytest.mark.browser
@pytest.mark.slow
def test_store_and_run(build: ModuleType, chromium: str, tmp_path: Path) -> None:
    paths = [tmp_path / f"{i}.ipynb" for i in (1, 2)]
    for path, cells in zip(paths, ((FIGURE, WIDGET, LIVE), (FIGURE,)), strict=True):
        nbformat.write(notebook(*cells), path)
    build.store(paths[:1])
    assert faults_of_storage(read(paths[0])) == []
    assert read(paths[0]).cells[2].outputs[0].data == {"text/plain": build.WIDGET_SAYS}
    picture, words = read(paths[0]).cells[3].outputs
    assert {"image/svg+xml", "application/vnd.plotly.v1+json"} < set(picture.data)
    assert "Beyond, up to" in words.data["text/markdown"]
    assert build.WIDGET_SAYS in words.data["text/markdown"]
    build.run(paths[1:])
    assert read(paths[1]).cells[1].outputs == [], "the run wrote into a notebook"


def test_a_failing_cell_fails_the_build(
    build: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "wrong.ipynb"
    nbformat.write(notebook("1 / 0"), path)
    before = path.read_bytes()
    for verb in ("store", "run"):
        monkeypatch.setattr("sys.argv", ["build.py", verb, str(path)])
        assert build.main() == 1
        assert "ZeroDivisionError" in capsys.readouterr().err
    assert path.read_bytes() == before
    monkeypatch.setattr("sys.argv", ["build.py", "store", str(tmp_path / "none.ipynb")])
    assert build.main() == 2


def test_a_notebook_is_found_by_its_bare_name(
    build: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[list[Path]] = []
    monkeypatch.setattr(build, "run", asked.append)
    monkeypatch.chdir(tmp_path)
    own = ROOT / "notebooks" / "03_size_law.ipynb"
    for name in ("03_size_law", "03_size_law.ipynb", str(own)):
        monkeypatch.setattr("sys.argv", ["build.py", "run", name])
        assert build.main() == 0
    assert asked == [[own]] * 3
    monkeypatch.setattr("sys.argv", ["build.py", "run", "03_size_lawn"])
    assert build.main() == 2
    assert "no such notebook" in capsys.readouterr().err


def run_on(path: Path, file: Path, monkeypatch: Any, change: tuple[str, str] = ("", "")) -> dict[str, Any]:
    """Run the code of bring_your_own on another file, from the notebooks' folder, and hand back its names."""
    monkeypatch.chdir(ROOT / "notebooks")
    names: dict[str, Any] = {"shown": []}
    names["display"] = names["shown"].append
    for cell in read(path).cells:
        if cell.cell_type == "code":
            source = re.sub(r'^FILE = ".*"', f"FILE = {str(file)!r}", cell.source, flags=re.MULTILINE)
            exec(source.replace(*change).replace("../build/own", str(file.parent)).replace(".pdf", ".html"), names)
    return names


def some_runs(tmp_path: Path, sizes: int, pairs: int) -> Path:
    table = pd.read_csv(ROOT / "data" / "examples" / "runs.csv")
    kept = {name: sorted(set(table[name]))[-n:] for name, n in (("parameters", sizes), ("pairs", pairs))}
    kept["parameters"] = sorted(set(table.loc[table["pairs"].isin(kept["pairs"]), "parameters"]))[-sizes:]
    part = table[table["parameters"].isin(kept["parameters"]) & table["pairs"].isin(kept["pairs"])]
    part.to_csv(tmp_path / "mine.csv", index=False)
    return tmp_path / "mine.csv"


@pytest.mark.parametrize(("sizes", "law", "shown"), [(4, "size_law", "Figure"), (6, "size_law", "Explorer")])
def test_your_own_runs_of_few_sizes_reach_the_paper(sizes, law, shown, tmp_path, monkeypatch) -> None:
    names = run_on(ROOT / "notebooks" / "bring_your_own.ipynb", some_runs(tmp_path, sizes, 1), monkeypatch)
    assert names["law"].__name__ == law
    assert [type(s).__name__ for s in names["shown"]] == [shown]
    assert {"figure.html", "law.tex"} <= {f.name for f in tmp_path.iterdir()}


def test_a_misspelt_column_of_your_own_is_named(tmp_path, monkeypatch) -> None:
    file = some_runs(tmp_path, 6, 1)
    with pytest.raises(KeyError, match="pears"):
        run_on(ROOT / "notebooks" / "bring_your_own.ipynb", file, monkeypatch, ('"pairs"', '"pears"'))
