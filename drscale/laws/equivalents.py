"""What a way of training is worth, expressed in parameters or pairs of standard training. Never imports torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import lmfit
import numpy as np
import pandas as pd
from scipy import stats
from scipy.interpolate import PchipInterpolator
from scipy.optimize import brentq, minimize_scalar

from drscale.laws import fit as laws
from drscale.laws import intervals as trust
from drscale.laws._families import Family
from drscale.laws._power import least_squares
from drscale.laws.result import Fitted, Law, fitted, name_of
from drscale.stats.tables import Array, TooFewLevels, check_level, done, require, values

BY = ("strategy", "share")  # the columns that distinguish ways of training
REACH = 100.0  # the search goes this far beyond the fitted range; an interval that goes further is open
STEP = 0.4  # e-folds between the points at which the law's interval is evaluated; smooth in between


def equivalent(
    table: pd.DataFrame,
    fit: lmfit.model.ModelResult,
    along: str | None = None,
    *,
    by: str | Sequence[str] = BY,
    level: float = 0.95,
) -> pd.DataFrame:
    """Find the standard run with the same result as each training; one row for each training, cell and argument.

    ``fit`` is a law of the standard runs (``fit_law``): a size law gives equivalent sizes, a data law equivalent
    pairs, a law of both gives both, each at the row's own value of the other argument. ``along`` keeps one argument of
    the law, such as "N". Runs of ``table`` that agree in ``by`` and in the law's columns are seeds of one cell, and the
    law is solved for their mean: ``equivalent`` is the x at which the law has that value, ``times`` its ratio to the
    cell's own x. The interval contains every x at which a standard run, or the mean of as many runs as the cell has,
    could have given that value (``predict_law``). So it includes the scatter of the runs and of the law, but not that
    of other queries. An end beyond 100 times the fitted range is 0 or infinite. ``extrapolated`` marks equivalents
    outside the fitted range.
    """
    check_level(level)
    f, by = fitted(fit), [by] if isinstance(by, str) else list(by)
    if along is not None and along not in f.columns:
        raise ValueError(f"along={along!r}: allowed are {', '.join(f.columns)}, or None for all of them")
    cells = _cells(table, f.columns, f.y_name, by)
    found: list[dict[str, Any]] = []
    for argument in f.columns if along is None else [along]:
        column = f.columns[argument]
        others = {a: c for a, c in f.columns.items() if a != argument}
        for _, some in cells.groupby([*others.values(), "runs"]):
            held = {a: float(some[c].iloc[0]) for a, c in others.items()}
            x, low, high = _look(fit, f, argument, held, int(some["runs"].iloc[0]), level)
            for _, row in some.iterrows():
                own, y = float(row[column]), float(row[f.y_name])
                at = _where(fit, held, argument, y, x)
                # The law falls, so the lowest x that could measure y is where its lower end first comes down to y.
                ends = _first(x, low - y, 0.0), _last(x, high - y, np.inf)
                told = {"along": argument, "y": f.y_name, "own": own, "equivalent": at, "low": ends[0], "high": ends[1]}
                told |= {"times": at / own, "times_low": ends[0] / own, "times_high": ends[1] / own}
                fits = f.points[argument].min() <= at <= f.points[argument].max()
                found.append(dict(row) | told | {"extrapolated": not fits})
    rows = pd.DataFrame(found).rename(columns={f.y_name: "value"})
    return rows.sort_values([*by, "along", *f.columns.values()]).reset_index(drop=True)


def worth(
    table: pd.DataFrame,
    law: Callable[..., Any],
    x: laws.Columns | None = None,
    y: str = "in_domain_entropy",
    *,
    along: str | None = None,
    base: str = "strategy == 'standard'",
    by: str | Sequence[str] = BY,
    level: float = 0.95,
) -> pd.DataFrame:
    """Find the factor that a way of training is worth over all its cells; one row for each training and argument.

    Every training's runs and those of ``base`` (a query of the table) are fitted together by one law in which its x is
    multiplied by ``times``: 2 along "N" means that it does as well as a standard model twice as large, 2 along "D" as
    well as standard training on twice as many pairs. ``x`` names columns as for ``fit_law``, and ``times`` counts what
    these columns count. The means of seeds are fitted, cell by cell, so that an error which the runs of a cell share is
    not counted twice; the interval ends where the refitted sum of squares has risen too far (F test). ``cells`` counts
    the training's own cells. ``better`` is true or false if the interval lies on one side of 1, and missing otherwise.
    """
    check_level(level)
    by = [by] if isinstance(by, str) else list(by)
    entry = laws.LAWS.get(law)
    if not isinstance(entry, Law) or entry.family is None or not all(entry.columns.values()):
        raise ValueError(f"law={name_of(law)}: allowed are size_law, data_law, joint_law, additive_law")
    columns = laws.columns_of(law, x)
    if along is not None and along not in columns:
        raise ValueError(f"along={along!r}: allowed are {', '.join(columns)}, or None for all of them")
    cells = _cells(table, columns, y, by)
    if (plain := done(table).query(base)).empty:
        raise ValueError(f"base={base!r}: no run of the table is one")
    of_base = _cells(plain, columns, y, by)
    marked = cells.merge(of_base[by].drop_duplicates(), on=by, how="left", indicator=True)
    rest, found = marked[marked["_merge"] == "left_only"].drop(columns="_merge"), []
    if rest.empty:
        raise ValueError(f"base={base!r}: every run of the table is one, so there is nothing to compare")
    for key, own in rest.groupby(by, sort=False):
        for argument in columns if along is None else [along]:
            both = pd.concat([of_base, own], ignore_index=True)
            k, low, high = _factor(both, len(of_base), entry, entry.family, columns, argument, y, level)
            side = bool(low > 1) if low > 1 or high < 1 else None
            told = {"along": argument, "y": y, "cells": len(own), "times": k, "low": low, "high": high, "better": side}
            found.append(dict(zip(by, key, strict=True)) | told)
    return pd.DataFrame(found).astype({"better": object})


def _factor(
    both: pd.DataFrame,
    first: int,
    entry: Law,
    family: Family,
    columns: Mapping[str, str],
    argument: str,
    y: str,
    level: float,
) -> tuple[float, float, float]:
    """The factor on one argument of the rows from ``first`` on with which one law fits all rows, with its interval."""
    later, i = np.arange(len(both)) >= first, list(columns).index(argument)
    *xs, ys = values(both, *columns.values(), y)
    limits = [entry.bounds.get(n, (0.0, np.inf)) for n in entry.units]
    free = len(ys) - len(limits) - 1
    if free < 1:
        raise TooFewLevels(f"{len(ys)} cells of {y!r} for {len(limits) + 1} parameters: at least one more is needed")

    def problem(log_k: float, starts: Array | None = None) -> Any:
        scaled = [x * np.where(later & (j == i), np.exp(log_k), 1.0) for j, x in enumerate(xs)]
        return least_squares(family, scaled, ys, limits, starts=starts)

    grid = [float(t) for t in np.linspace(-np.log(REACH), np.log(REACH), 11)]
    looks = [problem(t) for t in grid]
    seen = [p.least for p in looks]
    starts = np.concatenate([p.minima for p in looks])  # one of them is near that of any other factor

    def squares(log_k: float) -> float:
        return problem(log_k, starts).least

    k = int(np.argmin(seen))
    ends = grid[max(k - 1, 0)], grid[min(k + 1, len(grid) - 1)]
    best = minimize_scalar(squares, bounds=ends, method="bounded", options={"xatol": 1e-4})
    least, at = (float(best.fun), float(best.x)) if best.fun <= seen[k] else (seen[k], grid[k])
    allowed = least * (1 + float(stats.t.ppf(0.5 + level / 2, free)) ** 2 / free)
    seen_at = sorted([*zip(grid, seen, strict=True), (at, least)])

    def edge(side: int, beyond: float) -> float:
        inside = at
        for t, s in seen_at[::side]:
            if side * (t - at) > 0:
                if s > allowed:
                    return float(np.exp(brentq(lambda v: squares(v) - allowed, inside, t, xtol=1e-3)))
                inside = t
        return beyond

    return float(np.exp(at)), edge(-1, 0.0), edge(1, np.inf)


def _cells(table: pd.DataFrame, columns: Mapping[str, str], y: str, by: Sequence[str]) -> pd.DataFrame:
    """The mean of the runs of each training at each point of the law, with ``runs`` counting them."""
    rows, points = done(table), list(columns.values())
    values(table, *points, y)
    require(rows, *by)
    other = "params_layers" if points == ["train_pairs"] else "train_pairs"
    if len(points) == 1 and other in rows and len(set(rows[other])) > 1:
        raise ValueError(
            f"the table has {len(set(rows[other]))} different {other!r}, and the law is of {points[0]!r} alone: "
            "keep one, or use a law of both"
        )
    grouped = rows.groupby([*by, *points], sort=True, dropna=False)[y]
    return grouped.agg(["mean", "size"]).rename(columns={"mean": y, "size": "runs"}).reset_index()


def _look(
    fit: lmfit.model.ModelResult, f: Fitted, argument: str, held: dict[str, float], runs: int, level: float
) -> tuple[Array, Array, Array]:
    """Where the mean of ``runs`` standard runs would lie along one argument: x, low, high."""
    ends = float(np.log(f.points[argument].min() / REACH)), float(np.log(f.points[argument].max() * REACH))
    knots = np.linspace(*ends, int((ends[1] - ends[0]) / STEP) + 2)
    at = {argument: np.exp(knots)} | {a: np.full(len(knots), v) for a, v in held.items()}
    p = trust.predict_law(fit, at, level, n_runs=runs, warn=False)
    fine = np.linspace(*ends, 20 * len(knots))
    low, high = (PchipInterpolator(knots, p[end].to_numpy())(fine) for end in ("low", "high"))
    return np.exp(fine), low, high


def _where(fit: lmfit.model.ModelResult, held: dict[str, float], argument: str, y: float, x: Array) -> float:
    """The x at which a falling law has the value y; 0 or infinity if that lies outside the search range."""

    def above(log_x: float) -> float:
        return float(np.squeeze(fit.eval(**{argument: np.array([np.exp(log_x)])}, **held))) - y

    if above(np.log(x[0])) <= 0:
        return 0.0
    if above(np.log(x[-1])) >= 0:
        return float("inf")
    return float(np.exp(brentq(above, np.log(x[0]), np.log(x[-1]), xtol=1e-10)))


def _first(x: Array, gap: Array, beyond: float) -> float:
    """Where ``gap`` first comes down to zero along x, ``beyond`` if it starts there."""
    below = gap <= 0
    if below[0]:
        return beyond
    return _crossing(x, gap, int(np.argmax(below))) if below.any() else float("inf")


def _last(x: Array, gap: Array, beyond: float) -> float:
    """Where ``gap`` was last at least zero along x, ``beyond`` if it is at the end."""
    above = gap >= 0
    if above[-1]:
        return beyond
    return _crossing(x, gap, len(x) - int(np.argmax(above[::-1]))) if above.any() else 0.0


def _crossing(x: Array, gap: Array, i: int) -> float:
    share = gap[i - 1] / (gap[i - 1] - gap[i])
    return float(np.exp(np.log(x[i - 1]) + share * np.log(x[i] / x[i - 1])))
