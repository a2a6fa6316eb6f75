"""Supervised against zero-shot: DRAGON's figure from its table, differences over data sets, and the live figure."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from drscale.frontier import tradeoff as fronts
from drscale.papers import published
from drscale.plotting import plane
from drscale.stats.tables import non_dominated


def named(fig: go.Figure, name: str) -> go.Scatter:
    (found,) = [t for t in fig.data if t.name == name]
    return found


def test_dragon_figure_draws_the_published_table():
    points = fronts.dragon_points(published.dragon(4))
    assert {"name", "group", "x", "y", "comparable"} <= set(points)
    dragon = points.set_index("name").loc["DRAGON+"]
    assert (dragon["x"], dragon["y"], dragon["group"]) == (39.0, 50.2, "DRAGON")
    assert not points[["x", "y"]].isna().any(axis=None)
    assert not points.set_index("name").loc["COT-MAE", "comparable"]
    fig = fronts.dragon_figure(points)
    assert sorted(named(fig, "names").text) == sorted(points["name"])
    edge = named(fig, "front, as measured")
    fair = points[points["comparable"]]
    best = fair[non_dominated(-fair[["x", "y"]].to_numpy())]
    assert (min(edge.x), max(edge.x)) == (best["x"].min(), best["x"].max())
    dense = named(fig, "dense")
    opened = [s.endswith("-open") for s in dense.marker.symbol]
    rows = points[points["group"] == "dense"]
    assert opened == (~rows["comparable"]).tolist()
    assert named(fig, "not comparable").x == (None,)


def test_dragon_points_refuse_a_set_that_is_not_there():
    with pytest.raises(ValueError, match="BEIR-13 nDCG@10"):
        fronts.dragon_points(published.dragon(4), y=("BEIR", "nDCG@10"))
    with pytest.raises(ValueError, match="no column 'group'"):
        fronts.dragon_figure(pd.DataFrame({"name": ["a"], "x": [1.0], "y": [2.0]}))


def test_names_stand_beside_their_points_and_apart():
    rows = pd.DataFrame(
        {"x": [0.0, 0.01, 0.02, 1.0], "y": [0.0, 0.01, 0.0, 1.0], "name": ["one", "two", "three", "four"]}
    )
    fig = fronts.dragon_figure(rows.assign(group="g"))
    places = named(fig, "names").textposition
    assert len(set(places[:3])) == 3


def test_the_best_ones_name_leaves_its_corner_to_the_word_better():
    rows = [("small", 0.23, 0.13), ("large", 0.52, 0.31), ("BM25", 0.689, 0.561), ("MiniLM", 0.739, 0.577)]
    fig = fronts.dragon_figure(pd.DataFrame(rows, columns=["name", "x", "y"]).assign(group="g"))
    assert fig.layout.annotations[-1].text == "better ↗"
    places = dict(zip(named(fig, "names").text, named(fig, "names").textposition, strict=True))
    assert places["MiniLM"] not in ("middle right", "top center", "top right")


def labelled(*bars: float, **layout: Any) -> go.Scatter:
    """The label of the lowest and leftmost of three points, which have bars of so much on x, if any."""
    rows = pd.DataFrame({"x": [0.0, 0.5, 1.0], "y": [0.0, 0.6, 1.0], "name": ["a long name", "b", "c"]})
    fig = go.Figure(layout=layout)
    reach = {"array": list(bars)} if bars else None
    fig.add_scatter(x=rows["x"], y=rows["y"], mode="markers", marker={"size": 10}, error_x=reach)
    axes = [plane.axis(rows[c].to_numpy(), c) for c in "xy"]
    plane.name_points(fig, rows[:1], "name", ("x", "y"), axes, False, colour="#123456")
    return named(fig, "names")


def test_a_name_leaves_the_bars_of_its_point_free():
    assert labelled().textposition == ("middle right",)
    place = labelled(0.2, 0.2, 0.2).textposition[0]
    assert place.split()[0] in ("top", "bottom")
    assert labelled().textfont.color == "#123456"
    assert labelled().marker.size > 12  # more than the marker it stands beside


def test_names_stay_in_the_ranges_that_axes_have():
    room = {"xaxis": {"range": [-1.0, 0.02]}, "yaxis": {"range": [-0.5, 1.5]}}
    assert labelled(**room).textposition[0].endswith("left")


def test_the_mean_of_several_sets_is_that_of_the_table():
    table = published.dragon(4)
    sets = list(table.loc[table["group"] == "BEIR", "set"].drop_duplicates())
    several = fronts.dragon_points(table, sets=sets).set_index("name")
    printed = fronts.dragon_points(table, y=("BEIR-18", "nDCG@10")).set_index("name")
    assert set(several.index) == set(printed.index)
    assert (several["y"] - printed["y"]).abs().max() <= 0.11  # their means are rounded, and so are their sets
    with pytest.raises(ValueError, match="at least one set"):
        fronts.dragon_points(table, sets=[])


def planted(sets: int, rng: np.random.Generator, shift: float) -> pd.DataFrame:
    """Two retrievers over data sets: b is better by ``shift``, give or take one a set."""
    level = rng.uniform(20, 80, sets)
    values = {"a": level, "b": level + shift + rng.standard_normal(sets)}
    return pd.concat(
        [
            pd.DataFrame({"model": m, "set": [f"s{i}" for i in range(sets)], "metric": "nDCG@10", "value": v})
            for m, v in values.items()
        ]
    )


def test_intervals_over_data_sets_hold_the_truth_as_often_as_they_say():
    rng, held = np.random.default_rng(0), 0
    for _ in range(200):
        row = fronts.set_differences(planted(8, rng, 0.5), "a", n_boot=500).iloc[0]
        held += row["low"] <= 0.5 <= row["high"]
    assert 183 <= held <= 199  # 95% of 200, give or take 2.3 of its standard errors; the draws are seeded


def test_a_difference_survives_only_where_the_data_sets_agree():
    rng = np.random.default_rng(1)
    sure = fronts.set_differences(planted(12, rng, 3.0), "a").iloc[0]
    assert sure["survives"]
    assert sure["won"] == 12
    assert sure["sets"] == 12
    one = fronts.set_differences(planted(1, rng, 3.0), "a").iloc[0]
    assert not one["survives"]
    assert np.isinf(one["high"])


def test_intervals_that_hold_together_are_wider():
    table = published.dragon(4)
    both = [fronts.set_differences(table, "DRAGON+", together=t).set_index("model") for t in (True, False)]
    width = [rows["high"] - rows["low"] for rows in both]
    assert (width[0] > width[1]).all()
    assert both[1]["survives"].sum() > both[0]["survives"].sum() > 0


def test_a_set_named_twice_counts_once_and_no_scatter_is_no_evidence():
    table = published.dragon(4)
    twice = fronts.set_differences(table, "DRAGON+", ["SciFact", "SciFact"])
    assert (twice["sets"].max(), twice["survives"].any()) == (1, False)
    flat = planted(3, np.random.default_rng(2), 0.0)
    flat["value"] = flat["model"].map({"a": 40.0, "b": 41.0})
    assert not fronts.set_differences(flat, "a")["survives"].any()
    with pytest.raises(ValueError, match="level"):
        fronts.set_differences(table, "DRAGON+", level=95)


def test_differences_refuse_what_is_not_there():
    table = published.dragon(4)
    with pytest.raises(ValueError, match="base='BM25'"):
        fronts.set_differences(table, "BM25")
    with pytest.raises(ValueError, match="MSMARCO"):
        fronts.set_differences(table, "DRAGON", ["MSMARCO"])


def test_the_explorer_follows_its_controls():
    box = fronts.tradeoff_explorer(published.dragon(4))
    assert "DRAGON+" in box.sentence.value
    before = box.sentence.value
    box.controls["sets"].value = ("SciFact", "NFCorpus")
    assert box.sentence.value != before
    assert "mean of 2" in box.figure.layout.yaxis.title.text
    box.controls["metric"].value = "Success@5"
    assert box.controls["sets"].value == ("Search", "Forum")
    box.controls["models"].value = ("SPLADE++",)
    assert len(named(box.figure, "names").text) == 2
    names: dict[str, object] = {}
    exec(box.code.value.replace("view.figure", ""), names)  # the settings as code, ours
    assert names["view"].sentence in box.sentence.value.replace("&#x27;", "'")
