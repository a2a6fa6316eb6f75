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
from drscale.stability.drops import drop_rates, seed_drops
from drscale.stability.vary import families
from drscale.texts import Collection

__all__ = ["drop_rates", "measure_stability", "seed_drops", "stability_of_records"]

Vary = Callable[[list[str], int], list[str]]
SCOPE = "stability"


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
