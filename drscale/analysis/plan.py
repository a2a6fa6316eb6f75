"""A plan for a budget, as numbers and as a sentence. Never imports torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from drscale.analysis.curve import count_text
from drscale.analysis.prices import Prices


@dataclass(frozen=True)
class Allocation:
    """A plan: N parameters trained on D pairs, the loss a law predicts for it, and what it costs; prints as a sentence.

    ``intervals`` holds (low, high) of N, D and loss, of cost for a target, and of each part, where the curve has draws:
    of N, D and cost over the draws' own optima, of losses at this plan. ``parts`` are the losses behind a joint plan.
    ``flags`` say where the plan leaves what was fitted. N, D and loss are NaN where there is no plan at all.
    """

    N: float
    D: float
    loss: float
    budget: float
    prices: Prices
    parts: Mapping[str, float] = field(default_factory=dict)
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    flags: tuple[str, ...] = ()

    @property
    def feasible(self) -> bool:
        """Whether there is a plan."""
        return bool(np.isfinite(self.N) and np.isfinite(self.D))

    @property
    def costs(self) -> dict[str, float]:
        """What annotation, training and encoding cost."""
        p = self.prices
        return {"annotation": p.pair * self.D, "training": p.training * self.N, "encoding": p.encoding * self.N}

    @property
    def cost(self) -> float:
        """What the plan costs in all; less than the budget where the box ends before the money."""
        return float(self.prices.cost(self.N, self.D))

    def __str__(self) -> str:
        if not self.feasible:
            return " ".join(f"{flag[0].upper()}{flag[1:]}." for flag in self.flags)
        money = self.prices.money
        size, pairs = self._said("N", self.N, count_text), self._said("D", self.D, count_text)
        losses = [f"{k} {self._said(k, v, _three)}" for k, v in (self.parts or {"loss": self.loss}).items()]
        spent = ", ".join(f"{money(v)} for {k}" for k, v in self.costs.items() if v)
        text = f"{self._said('cost', self.cost, money)} buys {size} parameters and {pairs} pairs"
        text = f"{text}: predicted {' and '.join(losses)} ({spent})."
        return " ".join([text, *(f"Beware: {flag}." for flag in self.flags)])

    def _said(self, name: str, value: float, form: Callable[[float], str]) -> str:
        if name not in self.intervals:
            return form(value)
        low, high = self.intervals[name]
        return f"{form(value)} [{form(low)}, {form(high)}]"


def _three(value: float) -> str:
    return f"{value:.3f}"
