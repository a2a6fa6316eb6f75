"""The law explorer: move the hold-out cut, drop runs, switch law and residuals, watch the fit. Never imports torch."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

import ipywidgets
import lmfit
import numpy as np
import numpy.typing as npt
import pandas as pd
import plotly.graph_objects as go

from drscale.laws import fit as laws
from drscale.laws import intervals as trust
from drscale.laws import plot as figures
from drscale.laws.compare import COUNTS
from drscale.laws.fit import Columns
from drscale.laws.result import equation, name_of
from drscale.plotting import live, style
from drscale.plotting import parts as traces
from drscale.plotting.live import Explorer, Settings, View

Law = Callable[..., Any]
LAWS: dict[str, Law] = {
    "size law": laws.size_law,
    "data law": laws.data_law,
    "broken law": laws.broken_law,
    "joint law": laws.joint_law,
    "additive law": laws.additive_law,
}
RESIDUALS: dict[str, dict[str, Any]] = {  # how a fit weighs what it misses, as options of fit_law
    "relative": {},
    "absolute": {"space": "linear"},
    "logarithms": {"space": "log"},
    "robust": {"robust": True},
}
OTHER = dict.fromkeys(COUNTS, "train_pairs") | {"train_pairs": "params_layers"}  # what a law of the one holds fixed
WORDS = {"params_layers": "parameters", "train_pairs": "pairs"}
POINTS = 28  # along the curve: smooth to the eye, and quicker than a printed figure's
TABLE = "# table: the runs that law_explorer was given"


def law_view(
    table: pd.DataFrame,
    law: Law = laws.size_law,
    measure: str = "entropy",
    scope: str = "ood",
    above: float | None = None,
    *,
    without: Iterable[Any] = (),
    at: float | None = None,
    x: Columns | None = None,
    dark: bool = False,
    **options: Any,
) -> View:
    """Fit a law to the runs at x <= ``above``: the figure, the equation with its error beyond, and the parameters.

    ``without`` are labels of the table's index: these runs are drawn as crosses and not used otherwise. A law of size
    or of data is fitted to the runs at one level ``at`` of the other count; a law of both is fitted to all runs, x
    being its first argument, and drawn at that level. Intervals are profiles for laws of size or data, and standard
    errors for the others, because their profiles are too slow for dragging. ``options`` go to
    :func:`drscale.laws.fit.fit_law`.
    """
    column, columns, dropped = f"{scope}_{measure}", laws.columns_of(law, x), list(without)
    name, *more = columns.values()
    done = laws.done(table)
    unknown = [label for label in dropped if label not in table.index]
    if unknown:
        raise ValueError(f"without={dropped!r}: the table's index has no {unknown[0]!r}")
    at = float(done[more[0]].max()) if more and at is None else at
    shown = _held(done, name, at)
    taken = done if more else shown
    limit = None if above is None else {name: float(above)}
    part, rest = trust.parted(taken[~taken.index.isin(dropped)], columns, column, limit)
    cut, largest = float(part[name].max()), float(rest[name].max())
    result = laws.fit_law(part, law, x, column, warn=False, single=False, **options)
    reach = (float(shown[name].min()), float(shown[name].max()) * 1.6)
    curve, missed = _predicted(result, rest, reach, at)
    worst = missed.iloc[missed["error"].abs().argmax()]
    counted = f", parameters counted as {COUNTS[name]}" if name in COUNTS else ""
    sentence = (
        f"{style.SCOPES[scope]}{counted}, fitted up to {style.count_text(cut)}: {equation(result)}. "
        f"Beyond, up to {largest / cut:.1f} times that, the curve is off by {100 * worst['error']:+.1f}% at most "
        f"({missed['inside'].sum()} of {len(missed)} levels inside their 95% prediction intervals)."
    )
    said = " ".join([sentence, *(f"Beware: {words}." for words in laws.diagnose(result))])
    fig = _figure(shown, shown.index.isin(dropped), result, curve, at, measure, scope, cut, dark)
    numbers = trust.parameter_table(result, method=_method(result))
    return View(fig, said, numbers if numbers["note"].any() else numbers.drop(columns="note"))


def law_explorer(
    table: pd.DataFrame,
    law: Law = laws.size_law,
    *,
    x: str | None = None,
    among: Mapping[str, Law] | None = None,
    measures: Iterable[str] = ("entropy", "calibrated"),
    dark: bool = False,
    setup: str = TABLE,
) -> Explorer:
    """Controls for the hold-out cut, the runs, law, count, residuals, scope and measure; each change updates the fit.

    ``residuals`` says what the fit makes small: shares of the measured entropy (relative), nats (absolute), logarithms,
    or shares with a soft L1 loss, so that single outlying runs pull less (robust). The count says which weights N
    counts, of those in :data:`drscale.laws.compare.COUNTS` that the table has. ``among`` are laws to choose from, by
    name; by default those of :data:`LAWS` and those that you registered, if the table has enough levels for them. If
    sizes and data sizes are crossed, ``at`` is the level of the one that a law holds fixed. Cuts that leave too few
    levels to fit are not offered. ``setup`` is the code that makes ``table``, for the settings as code.
    """
    kinds = [m for m in measures if any(f"{s}_{m}" in table for s in style.SCOPES)]
    whole = {c for c in laws.done(table) if laws.done(table)[c].notna().all()}  # some runs were not attacked
    scopes = [s for s in style.SCOPES if all(f"{s}_{m}" in whole for m in kinds if f"{s}_{m}" in table)]
    scopes = [s for s in scopes if any(f"{s}_{m}" in table for m in kinds)]
    if not kinds:
        raise ValueError(f"measures={tuple(measures)!r}: the table has none of them, as in in_domain_entropy")
    runs = _light(laws.done(table), x, [f"{s}_{m}" for s in scopes for m in kinds])
    first = next(iter(laws.columns_of(law, x).values()))
    counts: list[tuple[str, str | None]] = [(words, c) for c, words in COUNTS.items() if c in runs and x is None]
    first_shown = "ood" if "ood" in scopes else scopes[0]

    def given(f: Law, count: str | None) -> Columns | None:
        return _counted(f, _x(f, x, first), count)

    @functools.cache
    def offers(f: Law, count: str | None) -> dict[float | None, list[float]]:
        return _offers(runs, f, given(f, count))

    usual = next((c for _, c in counts), None)
    if not offers(law, usual):
        raise ValueError(_too_few(runs, law, laws.columns_of(law, x)))
    offered = {n: f for n, f in (_known(runs) if among is None else among).items() if offers(f, usual)}
    if law not in offered.values():
        offered = {law.__name__.replace("_", " "): law, **offered}

    wide, narrow = {"style": {"description_width": "initial"}}, {"width": "13em"}
    controls: dict[str, Any] = {
        "law": ipywidgets.Dropdown(options=offered, value=law, description="law", layout=narrow, **wide),
        "count": ipywidgets.Dropdown(
            options=counts or [("", None)], description="count", layout={"width": "17em"}, **wide
        ),
        "at": ipywidgets.Dropdown(description="at", layout=narrow, **wide),
        "residuals": ipywidgets.Dropdown(options=list(RESIDUALS), description="residuals", layout=narrow, **wide),
        "scope": ipywidgets.ToggleButtons(options=[(style.SCOPES[s], s) for s in scopes], value=first_shown),
        "measure": ipywidgets.ToggleButtons(options=kinds),
        "above": ipywidgets.SelectionSlider(
            options=[("", 0.0)], description="fit up to", layout={"width": "36em", "max_width": "100%"}, **wide
        ),
        "without": ipywidgets.SelectMultiple(description="leave out", rows=5, **wide),
    }

    def offer(changed: str | None = None) -> None:
        """Update the choices; they depend on the law and on the level at which the other count is held."""
        chosen, count, at, above, without = (controls[n] for n in ("law", "count", "at", "above", "without"))
        levels = offers(chosen.value, count.value)
        name = next(iter(laws.columns_of(chosen.value, given(chosen.value, count.value)).values()))
        count.layout.display = None if len(counts) > 1 and name in COUNTS else "none"
        if changed in (None, "law"):
            unit = WORDS.get(OTHER.get(name, ""), "")
            at.options = [("all runs" if v is None else f"{style.count_text(v)} {unit}", v) for v in levels]
            at.value = max(levels, key=lambda v: (len(levels[v]), v or 0.0))
            at.layout.display = None if len(levels) > 1 else "none"
        if changed in (None, "law", "at", "count"):
            cuts = levels[at.value]
            same = above.index if changed == "count" else -1  # the same size in another count
            kept = above.value if above.value in cuts else cuts[same]
            above.options, above.value = [(style.count_text(c), c) for c in cuts], kept
            rows = _held(runs, name, at.value).sort_values(name)
            left_out = tuple(v for v in without.value if v in rows.index)
            without.options = [(_label(rows.loc[label], name), label) for label in rows.index]
            without.value = left_out

    def settings(chosen: Settings) -> dict[str, Any]:
        said = {n: v for n, v in chosen.items() if n not in ("residuals", "count")} | RESIDUALS[chosen["residuals"]]
        column = given(chosen["law"], chosen["count"])
        return said | ({"x": column} if column else {}) | ({"dark": True} if dark else {})

    def code(chosen: Settings) -> str:
        lines = ["from drscale import laws", "from drscale.laws.explore import law_view", "", setup]
        return "\n".join([*lines, "view = " + live.call(law_view, "table", **settings(chosen)), "view.figure"])

    return Explorer(
        lambda chosen: law_view(runs, **settings(chosen)),
        controls,
        code,
        [[[["law", "count", "residuals", "at"], ["scope", "measure"], ["above"]], "without"]],
        offer=offer,
        name="law",
    )


def _known(runs: pd.DataFrame) -> dict[str, Law]:
    """The built-in laws, and the registered ones whose columns the runs have, by name."""
    return {**LAWS, **{name_of(f).replace("_", " "): f for f in laws.own_laws(runs)}}


def _method(result: lmfit.model.ModelResult) -> Literal["profile", "stderr"]:
    return "profile" if laws.fitted(result).problem.quick else "stderr"


def _light(runs: pd.DataFrame, x: str | None, measures: Iterable[str]) -> pd.DataFrame:
    """The columns that the view uses; without this, each step would copy the others too."""
    wanted = {*OTHER, x, "rung", "seed", "synthetic", *(m + end for m in measures for end in ("", "_low", "_high"))}
    return runs[[c for c in runs if c in wanted]]


def _x(law: Law, x: str | None, first: str) -> str | None:
    """The column for a law of one argument, if it has none of its own or another one is wanted."""
    entry = laws.LAWS.get(law)
    if entry is not None and len(entry.columns) > 1:
        return None
    return x or (None if entry is not None and all(entry.columns.values()) else first)


def _counted(law: Law, x: str | None, count: str | None) -> Columns | None:
    """The columns of a law if parameters are counted as in the column ``count``."""
    if count is None:
        return x
    usual = list(laws.columns_of(law, x).values())
    columns = [count if c == "params_layers" else c for c in usual]
    return x if columns == usual else columns[0] if len(columns) == 1 else tuple(columns)


def _held(runs: pd.DataFrame, name: str, at: float | None) -> pd.DataFrame:
    """The runs at one level of what a law of ``name`` holds fixed."""
    if at is None:
        return runs
    other = OTHER.get(name)
    if other is None or other not in runs:
        raise ValueError(f"at={at!r}: a law of {name!r} holds no other column of this table fixed")
    found = runs[runs[other] == at]
    if found.empty:
        levels = ", ".join(f"{v:g}" for v in sorted(set(runs[other])))
        raise ValueError(f"at={at!r}: no run has {other} there, the levels are {levels}")
    return found


def _offers(runs: pd.DataFrame, law: Law, x: Columns | None) -> dict[float | None, list[float]]:
    """The levels of the other count at which a law can be fitted or shown, each with the cuts that leave enough."""
    name, *more = laws.columns_of(law, x).values()
    other = OTHER.get(name, "")
    levels = sorted(set(runs[other])) if other in runs else []
    if name not in runs or (more and len(levels) < 3):
        return {}
    fewest = 3 if more else len(laws.parameter_names(law))
    held: list[float | None] = [*levels] if len(levels) > 1 else [None]
    cuts = {at: sorted(set(runs[name] if more else _held(runs, name, at)[name]))[fewest:-1] for at in held}
    return {at: found for at, found in cuts.items() if found}


def _too_few(runs: pd.DataFrame, law: Law, columns: Mapping[str, str]) -> str:
    """Which column has too few levels for one to be held out."""
    both = len(columns) > 1
    first, *others = columns.values()
    wanted = {first: 5 if both else len(laws.parameter_names(law)) + 2} | dict.fromkeys(others, 3)
    short = next((c for c, least in wanted.items() if runs[c].nunique() < least), first)
    found = runs[short].nunique()
    return (
        f"column {short!r} has {found} different values: to hold one out, {name_of(law)} needs at least {wanted[short]}"
    )


def _label(row: pd.Series, name: str) -> str:
    whose = f"{row['rung']}, seed {row['seed']}" if {"rung", "seed"} <= set(row.index) else f"row {row.name}"
    return f"{style.count_text(row[name])}: {whose}"


def _predicted(
    result: lmfit.model.ModelResult, rest: pd.DataFrame, reach: tuple[float, float], at: float | None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The curve over the reach, and the values measured beyond the cut, one row for each level; from one prediction.

    The second part is the same as from :func:`drscale.laws.intervals.hold_out`, which would fit once more.
    """
    f, grid = laws.fitted(result), figures.points_along(result, reach, POINTS)
    columns = list(f.columns.values())
    beyond = rest.groupby(columns)[f.y_name].agg(measured="mean", runs="size").reset_index()
    drawn = pd.DataFrame({columns[0]: grid} | dict.fromkeys(columns[1:], at))
    points = pd.concat([drawn, beyond[columns]]).astype(float)
    many = np.concatenate([np.ones(len(grid)), beyond["runs"].to_numpy(dtype=float)])
    p = trust.predict_law(result, points, n_runs=many, warn=False, method=_method(result))
    found, mean = p.iloc[len(grid) :].reset_index(drop=True), beyond["measured"].to_numpy()
    inside = (found["low"] <= mean) & (mean <= found["high"])
    return p.iloc[: len(grid)], pd.DataFrame({"error": found["fit"] / mean - 1, "inside": inside})


def _figure(
    runs: pd.DataFrame,
    gone: npt.NDArray[np.bool_],
    result: lmfit.model.ModelResult,
    curve: pd.DataFrame,
    at: float | None,
    measure: str,
    scope: str,
    cut: float,
    dark: bool,
) -> go.Figure:
    f, c = laws.fitted(result), style.colours(dark)
    series = traces.Series(f.y_name, scope, style.SCOPES[scope], c[scope], style.MARKERS[scope])
    _, *other = f.columns
    fixed = {argument: at for argument in other if at is not None}
    points = figures.point_traces(runs[~gone], f.x_name, series, cut, result, fixed)
    points[-1] |= {"name": "held out", "legendgroup": "held out", "showlegend": True}
    left_out = {
        "type": "scatter",
        "mode": "markers",
        "x": runs[f.x_name][gone].to_numpy(),
        "y": runs[f.y_name][gone].to_numpy(),
        "marker": {"symbol": "x-thin", "size": 9, "line": {"color": c["faint"], "width": 2}},
        "name": "left out",
        "showlegend": bool(gone.any()),
        "hovertemplate": "left out<br>%{x:.4s}: %{y:.4f}<extra></extra>",
    }
    bottom, top = traces.ends(runs, [f.y_name])
    near_chance = measure in ("entropy", "calibrated") and top > 0.85 * style.CHANCE
    layout: dict[str, Any] = {
        "template": style.template(dark),
        **traces.title(runs, f"at {style.count_text(at)} {WORDS[OTHER[f.x_name]]}" if at is not None else ""),
        "xaxis": style.count_axis(runs[f.x_name], f.x_name),
        "yaxis": traces.value_axis(
            bottom, max(top, style.CHANCE) if near_chance else top, style.MEASURES.get(measure, measure), False
        ),
        "hovermode": "closest",
        "height": 420,
        "width": live.WIDTH,
    }
    if near_chance:
        line, words = traces.chance_parts(False, dark)
        layout |= {"shapes": [line], "annotations": [words]}
    reach = (float(curve[f.x_name].min()), float(curve[f.x_name].max()))
    band = figures.law_traces(result, series, reach, text=equation(result), curve=curve)
    return go.Figure([*band, *points, left_out], layout)
