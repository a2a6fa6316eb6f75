"""Fit ``y = b g(x; t) + delta`` to one table, or to thousands of resamples of it at once. Never imports torch.

For a given t the fall b >= 0 and the floor delta have a closed form (variable projection), and t itself is found by
Levenberg-Marquardt steps that all rows of a batch take together, inside their bounds. A coarse grid of t gives the
starts, so that the best of several minima is found. ``profile`` gives exact intervals, which end where the refitted sum
of squares has risen by a set amount.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np

from drscale.laws._families import EDGE, Family, Shape
from drscale.laws.result import Space, weigh
from drscale.stats.tables import Array

NEAR = 1e-12  # this relative precision of the squares is enough here
GROW, HALVE = 60, 60  # rounds: outward until the squares have risen enough, then inward to the exact place


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
        batch = rows(p, n, shape=p.family.natural, free=False, **held)
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
    curve = np.tile(curve_at(p, found, at)[0], 2)
    state = np.broadcast_to(found.t, (2 * points, found.t.shape[1])).copy()

    def rise(height: Array, live: Any) -> Array:
        batch = rows(p, len(live), height=height, at=where[:, live])
        return _risen(batch, state, live, float(found.squares[0]))

    limits = np.where(side < 0, p.delta[0], np.inf)
    ends = reach(rise, curve, side * 1e-3 * np.abs(curve), allowed, limits)
    return ends[:points], ends[points:]


def _risen(batch: Rows, state: Array, live: Any, least: float) -> Array:
    """How far the squares lie above the least, refitted from where each row was last found."""
    found = solve(batch, state[live], NEAR)
    state[live] = found.t
    return found.squares - least


def reach(
    rise: Callable[[Array, Any], Array], start: Array, step: Array, allowed: float, limits: Array, close: float = 1e-5
) -> Array:
    """Walk every row from ``start`` in doubling steps to where ``rise`` passes ``allowed``, and close in on it.

    ``rise`` takes values and the rows they belong to. The sign of ``step`` is the direction; a row that reaches its
    limit before it has risen enough ends there. The root of the rise is nearly straight, so regula falsi is quick;
    every third step halves the bracket. ``close`` is the precision, of the root of the rise.
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
    live = np.flatnonzero(gap_out > 0)
    for turn in range(HALVE):
        a, b, fa, fb = inside[live], outside[live], gap_in[live], gap_out[live]
        straight = a - fa * (b - a) / (fb - fa)
        middle = 0.5 * (a + b)
        at = np.where((turn % 3 == 2) | np.isinf(fb), middle, straight)
        gap = np.sqrt(np.maximum(rise(at, live), 0.0)) - goal
        past = gap >= 0
        outside[live[past]], gap_out[live[past]] = at[past], gap[past]
        inside[live[~past]], gap_in[live[~past]] = at[~past], gap[~past]
        width = np.abs(outside[live] - inside[live]) <= 0.01 * close * (np.abs(outside[live] - start[live]))
        done = (np.abs(gap) <= close * goal) | width
        outside[live[done]] = at[done]
        live = live[~done]
        if not len(live):
            break
    return outside


REACH = 2.0  # the largest step in t: logarithms need no larger one
HOPS = (0.6, 0.2)  # at a bound the law can have a kink and many small minima: search again this far around
CHUNK = 1024  # rows in one batch: few calls, and still in the processor's cache
NIL = 1e-15  # a term of a law that never has a larger share in the fall at any run counts as absent
ROUNDS = 200
SETTLE = 30  # rounds in which weights that depend on the curve are found
PLAIN = 6  # rounds after which a row is slow
FAR = 690.0  # the logarithm of a coefficient that is practically infinite, or practically 0 with a minus sign
PROMISING = 256  # grid points, the best for the whole table, used as starts for its resamples
GRID = {1: (80,), 2: (12, 12), 3: (10, 10, 8), 4: (8, 10, 8, 4)}  # points along each axis of the built-in laws
WHOLE = 2600  # points of the grid of a law with more axes
CLOSE = 1e-17  # a row has converged if moving one entry of t would reduce the squares by less than this share


@dataclass(frozen=True, eq=False)
class Separable:
    """The data of one fit: logarithms of x from a reference point, y, the weight of each squared residual, bounds.

    ``start`` is a known place near the optimum.
    """

    family: Family
    origin: Array  # (d,)
    x: Array  # (d, runs)
    y: Array
    weights: Array
    low: Array  # (k,), of t
    high: Array
    delta: tuple[float, float] = (0.0, np.inf)
    space: Space = "relative"
    scale: float | None = None
    start: Found | None = None
    quick = False

    @cached_property
    def optimum(self) -> Found:
        return minimum(self) if self.start is None else again(self, self.start)

    @property
    def least(self) -> float:
        return float(self.optimum.squares[0])

    @property
    def minima(self) -> Array:
        """Where the squares are least, a row, from which the minimum of a like table is found quickly."""
        return self.optimum.t

    @property
    def batched(self) -> Separable:
        return self

    def curve(self) -> Array:
        return np.asarray(curve_at(self, self.optimum, self.x)[0])

    def weighed(self, weights: Array, scale: float | None) -> Separable:
        return replace(self, weights=weights, scale=scale, start=self.optimum)

    def settled(self, limits: Sequence[tuple[float, float]]) -> tuple[list[float], set[int]]:
        values, found, places = parameters(self, self.optimum)[0].tolist(), self.optimum, set[int]()
        for place, t, low, high in zip(self.family.own, found.t[0], self.low, self.high, strict=False):
            if t <= low or t >= high:
                places.add(place)
                values[place] = limits[place][int(t >= high)]
        places |= {p for c in self.family.coefficients if values[c] == 0 for p in (c, c + 1)}
        return values, places | ({len(values) - 1} if found.delta[0] in self.delta else set())

    def intervals(self, allowed: float, only: Sequence[int] | None = None) -> list[tuple[float, float]]:
        return profile(self, self.optimum, allowed, only)

    def heights(self, at: Sequence[Array], allowed: float) -> tuple[Array, Array]:
        return heights(self, self.optimum, np.log(np.array(at)) - self.origin[:, None], allowed)

    def refit(self, counts: Array, y: Array | None = None) -> Array:
        return parameters(self, refits(self, counts, y))


def separable(
    family: Family, logs: Array, y: Array, weights: Array, limits: Sequence[tuple[float, float]], space: Space
) -> Separable:
    """The problem of a law, with the least of each x as reference point."""
    origin = logs.min(axis=1)
    low, high = (
        np.array([np.log(limits[i][end]) - (0.0 if (d := family.unit[i]) is None else origin[d]) for i in family.own])
        for end in (0, 1)
    )
    if family.share:
        low, high = np.append(low, -EDGE), np.append(high, EDGE)
    return Separable(family, origin, logs - origin[:, None], y, weights, low, high, limits[-1], space)


@dataclass(frozen=True)
class Found:
    """The optimum of each row: weighted sum of squares, fall at the reference point, t and floor."""

    squares: Array
    b: Array
    t: Array
    delta: Array

    def take(self, rows: Any) -> Found:
        return Found(*(getattr(self, f.name)[rows] for f in fields(self)))

    def put(self, rows: Any, part: Found) -> Found:
        """A copy with other values in some rows."""
        new = Found(*(getattr(self, f.name).copy() for f in fields(self)))
        for f in fields(self):
            getattr(new, f.name)[rows] = getattr(part, f.name)
        return new


@dataclass(frozen=True)
class Rows:
    """The data in which the fits of a batch differ; every array has a row for each fit.

    ``root`` are square roots of weights. With ``free`` b is fitted, else it is 1. With ``height`` the curve is made to
    pass through that height at the point ``at`` (d, rows), which takes the floor out of the unknowns.
    """

    shape: Shape
    x: Array
    y: Array
    root: Array
    low: Array
    high: Array
    floor: Array  # (rows, 2)
    free: bool = True
    height: Array | None = None
    at: Array | None = None

    def take(self, rows: Any) -> Rows:
        part = {n: getattr(self, n)[rows] for n in ("y", "root", "low", "high", "floor")}
        if self.height is not None and self.at is not None:
            part |= {"height": self.height[rows], "at": self.at[:, rows]}
        return replace(self, **part)


def rows(p: Separable, count: int, **changes: Any) -> Rows:
    """``count`` rows of the problem as it is, with ``changes``."""

    def many(v: Array) -> Array:
        return np.broadcast_to(v, (count, np.shape(v)[-1]))

    kept = {"y": many(p.y), "root": many(np.sqrt(p.weights)), "low": many(p.low), "high": many(p.high)}
    given: dict[str, Any] = {"shape": p.family.shape, "x": p.x, "floor": many(np.array(p.delta)), **kept, **changes}
    return Rows(**given)


def minimum(p: Separable, starts: int = 24) -> Found:
    """The global least squares, a single row: the best of several starts from the grid."""
    grid = candidates(p)
    squares = scan(p, grid, p.weights[None], p.y[None])[0]
    chosen: list[Array] = []
    spread = np.maximum(np.ptp(grid, axis=0), 1e-12)
    for i in np.argsort(squares):
        if all(np.abs((grid[i] - c) / spread).max() > 0.12 for c in chosen):
            chosen.append(grid[i])
        if len(chosen) == starts:
            break
    best = _best(solve(rows(p, len(chosen)), np.array(chosen)))
    rng = np.random.default_rng(0)
    for reach in HOPS if ((best.t <= p.low) | (best.t >= p.high)).any() else ():
        near = best.t + reach * rng.standard_normal((starts, best.t.shape[1]))
        best = _better(best, _best(solve(rows(p, starts), near)))
    return best


def nearby(p: Separable, starts: Array) -> Found:
    """The least of the minima next to known places (starts, k), without looking at the grid again."""
    return _best(solve(rows(p, len(starts)), starts))


def _best(found: Found) -> Found:
    return found.take([int(np.argmin(found.squares))])


def again(p: Separable, start: Found, weights: Array | None = None, y: Array | None = None) -> Found:
    """The optimum of each row next to where it was last found, with other weights and y (rows, runs) if given."""
    changes = {} if weights is None else {"root": np.sqrt(weights)}
    return solve(rows(p, len(start.t), **(changes if y is None else changes | {"y": y})), start.t)


def curve_at(p: Separable, found: Found, at: Array) -> Array:
    """The curve of each row at points (d, points), logarithms of x from the reference; (rows, points)."""
    g, _ = p.family.shape(found.t, at)
    return found.b[:, None] * g + found.delta[:, None]


def refit(p: Separable, weights: Array, y: Array | None, start: Found) -> Found:
    """Fit each row of ``weights`` (rows, runs), and of ``y`` if it differs too, again from ``start`` and the grid."""
    grid, measured = candidates(p), np.broadcast_to(p.y, weights.shape) if y is None else y
    grid = grid[np.argsort(scan(p, grid, p.weights[None], p.y[None])[0])[:PROMISING]]
    parts = []
    for part in np.array_split(np.arange(len(weights)), max(1, len(weights) // CHUNK)):
        w, v = weights[part], measured[part]
        batch = rows(p, len(part), y=v, root=np.sqrt(w))
        near = solve(batch, np.broadcast_to(start.t, (len(part), start.t.shape[1])))
        far = solve(batch, grid[np.argmin(scan(p, grid, w, v), axis=1)])
        parts.append(_better(near, far))
    return Found(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Found)))


def refits(p: Separable, counts: Array, y: Array | None = None) -> Found:
    """Fit every draw; weights that depend on the curve (logarithms, the robust loss) are iterated until they settle."""
    measured = p.y if y is None else y
    weights = counts * (p.weights if y is None else weigh(y, None, p.space))
    found = refit(p, weights, y, p.optimum)
    if p.space != "log" and p.scale is None:
        return found
    left = np.arange(len(counts))
    for _ in range(SETTLE):
        mine = measured if y is None else y[left]
        new = counts[left] * weigh(mine, curve_at(p, found.take(left), p.x), p.space, p.scale)
        moving = ~np.isclose(new, weights[left], rtol=1e-7, atol=0.0).all(axis=1)
        weights[left] = new
        left = left[moving]
        if not len(left):
            break
        found = found.put(left, again(p, found.take(left), weights[left], None if y is None else y[left]))
    return found


def _better(one: Found, other: Found) -> Found:
    first = one.squares <= other.squares
    pairs = ((getattr(one, f.name), getattr(other, f.name)) for f in fields(Found))
    return Found(*(np.where(first[:, None] if a.ndim == 2 else first, a, b) for a, b in pairs))


def candidates(p: Separable) -> Array:
    """A grid over the bounds of t, coarse enough to be scanned for every resample; (points, k)."""
    family = p.family
    counts = GRID.get(k := len(family.own), (max(2, int(WHOLE ** (1 / k))),) * k)
    axes = [np.linspace(low, high, n) for low, high, n in zip(p.low, p.high, counts, strict=False)]
    if family.share:
        axes.append(np.array([-12.0, -5.0, -2.0, -0.7, 0.0, 0.7, 2.0, 5.0, 12.0]))
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(axes))


def scan(p: Separable, grid: Array, weights: Array, y: Array) -> Array:
    """The least squares of each row at each point of a grid of t, by moments; (rows, points)."""
    g = p.family.shape(grid, p.x)[0]  # (points, runs)
    s1, sy, syy = (np.sum(v, axis=1, keepdims=True) for v in (weights, weights * y, weights * y * y))
    sg, sgg, sgy = weights @ g.T, weights @ (g * g).T, (weights * y) @ g.T
    delta = np.clip((sgg * sy - sg * sgy) / np.maximum(s1 * sgg - sg * sg, 1e-300), *p.delta)
    b = np.maximum((sgy - delta * sg) / sgg, 0.0)
    delta = np.where(b > 0, delta, np.clip(sy / s1, *p.delta))
    return np.asarray(syy + b * (b * sgg - 2 * sgy + 2 * delta * sg) + delta * (delta * s1 - 2 * sy))


@dataclass(frozen=True)
class _State:
    b: Array
    delta: Array
    r: Array  # residuals times root weights
    squares: Array
    slopes: Array  # of the curve by t, times root weights, minus the part that b and delta can follow; (rows, k, runs)


def _look(batch: Rows, t: Array) -> _State:
    """Solve for b and delta at t, with the residuals and the slopes that are left."""
    g, slopes = batch.shape(t, batch.x)
    root, y, low, high = batch.root, batch.y, batch.floor[:, 0], batch.floor[:, 1]
    if batch.height is not None and batch.at is not None:
        return _pinned(batch, t, g, slopes)
    w = root * root
    s1 = w.sum(1)
    mean_y = (w * y).sum(1) / s1
    if batch.free:
        mean_g = (w * g).sum(1) / s1
        centred = g - mean_g[:, None]
        b = (w * centred * y).sum(1) / np.maximum((w * centred * centred).sum(1), 1e-300)
        delta = np.clip(mean_y - b * mean_g, low, high)
        bound = delta != mean_y - b * mean_g
        wg = w * g
        b = np.maximum(np.where(bound, (wg * (y - delta[:, None])).sum(1) / (wg * g).sum(1), b), 0.0)
        delta = np.where(b > 0, delta, np.clip(mean_y, low, high))
    else:
        b = np.ones(len(t))
        delta = np.clip(mean_y - (w * g).sum(1) / s1, low, high)
    r = root * (y - b[:, None] * g - delta[:, None])
    # The effect of a change of t that b and delta cannot compensate: its slopes minus their projections.
    left = slopes * (root * g * b[:, None])[:, None]
    inner = ((delta > low) & (delta < high))[:, None]
    column = np.where(inner, root, 0.0)
    left = left - _along(left, column, s1)
    if batch.free:
        column = root * np.where(inner, g - (w * g).sum(1, keepdims=True) / s1[:, None], g)
        left = left - _along(left, column, (column * column).sum(1))
    return _State(b, delta, r, (r * r).sum(1), left)


def _along(slopes: Array, column: Array, norm: Array) -> Array:
    share = (slopes @ column[..., None]) / np.maximum(norm, 1e-300)[:, None, None]  # (rows, k, 1)
    return np.asarray(share * column[:, None])


def _pinned(batch: Rows, t: Array, g: Array, slopes: Array) -> _State:
    """The same with delta = height - b g(at), so that only b has to be solved for."""
    assert batch.height is not None
    assert batch.at is not None
    g_at, slopes_at = batch.shape(t, batch.at[:, :, None])
    root, h = batch.root, batch.height
    column = root * (g - g_at)
    least = np.maximum((h - batch.floor[:, 1]) / g_at[:, 0], 0.0)
    most = np.maximum((h - batch.floor[:, 0]) / g_at[:, 0], least)
    norm = (column * column).sum(1)
    b = np.clip((column * root * (batch.y - h[:, None])).sum(1) / np.maximum(norm, 1e-300), least, most)
    r = root * (batch.y - h[:, None]) - b[:, None] * column
    inner = (b > least) & (b < most)
    # At a bound of the floor b moves with g(at), so that the curve's slope there is relative to the pinned point's.
    moved = np.where(inner[:, None, None], g_at[:, :, None] * slopes_at, g[:, None] * slopes_at)
    left = (b[:, None] * root)[:, None] * (g[:, None] * slopes - moved)
    left = left - _along(left, np.where(inner[:, None], column, 0.0), norm)
    return _State(b, h - b * g_at[:, 0], r, (r * r).sum(1), left)


def solve(batch: Rows, t: Array, close: float = CLOSE) -> Found:
    """Take every row from its t to its minimum; (rows, k) in, the optimum of each row out.

    Steps are Levenberg and Marquardt's. Where residuals are large these steps are slow, because they ignore the
    curvature of the curve itself. So this part is learned from the change of the gradient, as in NL2SOL (Dennis, Gay
    and Welsch 1981), and used in a row as long as it predicts the next decrease better.
    """
    n, k = t.shape
    t = np.clip(t, batch.low, batch.high)
    out = Found(np.full(n, np.inf), np.zeros(n), t.copy(), np.zeros(n))
    state = _look(batch, t)
    walk = _Walk(np.arange(n), t, np.full(n, 1e-3), np.zeros((n, k, k)), np.zeros(n, bool), *_slope(state))
    for turn in range(ROUNDS):
        t, pull, bend = walk.t, walk.pull, walk.bend
        stuck = ((t <= batch.low) & (pull < 0)) | ((t >= batch.high) & (pull > 0))
        scale = np.where(stuck, 0.0, np.einsum("rkk->rk", bend))
        scale = np.where(scale > 0, scale, np.maximum(scale.max(1, keepdims=True), 1e-300))
        free = np.where(stuck, 0.0, pull)
        arrived = ((free * free / scale).max(1) <= close * state.squares) | (walk.damp > 1e12)
        step = _step(walk, free, stuck, scale)
        reach = np.maximum(REACH, 0.5 * np.abs(t))
        new = np.clip(t + np.clip(step, -reach, reach), batch.low, batch.high)
        tried = _look(batch, new)
        better = tried.squares < state.squares
        pull, bend = _slope(tried)
        if turn >= PLAIN:
            walk = _learn(walk, new - t, better, 0.5 * (state.squares - tried.squares), pull, bend)
        walk = replace(
            walk,
            t=_pick(better, new, t),
            damp=np.where(better, np.maximum(walk.damp * 0.1, 1e-12), walk.damp * 8),
            pull=_pick(better, pull, walk.pull),
            bend=_pick(better, bend, walk.bend),
        )
        state = _State(*(_pick(better, getattr(tried, f.name), getattr(state, f.name)) for f in fields(_State)))
        if arrived.any():
            _put(out, walk.place[arrived], state, walk.t, arrived)
            stay = ~arrived
            batch = batch.take(stay)
            walk = _Walk(*(getattr(walk, f.name)[stay] for f in fields(_Walk)))
            state = _State(*(getattr(state, f.name)[stay] for f in fields(_State)))
        if not len(walk.place):
            break
    _put(out, walk.place, state, walk.t, np.ones(len(walk.place), dtype=bool))
    return out


@dataclass(frozen=True)
class _Walk:
    """Rows that have not converged yet."""

    place: Any  # in the batch that was given
    t: Array
    damp: Array
    curl: Array  # what the curve's own curvature adds to ``bend``, as far as learned; (rows, k, k)
    curled: Any  # whether it is used
    pull: Array  # downhill, (rows, k)
    bend: Array  # of the squares, if the curve were straight in t; (rows, k, k)


def _slope(state: _State) -> tuple[Array, Array]:
    return (state.slopes @ state.r[..., None])[..., 0], state.slopes @ state.slopes.transpose(0, 2, 1)


def _step(walk: _Walk, pull: Array, stuck: Any, scale: Array) -> Array:
    """The damped step of each row; entries that are stuck at a bound stay."""
    norm, k = np.sqrt(scale), pull.shape[1]
    keep = ~(stuck[:, :, None] | stuck[:, None, :])
    both = norm[:, :, None] * norm[:, None, :]

    def system(bend: Array) -> Array:
        scaled = np.where(keep, bend, 0.0) / both
        diagonal = np.einsum("rkk->rk", scaled)  # a view, many times as fast as indices
        diagonal += np.where(stuck, 1.0, 0.0) + walk.damp[:, None]
        return np.asarray(scaled)

    matrix = system(walk.bend)
    if walk.curled.any():  # only where the result is still convex: all leading minors above zero
        with np.errstate(over="ignore", invalid="ignore"):
            curled = system(walk.bend + walk.curl)
            valley = [np.linalg.det(curled[:, :i, :i]) > 1e-9 for i in range(1, k + 1)]
        use = walk.curled & np.logical_and.reduce(valley) & (np.abs(curled).max((1, 2)) < 1e6)
        matrix = np.where(use[:, None, None], curled, matrix)
    return np.asarray(np.linalg.solve(matrix, (pull / norm)[..., None])[..., 0] / norm)


def _learn(walk: _Walk, s: Array, better: Any, fell: Array, pull: Array, bend: Array) -> _Walk:
    """Learn the curve's curvature from a step ``s``, where that step was an improvement."""
    straight = (s * walk.pull).sum(1) - 0.5 * _form(s, walk.bend)
    curled = np.abs(straight - 0.5 * _form(s, walk.curl) - fell) < np.abs(straight - fell)
    change = walk.pull - pull  # the change of the pull along s: all of the curvature, including the curve's own
    along = (change * s).sum(1)
    own = change - (bend @ s[..., None])[..., 0]
    with np.errstate(over="ignore", invalid="ignore"):  # a step too small to learn from is not kept
        size = np.abs(_form(s, walk.curl))
        shrink = np.where(size > 0, np.minimum(1.0, np.abs((own * s).sum(1)) / np.where(size > 0, size, 1.0)), 1.0)
        curl = shrink[:, None, None] * walk.curl
        miss = own - (curl @ s[..., None])[..., 0]
        unit = change / np.where(along > 0, along, np.inf)[:, None]
        cross = miss[:, :, None] * unit[:, None]
        square = unit[:, :, None] * unit[:, None]
        curl = curl + cross + cross.transpose(0, 2, 1) - (miss * s).sum(1)[:, None, None] * square
    keep = better & (along > 0) & np.isfinite(curl).all((1, 2))
    return replace(walk, curl=_pick(keep, curl, walk.curl), curled=np.where(better, curled, walk.curled))


def _form(s: Array, matrix: Array) -> Array:
    return np.asarray((s * (matrix @ s[..., None])[..., 0]).sum(1))


def _pick(first: Any, a: Array, b: Array) -> Array:
    return np.where(first.reshape(-1, *[1] * (a.ndim - 1)), a, b)


def _put(out: Found, places: Any, state: _State, t: Array, which: Any) -> None:
    out.squares[places], out.b[places] = state.squares[which], state.b[which]
    out.delta[places], out.t[places] = state.delta[which], t[which]


def parameters(p: Separable, found: Found) -> Array:
    """The law's own parameters of each row, delta last; a coefficient is 0 where its argument does not matter."""
    fall = found.b > 0
    log_b = np.log(np.where(fall, found.b, 1.0))
    natural = p.family.to_natural(found.t, log_b)
    origin = [0.0 if d is None else p.origin[d] for d in p.family.unit]
    values = np.exp(np.clip(natural + np.array(origin), -FAR, FAR))
    if p.family.share:
        _, slopes = p.family.natural(natural, p.x)
        for (
            place
        ) in p.family.coefficients:  # a coefficient's slope is its exponent times the share of its half at each run
            values[slopes[:, place].max(1) < NIL * np.exp(natural[:, place + 1]), place] = 0.0
    for place in p.family.coefficients:
        values[~fall, place] = 0.0
    return np.column_stack([values, found.delta])
