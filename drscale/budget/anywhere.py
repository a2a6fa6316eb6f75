"""Plans with any law of N and D: the best split of the money is searched, not solved for. Never imports torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from drscale.budget.prices import Prices
from drscale.laws.curve import Curve
from drscale.stats.tables import Array

ENDLESS = 1e30  # parameters, or pairs
SPLIT = 14.0  # of log(money for N / money for D): all but a millionth on one


@dataclass(frozen=True)
class Numerical:
    """Any law of N and D that falls with both, with the values of its parameters: numbers, or arrays over draws."""

    law: Callable[..., Any]
    values: Mapping[str, Array]

    @property
    def delta(self) -> Array:
        """The loss with endless parameters and pairs: no loss is lower."""
        return self.loss(ENDLESS, ENDLESS)

    def loss(self, N: npt.ArrayLike, D: npt.ArrayLike) -> Array:
        """The loss of N parameters trained on D pairs; infinite where the law has no value."""
        with np.errstate(all="ignore"):
            found = self.law(N=np.asarray(N, dtype=float), D=np.asarray(D, dtype=float), **self.values)
        return np.where(np.isfinite(found), found, np.inf)


def falling(form: Numerical, curve: Curve, drawn: bool) -> Numerical:
    """The form; ValueError if its loss does not fall with N and with D over the fitted box."""
    (n0, n1), (d0, d1) = (curve.box.get(name, (1e6, 1e8)) for name in "ND")
    n, d = float(np.sqrt(n0 * n1)), float(np.sqrt(d0 * d1))
    for name, low, high in (("N", (n0, d), (2 * n1, d)), ("D", (n, d0), (n, 2 * d1))):
        if not drawn and not form.loss(*high)[0] < form.loss(*low)[0]:
            raise ValueError(f"curve: it does not fall with {name}; the loss must fall with N and with D for a plan")
    return form


def _split(money: npt.ArrayLike, t: Array, prices: Prices) -> tuple[Array, Array]:
    """N and D of a budget, t the logarithm of the money for N over the money for D."""
    spent = np.asarray(money)
    on_size, on_data = np.exp(-np.logaddexp(0, -t)), np.exp(-np.logaddexp(0, t))
    return spent / prices.per_parameter * on_size, spent / prices.pair * on_data


def _lowest(value: Callable[[Array], Array], shape: tuple[int, ...]) -> Array:
    """Where along t a value is least, for each entry of ``shape``: a grid that narrows around the minimum."""
    low, high = np.full(shape, -SPLIT), np.full(shape, SPLIT)
    places = np.linspace(0, 1, 41)
    for _ in range(6):
        t = low + (high - low) * places.reshape(-1, *[1] * len(shape))
        i = np.argmin(value(t), axis=0)
        low, high = (np.take_along_axis(t, np.clip(i + k, 0, 40)[None], axis=0)[0] for k in (-1, 1))
    return (low + high) / 2


def cheapest_anywhere(form: Numerical, target: Array, prices: Prices) -> tuple[Array, Array]:
    """The cheapest N and D that reach a target: the money that each split needs, and the split that needs least.

    If even endless money does not reach it, N and D are infinite.
    """
    shape = np.broadcast_shapes(target.shape, *(v.shape for v in form.values.values()))
    most = np.log(prices.cost(ENDLESS, ENDLESS))

    def money(t: Array) -> Array:
        low, high = np.full(t.shape, -most), np.full(t.shape, most)
        for _ in range(50):
            middle = (low + high) / 2
            reached = form.loss(*_split(np.exp(middle), t, prices)) <= target
            low, high = np.where(reached, low, middle), np.where(reached, middle, high)
        return high

    t = _lowest(money, shape)
    spent = money(t)
    N, D = _split(np.exp(spent), t, prices)
    reached = spent < most - 1e-6
    return np.where(reached, N, np.inf), np.where(reached, D, np.inf)


def best_anywhere(form: Numerical, budget: Array, prices: Prices) -> tuple[Array, Array]:
    """The N and D of least loss that a budget buys."""
    shape = np.broadcast_shapes(budget.shape, *(v.shape for v in form.values.values()))
    return _split(budget, _lowest(lambda t: form.loss(*_split(budget, t, prices)), shape), prices)


def enough(form: Numerical, loss: float, **given: Array) -> Array:
    """How much of N, or of D, is needed beside the given other one to reach a loss; NaN if none is enough."""
    ((name, known),) = given.items()
    low, high = np.zeros(known.shape), np.full(known.shape, np.log(ENDLESS))
    for _ in range(60):
        middle = np.exp((low + high) / 2)
        reached = form.loss(*((known, middle) if name == "N" else (middle, known))) <= loss
        low, high = np.where(reached, low, np.log(middle)), np.where(reached, np.log(middle), high)
    return np.where(high < np.log(ENDLESS), np.exp(high), np.nan)
