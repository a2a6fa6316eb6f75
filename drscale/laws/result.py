"""What a registered law is, what a fit was made of, and where residuals are squared. Never imports torch."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import lmfit
import numpy as np
import numpy.typing as npt

from drscale.laws import _solver as separable
from drscale.laws._families import POWER, Array, Family
from drscale.laws._power import Power
from drscale.laws._solver import Found, Separable

Space = Literal["relative", "linear", "log"]
SPACES = ("relative", "linear", "log")


class LawWarning(UserWarning):
    """A fitted law deserves less trust than its numbers suggest."""


@dataclass(frozen=True)
class Law:
    """A registered law: the default column of each of its arguments, units and bounds of its parameters.

    A column that is empty has to be named by the caller. Every parameter has its unit, "" for a pure number, "x" for
    that of the column; parameters without bounds are coefficients, from 0 to infinity.
    """

    columns: Mapping[str, str]
    units: Mapping[str, str]
    bounds: Mapping[str, tuple[float, float]]
    family: Family

    @property
    def coefficients(self) -> list[tuple[str, str]]:
        """Each coefficient with its exponent."""
        names = list(self.units)
        return [(n, names[i + 1]) for i, n in enumerate(names) if n not in self.bounds]


@dataclass(frozen=True)
class Fitted:
    """What a fit was made of; rides on the ModelResult as ``result.fitted``."""

    law: Callable[..., Any]
    entry: Law | None  # None: a law of the caller's own
    columns: Mapping[str, str]  # of each argument of the law
    points: Mapping[str, Array]  # the values of each argument, a run each
    y_name: str
    y: Array
    keys: tuple[str, ...] | None  # of the runs, where the table names them
    space: Space
    robust: bool
    scale: float | None  # of the robust loss
    limits: Mapping[str, tuple[float, float]]  # of each parameter; equal ones hold it still
    free: int  # degrees of freedom: runs less parameters, also those that ended at a bound
    sigma: float  # spread of one run in the fit's space: a share of y unless the space is linear
    unit: float  # rise of the weighted squares that one standard error brings, squared
    problem: Power | Separable | None = field(repr=False)  # None: not a registered law
    found: Found | None = field(repr=False)  # the optimum of a Separable problem

    @property
    def fixed(self) -> list[str]:
        """The parameters that the caller's bounds hold still."""
        return [n for n, (low, high) in self.limits.items() if low == high]

    @property
    def parameters(self) -> int:
        """How many parameters the runs had to tell."""
        return len(self.limits) - len(self.fixed)

    @property
    def x_name(self) -> str:
        """The column of the first argument, for a law of one argument the only one."""
        return next(iter(self.columns.values()))

    @property
    def x(self) -> Array:
        """The values of the first argument."""
        return next(iter(self.points.values()))

    @property
    def levels(self) -> npt.NDArray[np.intp]:
        """Which of the distinct points each run stands at."""
        return np.unique(np.column_stack(list(self.points.values())), axis=0, return_inverse=True)[1].ravel()

    @property
    def x_words(self) -> str:
        """The columns of x in words."""
        return " and ".join(self.columns.values())


def fitted(result: lmfit.model.ModelResult) -> Fitted:
    """What a fit was made of; ValueError for a result that ``laws.fit`` did not make."""
    found = getattr(result, "fitted", None)
    if not isinstance(found, Fitted):
        raise ValueError(f"result={type(result).__name__}: expected what laws.fit returned")
    return found


def solved(f: Fitted) -> tuple[Separable, Found]:
    """A registered law's fit as the batched solver takes it, with its optimum."""
    if isinstance(f.problem, Separable) and f.found is not None:
        return f.problem, f.found
    if isinstance(f.problem, Power):
        log_x = np.log(f.x)
        origin = np.array([log_x.min()])
        low, high = (np.array([float(np.log(end))]) for end in f.problem.mu)
        p = Separable(POWER, origin, log_x[None] - origin, f.y, f.problem.weights, low, high, f.problem.delta)
        return p, separable.minimum(p)
    raise ValueError(f"{name_of(f.law)} is not a registered law, so it has neither draws nor exact intervals")


def name_of(law: Callable[..., Any]) -> str:
    """A law's name in messages."""
    return getattr(law, "__name__", repr(law))


def weigh(y: Array, curve: Array | None, space: Space, scale: float | None = None) -> Array:
    """The weights of squared differences whose least sum is that of the space and, with ``scale``, of the soft L1 loss.

    Logarithms and the soft loss become weights that depend on the fitted curve; without one they are taken as if the
    curve went through every run.
    """
    new = np.ones_like(y) if space == "linear" else 1 / y**2
    if curve is None:
        return new
    r = residuals(y, curve, space)
    if space == "log":
        near = np.abs(r) < 1e-9
        new = np.where(near, new, r / np.where(near, 1.0, y - curve) / curve)
    return new if scale is None else new / np.sqrt(1 + (r / scale) ** 2)


def residuals(y: Array, curve: Array, space: Space) -> Array:
    """Measured less fitted, in the space of the fit."""
    if space == "log":
        return np.asarray(np.log(y / curve))
    return np.asarray(y - curve if space == "linear" else (y - curve) / y)


def outside() -> int:
    """The ``stacklevel`` with which the calling function's warning points at the first line outside this package."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).startswith("drscale."):
        frame, level = frame.f_back, level + 1
    return level
