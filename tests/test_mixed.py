"""Mixed models: against R's lme4, lmerTest, emmeans and car, against statsmodels, and laws that hold for any rows."""

from __future__ import annotations

import itertools
import json
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from mixed_tables import measured, synthetic, without_a_cell
from scipy import stats

from drscale.mixed import _likelihood as nested
from drscale.mixed import fit as mixed
from drscale.mixed import margins
from drscale.mixed import margins as shares
from drscale.mixed.scores import planted

REFERENCE = json.loads((ROOT / "tests" / "reference" / "lme4.json").read_text())
CASES = REFERENCE["cases"]
NAMES = [f"{c['table']}: {c['formula']}, {'REML' if c['reml'] else 'ML'}" for c in CASES]
TESTED = [i for i, c in enumerate(CASES) if "by_model" in c]
# lme4 stops where its criterion no longer falls, which leaves its estimates so many digits
LOOSE = dict.fromkeys(REFERENCE["tables"], 1e-6) | {"measured": 3e-5}


@cache
def table(name: str) -> pd.DataFrame:
    return measured() if name == "measured" else pd.DataFrame(REFERENCE["tables"][name])


@cache
def fitted(place: int) -> mixed.Mixed:
    case = CASES[place]
    formula = case["formula"]
    return mixed.fit_mixed(
        table(case["table"]),
        metric="y",
        factor="factor" if "factor" in formula else None,
        query="query" if "query" in formula else None,
        interaction="*" in formula,
        reml=case["reml"],
    )


def close(ours: Any, theirs: Any, rtol: float = 1e-6, atol: float = 1e-8) -> None:
    np.testing.assert_allclose(np.asarray(ours, float), np.asarray(theirs, float), rtol=rtol, atol=atol)


def indexed(rows: dict[str, list[Any]], *keys: str) -> pd.DataFrame:
    return pd.DataFrame(rows).set_index(list(keys))


@pytest.mark.parametrize("place", range(len(CASES)), ids=NAMES)
def test_estimates_are_those_of_lme4(place: int) -> None:
    case, fit = CASES[place], fitted(place)
    theirs = dict(zip(case["groups"], case["variances"], strict=True))
    ours = {"dataset": "dataset", "query": "query:dataset", "residual": "Residual"}
    assert fit.converged
    assert fit.criterion <= case["criterion"] + 1e-8
    close(fit.criterion, case["criterion"], rtol=1e-9)
    for name, value in fit.variances.items():
        close(value, theirs[ours[name]], rtol=LOOSE[case["table"]], atol=1e-9)
    close(fit.beta, case["beta"])
    close(np.sqrt(np.diag(fit.covariance)), case["se"], rtol=LOOSE[case["table"]])
    effects = shares.effects(fit).set_index("dataset").loc[[str(d) for d in case["effects"]["dataset"]]]
    close(effects["effect"], case["effects"]["effect"], rtol=10 * LOOSE[case["table"]], atol=1e-6)
    close(effects["sd"], case["effects"]["sd"], rtol=10 * LOOSE[case["table"]], atol=1e-9)


@pytest.mark.parametrize("place", TESTED, ids=[NAMES[i] for i in TESTED])
def test_type_3_tests_are_those_of_lmertest_and_car(place: int) -> None:
    case, found = CASES[place], margins.anova(fitted(place))
    theirs, chi = indexed(case["anova"], "term"), indexed(case["car"], "term")["chisq"]
    if case["table"] == "empty":  # of the main effects lmerTest tests something else where a cell is empty
        assert found["note"].str.contains("needs a cell without rows").all()
        found, chi = found.iloc[[2]], None
    for term, row in found.set_index("term").iterrows():
        their = theirs.loc[str(term)]
        close([row["df1"], row["df2"]], their[["df1", "df2"]], rtol=2 * LOOSE[case["table"]])
        close(row["F"], their["F"], rtol=LOOSE[case["table"]])
        close(row["p"], their["p"], rtol=3e-4, atol=1e-12)
        if chi is not None:  # car's test is the same one, with infinite degrees of freedom
            close(row["F"] * row["df1"], chi[str(term)], rtol=LOOSE[case["table"]])


@pytest.mark.parametrize("place", TESTED, ids=[NAMES[i] for i in TESTED])
def test_means_and_contrasts_are_those_of_emmeans(place: int) -> None:
    case, fit = CASES[place], fitted(place)
    asked = {"by_model": ("model",), "by_factor": ("factor",), "by_both": ("model", "factor")}
    for name, by in asked.items():
        ours = margins.marginal_means(fit, by).set_index(list(by))
        theirs = pd.DataFrame(case[name]).set_index(list(by)).loc[ours.index]
        for a, b in (("mean", "emmean"), ("se", "SE"), ("df", "df"), ("low", "low"), ("high", "high")):
            close(ours[a], theirs[b], rtol=2 * LOOSE[case["table"]], atol=1e-6)
    # where a cell is empty emmeans counts means that cannot be told into the family, we do not
    for adjust in ("none",) if case["table"] == "empty" else ("tukey", "holm", "bonferroni", "none"):
        compare(margins.contrasts(fit, adjust=adjust), case[adjust], [], case["table"])
    if case["table"] != "empty":
        compare(margins.contrasts(fit, within="factor"), case["within"], ["factor"], case["table"])
    if "tax" in case:
        tax = margins.specialisation(fit, "m1", "f0", "f1", against="m0")
        for a, b in (("estimate", "estimate"), ("se", "SE"), ("df", "df"), ("low", "low"), ("high", "high")):
            close(tax[a], case["tax"][b], rtol=2e-6, atol=1e-6)
        close(tax["p"], case["tax"]["p.value"], rtol=1e-4)


def compare(found: pd.DataFrame, theirs: dict[str, list[Any]], within: list[str], table: str) -> None:
    """Our contrasts against those of emmeans, which names them 'a - b'."""
    ours = found.assign(contrast=found["first"] + " - " + found["second"]).set_index([*within, "contrast"])
    # emmeans puts a level in brackets where it looks like a formula
    other = pd.DataFrame(theirs).assign(contrast=lambda t: t["contrast"].str.replace(r"[()]", "", regex=True))
    other = other.set_index([*within, "contrast"]).loc[ours.index]
    pairs = (("difference", "estimate"), ("se", "SE"), ("df", "df"), ("t", "t.ratio"), ("low", "low"), ("high", "high"))
    for a, b in pairs:
        close(ours[a], other[b].astype(float), rtol=3 * LOOSE[table], atol=2e-6)
    close(ours["p"], other["p.value"].astype(float), rtol=1e-4, atol=5e-8)  # as far as R's ptukey goes


def test_the_references_hold_a_boundary_and_an_empty_cell() -> None:
    by_table = {c["table"]: fitted(i) for i, c in enumerate(CASES)}
    assert by_table["boundary"].boundary == ("dataset",)
    assert "the variance of dataset is zero" in repr(by_table["boundary"])
    assert "no rows of m2 at f1" in repr(by_table["empty"])
    assert by_table["measured"].rows == 20_000


# -------------------------------------------------------------------------------------------------- against statsmodels


def of_means(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.groupby(["model", "dataset", "factor"], as_index=False)["y"].mean()


@pytest.mark.parametrize("reml", [True, False])
@pytest.mark.parametrize(
    ("rows", "options"),
    [
        (synthetic(by_query=True, seed=3), {"factor": "factor"}),
        (without_a_cell(), {"factor": "factor"}),
        (synthetic().assign(y=lambda t: 1e4 + 1e3 * t["y"]), {"factor": "factor", "interaction": False}),
        (of_means(synthetic()), {"query": None}),
        (synthetic(datasets=1, levels=1, queries=40, seed=2), {"dataset": None}),
    ],
    ids=["nested", "an empty cell", "other units", "means", "one dataset"],
)
def test_estimates_are_those_of_statsmodels(rows: pd.DataFrame, options: dict[str, Any], reml: bool) -> None:
    fit = mixed.fit_mixed(rows, "y", reml=reml, **options)
    found = mixed.crosscheck(fit).set_index(["what", "name"])
    assert list(found.loc["variance"].index) == list(fit.variances)
    assert list(found.loc["effect"].index)[:2] == ["constant", str(fit.models[1])]
    close(found.loc["effect", "ours"], fit.beta)
    tall = float(np.ptp(rows["y"]))
    close(found.loc["effect", "statsmodels"], fit.beta, rtol=1e-5, atol=1e-5 * tall)
    close(found.loc["se", "statsmodels"], found.loc["se", "ours"], rtol=5e-3)
    close(found.loc["variance", "statsmodels"], found.loc["variance", "ours"], rtol=2e-3, atol=1e-6 * tall**2)
    close(found.loc["criterion", "statsmodels"], fit.criterion, rtol=1e-6)
    assert found.loc[("criterion", ""), "difference"] >= -1e-6  # ours lies no higher
    pd.testing.assert_series_equal(found["difference"], found["statsmodels"] - found["ours"], check_names=False)


def test_random_slopes_see_that_models_differ_from_dataset_to_dataset() -> None:
    rows = synthetic(datasets=20, queries=6, by_query=True, seed=1)
    luck = dict(zip(itertools.product(rows["dataset"].unique(), rows["model"].unique()), normal(60), strict=True))
    rows["y"] += [0.3 * luck[pair] for pair in zip(rows["dataset"], rows["model"], strict=True)]
    fit = mixed.fit_mixed(rows, "y")
    found = mixed.crosscheck(fit, slopes=True).set_index(["what", "name"])
    assert list(found.loc["variance"].index) == ["dataset", "model in dataset", "query", "residual"]
    variance = found.loc["variance", "statsmodels"]
    assert variance["model in dataset"] == pytest.approx(0.3**2, rel=0.4)  # 40 lucky leads tell it to about a quarter
    assert variance["residual"] == pytest.approx(0.2**2, rel=0.1)
    assert found.loc[("criterion", ""), "difference"] < -100
    # The lead of a model varies with the luck of 20 datasets, which the plain model does not see.
    per_model = len(rows) / 3
    expected = np.sqrt(2 * variance["model in dataset"] / 20 + 2 * variance["residual"] / per_model)
    assert found.loc[("se", "m1"), "statsmodels"] == pytest.approx(expected, rel=0.1)
    assert found.loc[("se", "m1"), "ours"] < 0.5 * expected


def test_what_statsmodels_cannot_be_asked_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = synthetic()
    means, all_rows = mixed.fit_mixed(of_means(rows), "y", query=None), mixed.fit_mixed(rows, "y")
    with pytest.raises(ValueError, match="needs datasets and queries both"):
        mixed.crosscheck(means, slopes=True)
    monkeypatch.setattr(mixed, "MOST", 50)
    with pytest.raises(ValueError, match="185 rows; statsmodels takes at most 50"):
        mixed.crosscheck(all_rows)


def normal(n: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(n)


# ------------------------------------------------------------------------------------- laws that hold for any rows


def anyhow(draw: st.DrawFn) -> pd.DataFrame:
    return synthetic(
        models=draw(st.integers(2, 4)),
        levels=draw(st.integers(2, 3)),
        datasets=draw(st.integers(6, 9)),
        queries=draw(st.integers(3, 6)),
        missing=draw(st.sampled_from([0.0, 0.1, 0.3])),
        by_query=draw(st.booleans()),
        dataset_sd=draw(st.sampled_from([0.0, 0.1, 0.5])),
        query_sd=draw(st.sampled_from([0.0, 0.1, 0.5])),
        seed=draw(st.integers(0, 10_000)),
    )


tables = st.composite(anyhow)()


@settings(max_examples=12, deadline=None)
@given(rows=tables, seed=st.integers(0, 100))
def test_the_order_of_rows_changes_nothing(rows: pd.DataFrame, seed: int) -> None:
    one = mixed.fit_mixed(rows, "y", "factor")
    two = mixed.fit_mixed(rows.sample(frac=1, random_state=seed), "y", "factor")
    close(one.criterion, two.criterion, rtol=1e-9, atol=1e-8)
    means = [margins.marginal_means(f).set_index("model")[["mean", "se"]] for f in (one, two)]
    close(means[0], means[1].loc[means[0].index], rtol=1e-5, atol=1e-7)


@settings(max_examples=12, deadline=None)
@given(rows=tables, shift=st.floats(-1000, 1000), scale=st.floats(0.01, 100))
def test_shift_and_scale_go_through(rows: pd.DataFrame, shift: float, scale: float) -> None:
    one = mixed.fit_mixed(rows, "y", "factor")
    two = mixed.fit_mixed(rows.assign(y=shift + scale * rows["y"]), "y", "factor")
    close(np.array(two.ratios), one.ratios, rtol=1e-4, atol=1e-6)
    a, b = (margins.marginal_means(f, ["model", "factor"]) for f in (one, two))
    close(b["mean"], shift + scale * a["mean"], rtol=1e-5, atol=1e-6 * scale)
    close(b[["se"]], scale * a[["se"]], rtol=1e-4)
    close(margins.anova(one)["F"], margins.anova(two)["F"], rtol=1e-4, atol=1e-6)


WIDE = [(0.0, 1e-6), (0.0, 1e6), (0.0, 13292.522022323845), (1e3, 1.0), (-2e5, 1e-1)]


@pytest.mark.parametrize(("shift", "scale"), WIDE)
def test_the_unit_of_the_scores_changes_nothing_else(shift: float, scale: float) -> None:
    """One of these tables stopped early in thousands, of which only a MixedWarning told."""
    stopped = {"models": 4, "levels": 3, "queries": 5, "missing": 0.1, "dataset_sd": 0.0, "query_sd": 0.5, "seed": 6058}
    for rows in (synthetic(**stopped), synthetic(by_query=True, dataset_sd=0.05)):
        one, two = (
            mixed.fit_mixed(rows, "y", "factor"),
            mixed.fit_mixed(rows.assign(y=shift + scale * rows["y"]), "y", "factor"),
        )
        close(two.ratios, one.ratios, rtol=1e-6, atol=1e-9)
        close(list(two.variances.values()), scale**2 * np.array(list(one.variances.values())), atol=1e-9 * scale**2)
        free = one.rows - one.coding.shape[1]
        close(two.criterion, one.criterion + 2 * free * np.log(scale), rtol=1e-9)
        a, b = (margins.contrasts(f, adjust="holm") for f in (one, two))
        close(b[["difference", "se", "low", "high"]], scale * a[["difference", "se", "low", "high"]], atol=1e-7 * scale)
        close(b[["df", "p"]], a[["df", "p"]], rtol=1e-5)
        x, y = (shares.variance_shares(f, n_boot=20)[["share", "low", "high"]] for f in (one, two))
        close(y, x, rtol=1e-5, atol=1e-7)


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10_000), models=st.integers(2, 5))
def test_balanced_means_are_plain_means(seed: int, models: int) -> None:
    rng = np.random.default_rng(seed)
    grid = pd.MultiIndex.from_product([range(6), range(5), range(models)], names=["dataset", "query", "model"])
    rows = grid.to_frame(index=False).assign(factor=lambda t: t["dataset"] % 2, y=rng.standard_normal(len(grid)))
    fit = mixed.fit_mixed(rows, "y", "factor")
    found = margins.marginal_means(fit, ["model", "factor"])
    close(found["mean"], found["raw"], rtol=1e-9)
    plain = rows.groupby("model", sort=False)["y"].mean()
    close(margins.marginal_means(fit)["mean"], plain, rtol=1e-9)
    pairs = margins.contrasts(fit, adjust="none")
    close(pairs["difference"], plain[pairs["first"]].to_numpy() - plain[pairs["second"]].to_numpy(), atol=1e-12)


@settings(max_examples=20, deadline=None)
@given(rows=tables, at=st.tuples(st.floats(0.01, 3), st.floats(0.01, 3)), reml=st.booleans())
def test_the_closed_form_is_the_likelihood_and_its_derivatives_are_its_own(
    rows: pd.DataFrame, at: tuple[float, float], reml: bool
) -> None:
    fit = mixed.fit_mixed(rows, "y", "factor", reml=reml)
    value, slope, curve = nested.criterion(fit.sums, at, reml, 2)
    x = fit.coding[fit.layout.cell]
    same_query = fit.layout.query[:, None] == fit.layout.query
    place = fit.layout.dataset[fit.layout.query]
    v = np.eye(len(x)) + at[0] * same_query + at[1] * (place[:, None] == place)
    y = rows["y"].to_numpy() - fit.centre
    inverse = np.linalg.inv(v)
    information = x.T @ inverse @ x
    left = y - x @ np.linalg.solve(information, x.T @ inverse @ y)
    df = len(y) - (x.shape[1] if reml else 0)
    plain = np.linalg.slogdet(v)[1] + df * (1 + np.log(2 * np.pi * (left @ inverse @ left) / df))
    close(value, plain + (np.linalg.slogdet(information)[1] if reml else 0), rtol=1e-9)
    for i in (0, 1):
        step = np.eye(2)[i] * 1e-5
        ends = [nested.criterion(fit.sums, tuple(np.array(at) + d), reml, 1) for d in (step, -step)]
        close(slope[i], (ends[0][0] - ends[1][0]) / 2e-5, rtol=1e-4, atol=1e-3)
        close(curve[i], (ends[0][1] - ends[1][1]) / 2e-5, rtol=1e-4, atol=1e-3)


def test_no_ratios_nearby_fit_better() -> None:
    for seed in range(8):
        fit = mixed.fit_mixed(synthetic(seed=seed, dataset_sd=0.05, query_sd=0.05), "y", "factor")
        for a in np.linspace(0, 2, 9):
            for b in np.linspace(0, 2, 9):
                near = (fit.ratios[0] * a + (0.01 * a if not fit.ratios[0] else 0), fit.ratios[1] * b)
                assert (
                    nested.criterion(fit.sums, near, True)[0] >= nested.criterion(fit.sums, fit.ratios, True)[0] - 1e-9
                )


# ------------------------------------------------------------------------------------------- planted truth, and a tax


def test_planted_variances_and_means_are_recovered() -> None:
    rows = synthetic(models=4, datasets=60, queries=30, missing=0.1, seed=1)
    fit = mixed.fit_mixed(rows, "y", "factor")
    close(np.sqrt(fit.variances["query"]), 0.25, rtol=0.05)
    close(np.sqrt(fit.variances["residual"]), 0.2, rtol=0.05)
    close(np.sqrt(fit.variances["dataset"]), 0.3, rtol=0.3)
    pairs = margins.contrasts(fit).set_index(["first", "second"]).loc[("m0", "m2")]
    assert pairs["low"] < -0.2 < pairs["high"]
    tax = margins.specialisation(fit, "m1", "f0", "f1").set_index("what").loc["tax"]
    assert tax["low"] < 0.15 < tax["high"]
    assert tax["p"] < 1e-6
    none = margins.specialisation(fit, "m3", "f0", "f1", against=["m0", "m2"]).set_index("what").loc["tax"]
    assert none["low"] < 0 < none["high"]


def test_shares_add_up_and_their_intervals_hold_the_truth() -> None:
    fit = mixed.fit_mixed(synthetic(models=3, datasets=30, queries=10, seed=2), "y", "factor")
    found = shares.variance_shares(fit, n_boot=60).set_index("source")
    close(found["share"].sum(), 1)
    assert list(found.index) == ["model", "factor", "model × factor", "dataset", "query", "residual"]
    assert ((found["low"] <= found["share"]) & (found["share"] <= found["high"])).all()
    truth = {"dataset": 0.3**2, "query": 0.25**2, "residual": 0.2**2}
    means = np.array([[0.5, 0.55], [0.75, 0.65], [0.7, 0.75]])  # (model, factor) as planted
    total = sum(truth.values()) + means.var()
    for name, variance in (truth | {"model": means.mean(1).var(), "factor": means.mean(0).var()}).items():
        assert found.loc[name, "low"] <= variance / total <= found.loc[name, "high"], name
    again = shares.variance_shares(fit, n_boot=60).set_index("source")
    pd.testing.assert_frame_equal(found, again)
    plain = shares.variance_shares(mixed.fit_mixed(synthetic(), "y", query=None), n_boot=0)
    assert list(plain["source"]) == ["model", "dataset", "residual"]
    assert "low" not in plain


def test_effects_of_queries_are_what_the_formula_says() -> None:
    rows = synthetic(seed=4)
    fit = mixed.fit_mixed(rows, "y", "factor")
    x = fit.coding[fit.layout.cell]
    z = np.eye(fit.queries)[fit.layout.query]
    place = np.eye(fit.datasets)[fit.layout.dataset[fit.layout.query]]
    g_query, g_dataset = fit.ratios
    v = np.eye(len(rows)) + g_query * z @ z.T + g_dataset * place @ place.T
    left = np.linalg.solve(v, rows["y"].to_numpy() - x @ fit.beta)
    found = shares.effects(fit, "query").set_index(["dataset", "query"])
    names = pd.MultiIndex.from_frame(fit.names["query"])
    close(found.loc[names, "effect"], g_query * z.T @ left)
    spread = g_query * np.eye(fit.queries) - g_query**2 * z.T @ np.linalg.solve(v, z)
    close(found.loc[names, "sd"], np.sqrt(np.diag(spread) * fit.variances["residual"]))


def test_an_empty_cell_costs_what_needs_it_and_no_more() -> None:
    fit = mixed.fit_mixed(without_a_cell(), "y", "factor")
    found = margins.marginal_means(fit).set_index("model")
    assert list(found["mean"].isna()) == [False, False, True]
    assert list(found["note"]) == ["", "", "needs a cell without rows"]
    pairs = margins.contrasts(fit).set_index(["first", "second"])
    assert list(pairs["p"].isna()) == [False, True, True]
    alone = margins.contrasts(fit, adjust="none").set_index(["first", "second"])
    close(pairs.loc[("m0", "m1"), "p"], alone.loc[("m0", "m1"), "p"], rtol=1e-6)  # a family of two means
    added = margins.marginal_means(mixed.fit_mixed(without_a_cell(), "y", "factor", interaction=False))
    assert added["mean"].notna().all()
    assert shares.variance_shares(fit, n_boot=0)["share"].isna().sum() == 3


def test_quantiles_of_many_degrees_of_freedom_are_interpolated_well() -> None:
    df = np.linspace(4, 900, margins.KNOTS + 1)
    one = slice(2, 12, 4)
    close(margins._range_quantile(0.95, 5, df)[one], stats.studentized_range.ppf(0.95, 5, df[one]), rtol=1e-6)


# -------------------------------------------------------------------------------------------------------------- errors


@pytest.mark.filterwarnings("ignore::drscale.mixed.fit.MixedWarning")
@pytest.mark.parametrize(
    ("change", "options", "said"),
    [
        ({}, {"metric": "ndcg"}, "metric='ndcg': the rows have no such column"),
        ({}, {"query": "qid"}, "pass query=None"),
        ({}, {"factor": "model"}, "named twice"),
        ({"y": "high"}, {}, "not numbers"),
        ({"y": np.nan}, {}, "nan in row 0"),
        ({"y": 0.5}, {}, "nothing to explain"),
        ({"dataset": "one"}, {}, "needs two"),
        ({"factor": None}, {}, "rows have none"),
        ({"query": range(185)}, {}, "two models on the same queries"),
        ({}, {"dataset": None, "query": None}, "one of them is needed"),
        ({"query": "q"}, {}, "one query only"),
        ({"factor": synthetic()["dataset"]}, {}, "a level of its own"),
    ],
)
def test_what_cannot_be_fitted_is_said(change: dict[str, Any], options: dict[str, Any], said: str) -> None:
    rows = synthetic().assign(**change)
    with pytest.raises(ValueError, match=said):
        mixed.fit_mixed(rows, **{"metric": "y", "factor": "factor", **options})


def test_the_queries_of_one_dataset_are_a_random_factor_too() -> None:
    rows = mixed_of_one().assign(dataset="only")
    alone = mixed.fit_mixed(rows, "y", dataset=None)
    assert alone.formula == "y ~ model + (1 | query)"
    assert list(alone.variances) == ["query", "residual"]
    # the same model with the queries in the role of datasets
    other = mixed.fit_mixed(rows, "y", dataset="query", query=None)
    assert alone.criterion == pytest.approx(other.criterion, abs=1e-8)
    assert alone.variances["query"] == pytest.approx(other.variances["dataset"], rel=1e-5)
    both = [margins.contrasts(f)[["difference", "low", "high"]].to_numpy(float) for f in (alone, other)]
    np.testing.assert_allclose(*both, rtol=1e-5)
    shared = shares.variance_shares(alone, n_boot=20)
    assert list(shared["source"]) == ["model", "query", "residual"]
    assert shared["share"].sum() == pytest.approx(1)
    assert len(shares.effects(alone, "query")) == 40
    with pytest.raises(ValueError, match="allowed are 'query'"):
        shares.effects(alone)
    with pytest.raises(ValueError, match="pass dataset=None"):
        mixed.fit_mixed(rows, "y")


def test_rows_that_are_there_twice_are_refused_and_seeds_warned_of() -> None:
    rows = mixed_of_one().assign(dataset=lambda t: t["query"].str[-1])
    with pytest.raises(ValueError, match=r"80 of 160 are there twice, as the one of model 'a'"):
        mixed.fit_mixed(pd.concat([rows, rows]), "y")
    seeds = pd.concat([rows.assign(seed=0), rows.assign(seed=1, y=rows["y"] + 0.1)])
    with pytest.warns(mixed.MixedWarning, match="80 of 160 repeat a model on a query"):
        mixed.fit_mixed(seeds, "y")


def mixed_of_one() -> pd.DataFrame:
    rng = np.random.default_rng(5)
    query, model = np.repeat(np.arange(40), 2), np.tile(["a", "b"], 40)
    y = 0.5 + rng.normal(0, 0.2, 40)[query] + 0.1 * (model == "b") + rng.normal(0, 0.1, 80)
    return pd.DataFrame({"model": model, "query": [f"q{i}" for i in query], "y": y})


@pytest.mark.filterwarnings("ignore::drscale.mixed.fit.MixedWarning")
def test_what_cannot_be_asked_is_said() -> None:
    fit = mixed.fit_mixed(synthetic(), "y", "factor")
    plain = mixed.fit_mixed(synthetic(), "y")
    for ask, said in (
        (lambda: mixed.fit_mixed([1], "y"), "a DataFrame"),
        (lambda: margins.marginal_means(fit, "dataset"), "the fit has 'model' and 'factor'"),
        (lambda: margins.contrasts(fit, adjust="sidak"), "allowed are 'tukey'"),  # type: ignore[arg-type]
        (lambda: margins.contrasts(fit, "model", within="model"), "the fit has"),
        (lambda: margins.marginal_means(fit, level=95), "between 0 and 1"),
        (lambda: margins.specialisation(plain, "m0", "f0", "f1"), "needs a factor"),
        (lambda: margins.specialisation(fit, "m9", "f0", "f1"), "allowed are m0, m1, m2"),
        (lambda: margins.specialisation(fit, "m0", "f0", "f0"), "at least one name is needed, and none"),
        (lambda: margins.specialisation(fit, ["m0", "m1", "m2"], "f0", "f1"), "at least one"),
        (lambda: shares.effects(fit, "model"), "allowed are 'dataset', 'query'"),  # type: ignore[arg-type]
        (lambda: shares.variance_shares(fit, n_boot=3), "at least 20"),
    ):
        with pytest.raises(ValueError, match=said):
            ask()
    one = mixed.fit_mixed(synthetic().assign(model="only"), "y", "factor")
    with pytest.raises(ValueError, match="nothing to compare"):
        margins.contrasts(one)


def test_the_repr_says_it_all() -> None:
    said = repr(mixed.fit_mixed(synthetic(), "y", "factor"))
    for part in ("y ~ model * factor + (1 | dataset/query)", "REML", "185 rows", "8 datasets", "residual", "converged"):
        assert part in said


# ------------------------------------------------------------------------------------------------ ranks and tie groups


def test_ranks_count_who_is_surely_above_and_below() -> None:
    """Against the comparisons themselves: on lme4's own tables and on one with many models of unlike precision."""
    rows = synthetic_leaderboard()
    for fit in (fitted(TESTED[0]), mixed.fit_mixed(rows)):
        pairs, found = margins.contrasts(fit), margins.ranks(fit).set_index("model")
        means = margins.marginal_means(fit).set_index("model")["mean"]
        assert found.index.tolist() == means.sort_values(ascending=False).index.tolist()
        apart = {
            frozenset(p) for p in pairs.loc[(pairs["low"] > 0) | (pairs["high"] < 0), ["first", "second"]].to_numpy()
        }
        for model in found.index:
            worse = sum(frozenset((model, m)) in apart and means[m] < means[model] for m in means.index)
            better = sum(frozenset((model, m)) in apart and means[m] > means[model] for m in means.index)
            assert found.loc[model, ["low", "high"]].tolist() == [1 + better, len(means) - worse]
        shared = {m: set(found.loc[m, "groups"].split()) for m in found.index}
        for a, b in itertools.combinations(found.index, 2):
            assert bool(shared[a] & shared[b]) == (frozenset((a, b)) not in apart)
    assert 1 < found["high"].iloc[0] < len(found)  # something is left open, and something is decided


def synthetic_leaderboard() -> pd.DataFrame:
    """Eight models half a step apart, each on its own half of the sets; synthetic."""
    means = {f"m{i}": (0.3 + 0.05 * i, 0.3 + 0.05 * i) for i in range(8)}
    return planted(means, datasets=10, n_queries=12, skipped=0.5, seed=4)


def test_letters_absorb_groups_that_others_hold() -> None:
    names = ["a", "b", "c", "d"]
    assert margins._letters(names, []) == dict.fromkeys(names, "a")
    assert margins._letters(names, [("a", "c"), ("a", "d"), ("b", "d")]) == {"a": "a", "b": "a b", "c": "b c", "d": "c"}
    assert [margins._mark(i) for i in (0, 25, 26, 701, 702)] == ["a", "z", "aa", "zz", "aaa"]
