"""Intervals of a fitted law, its predictions, hold-outs and bootstraps. Never imports torch."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from numbers import Integral
from typing import Any, Literal, get_args

import lmfit
import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from drscale.laws import diagnostics as doubts
from drscale.laws import fit as laws
from drscale.laws import levels
from drscale.laws._families import POWER
from drscale.laws.curve import Curve
from drscale.laws.fit import Columns
from drscale.laws.result import Fitted, LawWarning, fitted, name_of, outside
from drscale.stats import bootstrap as resample
from drscale.stats.columns import in_single_units, unit_of
from drscale.stats.tables import Array, TooFewLevels, check_level, require

Unit = Literal["run", "level"]
FEWEST = 10


def bootstrap_runs(
    result: lmfit.model.ModelResult, n_boot: int = 4000, unit: Unit = "level", seed: int = 0
) -> pd.DataFrame:
    """Refit to runs drawn with replacement; one row for each draw, one column for each parameter.

    ``unit="level"`` draws whole levels of x (for a law of two arguments: its distinct points). Use it when runs at one
    x share an error. Draws with too few levels to fit are drawn again. If the curve of a draw does not fall with x, its
    coefficient is 0 and its exponent means nothing. With few runs such intervals are somewhat too narrow; for a
    parameter at its bound they are far too narrow.
    """
    f = fitted(result)
    _check_seed(seed)
    return _drawn(result, f, _counts(f, n_boot, unit, np.random.default_rng(seed)), None, unit)


def bootstrap_queries(
    result: lmfit.model.ModelResult,
    rows: pd.DataFrame,
    n_boot: int = 4000,
    *,
    resample_runs: bool = False,
    unit: Unit = "level",
    seed: int = 0,
) -> pd.DataFrame:
    """Refit to the values that other queries would have given; one row for each draw, one column for each parameter.

    ``rows`` is ``RunStore.queries()``. Queries are drawn with replacement within their domain, the same for all
    runs. This does not include the differences between runs that come from their seeds; ``resample_runs=True`` also
    draws the runs with replacement, by ``unit``.
    """
    f = fitted(result)
    if f.keys is None:
        raise ValueError("queries: the fitted table has no column 'key', so they cannot be matched to its runs")
    _check_draws(n_boot)
    y = resample.resampled(pd.DataFrame({"key": f.keys}), [f.y_name], rows, n_boot=n_boot, seed=seed)[..., 0]
    wrong = np.abs(y.mean(axis=0) - f.y) > 8 * y.std(axis=0) / np.sqrt(n_boot) + 1e-3 * f.y
    if wrong.any():
        i = int(np.argmax(wrong))
        raise ValueError(
            f"queries: they give {f.y_name}={y[:, i].mean():.4g} but the table has {f.y[i]:.4g}, run {f.keys[i]!r}"
        )
    counts = np.ones_like(y) if not resample_runs else _counts(f, n_boot, unit, np.random.default_rng([seed, 1]))
    return _drawn(result, f, counts, y, unit if resample_runs else "query")


def law_curve(
    result: lmfit.model.ModelResult,
    draws: int | pd.DataFrame = 0,
    *,
    unit: Unit = "level",
    seed: int = 0,
    name: str = "",
) -> Curve:
    """The fitted law with its numbers and the box it was fitted in, in the form that planners and figures use.

    ``draws`` is the number of bootstrap draws to add, or a table of draws already made, for example by
    :func:`bootstrap_queries`. If intervals from these draws are known to be too narrow, the curve's ``doubts`` say so,
    and also where a column counts in thousands by its name.
    """
    f = fitted(result)
    box = {argument: (float(v.min()), float(v.max())) for argument, v in f.points.items()}
    sample = draws if isinstance(draws, pd.DataFrame) else bootstrap_runs(result, draws, unit, seed) if draws else None
    values = {n: float(v) for n, v in result.best_values.items()}
    said = doubts.of_units(f)
    said += [] if sample is None else doubts.of_draws(result, sample, sample.attrs.get("unit", unit))
    return Curve(f.law, values, box, sample, name or f.y_name, f"fitted to {len(f.y)} runs", tuple(said))


def _drawn(result: lmfit.model.ModelResult, f: Fitted, counts: Array, y: Array | None, unit: str) -> pd.DataFrame:
    frame = pd.DataFrame(f.problem.refit(counts, y), columns=list(result.params))
    frame.attrs["unit"] = unit
    return frame


def check_unit(unit: str) -> None:
    """Raise a ValueError unless ``unit`` is one of the allowed units."""
    if unit not in get_args(Unit):
        raise ValueError(f"unit={unit!r}: allowed are 'run', 'level'")


def _check_seed(seed: object) -> None:
    if not isinstance(seed, Integral) or seed < 0:
        raise ValueError(f"seed={seed!r}: a whole number, 0 or more, is needed")


def _check_draws(n_boot: int) -> None:
    if not isinstance(n_boot, Integral):
        raise ValueError(f"n_boot={n_boot!r}: a whole number of draws is needed")
    if n_boot < FEWEST:
        raise ValueError(f"n_boot={n_boot}: at least {FEWEST}")


def _counts(f: Fitted, n_boot: int, unit: str, rng: np.random.Generator) -> Array:
    """How often each run is drawn, one row for each draw; only draws to which the law can be fitted."""
    check_unit(unit)
    _check_draws(n_boot)
    place = f.levels
    # A draw needs enough distinct points and, for a law of two arguments, enough distinct values of each argument.
    needs = [(place, f.parameters + 1)]
    if len(f.points) > 1:
        needs += [(np.unique(v, return_inverse=True)[1], 3) for v in f.points.values()]
    marks = []
    for at, least in needs:
        found = np.arange(at.max() + 1)
        marks.append(((at[:, None] == found).astype(float), min(least, len(found))))
    n = int(place.max()) + 1 if unit == "level" else len(place)
    kept: list[Array] = []
    while sum(map(len, kept)) < n_boot:
        drawn = rng.integers(n, size=(n_boot, n)) + n * np.arange(n_boot)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=n * n_boot).reshape(n_boot, n).astype(float)
        counts = counts[:, place] if unit == "level" else counts
        enough = [((counts @ mark) > 0).sum(axis=1) >= least for mark, least in marks]
        kept.append(counts[np.logical_and.reduce(enough)])
    return np.concatenate(kept)[:n_boot]


__all__ = [
    "bootstrap_queries",
    "bootstrap_runs",
    "hold_out",
    "interval_basis",
    "law_curve",
    "law_intervals",
    "law_table",
    "local_exponents",
    "parameter_table",
    "plateau",
    "predict_law",
    "reach",
    "stderr",
]
Method = Literal["profile", "bootstrap", "stderr"]
Above = float | Mapping[str, float] | None


def law_intervals(
    result: lmfit.model.ModelResult,
    method: Method = "profile",
    level: float = 0.95,
    *,
    n_boot: int = 1000,
    unit: Unit = "level",
    seed: int = 0,
) -> pd.DataFrame:
    """An interval for each parameter: name, value, low, high, note.

    "profile" ends where the refitted sum of squares has risen too far (F test), "stderr" is the symmetric interval, and
    "bootstrap" takes the middle of the draws of :func:`bootstrap_runs`. ``unit="level"`` fits the means of the runs at
    each x, so that it includes an error which they share, and widens the interval where levels scatter unequally or
    miss the curve together (:mod:`drscale.laws.levels`); "run" treats all runs as independent. If an interval ends at a
    parameter's bound, ``note`` says so.
    """
    f, names = laws.fitted(result), list(result.params)
    check_level(level)
    check_unit(unit)
    if method not in get_args(Method):
        raise ValueError(f"method={method!r}: allowed are 'profile', 'bootstrap', 'stderr'")
    if method == "bootstrap":
        sample = bootstrap_runs(result, n_boot, unit, seed).to_numpy()
        low, high = np.quantile(sample, [0.5 - level / 2, 0.5 + level / 2], axis=0)
        pairs = list(zip(low.tolist(), high.tolist(), strict=True))
    else:
        pairs = _ends(result, method, level) if unit == "run" else _wide_ends(result, method, level)
    rows = [
        (n, result.params[n].value, low, high, _bound_note(f, n, low, high))
        for n, (low, high) in zip(names, pairs, strict=True)
    ]
    return pd.DataFrame(rows, columns=["name", "value", "low", "high", "note"])


def _ends(result: lmfit.model.ModelResult, method: Method, level: float) -> list[tuple[float, float]]:
    """The interval of each parameter, with the fitted values treated as independent."""
    f, values = laws.fitted(result), list(result.params.values())
    t = float(stats.t.ppf(0.5 + level / 2, f.free))
    if method == "stderr":
        return [(p.value - t * stderr(p), p.value + t * stderr(p)) for p in values]
    ends = f.problem.intervals(f.unit * t**2)
    # Without scatter the interval is a point, known to rounding only.
    return [(min(low, p.value), max(high, p.value)) for (low, high), p in zip(ends, values, strict=True)]


def _wide_ends(result: lmfit.model.ModelResult, method: Method, level: float) -> list[tuple[float, float]]:
    """The interval of each parameter from the level means, widened as their errors require."""
    f, means = laws.fitted(result), levels.by_level(result)
    factors = means.widened(np.eye(len(f.limits)), level)
    found = []
    for (low, high), factor, (name, p) in zip(
        _ends(means.result, method, level), factors, means.result.params.items(), strict=True
    ):
        middle, own = float(p.value), float(result.params[name].value)
        if method == "profile" and levels.logarithmic(f, name) and middle > 0:
            with np.errstate(over="ignore", divide="ignore"):
                low, high = (float(middle * np.exp(factor * (np.log(end) - np.log(middle)))) for end in (low, high))
        else:
            low, high = (middle + factor * (end - middle) for end in (low, high))
        if method == "profile":
            least, most = f.limits[name]
            low, high = min(max(low, least), own), max(min(high, most), own)
        found.append((low, high))
    return found


def interval_basis(result: lmfit.model.ModelResult) -> str:
    """A sentence on the basis of intervals by level: levels, runs, degrees of freedom, what so few cannot show."""
    return str(levels.by_level(result))


def stderr(p: lmfit.Parameter) -> float:
    """The standard error of a parameter; NaN for one held at its bound or not estimable."""
    return float(p.stderr) if p.vary and p.stderr is not None else np.nan


def _bound_note(f: Fitted, name: str, low: float, high: float) -> str:
    if name in f.fixed:
        return "held still"
    least, most = f.limits[name]
    ends = [f"{b:g}" for end, b in ((low, least), (high, most)) if np.isclose(end, b, rtol=1e-4, atol=0.0)]
    return f"ends at the bound {' and '.join(ends)}" if ends else ""


def predict_law(
    result: lmfit.model.ModelResult,
    x: npt.ArrayLike | Mapping[str, npt.ArrayLike] | pd.DataFrame,
    level: float = 0.95,
    *,
    n_runs: npt.ArrayLike = 1,
    warn: bool = True,
    method: Literal["profile", "stderr"] = "profile",
    unit: Unit = "level",
) -> pd.DataFrame:
    """The fitted curve at each x: fit, band_low and band_high for the curve, low and high for a measured value.

    For a law of two arguments ``x`` is a mapping or a frame, by the law's names (N, D) or by the fitted columns. A
    measured value is the mean of ``n_runs`` new runs (one number, or a number for each point). ``extrapolated`` marks
    points outside the fitted range (for a law of two arguments: of either range), and ``outside`` names the columns; at
    these points the intervals are right only if the law itself still holds. ``method="stderr"`` computes the band from
    the standard errors: it is symmetric, and fast. ``unit`` is as for :func:`law_intervals`; with "level" a measured
    value also has the error that the runs of its level share.
    """
    f = laws.fitted(result)
    at = _points(f, x)
    check_level(level)
    check_unit(unit)
    many = _floats("n_runs", n_runs)
    if many.shape not in ((), (1,), next(iter(at.values())).shape):
        raise ValueError(f"n_runs={n_runs!r}: one number, or one for each point")
    many = np.broadcast_to(many, next(iter(at.values())).shape)
    if not (many >= 1).all():
        raise ValueError(f"n_runs={n_runs!r}: at least 1")
    height = np.asarray(result.eval(**at), dtype=float)
    if unit == "run":
        low, high = _band(result, at, level, method)
        noise = float(stats.t.ppf(0.5 + level / 2, f.free)) * f.sigma / np.sqrt(many)
    else:
        means = levels.by_level(result)
        middle = np.asarray(means.result.eval(**at), dtype=float)
        factor = means.widened(levels.slopes_of(means.result, at), level)
        low, high = (middle + factor * (end - middle) for end in _band(means.result, at, level, method))
        low = np.maximum(low, f.limits["delta"][0]) if f.family is not None else low
        noise = means.times(level) * means.noise(at, many, level)
    low, high = np.minimum(low, height), np.maximum(high, height)
    noise = noise * (1.0 if f.space == "linear" else height)
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


def _band(result: lmfit.model.ModelResult, at: dict[str, Array], level: float, method: str) -> tuple[Array, Array]:
    """The interval of the curve's height at each point, with the fitted values treated as independent."""
    f = laws.fitted(result)
    allowed = f.unit * float(stats.t.ppf(0.5 + level / 2, f.free)) ** 2
    ends = f.problem.heights(list(at.values()), allowed) if method == "profile" else None
    if ends is not None:
        return ends
    height = np.asarray(result.eval(**at), dtype=float)
    half = np.asarray(result.eval_uncertainty(sigma=level, **at), dtype=float)
    return height - half, height + half


def _points(f: Fitted, x: Any) -> dict[str, Array]:
    """The requested points, an array for each argument of the law, all of one length."""
    names = list(f.columns)
    if isinstance(x, Mapping | pd.DataFrame):
        by = names if all(n in x for n in names) else list(f.columns.values())
        if isinstance(x, pd.DataFrame) and f.units and not all(n in x for n in by):  # the table that was fitted
            theirs = {unit_of(str(c))[0]: str(c) for c in x}
            x, _, _ = in_single_units(x, {n: theirs.get(n, n) for n in by})
        missing = [n for n in by if n not in x]
        if missing:
            raise ValueError(f"x: no {missing[0]!r} in it; needed are {', '.join(names)} or {', '.join(by)}")
        given = [np.atleast_1d(_floats("x", x[n])) for n in by]
    elif len(names) > 1:
        raise ValueError(f"x={x!r}: {name_of(f.law)} needs a mapping or a frame with {', '.join(names)}")
    else:
        given = [np.atleast_1d(_floats("x", x))]
    for values in given:
        if values.ndim != 1 or not len(values) or not (np.isfinite(values) & (values > 0)).all():
            raise ValueError(f"x={x!r}: a list of finite numbers above zero is needed")
    lengths = {len(v) for v in given} - {1}
    if len(lengths) > 1:
        raise ValueError(f"x: {', '.join(names)} have different lengths, {', '.join(str(len(v)) for v in given)}")
    return dict(zip(names, (np.array(v) for v in np.broadcast_arrays(*given)), strict=True))


def _floats(name: str, value: Any) -> Array:
    try:
        return np.asarray(value, dtype=float)
    except (TypeError, ValueError):
        raise ValueError(f"{name}={value!r}: numbers are needed") from None


def _beyond(f: Fitted, at: dict[str, Array], beyond: dict[str, Array], extrapolated: Array) -> str:
    many = len(extrapolated)
    some = f"{extrapolated.sum()} of {many} points"
    if many == 1:
        some = ", ".join(f"{f.columns[a]}={at[a][0]:g}" for a in at)
    ranges = [f"{f.columns[a]}, {f.points[a].min():g} to {f.points[a].max():g}" for a in at if beyond[a].any()]
    verb = "lies" if many == 1 and len(at) > 1 else "lie"
    return f"{some} {verb} outside the fitted range of {' or of '.join(ranges)}: extrapolated"


def hold_out(
    table: pd.DataFrame,
    law: Callable[..., Any],
    x: Columns | None = None,
    y: str = "in_domain_entropy",
    *,
    above: Above = None,
    level: float = 0.95,
    unit: Unit = "level",
    **options: Any,
) -> pd.DataFrame:
    """Fit to the runs at x <= ``above`` and compare the curve with the values measured beyond; one row for each x.

    ``above=None`` holds out the largest level of the first x. For a law of two arguments ``above`` gives each cut by
    name, as in ``{"D": 8448}``; a run beyond any cut is held out. ``error`` is (predicted - measured) / measured,
    ``inside`` says whether the mean of the measured runs lies in its prediction interval, with ``unit`` as in
    :func:`predict_law`. ``naive`` is a prediction that needs no law: it repeats the mean of the nearest fitted level,
    and ``naive_error`` is its error. ``options`` go to :func:`fit_law`, for example ``start`` for a law of your own.
    """
    columns = laws.columns_of(law, x)
    within, rest = parted(table, columns, y, above)
    names = list(columns.values())
    try:
        result = laws.fit_law(within, law, columns, y, single=False, **options)
    except TooFewLevels as e:
        raise TooFewLevels(f"without what is held out, {e}") from e
    found = rest.groupby(names)[y].agg(runs="size", measured="mean").reset_index()
    p, measured = predict_law(result, found, level, n_runs=found["runs"], warn=False, unit=unit), found["measured"]
    naive = _nearest(within, found, names, y)
    told = {"runs": found["runs"], "measured": measured, "predicted": p["fit"], "low": p["low"], "high": p["high"]}
    told |= {"error": p["fit"] / measured - 1, "inside": (p["low"] <= measured) & (measured <= p["high"])}
    return found[names].assign(**told, naive=naive, naive_error=naive / measured - 1)


def _nearest(within: pd.DataFrame, points: pd.DataFrame, names: list[str], y: str) -> Array:
    """The mean of the fitted level nearest to each point; distances are in log x, in units of its range."""
    known = within.groupby(names)[y].mean().reset_index()
    both = np.log(pd.concat([known[names], points[names]]).to_numpy(dtype=float))
    both = both / np.maximum(np.ptp(both, axis=0), 1e-12)
    old, new = both[: len(known)], both[len(known) :]
    return known[y].to_numpy(dtype=float)[((new[:, None] - old) ** 2).sum(-1).argmin(1)]


def reach(
    table: pd.DataFrame,
    law: Callable[..., Any],
    x: str | None = None,
    y: str = "in_domain_entropy",
    *,
    shares: Iterable[float] = (1.0, 0.1),
    level: float = 0.95,
    **options: Any,
) -> pd.DataFrame:
    """Predict the largest x from all smaller ones, and from those up to a tenth of it; one row for each cut.

    Holding out the largest level alone tests little if the level before it is close. The law must have one argument.
    ``shares`` gives the cuts as shares of the largest x; 1 holds out the largest level alone. If a cut leaves too few
    levels, the smallest cut that leaves enough is used instead. Columns: cut (the largest x fitted), beyond (how many
    times farther the largest is), and those of :func:`hold_out`.
    """
    column = laws.default_x(law) if x is None else x
    sizes = np.unique(laws.numbers(table, column, y)[0])
    rows = []
    for share in shares:
        if not 0 < share <= 1:
            raise ValueError(f"shares={share!r}: a share of the largest {column}, above 0 and at most 1")
        cuts = (
            sizes[:-1]
            if (start := np.searchsorted(sizes[:-1], share * sizes[-1], side="right")) == 0
            else sizes[start - 1 : -1]
        )
        for cut in cuts:
            try:
                last = hold_out(table, law, column, y, above=float(cut), level=level, warn=False, **options).tail(1)
            except TooFewLevels:
                if cut == cuts[-1]:
                    raise
                continue
            rows.append(last.assign(cut=cut, beyond=sizes[-1] / cut))
            break
    frame = pd.concat(rows, ignore_index=True).drop_duplicates("cut", ignore_index=True)
    return frame[["cut", "beyond", *(c for c in frame if c not in ("cut", "beyond"))]]


def local_exponents(table: pd.DataFrame, x: str, y: str, level: float = 0.95) -> pd.DataFrame:
    """The exponent between neighbouring levels of x: -d log y / d log x of their means, one row for each step.

    A power law without a floor has the same exponent everywhere; with a floor the exponent falls as x grows. Exponents
    that rise and then fall fit neither law. Columns: from, to, exponent, low, high. The interval comes from the scatter
    of the seeds, pooled over levels; it is missing if no level has two runs.
    """
    check_level(level)
    values, heights = laws.numbers(table, x, y)
    logs = pd.Series(np.log(heights)).groupby(values)
    means, counts = logs.mean(), logs.size()
    if len(means) < 2:
        raise ValueError(f"column {x!r} has {len(means)} different value: at least 2 are needed")
    free = int((counts - 1).sum())
    variance = float(((logs.size() - 1) * logs.var().fillna(0.0)).sum()) / free if free else np.nan
    width = np.diff(np.log(means.index.to_numpy(dtype=float)))
    slope = -np.diff(means.to_numpy()) / width
    noise = np.sqrt(variance * (1 / counts.to_numpy()[1:] + 1 / counts.to_numpy()[:-1])) / width
    half = float(stats.t.ppf(0.5 + level / 2, free)) * noise if free else np.full(len(slope), np.nan)
    ends = means.index.to_numpy()
    told = {"from": ends[:-1], "to": ends[1:], "exponent": slope, "low": slope - half, "high": slope + half}
    return pd.DataFrame(told)


def parted(table: pd.DataFrame, columns: Mapping[str, str], y: str, above: Above) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The runs within all cuts and those beyond any; see :func:`hold_out` for ``above``."""
    *xs, _ = laws.values(table, *columns.values(), y)
    rows, first = laws.done(table), next(iter(columns))
    if isinstance(above, Mapping):
        known = {**{a: a for a in columns}, **{c: a for a, c in columns.items()}}
        for n in above:
            if n not in known:
                raise ValueError(f"above={above!r}: no {n!r} in the law, allowed are {', '.join(columns)}")
        cuts = {known[n]: float(_floats("above", v)) for n, v in above.items()}
    elif above is None:
        levels = np.unique(xs[0])
        cuts = {first: float(levels[-2] if len(levels) > 1 else levels[0])}
    elif len(columns) > 1:
        raise ValueError(f"above={above!r}: say which x, as in {{'{first}': {above!r}}}")
    else:
        cuts = {first: float(_floats("above", above))}
    out = np.zeros(len(rows), dtype=bool)
    for (argument, column), values in zip(columns.items(), xs, strict=True):
        if argument in cuts:
            out |= values > cuts[argument]
            if not (values > cuts[argument]).any():
                raise ValueError(f"above={above!r}: no run has {column} beyond it, the largest is {values.max():g}")
    if out.all():
        raise ValueError(f"above={above!r}: every run lies beyond it, so none is left to fit")
    return rows[~out], rows[out]


def parameter_table(
    result: lmfit.model.ModelResult, level: float = 0.95, method: Method = "profile", *, unit: Unit = "level"
) -> pd.DataFrame:
    """The parameters as a table for a paper: name, value, stderr, low, high, unit, note, and R² as the last row.

    ``unit`` is as for :func:`law_intervals`, which computes the intervals; ``stderr`` treats runs as independent.
    """
    f, frame = laws.fitted(result), law_intervals(result, method, level, unit=unit)
    frame.insert(2, "stderr", [stderr(p) for p in result.params.values()])
    frame.insert(5, "unit", [_unit_of_parameter(f, n) for n in frame["name"]])
    r2 = {"name": "R2", "value": laws.goodness(result)["R2"], "unit": "", "note": ""}
    table = pd.concat([frame, pd.DataFrame([r2])], ignore_index=True)
    good = laws.goodness(result)
    table.attrs["level"] = level
    table.attrs["about"] = f"{_about(f)}; {good['runs']:.0f} runs at {good['levels']:.0f} levels"
    return table


def _about(f: Fitted) -> str:
    """What a fit is of, for the lines below a table."""
    return ", ".join([f"{name_of(f.law)} of {f.y_name}", *(f"{a} is {column}" for a, column in f.columns.items())])


def _unit_of_parameter(f: Fitted, name: str) -> str:
    """The unit in words, from the parameter's own column, so that a B in tokens is not called a number of pairs."""
    unit = f.entry.units.get(name, "") if f.entry is not None else ""
    if f.entry is None or not unit:
        return ""
    if unit == "y":
        return "nats" if f.y_name.endswith(("entropy", "calibrated")) else ""
    columns = list(f.columns.values())
    if f.family is None:
        column = f.columns.get(unit, columns[0] if unit == "x" else unit)
    else:
        column = columns[dict(zip([n for n in f.entry.units if n != "delta"], f.family.unit, strict=True))[name] or 0]
    return "parameters" if column.startswith("params_") else "pairs" if column == "train_pairs" else column


def law_table(
    results: Mapping[str, lmfit.model.ModelResult], level: float = 0.95, *, unit: Unit = "level"
) -> pd.DataFrame:
    """Several fitted laws, one row each, in the columns of the papers' tables, with profile intervals by ``unit``.

    Columns: name; coefficient, exponent and delta for a size law or a data law, every parameter by its name for other
    laws, each with ``_low`` and ``_high``; and r2.
    """
    rows = []
    for name, result in results.items():
        row: dict[str, Any] = {"name": name}
        f = laws.fitted(result)
        frame = law_intervals(result, level=level, unit=unit)
        columns = ["coefficient", "exponent", "delta"] if f.family is POWER else list(frame["name"])
        for column, (value, low, high) in zip(columns, frame[["value", "low", "high"]].to_numpy(), strict=True):
            row |= {column: value, f"{column}_low": low, f"{column}_high": high}
        rows.append(row | {"r2": laws.goodness(result)["R2"]})
    frame = pd.DataFrame(rows)
    frame.attrs["level"] = level
    if len(about := {_about(laws.fitted(result)) for result in results.values()}) == 1:
        frame.attrs["about"] = about.pop()
    return frame[[c for c in frame if c != "r2"] + ["r2"]] if len(frame) else frame


def plateau(curves: pd.DataFrame, value: str = "validation", share: float = 0.25) -> pd.DataFrame:
    """Whether runs had stopped improving: how much changed in the last ``share`` of the steps, one row for each run.

    ``curves`` is ``RunStore.curves()``. ``change`` is (last - before) / before, where ``before`` is the last measured
    value at or before 1 - share of the steps. Near zero means a plateau; above zero means that the run was getting
    worse. ``best_step`` is the step of the lowest value.
    """
    if not 0 < share < 1:
        raise ValueError(f"share={share}: must lie between 0 and 1")
    require(curves, "key", "step", value, what="curves")
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
