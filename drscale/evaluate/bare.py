"""What scoring needs where torch, numpy and pyarrow are all there is: search, the four metrics, a minimum on a line.

A training node without a network has no FAISS, no trec_eval and no SciPy. These functions give what those give, to the
digit or to the last few, and tests hold them against each other; where the libraries are installed, they are used.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch

from drscale.texts import Collection, rows_at

ROWS = 1024  # queries at a time


def search(query_vectors: np.ndarray, passage_vectors: np.ndarray, depth: int) -> tuple[np.ndarray, np.ndarray]:
    """The best ``depth`` passages of each query by inner product: scores and rows, both (queries, depth)."""
    passages = torch.from_numpy(passage_vectors)
    parts = [
        (torch.from_numpy(query_vectors[at : at + ROWS]) @ passages.T).topk(depth, dim=1)
        for at in range(0, len(query_vectors), ROWS)
    ]
    scores, rows = (torch.cat([p[i] for p in parts]).numpy() for i in (0, 1))
    return scores, rows


def four_metrics(
    collection: Collection, query_rows: np.ndarray, scores: np.ndarray, passage_rows: np.ndarray
) -> dict[str, np.ndarray]:
    """nDCG@10, MRR@10, recall@10 and recall@100 of ranked passages (row -1: nothing more was found), a value a query.

    trec_eval's rules: gains are the grades, discounts log2(rank + 1), equal scores stand by passage id, descending.
    """
    ids = np.asarray(rows_at(collection.passages.select(["id"]), passage_rows.ravel().clip(0))["id"].to_pylist(), "O")
    code = np.unique(ids, return_inverse=True)[1].reshape(passage_rows.shape)
    asked, answers = collection.pairs
    grades = collection.qrels["relevance"].to_numpy()
    known: dict[int, dict[int, int]] = {int(q): {} for q in query_rows}
    for query, passage, grade in zip(asked.tolist(), answers.tolist(), grades[grades > 0].tolist(), strict=True):
        if query in known:
            known[query][passage] = grade
    out = {name: np.zeros(len(query_rows)) for name in ("ndcg10", "mrr10", "recall10", "recall100")}
    for i, query in enumerate(query_rows.tolist()):
        found = passage_rows[i] >= 0
        order = np.lexsort((-code[i][found], -scores[i][found].astype(float)))
        relevant = known[query]
        if not relevant:
            for values in out.values():
                values[i] = np.nan
            continue
        gains = np.array([relevant.get(row, 0) for row in passage_rows[i][found][order].tolist()], dtype=float)
        best = np.sort(list(relevant.values()))[::-1][:10].astype(float)
        out["ndcg10"][i] = _discounted(gains[:10]) / _discounted(best)
        hits = np.flatnonzero(gains[:10] > 0)
        out["mrr10"][i] = 1 / (hits[0] + 1) if len(hits) else 0.0
        for name, depth in (("recall10", 10), ("recall100", 100)):
            out[name][i] = (gains[:depth] > 0).sum() / len(relevant)
    return out


def _discounted(gains: np.ndarray) -> float:
    return float((gains / np.log2(np.arange(2, len(gains) + 2))).sum())


def lowest(function: Callable[[float], float], low: float, high: float, exact: float = 1e-4) -> float:
    """Where a function of one peak downwards is lowest between two bounds, by golden section, to ``exact``.

    >>> from drscale.evaluate.bare import lowest
    >>> round(lowest(lambda x: (x - 2) ** 2, 0, 5), 3)
    2.0
    """
    ratio = (math.sqrt(5) - 1) / 2
    a, d = low, high
    b, c = d - ratio * (d - a), a + ratio * (d - a)
    at_b, at_c = function(b), function(c)
    while d - a > exact:
        if at_b < at_c:
            c, d, at_c = b, c, at_b
            b = d - ratio * (d - a)
            at_b = function(b)
        else:
            a, b, at_b = b, c, at_c
            c = a + ratio * (d - a)
            at_c = function(c)
    return (a + d) / 2
