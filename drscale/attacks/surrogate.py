"""A surrogate for black-box attacks: a small encoder taught to order passages as the target does."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from drscale.attacks.study import TOP, Encoded
from drscale.encoder import BiEncoder, Tokens, build, seed_for
from drscale.evaluation.entropy import interval
from drscale.evaluation.ranking import search
from drscale.runs import Measure, Recipe
from drscale.texts import Collection

MARGIN = 1.0


@dataclass(frozen=True)
class Surrogate:
    """The encoder, and how often it orders two passages as the target does, on queries it was not taught with."""

    encoder: BiEncoder
    agreement: Measure


def train_surrogate(
    collection: Collection,
    encoded: Encoded,
    *,
    rung: str = "L2H64",
    steps: int = 300,
    batch: int = 32,
    rate: float = 1e-3,
    depth: int = TOP,
    held_out: float = 0.1,
    seed: int = 0,
) -> Surrogate:
    """Teach a small encoder the target's rankings of a collection's encoded queries, and nothing else of the target.

    Each step draws ``batch`` queries and for each two passages: one of the target's first ``depth``, and one that it
    ranks lower, half of the time in the same list, else anywhere. The loss is the margin ranking loss of the original
    attack, max(0, 1 - s(higher) + s(lower)). Only the order of the target's list is used, never a score.
    """
    if steps < 1 or batch < 1 or not 0 < held_out < 1 or not 2 <= depth <= len(collection.passages):
        raise ValueError(
            f"train_surrogate: steps={steps} and batch={batch} must be at least 1, held_out={held_out} in (0, 1), "
            f"depth={depth} between 2 and the {len(collection.passages)} passages"
        )
    count = len(encoded.query_rows)
    aside = max(1, round(held_out * count))
    if count - aside < 1:
        raise ValueError(f"train_surrogate: {count} queries are too few, at least 2 are needed")
    _, lists = search(encoded.queries, encoded.passages, depth)
    encoder = build(Recipe(rung=rung, seed=seed))
    asked = encoder.tokens(collection.queries["text"].take(encoded.query_rows).to_pylist(), "query")
    told = encoder.tokens(collection.passages["text"].to_pylist(), "passage")
    rng = np.random.default_rng(seed)
    order = rng.permutation(count)
    taught, tested = order[aside:], order[:aside]
    optimiser = torch.optim.AdamW([p for p in encoder.parameters() if p.requires_grad], lr=rate)
    encoder.train()
    torch.manual_seed(seed_for(seed, "surrogate"))
    for _ in range(steps):
        rows = rng.choice(taught, batch)
        high, low = _draw(rng, lists, rows, len(collection.passages))
        queries, passages = encoder(asked.rows(rows), told.rows(np.concatenate([high, low])))
        scores = (queries.repeat(2, 1) * passages).sum(-1)  # (2 * batch,)
        loss = torch.relu(MARGIN - scores[:batch] + scores[batch:]).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    encoder.eval()
    return Surrogate(encoder, _agreement(encoder, asked, told, lists, tested, rng))


def _draw(
    rng: np.random.Generator, lists: np.ndarray, rows: np.ndarray, passages: int
) -> tuple[np.ndarray, np.ndarray]:
    """For each query a passage of its list and one below it; a random one that stands in the list is redrawn there."""
    depth = lists.shape[1]
    place = np.sort(np.stack([rng.choice(depth, 2, replace=False) for _ in rows]), axis=1)
    high, low = lists[rows, place[:, 0]], lists[rows, place[:, 1]]
    anywhere = rng.integers(0, passages, len(rows))
    outside = (lists[rows] != anywhere[:, None]).all(1) & (rng.random(len(rows)) < 0.5)
    return high, np.where(outside, anywhere, low)


def _agreement(
    encoder: BiEncoder, asked: Tokens, told: Tokens, lists: np.ndarray, tested: np.ndarray, rng: np.random.Generator
) -> Measure:
    """The share of pairs of passages in the lists of held-out queries that the encoder puts in the target's order."""
    queries = encoder.encode_all(asked, "query")[tested]
    passages = encoder.encode_all(told, "passage")
    scores = (queries[:, None, :] * passages[lists[tested]]).sum(-1)  # (queries, depth)
    place = np.sort(np.stack([rng.choice(lists.shape[1], 2, replace=False) for _ in range(200)]), axis=1)
    right = scores[:, place[:, 0]] > scores[:, place[:, 1]]
    return interval({"": right.mean(1)})
