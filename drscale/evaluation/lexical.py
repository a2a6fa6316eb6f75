"""BM25 through bm25s: the tokens, the index and the best passages, the same for mining as for measuring."""

from __future__ import annotations

import importlib
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

# Scripts that put no spaces between words: Chinese characters with Japanese kana; Thai, Lao, Burmese and Khmer.
_HAN = r"\u3005\u3007\u3040-\u30fa\u30fc-\u30ff\u3400-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
_SOUTHEAST = r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u19e0-\u19ff\ua9e0-\ua9ff\uaa60-\uaa7f"
HAN, SOUTHEAST = re.compile(f"[{_HAN}]+"), re.compile(f"[{_SOUTHEAST}]+")
_UNSPACED = re.compile(f"[{_HAN}{_SOUTHEAST}]+")
_TOKEN = rf"(?u)[{_HAN}{_SOUTHEAST}]{{1,2}}|\b\w\w+\b"  # the second half is bm25s's own


def bm25_version() -> str:
    """The version of bm25s."""
    return str(_bm25s().__version__)


def bm25_index(texts: Sequence[str]) -> Any:
    """Index texts for BM25 with bm25s's usual settings (Lucene's variant, k1 = 1.5, b = 0.75)."""
    index = _bm25s().BM25(backend="numpy")
    index.index(bm25_tokens(texts), show_progress=False)
    return index


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
