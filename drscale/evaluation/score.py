"""Score any encoder on a collection or a whole benchmark: per-query rows first, means with intervals from them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch

from drscale.evaluation.entropy import (
    POOL,
    entropies,
    fit_temperature,
    interval,
    most_negatives,
    negative_blocks,
    negative_scores,
    pool_rows,
)
from drscale.evaluation.ranking import METRICS, depth_of, measures_of, ranking_metrics, search, spare
from drscale.runs import Measure
from drscale.texts import Benchmark, Collection, rows_at
from drscale.texts.tables import BATCH

Encode = Callable[[list[str]], np.ndarray]
COLUMNS = ("entropy", "calibrated", *METRICS)


class NotFiniteError(ValueError):
    """An encoder gave vectors with infinities or NaN in them: it has diverged."""


@dataclass(frozen=True)
class Scored:
    """What a benchmark says of an encoder: means with intervals by scope, the rows behind them, its temperature.

    ``notes`` belong to a record's versions: which collections are larger than the pool of their negatives.
    """

    measures: dict[str, dict[str, Measure]]
    queries: pd.DataFrame
    temperature: float
    notes: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Vectors:
    queries: np.ndarray
    passages: np.ndarray
    rows: np.ndarray | None  # which passages these are; None: all
    query_rows: np.ndarray
    pairs: np.ndarray  # the positions of these queries' pairs

    def place(self, rows: np.ndarray) -> np.ndarray:
        """Where passages of the collection stand among those that are encoded."""
        return rows if self.rows is None else np.searchsorted(self.rows, rows)


def _encode(
    encode: Encode,
    encode_passages: Encode | None,
    collection: Collection,
    limit: int | None,
    pool: int | None = None,
    rank_all: bool = True,
) -> _Vectors:
    asked, answers = collection.pairs
    query_rows = drawn(np.unique(asked), limit)
    rows = None if rank_all else pool_rows(len(collection.passages), pool)
    if rows is not None:
        rows = np.union1d(rows, answers)
    queries = checked(
        encode, rows_at(collection.queries, query_rows)["text"].to_pylist(), f"{collection.name}: encode(queries)"
    )
    passages = encoded(encode_passages or encode, collection, rows)
    return _Vectors(queries, passages, rows, query_rows, np.flatnonzero(np.isin(asked, query_rows)))


def encoded(encode_passages: Encode, collection: Collection, rows: np.ndarray | None = None) -> np.ndarray:
    """The vectors of a collection's passages (or of those in ``rows``), 65,536 texts at a time."""
    count = len(collection.passages) if rows is None else len(rows)

    def block(at: int) -> np.ndarray:
        passages = collection.passages
        some = passages.slice(at, BATCH) if rows is None else rows_at(passages, rows[at : at + BATCH])
        return checked(encode_passages, some["text"].to_pylist(), f"{collection.name}: encode(passages)")

    first = block(0)
    if count <= BATCH:
        return first
    found = np.empty((count, first.shape[1]), dtype=np.float32)
    found[:BATCH] = first
    for at in range(BATCH, count, BATCH):
        found[at : at + BATCH] = block(at)
    return found


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


def _pools(
    v: _Vectors, collection: Collection, negatives: int, repeats: int, pool: int | None = POOL
) -> Iterator[torch.Tensor]:
    """The scores of the pairs' pools, (pairs, repeats, 1 + negatives), some pairs at a time."""
    asked, answers = (side[v.pairs] for side in collection.pairs)
    queries, own = np.searchsorted(v.query_rows, asked), v.place(answers)
    for some, table in negative_blocks(collection, v.pairs, negatives, repeats, pool=pool):
        yield negative_scores(v.queries[queries[some]], v.passages, own[some], v.place(table))


def score(
    encode: Encode,
    collection: Collection,
    *,
    encode_passages: Encode | None = None,
    temperature: float = 1.0,
    limit: int | None = None,
    negatives: int = 256,
    repeats: int = 10,
    metrics: Sequence[str] = (),
    pool: int | None = POOL,
    rank_all: bool = True,
) -> pd.DataFrame:
    """Score an encoder on a collection, a row a query: entropy raw and calibrated (nats), nDCG@10, MRR@10, recall.

    ``encode`` takes a list of texts and returns an array (texts, dimension), as sentence-transformers' ``model.encode``
    does. ``limit`` draws so many of the queries at random, the same ones for every encoder; all passages are ranked. A
    query with several positives gets the mean of its entropies, and ``positives`` says how many. ``metrics`` adds
    columns by ir-measures' names (R@1000, Success@5, AP, P@10). Negatives come from at most ``pool`` passages, drawn
    once for all encoders. ``rank_all=False`` ranks those and the relevant ones only and encodes no others, as the
    original does with its million; such a ranking is easier and not comparable with one of the whole collection.
    A passage with the query's own id is no answer and no negative, unless it is relevant (BEIR's rule).
    """
    measures = measures_of(metrics)
    v = _encode(encode, encode_passages, collection, limit, pool, rank_all)
    pools = _pools(v, collection, negatives, repeats, pool)
    values = [np.stack([entropies(p), entropies(p, temperature)], axis=1) for p in pools]
    rows = pd.DataFrame(np.concatenate(values), columns=["entropy", "calibrated"])
    grouped = rows.groupby(collection.pairs[0][v.pairs])
    frame = grouped.mean().reset_index(drop=True)
    frame.insert(0, "query", rows_at(collection.queries, v.query_rows)["id"].to_pylist())
    frame.insert(1, "positives", grouped.size().to_numpy())
    scores, found = search(v.queries, v.passages, depth_of(measures) + spare(collection))
    found = found if v.rows is None else v.rows[found]
    return pd.concat([frame, ranking_metrics(collection, v.query_rows, scores, found, metrics)], axis=1)


def temperature_of(
    encode: Encode, collection: Collection, *, encode_passages: Encode | None = None, limit: int | None = None
) -> float:
    """Fit an encoder's one temperature on held-out in-domain pairs (a benchmark's validation split)."""
    v = _encode(encode, encode_passages, collection, limit)
    return fit_temperature(torch.cat(list(_pools(v, collection, min(256, most_negatives(collection, POOL)), 4))))


def score_benchmark(
    encode: Encode,
    benchmark: Benchmark,
    *,
    encode_passages: Encode | None = None,
    limit: int | None = 300,
    metrics: Sequence[str] = (),
    pool: int | None = POOL,
    rank_all: bool = True,
) -> Scored:
    """Score an encoder in-domain and on every domain out of it: there ``limit`` queries of a collection, drawn at
    random but the same for every encoder, against all its passages.

    The temperature is fitted on the validation split and serves all domains. The scope ``ood`` is ACE (Eq. 6): the
    unweighted mean over domains. Domains that are parts of one data set, as ``cqadupstack/android`` and
    ``cqadupstack/english``, count as one together, which has a scope of its own (``ood:cqadupstack``). ``metrics``,
    ``pool`` and ``rank_all`` are those of :func:`score`; ``notes`` says where a pool was smaller than its collection.
    """
    warm = temperature_of(encode, benchmark.validation, encode_passages=encode_passages)
    parts = [("in_domain", benchmark.test, None), *((f"ood:{n}", c, limit) for n, c in benchmark.ood.items())]
    options: dict[str, Any] = {"metrics": metrics, "pool": pool, "rank_all": rank_all}
    frames = [
        score(encode, c, encode_passages=encode_passages, temperature=warm, limit=most, **options).assign(scope=scope)
        for scope, c, most in parts
    ]
    by_scope = {str(f["scope"].iloc[0]): f for f in frames}
    out = {s: f for s, f in by_scope.items() if s != "in_domain"}
    columns = ("entropy", "calibrated", *measures_of(metrics))
    sets = {s.partition("/")[0] for s in out if "/" in s} - out.keys()
    scopes = {s: {s: f} for s, f in by_scope.items()}
    scopes |= {name: {s: f for s, f in out.items() if s.startswith(f"{name}/")} for name in sorted(sets)}
    measures = {s: means(f, columns) for s, f in (scopes | ({"ood": out} if out else {})).items()}
    queries = pd.concat(frames, ignore_index=True)
    narrow = dict.fromkeys(columns, np.float32) | {"positives": np.int32}
    notes = {f"pool:{scope}": said for scope, c, _ in parts if (said := _pool_note(c, pool, rank_all))}
    return Scored(measures, queries.astype(narrow).assign(condition="clean"), warm, notes)


def _pool_note(collection: Collection, pool: int | None, rank_all: bool) -> str:
    count = len(collection.passages)
    if pool is None or count <= pool:
        return ""
    ranked = "all are ranked" if rank_all else "these and the relevant ones are ranked"
    return f"negatives from {pool:,} of {count:,} passages, seed 1; {ranked}"


def means(frames: dict[str, pd.DataFrame], columns: Sequence[str] = COLUMNS) -> dict[str, Measure]:
    """Each column's mean over domains, with its interval over queries; entropies weigh a query by its positives."""

    def of(column: str) -> dict[str, np.ndarray]:
        return {s: f[column].to_numpy(float) for s, f in frames.items()}

    weighted = of("positives")
    return {c: interval(of(c), weighted if c in ("entropy", "calibrated") else None) for c in columns}


def compare(
    models: dict[str, Encode], benchmark: Benchmark, limit: int | None = 300, metrics: Sequence[str] = ()
) -> pd.DataFrame:
    """Score several encoders side by side: a row for each model, scope and metric, with its interval."""
    rows: list[dict[str, object]] = []
    for name, encode in models.items():
        for scope, measures in score_benchmark(encode, benchmark, limit=limit, metrics=metrics).measures.items():
            rows += [{"model": name, "scope": scope, "metric": k, **vars(m)} for k, m in measures.items()]
    return pd.DataFrame(rows)


def mean_entropy(encode: Encode, collection: Collection, *, encode_passages: Encode | None = None) -> float:
    """The raw entropy on a split, averaged over its pairs: what the training loop watches along the way."""
    v = _encode(encode, encode_passages, collection, None)
    pools = _pools(v, collection, min(256, most_negatives(collection, POOL)), 2)
    return float(np.concatenate([entropies(p) for p in pools]).mean())
