"""Score an encoder on a collection or a benchmark: contrastive entropy, per query first, then means with intervals.

Negatives are drawn once and shared by all models, as in the papers; entropies are raw and calibrated.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral
from typing import Any

import numpy as np
import pandas as pd
import torch

from drscale.evaluate import bare
from drscale.evaluate.ranking import METRICS, depth_of, measures_of, ranking_metrics, search, spare
from drscale.losses import contrastive_entropy
from drscale.results import Result
from drscale.runs import Measure, divisors, measure_table
from drscale.texts import Benchmark, Collection, rows_at
from drscale.texts.collection import shuffled
from drscale.texts.tables import BATCH

NEGATIVES, REPEATS = 256, 10
POOL = 1_000_000  # passages that negatives are drawn from at most, as in the original
AT_ONCE = 20_000_000  # random numbers; another number gives other negatives
ORDERED = 100_000  # pairs that are drawn one after the other from one stream
DENSE = 100_000  # passages at most whose inner products with a block of queries are all taken


def negative_table(
    collection: Collection,
    pairs: np.ndarray | None = None,
    negatives: int = NEGATIVES,
    repeats: int = REPEATS,
    seed: int = 1,
    pool: int | None = POOL,
) -> np.ndarray:
    """Draw the rows of the negatives of each (query, positive) pair: an int32 array (pairs, repeats, negatives).

    Fixed by the collection and the seed alone, so that all models meet the same negatives and can be compared pair by
    pair. Drawn without replacement from the passages that are not relevant to the query and do not have its id
    (``Collection.own_rows``), of at most ``pool`` passages (:func:`pool_rows`). The original draws afresh for each
    model, and from passages relevant to no test query at all, which a collection of held-out pairs does not have.
    ``pairs`` are the positions (ascending) of the pairs that are asked for; a pair's negatives do not depend on it.
    """
    count = len(collection.pairs[0]) if pairs is None else len(pairs)
    table = np.empty((count, repeats, negatives), dtype=np.int32)
    for places, block in negative_blocks(collection, pairs, negatives, repeats, seed, pool):
        table[places] = block
    return table


def negative_blocks(
    collection: Collection,
    pairs: np.ndarray | None = None,
    negatives: int = NEGATIVES,
    repeats: int = REPEATS,
    seed: int = 1,
    pool: int | None = POOL,
) -> Iterator[tuple[slice, np.ndarray]]:
    """The same table in pieces, each with its places among the pairs asked for, so that it is never held whole.

    Up to 100,000 pairs are drawn in their order from one stream of random numbers, whether asked for or not; in a
    larger collection each pair has a stream of its own, and only those asked for are drawn.
    """
    query_rows = collection.pairs[0]
    inside = pool_rows(len(collection.passages), pool)
    count = len(collection.passages) if inside is None else len(inside)
    wanted = np.arange(len(query_rows)) if pairs is None else np.asarray(pairs)
    if (most := most_negatives(collection, pool)) < negatives:
        raise ValueError(
            f"{collection.name}: its {count} passages are too few for negatives={negatives}; give at most {most}"
        )
    if (np.diff(wanted) <= 0).any():
        raise ValueError("pairs: positions of pairs in ascending order are needed")
    starts, banned = _banned(collection)
    dense = count <= 8 * negatives
    draw = _draw_dense if dense else _draw_sparse
    step = max(1, AT_ONCE // (repeats * max(count if dense else negatives, 1)))

    def negatives_of(rng: np.random.Generator, some: np.ndarray) -> np.ndarray:
        out = _padded(starts, banned, query_rows[some])  # (pairs, most), padded with -1
        if inside is None:
            return draw(rng, out, repeats, negatives, count)
        place = np.minimum(np.searchsorted(inside, out), count - 1)
        return inside[draw(rng, np.where(inside[place] == out, place, -1), repeats, negatives, count)]

    def alone(pair: int) -> np.ndarray:
        return negatives_of(np.random.default_rng([seed, pair]), np.array([pair]))

    rng, ordered = np.random.default_rng(seed), len(query_rows) <= ORDERED
    every, done = np.arange(len(query_rows)) if ordered else wanted, 0
    for at in range(0, len(every), step):
        if done == len(wanted):
            return
        some = every[at : at + step]
        if ordered:
            table = negatives_of(rng, some)[np.isin(some, wanted)]
        else:
            table = np.concatenate([alone(int(pair)) for pair in some])
        yield slice(done, done + len(table)), table.astype(np.int32)
        done += len(table)


def pool_rows(n_passages: int, pool: int | None = POOL, seed: int = 1) -> np.ndarray | None:
    """The rows of the passages that negatives are drawn from where there are more than ``pool``; None for all.

    Drawn once by the seed, the same for all models; a smaller pool is part of a larger one.
    """
    if pool is not None and pool < 1:
        raise ValueError(f"pool={pool}: at least 1 passage, or None for all")
    return None if pool is None or n_passages <= pool else np.sort(shuffled(n_passages, seed)[:pool])


def most_negatives(collection: Collection, pool: int | None = None) -> int:
    """How many passages are left as negatives for the query that the most are not negatives of."""
    starts, _ = _banned(collection)
    count = len(collection.passages)
    return (count if pool is None else min(count, pool)) - int(np.diff(starts).max())


def relevant_rows(query_rows: np.ndarray, passage_rows: np.ndarray) -> np.ndarray:
    """The passages relevant to each query: (queries, most), padded with -1."""
    starts, rows = _grouped(query_rows, passage_rows)
    return _padded(starts, rows, np.arange(len(starts) - 1))


def _banned(collection: Collection) -> tuple[np.ndarray, np.ndarray]:
    """What is no negative of a query, grouped by query: its relevant passages and the one with its own id."""
    asked, answers = collection.pairs
    own = collection.own_rows
    also = np.flatnonzero(own >= 0)
    return _grouped(np.concatenate([asked, also]), np.concatenate([answers, own[also]]))


def _grouped(query_rows: np.ndarray, passage_rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where the passages of each query begin, (queries + 1,), and the passages, query after query."""
    return np.cumsum([0, *np.bincount(query_rows)]), passage_rows[np.argsort(query_rows, kind="stable")]


def _padded(starts: np.ndarray, rows: np.ndarray, queries: np.ndarray) -> np.ndarray:
    sizes = np.diff(starts)[queries]
    column = np.arange(int(sizes.max()))
    place = np.minimum(starts[queries][:, None] + column, len(rows) - 1)
    return np.where(column < sizes[:, None], rows[place], -1)


def _draw_dense(rng: np.random.Generator, relevant: np.ndarray, repeats: int, negatives: int, count: int) -> np.ndarray:
    keys = rng.random((len(relevant), repeats, count), dtype=np.float32)
    pair, column = np.nonzero(relevant >= 0)
    keys[pair, :, relevant[pair, column]] = 2.0
    return np.argpartition(keys, negatives, axis=-1)[..., :negatives]


def _draw_sparse(
    rng: np.random.Generator, relevant: np.ndarray, repeats: int, negatives: int, count: int
) -> np.ndarray:
    drawn = rng.integers(0, count, (len(relevant), repeats, negatives))
    while True:  # redraw what is drawn twice or relevant; few rounds, as at most an eighth of the passages is drawn
        drawn.sort(axis=-1)
        again = np.zeros(drawn.shape, dtype=bool)
        again[..., 1:] = drawn[..., 1:] == drawn[..., :-1]
        for column in range(relevant.shape[1]):
            again |= drawn == relevant[:, column, None, None]
        if not again.any():
            return drawn
        drawn[again] = rng.integers(0, count, int(again.sum()))


def negative_scores(queries: np.ndarray, passages: np.ndarray, own_rows: np.ndarray, table: np.ndarray) -> torch.Tensor:
    """Inner products of each pair's query with its positive, then its negatives: (pairs, repeats, 1 + negatives)."""
    pairs, repeats, negatives = table.shape
    scores = torch.empty((pairs, repeats, 1 + negatives))
    q, p = torch.from_numpy(np.asarray(queries, np.float32)), torch.from_numpy(np.asarray(passages, np.float32))
    scores[..., 0] = (q * p[torch.from_numpy(own_rows)]).sum(-1, keepdim=True)  # (pairs, 1), the same for all repeats
    dense = len(p) <= DENSE
    step = 256 if dense else max(1, 16_000_000 // (repeats * negatives * p.shape[1]))  # 64 MB of gathered vectors
    for at in range(0, pairs, step):
        rows = torch.from_numpy(table[at : at + step].astype(np.int64)).flatten(1)  # (block, repeats * negatives)
        if dense:
            picked = (q[at : at + step] @ p.T).gather(1, rows)
        else:
            picked = torch.einsum("bd,bnd->bn", q[at : at + step], p[rows])
        scores[at : at + step, :, 1:] = picked.unflatten(1, (repeats, negatives))
    return scores


def entropies(scores: torch.Tensor, temperature: float = 1.0) -> np.ndarray:
    """Contrastive entropy of each pair, averaged over the repeats, in nats."""
    values: np.ndarray = contrastive_entropy(scores, 0, temperature).mean(-1).double().numpy()  # (pairs,)
    return values


def fit_temperature(scores: torch.Tensor, low: float = 1e-3, high: float = 1e4) -> float:
    """The one temperature that minimises the mean entropy of held-out pairs; the loss is convex in its inverse."""
    some = scores[:, : min(4, scores.shape[1])]

    def loss(log_t: float) -> float:
        return float(contrastive_entropy(some, 0, float(np.exp(log_t))).mean())

    try:
        from scipy.optimize import minimize_scalar
    except ModuleNotFoundError:
        return math.exp(bare.lowest(loss, math.log(low), math.log(high)))
    best = minimize_scalar(loss, bounds=(np.log(low), np.log(high)), method="bounded", options={"xatol": 1e-4})
    return float(np.exp(best.x))


def interval(
    values: Mapping[str, np.ndarray],
    weights: Mapping[str, np.ndarray] | None = None,
    n_boot: int = 2000,
    level: float = 0.95,
    seed: int = 0,
    *,
    prepared: Mapping[str, np.ndarray] | None = None,
) -> Measure:
    """The unweighted mean over domains of each domain's mean, with a bootstrap interval over queries.

    Queries are resampled within their domain, the domains themselves are not: the interval speaks of these domains.
    With a single domain it is the plain mean; over several it is ACE (Eq. 6). ``weights`` counts a query's positives.
    Domains that are parts of one data set (``cqadupstack/android``, ``cqadupstack/english``) count as one together.
    ``prepared`` are those of :func:`resampled`, where they are at hand.
    """
    if not values or any(len(v) == 0 for v in values.values()):
        raise ValueError("interval: every domain needs at least one query")
    mean, drawn, parts = 0.0, np.zeros(n_boot), divisors(values)
    drawing = resampled({name: len(v) for name, v in values.items()}, n_boot, seed)
    for name, v in values.items():
        w = np.ones(len(v)) if weights is None else np.asarray(weights[name], float)
        mean += float(np.average(v, weights=w)) / parts[name]
        times = next(drawing)[1] if prepared is None else prepared[name]
        drawn += (times @ (v * w)) / (times @ w) / parts[name]
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Measure(mean, float(low), float(high), sum(len(v) for v in values.values()))


def resampled(sizes: Mapping[str, int], n_boot: int, seed: int) -> Iterator[tuple[str, np.ndarray]]:
    """How often each query of a domain comes in each bootstrap sample, (samples, queries), domain by domain."""
    rng = np.random.default_rng(seed)
    for name, n in sizes.items():
        yield name, rng.multinomial(n, np.full(n, 1 / n), size=n_boot).astype(float)


Encode = Callable[[list[str]], np.ndarray]
COLUMNS = ("entropy", "calibrated", *METRICS)
SMALL = 5000  # queries whose 2,000 bootstrap samples, of 80 MB, are kept


class NotFiniteError(ValueError):
    """An encoder gave vectors with infinities or NaN in them: it has diverged."""


@dataclass(frozen=True)
class Scored(Result):
    """What a benchmark says of an encoder: means with intervals by scope, the rows behind them, its temperature.

    ``notes`` belong to a record's versions: which collections are larger than the pool of their negatives.
    """

    measures: dict[str, dict[str, Measure]]
    queries: pd.DataFrame
    temperature: float
    notes: dict[str, str] = field(default_factory=dict)

    def table(self) -> pd.DataFrame:
        """The means with their intervals, a row a scope and metric."""
        return measure_table(self.measures)

    def __str__(self) -> str:
        losses = [(s, ms["entropy"].mean) for s, ms in self.measures.items() if "entropy" in ms and ":" not in s]
        said = ", ".join(f"{scope.replace('_', ' ')} {value:.3f} nats" for scope, value in losses)
        chance = math.log(1 + NEGATIVES)
        better = {s: value for s, value in losses if self.measures[s]["calibrated"].mean < 0.8 * value}
        flat = [scope for scope, value in better.items() if 0.8 * chance < value < 1.2 * chance]
        loud = [scope for scope, value in better.items() if value >= 1.2 * chance]
        why = f"near chance, {chance:.2f}, as these scores lie close together (cosines do)" if flat else ""
        if loud:
            why = f"above a guess's {chance:.2f}, as these scores lie far apart and the wrong ones cost much"
        told = [f"{scope.replace('_', ' ')} {self.measures[scope]['calibrated'].mean:.3f}" for scope in loud or flat]
        hint = f"; raw entropy is {why}, so compare `calibrated`: {', '.join(told)}" if why else ""
        return f"{said} (temperature {self.temperature:.3g}){hint}"


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
    encode: Any,
    encode_passages: Encode | None,
    collection: Collection,
    limit: int | None,
    pool: int | None = None,
    rank_all: bool = True,
) -> _Vectors:
    encode, encode_passages = sides_of(encode, encode_passages)
    asked, answers = collection.pairs
    query_rows = sample_queries(np.unique(asked), limit)
    rows = None if rank_all else pool_rows(len(collection.passages), pool)
    if rows is not None:
        rows = np.union1d(rows, answers)
    queries = checked(
        encode, rows_at(collection.queries, query_rows)["text"].to_pylist(), f"{collection.name}: encode(queries)"
    )
    passages = encoded(encode_passages or encode, collection, rows)
    return _Vectors(queries, passages, rows, query_rows, np.flatnonzero(np.isin(asked, query_rows)))


def sides_of(model: Any, encode_passages: Encode | None = None) -> tuple[Encode, Encode | None]:
    """How a model encodes queries and passages: a function itself, anything else as :func:`drscale.retriever` reads it.

    >>> from drscale.evaluate.entropy import sides_of
    >>> sides_of(len)
    (<built-in function len>, None)
    """
    if callable(model) and not hasattr(model, "encode"):
        return model, encode_passages
    # It stands above this module and needs what a training node may lack.
    retriever: Any = importlib.import_module("drscale.evaluate.retrievers").retriever
    found = retriever(model, encode_passages=encode_passages)
    if found.encode is None:
        raise ValueError(
            f"model={found.name}: it has no vectors, which contrastive entropy needs; its rankings are measured by "
            "drscale.evaluate.retrievers.rank_scores and ds.measure_stability"
        )
    return found.encode, found.encode_passages


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


def sample_queries(rows: np.ndarray, limit: int | None) -> np.ndarray:
    """At most ``limit`` of the queries, the same for every model; a smaller draw is part of a larger one."""
    if limit is not None and (not isinstance(limit, Integral) or limit < 1):
        raise ValueError(f"limit={limit!r}: at least 1 query, or None for all")
    if limit is None or limit >= len(rows):
        return rows
    return np.sort(np.random.default_rng(0).permutation(rows)[:limit])


def checked(encode: Encode, texts: list[str], what: str) -> np.ndarray:
    """Encode texts to float32 and see that what comes back is one finite vector a text; ``what`` names the caller."""
    if not callable(encode):
        raise ValueError(f"{what}: {encode!r:.60} is no function from texts to vectors")
    got = encode(texts)
    try:
        found = np.asarray(got.detach().float().cpu() if isinstance(got, torch.Tensor) else got)
        vectors = found.astype(np.float32, casting="unsafe" if found.dtype == object else "same_kind", copy=False)
    except (TypeError, ValueError) as e:
        raise ValueError(f"{what}: gave no array of numbers ({e})") from None
    if vectors.ndim != 2 or len(vectors) != len(texts) or not vectors.shape[1]:
        raise ValueError(f"{what}: got an array of shape {vectors.shape}, expected ({len(texts)}, dimension)")
    if not np.isfinite(vectors).all():
        raise NotFiniteError(f"{what}: {int((~np.isfinite(vectors)).any(1).sum())} vectors are not finite")
    return vectors


def normalised(encode: Encode, what: str = "encode") -> Encode:
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
    encode: Any,
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
    does; or it is whatever :func:`drscale.retriever` accepts and has vectors. ``limit`` draws so many of the queries at
    random, the same ones for every encoder; all passages are ranked. A query with several positives gets the mean of
    its entropies, and ``positives`` says how many. ``metrics`` adds columns by ir-measures' names (R@1000, Success@5,
    AP, P@10). Negatives come from at most ``pool`` passages, drawn once for all encoders. ``rank_all=False`` ranks
    those and the relevant ones only and encodes no others, as the original does with its million; such a ranking is
    easier and not comparable with one of the whole collection. A passage with the query's own id is no answer and no
    negative, unless it is relevant (BEIR's rule).
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
    encode: Any, collection: Collection, *, encode_passages: Encode | None = None, limit: int | None = None
) -> float:
    """Fit an encoder's one temperature on held-out in-domain pairs (a benchmark's validation split)."""
    v = _encode(encode, encode_passages, collection, limit)
    return fit_temperature(torch.cat(list(_pools(v, collection, min(256, most_negatives(collection, POOL)), 4))))


def score_benchmark(
    encode: Any,
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

    ``encode`` is a function from a list of texts to an array (texts, dimension), or whatever :func:`drscale.retriever`
    accepts and has vectors: a model of :func:`drscale.load_model`, an object with ``encode``, ``"minilm"``, a folder.
    The temperature is fitted on the validation split and serves all domains. The scope ``ood`` is ACE (Eq. 6): the
    unweighted mean over domains. Domains that are parts of one data set, as ``cqadupstack/android`` and
    ``cqadupstack/english``, count as one together, which has a scope of its own (``ood:cqadupstack``). ``metrics``,
    ``pool`` and ``rank_all`` are those of :func:`score`; ``notes`` says where a pool was smaller than its collection.

    >>> import drscale as ds
    >>> from drscale.texts import oracle
    >>> scored = ds.score_benchmark(oracle(), ds.benchmark("planted?pairs=300"), limit=20)
    >>> sorted(scored.measures)
    ['in_domain', 'ood', 'ood:shift1', 'ood:shift2', 'ood:shift3']
    """
    if not isinstance(benchmark, Benchmark):
        raise ValueError(f"benchmark={benchmark!r:.60}: a Benchmark is needed, as ds.benchmark reads one")
    encode, encode_passages = sides_of(encode, encode_passages)  # once: a name may have to be loaded
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

    weighted, sizes = of("positives"), {s: len(f) for s, f in frames.items()}
    # All columns have the same samples, which are kept from one to the next where they are small.
    samples = dict(resampled(sizes, 2000, 0)) if all(sizes.values()) and 0 < sum(sizes.values()) <= SMALL else None
    kinds = {c: weighted if c in ("entropy", "calibrated") else None for c in columns}
    return {c: interval(of(c), kind, prepared=samples) for c, kind in kinds.items()}


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
