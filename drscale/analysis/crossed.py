"""Means over rows that belong to two crossed factors, such as needs and seeds, with intervals that resample both.

Never imports torch.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

COLUMNS = ["mean", "low", "high", "n", "clusters", "seeds"]


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
    wanted = [*named, value, cluster, *([seeds] if seeds else [])]
    if missing := [c for c in wanted if c not in rows.columns]:
        raise ValueError(f"crossed: the rows lack the columns {', '.join(missing)}")
    if rows.empty or not np.isfinite(rows[value].to_numpy(float)).all():
        raise ValueError(f"crossed(value={value!r}): the rows must be some, all with finite values")
    parts = rows.groupby(named, sort=False) if named else [((), rows)]
    out = []
    for key, part in parts:
        labels = dict(zip(named, key if isinstance(key, tuple) else (key,), strict=True))
        out.append(labels | _interval(part, value, cluster, seeds, samples, level, seed))
    return pd.DataFrame(out, columns=[*named, *COLUMNS])


def changes(
    rows: pd.DataFrame, value: str, of: str, base: str, pairs: Sequence[str] = ("seed", "query")
) -> pd.DataFrame:
    """Each row's value minus that of the row with ``of == base`` that agrees in ``pairs``; rows of the base are gone.

    The column ``base`` keeps the value that was taken away. A row without its partner, or with two, is refused: then
    the two sides did not see the same queries.
    """
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
    parts = rows.groupby(named, sort=False) if named else rows.assign(_all=0).groupby("_all")
    mean, under = parts[value].transform("mean"), parts[over].transform("mean")
    if not (under > 0).all():
        raise ValueError(f"ratio(over={over!r}): its mean must be above 0 in every group")
    whole = mean / under
    return rows.assign(**{value: whole + (rows[value] - whole * rows[over]) / under})


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
