"""Contrastive entropy and its kin: one formula for training and for evaluation, over different pools."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def contrastive_entropy(scores: Tensor, positive: Tensor | int = 0, temperature: float | Tensor = 1.0) -> Tensor:
    """Give each query's negative log-probability of its positive within the pool, in nats.

    ``scores`` has shape (..., pool); ``positive`` is the positive's place in the pool, one for all queries or one for
    each. Raw inner products and temperature 1 are the papers' form (Eq. 4 and 5 of Liu et al. 2025).
    """
    scaled = scores / temperature
    at = positive if isinstance(positive, Tensor) else torch.full(scaled.shape[:-1], positive, device=scaled.device)
    own = scaled.gather(-1, at.unsqueeze(-1)).squeeze(-1)
    return torch.logsumexp(scaled, dim=-1) - own  # (...)


def pairwise_loss(scores: Tensor, positive: Tensor) -> Tensor:
    """Give each query's mean logistic loss of its positive against every other passage of the pool, in nats.

    softplus(other - own), RankNet's form; scores of -inf are no part of the pool. Never zero, so that a ratio of two
    such losses is defined.
    """
    own = scores.gather(-1, positive.unsqueeze(-1))
    others = torch.isfinite(scores).scatter(-1, positive.unsqueeze(-1), False)
    apart = torch.nn.functional.softplus(scores.masked_fill(~others, 0.0) - own) * others  # (batch, pool)
    return apart.sum(-1) / others.sum(-1).clamp(min=1)


def divergence(scores: Tensor, changed: Tensor) -> Tensor:
    """Give each query's KL divergence of its ranking under ``changed`` scores from that under ``scores``, in nats.

    Both (batch, pool); rankings are softmax distributions over the pool, and a score of -inf has no part in them.
    """
    p, q = (torch.log_softmax(s.masked_fill(s == float("-inf"), -1e9), dim=-1) for s in (scores, changed))
    return (p.exp() * (p - q)).sum(-1)  # (batch,)


def chance(negatives: int = 256) -> float:
    """The entropy of guessing blindly: ln(negatives + 1), 5.549 nats for the papers' 256 negatives."""
    return math.log(negatives + 1)


def pool_scores(queries: Tensor, passages: Tensor, targets: Tensor, pool: str, own_to: int) -> tuple[Tensor, Tensor]:
    """Score queries against a pool and say where each one's positive stands in it.

    ``passages`` holds the batch's positives in its first ``own_to`` rows and shared negatives behind them; ``targets``
    is the row of each query's positive. ``in_batch`` ranks against all positives, ``shared`` against the own positive
    and the shared negatives only (the papers' recipe), ``both`` against everything.
    """
    if pool == "shared":
        own = (queries * passages[targets]).sum(-1, keepdim=True)  # (batch, 1)
        rest = queries @ passages[own_to:].T  # (batch, negatives)
        return torch.cat([own, rest], dim=-1), torch.zeros_like(targets)
    return queries @ passages.T, targets  # (batch, pool)


def mask_repeats(scores: Tensor, targets: Tensor, pool_ids: Tensor, relevant: Tensor) -> Tensor:
    """Take out of the pool what is also relevant to the query, so that no positive counts as a negative.

    ``pool_ids`` (pool,) are passage rows, ``relevant`` (batch, k) the rows relevant to each query, padded with -1.
    """
    hit = (pool_ids[None, :, None] == relevant[:, None, :]).any(-1)  # (batch, pool)
    hit.scatter_(1, targets.unsqueeze(1), False)
    return scores.masked_fill(hit, float("-inf"))
