"""How much of the variance of per-query values is due to queries, and how much to training seeds. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import special, stats

from drscale.stats.tables import Array, check_level, done, require


def seed_variance(
    table: pd.DataFrame,
    rows: pd.DataFrame,
    metric: str = "entropy",
    *,
    scope: str = "in_domain",
    by: Sequence[str] = ("params_layers",),
    n_boot: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Split the variance of per-query values into queries and seeds; one row for each size, and the trend over sizes.

    Runs of ``table`` that agree in ``by`` are seeds of one size; ``rows`` is ``RunStore.queries()``. ``mean`` is the
    mean value; ``seeds`` the variance between seeds on the same query, averaged over queries (unbiased, n - 1);
    ``rows`` the variance of the expected value between queries, which is the variance of the seeds' means minus the
    part that the seeds add to it; ``share`` is seeds / (seeds + queries). Each has ``_low`` and ``_high`` over queries,
    with the same draws of queries for all sizes. ``of_mean`` is the variance between the seeds' mean values, which
    matters in a study of means; with n seeds its own interval (chi-squared, n - 1) is wide.

    The trend has one row for each measure, ``seeds``, ``rows``, ``share`` and ``of_mean``: the ``slope`` of its log
    over the log of the first of ``by``, with the wider of two intervals, over queries and over sizes (Student's t). For
    ``of_mean`` the interval is from the logarithm of a chi-squared variable, because with two seeds it has only one
    degree of freedom.
    """
    check_level(level)
    runs = done(table)
    require(runs, *by, "key", what=f"by={tuple(by)!r}: the table")
    some = rows[(rows["scope"] == scope) & rows["key"].isin(runs["key"])]
    if some.empty or metric not in some:
        raise ValueError(f"scope={scope!r}, metric={metric!r}: the rows have no such values of these runs")
    wide = some.pivot_table(metric, "query", "key")
    if len(some) != wide.size or wide.isna().any(axis=None):
        raise ValueError(f"scope={scope!r}: the runs were not asked the same queries once each")
    rng = np.random.default_rng(seed)
    found: list[dict[str, Any]] = []
    sampled = []
    times = rng.multinomial(len(wide), np.full(len(wide), 1 / len(wide)), size=n_boot)
    times = np.vstack([np.ones(len(wide), dtype=int), times])
    for place, part in runs.groupby(list(by)):
        values = wide[part["key"].tolist()].to_numpy()
        n = values.shape[1]
        if n < 2:
            continue
        parts = _parts(values, times)
        low, high = np.quantile(parts[1:], [0.5 - level / 2, 0.5 + level / 2], axis=0)
        row = dict(zip(by, place, strict=True)) | {"runs": n, "mean": float(values.mean())}
        for i, word in enumerate(("seeds", "queries", "share")):
            row |= {word: parts[0, i], f"{word}_low": low[i], f"{word}_high": high[i]}
        spread = float(values.mean(axis=0).var(ddof=1))
        ends = spread * (n - 1) / stats.chi2.ppf([0.5 + level / 2, 0.5 - level / 2], n - 1)
        found.append(row | {"of_mean": spread, "of_mean_low": ends[0], "of_mean_high": ends[1]})
        sampled.append(parts)
    if len(found) < 3:
        raise ValueError(f"by={tuple(by)!r}: {len(found)} sizes have two seeds or more, a trend needs three")
    frame = pd.DataFrame(found)
    return frame, _trend(frame, np.stack(sampled), np.log(frame[by[0]].to_numpy(dtype=float)), level)


def _parts(values: Array, times: np.ndarray) -> Array:
    """Variance between seeds, between queries, and the first's share, for each draw of queries; (draws, 3)."""
    n, total = values.shape[1], times.sum(axis=1)
    within = times @ values.var(axis=1, ddof=1) / total
    mean = values.mean(axis=1)
    centre = times @ mean / total
    between = (times @ mean**2 / total - centre**2) * total / (total - 1) - within / n
    return np.column_stack([within, between, within / (within + between)])


def _trend(frame: pd.DataFrame, sampled: Array, log_x: Array, level: float) -> pd.DataFrame:
    told = []
    for i, word in enumerate(("seeds", "queries", "share")):
        fit = stats.linregress(log_x, np.log(frame[word]))
        half = float(stats.t.ppf(0.5 + level / 2, len(frame) - 2) * fit.stderr)
        ends = float(fit.slope) - half, float(fit.slope) + half
        slopes = np.polyfit(log_x, np.log(sampled[:, 1:, i]), 1)[0]
        drawn = np.quantile(slopes, [0.5 - level / 2, 0.5 + level / 2])
        low, high = ends if ends[1] - ends[0] > drawn[1] - drawn[0] else map(float, drawn)
        told.append((word, float(fit.slope), low, high))
    half_free = (frame["runs"].to_numpy() - 1) / 2
    logs = np.log(frame["of_mean"].to_numpy()) - special.digamma(half_free) + np.log(half_free)
    (slope, _), known = np.polyfit(log_x, logs, 1, w=special.polygamma(1, half_free) ** -0.5, cov="unscaled")
    reach = float(stats.norm.ppf(0.5 + level / 2) * np.sqrt(known[0, 0]))
    told.append(("of_mean", float(slope), float(slope) - reach, float(slope) + reach))
    return pd.DataFrame(told, columns=["what", "slope", "low", "high"])
