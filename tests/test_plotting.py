"""Figures show what the table says, exports are what a paper needs."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import shutil
import struct
import subprocess
import sys
import xml.etree.ElementTree as ET
import zlib

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from synthetic import WIDTHS, size_table, study

from drscale.evaluate.plot import domain_figure
from drscale.frontier.plot import frontier_figure, joint_figure
from drscale.frontier.tradeoff import dragon_figure, dragon_points
from drscale.geometry.plot import relation_figure
from drscale.laws import fit as laws
from drscale.laws import intervals as trust
from drscale.laws import plot as figures
from drscale.papers import published
from drscale.plotting import files as export
from drscale.plotting import parts, plane, style
from drscale.recipe import STRATEGIES
from drscale.runs import RunStore, example_runs
from drscale.training.plot import curve_figure

needs_browser = pytest.mark.skipif(export.browser() is None, reason="no browser: apt-get install chromium")
needs_poppler = pytest.mark.skipif(
    shutil.which("pdffonts") is None, reason="no pdffonts: apt-get install poppler-utils"
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> RunStore:
    return study(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def sizes(store: RunStore) -> pd.DataFrame:
    table = store.table()
    return table[table["pairs"] == 0]


@pytest.fixture(scope="module")
def amounts(store: RunStore) -> pd.DataFrame:
    table = store.table()
    return table[table["rung"] == "L2H192"]


@pytest.fixture(scope="module", autouse=True)
def _no_browser_left():
    yield
    export.close()


def named(fig: go.Figure, name: str) -> go.Scatter:
    (found,) = [t for t in fig.data if t.name == name]
    return found


# Figures


def test_a_scope_without_a_colour_of_its_own_is_drawn_in_words(sizes):
    extra = sizes.assign(**{"stability:misspelling_entropy": sizes["in_domain_entropy"] + 0.1})
    fig = figures.size_figure(extra, scopes=("in_domain", "stability:misspelling"))
    assert any("stability, misspelling" in (trace.name or "") for trace in fig.data)


def test_size_figure_draws_means_runs_and_the_fitted_curve(sizes):
    fig = figures.size_figure(sizes)
    column = "ood_entropy"
    means = sizes.groupby("params_layers")[column].mean()
    drawn = named(fig, "Out-of-domain")
    assert drawn.x == pytest.approx(means.index)
    assert drawn.y == pytest.approx(means)
    high = sizes.groupby("params_layers")[f"{column}_high"].mean()
    assert drawn.error_y.array == pytest.approx((high - means).to_numpy())
    assert sorted(named(fig, "ood runs").y) == pytest.approx(sorted(sizes[column]))
    curve = named(fig, "ood, fitted")
    result = laws.fit_law(sizes, laws.size_law, y=column, warn=False)
    inside = ~np.isnan(np.array(curve.y))
    expected = laws.size_law(np.array(curve.x)[inside], **result.best_values)
    assert np.array(curve.y)[inside] == pytest.approx(expected)
    assert fig.layout.xaxis.type == "log"
    assert "parameters N" in fig.layout.xaxis.title.text
    assert fig.layout.yaxis.title.text.endswith("(nats)")
    assert "mean of %{customdata[0]} runs" in drawn.hovertemplate


def test_the_scopes_differ_in_colour_and_marker(sizes):
    for dark in (False, True):
        fig = figures.size_figure(sizes, dark=dark)
        a, b = named(fig, "In-domain").marker, named(fig, "Out-of-domain").marker
        assert a.color != b.color
        assert a.symbol != b.symbol


def test_the_curve_is_dashed_only_where_it_extrapolates(sizes):
    top = sizes["params_layers"].max()
    fig = figures.size_figure(sizes)
    solid, dashed = named(fig, "ood, fitted"), named(fig, "ood, extrapolated")
    x = np.array(solid.x)
    assert x[~np.isnan(np.array(solid.y))].max() == pytest.approx(top)
    assert x[~np.isnan(np.array(dashed.y))].min() == pytest.approx(top)
    assert dashed.line.dash not in (None, "solid")


def test_held_out_points_are_open_and_do_not_move_the_curve(sizes):
    levels = sorted(set(sizes["params_layers"]))
    fig = figures.size_figure(sizes, above=levels[-3])
    held = named(fig, "ood held out")
    assert held.x == pytest.approx(levels[-2:])
    assert held.marker.symbol.endswith("-open")
    assert named(fig, "Out-of-domain").x == pytest.approx(levels[:-2])
    bent = sizes.assign(ood_entropy=np.where(sizes["params_layers"] > levels[-3], 9.0, sizes["ood_entropy"]))
    again = figures.size_figure(bent, above=levels[-3])
    assert np.array(named(again, "ood, fitted").y) == pytest.approx(np.array(named(fig, "ood, fitted").y), nan_ok=True)
    assert "held out" in [t.name for t in fig.data if t.showlegend is not False]


def test_data_figure_labels_the_levels_and_takes_the_calibrated_entropy(amounts):
    fig = figures.data_figure(amounts, "calibrated", log_y=True)
    assert fig.layout.xaxis.ticktext == ("550", "1.1K", "2.2K", "4.4K", "8.8K", "17.6K")
    assert fig.layout.yaxis.type == "log"
    assert fig.layout.yaxis.title.text == "Calibrated contrastive entropy (nats)"
    assert named(fig, "In-domain").y == pytest.approx(amounts.groupby("train_pairs")["in_domain_calibrated"].mean())


def test_chance_appears_where_it_is_in_range(sizes):
    def words(fig):
        return [a.text for a in fig.layout.annotations]

    assert words(figures.size_figure(sizes)) == []
    for log_y in (False, True):
        fig = figures.size_figure(sizes.assign(ood_entropy=sizes["ood_entropy"] * 1.2), log_y=log_y)
        assert words(fig) == ["chance, ln 257"]
        assert fig.layout.shapes[0].y0 == pytest.approx(5.549, abs=1e-3)
        low, high = fig.layout.yaxis.range
        assert low < fig.layout.annotations[0].y < high


def test_synthetic_runs_say_so_and_measured_ones_do_not(sizes):
    assert "SYNTHETIC" in figures.size_figure(sizes).layout.title.text
    assert figures.size_figure(sizes.assign(synthetic=False)).layout.title.text is None


def test_a_table_of_ones_own_needs_two_columns():
    table = size_table()[["params_layers", "in_domain_entropy"]]
    fig = figures.size_figure(table)
    assert [t.name for t in fig.data if t.showlegend is not False] == ["In-domain"]
    with pytest.raises(ValueError, match="measure='speed': the table has no column in_domain_speed, ood_speed"):
        figures.size_figure(table, "speed")
    assert all(t.y is None or len(t.y) == 0 for t in figures.size_figure(table, fitted=False).data[:3])


def test_curve_figure_orders_rungs_and_joins_seeds(store):
    curves = store.curves()
    ladder = curves[~curves["key"].str.contains("pairs=")]
    fig = curve_figure(ladder)
    assert len(fig.data) == 2 * len(WIDTHS)
    assert [t.name for t in fig.data if t.showlegend] == [f"L2H{w}" for w in WIDTHS]
    assert fig.data[0].line.color != fig.data[-1].line.color
    assert fig.data[0].line.color == fig.data[1].line.color
    dashes = {t.name: t.line.dash for t in fig.data}
    assert [d == "solid" for d in dashes.values()] == [len(WIDTHS) < 7 or i % 2 == 0 for i in range(len(WIDTHS))]
    with pytest.raises(ValueError, match="curves has no column 'speed'; it has key, step, loss, validation"):
        curve_figure(curves, "speed")
    assert any("550 pairs" in t.name for t in curve_figure(curves, "loss").data)


def test_domain_figure_sorts_and_names(store):
    keys = {f"texts=docs,rung=L2H{w}": str(w) for w in (12, 256)}
    fig = domain_figure(store.domains(), keys)
    assert [t.name for t in fig.data] == ["12", "256"]
    assert set(fig.data[0].y) == {"in-domain", "numpy", "scipy"}
    assert list(fig.data[0].x) == sorted(fig.data[0].x, reverse=True)
    assert fig.data[0].marker.symbol != fig.data[1].marker.symbol
    with pytest.raises(ValueError, match="keys: no run 'x' with entropy"):
        domain_figure(store.domains(), ["x"])
    with pytest.raises(ValueError, match="metric='speed': not among the measured ones, calibrated, entropy, ndcg10"):
        domain_figure(store.domains(), None, "speed")


def test_counts_read_as_people_say_them():
    said = {950: "950", 1000: "1K", 17600: "17.6K", 999_600: "1M", 1.28e6: "1.28M", 2.3e9: "2.3B", 30e12: "30T"}
    assert {v: style.count_text(v) for v in said} == said


@pytest.mark.parametrize("ends", [(3e3, 2e6), (1.2, 1.3), (0.04, 0.7), (500, 18_000), (4.0, 4.001)])
def test_log_ticks_are_few_and_inside(ends):
    ticks = style.log_ticks(*ends)
    assert 4 <= len(ticks) <= 9
    assert ends[0] * 0.99 <= min(ticks)
    assert max(ticks) <= ends[1] * 1.01


# Export


@needs_browser
@needs_poppler
@pytest.mark.parametrize(("width", "points"), [("column", 240), ("page", 504), (5.0, 360)])
def test_a_pdf_has_the_papers_width_real_text_and_embedded_fonts(sizes, tmp_path, width, points):
    path = export.export(figures.size_figure(sizes), tmp_path / "fig2.pdf", width)
    info = subprocess.run(["pdfinfo", path], check=True, capture_output=True, text=True).stdout
    page = re.search(r"Page size:\s+([\d.]+) x ([\d.]+)", info)
    assert float(page[1]) == pytest.approx(points, abs=1)
    assert "Pages:           1" in info
    fonts = subprocess.run(["pdffonts", path], check=True, capture_output=True, text=True).stdout.splitlines()[2:]
    assert fonts
    assert all(line.split()[-5] == "yes" for line in fonts), fonts
    text = subprocess.run(["pdftotext", path, "-"], check=True, capture_output=True, text=True).stdout
    for words in ("Out-of-domain", "Contrastive entropy (nats)", "SYNTHETIC", "100K"):
        assert words in text


INKS = {"left": (220, 0, 0), "bottom": (0, 130, 0), "right": (0, 0, 220), "title": (200, 0, 200)}


def titled() -> go.Figure:
    """A figure with a title on each side, in an ink of its own."""
    said = {side: {"text": f"The {side}gy", "font": {"color": f"rgb{ink}"}} for side, ink in INKS.items()}
    y2 = {"title": said["right"], "overlaying": "y", "side": "right"}
    layout = {"title": said["title"], "xaxis_title": said["bottom"], "yaxis_title": said["left"], "yaxis2": y2}
    look = {"x": [1, 2], "line": {"color": "grey"}, "showlegend": False}
    lines = [go.Scatter(y=[1, 2], **look), go.Scatter(y=[2, 1], yaxis="y2", **look)]
    return go.Figure(lines, layout=layout | {"template": style.template(False)})


def ppm(data: bytes) -> np.ndarray:
    _, wide, high, _ = data.split(maxsplit=4)[:4]
    return np.frombuffer(data[-int(wide) * int(high) * 3 :], np.uint8).reshape(int(high), int(wide), 3)


def png(data: bytes) -> np.ndarray:
    """A PNG of 8 bits a channel as an array; no library that reads images is needed for the rest."""
    wide, high, _, kind = struct.unpack(">IIBB", data[16:26])
    at, packed, depth = 8, b"", {2: 3, 6: 4}[kind]
    while at < len(data):
        (size,), name = struct.unpack(">I", data[at : at + 4]), data[at + 4 : at + 8]
        packed += data[at + 8 : at + 8 + size] if name == b"IDAT" else b""
        at += 12 + size
    lines = np.frombuffer(zlib.decompress(packed), np.uint8).reshape(high, 1 + wide * depth).astype(int)
    rows, above = [], [0] * (wide * depth + depth)
    for how, *line in lines.tolist():
        row = [0] * depth  # what is left of the first pixel
        for i, v in enumerate(line):
            a, b, c = row[i], above[i + depth], above[i]
            p = a + b - c
            near = min((abs(p - a), 0, a), (abs(p - b), 1, b), (abs(p - c), 2, c))[2]
            row.append(v + (0, a, b, (a + b) // 2, near)[how] & 255)
        rows.append(row[depth:])
        above = row
    return np.array(rows).reshape(high, wide, depth)[:, :, :3]


def boxes(pixels: np.ndarray) -> dict[str, list[int]]:
    """Where each side's title is inked: left, right, top and bottom, in pixels."""
    colour = 255 - pixels.astype(float)
    coloured = np.ptp(pixels.astype(int), axis=2) > 50
    inks = 255 - np.array(list(INKS.values()), dtype=float)
    cosines = colour @ inks.T / np.maximum(np.linalg.norm(colour, axis=2), 1)[..., None] / np.linalg.norm(inks, axis=1)
    found = {}
    for i, side in enumerate(INKS):
        rows, columns = np.nonzero(coloured & (cosines.argmax(axis=2) == i))
        assert rows.size, f"no ink of the {side} title"
        found[side] = [columns.min(), columns.max(), rows.min(), rows.max()]
    return found


@needs_browser
@needs_poppler
@pytest.mark.parametrize("width", ["column", "page"])
def test_a_pdf_is_cut_on_no_side(tmp_path, monkeypatch, width):
    monkeypatch.setattr(export, "DOTS", 192)
    pdf, image = export.export_all({tmp_path / "a.pdf": titled(), tmp_path / "a.png": titled()}, width, height=1.5)
    page = subprocess.run(["pdftoppm", "-r", "192", pdf], check=True, capture_output=True).stdout
    printed, drawn = boxes(ppm(page)), boxes(png(image.read_bytes()))
    for side in INKS:
        assert printed[side] == pytest.approx(drawn[side], abs=2.5), side


@needs_browser
def test_the_browser_closes_before_its_profile_is_deleted(tmp_path):
    """tempfile at the program's end took the profile of a browser that still wrote to it: OSError, 'Default'."""
    script = (
        "import tempfile, weakref, plotly.graph_objects as go\n"
        "from drscale.plotting import files as export\n"
        "remove = tempfile.TemporaryDirectory._cleanup.__func__\n"
        "late = classmethod(lambda *a, **k: (print('deleted late'), remove(*a, **k)))\n"
        "tempfile.TemporaryDirectory._cleanup = late\n"
        "export.draw(go.Figure(layout={'width': 300, 'height': 200}), 'png')\n"
        "weakref.finalize(export, print, 'finalizers run')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("finalizers run\n", "")


@needs_browser
def test_svg_and_png_have_the_size_asked_for(amounts, tmp_path):
    fig = figures.data_figure(amounts)
    svg, png = export.export_all({tmp_path / "b.svg": fig, tmp_path / "b.png": fig})
    root = ET.fromstring(svg.read_text())
    assert float(root.attrib["width"]) == pytest.approx(3.33 * 96, abs=1)
    assert "Training pairs D" in svg.read_text()
    sizes = [float(v) for v in re.findall(r"font-size: ([\d.]+)px", svg.read_text())]
    assert min(sizes) * 0.75 >= 7
    header = png.read_bytes()[:24]
    assert header[:8] == b"\x89PNG\r\n\x1a\n"
    assert int.from_bytes(header[16:20]) == pytest.approx(3.33 * 300, abs=4)


@needs_browser
def test_one_browser_serves_many_figures(tmp_path, monkeypatch):
    import kaleido

    opened, really_open = [], kaleido.Kaleido.open

    async def counted(self):
        opened.append(self)
        return await really_open(self)

    export.close()
    monkeypatch.setattr(kaleido.Kaleido, "open", counted)
    fig = go.Figure(go.Scatter(x=[1, 2], y=[2, 1]))
    export.export_all({tmp_path / f"{i}.svg": fig for i in range(3)})
    export.export(fig, tmp_path / "last.png")
    assert len(list(tmp_path.iterdir())) == 4
    assert len(opened) == 1


def test_print_size_keeps_the_figure_and_shrinks_a_copy(sizes):
    fig = figures.size_figure(sizes)
    before = fig.to_json()
    small = export.at_size(fig, "column")
    assert fig.to_json() == before
    assert (small.layout.width, small.layout.height) == (320, 230)
    assert small.layout.font.size == 10
    assert named(small, "In-domain").marker.size < named(fig, "In-domain").marker.size
    assert export.at_size(fig, 4, height=2).layout.height == 192
    for width in ("wide", 0.1, -1):
        with pytest.raises(ValueError, match="allowed are 'column', 'page' or inches"):
            export.at_size(fig, width)
    with pytest.raises(ValueError, match="height=99"):
        export.at_size(fig, height=99)


def test_html_csv_and_tex_need_no_browser(sizes, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "browser", lambda: None)
    fig, result = figures.size_figure(sizes), laws.fit_law(sizes, laws.size_law, warn=False)
    page = export.export(fig, tmp_path / "new" / "a.html").read_text()
    assert "plotly" in page
    assert "Out-of-domain" in page
    csv = pd.read_csv(export.export(result, tmp_path / "a.csv"))
    assert csv.loc[csv["name"] == "mu", "value"].item() == pytest.approx(result.best_values["mu"])
    assert export.export(result, tmp_path / "a.tex").read_text().count(r"\\") == 5
    with pytest.raises(export.NoBrowser, match=r"install Chromium \(Debian: apt-get install chromium\)"):
        export.export(fig, tmp_path / "a.pdf")
    assert not (tmp_path / "a.pdf").exists()


def test_a_table_is_written_with_the_names_of_its_rows(tmp_path):
    table = pd.DataFrame(
        {"drop": [0.1, 0.2]}, index=pd.MultiIndex.from_tuples([("a", 1), ("b", 2)], names=["model", "n"])
    )
    assert pd.read_csv(export.export(table, tmp_path / "a.csv")).columns.tolist() == ["model", "n", "drop"]
    assert "a & 1 & 0.1" in export.export(table, tmp_path / "a.tex").read_text()
    plain = export.export(table.reset_index(drop=True), tmp_path / "b.csv")
    assert plain.read_text().splitlines()[0] == "drop"


@pytest.mark.parametrize(
    ("thing", "name", "said"),
    [
        (go.Figure(), "a.eps", r"a figure can be written as \.pdf, \.svg, \.png, \.html"),
        (go.Figure(), "a.csv", r"a figure can be written as"),
        (pd.DataFrame({"a": [1]}), "a.pdf", r"a table can be written as \.tex, \.csv"),
        ([1, 2], "a.csv", "thing=list: a plotly figure, a DataFrame, a fitted law, a plan"),
    ],
)
def test_what_cannot_be_written_is_refused(tmp_path, thing, name, said):
    with pytest.raises(ValueError, match=said):
        export.export(thing, tmp_path / name)


@needs_browser
def test_a_browser_that_dies_is_reported_and_does_not_hang(tmp_path, monkeypatch):
    import kaleido

    async def stuck(*_, **__):
        await asyncio.sleep(60)

    export.close()
    fig = go.Figure(go.Scatter(x=[1, 2], y=[2, 1]))
    export.export(fig, tmp_path / "a.svg")
    with monkeypatch.context() as broken:
        broken.setattr(export, "PATIENCE", 0.2)
        broken.setattr(kaleido.Kaleido, "calc_fig", stuck)
        with pytest.raises(export.NoBrowser, match=r"the browser \S+ did not draw within 0\.2 s"):
            export.export(fig, tmp_path / "a.png")
    assert export.export(fig, tmp_path / "a.png").stat().st_size > 0


def test_browser_path_that_is_no_program_is_no_browser(tmp_path, monkeypatch):
    monkeypatch.setenv("BROWSER_PATH", str(tmp_path / "nothing"))
    assert export.browser() is None
    program = tmp_path / "chrome"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("BROWSER_PATH", str(program))
    assert export.browser() == str(program)


def test_latex_joins_intervals_escapes_and_speaks_greek(sizes):
    result = laws.fit_law(sizes, laws.size_law, warn=False)
    text = export.latex(trust.parameter_table(result))
    lines = text.splitlines()
    assert lines[1] == r"\begin{tabular}{lrl}"
    assert lines[2:4] == [r"\toprule", r"name & value & unit \\"]  # no stderr beside an interval
    assert "stderr" in export.latex(trust.parameter_table(result).drop(columns=["low", "high"]))
    assert lines[-4:-2] == [r"\bottomrule", r"\end{tabular}"]
    about = r"size\_law of in\_domain\_entropy, N is params\_layers; 20 runs at 10 levels."
    assert lines[-2:] == [r"\par\smallskip", rf"{{\footnotesize {about} In brackets: 95\% intervals.\par}}"]
    assert r"97.5\% intervals." in export.latex(result.table(0.975))
    bare = trust.parameter_table(result)
    for table in (bare.drop(columns=["low", "high"]), bare.assign(low=np.nan)):
        assert "brackets" not in export.latex(table)
    mu = next(line for line in lines if line.startswith(r"$\mu$"))
    assert re.fullmatch(r"\$\\mu\$ & 0\.\d{3} \[0\.\d{3}, 0\.\d{3}\] &  \\\\", mu)
    assert re.search(r"^\$R\^2\$ & 0\.99\d+ & ", text, re.M)
    odd = pd.DataFrame(
        {"50% & more_": ["a_b", None], "v": [1e-9, np.inf], "v_low": [1e-10, 1.0], "v_high": [1e-8, np.nan]}
    )
    text = export.latex(odd)
    assert r"50\% \& more\_ & v \\" in text
    assert r"a\_b & $1.00 \times 10^{-9}$ [$1.00 \times 10^{-10}$, $1.00 \times 10^{-8}$] \\" in text
    assert r"-- & $\infty$ \\" in text


def test_notes_stand_below_a_latex_table_with_the_rows_they_are_about():
    flags = "N is beyond the fitted range (80% more), so the law is extrapolated there."
    rows = [
        ("N", 2.5, flags, 1),
        ("delta", 0.0, "ends at the bound 0", 1),
        ("R2", 0.5, None, 2),
        ("a_b", 1.0, flags, 2),
    ]
    text = export.latex(pd.DataFrame(rows, columns=["name", "value", "note", "n"]))
    inside, _, below = text.partition("\\end{tabular}\n")
    assert "note" not in inside
    assert "bound" not in inside
    assert "\\begin{tabular}{lrr}" in inside
    said = r"$N$, a\_b: N is beyond the fitted range (80\% more), so the law is extrapolated there."
    assert below == "\\par\\smallskip\n{\\footnotesize Notes: " + said + " $\\delta$: ends at the bound 0.\\par}\n"
    twice = pd.DataFrame({"law": ["a", "a", "b"], "n": [1, 2, 2], "note": ["x", "x", "y"]})
    assert "Notes: a / n 1, a / n 2: x. b / n 2: y." in export.latex(twice)
    assert "Notes: row 1: x." in export.latex(pd.DataFrame({"law": ["a", "a"], "note": ["x", ""]}))
    assert "Notes" not in export.latex(twice.assign(note=""))
    assert r"note \\" in export.latex(twice[["note"]])  # a table of nothing else stays one


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.5, "0.500"), (34800.0, r"$3.48 \times 10^{4}$"), (24, "24"), (-0.25, "$-0.250$"), (999.96, "1000"), (0.0, "0")],
)
def test_numbers_in_tables(value, text):
    assert export.number(value) == text


def test_more_series_than_markers_have_markers_of_their_own() -> None:
    runs = example_runs()
    fig = figures.series_figure(runs, laws.data_law, "in_domain_entropy", by="rung", warn=False)
    points = [t for t in fig.data if t.mode == "markers" and t.marker.symbol != "line-ew"]  # the lines are single runs
    marks = [(t.marker.symbol, t.marker.color) for t in points if t.visible is not False]
    assert len(set(marks)) == len(marks) == runs["rung"].nunique() > 7
    held = [t.marker.symbol for t in fig.data if t.visible is False]
    assert len(held) == len(marks)
    assert {"circle-open", "circle-open-dot"} <= set(held)


def test_a_long_title_of_an_axis_breaks_where_there_is_no_room():
    title, rows = "nDCG@10 out of domain minus that of people's queries", ["a rather long name", "b"]
    fig = go.Figure(go.Scatter(x=[1, 2], y=rows)).update_xaxes(title_text=title)
    narrow, wide = (export.at_size(fig, width).layout.xaxis.title.text for width in ("column", "page"))
    assert narrow.replace("<br>", " ") == title
    assert narrow != title
    assert wide == title
    assert export.at_size(fig.update_xaxes(title_text="short")).layout.xaxis.title.text == "short"


def test_a_wide_flat_figure_is_no_flatter_than_usual_in_a_column():
    fig = go.Figure(layout={"width": 1200, "height": 300})
    assert export.at_size(fig, "column").layout.height == 230
    assert export.at_size(fig, "page").layout.height == 168, "on a page it keeps its form"


def test_a_stored_figure_can_be_exported():
    fig = go.Figure(go.Scatter(x=[1, 2], y=[1, 2], mode="markers", marker={"size": np.array([8.0, 12.0])}))
    stored = json.loads(fig.to_json())
    assert "bdata" in stored["data"][0]["marker"]["size"], "packed"
    again = export.at_size(go.Figure(stored))
    assert np.allclose(again.data[0].marker.size, export.at_size(fig).data[0].marker.size)


def test_titles_of_panels_have_room_in_print():
    fig = parts.beside({"left": go.Figure(), "right": go.Figure()}).update_layout(showlegend=False)
    bare = export.at_size(go.Figure()).layout.margin.t
    assert export.at_size(fig).layout.margin.t >= bare + 12


def test_labels_are_placed_anew_for_a_narrow_figure():
    rows = pd.DataFrame({"x": [0.3, 0.8, 0.0], "y": [0.0, 0.0, 1.0], "label": ["the first one", "second", "c"]})
    axes = [plane.axis(rows[c].to_numpy(), c) for c in "xy"]
    fig = go.Figure(layout={"height": 460})
    fig.add_scatter(x=rows["x"], y=rows["y"], mode="markers", marker={"size": 9})
    plane.name_points(fig, rows, "label", ("x", "y"), axes, dark=False)
    screen = fig.data[1].textposition
    assert screen[0] == "middle right", "there is room on a screen and on a phone"
    printed = export.at_size(fig, 1.5).data[1]
    assert printed.textposition[0] != "middle right", "in print the label would cover the second point"
    assert fig.data[1].textposition == screen
    assert printed.textfont.size == export.LEAST_FONT


def label_boxes(fig: go.Figure) -> dict[str, tuple[float, float, float, float]]:
    """Left, top, right and bottom of the names of points as a browser draws them, letters half their size wide."""
    boxes = {}
    for group in ET.fromstring(export.draw(fig, "svg")).iterfind(".//{*}g[@class='textpoint']"):
        moved = [float(n) for n in re.findall(r"-?[\d.]+", group.get("transform", "0, 0"))]
        for text in group.iterfind("{*}text"):
            words, size = "".join(text.itertext()), float(re.findall(r"font-size: ([\d.]+)", text.get("style"))[0])
            wide, high = 0.5 * size * len(words), 0.7 * size
            left = (
                float(text.get("x")) + moved[0] - wide * {"start": 0, "middle": 0.5, "end": 1}[text.get("text-anchor")]
            )
            foot = float(text.get("y")) + moved[1]
            boxes[words] = (left, foot - high, left + wide, foot)
    return boxes


@needs_browser
@pytest.mark.parametrize("width", ["screen", "phone", "page", "column"])
def test_no_two_names_of_points_meet(width):
    fig, pixels = dragon_figure(dragon_points(published.dragon(4))), {"screen": 700, "phone": 360}
    boxes = label_boxes(fig.update_layout(width=pixels[width]) if width in pixels else export.at_size(fig, width))
    assert len(boxes) == 14
    meeting = [
        (a, b)
        for (a, p), (b, q) in itertools.combinations(boxes.items(), 2)
        if min(p[2], q[2]) > max(p[0], q[0]) and min(p[3], q[3]) > max(p[1], q[1])
    ]
    assert meeting == []


def test_a_title_of_synthetic_runs_fits_a_phone():
    made = parts.title(pd.DataFrame({"synthetic": [True]}), "a law with a break")
    lines = re.sub("<.?b>", "", made["title"]["text"]).split("<br>")
    assert lines == ["SYNTHETIC: planted, not measured", "a law with a break"]
    assert max(map(len, lines)) * parts.WIDE < 300
    one = parts.title(pd.DataFrame({"synthetic": [True]}))
    assert made["margin"]["t"] > one["margin"]["t"]
    assert made["title"]["pad"]["t"] > one["title"]["pad"]["t"], "plotly lifts the first of two lines"
    printed = export.at_size(go.Figure(layout=made)).layout, export.at_size(go.Figure(layout=one)).layout
    assert printed[0].margin.t > printed[1].margin.t


def test_points_of_one_name_that_nearly_coincide_are_named_once():
    rows = pd.DataFrame({"x": [0.0, 0.01, 0.5, 1.0], "y": [0.0, 0.01, 0.5, 1.0], "label": ["a", "a", "a", "b"]})
    axes, fig = [plane.axis(rows[c].to_numpy(), c) for c in "xy"], go.Figure()
    fig.add_scatter(x=rows["x"], y=rows["y"], mode="markers", marker={"size": 9})
    plane.name_points(fig, rows, "label", ("x", "y"), axes, dark=False)
    assert fig.data[1].text == ("a", "", "a", "b")


def test_one_strategy_has_one_place_in_every_figure():
    assert style.in_order(["denoising", "mine", "adversarial", "standard", "mine"])[-1] == "mine"
    assert style.in_order(["denoising", "standard"])[0] == "standard"
    assert style.in_order(["a", "b", "c"], ["c"]) == ["c", "a", "b"]
    assert style.in_order([pd.NA, "standard"]) == ["standard", pd.NA]
    assert style.ranks(["denoising", "mine"])["denoising"] == style.ranks(["standard", "denoising"])["denoising"]
    assert style.ranks(["denoising", "mine"])["mine"] == len(STRATEGIES)
    assert style.ranks(["mine", "denoising"], ["denoising", "mine"]) == style.ranks(["denoising", "mine"])
    assert style.ranks(["large", "small"]) == {"large": 0, "small": 1}, "values that are no strategies begin at 0"
    assert style.ranks(["b"], ["a", "b"]) == {"a": 0, "b": 1}, "named values keep theirs"


@pytest.fixture(scope="module")
def strategies() -> pd.DataFrame:
    """Two sizes of three strategies at two levels of pairs, the mean of each apart from the others."""
    runs = example_runs()
    if "seed" in runs:
        runs = runs[runs["seed"] == runs["seed"].iloc[0]]
    made = []
    for i, strategy in enumerate(("standard", "adversarial", "denoising")):
        worse = {c: runs[c] * (1 + 0.1 * i) for c in ("in_domain_entropy", "ood_entropy")}
        made.append(runs.assign(strategy=strategy, share=1.0, **worse))
    return pd.concat(made, ignore_index=True)


def looks(fig: go.Figure) -> dict[str, set[tuple[str, str]]]:
    """The colours and symbols of the traces that are called after a strategy."""
    found: dict[str, set[tuple[str, str]]] = {}
    for trace in fig.data:
        name = str(trace.name).split(" ")[0].split(",")[0]
        if name in STRATEGIES and trace.mode and "markers" in trace.mode and isinstance(trace.marker.color, str):
            colour = trace.marker.color
            found.setdefault(name, set()).add((colour, str(trace.marker.symbol).removesuffix("-open")))
    return found


@pytest.mark.parametrize("kind", ["series", "joint", "front", "relation", "shapes"])
def test_a_strategy_has_one_look_in_figures_of_other_strategies_too(strategies, kind):
    x, y = "in_domain_entropy", "ood_entropy"
    draw = {
        "series": lambda runs: figures.series_figure(runs, laws.size_law, y, warn=False),
        "joint": lambda runs: joint_figure(runs, by="strategy", x=x, y=y),
        "front": lambda runs: frontier_figure(runs, x, y, by="strategy", n_boot=20, warn=False),
        "relation": lambda runs: relation_figure(runs, x, y, "strategy"),
        "shapes": lambda runs: relation_figure(runs, x, y, "rung", symbol="strategy"),
    }[kind]
    every, few = draw(strategies), draw(strategies[strategies["strategy"].isin(["standard", "denoising"])])
    alone = draw(strategies[strategies["strategy"] == "denoising"])
    if kind == "shapes":
        shapes = [{t.name: t.marker.symbol for t in fig.data if t.name in STRATEGIES} for fig in (every, few)]
        assert shapes[1] == {name: shapes[0][name] for name in ("standard", "denoising")}
        return
    told = looks(every)
    assert len({tuple(v) for v in told.values()}) == 3, "three strategies, three looks"
    assert looks(few) == {name: told[name] for name in ("standard", "denoising")}
    assert looks(alone) == {"denoising": told["denoising"]}


TRACES = {
    "pie": go.Pie(values=[1, 2]),
    "table": go.Table(cells={"values": [[1, 2]]}),
    "polar": go.Scatterpolar(r=[1, 2], theta=[0, 90]),
    "indicator": go.Indicator(value=1),
    "sankey": go.Sankey(node={"label": ["a", "b"]}, link={"source": [0], "target": [1], "value": [1]}),
    "parcoords": go.Parcoords(dimensions=[{"values": [1, 2]}]),
}


@pytest.mark.parametrize("kind", TRACES)
def test_traces_without_a_y_are_sized_too(kind):
    assert export.at_size(go.Figure(TRACES[kind])).layout.width == 320


def labelled() -> go.Figure:
    rows = pd.DataFrame({"x": [0.0, 0.35, 1.0], "y": [0.0, 0.0, 1.0], "label": ["the first of them", "second", "c"]})
    axes = [plane.axis(rows[c].to_numpy(), c) for c in "xy"]
    fig = go.Figure(layout={"height": 460})
    fig.add_scatter(x=rows["x"], y=rows["y"], mode="markers", marker={"size": 9})
    plane.name_points(fig, rows, "label", ("x", "y"), axes, dark=False)
    return fig


OWN = {
    "a gap": {"x": [0.2, None, 0.3], "y": [0.9, None, 0.8], "mode": "lines"},
    "a gap between markers": {"x": [0.2, None, 0.3], "y": [0.9, 0.9, 0.8], "mode": "markers"},
    "no y": {"x": [0.2, 0.3], "mode": "lines+markers"},
    "no x": {"y": [0.2, 0.3], "mode": "lines"},
    "unequal lengths": {"x": [0.2, 0.3, 0.4], "y": [0.9, 0.8], "mode": "lines"},
    "categories in another panel": {"x": ["a", "b"], "y": [1, 2], "mode": "markers", "xaxis": "x2", "yaxis": "y2"},
    "words with an opacity each": {
        "x": [0.2, 0.3],
        "y": [0.9, 0.8],
        "mode": "markers+text",
        "text": ["a", "b"],
        "marker": {"opacity": np.array([0.5, 0.0])},
    },
    "no opacity and no size": {
        "x": [0.2, 0.3],
        "y": [0.9, 0.8],
        "mode": "markers+text",
        "text": ["a", "b"],
        "marker": {"opacity": 0},
    },
    "too few bars": {"x": [0.2, 0.3], "y": [0.9, 0.8], "mode": "markers", "error_y": {"array": [0.1]}},
}


@pytest.mark.parametrize("case", OWN)
def test_labels_find_their_sides_beside_a_users_own_trace(case):
    expected = export.at_size(labelled(), 2).data[1].textposition
    fig = labelled().add_scatter(**OWN[case])
    printed = export.at_size(fig, 2)
    assert printed.data[1].textposition == expected, "the trace covers none of the sides"
    assert printed.data[2].textposition == fig.data[2].textposition, "a user's words stay where they are"


def test_another_panel_does_not_move_labels():
    fig = labelled().add_scatter(x=[0.2, 0.25, 900], y=[0, 0, 1], mode="markers", xaxis="x2", yaxis="y2")
    assert export.at_size(fig, 2).data[1].textposition == export.at_size(labelled(), 2).data[1].textposition


@pytest.mark.parametrize(
    "change",
    [
        {"textposition": "top center"},
        {"text": "all the same"},
        {"x": [0.0, None, 1.0]},
        {"x": ["a", "b", "c"]},
        {"marker": {"size": None}},
    ],
    ids=str,
)
def test_labels_that_a_user_changed_keep_their_sides(change):
    fig = labelled().update_traces(change, selector=1)
    assert export.at_size(fig, 2).data[1].textposition == fig.data[1].textposition


def test_labels_on_an_axis_that_is_not_linear_keep_their_sides():
    fig = labelled().update_xaxes(type="log")
    assert export.at_size(fig, 2).data[1].textposition == fig.data[1].textposition
    half_open = labelled().update_xaxes(range=[None, 2])
    assert export.at_size(half_open, 2).data[1].textposition == half_open.data[1].textposition


def test_a_name_with_a_tag_or_an_entity_stays_whole():
    assert parts.broken("a&amp;b and c", 3) == "a&amp;b and c"
    assert parts.broken('<span style="color:red">a</span> b', 10) == '<span style="color:red">a</span> b'
    assert parts.broken("a_word_without_any_space and b", 10) == "a_word_without_any_space<br>and b"


def test_names_of_rows_and_the_title_below_them_fit_a_phone():
    name = "progressive: bm25 > minilm > maxsim, top 1"
    assert max(map(len, parts.broken(name).split("<br>"))) <= parts.NAME
    assert parts.broken("two<br>lines that somebody broke by hand") == "two<br>lines that somebody broke by hand"
    title = "nDCG@10 minus that of people's labels"
    assert len(parts.beside_rows(title, [name]).split("<br>")) > 1
    assert parts.beside_rows("nDCG@10", [name]) == "nDCG@10"
