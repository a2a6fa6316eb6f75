"""Paired differences between arms: the pairing, the wider interval, and what is refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from drscale.stats.paired import paired_steps


def runs(noise_of_size: float, noise: float, effect: float = -0.3) -> pd.DataFrame:
    rng, rows = np.random.default_rng(3), []
    for rung in "abcd":
        shared = rng.normal(0, noise_of_size)
        for seed in range(2):
            base = rng.normal(0, 5)  # cancels within a pair
            rows.append({"rung": rung, "seed": seed, "arm": "old", "loss": base})
            rows.append(
                {"rung": rung, "seed": seed, "arm": "new", "loss": base + effect + shared + rng.normal(0, noise)}
            )
    return pd.DataFrame(rows).sample(frac=1, random_state=0)


def test_pairs_are_subtracted_and_the_interval_is_student_s_of_the_pairs_where_sizes_agree() -> None:
    table = runs(0.0, 0.1)
    row = paired_steps(table, ["loss"], {"step": ("old", "new")}).iloc[0]
    wide = table.pivot_table(index=["rung", "seed"], columns="arm", values="loss")
    gap = (wide["new"] - wide["old"]).to_numpy()
    assert row["mean"] == pytest.approx(gap.mean())
    assert (row["pairs"], row["units"]) == (8, 4)
    by_pair = stats.t.interval(0.95, 7, gap.mean(), stats.sem(gap))
    means = (wide["new"] - wide["old"]).groupby("rung").mean().to_numpy()
    by_size = stats.t.interval(0.95, 3, means.mean(), stats.sem(means))
    assert row["low"] == pytest.approx(min(by_pair[0], by_size[0]))
    assert row["high"] == pytest.approx(max(by_pair[1], by_size[1]))


def test_what_sizes_share_widens_the_interval_and_more_rows_do_too() -> None:
    table = runs(0.5, 0.01)
    row = paired_steps(table, ["loss"], {"step": ("old", "new")}).iloc[0]
    gap = table.pivot_table(index=["rung", "seed"], columns="arm", values="loss").eval("new - old").to_numpy()
    assert row["high"] - row["mean"] > 1.3 * stats.t.ppf(0.975, 7) * stats.sem(gap)
    both = paired_steps(table, {"loss": "the loss"}, {"step": ("old", "new"), "back": ("new", "old")})
    assert both["outcome"].tolist() == ["the loss"] * 2
    assert both["mean"].sum() == pytest.approx(0)
    wider = (both["high"] - both["mean"]).iloc[0] / (row["high"] - row["mean"])
    assert wider == pytest.approx(stats.t.ppf(1 - 0.0125, 3) / stats.t.ppf(0.975, 3))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"steps": {"step": ("old", "newer")}}, "'newer' is no arm; there are"),
        ({"steps": {}}, "at least one of each"),
        ({"outcomes": ["gain"]}, "no column 'gain'"),
        ({"pairs": ("rung",)}, "two runs of one arm agree"),
        ({"level": 1.5}, "level"),
    ],
)
def test_what_cannot_be_answered_is_refused(change: dict[str, object], said: str) -> None:
    asked: dict[str, object] = {"outcomes": ["loss"], "steps": {"step": ("old", "new")}} | change
    with pytest.raises(ValueError, match=said):
        paired_steps(runs(0.1, 0.1), **asked)  # type: ignore[arg-type]


def test_a_run_without_a_partner_or_a_value_is_named() -> None:
    table = runs(0.1, 0.1).sort_values(["arm", "rung", "seed"], ignore_index=True)
    for lacking in (table.iloc[1:], table.assign(loss=table["loss"].where(table.index != 3))):
        with pytest.raises(ValueError, match="step, loss: 1 runs have no partner or no value"):
            paired_steps(lacking, ["loss"], {"step": ("old", "new")})


def test_one_size_is_no_sample_of_sizes() -> None:
    with pytest.raises(ValueError, match="at 1 rungs; at least 2"):
        paired_steps(runs(0.1, 0.1).query("rung == 'a'"), ["loss"], {"step": ("old", "new")})
