"""Training strategies: what a batch is and what is minimised; the loop is the same for all.

Every pair has its natural loss: contrastive entropy as in standard training, or, in the variant ``pairwise``, a
logistic loss over pairs of passages. Of the share of pairs that a strategy touches each brings a changed or a harder
passage along and a robustness loss of its own; the number of pairs, and how often each is seen, is that of standard
training.
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
``supervised``      all         none: positives and negatives of teachers (:mod:`drscale.labels.supervision`)
==================  ==========  ==================================================================================

``instructed`` has batches and losses of its own: its variants are the objectives of ``drscale.instructions.train``.

How two losses become one: a plain sum, fixed weights, Pareto training's controller (Eq. 9 to 11), MGDA or PCGrad.

Equation numbers are those of Liu et al. (SIGIR 2025). Their omega_0 is both the first weight and, inverted, the ratio
of losses that the controller steers to. Read as a weight it lies between 0 and 1 and steers to an effectiveness loss
above the robustness loss; read as the ratio of robustness to effectiveness at the front it may exceed 1, and the first
weight is clipped. The formula is the same, so ``Recipe.omega`` takes either: :func:`drscale.frontier.dominance.
ratio_at_front` gives both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from drscale.losses import contrastive_entropy, divergence, mask_repeats, pairwise_loss, pool_scores
from drscale.recipe import BY_GRADIENTS, Recipe, check
from drscale.training.batches import Batch, Pairs, draw

State = dict[str, float]


def next_weight(omega: float, effectiveness: float, robustness: float, omega_0: float, eta: float) -> float:
    """The robustness loss's weight after a step (Eq. 10), clipped to 0 and 1 (Eq. 11)."""
    ratio = effectiveness / max(robustness, 1e-12)  # a loss may underflow to zero
    return min(max(omega - eta * (ratio - 1 / omega_0), 0.0), 1.0)


def combine(
    recipe: Recipe,
    effectiveness: Tensor,
    robustness: Tensor | None,
    state: State,
    weights: Sequence[Tensor],
    accelerator: Any = None,
) -> tuple[Tensor, dict[str, float]]:
    """Make one loss of a batch's two, and say what is worth noting.

    ``effectiveness`` holds a loss a query, ``robustness`` one for each query that the strategy touched in this batch
    (None where the strategy has no loss of its own). ``state`` is what the controller remembers; it is changed in place
    and belongs into a checkpoint. ``weights`` are the parameters, for the gradients that MGDA and PCGrad look at, and
    ``accelerator`` averages these where several processes share the run.

    Without a balance the losses are added query by query, so that touching fewer pairs also weighs less; a balance
    weighs the two means. A batch without a touched pair leaves the weight as it is.
    """
    mean = effectiveness.mean()
    if robustness is None:
        return mean, {}
    said = {"effectiveness": float(mean.detach())}
    if len(robustness):
        said["robustness"] = float(robustness.detach().mean())
    if recipe.balance == "none":
        return mean + recipe.weight * robustness.sum() / len(effectiveness), said
    if recipe.balance != "fixed":
        said["omega"] = state.setdefault("omega", min(recipe.omega, 1.0) if recipe.balance == "pareto" else 0.5)
    if not len(robustness):
        return mean, said
    if recipe.balance in BY_GRADIENTS:
        loss, state["omega"] = _by_gradients(recipe.balance, mean, robustness.mean(), weights, accelerator)
        return loss, said | {"omega": state["omega"]}
    omega = said.get("omega", recipe.omega)
    if recipe.balance == "pareto":
        seen = {name: _smoothed(state, name, said[name], recipe.smooth) for name in ("effectiveness", "robustness")}
        state["omega"] = next_weight(omega, seen["effectiveness"], seen["robustness"], recipe.omega, recipe.eta)
    return omega * robustness.mean() + (1 - omega) * mean, said


def _smoothed(state: State, name: str, value: float, smooth: float) -> float:
    """The exponential moving average of a loss, started at its first value; ``smooth=0`` is the last value."""
    state[name] = smooth * state.get(name, value) + (1 - smooth) * value
    return state[name]


def _by_gradients(
    balance: str, effectiveness: Tensor, robustness: Tensor, weights: Sequence[Tensor], accelerator: Any
) -> tuple[Tensor, float]:
    """A combination of both losses that torchjd finds by their gradients, and the robustness loss's part in it.

    MGDA (Désidéri 2012) takes the convex combination whose gradient is the shortest, and so follows the loss with the
    smaller gradient. PCGrad (Yu et al. 2020) takes the sum of both, each freed of what speaks against the other.
    The loss handed back has that gradient and the combination's value; the two backward passes are done.
    """
    try:
        from torchjd import aggregation
    except ModuleNotFoundError:
        raise ValueError(f"balance={balance!r} needs torchjd, which is not installed: pip install torchjd") from None

    weighting = aggregation.MGDAWeighting() if balance == "mgda" else aggregation.PCGradWeighting()
    losses = (effectiveness, robustness)
    gradients = [
        torch.autograd.grad(
            loss, weights, retain_graph=loss is effectiveness, allow_unused=True, materialize_grads=True
        )
        for loss in losses
    ]
    if accelerator is not None and accelerator.num_processes > 1:
        gradients = [tuple(accelerator.reduce(g.contiguous(), "mean") for g in each) for each in gradients]
    flat = torch.stack([torch.cat([g.flatten() for g in each]) for each in gradients]).double()
    alpha = weighting(flat @ flat.T).to(effectiveness.dtype)
    one, other = gradients
    parts = [((alpha[0] * g + alpha[1] * h) * w).sum() for g, h, w in zip(one, other, weights, strict=True)]
    steered = torch.stack(parts).sum()
    value = alpha[0] * effectiveness.detach() + alpha[1] * robustness.detach()
    return steered + (value - steered.detach()), float(alpha[1] / alpha.sum())


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
    vectors of all passages. ``robust`` gives a loss for each touched pair, by default that of :data:`ROBUST`, and
    ``natural`` each query's own, by default contrastive entropy or, in the variant ``pairwise``, the pairwise loss.
    ``joins`` says that what is in ``others`` joins the pool that all queries are scored against, as always in the
    variant ``pool``. ``mark`` tells a checkpoint which examples it was trained on; ``notes`` (what made them) and
    ``cost`` go into the record.
    """

    recipe: Recipe
    pairs: Pairs
    touch: Touch | None = None
    teacher: np.ndarray | None = None
    mark: str = ""
    notes: dict[str, str] = field(default_factory=dict)
    cost: dict[str, float] = field(default_factory=dict)
    robust: Callable[[Views], Tensor] | None = None
    natural: Callable[[Views, Batch], Tensor] | None = None
    joins: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "joins", self.joins or self.recipe.variant == "pool")
        check(self.recipe)
        if self.touch is None and self.natural is None and self.recipe.strategy != "standard":
            said = "needs touch, what it adds to a batch, or natural, a loss of its own"
            raise ValueError(f"strategy={self.recipe.strategy!r}: {said}")

    def draw(self, step: int) -> Batch:
        """The batch of a step, a function of the seed and the step alone."""
        batch = draw(self.pairs, self.recipe, step)
        return batch if self.touch is None else self.touch(batch, step)

    def loss(
        self, model: Any, batch: Batch, accelerator: Any, state: State, weights: Sequence[Tensor]
    ) -> tuple[Tensor, dict[str, float]]:
        """What is minimised on a batch, and what of it is worth noting."""
        views = _views(self, model, batch)
        natural = pairwise_loss if self.recipe.variant == "pairwise" else contrastive_entropy
        robust = self.robust or ROBUST.get((self.recipe.strategy, self.recipe.variant))
        own = self.natural
        effectiveness = own(views, batch) if own is not None else natural(views.scores, views.targets)
        if effectiveness.ndim != 1:
            shape = tuple(effectiveness.shape)
            raise ValueError(
                f"strategy={self.recipe.strategy!r}: its loss has the shape {shape}, needed is one value a query"
            )
        least, told = combine(
            self.recipe, effectiveness, robust(views) if robust else None, state, weights, accelerator
        )
        if torch.is_grad_enabled() and not least.requires_grad:
            raise ValueError(
                f"strategy={self.recipe.strategy!r}: its loss has no gradient, so nothing can be learnt from it; "
                "compute it from views.scores, without detach() or item()"
            )
        return least, told


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


def _views(strategy: Strategy, model: Any, batch: Batch) -> Views:
    """Encode a batch in one pass and score each query against its pool.

    The prepared model encodes under autocast; scores and losses stay in fp32.
    """
    recipe, pairs = strategy.recipe, strategy.pairs
    mine, rows = len(batch.positives), np.concatenate([batch.positives, batch.negatives])
    in_pool = len(rows)
    others_to = in_pool + len(batch.others)
    texts = pairs.passages.rows(np.concatenate([rows, batch.others])) + list(batch.changed)
    queries, passages = model(pairs.queries.rows(batch.queries), texts)
    device = queries.device
    if strategy.joins:  # hard negatives are negatives like any other
        rows, in_pool = np.concatenate([rows, batch.others]), others_to
    pool, pool_ids = passages[:in_pool], torch.as_tensor(rows, device=device)  # (pool, dim)
    targets = torch.arange(mine, device=device)
    vectors = queries.float()
    scores, targets = pool_scores(vectors, pool.float(), targets, recipe.pool, mine)  # (batch, pool)
    known = batch.relevant if len(batch.relevant) else pairs.relevant[batch.queries]
    relevant = torch.as_tensor(known, device=device)
    if recipe.pool == "shared":
        own = torch.full((1,), -2, device=device)  # stands for each query's own positive
        pool_ids = torch.cat([own, pool_ids[mine:]])
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
