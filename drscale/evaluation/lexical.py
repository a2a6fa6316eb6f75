"""BM25 through bm25s: the tokens, the index and the best passages, the same for mining as for measuring."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np


def bm25_version() -> str:
    """The version of bm25s."""
    return str(_bm25s().__version__)


def bm25_index(texts: Sequence[str]) -> Any:
    """Index texts for BM25 with bm25s's usual settings (Lucene's variant, k1 = 1.5, b = 0.75)."""
    index = _bm25s().BM25(backend="numpy")
    index.index(bm25_tokens(texts), show_progress=False)
    return index


def bm25_tokens(texts: Sequence[str]) -> Any:
    """Lower-case words of two letters and more without English stop words, not stemmed; a list for each text."""
    return _bm25s().tokenize(list(texts), stopwords="en", return_ids=False, show_progress=False)


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
