"""Score any encoder on a collection or a whole benchmark: per-query rows first, means with intervals from them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from drscale.evaluation.entropy import (
    entropies,
    fit_temperature,
    interval,
    most_negatives,
    negative_scores,
    negative_table,
)
from drscale.evaluation.ranking import METRICS, ranking_metrics, search
from drscale.runs import Measure
from drscale.texts import Benchmark, Collection

Encode = Callable[[list[str]], np.ndarray]
COLUMNS = ("entropy", "calibrated", *METRICS)


class NotFiniteError(ValueError):
    """An encoder gave vectors with infinities or NaN in them: it has diverged."""


@dataclass(frozen=True)
class Scored:
    """What a benchmark says of an encoder: means with intervals by scope, the rows behind them, its temperature."""

    measures: dict[str, dict[str, Measure]]
    queries: pd.DataFrame
    temperature: float


@dataclass(frozen=True)
class _Vectors:
    queries: np.ndarray
    passages: np.ndarray
    query_rows: np.ndarray
    pair_query: np.ndarray
    pair_passage: np.ndarray


def _encode(encode: Encode, encode_passages: Encode, collection: Collection, limit: int | None) -> _Vectors:
    pair_query, pair_passage = collection.pairs
    query_rows = drawn(np.unique(pair_query), limit)
    kept = np.isin(pair_query, query_rows)
    queries = checked(
        encode, collection.queries["text"].take(query_rows).to_pylist(), f"{collection.name}: encode(queries)"
    )
    passages = checked(encode_passages, collection.passages["text"].to_pylist(), f"{collection.name}: encode(passages)")
    return _Vectors(queries, passages, query_rows, pair_query[kept], pair_passage[kept])


def drawn(rows: np.ndarray, limit: int | None) -> np.ndarray:
    """At most ``limit`` of the queries, the same for every model; a smaller draw is part of a larger one."""
    if limit is None or limit >= len(rows):
        return rows
    if limit < 1:
        raise ValueError(f"limit={limit}: at least 1 query, or None for all")
    return np.sort(np.random.default_rng(0).permutation(rows)[:limit])


def checked(encode: Encode, texts: list[str], what: str) -> np.ndarray:
    """Encode texts to float32 and see that what comes back is one finite vector a text; ``what`` names the caller."""
    got = encode(texts)
    vectors = np.asarray(got.detach().float().cpu() if isinstance(got, torch.Tensor) else got, dtype=np.float32)
    if vectors.ndim != 2 or len(vectors) != len(texts):
        raise ValueError(f"{what}: got an array of shape {vectors.shape}, expected ({len(texts)}, dimension)")
    if not np.isfinite(vectors).all():
        raise NotFiniteError(f"{what}: {int((~np.isfinite(vectors)).any(1).sum())} vectors are not finite")
    return vectors


def unit(encode: Encode, what: str = "encode") -> Encode:
    """The same encoder with vectors of length 1, so that inner products are cosines; a null vector stays null."""

    def encode_unit(texts: list[str]) -> np.ndarray:
        return unit_rows(checked(encode, texts, what))

    return encode_unit


def unit_rows(vectors: np.ndarray) -> np.ndarray:
    """Vectors (rows) at length 1; a null vector stays null."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    found: np.ndarray = vectors / np.where(length > 0, length, 1)
    return found


def _pools(v: _Vectors, collection: Collection, negatives: int, repeats: int) -> torch.Tensor:
    table = negative_table(collection, negatives=negatives, repeats=repeats)
    table = table[np.isin(collection.pairs[0], v.query_rows)]
    place = np.searchsorted(v.query_rows, v.pair_query)
    return negative_scores(v.queries[place], v.passages, v.pair_passage, table)


def score(
    encode: Encode,
    collection: Collection,
    *,
    encode_passages: Encode | None = None,
    temperature: float = 1.0,
    limit: int | None = None,
    negatives: int = 256,
    repeats: int = 10,
) -> pd.DataFrame:
    """Score an encoder on a collection, a row a query: entropy raw and calibrated (nats), nDCG@10, MRR@10, recall.

    ``encode`` takes a list of texts and returns an array (texts, dimension), as sentence-transformers' ``model.encode``
    does. ``limit`` draws so many of the queries at random, the same ones for every encoder; all passages stay in the
    pool. A query with several positives gets the mean of its entropies, and ``positives`` says how many.
    """
    v = _encode(encode, encode_passages or encode, collection, limit)
    pools = _pools(v, collection, negatives, repeats)
    rows = pd.DataFrame({"row": v.pair_query, "entropy": entropies(pools), "calibrated": entropies(pools, temperature)})
    frame = rows.groupby("row").mean().reset_index(drop=True)
    frame.insert(0, "query", collection.queries["id"].take(v.query_rows).to_pylist())
    frame.insert(1, "positives", rows.groupby("row").size().to_numpy())
    scores, found = search(v.queries, v.passages)
    return pd.concat([frame, ranking_metrics(collection, v.query_rows, scores, found)], axis=1)


def temperature_of(
    encode: Encode, collection: Collection, *, encode_passages: Encode | None = None, limit: int | None = None
) -> float:
    """Fit an encoder's one temperature on held-out in-domain pairs (a benchmark's validation split)."""
    v = _encode(encode, encode_passages or encode, collection, limit)
    return fit_temperature(_pools(v, collection, min(256, most_negatives(collection)), 4))


def score_benchmark(
    encode: Encode, benchmark: Benchmark, *, encode_passages: Encode | None = None, limit: int | None = 300
) -> Scored:
    """Score an encoder in-domain and on every domain out of it: there ``limit`` queries of a collection, drawn at
    random but the same for every encoder, against all its passages.

    The temperature is fitted on the validation split and serves all domains. The scope ``ood`` is ACE (Eq. 6): the
    unweighted mean over domains.
    """
    warm = temperature_of(encode, benchmark.validation, encode_passages=encode_passages)
    parts = [("in_domain", benchmark.test, None), *((f"ood:{n}", c, limit) for n, c in benchmark.ood.items())]
    frames = [
        score(encode, c, encode_passages=encode_passages, temperature=warm, limit=most).assign(scope=scope)
        for scope, c, most in parts
    ]
    by_scope = {str(f["scope"].iloc[0]): f for f in frames}
    out = {s: f for s, f in by_scope.items() if s != "in_domain"}
    measures = {s: means({s: f}) for s, f in by_scope.items()} | ({"ood": means(out)} if out else {})
    queries = pd.concat(frames, ignore_index=True)
    narrow = dict.fromkeys(COLUMNS, np.float32) | {"positives": np.int32}
    return Scored(measures, queries.astype(narrow).assign(condition="clean"), warm)


def means(frames: dict[str, pd.DataFrame]) -> dict[str, Measure]:
    """Each column's mean over domains, with its interval over queries; entropies weigh a query by its positives."""

    def of(column: str) -> dict[str, np.ndarray]:
        return {s: f[column].to_numpy(float) for s, f in frames.items()}

    weighted = of("positives")
    return {c: interval(of(c), weighted if c in ("entropy", "calibrated") else None) for c in COLUMNS}


def compare(models: dict[str, Encode], benchmark: Benchmark, limit: int | None = 300) -> pd.DataFrame:
    """Score several encoders side by side: a row for each model, scope and metric, with its interval."""
    rows: list[dict[str, object]] = []
    for name, encode in models.items():
        for scope, metrics in score_benchmark(encode, benchmark, limit=limit).measures.items():
            rows += [{"model": name, "scope": scope, "metric": k, **vars(m)} for k, m in metrics.items()]
    return pd.DataFrame(rows)


def mean_entropy(encode: Encode, collection: Collection, *, encode_passages: Encode | None = None) -> float:
    """The raw entropy on a split, averaged over its pairs: what the training loop watches along the way."""
    v = _encode(encode, encode_passages or encode, collection, None)
    return float(entropies(_pools(v, collection, min(256, most_negatives(collection)), 2)).mean())
