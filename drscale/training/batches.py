"""A batch: pairs tokenised once, and a draw that depends on the seed and the step alone.

Several processes draw the same batch. Hard negatives are mined by BM25 once and kept in the cache.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import pandas as pd

from drscale.encoder import BiEncoder, Tokens, seed_for
from drscale.evaluate.entropy import relevant_rows
from drscale.evaluate.indexes import bm25_of
from drscale.evaluate.ranking import bm25_tokens
from drscale.evaluate.ranking import bm25_version as version
from drscale.recipe import Recipe
from drscale.texts import Collection
from drscale.texts.cache import cached_table, key_of
from drscale.texts.collection import shuffled


@dataclass(frozen=True)
class Pairs:
    """Training pairs as token ids; ``relevant`` lists each query's passages, padded with -1."""

    queries: Tokens
    passages: Tokens
    query_rows: np.ndarray
    passage_rows: np.ndarray
    relevant: np.ndarray

    def __len__(self) -> int:
        return len(self.query_rows)


@dataclass(frozen=True)
class Batch:
    """One step's share: rows of queries and passages; query i's positive is positives[i].

    ``chosen`` says which pairs they are. A strategy adds the places of the pairs it touches, and for each of them
    another passage's row (``others``), a changed text's token ids (``changed``) with the row of the passage it was
    made of where that matters (``origins``), or both. ``relevant`` are the rows (batch, k) that are no negatives of a
    query, where these are not the relevant ones of the pairs.
    """

    queries: np.ndarray
    positives: np.ndarray
    negatives: np.ndarray
    chosen: np.ndarray
    touched: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    others: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    changed: tuple[np.ndarray, ...] = ()
    origins: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    relevant: np.ndarray = field(default_factory=lambda: np.empty((0, 1), np.int64))


def tokenised(encoder: BiEncoder, collection: Collection) -> Pairs:
    """Tokenise a collection's pairs once, for all steps."""
    query_rows, passage_rows = collection.pairs
    queries = encoder.tokens(collection.queries["text"].to_pylist(), "query")
    passages = encoder.tokens(collection.passages["text"].to_pylist(), "passage")
    return Pairs(queries, passages, query_rows, passage_rows, relevant_rows(query_rows, passage_rows))


def draw(pairs: Pairs, recipe: Recipe, step: int) -> Batch:
    """Draw the batch of a step: every pair once an epoch, in an order fixed by the seed; negatives at random.

    Being a function of (seed, step), it needs no state to resume, and every process can draw the same batch.
    """
    at = np.arange(step * recipe.batch, (step + 1) * recipe.batch)
    epochs, places = np.divmod(at, len(pairs))
    chosen = np.array([_epoch(len(pairs), recipe.seed, int(e))[p] for e, p in zip(epochs, places, strict=True)])
    positives = pairs.passage_rows[chosen]
    if recipe.pool == "in_batch":
        return Batch(pairs.query_rows[chosen], positives, np.empty(0, np.int64), chosen)
    count = len(pairs.passages)
    if count < recipe.negatives + recipe.batch:
        raise ValueError(
            f"pool={recipe.pool!r}: negatives={recipe.negatives} beside a batch of {recipe.batch} need as many "
            f"passages, and the training collection has {count}"
        )
    rng = np.random.default_rng([recipe.seed, 2, step])
    some = rng.choice(count, recipe.negatives + recipe.batch, replace=False, shuffle=True)
    negatives = some[~np.isin(some, positives)][: recipe.negatives]
    return Batch(pairs.query_rows[chosen], positives, negatives, chosen)


def touched_pairs(count: int, share: float, seed: int) -> np.ndarray:
    """The pairs a strategy touches, in a random order; those of a smaller share come first in a larger one."""
    return shuffled(count, seed_for(seed, "touched"))[: max(1, round(share * count))]


@lru_cache(maxsize=4)
def _epoch(count: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng([seed, 1, epoch]).permutation(count)


HARD = 100  # hard negatives are drawn from so many of the best
CANDIDATES = 1000  # the depth of the list whose lower ranks an attack starts from (Sec. 3.4 of Liu et al. 2025)


def depth(n_passages: int, most: int) -> int:
    """How deep a list of ``most`` goes in a small collection: a tenth of its passages, and no less than 10."""
    return min(most, max(10, n_passages // 10))


class Index:
    """A collection's passages in a BM25 index."""

    def __init__(self, collection: Collection) -> None:
        self.collection = collection
        self.relevant = relevant_rows(*collection.pairs)
        self.bm25 = bm25_of(collection)

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
