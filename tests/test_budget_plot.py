"""Figures of budgets: they show what the planner says, mark what is extrapolated, and keep their traces in place."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from drscale.budget import plan as budget
from drscale.budget import plot as plans
from drscale.budget import prices
from drscale.laws import fit as laws
from drscale.laws.curve import Curve
from drscale.papers import published
from drscale.plotting import parts as lines
from drscale.plotting import style
from drscale.runs import example_runs

FREE = prices.paper_prices(documents=0)
READINGS = ("M=3.47e4", "M=3.47e5", "M=5.47e5")


def drawn(curve: Curve, spread: float = 0.05, n: int = 500) -> Curve:
    rng = np.random.default_rng(0)
    return replace(
        curve, draws=pd.DataFrame({k: v * np.exp(spread * rng.standard_normal(n)) for k, v in curve.values.items()})
    )


@pytest.fixture(scope="module")
def standard() -> Curve:
    return published.published_curve("joint/standard/robustness")


@pytest.fixture(scope="module")
def pareto() -> Curve:
    return published.published_curve("joint/pareto/robustness")


def named(fig, name):
    found = [t for t in fig.data if t.name == name]
    assert len(found) == 1, [t.name for t in fig.data]
    return found[0]


def shaded(fig, axis: str = "x") -> list[tuple[float, float]]:
    return [(s[f"{axis}0"], s[f"{axis}1"]) for s in fig.layout.shapes if s.type == "rect"]


# Figure 6


def test_a_budgets_line_is_the_law_on_the_budget(standard, pareto):
    fig = plans.budget_figure({"Robustness": {"Standard": standard, "Pareto": pareto}}, [1e4, 5e3], FREE)
    line = named(fig, "Pareto, $5,000, extrapolated")
    D = budget.isocost(5e3, FREE, line.x)
    assert np.asarray(line.y, dtype=float) == pytest.approx(pareto(N=line.x, D=D), rel=1e-4)
    assert np.asarray(line.customdata, dtype=float) == pytest.approx(D, rel=1e-3)
    plan = budget.allocate(standard, 1e4, FREE)
    best = named(fig, "Standard, $10,000, best size")
    assert (best.x[0], best.y[0]) == (pytest.approx(plan.N, rel=1e-6), pytest.approx(plan.loss, rel=1e-6))
    assert "23.6B parameters and 15.4K pairs" in best.hovertemplate.replace("<br>", " ")
    assert float(np.nanmin(line.y)) == pytest.approx(budget.allocate(pareto, 5e3, FREE).loss, rel=1e-6)


def test_what_was_not_fitted_is_dashed_shaded_and_said(pareto):
    poor = plans.budget_figure({"": {"Pareto": pareto}}, [5e3, 1e4], FREE)
    assert not [t for t in poor.data if t.name.endswith("fitted")]
    said = [a.text for a in poor.layout.annotations]
    assert "$5,000 and $10,000:<br>outside the fitted box" in said
    assert (8.2e7, pytest.approx(1e4 / FREE.per_parameter)) in shaded(poor)
    rich = plans.budget_figure({"": {"Pareto": pareto}}, [5e3, 3e4], FREE)
    solid = named(rich, "Pareto, $30,000, fitted")
    assert (min(solid.x), max(solid.x)) == (pytest.approx(5e5), pytest.approx(8.2e7))
    assert "$5,000:<br>outside the fitted box" in [a.text for a in rich.layout.annotations]
    dashed = named(rich, "Pareto, $30,000, extrapolated")
    assert dashed.line.dash == lines.DASH
    assert set(dashed.x) & set(solid.x) == {solid.x[-1]}, "the dashed part begins where the solid one ends"


def test_trainings_keep_their_colour_in_every_panel(standard, pareto):
    effective = {f"Standard, {r}": published.published_curve("joint/standard/effectiveness", r) for r in READINGS}
    panels = {"Robustness": {"Standard": standard, "Pareto": pareto}, "Effectiveness": {**effective, "Pareto": pareto}}
    fig = plans.budget_figure(panels, [5e3, 1e4], FREE)
    assert {
        t.line.color for t in fig.data if t.name.startswith("Pareto, $") and t.mode == "lines" and t.line.color
    } == {style.SERIES[1]}
    assert [t.name for t in fig.data if t.showlegend] == [
        "Standard",
        "Pareto",
        *effective,
        "$5,000",
        "$10,000",
        "extrapolated",
    ]
    assert len([t for t in fig.data if re.search(r"\$", t.name) and not t.showlegend]) == 2 * 2 * (2 + 4)
    assert {t.xaxis for t in fig.data if "3.47e4" in t.name and not t.showlegend} == {"x2"}
    widths = {t.line.width for t in fig.data if t.name.endswith("extrapolated") and "$10,000" in t.name}
    assert widths == {3.2}


def test_with_encoding_no_fitted_size_is_affordable_and_chance_is_shown():
    laws_ = {"Pareto": published.published_curve("joint/pareto/effectiveness")}
    fig = plans.budget_figure({"": laws_}, [5e3, 1e4], prices.paper_prices())
    assert fig.layout.xaxis.range[1] == pytest.approx(np.log10(23_259), abs=1e-4)
    assert "chance, ln 257" in [a.text for a in fig.layout.annotations]
    assert max(b for _, b in shaded(fig)) - min(a for a, _ in shaded(fig)) == pytest.approx(23_259 - 116.3, rel=1e-3)
    other = plans.budget_figure({"": laws_}, [5e3], prices.paper_prices(), y_title="loss of mine")
    assert "chance, ln 257" not in [a.text for a in other.layout.annotations]
    assert other.layout.yaxis.title.text == "loss of mine"


def test_draws_become_a_band(pareto):
    curve = drawn(pareto)
    fig = plans.budget_figure({"": {"Pareto": curve}}, [3e4], FREE)
    band = named(fig, "Pareto, $30,000, band")
    half = len(band.x) // 2
    high, low = np.asarray(band.y[:half], dtype=float), np.asarray(band.y[half:], dtype=float)[::-1]
    N = np.asarray(band.x[:half], dtype=float)
    line = pareto(N=N, D=budget.isocost(3e4, FREE, N))
    assert (low[:-1] < line[:-1]).all()
    assert (line[:-1] < high[:-1]).all()


# Isocost over contours


def test_the_plan_stands_on_its_line_and_its_contour(pareto):
    fig = plans.isocost_figure(pareto, 5e4, FREE)
    assert len(fig.data) == 6
    plan = budget.allocate(pareto, 5e4, FREE)
    best = named(fig, "best plan")
    assert (best.x[0], best.y[0]) == (pytest.approx(plan.N, rel=1e-6), pytest.approx(plan.D, rel=1e-6))
    line = named(fig, "what $50,000 buys")
    assert FREE.cost(np.asarray(line.x, float), np.asarray(line.y, float)) == pytest.approx(
        np.full(len(line.x), 5e4), rel=1e-4
    )
    values, lines = named(fig, "contour values"), named(fig, "loss contours")
    x, y = (np.asarray(v, dtype=float) for v in (lines.x, lines.y))
    loss = pareto(N=x[np.isfinite(x)], D=y[np.isfinite(x)])
    written = sorted({float(t) for t in values.text})
    assert len(written) >= 6
    assert np.abs(loss[:, None] / np.array(written) - 1).min(axis=1).max() < 1e-3
    path = named(fig, "best for other budgets")
    place = int(np.argmin(np.abs(np.log(np.asarray(path.x, dtype=float) / plan.N))))
    assert path.text[place] == "best for $50,000"


def test_contours_reach_the_edges_of_the_window(pareto):
    span = {"N": (1e5, 1e9), "D": (1e4, 1e6)}
    fig = plans.isocost_figure(pareto, 5e4, FREE, span=span)
    assert fig.layout.xaxis.range == (5, 9)
    assert fig.layout.yaxis.range == (4, 6)
    x, y = (np.asarray(v, dtype=float) for v in (fig.data[0].x, fig.data[0].y))
    ends = np.flatnonzero(np.isnan(x))
    for first, last in zip([0, *(ends[:-1] + 1)], ends - 1, strict=True):
        if last > first:
            assert y[first] == pytest.approx(1e6, rel=1e-3) or x[first] == pytest.approx(1e5, rel=1e-3)
            assert y[last] < 1.5e4 or x[last] == pytest.approx(1e9, rel=1e-3)


def test_the_cloud_and_the_bars_are_the_draws(pareto):
    curve = drawn(pareto)
    fig = plans.isocost_figure(curve, 5e4, FREE)
    cloud, best = named(fig, "best plans of draws"), named(fig, "best plan")
    assert len(cloud.x) == plans.CLOUD
    assert cloud.x[5] == pytest.approx(budget.optima(curve, 5e4, FREE).loc[5, "N"], rel=1e-6)
    low, high = budget.allocate(curve, 5e4, FREE).intervals["N"]
    assert best.x[0] - best.error_x.arrayminus[0] == pytest.approx(low, rel=1e-4)
    assert best.x[0] + best.error_x.array[0] == pytest.approx(high, rel=1e-4)
    bare = plans.isocost_figure(pareto, 5e4, FREE)
    assert not len(named(bare, "best plans of draws").x)
    assert [t.name for t in bare.data][:5] == [t.name for t in fig.data][:5]


def test_everything_outside_the_box_is_shaded(pareto):
    fig = plans.isocost_figure(pareto, 5e4, FREE, span={"N": (1e5, 1e9), "D": (1e4, 1e6)})
    assert shaded(fig) == [(1e5, 5e5), (8.2e7, 1e9), (5e5, 8.2e7), (5e5, 8.2e7)]
    assert shaded(fig, "y")[2:] == [(1e4, 3e4), (4.8e5, 1e6)]
    assert "fitted box<br>(shaded: beyond)" in [a.text for a in fig.layout.annotations]
    free = plans.isocost_figure(replace(pareto, box={}), 5e4, FREE)
    assert shaded(free)[1] == pytest.approx(tuple(10**v for v in free.layout.xaxis.range))
    assert [a.text for a in free.layout.annotations] == ["the fitted range is not known: all is extrapolated"]


def test_the_boxs_label_keeps_away_from_the_budgets_line_and_its_path(pareto):
    for money in (5_000, 20_000, 50_000, 273_000, 1_000_000):
        fig = plans.isocost_figure(pareto, money, FREE)
        (label,) = (a for a in fig.layout.annotations if a.text.startswith("fitted box"))
        assert label.align == label.xanchor
        (n0, n1), (d0, d1) = fig.layout.xaxis.range, fig.layout.yaxis.range
        wide, high = 0.28 * (n1 - n0), 0.09 * (d1 - d0)
        left, low = label.x - wide * (label.xanchor == "right"), label.y - high * (label.yanchor == "top")
        for line in (t for t in fig.data if t.mode == "lines" and t.name != "loss contours"):
            ends = np.column_stack([np.log10(line.x), np.log10(line.y)])
            at = (ends[:-1] + np.linspace(0, 1, 50)[:, None, None] * np.diff(ends, axis=0)).reshape(-1, 2)
            assert not ((at > (left, low)) & (at < (left + wide, low + high))).all(axis=1).any(), (money, line.name)


def test_a_plan_in_the_box_or_none(pareto):
    inside = named(plans.isocost_figure(pareto, 5e4, FREE, within="box"), "best plan in the box")
    assert inside.x[0] == pytest.approx(8.2e7)
    none = named(plans.isocost_figure(drawn(pareto), 5e3, FREE, within="box"), "best plan in the box")
    assert np.isnan(none.x[0])
    assert none.showlegend is False
    assert "costs $18,000" in none.hovertemplate.replace("<br>", " ")


def test_a_line_falls_into_parts():
    y, inside = np.arange(6.0), np.array([False, False, True, True, False, False])
    (fitted, take, values, dash), (beyond, outer, rest, dashed) = lines.parts(y, inside)
    assert (fitted, take.tolist(), values.tolist(), dash) == ("fitted", [2, 3], [2, 3], {})
    assert (beyond, outer.tolist(), dashed) == ("extrapolated", [0, 1, 2, 3, 4, 5], {"dash": lines.DASH})
    assert np.isnan(rest[3]), "the outer parts do not join across the inner one"
    assert rest[[0, 1, 2, 4, 5]].tolist() == [0, 1, 2, 4, 5]
    inside = np.array([False, True, True, True, True, False])
    (_, take, _, _), (_, outer, rest, _) = lines.parts(y, inside)
    assert take.tolist() == [1, 2, 3, 4]
    assert outer.tolist() == [0, 1, 2, 4, 5]
    assert np.isnan(rest[2])
    assert [name for name, *_ in lines.parts(y, np.full(6, True))] == ["fitted"]
    ((_, outer, rest, _),) = lines.parts(y, np.full(6, False))
    assert rest.tolist() == y.tolist()


# The path


def test_the_path_shows_the_table(standard, pareto):
    money = np.geomspace(1e3, 1e6, 13)
    paths = {"Standard": budget.path(standard, money, FREE), "Pareto": budget.path(drawn(pareto), money, FREE)}
    fig = plans.path_figure(paths, FREE, box=pareto.box)
    rows = [t for t in fig.data if t.name == "Pareto, extrapolated"]
    for trace, column in zip(rows, ("N", "D", "loss"), strict=True):
        assert np.asarray(trace.y, dtype=float) == pytest.approx(paths["Pareto"][column].to_numpy(), rel=1e-5)
    assert [t.name for t in fig.data if t.showlegend] == ["Standard", "Pareto"]
    bands = [t for t in fig.data if t.name == "Pareto, band"]
    assert [len(b.x) for b in bands] == [26, 26, 26]
    assert not [t for t in fig.data if t.name == "Standard, band"]
    assert (0, 3e4) not in shaded(fig, "y")
    assert any(b == pytest.approx(3e4) for _, b in shaded(fig, "y"))
    boxed = plans.path_figure({"Pareto": budget.path(pareto, money, FREE, within="box")}, FREE)
    solid = next(t for t in boxed.data if t.name == "Pareto, fitted" and t.yaxis == "y")
    assert np.isfinite(np.asarray(solid.y, dtype=float)).all()
    assert min(solid.x) > 18_000


@pytest.mark.parametrize("dark", [False, True])
def test_figures_are_made_for_light_and_for_dark(pareto, dark):
    many = {str(i): pareto for i in range(8)}
    paper = style.colours(dark)["paper"]
    for fig in (
        plans.budget_figure({"": many}, [3e4], FREE, dark=dark),
        plans.isocost_figure(pareto, 3e4, FREE, dark=dark, series=6),
        plans.path_figure({"a": budget.path(pareto, [1e4, 1e5], FREE)}, FREE, dark=dark),
    ):
        assert fig.layout.template.layout.paper_bgcolor == paper
        used = {t.line.color for t in fig.data if t.line.color} | {t.marker.color for t in fig.data if t.marker.color}
        assert paper not in used
        assert not (dark and "#000000" in used)


def test_wrong_figures_are_refused(pareto):
    with pytest.raises(ValueError, match=r"panels=\['a'\], budgets=\[\]: at least a panel with a law, and a budget"):
        plans.budget_figure({"a": {"b": pareto}}, [], FREE)
    with pytest.raises(ValueError, match="at least a panel with a law"):
        plans.budget_figure({"a": {}}, [1e3], FREE)
    with pytest.raises(ValueError, match="at least one table"):
        plans.path_figure({}, FREE)
    with pytest.raises(ValueError, match="its law is size_law"):
        plans.isocost_figure(Curve(laws.size_law, {"M": 1.0, "mu": 1.0, "delta": 0.0}), 1e3, FREE)


def test_a_plan_in_jupyterlab_is_no_formula():
    fit = laws.fit_law(example_runs(), laws.additive_law, warn=False)
    shown = budget.allocate(fit.curve(), 5000, prices.paper_prices())._repr_html_()
    assert "<span>$</span>5,000 buys" in shown
    assert not re.search(r"\$[^<]", shown), "a dollar sign stands alone, so that two enclose no formula"
