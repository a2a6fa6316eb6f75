"""Every figure under a short name: ``ds.plot.law(fit)``, ``ds.plot.front(runs)``. Never imports torch."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from drscale.attacks.plot import climb_figure as climb
    from drscale.budget.plot import budget_figure as budget
    from drscale.budget.plot import isocost_figure as isocost
    from drscale.budget.plot import path_figure as path
    from drscale.evaluate.plot import bytes_figure as by_bytes
    from drscale.evaluate.plot import domain_figure as domains
    from drscale.frontier.plot import frontier_figure as front
    from drscale.frontier.plot import joint_figure as joint
    from drscale.geometry.plot import correlation_figure as correlation
    from drscale.geometry.plot import relation_figure as relation
    from drscale.laws.plot import compute_figure as compute
    from drscale.laws.plot import data_figure as data
    from drscale.laws.plot import fit_figure as law
    from drscale.laws.plot import isoflop_figure as isoflop
    from drscale.laws.plot import law_figure as laws
    from drscale.laws.plot import series_figure as series
    from drscale.laws.plot import size_figure as size
    from drscale.mixed.plot import contrasts_figure as contrasts
    from drscale.mixed.plot import means_figure as means
    from drscale.papers.plot import curves_figure as published
    from drscale.papers.plot import verdict_figure as verdicts
    from drscale.plotting.parts import interval_figure as intervals
    from drscale.poisoning.plot import guard_figure as guards
    from drscale.poisoning.plot import rate_figure as rates
    from drscale.stability.plot import leaderboard_figure as leaderboard
    from drscale.stability.plot import stability_card as stability
    from drscale.training.plot import curve_figure as training
    from drscale.training.plot import weight_figure as weights

# Name here: where it is defined.
_HOME = {
    "budget": ("drscale.budget.plot", "budget_figure"),
    "by_bytes": ("drscale.evaluate.plot", "bytes_figure"),
    "climb": ("drscale.attacks.plot", "climb_figure"),
    "compute": ("drscale.laws.plot", "compute_figure"),
    "contrasts": ("drscale.mixed.plot", "contrasts_figure"),
    "correlation": ("drscale.geometry.plot", "correlation_figure"),
    "data": ("drscale.laws.plot", "data_figure"),
    "domains": ("drscale.evaluate.plot", "domain_figure"),
    "front": ("drscale.frontier.plot", "frontier_figure"),
    "guards": ("drscale.poisoning.plot", "guard_figure"),
    "intervals": ("drscale.plotting.parts", "interval_figure"),
    "isocost": ("drscale.budget.plot", "isocost_figure"),
    "isoflop": ("drscale.laws.plot", "isoflop_figure"),
    "joint": ("drscale.frontier.plot", "joint_figure"),
    "law": ("drscale.laws.plot", "fit_figure"),
    "laws": ("drscale.laws.plot", "law_figure"),
    "leaderboard": ("drscale.stability.plot", "leaderboard_figure"),
    "means": ("drscale.mixed.plot", "means_figure"),
    "path": ("drscale.budget.plot", "path_figure"),
    "published": ("drscale.papers.plot", "curves_figure"),
    "rates": ("drscale.poisoning.plot", "rate_figure"),
    "relation": ("drscale.geometry.plot", "relation_figure"),
    "series": ("drscale.laws.plot", "series_figure"),
    "size": ("drscale.laws.plot", "size_figure"),
    "stability": ("drscale.stability.plot", "stability_card"),
    "training": ("drscale.training.plot", "curve_figure"),
    "verdicts": ("drscale.papers.plot", "verdict_figure"),
    "weights": ("drscale.training.plot", "weight_figure"),
}
__all__ = [
    "budget",
    "by_bytes",
    "climb",
    "compute",
    "contrasts",
    "correlation",
    "data",
    "domains",
    "front",
    "guards",
    "intervals",
    "isocost",
    "isoflop",
    "joint",
    "law",
    "laws",
    "leaderboard",
    "means",
    "path",
    "published",
    "rates",
    "relation",
    "series",
    "size",
    "stability",
    "training",
    "verdicts",
    "weights",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"drscale.plot has no {name!r}; it has {', '.join(__all__)}")
    module, function = _HOME[name]
    return getattr(importlib.import_module(module), function)


def __dir__() -> list[str]:
    return sorted(__all__)
