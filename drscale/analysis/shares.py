"""Where a mixed model sees the variance: shares of models, datasets and queries, and their effects. No torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import numpy as np
import pandas as pd
from scipy import stats

from drscale.analysis import nested
from drscale.analysis.columns import check_level
from drscale.analysis.mixed import TINY, Mixed
from drscale.analysis.nested import Array

Group = Literal["dataset", "query"]
FEWEST = 20  # draws that an interval can be read from


def variance_shares(fit: Mixed, level: float = 0.95, draws: int = 200, seed: int = 0) -> pd.DataFrame:
    """Share out the variance of scores over the grid: model, factor, their interaction, dataset, query, residual.

    The fixed sources are the variance of their marginal means (each cell of the grid counting once) less what sampling
    error adds to it, so chance may make one slightly negative; it is shown as zero. The rest are the fit's variances.
    Intervals are percentiles of a parametric bootstrap: ``draws`` new responses from the fitted model, each fitted
    anew. 0 draws leave them out. Sources that need a cell without rows are missing.
    """
    check_level(level)
    if draws and draws < FEWEST:
        raise ValueError(f"draws={draws}: at least {FEWEST}, or 0 for no intervals")
    fixed = _fixed_sources(fit)
    residual = fit.variances["residual"]
    known = _divided(fit, fixed, fit.beta, fit.covariance, fit.ratios, residual)
    kinds = ["fixed"] * len(fixed) + ["random"] * (len(known) - len(fixed))
    told = {"source": list(known), "kind": kinds, "variance": list(known.values())}
    found = pd.DataFrame(told)
    found["share"] = found["variance"] / found["variance"].sum()
    if not draws:
        return found
    rng, drawn, simulate = np.random.default_rng(seed), np.empty((draws, len(found))), _simulator(fit)
    for i in range(draws):
        sums = nested.sums(fit.layout, fit.coding, simulate(rng))
        best = nested.optimise(sums, fit.reml, free=("query" in fit.names, "dataset" in fit.names), start=fit.ratios)
        solved = nested.solve(nested.terms(sums, *best.ratios).products)
        left = solved.left / (sums.rows - (sums.columns if fit.reml else 0))
        made = _divided(fit, fixed, solved.beta, solved.inverse * left, best.ratios, left)
        drawn[i] = np.array(list(made.values())) / np.nansum(list(made.values()))
    ends = np.quantile(drawn, [0.5 - level / 2, 0.5 + level / 2], axis=0)
    return found.assign(low=ends[0], high=ends[1])


def effects(fit: Mixed, of: Group = "dataset", level: float = 0.95) -> pd.DataFrame:
    """How much easier each dataset or query is than the fixed part says: effect, sd and interval, hardest first.

    Conditional modes (best linear unbiased predictions): shrunk towards zero, the more the fewer rows there are. ``sd``
    takes the fixed part and the variances as known, as lme4's does.
    """
    check_level(level)
    if of not in get_args(Group) or of not in fit.names:
        raise ValueError(f"of={of!r}: allowed are {', '.join(map(repr, fit.names))}")
    g_query, g_dataset = fit.ratios
    s, n, residual = fit.sums, fit.sums.sizes, fit.variances["residual"]
    e = np.append(-(fit.beta - fit.centre * np.eye(len(fit.beta))[0]), 1.0)
    weighed = 1 / (1 + n * g_query)
    behind = g_dataset / (1 + g_dataset * (s.count @ (n * weighed)))
    effect, variance = behind * ((s.level @ e) @ weighed), residual * behind
    rows = s.count @ n
    if of == "query":
        place, size = fit.layout.dataset, n[fit.layout.size]
        left = fit.layout.incidence @ (fit.coding @ e[:-1]) + fit.totals - size * effect[place]
        pull = g_query / (1 + size * g_query)
        effect, variance = pull * left, residual * pull + (pull * size) ** 2 * variance[place]
        rows = size
    half = stats.norm.ppf(0.5 + level / 2) * np.sqrt(variance)
    told = {"rows": rows.astype(int), "effect": effect, "sd": np.sqrt(variance), "low": effect - half}
    found = fit.names[of].assign(**told, high=effect + half)
    return found.sort_values("effect", kind="stable", ignore_index=True)


def _fixed_sources(fit: Mixed) -> dict[str, Array]:
    """For each fixed source the weights of the cells whose mean square is its variance over the grid."""
    cells = len(fit.grid)
    names = [fit.model] if fit.factor is None else [fit.model, fit.factor]
    whole = np.full((cells, cells), 1 / cells)
    found, rest = {}, np.eye(cells) - whole
    for name in names:
        same = fit.grid[name].to_numpy()[:, None] == fit.grid[name].to_numpy()
        found[name] = same / same.sum(axis=1, keepdims=True) - whole
        rest = rest - found[name]
    if fit.interaction:
        found[" × ".join(names)] = rest
    return found


def _divided(
    fit: Mixed, fixed: dict[str, Array], beta: Array, covariance: Array, ratios: tuple[float, float], residual: float
) -> dict[str, float]:
    found = {}
    for name, weights in fixed.items():
        columns = weights @ fit.coding
        noise = np.einsum("mp,pq,mq->m", columns, covariance, columns)
        value = max(float(np.mean((columns @ beta) ** 2 - noise)), 0.0)
        able = np.abs(weights @ fit.missing).max(initial=0) <= TINY
        found[name] = value if able else np.nan
    if "dataset" in fit.names:
        found["dataset"] = residual * ratios[1]
    if fit.queries is not None:
        found["query"] = residual * ratios[0]
    return found | {"residual": residual}


def _simulator(fit: Mixed) -> Callable[[np.random.Generator], Array]:
    """A function that draws a response from the fitted model, in the units of the sums."""
    where = fit.layout
    mean = (fit.coding @ fit.beta - fit.centre)[where.cell]
    place = where.dataset[where.query]
    sd = {name: np.sqrt(v) for name, v in fit.variances.items()}

    def draw(rng: np.random.Generator) -> Array:
        y = mean + sd["residual"] * rng.standard_normal(len(mean))
        if "dataset" in sd:
            y += (sd["dataset"] * rng.standard_normal(fit.datasets))[place]
        if fit.queries is not None:
            y += (sd["query"] * rng.standard_normal(fit.queries))[where.query]
        return y

    return draw
