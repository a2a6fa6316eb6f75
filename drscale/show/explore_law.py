"""The law explorer: move the hold-out cut, drop runs, switch law and loss, watch the fit. Never imports torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import ipywidgets
import lmfit
import numpy as np
import numpy.typing as npt
import pandas as pd
import plotly.graph_objects as go

from drscale.analysis import laws, trust
from drscale.analysis.curve import Array
from drscale.show import figures, live, style, traces
from drscale.show.live import Explorer, Settings, View

Law = Callable[..., Any]
LAWS: dict[str, Law] = {"size law": laws.size_law, "data law": laws.data_law}
LOSSES: dict[str, dict[str, Any]] = {  # options of laws.fit
    "relative": {},
    "absolute": {"space": "linear"},
    "logarithms": {"space": "log"},
    "robust": {"robust": True},
}
OTHER = {"params_layers": "train_pairs", "train_pairs": "params_layers"}  # what a law of one of them holds fixed
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
    x: str | None = None,
    dark: bool = False,
    **options: Any,
) -> View:
    """Fit a law to the runs at x <= ``above``: the figure, the equation with its error beyond, and the parameters.

    ``without`` are labels of the table's index: these runs are drawn as crosses and count nowhere. ``at`` keeps the
    runs at one level of what the law holds fixed (training pairs for a law of size, parameters for one of data).
    ``options`` go to :func:`drscale.analysis.laws.fit`.
    """
    column, name, dropped = f"{scope}_{measure}", _x(law, x), list(without)
    runs = _held(laws.done(table), name, at)
    unknown = [label for label in dropped if label not in table.index]
    if unknown:
        raise ValueError(f"without={dropped!r}: the table's index has no {unknown[0]!r}")
    gone = runs.index.isin(dropped)
    part, rest, _ = trust.split(runs[~gone], law, name, column, above)
    cut = float(part[name].max())
    result = laws.fit(part, law, name, column, warn=False, **options)
    reach = (float(runs[name].min()), float(runs[name].max()) * 1.6)
    curve, missed = _predicted(result, rest, traces.points_along(result, reach, POINTS))
    worst = missed.iloc[missed["error"].abs().argmax()]
    sentence = (
        f"{style.SCOPES[scope]}, fitted up to {style.count_text(cut)}: {figures.equation(result)}. "
        f"Beyond, up to {float(rest[name].max()) / cut:.1f} times that, the curve is off by "
        f"{100 * worst['error']:+.1f}% at most ({missed['inside'].sum()} of {len(missed)} levels inside their 95% "
        "prediction intervals)."
    )
    said = " ".join([sentence, *(f"Beware: {words}." for words in laws.diagnose(result))])
    fig = _figure(runs, gone, result, curve, reach, measure, scope, cut, dark)
    numbers = trust.parameters(result)
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
    """Controls for the hold-out cut, the runs that count, law, loss, scope and measure: the fit follows.

    ``among`` are laws to choose from, by name; by default those of :data:`LAWS` that the table has levels enough for.
    Where sizes and data sizes are crossed, ``at`` is the level of the one that a law holds fixed. Cuts that leave too
    few levels to fit are not offered. ``setup`` is the code that makes ``table``, for the settings as code.
    """
    kinds = [m for m in measures if any(f"{s}_{m}" in table for s in style.SCOPES)]
    scopes = [s for s in style.SCOPES if any(f"{s}_{m}" in table for m in kinds)]
    if not kinds:
        raise ValueError(f"measures={tuple(measures)!r}: the table has none of them, as in in_domain_entropy")
    runs = _light(laws.done(table), x, [f"{s}_{m}" for s in scopes for m in kinds])
    offered = {n: f for n, f in (LAWS if among is None else among).items() if f is law or _offers(runs, f, x)}
    if law not in offered.values():
        offered = {law.__name__.replace("_", " "): law, **offered}
    if not _offers(runs, law, x):
        name = _x(law, x)
        levels = len(set(laws.numbers(runs, name, f"{scopes[-1]}_{kinds[0]}")[0]))
        raise ValueError(f"column {name!r} has {levels} different values: too few to hold one out and fit the rest")

    wide, narrow = {"style": {"description_width": "initial"}}, {"width": "13em"}
    controls: dict[str, Any] = {
        "law": ipywidgets.Dropdown(options=offered, value=law, description="law", layout=narrow, **wide),
        "at": ipywidgets.Dropdown(description="at", layout=narrow, **wide),
        "loss": ipywidgets.Dropdown(options=list(LOSSES), description="loss", layout=narrow, **wide),
        "scope": ipywidgets.ToggleButtons(options=[(style.SCOPES[s], s) for s in scopes], value=scopes[-1]),
        "measure": ipywidgets.ToggleButtons(options=kinds),
        "above": ipywidgets.SelectionSlider(
            options=[("", 0.0)], description="fit up to", layout={"width": "36em"}, **wide
        ),
        "without": ipywidgets.SelectMultiple(description="leave out", rows=5, **wide),
    }

    def offer(changed: str | None = None) -> None:
        """What can be chosen follows from the law, and from where the other count is held."""
        chosen, at, above, without = (controls[n] for n in ("law", "at", "above", "without"))
        if changed in (None, "law"):
            levels = _offers(runs, chosen.value, x)
            other = OTHER.get(_x(chosen.value, x), "")
            at.options = [("all runs" if v is None else f"{style.count_text(v)} {WORDS[other]}", v) for v in levels]
            at.value = max(levels, key=lambda v: (len(levels[v]), v or 0.0))
            at.layout.display = None if len(levels) > 1 else "none"
        if changed in (None, "law", "at"):
            name = _x(chosen.value, x)
            rows = _held(runs, name, at.value)
            cuts = _offers(runs, chosen.value, x)[at.value]
            kept = above.value if above.value in cuts else cuts[-1]
            above.options, above.value = [(style.count_text(c), c) for c in cuts], kept
            left_out = tuple(v for v in without.value if v in rows.index)
            without.options = [(_label(rows.loc[label], name), label) for label in rows.sort_values(name).index]
            without.value = left_out

    def settings(chosen: Settings) -> dict[str, Any]:
        given = {n: v for n, v in chosen.items() if n != "loss"} | LOSSES[chosen["loss"]]
        return given | ({"x": x} if x else {}) | ({"dark": True} if dark else {})

    def code(chosen: Settings) -> str:
        lines = ["from drscale.analysis import laws", "from drscale.show.explore_law import law_view", "", setup]
        return "\n".join([*lines, "view = " + live.call(law_view, "table", **settings(chosen)), "view.figure"])

    return Explorer(
        lambda chosen: law_view(runs, **settings(chosen)),
        controls,
        code,
        [[[["law", "loss", "at"], ["scope", "measure"], ["above"]], "without"]],
        offer=offer,
        name="law",
    )


def _light(runs: pd.DataFrame, x: str | None, measures: Iterable[str]) -> pd.DataFrame:
    """The columns that the view looks at; each step would carry the others along."""
    wanted = {*OTHER, x, "rung", "seed", "synthetic", *(m + end for m in measures for end in ("", "_low", "_high"))}
    return runs[[c for c in runs if c in wanted]]


def _x(law: Law, x: str | None) -> str:
    return laws.default_x(law) if x is None else x


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


def _offers(runs: pd.DataFrame, law: Law, x: str | None) -> dict[float | None, list[float]]:
    """The levels of the other count at which a law can be fitted, each with the cuts that leave enough to fit."""
    name, count = _x(law, x), len(laws.parameter_names(law))
    if name not in runs:
        return {}
    other = OTHER.get(name, "")
    levels = sorted(set(runs[other])) if other in runs else []
    held = levels if len(levels) > 1 else [None]
    cuts = {at: sorted(set(_held(runs, name, at)[name]))[count:-1] for at in held}
    return {at: found for at, found in cuts.items() if found}


def _label(row: pd.Series, name: str) -> str:
    whose = f"{row['rung']}, seed {row['seed']}" if {"rung", "seed"} <= set(row.index) else f"row {row.name}"
    return f"{style.count_text(row[name])}: {whose}"


def _predicted(result: lmfit.model.ModelResult, rest: pd.DataFrame, grid: Array) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The curve on a grid, and what was measured beyond the cut against it, a row a level; from one prediction.

    The second part is what :func:`drscale.analysis.trust.holdout` finds, which would fit once more.
    """
    f = laws.fitted(result)
    beyond = rest.groupby(f.x_name)[f.y_name].agg(["mean", "size"])
    at = np.concatenate([grid, beyond.index.to_numpy(dtype=float)])
    many = np.concatenate([np.ones(len(grid)), beyond["size"].to_numpy(dtype=float)])
    p, mean = trust.predict(result, at, runs=many, warn=False), beyond["mean"].to_numpy()
    found = p.iloc[len(grid) :].reset_index(drop=True)
    inside = (found["low"] <= mean) & (mean <= found["high"])
    return p.iloc[: len(grid)], pd.DataFrame({"error": found["fit"] / mean - 1, "inside": inside})


def _figure(
    runs: pd.DataFrame,
    gone: npt.NDArray[np.bool_],
    result: lmfit.model.ModelResult,
    curve: pd.DataFrame,
    reach: tuple[float, float],
    measure: str,
    scope: str,
    cut: float,
    dark: bool,
) -> go.Figure:
    f, c = laws.fitted(result), style.colours(dark)
    series = traces.Series(f.y_name, scope, style.SCOPES[scope], c[scope], style.MARKERS[scope])
    points = traces.point_traces(runs[~gone], f.x_name, series, cut, result)
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
    layout = {
        "template": style.template(dark),
        **traces.title(runs),
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
    band = traces.law_traces(result, series, reach, text=figures.equation(result), curve=curve)
    return go.Figure([*band, *points, left_out], layout)
