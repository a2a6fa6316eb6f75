"""Attack success rates as figures: with their bands along k or along size, and from encoder to encoder. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from drscale.plotting import parts as traces
from drscale.plotting import style
from drscale.stats.tables import require

CUT_TITLE = "Depth of the list k"


def rate_figure(
    table: pd.DataFrame,
    x: str = "k",
    by: str = "passages",
    *,
    names: Mapping[Any, str] | None = None,
    title: str = "Attack success rate ASR@k",
    dark: bool = False,
) -> go.Figure:
    """Draw success rates with their intervals as bands, one line for each value of ``by``.

    ``table`` has the columns ``asr``, ``low``, ``high`` (as ``attack_success`` makes them), ``x``
    (``k``, or a count such as parameters; its axis is logarithmic) and ``by``; one row for each x and line. ``names``
    gives words for the values of ``by``.
    """
    _check(table, (x, by, "asr", "low", "high"))
    if table.duplicated([x, by]).any():
        raise ValueError(f"table: several rows for one {x} and {by}; pick one group, or have success() group by both")
    fig = go.Figure()
    for i, (value, part) in enumerate(table.groupby(by, sort=False, observed=True)):
        part, (colour, symbol) = part.sort_values(x), style.series(i, dark)
        look = {"line": {"color": colour, "width": 2}, "marker": {"symbol": symbol, "color": colour, "size": 8}}
        label = (names or {}).get(value, f"{by} {value}" if isinstance(value, int | np.integer) else str(value))
        hover = (
            f"<b>{label}</b>, %{{x:,}}<br>%{{y:.1%}} [%{{customdata[0]:.1%}}, %{{customdata[1]:.1%}}]<extra></extra>"
        )
        along, ends, own = (
            part[x].to_numpy(),
            part[["low", "high"]].to_numpy(),
            {"name": label, "mode": "lines+markers"},
        )
        inside = np.full(len(along), True)
        area, line = traces.curve_with_band(
            along, part["asr"].to_numpy(), inside, label, look, list(ends.T), hover, ends, legendgroup=label
        )
        fig.add_traces([area, line | own | {"marker": look["marker"], "showlegend": True}])
    axis = style.count_axis(table[x], x)
    if x == "k":
        levels = sorted(set(table[x]))
        axis |= {"title": {"text": CUT_TITLE}, "tickvals": levels, "ticktext": [str(k) for k in levels]}
    fig.update_layout(template=style.template(dark), xaxis=axis, hovermode="closest")
    fig.update_layout(yaxis={"range": [-0.02, 1.02], "tickformat": ".0%", "title": {"text": title}})
    return fig


def transfer_figure(
    table: pd.DataFrame, down: str = "source", columns: str = "target", dark: bool = False
) -> go.Figure:
    """Draw the success rate of passages made against one encoder (rows) and listed by another (columns)."""
    _check(table, (down, columns, "asr", "low", "high"))
    if table.duplicated([down, columns]).any():
        raise ValueError(f"table: several rows for one {down} and {columns}; keep one k")
    across, sources = list(dict.fromkeys(table[columns])), list(dict.fromkeys(table[down]))
    wide = {c: table.pivot_table(c, down, columns, observed=True).loc[sources, across] for c in ("asr", "low", "high")}
    shares = wide["asr"].to_numpy(float)
    fig = go.Figure(
        go.Heatmap(
            z=shares,
            x=[str(c) for c in across],
            y=[str(r) for r in sources],
            zmin=0,
            zmax=1,
            colorscale=[[i / 5, c] for i, c in enumerate(style.RAMP)],
            text=[["" if np.isnan(v) else f"{100 * v:.0f}" for v in row] for row in shares],
            texttemplate="%{text}",
            customdata=np.dstack([wide["low"], wide["high"]]),
            hovertemplate="made against %{y}, listed by %{x}<br>%{z:.1%} [%{customdata[0]:.1%}, %{customdata[1]:.1%}]"
            "<extra></extra>",
            showscale=False,  # the cells say it, and are wider without it
            xgap=1,
            ygap=1,
        )
    )
    fig.update_layout(template=style.template(dark), height=160 + 34 * len(sources))
    fig.update_xaxes(title={"text": "Listed by (numbers: % of queries)"}, type="category", side="bottom")
    fig.update_yaxes(title={"text": "Made against"}, type="category", autorange="reversed")
    return fig


def guard_figure(table: pd.DataFrame, k: int = 10, dark: bool = False) -> go.Figure:
    """Draw the success rate at one k with each guard and without one, with intervals; a marker by guard and line.

    ``table`` has ``guard``, ``k``, ``asr``, ``low``, ``high``, and ``passages`` where several numbers are compared.
    """
    _check(table, ("guard", "k", "asr", "low", "high"))
    part = table[table["k"] == k]
    if part.empty:
        raise ValueError(f"k={k}: the table has {', '.join(str(v) for v in sorted(set(table['k'])))}")
    part = part if "passages" in part else part.assign(passages="")
    if part.duplicated(["guard", "passages"]).any():
        raise ValueError("table: several rows for one guard; pick one model, or average over them")
    fig, counts = go.Figure(), sorted(set(part["passages"]))
    kinds = list(dict.fromkeys(part["guard"]))
    for i, (count, rows) in enumerate(part.groupby("passages", sort=True)):
        name, hover = (
            f"passages {count}" if count != "" else f"k = {k}",
            "<b>%{customdata[0]}</b>: %{x:.1%}<extra></extra>",
        )
        places, look = traces.row_places(rows["guard"], kinds, i, len(counts), 0.24), style.series(i, dark)
        traces.interval_rows(fig, rows, "asr", rows["guard"].astype(str), places, name, look, hover, size=10)
    fig.update_layout(template=style.template(dark), height=150 + 40 * len(kinds), hovermode="closest")
    fig.update_layout(xaxis={"range": [-0.02, 1.02], "tickformat": ".0%", "title": {"text": f"ASR@{k} left"}})
    return fig.update_yaxes(traces.row_axis(kinds, 0.5, 0.5), title={"text": "Guard"}, showgrid=False)


def score_figure(trail: Sequence[Mapping[str, float]] | pd.DataFrame, dark: bool = False) -> go.Figure:
    """Draw the mean score of passages in the making; ``trail`` has step and score, from ``note`` of ``poison``."""
    table = pd.DataFrame(trail)
    _check(table, ("step", "score"))
    fig = go.Figure()
    line = {"color": style.colours(dark)["in_domain"], "width": 2, "shape": "hv"}
    fig.add_scatter(x=table["step"], y=table["score"], mode="lines", line=line, name="mean score")
    fig.update_layout(template=style.template(dark), height=380)
    fig.update_layout(xaxis={"title": {"text": "Step"}}, yaxis={"title": {"text": "Mean score over the cluster"}})
    return fig


def _check(table: pd.DataFrame, needed: tuple[str, ...]) -> None:
    require(table, *needed)
    if not len(table):
        raise ValueError("table: no rows to draw")
