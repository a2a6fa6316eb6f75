"""Rank passages by inner product (FAISS) or BM25 (bm25s), and measure rankings through ir-measures, per query first."""

from __future__ import annotations

import importlib
import re
from array import array
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from drscale.evaluate import bare
from drscale.results import did_you_mean
from drscale.texts import Collection, rows_at

faiss: Any
ir_measures: Any
try:
    import faiss
    import ir_measures
except ModuleNotFoundError:  # a training node: drscale.evaluate.bare takes their place
    faiss = ir_measures = None

# Scripts that put no spaces between words: Chinese characters with Japanese kana; Thai, Lao, Burmese and Khmer.
_HAN = r"\u3005\u3007\u3040-\u30fa\u30fc-\u30ff\u3400-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
_SOUTHEAST = r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u19e0-\u19ff\ua9e0-\ua9ff\uaa60-\uaa7f"
HAN, SOUTHEAST = re.compile(f"[{_HAN}]+"), re.compile(f"[{_SOUTHEAST}]+")
_UNSPACED = re.compile(f"[{_HAN}{_SOUTHEAST}]+")
BLOCK = 16_384  # texts whose words are in memory together
_TOKEN = rf"(?u)[{_HAN}{_SOUTHEAST}]{{1,2}}|\b\w\w+\b"  # the second half is bm25s's own


def bm25_version() -> str:
    """The version of bm25s."""
    return str(_bm25s().__version__)


def bm25_index(texts: Sequence[str] | pa.ChunkedArray) -> Any:
    """Index texts for BM25 with bm25s's usual settings (Lucene's variant, k1 = 1.5, b = 0.75).

    Words become numbers a block of texts at a time, so that the words of all texts are never in memory together.
    """
    numbers: list[array[int]] = []
    vocabulary: dict[str, int] = {}
    for at in range(0, len(texts), BLOCK):
        some = texts[at : at + BLOCK]
        for words in bm25_tokens(some if isinstance(some, Sequence) else some.to_pylist()):
            numbers.append(array("i", [vocabulary.setdefault(word, len(vocabulary)) for word in words]))
    if not vocabulary:
        raise ValueError(f"BM25: none of {len(texts):,} texts has a word of two letters that is no stop word")
    index = _bm25s().BM25(backend="numpy")
    index.index((numbers, vocabulary), show_progress=False)
    return index


def bm25_load(folder: Path) -> Any:
    """An index that bm25s saved, its arrays mapped into memory."""
    return _bm25s().BM25.load(str(folder), mmap=True, show_progress=False)


def bm25_tokens(texts: Sequence[str]) -> Any:
    """Lower-case words of two letters and more without English stop words, not stemmed; a list for each text.

    What is written without spaces between words, as Chinese, Japanese or Thai, gives every two neighbouring characters:
    cruder than a dictionary of its words, but found.
    """
    spaced = [_UNSPACED.sub(_neighbours, text) for text in texts]
    return _bm25s().tokenize(spaced, token_pattern=_TOKEN, stopwords="en", return_ids=False, show_progress=False)


def _neighbours(run: re.Match[str]) -> str:
    """A run's pairs of neighbouring characters between spaces; a lone character stays."""
    text = run[0]
    return f" {' '.join(text[i : i + 2] for i in range(max(len(text) - 1, 1)))} "


def bm25_rank(index: Any, queries: Sequence[str], depth: int) -> tuple[np.ndarray, np.ndarray]:
    """The best texts of an index for each query: scores and rows, both (queries, depth).

    A text that shares no word with the query was not found: its place has row -1 and score 0.
    """
    found = index.retrieve(bm25_tokens(queries), k=depth, show_progress=False)
    scores = np.asarray(found.scores, dtype=np.float32)
    return scores, np.where(scores > 0, found.documents, -1).astype(np.int64)


def _bm25s() -> Any:
    try:
        return importlib.import_module("bm25s")
    except ModuleNotFoundError:
        raise ValueError("BM25 needs bm25s, which is not installed: pip install bm25s") from None


METRICS = {"ndcg10": "nDCG@10", "mrr10": "RR@10", "recall10": "R@10", "recall100": "R@100"}  # by ir-measures' names
DEEP = 100  # how far these four look
DEEPEST = 1000  # how far a measure without a cut-off looks, as runs at TREC do
MOST = 1_000_000  # the largest cut-off


def search(query_vectors: np.ndarray, passage_vectors: np.ndarray, depth: int = 100) -> tuple[np.ndarray, np.ndarray]:
    """The best ``depth`` passages of each query: scores and passage rows, both (queries, depth); exact."""
    if query_vectors.shape[1:] != passage_vectors.shape[1:]:
        raise ValueError(
            f"queries of {query_vectors.shape[1]} dimensions, passages of {passage_vectors.shape[1]}: they must agree"
        )
    if faiss is None:
        return bare.search(query_vectors, passage_vectors, min(depth, len(passage_vectors)))
    scores, rows = faiss.knn(
        query_vectors, passage_vectors, min(depth, len(passage_vectors)), faiss.METRIC_INNER_PRODUCT
    )
    return scores, rows


def measures_of(metrics: Sequence[str] = ()) -> dict[str, Any]:
    """The four measures of every record, and those that are asked for besides, by ir-measures' names.

    For instance R@1000, Success@5, AP (or MAP), P@10. The columns are called as they were asked for.
    """
    if isinstance(metrics, str):
        raise ValueError(f"metrics={metrics!r}: a list of ir-measures' names is needed, as ['R@1000']")
    asked = METRICS | {str(name): str(name) for name in metrics if name not in METRICS}
    if ir_measures is None:
        if len(asked) > len(METRICS):
            raise ValueError(f"metrics={list(metrics)!r}: needs ir-measures, which is not installed")
        return dict.fromkeys(METRICS)
    return {column: _measure(name) for column, name in asked.items()}


def depth_of(measures: Mapping[str, Any]) -> int:
    """How many passages of each query these measures look at; 1,000 where one has no cut-off."""
    return max(int(m.params.get("cutoff", DEEPEST)) if m is not None else DEEP for m in measures.values())


def spare(collection: Collection) -> int:
    """How much deeper to search, so that enough is left without the passages that have their query's own id: 0 or 1."""
    return int((collection.own_rows >= 0).any())


def ranking_metrics(
    collection: Collection,
    query_rows: np.ndarray,
    scores: np.ndarray,
    passage_rows: np.ndarray,
    metrics: Sequence[str] = (),
) -> pd.DataFrame:
    """nDCG@10, MRR@10 and recall of each ranked query, in the order of ``query_rows``; no query leaves the mean.

    Row -1 among the passages means that nothing more was found. BEIR's rule: a passage that has the query's own id and
    is not relevant to it is left out of the ranking (``Collection.own_rows``); :func:`spare` says how much deeper to
    search. All measures come from trec_eval, whose rule for equal scores is the passage's id, descending. ``metrics``
    names further ones (see :func:`measures_of`).
    """
    measures = measures_of(metrics)
    scores, passage_rows = without_own(collection.own_rows[query_rows], scores, passage_rows)
    depth = min(depth_of(measures), scores.shape[1])
    scores, passage_rows = scores[:, :depth], passage_rows[:, :depth]
    if ir_measures is None:
        return pd.DataFrame(bare.four_metrics(collection, query_rows, scores, passage_rows))
    places = [str(i) for i in range(len(query_rows))]  # a query may come more than once, in other words each time
    real = passage_rows >= 0
    ids, told = rows_at(collection.passages.select(["id"]), passage_rows[real])["id"].to_pylist(), scores[real].tolist()
    ends = np.cumsum(real.sum(1)).tolist()
    # Dicts, as trec_eval takes them: of a frame ir-measures makes them row by row, at half the cost of a whole run.
    parts = zip(places, [0, *ends], ends, strict=False)
    run = {place: dict(zip(ids[a:b], told[a:b], strict=True)) for place, a, b in parts if b > a}
    relevant_q, relevant_p = collection.pairs
    asked = np.isin(relevant_q, query_rows)
    grades = collection.qrels["relevance"].to_numpy()
    known: dict[int, dict[str, int]] = {}
    answers = rows_at(collection.passages.select(["id"]), relevant_p[asked])["id"].to_pylist()
    for row, answer, grade in zip(relevant_q[asked].tolist(), answers, grades[grades > 0][asked].tolist(), strict=True):
        known.setdefault(row, {})[answer] = grade
    qrels = {place: known[row] for place, row in zip(places, query_rows.tolist(), strict=True) if row in known}
    whole = {name: _uncut(measure) for name, measure in measures.items()}
    values = {measure: np.full(len(query_rows), np.nan) for measure in whole.values()}
    for value in ir_measures.pytrec_eval.iter_calc(list(values), qrels, run):
        values[value.measure][int(value.query_id)] = value.value
    out = {name: values[measure] for name, measure in whole.items()}
    for name, measure in measures.items():
        if measure != whole[name]:  # a first hit below the cut is none
            out[name] = np.where(out[name] >= 1 / measure.params["cutoff"], out[name], 0.0)
    return pd.DataFrame(out)


def without_own(own: np.ndarray, scores: np.ndarray, passage_rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Take the query's own passage (-1: it has none) out of each list; those behind move up, row -1 fills the end."""
    hit = (passage_rows == own[:, None]) & (own[:, None] >= 0)
    if not hit.any():
        return scores, passage_rows
    order = np.argsort(hit, axis=1, kind="stable")
    rows = np.take_along_axis(np.where(hit, -1, passage_rows), order, 1)
    return np.take_along_axis(scores, order, 1), rows


def _measure(name: str) -> Any:
    try:
        measure = ir_measures.parse_measure(name)
    except (NameError, ValueError) as e:
        near = did_you_mean(name.partition("@")[0], {str(m.NAME) for m in ir_measures.pytrec_eval.SUPPORTED_MEASURES})
        raise ValueError(f"metrics: {name!r} is none of ir-measures' names ({e}){near}") from None
    for what in ("cutoff", "rel"):
        value = measure.params.get(what, 1)
        if not isinstance(value, int) or not 1 <= value <= MOST:
            raise ValueError(f"metrics: {name!r} has {what}={value}, allowed are whole numbers from 1 to {MOST:,}")
    if not ir_measures.pytrec_eval.supports(_uncut(measure)):
        known = ", ".join(sorted({str(m.NAME) for m in ir_measures.pytrec_eval.SUPPORTED_MEASURES}))
        raise ValueError(f"metrics: {name!r} is not measured by trec_eval, allowed are {known}")
    return measure


def _uncut(measure: Any) -> Any:
    """The measure as trec_eval has it: its reciprocal rank knows no cut-off, which is applied to the value."""
    if measure.NAME != "RR" or "cutoff" not in measure.params:
        return measure
    return ir_measures.RR(**{k: v for k, v in measure.params.items() if k != "cutoff"})
