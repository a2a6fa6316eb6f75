"""The arithmetic of one power law with a floor, ``y = a (x / x0)**-mu + delta``, by variable projection.

For a fixed exponent the law is linear in ``a`` and ``delta``, so the best pair has a closed form. That turns the fit
into a search along ``mu`` alone, which a grid of starts covers completely, and it makes exact profiles cheap: an
interval of a parameter, or of the curve at some x, is where the best reachable sum of squares rises by a set amount.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar

from drscale.laws._families import EXPONENT, POWER, Family
from drscale.laws._solver import FAR, Separable, nearby, reach, separable
from drscale.laws.result import Space, bend, weigh
from drscale.stats.tables import Array

MU = EXPONENT
STARTS = 400
FINE = 129  # exponents on the way to an interval: the error of its ends is less than 0.1% of its width


@dataclass(frozen=True, eq=False)  # hashed by identity, so that results can be cached
class Power:
    """The data of one fit: ``u = log(x / x0)``, y, the weight of each squared residual, and the bounds."""

    x0: float
    u: Array
    y: Array
    weights: Array
    mu: tuple[float, float] = MU
    delta: tuple[float, float] = (0.0, np.inf)
    space: Space = "relative"
    scale: float | None = None
    quick = True

    @property
    def least(self) -> float:
        return minimum(self)[0]

    @property
    def minima(self) -> Array:
        """No start for a like table: its minimum has a closed form, too."""
        return np.empty((0, 0))

    def curve(self) -> Array:
        _, a, mu, delta = minimum(self)
        return np.asarray(a * np.exp(-mu * self.u) + delta)

    def weighed(self, weights: Array, scale: float | None) -> Power:
        same = scale == self.scale and np.array_equal(weights, self.weights)
        return self if same else replace(self, weights=weights, scale=scale)

    def settled(self, limits: Sequence[tuple[float, float]]) -> tuple[list[float], set[int]]:
        _, a, mu, delta = minimum(self)
        if a <= 0:
            return [0.0, mu, delta], {0, 1}
        places = {2} if delta in self.delta else set[int]()
        for bound in self.mu:
            if abs(mu / bound - 1) < 1e-6:
                mu, places = bound, places | {1}
        return [float(coefficient(self, a, mu)), mu, delta], places

    def intervals(self, allowed: float, only: Sequence[int] = (0, 1, 2)) -> list[tuple[float, float]]:
        return [(_coefficient_interval, mu_interval, _delta_interval)[place](self, allowed) for place in only]

    def heights(self, at: Sequence[Array], allowed: float) -> tuple[Array, Array]:
        return curve_interval(self, at[0], allowed)

    @cached_property
    def batched(self) -> Separable:
        """The same fit in the form of the batched solver, which is the quicker one for many refits."""
        first = self.u.min()
        low, high = (np.array([float(np.log(end))]) for end in self.mu)
        origin, x = np.array([np.log(self.x0) + first]), (self.u - first)[None]
        return Separable(POWER, origin, x, self.y, self.weights, low, high, self.delta, self.space, self.scale)

    def refit(self, counts: Array, y: Array | None = None) -> Array:
        return self.batched.refit(counts, y)


def least_squares(
    family: Family,
    xs: Sequence[Array],
    y: Array,
    limits: Sequence[tuple[float, float]],
    space: Space = "relative",
    robust: bool = False,
    starts: Array | None = None,
) -> Power | Separable:
    """The weighted squares whose minimum is the fit's: of one power law in closed form, of other laws batched.

    Logarithms and the robust loss become weights that depend on the curve, hence the few rounds. With ``starts``,
    where like tables had their minima, other laws are looked for next to these places only.
    """
    weights = weigh(y, None, space)
    problem: Power | Separable
    if family is POWER:
        problem = replace(power(xs[0], y, weights, limits[1], limits[2]), space=space)
    else:
        problem = separable(family, np.log(np.array(xs)), y, weights, limits, space)
        if starts is not None:
            problem = replace(problem, start=nearby(problem, starts))
    for _ in range(30 if robust or space == "log" else 1):
        curve, before = problem.curve(), problem.weights
        scale = bend(y, curve, space) if robust else None
        problem = problem.weighed(weigh(y, curve, space, scale), scale)
        if np.allclose(problem.weights, before, rtol=1e-7):
            break
    return problem


def power(x: Array, y: Array, weights: Array, mu: tuple[float, float], delta: tuple[float, float]) -> Power:
    """Centre x at its geometric mean, which keeps ``a`` and ``mu`` nearly independent."""
    x0 = float(np.exp(np.log(x).mean()))
    return Power(x0, np.log(x / x0), y, weights, mu, delta)


def coefficient(p: Power, a: Array | float, mu: Array | float) -> Array:
    """The papers' coefficient (M, B) that makes ``(M / x)**mu`` equal ``a (x / x0)**-mu``."""
    with np.errstate(over="ignore", divide="ignore"):
        return np.asarray(p.x0 * np.exp(np.log(a) / mu))


def best_pair(p: Power, mu: Array) -> tuple[Array, Array, Array]:
    """The least sum of squares for each exponent, with its ``a >= 0`` and its ``delta`` inside the bounds."""
    w = p.weights
    g = np.exp(-np.outer(mu, p.u))  # (exponents, runs)
    s1, sy, syy = w.sum(-1), w @ p.y, w @ p.y**2
    s1, sy, syy = (np.asarray(s)[..., None] for s in (s1, sy, syy))
    sg, sgg, sgy = w @ g.T, w @ (g**2).T, w @ (g * p.y).T
    spread = np.maximum(s1 * sgg - sg**2, 1e-300)
    delta = np.clip((sgg * sy - sg * sgy) / spread, *p.delta)
    a = np.maximum((sgy - delta * sg) / sgg, 0.0)
    delta = np.where(a > 0, delta, np.clip(sy / s1, *p.delta))
    return _squares(a, delta, s1, sy, syy, sg, sgg, sgy), a, delta


def _squares(a: Array, delta: Array, s1: Array, sy: Array, syy: Array, sg: Array, sgg: Array, sgy: Array) -> Array:
    return np.asarray(syy + a * a * sgg + delta * delta * s1 - 2 * a * sgy - 2 * delta * sy + 2 * a * delta * sg)


@lru_cache(maxsize=32)
def minimum(p: Power) -> tuple[float, float, float, float]:
    """The global least squares: sum of squares, a, mu, delta."""
    grid = np.geomspace(*p.mu, STARTS)
    squares, _, _ = best_pair(p, grid)
    i = int(np.argmin(squares))
    low, high = np.log(grid[max(i - 1, 0)]), np.log(grid[min(i + 1, STARTS - 1)])
    found = minimize_scalar(
        lambda t: float(best_pair(p, np.exp([t]))[0][0]), bounds=(low, high), method="bounded", options={"xatol": 1e-9}
    )
    mu = float(np.exp(found.x)) if found.fun <= squares[i] else float(grid[i])
    s, a, delta = best_pair(p, np.array([mu]))
    return float(s[0]), float(a[0]), mu, float(delta[0])


def edge(rise: Callable[[Array], Array], start: Array, step: Array, allowed: float, limit: float) -> Array:
    """Where ``rise`` exceeds ``allowed``, the way ``step`` goes, or ``limit``; ``rise`` takes all rows at once."""

    def part(at: Array, live: Any) -> Array:
        whole = start.copy()
        whole[live] = at
        return rise(whole)[live]

    return reach(part, start, step, allowed, np.full(start.shape, limit), 1e-8)


def _delta_interval(p: Power, allowed: float) -> tuple[float, float]:
    """Where the sum of squares, refitted, has risen by ``allowed``, as for all parameters."""
    least, _, _, delta = minimum(p)
    grid = np.linspace(*mu_interval(p, allowed), FINE)

    def rise(value: Array) -> Array:
        return _least(best_pair(replace(p, delta=(float(value[0]), float(value[0]))), grid)[0]) - least

    start, step = np.array([delta]), np.array([1e-4 * float(np.abs(p.y).mean())])
    low, high = (edge(rise, start, sign * step, allowed, end)[0] for sign, end in zip((-1, 1), p.delta, strict=True))
    return float(low), float(high)


def _coefficient_interval(p: Power, allowed: float) -> tuple[float, float]:
    least, a, mu, _ = minimum(p)
    low, high = mu_interval(p, allowed)
    grid = np.linspace(low, high, FINE)

    def rise(value: Array) -> Array:
        fixed = np.exp(np.clip(grid * (value[0] - np.log(p.x0)), -700, 300))
        g = np.exp(-np.outer(grid, p.u)) * fixed[:, None]
        floor = np.clip(((p.y - g) @ p.weights) / p.weights.sum(), *p.delta)
        return _least(((p.y - g - floor[:, None]) ** 2) @ p.weights) - least

    start = np.log(np.maximum(np.array([float(coefficient(p, a, mu))]), 1e-300))
    step = np.array([min(max(high - low, 1e-9), 1e-2)])
    ends = [edge(rise, start, sign * step, allowed, sign * FAR)[0] for sign in (-1, 1)]
    return float(np.exp(ends[0])) if ends[0] > -FAR else 0.0, float(np.exp(ends[1])) if ends[1] < FAR else np.inf


@lru_cache(maxsize=32)
def mu_interval(p: Power, allowed: float) -> tuple[float, float]:
    """The exponents whose best fit is within ``allowed`` of the least sum of squares."""
    least, _, mu, _ = minimum(p)

    def rise(t: Array) -> Array:
        return best_pair(p, np.exp(t))[0] - least

    t, step = np.log(np.array([mu])), np.array([1e-3])
    low = edge(rise, t, -step, allowed, float(np.log(p.mu[0])))
    high = edge(rise, t, step, allowed, float(np.log(p.mu[1])))
    return float(np.exp(low[0])), float(np.exp(high[0]))


def curve_interval(p: Power, x: Array, allowed: float) -> tuple[Array, Array]:
    """The interval of the curve's height at each x, by the same rule as intervals."""
    least, a, mu, delta = minimum(p)
    grid = np.linspace(*mu_interval(p, allowed), FINE)
    v = np.log(x / p.x0)
    near = p.u.min()
    at = np.exp(-np.outer(v - near, grid))[..., None]  # (points, exponents, 1), the law's decay since the least x
    decay = np.exp(-np.outer(grid, p.u - near))  # (exponents, runs)
    # With the height c given, delta + s * at = c leaves one unknown z: residual = (y - c * q) - z * r. Beyond the
    # least x z is s, the fall at the least x; before it z is delta: no factor exceeds 1 and rounding does no harm.
    before = (v < near)[:, None, None]
    q = np.where(before, decay / np.maximum(at, 1.0), 1.0)
    r = np.where(before, 1 - q, decay - at)
    yy, yq, yr, qq, qr, rr = (
        np.einsum("...n,n->...", product, p.weights) for product in (p.y**2, p.y * q, p.y * r, q * q, q * r, r * r)
    )

    def rise(height: Array) -> Array:
        c = height[:, None]
        low = np.where(before[..., 0], p.delta[0], np.maximum((c - p.delta[1]) / at[..., 0], 0.0))
        high = np.where(before[..., 0], np.minimum(p.delta[1], c), np.maximum((c - p.delta[0]) / at[..., 0], 0.0))
        cross = yr - c * qr
        z = np.clip(cross / np.maximum(rr, 1e-300), low, high)
        return _least(yy - 2 * c * yq + c * c * qq - 2 * z * cross + z * z * rr) - least

    height = a * np.exp(-mu * v) + delta
    step = 1e-4 * np.abs(height)
    low = edge(rise, height, -step, allowed, p.delta[0])
    return low, edge(rise, height, step, allowed, np.inf)


def _least(squares: Array) -> Array:
    """The least value of each row over the grid of exponents, refined by a parabola inside the grid."""
    values = np.atleast_2d(squares)
    i = np.argmin(values, axis=-1)
    j = np.clip(i, 1, values.shape[-1] - 2)
    left, middle, right = (np.take_along_axis(values, (j + k)[..., None], -1)[..., 0] for k in (-1, 0, 1))
    bend = left - 2 * middle + right
    smooth = (i == j) & np.isfinite(bend) & (bend > 0)
    return np.where(smooth, middle - (left - right) ** 2 / (8 * np.where(smooth, bend, 1.0)), values.min(axis=-1))
