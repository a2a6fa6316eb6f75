"""The likelihood of a mixed model with intercepts for datasets and for queries inside them, in closed form. No torch.

With ``g_query`` and ``g_dataset`` the two variances over the residual one, a query's n rows have the covariance
I + g_query 11', whose inverse is I - 11' g_query / (1 + n g_query); a dataset adds one rank-one term more (Woodbury).
So the likelihood needs nothing but sums over queries, by dataset and by n: :class:`Sums`. An evaluation then costs
O(p^3 + datasets p^2) for p columns, however many rows there are. The criterion is that of Bates et al. (2015, lme4,
Eq. 33 to 42); first and second derivatives are exact.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import linalg, optimize, sparse

from drscale.stats.tables import Array

Codes = npt.NDArray[np.intp]
STARTS = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)  # relative standard deviations tried before descending
SMALL = 0.1  # relative standard deviations below this are compared with zero
LARGEST = 1e4
FLAT = 1e-6  # the largest slope of the criterion, a row and by relative standard deviation, that counts as an optimum
CLOSE = {"ftol": 1e-14, "gtol": 1e-7}  # where a descent may stop


@dataclass(frozen=True)
class Layout:
    """The place of each row, and the sums over queries that do not depend on the response.

    ``cell`` and ``query`` are codes of rows, ``dataset`` and ``size`` codes of queries; ``sizes`` are the different
    numbers of rows a query has. ``own`` (sizes, cells, cells) sums each query's own products of cell counts, ``level``
    (datasets, sizes, cells) the counts themselves, ``count`` (datasets, sizes) the queries.
    """

    cell: Codes
    query: Codes
    dataset: Codes
    size: Codes
    sizes: Array
    incidence: Any
    own: Array
    level: Array
    count: Array

    @property
    def cells(self) -> int:
        return self.own.shape[1]


@dataclass(frozen=True)
class Sums:
    """The sums that the likelihood needs, as in :class:`Layout`: p columns of the design and, last, the response."""

    sizes: Array
    own: Array
    level: Array
    count: Array
    total: Array
    rows: int

    @property
    def columns(self) -> int:
        return self.total.shape[0] - 1


@dataclass(frozen=True)
class Terms:
    """At one pair of ratios: products Z'V^-1 Z and log |V|, with derivatives by (g_query, g_dataset) if requested."""

    products: Array
    log_det: float
    first: tuple[Array, ...] = ()
    log_first: tuple[float, ...] = ()
    second: tuple[Array, ...] = ()  # by query twice, by both, by dataset twice
    log_second: tuple[float, ...] = ()


@dataclass(frozen=True)
class Optimum:
    """Where the criterion is least: ``ratios`` are variances over the residual one, of queries and of datasets."""

    ratios: tuple[float, float]
    criterion: float
    slope: float

    @property
    def converged(self) -> bool:
        return self.slope <= FLAT


def layout(cell: Codes, query: Codes, dataset: Codes, cells: int) -> Layout:
    """Compute the sums that do not depend on the response; ``dataset`` gives the dataset of each query."""
    shape = (len(dataset), cells)
    counted = sparse.coo_matrix((np.ones(len(cell)), (query, cell)), shape=shape).tocsr()
    sizes, size = np.unique(np.asarray(counted.sum(axis=1)).ravel(), return_inverse=True)
    places, datasets = len(sizes), int(dataset.max()) + 1
    own = np.empty((places, cells, cells))
    for k in range(places):
        part = counted[np.flatnonzero(size == k)]
        own[k] = (part.T @ part).toarray()
    group = sparse.coo_matrix((np.ones(len(dataset)), (dataset * places + size, np.arange(len(dataset)))))
    group.resize(datasets * places, len(dataset))
    level = (group.tocsr() @ counted).toarray().reshape(datasets, places, cells)
    count = np.bincount(dataset * places + size, minlength=datasets * places).reshape(datasets, places)
    return Layout(cell, query, dataset, size, sizes, counted, own, level, count.astype(float))


def sums(where: Layout, coding: Array, y: Array) -> Sums:
    """Add the sums of a response; ``coding`` (cells, p) turns cells into the columns of the design."""
    places, datasets = len(where.sizes), len(where.count)
    total = np.bincount(where.query, y, len(where.dataset))  # of each query
    by_size = sparse.coo_matrix((total, (where.size, np.arange(len(total)))), shape=(places, len(total))).tocsr()
    mixed = np.asarray((by_size @ where.incidence).todense()) @ coding  # (sizes, p)
    p = coding.shape[1]
    own, level = np.empty((places, p + 1, p + 1)), np.empty((datasets, places, p + 1))
    own[:, :p, :p] = coding.T @ where.own @ coding
    own[:, :p, p] = own[:, p, :p] = mixed
    own[:, p, p] = np.bincount(where.size, total**2, places)
    level[..., :p] = where.level @ coding
    level[..., p] = np.bincount(where.dataset * places + where.size, total, datasets * places).reshape(datasets, places)
    rows = np.bincount(where.cell, minlength=where.cells)
    whole = np.empty((p + 1, p + 1))
    whole[:p, :p] = (coding.T * rows) @ coding
    whole[:p, p] = whole[p, :p] = coding.T @ np.bincount(where.cell, y, where.cells)
    whole[p, p] = y @ y
    return Sums(where.sizes, own, level, where.count, whole, len(y))


def terms(s: Sums, g_query: float, g_dataset: float, order: int = 0) -> Terms:
    """Z'V^-1 Z and log |V| at two ratios; ``order`` derivatives of both (0, 1 or 2)."""
    n, d = s.sizes, g_dataset
    u = 1 / (1 + n * g_query)
    v = _by_size(s.level, u)  # (datasets, p + 1)
    a = s.count @ (n * u)
    h = d / (1 + d * a)
    products = s.total - np.tensordot(g_query * u, s.own, 1) - _outer(h, v, v)
    queries = s.count.sum(axis=0)
    log_det = float(queries @ np.log1p(n * g_query) + np.log1p(d * a).sum())
    if not order:
        return Terms(products, log_det)
    v1, a1 = -_by_size(s.level, n * u**2), -(s.count @ (n**2 * u**2))
    h_d, h_q, cross = 1 / (1 + d * a) ** 2, -(h**2) * a1, _both(h, v1, v)
    by_query = -np.tensordot(u**2, s.own, 1) - _outer(h_q, v, v) - cross
    first = (by_query, -_outer(h_d, v, v))
    log_first = (float(queries @ (n * u) + h @ a1), float((a / (1 + d * a)).sum()))
    if order == 1:
        return Terms(products, log_det, first, log_first)
    v2, a2 = 2 * _by_size(s.level, n**2 * u**3), 2 * (s.count @ (n**3 * u**3))
    h_qq = 2 * h**3 * a1**2 - h**2 * a2
    h_dq, h_dd = -2 * d * a1 / (1 + d * a) ** 3, -2 * a / (1 + d * a) ** 3
    twice = 2 * np.tensordot(n * u**3, s.own, 1) - _outer(h_qq, v, v) - 2 * _both(h_q, v1, v)
    twice -= _both(h, v2, v) + 2 * _outer(h, v1, v1)
    second = (twice, -_outer(h_dq, v, v) - _both(h_d, v1, v), -_outer(h_dd, v, v))
    log_second = (
        float(-queries @ (n * u) ** 2 + h_q @ a1 + h @ a2),
        float(h_d @ a1),
        float(-((a / (1 + d * a)) ** 2).sum()),
    )
    return Terms(products, log_det, first, log_first, second, log_second)


def _by_size(level: Array, weights: Array) -> Array:
    return np.einsum("dkz,k->dz", level, weights)


def _outer(weights: Array, a: Array, b: Array) -> Array:
    return (a.T * weights) @ b


def _both(weights: Array, a: Array, b: Array) -> Array:
    half = _outer(weights, a, b)
    return half + half.T


@dataclass(frozen=True)
class Solved:
    """Coefficients at two ratios: ``inverse`` is (X'V^-1 X)^-1, ``left`` the weighted residual sum of squares."""

    beta: Array
    inverse: Array
    left: float
    log_det: float


def solve(products: Array) -> Solved:
    """Generalised least squares from Z'V^-1 Z; ValueError if columns depend on each other."""
    p = len(products) - 1
    try:
        factor = linalg.cho_factor(products[:p, :p], lower=True)
    except linalg.LinAlgError:
        raise ValueError("the columns of the design depend on each other") from None
    beta = linalg.cho_solve(factor, products[:p, p])
    left = float(products[p, p] - products[:p, p] @ beta)
    return Solved(beta, linalg.cho_solve(factor, np.eye(p)), left, 2 * float(np.log(np.diag(factor[0])).sum()))


def criterion(s: Sums, ratios: tuple[float, float], reml: bool, order: int = 0) -> tuple[float, Array, Array]:
    """-2 log (restricted) likelihood with the residual variance profiled out, its slope and curvature by the ratios."""
    found = terms(s, *ratios, order)
    fit = solve(found.products)
    df = s.rows - s.columns if reml else s.rows
    value = found.log_det + (fit.log_det if reml else 0.0) + df * (1 + math.log(2 * math.pi * fit.left / df))
    slope, curve = np.zeros(2), np.zeros((2, 2))
    if order:
        parts = _parts(found, fit, reml)
        slope = parts.log_first + df * parts.left_first / fit.left
    if order == 2:
        relative = parts.left_first / fit.left
        curve = parts.log_second + df * (parts.left_second / fit.left - np.outer(relative, relative))
    return value, slope, curve


@dataclass(frozen=True)
class _Parts:
    """Derivatives by the ratios of the log determinants and of the residual sum of squares."""

    log_first: Array
    left_first: Array
    log_second: Array
    left_second: Array


def _parts(found: Terms, fit: Solved, reml: bool) -> _Parts:
    p = len(fit.beta)
    e = np.append(-fit.beta, 1.0)
    pulled = [m @ e for m in found.first]
    spread = [fit.inverse @ m[:p, :p] for m in found.first] if reml else []
    log_first = np.array(found.log_first) + (np.array([np.trace(w) for w in spread]) if reml else 0.0)
    left_first = np.array([e @ v for v in pulled])
    log_second, left_second = np.zeros((2, 2)), np.zeros((2, 2))
    for k, (i, j) in enumerate(((0, 0), (0, 1), (1, 1)) if found.second else ()):
        m, value = found.second[k], found.log_second[k]
        if reml:
            value += float(np.sum(fit.inverse * m[:p, :p]) - np.sum(spread[i] * spread[j].T))
        log_second[i, j] = log_second[j, i] = value
        bent = e @ m @ e - 2 * pulled[i][:p] @ fit.inverse @ pulled[j][:p]
        left_second[i, j] = left_second[j, i] = bent
    return _Parts(log_first, left_first, log_second, left_second)


def curvature(s: Sums, ratios: tuple[float, float], variance: float, reml: bool) -> tuple[Array, list[Array]]:
    """Second derivatives of -2 log likelihood by (g_query, g_dataset, residual variance), none of them profiled out,
    and the derivatives of X'V^-1 X by the two ratios.
    """
    found = terms(s, *ratios, 2)
    fit = solve(found.products)
    df, parts, p = s.rows - s.columns if reml else s.rows, _parts(found, fit, reml), s.columns
    full = np.empty((3, 3))
    full[:2, :2] = parts.log_second + parts.left_second / variance
    full[:2, 2] = full[2, :2] = -parts.left_first / variance**2
    full[2, 2] = -df / variance**2 + 2 * fit.left / variance**3
    return full, [m[:p, :p] for m in found.first]


def optimise(
    s: Sums, reml: bool = True, free: tuple[bool, bool] = (True, True), start: tuple[float, float] | None = None
) -> Optimum:
    """Find the ratios where the criterion is least; a ratio that is not ``free`` stays zero.

    The search goes by relative standard deviations, the square roots of the ratios, from the best of a grid or from
    ``start`` (ratios). If one of them is small, zero is tried for it too, and kept if it is not worse: the criterion is
    flat there, so a search alone would stop before it. The search uses a response of unit size, so its path does not
    depend on the unit of the response.
    """
    unit = math.sqrt(s.total[-1, -1] / s.rows)
    found = _searched(_in_units(s, unit), reml, free, start)
    return replace(found, criterion=found.criterion + 2 * (s.rows - (s.columns if reml else 0)) * math.log(unit))


def _in_units(s: Sums, unit: float) -> Sums:
    """The sums of the response measured in another unit."""
    by = np.append(np.ones(s.columns), 1 / unit)
    return replace(s, own=s.own * np.outer(by, by), level=s.level * by, total=s.total * np.outer(by, by))


def _searched(s: Sums, reml: bool, free: tuple[bool, bool], start: tuple[float, float] | None) -> Optimum:
    best = _descended(s, reml, free, start)
    small = [i for i in (0, 1) if free[i] and best.ratios[i] < SMALL**2]
    for gone in [small[:1], small[1:], small] if len(small) > 1 else [small] if small else []:
        left = (free[0] and 0 not in gone, free[1] and 1 not in gone)
        found = _descended(s, reml, left, best.ratios)
        # at zero the criterion must rise, by the variance: by the standard deviation it is flat there
        slope = criterion(s, found.ratios, reml, 1)[1]
        if found.criterion <= best.criterion + 1e-10 and all(slope[i] >= 0 for i in gone):
            best = found
    return best


def _descended(s: Sums, reml: bool, free: tuple[bool, bool], start: tuple[float, float] | None) -> Optimum:
    """The least criterion that a descent finds over the free ratios."""
    used = [i for i in (0, 1) if free[i]]

    def ratios(theta: Array) -> tuple[float, float]:
        full = np.zeros(2)
        full[used] = theta**2
        return float(full[0]), float(full[1])

    def value(theta: Array, order: int = 1) -> tuple[float, Array, Array]:
        found, slope, curve = criterion(s, ratios(theta), reml, order)
        scale = 2 * theta
        return found, slope[used] * scale, curve[np.ix_(used, used)] * np.outer(scale, scale) + np.diag(2 * slope[used])

    if not used:
        return Optimum((0.0, 0.0), criterion(s, (0.0, 0.0), reml)[0], 0.0)
    if start is None:
        grid = [np.array(t) for t in itertools.product(STARTS, repeat=len(used))]
        theta = min(grid, key=lambda t: value(t, 0)[0])
    else:
        theta = np.maximum(np.sqrt(np.array(start)[used]), SMALL / 10)
    bounds = [(0.0, LARGEST)] * len(used)
    found = optimize.minimize(lambda t: value(t)[:2], theta, jac=True, method="L-BFGS-B", bounds=bounds, options=CLOSE)
    theta = _polished(found.x, value)
    best, steep, _ = value(theta)
    return Optimum(ratios(theta), best, float(np.abs(steep).max() / s.rows))


def _polished(theta: Array, value: Callable[[Array, int], tuple[float, Array, Array]]) -> Array:
    """A few Newton steps over the standard deviations that are not zero, each taken only if it goes down."""
    inside = np.flatnonzero(theta > 0)
    for _ in range(20 if len(inside) else 0):
        now, slope, curve = value(theta, 2)
        try:
            step = np.linalg.solve(curve[np.ix_(inside, inside)], slope[inside])
        except np.linalg.LinAlgError:
            return theta
        after = theta.copy()
        after[inside] -= step
        if (after[inside] <= 0).any() or value(after, 0)[0] > now + 1e-9 * (1 + abs(now)):
            return theta
        theta = after
        if np.abs(step / theta[inside]).max() < 1e-11:
            return theta
    return theta
