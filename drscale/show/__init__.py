"""Figures, explorers and exports. Never imports torch.

The doors are ``figures`` (laws and curves), ``series`` (several laws), ``fronts`` (the plane of effectiveness and
robustness), ``plans`` (budgets), ``printed`` (published laws), ``weights`` and ``attacks`` (training and attacks seen
from inside), ``explore_law``, ``explore_budget`` and ``explore_frontier`` (with sliders), and ``export``.
"""
