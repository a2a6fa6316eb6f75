"""Figures of mixed models: what they draw is what the frames say."""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from mixed_tables import synthetic, without_a_cell

from drscale.mixed import fit as mixed
from drscale.mixed import margins
from drscale.mixed import margins as shares
from drscale.mixed import plot as effects
from drscale.plotting import style


@cache
def fit() -> mixed.Mixed:
    return mixed.fit_mixed(synthetic(), "y", "factor")


def axis_names(fig: go.Figure) -> dict[str, float]:
    return dict(zip(fig.layout.yaxis.ticktext, fig.layout.yaxis.tickvals, strict=True))


def test_means_stand_in_their_rows_with_their_intervals() -> None:
    means = margins.marginal_means(fit())
    fig = effects.means_figure(means, metric="ndcg10", title="Means")
    marginal, raw = fig.data
    np.testing.assert_allclose(marginal.x, means["mean"])
    np.testing.assert_allclose(marginal.x + marginal.error_x.array, means["high"])
    np.testing.assert_allclose(marginal.x - marginal.error_x.arrayminus, means["low"])
    np.testing.assert_allclose(raw.x, means["raw"])
    assert [axis_names(fig)[m] for m in means["model"]] == list(marginal.y)
    assert marginal.y[0] == max(marginal.y)  # the first on top
    assert fig.layout.xaxis.title.text == "nDCG@10"
    assert "Means" in fig.layout.title.text
    assert len(effects.means_figure(means, raw=False).data) == 1


def test_two_columns_are_rows_and_colours() -> None:
    means = margins.marginal_means(fit(), ["model", "factor"])
    fig = effects.means_figure(means, raw=False)
    assert [t.name for t in fig.data] == ["f0", "f1"]
    assert len({t.marker.color for t in fig.data}) == 2
    assert fig.data[0].y[0] > fig.data[1].y[0]
    assert "m0" in str(fig.data[0].customdata[0])


def test_an_interaction_is_a_line_a_model() -> None:
    means = margins.marginal_means(fit(), ["model", "factor"])
    fig = effects.interaction_figure(means)
    assert [t.name for t in fig.data] == ["m0", "m1", "m2"]
    assert list(fig.layout.xaxis.ticktext) == ["f0", "f1"]
    np.testing.assert_allclose(fig.data[1].y, means.query("model == 'm1'")["mean"])
    np.testing.assert_allclose(np.round(fig.data[1].x), [0, 1])
    turned = effects.interaction_figure(means, "model")
    assert [t.name for t in turned.data] == ["f0", "f1"]
    with pytest.raises(ValueError, match="needs marginal means by two columns"):
        effects.interaction_figure(margins.marginal_means(fit()))
    with pytest.raises(ValueError, match="x='size': allowed are 'model', 'factor'"):
        effects.interaction_figure(means, "size")


def test_missing_means_are_left_out() -> None:
    means = margins.marginal_means(mixed.fit_mixed(without_a_cell(), "y", "factor"), ["model", "factor"])
    drawn = [len(t.x) for t in effects.means_figure(means, raw=False).data]
    assert sum(drawn) == len(means) - 1
    assert sum(len(t.x) for t in effects.interaction_figure(means).data) == len(means) - 1


def test_a_caterpillar_says_which_effects_are_sure() -> None:
    found = shares.effects(fit())
    fig = effects.caterpillar_figure(found)
    sure = (found["low"] > 0) | (found["high"] < 0)
    assert [len(t.x) for t in fig.data] == [sure.sum(), (~sure).sum()]
    assert list(fig.layout.yaxis.ticktext) == found["dataset"].tolist()[::-1]  # the hardest at the bottom
    places = axis_names(fig)
    for trace in fig.data:
        for y, told in zip(trace.y, trace.customdata, strict=True):
            assert places[told[0]] == y
    many = effects.caterpillar_figure(shares.effects(fit(), "query"))
    assert not many.layout.yaxis.showticklabels or len(found) <= effects.MOST


def test_shares_are_bars_side_by_side() -> None:
    found = shares.variance_shares(fit(), n_boot=20)
    (bar,) = effects.shares_figure(found).data
    np.testing.assert_allclose(bar.x, found["share"])
    np.testing.assert_allclose(bar.x + bar.error_x.array, found["high"])
    plain = shares.variance_shares(mixed.fit_mixed(synthetic(), "y"), n_boot=0)
    both = effects.shares_figure({"with": found, "without": plain}, dark=True)
    assert [t.name for t in both.data] == ["with", "without"]
    assert both.data[1].error_x.array is None
    assert list(both.layout.yaxis.ticktext)[:2] == ["model", "factor"]
    assert both.layout.template.layout.paper_bgcolor == style.colours(True)["paper"]


def test_contrasts_stand_in_their_rows_and_full_ones_spare_zero() -> None:
    found = margins.contrasts(fit())
    (drawn,) = effects.contrasts_figure(found).data
    np.testing.assert_allclose(drawn.x, found["difference"])
    np.testing.assert_allclose(drawn.x + drawn.error_x.array, found["high"])
    np.testing.assert_allclose(drawn.x - drawn.error_x.arrayminus, found["low"])
    sure = (found["low"] > 0) | (found["high"] < 0)
    assert sure.sum() > 0
    assert [not s.endswith("-open") for s in drawn.marker.symbol] == sure.tolist()
    fig = effects.contrasts_figure(found, title="Pairs", dark=True)
    assert [axis_names(fig)[f"{a} − {b}"] for a, b in zip(found["first"], found["second"], strict=True)] == list(
        drawn.y
    )
    assert "Tukey's" in fig.layout.xaxis.title.text
    assert fig.layout.shapes[0].x0 == 0
    assert (
        "each for itself" in effects.contrasts_figure(margins.contrasts(fit(), adjust="none")).layout.xaxis.title.text
    )


def test_contrasts_within_levels_are_coloured_and_taxes_are_named_by_their_columns() -> None:
    inside = effects.contrasts_figure(margins.contrasts(fit(), within="factor"))
    assert [t.name for t in inside.data if t.showlegend is None] == ["f0", "f1"]
    assert len({t.marker.color for t in inside.data}) == 2
    taxes = {m: margins.specialisation(fit(), m, "f0", "f1").tail(1) for m in ("m0", "m1")}
    frame = pd.concat(taxes, names=["who"]).reset_index(0)
    fig = effects.contrasts_figure(frame)
    assert list(fig.layout.yaxis.ticktext) == ["m0, tax", "m1, tax"]
    np.testing.assert_allclose(fig.data[0].x, frame["estimate"])
    by = effects.contrasts_figure(frame, by="who")
    assert [t.name for t in by.data if t.x[0] is not None] == ["m0", "m1"]
    assert list(by.layout.yaxis.ticktext) == ["tax"]
    with pytest.raises(ValueError, match="by='size': allowed are 'who', 'what'"):
        effects.contrasts_figure(frame, by="size")


def test_contrasts_that_are_missing_or_many() -> None:
    missing = margins.contrasts(mixed.fit_mixed(without_a_cell(), "y", "factor"), within="factor")
    drawn = effects.contrasts_figure(missing).data
    shown = sum(len(t.x) for t in drawn if t.x[0] is not None)
    assert shown == missing["difference"].notna().sum() < len(missing)
    one = margins.contrasts(fit())
    many = pd.concat([one.assign(first=f"n{i}") for i in range(40)], ignore_index=True)
    assert effects.contrasts_figure(many).layout.yaxis.showticklabels is False


def test_an_exact_zero_is_never_said_of_a_p_value() -> None:
    found = margins.contrasts(fit()).assign(p=[0.0, 0.04567, np.nan])
    read = effects.format_intervals(found)
    assert read["p"].tolist() == ["< 0.001", "0.046", "–"]
    assert found["p"].iloc[0] == 0  # the frame keeps its numbers
    row = found.iloc[0]
    text = f"{row['difference']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"
    assert read["difference"].iloc[0] == text.replace("-", "−")
    assert not {"low", "high"} & set(read)
    assert effects.format_intervals(margins.anova(fit()))["p"].map(type).eq(str).all()


def test_where_nothing_varies_a_caterpillar_says_so() -> None:
    still = shares.effects(fit()).assign(effect=0.0, low=0.0, high=0.0)
    fig = effects.caterpillar_figure(still)
    assert any("no variance" in a.text for a in fig.layout.annotations)
    assert list(fig.layout.xaxis.range) == [-0.1, 0.1]
    assert list(fig.layout.xaxis.tickvals) == [0]


def test_what_cannot_be_drawn_is_said() -> None:
    for ask, said in (
        (lambda: effects.means_figure(pd.DataFrame({"model": ["a"]})), "no column 'mean'"),
        (lambda: effects.means_figure(margins.marginal_means(fit()).head(0)), "no rows"),
        (lambda: effects.means_figure(margins.marginal_means(fit()).drop(columns="model")), "to name its rows"),
        (lambda: effects.shares_figure({}), "at least one frame"),
        (lambda: effects.shares_figure(pd.DataFrame({"source": ["a"]})), "no column 'share'"),
    ):
        with pytest.raises(ValueError, match=said):
            ask()
