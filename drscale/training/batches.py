"""What a batch is: pairs tokenised once, and a draw that depends on the seed and the step alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from drscale.encoder import BiEncoder, Tokens, seed_for
from drscale.evaluation.entropy import relevant_rows
from drscale.runs import Recipe
from drscale.texts import Collection
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
    made of where that matters (``origins``), or both.
    """

    queries: np.ndarray
    positives: np.ndarray
    negatives: np.ndarray
    chosen: np.ndarray
    touched: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    others: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    changed: tuple[np.ndarray, ...] = ()
    origins: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))


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
