"""The values that the runs of a table could have with other queries and other seeds. Never imports torch.

Queries are drawn with replacement within their collection and the collections stay fixed, as for the intervals in the
records. Every run and every scope gets the same draw of a collection, so an effect that is common to all runs (hard
queries) does not change their order, and an attacked query counts as often there as in the domain that it is from.
``two_way`` resamples two crossed factors, such as needs and seeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from drscale.recipe import Recipe
from drscale.runs import SCOPES, divisors
from drscale.stats.tables import Array, check_level, done, require

COLUMNS = ["mean", "low", "high", "n", "clusters", "seeds"]
ASKED = ("model", "seed", "phrasing", "wording", "query", "cluster", "need", "home", "package")


def two_way(
    rows: pd.DataFrame,
    value: str,
    by: str | Sequence[str] = (),
    *,
    cluster: str = "cluster",
    seeds: str | None = "seed",
    n_boot: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """The mean of a column and its interval over clusters and seeds, one row for each group of ``by``.

    Rows of one cluster (the queries of one need, say) are drawn together, and so are rows of one seed; both at once is
    the pigeonhole bootstrap (Owen 2007). With many clusters its intervals are too wide rather than too narrow. Few
    seeds vary less when resampled than new seeds would, by a factor (seeds - 1) / seeds of their variance.
    ``seeds=None`` resamples clusters only.
    """
    named = [by] if isinstance(by, str) else list(by)
    _check("crossed", rows, [value], [*named, cluster, *([seeds] if seeds else [])])
    check_level(level)
    if n_boot < 100:
        raise ValueError(f"two_way(n_boot={n_boot}): at least 100")
    parts = rows.groupby(named, sort=False, observed=True) if named else [((), rows)]
    out = []
    for key, part in parts:
        labels = dict(zip(named, key if isinstance(key, tuple) else (key,), strict=True))
        if part[cluster].nunique() < 2:
            where = f" where {', '.join(f'{c} is {v}' for c, v in labels.items())}" if labels else ""
            raise ValueError(f"two_way(cluster={cluster!r}): one value only{where}; an interval needs at least 2")
        out.append(labels | _interval(part, value, cluster, seeds, n_boot, level, seed))
    return pd.DataFrame(out, columns=[*named, *COLUMNS])


def changes(
    rows: pd.DataFrame, value: str, of: str, base: str, pairs: Sequence[str] = ("seed", "query")
) -> pd.DataFrame:
    """Each row's value minus that of the row with ``of == base`` that agrees in ``pairs``; base rows are removed.

    The column ``base`` keeps the subtracted value. A row without a partner, or with two, is an error: then the two
    sides were not measured on the same queries.
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
    """Turn a column into its rows' contributions to mean(value) / mean(over), in each group of ``by``.

    A contribution is R + (value - R over) / mean(over), where R is the ratio. The mean of the contributions is the
    ratio, and their spread is that of the ratio to first order (the delta method), so ratios can be paired and
    resampled like means.
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
    """Average over the contradicting instructions of each question, before questions are averaged; one row for each.

    ``rows`` are those of :func:`drscale.instructions.measure.following`, possibly of several models, seeds and
    phrasings. A question has a row for each package that contradicts it, so without this step a need that many packages
    answer counts too much. FollowIR averages the same way: over passages within a query, then over queries.
    """
    labels = [c for c in ASKED if c in rows.columns]
    _check("by_question", rows, list(values), ["model", "query", *labels])
    averaged = rows.astype(dict.fromkeys(values, float)).groupby(labels, sort=False, observed=True)[list(values)].mean()
    return averaged.reset_index()


def _check(what: str, rows: pd.DataFrame, numbers: Sequence[str], labels: Sequence[str]) -> None:
    """Raise an error for rows that would otherwise be lost, or counted as others, without notice."""
    wanted = dict.fromkeys((*labels, *numbers))
    require(rows, *wanted, what=f"{what}: the table")
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
    rows: pd.DataFrame, value: str, cluster: str, seeds: str | None, n_boot: int, level: float, seed: int
) -> dict[str, float]:
    across, clusters = pd.factorize(rows[cluster], sort=True)
    down, drawn = pd.factorize(rows[seeds], sort=True) if seeds else (np.zeros(len(rows), np.int64), [0])
    shape = (len(clusters), len(drawn))
    sums, counts = np.zeros(shape), np.zeros(shape)
    np.add.at(sums, (across, down), rows[value].to_numpy(float))
    np.add.at(counts, (across, down), 1.0)
    rng = np.random.default_rng(seed)
    of_clusters, of_seeds = (rng.multinomial(n, np.full(n, 1 / n), size=n_boot) for n in shape)
    weight = ((of_clusters @ counts) * of_seeds).sum(1)  # (samples,)
    means = ((of_clusters @ sums) * of_seeds).sum(1)[weight > 0] / weight[weight > 0]
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    told = {"mean": sums.sum() / counts.sum(), "low": low, "high": high, "n": len(rows)}
    return told | {"clusters": shape[0], "seeds": shape[1]}


Pool = Sequence[str] | str | None
WEIGHTED = ("entropy", "calibrated")  # a query counts as often as it has positives, as in the records
ATTACKED = ("adversarial", "adversarial:alone")  # scopes measured on attacked texts; the others on clean ones
HALF_WIDTH = float(stats.norm.ppf(0.975))


def resampled(
    table: pd.DataFrame,
    columns: Sequence[str],
    rows: pd.DataFrame | None = None,
    *,
    pool: Pool = None,
    n_boot: int = 2000,
    seed: int = 0,
) -> Array:
    """Draw new values for the runs of a table; shape (draws, runs, columns), with recipes instead of runs if pooled.

    With per-query rows (``RunStore.queries()``; the table then needs ``key``) queries are drawn, the same for all runs.
    Without them, each value is drawn from the normal distribution whose 95% interval is from its ``_low`` to its
    ``_high``, independently of the others, which makes the order of runs look less certain than it is. ``pool`` is as
    in :func:`groups`; of a recipe's n seeds n - 1 are drawn with replacement, because their mean has the variance of a
    mean of n (Rao and Wu 1988). A single seed is used as it is, without the scatter of seeds.
    """
    if n_boot < 10:
        raise ValueError(f"n_boot={n_boot}: at least 10")
    rng, labels = np.random.default_rng(seed), groups(table, pool)
    single = list(dict.fromkeys(part for c in columns for part in c.split("+")))
    if rows is not None:
        values = _by_query(table, single, rows, n_boot, rng)
    else:
        values = _by_interval(table, single, n_boot, rng, seeds=bool(labels.duplicated().any()))
    members = [[single.index(part) for part in c.split("+")] for c in columns]
    values = np.stack([values[..., m].mean(axis=-1) for m in members], axis=-1)
    return values if pool is None else _pooled(values, labels, rng)


def paired_change(
    table: pd.DataFrame,
    rows: pd.DataFrame,
    before: str,
    after: str,
    *,
    level: float = 0.95,
    n_boot: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """The change from one column to another on the same queries, for each run: before, after, change, low, high.

    For example ``adversarial:clean_entropy`` and ``adversarial_entropy``, for the effect of an attack. Queries are
    drawn once for both, so the interval is that of the change itself. Rows are in the order of ``table``.
    """
    check_level(level)
    require(table, before, after)
    asked = [set(rows.loc[rows["scope"] == _scope_in(rows, c), "query"]) for c in (before, after)]
    if asked[0] != asked[1] or _collection(_scope_in(rows, before)) != _collection(_scope_in(rows, after)):
        raise ValueError(f"{before!r} and {after!r} are not measured on the same queries, so nothing can be paired")
    sample = resampled(table, [before, after], rows, n_boot=n_boot, seed=seed)
    low, high = np.quantile(sample[..., 1] - sample[..., 0], [0.5 - level / 2, 0.5 + level / 2], axis=0)
    start, end = (table[c].to_numpy(dtype=float) for c in (before, after))
    told = {"before": start, "after": end, "change": end - start, "low": low, "high": high}
    return pd.DataFrame(told, index=table.index)


def compare_with(
    table: pd.DataFrame,
    rows: pd.DataFrame,
    columns: Sequence[str],
    base: str = "strategy == 'standard'",
    on: Sequence[str] = ("rung", "train_pairs", "seed"),
    *,
    level: float = 0.95,
    n_boot: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """How far each run lies from the ``base`` run with the same size and data; one row for each run and column.

    ``base`` is a query of the table, ``on`` the columns in which a run and its base agree; runs without a base are left
    out. The rows are the table's with ``column``, ``base``, ``change`` and its interval, ``low`` to ``high``: queries
    are drawn once for all runs, so it is the interval of the change itself. It does not include the variation between
    seeds.
    """
    check_level(level)
    require(table, *columns, *on)
    first = done(table).reset_index(drop=True)
    plain = first.query(base)
    if plain.duplicated(list(on)).any():
        raise ValueError(f"base={base!r}: several runs of it agree in {', '.join(on)}")
    place = dict(zip(plain[list(on)].itertuples(index=False, name=None), plain.index, strict=True))
    own = pd.Series([place.get(key, -1) for key in first[list(on)].itertuples(index=False, name=None)])
    kept = np.flatnonzero((own >= 0) & ~first.index.isin(plain.index))
    if not len(kept):
        raise ValueError(f"base={base!r}: no other run agrees with one of it in {', '.join(on)}")
    used = sorted({*kept, *own[kept]})  # the others may lack the compared columns
    kept, bases = np.searchsorted(used, kept), np.searchsorted(used, own[kept].to_numpy())
    first = first.loc[used].reset_index(drop=True)
    sample, found = resampled(first, list(columns), rows, n_boot=n_boot, seed=seed), []
    for i, column in enumerate(columns):
        change = sample[:, kept, i] - sample[:, bases, i]
        low, high = np.quantile(change, [0.5 - level / 2, 0.5 + level / 2], axis=0)
        before, after = (first[column].to_numpy(dtype=float)[j] for j in (bases, kept))
        told = {"column": column, "base": before, "change": after - before, "low": low, "high": high}
        found.append(first.iloc[kept].assign(**told))
    return pd.concat(found, ignore_index=True)


def side_by_side(changes: pd.DataFrame, index: str | Sequence[str], digits: int = 3) -> pd.DataFrame:
    """:func:`compare_with` as text: rows by ``index``, columns by measure, "change [low, high]"."""
    rows = changes[["change", "low", "high"]].to_numpy()
    text = [f"{a:+.{digits}f} [{b:+.{digits}f}, {c:+.{digits}f}]" for a, b, c in rows]
    names = [index] if isinstance(index, str) else list(index)
    require(changes, *names, "column", "change", "low", "high")
    if changes.duplicated([*names, "column"]).any():
        raise ValueError(f"index={index!r}: several runs have the same; name what tells them apart")
    wide = changes.assign(text=text).pivot_table("text", names, "column", aggfunc="first", sort=False)
    return wide.rename_axis(columns=None)


def mean_of_columns(table: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """The table with the unweighted mean of columns as one more, ``a+b``, and its interval if all have one.

    The papers' joint robustness is ``mean_of_columns(table, ("ood_entropy", "adversarial_entropy"))``. The interval
    takes the columns' errors as independent; :func:`resampled` draws the parts of such a column together.
    """
    require(table, *columns)
    name, made = "+".join(columns), table[list(columns)].mean(axis=1, skipna=False)
    found = table.assign(**{name: made})
    for end in ("low", "high"):
        if all(f"{c}_{end}" in table for c in columns):
            away = np.column_stack([table[f"{c}_{end}"] - table[c] for c in columns])
            half = np.sqrt((away**2).sum(axis=1)) / len(columns)
            found[f"{name}_{end}"] = made + (half if end == "high" else -half)
    return found


def groups(table: pd.DataFrame, pool: Pool = None) -> pd.Series:
    """The recipe of each run: with "seed", all runs whose ``key`` differs only in the seed; or by columns."""
    if pool is None:
        return pd.Series(np.arange(len(table)), index=table.index)
    if pool == "seed":
        require(table, "key", what="pool='seed': the table", hint="Or name the columns that tell recipes apart")
        return table["key"].map(lambda key: str(Recipe.parse(key).but(seed=0)))
    columns = [pool] if isinstance(pool, str) else list(pool)
    require(table, *columns, what=f"pool={pool!r}: the table")
    return table.groupby(columns, sort=False, dropna=False).ngroup()


def pooled(table: pd.DataFrame, columns: Sequence[str], pool: Pool) -> pd.DataFrame:
    """One row for each recipe: means of ``columns`` and interval ends, ``runs``, the rest from its first run.

    The interval is over queries, which the seeds of a recipe share, so pooling does not narrow it.
    """
    labels = groups(table, pool).to_numpy()
    if pool is None:
        return table.assign(runs=1)
    ends = [c + end for c in columns for end in ("", "_low", "_high") if c + end in table]
    grouped = table.groupby(labels, sort=False)
    first = grouped.head(1).assign(runs=grouped.size().to_numpy())
    for name in ends:
        first[name] = grouped[name].mean().to_numpy()
    if "key" in first and pool == "seed":
        first["key"] = [str(Recipe.parse(k).but(seed=0)) for k in first["key"]]
    return first


def scope_of(column: str, scopes: Sequence[str] = SCOPES) -> tuple[str, str]:
    """The scope and metric of a run table's column, as in_domain and entropy."""
    for scope in sorted(scopes, key=len, reverse=True):
        if column.startswith(f"{scope}_") and len(column) > len(scope) + 1:
            return scope, column[len(scope) + 1 :]
    raise ValueError(f"column {column!r}: no scope it could belong to, the scopes are {', '.join(scopes)}")


def _by_interval(
    table: pd.DataFrame, columns: Sequence[str], n_boot: int, rng: np.random.Generator, seeds: bool
) -> Array:
    values = np.empty((n_boot, len(table), len(columns)))
    for i, name in enumerate(columns):
        mean, ends = table[name].to_numpy(dtype=float), [f"{name}_low", f"{name}_high"]
        missing = [c for c in ends if c not in table]
        if missing and not seeds:
            raise ValueError(f"the table has no column {missing[0]!r}: give queries, intervals, or seeds to pool")
        spread = np.zeros(len(table))
        if not missing:
            low, high = (table[c].to_numpy(dtype=float) for c in ends)
            spread = (high - low) / (2 * HALF_WIDTH)
            if not (spread >= 0).all():
                raise ValueError(
                    f"columns {', '.join(ends)}: a run has no interval, or its ends are the wrong way round"
                )
        values[..., i] = mean + spread * rng.standard_normal((n_boot, len(table)))
    return values


def _by_query(
    table: pd.DataFrame, columns: Sequence[str], rows: pd.DataFrame, n_boot: int, rng: np.random.Generator
) -> Array:
    if "key" not in table or table["key"].duplicated().any():
        raise ValueError("queries: the table needs a column 'key', different for each run, that says whose they are")
    needed = {"key", "scope", "query"} - set(rows)
    if needed:
        raise ValueError(f"queries have no column {', '.join(sorted(needed))}: RunStore.queries() has them")
    run, part = _codes(rows["key"], table["key"]), pd.factorize(rows["scope"])
    kept = run >= 0
    if "condition" in rows:
        attacked = np.isin(part[0], np.flatnonzero(np.isin(part[1], ATTACKED)))
        kept &= _codes(rows["condition"], pd.Series(["clean", "attacked"])) == attacked
    found = [str(part[1][i]) for i in np.unique(part[0][kept])]
    wanted = [scope_of(c, [*SCOPES, *found]) for c in columns]
    for (scope, metric), column in zip(wanted, columns, strict=True):
        if metric not in rows:
            raise ValueError(f"column {column!r}: the rows have no column {metric!r}")
        if not any(_inside(f, scope) for f in found):
            raise ValueError(f"column {column!r}: no query of scope {scope!r}, there are {', '.join(found) or 'none'}")
    numbers = {m: rows[m].to_numpy(dtype=float) for m in {m for _, m in wanted}}
    positives = rows["positives"].to_numpy(dtype=float) if "positives" in rows else np.ones(len(rows))
    query, names = pd.factorize(rows["query"])
    values = np.zeros((n_boot, len(table), len(columns)))
    rows_of = {
        domain: np.flatnonzero(kept & (part[0] == list(part[1]).index(domain)))
        for domain in found
        if any(_inside(domain, scope) for scope, _ in wanted)
    }
    drawn = _drawn({domain: query[places] for domain, places in rows_of.items()}, n_boot, rng)
    for domain, places in rows_of.items():
        ours = [i for i, (scope, _) in enumerate(wanted) if _inside(domain, scope)]
        asked, place = np.unique(query[places], return_inverse=True)
        where, n = (place, run[places]), len(asked)
        _check_once(where, domain, names[asked], table["key"])
        times = drawn[domain]
        for i in ours:
            scope, metric = wanted[i]
            _check_numbers(numbers[metric][places], metric, names[query[places]], table["key"].iloc[run[places]])
            matrix, w = np.empty((n, len(table))), np.ones(n)
            matrix[where] = numbers[metric][places]
            if metric in WEIGHTED:
                w[place] = positives[places]
            mean = (times @ (matrix * w[:, None])) / (times @ w)[:, None]  # (draws, runs)
            values[..., i] += mean / divisors(f for f in found if _inside(f, scope))[domain]
    return values


def _collection(scope: str) -> str:
    """The collection that a scope's queries belong to: an out-of-domain one has its own, all others share the test
    set's."""
    return scope if scope.startswith("ood:") else SCOPES[0]


def _scope_in(rows: pd.DataFrame, column: str) -> str:
    return scope_of(column, [*SCOPES, *map(str, rows["scope"].unique())])[0]


def _codes(column: pd.Series, names: pd.Series) -> npt.NDArray[np.intp]:
    """The place of each value of a column among names, -1 for none."""
    codes, found = pd.factorize(column)
    return pd.Index(names).get_indexer(pd.Index(found))[codes]


def _inside(domain: str, scope: str) -> bool:
    return domain == scope or (scope == "ood" and domain.startswith("ood:"))


def _drawn(queries: Mapping[str, npt.NDArray[np.intp]], n_boot: int, rng: np.random.Generator) -> dict[str, Array]:
    """How often each query of each domain is drawn, (draws, queries in order): once for all domains of a collection.

    A draw that misses all queries of one domain is drawn again.
    """
    found: dict[str, Array] = {}
    for home in dict.fromkeys(map(_collection, queries)):
        parts = {domain: np.unique(codes) for domain, codes in queries.items() if _collection(domain) == home}
        everyone = np.unique(np.concatenate(list(parts.values())))
        places = [np.searchsorted(everyone, codes) for codes in parts.values()]
        times, again = np.zeros((n_boot, len(everyone))), np.arange(n_boot)
        while len(again):
            times[again] = rng.multinomial(len(everyone), np.full(len(everyone), 1 / len(everyone)), size=len(again))
            again = again[np.logical_or.reduce([times[again][:, place].sum(axis=1) == 0 for place in places])]
        found |= {domain: times[:, place] for domain, place in zip(parts, places, strict=True)}
    return found


def _check_once(where: tuple[npt.NDArray[np.intp], ...], domain: str, names: pd.Index, keys: pd.Series) -> None:
    """Raise ValueError unless every run has every query once."""
    times = np.bincount(where[0] * len(keys) + where[1], minlength=len(names) * len(keys))
    wrong = np.flatnonzero(times != 1)
    if len(wrong):
        i, run = divmod(int(wrong[0]), len(keys))
        raise ValueError(
            f"queries: {domain} query {names[i]!r} stands {times[wrong[0]]} times for run {keys.iloc[run]!r}: "
            "runs are compared on the same queries, each once"
        )


def _check_numbers(values: Array, metric: str, names: pd.Index, keys: pd.Series) -> None:
    """Raise ValueError where a query has no finite value of a metric."""
    wrong = np.flatnonzero(~np.isfinite(values))
    if len(wrong):
        i = int(wrong[0])
        raise ValueError(
            f"queries: {metric}={values[i]:g} for query {names[i]!r} of run {keys.iloc[i]!r}: "
            "every query needs a finite number, or leave it out for all runs"
        )


def _pooled(values: Array, labels: pd.Series, rng: np.random.Generator) -> Array:
    """Mean over the runs of each recipe, with new draws of its seeds each time."""
    codes, names = pd.factorize(labels)
    result = np.empty((len(values), len(names), values.shape[2]))
    for i in range(len(names)):
        mine = np.flatnonzero(codes == i)
        taken = max(len(mine) - 1, 1)
        picked = rng.choice(mine, size=(len(values), taken))  # (draws, taken)
        result[:, i] = np.take_along_axis(values, picked[..., None], axis=1).mean(axis=1)
    return result
