"""Reasons for caution about a fit, in plain sentences; which runs were trained for long enough. Never imports torch."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import lmfit
import numpy as np
import pandas as pd

from drscale.laws import fit as laws
from drscale.laws import levels
from drscale.laws.result import Fitted, fitted, lack_of_fit, name_of
from drscale.recipe import Recipe
from drscale.stats.columns import unit_doubt
from drscale.stats.tables import Array, TooFewLevels, no_better_than_a_guess, require

MISFIT = 0.01  # probability of a lack of fit, below which a law is rejected
FEW = 8  # levels below which the 95% interval of a bootstrap covers far less, .76 with five
CORRELATED = 0.995  # a coefficient lies outside the measured x, so .97 is normal and needs no warning


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
    """The parameters at a bound, with the bound; a coefficient at 0 (a law that does not fall) has its own message."""
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
    """What the positions of the runs cannot show: too few levels, too short a range, empty corners of the box."""
    said = []
    single = len(f.columns) == 1
    for argument, column in f.columns.items():
        levels = np.unique(f.points[argument])
        enough = f.parameters + 3 if single else 4
        if len(levels) < enough:
            word = "unknowns" if "parameter" in column.lower() else "parameters"  # not two meanings in one sentence
            many = f"{f.parameters} {word}" if single else "its part of the law"
            said.append(
                f"{column} has only {len(levels)} levels for {many}: take at least {enough}; "
                "so few cannot show whether their errors are equal and independent, and the intervals assume it"
            )
        if f.family is not None and levels[-1] < 10 * levels[0]:
            said.append(
                f"{column} spans a factor of {levels[-1] / levels[0]:.1f}: "
                "within less than a decade a power law looks like any other curve"
            )
    corners = empty_corners(f.points, list(f.columns.values())) if len(f.columns) == 2 else []
    if corners and f.entry is not None:
        said.append(
            f"no run is near the corner of {' or of '.join(corners)}: the law is a guess there although each is in "
            "range, and their interaction is poorly determined"
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


def of_units(f: Fitted) -> list[str]:
    """Say which columns count in thousands or millions by their names, or may do so: a plan prices single ones."""
    return [*f.units] + [said for column in f.columns.values() if (said := unit_doubt(column))]


def diagnose(result: lmfit.model.ModelResult) -> list[str]:
    """List in plain sentences why a fit needs caution; empty if there is no reason."""
    f, said = fitted(result), []
    gone = without(result, f)
    if gone == list(f.columns.values()):
        return [f"{f.y_name} does not fall with {' or '.join(gone)}: there is no power law to read off"]
    said += [f"{f.y_name} does not fall with {column} beside the rest: the fitted term is zero" for column in gone]
    for name, at in at_bounds(result, f):
        said.append(
            f"{name} is at its bound {at:g}: the runs only say that it lies on that side, "
            "and the standard errors of the others take it as known"
        )
    said += coverage(result, f)
    # Out of domain a model that has learnt may be so overconfident that its raw entropy lies above a guess's.
    guesses = no_better_than_a_guess(np.asarray(f.y)) if f.y_name == "in_domain_entropy" else ""
    said += [guesses] if guesses else []
    said += of_units(f)
    lack = lack_of_fit(result)
    if lack is not None and lack[1] < MISFIT:
        said.append(
            f"lack of fit: level means lie farther from the curve than seeds explain (F={lack[0]:.1f}, "
            f"p={lack[1]:.1g}); only intervals by level include this error; {_rivals(f)}"
        )
    return said + _identified(result, f)


def _rivals(f: Fitted) -> str:
    """Whether the other laws of the same columns fit if this one does not, in words."""
    frame, told = pd.DataFrame({**f.points, "y": f.y}), []
    for law in laws.rivals(f.law, len(f.points)):
        columns = dict(zip(laws.LAWS[law].columns, f.points, strict=True))
        try:
            result = laws.fit_law(frame, law, columns, "y", space=f.space, robust=f.robust, warn=False)
        except TooFewLevels:
            told.append(f"its rival {name_of(law)} needs more levels to be tried")
            continue
        lack = lack_of_fit(result)
        fits = lack is not None and lack[1] >= MISFIT
        told.append(f"its rival {name_of(law)} {f'fits (p={lack[1]:.2g})' if lack and fits else 'does not fit either'}")
    return "; ".join(told) or "a law of another form may fit"


def _identified(result: lmfit.model.ModelResult, f: Fitted) -> list[str]:
    if result.covar is None:
        return ["standard errors cannot be estimated: some combination of parameters leaves the curve unchanged"]
    if f.entry is None or f.family is None:
        return []
    said, means = [], levels.by_level(result)
    judged, names = means.result, list(result.params)
    own = fitted(judged)
    allowed = own.unit * means.times(0.95) ** 2
    pairs = [(c, e) for c, e in f.entry.coefficients if result.params[c].value > 0 and judged.params[c].value > 0]
    places = [names.index(e) for _, e in pairs]
    found = own.problem.intervals(allowed, places) if places else []
    factors: Sequence[float] = list(means.widened(np.eye(len(names))[places], 0.95)) if pairs else []
    ends = {}
    for (_, e), (low, high), factor in zip(pairs, found, factors, strict=True):
        middle, (least, most) = judged.params[e].value, f.limits[e]
        ends[e] = tuple(np.clip(middle * (np.array([low, high]) / middle) ** factor, least, most))
    for _, exponent in pairs:
        low, high = ends[exponent]
        if high > 5 * low:
            said.append(f"{exponent} is hardly determined: its 95% interval reaches from {low:.2g} to {high:.2g}")
    for (coefficient, _), (_, exponent) in itertools.product(pairs, pairs):
        correlation = (result.params[coefficient].correl or {}).get(exponent, 0.0)
        if abs(correlation) >= CORRELATED:
            said.append(
                f"{coefficient} and {exponent} are correlated by {correlation:.3f}: compare curves with other studies, "
                "not these two numbers one by one"
            )
    return said


def durations(table: pd.DataFrame, curves: pd.DataFrame, gain: float = 0.02, value: str = "validation") -> pd.DataFrame:
    """Compare runs of one recipe at several lengths: from which length on did longer training no longer pay?

    ``table`` is ``RunStore.table()``, ``curves`` is ``RunStore.curves()``. Every run that is done gets ``best``, its
    lowest measured ``value``; ``gained``, the share by which that is below the best of the next shorter run (missing
    for the shortest); ``chosen``, true for the one run of each recipe after which the next longer run gains less than
    ``gain``, or does not exist; and ``settled``, true for the chosen run if a longer one was tried (if not, the gain of
    longer training is unknown).
    """
    if not 0 <= gain < 1:
        raise ValueError(f"gain={gain!r}: a share of the entropy, at least 0 and below 1")
    require(table, "key", "steps")
    require(curves, "key", value, what="curves")
    rows = laws.done(table).copy()
    rows["best"] = rows["key"].map(curves.groupby("key")[value].min())
    if rows["best"].isna().any():
        missing = rows.loc[rows["best"].isna(), "key"].iloc[0]
        raise ValueError(f"curves: run {missing!r} was never looked at for {value!r}")
    same = rows["key"].map(lambda key: str(Recipe.parse(key).but(steps=Recipe().steps)))
    rows = rows.assign(_same=same).sort_values(["_same", "steps"])
    groups = rows.groupby("_same", sort=False)
    rows["gained"] = 1 - rows["best"] / groups["best"].shift()
    pays = rows["gained"] >= gain  # the shortest run of a recipe has no shorter one to compare with
    walked = (pays | rows["gained"].isna()).groupby(rows["_same"]).cummin()
    last = walked & ~walked.groupby(rows["_same"]).shift(-1, fill_value=False)
    at_the_end = rows["steps"] == groups["steps"].transform("max")
    rows["chosen"] = last
    rows["settled"] = last & ~at_the_end
    return rows.drop(columns="_same").reset_index(drop=True)


def converged_runs(
    table: pd.DataFrame, curves: pd.DataFrame, gain: float = 0.02, value: str = "validation"
) -> pd.DataFrame:
    """The chosen run of each recipe (:func:`durations`): each was trained for as long as this paid.

    The column ``steps`` is left out, because the length is no longer a setting: one rule finds it for all runs, and
    ``steps_done`` holds it.

    >>> import drscale as ds
    >>> store = ds.RunStore("runs")
    >>> for steps, entropy in ((100, 3.0), (200, 2.5), (400, 2.49)):
    ...     look = {"step": steps, "validation": entropy}
    ...     _ = store.save(ds.Run(ds.Recipe(steps=steps), "done", cost={"steps_done": steps}, curve=[look]))
    >>> ds.converged_runs(store.table(), store.curves())["steps_done"].tolist()
    [200]
    """
    rows = durations(table, curves, gain, value)
    return rows[rows["chosen"]].drop(columns=["steps", "gained", "chosen"]).reset_index(drop=True)


def selected_in_warmup(table: pd.DataFrame) -> pd.DataFrame:
    """The runs whose measured weights are from before the end of their warm-up, when the rate had not reached its peak.

    Such a run was never trained at its recipe's rate, and so it is not a measurement of its amount of data or its size.
    """
    rows = require(laws.done(table), "best_step", "warmup")
    return rows[rows["best_step"] < rows["warmup"]]
