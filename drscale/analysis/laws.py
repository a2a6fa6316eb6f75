"""Fit the size law and the data law to a table of runs, and say how far they can be trusted. Never imports torch."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import lmfit
import numpy as np
import pandas as pd
from scipy import stats

from drscale import runs
from drscale.analysis import power
from drscale.analysis.power import Array, Power

Space = Literal["relative", "linear", "log"]
SPACES = ("relative", "linear", "log")
CORRELATED = 0.995  # a coefficient lies outside the measured x, so .97 is the rule and no news


class LawWarning(UserWarning):
    """A fitted law deserves less trust than its numbers suggest."""


def size_law(N: Any, M: Any, mu: Any, delta: Any) -> Any:
    """Contrastive entropy of a model with N non-embedding parameters: (M / N)**mu + delta (Eq. 7)."""
    return (M / N) ** mu + delta


def data_law(D: Any, B: Any, eta: Any, delta: Any) -> Any:
    """Contrastive entropy after training on D annotated pairs: (B / D)**eta + delta (Eq. 8)."""
    return (B / D) ** eta + delta


def joint_law(N: Any, D: Any, M: Any, mu: Any, B: Any, eta: Any, delta: Any) -> Any:
    """Contrastive entropy of N parameters trained on D pairs: ((M / N)**(mu / eta) + B / D)**eta + delta (Eq. 12)."""
    return ((M / N) ** (mu / eta) + B / D) ** eta + delta


def additive_law(N: Any, D: Any, M: Any, mu: Any, B: Any, eta: Any, delta: Any) -> Any:
    """The sum of a size law and a data law, after Chinchilla: (M / N)**mu + (B / D)**eta + delta."""
    return (M / N) ** mu + (B / D) ** eta + delta


# Law: its default column of x and the unit of x, which is the coefficient's unit too.
POWER_LAWS: dict[Callable[..., Any], tuple[str, str]] = {
    size_law: ("params_layers", "parameters"),
    data_law: ("train_pairs", "pairs"),
}


@dataclass(frozen=True)
class Fitted:
    """What a fit was made of; rides on the ModelResult as ``result.fitted``."""

    law: Callable[..., Any]
    x_name: str
    y_name: str
    space: Space
    robust: bool
    x: Array
    y: Array
    free: int  # degrees of freedom: runs less parameters, also those that ended at a bound
    sigma: float  # spread of one run in the fit's space: a share of y unless the space is linear
    unit: float  # rise of the weighted squares that one standard error brings, squared
    problem: Power | None  # None: not a power law with a floor


class _LogModel(lmfit.Model):
    """An lmfit model whose residual is the difference of logarithms."""

    def _residual(self, params: Any, data: Any, weights: Any, **kwargs: Any) -> Any:
        return np.log(data) - np.log(self.eval(params, **kwargs))


def fit(
    table: pd.DataFrame,
    law: Callable[..., Any],
    x: str | None = None,
    y: str = "in_domain_entropy",
    *,
    space: Space = "relative",
    robust: bool = False,
    bounds: Mapping[str, tuple[float, float]] | None = None,
    start: Mapping[str, float] | None = None,
    warn: bool = True,
) -> lmfit.model.ModelResult:
    """Fit a law to the runs of a table that are done, one row a run.

    ``space`` is where residuals are squared: shares of y ("relative"), y itself ("linear"), or log y. ``robust`` uses
    a soft L1 loss, so that single outlying runs pull less. ``bounds`` replaces the defaults: exponent
    in [0.01, 10], delta >= 0. Every exponent of a log-spaced grid is a start and the best is kept; a law of your own
    (a plain function, x first) needs ``start`` values instead. :func:`diagnose` speaks up as LawWarning if ``warn``.
    """
    if space not in SPACES:
        raise ValueError(f"space={space!r}: allowed are {', '.join(map(repr, SPACES))}")
    argument, *names = inspect.signature(law).parameters
    x = default_x(law) if x is None else x
    if (start is None) == (law not in POWER_LAWS):
        raise ValueError(f"start={start!r}: {_start_rule(law, names)}")
    limits = {**_default_bounds(law, names), **_checked("bounds", bounds, names)}
    if law in POWER_LAWS and (limits[names[0]] != (0.0, np.inf) or limits[names[1]][0] <= 0):
        raise ValueError(f"bounds={bounds!r}: {names[0]} takes none, {names[1]} needs a lower one above 0")
    xs, ys = numbers(table, x, y)
    levels = len(np.unique(xs))
    if levels <= len(names):
        raise ValueError(
            f"column {x!r} has {levels} different values: {len(names)} parameters need at least {len(names) + 1}"
        )
    if warn:
        runs.warn_if_mixed(done(table), x)
    problem, scale, held = None, 1.0, set[str]()
    values = {name: float(v) for name, v in _checked("start", start, names).items()}
    if law in POWER_LAWS:
        problem, scale = _problem(xs, ys, space, robust, limits[names[1]], limits[names[2]])
        values, held = _best(problem, names)
        if values[names[0]] < 1e-6:  # the minimiser would push a start this close to its bound away from it
            limits[names[0]] = (-np.inf, np.inf)
    model = (_LogModel if space == "log" else lmfit.Model)(law, independent_vars=[argument])
    parameters = model.make_params()
    for name in names:
        if name not in values:
            raise ValueError(f"start={start!r}: {name} is missing")
        low, high = limits[name]
        value = float(np.clip(values[name], low, high))
        parameters[name].set(value=value, min=low, max=high, vary=name not in held)
    options: dict[str, Any] = {"x_scale": "jac", "xtol": 1e-12, "ftol": 1e-12, "gtol": 1e-12}
    if robust:
        options |= {"loss": "soft_l1", "f_scale": scale}
    with np.errstate(divide="ignore", invalid="ignore"):  # runs without scatter: lmfit's correlations are 0 / 0
        result = model.fit(
            ys,
            parameters,
            weights=1 / ys if space == "relative" else None,
            method="least_squares",
            fit_kws=options,
            **{argument: xs},
        )
    if not robust:
        result.kws = {}  # so that lmfit's own conf_interval, which minimises otherwise, accepts the result
    free = len(ys) - len(names)
    sigma, unit = _spread(np.asarray(result.residual, dtype=float), free, scale if robust else None)
    result.fitted = Fitted(law, x, y, space, robust, xs, ys, free, sigma, unit, problem)
    for sentence in diagnose(result) if warn else []:
        warnings.warn(f"{_name(law)} of {y}: {sentence}", LawWarning, stacklevel=2)
    return result


def default_x(law: Callable[..., Any]) -> str:
    """The column of a run table that a law is a function of."""
    if law not in POWER_LAWS:
        raise ValueError(f"x=None: say which column is the first argument of {_name(law)}")
    return POWER_LAWS[law][0]


def parameter_names(law: Callable[..., Any]) -> list[str]:
    """The parameters of a law, as its arguments after the first name them."""
    return list(inspect.signature(law).parameters)[1:]


def _name(law: Callable[..., Any]) -> str:
    return getattr(law, "__name__", repr(law))


def _start_rule(law: Callable[..., Any], names: list[str]) -> str:
    if law in POWER_LAWS:
        return f"{_name(law)} finds its own start"
    return f"{_name(law)} needs a start value for each of {', '.join(names)}"


def _default_bounds(law: Callable[..., Any], names: list[str]) -> dict[str, tuple[float, float]]:
    if law not in POWER_LAWS:
        return dict.fromkeys(names, (-np.inf, np.inf))
    return dict(zip(names, ((0.0, np.inf), power.MU, (0.0, np.inf)), strict=True))


def _checked(what: str, given: Mapping[str, Any] | None, names: list[str]) -> dict[str, Any]:
    for name in given or {}:
        if name not in names:
            raise ValueError(f"{what}: no parameter {name!r}, allowed are {', '.join(names)}")
    return dict(given or {})


def done(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of runs that came to their end; in a table without a status column, all."""
    return table[table["status"] == "done"] if "status" in table else table


def numbers(table: pd.DataFrame, x: str, y: str) -> tuple[Array, Array]:
    """x and y of the runs that are done; ValueError for what no law can be fitted to."""
    rows, columns = done(table), []
    if rows.empty:
        raise ValueError(f"the table has {len(table)} runs and none is done: nothing to fit")
    for name in (x, y):
        if name not in table:
            raise ValueError(f"the table has no column {name!r}; it has {', '.join(map(str, table.columns))}")
        if not pd.api.types.is_numeric_dtype(rows[name]):
            raise ValueError(f"column {name!r} holds {rows[name].dtype}, not numbers")
        values = rows[name].to_numpy(dtype=float, na_value=np.nan)
        wrong = ~np.isfinite(values) | (values <= 0)
        if wrong.any():
            i = int(np.argmax(wrong))
            raise ValueError(
                f"column {name!r} is {values[i]:g} in row {rows.index[i]!r} ({wrong.sum()} such of {len(values)}): "
                "a law needs finite numbers above zero, leave such runs out first"
            )
        columns.append(values)
    return columns[0], columns[1]


def _problem(
    x: Array, y: Array, space: Space, robust: bool, mu: tuple[float, float], delta: tuple[float, float]
) -> tuple[Power, float]:
    """The weighted squares whose minimum is the fit's, and the scale of the robust loss.

    Logarithms and the robust loss become weights that depend on the fitted curve, hence the few rounds.
    """
    weights = np.ones_like(y) if space == "linear" else 1 / y**2
    problem, scale = power.power(x, y, weights, mu, delta), 1.0
    for _ in range(30 if robust or space == "log" else 0):
        _, a, m, d = power.minimum(problem)
        curve = a * np.exp(-m * problem.u) + d
        r = y - curve if space == "linear" else (y - curve) / y if space == "relative" else np.log(y / curve)
        new = weights if space != "log" else np.where(np.abs(r) > 1e-9, r / (y - curve + 1e-300) / curve, 1 / y**2)
        if robust:
            floor = 1e-6 * (float(y.mean()) if space == "linear" else 1.0)
            scale = max(1.345 * 1.4826 * float(np.median(np.abs(r))), floor)
            new = new / np.sqrt(1 + (r / scale) ** 2)
        settled = np.allclose(new, problem.weights, rtol=1e-7)
        problem = power.power(x, y, new, mu, delta)
        if settled:
            break
    return problem, scale


def _best(problem: Power, names: list[str]) -> tuple[dict[str, float], set[str]]:
    """The optimum under the parameters' own names, and those that ended at a bound: lmfit holds them there."""
    _, a, mu, delta = power.minimum(problem)
    if a <= 0:
        return dict(zip(names, (0.0, mu, delta), strict=True)), {names[0], names[1]}
    held = {names[2]} if delta in problem.delta else set()
    for bound in problem.mu:
        if abs(mu / bound - 1) < 1e-6:
            mu, held = bound, held | {names[1]}
    return dict(zip(names, (float(power.coefficient(problem, a, mu)), mu, delta), strict=True)), held


def _spread(r: Array, free: int, scale: float | None) -> tuple[float, float]:
    """Sigma of one run, and the rise of the weighted squares worth one squared standard error."""
    if scale is None:
        variance = float(r @ r) / free
        return float(np.sqrt(variance)), variance
    # An M-estimate: its variance is E[psi^2] / E[psi']^2, and the squares here carry the weights psi / r.
    z = 1 + (r / scale) ** 2
    psi2, slope, weight = float(np.sum(r**2 / z)) / free, float(np.mean(z**-1.5)), float(np.mean(z**-0.5))
    sigma = 1.4826 * float(np.median(np.abs(r))) * np.sqrt(len(r) / free)
    return float(sigma), psi2 * weight / slope**2


def goodness(result: lmfit.model.ModelResult) -> pd.Series:
    """R² of y and of log y, the spread of one run about the curve as a share of y, and what the fit rests on."""
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
            "levels": len(np.unique(f.x)),
        },
        name=f.y_name,
    )


def diagnose(result: lmfit.model.ModelResult) -> list[str]:
    """Say in plain sentences why a fit deserves caution; an empty list when nothing speaks against it."""
    f, said = fitted(result), []
    if f.problem is not None and next(iter(result.params.values())).value == 0:
        return [f"{f.y_name} does not fall with {f.x_name}: there is no power law to read off"]
    for name, p in result.params.items():
        at = next((b for b in (p.min, p.max) if np.isfinite(b) and p.value == b), None)
        if at is not None:
            said.append(
                f"{name} is at its bound {at:g}: the runs only say that it lies on that side, "
                "and the standard errors of the others take it as known"
            )
    levels = np.unique(f.x)
    if len(levels) < len(result.params) + 2:
        said.append(f"only {len(levels)} levels of {f.x_name} for {len(result.params)} parameters: take at least 5")
    if f.problem is not None and levels[-1] < 10 * levels[0]:
        said.append(
            f"{f.x_name} spans a factor of {levels[-1] / levels[0]:.1f}: "
            "within less than a decade a power law looks like any other curve"
        )
    lack = lack_of_fit(result)
    if lack is not None and lack[1] < 0.01:
        said.append(
            f"lack of fit: the level means miss the curve by more than the seeds explain (F={lack[0]:.1f}, "
            f"p={lack[1]:.1g}), so intervals that treat runs as independent are too narrow; resample whole levels"
        )
    return said + _identified(result, f)


def lack_of_fit(result: lmfit.model.ModelResult) -> tuple[float, float] | None:
    """F and p of the misfit of the level means against the scatter of runs at one level; None without replicates."""
    f, r = fitted(result), np.asarray(result.residual, dtype=float)
    levels, place = np.unique(f.x, return_inverse=True)
    count = np.bincount(place)
    means = np.bincount(place, r) / count
    pure, misfit = len(r) - len(levels), len(levels) - len(result.params)
    scatter = float(np.sum((r - means[place]) ** 2))
    if pure < 2 or misfit < 1 or scatter <= 1e-20 * len(r):
        return None
    ratio = float(np.sum(count * means**2)) / misfit / (scatter / pure)
    return ratio, float(stats.f.sf(ratio, misfit, pure))


def _identified(result: lmfit.model.ModelResult, f: Fitted) -> list[str]:
    if result.covar is None:
        return ["standard errors cannot be estimated: some combination of parameters leaves the curve unchanged"]
    if f.problem is None:
        return []
    coefficient, exponent = list(result.params)[:2]
    said, (low, high) = [], power.mu_interval(f.problem, f.unit * float(stats.t.ppf(0.975, f.free)) ** 2)
    if high > 5 * low:
        said.append(f"{exponent} is hardly determined: its 95% interval reaches from {low:.2g} to {high:.2g}")
    correlation = (result.params[coefficient].correl or {}).get(exponent, 0.0)
    if abs(correlation) >= CORRELATED:
        said.append(
            f"{coefficient} and {exponent} are correlated by {correlation:.3f}: compare curves with other studies, "
            "not these two numbers one by one"
        )
    return said


def fitted(result: lmfit.model.ModelResult) -> Fitted:
    """What a fit was made of; ValueError for a result that :func:`fit` did not make."""
    found = getattr(result, "fitted", None)
    if not isinstance(found, Fitted):
        raise ValueError(f"result={type(result).__name__}: expected what laws.fit returned")
    return found
