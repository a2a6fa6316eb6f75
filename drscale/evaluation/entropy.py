"""Contrastive entropy as the papers measure it, on negatives that all models share, raw and calibrated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from scipy.optimize import minimize_scalar

from drscale.losses import contrastive_entropy
from drscale.runs import Measure, divisors
from drscale.texts import Collection
from drscale.texts.collection import shuffled

NEGATIVES, REPEATS = 256, 10
POOL = 1_000_000  # passages that negatives are drawn from at most, as in the original
AT_ONCE = 20_000_000  # random numbers; another number gives other negatives
ORDERED = 100_000  # pairs that are drawn one after the other from one stream


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

    def drawn(rng: np.random.Generator, some: np.ndarray) -> np.ndarray:
        out = _padded(starts, banned, query_rows[some])  # (pairs, most), padded with -1
        if inside is None:
            return draw(rng, out, repeats, negatives, count)
        place = np.minimum(np.searchsorted(inside, out), count - 1)
        return inside[draw(rng, np.where(inside[place] == out, place, -1), repeats, negatives, count)]

    def alone(pair: int) -> np.ndarray:
        return drawn(np.random.default_rng([seed, pair]), np.array([pair]))

    rng, ordered = np.random.default_rng(seed), len(query_rows) <= ORDERED
    every, done = np.arange(len(query_rows)) if ordered else wanted, 0
    for at in range(0, len(every), step):
        if done == len(wanted):
            return
        some = every[at : at + step]
        if ordered:
            table = drawn(rng, some)[np.isin(some, wanted)]
        else:
            table = np.concatenate([alone(int(pair)) for pair in some])
        yield slice(done, done + len(table)), table.astype(np.int32)
        done += len(table)


def pool_rows(passages: int, pool: int | None = POOL, seed: int = 1) -> np.ndarray | None:
    """The rows of the passages that negatives are drawn from where there are more than ``pool``; None for all.

    Drawn once by the seed, the same for all models; a smaller pool is part of a larger one.
    """
    if pool is not None and pool < 1:
        raise ValueError(f"pool={pool}: at least 1 passage, or None for all")
    return None if pool is None or passages <= pool else np.sort(shuffled(passages, seed)[:pool])


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
    dense = len(p) <= 100_000
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

    best = minimize_scalar(loss, bounds=(np.log(low), np.log(high)), method="bounded", options={"xatol": 1e-4})
    return float(np.exp(best.x))


def interval(
    values: Mapping[str, np.ndarray],
    weights: Mapping[str, np.ndarray] | None = None,
    samples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Measure:
    """The unweighted mean over domains of each domain's mean, with a bootstrap interval over queries.

    Queries are resampled within their domain, the domains themselves are not: the interval speaks of these domains.
    With a single domain it is the plain mean; over several it is ACE (Eq. 6). ``weights`` counts a query's positives.
    Domains that are parts of one data set (``cqadupstack/android``, ``cqadupstack/english``) count as one together.
    """
    if not values or any(len(v) == 0 for v in values.values()):
        raise ValueError("interval: every domain needs at least one query")
    rng = np.random.default_rng(seed)
    mean, drawn, parts = 0.0, np.zeros(samples), divisors(values)
    for name, v in values.items():
        w = np.ones(len(v)) if weights is None else np.asarray(weights[name], float)
        mean += float(np.average(v, weights=w)) / parts[name]
        times = rng.multinomial(len(v), np.full(len(v), 1 / len(v)), size=samples)  # (samples, queries)
        drawn += (times @ (v * w)) / (times @ w) / parts[name]
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Measure(mean, float(low), float(high), sum(len(v) for v in values.values()))
