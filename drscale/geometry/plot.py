"""Figures of how measures of models go together: a scatter with intervals, a matrix of correlations. No torch."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from drscale.ladder import parse_rung
from drscale.plotting import plane, style
from drscale.stats.tables import require

WORDS = {
    "isoscore": "IsoScore",
    "isoscore_width": "IsoScore within the width",
    "effective_rank": "effective rank",
    "mean_cosine": "mean cosine",
    "uniformity": "uniformity",
    "alignment": "alignment",
    "hubs": "hubness (skewness)",
    "never_found": "share never found",
    "gini": "retrievability (Gini)",
    "spectral_norm": "mean spectral norm",
    "ndcg10": "nDCG@10",
}
STABLE = {"drop": "Drop under {} (share of nDCG@10)", "ndcg10": "nDCG@10, {}", "changed": "queries changed, {}"}


def words(column: str) -> str:
    """A column of a run table as an axis says it."""
    family, _, what = column.removeprefix("stability:").rpartition("_")
    if column.startswith("stability:") and what in STABLE:
        return STABLE[what].format(family)
    return WORDS.get(column.removeprefix("geometry_"), plane.words(column))


def relation_figure(
    table: pd.DataFrame,
    x: str,
    y: str,
    by: str = "rung",
    *,
    symbol: str | None = None,
    names: Mapping[str, str] | None = None,
    log_x: bool = False,
    dark: bool = False,
) -> go.Figure:
    """Draw one measure of models against another, a marker a model, with the intervals that the table has.

    Colours tell the values of ``by`` apart, rungs light to dark from the smallest on; ``symbol`` names a column that
    the marker's shape tells. ``x_low`` and ``x_high`` beside ``x`` become bars, of y likewise. ``names`` gives words
    for columns on the axes. Rows without x or y are left out.
    """
    require(table, x, y, by, *([symbol] if symbol else []))
    rows = table.dropna(subset=[x, y])
    if rows.empty:
        raise ValueError(f"x={x!r}, y={y!r}: no row has both")
    if len(rows) < len(table):
        lost = table.drop(rows.index)[by].iloc[0]
        told = f"{len(table) - len(rows)} of {len(table)} rows lack {x} or {y} and are not drawn, as {lost}"
        warnings.warn(told, stacklevel=2)
    said = {c: (names or {}).get(c, words(c)) for c in (x, y)}
    axes = [plane.axis(rows[c].to_numpy(dtype=float), said[c]) for c in (x, y)]
    groups, shapes = _ordered(rows, by), style.in_order(rows[symbol]) if symbol else [None]
    rank, form_rank = style.ranks(groups), style.ranks(shapes)
    ladder, fig = [g for g in groups if parse_rung(str(g))], go.Figure()
    for i, group in enumerate(groups):
        colour, marker = style.series(rank[group], dark)
        if by == "rung" and parse_rung(str(group)):
            colour, marker = style.ramp(i / max(len(ladder) - 1, 1), dark), "circle"
        elif by == "rung":  # no size of the ladder, so no colour of its ramp
            colour = style.series(1 + i - len(ladder), dark)[0]
        for shape in shapes:
            part = rows[(rows[by] == group) & ((rows[symbol] == shape) if symbol else True)]
            if part.empty:
                continue
            form = style.series(form_rank[shape])[1] if symbol else marker
            seen = any(t.legendgroup == str(group) for t in fig.data)
            pale = style.tint(colour, 0.4)  # many bars cross each other
            more: dict[str, Any] = {"legendgroup": str(group), "showlegend": not seen, "bars": pale}
            hover = [", ".join(str(v) for v in _told(row, by, symbol)) for _, row in part.iterrows()]
            plane.point_trace(fig, part, str(group), (x, y), axes, (colour, form), hover, **more)
    if symbol and len(shapes) > 1:
        for shape in shapes:
            plane.legend_entry(fig, str(shape), style.colours(dark)["faint"], style.series(form_rank[shape])[1])
    entries = len(groups) + (len(shapes) if len(shapes) > 1 else 0)
    fig.update_layout(template=style.template(dark), hovermode="closest", height=max(460, 160 + 27 * entries))
    fig.update_layout(legend={"orientation": "v", "x": 1.01, "y": 1, "yanchor": "top"}, margin={"t": 24})
    fig.update_layout({f"{letter}axis": {"title": {"text": a.title}} for letter, a in zip("xy", axes, strict=True)})
    if log_x:
        low, high = float(rows[x].min()), float(rows[x].max())
        if low <= 0:
            raise ValueError(f"log_x=True: {x} has values of 0 or below")
        ticks = style.log_ticks(low / 1.1, high * 1.1)
        fig.update_layout(xaxis={"type": "log", "tickvals": ticks, "ticktext": [_tick(t) for t in ticks]})
    return fig


def correlation_figure(
    relations: pd.DataFrame, *, names: Mapping[str, str] | None = None, joint: bool = True, dark: bool = False
) -> go.Figure:
    """Draw a table of :func:`drscale.stats.correlate.correlations` as a matrix: r, and its interval below.

    ``joint`` shows the intervals that hold for all cells at once. A cell is coloured as far as its interval lies away
    from zero, so that one which may be zero stays pale whatever its r.
    """
    wanted = ("x", "y", "r", "joint_low", "joint_high", "p_adjusted")
    require(relations, *wanted, what="relations", hint="correlations(...) makes such a table")
    if relations.duplicated(["x", "y"]).any():
        raise ValueError("relations: a pair of columns comes twice; one method and one control at a time")
    low, high = ("joint_low", "joint_high") if joint else ("low", "high")
    xs, ys = list(dict.fromkeys(relations["x"])), list(dict.fromkeys(relations["y"]))
    sure, texts, hovers = (np.full((len(xs), len(ys)), empty, dtype=object) for empty in (None, "", ""))
    said = {c: (names or {}).get(c, words(c)) for c in (*xs, *ys)}
    for cell in relations.to_dict("records"):
        at = xs.index(cell["x"]), ys.index(cell["y"])
        sure[at] = max(cell[low], 0.0) + min(cell[high], 0.0)
        texts[at] = f"{cell['r']:+.2f}<br>[{cell[low]:+.2f},<br>{cell[high]:+.2f}]"
        pair = f"{said[cell['x']]} and {said[cell['y']]}"
        hovers[at] = f"{pair}<br>r {cell['r']:+.3f}, adjusted p {cell['p_adjusted']:.3g}"
    c = style.colours(dark)
    fig = go.Figure(
        go.Heatmap(
            z=sure,
            x=[said[y] for y in ys],
            y=[said[x] for x in xs],
            text=texts,
            texttemplate="%{text}",
            hovertext=hovers,
            hovertemplate="%{hovertext}<extra></extra>",
            colorscale=[(0, c["in_domain"]), (0.5, c["paper"]), (1, c["ood"])],
            zmin=-1,
            zmax=1,
            showscale=False,
            xgap=2,
            ygap=2,
            name="correlations",
        )
    )
    plain = {"showgrid": False, "showline": False, "ticks": ""}
    fig.update_layout(template=style.template(dark), height=110 + 58 * len(xs), margin={"t": 16})
    fig.update_layout(xaxis={**plain, "side": "top"}, yaxis={**plain, "autorange": "reversed"})
    return fig


def _ordered(rows: pd.DataFrame, by: str) -> list[Any]:
    """The values of a column, rungs from the smallest on and what is none behind them, others as they come."""
    groups = list(dict.fromkeys(rows[by]))
    return sorted(groups, key=lambda rung: (not parse_rung(str(rung)), _size(str(rung)))) if by == "rung" else groups


def _tick(value: float) -> str:
    return style.count_text(value) if value >= 1000 else f"{value:.3g}"


def _size(rung: str) -> tuple[int, int]:
    layers, width = parse_rung(rung) or (0, 0)
    return width, layers


def _told(row: pd.Series, by: str, symbol: str | None) -> list[Any]:
    columns = [c for c in dict.fromkeys([by, symbol, "model", "rung", "strategy", "seed"]) if c is not None]
    return [f"seed {row[c]}" if c == "seed" else row[c] for c in columns if c in row]
