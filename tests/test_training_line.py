"""Arms on the line of fixed weights are not told from it, arms below it are, and seeds are the unit."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from drscale.training.plot import line_figure
from drscale.training.weight import from_line

FIXED = {"0": (1.0, 3.0), "0.5": (1.2, 2.5), "1": (1.6, 2.2)}


def runs(arms, seeds=12, noise=0.05, shared=0.1, seed=0):
    """Runs of arms at planted means; what a seed adds to all arms alike must not count."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(seeds):
        luck = shared * rng.standard_normal(2)
        for arm, (x, y) in {**FIXED, **arms}.items():
            dx, dy = luck + noise * rng.standard_normal(2)
            rows.append({"arm": arm, "seed": number, "x": x + dx, "y": y + dy})
    return pd.DataFrame(rows)


def test_an_arm_below_the_line_is_told_from_it_and_one_on_it_is_not() -> None:
    row = from_line(runs({"on": (1.4, 2.35), "below": (1.4, 2.15)}), list(FIXED), "x", "y").set_index("arm")
    assert row.loc["on", "low"] < 0 < row.loc["on", "high"]
    assert row.loc["below", "high"] < 0
    assert row.loc["below", "p_holm"] < 0.05 < row.loc["on", "p"]
    assert (row["p_holm"] >= row["p"]).all()
    assert row["units"].tolist() == [12, 12]


def test_without_noise_the_distance_is_that_of_the_means_also_beyond_the_ends() -> None:
    arms = {"inside": (1.1, 2.0), "before": (0.9, 3.0), "behind": (2.0, 2.0)}
    row = from_line(runs(arms, noise=0.0), list(FIXED), "x", "y").set_index("arm")
    assert row["distance"].to_dict() == pytest.approx({"inside": -0.75, "before": -0.25, "behind": 0.1})
    assert row["beyond"].to_dict() == {"inside": False, "before": True, "behind": True}


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    rows = [from_line(runs({"on": (1.4, 2.35)}, seed=s), list(FIXED), "x", "y").iloc[0] for s in range(200)]
    assert 0.91 <= np.mean([r["low"] <= 0 <= r["high"] for r in rows]) <= 0.99


def test_a_table_with_gaps_is_refused() -> None:
    table = runs({"on": (1.4, 2.35)})
    with pytest.raises(ValueError, match="lacks some of the 12 values of 'seed'"):
        from_line(table.iloc[1:], list(FIXED), "x", "y")
    with pytest.raises(ValueError, match="there twice"):
        from_line(pd.concat([table, table.iloc[:1]]), list(FIXED), "x", "y")
    with pytest.raises(ValueError, match="fixed="):
        from_line(table, ["0", "0.7"], "x", "y")
    with pytest.raises(ValueError, match="no column 'z'"):
        from_line(table, list(FIXED), "x", "z")
    with pytest.raises(ValueError, match="2 of them"):
        from_line(table[table["seed"] < 2], list(FIXED), "x", "y")


def test_the_line_of_fixed_weights_is_drawn_whole_inside_and_dashed_beyond() -> None:
    fig = line_figure(
        runs({"steered": (2.0, 2.0)}, noise=0.0, shared=0.0), list(FIXED), "x", "y", words=("one", "other")
    )
    inside, before, behind = (t for t in fig.data if t.mode == "lines")
    assert np.allclose(np.column_stack([inside.x, inside.y]), sorted(FIXED.values()))
    assert inside.line.dash is None
    assert before.line.dash == behind.line.dash == "4px,3px"
    assert (behind.x[-1], behind.y[-1]) == pytest.approx((2.0, 1.9))
    drawn = {t.name: list(t.text) for t in fig.data if t.mode == "markers"}
    assert drawn == {"fixed": list(FIXED), "steered": ["steered"]}
    (names,) = (t for t in fig.data if t.mode == "markers+text")
    assert list(names.text) == [*FIXED, "steered"]
    assert names.textfont.color[-1] != names.textfont.color[0]
    low, high = fig.layout.xaxis.range
    assert low < min(names.x) - 0.2
    assert high > max(names.x) + 0.2
    assert (fig.layout.xaxis.title.text, fig.layout.yaxis.title.text) == ("one", "other")
