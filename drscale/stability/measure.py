"""Stability: how much effectiveness a retriever loses if queries are worded differently.

What the other words are is passed in as functions (texts, seed) -> texts, by family:
:func:`drscale.stability.vary.families` makes them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from drscale.evaluate.entropy import interval
from drscale.evaluate.ranking import METRICS
from drscale.evaluate.retrievers import measured_queries, metrics_of, retriever
from drscale.runs import Found, Measure
from drscale.stability.vary import families
from drscale.stats.tables import require
from drscale.texts import Collection

Vary = Callable[[list[str], int], list[str]]
SCOPE, SAMPLES = "stability", 2000
BY = ("model", "dataset", "family")


def measure_stability(
    model: Any,
    collection: Collection,
    vary: Mapping[str, Vary] | str | Iterable[str],
    seeds: int | Sequence[int] = 5,
    limit: int | None = None,
) -> pd.DataFrame:
    """Ask every query unchanged and in other words; one row for each query, family and seed.

    ``model`` is what :func:`drscale.evaluate.retrievers.retriever` takes. ``vary`` maps a family to a function (texts,
    seed) -> texts, or names registered families, as ``["misspelling"]``. Columns: model, dataset, query, family, seed,
    changed, and each metric after the change (``ndcg10`` ...) beside the one before (``ndcg10_clean`` ...). A query
    that a family did not change has a row with ``changed`` false and the metric before. ``limit`` draws this many
    queries, the same ones for every retriever. Passages are encoded once, and all wordings, each once, in one batch.

    >>> import drscale as ds
    >>> vary = {"shorter": lambda texts, seed: [text[:-3] for text in texts]}
    >>> rows = ds.measure_stability("bm25", ds.collection("planted?pairs=40"), vary, seeds=1, limit=10)
    >>> rows["changed"].value_counts().to_dict()
    {True: 10}
    """
    if not isinstance(vary, Mapping):
        vary = families([vary] if isinstance(vary, str) else vary)
    draws = list(range(seeds)) if isinstance(seeds, int) else list(seeds)
    if not draws or len(set(draws)) < len(draws):
        raise ValueError(f"seeds={seeds!r}: at least one, and each only once")
    if not vary:
        raise ValueError("vary={}: at least one family is needed")
    ranker, rows = retriever(model), measured_queries(collection, limit)
    texts: list[str] = collection.queries["text"].take(rows).to_pylist()
    parts = [
        pd.DataFrame(
            {"place": np.arange(len(rows)), "family": f, "seed": seed, "text": _varied(vary[f], f, texts, seed)}
        )
        for f in vary
        for seed in draws
    ]
    clean = pd.DataFrame({"place": np.arange(len(rows)), "text": texts})
    long = pd.concat(parts, ignore_index=True)
    once = pd.concat([clean, long[["place", "text"]]]).drop_duplicates(ignore_index=True)
    found = metrics_of(ranker, collection, rows[once["place"].to_numpy()], once["text"].tolist())
    known = pd.concat([once, found], axis=1)
    before = found[: len(rows)].add_suffix("_clean")  # the first wordings are the unchanged queries
    long = long.merge(known, on=["place", "text"], how="left", validate="many_to_one")
    place = long["place"].to_numpy()
    head = {
        "model": ranker.name,
        "dataset": collection.name,
        "query": np.asarray(collection.queries["id"].take(rows).to_pylist(), dtype=object)[place],
        "family": long["family"],
        "seed": long["seed"],
        "changed": long["text"].to_numpy() != np.asarray(texts, dtype=object)[place],
    }
    return pd.concat([pd.DataFrame(head), long[list(METRICS)], before.iloc[place].reset_index(drop=True)], axis=1)


def _varied(vary: Vary, family: str, texts: list[str], seed: int) -> list[str]:
    found = list(vary(list(texts), seed))
    if len(found) != len(texts) or not all(isinstance(t, str) for t in found):
        raise ValueError(f"vary[{family!r}]: gave {len(found)} texts for {len(texts)} queries, one for each is needed")
    return found


def drop_rates(
    rows: pd.DataFrame,
    metric: str = "ndcg10",
    *,
    by: Sequence[str] = BY,
    total: bool = False,
    n_boot: int = SAMPLES,
    level: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Drop rates, (clean - varied) / clean, of the means over queries; one row for each family.

    ``clean`` and ``varied`` are the means themselves, ``drop`` their drop with an interval ``low`` to ``high``: queries
    are drawn with replacement, each with its clean value and its mean over the seeds, so both means move together. The
    interval is for other queries. ``seed_mean`` and ``seed_sd`` are the mean and the standard deviation of the single
    seeds' drops (:func:`seed_drops`), as Li et al. (2026) report them: they are for other seeds. ``changed`` is the
    share of queries in which the family found something to change. If the clean mean is 0, the drop is missing.
    ``by=("model", "family")`` combines the queries of several data sets; ``total`` adds a row ``all`` for the families
    together, each with the same weight.

    >>> import drscale as ds
    >>> vary = {"shorter": lambda texts, seed: [text[:-3] for text in texts]}
    >>> rows = ds.measure_stability("bm25", ds.collection("planted?pairs=40"), vary, seeds=2)
    >>> drops = ds.drop_rates(rows, n_boot=200)
    >>> drops[["model", "family", "changed"]]
      model   family  changed
    0  bm25  shorter      1.0
    """
    by = [by] if isinstance(by, str) else list(by)
    if not 0 < level < 1 or n_boot < 20:
        raise ValueError(f"level={level}, n_boot={n_boot}: between 0 and 1, and at least 20")
    if total and "family" not in by:
        raise ValueError(f"total=True: by={by} has no family to add up")
    if total:
        rest = [c for c in by if c != "family"]
        options: dict[str, Any] = {"n_boot": n_boot, "level": level, "seed": seed}
        whole = drop_rates(rows, metric, by=rest, **options).assign(family="all")
        both = pd.concat([drop_rates(rows, metric, by=by, **options), whole], ignore_index=True)
        return both.sort_values(rest, kind="stable", key=_first_come, ignore_index=True)
    single = seed_drops(rows, metric, by=by)
    spread = single.groupby(list(by), sort=False)["drop"].agg(seed_mean="mean", seed_sd="std").reset_index()
    out = []
    for key, part in rows.groupby(list(by), sort=False):
        whose = ["model", "dataset", "query"] if "model" in part else ["dataset", "query"]
        each = part.groupby(whose, sort=False).agg(
            clean=(f"{metric}_clean", "first"), varied=(metric, "mean"), changed=("changed", "mean")
        )
        clean, varied = each["clean"].to_numpy(), each["varied"].to_numpy()
        times = np.random.default_rng(seed).multinomial(len(each), np.full(len(each), 1 / len(each)), size=n_boot)
        low, high = _bounds(times @ clean, times @ varied, level)
        row = dict(zip(by, key, strict=True)) | {"metric": metric, "clean": clean.mean(), "varied": varied.mean()}
        row |= {"drop": _drop(clean.mean(), varied.mean()), "low": low, "high": high}
        out.append(row | {"changed": each["changed"].mean(), "queries": len(each), "seeds": part["seed"].nunique()})
    return pd.DataFrame(out).merge(spread, on=list(by), how="left")


def seed_drops(rows: pd.DataFrame, metric: str = "ndcg10", *, by: Sequence[str] = BY) -> pd.DataFrame:
    """Drop rates of each seed alone: the columns of ``by``, seed, clean, varied and drop."""
    needed = dict.fromkeys((*by, "dataset", "query", "seed", metric, f"{metric}_clean"))
    require(rows, *needed, what="rows", hint="measure_stability(...) makes such a table")
    if rows.empty:
        raise ValueError("rows: the table is empty")
    if unknown := int(rows[[metric, f"{metric}_clean", *by]].isna().any(axis=1).sum()):
        raise ValueError(
            f"rows: {unknown} of {len(rows)} lack {metric} or whose they are; no query silently leaves a mean"
        )
    one = [c for c in ("model", "dataset", "family", "seed", "query") if c in rows]
    if (again := rows.duplicated(one)).any():
        who = f"model {rows['model'][again].iloc[0]!r}" if "model" in rows else "a model"
        raise ValueError(
            f"rows: {who} has a query twice in one family and seed; give each retriever a name of its own, as in "
            "retriever(model, 'mine')"
        )
    found = rows.groupby([*by, "seed"], sort=False)[[f"{metric}_clean", metric]].mean().reset_index()
    found = found.rename(columns={f"{metric}_clean": "clean", metric: "varied"})
    found["drop"] = [_drop(c, a) for c, a in zip(found["clean"], found["varied"], strict=True)]
    return found


def _first_come(column: pd.Series[Any]) -> np.ndarray:
    return pd.factorize(column)[0]


def _drop(clean: float, varied: float) -> float:
    return float((clean - varied) / clean) if clean > 0 else float("nan")


def _bounds(clean: np.ndarray, varied: np.ndarray, level: float) -> tuple[float, float]:
    """The interval of the drop over draws; draws without any hit are left out."""
    hit = clean > 0
    if not hit.any():
        return float("nan"), float("nan")
    low, high = np.quantile(1 - varied[hit] / clean[hit], [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def stability_of_records(
    model: Any,
    collection: Collection,
    vary: Mapping[str, Vary],
    seeds: int | Sequence[int] = 5,
    limit: int | None = 300,
    note: str = "",
) -> Found:
    """Measure stability for a run's record: measures by scope, and per-query rows averaged over the seeds.

    The scope ``stability:clean`` has the unchanged queries, ``stability:FAMILY`` the same in other words, with ``drop``
    (of nDCG@10, see :func:`drop_rates`) and ``changed`` beside the metrics. ``note`` says how the families were made.
    """
    rows = measure_stability(model, collection, vary, seeds, limit)
    rates = {str(r["family"]): r for r in drop_rates(rows).to_dict("records")}
    first = rows[(rows["family"] == rows["family"].iloc[0]) & (rows["seed"] == rows["seed"].iloc[0])]
    plain = first[["query"]].assign(**{m: first[f"{m}_clean"] for m in METRICS})
    frames = [plain.assign(scope=f"{SCOPE}:clean", condition="clean")]
    found = {f"{SCOPE}:clean": _means(plain)}
    for family in vary:
        mean = rows[rows["family"] == family].groupby("query", sort=False)[list(METRICS)].mean().reset_index()
        rate = rates[family]
        n = int(rate["queries"])
        told = {"changed": Measure(float(rate["changed"]), *_share(rows, family), n)}
        if np.isfinite(rate["drop"]):
            told["drop"] = Measure(float(rate["drop"]), float(rate["low"]), float(rate["high"]), n)
        found[f"{SCOPE}:{family}"] = _means(mean) | told
        frames.append(mean.assign(scope=f"{SCOPE}:{family}", condition="attacked"))
    narrow = pd.concat(frames, ignore_index=True).astype(dict.fromkeys(METRICS, np.float32))
    said = f"{collection.name}, {rows['seed'].nunique()} seeds, {len(plain)} queries"
    return Found(found, narrow, f"{said}; {note}" if note else said)


def _means(frame: pd.DataFrame) -> dict[str, Measure]:
    return {m: interval({"": frame[m].to_numpy(float)}) for m in METRICS}


def _share(rows: pd.DataFrame, family: str) -> tuple[float, float]:
    each = rows[rows["family"] == family].groupby("query")["changed"].mean().to_numpy(float)
    share = interval({"": each})
    return share.low, share.high
