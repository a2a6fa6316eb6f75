"""How two losses become one: a plain sum, fixed weights, Pareto training's controller (Eq. 9 to 11), MGDA or PCGrad.

Equation numbers are those of Liu et al. (SIGIR 2025). Their omega_0 is both the first weight and, inverted, the ratio
of losses that the controller steers to. Read as a weight it lies between 0 and 1 and steers to an effectiveness loss
above the robustness loss; read as the ratio of robustness to effectiveness at the front it may exceed 1, and the first
weight is clipped. The formula is the same, so ``Recipe.omega`` takes either: :func:`drscale.analysis.frontier.
ratio_at_front` gives both.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from drscale.recipe import BY_GRADIENTS, Recipe

State = dict[str, float]


def next_weight(omega: float, effectiveness: float, robustness: float, omega_0: float, eta: float) -> float:
    """The robustness loss's weight after a step (Eq. 10), clipped to 0 and 1 (Eq. 11)."""
    ratio = effectiveness / max(robustness, 1e-12)  # a loss may underflow to zero
    return min(max(omega - eta * (ratio - 1 / omega_0), 0.0), 1.0)


def combine(
    recipe: Recipe, effectiveness: Tensor, robustness: Tensor | None, state: State, weights: Sequence[Tensor]
) -> tuple[Tensor, dict[str, float]]:
    """Make one loss of a batch's two, and say what is worth noting.

    ``effectiveness`` holds a loss a query, ``robustness`` one for each query that the strategy touched in this batch
    (None where the strategy has no loss of its own). ``state`` is what the controller remembers; it is changed in place
    and belongs into a checkpoint. ``weights`` are the parameters, for the gradients that MGDA and PCGrad look at.

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
        loss, state["omega"] = _by_gradients(recipe.balance, mean, robustness.mean(), weights)
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
    balance: str, effectiveness: Tensor, robustness: Tensor, weights: Sequence[Tensor]
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
    flat = torch.stack([torch.cat([g.flatten() for g in each]) for each in gradients]).double()
    alpha = weighting(flat @ flat.T).to(effectiveness.dtype)
    one, other = gradients
    parts = [((alpha[0] * g + alpha[1] * h) * w).sum() for g, h, w in zip(one, other, weights, strict=True)]
    steered = torch.stack(parts).sum()
    value = alpha[0] * effectiveness.detach() + alpha[1] * robustness.detach()
    return steered + (value - steered.detach()), float(alpha[1] / alpha.sum())
