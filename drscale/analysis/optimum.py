"""The global optimum of a registered law on one table, before lmfit reports it. Never imports torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from drscale.analysis import power, separable
from drscale.analysis.fitted import Law, Space, residuals, weigh
from drscale.analysis.power import Power
from drscale.analysis.separable import Found, Separable
from drscale.analysis.shapes import EDGE, POWER, Array


def problem_of(
    entry: Law, xs: list[Array], y: Array, space: Space, robust: bool, limits: list[tuple[float, float]]
) -> tuple[Power | Separable, Found | None, float | None]:
    """The weighted squares whose minimum is the fit's, that minimum, and the scale of the robust loss.

    Logarithms and the robust loss become weights that depend on the fitted curve, hence the few rounds.
    """
    weights, scale, found = weigh(y, None, space), None, None
    problem: Power | Separable
    if entry.family is POWER:
        problem = power.power(xs[0], y, weights, limits[1], limits[2])
    else:
        problem = _separable(entry, np.log(np.array(xs)), y, weights, limits)
    for _ in range(30 if robust or space == "log" else 1):
        if isinstance(problem, Power):
            _, a, m, d = power.minimum(problem)
            curve = a * np.exp(-m * problem.u) + d
        else:
            found = separable.minimum(problem) if found is None else separable.again(problem, found)
            curve = separable.curve_at(problem, found, problem.x)[0]
        if robust:
            floor = 1e-6 * (float(y.mean()) if space == "linear" else 1.0)
            scale = max(1.345 * 1.4826 * float(np.median(np.abs(residuals(y, curve, space)))), floor)
        new = weigh(y, curve, space, scale)
        settled = np.allclose(new, problem.weights, rtol=1e-7)
        problem = replace(problem, weights=new)
        if settled:
            break
    if isinstance(problem, Separable) and found is not None:
        found = separable.again(problem, found)
    return problem, found, scale


def _separable(entry: Law, logs: Array, y: Array, weights: Array, limits: list[tuple[float, float]]) -> Separable:
    """The problem as the batched solver takes it, its reference point the least of each x."""
    family, origin = entry.family, logs.min(axis=1)
    low, high = (
        np.array([np.log(limits[i][end]) - (0.0 if (d := family.unit[i]) is None else origin[d]) for i in family.own])
        for end in (0, 1)
    )
    if family.share:
        low, high = np.append(low, -EDGE), np.append(high, EDGE)
    return Separable(family, origin, logs - origin[:, None], y, weights, low, high, limits[-1])


def best(
    problem: Power | Separable, found: Found | None, entry: Law, limits: Mapping[str, tuple[float, float]]
) -> tuple[dict[str, float], set[str]]:
    """The optimum under the parameters' own names, and those that ended at a bound: lmfit holds them there."""
    names, held = list(entry.units), set[str]()
    if isinstance(problem, Separable) and found is not None:
        got = dict(zip(names, map(float, separable.parameters(problem, found)[0]), strict=True))
        for place, t, low, high in zip(problem.family.own, found.t[0], problem.low, problem.high, strict=False):
            if t <= low or t >= high:
                held.add(names[place])
                got[names[place]] = limits[names[place]][int(t >= high)]
        held |= {n for pair in entry.coefficients if got[pair[0]] == 0 for n in pair}
        return got, held | ({names[-1]} if found.delta[0] in problem.delta else set())
    if not isinstance(problem, Power):
        raise TypeError(f"problem={type(problem).__name__}: without its optimum")
    _, a, mu, delta = power.minimum(problem)
    if a <= 0:
        return dict(zip(names, (0.0, mu, delta), strict=True)), {names[0], names[1]}
    held = {names[2]} if delta in problem.delta else set()
    for bound in problem.mu:
        if abs(mu / bound - 1) < 1e-6:
            mu, held = bound, held | {names[1]}
    return dict(zip(names, (float(power.coefficient(problem, a, mu)), mu, delta), strict=True)), held


def spread(r: Array, free: int, scale: float | None) -> tuple[float, float]:
    """Sigma of one run, and the rise of the weighted squares worth one squared standard error."""
    if scale is None:
        variance = float(r @ r) / free
        return float(np.sqrt(variance)), variance
    # An M-estimate: its variance is E[psi^2] / E[psi']^2, and the squares here carry the weights psi / r.
    z = 1 + (r / scale) ** 2
    psi2, slope, weight = float(np.sum(r**2 / z)) / free, float(np.mean(z**-1.5)), float(np.mean(z**-0.5))
    sigma = 1.4826 * float(np.median(np.abs(r))) * np.sqrt(len(r) / free)
    return float(sigma), psi2 * weight / slope**2
