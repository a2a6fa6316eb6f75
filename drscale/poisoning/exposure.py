"""How often poisoned passages are listed: the rank of the best of them for each query, and the attack success rate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from scipy.stats import beta, t

from drscale.evaluate.entropy import interval
from drscale.evaluate.retrievers import Retriever, measured_queries, retriever
from drscale.stats.tables import require
from drscale.texts import Collection

CUTS = (1, 5, 10, 20, 50)


def poison_ranks(
    model: Any,
    collection: Collection,
    passages: Sequence[str],
    *,
    depth: int = max(CUTS),
    limit: int | None = None,
    name: str = "",
) -> pd.DataFrame:
    """Put passages into a collection and find the rank of the best of them; one row for each query.

    ``model`` is anything that :func:`drscale.evaluate.retrievers.retriever` accepts: the encoder that the passages were
    made against, or another one. The collection is not encoded or indexed again: the passages' scores are compared with
    those of the real list; only a retriever without vectors (BM25) indexes everything once more. ``limit`` draws this
    many queries at random, the same ones for every model.

    Columns: ``model``, ``dataset``, ``query``, ``rank`` (1 is best; missing below ``depth``; a real passage of the same
    score goes first), ``passage`` (which of the passages; -1: none), ``margin`` (its score minus that of the best real
    passage; missing where one of the two was not found) and ``depth``.

    >>> import drscale as ds
    >>> docs = ds.collection("planted?pairs=40")
    >>> copied = docs.queries["text"].to_pylist()[:1]  # a passage that is the first query, word for word
    >>> ranks = ds.poison_ranks("bm25", docs, copied)
    >>> int(ranks["rank"][0])
    1
    """
    found = retriever(model, name)
    if isinstance(passages, str) or not len(passages):
        raise ValueError("passages: a non-empty list of texts is needed")
    if depth < 1:
        raise ValueError(f"depth={depth}: at least 1")
    rows = measured_queries(collection, limit)
    texts = collection.queries["text"].take(rows).to_pylist()
    if found.encode is None or found.encode_passages is None:
        real, best, which = _indexed(found, collection, list(passages), texts, depth)
    else:
        real, places = map(np.asarray, found.rank(texts, collection, min(depth, len(collection.passages))))
        real = np.where(places < 0, -np.inf, real)  # row -1 pads a list that ended
        scores = found.encode(texts) @ found.encode_passages(list(passages)).T  # (queries, passages)
        which = scores.argmax(1)
        best = scores[np.arange(len(scores)), which]
    ahead = (real >= best[:, None]).sum(1)  # real passages, down to the depth of the list
    rank = np.where((which >= 0) & (ahead < depth), ahead + 1.0, np.nan)
    told = (which >= 0) & np.isfinite(real[:, 0])
    return pd.DataFrame(
        {
            "model": found.name,
            "dataset": collection.name,
            "query": collection.queries["id"].take(rows).to_pylist(),
            "rank": rank.astype(np.float32),
            "passage": which.astype(np.int32),
            "margin": np.where(told, best - np.where(told, real[:, 0], 0), np.nan).astype(np.float32),
            "depth": np.int32(depth),
        }
    )


def _indexed(
    found: Retriever, collection: Collection, passages: list[str], texts: list[str], depth: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores of the real list, and the score and place of the best poisoned passage, from an index of both."""
    count, known = len(collection.passages), set(collection.passages["id"].to_pylist())
    ids = [f"poisoned-{i}" for i in range(len(passages))]
    if clash := known & set(ids):
        raise ValueError(f"{collection.name}: has a passage {min(clash)!r}, the name of a poisoned one")
    more = pa.table({"id": ids, "text": passages}, schema=collection.passages.schema)
    both = pa.concat_tables([collection.passages, more])
    mixed = Collection(f"{collection.name}, poisoned", collection.queries, both, collection.qrels)
    scores, rows = found.rank(texts, mixed, min(depth + len(passages), len(both)))
    ours = rows >= count
    place = np.where(ours.any(1), ours.argmax(1), -1)  # the first of ours is the best of ours
    at = np.arange(len(rows)), np.maximum(place, 0)
    best = np.where(place >= 0, scores[at], 0.0)
    real = np.where(ours | (rows < 0), -np.inf, scores)
    return -np.sort(-real, axis=1), best, np.where(place >= 0, rows[at] - count, -1)


def attack_success(
    rows: pd.DataFrame,
    k: int | Sequence[int] = CUTS,
    by: str | Sequence[str] = ("model", "dataset"),
    level: float = 0.95,
    *,
    depth: int | None = None,
    seeds: str | None = None,
) -> pd.DataFrame:
    """The attack success rate ASR@k: the share of queries with a poisoned passage in the top k; a row by group and k.

    ``rows`` are those of :func:`poison_ranks`, or several such tables combined, and then distinguished by the columns
    ``by``. If a query is several times in a group (several seeds), its mean counts. ``low`` and ``high`` are a
    bootstrap interval over queries; if all values are equal the bootstrap interval has zero width, so Clopper-Pearson
    is used, and the interval is Clopper and Pearson's. ``seeds`` names the column of training seeds, which then also
    widen the intervals: their variance is pooled over the groups that differ in the first of ``by`` only (two seeds of
    one size carry very little information), t's quantile allows for their small number, and the two half-widths are
    added in squares.

    No ``k`` may exceed the depth of the lists, because deeper ranks are missing. The depth is in the column ``depth``
    or, for rows without that column, in the argument (None: the usual one, 50).
    """
    _check_level(level)
    by = [by] if isinstance(by, str) else list(by)
    needed = ("query", "rank", "dataset", *by, *([seeds] if seeds else []))
    require(rows, *needed, what="rows", hint="poison_ranks(...) makes a table with query, rank and dataset")
    if rows.empty:
        raise ValueError("rows: the table is empty, which says nothing of any query")
    for name in by:
        if lost := int(rows[name].isna().sum()):
            raise ValueError(f"rows: {name!r} is missing in {lost} of {len(rows)} rows")
    cuts = [k] if isinstance(k, int | np.integer) else list(k)
    if not cuts or min(cuts) < 1:
        raise ValueError(f"k={k}: at least one rank, each at least 1")
    usual = max(CUTS) if depth is None else depth
    seen = int(rows["depth"].fillna(usual).min()) if "depth" in rows else usual
    if max(cuts) > seen:
        raise ValueError(
            f"k={max(cuts)}: lists were looked at down to rank {seen} only; exposed(depth=...) looks deeper"
        )
    groups = rows.groupby(by, sort=False, observed=True) if by else [((), rows)]
    found = []
    luck = {} if seeds is None else _luck(rows, seeds, cuts, by, level)
    for label, part in groups:
        label = label if isinstance(label, tuple) else (label,)
        for cut in cuts:
            hit = (part["rank"] <= cut).astype(float)
            each = hit.groupby([part["dataset"], part["query"]], observed=True).mean().to_numpy()
            mean, low, high = _interval(each, level)
            if seeds is not None:
                away = luck[cut, label[1:]] / np.sqrt(part[seeds].nunique())
                low, high = max(0.0, mean - np.hypot(mean - low, away)), min(1.0, mean + np.hypot(high - mean, away))
            told = dict(zip(by, label, strict=True))
            found.append({**told, "k": int(cut), "asr": mean, "low": low, "high": high, "queries": len(each)})
    return pd.DataFrame(found)


def attack_success_change(
    rows: pd.DataFrame,
    of: str,
    before: Any,
    after: Any,
    k: int = 10,
    by: str | Sequence[str] = ("passages",),
    level: float = 0.95,
    *,
    seeds: str = "seed",
) -> pd.DataFrame:
    """How much more often ``after`` lists a poisoned passage than ``before``, two values of the column ``of``.

    One row for each group of ``by`` with ``before``, ``after``, ``change`` and its interval, over queries (each against
    itself) and over training seeds, whose variance is pooled over all values of ``of`` that have several, as in
    :func:`attack_success`; ``queries_low`` and ``queries_high`` are the interval over queries alone.
    """
    by = [by] if isinstance(by, str) else list(by)
    if missing := {before, after} - set(rows[of]):
        raise ValueError(f"{of}={missing.pop()!r}: allowed are {', '.join(map(str, rows[of].unique()))}")
    luck, found = _luck(rows, seeds, [k], [of, *by], level), []
    two = rows[rows[of].isin([before, after])]
    for label, part in two.groupby(by, sort=False, observed=True) if by else [((), two)]:
        label = label if isinstance(label, tuple) else (label,)
        hits = part.assign(hit=(part["rank"] <= k).astype(float))
        wide = hits.pivot_table("hit", ["dataset", "query"], of, observed=True).dropna()
        sides = wide[[before, after]].to_numpy().T
        over_queries = interval({"": sides[1] - sides[0]}, level=level)
        counts = part.groupby(of, observed=True)[seeds].nunique()
        away = luck[k, label] * np.sqrt((1 / counts[[before, after]]).sum())
        change, low, high = over_queries.mean, over_queries.low, over_queries.high
        told = {"before": sides[0].mean(), "after": sides[1].mean(), "change": change}
        told |= {"low": change - np.hypot(change - low, away), "high": change + np.hypot(high - change, away)}
        told |= {"queries_low": low, "queries_high": high, "queries": sides.shape[1]}
        found.append({**dict(zip(by, label, strict=True)), **told})
    return pd.DataFrame(found)


def _luck(
    rows: pd.DataFrame, seeds: str, cuts: Sequence[int], by: Sequence[str], level: float
) -> dict[tuple[int, tuple[Any, ...]], float]:
    """How far a single seed's ASR may lie from the mean of many, by k and the columns after the first of ``by``."""
    if not by or seeds in by:
        raise ValueError(f"seeds={seeds!r}, by={list(by)}: by must name what has seeds, and not the seeds themselves")
    found = {}
    for cut in cuts:
        hits = rows.assign(hit=(rows["rank"] <= cut).astype(float))
        each = hits.groupby([*by, seeds], sort=False, observed=True)["hit"].mean().groupby(list(by), sort=False)
        spread = pd.DataFrame({"squares": each.var() * (each.size() - 1), "free": each.size() - 1}).fillna(0.0)
        others = spread.groupby(list(by[1:])) if len(by) > 1 else [((), spread)]
        for label, part in others:
            if not (free := float(part["free"].sum())):
                raise ValueError(
                    f"seeds={seeds!r}: no group of {', '.join(by)} has two of them, so their luck is unknown"
                )
            sd = np.sqrt(part["squares"].sum() / free)
            found[cut, label if isinstance(label, tuple) else (label,)] = float(t.ppf((1 + level) / 2, free) * sd)
    return found


def _interval(values: np.ndarray, level: float) -> tuple[float, float, float]:
    if values.min() == values.max() and values[0] in (0.0, 1.0):
        return rate_interval(values, level)
    measured = interval({"": values}, level=level)
    return measured.mean, measured.low, measured.high


def rate_interval(
    hits: Sequence[float] | np.ndarray, level: float = 0.95, *, groups: Sequence[object] | pd.Series | None = None
) -> tuple[float, float, float]:
    """A share of zeros and ones with Clopper and Pearson's interval: share, low, high.

    ``groups`` says which values belong together (the passages of one attacked model) and are therefore similar, so that
    they count as fewer values: as many as independent ones with the same standard error, at most their real number and,
    if all agree, one for each group (Korn and Graubard 1998).
    """
    values = np.asarray(hits, dtype=float)
    if values.ndim != 1 or not len(values) or not np.isin(values, (0, 1)).all():
        raise ValueError("hits: a list of zeros and ones is needed, at least one of them")
    _check_level(level)
    share, n = float(values.mean()), float(len(values))
    if groups is not None:
        n = _worth(values, groups, level)
    x = share * n
    low = float(beta.ppf((1 - level) / 2, x, n - x + 1)) if x > 0 else 0.0
    high = float(beta.ppf((1 + level) / 2, x + 1, n - x)) if x < n else 1.0
    return share, low, high


def _worth(values: np.ndarray, groups: Sequence[object] | pd.Series, level: float) -> float:
    """How many independent values have as much information on their share as these values in groups."""
    codes = pd.factorize(pd.Series(list(groups), dtype=object))[0]
    count = int(codes.max(initial=-1)) + 1
    if len(codes) != len(values) or (codes < 0).any() or count < 2:
        raise ValueError(f"groups: {len(codes)} labels of {count} groups; one for each of {len(values)} hits, 2 groups")
    share = values.mean()
    apart = np.bincount(codes, values - share)  # (groups,): how far each leads from the share
    variance = count / (count - 1) * float(np.square(apart).sum()) / len(values) ** 2
    if share in (0, 1):
        return float(count)
    doubt = (1 + level) / 2
    fewer = (t.ppf(doubt, len(values) - 1) / t.ppf(doubt, count - 1)) ** 2  # the variance, too, is from few groups
    return float(np.clip(share * (1 - share) / max(variance, 1e-300) * fewer, 1, len(values)))


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise ValueError(f"level={level}: must lie between 0 and 1")
