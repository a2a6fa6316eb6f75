"""Figures of fronts, joint scaling and several series show what the analysis says; the tables here are synthetic."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from conftest import ROOT
from strategies import TRAITS, strategy_table
from synthetic import size_table

from drscale.frontier import contour_lines as contours
from drscale.frontier import dominance as frontier
from drscale.frontier import plot as fronts
from drscale.laws import diagnostics as duration
from drscale.laws import fit as laws
from drscale.laws import plot as figures
from drscale.laws import plot as series
from drscale.laws.result import LawWarning
from drscale.plotting import files as export
from drscale.plotting import plane, style
from drscale.runs import RunStore

BY = ("strategy", "share")
NAMES = {f"{s}, {share:.0%}" if share < 1 else s for s, share in TRAITS}


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return strategy_table()


def named(fig: go.Figure, name: str) -> go.Scatter:
    (found,) = [t for t in fig.data if t.name == name]
    return found


# Figures 1 and 5


@pytest.mark.parametrize(
    ("contour", "other", "at", "levels"), [("rung", "train_pairs", 16000, 5), ("train_pairs", "rung", "L2H96", 5)]
)
def test_joint_figure_draws_strategies_contours_and_the_efficient_points(table, contour, other, at, levels):
    fig = fronts.joint_figure(table, contour=contour, inverse="none")
    part = table[table[other] == at]
    assert {t.name for t in fig.data if t.mode == "lines+markers"} == NAMES
    means = part[(part["strategy"] == "denoising") & (part["share"] == 0.5)].groupby(
        "params_layers" if contour == "rung" else contour
    )
    drawn = named(fig, "denoising, 50%")
    assert drawn.x == pytest.approx(means["in_domain_entropy"].mean())
    assert drawn.y == pytest.approx(means["ood_entropy"].mean())
    assert drawn.error_x.array == pytest.approx(means["in_domain_entropy_high"].mean() - drawn.x)
    # All contours can be fitted, and the dashed line joins their best points.
    by_strategy = part.groupby([contour, *BY], as_index=False)[["in_domain_entropy", "ood_entropy"]].mean()
    fitted = contours.contours(by_strategy, contour).sort_values("s0")
    lines = [t for t in fig.data if t.name.startswith("contour ")]
    assert len(lines) == len(fitted) == levels
    assert {t.line.dash for t in lines} == {"solid"}
    dashed = named(fig, "Pareto-efficient (fitted)")
    assert dashed.line.dash == "dash"
    assert dashed.x == pytest.approx(fitted["x"])
    assert dashed.y == pytest.approx(fitted["y"])
    # Planted: the lean of 0 would be the ratio 1.5 there.
    assert np.array(dashed.customdata)[:, 0] == pytest.approx(np.full(levels, 1.5), rel=0.1)


def test_a_contour_is_drawn_through_its_curve(table):
    fig = fronts.joint_figure(table, inverse="none")
    part = table[table["train_pairs"] == 16000].groupby(["rung", *BY], as_index=False)
    fitted = contours.contours(part[["in_domain_entropy", "ood_entropy"]].mean(), "rung")
    curve = contours.trace(fitted).query("rung == 'L2H64'")
    drawn = named(fig, "contour L2H64")
    assert drawn.x == pytest.approx(curve["x"])
    assert drawn.y == pytest.approx(curve["y"])
    names = named(fig, "contours")
    assert names.text == ("L2H32", "L2H64", "L2H96", "L2H128", "L2H256")
    assert names.x[1] == pytest.approx(max(drawn.x), rel=0.02)  # at its lower end
    assert names.y[1] == pytest.approx(min(drawn.y), rel=0.02)


def test_with_too_few_strategies_there_is_no_contour_but_the_edge_of_the_front(table):
    few = table[table["strategy"].isin(["standard", "adversarial"]) & (table["share"] != 0.75)]
    fig = fronts.joint_figure(few)
    lines = [t for t in fig.data if t.name.startswith("contour ")]
    assert {t.line.dash for t in lines} == {"dot"}
    assert "2 of 4 different leans" in lines[0].hovertemplate
    assert named(fig, "front, as measured").line.dash == "dash"
    assert named(fig, "contours not determined: dotted from run to run").x == (None,)
    assert fig.layout.annotations[0].text == f"{fronts.NO_FRONT} 0 of 5 contours"


def bent(noise: float, first: float = -0.2) -> pd.DataFrame:
    """Five strategies at three sizes, of leans 0.1 apart, on a bend that is best at lean 0; levels off by so much."""
    rng = np.random.default_rng(0)
    rows = pd.MultiIndex.from_product([[1e4, 1e5, 1e6], range(5)], names=["params_layers", "lean"]).to_frame(
        index=False
    )
    t = first + 0.1 * rows["lean"]
    s = -1.5 + 0.05 * np.log(rows["params_layers"]) - 0.5 * t**2 + noise * rng.standard_normal(len(rows))
    x, y = np.exp(-(s + t / 2)), np.exp(-(s - t / 2))
    return rows.assign(in_domain_entropy=x, ood_entropy=y, strategy="lean " + rows["lean"].astype(str))


def test_a_fitted_front_is_drawn_where_it_is_determined():
    table = bent(0.0002)
    assert contours.determined(contours.contours(table, "params_layers")).all()
    fig = fronts.joint_figure(table, "strategy", "params_layers")
    assert len(named(fig, "Pareto-efficient (fitted)").x) == 3
    assert [a.text for a in fig.layout.annotations] == ["better ↗"]


def test_a_fitted_front_that_is_not_determined_is_not_drawn_and_the_figure_says_so():
    table = bent(0.02)
    fitted = contours.contours(table, "params_layers")
    assert fitted["s0"].notna().sum() >= 2  # a point through which a line went before
    assert not contours.determined(fitted).any()
    fig = fronts.joint_figure(table, "strategy", "params_layers")
    assert "Pareto-efficient (fitted)" not in {t.name for t in fig.data}
    assert fig.layout.annotations[0].text == f"{fronts.NO_FRONT} 0 of 3 contours"
    assert named(fig, "front, as measured").line.dash == "dash"
    assert {t.line.dash for t in fig.data if t.name.startswith("contour ")} == {"dot"}


def test_a_point_beyond_the_leans_measured_is_not_determined():
    fitted = contours.contours(bent(0.0002, first=0.1), "params_layers")
    assert fitted["note"].str.contains("extrapolated").all()
    assert contours.certain(fitted).all()
    assert not contours.determined(fitted).any()


def test_joint_robustness_has_no_effectiveness_in_it(table):
    attacked = table.assign(**{"adversarial:alone_entropy": 2.0, "adversarial_entropy": table["in_domain_entropy"]})
    made, y = frontier.robustness(attacked)
    assert y == "ood_entropy+adversarial:alone_entropy"
    assert made[y].to_numpy() == pytest.approx((table["ood_entropy"].to_numpy() + 2) / 2)
    assert plane.words(y) == "Mean of out-of-domain and adversarial-alone<br>entropy (nats)"
    with pytest.raises(ValueError, match=r"the table has no column 'adversarial:alone_calibrated'"):
        frontier.robustness(attacked.assign(ood_calibrated=1.0), "calibrated")


@pytest.mark.parametrize("few", [True, False])  # contours not fitted, and fitted
def test_a_level_is_named_beside_one_of_its_runs(table, few):
    part = table[table["strategy"].isin(["standard", "adversarial"]) & (table["share"] != 0.75)] if few else table
    fig = fronts.joint_figure(part, inverse="none")
    names, drawn = named(fig, "contours"), [t for t in fig.data if t.mode == "lines+markers"]
    for i, _ in enumerate(names.text):
        assert (names.x[i], names.y[i]) in [(t.x[i], t.y[i]) for t in drawn]
        assert names.y[i] == min(t.y[i] for t in drawn if t.x[i] >= names.x[i])
    assert len(names.textposition) == len(names.text)
    assert names.marker.size > max(t.marker.size for t in drawn)  # a little beside it


def test_the_names_of_levels_are_outside_of_the_contours_where_there_is_room():
    names = named(fronts.joint_figure(bent(0.0002), "strategy", "params_layers", inverse="none"), "contours")
    assert names.textposition.count("bottom right") >= 2
    assert names.textfont.color == style.colours()["faint"]


@pytest.mark.parametrize("inverse", ["minmax", "reciprocal", "none"])
def test_the_reading_of_inverse_normalization_is_named_and_keeps_the_order(table, inverse):
    fig = fronts.joint_figure(table, inverse=inverse)
    text = {"minmax": "worst 0 to best 1", "reciprocal": "1 / in-domain", "none": "In-domain entropy (nats)"}[inverse]
    assert text in fig.layout.xaxis.title.text
    drawn = named(fig, "standard")
    better_up = np.all(np.diff(drawn.x) > 0)  # from small to large
    assert better_up == (inverse != "none")
    corner = fig.layout.annotations[-1]
    assert corner.text == ("better ↗" if inverse != "none" else "↙ better")
    values = np.concatenate([t.x for t in fig.data if t.mode == "lines+markers"])
    if inverse == "minmax":
        assert (values.min(), values.max()) == pytest.approx((0, 1))
    assert all((np.array(t.error_x.array) >= 0).all() for t in fig.data if t.mode == "lines+markers")
    # Whatever the axis shows, the hover tells what was measured.
    raw = np.array(drawn.customdata)[:, 1].astype(float)
    assert raw == pytest.approx(
        table.query("strategy == 'standard' and train_pairs == 16000")
        .groupby("params_layers")["in_domain_entropy"]
        .mean()
        .to_numpy()
    )


def test_scores_are_drawn_with_better_up():
    high = plane.axis(np.array([0.2, 0.6]), "nDCG@10", "minmax", higher=True)
    assert high.place([0.2, 0.6]).tolist() == [0, 1]
    low = plane.axis(np.array([0.2, 0.6]), "H", "minmax", higher=False)
    assert low.place([0.2, 0.6]).tolist() == [1, 0]
    with pytest.raises(ValueError, match="inverse='reciprocal'"):
        plane.axis(np.array([0.2, 0.6]), "nDCG@10", "reciprocal", higher=True)
    with pytest.raises(ValueError, match="inverse='half'"):
        plane.axis(np.array([0.2, 0.6]), "H", "half")


@pytest.mark.parametrize(
    ("column", "said"),
    [
        ("ood_entropy", "Out-of-domain entropy (nats)"),
        ("in_domain_ndcg10", "In-domain nDCG@10"),
        ("adversarial_calibrated", "Adversarial calibrated entropy (nats)"),
        ("loss", "loss"),
        ("ood_ndcg10+adversarial_ndcg10", "Mean of out-of-domain and adversarial<br>nDCG@10"),
        ("ood_ndcg10+adversarial_entropy", "Mean of out-of-domain nDCG@10 and adversarial entropy (nats)"),
    ],
)
def test_an_axis_says_what_a_column_is(column, said):
    assert plane.words(column) == said


def test_joint_figure_holds_the_rest_still(table):
    fig = fronts.joint_figure(table)
    assert "at 16K training pairs" in fig.layout.title.text
    assert "SYNTHETIC" in fig.layout.title.text
    assert "at 1K" in fronts.joint_figure(table, at=1000).layout.title.text
    with pytest.raises(ValueError, match="at=5: no run has train_pairs so, there are 1000"):
        fronts.joint_figure(table, at=5)
    with pytest.raises(ValueError, match="no column 'method'"):
        fronts.joint_figure(table, by="method")


# The front


def test_frontier_figure_shows_how_surely_a_run_is_on_the_front(table):
    part = table[(table["rung"] == "L2H96") & (table["seed"] == 0)]
    found = frontier.probability_on_front(part)
    fig = fronts.frontier_figure(found)
    for strategy, rows in found.groupby("strategy"):
        (drawn,) = [t for t in fig.data if t.legendgroup == strategy and t.x[0] is not None]
        assert drawn.x == pytest.approx(rows["in_domain_entropy"])
        order = np.argsort(rows["probability"].to_numpy(), kind="stable")
        assert (np.diff(np.array(drawn.marker.size)[order]) >= 0).all()
        assert (np.diff(np.array(drawn.marker.opacity)[order]) >= 0).all()
        share = f"on the front in {rows['probability'].iloc[0]:.0%} of draws"
        assert drawn.customdata[0][0].endswith(share)
        entry = [t for t in fig.data if t.name == strategy and t.x[0] is None]
        assert len(entry) == 1
    edge = next(t for t in fig.data if t.name.startswith("front, as measured"))
    best = found[found["on_front"]]
    assert set(best["in_domain_entropy"]) <= set(edge.x)
    assert set(best["ood_entropy"]) <= set(edge.y)
    names = named(fig, "names")
    assert len(names.text) == len(best)
    # What all runs on the front share is said once.
    assert not any("16K" in t for t in names.text)
    assert "16K pairs" in edge.name


def test_frontier_figure_can_name_every_run_beside_its_point(table):
    part = table[(table["rung"] == "L2H96") & (table["seed"] == 0) & (table["train_pairs"] == 16000)]
    found = frontier.probability_on_front(part).assign(
        way=[f"a way of training with a long name, {i}" for i in range(len(part))]
    )
    fig = fronts.frontier_figure(found, by="way", names="all", intervals=False)
    assert [t.replace("<br>", " ") for t in named(fig, "names").text] == found["way"].tolist()
    assert all("<br>" in t for t in named(fig, "names").text)
    points = [t for t in fig.data if t.mode == "markers"]
    assert len(points) == len(found)  # and no entries of a legend
    assert not any(t.showlegend or t.error_x.array is not None for t in points)
    assert min(t.marker.opacity[0] for t in points) >= 0.8
    assert named(fig, "front, as measured").showlegend == (found["on_front"].sum() > 1)
    several = fronts.frontier_figure(found, by="strategy", names="all")
    assert len(set(named(several, "names").text)) == len(found)
    with pytest.raises(ValueError, match="names='some': allowed are 'front', 'all'"):
        fronts.frontier_figure(found, names="some")


def test_frontier_figure_finds_the_probability_itself(table):
    part = table[table["rung"] == "L2H96"]
    fig = fronts.frontier_figure(part, pool=["train_pairs", *BY], n_boot=50)
    assert sum(len(t.x) for t in fig.data if t.mode == "markers" and t.x[0] is not None) == 5 * 7


def test_frontier_figure_of_the_measured_study():
    store = RunStore(ROOT / "data" / "runs" / "docs-standard")
    runs = duration.converged_runs(store.table(), store.curves())
    fig = fronts.frontier_figure(runs, rows=store.queries(), pool="seed", n_boot=200)
    (drawn,) = [t for t in fig.data if t.mode == "markers"]
    recipes = runs.groupby(["rung", "train_pairs"]).size()
    assert len(drawn.x) == len(recipes)
    assert drawn.marker.showscale
    assert (fig.layout.xaxis.title.text, fig.layout.yaxis.title.text) == (
        "In-domain entropy (nats)",
        "Out-of-domain entropy (nats)",
    )
    assert fig.layout.title.text is None


@pytest.mark.parametrize("dark", [False, True])
def test_no_two_series_look_alike(table, dark):
    fig = fronts.joint_figure(table, dark=dark)
    looks = [(t.marker.color, t.marker.symbol) for t in fig.data if t.mode == "lines+markers"]
    assert len(set(looks)) == len({c for c, _ in looks}) == len({s for _, s in looks}) == 7
    assert style.colours(dark)["paper"] not in {c for c, _ in looks}
    assert style.series(7)[1].endswith("-open")


# Figures 3 and 4


def by_data(table: pd.DataFrame) -> pd.DataFrame:
    return table[(table["rung"] == "L2H96") & (table["share"] != 0.75)]


def test_series_figure_fits_each_series_on_its_own(table):
    part = by_data(table)
    fig = series.series_figure(part, laws.data_law, warn=False)
    for strategy, rows in part.groupby("strategy"):
        result = laws.fit_law(rows, laws.data_law, y="ood_entropy", warn=False)
        curve = named(fig, f"{strategy} ood_entropy, fitted")
        inside = ~np.isnan(np.array(curve.y))
        expected = laws.data_law(np.array(curve.x)[inside], **result.best_values)
        assert np.array(curve.y)[inside] == pytest.approx(expected, rel=1e-5)
        assert named(fig, strategy).x == pytest.approx(sorted(set(rows["train_pairs"])))
    assert fig.layout.yaxis.title.text == "Contrastive entropy (nats)"


def test_what_follows_no_law_is_a_plain_line_and_the_legend_says_so(table):
    part = by_data(table).query("strategy in ['standard', 'adversarial']")
    rng = np.random.default_rng(0)
    noisy = 3 + 0.3 * rng.standard_normal(len(part))
    part = part.assign(attacked_entropy=np.where(part["strategy"] == "standard", noisy, part["ood_entropy"]))
    columns = {"in_domain_entropy": "effectiveness", "attacked_entropy": "under attack"}
    fig = series.series_figure(part, laws.data_law, columns, y_title="Entropy (nats)", warn=False)
    labels = [t.name for t in fig.data if t.showlegend]
    assert labels[0] == "standard, effectiveness"
    assert labels[1].startswith("standard, under attack (no law: ")
    assert labels[2:] == ["adversarial, effectiveness", "adversarial, under attack"]
    line = named(fig, "standard attacked_entropy line")
    assert line.y == pytest.approx(
        part.query("strategy == 'standard'").groupby("train_pairs")["attacked_entropy"].mean()
    )
    assert line.line.width < 2
    assert not [t for t in fig.data if t.name == "standard attacked_entropy fit"]
    assert fig.layout.yaxis.title.text == "Entropy (nats)"


def test_a_strategy_has_one_colour_in_all_its_columns(table):
    part = by_data(table).query("strategy in ['standard', 'adversarial']")
    columns = {"in_domain_entropy": "effectiveness", "ood_entropy": "robustness"}
    fig = series.series_figure(part, laws.data_law, columns, warn=False)
    means = {t.name: t.marker for t in fig.data if t.showlegend}
    colours = {name.partition(",")[0]: set() for name in means}
    for name, marker in means.items():
        colours[name.partition(",")[0]].add(marker.color)
    assert sorted(map(len, colours.values())) == [1, 1]
    assert colours["standard"] != colours["adversarial"]
    assert len({marker.symbol for marker in means.values()}) == 4


def test_the_verdict_on_a_series():
    good = laws.fit_law(size_table(0.01), laws.size_law, warn=False)
    assert series.unfit(good) == ""
    assert series.unfit(good, least=1.0).startswith("R² ")
    rising = size_table(0.0)
    rising["in_domain_entropy"] = rising["params_layers"] ** 0.1
    assert series.unfit(laws.fit_law(rising, laws.size_law, warn=False)) == "it does not fall"


def test_too_few_levels_are_no_law(table):
    few = by_data(table).query("train_pairs > 2000")
    fig = series.series_figure(few, laws.data_law)
    assert all("(no law: 3 of 4 levels)" in t.name for t in fig.data if t.showlegend)


def test_series_speak_up_unless_told_not_to(table):
    part = by_data(table).query("strategy == 'standard' and train_pairs < 9000")
    with pytest.warns(LawWarning):
        series.series_figure(part, laws.data_law)


@pytest.mark.parametrize(
    ("y", "by", "said"),
    [("loss", "strategy", "'loss'"), ({}, "strategy", "at least one"), ("ood_entropy", "who", "'who'")],
)
def test_series_figure_names_what_is_missing(table, y, by, said):
    with pytest.raises(ValueError, match=said):
        series.series_figure(table, laws.data_law, y, by)


# A column of one's own


def test_too_few_sizes_are_drawn_as_points_and_the_legend_says_why_there_is_no_law():
    two = size_table(levels=2)
    fig = figures.size_figure(two, scopes=("in_domain",))
    (drawn,) = (
        t
        for t in fig.data
        if "2 different values: a law with 3 unknowns (M, mu, delta) needs at least 4" in (t.name or "")
    )
    assert drawn.y == pytest.approx(two.groupby("params_layers")["in_domain_entropy"].mean())
    assert all(t.y is None or len(t.y) == 0 for t in fig.data[:3])


def test_a_plain_column_can_be_drawn():
    mine = size_table().rename(columns={"in_domain_entropy": "loss"})[["params_layers", "loss"]]
    fig = figures.size_figure(mine, y="loss")
    assert fig.layout.yaxis.title.text == "loss"
    drawn = named(fig, "loss")
    assert drawn.y == pytest.approx(mine.groupby("params_layers")["loss"].mean())
    assert "95%" not in drawn.hovertemplate  # the table has no intervals
    assert "off by" in drawn.hovertemplate
    assert len(fig.data) == 6
    titled = figures.size_figure(mine, y="loss", y_title="Test loss (nats)", above=1e7)
    assert titled.layout.yaxis.title.text == "Test loss (nats)"
    with pytest.raises(ValueError, match="y names another column"):
        figures.size_figure(mine)
    with pytest.raises(ValueError, match="no column 'los'"):
        figures.size_figure(mine, y="los")


@pytest.mark.skipif(export.browser() is None, reason="no browser: apt-get install chromium")
def test_figures_of_fronts_can_be_printed(table, tmp_path):
    path = export.export(fronts.joint_figure(table), tmp_path / "joint.svg")
    export.close()
    text = path.read_text()
    for word in ("denoising, 50%", "L2H256", "Pareto-efficient (fitted)", "SYNTHETIC", "worst 0 to best 1"):
        assert word in text


def test_titles_leave_room_for_the_legend():
    fig = figures.size_figure(size_table())
    title = fig.layout.title
    assert (title.yref, title.y, title.yanchor) == ("container", 1, "top")
    line = 1.4 * style.template().layout.title.font.size
    legend = 1.6 * style.template().layout.font.size
    assert fig.layout.margin.t >= title.pad.t + line + legend
