"""Training strategies: what a batch is and what is minimised; the loop is the same for all.

Every pair has its natural loss: contrastive entropy as in standard training, or, in the variant ``pairwise``, a
logistic loss over pairs of passages. Of the share of pairs that a strategy touches each brings a changed or a harder
passage along and a robustness loss of its own; the number of pairs, and how often each is seen, is that of standard
training. What makes one loss of the two stands in :mod:`drscale.training.pareto`.

==================  ==========  ==================================================================================
strategy            variant     robustness loss of a touched pair
==================  ==========  ==================================================================================
``hard_negative``   pool        none: its BM25 negative joins the pool that all queries are scored against
                    pairwise    logistic, the positive above its BM25 negative
``denoising``       dynamic     KL of the ranking with noisy passages from the (detached) ranking with clean ones
                    static      squared distance to a frozen teacher's vector, of the clean and of the noisy passage
                    pairwise    logistic, the noisy positive above the pool
``adversarial``     kl          KL of the ranking with attacked passages from that with the same ones unattacked
                    pool        contrastive entropy with the batch's attacked passages in the pool: the same loss as
                                the natural one, on attacked data, which is how Eq. 9 to 11 read most closely
                    pairwise    logistic, the positive above the attacked passage
==================  ==========  ==================================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from drscale.losses import contrastive_entropy, divergence, mask_repeats, pairwise_loss, pool_scores
from drscale.runs import Recipe
from drscale.training.allowed import check
from drscale.training.batches import Batch, Pairs, draw
from drscale.training.pareto import State, combine
from drscale.training.spread import gather

Touch = Callable[[Batch, int], Batch]


@dataclass(frozen=True)
class Views:
    """A batch as the encoder sees it: vectors, and each query's scores among its pool.

    ``others`` and ``changed`` belong to the queries at ``touched``; ``hidden`` is what of ``changed`` was made of a
    passage that is relevant to a touched query, (touched, changed).
    """

    queries: Tensor
    positives: Tensor
    others: Tensor
    changed: Tensor
    scores: Tensor
    targets: Tensor
    touched: Tensor
    hidden: Tensor
    pool: str
    teacher: Tensor


@dataclass(frozen=True)
class Strategy:
    """What a batch is and what is minimised.

    ``touch(batch, step)`` adds to a drawn batch what the strategy brings along; ``teacher`` are a frozen encoder's
    vectors of all passages. ``mark`` tells a checkpoint which examples it was trained on; ``notes`` (what made them)
    and ``cost`` go into the record.
    """

    recipe: Recipe
    pairs: Pairs
    touch: Touch | None = None
    teacher: np.ndarray | None = None
    mark: str = ""
    notes: dict[str, str] = field(default_factory=dict)
    cost: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check(self.recipe)
        if self.touch is None and self.recipe.strategy != "standard":
            raise ValueError(f"strategy={self.recipe.strategy!r}: needs touch, what it adds to a batch")

    def draw(self, step: int) -> Batch:
        """The batch of a step, a function of the seed and the step alone."""
        batch = draw(self.pairs, self.recipe, step)
        return batch if self.touch is None else self.touch(batch, step)

    def loss(
        self, model: Any, batch: Batch, accelerator: Any, state: State, weights: Sequence[Tensor]
    ) -> tuple[Tensor, dict[str, float]]:
        """What this process minimises on its part of a batch, and what of it is worth noting."""
        if accelerator.num_processes > 1 and self.recipe.strategy != "standard":
            raise ValueError(
                f"strategy={self.recipe.strategy!r}: trains in one process, this run has {accelerator.num_processes}"
            )
        views = _views(self, model, batch, accelerator)
        natural = pairwise_loss if self.recipe.variant == "pairwise" else contrastive_entropy
        robust = ROBUST.get((self.recipe.strategy, self.recipe.variant))
        effectiveness = natural(views.scores, views.targets)
        return combine(self.recipe, effectiveness, robust(views) if robust else None, state, weights)


# ------------------------------------------------------------------------------------------------ the robustness losses


def _above_other(v: Views) -> Tensor:
    own, other = ((v.queries[v.touched] * x).sum(-1) for x in (v.positives[v.touched], _own(v)))
    return torch.nn.functional.softplus(other - own)  # (touched,)


def _own(v: Views) -> Tensor:
    return v.changed if len(v.changed) else v.others


def _with_noise(v: Views) -> Tensor:
    """The touched queries' scores, the touched passages replaced by their noisy forms."""
    clean = v.scores[v.touched]  # (touched, pool)
    noisy = v.queries[v.touched] @ v.changed.T  # (touched, touched)
    if v.pool == "shared":  # its first place holds each query's own positive, the others are no query's
        return torch.cat([noisy.diagonal().unsqueeze(1), clean[:, 1:]], dim=1)
    return clean.index_copy(1, v.touched, noisy).masked_fill(clean == float("-inf"), float("-inf"))


def _noise_kl(v: Views) -> Tensor:
    return divergence(v.scores[v.touched].detach(), _with_noise(v))


def _noise_pairwise(v: Views) -> Tensor:
    return pairwise_loss(_with_noise(v), v.targets[v.touched])


def _to_teacher(v: Views) -> Tensor:
    clean, noisy = ((x - v.teacher).square().mean(-1) for x in (v.positives[v.touched], v.changed))
    return clean + noisy


def _beside(v: Views, passages: Tensor) -> Tensor:
    """The touched queries' scores among their pool and these passages, one of each touched query."""
    more = (v.queries[v.touched] @ passages.T).masked_fill(v.hidden, float("-inf"))  # (touched, touched)
    return torch.cat([v.scores[v.touched], more], dim=1)  # (touched, pool + touched)


def _attack_kl(v: Views) -> Tensor:
    return divergence(_beside(v, v.others), _beside(v, v.changed))


def _attack_pool(v: Views) -> Tensor:
    return contrastive_entropy(_beside(v, v.changed), v.targets[v.touched])


ROBUST: dict[tuple[str, str], Callable[[Views], Tensor]] = {
    ("hard_negative", "pairwise"): _above_other,
    ("denoising", "dynamic"): _noise_kl,
    ("denoising", "static"): _to_teacher,
    ("denoising", "pairwise"): _noise_pairwise,
    ("adversarial", "kl"): _attack_kl,
    ("adversarial", "pool"): _attack_pool,
    ("adversarial", "pairwise"): _above_other,
}


def _views(strategy: Strategy, model: Any, batch: Batch, accelerator: Any) -> Views:
    """Encode a batch in one pass and score each query of this process against the pool of all processes.

    The prepared model encodes under autocast; scores and losses stay in fp32.
    """
    recipe, pairs = strategy.recipe, strategy.pairs
    mine, rows = len(batch.positives), np.concatenate([batch.positives, batch.negatives])
    in_pool = len(rows)
    others_to = in_pool + len(batch.others)
    texts = pairs.passages.rows(np.concatenate([rows, batch.others])) + list(batch.changed)
    queries, passages = model(pairs.queries.rows(batch.queries), texts)
    device = queries.device
    if recipe.variant == "pool":  # hard negatives are negatives like any other
        rows, in_pool = np.concatenate([rows, batch.others]), others_to
    pool = torch.cat([gather(passages[:mine], accelerator), gather(passages[mine:in_pool], accelerator)])  # (pool, dim)
    ids = torch.as_tensor(rows, device=device)
    pool_ids = torch.cat([gather(ids[:mine], accelerator), gather(ids[mine:], accelerator)])
    own_to = mine * accelerator.num_processes
    targets = torch.arange(mine, device=device) + mine * accelerator.process_index
    vectors = queries.float()
    scores, targets = pool_scores(vectors, pool.float(), targets, recipe.pool, own_to)  # (batch, pool)
    relevant = torch.as_tensor(pairs.relevant[batch.queries], device=device)
    if recipe.pool == "shared":
        own = torch.full((1,), -2, device=device)  # stands for each query's own positive
        pool_ids = torch.cat([own, pool_ids[own_to:]])
    touched = torch.as_tensor(batch.touched, device=device)
    origins = torch.as_tensor(batch.origins, device=device)
    return Views(
        queries=vectors,
        positives=passages[:mine].float(),
        others=passages[in_pool:others_to].float(),
        changed=passages[others_to:].float(),
        scores=mask_repeats(scores, targets, pool_ids, relevant),
        targets=targets,
        touched=touched,
        hidden=(origins[None, :, None] == relevant[touched][:, None, :]).any(-1),
        pool=recipe.pool,
        teacher=_teacher(strategy, batch, device),
    )


def _teacher(strategy: Strategy, batch: Batch, device: torch.device) -> Tensor:
    if strategy.teacher is None:
        return torch.empty(0, device=device)
    return torch.as_tensor(strategy.teacher[batch.positives[batch.touched]], device=device)
