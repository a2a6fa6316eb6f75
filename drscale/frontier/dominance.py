"""Which runs no other run beats on both axes, with what probability, and how far behind the others are. No torch.

A run is on the front if no other is at least as good on both axes and better on one. By default lower is better.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from drscale.laws import fit as laws
from drscale.stats.bootstrap import Pool, mean_of_columns, pooled, resampled
from drscale.stats.tables import Array, Better, non_dominated, require, signs, warn_if_mixed

Unit = Literal["log", "range", "raw"]
X, Y = "in_domain_entropy", "ood_entropy"


def front(
    table: pd.DataFrame, x: str = X, y: str = Y, *, better: Better = "lower", pool: Pool = None, warn: bool = True
) -> pd.DataFrame:
    """The finished runs with ``on_front`` and ``layer``: 1 is the front, 2 the front without layer 1, ...

    ``better`` is one word for both axes or a pair of them. ``pool="seed"`` replaces the seeds of a recipe by one row,
    their mean, and ``runs`` counts them; names of columns pool the runs that are equal in these columns. Equal points
    share a layer.

    >>> import drscale as ds
    >>> runs = ds.front(ds.example_runs(), "params_layers", "ood_entropy")
    >>> runs.loc[runs["on_front"], "rung"].tolist()
    ['L2H12', 'L2H128', 'L2H16', 'L2H192', 'L2H24', 'L2H256', 'L2H32', 'L2H48', 'L2H64', 'L2H96']
    """
    rows = checked(table, x, y)
    if warn:
        warn_if_mixed(rows)
    rows = pooled(rows, (x, y), pool)
    left, layer, depth = lower(rows[[x, y]].to_numpy(dtype=float), better), np.zeros(len(rows), dtype=int), 0
    while (todo := np.flatnonzero(layer == 0)).size:
        depth += 1
        layer[todo[non_dominated(left[todo])]] = depth
    return rows.assign(on_front=layer == 1, layer=layer)


def robustness(table: pd.DataFrame, metric: str = "entropy") -> tuple[pd.DataFrame, str]:
    """The table with the papers' joint robustness as one more column, the mean of two kinds, and that column's name.

    The kinds are out-of-domain and adversarial, of ``metric`` "entropy" or "calibrated" (nats). The adversarial one is
    ``adversarial:alone``, the positive among its nine attacked passages. ``adversarial`` fills their list up with 247
    unchanged passages, so it is nearly the in-domain entropy again, and the y axis would repeat x.
    """
    parts = [f"ood_{metric}", f"adversarial:alone_{metric}"]
    how = "RunStore.table((*SCOPES, 'adversarial:alone')) has it of runs that were attacked"
    require(table, *parts, what=f"metric={metric!r}: the table", hint=how)
    return mean_of_columns(table, parts), "+".join(parts)


def probability_on_front(
    table: pd.DataFrame,
    x: str = X,
    y: str = Y,
    *,
    better: Better = "lower",
    rows: pd.DataFrame | None = None,
    pool: Pool = None,
    n_boot: int = 2000,
    seed: int = 0,
    warn: bool = True,
) -> pd.DataFrame:
    """As :func:`front`, with ``probability``: the share of draws in which a run, or recipe, is on the front.

    :func:`drscale.stats.bootstrap.resampled` describes what is drawn (queries, or values within their intervals; seeds
    if pooled). The probabilities add up to the expected size of the front; each carries a Monte Carlo error of at most
    ``0.5 / sqrt(draws)``.
    """
    points = front(table, x, y, better=better, pool=pool, warn=warn)
    values = resampled(checked(table, x, y), (x, y), rows, pool=pool, n_boot=n_boot, seed=seed)
    return points.assign(probability=non_dominated(lower(values, better)).mean(axis=0))


def hypervolume(points: npt.ArrayLike, reference: npt.ArrayLike, *, better: Better = "lower") -> Array:
    """The area (volume) between points and a reference that is worse than they are; exact, on two or three axes.

    ``points`` has shape (..., points, axes) and the answer (...): with draws as points, it gives one area for each
    draw. A point that is not better than the reference on every axis adds nothing; neither does a dominated one.
    """
    p, r = np.asarray(points, dtype=float), np.asarray(reference, dtype=float)
    if p.ndim < 2 or p.shape[-1] not in (2, 3) or r.shape != p.shape[-1:]:
        raise ValueError(
            f"points of shape {p.shape}, reference {r.shape}: (..., points, axes) and (axes,), 2 or 3 axes"
        )
    if not (np.isfinite(p).all() and np.isfinite(r).all()):
        raise ValueError("points, reference: every number must be finite")
    p, r = lower(p, better), lower(r, better)
    p = np.minimum(p, r)  # a point that does not reach the reference on some axis spans no volume
    if p.shape[-1] == 2:
        return _area(p, r)
    p = np.take_along_axis(p, np.argsort(p[..., 2], axis=-1)[..., None], axis=-2)
    ends = np.concatenate([p[..., 2], np.broadcast_to(r[2], (*p.shape[:-2], 1))], axis=-1)
    slabs = [_area(p[..., : i + 1, :2], r[:2]) * (ends[..., i + 1] - ends[..., i]) for i in range(p.shape[-2])]
    return np.asarray(np.sum(slabs, axis=0)) if slabs else np.zeros(p.shape[:-2])


def distance(
    table: pd.DataFrame,
    to: pd.DataFrame | None = None,
    x: str = X,
    y: str = Y,
    *,
    better: Better = "lower",
    unit: Unit = "log",
) -> pd.Series:
    """How far each run lies behind the front of the runs ``to`` (default: the table itself); below zero: beyond it.

    It is the length of the shortest way to the edge of the area that the front dominates. ``unit`` gives the axes:
    "log" (0.1 is about a tenth of the value; needs values above zero), "range" (each axis divided by the range of
    ``to``), or "raw". Zero for a run of the front itself.
    """
    rows, others = checked(table, x, y), checked(table if to is None else to, x, y)
    p, q = (r[[x, y]].to_numpy(dtype=float) for r in (rows, others))
    if unit == "log":
        if (p <= 0).any() or (q <= 0).any():
            raise ValueError("unit='log': every value must be above zero; use 'range' or 'raw'")
        p, q = np.log(p), np.log(q)
    elif unit == "range":
        span = np.ptp(q, axis=0)
        if not (span > 0).all():
            raise ValueError("unit='range': the runs of to do not differ on some axis; use 'log' or 'raw'")
        p, q = p / span, q / span
    elif unit != "raw":
        raise ValueError(f"unit={unit!r}: allowed are 'log', 'range', 'raw'")
    p, q = lower(p, better), lower(q, better)
    corners = staircase(q)
    # The edge: up from the first corner, step by step to the last, and from there to the right.
    far = np.ptp(np.vstack([p, q]), axis=0).sum() + 1.0
    corners = np.vstack([corners[0] + (0, far), corners, corners[-1] + (far, 0)])
    low, high = np.minimum(corners[:-1], corners[1:]), np.maximum(corners[:-1], corners[1:])
    nearest = np.clip(p[:, None], low, high)  # (runs, segments, axes); every segment runs along an axis
    length = np.linalg.norm(p[:, None] - nearest, axis=2).min(axis=1)
    behind: npt.NDArray[np.bool_] = np.any(np.all(q[None] <= p[:, None], axis=2), axis=1)
    return pd.Series(np.where(behind, length, -length) + 0.0, index=rows.index, name="distance")


def staircase(points: Array) -> Array:
    """The corners of the edge of what points dominate, lower being better: along x, then down, front by front."""
    best = np.unique(points[non_dominated(points)], axis=0)
    between = np.column_stack([best[1:, 0], best[:-1, 1]])
    corners = np.empty((2 * len(best) - 1, 2))
    corners[::2], corners[1::2] = best, between
    return corners


def ratio_at_front(
    table: pd.DataFrame,
    x: str = X,
    y: str = Y,
    *,
    rows: pd.DataFrame | None = None,
    pool: Pool = None,
    weight: float = 0.5,
    n_boot: int = 2000,
    level: float = 0.95,
    seed: int = 0,
    warn: bool = True,
) -> pd.DataFrame:
    """The ratio robustness / effectiveness at the Pareto-efficient run: omega_0 of Pareto training (Eq. 10).

    Both axes must be losses: ``x`` effectiveness, ``y`` robustness. The efficient run is the one with the least ``(1 -
    weight) log x + weight log y``; with weight 0.5, a percent of one loss is worth a percent of the other there. (A
    front of several recipes at one size and amount of data: :func:`drscale.frontier.contour_lines.contours` gives the
    ratio where their curve is best.) The paper leaves open what omega_0 is, so there is one row for each
    interpretation:

    - "ratio": omega_0 = R / E. Then l_E / l_R is driven to E / R, as it is at the front; a ratio above 1 starts at 1.
    - "weight": omega_0 = R / (R + E), a weight in (0, 1) as Eq. 9 takes it. l_E / l_R is driven to 1 + E / R.

    Columns: reading, omega_0 with ``low`` and ``high`` (over the draws of :func:`probability_on_front`, each with its
    own efficient run), ``start`` (the first weight, clipped as Eq. 11 does), ``target`` (of l_E / l_R, 1 / omega_0),
    and ``run``, the efficient one, by its label in the table's index.
    """
    if not 0 <= weight <= 1:
        raise ValueError(f"weight={weight}: must lie between 0 and 1")
    if not 0 < level < 1:
        raise ValueError(f"level={level}: must lie between 0 and 1")
    points = front(table, x, y, pool=pool, warn=warn)
    measured = points[[x, y]].to_numpy(dtype=float)
    values = resampled(checked(table, x, y), (x, y), rows, pool=pool, n_boot=n_boot, seed=seed)
    if (measured <= 0).any():
        raise ValueError(f"columns {x!r}, {y!r}: losses above zero are needed for their ratio")
    values = values[(values > 0).all(axis=(1, 2))]
    if len(values) < n_boot / 2:
        raise ValueError(f"columns {x!r}, {y!r}: their intervals reach below zero, so their ratio has none")
    best = [_efficient(v, weight) for v in (measured[None], values)]
    ratio = float(best[0][0, 1] / best[0][0, 0])
    ends = np.quantile(best[1][:, 1] / best[1][:, 0], [0.5 - level / 2, 0.5 + level / 2])
    run = points.index[int(np.argmin(np.log(measured) @ [1 - weight, weight]))]
    found = []
    for reading, numbers in (("ratio", [ratio, *ends]), ("weight", [v / (1 + v) for v in (ratio, *ends)])):
        omega, low, high = (float(v) for v in numbers)
        found.append((reading, omega, low, high, min(omega, 1.0), 1 / omega, run))
    return pd.DataFrame(found, columns=["reading", "omega_0", "low", "high", "start", "target", "run"])


def checked(table: pd.DataFrame, x: str, y: str) -> pd.DataFrame:
    """The finished runs; ValueError unless there are any and all have finite numbers in both columns."""
    rows = laws.done(table)
    if rows.empty:
        raise ValueError(f"the table has {len(table)} runs and none is done: there is no front")
    for name in (x, y):
        require(rows, name)
        if not pd.api.types.is_numeric_dtype(rows[name]):
            raise ValueError(f"column {name!r} holds {rows[name].dtype}, not numbers")
        wrong = ~np.isfinite(rows[name].to_numpy(dtype=float, na_value=np.nan))
        if wrong.any():
            raise ValueError(
                f"column {name!r} has no number in row {rows.index[int(np.argmax(wrong))]!r} ({wrong.sum()} such of "
                f"{len(rows)}): leave such runs out first"
            )
    return rows


def lower(points: Array, better: Better) -> Array:
    """Points with the axes turned so that lower is better."""
    sides = signs(better, points.shape[-1])
    return points * sides


def _efficient(values: Array, weight: float) -> Array:
    """The point of each draw with the least weighted sum of logarithms; (draws, runs, 2) to (draws, 2)."""
    best = np.argmin(np.log(values) @ [1 - weight, weight], axis=1)
    return values[np.arange(len(values)), best]


def _area(p: Array, r: Array) -> Array:
    """The area between points (..., points, 2), none beyond the reference, and the reference."""
    p = np.take_along_axis(p, np.argsort(p[..., 0], axis=-1)[..., None], axis=-2)
    ends = np.concatenate([p[..., 0], np.broadcast_to(r[0], (*p.shape[:-2], 1))], axis=-1)
    depth = r[1] - np.minimum.accumulate(p[..., 1], axis=-1)
    return np.asarray((np.diff(ends, axis=-1) * depth).sum(axis=-1))
