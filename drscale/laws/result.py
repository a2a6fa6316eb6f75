"""The definition of a registered law, the inputs of a fit, and how residuals are squared. Never imports torch."""

from __future__ import annotations

import html
import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import lmfit
import numpy as np
import numpy.typing as npt
import pandas as pd
import plotly.graph_objects as go
from scipy import stats

from drscale.laws._families import Family
from drscale.laws.curve import Curve
from drscale.stats.tables import Array, count_text

Space = Literal["relative", "linear", "log"]
SPACES = ("relative", "linear", "log")
Start = Mapping[str, float] | Callable[..., Mapping[str, float]]


class LawWarning(UserWarning):
    """A fitted law deserves less trust than its numbers suggest."""


@dataclass(frozen=True)
class Law:
    """A registered law: the default column of each of its arguments, units and bounds of its parameters.

    A column that is empty has to be named by the caller. Every parameter has a unit: "" for a pure number, "x" for the
    unit of the column, an argument's name for the unit of its column. With a ``family``, parameters without bounds are
    coefficients, from 0 to infinity. Without one, the law is any plain function, fitted from its ``start`` values, and
    parameters without bounds may be any numbers.
    """

    columns: Mapping[str, str]
    units: Mapping[str, str]
    bounds: Mapping[str, tuple[float, float]]
    family: Family | None = None
    equation: str = ""  # how the fitted law is printed, each parameter in braces
    start: Start | None = None

    @property
    def coefficients(self) -> list[tuple[str, str]]:
        """Each coefficient with its exponent; none for a plain function, where they are not known."""
        if self.family is None:
            return []
        names = list(self.units)
        return [(n, names[i + 1]) for i, n in enumerate(names) if n not in self.bounds]


class Problem(Protocol):
    """The least squares of one fit with their optimum. Every solver has this form; callers do not ask which one it is.

    ``quick`` says whether exact intervals take milliseconds.
    """

    quick: bool

    @property
    def least(self) -> float:
        """The weighted squares at the optimum."""

    def intervals(self, allowed: float, only: Sequence[int] = ...) -> list[tuple[float, float]]:
        """The interval of each parameter, or of those at the places ``only``: the others refitted, squares up by
        ``allowed``."""

    def heights(self, at: Sequence[Array], allowed: float) -> tuple[Array, Array] | None:
        """The interval of the curve at points, an array for each x, by the same rule; None where it is not known."""

    def refit(self, counts: Array, y: Array | None = None) -> Array:
        """Parameters of refits in which each run counts as often as ``counts`` says (draws, runs), with y if given."""


@dataclass(frozen=True)
class Fitted:
    """The inputs of a fit; stored on the ModelResult as ``result.fitted``."""

    law: Callable[..., Any]
    entry: Law | None  # None: a law of the caller's own
    columns: Mapping[str, str]  # of each argument of the law
    points: Mapping[str, Array]  # the values of each argument, one for each run
    y_name: str
    y: Array
    keys: tuple[str, ...] | None  # of the runs, if the table has them
    space: Space
    robust: bool
    scale: float | None  # of the robust loss
    limits: Mapping[str, tuple[float, float]]  # of each parameter; equal ones hold it fixed
    free: int  # degrees of freedom: runs minus parameters, including those that ended at a bound
    sigma: float  # spread of one run in the fit's space: a share of y unless the space is linear
    unit: float  # rise of the weighted squares that one standard error brings, squared
    problem: Problem = field(repr=False)
    units: tuple[str, ...] = ()  # how columns in thousands or millions were read, in sentences

    @property
    def family(self) -> Family | None:
        """The solver's description of the law; None for a plain function."""
        return None if self.entry is None else self.entry.family

    @property
    def fixed(self) -> list[str]:
        """The parameters that the caller's bounds hold fixed."""
        return [n for n, (low, high) in self.limits.items() if low == high]

    @property
    def parameters(self) -> int:
        """Number of free parameters."""
        return len(self.limits) - len(self.fixed)

    @property
    def x_name(self) -> str:
        """The column of the first argument (the only one for a law of one argument)."""
        return next(iter(self.columns.values()))

    @property
    def x(self) -> Array:
        """The values of the first argument."""
        return next(iter(self.points.values()))

    @property
    def levels(self) -> npt.NDArray[np.intp]:
        """The index of each run's point among the distinct points."""
        return np.unique(np.column_stack(list(self.points.values())), axis=0, return_inverse=True)[1].ravel()

    @property
    def x_words(self) -> str:
        """The columns of x in words."""
        return " and ".join(self.columns.values())


class LawFit(lmfit.model.ModelResult):
    """A fitted law: lmfit's result, with methods for everything that one does with a law.

    It prints itself with its intervals and doubts. ``fit.intervals()``, ``fit.predict(x)``, ``fit.bootstrap()``,
    ``fit.curve()``, ``fit.table()`` and ``fit.plot()`` are the functions of :mod:`drscale.laws`, called with this fit;
    all of lmfit's own attributes (``params``, ``best_values``, ``fit_report()``) stay.

    >>> import drscale as ds
    >>> runs = ds.example_runs()
    >>> fit = ds.fit_law(runs[runs["pairs"] == 0], ds.size_law, warn=False)  # 0: all pairs
    >>> fit.equation
    '(13.6K / N)^0.45 + 1.89'
    """

    fitted: Fitted

    @classmethod
    def of(cls, result: lmfit.model.ModelResult, made_of: Fitted) -> LawFit:
        """lmfit's result as a LawFit."""
        fit = cls.__new__(cls)
        fit.__dict__.update(result.__dict__)
        fit.fitted = made_of
        return fit

    @property
    def law(self) -> Callable[..., Any]:
        """The law that was fitted."""
        return self.fitted.law

    @property
    def equation(self) -> str:
        """The law with its numbers, in one line of plain text."""
        return equation(self)

    @property
    def doubts(self) -> list[str]:
        """Why this fit needs caution, in plain sentences; empty if there is no reason."""
        sentences: list[str] = _open("diagnostics").diagnose(self)
        return sentences

    def goodness(self) -> pd.Series:
        """R2 of y and of log y, the spread of one run, and the numbers of runs and levels."""
        return goodness(self)

    def intervals(self, method: str = "profile", level: float = 0.95, **options: Any) -> pd.DataFrame:
        """An interval for each parameter: name, value, low, high, note
        (:func:`drscale.laws.intervals.law_intervals`)."""
        frame: pd.DataFrame = _open("intervals").law_intervals(self, method, level, **options)
        return frame

    def predict(self, x: Any, level: float = 0.95, **options: Any) -> pd.DataFrame:
        """The curve and a measured value at each x, with intervals (:func:`drscale.laws.intervals.predict_law`)."""
        frame: pd.DataFrame = _open("intervals").predict_law(self, x, level, **options)
        return frame

    def bootstrap(self, n_boot: int = 4000, unit: str = "level", seed: int = 0) -> pd.DataFrame:
        """Refits to runs drawn with replacement, one row each; ``unit`` is "level" or "run"."""
        frame: pd.DataFrame = _open("intervals").bootstrap_runs(self, n_boot, unit, seed)
        return frame

    def curve(self, n_boot: int = 0, *, unit: str = "level", seed: int = 0, name: str = "") -> Curve:
        """The law with its numbers and bootstrap draws, in the form that planners and figures use."""
        curve: Curve = _open("intervals").law_curve(self, n_boot, unit=unit, seed=seed, name=name)
        return curve

    def table(self, level: float = 0.95, **options: Any) -> pd.DataFrame:
        """The parameters as a table for a paper; ``ds.export(fit, "law.tex")`` writes it."""
        frame: pd.DataFrame = _open("intervals").parameter_table(self, level, **options)
        return frame

    def plot(self, *, dark: bool = False, level: float = 0.95, **options: Any) -> go.Figure:
        """Draw the runs, the law and its band (:func:`drscale.laws.plot.fit_figure`)."""
        figure: go.Figure = _open("plot").fit_figure(self, dark=dark, level=level, **options)
        return figure

    def __str__(self) -> str:
        return f"{name_of(self.law)} of {self.fitted.y_name}: {self.equation}"

    def __repr__(self) -> str:
        good = self.goodness()
        head = f"{self}  (R2 {good['R2']:.4f}, {good['runs']:.0f} runs at {good['levels']:.0f} levels)"
        rows = [
            f"  {r.name:<6} {r.value:>11.5g}  95% {r.low:.4g} to {r.high:.4g}  {r.note}".rstrip()
            for r in self.intervals().set_index("name", drop=False).itertuples(index=False)
        ]
        return "\n".join([head, *rows, *(f"  Beware: {words}." for words in self.doubts)])

    def _repr_html_(self) -> str:
        rows = self.table().to_html(index=False, float_format="{:.4g}".format, na_rep="")
        doubts = "".join(f"<li>{html.escape(words)}</li>" for words in self.doubts)
        return f"<p><b>{html.escape(str(self))}</b></p>{rows}" + (f"<p>Beware:</p><ul>{doubts}</ul>" if doubts else "")


def _open(module: str) -> Any:
    """A module of this package that depends on this one, loaded when a fit needs it."""
    return importlib.import_module(f"drscale.laws.{module}")


def fitted(result: lmfit.model.ModelResult) -> Fitted:
    """The inputs of a fit; ValueError for a result that ``fit_law`` did not make."""
    found = getattr(result, "fitted", None)
    if not isinstance(found, Fitted):
        raise ValueError(f"result={type(result).__name__}: expected what fit_law returned")
    return found


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
    """Measured minus fitted, in the space of the fit."""
    if space == "log":
        return np.asarray(np.log(y / curve))
    return np.asarray(y - curve if space == "linear" else (y - curve) / y)


def bend(y: Array, curve: Array, space: Space) -> float:
    """Where the robust loss begins to bend: 1.345 standard deviations, by the median of the residuals."""
    floor = 1e-6 * (float(y.mean()) if space == "linear" else 1.0)
    return max(1.345 * 1.4826 * float(np.median(np.abs(residuals(y, curve, space)))), floor)


def outside() -> int:
    """The ``stacklevel`` with which the calling function's warning points at the first line outside this package."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).startswith("drscale."):
        frame, level = frame.f_back, level + 1
    return level


def goodness(result: lmfit.model.ModelResult) -> pd.Series:
    """R² of y and of log y, the spread of one run about the curve as a share of y, the numbers of runs and levels."""
    f = fitted(result)
    best = np.asarray(result.best_fit, dtype=float)

    def r2(measured: Array, predicted: Array) -> float:
        total = float(np.sum((measured - measured.mean()) ** 2))
        return 1 - float(np.sum((measured - predicted) ** 2)) / total if total > 0 else np.nan

    relative = float(np.sqrt(np.sum((f.y / best - 1) ** 2) / (f.free)))
    return pd.Series(
        {
            "R2": r2(f.y, best),
            "R2_log": r2(np.log(f.y), np.log(best)),
            "relative_error": relative,
            "runs": len(f.y),
            "levels": int(f.levels.max()) + 1,
        },
        name=f.y_name,
    )


def lack_of_fit(result: lmfit.model.ModelResult) -> tuple[float, float] | None:
    """F and p of the misfit of the level means against the scatter of runs at one level; None without replicates."""
    f, r = fitted(result), np.asarray(result.residual, dtype=float)
    place = f.levels
    count = np.bincount(place)
    means = np.bincount(place, r) / count
    pure, misfit = len(r) - len(count), len(count) - f.parameters
    scatter = float(np.sum((r - means[place]) ** 2))
    if pure < 2 or misfit < 1 or scatter <= 1e-20 * len(r):
        return None
    ratio = float(np.sum(count * means**2)) / misfit / (scatter / pure)
    return ratio, float(stats.f.sf(ratio, misfit, pure))


def equation(result: lmfit.model.ModelResult) -> str:
    """The fitted law in one line of plain text, as (34.8K / N)^0.55 + 0.05; without a template, its numbers."""
    f, v = fitted(result), {n: float(p.value) for n, p in result.params.items()}
    template = f.entry.equation if f.entry is not None else ""
    if not template:
        return ", ".join(f"{n} = {count_text(value)}" for n, value in v.items())
    if f.family is None:
        return template.format(**{n: count_text(a) for n, a in v.items()})
    coefficients = {c for c, _ in f.entry.coefficients} if f.entry is not None else set()
    words = {
        n: count_text(a) if n in (*coefficients, "K") else f"{a:.3g}" if n == "delta" else f"{a:.2f}"
        for n, a in v.items()
    }
    return template.format(**words)
