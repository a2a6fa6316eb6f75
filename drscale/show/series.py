"""The laws of several series side by side, as Figures 3 and 4 draw them. Never imports torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import lmfit
import numpy as np
import pandas as pd
import plotly.graph_objects as go

from drscale.analysis import laws
from drscale.show import figures, style, traces


def series_figure(
    table: pd.DataFrame,
    law: Callable[..., Any],
    y: str | Mapping[str, str] = "ood_entropy",
    by: str = "strategy",
    *,
    x: str | None = None,
    names: Mapping[Any, str] | None = None,
    least: float = 0.9,
    y_title: str = "",
    log_y: bool = False,
    dark: bool = False,
    level: float = 0.95,
    warn: bool = True,
    **options: Any,
) -> go.Figure:
    """Fit and draw a law for each value of the column ``by``, with its band, means and runs as in ``law_figure``.

    ``by="texts"`` is Figure 3 (annotations side by side), ``by="strategy"`` Figure 4. ``y`` is a column, or several
    with words for the legend: ``{"in_domain_entropy": "effectiveness", "ood_entropy": "robustness"}``. ``names`` gives
    words for the values of ``by``. A series that :func:`unfit` finds no law in is a thin line from mean to mean, and
    the legend says why. ``options`` go to :func:`drscale.analysis.laws.fit`.
    """
    name = laws.default_x(law) if x is None else x
    columns = {y: ""} if isinstance(y, str) else dict(y)
    if not columns:
        raise ValueError("y={}: at least one column")
    for c in (by, *columns):
        if c not in table:
            raise ValueError(f"the table has no column {c!r}; it has {', '.join(map(str, table.columns))}")
    done, fig = laws.done(table), go.Figure()
    everything = np.concatenate([laws.numbers(table, name, c)[0] for c in columns])
    reach = (everything.min(), everything.max() * 1.6)
    parts = [(value, column) for value in dict.fromkeys(done[by]) for column in columns]
    for i, (value, column) in enumerate(parts):
        part = done[done[by] == value]
        result, why = _fitted(part, law, name, column, least, warn, options)
        words = ", ".join(w for w in ((names or {}).get(value, str(value)), columns[column]) if w)
        colour, symbol = style.series(i, dark)
        label = f"{words} (no law: {why})" if why else words
        drawn = traces.Series(column, f"{value} {column}", label, colour, symbol)
        if result is None:
            _plain_line(fig, part, name, drawn)
        else:
            fig.add_traces(traces.law_traces(result, drawn, reach, level, figures.equation(result)))
        fig.add_traces(traces.point_traces(part, name, drawn, result=result))
        fig.data[-1].visible = False  # nothing is held out here
    bottom, top = traces.ends(done, list(columns))
    measure = _measure(columns)
    if measure in ("entropy", "calibrated") and top > 0.85 * style.CHANCE:
        top = max(top, style.CHANCE)
        traces.chance(fig, log_y, dark)
    title = y_title or style.MEASURES.get(measure, measure)
    fig.update_layout(**traces.title(done))
    fig.update_layout(
        template=style.template(dark),
        xaxis=style.count_axis(everything, name),
        yaxis=traces.value_axis(bottom, top, title, log_y),
        hovermode="closest",
        height=480,
        legend={"yref": "container", "y": 0, "yanchor": "bottom"},
        margin={"t": 44},
    )
    return fig


def unfit(result: lmfit.model.ModelResult, least: float = 0.9) -> str:
    """Why a series follows no law worth drawing, in a few words; empty where it does.

    It does not if y does not fall with x at all, or if the curve explains less than ``least`` of the runs' variance (R²
    of :func:`drscale.analysis.laws.goodness`; the least that the paper accepts in its tables is 0.908).
    """
    if next(iter(result.params.values())).value == 0:
        return "it does not fall"
    r2 = float(laws.goodness(result)["R2"])
    return f"R² {r2:.2f}" if not r2 >= least else ""


def _fitted(
    part: pd.DataFrame, law: Callable[..., Any], x: str, y: str, least: float, warn: bool, options: Mapping[str, Any]
) -> tuple[lmfit.model.ModelResult | None, str]:
    levels = len(np.unique(laws.numbers(part, x, y)[0]))
    needed = len(laws.parameter_names(law)) + 1
    if levels < needed:
        return None, f"{levels} of {needed} levels"
    result = laws.fit(part, law, x, y, warn=warn, **options)
    why = unfit(result, least)
    return (None, why) if why else (result, "")


def _plain_line(fig: go.Figure, part: pd.DataFrame, x: str, series: traces.Series) -> None:
    means = part.groupby(x)[series.column].mean()
    fig.add_scatter(
        x=means.index,
        y=means,
        mode="lines",
        line={"color": series.colour, "width": 1},
        name=f"{series.name} line",
        legendgroup=series.name,
        showlegend=False,
        hoverinfo="skip",
    )


def _measure(columns: Iterable[str]) -> str:
    """What the columns measure, if it is one thing: "entropy" for in_domain_entropy and ood_entropy."""
    found = {c.removeprefix("in_domain_").removeprefix("ood_") for c in columns}
    return found.pop() if len(found) == 1 else ", ".join(columns)
