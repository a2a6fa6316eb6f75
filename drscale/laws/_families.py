"""The shapes of the registered laws, ``y = b g(x; t) + delta``, with their slopes. Never imports torch.

Logarithms of x are relative to a reference point, the least of each x, where g is 1. Each law has two forms of t:

- ``shape``: logarithms of the exponents, and for a law of N and D how the fall at the reference point is shared between
  them. The fall b and the floor delta stay outside as the linear part.
- ``natural``: the logarithms of all parameters but delta, coefficients relative to the reference point, with b = 1.
  That is where a single parameter can be held still for its profile.

Rows of t are many candidates at once: t is (rows, k), x is (d, runs) or (d, rows, points), g is (rows, runs) and the
slopes of log g are (rows, k, runs).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from drscale.stats.tables import Array

Shape = Callable[[Array, Array], tuple[Array, Array]]

EXPONENT = (0.01, 10.0)  # outside this range a power law is a logarithm or a step
WIDTH = (0.1, 2.0)  # of a break, in e-folds of x: narrower is a kink, wider than the data
MOST = 150.0  # of log g, so that squares stay finite
EDGE = 100.0  # of the last entry of t: there one of the two terms is gone


@dataclass(frozen=True)
class Family:
    """Shape functions of a law and the mapping to its parameters.

    The natural t lists the law's parameters but delta in their order; ``unit`` names for each the argument whose unit
    it has, or None. ``own`` are the places in it that ``shape`` takes too, followed by the shares where ``share`` is
    true.
    """

    shape: Shape
    natural: Shape
    to_natural: Callable[[Array, Array], Array]
    unit: tuple[int | None, ...]
    own: tuple[int, ...]
    share: bool = False

    @property
    def coefficients(self) -> tuple[int, ...]:
        """The places of the coefficients in it; the exponent of each is the next one."""
        return (0, 2) if self.share else (0,)


def power_shape(t: Array, x: Array) -> tuple[Array, Array]:
    """(x / x0)**-mu, t = (log mu)."""
    fall = -np.exp(t[:, :1]) * x[0]
    return _exp(fall), fall[:, None]


def power_natural(t: Array, x: Array) -> tuple[Array, Array]:
    """(M / x)**mu, t = (log M, log mu)."""
    mu = np.exp(t[:, 1:2])
    fall = mu * (t[:, :1] - x[0])
    return _exp(fall), np.stack([np.broadcast_to(mu, fall.shape), fall], axis=1)


def power_to_natural(t: Array, log_b: Array) -> Array:
    return np.column_stack([log_b / np.exp(t[:, 0]), t])


def additive_shape(t: Array, x: Array) -> tuple[Array, Array]:
    """w (N / N0)**-mu + (1 - w) (D / D0)**-eta, t = (log mu, log eta, logit w)."""
    a, b = -np.exp(t[:, :1]) * x[0], -np.exp(t[:, 1:2]) * x[1]
    log_w, log_rest = _shares(t[:, 2:])
    inner, s, other = _sum(log_w + a, log_rest + b)
    return _exp(inner), np.stack([s * a, other * b, _lean(s, other, log_w, log_rest)], axis=1)


def additive_natural(t: Array, x: Array) -> tuple[Array, Array]:
    """(M / N)**mu + (B / D)**eta, t = (log M, log mu, log B, log eta)."""
    mu, eta = np.exp(t[:, 1:2]), np.exp(t[:, 3:])
    a, b = mu * (t[:, :1] - x[0]), eta * (t[:, 2:3] - x[1])
    inner, s, other = _sum(a, b)
    return _exp(inner), np.stack([s * mu, s * a, other * eta, other * b], axis=1)


def additive_to_natural(t: Array, log_b: Array) -> Array:
    p, q, k = t.T
    log_w, log_rest = _shares(k)
    return np.column_stack([(log_b + log_w) / np.exp(p), p, (log_b + log_rest) / np.exp(q), q])


def joint_shape(t: Array, x: Array) -> tuple[Array, Array]:
    """(w (N / N0)**(-mu / eta) + (1 - w) D0 / D)**eta, t = (log mu, log eta, eta logit w).

    The last is the logarithm of a ratio: what N alone would leave at the reference point, over what D alone would.
    """
    eta, a = np.exp(t[:, 1:2]), -np.exp(t[:, :1] - t[:, 1:2]) * x[0]
    k = t[:, 2:] / eta
    log_w, log_rest = _shares(k)
    inner, s, other = _sum(log_w + a, log_rest - x[1])
    power, turn, lean = eta * inner, s * eta * a, _lean(s, other, log_w, log_rest)
    return _exp(power), np.stack([turn, power - turn - eta * k * lean, lean], axis=1)


def joint_natural(t: Array, x: Array) -> tuple[Array, Array]:
    """((M / N)**(mu / eta) + B / D)**eta, t = (log M, log mu, log B, log eta)."""
    mu, eta = np.exp(t[:, 1:2]), np.exp(t[:, 3:])
    a = mu / eta * (t[:, :1] - x[0])
    inner, s, other = _sum(a, t[:, 2:3] - x[1])
    power, turn = eta * inner, s * eta * a
    return _exp(power), np.stack([s * mu, turn, other * eta, power - turn], axis=1)


def joint_to_natural(t: Array, log_b: Array) -> Array:
    p, q, k = t.T
    eta = np.exp(q)
    log_w, log_rest = _shares(k / eta)
    return np.column_stack([(log_b + eta * log_w) / np.exp(p), p, log_rest + log_b / eta, q])


def broken_shape(t: Array, x: Array) -> tuple[Array, Array]:
    """(x / x0)**-mu (1 + (x / K)**(1 / width))**((mu - nu) width), t = (log mu, log K, log nu, log width)."""
    power, slopes = _broken(t, x)
    return _exp(power), slopes


def broken_natural(t: Array, x: Array) -> tuple[Array, Array]:
    """The same with (M / x)**mu first, t = (log M, log mu, log K, log nu, log width)."""
    power, slopes = _broken(t[:, 1:], x)
    mu = np.exp(t[:, 1:2])
    slopes[:, 0] += mu * t[:, :1]
    lift = np.broadcast_to(mu[:, None], slopes[:, :1].shape)
    return _exp(power + mu * t[:, :1]), np.concatenate([lift, slopes], axis=1)


def _broken(t: Array, x: Array) -> tuple[Array, Array]:
    mu, nu, width = np.exp(t[:, :1]), np.exp(t[:, 2:3]), np.exp(t[:, 3:])
    z = (x[0] - t[:, 1:2]) / width
    soft, s, _ = _sum(z, np.zeros_like(z))  # 0 well before the break, z well after
    turn = nu - mu
    slopes = [mu * (width * soft - x[0]), turn * s, -nu * width * soft, -turn * width * (soft - z * s)]
    return -mu * x[0] - turn * width * soft, np.stack(slopes, axis=1)


def _sum(a: Array, b: Array) -> tuple[Array, Array, Array]:
    """The logarithm of exp(a) + exp(b), and the share of each term in the sum."""
    gap = a - b
    e = np.exp(-np.abs(gap))
    first, whole = gap > 0, 1 + e
    return np.maximum(a, b) + np.log(whole), np.where(first, 1, e) / whole, np.where(first, e, 1) / whole


def _lean(s: Array, other: Array, log_w: Array, log_rest: Array) -> Array:
    """How far the share of N at each run lies above w, by the smaller shares, which do not cancel."""
    return np.where(log_w < log_rest, s - np.exp(log_w), np.exp(log_rest) - other)


def _exp(power: Array) -> Array:
    return np.exp(np.minimum(power, MOST))


def _shares(k: Array) -> tuple[Array, Array]:
    """The logarithms of w and of 1 - w, of logit w."""
    return -np.logaddexp(0.0, -k), -np.logaddexp(0.0, k)


POWER = Family(power_shape, power_natural, power_to_natural, (0, None), (1,))
ADDITIVE = Family(additive_shape, additive_natural, additive_to_natural, (0, None, 1, None), (1, 3), True)
JOINT = Family(joint_shape, joint_natural, joint_to_natural, (0, None, 1, None), (1, 3), True)
BROKEN = Family(broken_shape, broken_natural, power_to_natural, (0, None, 0, None, None), (1, 2, 3, 4))
