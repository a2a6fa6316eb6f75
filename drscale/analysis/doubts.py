"""Why a fit deserves caution, in plain sentences, and how well it fits. Never imports torch."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import lmfit
import numpy as np
import pandas as pd
from scipy import stats

from drscale.analysis.fitted import Fitted, fitted
from drscale.analysis.power import Array

MISFIT = 0.01  # probability of a lack of fit, below which a law is rejected
FEW = 8  # levels below which the 95% interval of a bootstrap covers far less, .76 with five
CORRELATED = 0.995  # a coefficient lies outside the measured x, so .97 is the rule and no news


def goodness(result: lmfit.model.ModelResult) -> pd.Series:
    """R² of y and of log y, the spread of one run about the curve as a share of y, and what the fit rests on."""
    f = fitted(result)
    best = np.asarray(result.best_fit, dtype=float)

    def r2(measured: Array, predicted: Array) -> float:
        total = float(np.sum((measured - measured.mean()) ** 2))
        return 1 - float(np.sum((measured - predicted) ** 2)) / total if total > 0 else np.nan

    relative = float(np.sqrt(np.sum((f.y / best - 1) ** 2) / (f.free)))
    return pd.Series(
        {
            "R2": r2(f.y, best),
            "R2_log": r2(np.log(f.y), np.log(best)),
            "relative_error": relative,
            "runs": len(f.y),
            "levels": int(f.levels.max()) + 1,
        },
        name=f.y_name,
    )


def of_draws(result: lmfit.model.ModelResult, sample: pd.DataFrame, unit: str) -> list[str]:
    """Say why intervals from bootstrap draws of a fit, by runs or by levels, are too narrow."""
    f, said = fitted(result), []
    lack, many = lack_of_fit(result) if unit == "run" else None, int(f.levels.max()) + 1
    if many < FEW:
        said.append(f"the intervals are too narrow: a bootstrap of {many} levels covers less than it says")
    if lack is not None and lack[1] < MISFIT:
        said.append(
            f"the intervals are too narrow: runs of one level share an error (lack of fit, p={lack[1]:.1g}); "
            "resample levels, unit='level'"
        )
    for name in f.fixed:
        said.append(f"{name} is held at {f.limits[name][0]:g}: its interval is a point, the others take it as known")
    for name, at in at_bounds(result, f):
        if name not in f.fixed:
            share = float(np.mean(np.isclose(sample[name], at, rtol=1e-9, atol=1e-300)))
            where = "every draw" if share == 1 else f"{share:.0%} of the draws"
            said.append(f"{name} is at its bound {at:g}, and so it is in {where}: the intervals are too narrow")
    return said


def at_bounds(result: lmfit.model.ModelResult, f: Fitted) -> list[tuple[str, float]]:
    """The parameters at a bound, with it; a coefficient at 0 is a law that does not fall, which is said elsewhere."""
    found = []
    for name, p in result.params.items():
        at = next((b for b in (p.min, p.max) if np.isfinite(b) and p.value == b), None)
        if at is not None and not (at == 0 and p.min == 0 and _is_coefficient(f, name)):
            found.append((name, float(at)))
    return found


def _is_coefficient(f: Fitted, name: str) -> bool:
    return f.entry is not None and name in (c for c, _ in f.entry.coefficients)


def without(result: lmfit.model.ModelResult, f: Fitted) -> list[str]:
    """The columns that the fitted law does not depend on."""
    pairs = f.entry.coefficients if f.entry is not None else []
    return [column for column, (c, _) in zip(f.columns.values(), pairs, strict=False) if result.params[c].value == 0]


def coverage(result: lmfit.model.ModelResult, f: Fitted) -> list[str]:
    """What the places of the runs leave open: too few levels, too short a range, empty corners of the box."""
    said = []
    single = len(f.columns) == 1
    for argument, column in f.columns.items():
        levels = np.unique(f.points[argument])
        enough = f.parameters + 3 if single else 4
        if len(levels) < enough:
            many = f"{f.parameters} parameters" if single else "its half of the law"
            said.append(
                f"only {len(levels)} levels of {column} for {many}: take at least {enough}; "
                "intervals take the errors of so few as equal and independent"
            )
        if f.entry is not None and levels[-1] < 10 * levels[0]:
            said.append(
                f"{column} spans a factor of {levels[-1] / levels[0]:.1f}: "
                "within less than a decade a power law looks like any other curve"
            )
    corners = empty_corners(f.points, list(f.columns.values())) if len(f.columns) == 2 else []
    if corners and f.entry is not None:
        said.append(
            f"no run is near the corner of {' or of '.join(corners)}: the law is a guess there although each is in "
            "range, and how the two act together is hardly seen"
        )
    return said


def empty_corners(points: Mapping[str, Array], columns: Sequence[str]) -> list[str]:
    """The corners of a box of two x with no run in the outer third of both ranges, in words."""
    first, second = columns
    places = [(v - v.min()) / max(float(np.ptp(v)), 1e-300) for v in map(np.log, points.values())]
    found, words = [], ("small", "large")
    for a, b in itertools.product((0, 1), repeat=2):
        if not ((np.abs(places[0] - a) <= 1 / 3) & (np.abs(places[1] - b) <= 1 / 3)).any():
            found.append(f"{words[a]} {first} and {words[b]} {second}")
    return found


def lack_of_fit(result: lmfit.model.ModelResult) -> tuple[float, float] | None:
    """F and p of the misfit of the level means against the scatter of runs at one level; None without replicates."""
    f, r = fitted(result), np.asarray(result.residual, dtype=float)
    place = f.levels
    count = np.bincount(place)
    means = np.bincount(place, r) / count
    pure, misfit = len(r) - len(count), len(count) - f.parameters
    scatter = float(np.sum((r - means[place]) ** 2))
    if pure < 2 or misfit < 1 or scatter <= 1e-20 * len(r):
        return None
    ratio = float(np.sum(count * means**2)) / misfit / (scatter / pure)
    return ratio, float(stats.f.sf(ratio, misfit, pure))
