"""Every live figure under a short name: ``ds.explore.law(runs)``. Never imports torch."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from drscale.attacks.plot import attack_view as attack
    from drscale.budget.explore import budget_explorer as budget
    from drscale.frontier.explore import frontier_explorer as front
    from drscale.frontier.tradeoff import tradeoff_explorer as tradeoff
    from drscale.laws.explore import law_explorer as law
    from drscale.training.plot import weight_explorer as weight

# Name here: where it is defined.
_HOME = {
    "attack": ("drscale.attacks.plot", "attack_view"),
    "budget": ("drscale.budget.explore", "budget_explorer"),
    "front": ("drscale.frontier.explore", "frontier_explorer"),
    "law": ("drscale.laws.explore", "law_explorer"),
    "tradeoff": ("drscale.frontier.tradeoff", "tradeoff_explorer"),
    "weight": ("drscale.training.plot", "weight_explorer"),
}
__all__ = [
    "attack",
    "budget",
    "front",
    "law",
    "tradeoff",
    "weight",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"drscale.explore has no {name!r}; it has {', '.join(__all__)}")
    module, function = _HOME[name]
    return getattr(importlib.import_module(module), function)


def __dir__() -> list[str]:
    return sorted(__all__)
