"""Intervals by level: what runs of one x share is counted, doubt only widens, the benchmark says what trust says."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
from scripts import script
from synthetic import size_table

from drscale.laws import _solver as separable
from drscale.laws import fit as laws
from drscale.laws import intervals as trust
from drscale.laws._families import BROKEN
from drscale.laws.levels import by_level

coverage = script("benchmarks/coverage.py")

COLUMNS = {"N": "params_layers", "D": "train_pairs"}


def shared(seed: int = 0, noise: float = 0.02, levels: int = 10, seeds: int = 2, part: float = 0.9) -> pd.DataFrame:
    """Runs whose noise is in good part that of their level."""
    table = size_table(noise=noise * np.sqrt(1 - part), levels=levels, seeds=seeds, seed=seed)
    luck = noise * np.sqrt(part) * np.random.default_rng([7, seed]).standard_normal(levels)
    return table.assign(in_domain_entropy=table["in_domain_entropy"] * (1 + np.repeat(luck, seeds)))


def fit(table: pd.DataFrame, law=laws.size_law, **options):
    return laws.fit_law(table, law, warn=False, **options)


def test_what_a_level_shares_widens_intervals_bands_and_predictions():
    by_hand = []
    for seed in range(8):
        result = fit(shared(seed))
        means = fit(shared(seed).groupby("params_layers", as_index=False)["in_domain_entropy"].mean())
        plain = trust.law_intervals(means, unit="run").set_index("name").loc["mu"]
        ends, runs = (trust.law_intervals(result, unit=u).set_index("name").loc["mu"] for u in ("level", "run"))
        factor = by_level(result).widened(np.eye(3), 0.95)[1]
        assert ends["high"] == pytest.approx(means.best_values["mu"] * (plain["high"] / plain["value"]) ** factor)
        assert factor >= 1
        far = [trust.predict_law(result, [1e9], warn=False, unit=u).iloc[0] for u in ("level", "run")]
        by_hand.append(
            [ends["high"] - ends["low"] > runs["high"] - runs["low"]]
            + [a["band_high"] - a["band_low"] > b["band_high"] - b["band_low"] for a, b in [far]]
            + [a["high"] - a["low"] > b["high"] - b["low"] for a, b in [far]]
        )
    assert np.mean(by_hand) > 0.9


def test_a_table_for_a_paper_can_be_had_by_level_and_by_run():
    result = fit(shared())
    both = {u: trust.parameter_table(result, unit=u).set_index("name").loc["mu", "high"] for u in ("level", "run")}
    assert both["level"] == trust.parameter_table(result).set_index("name").loc["mu", "high"] > both["run"]
    rows = {u: trust.law_table({"a": result}, unit=u).loc[0, "exponent_high"] for u in ("level", "run")}
    assert rows == both
    with pytest.raises(ValueError, match="unit='seed': allowed are 'run', 'level'"):
        trust.parameter_table(result, unit="seed")


def test_the_mean_of_more_runs_is_better_known_only_by_what_runs_do_not_share():
    table = shared(noise=0.05, levels=12)
    one, two, many = (trust.predict_law(fit(table), [1e7], n_runs=n).iloc[0] for n in (1, 2, 10_000))
    assert one["high"] > two["high"] > many["high"]
    # A thousand runs do not take away what their level shares: nine tenths of the variance.
    spread = [p["high"] - p["fit"] for p in (two, many)]
    assert spread[1] > 0.8 * spread[0]
    alone = trust.predict_law(fit(table), [1e7], n_runs=10_000, unit="run").iloc[0]
    assert alone["high"] - alone["fit"] < 0.6 * spread[1]


def test_it_is_said_what_intervals_rest_on_and_what_few_levels_cannot_show():
    said = trust.interval_basis(fit(size_table(levels=10)))
    assert said.startswith("10 levels, 2 runs each, 7 degrees of freedom: the scatter shows unequal or ")
    assert re.search(r"so intervals are 1\.\d\d to 1\.\d\d times as wide\.$", said)
    few = trust.interval_basis(fit(size_table(levels=5, seeds=1)))
    assert few == (
        "5 levels, one run each, 2 degrees of freedom: so few cannot show whether their errors are equal and "
        "independent, and the intervals assume it."
    )
    with pytest.warns(laws.LawWarning, match="params_layers has only 5 levels for 3 parameters: take at least 6; "):
        laws.fit_law(size_table(levels=5, seeds=1), laws.size_law)


@pytest.mark.parametrize("space", laws.SPACES)
def test_intervals_by_level_do_not_depend_on_units(space):
    table = shared()
    other = table.assign(params_layers=1e3 * table["params_layers"], in_domain_entropy=7 * table["in_domain_entropy"])
    one, two = (trust.law_intervals(fit(t, space=space)).set_index("name") for t in (table, other))
    assert two.loc["mu", ["low", "high"]].to_list() == pytest.approx(one.loc["mu", ["low", "high"]].to_list(), rel=1e-3)
    assert two.loc["delta", "high"] == pytest.approx(7 * one.loc["delta", "high"], rel=1e-3)


def test_a_level_counts_once_however_many_runs_it_has():
    table = shared(levels=8)
    more = pd.concat([table, *[table[table["params_layers"] == table["params_layers"].min()]] * 5])
    one, two = (by_level(fit(t)) for t in (table, more))
    assert two.curve == pytest.approx(one.curve)
    assert two.counts.tolist() == [12, *[2] * 7]


@pytest.mark.parametrize(("name", "kind"), [("size", "half shared by a level"), ("data", "larger at large x")])
@pytest.mark.parametrize("few", [False, True])
def test_the_benchmark_of_coverage_asks_what_trust_answers(name, kind, few):
    kind = "five levels, two, half shared" if few else kind
    world, points, runs = coverage.tables_of(name, kind, 6, seed=3)
    held = coverage.covered(world, points, runs)
    (column,), many = points.columns, runs.shape[2]
    truth, exponent = world.truth, world.exponents[0]
    ahead = float(world.law(4 * points[column].max(), **truth))
    for i, mine in enumerate(runs):
        table = points.loc[points.index.repeat(many)].assign(y=mine.ravel())
        for unit in ("level", "run"):
            result = laws.fit_law(table, world.law, column, "y", warn=False)
            low, high = trust.law_intervals(result, unit=unit).set_index("name").loc[exponent, ["low", "high"]]
            assert held[exponent, unit][i] == (low <= truth[exponent] <= high)
            band = trust.predict_law(result, 4 * points[column].max(), warn=False, unit=unit).iloc[0]
            assert held["band at 4x", unit][i] == (band["band_low"] <= ahead <= band["band_high"])
            last = trust.hold_out(table, world.law, column, "y", unit=unit, warn=False).iloc[-1]
            assert held["hold-out", unit][i] == last["inside"]


def test_the_benchmark_agrees_for_a_law_of_two_and_prints_its_table(capsys):
    world, points, runs = coverage.tables_of("joint", "nine tenths shared", 3, seed=1)
    held = coverage.covered(world, points, runs)
    for i, mine in enumerate(runs):
        table = points.loc[points.index.repeat(2)].assign(y=mine.ravel())
        result = laws.fit_law(table, world.law, {"N": "N", "D": "D"}, "y", warn=False)
        ends = trust.law_intervals(result).set_index("name")
        for name in ("mu", "eta"):
            assert held[name, "level"][i] == (ends.loc[name, "low"] <= world.truth[name] <= ends.loc[name, "high"])
    assert len(coverage.KINDS) >= 9
    assert list(coverage.WORLDS) == ["size", "data", "joint"]
    coverage.main(["--tables", "4", "--laws", "size"])
    printed = capsys.readouterr().out
    assert printed.startswith("\nsize law, 4 tables a row")
    assert all(kind in printed for kind in coverage.KINDS)


def test_the_hold_out_stands_beside_what_needs_no_law():
    table = size_table(noise=0.01)
    sizes = np.unique(table["params_layers"])
    last = trust.hold_out(table, laws.size_law).iloc[-1]
    before = table[table["params_layers"] == sizes[-2]]["in_domain_entropy"].mean()
    assert last["naive"] == pytest.approx(before)
    assert last["naive_error"] == pytest.approx(before / last["measured"] - 1)
    reached = trust.reach(table, laws.size_law)
    assert reached["cut"].to_list() == pytest.approx([sizes[-2], sizes[sizes <= sizes[-1] / 10].max()])
    assert reached["beyond"].to_list() == pytest.approx((sizes[-1] / reached["cut"]).to_list())
    assert reached.loc[0, "predicted"] == last["predicted"]
    far = trust.hold_out(table, laws.size_law, above=float(reached.loc[1, "cut"]), warn=False).iloc[-1]
    assert reached.loc[1, ["predicted", "low", "naive"]].to_list() == far[["predicted", "low", "naive"]].to_list()
    assert abs(reached.loc[1, "naive_error"]) > 3 * abs(reached.loc[1, "error"])
    six = trust.reach(size_table(levels=6), laws.size_law)  # a tenth would leave three levels
    assert six["cut"].to_list() == pytest.approx(np.unique(size_table(levels=6)["params_layers"])[[4, 3]].tolist())
    with pytest.raises(ValueError, match="shares=2: a share of the largest params_layers"):
        trust.reach(table, laws.size_law, shares=[2])


def test_the_naive_rule_of_a_law_of_two_repeats_the_nearest_point():
    n, d = (v.ravel() for v in np.meshgrid(np.geomspace(1e4, 1e6, 5), np.geomspace(1e3, 1e4, 4)))
    table = pd.DataFrame(
        {"params_layers": n, "train_pairs": d, "in_domain_entropy": laws.joint_law(n, d, 3e4, 0.5, 2e3, 0.35, 0.8)}
    )
    found = trust.hold_out(table, laws.joint_law, warn=False).iloc[0]
    same = table[(table["train_pairs"] == found["train_pairs"]) & (table["params_layers"] < found["params_layers"])]
    assert found["naive"] == same.sort_values("params_layers")["in_domain_entropy"].iloc[-1]


def test_a_law_of_your_own_is_held_out_with_its_starts():
    def log_law(N, a, b):
        return a - b * np.log10(N)

    table = size_table()
    found = trust.hold_out(table, log_law, "params_layers", start={"a": 1.0, "b": 0.1}, warn=False)
    assert np.isfinite(found[["predicted", "low", "high", "naive"]].to_numpy(dtype=float)).all()


def test_local_exponents_tell_a_power_law_from_a_sigmoid():
    x = np.geomspace(500, 16_000, 6)
    straight = pd.DataFrame({"train_pairs": x, "y": (1e4 / x) ** 0.3})
    assert trust.local_exponents(straight, "train_pairs", "y")["exponent"].to_list() == pytest.approx([0.3] * 5)
    assert trust.local_exponents(straight, "train_pairs", "y")["low"].isna().all()
    rng, hits = np.random.default_rng(0), []
    for _ in range(40):
        y = np.repeat(straight["y"].to_numpy(), 3) * np.exp(0.02 * rng.standard_normal(18))
        found = trust.local_exponents(pd.DataFrame({"train_pairs": np.repeat(x, 3), "y": y}), "train_pairs", "y")
        hits.append(((found["low"] <= 0.3) & (found["high"] >= 0.3)).mean())
    assert 0.9 < np.mean(hits) < 0.99
    with pytest.raises(ValueError, match="column 'train_pairs' has 1 different value"):
        trust.local_exponents(straight.head(1), "train_pairs", "y")


def test_a_coefficient_has_the_unit_of_its_own_column():
    n, d = (v.ravel() for v in np.meshgrid(np.geomspace(1e4, 1e6, 5), np.geomspace(1e3, 1e4, 4)))
    table = pd.DataFrame({"weights": n, "tokens": d, "loss": laws.joint_law(n, d, 3e4, 0.5, 2e3, 0.35, 0.8)})
    result = laws.fit_law(table, laws.joint_law, ("weights", "tokens"), "loss", warn=False)
    assert trust.parameter_table(result)["unit"].to_list() == ["weights", "", "tokens", "", "", ""]
    one = laws.fit_law(table[table["tokens"] == 1e3], laws.data_law, "weights", "loss", warn=False)
    assert trust.parameter_table(one)["unit"].to_list() == ["weights", "", "", ""]


def test_lack_of_fit_names_the_rivals_that_fit():
    n, d = (np.repeat(v.ravel(), 2) for v in np.meshgrid(np.geomspace(1e4, 1e6, 6), np.geomspace(1e3, 1e5, 5)))
    luck = 1 + 0.004 * np.random.default_rng(1).standard_normal(len(n))
    y = laws.additive_law(n, d, 3e4, 0.5, 2e3, 0.35, 0.8) * luck
    table = pd.DataFrame({"params_layers": n, "train_pairs": d, "in_domain_entropy": y})
    (said,) = [s for s in laws.diagnose(fit(table, laws.joint_law)) if s.startswith("lack of fit")]
    assert "its rival additive_law fits (p=" in said
    assert not [s for s in laws.diagnose(fit(table, laws.additive_law)) if s.startswith("lack of fit")]
    six = size_table(noise=0.001, levels=6)
    six["in_domain_entropy"] *= 1 + 0.05 * np.sin(2 * np.log(six["params_layers"]))
    (said,) = [s for s in laws.diagnose(fit(six)) if s.startswith("lack of fit")]
    assert said.endswith("its rival broken_law needs more levels to be tried")
    wavy = table.assign(in_domain_entropy=y * (1 + 0.05 * np.sin(3 * np.log(n))))
    (said,) = [s for s in laws.diagnose(fit(wavy, laws.joint_law)) if s.startswith("lack of fit")]
    assert said.endswith("its rival additive_law does not fit either")


def test_a_family_of_three_shape_parameters_has_a_grid():
    three = separable.replace(BROKEN, own=(1, 2, 3))
    p = separable.Separable(three, np.zeros(1), np.zeros((1, 4)), np.ones(4), np.ones(4), np.zeros(3), np.ones(3))
    assert separable.candidates(p).shape[1] == 3
