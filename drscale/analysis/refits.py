"""A fitted law again and again: what it would be with other runs and with other queries. Never imports torch."""

from __future__ import annotations

from typing import Literal, get_args

import lmfit
import numpy as np
import pandas as pd

from drscale.analysis import doubts, resample, separable
from drscale.analysis.curve import Curve
from drscale.analysis.fitted import Fitted, fitted, solved, weigh
from drscale.analysis.separable import Found, Separable
from drscale.analysis.shapes import Array

Unit = Literal["run", "level"]
FEWEST = 10
ROUNDS = 30


def draws(result: lmfit.model.ModelResult, draws: int = 4000, unit: Unit = "level", seed: int = 0) -> pd.DataFrame:
    """Refit to runs drawn with replacement; a row a draw, a column a parameter.

    ``unit="level"`` draws whole levels of x (for a law of two, its distinct points), right when runs at one x share an
    error. Draws with too few levels to fit are drawn again. Where a draw does not fall with x its coefficient is 0 and
    its exponent means nothing. With few runs such intervals are somewhat too narrow, of a parameter at its bound far
    too narrow.
    """
    f = fitted(result)
    p, found = solved(f)
    counts = _counts(f, draws, unit, np.random.default_rng(seed))
    return _frame(result, p, _refit(f, p, found, counts, None), unit)


def query_draws(
    result: lmfit.model.ModelResult,
    queries: pd.DataFrame,
    draws: int = 4000,
    *,
    runs: bool = False,
    unit: Unit = "level",
    seed: int = 0,
) -> pd.DataFrame:
    """Refit to what the runs would have measured with other queries; a row a draw, a column a parameter.

    ``queries`` is ``RunStore.queries()``. Queries are drawn with replacement within their domain, the same for all
    runs. That leaves out how much runs differ by their seeds; ``runs`` draws the runs anew as well, by ``unit``.
    """
    f = fitted(result)
    p, found = solved(f)
    if f.keys is None:
        raise ValueError("queries: the table that was fitted has no column 'key' that says whose they are")
    _check_draws(draws)
    y = resample.resampled(pd.DataFrame({"key": f.keys}), [f.y_name], queries, draws=draws, seed=seed)[..., 0]
    wrong = np.abs(y.mean(axis=0) - f.y) > 8 * y.std(axis=0) / np.sqrt(draws) + 1e-3 * f.y
    if wrong.any():
        i = int(np.argmax(wrong))
        raise ValueError(
            f"queries: they give {f.y_name}={y[:, i].mean():.4g} where the table has {f.y[i]:.4g}, run {f.keys[i]!r}"
        )
    counts = np.ones_like(y) if not runs else _counts(f, draws, unit, np.random.default_rng([seed, 1]))
    return _frame(result, p, _refit(f, p, found, counts, y), unit if runs else "query")


def curve(
    result: lmfit.model.ModelResult,
    draws: int | pd.DataFrame = 0,
    *,
    unit: Unit = "level",
    seed: int = 0,
    name: str = "",
) -> Curve:
    """The fitted law with its numbers and the box it was fitted in, as planners and figures take it.

    ``draws`` says how many bootstrap draws go with it, or are draws already made, as by :func:`query_draws`. The
    curve's ``doubts`` say where they are known to be too narrow.
    """
    f = fitted(result)
    box = {argument: (float(v.min()), float(v.max())) for argument, v in f.points.items()}
    sample = draws if isinstance(draws, pd.DataFrame) else _draws(result, draws, unit, seed) if draws else None
    values = {n: float(v) for n, v in result.best_values.items()}
    said = () if sample is None else tuple(doubts.of_draws(result, sample, sample.attrs.get("unit", unit)))
    return Curve(f.law, values, box, sample, name or f.y_name, f"fitted to {len(f.y)} runs", said)


_draws = draws


def _refit(f: Fitted, p: Separable, found: Found, counts: Array, y: Array | None) -> Found:
    """Fit every draw; logarithms and the robust loss weigh by the curve, hence rounds until the weights settle."""
    measured = p.y if y is None else y
    weights = counts * (p.weights if y is None else weigh(y, None, f.space))
    refitted = separable.refit(p, weights, y, found)
    if f.space != "log" and f.scale is None:
        return refitted
    left = np.arange(len(counts))
    for _ in range(ROUNDS):
        mine = measured if y is None else y[left]
        new = counts[left] * weigh(mine, separable.curve_at(p, refitted.take(left), p.x), f.space, f.scale)
        moving = ~np.isclose(new, weights[left], rtol=1e-7, atol=0.0).all(axis=1)
        weights[left] = new
        left = left[moving]
        if not len(left):
            break
        part = separable.again(p, refitted.take(left), weights[left], None if y is None else y[left])
        refitted = refitted.put(left, part)
    return refitted


def _frame(result: lmfit.model.ModelResult, p: Separable, found: Found, unit: str) -> pd.DataFrame:
    frame = pd.DataFrame(separable.parameters(p, found), columns=list(result.params))
    frame.attrs["unit"] = unit
    return frame


def check_unit(unit: str) -> None:
    """ValueError unless ``unit`` is what can be drawn, or counts once."""
    if unit not in get_args(Unit):
        raise ValueError(f"unit={unit!r}: allowed are 'run', 'level'")


def _check_draws(draws: int) -> None:
    if draws < FEWEST:
        raise ValueError(f"draws={draws}: at least {FEWEST}")


def _counts(f: Fitted, draws: int, unit: str, rng: np.random.Generator) -> Array:
    """How often each run is drawn, a row a draw; only draws that the law can be fitted to."""
    check_unit(unit)
    _check_draws(draws)
    place = f.levels
    # Distinct points, and for a law of two distinct values of each: a column says which runs stand there.
    needs = [(place, f.parameters + 1)]
    if len(f.points) > 1:
        needs += [(np.unique(v, return_inverse=True)[1], 3) for v in f.points.values()]
    marks = []
    for at, least in needs:
        found = np.arange(at.max() + 1)
        marks.append(((at[:, None] == found).astype(float), min(least, len(found))))
    n = int(place.max()) + 1 if unit == "level" else len(place)
    kept: list[Array] = []
    while sum(map(len, kept)) < draws:
        drawn = rng.integers(n, size=(draws, n)) + n * np.arange(draws)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=n * draws).reshape(draws, n).astype(float)
        counts = counts[:, place] if unit == "level" else counts
        enough = [((counts @ mark) > 0).sum(axis=1) >= least for mark, least in marks]
        kept.append(counts[np.logical_and.reduce(enough)])
    return np.concatenate(kept)[:draws]
