"""Bootstrap refits: each is the fit that lmfit makes of the same runs, and four thousand of them take seconds."""

from __future__ import annotations

import lmfit
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_laws_joint import BOTH, PLANTED, bent, grid, planted, quiet

from drscale.laws import _solver as separable
from drscale.laws import intervals as refits
from drscale.laws import intervals as trust
from drscale.laws.curve import Curve
from drscale.laws.fit import additive_law, broken_law, data_law, joint_law, size_law
from drscale.stats import bootstrap as resample


def sixty(law=joint_law, noise: float = 0.02, seed: int = 0, **truth) -> pd.DataFrame:
    return planted(law, noise=noise, seed=seed, table=grid(6, 5, 2), **truth)


def sizes(noise: float = 0.02, runs: int = 60) -> pd.DataFrame:
    table = pd.DataFrame({"params_layers": np.repeat(np.geomspace(5e5, 8.2e7, runs // 5), 5)})
    rng = np.random.default_rng(0)
    y = size_law(table["params_layers"], 3.48e4, 0.55, 0.05)
    return table.assign(in_domain_entropy=y * np.exp(noise * rng.standard_normal(len(y))))


def plain_fit(f, counts, start) -> lmfit.model.ModelResult:
    """lmfit's own least squares on the resample, runs counted by their weights, nothing of ours in it."""
    model = lmfit.Model(f.law, independent_vars=list(f.points))
    parameters = model.make_params(**start)
    for name, (low, high) in f.limits.items():
        parameters[name].set(min=low, max=high)
    tight = {"x_scale": "jac", "xtol": 1e-15, "ftol": 1e-15, "gtol": 1e-15, "jac": "3-point"}
    weights = np.sqrt(counts) / f.y
    return model.fit(f.y, parameters, weights=weights, method="least_squares", fit_kws=tight, **f.points)


# Agreement


@pytest.mark.parametrize(
    ("law", "table", "x", "y"),
    [
        (size_law, sizes(), None, "in_domain_entropy"),
        (joint_law, sixty(), None, "in_domain_entropy"),
        (additive_law, sixty(additive_law), None, "in_domain_entropy"),
        (joint_law, planted(noise=0.05, table=grid(6, 5, 2, cross=True), **PLANTED[2]), None, "in_domain_entropy"),
        (broken_law, bent(noise=0.01, seeds=3), "x", "y"),
    ],
)
def test_every_refit_is_the_fit_that_lmfit_makes_of_the_same_runs(law, table, x, y):
    result = quiet(table, law, x=x, y=y)
    f = result.fitted
    p = f.problem.batched
    counts = refits._counts(f, 300, "run", np.random.default_rng(3))
    ours = separable.parameters(p, separable.refits(p, counts))
    names = list(result.params)
    chosen, same = range(0, 300, 25), 0
    for i in chosen:
        mine = dict(zip(names, ours[i].tolist(), strict=True))
        square = float(np.sum(counts[i] * (law(**f.points, **mine) / f.y - 1) ** 2))
        theirs = plain_fit(f, counts[i], result.best_values)
        # Theirs starts from the fit to all runs, ours from the grid as well: ours may be lower, never higher.
        assert square <= theirs.chisqr * (1 + 1e-6)
        again = plain_fit(f, counts[i], mine)
        assert square <= again.chisqr * (1 + 1e-6)
        if min(mine.get("M", 1.0), mine.get("B", 1.0)) < 1e-8:  # pushed away from 0 by lmfit's minimiser
            continue
        assert square == pytest.approx(again.chisqr, rel=1e-6)
        same += 1
        for name in names:
            known = again.params[name].stderr
            if known is not None and 0 < known < 0.3 * abs(mine[name]):  # identified
                assert mine[name] == pytest.approx(again.params[name].value, rel=1e-6, abs=1e-4 * known)
    assert same >= len(chosen) / 2


@pytest.mark.parametrize("options", [{"space": "log"}, {"robust": True}, {"space": "linear"}])
@pytest.mark.parametrize("law", [size_law, *BOTH])
def test_other_spaces_refit_as_fit_does(law, options):
    """A draw's numbers are those of fit() on a table in which every run stands as often as it was drawn."""
    table = sizes(0.05, 30) if law is size_law else sixty(law, 0.05)
    result = quiet(table, law, **options)
    f = result.fitted
    p = f.problem.batched
    counts = refits._counts(f, 10, "run", np.random.default_rng(0))
    ours = separable.refits(p, counts)
    curves = separable.curve_at(p, ours, p.x)
    if options.get("robust"):  # the scale of the robust loss stays that of the fit, so compare the settled weights
        r = (f.y - curves) / f.y
        p = separable.replace(p, weights=(1 / f.y**2 / np.sqrt(1 + (r[0] / f.scale) ** 2)) * counts[0])
        direct = separable.curve_at(p, separable.minimum(p), p.x)[0]
    else:
        repeated = table.iloc[np.repeat(np.arange(len(table)), counts[0].astype(int))]
        one = quiet(repeated, law, **options)
        direct = np.asarray(one.eval(**f.points))
    assert curves[0] == pytest.approx(direct, rel=1e-5)


@settings(max_examples=10)
@given(seed=st.integers(0, 10_000), law=st.sampled_from(BOTH), noise=st.floats(0.01, 0.15))
def test_a_refit_to_the_runs_as_they_are_is_the_fit(seed, law, noise):
    result = quiet(sixty(law, noise, seed, **PLANTED[seed % 4]), law)
    f = result.fitted
    p = f.problem.batched
    same = separable.refits(p, np.ones((1, len(f.y))))
    assert same.squares[0] == pytest.approx(result.chisqr, rel=1e-6)
    assert separable.curve_at(p, same, p.x)[0] == pytest.approx(result.best_fit, rel=1e-4)


# Speed, counted in looks at the curve, which no clock and no busy machine changes


@pytest.mark.parametrize(("law", "each"), [(size_law, 25), (joint_law, 40), (additive_law, 40)])
def test_four_thousand_refits_are_few_steps_taken_together(law, each, monkeypatch):
    result, looks = quiet(sizes() if law is size_law else sixty(law), law), []
    look = separable._look
    monkeypatch.setattr(separable, "_look", lambda batch, t: (looks.append(len(t)), look(batch, t))[1])
    assert len(result.fitted.y) == 60
    assert len(trust.bootstrap_runs(result)) == 4000
    assert sum(looks) <= each * 4000
    assert len(looks) <= 500


# What is drawn


def test_draws_are_seeded_and_spread_as_the_profile_says():
    result = quiet(sixty())
    one, again, other = (trust.bootstrap_runs(result, 400, seed=s) for s in (1, 1, 2))
    pd.testing.assert_frame_equal(one, again)
    assert not one.equals(other)
    assert list(one) == ["M", "mu", "B", "eta", "delta"]
    profile = trust.law_intervals(result, unit="run").set_index("name")
    for unit in ("run", "level"):
        sample = trust.bootstrap_runs(result, 400, unit)
        for name in ("mu", "eta", "delta"):
            wide = profile.loc[name, "high"] - profile.loc[name, "low"]
            low, high = sample[name].quantile([0.025, 0.975])
            assert 0.5 * wide < high - low < 2 * wide
            assert low < result.best_values[name] < high


def test_levels_of_a_law_of_two_are_its_points_and_enough_of_each_are_kept():
    result = quiet(planted(noise=0.02, table=grid(4, 4, 2)))
    f = result.fitted
    counts = refits._counts(f, 500, "level", np.random.default_rng(0))
    assert (counts[:, 0::2] == counts[:, 1::2]).all()
    for c in counts:
        here = c > 0
        assert len(set(f.levels[here])) >= 6
        assert min(len(set(v[here])) for v in f.points.values()) >= 3


def test_bootstrap_intervals_are_the_middle_of_the_draws():
    result = quiet(sixty())
    ends = trust.law_intervals(result, "bootstrap", 0.9, n_boot=200, seed=4).set_index("name")
    sample = trust.bootstrap_runs(result, 200, seed=4)
    assert ends.loc["mu", ["low", "high"]].to_list() == pytest.approx(sample["mu"].quantile([0.05, 0.95]).to_list())


def test_a_draw_that_does_not_fall_has_no_coefficient():
    """Where data hardly matters, some resamples see no fall with it: B is 0 there, and the curve is the size law's."""
    table = planted(additive_law, noise=0.05, table=grid(6, 5, 2), **(PLANTED[0] | {"B": 1.0}))
    sample = trust.bootstrap_runs(quiet(table, additive_law), 300)
    gone = sample[sample["B"] == 0]
    assert 0 < len(gone) < 300
    first = gone.iloc[0]
    curve = additive_law(1e7, np.array([1e4, 1e6]), **first)
    assert curve.tolist() == pytest.approx([size_law(1e7, first["M"], first["mu"], first["delta"])] * 2)


# Queries


def by_query(table: pd.DataFrame, y: str = "in_domain_entropy", common: float = 0.5, own: float = 0.0) -> pd.DataFrame:
    """Per-query values whose mean is the run's y: a query's hardness is shared by all runs, up to ``own`` noise."""
    rng, count = np.random.default_rng(0), 200
    scopes = ["in_domain"] if y.startswith("in_domain") else ["ood:a", "ood:b"]
    frames = []
    hard = {s: np.exp(common * rng.standard_normal(count)) for s in scopes}
    for key, mean in table[["key", y]].itertuples(index=False):
        for scope in scopes:
            values = hard[scope] * np.exp(own * rng.standard_normal(count))
            values *= mean / values.mean()
            frames.append(
                pd.DataFrame({"key": key, "scope": scope, "query": [f"q{i}" for i in range(count)], "entropy": values})
            )
    return pd.concat(frames, ignore_index=True)


def keyed(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(key=[f"run {i}" for i in range(len(table))])


@pytest.mark.parametrize("y", ["in_domain_entropy", "ood_entropy"])
def test_all_runs_answer_the_same_draw_of_queries(y):
    """Hardness that all runs share scales every run alike: exponents and M stand still, the floor moves."""
    table = keyed(sixty(additive_law))
    table = table.assign(ood_entropy=table["in_domain_entropy"])
    result = quiet(table, additive_law, y=y)
    sample = trust.bootstrap_queries(result, by_query(table, y), 200)
    assert sample["mu"].to_list() == pytest.approx([result.best_values["mu"]] * 200, rel=1e-5)
    assert sample["eta"].std() < 1e-5
    assert sample["delta"].std() > 0.01 * result.best_values["delta"]
    with_runs = trust.bootstrap_queries(result, by_query(table, y), 200, resample_runs=True)
    assert with_runs["mu"].std() > 100 * sample["mu"].std()
    own = trust.bootstrap_queries(result, by_query(table, y, own=0.3), 200)
    assert own["mu"].std() > 100 * sample["mu"].std()


def test_query_draws_refit_the_law_to_the_redrawn_means():
    table = keyed(sizes(0.02, 30))
    queries = by_query(table, own=0.2)
    result = quiet(table, size_law)
    sample = trust.bootstrap_queries(result, queries, 20, seed=5)
    drawn = resample.resampled(table, ["in_domain_entropy"], queries, n_boot=20, seed=5)[..., 0]
    for i in (0, 7):
        direct = quiet(table.assign(in_domain_entropy=drawn[i]), size_law).best_values
        assert sample.iloc[i].to_dict() == pytest.approx(direct, rel=1e-5)
    pd.testing.assert_frame_equal(sample, trust.bootstrap_queries(result, queries, 20, seed=5))
    assert not sample.equals(trust.bootstrap_queries(result, queries, 20, seed=6))


# Curve


@pytest.mark.parametrize("law", [size_law, data_law, joint_law, additive_law, broken_law])
def test_a_curve_carries_values_box_and_draws(law):
    table, columns = sixty(), {}
    if law is broken_law:
        table, columns = bent(noise=0.01, seeds=2), {"x": "x", "y": "y"}
    result = quiet(table, law, **columns)
    plain, drawn = trust.law_curve(result), trust.law_curve(result, 50, seed=1)
    assert isinstance(plain, Curve)
    assert plain.draws is None
    assert plain.values == result.best_values
    at = {a: v[:3] for a, v in result.fitted.points.items()}
    assert plain(**at) == pytest.approx(np.asarray(result.best_fit)[:3], rel=1e-5)
    assert plain.box == {a: (v.min(), v.max()) for a, v in result.fitted.points.items()}
    assert drawn.sample(**at).shape == (50, 3)
    low, high = drawn.interval(**at)
    assert (low < high).all()
    given_draws = trust.law_curve(result, trust.bootstrap_runs(result, 50, seed=1))
    assert given_draws.interval(**at)[0].tolist() == low.tolist()


# Callers' mistakes


def test_wrong_values_are_named():
    result, table = quiet(sixty()), keyed(sixty())
    named = quiet(table)
    wrong = by_query(table.assign(in_domain_entropy=2 * table["in_domain_entropy"]))
    for call, said in (
        (lambda: trust.bootstrap_runs(result, 9), "n_boot=9: at least 10"),
        (lambda: trust.bootstrap_runs(result, unit="query"), "unit='query': allowed are 'run', 'level'"),
        (lambda: trust.bootstrap_queries(result, by_query(table)), "no column 'key'"),
        (lambda: trust.bootstrap_queries(named, by_query(table).drop(columns="scope")), "no column scope"),
        (lambda: trust.bootstrap_queries(named, wrong), "queries: they give in_domain_entropy="),
        (lambda: trust.bootstrap_queries(named, by_query(table), 5), "n_boot=5: at least 10"),
    ):
        with pytest.raises(ValueError, match=said):
            call()
