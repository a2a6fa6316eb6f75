"""A plan for a budget, as numbers and as a sentence. Never imports torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from drscale.analysis.curve import Curve, count_text
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

    def table(self) -> pd.DataFrame:
        """The plan as rows for a paper: name, value, low, high, unit, and what is to be said of it as ``note``."""
        if not self.feasible:
            raise ValueError(f"there is no plan to write: {' '.join(self.flags)}")
        rows = [("N", self.N, "parameters"), ("D", self.D, "pairs"), ("loss", self.loss, "")]
        rows += [(side, value, "") for side, value in self.parts.items()]
        rows += [("cost", self.cost, self.prices.currency)]
        rows += [(f"for {what}", value, self.prices.currency) for what, value in self.costs.items() if value]
        ends = [self.intervals.get(name, (np.nan, np.nan)) for name, *_ in rows]
        frame = pd.DataFrame(rows, columns=["name", "value", "unit"])
        frame.insert(2, "low", [low for low, _ in ends])
        frame.insert(3, "high", [high for _, high in ends])
        frame["note"] = ["; ".join(self.flags), *[""] * (len(frame) - 1)]
        return frame

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


def outside(N: float, D: float, curve: Curve) -> list[str]:
    """Where a plan leaves the fitted box or may do so, a sentence for each argument, and what the curve says itself."""
    said = []
    for name, value in (("N", N), ("D", D)):
        if name not in curve.box:
            said.append(f"the range of {name} it was fitted in is not known")
            continue
        low, high = curve.box[name]
        if not low * (1 - 1e-9) <= value <= high * (1 + 1e-9):
            side = "below" if value < low else "above"
            said.append(f"{name} = {count_text(value)} lies {side} the fitted {count_text(low)} to {count_text(high)}")
    return [*said, *curve.doubts]


def of_both(said: Mapping[str, list[str]]) -> list[str]:
    """What is said of both losses once, and what of one with its name."""
    both = set.intersection(*map(set, said.values()))
    flags = [f if f in both else f"for {side}, {f}" for side, own in said.items() for f in own]
    return list(dict.fromkeys(flags))
