"""Which of several lengths of training a recipe is measured at."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import drscale as ds
from drscale.laws.diagnostics import converged_runs, durations, selected_in_warmup
from drscale.recipe import Recipe
from drscale.training.plot import length_figure


def runs(best: dict[tuple[str, int], float]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A table and curves in which the run of a rung at so many steps once reached the given value."""
    recipes = {at: Recipe(rung=at[0], steps=at[1]) for at in best}
    table = pd.DataFrame({"key": [str(r) for r in recipes.values()], "steps": [s for _, s in recipes]})
    table = table.assign(rung=[r for r, _ in recipes], status="done")
    looks = [(str(recipes[at]), v) for at, low in best.items() for v in (low + 0.5, low, low + 0.1)]
    return table, pd.DataFrame(looks, columns=["key", "validation"])


def test_a_rung_is_lengthened_until_doubling_gains_too_little():
    table, curves = runs(
        {
            ("L2H12", 100): 3.0,
            ("L2H12", 200): 2.8,
            ("L2H12", 400): 2.79,
            ("L2H12", 800): 2.0,  # never reached: the step before it did not pay
            ("L2H64", 100): 2.0,
            ("L2H64", 200): 2.1,
            ("L2H32", 100): 2.5,
            ("L2H32", 200): 2.2,
            ("L2H16", 100): 2.9,
        }
    )
    rows = durations(table, curves)
    chosen = rows[rows.chosen].set_index("rung")
    assert chosen["steps"].to_dict() == {"L2H12": 200, "L2H16": 100, "L2H32": 200, "L2H64": 100}
    assert chosen["settled"].to_dict() == {"L2H12": True, "L2H16": False, "L2H32": False, "L2H64": True}
    assert rows.set_index(["rung", "steps"]).loc[("L2H12", 200), "gained"] == pytest.approx(1 - 2.8 / 3)
    kept = converged_runs(table, curves)
    assert len(kept) == 4
    assert "steps" not in kept


@given(st.lists(st.floats(0.5, 5.5), min_size=1, max_size=6), st.floats(0, 0.5))
def test_one_run_of_a_recipe_is_chosen_and_no_shorter_one_is_better_by_the_gain(values, gain):
    table, curves = runs({("L2H12", 100 * 2**i): v for i, v in enumerate(values)})
    rows = durations(table, curves, gain)
    assert rows["chosen"].sum() == 1
    at = int(rows["chosen"].argmax())
    best = rows["best"].to_numpy()
    assert all(best[i + 1] <= best[i] * (1 - gain) + 1e-9 for i in range(at))
    assert at == len(best) - 1 or best[at + 1] > best[at] * (1 - gain) - 1e-9


def test_other_fields_and_failed_runs_stay_apart():
    table, curves = runs({("L2H12", 100): 3.0, ("L2H12", 200): 2.0})
    table.loc[1, "status"] = "failed"
    assert converged_runs(table, curves)["best"].tolist() == [3.0]


def test_what_is_missing_is_named():
    table, curves = runs({("L2H12", 100): 3.0})
    with pytest.raises(ValueError, match="gain=1"):
        durations(table, curves, 1)
    with pytest.raises(ValueError, match="curves has no column 'loss'"):
        durations(table, curves, value="loss")
    with pytest.raises(ValueError, match="never looked at"):
        durations(table, curves.assign(key="another"))


def test_runs_measured_inside_their_warm_up_are_found():
    table, _ = runs({("L2H12", 100): 3.0, ("L2H12", 200): 2.8, ("L2H64", 100): 2.0})
    table = table.assign(best_step=[40, 100, 20], warmup=100)
    assert selected_in_warmup(table)["best_step"].to_list() == [40, 20]
    table.loc[2, "status"] = "failed"
    assert selected_in_warmup(table)["key"].to_list() == [table.loc[0, "key"]]
    with pytest.raises(ValueError, match="the table has no column 'warmup'"):
        selected_in_warmup(table.drop(columns="warmup"))


def test_the_figure_fills_the_length_that_a_longer_run_hardly_betters():
    table, curves = runs({("L2H12", 100): 3.0, ("L2H12", 200): 2.8, ("L2H12", 400): 2.79, ("L2H64", 100): 2.0})
    rows = durations(table.assign(params_layers=table["rung"].str[3:].astype(int), seed=0), curves)
    small, large = length_figure(rows).data
    assert (small.name, large.name) == ("L2H12", "L2H64")
    assert list(small.marker.symbol) == ["circle-open", "circle", "circle-open"]
    assert list(large.marker.symbol) == ["circle-open"]
    assert list(small.y) == pytest.approx([3.0, 2.8, 2.79])


def test_a_length_is_full_only_if_no_seed_wants_more():
    table, curves = runs({("L2H12", 100): 3.0, ("L2H12", 200): 2.99})
    more = {seed: Recipe(rung="L2H12", seed=seed) for seed in (1, 2)}
    rest = [(str(more[1].but(steps=s)), s, 1, v) for s, v in ((100, 3.0), (200, 2.8))]
    rest += [(str(more[2].but(steps=100)), 100, 2, 3.1)]  # was never lengthened and says nothing
    other = pd.DataFrame(rest, columns=["key", "steps", "seed", "validation"])
    both = pd.concat([table.assign(seed=0), other.assign(rung="L2H12", status="done")]).assign(params_layers=12)
    looks = pd.concat([curves, other[["key", "validation"]]])
    (line,) = length_figure(durations(both, looks)).data
    assert list(line.marker.symbol) == ["circle-open", "circle-open"]
    (line,) = length_figure(durations(both[both["seed"] != 1], looks)).data
    assert list(line.marker.symbol) == ["circle", "circle-open"]


def test_runs_that_have_learnt_nothing_are_a_doubt():
    N = np.geomspace(1e4, 1e7, 8)
    runs = pd.DataFrame({"params_layers": N, "in_domain_entropy": 5.6 - 0.1 * np.log(N / 1e4)})
    said = [doubt for doubt in ds.fit_law(runs, ds.size_law, warn=False).doubts if "guess" in doubt]
    assert said == ["1 of 8 runs are no better than a guess (ln 257 = 5.55 nats)"]
    assert not [d for d in ds.fit_law(runs.iloc[1:], ds.size_law, warn=False).doubts if "guess" in d]
