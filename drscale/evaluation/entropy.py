"""Contrastive entropy as the papers measure it, on negatives that all models share, raw and calibrated."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from scipy.optimize import minimize_scalar

from drscale.losses import contrastive_entropy
from drscale.runs import Measure
from drscale.texts import Collection

NEGATIVES, REPEATS = 256, 10


def negative_table(
    collection: Collection, limit: int | None = None, negatives: int = NEGATIVES, repeats: int = REPEATS, seed: int = 1
) -> np.ndarray:
    """Draw the rows of the negatives of each (query, positive) pair: an int32 array (pairs, repeats, negatives).

    Fixed by the collection and the seed alone, so that all models meet the same negatives and can be compared pair by
    pair. Drawn without replacement from the passages that are not relevant to the query. The original draws afresh for
    each model, and from passages relevant to no test query at all, which a collection of held-out pairs does not have.
    """
    query_rows, passage_rows = collection.pairs
    count, wanted = len(collection.passages), query_rows[:limit]
    if most_negatives(collection) < negatives:
        raise ValueError(
            f"{collection.name}: its {count} passages are too few for negatives={negatives}; "
            f"give at most {most_negatives(collection)}"
        )
    relevant = relevant_rows(query_rows, passage_rows)[wanted]  # (pairs, most), padded with -1
    rng = np.random.default_rng(seed)
    table = np.empty((len(wanted), repeats, negatives), dtype=np.int32)
    step = max(1, 20_000_000 // (repeats * max(count if count <= 8 * negatives else negatives, 1)))
    for at in range(0, len(wanted), step):
        block = relevant[at : at + step]
        draw = _draw_dense if count <= 8 * negatives else _draw_sparse
        table[at : at + step] = draw(rng, block, repeats, negatives, count)
    return table


def most_negatives(collection: Collection) -> int:
    """How many passages are left as negatives for the query with the most relevant ones."""
    return len(collection.passages) - int(np.bincount(collection.pairs[0]).max())


def relevant_rows(query_rows: np.ndarray, passage_rows: np.ndarray) -> np.ndarray:
    """The passages relevant to each query: (queries, most), padded with -1."""
    sizes = np.bincount(query_rows)
    order = np.argsort(query_rows, kind="stable")
    place = np.arange(len(order)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    rows = np.full((len(sizes), int(sizes.max())), -1, dtype=np.int64)
    rows[query_rows[order], place] = passage_rows[order]
    return rows


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
    step = 256 if dense else max(1, 4_000_000 // (repeats * negatives * p.shape[1] // 64 + 1))
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
    """
    if not values or any(len(v) == 0 for v in values.values()):
        raise ValueError("interval: every domain needs at least one query")
    rng = np.random.default_rng(seed)
    mean, drawn = 0.0, np.zeros(samples)
    for name, v in values.items():
        w = np.ones(len(v)) if weights is None else np.asarray(weights[name], float)
        mean += float(np.average(v, weights=w)) / len(values)
        times = rng.multinomial(len(v), np.full(len(v), 1 / len(v)), size=samples)  # (samples, queries)
        drawn += (times @ (v * w)) / (times @ w) / len(values)
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Measure(mean, float(low), float(high), sum(len(v) for v in values.values()))
