"""Rank passages by inner product through FAISS and measure the ranking through ir-measures, per query first."""

from __future__ import annotations

import faiss
import ir_measures
import numpy as np
import pandas as pd
from ir_measures import RR, R, nDCG

from drscale.texts import Collection

METRICS = {"ndcg10": nDCG @ 10, "mrr10": RR @ 10, "recall10": R @ 10, "recall100": R @ 100}


def search(queries: np.ndarray, passages: np.ndarray, depth: int = 100) -> tuple[np.ndarray, np.ndarray]:
    """The best ``depth`` passages of each query: scores and passage rows, both (queries, depth); exact."""
    if queries.shape[1:] != passages.shape[1:]:
        raise ValueError(f"queries of {queries.shape[1]} dimensions, passages of {passages.shape[1]}: they must agree")
    index = faiss.IndexFlatIP(passages.shape[1])
    index.add(np.ascontiguousarray(passages, np.float32))
    scores, rows = index.search(np.ascontiguousarray(queries, np.float32), min(depth, len(passages)))
    return scores, rows


def ranking_metrics(
    collection: Collection, query_rows: np.ndarray, scores: np.ndarray, passage_rows: np.ndarray
) -> pd.DataFrame:
    """nDCG@10, MRR@10 and recall of each ranked query, in the order of ``query_rows``; no query leaves the mean.

    Row -1 among the passages means that nothing more was found.
    """
    depth = scores.shape[1]
    places = np.arange(len(query_rows)).astype(str)  # a query may come more than once, in other words each time
    names = np.repeat(places, depth)
    run = pd.DataFrame({"query_id": names, "doc_id": passage_rows.ravel().astype(str), "score": scores.ravel()})
    run = run[passage_rows.ravel() >= 0]
    relevant_q, relevant_p = collection.pairs
    grades = collection.qrels["relevance"].to_numpy()
    grades = grades[grades > 0]  # pairs are the qrels above 0, in order
    known = pd.DataFrame({"row": relevant_q, "doc_id": relevant_p.astype(str), "relevance": grades})
    qrels = pd.DataFrame({"row": query_rows, "query_id": places}).merge(known, on="row").drop(columns="row")
    out = {name: np.full(len(query_rows), np.nan) for name in METRICS}
    names_of = {measure: name for name, measure in METRICS.items()}
    for value in ir_measures.iter_calc(list(METRICS.values()), qrels, run):
        out[names_of[value.measure]][int(value.query_id)] = value.value
    return pd.DataFrame(out)
