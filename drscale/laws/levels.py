"""The fit to level means, and how much wider its intervals must be if errors are unequal or correlated. No torch.

Runs at one x may share an error: the same pairs, the same rate, a curve that misses there. So a level counts once.
Three properties of the means' own errors can still make an interval too short, and each of them widens it: single runs
scatter more than the means; levels with much influence miss the curve more than others (the HC2 variance of MacKinnon
and White, 1985); and neighbours miss it together (a first-order correlation, estimated from the residuals with the
fit's own share removed).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import lmfit
import numpy as np
import pandas as pd
from scipy import special

from drscale.laws import fit as laws
from drscale.laws.result import Fitted, Space, fitted, residuals
from drscale.stats.tables import Array

ENOUGH = 5  # degrees of freedom from which unequal and correlated errors of levels can be seen at all
CORRELATIONS = np.linspace(0.0, 0.7, 8)  # of neighbouring levels; above, several levels are hardly more than one


@dataclass(frozen=True)
class ByLevel:
    """A law fitted to the means of runs at one x, each counting once, and how their scatter changes its intervals."""

    points: Mapping[str, Array]  # of each argument of the law, one entry for each level
    y: Array
    curve: Array  # the fitted one at the levels
    slopes: Array  # of the curve by the parameters, as curve_slopes returns them; (levels, k)
    space: Space
    unit: float  # the variance of a mean about the curve, in that space
    free: int
    counts: Array  # the runs behind each mean
    single: float  # the variance of one run about the curve, all runs taken as independent
    single_free: int
    pure: Array  # of each level: the squares of its runs about their mean
    robust: bool = False
    result: Any = None  # the fit itself, a ModelResult

    @property
    def each(self) -> float:
        """How many runs a level has, as a harmonic mean."""
        return float(len(self.counts) / np.sum(1 / self.counts))

    @property
    def judged(self) -> bool:
        """Whether unequal and correlated errors can be seen."""
        return self.free >= ENOUGH and not self.robust and self.unit > 1e-24

    def times(self, level: float) -> float:
        """Student's t of the level means."""
        return float(special.stdtrit(self.free, 0.5 + level / 2))

    def by_runs(self, level: float) -> float:
        """How much wider an interval by single runs is, at least 1."""
        mine = self.unit * self.times(level) ** 2
        theirs = self.single / self.each * float(special.stdtrit(self.single_free, 0.5 + level / 2)) ** 2
        return float(np.sqrt(max(theirs / mine, 1.0))) if mine > 1e-24 else 1.0

    def __str__(self) -> str:
        runs = f"{self.each:.3g} runs each" if self.each > 1 else "one run each"
        said = f"{len(self.counts)} levels, {runs}, {self.free} degrees of freedom: "
        if not self.judged:
            return (
                f"{said}so few cannot show whether their errors are equal and independent, and the intervals assume it."
            )
        factors = self.widened(np.eye(self.slopes.shape[1]), 0.95)
        least, most = f"{factors.min():.2f}", f"{factors.max():.2f}"
        if most == "1.00":
            return f"{said}the scatter shows no unequal or correlated errors."
        wide = f"{least} to {most}" if least != most else most
        return f"{said}the scatter shows unequal or correlated errors, so intervals are {wide} times as wide."

    def widened(self, slopes: Array, level: float) -> Array:
        """The factor of each interval of something with these ``slopes`` by the parameters; (somethings, k) in."""
        runs = self.by_runs(level)
        if not self.judged:
            return np.full(len(slopes), runs)
        lever, hat = self._levers(slopes)
        r = residuals(self.y, self.curve, self.space)
        plain = self.unit * (lever**2).sum(1)
        unequal = ((lever * r) ** 2 / np.maximum(1 - np.diag(hat), 0.02)).sum(1) / np.where(plain > 0, plain, 1.0)
        together = [
            _together(distance, r, hat, lever)
            for distance in _neighbours(*(tuple(v.tolist()) for v in self.points.values()))
        ]
        return np.maximum(np.sqrt(unequal), runs) * np.max([np.ones(len(slopes)), *together], axis=0)

    def noise(self, at: Mapping[str, Array], runs: Array, level: float) -> Array:
        """How far the mean of ``runs`` new runs at each point may lie from the curve, as a standard deviation.

        In the space of the fit. It is the spread of level means, or that of the nearest half of the levels if it is
        larger. If ``runs`` is not the number of runs of a level, the scatter of runs at one level corrects it.
        """
        whole = np.full(len(runs), self.unit * self.by_runs(level) ** 2)
        free = float(np.sum(self.counts - 1))
        one = float(self.pure.sum()) / free if free else 0.0
        if self.judged:
            _, hat = self._levers(np.zeros((1, self.slopes.shape[1])))
            squares, left = residuals(self.y, self.curve, self.space) ** 2, 1 - np.diag(hat)
            places, points = (_scaled(self.points, values) for values in (self.points, at))
            for i, point in enumerate(points.T):
                order = np.argsort(((places - point[:, None]) ** 2).sum(0), kind="stable")
                near = order[: max(4, len(order) // 2)]
                own = float(np.sum(self.counts[near] - 1))
                scatter = float(self.pure[near].sum()) / own / self.each if own else 0.0
                whole[i] = max(whole[i], squares[near].sum() / max(left[near].sum(), 1.0), scatter)
        moved = whole + one * (1 / runs - 1 / self.each)
        return np.asarray(np.sqrt(np.maximum(moved, one / runs)))

    def _levers(self, slopes: Array) -> tuple[Array, Array]:
        """How much a miss at each level moves the result, and the hat matrix."""
        shares = {"relative": self.y, "linear": np.ones_like(self.y), "log": self.curve}[self.space]
        design = self.slopes / shares[:, None]
        norm = np.sqrt((design**2).sum(0))
        keep = norm > 1e-12 * norm.max()
        design, slopes = design[:, keep] / norm[keep], slopes[:, keep] / norm[keep]
        inverse = np.linalg.pinv(design.T @ design, rcond=1e-12, hermitian=True)
        return slopes @ inverse @ design.T, design @ inverse @ design.T


def by_level(result: lmfit.model.ModelResult) -> ByLevel:
    """Fit the law once more, to the means of the runs at each x."""
    known = getattr(result, "by_level", None)
    if isinstance(known, ByLevel):
        return known
    f = fitted(result)
    frame, place = pd.DataFrame({**f.points, "y": f.y}), f.levels
    means = frame.groupby(place).mean()
    limits = {n: ends for n, ends in f.limits.items() if f.family is None or f.entry is None or n in f.entry.bounds}
    start = {"start": dict(result.best_values)} if f.family is None else {}
    options: dict[str, Any] = {"space": f.space, "robust": f.robust, "bounds": limits, **start}
    fit = laws.fit_law(means, f.law, {a: a for a in f.points}, "y", warn=False, **options)
    own, curve = fitted(fit), np.asarray(fit.best_fit, dtype=float)
    spread = residuals(f.y, own.y[place], f.space)
    result.by_level = ByLevel(
        own.points, own.y, curve, slopes_of(fit, own.points), f.space, own.unit, own.free,
        np.bincount(place).astype(float), f.unit, f.free, np.bincount(place, spread**2).astype(float), f.robust, fit,
    )  # fmt: skip
    return result.by_level


def slopes_of(result: lmfit.model.ModelResult, at: Mapping[str, Array]) -> Array:
    """The slopes of a fitted curve at points, by :func:`curve_slopes`."""
    f = fitted(result)
    linear = [n for n in f.limits if not logarithmic(f, n)]
    return curve_slopes(f.law, result.best_values, at, linear, f.fixed, float(np.abs(f.y).mean()))


def curve_slopes(
    law: Callable[..., Any],
    values: Mapping[str, float],
    at: Mapping[str, Array],
    linear: Collection[str] = ("delta",),
    fixed: Collection[str] = (),
    size: float = 1.0,
) -> Array:
    """The slopes of a law at points by the logarithm of each parameter, or by itself if ``linear``; (points, k).

    Parameters that are ``fixed`` have none; ``size`` is that of y, for the step of a floor at 0.
    """
    columns, some = [], next(iter(at.values()))
    for name, value in values.items():
        if name in fixed:
            columns.append(np.zeros_like(some))
            continue
        step = 1e-5 * (max(abs(value), 1e-3 * size) if name in linear else abs(value))
        with np.errstate(all="ignore"):
            low, high = (np.asarray(law(**at, **{**values, name: value + s * step})) for s in (-1, 1))
            slope = (high - low) / (2 * step if name in linear else 2e-5)
        columns.append(np.where(np.isfinite(slope), slope, 0.0))
    return np.stack(columns, axis=1)


def logarithmic(f: Fitted, name: str) -> bool:
    """Whether intervals of a parameter are widened as ratios: coefficients and exponents, not floors."""
    return f.family is not None and name != "delta"


def _scaled(levels: Mapping[str, Array], points: Mapping[str, Array]) -> Array:
    """Logarithms of points, each x in units of its fitted range; (d, points)."""
    return np.stack([np.log(points[a]) / max(float(np.ptp(np.log(v))), 1e-12) for a, v in levels.items()])


@functools.lru_cache(maxsize=64)
def _neighbours(*points: tuple[float, ...]) -> list[Array]:
    """For each x how many steps along it lie between two levels; infinite where they differ in another x as well."""
    found = []
    for i, values in enumerate(points):
        distance = np.full((len(values), len(values)), np.inf)
        rest = list(zip(*(v for j, v in enumerate(points) if j != i), strict=True)) or [()] * len(values)
        for group in set(rest):
            here = sorted((k for k, other in enumerate(rest) if other == group), key=values.__getitem__)
            steps = np.arange(len(here))
            distance[np.ix_(here, here)] = np.abs(steps[:, None] - steps)
        found.append(distance)
    return found


def _together(distance: Array, r: Array, hat: Array, lever: Array) -> Array:
    """How much wider intervals are if neighbouring levels are correlated as their residuals suggest."""
    near, left = 0.5 * (distance == 1), np.eye(len(r)) - hat
    if not near.any():
        return np.ones(len(lever))
    shown = left @ _correlated(distance, CORRELATIONS) @ left
    expected = (shown * near).sum((1, 2)) / np.trace(shown, axis1=1, axis2=2)
    seen = float(r @ near @ r) / float(r @ r)
    rho = np.interp(seen, np.maximum.accumulate(expected), CORRELATIONS)
    matrix = _correlated(distance, np.array([rho]))[0]
    larger = ((lever @ matrix) * lever).sum(1) / np.maximum((lever**2).sum(1), 1e-300)
    shown_share = max(float(np.sum(left * matrix)) / float(np.trace(left)), 0.2)  # the curve itself takes up the rest
    return np.asarray(np.sqrt(np.maximum(larger / shown_share, 1.0)))


def _correlated(distance: Array, rhos: Array) -> Array:
    """Correlations of levels that fall by each of ``rhos`` a step; (rhos, levels, levels)."""
    far = np.isinf(distance)
    return np.where(far, 0.0, rhos[:, None, None] ** np.where(far, 0.0, distance))
