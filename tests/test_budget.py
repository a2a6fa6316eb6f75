"""Prices, and what a budget buys: closed forms against numerical optima, and against the numbers worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from lmfit import Model, Parameters
from lmfit.model import ModelResult
from scipy.optimize import minimize_scalar

from drscale.budget import plan as budget
from drscale.budget import plan as tangent
from drscale.budget.plan import allocate, allocate_both, cost_of
from drscale.budget.prices import Prices, paper_prices
from drscale.laws import fit as laws
from drscale.laws.curve import Curve
from drscale.plotting import files as export
from drscale.stats.tables import count_text

BOX = {"N": (5e5, 8.2e7), "D": (3e4, 4.8e5)}
FREE = replace(
    paper_prices(documents=0), steps=10_000 * 3.22 / paper_prices().training * 1e-8
)  # Z_train as printed, 3.22e-8
ROBUST = {"M": 1.96e4, "mu": 0.25, "B": 2.57e3, "eta": 0.80, "delta": 0.02}
EFFECT = {"M": 8.34e5, "mu": 0.57, "B": 2.17e3, "eta": 1.38, "delta": 0.03}


def joint(values: dict[str, float] = ROBUST, spread: float = 0.0, law=laws.joint_law, n: int = 400) -> Curve:
    draws = None
    if spread:
        rng = np.random.default_rng(0)
        draws = pd.DataFrame({k: v * np.exp(spread * rng.standard_normal(n)) for k, v in values.items()})
    return Curve(law, values, BOX, draws, name="planted")


def near(found: float, wanted: float, rel: float = 1e-6) -> bool:
    return found == pytest.approx(wanted, rel=rel)


def prices(pair: float = 0.6, gpu_hour: float = 3.93, **more: float) -> Prices:
    return replace(paper_prices(documents=0), pair=pair, gpu_hour=gpu_hour, **more)


# Curves


def test_a_curve_is_its_law_at_its_values():
    c = joint()
    assert c(N=1e6, D=1e5) == laws.joint_law(1e6, 1e5, **ROBUST)
    assert c(N=[1e6, 1e7], D=1e5).shape == (2,)
    assert c.arguments == ("N", "D")
    assert Curve(laws.size_law, {"M": 1.0, "mu": 1.0, "delta": 0.0})(N=2.0) == 0.5


def test_a_curves_draws_broadcast_over_any_points():
    c = joint(spread=0.1)
    grid = c.sample(N=np.geomspace(1e6, 1e8, 3), D=np.geomspace(1e4, 1e5, 2)[:, None])
    assert grid.shape == (400, 2, 3)
    one = {k: float(v) for k, v in c.draws.iloc[7].items()}
    assert grid[7, 1, 2] == pytest.approx(laws.joint_law(1e8, 1e5, **one))
    low, high = c.interval(N=1e6, D=1e5)
    assert low < c(N=1e6, D=1e5) < high
    inner = c.interval(0.5, N=1e6, D=1e5)
    assert low < inner[0] < inner[1] < high


def test_a_curve_knows_its_box():
    assert joint().inside(N=[4e5, 5e5, 8.2e7, 9e7], D=1e5).tolist() == [False, True, True, False]
    assert joint().inside(N=1e6, D=[2e4, 3e4]).tolist() == [False, True]
    assert not Curve(laws.joint_law, ROBUST).inside(N=1e6, D=1e5)
    assert Curve(laws.joint_law, ROBUST, {"N": BOX["N"]}).inside(N=[1e6, 1e7], D=1e5).tolist() == [False, False]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"values": {"A": 1.0}}, "values: no argument 'A' in joint_law, allowed are N, D, M"),
        ({"values": ROBUST | {"mu": np.nan}}, r"values\['mu'\]=nan: a finite number"),
        ({"box": {"X": (1, 2)}}, "box: no argument 'X'"),
        ({"box": {"mu": (1, 2)}}, "box: 'mu' has a value; a box is for N, D"),
        ({"box": {"N": (2, 1)}}, r"box\['N'\]=\(2, 1\): \(lowest, highest\), both above zero"),
        ({"draws": pd.DataFrame([ROBUST, ROBUST | {"B": np.inf}])}, r"draws\['B'\]: 1 of 2 are not finite"),
        ({"draws": pd.DataFrame([ROBUST | {"mu": np.nan}])}, r"draws\['mu'\]: 1 of 1 are not finite"),
        ({"draws": pd.DataFrame({"M": [1.0]})}, "draws: 1 rows of M; a column for each of M, mu, B"),
    ],
)
def test_a_wrong_curve_is_refused(change, said):
    with pytest.raises(ValueError, match=said):
        Curve(**{"law": laws.joint_law, "values": ROBUST} | change)


def test_wrong_points_are_refused():
    with pytest.raises(ValueError, match="joint_law needs N=, D=; given: N="):
        joint()(N=1.0)
    with pytest.raises(ValueError, match=r"D=0: finite numbers above zero"):
        joint()(N=1.0, D=0)
    with pytest.raises(ValueError, match="'planted' has no draws: only its numbers are known"):
        joint().sample(N=1.0, D=1.0)
    with pytest.raises(ValueError, match="level=95: must lie between 0 and 1"):
        joint(spread=0.1).interval(95, N=1.0, D=1.0)


COUNTS = [(950, "950"), (17_600, "17.6K"), (999_600, "1M"), (3e13, "30T"), (0, "0"), (np.inf, "∞"), (-np.inf, "-∞")]


@pytest.mark.parametrize(("value", "text"), COUNTS)
def test_counts_in_words(value, text):
    assert count_text(value) == text


# Prices


def test_the_papers_constants_come_from_their_sources():
    p = paper_prices()
    assert (p.per_pair, f"{p.training:.2e}", f"{p.encoding:.2f}") == (0.6, "3.22e-08", "0.43")
    assert p.per_flop == pytest.approx(1.3996e-17, rel=1e-3)
    assert p.per_parameter == p.training + p.encoding
    assert paper_prices(documents=0).encoding == 0


def test_a_collections_price_is_proportional_to_its_documents():
    """MS MARCO's passages with BERT-base: 1.28 $, and 30 trillion pages of 512 tokens: 37.1 million."""
    base = 86_235_648
    assert paper_prices(8_841_823, 60).encoding * base == pytest.approx(1.28, abs=0.005)
    assert paper_prices().encoding * base == pytest.approx(37.1e6, rel=1e-3)
    assert paper_prices().training * base == pytest.approx(2.78, abs=0.005)
    assert paper_prices(2e6).encoding == pytest.approx(2 * paper_prices(1e6).encoding)


def test_the_arithmetic_is_shown():
    lines = paper_prices().explain().splitlines()
    assert lines[0].endswith("$0.6")
    assert "3.93 an hour / (3600 s x 3.12e+14 FLOP/s x 25%) = $1.4e-17" in lines[1]
    assert "10,000 steps x 38,400 tokens x 6 FLOPs x $1.4e-17 = $3.22e-08 a parameter" in lines[2]
    assert "30T documents x 512 tokens x 2 FLOPs x $1.4e-17 = $0.43 a parameter" in lines[3]
    assert "$0.6 x D + $0.43 x N" in lines[4]
    assert "no documents, so nothing" in paper_prices(documents=0).explain()
    assert "2.5 CHF" in replace(paper_prices(), currency="CHF", pair=2.5).explain()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1000, "$1,000"),
        (1e7, "$10M"),
        (18_000, "$18,000"),
        (37.1e6, "$37.1M"),
        (0.43, "$0.43"),
        (999.4, "$999"),
        (3.22e-8, "$3.22e-08"),
    ],
)
def test_money_in_words(value, text):
    assert paper_prices().money(value) == text
    assert replace(paper_prices(), currency="CHF").money(value) == f"{text[1:]} CHF"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"pair": 0}, "pair=0: a finite number above zero"),
        ({"gpu_hour": -1.0}, "gpu_hour=-1.0: a finite number above zero"),
        ({"peak_flops": np.inf}, "peak_flops=inf: a finite number"),
        ({"utilisation": 25}, "utilisation=25: a share above 0 and at most 1"),
        ({"utilisation": 0}, "utilisation=0: a share above 0"),
        ({"documents": -1}, "documents=-1: a finite number zero or above"),
        ({"tokens_per_document": 0}, "tokens_per_document=0: 30T documents to encode need a length"),
        ({"pair": "0.6"}, "pair='0.6': a finite number above zero"),
        ({"steps": np.nan}, "steps=nan: a finite number above zero"),
    ],
)
def test_wrong_prices_are_refused(change, said):
    with pytest.raises(ValueError, match=said):
        replace(paper_prices(), **change)


# The optimum

BY_HAND = [  # law, budget, N, D, loss: worked out independently from the published joint laws, without encoding
    ((8.2e5, 0.57, 5.2e3, 1.39, 0.03), 5e3, 3.27e9, 8.16e3, 0.604),
    ((8.2e5, 0.57, 5.2e3, 1.39, 0.03), 2e4, 2.28e10, 3.21e4, 0.120),
    ((3.6e4, 0.56, 7.1e3, 1.31, 0.03), 1e4, 2.58e9, 1.65e4, 0.369),
    ((2.11e3, 0.10, 2.99e3, 0.78, 0.01), 5e3, 7.31e9, 7.94e3, 0.612),
    ((2.11e3, 0.10, 2.99e3, 0.78, 0.01), 2e4, 7.42e10, 2.94e4, 0.306),
    ((3.47e4, 0.58, 2.14e3, 1.10, 0.04), 5e3, 1.24e9, 8.27e3, 0.270),
    ((3.47e5, 0.58, 2.14e3, 1.10, 0.04), 1e4, 6.71e9, 1.63e4, 0.152),
    ((5.47e5, 0.58, 2.14e3, 1.10, 0.04), 2e4, 1.92e10, 3.23e4, 0.094),
    ((1.96e4, 0.25, 2.57e3, 0.80, 0.02), 1e4, 9.78e9, 1.61e4, 0.269),
    ((8.34e5, 0.57, 2.17e3, 1.38, 0.03), 5e3, 5.87e9, 8.02e3, 0.217),
]


@pytest.mark.parametrize(("numbers", "money", "N", "D", "loss"), BY_HAND)
def test_the_published_optima(numbers, money, N, D, loss):
    curve = joint(dict(zip(("M", "mu", "B", "eta", "delta"), numbers, strict=True)))
    plan = allocate(curve, money, FREE)
    assert (f"{plan.N:.2e}", f"{plan.D:.2e}", f"{plan.loss:.3f}") == (f"{N:.2e}", f"{D:.2e}", f"{loss:.3f}")
    assert sum(plan.costs.values()) == pytest.approx(money)


def test_the_published_optima_with_encoding():
    """Thirty trillion pages make models of millions of parameters out of models of billions."""
    curve = joint({"M": 8.2e5, "mu": 0.57, "B": 5.2e3, "eta": 1.39, "delta": 0.03})
    for money, N, D in ((1e6, 2.09e6, 167e3), (1e7, 2.20e7, 879e3), (1e8, 2.26e8, 4.54e6)):
        plan = allocate(curve, money, paper_prices())
        assert near(plan.N, N, 3e-3)
        assert near(plan.D, D, 3e-3)


def exponents(low: float = 0.05, high: float = 2.5) -> st.SearchStrategy[float]:
    return st.floats(low, high)


def scale(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(np.log10(low), np.log10(high)).map(lambda x: 10.0**x)


anything = given(
    law=st.sampled_from([laws.joint_law, laws.additive_law]),
    M=scale(1e2, 1e8),
    mu=exponents(),
    B=scale(1e1, 1e7),
    eta=exponents(0.2),
    pair=scale(1e-4, 1e2),
    gpu_hour=scale(1e-3, 1e3),
    money=scale(1e1, 1e9),
)


@anything
@example(laws.joint_law, 2.11e3, 0.10, 2.99e3, 0.78, 0.6, 3.93, 5e3)
def test_the_optimum_is_the_numerical_one(law, M, mu, B, eta, pair, gpu_hour, money):
    curve = Curve(law, {"M": M, "mu": mu, "B": B, "eta": eta, "delta": 0.0})
    p = prices(pair, gpu_hour)
    plan = allocate(curve, money, p)
    assert plan.cost == pytest.approx(money)
    all_on_N, all_on_D = money / p.per_parameter, money / pair

    def loss(t: float) -> float:  # t: log(money for N / money for D)
        return float(curve(N=all_on_N / (1 + np.exp(-t)), D=all_on_D / (1 + np.exp(t))))

    found = minimize_scalar(loss, bounds=(-60, 60), method="bounded", options={"xatol": 1e-9})
    assert plan.loss <= found.fun * (1 + 1e-9)
    best = np.log(p.per_parameter * plan.N / (pair * plan.D))
    assert loss(best) == pytest.approx(plan.loss, rel=1e-6)
    for aside in (-0.05, 0.05):
        assert loss(best + aside) >= plan.loss * (1 - 1e-12)


@anything
def test_the_price_of_a_target_undoes_the_allocation(law, M, mu, B, eta, pair, gpu_hour, money):
    """The least loss for a budget costs that budget, and no other way of reaching it is cheaper."""
    curve, p = Curve(law, {"M": M, "mu": mu, "B": B, "eta": eta, "delta": 0.3}), prices(pair, gpu_hour)
    best = allocate(curve, money, p)
    if best.loss - 0.3 < 1e-6:  # so near the floor that the loss no longer holds the digits of the rest
        return
    plan = cost_of(curve, p, best.loss)
    assert plan.loss == pytest.approx(best.loss)
    assert plan.cost == pytest.approx(money, rel=1e-3)
    assert near(plan.N, best.N, 2e-2)
    assert near(plan.D, best.D, 2e-2)


@anything
def test_more_money_never_buys_a_higher_loss(law, M, mu, B, eta, pair, gpu_hour, money):
    curve, p = Curve(law, {"M": M, "mu": mu, "B": B, "eta": eta, "delta": 0.1}, BOX), prices(pair, gpu_hour)
    less, more = allocate(curve, money, p), allocate(curve, 2 * money, p)
    assert more.loss <= less.loss
    boxed = allocate(curve, money, p, within="box")
    if boxed.feasible:
        assert curve.inside(N=boxed.N, D=boxed.D)
        assert boxed.cost <= money * (1 + 1e-9)
        grid = np.geomspace(*BOX["N"], 200)
        D = np.clip(budget.isocost(money, p, grid), None, BOX["D"][1])
        can = np.nan_to_num(D) >= 3e4
        if can.any():
            assert boxed.loss <= curve(N=grid[can], D=D[can]).min() * (1 + 1e-9)
    else:
        assert money < p.cost(BOX["N"][0], BOX["D"][0])


def test_leaving_the_box_is_said():
    plan = allocate(joint(), 1e4, FREE)
    assert plan.flags == (
        "N = 9.78B lies above the fitted 500K to 82M",
        "D = 16.1K lies below the fitted 30K to 480K",
    )
    assert str(plan) == (
        "$10,000 buys 9.78B parameters and 16.1K pairs: predicted loss 0.269 "
        "($9,685 for annotation, $315 for training). Beware: N = 9.78B lies above the fitted 500K to 82M. "
        "Beware: D = 16.1K lies below the fitted 30K to 480K."
    )
    inside = allocate(joint(), 3e4, FREE, within="box")
    assert inside.flags == ()
    assert (inside.N, round(inside.D)) == (8.2e7, 49_996)
    assert inside.loss > allocate(joint(), 3e4, FREE).loss


def test_plans_repeat_the_doubts_of_their_curve():
    curve = replace(joint(spread=0.05), doubts=("the intervals are too narrow",))
    plans = allocate(curve, 1e5, FREE, within="box"), cost_of(curve, FREE, 0.3), allocate_both(curve, curve, 1e5, FREE)
    for plan in plans:
        assert plan.flags.count("the intervals are too narrow") == 1
        assert "Beware: the intervals are too narrow." in str(plan)
    assert "the intervals are too narrow" not in allocate(joint(spread=0.05), 1e5, FREE).flags


def test_a_plan_of_a_law_without_a_box_says_so():
    bare, half = replace(joint(), box={}), replace(joint(), box={"D": BOX["D"]})
    unknown = [f"the range of {name} it was fitted in is not known" for name in "ND"]
    assert allocate(bare, 1e4, FREE).flags == tuple(unknown)
    assert allocate(half, 1e4, FREE).flags == (unknown[0], "D = 16.1K lies below the fitted 30K to 480K")
    assert cost_of(bare, FREE, 0.3).flags == tuple(unknown)
    assert allocate_both(bare, bare, 1e4, FREE).flags == tuple(unknown)
    for curve in (bare, half, replace(joint(spread=0.05), box={})):
        assert not budget.path(curve, [1e5, 1e6], FREE)["inside"].any()


def test_a_box_that_costs_more_than_the_budget_is_infeasible():
    plan = allocate(joint(), 1e4, FREE, within="box")
    assert not plan.feasible
    assert str(plan) == (
        "No plan of $10,000 lies in the fitted box: its cheapest corner, 500K parameters and 30K pairs, costs $18,000."
    )
    assert allocate(joint(), 18_001, FREE, within="box").feasible


def test_money_that_the_box_cannot_take_is_left_over():
    plan = allocate(joint(), 1e6, FREE, within="box")
    assert (plan.N, plan.D) == (8.2e7, 4.8e5)
    assert plan.cost == pytest.approx(288_002.64, rel=1e-6)
    assert plan.flags == ("the box ends before the money: $711,997 is left over",)


def test_intervals_come_from_the_draws():
    curve = joint(spread=0.05)
    plan, cloud = allocate(curve, 5e4, FREE), budget.optima(curve, 5e4, FREE)
    for name in ("N", "D"):
        low, high = plan.intervals[name]
        assert low < getattr(plan, name) < high
        assert np.mean((cloud[name] >= low) & (cloud[name] <= high)) == pytest.approx(0.95, abs=0.01)
    one = Curve(laws.joint_law, {k: float(v) for k, v in curve.draws.iloc[3].items()})
    alone = allocate(one, 5e4, FREE)
    assert cloud.iloc[3].tolist() == pytest.approx([alone.N, alone.D])
    low, high = np.quantile(curve.sample(N=plan.N, D=plan.D), [0.025, 0.975])
    assert plan.intervals["loss"] == (pytest.approx(low, rel=1e-2), pytest.approx(high, rel=1e-2))
    assert f"[{plan.intervals['loss'][0]:.3f}, " in str(plan)
    wider = allocate(curve, 5e4, FREE, level=0.99).intervals["N"]
    assert wider[0] < plan.intervals["N"][0]
    assert wider[1] > plan.intervals["N"][1]


def test_draws_that_do_not_fall_with_size_want_no_parameters():
    curve = joint(spread=0.05)
    curve.draws.loc[:40, "M"] = 0.0
    low, high = allocate(curve, 5e4, FREE).intervals["N"]
    assert low < 1 < high


def test_the_isocost_line_spends_exactly_the_budget():
    N = np.array([1e6, 1e9, 1e12])
    D = budget.isocost(1e4, FREE, N)
    assert FREE.cost(N[:2], D[:2]) == pytest.approx([1e4, 1e4])
    assert np.isnan(D[2])


def test_the_path_is_one_optimum_after_another():
    curve = joint(spread=0.05)
    way = budget.path(curve, [1e4, 1e5, 1e6], FREE)
    one = allocate(curve, 1e5, FREE)
    assert way.loc[1, ["N", "D", "loss"]].tolist() == [one.N, one.D, one.loss]
    assert (way.loc[1, "N_low"], way.loc[1, "N_high"]) == one.intervals["N"]
    assert way[["annotation", "training", "encoding"]].sum(axis=1).tolist() == pytest.approx([1e4, 1e5, 1e6])
    assert not way["inside"].any()
    boxed = budget.path(curve, [1e4, 1e5], FREE, within="box")
    assert boxed["inside"].tolist() == [False, True]
    assert np.isnan(boxed.loc[0, "loss"])


def test_a_path_at_once_is_a_path_step_by_step():
    money = [1e3, 1e4, 3e5]
    at_once, stepwise = budget.path(joint(), money, FREE), budget.path(joint(spread=0.05), money, FREE)
    columns = ["budget", "N", "D", "loss", "annotation", "training", "encoding", "inside"]
    assert list(at_once.columns) == columns
    assert np.allclose(at_once[columns].astype(float), stepwise[columns].astype(float), rtol=1e-9)
    with pytest.raises(ValueError, match=r"budget=-1.0: a finite amount"):
        budget.path(joint(), [1e3, -1.0], FREE)


@pytest.mark.parametrize("law", [laws.joint_law, laws.additive_law])
def test_a_contour_has_one_loss(law):
    curve = joint(law=law)
    N = np.geomspace(1e6, 1e9, 20)
    D = budget.contour(curve, 0.3, N=N)
    seen = np.isfinite(D)
    assert 0 < seen.sum() < 20
    assert curve(N=N[seen], D=D[seen]) == pytest.approx(np.full(seen.sum(), 0.3))
    assert budget.contour(curve, 0.3, D=D[seen]) == pytest.approx(N[seen])
    assert np.isnan(budget.contour(curve, 0.02, N=N)).all()
    with pytest.raises(ValueError, match="contour: give either N or D"):
        budget.contour(curve, 0.3)


# Targets


def test_what_a_tenth_costs():
    curve, here = joint(), (8.2e7, 1e5)
    plan = cost_of(curve, FREE, improvement=-0.1, at=here)
    assert plan.loss == pytest.approx(0.9 * curve(N=here[0], D=here[1]))
    assert plan.cost == pytest.approx(allocate(curve, plan.cost, FREE).cost)
    assert allocate(curve, plan.cost, FREE).loss == pytest.approx(plan.loss)
    assert plan.flags


def test_a_target_below_the_floor_cannot_be_bought():
    plan = cost_of(joint(), FREE, 0.02)
    assert not plan.feasible
    assert str(plan) == "A loss of 0.02 cannot be bought: it is not above the law's floor of 0.02."


def test_draws_whose_floor_lies_above_the_target_make_the_price_unbounded():
    curve = joint(spread=0.2)
    plan = cost_of(curve, FREE, 0.025)
    share = float(np.mean(curve.draws["delta"] >= 0.025))
    assert plan.flags[-1] == f"in {share:.1%} of the draws no money reaches it, for the floor lies above"
    assert plan.intervals["cost"][1] == np.inf
    relative = cost_of(curve, FREE, improvement=-0.1, at=(8.2e7, 1e5))
    low, high = relative.intervals["cost"]
    assert low < relative.cost < high < np.inf


# Two losses at once


def numerical_both(weight: float, money: float) -> tuple[float, float]:
    robust, effective = joint(ROBUST), joint(EFFECT)

    def loss(t: float) -> float:
        at = {"N": money / FREE.per_parameter / (1 + np.exp(-t)), "D": money / FREE.pair / (1 + np.exp(t))}
        return float(weight * robust(**at) + (1 - weight) * effective(**at))

    found = minimize_scalar(loss, bounds=(-20, 20), method="bounded", options={"xatol": 1e-10})
    return money / FREE.per_parameter / (1 + np.exp(-found.x)), found.fun


@pytest.mark.parametrize("weight", [0.0, 0.2, 0.5, 0.9, 1.0])
def test_a_weighted_plan_is_the_numerical_optimum(weight):
    plan = allocate_both(joint(ROBUST), joint(EFFECT), 2e4, FREE, weight=weight)
    N, loss = numerical_both(weight, 2e4)
    assert near(plan.N, N, 1e-4)
    assert plan.loss == pytest.approx(loss, rel=1e-10)
    assert plan.cost == pytest.approx(2e4)
    mean = weight * plan.parts["robustness"] + (1 - weight) * plan.parts["effectiveness"]
    assert plan.loss == pytest.approx(mean)
    ends = sorted(allocate(joint(v), 2e4, FREE).N for v in (ROBUST, EFFECT))
    assert ends[0] * (1 - 1e-6) <= plan.N <= ends[1] * (1 + 1e-6)


def test_a_limit_on_one_loss_is_kept_and_binds():
    robust, effective = joint(ROBUST), joint(EFFECT)
    free = allocate(effective, 2e4, FREE)
    least = allocate(robust, 2e4, FREE).loss
    limit = (least + float(robust(N=free.N, D=free.D))) / 2
    plan = allocate_both(robust, effective, 2e4, FREE, at_most={"robustness": limit})
    assert plan.parts["robustness"] == pytest.approx(limit)
    assert free.loss < plan.parts["effectiveness"] == plan.loss
    loose = allocate_both(robust, effective, 2e4, FREE, at_most={"robustness": 5.0})
    assert near(loose.N, free.N)
    other = allocate_both(robust, effective, 2e4, FREE, at_most={"effectiveness": 5.0})
    assert near(other.N, allocate(robust, 2e4, FREE).N)
    assert other.loss == pytest.approx(least)


def test_a_limit_out_of_reach_says_what_it_would_cost():
    robust, effective = joint(ROBUST), joint(EFFECT)
    plan = allocate_both(robust, effective, 1e4, FREE, at_most={"robustness": 0.25})
    assert not plan.feasible
    price = cost_of(robust, FREE, 0.25).cost
    assert str(plan) == f"$10,000 brings robustness to 0.269 and not to 0.25: it costs ${price:,.0f}."
    never = allocate_both(robust, effective, 1e4, FREE, at_most={"robustness": 0.01})
    assert "cannot be bought" in str(never)


def test_joint_intervals_pair_the_draws():
    robust, effective = joint(ROBUST, 0.05), joint(EFFECT, 0.05, n=300)
    plan = allocate_both(robust, effective, 2e4, FREE)
    low, high = plan.intervals["N"]
    assert low < plan.N < high
    assert plan.intervals["robustness"][0] < plan.parts["robustness"] < plan.intervals["robustness"][1]
    ones = [Curve(laws.joint_law, {k: float(v) for k, v in c.draws.iloc[5].items()}) for c in (robust, effective)]
    forms = {s: tangent.form_of(c) for s, c in zip(budget.SIDES, ones, strict=True)}
    exact = budget._between_optima(forms, 2e4, FREE, 0.5, None)[0][0]
    drawn = {s: tangent.form_of(c, True, 300) for s, c in zip(budget.SIDES, (robust, effective), strict=True)}
    assert budget._between_optima(drawn, 2e4, FREE, 0.5, None)[0][5] == pytest.approx(exact, rel=1e-3)
    weighted = 0.5 * sum(curve.sample(N=plan.N, D=plan.D)[:300] for curve in (robust, effective))
    ends = np.quantile(weighted, [0.025, 0.975], method="inverted_cdf")
    assert plan.intervals["loss"] == (pytest.approx(ends[0]), pytest.approx(ends[1]))
    assert "not drawn together" in plan.flags[-1]
    assert not any("drawn" in f for f in allocate_both(robust, joint(EFFECT, 0.05), 2e4, FREE).flags)
    limited = allocate_both(robust, effective, 2e4, FREE, at_most={"robustness": plan.parts["robustness"] * 1.001})
    assert "of the draws this money cannot keep the limit" in limited.flags[-1]


def test_joint_plans_say_whose_box_they_leave():
    robust, effective = joint(ROBUST), replace(joint(EFFECT), box={"N": (1e6, 1e12), "D": BOX["D"]})
    flags = allocate_both(robust, effective, 1e4, FREE).flags
    assert [f.split(" = ")[0] for f in flags] == ["for robustness, N", "D"]
    assert [f.split(" = ")[0] for f in allocate_both(robust, joint(EFFECT), 1e4, FREE).flags] == ["N", "D"]


def boxed(law, N, D, n=0):
    return replace(joint(law, 0.05, n=n) if n else joint(law), box={"N": N, "D": D})


@given(money=st.floats(7e3, 4e5), weight=st.floats(0, 1))
@settings(max_examples=40, deadline=None)
def test_a_joint_plan_inside_the_boxes_is_the_best_inside(money, weight):
    robust, effective = boxed(ROBUST, (1e6, 1e9), (1e4, 3e5)), boxed(EFFECT, (3e6, 5e9), (8e3, 2e5))
    plan = allocate_both(robust, effective, money, FREE, weight=weight, within="box")
    assert 3e6 * (1 - 1e-9) <= plan.N <= 1e9 * (1 + 1e-9)
    assert 1e4 * (1 - 1e-9) <= plan.D <= 2e5 * (1 + 1e-9)
    assert plan.cost <= money * (1 + 1e-9)
    N = np.geomspace(3e6, 1e9, 4001)
    D = np.clip((money - FREE.per_parameter * N) / FREE.pair, 0, 2e5)
    mean = weight * robust(N=N, D=np.maximum(D, 1e4)) + (1 - weight) * effective(N=N, D=np.maximum(D, 1e4))
    assert plan.loss <= mean[D >= 1e4].min() * (1 + 1e-6)


def test_a_joint_plan_in_the_box_says_what_is_left_over_and_what_is_too_little():
    robust, effective = boxed(ROBUST, (1e6, 1e9), (1e4, 3e5), 50), boxed(EFFECT, (3e6, 5e9), (8e3, 2e5), 50)
    rich = allocate_both(robust, effective, 1e9, FREE, within="box")
    assert (pytest.approx(1e9), pytest.approx(2e5)) == (rich.N, rich.D)
    assert "left over" in rich.flags[-1]
    poor = allocate_both(robust, effective, 100, FREE, within="box")
    assert not poor.feasible
    free = allocate_both(robust, effective, 2e4, FREE, within="box")
    assert free.intervals["N"][0] >= 3e6 * (1 - 1e-9)
    apart = boxed(EFFECT, (2e9, 5e9), (8e3, 2e5))
    with pytest.raises(ValueError, match="boxes of robustness and effectiveness do not meet"):
        allocate_both(robust, apart, 2e4, FREE, within="box")
    with pytest.raises(ValueError, match="within='bag'"):
        allocate_both(robust, effective, 2e4, FREE, within="bag")


def test_a_limit_out_of_reach_in_the_box_says_outside_only_where_it_is():
    wide = {"N": (1e6, 1e12), "D": (1e3, 1e9)}
    robust, effective = replace(joint(ROBUST), box=wide), replace(joint(EFFECT), box=wide)
    near_by = allocate_both(robust, effective, 1e4, FREE, at_most={"robustness": 0.25}, within="box")
    assert not near_by.feasible
    assert "outside" not in str(near_by)
    small = {"N": (1e6, 1e10), "D": (1e3, 2e4)}
    robust, effective = replace(joint(ROBUST), box=small), replace(joint(EFFECT), box=small)
    far = allocate_both(robust, effective, 1e4, FREE, at_most={"robustness": 0.25}, within="box")
    assert "outside the fitted box" in str(far)


def test_a_plan_is_a_table_for_a_paper(tmp_path):
    plan = allocate(joint(EFFECT, 0.05, n=100), 2e4, FREE)
    table = plan.table().set_index("name")
    assert table.loc["N", "value"] == plan.N
    assert (table.loc["loss", "low"], table.loc["loss", "high"]) == plan.intervals["loss"]
    assert table.loc[[f"for {k}" for k, v in plan.costs.items() if v], "value"].sum() == pytest.approx(plan.cost)
    written = export.export(plan, tmp_path / "plan.tex").read_text()
    assert "$N$" in written
    assert "lies above the fitted" in written  # what is wrong with the plan goes along
    with pytest.raises(ValueError, match=r"there is no plan to write: .*box"):
        allocate(joint(EFFECT), 10, FREE, within="box").table()


# Callers' mistakes


FIT = ModelResult(Model(laws.joint_law, independent_vars=["N", "D"]), Parameters())


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda c: allocate(c, 0, FREE), "budget=0: a finite amount above zero"),
        (lambda c: allocate(c, np.nan, FREE), "budget=nan"),
        (lambda c: allocate(c, 5000, {"pair": 0.6}), r"prices=\{'pair': 0.6\}: Prices are needed"),
        (lambda c: allocate(c, "5000", FREE), "budget='5000': a finite amount above zero"),
        (lambda c: budget.path(c, ["5000"], FREE), "budget='5000': a finite amount above zero"),
        (lambda c: allocate(FIT, 1e4, FREE), r"curve=ModelResult: expected a Curve, as fit.curve\(\) makes"),
        (lambda c: allocate(FIT, 1e4, FREE, within="box"), "curve=ModelResult: expected a Curve"),
        (lambda c: cost_of(FIT, FREE, 0.3), "curve=ModelResult: expected a Curve"),
        (lambda c: allocate_both(c, FIT, 1e4, FREE), "curve=ModelResult: expected a Curve"),
        (lambda c: budget.path(FIT, [1e4], FREE), "curve=ModelResult: expected a Curve"),
        (lambda c: budget.optima(FIT, 1e4, FREE), "curve=ModelResult: expected a Curve"),
        (lambda c: budget.isocost(1e4, FREE, [1e6, 0.0]), "N=0: only numbers above zero"),
        (lambda c: budget.contour(c, 0.3, N=[-1.0]), "N=-1: only numbers above zero"),
        (lambda c: budget.contour(c, 0.3, D=0), "D=0: only numbers above zero"),
        (lambda c: allocate(c, 1e4, FREE, level=7), "level=7: must lie between 0 and 1"),
        (lambda c: cost_of(c, FREE, 0.3, level=7), "level=7: must lie between 0 and 1"),
        (lambda c: allocate_both(c, c, 1e4, FREE, level=7), "level=7: must lie between 0 and 1"),
        (lambda c: budget.path(c, [1e4], FREE, level=7), "level=7: must lie between 0 and 1"),
        (lambda c: cost_of(c, FREE, "0.3"), "target='0.3': a finite loss above zero"),
        (lambda c: allocate(c, 1e4, FREE, within="fit"), "within='fit': allowed are None and 'box'"),
        (lambda c: allocate(replace(c, box={}), 1e4, FREE, within="box"), "a box for nothing, not for N and D"),
        (lambda c: allocate(joint(spread=0.1), 1e4, FREE, level=95), "level=95: must lie between 0 and 1"),
        (lambda c: allocate(Curve(laws.size_law, {}), 1, FREE), "its law is size_law; a plan needs joint_law or add"),
        (lambda c: allocate(Curve(laws.joint_law, {"M": 1.0}), 1, FREE), "values are missing for mu, B, eta, delta"),
        (lambda c: allocate(joint(ROBUST | {"eta": 0.0}), 1, FREE), "curve: eta=0; the loss must fall"),
        (lambda c: budget.optima(c, 1e4, FREE), "planted has no draws"),
        (lambda c: budget.path(c, [], FREE), r"budgets=\[\]: at least one"),
        (lambda c: cost_of(c, FREE), "give a target, or improvement and at"),
        (lambda c: cost_of(c, FREE, 0.3, improvement=-0.1, at=(1, 1)), "give a target, or improvement"),
        (lambda c: cost_of(c, FREE, improvement=-0.1), "give a target, or improvement and at"),
        (lambda c: cost_of(c, FREE, improvement=10, at=(1e6, 1e5)), "improvement=10: between -1 and 0"),
        (lambda c: cost_of(c, FREE, improvement=0.5, at=(1e6, 1e5)), "improvement=0.5: between -1 and 0"),
        (lambda c: cost_of(c, FREE, improvement=0, at=(1e6, 1e5)), "improvement=0: between -1 and 0"),
        (lambda c: cost_of(c, FREE, improvement=-1, at=(1e6, 1e5)), "improvement=-1: between -1 and 0"),
        (lambda c: cost_of(c, FREE, -0.3), "target=-0.3: a finite loss above zero"),
        (lambda c: allocate_both(c, c, 1e4, FREE, weight=2), "weight=2, at_most=None: either a weight"),
        (lambda c: allocate_both(c, c, 1e4, FREE, weight=1, at_most={"robustness": 1}), "either a weight"),
        (lambda c: allocate_both(c, c, 1e4, FREE, at_most={"loss": 1}), "one limit, for 'robustness' or 'effective"),
    ],
)
def test_wrong_questions_are_refused(call, said):
    with pytest.raises(ValueError, match=said):
        call(joint())


def test_a_plan_in_the_box_spends_the_budget_at_prices_that_bind():
    """With the paper's prices a parameter costs cents, so that both edges of the box limit the plan."""
    p, curve = paper_prices(), joint()
    lean, steep = replace(curve, values={**ROBUST, "M": 1.0}), replace(curve, values={**ROBUST, "B": 1.0})
    money = p.pair * BOX["D"][0] + p.per_parameter * BOX["N"][0]
    for c in (curve, lean, steep):
        for factor in (1.01, 1.5, 4.0):
            plan = allocate(c, money * factor, p, within="box")
            assert c.inside(N=plan.N, D=plan.D) or near(plan.N, BOX["N"][0]) or near(plan.D, BOX["D"][0])
            assert near(p.cost(plan.N, plan.D), money * factor)
            both = allocate_both(c, c, money * factor, p, within="box")
            assert near(p.cost(both.N, both.D), money * factor)
            assert near(both.N, plan.N, 1e-3)
    assert near(
        allocate(steep, money * 1.5, p, within="box").D, BOX["D"][0]
    )  # pairs do nothing: as few as there may be
    assert near(allocate(lean, money * 1.5, p, within="box").N, BOX["N"][0])
