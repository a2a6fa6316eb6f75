"""The laws, their registry, and how one is fitted to a table of runs. Never imports torch."""

from __future__ import annotations

import importlib
import inspect
import warnings
from collections.abc import Callable, Hashable, Iterable, Mapping
from numbers import Real
from typing import Any

import lmfit
import numpy as np
import pandas as pd

from drscale.laws import _numerical as numerical
from drscale.laws._families import ADDITIVE, BROKEN, EXPONENT, JOINT, POWER, WIDTH, Family
from drscale.laws._power import least_squares
from drscale.laws.result import (
    SPACES,
    Fitted,
    Law,
    LawFit,
    LawWarning,
    Problem,
    Space,
    Start,
    fitted,
    goodness,
    lack_of_fit,
    name_of,
    outside,
)
from drscale.stats.columns import in_single_units
from drscale.stats.tables import Array, TooFewLevels, by_name, done, numbers, values, warn_if_mixed

__all__ = [
    "LAWS",
    "SPACES",
    "Fitted",
    "LawWarning",
    "additive_law",
    "broken_law",
    "data_law",
    "default_x",
    "diagnose",
    "done",
    "fit_law",
    "fitted",
    "goodness",
    "joint_law",
    "lack_of_fit",
    "laws_for",
    "numbers",
    "parameter_names",
    "register_law",
    "rivals",
    "size_law",
]

Columns = str | tuple[str, ...] | Mapping[str, str]


def size_law(N: Any, M: Any, mu: Any, delta: Any) -> Any:
    """Contrastive entropy of a model with N non-embedding parameters: (M / N)**mu + delta (Eq. 7).

    >>> import drscale as ds
    >>> ds.size_law(N=4e6, M=1e6, mu=0.5, delta=1.0)
    1.5
    """
    return (M / N) ** mu + delta


def data_law(D: Any, B: Any, eta: Any, delta: Any) -> Any:
    """Contrastive entropy after training on D annotated pairs: (B / D)**eta + delta (Eq. 8).

    >>> import drscale as ds
    >>> ds.data_law(D=1e4, B=1e4, eta=0.5, delta=1.0)
    2.0
    """
    return (B / D) ** eta + delta


def joint_law(N: Any, D: Any, M: Any, mu: Any, B: Any, eta: Any, delta: Any) -> Any:
    """Contrastive entropy of N parameters trained on D pairs: ((M / N)**(mu / eta) + B / D)**eta + delta (Eq. 12).

    >>> import drscale as ds
    >>> round(ds.joint_law(N=1e6, D=1e4, M=1e6, mu=0.5, B=1e4, eta=0.5, delta=1.0), 3)
    2.414
    """
    return ((M / N) ** (mu / eta) + B / D) ** eta + delta


def additive_law(N: Any, D: Any, M: Any, mu: Any, B: Any, eta: Any, delta: Any) -> Any:
    """The sum of a size law and a data law, after Chinchilla: (M / N)**mu + (B / D)**eta + delta.

    >>> import drscale as ds
    >>> fit = ds.fit_law(ds.example_runs(), ds.additive_law, warn=False)
    >>> fit.equation
    '(10.9K / N)^0.51 + (330K / D)^0.22 + 0'
    """
    return (M / N) ** mu + (B / D) ** eta + delta


def broken_law(x: Any, M: Any, mu: Any, K: Any, nu: Any, width: Any, delta: Any) -> Any:
    """A power law whose exponent changes from mu to nu around x = K, over ``width`` e-folds to either side:

    (M / x)**mu * (1 + (x / K)**(1 / width))**((mu - nu) * width) + delta, with M and K in the unit of x. That is the
    smoothly broken law of Caballero et al. (2023) with one break, c0 = mu, c1 = nu - mu, d1 = K and f1 = width.

    >>> import numpy as np
    >>> import drscale as ds
    >>> x = np.geomspace(1e3, 1e6, 4)
    >>> ds.broken_law(x, M=1e3, mu=0.5, K=3e4, nu=0.1, width=0.5, delta=1.0).round(2)
    array([2.  , 1.32, 1.16, 1.13])
    """
    # Far beyond the break the bracket would overflow; its logarithm does not.
    bend = np.logaddexp(0.0, np.log(np.asarray(x, dtype=float) / K) / width)
    return (M / x) ** mu * np.exp((mu - nu) * width * bend) + delta


_SIZE, _DATA = ("params_layers", "parameters"), ("train_pairs", "pairs")
_FLOOR = (0.0, np.inf)


def _law_of_both(family: Family, equation: str) -> Law:
    units = {"M": _SIZE[1], "mu": "", "B": _DATA[1], "eta": "", "delta": "y"}
    return Law(
        {"N": _SIZE[0], "D": _DATA[0]}, units, {"mu": EXPONENT, "eta": EXPONENT, "delta": _FLOOR}, family, equation
    )


# The registry: every law for which fit_law() needs no start values. K is bounded by the range of x.
LAWS: dict[Callable[..., Any], Law] = {
    size_law: Law(
        {"N": _SIZE[0]},
        {"M": _SIZE[1], "mu": "", "delta": "y"},
        {"mu": EXPONENT, "delta": _FLOOR},
        POWER,
        "({M} / N)^{mu} + {delta}",
    ),
    data_law: Law(
        {"D": _DATA[0]},
        {"B": _DATA[1], "eta": "", "delta": "y"},
        {"eta": EXPONENT, "delta": _FLOOR},
        POWER,
        "({B} / D)^{eta} + {delta}",
    ),
    joint_law: _law_of_both(JOINT, "(({M} / N)^({mu}/{eta}) + {B} / D)^{eta} + {delta}"),
    additive_law: _law_of_both(ADDITIVE, "({M} / N)^{mu} + ({B} / D)^{eta} + {delta}"),
    broken_law: Law(
        {"x": ""},
        {"M": "x", "mu": "", "K": "x", "nu": "", "width": "", "delta": "y"},
        {"mu": EXPONENT, "K": (0.0, np.inf), "nu": EXPONENT, "width": WIDTH, "delta": _FLOOR},
        BROKEN,
        "({M} / x)^{mu}, turning to ^{nu} at {K}, + {delta}",
    ),
}


def register_law(
    law: Callable[..., Any],
    columns: Mapping[str, str],
    *,
    start: Start,
    units: Mapping[str, str] | None = None,
    bounds: Mapping[str, tuple[float, float]] | None = None,
    equation: str = "",
) -> Callable[..., Any]:
    """Add a law of your own to the registry, to fit, compare, plan with and draw it like the others.

    ``law`` is a plain function of arrays: its x come first, then its parameters. ``columns`` says which column of a run
    table each x is. ``start`` has a value for each parameter, or is a function that finds them from the runs,
    ``start(N=..., y=...)``; the best of many starts around it is kept. ``units`` are "y", "x", the name of an x, or
    words of your own; ``bounds`` are (lower, upper). ``equation`` is how the fit is printed, each parameter in braces.
    Registering a function again replaces its entry. The function returns the law; ``del LAWS[law]`` removes it.

    >>> import numpy as np
    >>> import drscale as ds
    >>> def log_law(N, a, b):
    ...     return a - b * np.log10(N)
    >>> law = ds.register_law(log_law, {"N": "params_layers"}, start={"a": 5, "b": 1}, equation="{a} - {b} log10 N")
    >>> ds.fit_law(ds.example_runs(), law, warn=False).equation
    '5.29 - 0.509 log10 N'
    >>> from drscale.laws.fit import LAWS
    >>> del LAWS[log_law]
    """
    check_law(law)
    kinds = inspect.signature(law).parameters
    arguments = list(kinds)
    if any(k.kind in (k.VAR_POSITIONAL, k.VAR_KEYWORD, k.POSITIONAL_ONLY) for k in kinds.values()):
        raise ValueError(f"law={name_of(law)}: every argument needs a name; *, ** and / are not allowed")
    if law in LAWS and LAWS[law].family is not None:
        raise ValueError(f"law={name_of(law)}: it is built in; register a function of your own")
    if not isinstance(columns, Mapping) or not columns or set(columns) != set(arguments[: len(columns)]):
        raise ValueError(
            f"columns={columns!r}: a column for each x of {name_of(law)}, its first arguments: {', '.join(arguments)}"
        )
    names = arguments[len(columns) :]
    if not names:
        raise ValueError(f"columns={columns!r}: they name all arguments of {name_of(law)}, so no parameter is left")
    if not callable(start):
        _start_for(law, start, names)
    for name, ends in _checked("bounds", bounds, names).items():
        if not ends[0] < ends[1]:
            raise ValueError(f"bounds={bounds!r}: {name} needs (lower, upper), the lower one first")
    try:
        equation.format(**dict.fromkeys(names, ""))
    except (LookupError, ValueError):
        raise ValueError(f"equation={equation!r}: in braces are allowed {', '.join(names)}") from None
    told = dict.fromkeys(names, "") | _checked("units", units, names)
    LAWS[law] = Law({a: columns[a] for a in arguments if a in columns}, told, dict(bounds or {}), None, equation, start)
    return law


def _start_for(law: Callable[..., Any], given: Any, names: list[str]) -> dict[str, float]:
    """Start values, one finite number for each parameter."""
    if not isinstance(given, Mapping) or set(given) != set(names):
        raise ValueError(f"start={given!r}: {name_of(law)} needs a value for each of {', '.join(names)}")
    found = {n: float(given[n]) for n in names}
    if not np.isfinite(list(found.values())).all():
        raise ValueError(f"start={given!r}: finite numbers are needed")
    return found


class _LawModel(lmfit.Model):
    """An lmfit model whose residual may be a difference of logarithms, and is NaN where a coefficient is negative.

    The minimiser undoes a step to NaN. A bound at 0 would do the same, but it would also move starts that are close to
    it.
    """

    def __init__(self, law: Callable[..., Any], arguments: Iterable[str], entry: Law | None, log: bool) -> None:
        self.log, self.coefficients = log, [] if entry is None else [c for c, _ in entry.coefficients]
        policy = "raise" if entry is None else "propagate"
        super().__init__(law, independent_vars=list(arguments), nan_policy=policy)

    def _residual(self, params: Any, data: Any, weights: Any, **kwargs: Any) -> Any:
        if any(params[c].value < 0 for c in self.coefficients):
            return np.full(len(data), np.nan)
        if self.log:
            return np.log(data) - np.log(self.eval(params, **kwargs))
        return super()._residual(params, data, weights, **kwargs)


def fit_law(
    table: pd.DataFrame,
    law: Callable[..., Any],
    x: Columns | None = None,
    y: str = "in_domain_entropy",
    *,
    space: Space = "relative",
    robust: bool = False,
    bounds: Mapping[str, tuple[float, float]] | None = None,
    start: Mapping[str, float] | None = None,
    warn: bool = True,
    single: bool = True,
) -> LawFit:
    """Fit a law to the finished runs of a table with one row for each run.

    ``x`` is a column, or a pair of columns for a law of two arguments, or says which column is which argument, as in
    ``{"N": "parameters", "D": "pairs"}``; a coefficient has the unit of its column. ``space`` is where residuals are
    squared: shares of y ("relative"), y itself ("linear"), or log y. Shares are of the measured y, so runs that are low
    by chance get more weight, and the curve is too low by about twice the squared noise: nothing at 1% noise, but 2% at
    10% noise, where "log" is the better choice. ``robust`` uses a soft L1 loss, so that single outlying runs pull less.
    ``bounds`` replaces the defaults of the registry: exponents in [0.01, 10], delta >= 0, a break within the range of
    x; equal ones hold a parameter fixed. The best of many starts is kept; a law of your own (a plain function, its x
    first) needs ``start`` values instead, unless it is registered with them (:func:`register_law`). With ``warn`` the
    sentences of :func:`diagnose` are given as LawWarning. A law of ours counts single things: a column that counts in
    thousands or millions by its name, as "Params (M)", is multiplied, and ``fit.doubts`` says so. A law of your own
    takes each column as it stands, and so does one of ours with ``single=False``, as a figure of that column needs it.

    >>> import drscale as ds
    >>> fit = ds.fit_law(ds.example_runs(), ds.joint_law, warn=False)
    >>> fit.equation
    '((2.08M / N)^(0.20/0.24) + 291K / D)^0.24 + 0'
    >>> fit.intervals()["name"].tolist()
    ['M', 'mu', 'B', 'eta', 'delta']
    """
    if space not in SPACES:
        raise ValueError(f"space={space!r}: allowed are {', '.join(map(repr, SPACES))}")
    for option, flag in (("robust", robust), ("single", single)):
        if not isinstance(flag, bool | np.bool_):
            raise ValueError(f"{option}={flag!r}: allowed are True and False")
    columns, units = columns_of(law, x), list[str]()
    if single and law in LAWS and LAWS[law].family is not None and isinstance(table, pd.DataFrame):
        values(table, *columns.values(), y)  # names a cell that no law can be fitted to as it is written
        table, columns, units = in_single_units(table, columns)
    names = list(inspect.signature(law).parameters)[len(columns) :]
    entry = LAWS.get(law)
    family = entry.family if entry is not None else None
    if (start is None and entry is None) or (start is not None and family is not None):
        raise ValueError(f"start={start!r}: {_start_rule(law, names)}")
    *xs, ys = values(table, *columns.values(), y)
    points = dict(zip(columns, xs, strict=True))
    limits = _limits(law, names, bounds, xs[0])
    unknown = [n for n in names if limits[n][0] < limits[n][1]]
    _check_levels(columns, points, family, unknown)
    if warn:
        warn_if_mixed(done(table), *columns.values(), stacklevel=outside() + 1)
    problem: Problem | None = None
    scale, held = None, set[str]()
    at = {name: float(v) for name, v in _checked("start", start, names).items()}
    if entry is not None and family is not None:
        problem = solved = least_squares(family, xs, ys, list(limits.values()), space, robust)
        best, places = solved.settled(list(limits.values()))
        at, held, scale = dict(zip(names, best, strict=True)), {names[i] for i in places}, solved.scale
    elif entry is not None:
        given = entry.start if start is None else start
        given = _start_for(law, given(**points, y=ys) if callable(given) else given, names)
        solve = numerical.robust_minimum if robust else numerical.minimum
        own = solve(numerical.plain(law, points, ys, limits, given, space))
        at, scale = dict(zip(names, own.start.tolist(), strict=True)), own.scale
        held = {n for n in unknown if at[n] in limits[n]}
    elif robust:
        scale = 1.0
    model = _LawModel(law, columns, entry, space == "log")
    parameters = model.make_params()
    for name in names:
        if name not in at:
            raise ValueError(f"start={start!r}: {name} is missing")
        low, high = limits[name]
        value = float(np.clip(at[name], low, high))
        if low == high or (name in model.coefficients and value < 1e-6):  # lmfit wants room between bounds
            low, high = -np.inf, np.inf
        parameters[name].set(value=value, min=low, max=high, vary=name in unknown and name not in held)
    result = _polish(model, parameters, points, ys, space, scale)
    free = len(ys) - len(unknown)
    sigma, unit = spread(np.asarray(result.residual, dtype=float), free, scale)
    rows = done(table)
    keys = tuple(map(str, rows["key"])) if "key" in rows else None
    if problem is None:
        problem = numerical.plain(law, points, ys, limits, result.best_values, space, scale)
    made_of = Fitted(
        law, entry, columns, points, y, ys, keys, space, robust, scale, limits, free, sigma, unit, problem, tuple(units)
    )
    result = LawFit.of(result, made_of)
    for sentence in diagnose(result) if warn else []:
        warnings.warn(f"{name_of(law)} of {y}: {sentence}", LawWarning, stacklevel=outside())
    return result


def _polish(
    model: lmfit.Model,
    parameters: lmfit.Parameters,
    points: Mapping[str, Array],
    y: Array,
    space: Space,
    scale: float | None,
) -> lmfit.model.ModelResult:
    """Let lmfit find the optimum from the given values, for its report and its standard errors."""
    options: dict[str, Any] = {"x_scale": "jac", "xtol": 1e-12, "ftol": 1e-12, "gtol": 1e-12}
    if model.func in LAWS:  # coefficients may be tiny or huge: steps relative to them
        options |= {"jac": "3-point", "diff_step": 1e-6}
        if LAWS[model.func].family is None:  # it is at the optimum already, which may lie in a long flat valley
            options |= {"xtol": 1e-5, "ftol": 1e-4, "gtol": 1e-6}
    if scale is not None:
        options |= {"loss": "soft_l1", "f_scale": scale}
    with np.errstate(all="ignore"):  # runs without scatter: lmfit's correlations are 0 / 0
        result = model.fit(
            y,
            parameters,
            weights=1 / y if space == "relative" else None,
            method="least_squares",
            fit_kws=options,
            **points,
        )
    if scale is None:
        result.kws = {}  # so that lmfit's own conf_interval, which minimises in another way, accepts the result
    return result


def check_law(law: object) -> None:
    """Raise a ValueError unless a law is a function (and not, for example, its name)."""
    if not callable(law):
        known = ", ".join(f"laws.{name_of(f)}" for f in LAWS)
        raise ValueError(f"law={law!r}: a function is needed, one of {known} or your own")


def columns_of(law: Callable[..., Any], x: Columns | None) -> dict[str, str]:
    """The column of a table for each argument of a law, keyed by the law's own argument names."""
    check_law(law)
    entry, arguments = LAWS.get(law), list(inspect.signature(law).parameters)
    own = list(entry.columns) if entry is not None else None
    if x is None:
        if entry is None or not all(entry.columns.values()):
            raise ValueError(f"x=None: say which column is the first argument of {name_of(law)}")
        return dict(entry.columns)
    if isinstance(x, Mapping):
        columns = {str(k): v for k, v in x.items()}
        wanted = own if own is not None else arguments[: len(columns)]
        if sorted(columns) != sorted(wanted):
            raise ValueError(f"x={x!r}: {name_of(law)} needs a column for each of {', '.join(wanted)}")
        return {a: columns[a] for a in wanted}
    if not isinstance(x, str | tuple | list) or not all(isinstance(c, Hashable) for c in x):
        raise ValueError(f"x={x!r}: a column, a pair of columns, or columns by the law's arguments")
    given = (x,) if isinstance(x, str) else tuple(x)
    wanted = own if own is not None else arguments[: len(given)]
    if len(given) != len(wanted) or not given:
        raise ValueError(f"x={x!r}: {name_of(law)} needs {len(wanted)} columns, for {', '.join(wanted)}")
    return dict(zip(wanted, given, strict=True))


def laws_for(table: pd.DataFrame) -> list[Callable[..., Any]]:
    """The laws for which a table has enough levels: those of both counts, or that of the count with more values."""
    rows = done(table)
    levels = {law: rows[default_x(law)].nunique() for law in (size_law, data_law) if default_x(law) in rows}
    if not levels:
        wanted = f"{default_x(size_law)} or {default_x(data_law)}"
        told = by_name(rows, default_x(size_law), "in_domain_entropy")
        raise ValueError(f"the table has no column {wanted}; it has {', '.join(map(str, rows.columns))}. {told}")
    both = len(levels) == 2 and min(levels.values()) > 2
    return [joint_law, additive_law] if both else [max(levels, key=levels.__getitem__)]


def own_laws(table: pd.DataFrame) -> list[Callable[..., Any]]:
    """The laws that you registered and whose columns a table has."""
    return [law for law, e in LAWS.items() if e.family is None and set(e.columns.values()) <= set(table)]


def diagnose(result: lmfit.model.ModelResult) -> list[str]:
    """List in plain sentences why a fit deserves caution; empty if nothing speaks against it."""
    # It fits rival laws and level means and so depends on this module: imported at the first call.
    sentences: list[str] = importlib.import_module("drscale.laws.diagnostics").diagnose(result)
    return sentences


def rivals(law: Callable[..., Any], arguments: int | None = None) -> list[Callable[..., Any]]:
    """The built-in laws that could replace a law with this number of arguments, by default that of its entry."""
    count = arguments or (len(LAWS[law].columns) if law in LAWS else 1)
    several: dict[int, list[Callable[..., Any]]] = {1: [broken_law], 2: [joint_law, additive_law]}
    return [other for other in several.get(count, []) if other is not law]


def default_x(law: Callable[..., Any]) -> str:
    """The column of a run table that a law's first argument is."""
    return next(iter(columns_of(law, None).values()))


def parameter_names(law: Callable[..., Any]) -> list[str]:
    """The parameters of a law: the names of its arguments after x."""
    return list(LAWS[law].units) if law in LAWS else list(inspect.signature(law).parameters)[1:]


def _start_rule(law: Callable[..., Any], names: list[str]) -> str:
    if law in LAWS:
        return f"{name_of(law)} finds its own start"
    return f"{name_of(law)} needs a start value for each of {', '.join(names)}"


def _limits(
    law: Callable[..., Any], names: list[str], bounds: Mapping[str, tuple[float, float]] | None, x: Array
) -> dict[str, tuple[float, float]]:
    """The bounds of every parameter; ValueError for bounds that the solver cannot keep."""
    given, entry = _checked("bounds", bounds, names), LAWS.get(law)
    for name, ends in given.items():
        if not (isinstance(ends, tuple | list) and len(ends) == 2 and all(isinstance(e, Real) for e in ends)):
            raise ValueError(f"bounds={bounds!r}: {name} needs (lower, upper), two numbers")
        if not ends[0] <= ends[1]:
            raise ValueError(f"bounds={bounds!r}: {name} needs (lower, upper), the lower one first")
    if entry is None or entry.family is None:
        known = entry.bounds if entry is not None else {}
        return dict.fromkeys(names, (-np.inf, np.inf)) | dict(known) | given
    limits = {n: entry.bounds.get(n, (0.0, np.inf)) for n in names}
    if "K" in limits:
        limits["K"] = (float(x.min()), float(x.max()))
    for name, ends in given.items():
        if name not in entry.bounds or (name != "delta" and not (ends[0] > 0 and np.isfinite(ends[1]))):
            none = ", ".join(c for c, _ in entry.coefficients if c not in entry.bounds)
            rest = ", ".join(n for n in entry.bounds if n != "delta")
            raise ValueError(f"bounds={bounds!r}: {none} takes none, {rest} needs a lower one above 0 and an upper one")
    return limits | given


def _checked(what: str, given: Mapping[str, Any] | None, names: list[str]) -> dict[str, Any]:
    for name in given or {}:
        if name not in names:
            raise ValueError(f"{what}: no parameter {name!r}, allowed are {', '.join(names)}")
    return dict(given or {})


def _check_levels(columns: dict[str, str], points: dict[str, Array], family: Family | None, unknown: list[str]) -> None:
    """Refuse a table with too few different values of x for the parameters."""
    several = len(columns) > 1
    if several and family is not None:
        for argument, column in columns.items():
            levels = len(np.unique(points[argument]))
            if levels < 3:
                raise TooFewLevels(f"column {column!r} has {_many(levels)}: a law of two needs at least 3 of each")
    levels = len(np.unique(np.column_stack(list(points.values())), axis=0))
    if levels <= len(unknown):
        listed = ", ".join(map(repr, columns.values()))
        where = f"columns {listed} have" if several else f"column {listed} has"
        what = _many(levels, "pair of values", "pairs of values") if several else _many(levels)
        free = f"{len(unknown)} unknowns ({', '.join(unknown)})" if len(unknown) > 1 else f"one unknown ({unknown[0]})"
        raise TooFewLevels(f"{where} {what}: a law with {free} needs at least {len(unknown) + 1}")


def _many(levels: int, one: str = "value", more: str = "values") -> str:
    return f"only one {one}" if levels == 1 else f"{levels} different {more}"


def spread(r: Array, free: int, scale: float | None) -> tuple[float, float]:
    """Sigma of one run, and the rise of the weighted squares worth one squared standard error."""
    if scale is None:
        variance = float(r @ r) / free
        return float(np.sqrt(variance)), variance
    # An M-estimate: its variance is E[psi^2] / E[psi']^2, and the squares here carry the weights psi / r.
    z = 1 + (r / scale) ** 2
    psi2, slope, weight = float(np.sum(r**2 / z)) / free, float(np.mean(z**-1.5)), float(np.mean(z**-0.5))
    sigma = 1.4826 * float(np.median(np.abs(r))) * np.sqrt(len(r) / free)
    return float(sigma), psi2 * weight / slope**2
