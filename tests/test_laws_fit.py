"""Laws: planted truths come back, intervals cover them, and a fit that deserves doubt says so."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import lmfit
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from synthetic import TRUTH, size_table

from drscale.laws import _power as power
from drscale.laws import fit as laws
from drscale.laws import intervals as refits
from drscale.laws import intervals as trust
from drscale.laws.compare import compare_laws, suited_law
from drscale.laws.fit import data_law, size_law
from drscale.laws.result import LawWarning
from drscale.runs import StoreWarning


def quiet(table: pd.DataFrame, law=size_law, y="in_domain_entropy", **options) -> lmfit.model.ModelResult:
    return laws.fit_law(table, law, y=y, warn=False, **options)


def own_table(y, x=None, **columns) -> pd.DataFrame:
    x = np.repeat(np.geomspace(5e3, 1e7, 10), 2) if x is None else np.asarray(x, dtype=float)
    return pd.DataFrame({"params_layers": x, "in_domain_entropy": y(x) if callable(y) else y, **columns})


# The laws themselves, against numbers worked from the papers' tables.


@pytest.mark.parametrize(
    ("law", "x", "parameters", "expected"),
    [
        (size_law, 86_235_648, (3.70e4, 0.55, 0.05), 0.0640),  # Table 1, OOD on MS MARCO, BERT-base
        (size_law, 86_235_648, (4.23e6, 0.46, 0.096), 0.346),  # Table 1, robustness on T2Ranking, delta read as .096
        (data_law, 30_000, (4.34e3, 0.83, 0.08), 0.281),  # Table 2, OOD on MS MARCO, both ends
        (data_law, 480_000, (4.34e3, 0.83, 0.08), 0.100),
        (data_law, 30_000, (3.71e3, 1.11, 0.05), 0.148),  # Table 2, effectiveness on MS MARCO
        (data_law, 480_000, (3.71e3, 1.11, 0.05), 0.0545),
    ],
)
def test_laws_give_the_papers_values(law, x, parameters, expected):
    assert law(x, *parameters) == pytest.approx(expected, rel=0.01)


# Recovery


@pytest.mark.parametrize("space", laws.SPACES)
@pytest.mark.parametrize("robust", [False, True])
@pytest.mark.parametrize(
    ("M", "mu", "delta"),
    [(3.48e4, 0.55, 0.05), (1e2, 0.3, 0.5), (1e9, 0.4, 1e-3), (1.12e7, 0.48, 0.07), (50.0, 1.4, 0.2)],
)
def test_exact_runs_give_the_planted_law_back(space, robust, M, mu, delta):
    x = np.geomspace(M / 3, M * 300, 12) if M < 1e6 else np.geomspace(5e5, 8.2e7, 12)
    result = quiet(own_table(lambda n: size_law(n, M, mu, delta), x), space=space, robust=robust)
    assert result.best_values == pytest.approx({"M": M, "mu": mu, "delta": delta}, rel=1e-5)


def test_the_data_law_takes_its_own_column_and_names():
    d = np.repeat([550, 1100, 2200, 4400, 8800, 17600], 2).astype(float)
    table = pd.DataFrame({"train_pairs": d, "ood_entropy": data_law(d, 3.71e3, 1.11, 0.05)})
    assert quiet(table, data_law, "ood_entropy").best_values == pytest.approx({"B": 3.71e3, "eta": 1.11, "delta": 0.05})


@pytest.mark.parametrize("space", laws.SPACES)
def test_lmfit_alone_finds_the_same_optimum_from_the_truth(space):
    table = size_table()
    x, y = table["params_layers"].to_numpy(), table["in_domain_entropy"].to_numpy()
    log = space == "log"
    model = lmfit.Model((lambda N, M, mu, delta: np.log(size_law(N, M, mu, delta))) if log else size_law)
    weights = 1 / y if space == "relative" else None
    plain = model.fit(np.log(y) if log else y, model.make_params(**TRUTH), weights=weights, N=x)
    ours = quiet(table, space=space)
    assert ours.best_values == pytest.approx(plain.best_values, rel=1e-4)
    assert [p.stderr for p in ours.params.values()] == pytest.approx(
        [p.stderr for p in plain.params.values()], rel=1e-2
    )
    theirs, mine = plain.conf_interval(sigmas=[0.95]), trust.law_intervals(ours, unit="run").set_index("name")
    for name in TRUTH:  # log space is profiled by weights fixed at the optimum, hence the tolerance
        assert [theirs[name][0][1], theirs[name][-1][1]] == pytest.approx(mine.loc[name, ["low", "high"]], rel=0.01)


def test_profile_equals_lmfits_own_on_the_result():
    result = quiet(size_table())
    theirs, mine = result.conf_interval(sigmas=[0.95]), trust.law_intervals(result, unit="run").set_index("name")
    for name in TRUTH:
        assert [theirs[name][0][1], theirs[name][-1][1]] == pytest.approx(mine.loc[name, ["low", "high"]], rel=1e-4)


@settings(max_examples=30, deadline=None)
@given(c=st.floats(1e-3, 1e3), k=st.floats(1e-2, 1e2), seed=st.integers(0, 50))
def test_units_of_x_and_y_change_nothing_else(c, k, seed):
    table = size_table(seed=seed, levels=8)
    one, other = quiet(table), quiet(table.assign(params_layers=c * table["params_layers"]))
    scaled = {"M": c * one.best_values["M"], "mu": one.best_values["mu"], "delta": one.best_values["delta"]}
    assert other.best_values == pytest.approx(scaled, rel=1e-4)
    taller = quiet(table.assign(in_domain_entropy=k * table["in_domain_entropy"]))
    assert taller.best_values["mu"] == pytest.approx(one.best_values["mu"], rel=1e-4)
    assert taller.best_values["delta"] == pytest.approx(k * one.best_values["delta"], rel=1e-4)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), noise=st.floats(0.0, 0.3), mu=st.floats(0.05, 3.0), delta=st.floats(0.0, 2.0))
def test_whatever_the_runs_the_optimum_is_the_best_of_a_fine_grid(seed, noise, mu, delta):
    rng = np.random.default_rng(seed)
    table = own_table(lambda n: size_law(n, 2e4, mu, delta) * np.exp(noise * rng.standard_normal(len(n))))
    result = quiet(table)
    grid = power.best_pair(result.fitted.problem, np.geomspace(*power.MU, 3000))[0].min()
    assert result.chisqr <= grid * (1 + 1e-6) + 1e-12
    ends = trust.law_intervals(result)
    assert (ends["low"] <= ends["value"] * (1 + 1e-6) + 1e-9).all()
    assert (ends["high"] >= ends["value"] * (1 - 1e-6) - 1e-9).all()
    band = trust.predict_law(result, np.geomspace(1e3, 1e9, 7), warn=False)
    assert (band["low"] <= band["band_low"] * (1 + 1e-9)).all()
    assert (band["band_low"] <= band["fit"]).all()
    assert (band["fit"] <= band["band_high"]).all()
    assert (band["band_high"] <= band["high"] * (1 + 1e-9)).all()


def test_one_wild_run_pulls_the_robust_fit_less():
    table = size_table()
    clean = quiet(table).best_values["mu"]
    table.loc[0, "in_domain_entropy"] *= 2
    plain, robust = (quiet(table, robust=r).best_values["mu"] for r in (False, True))
    assert 5 * abs(robust - clean) < abs(plain - clean)


def test_a_law_of_your_own_needs_starts_and_gets_the_generic_intervals():
    def line(log_n, a, b):
        return a + b * log_n

    rng = np.random.default_rng(0)
    x = np.linspace(1, 9, 12)
    table = pd.DataFrame({"log_n": x, "y": 3 - 0.2 * x + 0.01 * rng.standard_normal(12)})
    with pytest.raises(ValueError, match="line needs a start value for each of a, b"):
        laws.fit_law(table, line, "log_n", "y")
    result = laws.fit_law(table, line, "log_n", "y", start={"a": 1.0, "b": 0.0}, space="linear")
    ends = trust.law_intervals(result).set_index("name")
    assert ends.loc["b", "low"] < -0.2 < ends.loc["b", "high"]
    assert trust.predict_law(result, [5.0])["fit"].item() == pytest.approx(2.0, abs=0.02)
    assert list(trust.parameter_table(result)["name"]) == ["a", "b", "R2"]
    drawn = trust.law_intervals(result, "bootstrap", unit="run").set_index("name")
    assert drawn.loc["b", "low"] < -0.2 < drawn.loc["b", "high"]
    theirs = result.conf_interval(sigmas=[0.95])
    mine = trust.law_intervals(result, unit="run").set_index("name")
    for name in ("a", "b"):
        assert [theirs[name][0][1], theirs[name][-1][1]] == pytest.approx(mine.loc[name, ["low", "high"]], rel=1e-4)


def test_failed_runs_stay_out():
    table = size_table().assign(status="done")
    failed = pd.DataFrame({"params_layers": [6e5], "status": ["failed"]})
    both = pd.concat([table, failed], ignore_index=True)
    assert quiet(both).best_values == quiet(table).best_values


def test_a_fit_takes_few_evaluations():
    """The solver's start is the optimum, so that lmfit's own search has little left; seconds are benchmarks' matter."""
    assert quiet(size_table()).nfev <= 30


# Intervals


def test_profile_intervals_cover_the_truth_as_often_as_they_say():
    hits = dict.fromkeys(TRUTH, 0)
    bands = measured = 0
    curve = size_law(1e9, **TRUTH)
    for seed in range(60):
        result = quiet(size_table(seed=seed))
        for row in trust.law_intervals(result, unit="run").itertuples():
            hits[row.name] += row.low <= TRUTH[row.name] <= row.high
        p = trust.predict_law(result, [1e9], warn=False, unit="run").iloc[0]
        bands += p["band_low"] <= curve <= p["band_high"]
        new = curve * (1 + 0.02 * np.random.default_rng(10_000 + seed).standard_normal())
        measured += p["low"] <= new <= p["high"]
    # 95% of 60 is 57; the chance to see fewer than 52 is below 1 in 100.
    assert min(*hits.values(), bands, measured) >= 52
    assert max(hits.values()) < 60 or bands < 60


def test_bootstrap_is_seeded_resamples_levels_and_agrees_with_the_profile():
    result = quiet(size_table())
    one, again, other = (trust.law_intervals(result, "bootstrap", n_boot=300, seed=s) for s in (1, 1, 2))
    pd.testing.assert_frame_equal(one, again)
    assert not one.equals(other)
    profile = trust.law_intervals(result, unit="run").set_index("name")
    widths = {}
    for unit in ("run", "level"):
        found = trust.law_intervals(result, "bootstrap", n_boot=500, unit=unit).set_index("name")
        widths[unit] = float(found.loc["mu", "high"] - found.loc["mu", "low"])
    wide = float(profile.loc["mu", "high"] - profile.loc["mu", "low"])
    assert all(0.5 * wide < w < 2 * wide for w in widths.values())
    assert widths["run"] != widths["level"]


def test_draws_keep_enough_levels():
    x = np.repeat([1.0, 2.0, 3.0, 4.0, 5.0], 2)
    result = quiet(own_table(lambda n: size_law(n, 1.0, 1.0, 0.5), x))
    counts = refits._counts(result.fitted, 200, "level", np.random.default_rng(0))
    assert counts.shape == (200, 10)
    assert min(len(set(np.flatnonzero(c) // 2)) for c in counts) >= 4
    assert (counts[:, 0::2] == counts[:, 1::2]).all()


def test_an_interval_at_a_bound_says_so_and_reaches_past_the_value():
    rng = np.random.default_rng(1)
    table = own_table(lambda n: size_law(n, 3e4, 0.3, 0.0) * (1 + 0.02 * rng.standard_normal(len(n))))
    result = quiet(table)
    delta = trust.law_intervals(result).set_index("name").loc["delta"]
    assert result.best_values["delta"] == 0.0
    assert delta["low"] == 0.0
    assert delta["high"] > 1e-3
    assert "bound 0" in delta["note"]
    assert np.isnan(trust.parameter_table(result).set_index("name").loc["delta", "stderr"])
    assert trust.law_intervals(result, level=0.5).set_index("name").loc["delta", "high"] < delta["high"]


def test_stderr_intervals_are_symmetric_and_close_to_the_profile():
    result = quiet(size_table())
    plain, profile = trust.law_intervals(result, "stderr", unit="run"), trust.law_intervals(result, unit="run")
    assert ((plain["low"] + plain["high"]) / 2).to_list() == pytest.approx(plain["value"].to_list())
    assert plain["high"].to_list() == pytest.approx(profile["high"].to_list(), rel=0.02)


# Prediction and extrapolation


def test_the_band_widens_outside_and_extrapolation_warns():
    result = quiet(size_table())
    with pytest.warns(
        LawWarning, match=r"1 of 2 points lie outside the fitted range of params_layers, 500000 to 8.2e\+07"
    ):
        p = trust.predict_law(result, [1e7, 1e9])
    assert p["extrapolated"].to_list() == [False, True]
    width = (p["band_high"] - p["band_low"]) / p["fit"]
    assert width[1] > 2 * width[0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        inside = trust.predict_law(result, [1e7])
    assert trust.predict_law(result, [1e7], n_runs=100)["high"].item() < inside["high"].item()


def test_the_curve_interval_is_the_profile_of_the_curve():
    """Refit with the curve pinned at x by a heavy extra point: chi-square rises by just the allowed amount."""
    table = size_table()
    result = quiet(table)
    f = result.fitted
    for at in (1e5, 3e6, 1e9):
        low, high = power.curve_interval(f.problem, np.array([at]), 4 * f.unit)
        for height in (low[0], high[0]):
            x, y = np.append(f.x, at), np.append(f.y, height)
            pinned = power.power(x, y, np.append(f.problem.weights, 1e9 / height**2), power.MU, (0.0, np.inf))
            assert power.minimum(pinned)[0] - result.chisqr == pytest.approx(4 * f.unit, rel=0.02)


def test_holdout_fits_below_and_judges_above():
    table = size_table(noise=0.01)
    levels = np.unique(table["params_layers"])
    report = trust.hold_out(table, size_law, above=levels[-3])
    assert report["params_layers"].to_list() == pytest.approx(levels[-2:])
    assert report["runs"].to_list() == [2, 2]
    below = quiet(table[table["params_layers"] <= levels[-3]])
    expected = size_law(levels[-1], **below.best_values)
    last = report.iloc[-1]
    assert last["predicted"] == pytest.approx(expected)
    assert last["measured"] == pytest.approx(table[table["params_layers"] == levels[-1]]["in_domain_entropy"].mean())
    assert last["error"] == pytest.approx(last["predicted"] / last["measured"] - 1)
    assert report["inside"].all()
    bent = table.assign(in_domain_entropy=table["in_domain_entropy"] * np.where(table["params_layers"] > 6e7, 1.5, 1))
    assert not trust.hold_out(bent, size_law, warn=False)["inside"].any()
    with pytest.raises(
        ValueError, match=r"above=1000000000000.0: no run has params_layers beyond it, the largest is 8.2e\+07"
    ):
        trust.hold_out(table, size_law, above=1e12)


# Diagnostics: each fires when it should, none on a good table


def test_a_good_table_raises_no_doubt():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        silent = [laws.diagnose(laws.fit_law(size_table(seed=s), size_law)) for s in range(10)]
    assert silent == [[]] * 10


def bumpy() -> pd.DataFrame:
    """Runs whose replicates agree to 0.1% and whose curve swings by 5%."""
    rng = np.random.default_rng(0)
    return own_table(
        lambda n: (
            size_law(n, 3e4, 0.4, 0.5) * (1 + 0.05 * np.sin(3 * np.log(n))) * (1 + 1e-3 * rng.standard_normal(len(n)))
        )
    )


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (size_table(delta=0.0, seed=4), "delta is at its bound 0"),
        (own_table(lambda n: 1 + (6e3 / n) ** 14), "mu is at its bound 10"),
        (size_table(levels=4), "params_layers has only 4 levels for 3 parameters"),
        (size_table().query("params_layers < 4e6"), "spans a factor of 6.4"),
        (bumpy(), "lack of fit"),
        (own_table(lambda n: 1 + np.log(n) / 10), "does not fall with params_layers"),
        (size_table(noise=0.2, M=1e3, seed=3), "mu is hardly determined"),
        (size_table(M=1e-9, mu=0.1, delta=0.0, noise=0.01), "M and mu are correlated by 0.99"),
    ],
)
def test_doubt_is_spoken(table, said):
    result = quiet(table)
    assert any(said in sentence for sentence in laws.diagnose(result)), laws.diagnose(result)
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        laws.fit_law(table, size_law)
    spoken = [f"size_law of in_domain_entropy: {sentence}" for sentence in laws.diagnose(result)]
    assert [str(w.message) for w in heard] == spoken
    assert all(w.category is LawWarning and w.filename == __file__ for w in heard)


def test_lack_of_fit_is_silent_without_replicates_and_on_seed_noise():
    assert laws.lack_of_fit(quiet(size_table(seeds=1))) is None
    ratios = [laws.lack_of_fit(quiet(size_table(seed=s))) for s in range(20)]
    assert np.median([p for _, p in ratios]) > 0.2


def test_a_parameter_that_is_held_costs_no_degree_of_freedom():
    """By hand: 12 levels of 2 runs, 2 free parameters, hence an F of 10 and 12 degrees of freedom."""
    result = quiet(size_table(), bounds={"delta": (0.04, 0.04)})
    ratio, p = laws.lack_of_fit(result)
    r = np.asarray(result.residual).reshape(12, 2)
    assert ratio == pytest.approx(2 * (r.mean(axis=1) ** 2).sum() / 10 / (r.var(axis=1) * 2).sum() * 12)
    assert p == pytest.approx(stats.f.sf(ratio, 10, 12))
    five = size_table(levels=5, seeds=1)
    assert not [s for s in laws.diagnose(quiet(five, bounds={"delta": (0.04, 0.04)})) if "only 5 levels" in s]
    (said,) = [
        s for s in laws.diagnose(quiet(five)) if s.startswith("params_layers has only 5 levels for 3 parameters")
    ]
    assert "so few cannot show whether their errors are equal and independent" in said


def test_a_curve_says_where_its_draws_are_too_narrow():
    table = size_table()
    assert refits.law_curve(quiet(table), 100).doubts == ()
    held = quiet(table, bounds={"delta": (0.04, 0.04)})
    assert refits.law_curve(held, 100).doubts[-1].startswith("delta is held at 0.04: its interval is a point")
    assert refits.law_curve(held).doubts == ()  # no draws, no intervals
    bound = refits.law_curve(quiet(table, bounds={"delta": (0.0, 0.03)}), 100, unit="level")
    assert [d.split(":")[0] for d in bound.doubts] == ["delta is at its bound 0.03, and so it is in every draw"]
    shared = 1 + 0.2 * np.repeat(np.random.default_rng(0).standard_normal(12), 2)
    levels = quiet(table.assign(in_domain_entropy=table["in_domain_entropy"] * shared))
    (said,) = refits.law_curve(levels, 100, unit="run").doubts
    assert "runs of one level share an error" in said
    assert "unit='level'" in said
    assert refits.law_curve(levels, 100).doubts == ()
    assert refits.law_curve(levels, refits.bootstrap_runs(levels, 100)).doubts == ()  # draws know their unit
    assert refits.law_curve(levels, refits.bootstrap_runs(levels, 100, "run")).doubts == (said,)
    (few,) = refits.law_curve(quiet(size_table(levels=6)), 100).doubts
    assert few == "the intervals are too narrow: a bootstrap of 6 levels covers less than it says"


def test_mixed_texts_warn():
    table = size_table().assign(fingerprint=["a", "b"] * 12)
    with pytest.warns(StoreWarning, match="2 different text fingerprints"):
        laws.fit_law(table, size_law)


# What is measured on a fit


def test_goodness_in_both_spaces():
    result = quiet(size_table())
    good = laws.goodness(result)
    assert good["R2"] == pytest.approx(result.rsquared)
    assert 0.99 < good["R2_log"] < 1
    assert good["relative_error"] == pytest.approx(0.02, rel=0.4)
    assert (good["runs"], good["levels"]) == (24, 12)


def test_parameters_carry_units_intervals_and_r2():
    p = trust.parameter_table(quiet(size_table()))
    assert list(p["name"]) == ["M", "mu", "delta", "R2"]
    assert list(p["unit"]) == ["parameters", "", "nats", ""]
    assert (p["low"][:3] < p["value"][:3]).all()
    assert (p["value"][:3] < p["high"][:3]).all()


def test_summary_has_the_columns_of_the_papers_tables():
    published = pd.read_csv(Path(__file__).parent.parent / "data" / "published" / "tables_1_2.csv")
    result = quiet(size_table())
    row = trust.law_table({"planted": result}).iloc[0]
    assert {"coefficient", "exponent", "delta", "r2"} <= set(published) & set(row.index)
    assert row["exponent"] == result.best_values["mu"]
    ends = trust.law_intervals(result).set_index("name")
    assert [row["coefficient_low"], row["coefficient_high"]] == ends.loc["M", ["low", "high"]].to_list()


def test_the_published_tables_are_the_papers():
    """Eight rows, and each law gives what the paper's text says of its curve."""
    published = pd.read_csv(Path(__file__).parent.parent / "data" / "published" / "tables_1_2.csv")
    assert published.groupby(["table", "law"]).size().to_dict() == {(1, "size_law"): 4, (2, "data_law"): 4}
    by = published.set_index(["law", "training_set", "scope"])
    assert by.loc[("size_law", "MS MARCO", "ood"), "coefficient"] == 3.70e4
    assert by.loc[("data_law", "MS MARCO", "in_domain"), "exponent"] == 1.11
    odd = by.loc[("size_law", "T2Ranking", "ood")]
    assert odd["delta"] == 0.96
    assert "0.096" in odd["note"]


def test_plateau_tells_flat_from_falling_and_rising():
    steps = np.arange(100, 1001, 100)
    falls, flat, turns = 5 - steps / 500, np.full(10, 2.0), 2 + (steps - 500) ** 2 / 1e6
    curves = pd.concat(
        [pd.DataFrame({"key": k, "step": steps, "validation": v}) for k, v in (("a", falls), ("b", flat), ("c", turns))]
    )
    found = trust.plateau(curves).set_index("key")
    assert found.loc["a", "change"] == pytest.approx(3.0 / 3.6 - 1)
    assert found.loc["b", "change"] == 0
    assert found.loc["c", "change"] > 0
    assert found.loc["c", "best_step"] == 500
    assert set(found["steps"]) == {1000}
    with pytest.raises(ValueError, match="share=1: must lie between 0 and 1"):
        trust.plateau(curves, share=1)
    with pytest.raises(ValueError, match="no column 'loss'"):
        trust.plateau(curves, "loss")


# Callers' mistakes


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"y": "ood_calibrated"}, "no column 'ood_calibrated'; it has params_layers, in_domain_entropy"),
        ({"x": "width"}, "no column 'width'"),
        ({"space": "squared"}, "space='squared': allowed are 'relative', 'linear', 'log'"),
        ({"bounds": {"nu": (0, 1)}}, "bounds: no parameter 'nu', allowed are M, mu, delta"),
        ({"bounds": {"mu": (0.0, 1.0)}}, "mu needs a lower one above 0"),
        ({"start": {"M": 1.0}}, "size_law finds its own start"),
    ],
)
def test_wrong_arguments_are_named(change, said):
    with pytest.raises(ValueError, match=said):
        laws.fit_law(size_table(), size_law, **change)


@pytest.mark.parametrize(
    ("law", "options", "said"),
    [
        (
            size_law,
            {},
            "no column 'params_layers'; it has Params, Pairs, loss. Name your columns: x='Params', y='loss'",
        ),
        (
            size_law,
            {"x": "Params"},
            "no column 'in_domain_entropy'; it has Params, Pairs, loss. Name your columns: y='loss'",
        ),
        (laws.additive_law, {"y": "loss"}, "Name your columns: x=('Params', 'Pairs')"),
        (
            None,
            {},
            "params_layers or train_pairs; it has Params, Pairs, loss. Name your columns: x='Params', y='loss'",
        ),
    ],
)
def test_a_table_of_other_names_is_told_how_to_name_them(law, options, said):
    table = pd.DataFrame({"Params": [1e4, 1e5], "Pairs": [100, 100], "loss": [3.0, 2.0]})
    with pytest.raises(ValueError, match=re.escape(said)):
        laws.fit_law(table, law, **options) if law else laws.laws_for(table)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (size_table(levels=3), "has 3 different values: a law with 3 unknowns .M, mu, delta. needs at least 4"),
        (size_table().assign(in_domain_entropy=np.nan), r"'in_domain_entropy' is nan in row 0 \(24 such of 24\)"),
        (size_table().replace({"seed": {0: 0}}).assign(params_layers=0), "'params_layers' is 0 in row 0"),
        (size_table().assign(in_domain_entropy="low"), r"'in_domain_entropy' is 'low' in row 0 \(24 such of 24\)"),
        (
            size_table()
            .astype({"in_domain_entropy": object})
            .replace({"in_domain_entropy": {size_table().iloc[5, 1]: "n/a"}}),
            r"'in_domain_entropy' is 'n/a' in row 5 \(1 such of 24\), not a number",
        ),
        (size_table().astype({"in_domain_entropy": str}), "holds numbers as (object|str): turn it with pandas"),
        (size_table(levels=1), "column 'params_layers' has only one value: a law with 3 unknowns"),
        ("runs.csv", "table='runs.csv': a DataFrame is needed, as pandas.read_csv"),
        (
            size_table().assign(status="failed"),
            r"has 24 runs and none is done \(column 'status' says failed\)",
        ),
        (size_table().iloc[:0], "has 0 runs and none is done"),
        (
            size_table().rename(columns={"params_layers": " # Params"}),
            r"'params_layers'; it has ' # Params'",
        ),
        (pd.DataFrame({"params_layers;loss": ["1;2"]}), r"divided by ';': read_csv\(..., sep=';'\)"),
        (size_table().assign(params_layers="4.4M"), "'params_layers' is '4.4M' in row 0 .*; write 4.4e6 for it"),
    ],
)
def test_tables_that_cannot_be_fitted_are_refused(table, said):
    with pytest.raises(ValueError, match=said):
        laws.fit_law(table, size_law)


def test_a_laws_name_is_no_list_of_laws():
    with pytest.raises(ValueError, match="candidates='size_law': a list of laws is needed"):
        compare_laws(size_table(), "size_law")


def test_a_table_says_which_laws_its_columns_suit():
    sizes = size_table()
    assert laws.laws_for(sizes) == [size_law]
    assert laws.laws_for(sizes.assign(train_pairs=1000)) == [size_law]
    assert laws.laws_for(sizes.rename(columns={"params_layers": "train_pairs"})) == [laws.data_law]
    both = pd.concat([sizes.assign(train_pairs=p) for p in (100, 200, 400)])
    assert laws.laws_for(both) == [laws.joint_law, laws.additive_law]
    assert laws.laws_for(both.assign(status=np.where(both["train_pairs"] == 400, "failed", "done"))) == [size_law]
    assert suited_law(sizes) is size_law
    with pytest.raises(ValueError, match="no column params_layers or train_pairs; it has loss"):
        suited_law(pd.DataFrame({"loss": [1.0]}))


def test_other_wrong_values_are_named():
    result = quiet(size_table())
    for call, said in (
        (
            lambda: laws.fit_law(size_table(), "size_law"),
            "law='size_law': a function is needed, one of laws.size_law, ",
        ),
        (
            lambda: trust.hold_out(size_table(levels=4), size_law),
            "without what is held out, column 'params_layers' has 3",
        ),
        (lambda: trust.law_intervals(result, "guess"), "method='guess': allowed are"),
        (lambda: trust.law_intervals(result, level=95), "level=95: must lie between 0 and 1"),
        (lambda: trust.law_intervals(result, "bootstrap", unit="query"), "unit='query': allowed are"),
        (lambda: trust.law_intervals(result, "bootstrap", n_boot=1), "n_boot=1: at least 10"),
        (lambda: trust.predict_law(result, [-1.0]), "finite numbers above zero"),
        (lambda: trust.predict_law(result, [1e7], n_runs=0), "runs=0: at least 1"),
        (lambda: trust.law_intervals(lmfit.models.LinearModel()), "expected what fit_law returned"),
    ):
        with pytest.raises(ValueError, match=said):
            call()


def test_bounds_given_are_kept():
    free = quiet(size_table())
    result = quiet(size_table(), bounds={"delta": (0.08, 0.2), "mu": (0.3, 2.0)})
    assert result.best_values["delta"] == 0.08
    assert result.chisqr > free.chisqr
    assert trust.law_intervals(result).set_index("name").loc["delta", "low"] == pytest.approx(0.08)


@pytest.mark.parametrize(
    "y", [lambda x, z: np.abs(1 + 0.2 * z), lambda x, z: 1 + 0.001 * np.log(x), lambda x, z: 1e3 / x]
)
def test_draws_of_hopeless_tables_are_finite(y):
    """A Curve takes no other ones; coefficients end at e**690 and at 0."""
    x = np.repeat(np.geomspace(1e5, 1e7, 4), 2)
    table = pd.DataFrame({"x": x, "y": y(x, np.random.default_rng(0).standard_normal(8))})
    curve = refits.law_curve(quiet(table, y="y", x="x"), 300)
    assert np.isfinite(curve.draws).all(axis=None)
    assert np.isfinite(curve.sample(N=[1e3, 1e9])).all()


def test_the_parameters_of_a_law_are_its_arguments_after_x() -> None:
    assert laws.parameter_names(laws.joint_law) == ["M", "mu", "B", "eta", "delta"]
    assert laws.parameter_names(lambda N, k, c: k * N + c) == ["k", "c"]


@pytest.mark.parametrize("free", [1, 5, 9])
def test_a_robust_sigma_is_the_median_residual_over_the_degrees_of_freedom(free):
    r = np.random.default_rng(0).standard_normal(9)
    sigma, _ = laws.spread(r, free, 1.0)
    assert sigma == pytest.approx(1.4826 * np.median(np.abs(r)) * (9 / free) ** 0.5)
