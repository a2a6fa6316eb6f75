"""Fit a law that is any plain function of x and its parameters; only its values are known. No torch.

Rows of t are many candidates at once, (rows, parameters): starts, resamples, or the ends of a profile. All of them take
Levenberg-Marquardt steps together, inside their bounds, with slopes from central differences. A law that does not take
arrays of parameters is evaluated row by row, which is slower but otherwise the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from drscale.laws._solver import reach
from drscale.laws.result import Space, bend, name_of, residuals
from drscale.stats.tables import Array

STARTS = 32  # the given start, and the same times random factors
LOOKED, PROMISING = 30, 4  # rounds for every start, and the number of starts that are then run to the end
ROUNDS = 200
CLOSE, NEAR = 1e-12, 1e-7  # of the squares: a step that gains less is the last; NEAR is enough for an interval
CHUNK = 1024  # rows in one batch
SLOPE = 1e-6  # the step of a central difference, as a share of the parameter


@dataclass(frozen=True)
class Plain:
    """The data of one fit of a plain law: the points, what was measured there, and where the parameters may be.

    ``start`` is where the search begins, in the end the optimum.
    """

    law: Callable[..., Any]
    points: Mapping[str, Array]
    y: Array
    names: tuple[str, ...]
    low: Array
    high: Array
    start: Array
    space: Space
    scale: float | None = None  # of the robust loss
    quick = False

    @cached_property
    def size(self) -> Array:
        """The size of each parameter, for the step of a difference where it is near 0."""
        return np.where(self.start != 0, 1e-3 * np.abs(self.start), 1e-2)

    @property
    def least(self) -> float:
        return float(_squares(_look(self, self.start[None], np.ones(len(self.y)), self.y[None]))[0])

    def intervals(self, allowed: float, only: Sequence[int] | None = None) -> list[tuple[float, float]]:
        ends = profile(self, allowed)
        return ends if only is None else [ends[place] for place in only]

    def heights(self, at: Sequence[Array], allowed: float) -> None:
        return None

    def refit(self, counts: Array, y: Array | None = None) -> Array:
        return refit(self, counts, y)

    @property
    def moving(self) -> Array:
        """1 for each free parameter, 0 for one that its bounds hold fixed."""
        return np.where(self.low < self.high, 1.0, 0.0)


def plain(
    law: Callable[..., Any],
    points: Mapping[str, Array],
    y: Array,
    limits: Mapping[str, tuple[float, float]],
    start: Mapping[str, float],
    space: Space,
    scale: float | None = None,
) -> Plain:
    """The problem of a law, from its bounds and its start values."""
    low, high = (np.array([limits[n][end] for n in limits], dtype=float) for end in (0, 1))
    return Plain(law, points, y, tuple(limits), low, high, np.array([float(start[n]) for n in limits]), space, scale)


def curve(p: Plain, t: Array) -> Array:
    """The law at the points for each row of parameters; (rows, runs), NaN where it has no value."""
    count = len(p.y)
    columns = {n: t[:, i : i + 1] for i, n in enumerate(p.names)}
    with np.errstate(all="ignore"):
        try:
            found = np.asarray(p.law(**{a: v[None] for a, v in p.points.items()}, **columns), dtype=float)
            return np.array(np.broadcast_to(found, (len(t), count)))
        except (TypeError, ValueError, ArithmeticError):
            return np.stack([_one(p, row) for row in t])


def _one(p: Plain, row: Array) -> Array:
    try:
        found = np.asarray(p.law(**p.points, **dict(zip(p.names, map(float, row), strict=True))), dtype=float)
    except ArithmeticError:
        return np.full(len(p.y), np.nan)
    return np.array(np.broadcast_to(found, p.y.shape))


def _look(p: Plain, t: Array, root: Array, y: Array) -> Array:
    """The weighted residuals whose squares are summed; with the robust loss, the root of that loss."""
    with np.errstate(all="ignore"):
        r = residuals(y, curve(p, t), p.space)
        if p.scale is not None:
            r = np.sign(r) * p.scale * np.sqrt(2 * (np.sqrt(1 + (r / p.scale) ** 2) - 1))
    return np.asarray(root * r)


def _squares(r: Array) -> Array:
    with np.errstate(all="ignore"):
        total = (r * r).sum(1)
    return np.where(np.isfinite(total), total, np.inf)


def _slopes(p: Plain, t: Array, root: Array, y: Array) -> Array:
    """The slopes of the residuals by each parameter, 0 where there are none; (rows, k, runs)."""
    columns = []
    for i in range(t.shape[1]):
        step = np.zeros_like(t)
        step[:, i] = SLOPE * np.maximum(np.abs(t[:, i]), p.size[i])
        above, below = np.minimum(t + step, p.high), np.maximum(t - step, p.low)
        gap = (above - below)[:, i : i + 1]
        with np.errstate(all="ignore"):
            slope = (_look(p, above, root, y) - _look(p, below, root, y)) / gap
        columns.append(np.where(np.isfinite(slope), slope, 0.0))
    return np.stack(columns, axis=1)


def solve(
    p: Plain, t: Array, root: Array, y: Array, free: Array, close: float = CLOSE, rounds: int = ROUNDS
) -> tuple[Array, Array]:
    """Take every row from its t to the valley's floor; the optimum of each row and its squares.

    ``root`` weighs the residuals (rows, runs), ``free`` is 1 for the parameters that may move (rows, k).
    """
    t = np.clip(t, p.low, p.high)
    best, least = t.copy(), np.full(len(t), np.inf)
    live, damp = np.arange(len(t)), np.full(len(t), 1e-3)
    squares = _squares(_look(p, t, root, y))
    for _ in range(rounds):
        r, slopes = _look(p, t, root, y), _slopes(p, t, root, y) * free[..., None]
        r = np.where(np.isfinite(squares)[:, None], r, 0.0)
        pull = -(slopes @ r[..., None])[..., 0]
        pull = np.where(((t <= p.low) & (pull < 0)) | ((t >= p.high) & (pull > 0)), 0.0, pull)
        moves = pull != 0
        bend = slopes @ slopes.transpose(0, 2, 1)
        norm = np.sqrt(np.maximum(np.einsum("rkk->rk", bend), 1e-300))
        system = np.where(moves[:, :, None] & moves[:, None], bend, 0.0) / norm[:, :, None] / norm[:, None]
        system[:, range(t.shape[1]), range(t.shape[1])] += np.where(moves, damp[:, None], 1.0)
        step = np.linalg.solve(system, (pull / norm)[..., None])[..., 0] / norm
        new = np.clip(t + step, p.low, p.high)
        tried = _squares(_look(p, new, root, y))
        better = tried < squares
        with np.errstate(invalid="ignore"):
            settled = (np.abs(squares - tried) <= close * squares) & (damp < 1e-2)
        t = np.where(better[:, None], new, t)
        squares = np.where(better, tried, squares)
        damp = np.where(better, np.maximum(damp * 0.1, 1e-9), damp * 8)
        ended = settled | (damp > 1e9) | ~moves.any(1)
        best[live[ended]], least[live[ended]] = t[ended], squares[ended]
        if ended.all():
            return best, least
        rest = ~ended
        live, t, squares, damp, root, y, free = (v[rest] for v in (live, t, squares, damp, root, y, free))
    best[live], least[live] = t, squares
    return best, least


def starts(p: Plain, count: int = STARTS) -> Array:
    """The given start, the same times random factors, and random places where both bounds are known."""
    rng, start = np.random.default_rng(0), p.start
    lots = rng.standard_normal((count, len(start)))
    found = np.where(start != 0, start * np.exp(lots), 10 * p.size * lots)
    bounded = np.isfinite(p.low) & np.isfinite(p.high)
    ends = np.where(bounded, p.low, 0.0), np.where(bounded, p.high, 1.0)
    log = bounded & (p.low > 0)
    low, high = (np.where(log, np.log(np.where(log, v, 1.0)), v) for v in ends)
    drawn = low + (high - low) * rng.random(lots.shape)
    drawn = np.where(log, np.exp(np.where(log, drawn, 0.0)), drawn)
    found[1::2] = np.where(bounded, drawn, found)[1::2]
    found[0] = start
    return np.clip(found, p.low, p.high)


def minimum(p: Plain) -> Plain:
    """The problem at its least squares over all parameters, the best of several starts."""
    t = starts(p)
    ones, free = np.ones((len(t), len(p.y))), np.broadcast_to(p.moving, t.shape)
    y = np.broadcast_to(p.y, ones.shape)
    found, squares = solve(p, t, ones, y, free, NEAR, LOOKED)
    some = np.argsort(squares)[:PROMISING]
    found, squares = solve(p, found[some], ones[some], y[some], free[some])
    i = int(np.argmin(squares))
    if not np.isfinite(squares[i]):
        start = dict(zip(p.names, p.start.tolist(), strict=True))
        raise ValueError(f"start={start!r}: {name_of(p.law)} is not finite at it, nor near it")
    return replace(p, start=found[i])


def robust_minimum(p: Plain) -> Plain:
    """The same with the scale of the robust loss, which is settled on the way."""
    p = minimum(p)
    for _ in range(10):
        p = minimum(replace(p, scale=(scale := bend(p.y, curve(p, p.start[None])[0], p.space))))
        if np.isclose(bend(p.y, curve(p, p.start[None])[0], p.space), scale, rtol=1e-4):
            break
    return p


def refit(p: Plain, counts: Array, y: Array | None = None) -> Array:
    """Fit every draw from the optimum of all runs: ``counts`` (draws, runs) says how often each run is drawn."""
    start, measured = p.start, np.broadcast_to(p.y, counts.shape) if y is None else y
    parts = []
    for at in range(0, len(counts), CHUNK):
        rows = slice(at, at + CHUNK)
        t = np.broadcast_to(start, (len(counts[rows]), len(start)))
        free = np.broadcast_to(p.moving, t.shape)
        parts.append(solve(p, t, np.sqrt(counts[rows]), measured[rows], free, NEAR)[0])
    return np.concatenate(parts)


def profile(p: Plain, allowed: float) -> list[tuple[float, float]]:
    """The interval of each parameter: all others refitted, the squares up by ``allowed``."""
    best, root = p.start, np.ones(len(p.y))
    if p.scale is not None:  # the weights that the robust loss gave the runs, held fixed
        r = residuals(p.y, curve(p, best[None])[0], p.space)
        root, p = (1 + (r / p.scale) ** 2) ** -0.25, replace(p, scale=None)
    k = len(best)
    which, side = np.tile(np.arange(k), 2), np.repeat([-1.0, 1.0], k)
    state = np.broadcast_to(best, (2 * k, k)).copy()
    least = float(_squares(_look(p, best[None], root, p.y[None]))[0])

    def rise(at: Array, live: Any) -> Array:
        rows, places = np.arange(len(live)), which[live]
        t, free = state[live].copy(), np.broadcast_to(p.moving, (len(live), k)).copy()
        t[rows, places], free[rows, places] = at, 0.0
        shape = (len(live), len(p.y))
        found, squares = solve(p, t, np.broadcast_to(root, shape), np.broadcast_to(p.y, shape), free, NEAR)
        state[live] = np.where(np.isfinite(squares)[:, None], found, state[live])
        return np.where(np.isfinite(squares), squares, least + 1e6 * allowed) - least

    limits = np.where(side < 0, p.low[which], p.high[which])
    step = side * np.maximum(1e-3 * np.abs(best[which]), 1e-2 * p.size[which])
    ends = reach(rise, best[which], step, allowed, limits) if allowed > 0 else best[which]
    far = np.abs(ends) > 1e12 * np.maximum(np.abs(best[which]), p.size[which])  # never rose: no end on that side
    ends = np.where(far, np.where(side < 0, p.low[which], p.high[which]), ends)
    return [(float(a), float(b)) for a, b in ends.reshape(2, k).T]
