"""The closed-form condition of a plan: where the budget line touches a contour of the loss. Never imports torch.

Both laws are loss = (x + y)**k + delta with x = (M / N)**p and y = (B / D)**q, and the money is linear in N and D.
With s the share of the money spent on parameters (or, for a target, the share x has in x + y), the optimum is where
``c = a log s - b log(1 - s)``: a falling curve with one root, which Newton's steps find for thousands of draws at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from drscale.analysis import laws
from drscale.analysis.curve import Array, Curve
from drscale.analysis.prices import Prices


@dataclass(frozen=True)
class Form:
    """loss = ((M / N)**p + (B / D)**q)**k + delta; floats, or arrays over draws."""

    M: Array
    p: Array
    B: Array
    q: Array
    k: Array
    delta: Array

    def loss(self, N: npt.ArrayLike, D: npt.ArrayLike) -> Array:
        """The loss of N parameters trained on D pairs."""
        return np.asarray(
            ((self.M / np.asarray(N)) ** self.p + (self.B / np.asarray(D)) ** self.q) ** self.k + self.delta
        )


def form_of(curve: Curve, drawn: bool = False, rows: int | None = None) -> Form:
    """The common form of the joint and the additive law, at the curve's values or over its (first ``rows``) draws."""
    if not isinstance(curve, Curve):
        raise ValueError(f"curve={type(curve).__name__}: expected a Curve, as trust.curve(result) makes of a fit")
    if curve.law not in (laws.joint_law, laws.additive_law):
        name = getattr(curve.law, "__name__", repr(curve.law))
        raise ValueError(f"curve: its law is {name}; a plan needs joint_law or additive_law, which know both N and D")
    if curve.arguments != ("N", "D"):
        raise ValueError(f"curve: values are missing for {', '.join(a for a in curve.arguments if a not in 'ND')}")
    if drawn and curve.draws is not None:
        v = {name: curve.draws[name].to_numpy(dtype=float)[:rows] for name in curve.values}
    else:
        v = {name: np.array([float(value)]) for name, value in curve.values.items()}
    for name in ("M", "mu", "B", "eta"):
        if not drawn and not v[name][0] > 0:
            raise ValueError(f"curve: {name}={v[name][0]:g}; the loss must fall with N and with D for a plan to exist")
    one = np.ones_like(v["M"])
    M, B = (np.maximum(v[name], 1e-300) for name in ("M", "B"))  # a draw whose loss does not fall with N wants none
    if curve.law is laws.joint_law:
        return Form(M, v["mu"] / v["eta"], B, one, v["eta"], v["delta"])
    return Form(M, v["mu"], B, v["eta"], one, v["delta"])


def _share(c: Array, a: Array, b: Array) -> tuple[Array, Array]:
    """The root s of ``c = a log s - b log(1 - s)``, a and b above 1, as (s, 1 - s), both exact near zero.

    In the logit of s the curve is falling and bends one way only, so Newton's steps arrive from any start.
    """
    t = np.where(c < 0, c / a, c / b)
    for _ in range(100):
        rise, fall = np.logaddexp(0, -t), np.logaddexp(0, t)  # -log s, -log(1 - s)
        s = np.exp(-rise)
        step = (c + a * rise - b * fall) / (a * (1 - s) + b * s)
        t = t + step
        if np.all(np.abs(step) <= 1e-13 * (1 + np.abs(t))):
            break
    return np.exp(-np.logaddexp(0, -t)), np.exp(-np.logaddexp(0, t))


def best(form: Form, budget: npt.ArrayLike, prices: Prices) -> tuple[Array, Array]:
    """The optimal N and D: the first-order condition p M^p N^(-p-1) / Zn = q B^q D^(-q-1) / Zd on the budget line."""
    N, D = np.asarray(budget) / prices.per_parameter, np.asarray(budget) / prices.pair  # all money on one
    c = np.log(form.p) + form.p * np.log(form.M / N) - np.log(form.q) - form.q * np.log(form.B / D)
    s, rest = _share(c, form.p + 1, form.q + 1)
    return s * N, rest * D


def cheapest(form: Form, target: npt.ArrayLike, prices: Prices) -> tuple[Array, Array]:
    """The N and D that reach a loss at the least cost; infinite where the loss is at or below the floor."""
    with np.errstate(invalid="ignore", divide="ignore"):
        reach = np.asarray(target) - form.delta
        g = np.where(reach > 0, reach, np.nan) ** (1 / form.k)
        n, d = form.M * g ** (-1 / form.p), form.B * g ** (-1 / form.q)  # enough if the other were without limit
        c = np.log(prices.per_parameter * n / form.p) - np.log(prices.pair * d / form.q)
    c = np.where(np.isfinite(c), c, 0.0)
    u, rest = _share(c, 1 / form.p + 1, 1 / form.q + 1)
    with np.errstate(over="ignore", divide="ignore"):
        N, D = n * u ** (-1 / form.p), d * rest ** (-1 / form.q)
    return np.where(reach > 0, N, np.inf), np.where(reach > 0, D, np.inf)
