"""Means over rows that belong to two crossed factors, such as needs and seeds, with intervals that resample both.

Never imports torch.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from drscale.analysis.columns import check_level

COLUMNS = ["mean", "low", "high", "n", "clusters", "seeds"]
ASKED = ("model", "seed", "phrasing", "wording", "query", "cluster", "need", "home", "package")


def crossed(
    rows: pd.DataFrame,
    value: str,
    by: str | Sequence[str] = (),
    *,
    cluster: str = "cluster",
    seeds: str | None = "seed",
    samples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Give the mean of a column and its interval over clusters and seeds, a row for each group of ``by``.

    Rows of one cluster (the queries of one need, say) are drawn together, and so are rows of one seed; both at once is
    the pigeonhole bootstrap (Owen 2007), whose intervals are rather too wide than too narrow for many clusters. Few
    seeds, resampled, vary less than new ones would, by a factor (seeds - 1) / seeds of their variance.
    ``seeds=None`` resamples clusters only.
    """
    named = [by] if isinstance(by, str) else list(by)
    _check("crossed", rows, [value], [*named, cluster, *([seeds] if seeds else [])])
    check_level(level)
    if samples < 100:
        raise ValueError(f"crossed(samples={samples}): at least 100")
    parts = rows.groupby(named, sort=False, observed=True) if named else [((), rows)]
    out = []
    for key, part in parts:
        labels = dict(zip(named, key if isinstance(key, tuple) else (key,), strict=True))
        if part[cluster].nunique() < 2:
            where = f" where {', '.join(f'{c} is {v}' for c, v in labels.items())}" if labels else ""
            raise ValueError(f"crossed(cluster={cluster!r}): one value only{where}; an interval needs at least 2")
        out.append(labels | _interval(part, value, cluster, seeds, samples, level, seed))
    return pd.DataFrame(out, columns=[*named, *COLUMNS])


def changes(
    rows: pd.DataFrame, value: str, of: str, base: str, pairs: Sequence[str] = ("seed", "query")
) -> pd.DataFrame:
    """Each row's value minus that of the row with ``of == base`` that agrees in ``pairs``; rows of the base are gone.

    The column ``base`` keeps the value that was taken away. A row without its partner, or with two, is refused: then
    the two sides did not see the same queries.
    """
    _check("changes", rows, [value], [of, *pairs])
    if base not in set(rows[of]):
        raise ValueError(f"changes({of}={base!r}): the rows have {', '.join(map(str, rows[of].unique()))}")
    partner = rows.loc[rows[of] == base, [*pairs, value]].rename(columns={value: "_base"})
    if partner.duplicated(list(pairs)).any():
        raise ValueError(f"changes({of}={base!r}): two rows agree in {', '.join(pairs)}")
    both = rows[rows[of] != base].merge(partner, on=list(pairs), how="left")
    if lone := int(both["_base"].isna().sum()):
        raise ValueError(f"changes({of}={base!r}): {lone} rows have no partner that agrees in {', '.join(pairs)}")
    return (
        both.assign(**{value: both[value] - both["_base"]})
        .drop(columns="base", errors="ignore")
        .rename(columns={"_base": "base"})
    )


def ratio(rows: pd.DataFrame, value: str, over: str, by: str | Sequence[str] = ()) -> pd.DataFrame:
    """Turn a column into its rows' parts in mean(value) / mean(over), in each group of ``by``.

    A part is R + (value - R over) / mean(over), R the ratio: the parts' mean is the ratio, and their spread is that of
    the ratio to first order (the delta method), so that ratios can be paired and resampled like means.
    """
    named = [by] if isinstance(by, str) else list(by)
    _check("ratio", rows, [value, over], named)
    parts = rows.groupby(named, sort=False, observed=True) if named else rows.assign(_all=0).groupby("_all")
    mean, under = parts[value].transform("mean"), parts[over].transform("mean")
    if not (under > 0).all():
        raise ValueError(f"ratio(over={over!r}): its mean must be above 0 in every group")
    whole = mean / under
    return rows.assign(**{value: whole + (rows[value] - whole * rows[over]) / under})


def by_question(rows: pd.DataFrame, values: Sequence[str] = ("pmrr", "right", "swapped")) -> pd.DataFrame:
    """Average over the contradicting instructions of each question, a row a question, before means are taken of them.

    ``rows`` are those of :func:`drscale.evaluation.instructions.following`, of several models, seeds and phrasings if
    you like. A question has a row for each package that contradicts it, so without this step needs that many packages
    answer count too much. FollowIR averages the same way: over passages within a query, then over queries.
    """
    labels = [c for c in ASKED if c in rows.columns]
    _check("by_question", rows, list(values), ["model", "query", *labels])
    averaged = rows.astype(dict.fromkeys(values, float)).groupby(labels, sort=False, observed=True)[list(values)].mean()
    return averaged.reset_index()


def _check(what: str, rows: pd.DataFrame, numbers: Sequence[str], labels: Sequence[str]) -> None:
    """Refuse rows that would be lost, or counted for others, without a word."""
    wanted = dict.fromkeys((*labels, *numbers))
    if missing := [c for c in wanted if c not in rows.columns]:
        raise ValueError(f"{what}: the rows lack the columns {', '.join(missing)}")
    if rows.empty:
        raise ValueError(f"{what}: the table has no rows")
    for name in numbers:
        if not pd.api.types.is_numeric_dtype(rows[name]):
            raise ValueError(f"{what}: the column {name!r} holds {rows[name].dtype}, numbers are needed")
        if odd := int((~np.isfinite(rows[name].to_numpy(float))).sum()):
            raise ValueError(f"{what}: the column {name!r} has {odd} values that are missing or not finite")
    for name in labels:
        if lacking := int(rows[name].isna().sum()):
            raise ValueError(f"{what}: the column {name!r} is missing in {lacking} of {len(rows)} rows")


def _interval(
    rows: pd.DataFrame, value: str, cluster: str, seeds: str | None, samples: int, level: float, seed: int
) -> dict[str, float]:
    across, clusters = pd.factorize(rows[cluster], sort=True)
    down, drawn = pd.factorize(rows[seeds], sort=True) if seeds else (np.zeros(len(rows), np.int64), [0])
    shape = (len(clusters), len(drawn))
    sums, counts = np.zeros(shape), np.zeros(shape)
    np.add.at(sums, (across, down), rows[value].to_numpy(float))
    np.add.at(counts, (across, down), 1.0)
    rng = np.random.default_rng(seed)
    of_clusters, of_seeds = (rng.multinomial(n, np.full(n, 1 / n), size=samples) for n in shape)
    weight = ((of_clusters @ counts) * of_seeds).sum(1)  # (samples,)
    means = ((of_clusters @ sums) * of_seeds).sum(1)[weight > 0] / weight[weight > 0]
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    told = {"mean": sums.sum() / counts.sum(), "low": low, "high": high, "n": len(rows)}
    return told | {"clusters": shape[0], "seeds": shape[1]}
