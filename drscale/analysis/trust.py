"""How far a fitted law can be trusted: intervals, bands, prediction, extrapolation. Never imports torch."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any, Literal

import lmfit
import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from drscale.analysis import laws, power
from drscale.analysis.laws import LawWarning
from drscale.analysis.power import Array


def intervals(
    result: lmfit.model.ModelResult,
    method: Literal["profile", "bootstrap", "stderr"] = "profile",
    level: float = 0.95,
    *,
    draws: int = 1000,
    unit: Literal["run", "level"] = "run",
    seed: int = 0,
) -> pd.DataFrame:
    """An interval for each parameter: name, value, low, high, note.

    "profile" is where the refitted sum of squares rises too far (F test), "stderr" the symmetric one. "bootstrap"
    refits to runs drawn with replacement (``unit="level"``: whole levels of x, right when runs at one x share an
    error), redrawn until one level more than there are parameters is present; with few runs it is somewhat too narrow.
    An interval that ends at a parameter's bound says so in ``note``.
    """
    f, names = laws.fitted(result), list(result.params)
    _check_level(level)
    t = float(stats.t.ppf(0.5 + level / 2, f.free))
    values = [result.params[n] for n in names]
    if method == "stderr":
        pairs = [(p.value - t * stderr(p), p.value + t * stderr(p)) for p in values]
    elif method == "profile" and f.problem is not None:
        found = power.profile(f.problem, f.unit * t**2).values()
        # Without scatter the interval is a point, known to rounding only.
        pairs = [(min(low, p.value), max(high, p.value)) for (low, high), p in zip(found, values, strict=True)]
    elif method == "profile":
        traced = result.conf_interval(sigmas=[level])
        pairs = [(traced[n][0][1], traced[n][-1][1]) for n in names]
    elif method == "bootstrap" and f.problem is not None:
        sample = power.draws(f.problem, _resample(f.x, draws, unit, seed, len(names) + 1))
        low, high = np.quantile(sample, [0.5 - level / 2, 0.5 + level / 2], axis=0)
        pairs = list(zip(low.tolist(), high.tolist(), strict=True))
    elif method == "bootstrap":
        raise ValueError("method='bootstrap': only for size_law and data_law; use 'profile' or 'stderr'")
    else:
        raise ValueError(f"method={method!r}: allowed are 'profile', 'bootstrap', 'stderr'")
    rows = [
        (n, result.params[n].value, low, high, _bound_note(result.params[n], low, high))
        for n, (low, high) in zip(names, pairs, strict=True)
    ]
    return pd.DataFrame(rows, columns=["name", "value", "low", "high", "note"])


def stderr(p: lmfit.Parameter) -> float:
    """The standard error of a parameter; NaN for one held at its bound or not estimable."""
    return float(p.stderr) if p.vary and p.stderr is not None else np.nan


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise ValueError(f"level={level!r}: must lie between 0 and 1")


def _bound_note(p: lmfit.Parameter, low: float, high: float) -> str:
    ends = [f"{b:g}" for end, b in ((low, p.min), (high, p.max)) if np.isclose(end, b, rtol=1e-4, atol=1e-12)]
    return f"ends at the bound {' and '.join(ends)}" if ends else ""


def _resample(x: Array, draws: int, unit: str, seed: int, needed: int) -> Array:
    """How often each run is drawn, a row a draw."""
    if unit not in ("run", "level"):
        raise ValueError(f"unit={unit!r}: allowed are 'run', 'level'")
    if draws < 10:
        raise ValueError(f"draws={draws}: at least 10")
    rng, (levels, place) = np.random.default_rng(seed), np.unique(x, return_inverse=True)
    kept: list[Array] = []
    n = len(levels) if unit == "level" else len(x)
    while len(kept) < draws:
        counts = np.bincount(rng.integers(n, size=n), minlength=n).astype(float)
        counts = counts[place] if unit == "level" else counts
        if len(np.unique(place[counts > 0])) >= min(needed, len(levels)):
            kept.append(counts)
    return np.array(kept)


def predict(
    result: lmfit.model.ModelResult,
    x: npt.ArrayLike,
    level: float = 0.95,
    *,
    runs: int = 1,
    warn: bool = True,
) -> pd.DataFrame:
    """The fitted curve at each x: fit, band_low and band_high for the curve, low and high for a measured value.

    A measured value is the mean of ``runs`` new runs. ``extrapolated`` marks x outside the fitted range; there the
    intervals hold only as far as the law itself does.
    """
    f, at = laws.fitted(result), np.atleast_1d(np.asarray(x, dtype=float))
    _check_level(level)
    if at.ndim != 1 or not len(at) or not (np.isfinite(at) & (at > 0)).all():
        raise ValueError(f"x={x!r}: a list of finite numbers above zero is needed")
    if runs < 1:
        raise ValueError(f"runs={runs}: at least 1")
    t = float(stats.t.ppf(0.5 + level / 2, f.free))
    curve = np.asarray(result.eval(**{result.model.independent_vars[0]: at}), dtype=float)
    if f.problem is not None:
        low, high = power.curve_interval(f.problem, at, f.unit * t**2)
        low, high = np.minimum(low, curve), np.maximum(high, curve)
    else:
        half = np.asarray(result.eval_uncertainty(sigma=level, **{result.model.independent_vars[0]: at}), dtype=float)
        low, high = curve - half, curve + half
    noise = t * f.sigma / np.sqrt(runs) * (1.0 if f.space == "linear" else curve)
    outside = (at < f.x.min()) | (at > f.x.max())
    if warn and outside.any():
        some = f"{outside.sum()} of {len(at)} points" if len(at) > 1 else f"{f.x_name}={at[0]:g}"
        warnings.warn(
            f"{some} lie outside the fitted range of {f.x_name}, {f.x.min():g} to {f.x.max():g}: extrapolated",
            LawWarning,
            stacklevel=2,
        )
    return pd.DataFrame(
        {
            f.x_name: at,
            "fit": curve,
            "band_low": low,
            "band_high": high,
            "low": np.maximum(curve - np.hypot(curve - low, noise), 0.0),
            "high": curve + np.hypot(high - curve, noise),
            "extrapolated": outside,
        }
    )


def holdout(
    table: pd.DataFrame,
    law: Callable[..., Any],
    x: str | None = None,
    y: str = "in_domain_entropy",
    *,
    above: float | None = None,
    level: float = 0.95,
    **options: Any,
) -> pd.DataFrame:
    """Fit to the runs at x <= ``above`` and compare the curve with what was measured beyond; a row a level of x.

    ``above=None`` holds out the largest level. ``error`` is (predicted - measured) / measured, ``inside`` says whether
    the mean of the measured runs lies in its prediction interval. ``options`` go to :func:`laws.fit`.
    """
    fitted_part, rest, name = split(table, law, x, y, above)
    result = laws.fit(fitted_part, law, name, y, **options)
    rows = []
    for value, group in rest.groupby(name):
        measured = float(group[y].mean())
        p = predict(result, [float(str(value))], level, runs=len(group), warn=False).iloc[0]
        rows.append(
            {
                name: value,
                "runs": len(group),
                "measured": measured,
                "predicted": p["fit"],
                "low": p["low"],
                "high": p["high"],
                "error": p["fit"] / measured - 1,
                "inside": bool(p["low"] <= measured <= p["high"]),
            }
        )
    return pd.DataFrame(rows)


def split(
    table: pd.DataFrame, law: Callable[..., Any], x: str | None, y: str, above: float | None
) -> tuple[pd.DataFrame, pd.DataFrame, str]:
    """The runs at x <= ``above``, those beyond, and the column of x; ``above=None`` parts off the largest level."""
    name = laws.default_x(law) if x is None else x
    xs, _ = laws.numbers(table, name, y)
    levels = np.unique(xs)
    cut = (levels[-2] if len(levels) > 1 else levels[0]) if above is None else float(above)
    done = laws.done(table)
    if not (xs > cut).any():
        raise ValueError(f"above={above!r}: no run has {name} beyond it, the largest is {levels[-1]:g}")
    return done[xs <= cut], done[xs > cut], name


def parameters(
    result: lmfit.model.ModelResult,
    level: float = 0.95,
    method: Literal["profile", "bootstrap", "stderr"] = "profile",
) -> pd.DataFrame:
    """The parameters as a table for a paper: name, value, stderr, low, high, unit, note, and R² as the last row."""
    f, frame = laws.fitted(result), intervals(result, method, level)
    frame.insert(2, "stderr", [stderr(p) for p in result.params.values()])
    unit = laws.POWER_LAWS.get(f.law, ("", ""))[1]
    units = [unit, "", _unit_of(f.y_name)] if f.problem is not None else [""] * len(frame)
    frame.insert(5, "unit", units)
    r2 = {"name": "R2", "value": laws.goodness(result)["R2"], "unit": "", "note": ""}
    return pd.concat([frame, pd.DataFrame([r2])], ignore_index=True)


def _unit_of(y: str) -> str:
    return "nats" if y.endswith(("entropy", "calibrated")) else ""


def summary(results: Mapping[str, lmfit.model.ModelResult], level: float = 0.95) -> pd.DataFrame:
    """Several fitted power laws, a row each, in the columns of the papers' tables, with profile intervals.

    Columns: name, coefficient, exponent and delta each with ``_low`` and ``_high``, and r2.
    """
    rows = []
    for name, result in results.items():
        row: dict[str, Any] = {"name": name}
        if laws.fitted(result).problem is None:
            raise ValueError(f"results[{name!r}]: not a fit of size_law or data_law")
        frame = intervals(result, level=level)
        for column, (value, low, high) in zip(
            ("coefficient", "exponent", "delta"), frame[["value", "low", "high"]].to_numpy(), strict=True
        ):
            row |= {column: value, f"{column}_low": low, f"{column}_high": high}
        rows.append(row | {"r2": laws.goodness(result)["R2"]})
    return pd.DataFrame(rows)


def plateau(curves: pd.DataFrame, value: str = "validation", share: float = 0.25) -> pd.DataFrame:
    """Whether runs had stopped improving: what the last ``share`` of the steps changed, a row a run.

    ``curves`` is ``RunStore.curves()``. ``change`` is (last - before) / before, where ``before`` is the last look at or
    before 1 - share of the steps; near zero is a plateau, above zero the run was getting worse. ``best_step`` is the
    step of the lowest look.
    """
    if not 0 < share < 1:
        raise ValueError(f"share={share}: must lie between 0 and 1")
    for needed in ("key", "step", value):
        if needed not in curves:
            raise ValueError(f"curves have no column {needed!r}; they have {', '.join(map(str, curves.columns))}")
    rows = []
    for key, looks in curves.dropna(subset=[value]).sort_values("step").groupby("key"):
        steps, seen = looks["step"].to_numpy(dtype=float), looks[value].to_numpy(dtype=float)
        early = np.flatnonzero(steps <= (1 - share) * steps[-1])
        if not len(early):
            raise ValueError(f"curves: {key!r} has no look in its first {1 - share:.0%} of steps")
        before = float(seen[early[-1]])
        best = int(np.argmin(seen))
        rows.append((key, int(steps[-1]), before, float(seen[-1]), float(seen[-1]) / before - 1, int(steps[best])))
    return pd.DataFrame(rows, columns=["key", "steps", "before", "last", "change", "best_step"])
