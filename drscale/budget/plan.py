"""What a budget buys: the best size and data under a price list, and the price of a target. Never imports torch.

Both built-in laws are loss = (x + y)**k + delta with x = (M / N)**p and y = (B / D)**q, and the money is linear in N
and D. With s the share of the money spent on parameters (or, for a target, the share x has in x + y), the optimum is
where ``c = a log s - b log(1 - s)``: a falling curve with one root, which Newton's steps find for thousands of draws at
once. For any other law of N and D the optimum is searched along the line (:mod:`drscale.budget.anywhere`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from numbers import Real
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from drscale.budget.anywhere import Numerical, best_anywhere, cheapest_anywhere, enough, falling
from drscale.budget.prices import Prices
from drscale.laws import fit as laws
from drscale.laws.curve import Curve
from drscale.results import Result, paragraph
from drscale.stats.tables import Array, check_level, count_text


@dataclass(frozen=True)
class Form:
    """loss = ((M / N)**p + (B / D)**q)**k + delta; floats, or arrays over draws."""

    M: Array
    p: Array
    B: Array
    q: Array
    k: Array
    delta: Array

    def loss(self, N: npt.ArrayLike, D: npt.ArrayLike) -> Array:
        """The loss of N parameters trained on D pairs."""
        return np.asarray(
            ((self.M / np.asarray(N)) ** self.p + (self.B / np.asarray(D)) ** self.q) ** self.k + self.delta
        )


def form_of(curve: Curve, drawn: bool = False, rows: int | None = None) -> Form | Numerical:
    """The common form of the joint and the additive law, at the curve's values or over its (first ``rows``) draws.

    For any other registered law of N and D plans are found numerically.
    """
    if not isinstance(curve, Curve):
        raise ValueError(f"curve={type(curve).__name__}: expected a Curve, as fit.curve() makes of a fit")
    closed = curve.law in (laws.joint_law, laws.additive_law)
    if not closed and not (curve.law in laws.LAWS and set(laws.LAWS[curve.law].columns) == {"N", "D"}):
        name = getattr(curve.law, "__name__", repr(curve.law))
        raise ValueError(
            f"curve: its law is {name}; a plan needs joint_law or additive_law, which know both N and D, or a "
            "registered law of N and D"
        )
    if set(curve.arguments) != {"N", "D"}:
        raise ValueError(f"curve: values are missing for {', '.join(a for a in curve.arguments if a not in 'ND')}")
    if drawn and curve.draws is not None:
        v = {name: curve.draws[name].to_numpy(dtype=float)[:rows] for name in curve.values}
    else:
        v = {name: np.array([float(value)]) for name, value in curve.values.items()}
    if not closed:
        return falling(Numerical(curve.law, v), curve, drawn)
    for name in ("M", "mu", "B", "eta"):
        if not drawn and not v[name][0] > 0:
            raise ValueError(f"curve: {name}={v[name][0]:g}; the loss must fall with N and with D for a plan to exist")
    one = np.ones_like(v["M"])
    M, B = (np.maximum(v[name], 1e-300) for name in ("M", "B"))  # a draw whose loss does not fall with N needs no N
    if curve.law is laws.joint_law:
        return Form(M, v["mu"] / v["eta"], B, one, v["eta"], v["delta"])
    return Form(M, v["mu"], B, v["eta"], one, v["delta"])


def _share(c: Array, a: Array, b: Array) -> tuple[Array, Array]:
    """The root s of ``c = a log s - b log(1 - s)``, a and b above 1, as (s, 1 - s), both exact near zero.

    In the logit of s the curve falls and bends one way only, so Newton's steps converge from any start.
    """
    t = np.where(c < 0, c / a, c / b)
    for _ in range(100):
        rise, fall = np.logaddexp(0, -t), np.logaddexp(0, t)  # -log s, -log(1 - s)
        s = np.exp(-rise)
        step = (c + a * rise - b * fall) / (a * (1 - s) + b * s)
        t = t + step
        if np.all(np.abs(step) <= 1e-13 * (1 + np.abs(t))):
            break
    return np.exp(-np.logaddexp(0, -t)), np.exp(-np.logaddexp(0, t))


def best(form: Form | Numerical, budget: npt.ArrayLike, prices: Prices) -> tuple[Array, Array]:
    """The optimal N and D: the first-order condition p M^p N^(-p-1) / Zn = q B^q D^(-q-1) / Zd on the budget line."""
    if isinstance(form, Numerical):
        return best_anywhere(form, np.asarray(budget, dtype=float), prices)
    N, D = np.asarray(budget) / prices.per_parameter, np.asarray(budget) / prices.pair  # all money on one
    c = np.log(form.p) + form.p * np.log(form.M / N) - np.log(form.q) - form.q * np.log(form.B / D)
    s, rest = _share(c, form.p + 1, form.q + 1)
    return s * N, rest * D


def cheapest(form: Form | Numerical, target: npt.ArrayLike, prices: Prices) -> tuple[Array, Array]:
    """The N and D that reach a loss at the least cost; infinite where the loss is at or below the floor."""
    if isinstance(form, Numerical):
        return cheapest_anywhere(form, np.asarray(target, dtype=float), prices)
    with np.errstate(invalid="ignore", divide="ignore"):
        reach = np.asarray(target) - form.delta
        g = np.where(reach > 0, reach, np.nan) ** (1 / form.k)
        n, d = form.M * g ** (-1 / form.p), form.B * g ** (-1 / form.q)  # enough if the other were unlimited
        c = np.log(prices.per_parameter * n / form.p) - np.log(prices.pair * d / form.q)
    c = np.where(np.isfinite(c), c, 0.0)
    u, rest = _share(c, 1 / form.p + 1, 1 / form.q + 1)
    with np.errstate(over="ignore", divide="ignore"):
        N, D = n * u ** (-1 / form.p), d * rest ** (-1 / form.q)
    return np.where(reach > 0, N, np.inf), np.where(reach > 0, D, np.inf)


SIDES = ("robustness", "effectiveness")


def _into_box(N: Array, D: Array, curve: Curve, budget: float, prices: Prices) -> tuple[Array, Array]:
    """Move optima along the budget line into the fitted box; beyond its far corner money is left over."""
    (n0, n1), (d0, d1) = curve.box["N"], curve.box["D"]
    if prices.cost(n1, d1) <= budget:
        return np.full_like(N, n1), np.full_like(D, d1)
    low = max(n0, (budget - prices.pair * d1) / prices.per_parameter)
    high = min(n1, (budget - prices.pair * d0) / prices.per_parameter)
    N = np.clip(N, low, high)
    return N, np.clip((budget - prices.per_parameter * N) / prices.pair, d0, d1)


def allocate(
    curve: Curve,
    budget: float,
    prices: Prices,
    *,
    within: Literal["box"] | None = None,
    level: float = 0.95,
) -> Allocation:
    """Split a budget between model size and annotated pairs so that the predicted loss is least.

    ``within="box"`` keeps the plan inside the box in which the law was fitted; without it a plan that leaves the box
    says so in its flags. If no point of the box is affordable, the plan is not feasible and says from which budget on
    it would be.

    >>> import drscale as ds
    >>> fit = ds.fit_law(ds.example_runs(), ds.additive_law, warn=False)
    >>> plan = ds.allocate(fit.curve(), budget=5000, prices=ds.paper_prices())
    >>> print(plan)
    $5,000 buys 6.14K parameters and 3.94K pairs: predicted loss 4.043 ($2,362 for annotation, $0.000198 for
    training, $2,638 for encoding).
    """
    _check_budget(budget, prices)
    check_level(level)
    form = form_of(curve)
    _check_within(within, curve)
    if within and (flag := _too_dear(curve, budget, prices)):
        return Allocation(np.nan, np.nan, np.nan, budget, prices, flags=(flag,))
    N, D = best(form, budget, prices)
    if within:
        N, D = _into_box(N, D, curve, budget, prices)
    n, d = float(N[0]), float(D[0])
    intervals: dict[str, tuple[float, float]] = {}
    if curve.draws is not None:
        ns, ds = best(form_of(curve, drawn=True), budget, prices)
        if within:
            ns, ds = _into_box(ns, ds, curve, budget, prices)
        samples = {"N": ns, "D": ds, "loss": curve.sample(N=n, D=d)}
        intervals = {k: _interval(v, level) for k, v in samples.items()}
    flags = outside(n, d, curve)
    if within and (rest := budget - prices.cost(n, d)) > 1e-6 * budget:
        flags.append(f"the box ends before the money: {prices.money(rest)} is left over")
    return Allocation(n, d, float(form.loss(n, d)[0]), budget, prices, {}, intervals, tuple(flags), level)


def optima(curve: Curve, budget: float, prices: Prices) -> pd.DataFrame:
    """The optimum of every draw, columns N and D: the cloud behind the intervals of :func:`allocate`."""
    _check_budget(budget, prices)
    form = form_of(curve, drawn=True)
    if curve.draws is None:
        raise ValueError(f"curve: {curve.name or 'it'} has no draws, so its optimum is a single point")
    return pd.DataFrame(dict(zip("ND", best(form, budget, prices), strict=True)))


def isocost(budget: float, prices: Prices, N: npt.ArrayLike) -> Array:
    """The pairs that the budget leaves for a model of N parameters; NaN if the model alone costs more."""
    _check_budget(budget, prices)
    D = (budget - prices.per_parameter * _positive("N", N)) / prices.pair
    return np.where(D > 0, D, np.nan)


def contour(curve: Curve, loss: float, *, N: npt.ArrayLike | None = None, D: npt.ArrayLike | None = None) -> Array:
    """The pairs with which models of N parameters reach a loss, or the sizes for D pairs; NaN if none do."""
    if (N is None) == (D is None):
        raise ValueError("contour: give either N or D, the other comes back")
    f = form_of(curve)
    if isinstance(f, Numerical):
        given = {"N": _positive("N", N)} if N is not None else {"D": _positive("D", D)}
        return enough(f, loss, **given)
    if N is not None:
        own, power, known = f.B, f.q, (f.M / _positive("N", N)) ** f.p
    else:
        own, power, known = f.M, f.p, (f.B / _positive("D", D)) ** f.q
    rest = np.maximum(loss - f.delta, 0.0) ** (1 / f.k) - known
    return own * np.where(rest > 0, rest, np.nan) ** (-1 / power)


def path(
    curve: Curve, budgets: Iterable[float], prices: Prices, *, within: Literal["box"] | None = None, level: float = 0.95
) -> pd.DataFrame:
    """The optimum for each budget, one row each: budget, N, D, loss, their intervals, costs, ``inside`` (the box)."""
    if not isinstance(budgets, Iterable):
        raise ValueError(f"budgets={budgets!r}: a list of amounts is needed")
    given = list(budgets)
    if not given:
        raise ValueError("budgets=[]: at least one")
    for budget in given:
        _check_budget(budget, prices)
    check_level(level)
    form, money = form_of(curve), [float(b) for b in given]
    if curve.draws is None and within is None:  # all at once
        N, D = best(form, money, prices)
        frame = pd.DataFrame({"budget": money, "N": N, "D": D, "loss": form.loss(N, D)})
        costs = {"annotation": prices.pair * D, "training": prices.training * N, "encoding": prices.encoding * N}
        return frame.assign(**costs, inside=curve.inside(N=N, D=D))
    rows = []
    for budget in money:
        plan = allocate(curve, budget, prices, within=within, level=level)
        row: dict[str, Any] = {"budget": plan.budget, "N": plan.N, "D": plan.D, "loss": plan.loss}
        for name, (low, high) in plan.intervals.items():
            row |= {f"{name}_low": low, f"{name}_high": high}
        inside = plan.feasible and bool(curve.inside(N=plan.N, D=plan.D))
        rows.append(row | plan.costs | {"inside": inside})
    return pd.DataFrame(rows)


def cost_of(
    curve: Curve,
    prices: Prices,
    target: float | None = None,
    *,
    improvement: float | None = None,
    at: tuple[float, float] | None = None,
    level: float = 0.95,
) -> Allocation:
    """Find the cheapest plan that reaches a target loss, or a change of the loss from a given point.

    ``improvement=-0.1`` with ``at=(N, D)`` means a loss a tenth below the predicted one there. For a target at or below
    the law's floor there is no plan, and the result says so.

    >>> import drscale as ds
    >>> curve = ds.fit_law(ds.example_runs(), ds.additive_law, warn=False).curve()
    >>> plan = ds.cost_of(curve, ds.paper_prices(documents=0), target=3.0)
    >>> print(plan)
    $1,512 buys 227M parameters and 2.51K pairs: predicted loss 3.000 ($1,505 for annotation, $7.31 for
    training). Beware: N = 227M lies above the fitted 3.77K to 1.58M.
    """
    check_level(level)
    _check_prices(prices)
    form = form_of(curve)
    if (target is None) == (improvement is None) or (improvement is None) != (at is None):
        raise ValueError(
            f"target={target!r}, improvement={improvement!r}, at={at!r}: give a target, or improvement and at=(N, D)"
        )
    if improvement is not None and at is not None:
        if not isinstance(at, tuple | list) or len(at) != 2:
            raise ValueError(f"at={at!r}: a point (N, D) is needed")
        if not isinstance(improvement, Real) or not -1 < improvement < 0:
            raise ValueError(f"improvement={improvement!r}: between -1 and 0, as -0.1 for a tenth less")
        target = (1 + improvement) * float(curve(N=at[0], D=at[1]))
    if not isinstance(target, Real) or isinstance(target, bool) or not np.isfinite(target) or target <= 0:
        raise ValueError(f"target={target!r}: a finite loss above zero is needed")
    floor = float(form.delta[0])
    if target <= floor:
        flag = f"a loss of {target:.3g} cannot be bought: it is not above the law's floor of {floor:.3g}"
        return Allocation(np.nan, np.nan, np.nan, np.nan, prices, flags=(flag,))
    N, D = (float(v[0]) for v in cheapest(form, target, prices))
    flags, intervals = outside(N, D, curve), {}
    if curve.draws is not None:
        drawn = form_of(curve, drawn=True)
        wanted: Any = target if at is None else (1 + (improvement or 0)) * drawn.loss(*at)
        ns, ds = cheapest(drawn, wanted, prices)
        samples = {"N": ns, "D": ds, "cost": prices.cost(ns, ds), "loss": drawn.loss(N, D)}
        intervals = {k: _interval(v, level) for k, v in samples.items()}
        if (lost := float(np.mean(~np.isfinite(ns)))) > 0:
            flags.append(f"in {lost:.1%} of the draws no money reaches it, for the floor lies above")
    return Allocation(N, D, float(form.loss(N, D)[0]), prices.cost(N, D), prices, {}, intervals, tuple(flags), level)


def allocate_both(
    robust: Curve,
    effective: Curve,
    budget: float,
    prices: Prices,
    *,
    weight: float | None = None,
    at_most: Mapping[str, float] | None = None,
    within: Literal["box"] | None = None,
    level: float = 0.95,
) -> Allocation:
    """Plan for robustness and effectiveness at once: one model, one set of pairs, two losses.

    The loss is ``weight`` x robustness + (1 - weight) x effectiveness, by default their mean. Or one of them becomes a
    constraint: ``at_most={"robustness": 0.3}`` makes effectiveness as good as possible under this limit, and the other
    way round. Draws of the two curves are paired by row: the intervals are right only if both were drawn from the same
    runs, with the same unit and seed. ``within="box"`` keeps the plan inside both fitted boxes; without it the flags
    say where it leaves which box.

    >>> import drscale as ds
    >>> runs = ds.example_runs()
    >>> robust = ds.fit_law(runs, ds.additive_law, y="ood_entropy", warn=False).curve()
    >>> effective = ds.fit_law(runs, ds.additive_law, y="in_domain_entropy", warn=False).curve()
    >>> plan = ds.allocate_both(robust, effective, budget=5000, prices=ds.paper_prices())
    >>> print(plan)
    $5,000 buys 6.15K parameters and 3.93K pairs: predicted robustness 5.067 and effectiveness 4.043 ($2,357 for
    annotation, $0.000198 for training, $2,643 for encoding).
    """
    _check_budget(budget, prices)
    check_level(level)
    if weight is not None and (at_most is not None or not isinstance(weight, Real) or not 0 <= weight <= 1):
        raise ValueError(f"weight={weight!r}, at_most={at_most!r}: either a weight between 0 and 1 or a limit")
    if at_most is not None and not isinstance(at_most, Mapping):
        raise ValueError(f"at_most={at_most!r}: one limit by name is needed, as {{'robustness': 0.3}}")
    for limit in (at_most or {}).values():
        if not isinstance(limit, Real) or not np.isfinite(limit) or limit <= 0:
            raise ValueError(f"at_most={dict(at_most or {})!r}: the limit must be a finite loss above zero")
    if at_most is not None and (len(at_most) != 1 or not set(at_most) <= set(SIDES)):
        raise ValueError(f"at_most={dict(at_most)!r}: one limit, for {' or '.join(map(repr, SIDES))}")
    curves, share = dict(zip(SIDES, (robust, effective), strict=True)), 0.5 if weight is None else weight
    forms = {side: form_of(c) for side, c in curves.items()}
    spent, reach = budget, (-np.inf, np.inf)
    if within is not None:
        for c in curves.values():
            _check_within(within, c)
        box = {a: (max(c.box[a][0] for c in curves.values()), min(c.box[a][1] for c in curves.values())) for a in "ND"}
        if any(low > high for low, high in box.values()):
            raise ValueError(f"within='box': the fitted boxes of {' and '.join(SIDES)} do not meet")
        both = replace(robust, box=box)
        if flag := _too_dear(both, budget, prices):
            return Allocation(np.nan, np.nan, np.nan, budget, prices, flags=(flag,))
        spent = min(budget, prices.cost(*(high for _, high in box.values())))
        reach = _reach(both, spent, prices)
    N, D, met = _between_optima(forms, spent, prices, share, at_most, reach)
    n, d = float(N[0]), float(D[0])
    parts = {side: float(form.loss(n, d)[0]) for side, form in forms.items()}
    if at_most is not None and not met[0]:
        (side, limit), *_ = at_most.items()
        price = cost_of(curves[side], prices, limit)
        cure = f"it costs {prices.money(price.cost)}" if price.feasible else price.flags[0]
        if within and price.feasible and not all(c.inside(N=price.N, D=price.D).all() for c in curves.values()):
            cure = f"{cure}, outside the fitted box"
        flag = f"{prices.money(budget)} brings {side} to {parts[side]:.3g} and not to {limit:.3g}: {cure}"
        return Allocation(np.nan, np.nan, np.nan, budget, prices, flags=(flag,))
    flags = of_both({side: outside(n, d, c) for side, c in curves.items()})
    intervals: dict[str, tuple[float, float]] = {}
    if robust.draws is not None and effective.draws is not None:
        rows = min(len(robust.draws), len(effective.draws))
        if len(robust.draws) != len(effective.draws):
            flags.append("the two laws have different numbers of draws, so these were not drawn together")
        drawn = {side: form_of(c, drawn=True, rows=rows) for side, c in curves.items()}
        ns, ds, kept = _between_optima(drawn, spent, prices, share, at_most, reach)
        losses = {side: form.loss(n, d) for side, form in drawn.items()}
        samples = {"N": ns, "D": ds, "loss": _together(losses, share, at_most)} | losses
        intervals = {k: _interval(v, level) for k, v in samples.items()}
        if not kept.all():
            flags.append(f"in {np.mean(~kept):.1%} of the draws this money cannot keep the limit")
    if (rest := budget - spent) > 1e-6 * budget:
        flags.append(f"the box ends before the money: {prices.money(rest)} is left over")
    return Allocation(n, d, _together(parts, share, at_most), budget, prices, parts, intervals, tuple(flags), level)


def _together(losses: Mapping[str, Any], share: float, at_most: Mapping[str, float] | None) -> Any:
    """The loss of a joint plan: the weighted mean, or the one without a limit."""
    if at_most is not None:
        return next(v for side, v in losses.items() if side not in at_most)
    return share * losses["robustness"] + (1 - share) * losses["effectiveness"]


def _between_optima(
    forms: Mapping[str, Form | Numerical],
    budget: float,
    prices: Prices,
    share: float,
    at_most: Mapping[str, float] | None,
    reach: tuple[float, float] = (-np.inf, np.inf),
) -> tuple[Array, Array, npt.NDArray[np.bool_]]:
    """The joint plan, N and D, and whether the limit can be met; it lies between the optima of the two losses.

    ``reach`` is the part of the line that is allowed, as the logarithm of money for N over money for D. Each loss falls
    up to its optimum and rises beyond it, so the best allowed place lies between the two optima, moved into the reach
    if necessary.
    """

    everything = budget / prices.per_parameter, budget / prices.pair  # all money on one

    def line(t: Array) -> tuple[Array, Array]:  # t = log(money for N / money for D)
        return everything[0] * np.exp(-np.logaddexp(0, -t)), everything[1] * np.exp(-np.logaddexp(0, t))

    ends = []
    for side in SIDES:
        N, D = best(forms[side], budget, prices)
        ends.append(np.clip(np.log(prices.per_parameter * N) - np.log(prices.pair * D), *reach))
    robust, effective = (forms[side] for side in SIDES)
    if at_most is not None:
        (side, limit), *_ = at_most.items()
        held, (near, far) = forms[side], ends if side == SIDES[0] else ends[::-1]
        met = held.loss(*line(near)) <= limit
        good, bad = near, far  # the loss with the limit rises all the way from near to far
        reached = held.loss(*line(far)) <= limit
        for _ in range(60):
            middle = (good + bad) / 2
            fine = held.loss(*line(middle)) <= limit
            good, bad = np.where(fine, middle, good), np.where(fine, bad, middle)
        return *line(np.where(reached, far, good)), met
    low, high = np.minimum(*ends), np.maximum(*ends)
    rounds, places = (6, np.linspace(0, 1, 65)) if np.size(low) == 1 else (3, np.linspace(0, 1, 33))
    for _ in range(rounds):  # each evaluates all places and keeps the two cells around the least
        t = low + (high - low) * places[:, None]
        N, D = line(t)
        i = np.argmin(share * robust.loss(N, D) + (1 - share) * effective.loss(N, D), axis=0)
        low, high = (np.take_along_axis(t, np.clip(i + k, 0, len(places) - 1)[None], axis=0)[0] for k in (-1, 1))
    N, D = line((low + high) / 2)
    return N, D, np.ones(N.shape, dtype=bool)


def _reach(curve: Curve, budget: float, prices: Prices) -> tuple[float, float]:
    """Where the line of a budget enters and leaves the box: log(money for N / money for D)."""
    (n0, n1), (d0, d1) = curve.box["N"], curve.box["D"]
    on_size = (
        max(prices.per_parameter * n0, budget - prices.pair * d1),
        min(prices.per_parameter * n1, budget - prices.pair * d0),
    )
    low, high = (float(np.log(v / (budget - v))) for v in on_size)
    return low, max(low, high)


def _too_dear(curve: Curve, budget: float, prices: Prices) -> str:
    (n0, _), (d0, _) = curve.box["N"], curve.box["D"]
    least = float(prices.cost(n0, d0))
    if budget >= least:
        return ""
    return (
        f"no plan of {prices.money(budget)} lies in the fitted box: its cheapest corner, {count_text(n0)} parameters "
        f"and {count_text(d0)} pairs, costs {prices.money(least)}"
    )


def _interval(sample: Array, level: float) -> tuple[float, float]:
    # In a sample with infinite members, an end is one of the members, never a mean of two.
    low, high = np.quantile(sample, [0.5 - level / 2, 0.5 + level / 2], method="inverted_cdf")
    return float(low), float(high)


def _check_prices(prices: object) -> None:
    if not isinstance(prices, Prices):
        raise ValueError(f"prices={prices!r}: Prices are needed, as ds.Prices(pair=0.5, ...) or ds.paper_prices()")


def _check_budget(budget: float, prices: Prices) -> None:
    _check_prices(prices)
    if not isinstance(budget, Real) or isinstance(budget, bool) or not np.isfinite(budget) or budget <= 0:
        raise ValueError(f"budget={budget!r}: a finite amount above zero is needed")


def _positive(name: str, values: Any) -> Array:
    found = np.asarray(values, dtype=float)
    if not (found > 0).all():
        raise ValueError(f"{name}={found[~(found > 0)].flat[0]:g}: only numbers above zero")
    return found


def _check_within(within: str | None, curve: Curve) -> None:
    if within not in (None, "box"):
        raise ValueError(f"within={within!r}: allowed are None and 'box'")
    if within and not {"N", "D"} <= set(curve.box):
        raise ValueError(f"within='box': the curve has a box for {', '.join(curve.box) or 'nothing'}, not for N and D")


@dataclass(frozen=True)
class Allocation(Result):
    """A plan: N parameters trained on D pairs, the loss that a law predicts, and the cost; prints as a sentence.

    If the curve has draws, ``intervals`` has (low, high) of N, D and loss, of cost for a target, and of each part;
    those of N, D and cost are over the draws' own optima, those of losses are at this plan. ``parts`` are the losses of
    a joint plan. ``flags`` say where the plan leaves the fitted range. N, D and loss are NaN if there is no plan.
    ``level`` is that of the intervals.
    """

    N: float
    D: float
    loss: float
    budget: float
    prices: Prices
    parts: Mapping[str, float] = field(default_factory=dict)
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    flags: tuple[str, ...] = ()
    level: float = 0.95

    @property
    def feasible(self) -> bool:
        """Whether there is a plan."""
        return bool(np.isfinite(self.N) and np.isfinite(self.D))

    @property
    def costs(self) -> dict[str, float]:
        """What annotation, training and encoding cost."""
        p = self.prices
        return {"annotation": p.pair * self.D, "training": p.training * self.N, "encoding": p.encoding * self.N}

    @property
    def cost(self) -> float:
        """The total cost of the plan; less than the budget if the box ends before the money is spent."""
        return float(self.prices.cost(self.N, self.D))

    def table(self) -> pd.DataFrame:
        """The plan as rows for a paper: name, value, low, high, unit, and remarks as ``note``."""
        if not self.feasible:
            raise ValueError(f"there is no plan to write: {' '.join(self.flags)}")
        rows = [("N", self.N, "parameters"), ("D", self.D, "pairs"), ("loss", self.loss, "")]
        rows += [(side, value, "") for side, value in self.parts.items()]
        rows += [("cost", self.cost, self.prices.currency)]
        rows += [(f"for {what}", value, self.prices.currency) for what, value in self.costs.items() if value]
        ends = [self.intervals.get(name, (np.nan, np.nan)) for name, *_ in rows]
        frame = pd.DataFrame(rows, columns=["name", "value", "unit"])
        frame.insert(2, "low", [low for low, _ in ends])
        frame.insert(3, "high", [high for _, high in ends])
        frame["note"] = ["; ".join(self.flags), *[""] * (len(frame) - 1)]
        frame.attrs["level"] = self.level
        return frame

    def _repr_html_(self) -> str:
        return super()._repr_html_() if self.feasible else paragraph(self)

    def __str__(self) -> str:
        if not self.feasible:
            return " ".join(f"{flag[0].upper()}{flag[1:]}." for flag in self.flags)
        money = self.prices.money
        size, pairs = self._said("N", self.N, count_text), self._said("D", self.D, count_text)
        losses = [f"{k} {self._said(k, v, _three)}" for k, v in (self.parts or {"loss": self.loss}).items()]
        spent = ", ".join(f"{money(v)} for {k}" for k, v in self.costs.items() if v)
        text = f"{self._said('cost', self.cost, money)} buys {size} parameters and {pairs} pairs"
        text = f"{text}: predicted {' and '.join(losses)} ({spent})."
        return " ".join([text, *(f"Beware: {flag}." for flag in self.flags)])

    def _said(self, name: str, value: float, form: Callable[[float], str]) -> str:
        if name not in self.intervals:
            return form(value)
        low, high = self.intervals[name]
        return f"{form(value)} [{form(low)}, {form(high)}]"


def _three(value: float) -> str:
    return f"{value:.3f}"


def outside(N: float, D: float, curve: Curve) -> list[str]:
    """Where a plan leaves the fitted box or may do so, a sentence for each argument, and the curve's own doubts."""
    said = []
    for name, value in (("N", N), ("D", D)):
        if name not in curve.box:
            said.append(f"the range of {name} it was fitted in is not known")
            continue
        low, high = curve.box[name]
        if not low * (1 - 1e-9) <= value <= high * (1 + 1e-9):
            side = "below" if value < low else "above"
            said.append(f"{name} = {count_text(value)} lies {side} the fitted {count_text(low)} to {count_text(high)}")
    return [*said, *curve.doubts]


def of_both(said: Mapping[str, list[str]]) -> list[str]:
    """Remarks on both losses once, and remarks on one loss with its name."""
    both = set.intersection(*map(set, said.values()))
    flags = [f if f in both else f"for {side}, {f}" for side, own in said.items() for f in own]
    return list(dict.fromkeys(flags))
