"""Loss against training compute: the compute law of the best runs, and isoFLOP curves. Never imports torch.

Only the ends of runs count. In the middle of a run whose learning rate decays to zero, the loss is worse than at the
end of a run of that length, so values from the middle of runs would put the envelope too high.
"""

from __future__ import annotations

from dataclasses import dataclass

import lmfit
import numpy as np
import pandas as pd

from drscale.laws import _power as power
from drscale.laws import fit as laws
from drscale.laws._families import EXPONENT
from drscale.laws.result import weigh
from drscale.stats.tables import Array, TooFewLevels, check_level, done, non_dominated, values

SIZE, Y = "params_drscale", "in_domain_entropy"
FEWEST = 4  # points an envelope needs for three parameters, and sizes an isoFLOP curve needs for its parabola
DRAWN = ("seeds", "seeds and sizes")


@dataclass(frozen=True)
class ComputeLaw:
    """The law (C0 / C)**alpha + floor of the lower envelope of runs, C in FLOPs of training.

    ``cells`` has one row for each size and length: the mean of its seeds, ``runs``, ``on_envelope``. ``intervals`` has
    the columns name (C0, alpha, floor), drawn, value, low, high: "seeds" draws the seeds' scatter, "seeds and sizes"
    also draws the sizes that were trained; the envelope is chosen again in every draw. Quote the wider interval.
    """

    fit: lmfit.model.ModelResult
    cells: pd.DataFrame
    intervals: pd.DataFrame
    draws: pd.DataFrame
    y: str


@dataclass(frozen=True)
class IsoFlop:
    """Loss against size at equal training compute.

    ``points`` has one row for each level of ``flops`` and each size trained to both sides of it. ``optima`` has one row
    for each level: ``sizes``, ``optimal`` (the parabola's lowest point), ``low`` and ``high``, ``determined``.
    ``exponent`` is the exponent of optimal size over compute, (value, low, high), or None if too few levels have a
    determined optimum; ``said`` is a sentence about it.
    """

    points: pd.DataFrame
    optima: pd.DataFrame
    exponent: tuple[float, float, float] | None
    said: str
    y: str
    size: str


def cells(table: pd.DataFrame, y: str = Y, size: str = SIZE) -> pd.DataFrame:
    """The mean of the seeds of each size and length: size, steps, flops, y, runs."""
    values(table, size, "steps", "flops", y)
    rows = done(table)
    if "key" in rows and (twice := rows["key"].duplicated()).any():
        raise ValueError(f"the table holds run {rows.loc[twice, 'key'].iloc[0]!r} twice: leave one out")
    grouped = rows.groupby([size, "steps"])
    means = grouped[["flops", y]].mean()
    return means.assign(runs=grouped.size()).reset_index()


def scatter(table: pd.DataFrame, y: str = Y, size: str = SIZE) -> float:
    """The standard deviation of log y between seeds of one size and length, pooled over those with several."""
    logs = np.log(done(table)[y]).groupby([done(table)[size], done(table)["steps"]])
    squares, free = float((logs.var(ddof=1) * (logs.size() - 1)).sum()), int((logs.size() - 1).sum())
    if free < 1:
        raise ValueError(f"no size and length has two runs, so the scatter of seeds in {y!r} is not known")
    return float(np.sqrt(squares / free))


def compute_law(
    table: pd.DataFrame, y: str = Y, *, size: str = SIZE, n_boot: int = 1000, level: float = 0.95, seed: int = 0
) -> ComputeLaw:
    """Fit a power law with a floor to the runs that no run of equal or lower cost beats.

    ``table`` is ``RunStore.table()`` of one recipe at several sizes and ``steps``; its seeds are averaged first. A draw
    gives each mean of n seeds the error s / sqrt(n), s pooled (:func:`scatter`), and "seeds and sizes" also draws the
    sizes with replacement. An envelope takes the least of noisy values, so it is too low by a part of s.
    """
    check_level(level)
    rows = cells(table, y, size)
    best = _envelope(rows["flops"].to_numpy(), rows[y].to_numpy())
    rows["on_envelope"] = best
    if best.sum() < FEWEST:
        raise TooFewLevels(f"the envelope of {len(rows)} sizes and lengths has {best.sum()} points: 4 are needed")
    fit = laws.fit_law(rows[best], laws.size_law, "flops", y, warn=False)
    rng, every = np.random.default_rng(seed), []
    noisy = _noisy(rows, y, scatter(table, y, size), n_boot, rng)
    flops = rows["flops"].to_numpy()
    place = np.unique(rows[size], return_inverse=True)[1]
    names = list(fit.params)
    for drawn in DRAWN:
        for values_ in noisy:
            taken = np.ones(len(rows), dtype=bool)
            mask = _envelope(flops, values_)
            while drawn != "seeds":
                taken = np.isin(place, rng.integers(place.max() + 1, size=place.max() + 1))
                mask = taken.copy()
                mask[taken] = _envelope(flops[taken], values_[taken])
                if mask.sum() >= FEWEST:
                    break
            if mask.sum() >= FEWEST:
                every.append((drawn, *_refit(flops[mask], values_[mask])))
    sample = pd.DataFrame(every, columns=["drawn", *names])
    ends = [0.5 - level / 2, 0.5 + level / 2]
    told = []
    for drawn in DRAWN:
        for name, word in zip(names, ("C0", "alpha", "floor"), strict=True):
            low, high = np.quantile(sample.loc[sample["drawn"] == drawn, name], ends)
            told.append((word, drawn, float(fit.params[name].value), float(low), float(high)))
    frame = pd.DataFrame(told, columns=["name", "drawn", "value", "low", "high"])
    return ComputeLaw(fit, rows, frame.sort_values("name", kind="stable").reset_index(drop=True), sample, y)


def isoflop(
    table: pd.DataFrame,
    levels: int | Array = 15,
    y: str = Y,
    *,
    size: str = SIZE,
    n_boot: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> IsoFlop:
    """Draw loss against size at equal compute, and find the best size there, if the runs determine it.

    At each of ``levels`` (a count, or FLOPs) a size's log loss is read off the straight line between the ends of its
    runs of two lengths, in log FLOPs; sizes that were not trained to both sides of the level have no value there. Four
    sizes make a parabola in log N. Its lowest point is ``determined`` where its interval, over the scatter of seeds,
    lies inside the sizes of the curve.
    """
    check_level(level)
    rows = cells(table, y, size)
    at = (
        np.geomspace(rows["flops"].min(), rows["flops"].max(), levels)
        if isinstance(levels, int)
        else np.asarray(levels)
    )
    rng = np.random.default_rng(seed)
    noisy = np.vstack([rows[y].to_numpy()[None], _noisy(rows, y, scatter(table, y, size), n_boot, rng)])
    log_n = np.log(np.sort(rows[size].unique()))
    loss = np.full((len(noisy), len(at), len(log_n)), np.nan)
    for i, (_, some) in enumerate(rows.groupby(size)):
        some = some.sort_values("flops")
        x, inside = np.log(some["flops"].to_numpy()), (at >= some["flops"].min()) & (at <= some["flops"].max())
        for d, v in enumerate(np.log(noisy[:, some.index])):
            loss[d, inside, i] = np.interp(np.log(at[inside]), x, v) if len(some) > 1 else np.nan
    points = [
        (float(c), float(np.exp(n)), float(np.exp(v)))
        for c, curve in zip(at, loss[0], strict=True)
        for n, v in zip(log_n, curve, strict=True)
        if np.isfinite(v)
    ]
    best = np.full(loss.shape[:2], np.nan)
    for j in range(len(at)):
        if (has := np.isfinite(loss[0, j])).sum() >= FEWEST:
            best[:, j] = [_lowest(log_n[has], curve) for curve in loss[:, j, has]]
    enough = np.isfinite(loss[0]).sum(axis=1) >= FEWEST
    optima = []
    for j in map(int, np.flatnonzero(enough)):
        low, high = np.quantile(best[1:, j], [0.5 - level / 2, 0.5 + level / 2], method="nearest")
        sure = bool(np.isfinite([best[0, j], low, high]).all())
        optima.append((at[j], int(np.isfinite(loss[0, j]).sum()), *np.exp([best[0, j], low, high]), sure))
    frame = pd.DataFrame(optima, columns=["flops", "sizes", "optimal", "low", "high", "determined"])
    exponent, said = _growth(frame, np.log(at[enough]), best[:, enough], level)
    return IsoFlop(pd.DataFrame(points, columns=["flops", size, y]), frame, exponent, said, y, size)


def _growth(
    optima: pd.DataFrame, log_c: Array, best: Array, level: float
) -> tuple[tuple[float, float, float] | None, str]:
    """How the optimal size grows with compute, over the levels where it is determined, and a sentence about it."""
    sure = optima["determined"].to_numpy()
    many = f"{sure.sum()} of {len(optima)} isoFLOP curves with {FEWEST} sizes or more have a determined minimum"
    if sure.sum() < 3 or np.ptp(log_c[sure]) < np.log(4):
        return None, f"{many}: how the optimal size grows with compute is not determined."
    inside = best[:, sure]
    slopes = np.full(len(best), np.inf)
    whole = np.asarray(np.isfinite(inside).all(axis=1))
    slopes[whole] = np.polyfit(log_c[sure], inside[whole].T, 1)[0]
    low, high = np.quantile(slopes[1:], [0.5 - level / 2, 0.5 + level / 2], method="nearest")
    low = low if whole[1:].mean() > level else -np.inf  # a draw without a slope may lie on either side
    words = f"the optimal size grows as compute to the power {slopes[0]:.2f} ({low:.2f} to {high:.2f})"
    return (float(slopes[0]), float(low), float(high)), f"{many}; {words}."


def _lowest(log_n: Array, curve: Array) -> float:
    """The lowest point of a parabola through a curve; if it has none inside, infinity on the side where it falls."""
    bend, slope, start = np.polyfit(log_n - log_n.mean(), curve, 2)
    at = -slope / (2 * bend) + log_n.mean() if bend > 0 else np.inf
    if log_n.min() < at < log_n.max():
        return float(at)
    ends = np.polyval([bend, slope, start], np.array([log_n.min(), log_n.max()]) - log_n.mean())
    return float(np.inf if ends[1] < ends[0] else -np.inf)


def _envelope(flops: Array, y: Array) -> np.ndarray:
    """Which runs are not beaten by a run of equal or lower cost."""
    return non_dominated(np.column_stack([flops, y]))


def _noisy(rows: pd.DataFrame, y: str, s: float, n_boot: int, rng: np.random.Generator) -> Array:
    """The means of cells with newly drawn scatter of their seeds; (draws, cells)."""
    error = rng.standard_normal((n_boot, len(rows))) * s / np.sqrt(rows["runs"].to_numpy())
    return np.asarray(rows[y].to_numpy() * np.exp(error))


def _refit(flops: Array, y: Array) -> tuple[float, float, float]:
    p = power.power(flops, y, weigh(y, None, "relative"), EXPONENT, (0.0, np.inf))
    _, a, alpha, floor = power.minimum(p)
    return float(power.coefficient(p, a, alpha)), alpha, floor
