"""Hard negatives and ranked candidates by BM25, through bm25s: mined once, kept in the cache."""

from __future__ import annotations

import numpy as np
import pandas as pd

from drscale.evaluation.entropy import relevant_rows
from drscale.evaluation.lexical import bm25_index, bm25_tokens
from drscale.evaluation.lexical import bm25_version as version
from drscale.texts import Collection
from drscale.texts.cache import cached_table, key_of

HARD = 100  # hard negatives are drawn from so many of the best
CANDIDATES = 1000  # the depth of the list whose lower ranks an attack starts from (Sec. 3.4 of Liu et al. 2025)


def depth(passages: int, most: int) -> int:
    """How deep a list of ``most`` goes in a small collection: a tenth of its passages, and no less than 10."""
    return min(most, max(10, passages // 10))


class Index:
    """A collection's passages in a BM25 index."""

    def __init__(self, collection: Collection) -> None:
        self.collection = collection
        self.relevant = relevant_rows(*collection.pairs)
        self.bm25 = bm25_index(collection.passages["text"].to_pylist())

    def best(self, query_rows: np.ndarray, most: int) -> np.ndarray:
        """Rows of the best passages of some queries, best first, none relevant: (queries, most), padded with -1."""
        count, relevant = len(self.collection.passages), self.relevant[query_rows]
        texts = self.collection.queries["text"].take(query_rows).to_pylist()
        asked = min(most + relevant.shape[1], count)
        found = self.bm25.retrieve(bm25_tokens(texts), k=asked, return_as="documents", show_progress=False)
        rows = np.full((len(query_rows), most), -1, dtype=np.int32)
        for i, (ranked, own) in enumerate(zip(found, relevant, strict=True)):
            kept = ranked[~np.isin(ranked, own)][:most]
            rows[i, : len(kept)] = kept
        return rows


def hard_negatives(collection: Collection, most: int = HARD, *, refresh: bool = False) -> np.ndarray:
    """The best passages by BM25 that are not relevant, for each query: rows (queries, depth), padded with -1.

    Mined once for a collection's fingerprint and kept in the cache; ``refresh`` mines anew.
    """
    deep = depth(len(collection.passages), most)
    key = key_of("bm25", version(), collection.fingerprint, deep)

    def mine() -> pd.DataFrame:
        rows = Index(collection).best(np.arange(len(collection.queries)), deep)
        return pd.DataFrame(rows, columns=[f"{rank + 1}" for rank in range(deep)])

    return cached_table("bm25", key, mine, refresh=refresh).to_numpy()
