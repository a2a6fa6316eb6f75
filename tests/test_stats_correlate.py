"""Correlations over models: against scipy, by hand, by simulation; and their figures."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.api import OLS, add_constant
from statsmodels.stats.multitest import multipletests

from drscale.geometry.plot import correlation_figure, relation_figure, words
from drscale.plotting import style
from drscale.stats import correlate as relations
from drscale.stats.correlate import adjusted, correlations, critical_r, detectable_r

SCIPY = {"pearson": stats.pearsonr, "spearman": stats.spearmanr, "kendall": stats.kendalltau}
TABLES = st.tuples(st.integers(0, 10_000), st.integers(8, 30), st.booleans())


def table(seed: int, n: int, ties: bool = False) -> pd.DataFrame:
    """x and y that share z; with ties the values are few."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=n)
    made = pd.DataFrame({"x": z + rng.normal(size=n), "y": z + rng.normal(size=n), "z": z})
    made = made.round(0) if ties else made
    return made + np.linspace(0, 1e-3, n)[:, None] if (made.nunique() < 3).any() else made


# ------------------------------------------------------------------------------------------------------ against scipy


@settings(max_examples=60)
@given(TABLES, st.sampled_from(list(SCIPY)))
def test_r_and_p_are_scipy_s(made, method):
    frame = table(*made)
    row = correlations(frame, "x", "y", method=method, n_boot=100).iloc[0]
    expected = SCIPY[method](frame["x"], frame["y"])
    assert row["r"] == pytest.approx(expected.statistic, abs=1e-9)
    assert row["p"] == pytest.approx(expected.pvalue, abs=1e-9)
    assert row["low"] < row["r"] < row["high"]
    if method == "pearson":
        low, high = expected.confidence_interval()
        assert (row["low"], row["high"]) == pytest.approx((low, high), abs=1e-9)


@settings(max_examples=40)
@given(TABLES)
def test_partial_r_is_that_of_the_residuals(made):
    frame = table(*made)
    row = correlations(frame, "x", "y", control="z", n_boot=100).iloc[0]
    design = np.column_stack([np.ones(len(frame)), frame["z"]])
    left = {c: frame[c] - design @ np.linalg.lstsq(design, frame[c], rcond=None)[0] for c in "xy"}
    r = np.corrcoef(left["x"], left["y"])[0, 1]
    assert row["r"] == pytest.approx(r, abs=1e-7)
    free = len(frame) - 3  # scipy on residuals would count one more, and be too sure
    assert row["p"] == pytest.approx(2 * stats.t.sf(abs(r) * math.sqrt(free / (1 - r * r)), free), abs=1e-7)


def test_the_p_of_a_partial_r_is_that_of_the_regression():
    frame = table(1, 25).assign(w=np.random.default_rng(5).normal(size=25))
    row = correlations(frame, "x", "y", control=["z", "w"]).iloc[0]
    fit = OLS(frame["y"], add_constant(frame[["x", "z", "w"]])).fit()
    assert row["p"] == pytest.approx(fit.pvalues["x"])
    assert row["control"] == "z, w"


def test_within_groups_is_the_regression_with_their_dummies():
    frame = table(2, 24).assign(g=np.repeat(range(8), 3))
    dummies = pd.get_dummies(frame["g"], drop_first=True, dtype=float).add_prefix("g")
    fit = OLS(frame["y"], add_constant(pd.concat([frame[["x", "z"]], dummies], axis=1))).fit()
    row = correlations(frame, "x", "y", control="z", within="g").iloc[0]
    assert row["p"] == pytest.approx(fit.pvalues["x"])
    held = correlations(pd.concat([frame, dummies], axis=1), "x", "y", control=["z", *dummies]).iloc[0]
    assert list(row[["r", "low", "high"]]) == pytest.approx(list(held[["r", "low", "high"]]))
    lonely = pd.concat([frame, frame.tail(2).assign(g=[90, 91])])  # nothing to compare them with
    assert correlations(lonely, "x", "y", control="z", within="g").iloc[0].equals(row)
    moved = frame.assign(x=frame["x"] + 100 * frame["g"], y=frame["y"] - 7 * frame["g"])
    for cluster in (None, "g"):
        again = [correlations(f, "x", "y", within="g", cluster=cluster).iloc[0] for f in (frame, moved)]
        numbers = ["r", "low", "high", "boot_low", "boot_high", "p"]
        assert list(again[0][numbers]) == pytest.approx(list(again[1][numbers]))


def test_a_partial_correlation_by_hand():
    # r_xy = .6, r_xz = .5, r_yz = .4: (.6 - .2) / sqrt(.75 * .84), on data that has exactly these correlations
    wanted = np.array([[1, 0.6, 0.5], [0.6, 1, 0.4], [0.5, 0.4, 1]])
    rng = np.random.default_rng(0)
    white = np.linalg.qr(np.column_stack([np.ones(20), rng.normal(size=(20, 3))]))[0][:, 1:]
    frame = pd.DataFrame(white @ np.linalg.cholesky(wanted).T, columns=list("xyz"))
    row = correlations(frame, "x", "y", control="z").iloc[0]
    assert row["r"] == pytest.approx(0.4 / math.sqrt(0.75 * 0.84))
    z, error = math.atanh(row["r"]), 1 / math.sqrt(20 - 3 - 1)
    ends = [math.tanh(z + sign * stats.norm.ppf(0.975) * error) for sign in (-1, 1)]
    assert [row["low"], row["high"]] == pytest.approx(ends)


def test_a_partial_tau_by_hand():
    frame = table(4, 15)
    tau = {a + b: stats.kendalltau(frame[a], frame[b]).statistic for a, b in ("xy", "xz", "yz")}
    expected = (tau["xy"] - tau["xz"] * tau["yz"]) / math.sqrt((1 - tau["xz"] ** 2) * (1 - tau["yz"] ** 2))
    row = correlations(frame, "x", "y", control="z", method="kendall").iloc[0]
    assert row["r"] == pytest.approx(expected)
    m = 14
    z = expected / math.sqrt(2 * (2 * m + 5) / (9 * m * (m - 1)))
    assert row["p"] == pytest.approx(2 * stats.norm.sf(abs(z)))


@pytest.mark.parametrize("method", list(SCIPY))
def test_the_bootstrap_is_that_of_resampled_rows(method):
    frame = table(2, 20, ties=True)
    row = correlations(frame, "x", "y", method=method, n_boot=500, seed=3).iloc[0]
    times = np.random.default_rng(3).multinomial(20, np.full(20, 1 / 20), size=500)
    again = [SCIPY[method](*frame.loc[np.repeat(np.arange(20), t), ["x", "y"]].to_numpy().T).statistic for t in times]
    assert [row["boot_low"], row["boot_high"]] == pytest.approx(np.nanquantile(again, [0.025, 0.975]), abs=1e-9)


def test_the_tail_of_few_clusters_is_no_lighter_than_it_says():
    """Eight sizes of two or three seeds and no relation: p < .005 about five times in a thousand, at most."""
    codes = np.repeat(np.arange(8), [3, 2, 2, 2, 2, 2, 2, 3])
    x, rng = np.array([3.58, 3.82, 4.16, 4.40, 4.75, 5.0, 5.35, 5.6])[codes], np.random.default_rng(0)
    false = dict.fromkeys((0.005, 0.05), 0)
    for _ in range(1500):
        y = rng.standard_normal(8)[codes] + rng.standard_normal(len(codes))
        data = np.column_stack([x - x.mean(), y - y.mean()]) / [x.std(), y.std()]
        p = relations._jackknife(data, codes, float(np.corrcoef(x, y)[0, 1]), "pearson")[2]
        for level in false:
            false[level] += p < level
    assert false[0.005] <= 10, false  # 7.5 would be right; the jackknife alone has 18
    assert 20 <= false[0.05] <= 75, false


def test_p_by_clusters_is_never_below_that_of_their_means():
    frame = pd.concat([table(3, 8)] * 3, ignore_index=True).assign(g=np.tile(range(8), 3))
    frame["y"] += np.random.default_rng(1).normal(0, 0.3, 24)  # x is the cluster's own
    row = correlations(frame, "x", "y", cluster="g").iloc[0]
    means = frame.groupby("g")[["x", "y"]].mean()
    assert row["p"] >= stats.pearsonr(means["x"], means["y"]).pvalue * (1 - 1e-9)


# -------------------------------------------------------------------------------------------------------------- laws


@settings(max_examples=40)
@given(TABLES, st.sampled_from(list(SCIPY)), st.booleans(), st.floats(0.01, 100), st.floats(-1e4, 1e4))
def test_units_do_not_matter_and_a_sign_only_turns(made, method, hold, scale, shift):
    frame = table(*made)
    options = {"method": method, "control": "z" if hold else None, "n_boot": 200}
    before = correlations(frame, "x", "y", **options).iloc[0]
    after = correlations(frame.assign(x=frame["x"] * scale + shift), "x", "y", **options).iloc[0]
    turned = correlations(frame.assign(x=-frame["x"]), "x", "y", **options).iloc[0]
    numbers = ["r", "low", "high", "boot_low", "boot_high", "p"]
    assert list(after[numbers]) == pytest.approx(list(before[numbers]), abs=1e-5, nan_ok=True)  # eight rows, few draws
    assert turned["r"] == pytest.approx(-before["r"], abs=1e-9)
    assert turned["low"] == pytest.approx(-before["high"], abs=1e-9)
    swapped = correlations(frame, "y", "x", **options).iloc[0]
    assert swapped["r"] == pytest.approx(before["r"], abs=1e-9)


@settings(max_examples=20)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_adjusted_p_values(p):
    """By their definitions: the k-th least of n counts (n - k + 1)-fold for Holm, n / k-fold for the share of false."""
    order, n = np.argsort(p), len(p)
    holm, share = np.empty(n), np.empty(n)
    for k, i in enumerate(order, 1):
        holm[i] = max(min(1, (n - j + 1) * p[order[j - 1]]) for j in range(1, k + 1))
        share[i] = min(min(1, n / j * p[order[j - 1]]) for j in range(k, n + 1))
    assert adjusted(p, "holm") == pytest.approx(holm)
    assert adjusted(p, "bh") == pytest.approx(share)
    assert adjusted(p, "bonferroni") == pytest.approx(np.minimum(n * np.array(p), 1))
    assert list(adjusted(p, "none")) == p


def test_adjusted_p_values_are_those_of_statsmodels():
    p = [0.01, 0.04, 0.03, 0.03, 0.2, 0.9]
    for ours, theirs in (("holm", "holm"), ("bh", "fdr_bh"), ("bonferroni", "bonferroni")):
        assert adjusted(p, ours) == pytest.approx(multipletests(p, method=theirs)[1])


def test_the_table_corrects_for_all_of_its_rows():
    frame = table(0, 30).assign(w=np.random.default_rng(9).normal(size=30))
    both = correlations(frame, ["x", "z", "y"], ["y", "w"])
    assert list(zip(both["x"], both["y"], strict=True)) == [("x", "y"), ("x", "w"), ("z", "y"), ("z", "w"), ("y", "w")]
    assert list(both["p_adjusted"]) == pytest.approx(list(adjusted(both["p"], "holm")))
    assert ((both["joint_low"] < both["low"]) & (both["high"] < both["joint_high"])).all()
    one = correlations(frame, "x", "y").iloc[0]
    assert (one["joint_low"], one["joint_high"]) == (one["low"], one["high"])


def test_missing_values_leave_their_pair_only():
    frame = table(0, 20)
    frame.loc[[0, 3], "x"] = np.nan
    both = correlations(frame, ["x", "z"], "y")
    assert list(both["n"]) == [18, 20]
    assert both["r"].iloc[0] == pytest.approx(frame["x"].corr(frame["y"]))


# ----------------------------------------------------------------------------------------------------------- clusters


def test_copies_are_no_news():
    frame = table(0, 12)
    thrice = pd.concat([frame.assign(g=range(12))] * 3)
    naive, aware = correlations(thrice, "x", "y").iloc[0], correlations(thrice, "x", "y", cluster="g").iloc[0]
    once = correlations(frame.assign(g=range(12)), "x", "y", cluster="g").iloc[0]
    assert naive["p"] < 0.2 * aware["p"]
    numbers = ["r", "low", "high", "boot_low", "boot_high", "p", "clusters"]
    assert list(aware[numbers]) == pytest.approx(list(once[numbers]))
    assert (aware["n"], once["n"]) == (36, 12)
    assert naive["clusters"] is pd.NA


def test_the_jackknife_by_hand():
    frame = table(3, 12).assign(g=np.repeat(list("abcd"), 3))
    row = correlations(frame, "x", "y", cluster="g").iloc[0]
    z = math.atanh(frame["x"].corr(frame["y"]))
    left = [math.atanh(part["x"].corr(part["y"])) for part in (frame[frame["g"] != c] for c in "abcd")]
    error = math.sqrt(3 / 4 * sum((v - z) ** 2 for v in left))
    assert row["p"] == pytest.approx(2 * stats.t.sf(z / error, 3))
    assert row["low"] == pytest.approx(math.tanh(z - stats.t.ppf(0.975, 3) * error))


def test_intervals_over_clusters_are_right_where_the_naive_are_too_sure():
    rng = np.random.default_rng(0)
    naive = aware = 0
    for _ in range(150):  # x and y do not go together, but three seeds of a size do
        sizes = np.repeat(rng.normal(size=(10, 2)), 3, axis=0)
        frame = pd.DataFrame(sizes + 0.3 * rng.normal(size=(30, 2)), columns=["x", "y"]).assign(g=np.arange(30) // 3)
        naive += correlations(frame, "x", "y", n_boot=100)["p"].iloc[0] < 0.05
        aware += correlations(frame, "x", "y", cluster="g", n_boot=100)["p"].iloc[0] < 0.05
    assert naive > 30
    assert aware <= 17  # 0.05 of 150 and three standard deviations are 15.5


# ----------------------------------------------------------------------------------------------- what few models see


def test_what_seven_models_can_tell():
    assert critical_r(7) == pytest.approx(0.754, abs=5e-4)  # a table's value
    assert critical_r(7, controls=1) == pytest.approx(critical_r(6))
    rng = np.random.default_rng(0)
    r = detectable_r(7)
    x = rng.normal(size=(4000, 7))
    y = r * x + math.sqrt(1 - r * r) * rng.normal(size=(4000, 7))
    seen = np.mean([abs(np.corrcoef(a, b)[0, 1]) > critical_r(7) for a, b in zip(x, y, strict=True)])
    assert seen == pytest.approx(0.8, abs=0.03)
    assert detectable_r(30) < 0.5 < critical_r(10) < detectable_r(10)


@settings(max_examples=30)
@given(st.integers(4, 200))
def test_the_critical_r_has_the_p_it_should(n):
    r, free = critical_r(n), n - 2
    assert 2 * stats.t.sf(r * math.sqrt(free / (1 - r * r)), free) == pytest.approx(0.05)


# ------------------------------------------------------------------------------------------------------------ errors


FRAME = table(0, 12).assign(flat=1.0, word="a", g=np.repeat(list("abcd"), 3), twice=lambda t: 2 * t["z"])


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: correlations(FRAME, "nothing", "y"), "no column 'nothing'"),
        (lambda: correlations(FRAME, "x", "y", method="r"), "'pearson', 'spearman', 'kendall'"),
        (lambda: correlations(FRAME, "x", "y", adjust="all"), "'holm', 'bh', 'bonferroni', 'none'"),
        (lambda: correlations(FRAME.assign(x=[math.inf, *FRAME["x"][1:]]), "x", "y"), "'x': 1 of .* rows are infinite"),
        (lambda: correlations(FRAME, "x", "x"), "pair of different columns"),
        (lambda: correlations(FRAME, "word", "y"), "column 'word'"),
        (lambda: correlations(FRAME, "flat", "y"), "column 'flat': has one value"),
        (lambda: correlations(FRAME.head(3), "x", "y"), "3 models .3 rows. with all values are too few, 4"),
        (lambda: correlations(FRAME, "x", "y", within="none"), "no column 'none'"),
        (lambda: correlations(FRAME.head(6), "x", "y", within="x"), "too few"),
        (lambda: correlations(FRAME.assign(x=FRAME["g"].map(ord)), "x", "y", within="g"), "of each 'g'"),
        (lambda: correlations(FRAME.head(6), "x", "y", cluster="g"), "2 values of 'g'"),
        (lambda: correlations(FRAME, "z", "y", control="twice"), "nothing of one of them over"),
        (lambda: correlations(FRAME, "x", "y", level=95), "level=95"),
        (lambda: adjusted([0.1, 2]), "from 0 to 1"),
        (lambda: adjusted([0.1], "some"), "adjust='some'"),
        (lambda: critical_r(2), "at least 3 models"),
        (lambda: critical_r(9, level=1.5), "level=1.5"),
        (lambda: detectable_r(9, power=1.0), "power=1.0"),
        (lambda: detectable_r(2), "at least 3 models"),
    ],
)
def test_errors_say_what_is_wrong(call, said):
    with pytest.raises(ValueError, match=said):
        call()


def test_the_columns_are_as_documented():
    assert list(correlations(FRAME, "x", "y").columns) == relations.COLUMNS


# ----------------------------------------------------------------------------------------------------------- figures


def models() -> pd.DataFrame:
    made = table(0, 12).assign(rung=["L2H128", "L2H12", "L2H24"] * 4, seed=np.repeat(range(4), 3))
    made["strategy"] = ["standard", "adversarial"] * 6
    return made.assign(x_low=made["x"] - 0.1, x_high=made["x"] + 0.3, synthetic=True)


def test_a_scatter_shows_every_model_with_its_interval() -> None:
    fig = relation_figure(models(), "x", "y", symbol="strategy", names={"y": "stability"})
    drawn = [t for t in fig.data if t.x[0] is not None]
    assert sum(len(t.x) for t in drawn) == 12
    assert [t.name for t in drawn if t.showlegend] == ["L2H12", "L2H24", "L2H128"]
    assert {t.marker.symbol for t in drawn} == {"circle", "square"}
    assert {t.marker.color for t in drawn if t.name == "L2H12"} == {"#AADC32"}
    assert np.allclose(drawn[0].error_x.array, 0.3)
    assert np.allclose(drawn[0].error_x.arrayminus, 0.1)
    assert drawn[0].error_y.array is None
    assert fig.layout.yaxis.title.text == "stability"
    assert "seed 0" in " ".join(str(h) for t in drawn for h in t.customdata[:, 0])


def test_a_scatter_leaves_out_what_has_no_value() -> None:
    rows = models().assign(x=lambda t: t["x"].abs() + 1)
    rows.loc[0, "y"] = np.nan
    with pytest.warns(UserWarning, match="1 of 12 rows lack x or y and are not drawn"):
        fig = relation_figure(rows, "x", "y", by="strategy", log_x=True)
    assert sum(len(t.x) for t in fig.data) == 11
    assert fig.layout.xaxis.type == "log"
    counts = relation_figure(rows.dropna().assign(x=rows["x"] * 1e4), "x", "y", by="strategy", log_x=True)
    assert "20K" in counts.layout.xaxis.ticktext
    assert "2" in fig.layout.xaxis.ticktext


def test_the_matrix_is_as_pale_as_its_intervals_are_near_zero() -> None:
    frame = table(0, 40).assign(w=np.random.default_rng(1).normal(size=40))
    found = correlations(frame, ["x", "w"], ["y", "z"])
    heat = correlation_figure(found, names={"y": "drop rate"}).data[0]
    assert (list(heat.x), list(heat.y)) == (["drop rate", "z"], ["x", "w"])
    rows = found.set_index(["x", "y"])
    assert heat.z[0][1] == pytest.approx(rows.loc[("x", "z"), "joint_low"])
    assert heat.z[1][0] == 0
    assert heat.text[0][1].startswith(f"{rows.loc[('x', 'z'), 'r']:+.2f}<br>[")
    narrow = correlation_figure(found, joint=False).data[0]
    assert narrow.z[0][1] == pytest.approx(rows.loc[("x", "z"), "low"])


def test_words_of_columns() -> None:
    assert words("geometry_isoscore") == words("isoscore") == "IsoScore"
    assert words("in_domain_ndcg10") == "In-domain nDCG@10"
    assert words("my column") == "my column"


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: relation_figure(models(), "x", "nothing"), "no column 'nothing'"),
        (lambda: relation_figure(models().assign(x=np.nan), "x", "y"), "no row has both"),
        (lambda: relation_figure(models(), "x", "y", log_x=True), "0 or below"),
        (lambda: correlation_figure(models()), "no column 'r'"),
        (lambda: correlation_figure(pd.concat([correlations(FRAME, "x", "y")] * 2)), "comes twice"),
    ],
)
def test_figures_say_what_is_wrong(call, said) -> None:
    with pytest.raises(ValueError, match=said):
        call()


def test_what_is_no_rung_stands_behind_the_ladder_in_a_colour_of_its_own() -> None:
    rows = pd.DataFrame({"rung": ["mine", "L2H64", "L2H12"], "x": [1.0, 2.0, 3.0], "y": [1.0, 2.0, 3.0]})
    fig = relation_figure(rows, "x", "y")
    assert [t.name for t in fig.data] == ["L2H12", "L2H64", "mine"]
    ends = [style.ramp(0, False), style.ramp(1, False)]
    assert [t.marker.color for t in fig.data][:2] == ends
    assert fig.data[2].marker.color not in ends
