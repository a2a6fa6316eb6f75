"""Explorers agree with their pure functions, send only what changed, and leave a picture where no kernel is."""

from __future__ import annotations

import base64
import io
import threading
import time
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from conftest import ROOT
from synthetic import size_table, study

from drscale.budget import plan as budget
from drscale.budget.explore import budget_explorer, budget_view
from drscale.budget.prices import Prices, paper_prices
from drscale.frontier import dominance as frontier
from drscale.frontier.explore import draw, frontier_explorer, frontier_view
from drscale.laws import fit as laws
from drscale.laws import intervals as trust
from drscale.laws.compare import COUNTS
from drscale.laws.curve import Curve
from drscale.laws.explore import law_explorer, law_view
from drscale.plotting import files as export
from drscale.plotting import files as numbers
from drscale.plotting import live, style
from drscale.plotting.live import Explorer, LiveFigure, View
from drscale.runs import RunStore
from drscale.training.plot import watch


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> RunStore:
    return study(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def table(store: RunStore) -> pd.DataFrame:
    return store.table()


@pytest.fixture(scope="module")
def sizes(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["pairs"] == 0]


@pytest.fixture(scope="module", autouse=True)
def _no_browser_left():
    yield
    export.close()


def named(fig: go.Figure, name: str) -> go.Scatter:
    (found,) = [t for t in fig.data if t.name == name]
    return found


def described(fig: go.Figure) -> dict[str, Any]:
    """All that a figure draws, comparable: without the names a live one gives its traces, arrays as lists."""
    bare = go.Figure(fig)
    bare.layout.template = None
    found: dict[str, Any] = bare.to_plotly_json()
    return plain(
        {"data": [{k: v for k, v in t.items() if k != "uid"} for t in found["data"]], "layout": found["layout"]}
    )


def plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items() if v is not None and plain(v) != {}}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    return "nan" if isinstance(value, float) and np.isnan(value) else value


def same(box: Explorer, view: View) -> None:
    """The explorer shows what the pure function says."""
    assert described(box.figure) == described(view.figure)
    assert box.sentence.value == live._paragraph(view.sentence)
    assert box.table.value == live.table_html(view.table)


def reproduced(box: Explorer, **given: Any) -> View:
    """What the settings as code make."""
    names = dict(given)
    exec(box.code.value, names)
    found = names["view"]
    assert isinstance(found, View)
    return found


# A live figure


def test_redraw_sends_only_what_differs(monkeypatch):
    fig = go.Figure(
        [go.Scatter(x=[1, 2], y=[3, 4], name="a"), go.Scatter(x=[1, 2], y=[5, 6])], {"title": {"text": "t"}}
    )
    shown, sent = LiveFigure(fig), []
    monkeypatch.setattr(LiveFigure, "_send_update_msg", lambda self, **message: sent.append(message))
    monkeypatch.setattr(LiveFigure, "_send_restyle_msg", lambda self, **message: pytest.fail("not in a batch"))
    fresh = go.Figure(fig)
    fresh.data[1].update(y=[5, 7], marker_size=9)
    shown.redraw(fresh)
    (message,) = sent
    assert message["restyle_data"] == {"y": [[5, 7]], "marker": [{"size": 9}]}
    assert message["trace_indexes"] == [1]
    assert not message["relayout_data"]
    assert described(shown) == described(fresh)
    shown.redraw(go.Figure(fresh))
    assert len(sent) == 1, "nothing changed and yet something was sent"
    bare = go.Figure(fresh)
    bare.data[1].marker = None
    shown.redraw(bare)
    assert described(shown) == described(bare)


def test_redraw_keeps_what_the_user_did_by_hand():
    fig = go.Figure(go.Scatter(x=[1, 2], y=[3, 4]), {"xaxis": {"range": [0, 9]}})
    shown = LiveFigure(fig)
    shown.layout.xaxis.range = [1, 2]  # a zoom
    shown.data[0].visible = "legendonly"
    fresh = go.Figure(fig)
    fresh.data[0].y = [4, 5]
    shown.redraw(fresh)
    assert shown.layout.xaxis.range == (1, 2)
    assert shown.data[0].visible == "legendonly"
    assert shown.data[0].y == (4, 5)


def test_redraw_takes_other_kinds_of_traces():
    shown = LiveFigure(go.Figure([go.Scatter(x=[1], y=[2]), go.Scatter(x=[1], y=[3])]))
    for fresh in (go.Figure(go.Contour(z=[[1, 2], [3, 4]])), go.Figure([go.Scatter(y=[1]), go.Scatter(y=[2])])):
        shown.redraw(fresh)
        assert described(shown) == described(fresh)
        assert len(shown.get_state()["_widget_data"]) == len(fresh.data)


def test_a_reloaded_page_gets_the_present_data(sizes):
    box = law_explorer(sizes)
    box.controls["above"].value = sorted(set(sizes["params_layers"]))[4]
    state = box.figure.get_state()
    names = {t["name"]: t for t in state["_widget_data"]}
    assert len(np.array(names["held out"]["x"]).ravel()) == len(named(box.figure, "held out").x) == 5


# Sliders


def test_a_slider_holds_exactly_what_it_was_given():
    for start in (0.6, 3.22e-8, 312e12, 0.37, 1.0):
        slider = live.slider("price", start, 0.01, 100, str)
        assert slider.value == start
        values = [v for _, v in slider.options]
        assert values == sorted(set(values))
        assert all(abs(v / start - 1) > 0.02 for v in values if v != start), "a neighbour that looks like the start"
    assert live.grid(3, 1, 10) == [1.0, 1.25, 1.5, 2.0, 2.5, 3, 4.0, 5.0, 6.0, 8.0, 10.0]
    assert live.grid(0.0, 10, 20, zero=True) == [0.0, 10.0, 12.5, 15.0, 20.0]
    assert live.grid(1000, 10, 20)[-1] == 1000


# The law explorer


def test_the_law_explorer_agrees_with_the_pure_function(sizes):
    box = law_explorer(sizes)
    levels = sorted(set(sizes["params_layers"]))
    above, scope, measure = (box.controls[n] for n in ("above", "scope", "measure"))
    assert above.value == levels[-2]
    assert [v for _, v in above.options] == levels[3:-1]
    same(box, law_view(sizes, laws.size_law, "entropy", "ood", levels[-2]))
    above.value = levels[4]
    same(box, law_view(sizes, laws.size_law, "entropy", "ood", levels[4]))
    scope.value = "in_domain"
    same(box, law_view(sizes, laws.size_law, "entropy", "in_domain", levels[4]))
    measure.value = "calibrated"
    same(box, law_view(sizes, laws.size_law, "calibrated", "in_domain", levels[4]))
    assert box.controls["residuals"].description == "residuals"  # no loss of a retriever
    box.controls["residuals"].value = "robust"
    dropped = tuple(sizes.index[:2])
    box.controls["without"].value = dropped
    view = law_view(sizes, laws.size_law, "calibrated", "in_domain", levels[4], without=dropped, robust=True)
    same(box, view)
    assert list(named(view.figure, "left out").x) == list(sizes["params_layers"].iloc[:2])
    same(box, reproduced(box, table=sizes))


def test_the_law_explorer_counts_parameters_as_one_likes(sizes):
    box = law_explorer(sizes)
    count, above = box.controls["count"], box.controls["above"]
    assert [v for _, v in count.options] == [c for c in COUNTS if c in sizes]
    layers, others = (sorted(set(sizes[c])) for c in ("params_layers", "params_drscale"))
    above.value = layers[4]
    count.value = "params_drscale"
    assert above.value == others[4]
    same(box, law_view(sizes, above=others[4], x="params_drscale"))
    assert "parameters counted as layers, pooler and projection" in box.sentence.value
    assert box.figure.layout.xaxis.title.text == style.AXES["params_drscale"]
    same(box, reproduced(box, table=sizes))
    mu = [
        law_view(sizes, above=levels[4], x=x).table.set_index("name").loc["mu", "value"]
        for x, levels in (("params_layers", layers), ("params_drscale", others))
    ]
    assert mu[1] > 1.05 * mu[0], "what is counted changes the exponent"


def test_the_law_can_be_switched_where_sizes_and_data_are_crossed(table):
    box = law_explorer(table, among={"size": laws.size_law, "data": laws.data_law})
    at, law = box.controls["at"], box.controls["law"]
    assert [v for _, v in at.options] == [17600], "the only number of pairs with several sizes"
    law.value = laws.data_law
    assert [v for _, v in at.options] == [max(set(table.query("rung == 'L2H192'")["params_layers"]))]
    amounts = table[table["rung"] == "L2H192"]
    assert [v for _, v in box.controls["above"].options] == sorted(set(amounts["train_pairs"]))[3:-1]
    assert len(box.controls["without"].options) == len(amounts)
    view = law_view(table, laws.data_law, at=at.value, above=box.controls["above"].value)
    same(box, view)
    assert view.sentence == law_view(amounts, laws.data_law, above=box.controls["above"].value).sentence
    same(box, reproduced(box, table=table))


@pytest.mark.parametrize("law", [laws.joint_law, laws.additive_law])
def test_a_law_of_both_counts_is_fitted_to_all_and_shown_at_one(law):
    rng = np.random.default_rng(0)
    n, d = (v.ravel() for v in np.meshgrid(np.geomspace(1e4, 1e7, 8), [1e3, 4e3, 1.6e4, 6.4e4]))
    truth = {"M": 2e4, "mu": 0.5, "B": 3e3, "eta": 0.8, "delta": 0.3}
    y = law(n, d, **truth) * (1 + 0.01 * rng.standard_normal(len(n)))
    crossed = pd.DataFrame({"params_layers": n, "train_pairs": d, "in_domain_entropy": y})
    box = law_explorer(crossed, laws.size_law)
    box.controls["law"].value = law
    assert [v for _, v in box.controls["at"].options] == [1e3, 4e3, 1.6e4, 6.4e4]
    box.controls["at"].value, cut = 4e3, sorted(set(n))[5]
    box.controls["above"].value = cut
    view = law_view(crossed, law, scope="in_domain", above=cut, at=4e3)
    same(box, view)
    same(box, reproduced(box, table=crossed))
    result = laws.fit_law(crossed[n <= cut], law, y="in_domain_entropy", warn=False)
    curve = named(view.figure, "in_domain, fitted")
    inside = ~np.isnan(np.array(curve.y))
    expected = law(np.array(curve.x)[inside], 4e3, **result.best_values)
    assert np.array(curve.y)[inside] == pytest.approx(expected, rel=1e-6)
    missed = trust.hold_out(crossed, law, y="in_domain_entropy", above={"N": cut}, warn=False)
    assert len(missed) == 8
    worst = missed.loc[missed["error"].abs().idxmax(), "error"]
    assert f"off by {100 * worst:+.1f}% at most" in view.sentence
    assert "at 4K pairs" in view.figure.layout.title.text
    assert set(named(view.figure, "In-domain").x) == set(n[n <= cut])


def test_the_broken_law_takes_the_column_of_the_first_law(sizes):
    box = law_explorer(sizes)
    assert list(dict(box.controls["law"].options)) == ["size law", "broken law"]
    box.controls["law"].value = laws.broken_law
    same(box, law_view(sizes, laws.broken_law, above=box.controls["above"].value, x="params_layers"))
    assert "turning to ^" in box.sentence.value
    same(box, reproduced(box, table=sizes))


def test_the_sentence_tells_the_error_beyond(sizes):
    levels = sorted(set(sizes["params_layers"]))
    words = law_view(sizes, above=levels[5]).sentence
    missed = trust.hold_out(sizes, laws.size_law, y="ood_entropy", above=levels[5], warn=False)
    worst = missed.loc[missed["error"].abs().idxmax(), "error"]
    assert f"off by {100 * worst:+.1f}% at most" in words
    assert f"{missed['inside'].sum()} of 4 levels inside" in words
    assert f"fitted up to {style.count_text(levels[5])}" in words


def test_the_law_view_says_that_runs_are_synthetic(sizes):
    assert "SYNTHETIC" in law_view(sizes).figure.layout.title.text
    assert not law_view(sizes.assign(synthetic=False)).figure.layout.title.text


def test_settings_that_cannot_be_fitted_are_said_and_the_figure_stays(sizes):
    box = law_explorer(sizes)
    before, levels = described(box.figure), sorted(set(sizes["params_layers"]))
    box.controls["above"].value = levels[3]
    few = tuple(sizes.index[sizes["params_layers"].isin(levels[:2])])
    shown = described(box.figure)
    box.controls["without"].value = few
    assert "Not with these settings: " in box.sentence.value
    assert "2 different values" in box.sentence.value
    assert described(box.figure) == shown != before
    box.controls["without"].value = ()
    same(box, law_view(sizes, above=levels[3]))


def test_the_law_explorer_works_on_ones_own_columns_and_says_when_it_cannot():
    mine = size_table()[["params_layers", "in_domain_entropy"]].rename(columns={"params_layers": "parameters"})
    box = law_explorer(mine, x="parameters")
    assert [v for _, v in box.controls["scope"].options] == ["in_domain"]
    same(box, reproduced(box, table=mine))
    with pytest.raises(ValueError, match="has 4 different values: to hold one out, size_law needs at least 5"):
        law_explorer(size_table(levels=4))
    with pytest.raises(ValueError, match="the table has none of them"):
        law_explorer(size_table()[["params_layers"]])
    with pytest.raises(ValueError, match=r"without=\[99\]: the table's index has no 99"):
        law_view(size_table(), scope="in_domain", without=[99])
    with pytest.raises(ValueError, match=r"at=5: no run has train_pairs there, the levels are 7"):
        law_view(size_table().assign(train_pairs=7), scope="in_domain", at=5)


# The budget explorer

VALUES = {"M": 3.5e4, "mu": 0.55, "B": 5e3, "eta": 1.1, "delta": 0.05}
BOX = {"N": (5e5, 8e7), "D": (3e4, 5e5)}


def planted(name: str, **changes: float) -> Curve:
    """A joint law with draws that scatter by 5%."""
    values, rng = VALUES | changes, np.random.default_rng(0)
    draws = pd.DataFrame({k: v * np.exp(0.05 * rng.standard_normal(300)) for k, v in values.items()})
    return Curve(laws.joint_law, values, BOX, draws, name)


@pytest.fixture(scope="module")
def curves() -> dict[str, Curve]:
    return {"Standard": planted("Standard"), "Pareto": planted("Pareto", M=5e5, B=8e3)}


def test_the_budget_view_shows_both_optima_with_their_intervals(curves):
    fig, sentence, table = budget_view(curves, 1e6, paper_prices())
    assert [a.text for a in fig.layout.annotations if a.text.startswith("<b>")] == ["<b>Standard</b>", "<b>Pareto</b>"]
    plans = {name: budget.allocate(c, 1e6, paper_prices()) for name, c in curves.items()}
    shown = [t for t in fig.data if t.name == "best plan"]
    for trace, plan in zip(shown, plans.values(), strict=True):
        assert [trace.x[0], trace.y[0]] == pytest.approx([plan.N, plan.D], rel=1e-5)
        low, high = plan.intervals["N"]
        bars = trace.error_x
        assert [trace.x[0] - bars.arrayminus[0], trace.x[0] + bars.array[0]] == pytest.approx([low, high], rel=1e-5)
    assert sentence == " ".join(f"{name}: {plan}" for name, plan in plans.items())
    assert list(table["training"]) == list(plans)
    assert table["for encoding"].tolist() == [paper_prices().money(plan.costs["encoding"]) for plan in plans.values()]
    assert [t.showlegend for t in fig.data if t.name == "best for other budgets"] == [True, False]
    assert {t.xaxis for t in fig.data} == {"x", "x2"}
    assert {s.xref for s in fig.layout.shapes} == {"x", "x2"}, "what is extrapolated is shaded in both"


def test_the_budget_explorer_agrees_with_the_pure_function(curves):
    box = budget_explorer(curves, paper_prices(), 1e6)
    assert box.settings["budget"] == 1e6
    same(box, budget_view(curves, 1e6, paper_prices()))
    moved = {"pair": 1.0, "documents": 0.0, "utilisation": 0.4, "steps": 20_000.0}
    for name, value in moved.items():
        box.controls[name].value = value
    box.controls["budget"].value = 2e6
    same(box, budget_view(curves, 2e6, replace(paper_prices(), **moved)))
    box.controls["within"].value = True
    same(box, budget_view(curves, 2e6, replace(paper_prices(), **moved), within="box"))
    same(box, reproduced(box, curves=curves))
    assert "Prices(pair=1.0" in box.code.value


def test_every_price_has_a_slider_that_starts_where_it_was_given(curves):
    given = Prices(0.123, 2.5, 9.9e14, 0.37, 12_345.0, 6_789.0, 1e7, 77.7, currency="CHF")
    box = budget_explorer(curves, given)
    numbers_of = {f.name for f in fields(Prices)} - {"train_flops", "encode_flops", "currency"}
    assert {n for n in box.controls if n in numbers_of} == numbers_of
    for name in numbers_of:
        assert box.controls[name].value == getattr(given, name)
    assert f"prices={given!r}" in box.code.value
    assert "CHF" in box.sentence.value
    assert budget_explorer(curves).settings["documents"] == 0


def test_the_budget_explorer_chooses_among_more_laws(curves):
    more = {**curves, "a third": planted("a third", M=1e5)}
    box = budget_explorer(more, paper_prices(), 1e6, names=("Pareto",))
    same(box, budget_view(more, 1e6, paper_prices(), names=("Pareto",)))
    assert "xaxis2" not in box.figure.to_plotly_json()["layout"]
    box.controls["right"].value = "a third"
    same(box, budget_view(more, 1e6, paper_prices(), names=("Pareto", "a third")))
    with pytest.raises(ValueError, match=r"names=\['x'\]: allowed are 'Standard', 'Pareto'"):
        budget_view(curves, 1e6, paper_prices(), names=["x"])
    with pytest.raises(ValueError, match=r"curves=\{\}: laws of N and D by name"):
        budget_explorer({})
    bare = Curve(laws.joint_law, VALUES)
    with pytest.raises(ValueError, match="budget=None: the first law has no box"):
        budget_explorer({"bare": bare})
    assert "buys" in budget_explorer({"bare": bare}, budget=1e5).sentence.value


def test_the_budget_view_says_that_laws_are_synthetic(curves):
    assert not budget_view(curves, 1e6, paper_prices()).figure.layout.title.text
    made_up = replace(curves["Standard"], source="fitted to 24 synthetic runs")
    assert "SYNTHETIC" in budget_view({"a": made_up}, 1e6, paper_prices()).figure.layout.title.text


def test_a_slider_seldom_moves_the_window(curves):
    windows = [budget_view(curves, b, paper_prices()).figure.layout.xaxis.range for b in (1e6, 1.25e6, 1.5e6, 2e6, 3e6)]
    assert len(set(windows)) == 1
    wide = budget_view(curves, 1e12, paper_prices()).figure
    assert wide.layout.xaxis.range[1] > windows[0][1]
    assert all(t.x[0] < 10 ** wide.layout.xaxis.range[1] for t in wide.data if t.name == "best plan")


# The frontier explorer


def test_the_frontier_view_agrees_with_the_analysis(table):
    sample = draw(table, pool="seed", n_boot=200)
    fig, sentence, listed = frontier_view(sample)
    known = frontier.probability_on_front(table, pool="seed", n_boot=200)
    assert sample.rows["in_domain_entropy"].to_numpy() == pytest.approx(known["in_domain_entropy"].to_numpy())
    on = known[known["on_front"]]
    assert f"{len(on)} of {len(known)} on the front" in sentence
    best = max(known["probability"])
    assert abs(float(listed["on the front"].iloc[0].rstrip("%")) / 100 - best) < 0.15  # draws of two samples of 200
    runs = named(fig, "runs")
    assert list(runs.x) == pytest.approx(list(known["in_domain_entropy"]))
    worst = (max(known["in_domain_entropy"]), max(known["ood_entropy"]))
    mark = named(fig, "reference")
    assert (mark.x[0], mark.y[0]) == pytest.approx(worst)
    area = frontier.hypervolume(known[["in_domain_entropy", "ood_entropy"]].to_numpy(), worst)
    assert f"an area of {float(area):.3g} [" in sentence
    outline = named(fig, "dominated")
    x, y = np.array(outline.x), np.array(outline.y)
    drawn = abs(float(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1)))) / 2
    assert drawn == pytest.approx(float(area)), "what is shaded is what is counted"


def test_the_frontier_explorer_agrees_with_the_pure_function(table):
    sample = draw(table, pool="seed", n_boot=100)
    box = frontier_explorer(sample)
    same(box, frontier_view(sample, "in_domain_calibrated", "ood_calibrated"))
    box.controls["x"].value, box.controls["y"].value = "in_domain_entropy", "ood_entropy"
    same(box, frontier_view(sample))
    box.controls["rungs"].value = ("L2H96", "L2H192", "L2H256")
    same(box, frontier_view(sample, rungs=["L2H96", "L2H192", "L2H256"]))
    box.controls["y"].value = "ood_ndcg10"
    view = frontier_view(sample, y="ood_ndcg10", rungs=["L2H96", "L2H192", "L2H256"])
    same(box, view)
    at = named(view.figure, "reference")
    assert at.y[0] == min(named(view.figure, "runs").y), "of nDCG the worst is the least"
    box.controls["reference"].value = 0
    row = sample.rows.iloc[0]
    assert named(box.figure, "reference").x[0] == row["in_domain_entropy"]
    same(box, reproduced(box, sample=sample))
    box.controls["rungs"].value, box.controls["y"].value = (), "ood_entropy"
    box.controls["reference"].value = "chance"
    assert named(box.figure, "reference").x[0] == pytest.approx(style.CHANCE)
    box.controls["contour"].value = "rung"
    same(box, frontier_view(sample, contour="rung", reference=(style.CHANCE, style.CHANCE)))
    same(box, reproduced(box, sample=sample))


def test_the_frontier_explorer_opens_on_the_calibrated_entropies_where_they_are(table):
    raw = table.drop(columns=[c for c in table if "calibrated" in c])
    for runs, x, y in ((raw, "in_domain_entropy", "ood_entropy"), (table, "in_domain_calibrated", "ood_calibrated")):
        box = frontier_explorer(draw(runs, pool="seed", n_boot=20))
        assert (box.controls["x"].value, box.controls["y"].value) == (x, y)


def test_a_frontier_that_is_none_is_said(table):
    box = frontier_explorer(table)
    shown = described(box.figure)
    box.controls["rungs"].value = ("L2H12",)
    assert "1 of 15 runs left: choose at least two" in box.sentence.value
    assert described(box.figure) == shown
    sample = draw(table, pool="seed", n_boot=50)
    with pytest.raises(ValueError, match="rung: no run has 'L9', there are"):
        frontier_view(sample, rungs=["L9"])
    with pytest.raises(ValueError, match="two different ones of in_domain_entropy"):
        frontier_view(sample, "ood_entropy", "ood_entropy")
    with pytest.raises(ValueError, match="at least two measures"):
        draw(table, ["ood_entropy"])


# The apps


@pytest.mark.parametrize("name", ["law", "budget", "frontier"])
def test_an_app_shows_its_explorer_and_its_code_makes_the_same(name, monkeypatch):
    cells = nbformat.read(ROOT / "notebooks" / "apps" / f"{name}.ipynb", as_version=4).cells
    *lines, last = cells[-1].source.splitlines()
    monkeypatch.chdir(ROOT / "notebooks" / "apps")
    names: dict[str, Any] = {}
    exec("\n".join(lines), names)
    box = eval(last, names)
    assert Path.cwd() == ROOT
    assert isinstance(box, Explorer)
    view = reproduced(box)
    view.figure.update_layout(width=None)  # an app's figure is as wide as its page
    same(box, view)


# Without a kernel: the picture and its numbers


def test_a_stored_explorer_is_a_figure_with_its_words(sizes, monkeypatch):
    box = law_explorer(sizes)
    assert set(box._repr_mimebundle_()) == {"text/plain", "application/vnd.jupyter.widget-view+json"}
    monkeypatch.setenv("PLOTLY_RENDERER", "plotly_mimetype")
    monkeypatch.setattr("plotly.io.renderers.default", "plotly_mimetype")
    bundle = box._repr_mimebundle_()
    stored = bundle["application/vnd.plotly.v1+json"]
    assert [t.get("name") for t in stored["data"]] == [t.name for t in box.figure.data]
    assert box.sentence.value in bundle["text/markdown"]
    assert "application/vnd.plotly.v1+json" in box.figure._repr_mimebundle_()


def test_the_numbers_of_a_figure_are_all_that_it_draws():
    fig = go.Figure(
        [
            go.Scatter(x=[1, 2], y=[3.0, 4.0], name="a", error_y={"array": [0.1, 0.2], "arrayminus": [0.3, 0.4]}),
            go.Contour(x=[1, 2], y=[5, 6, 7], z=np.arange(6).reshape(3, 2), name="b", xaxis="x2", yaxis="y2"),
            go.Scatter(x=[], y=[], name="nothing"),
        ]
    )
    for thing in (fig, go.Figure(fig).to_dict()):  # as it is, and as a notebook stores it: packed
        found = numbers.drawn(thing)
        a, b = found[found["trace"] == "a"], found[found["trace"] == "b"]
        assert a[["x", "y", "y_low", "y_high"]].to_numpy() == pytest.approx(
            np.array([[1, 3, 2.7, 3.1], [2, 4, 3.6, 4.2]])
        )
        assert list(a["panel"]) == ["1", "1"]
        assert list(b["panel"]) == ["2"] * 6
        assert b[["x", "y", "z"]].to_numpy().tolist() == [
            [1, 5, 0],
            [2, 5, 1],
            [1, 6, 2],
            [2, 6, 3],
            [1, 7, 4],
            [2, 7, 5],
        ]
        assert len(found) == 8
    assert list(numbers.drawn(go.Figure()).columns) == ["trace", "x", "y"]


def test_save_writes_what_is_drawn_and_says_where(sizes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    box = law_explorer(sizes)
    saver = box.saver
    saver.kind.value = ".csv"
    saver.button.click()
    pd.testing.assert_frame_equal(pd.read_csv("law.csv"), numbers.drawn(go.Figure(box.figure)), check_dtype=False)
    assert str(tmp_path / "law.csv") in saver.said.value
    packed = saver.said.value.partition("base64,")[2].partition('"')[0]
    assert pd.read_csv(io.BytesIO(base64.b64decode(packed))).shape == pd.read_csv("law.csv").shape
    saver.kind.value, saver.name.value = ".html", "page.v1"
    saver.button.click()
    assert "Plotly.newPlot" in (tmp_path / "page.v1.html").read_text()
    assert "data:" not in saver.said.value, "five megabytes are no link"


@pytest.mark.parametrize(
    "name",
    [
        "../evil",
        "../../../evil",
        "/tmp/evil",
        "no/such/place",
        "a\\b",
        "C:evil",
        ".hidden",
        "..",
        "a\0b",
        "a\nb",
        "there",
    ],
)
def test_save_writes_into_the_folder_it_shows_and_replaces_nothing_else(sizes, tmp_path, monkeypatch, name):
    inside = tmp_path / "one" / "inside"
    inside.mkdir(parents=True)
    (inside / "there.csv").write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.chdir(inside)
    saver = law_explorer(sizes).saver
    assert str(inside) in saver.said.value
    monkeypatch.chdir(tmp_path)  # the folder is the one that it shows, wherever the kernel goes
    saver.kind.value, saver.name.value = ".csv", name
    saver.button.click()
    assert "Not written: " in saver.said.value
    assert not saver.button.disabled
    assert sorted(tmp_path.rglob("*")) == before
    assert (inside / "there.csv").read_text() == "mine"
    saver.name.value = "new"
    for _ in range(2):  # its own file may be written again
        saver.button.click()
        assert f"Written: {inside / 'new.csv'}" in saver.said.value


@pytest.mark.browser
def test_save_draws_with_a_browser(sizes, tmp_path, monkeypatch, chromium):
    monkeypatch.chdir(tmp_path)
    saver = law_explorer(sizes).saver
    saver.kind.value = ".svg"
    saver.button.click()
    assert "Contrastive entropy" in (tmp_path / "law.svg").read_text()
    assert 'download="law.svg" href="data:image/svg+xml;base64,' in saver.said.value


def test_save_without_a_browser_says_what_to_install(sizes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(export, "browser", lambda: None)
    saver = law_explorer(sizes).saver
    for kind in (".pdf", ".svg", ".png"):
        saver.kind.value = kind
        saver.button.click()
        assert "install Chromium" in saver.said.value
        assert not list(tmp_path.iterdir())


# Training watched


def train_with(note, stopped, steps=40, pause=0.0):
    for step in range(1, steps + 1):
        if stopped():
            return step - 1
        note(step, {"loss": 5.0 / step})
        if step % 10 == 0:
            note(step, {"step": step, "loss": 5.0 / step, "validation": 6.0 / step})
        time.sleep(pause)
    return steps


def test_watch_draws_the_curve_and_hands_the_result_back():
    watched = watch(lambda **told: train_with(**told), steps=40)
    assert watched.result(10) == 40
    assert not watched.thread.is_alive()
    loss, validation = watched.figure.data
    assert len(loss.x) == 44
    assert validation.y == pytest.approx([0.6, 0.3, 0.2, 0.15])
    assert watched.bar.value == 40
    assert watched.label.value.startswith("done")
    assert "application/vnd.jupyter.widget-view+json" in watched._repr_mimebundle_()


def test_watch_stops_at_the_button():
    first, pressed = threading.Event(), threading.Event()

    def train(note, stopped):
        note(1, {"loss": 1.0})
        first.set()
        return pressed.wait(60) and stopped()

    watched = watch(train, steps=10_000)
    assert first.wait(60)
    assert not watched.button.disabled
    watched.button.click()
    pressed.set()
    assert watched.result(60) is True
    assert watched.label.value.startswith("stopped")


def test_watch_shows_an_error_and_raises_it_again():
    def broken(note, stopped):
        note(1, {"loss": 1.0})
        raise ValueError("no such rung")

    watched = watch(broken)
    watched.join(10)
    assert "failed: no such rung" in watched.label.value
    with pytest.raises(ValueError, match="no such rung"):
        watched.result()
    with pytest.raises(ValueError, match="steps=0: at least 1"):
        watch(broken, steps=0)


def test_watch_says_when_it_has_waited_long_enough():
    go_on = threading.Event()
    watched = watch(lambda note, stopped: go_on.wait(10))
    with pytest.raises(TimeoutError, match=r"timeout=0\.05: training still runs"):
        watched.result(0.05)
    go_on.set()
    assert watched.result(10) is True


def test_a_budget_explorer_asks_for_curves_by_name():
    fit = laws.fit_law(size_table(), laws.size_law, warn=False)
    for given, said in (
        (fit, "LawFit"),
        ({"mine": fit}, "LawFit"),
        (trust.law_curve(fit), "Curve"),
        ({}, "{}"),
    ):
        with pytest.raises(ValueError, match=rf"curves={said}: laws of N and D by name are needed, as in"):
            budget_explorer(given)


def test_a_law_explorer_offers_what_every_run_was_measured_at():
    table = size_table()
    some = table.assign(adversarial_entropy=[2.0, *[np.nan] * (len(table) - 1)])
    box = law_explorer(some)
    assert [v for _, v in box.controls["scope"].options] == ["in_domain", "ood"]
    every = law_explorer(table.assign(adversarial_entropy=1.1 * table["in_domain_entropy"]))
    assert [v for _, v in every.controls["scope"].options] == ["in_domain", "ood", "adversarial"]
    assert every.controls["scope"].value == "ood"
