"""Figures of printed laws and of verdicts: lines are the laws, bands their range, marks the verdicts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from drscale.papers import plot as printed
from drscale.papers import published
from drscale.papers._rounded import FAILS, HOLDS, OPEN
from drscale.plotting import files as export
from drscale.plotting import parts as lines
from drscale.plotting import style


def named(fig, name):
    (found,) = [t for t in fig.data if t.name == name and not t.showlegend]
    return found


def test_lines_are_the_laws_and_bands_their_rounding():
    curve = published.uncertain("data/msmarco/ood")
    fig = printed.curves_figure({"Data": {"OOD": curve}})
    solid, dashed, band = (named(fig, f"OOD, {part}") for part in ("fitted", "extrapolated", "band"))
    x, y = (np.asarray(v, dtype=float) for v in (solid.x, solid.y))
    assert (x.min(), x.max()) == (pytest.approx(3e4), pytest.approx(4.8e5))
    assert y == pytest.approx(curve(D=x), rel=1e-5)
    assert dashed.line.dash == lines.DASH
    half = len(band.x) // 2
    at, high = (np.asarray(v[:half], dtype=float) for v in (band.x, band.y))
    assert high == pytest.approx(curve.interval(0.95, D=at)[1], rel=1e-5)
    assert (at.min(), at.max()) == (pytest.approx(7500), pytest.approx(1.92e6))


def test_a_law_without_a_range_is_dashed_throughout():
    panel = {
        "known": published.published_curve("size/msmarco/ood"),
        "unknown": published.published_curve("size/t2ranking/ood"),
    }
    fig = printed.curves_figure({"Size": panel}, dark=True)
    assert not [t for t in fig.data if t.name == "unknown, fitted"]
    dashed = named(fig, "unknown, extrapolated")
    assert np.isfinite(np.asarray(dashed.y, dtype=float)).all()
    assert "the fitted range is not known" in dashed.hovertemplate
    assert not [t for t in fig.data if t.name == "known, band"]
    assert fig.layout.template.layout.paper_bgcolor == style.colours(True)["paper"]


def test_panels_share_the_colour_of_a_name():
    panels = {
        "Size": {
            "Effectiveness": published.published_curve("size/msmarco/effectiveness"),
            "OOD": published.published_curve("size/msmarco/ood"),
        },
        "Data": {"OOD": published.published_curve("data/msmarco/ood")},
    }
    fig = printed.curves_figure(panels)
    assert {t.line.color for t in fig.data if t.name == "OOD, fitted"} == {style.SERIES[1]}
    assert [t.xaxis for t in fig.data if t.name == "OOD, fitted"] == ["x", "x2"]
    assert (fig.layout.xaxis.title.text, fig.layout.xaxis2.title.text) == ("Parameters N", "Training pairs D")
    assert [t.name for t in fig.data if t.showlegend] == ["Effectiveness", "OOD"]


def test_panels_that_cannot_be_drawn_are_refused():
    size, data = published.published_curve("size/msmarco/ood"), published.published_curve("data/msmarco/ood")
    with pytest.raises(ValueError, match="laws of one and the same argument"):
        printed.curves_figure({"Both": {"a": size, "b": data}})
    with pytest.raises(ValueError, match="laws of one and the same argument"):
        printed.curves_figure({"Joint": {"a": published.published_curve("joint/pareto/robustness")}})
    with pytest.raises(ValueError, match="no law there says over which N it was fitted"):
        printed.curves_figure({"Size": {"a": replace(size, box={})}})
    with pytest.raises(ValueError, match="at least a panel, and a law in each"):
        printed.curves_figure({"Size": {}})


def test_a_mark_for_each_case():
    table = pd.DataFrame(
        [
            ("b", "It grows.", "x", FAILS, "1 < 2"),
            ("b", "It grows.", "y", HOLDS, "3 > 2"),
            ("a", "It is a sentence that is longer than the line which it has to stand on.", "", OPEN, "?"),
        ],
        columns=["claim", "says", "case", "verdict", "numbers"],
    ).assign(kind="claim", where="Section 3")
    fig = printed.verdict_figure(table)
    long = table["says"].iloc[2]
    marks = {t.name: list(zip(t.x, t.y, strict=True)) for t in fig.data}
    assert marks == {HOLDS: [(1, "It grows.")], OPEN: [(1, long)], FAILS: [(2, "It grows.")]}
    assert fig.layout.yaxis.categoryarray == (long, "It grows."), "the first claim stands on top"
    assert fig.data[0].text == ("y: holds. 3 > 2",)
    assert len({t.marker.symbol for t in fig.data}) == 3, "told apart without colour"
    words = [a.text for a in fig.layout.annotations]
    assert words[0] == "It grows.", "in print, too, the sentence stands above its marks"
    assert words[1].startswith("holds in part <span")
    assert "Section 3" in words[1]
    assert max(len(line) for line in words[2].split("<br>")) <= printed.SENTENCE
    with pytest.raises(ValueError, match="verdicts has no column 'numbers'; it has claim, says"):
        printed.verdict_figure(table.drop(columns="numbers"))


def test_marks_stand_nearer_to_their_own_sentence_than_to_the_next():
    says = [f"Claim {i} is a sentence that is longer than the line which it has to stand on." for i in range(15)]
    table = pd.DataFrame({"claim": says, "says": says, "case": "x", "verdict": HOLDS, "numbers": "1"})
    fig = export.at_size(printed.verdict_figure(table.assign(kind="claim", where="Section 3")), "column")
    low, high = fig.layout.yaxis.range
    row = (fig.layout.height - fig.layout.margin.t - fig.layout.margin.b) / (high - low)
    sentence = fig.layout.annotations[0]
    lines = 1.3 * sentence.font.size * (1 + sentence.text.count("<br>"))
    assert sentence.text.count("<br>") == 1
    assert row - sentence.yshift - lines > 1.5 * sentence.yshift > 0
