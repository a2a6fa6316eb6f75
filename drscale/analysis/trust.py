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

from drscale.analysis import laws, power, profile, refits
from drscale.analysis.columns import TooFewLevels, check_level
from drscale.analysis.fitted import Fitted, name_of, outside, solved
from drscale.analysis.laws import Columns, LawWarning
from drscale.analysis.power import Array, Power
from drscale.analysis.refits import curve, draws, query_draws

__all__ = [
    "curve",
    "draws",
    "holdout",
    "intervals",
    "parameters",
    "plateau",
    "predict",
    "query_draws",
    "stderr",
    "summary",
]
Method = Literal["profile", "bootstrap", "stderr"]
Above = float | Mapping[str, float] | None


def intervals(
    result: lmfit.model.ModelResult,
    method: Method = "profile",
    level: float = 0.95,
    *,
    draws: int = 1000,
    unit: refits.Unit = "run",
    seed: int = 0,
) -> pd.DataFrame:
    """An interval for each parameter: name, value, low, high, note.

    "profile" is where the refitted sum of squares rises too far (F test), "stderr" the symmetric one, "bootstrap" the
    middle of what :func:`draws` gives. An interval that ends at a parameter's bound says so in ``note``.
    """
    f, names = laws.fitted(result), list(result.params)
    check_level(level)
    t = float(stats.t.ppf(0.5 + level / 2, f.free))
    values = [result.params[n] for n in names]
    if method == "stderr":
        pairs = [(p.value - t * stderr(p), p.value + t * stderr(p)) for p in values]
    elif method == "profile" and f.problem is not None:
        if isinstance(f.problem, Power):
            found = list(power.profile(f.problem, f.unit * t**2).values())
        else:
            found = profile.profile(*solved(f), f.unit * t**2)
        # Without scatter the interval is a point, known to rounding only.
        pairs = [(min(low, p.value), max(high, p.value)) for (low, high), p in zip(found, values, strict=True)]
    elif method == "profile":
        traced = result.conf_interval(sigmas=[level])
        pairs = [(traced[n][0][1], traced[n][-1][1]) for n in names]
    elif method == "bootstrap" and f.problem is not None:
        sample = refits.draws(result, draws, unit, seed).to_numpy()
        low, high = np.quantile(sample, [0.5 - level / 2, 0.5 + level / 2], axis=0)
        pairs = list(zip(low.tolist(), high.tolist(), strict=True))
    elif method == "bootstrap":
        known = ", ".join(name_of(law) for law in laws.LAWS)
        raise ValueError(f"method='bootstrap': only for {known}; use 'profile' or 'stderr'")
    else:
        raise ValueError(f"method={method!r}: allowed are 'profile', 'bootstrap', 'stderr'")
    rows = [
        (n, result.params[n].value, low, high, _bound_note(f, n, low, high))
        for n, (low, high) in zip(names, pairs, strict=True)
    ]
    return pd.DataFrame(rows, columns=["name", "value", "low", "high", "note"])


def stderr(p: lmfit.Parameter) -> float:
    """The standard error of a parameter; NaN for one held at its bound or not estimable."""
    return float(p.stderr) if p.vary and p.stderr is not None else np.nan


def _bound_note(f: Fitted, name: str, low: float, high: float) -> str:
    if name in f.fixed:
        return "held still"
    least, most = f.limits[name]
    ends = [f"{b:g}" for end, b in ((low, least), (high, most)) if np.isclose(end, b, rtol=1e-4, atol=0.0)]
    return f"ends at the bound {' and '.join(ends)}" if ends else ""


def predict(
    result: lmfit.model.ModelResult,
    x: npt.ArrayLike | Mapping[str, npt.ArrayLike] | pd.DataFrame,
    level: float = 0.95,
    *,
    runs: npt.ArrayLike = 1,
    warn: bool = True,
    method: Literal["profile", "stderr"] = "profile",
) -> pd.DataFrame:
    """The fitted curve at each x: fit, band_low and band_high for the curve, low and high for a measured value.

    For a law of two arguments ``x`` is a mapping or a frame, by the law's names (N, D) or by the fitted columns. A
    measured value is the mean of ``runs`` new runs, a number or one a point. ``extrapolated`` marks points outside the
    fitted range, of a law of two of either, and ``outside`` says of which; there the intervals hold only as far as the
    law itself does. ``method="stderr"`` takes the band from the standard errors: symmetric, and at once.
    """
    f = laws.fitted(result)
    at = _points(f, x)
    check_level(level)
    if np.min(runs) < 1:
        raise ValueError(f"runs={runs!r}: at least 1")
    t = float(stats.t.ppf(0.5 + level / 2, f.free))
    height = np.asarray(result.eval(**at), dtype=float)
    if method == "profile" and isinstance(f.problem, Power):
        low, high = power.curve_interval(f.problem, at[next(iter(at))], f.unit * t**2)
    elif method == "profile" and f.problem is not None:
        p, found = solved(f)
        low, high = profile.heights(p, found, np.log(np.array(list(at.values()))) - p.origin[:, None], f.unit * t**2)
    else:
        half = np.asarray(result.eval_uncertainty(sigma=level, **at), dtype=float)
        low, high = height - half, height + half
    low, high = np.minimum(low, height), np.maximum(high, height)
    noise = t * f.sigma / np.sqrt(runs) * (1.0 if f.space == "linear" else height)
    beyond = {a: (v < f.points[a].min()) | (v > f.points[a].max()) for a, v in at.items()}
    extrapolated = np.logical_or.reduce(list(beyond.values()))
    if warn and extrapolated.any():
        warnings.warn(_beyond(f, at, beyond, extrapolated), LawWarning, stacklevel=outside())
    frame = pd.DataFrame(
        {
            **{f.columns[a]: v for a, v in at.items()},
            "fit": height,
            "band_low": low,
            "band_high": high,
            "low": np.maximum(height - np.hypot(height - low, noise), 0.0),
            "high": height + np.hypot(high - height, noise),
            "extrapolated": extrapolated,
        }
    )
    if len(at) > 1:
        frame["outside"] = [", ".join(f.columns[a] for a in at if beyond[a][i]) for i in range(len(frame))]
    return frame


def _points(f: Fitted, x: Any) -> dict[str, Array]:
    """The points asked for, by the law's names of its arguments, all of one length."""
    names = list(f.columns)
    if isinstance(x, Mapping | pd.DataFrame):
        by = names if all(n in x for n in names) else list(f.columns.values())
        missing = [n for n in by if n not in x]
        if missing:
            raise ValueError(f"x: no {missing[0]!r} in it; needed are {', '.join(names)} or {', '.join(by)}")
        given = [np.atleast_1d(np.asarray(x[n], dtype=float)) for n in by]
    elif len(names) > 1:
        raise ValueError(f"x={x!r}: {name_of(f.law)} needs a mapping or a frame with {', '.join(names)}")
    else:
        given = [np.atleast_1d(np.asarray(x, dtype=float))]
    for values in given:
        if values.ndim != 1 or not len(values) or not (np.isfinite(values) & (values > 0)).all():
            raise ValueError(f"x={x!r}: a list of finite numbers above zero is needed")
    lengths = {len(v) for v in given} - {1}
    if len(lengths) > 1:
        raise ValueError(f"x: {', '.join(names)} have different lengths, {', '.join(str(len(v)) for v in given)}")
    return dict(zip(names, (np.array(v) for v in np.broadcast_arrays(*given)), strict=True))


def _beyond(f: Fitted, at: dict[str, Array], beyond: dict[str, Array], extrapolated: Array) -> str:
    many = len(extrapolated)
    some = f"{extrapolated.sum()} of {many} points"
    if many == 1:
        some = ", ".join(f"{f.columns[a]}={at[a][0]:g}" for a in at)
    ranges = [f"{f.columns[a]}, {f.points[a].min():g} to {f.points[a].max():g}" for a in at if beyond[a].any()]
    verb = "lies" if many == 1 and len(at) > 1 else "lie"
    return f"{some} {verb} outside the fitted range of {' or of '.join(ranges)}: extrapolated"


def holdout(
    table: pd.DataFrame,
    law: Callable[..., Any],
    x: Columns | None = None,
    y: str = "in_domain_entropy",
    *,
    above: Above = None,
    level: float = 0.95,
    **options: Any,
) -> pd.DataFrame:
    """Fit to the runs at x <= ``above`` and compare the curve with what was measured beyond; a row a level of x.

    ``above=None`` holds out the largest level of the first x. For a law of two arguments ``above`` says by name where
    to cut, as in ``{"D": 8448}``; a run beyond any cut is held out. ``error`` is (predicted - measured) / measured,
    ``inside`` says whether the mean of the measured runs lies in its prediction interval. ``options`` go to
    :func:`laws.fit`.
    """
    columns = laws.columns_of(law, x)
    within, rest = parted(table, columns, y, above)
    names = list(columns.values())
    try:
        result = laws.fit(within, law, columns, y, **options)
    except TooFewLevels as e:
        raise TooFewLevels(f"without what is held out, {e}") from e
    levels = rest.groupby(names if len(names) > 1 else names[0])[y].agg(["size", "mean"]).reset_index()
    rows = []
    for count in sorted(set(levels["size"])):  # a prediction interval is for the mean of so many runs
        some = levels[levels["size"] == count]
        p = predict(result, some, level, runs=int(count), warn=False).set_index(some.index)
        measured = some["mean"]
        told = {"runs": some["size"], "measured": measured, "predicted": p["fit"], "low": p["low"], "high": p["high"]}
        told |= {"error": p["fit"] / measured - 1, "inside": (p["low"] <= measured) & (measured <= p["high"])}
        rows.append(some[names].assign(**told))
    return pd.concat(rows).sort_index()


def parted(table: pd.DataFrame, columns: Mapping[str, str], y: str, above: Above) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The runs within all cuts and those beyond any; see :func:`holdout` for ``above``."""
    *xs, _ = laws.values(table, *columns.values(), y)
    rows, first = laws.done(table), next(iter(columns))
    if isinstance(above, Mapping):
        known = {**{a: a for a in columns}, **{c: a for a, c in columns.items()}}
        for n in above:
            if n not in known:
                raise ValueError(f"above={above!r}: no {n!r} in the law, allowed are {', '.join(columns)}")
        cuts = {known[n]: float(v) for n, v in above.items()}
    elif above is None:
        levels = np.unique(xs[0])
        cuts = {first: float(levels[-2] if len(levels) > 1 else levels[0])}
    elif len(columns) > 1:
        raise ValueError(f"above={above!r}: say which x, as in {{'{first}': {above!r}}}")
    else:
        cuts = {first: float(above)}
    out = np.zeros(len(rows), dtype=bool)
    for (argument, column), values in zip(columns.items(), xs, strict=True):
        if argument in cuts:
            out |= values > cuts[argument]
            if not (values > cuts[argument]).any():
                raise ValueError(f"above={above!r}: no run has {column} beyond it, the largest is {values.max():g}")
    return rows[~out], rows[out]


def parameters(result: lmfit.model.ModelResult, level: float = 0.95, method: Method = "profile") -> pd.DataFrame:
    """The parameters as a table for a paper: name, value, stderr, low, high, unit, note, and R² as the last row."""
    f, frame = laws.fitted(result), intervals(result, method, level)
    frame.insert(2, "stderr", [stderr(p) for p in result.params.values()])
    units = f.entry.units if f.entry is not None else {}
    words = {"x": _unit_of_x(f.x_name), "y": _unit_of(f.y_name)}
    frame.insert(5, "unit", [words.get(u := units.get(n, ""), u) for n in frame["name"]])
    r2 = {"name": "R2", "value": laws.goodness(result)["R2"], "unit": "", "note": ""}
    return pd.concat([frame, pd.DataFrame([r2])], ignore_index=True)


def _unit_of_x(column: str) -> str:
    return "parameters" if column.startswith("params_") else "pairs" if column == "train_pairs" else column


def _unit_of(y: str) -> str:
    return "nats" if y.endswith(("entropy", "calibrated")) else ""


def summary(results: Mapping[str, lmfit.model.ModelResult], level: float = 0.95) -> pd.DataFrame:
    """Several fitted laws, a row each, in the columns of the papers' tables, with profile intervals.

    Columns: name, then for a size law or a data law coefficient, exponent and delta, for the others every parameter by
    its name, each with ``_low`` and ``_high``, and r2.
    """
    rows = []
    for name, result in results.items():
        row: dict[str, Any] = {"name": name}
        f = laws.fitted(result)
        if f.problem is None:
            raise ValueError(f"results[{name!r}]: not a fit of {', '.join(name_of(law) for law in laws.LAWS)}")
        frame = intervals(result, level=level)
        columns = ["coefficient", "exponent", "delta"] if isinstance(f.problem, Power) else list(frame["name"])
        for column, (value, low, high) in zip(columns, frame[["value", "low", "high"]].to_numpy(), strict=True):
            row |= {column: value, f"{column}_low": low, f"{column}_high": high}
        rows.append(row | {"r2": laws.goodness(result)["R2"]})
    frame = pd.DataFrame(rows)
    return frame[[c for c in frame if c != "r2"] + ["r2"]] if len(frame) else frame


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
