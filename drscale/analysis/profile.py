"""Exact intervals of any registered law: where the refitted sum of squares has risen by a set amount."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from drscale.analysis import separable
from drscale.analysis.separable import FAR, Found, Rows, Separable
from drscale.analysis.shapes import Array

CLOSE = 1e-12  # squares known to so much are enough here
GROW, HALVE = 60, 40  # rounds: outward until the squares have risen enough, then inward to the place


def profile(p: Separable, found: Found, allowed: float, only: Sequence[int] | None = None) -> list[tuple[float, float]]:
    """The interval of each parameter of the law, in its order: all others refitted, squares up by ``allowed``.

    ``only`` picks parameters by their places.
    """
    count = len(p.family.unit)
    kinds = list(range(count + 1)) if only is None else list(only)  # the last is delta
    log_b = np.log(np.where(found.b > 0, found.b, np.exp(-FAR)))
    best = np.clip(p.family.to_natural(found.t, log_b)[0], -FAR, FAR)
    own, floor = list(p.family.own), np.array(p.delta)
    low, high = np.full(count, -FAR), np.full(count, FAR)
    low[own], high[own] = p.low[: len(own)], p.high[: len(own)]
    best = np.clip(best, low, high)
    side, which = np.repeat([-1.0, 1.0], len(kinds)), np.tile(kinds, 2)
    lows, highs, starts = np.append(low, floor[0]), np.append(high, floor[1]), np.append(best, found.delta[0])
    steps = np.append(np.full(count, 1e-3), 1e-4 * float(np.abs(p.y).mean()))
    state = np.broadcast_to(best, (len(side), count)).copy()

    def rise(at: Array, live: Any) -> Array:
        n = len(live)
        ends = [np.broadcast_to(v, (n, count)).copy() for v in (low, high)]
        floors = np.broadcast_to(floor, (n, 2)).copy()
        for row, (kind, value) in enumerate(zip(which[live], at, strict=True)):
            if kind == count:
                floors[row] = value
            else:
                ends[0][row, kind] = ends[1][row, kind] = value
        held = {"low": ends[0], "high": ends[1], "floor": floors}
        batch = separable.rows(p, n, shape=p.family.natural, free=False, **held)
        return _risen(batch, state, live, float(found.squares[0]))

    limits = np.where(side < 0, lows[which], highs[which])
    both = reach(rise, starts[which], side * steps[which], allowed, limits).reshape(2, -1).T
    return [_pair(p, kind, a, b) for kind, (a, b) in zip(kinds, both, strict=True)]


def _pair(p: Separable, kind: int, low: float, high: float) -> tuple[float, float]:
    """The ends of an interval in the parameter's own unit."""
    if kind == len(p.family.unit):
        return float(low), float(high)
    d = p.family.unit[kind]
    origin = 0.0 if d is None else float(p.origin[d])
    return (
        0.0 if low <= -FAR else float(np.exp(low + origin)),
        float("inf") if high >= FAR else float(np.exp(high + origin)),
    )


def heights(p: Separable, found: Found, at: Array, allowed: float) -> tuple[Array, Array]:
    """The interval of the curve's height at each point ``at`` (d, points), logarithms of x from the reference point."""
    points = at.shape[1]
    side = np.repeat([-1.0, 1.0], points)
    where = np.tile(at, 2)
    curve = np.tile(separable.curve_at(p, found, at)[0], 2)
    state = np.broadcast_to(found.t, (2 * points, found.t.shape[1])).copy()

    def rise(height: Array, live: Any) -> Array:
        batch = separable.rows(p, len(live), height=height, at=where[:, live])
        return _risen(batch, state, live, float(found.squares[0]))

    limits = np.where(side < 0, p.delta[0], np.inf)
    ends = reach(rise, curve, side * 1e-3 * np.abs(curve), allowed, limits)
    return ends[:points], ends[points:]


def _risen(batch: Rows, state: Array, live: Any, least: float) -> Array:
    """How far the squares lie above the least, refitted from where each row was last found."""
    found = separable.solve(batch, state[live], CLOSE)
    state[live] = found.t
    return found.squares - least


def reach(rise: Callable[[Array, Any], Array], start: Array, step: Array, allowed: float, limits: Array) -> Array:
    """Walk every row from ``start`` in doubling steps to where ``rise`` passes ``allowed``, and close in on it.

    ``rise`` takes values and the rows they belong to. The sign of ``step`` is the direction; a row that comes to its
    limit without having risen enough ends there. The root of the rise is nearly straight, so regula falsi is quick.
    """
    n, goal = len(start), float(np.sqrt(allowed))
    up = step > 0

    def stop(at: Array, live: Any) -> Array:
        return np.where(up[live], np.minimum(at, limits[live]), np.maximum(at, limits[live]))

    inside, outside = start.copy(), start.copy()
    gap_in, gap_out = np.full(n, -goal), np.full(n, np.nan)  # root of the rise less its goal, at both ends
    reach_by = step.copy()
    live = np.flatnonzero(start != limits)
    for _ in range(GROW):
        outside[live] = stop(inside[live] + reach_by[live], live)
        gap = np.sqrt(np.maximum(rise(outside[live], live), 0.0)) - goal
        past = gap >= 0
        gap_out[live[past]] = gap[past]
        done = past | (outside[live] == limits[live])
        on = live[~done]
        inside[on], gap_in[on] = outside[on], gap[~done]
        reach_by[on] *= 2
        live = on
        if not len(live):
            break
    live = np.flatnonzero(np.isfinite(gap_out) & (gap_out > 0))
    for turn in range(HALVE):
        a, b, fa, fb = inside[live], outside[live], gap_in[live], gap_out[live]
        straight = a - fa * (b - a) / (fb - fa)
        middle = 0.5 * (a + b)
        at = np.where(turn % 3 == 2, middle, straight)
        gap = np.sqrt(np.maximum(rise(at, live), 0.0)) - goal
        past = gap >= 0
        outside[live[past]], gap_out[live[past]] = at[past], gap[past]
        inside[live[~past]], gap_in[live[~past]] = at[~past], gap[~past]
        width = np.abs(outside[live] - inside[live]) <= 1e-7 * (np.abs(outside[live] - start[live]))
        close = (np.abs(gap) <= 1e-5 * goal) | width
        outside[live[close]] = at[close]
        live = live[~close]
        if not len(live):
            break
    return outside
