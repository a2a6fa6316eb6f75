"""Figures of mixed models: marginal means and contrasts, datasets' own effects, shares of variance. No torch.

They draw the frames of :mod:`drscale.mixed.margins` and :mod:`drscale.mixed.margins` as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from drscale.plotting import parts as traces
from drscale.plotting import plane, style
from drscale.stats.tables import require

ROW = 26  # pixels of a row, and of a further series in it
MOST = 60  # most rows with names on the axis
LEAST_P = 0.001  # a p-value below this is shown as "< 0.001"
ADJUSTED = {"tukey": "Tukey's", "holm": "Bonferroni's", "bonferroni": "Bonferroni's", "none": "each for itself"}


def means_figure(
    means: pd.DataFrame, *, metric: str = "ndcg10", title: str = "", raw: bool = True, dark: bool = False
) -> go.Figure:
    """Draw marginal means with their intervals, one row for each model; with two columns the second is the colour.

    With ``raw`` an open marker is the plain mean of the rows behind a marginal mean.
    """
    names = _names(means, "mean")
    rows = list(pd.unique(means[names[0]].astype(str)))
    parts = [("", means)] if len(names) == 1 else [(str(n), p) for n, p in means.groupby(names[1], sort=False)]
    fig = go.Figure()
    for i, (name, part) in enumerate(parts):
        colour, symbol = style.series(i, dark)
        part = part[part["mean"].notna()]
        place = traces.row_places(part[names[0]], rows, i, len(parts), 0.5 / len(parts))
        hover = (
            f"<b>%{{customdata[0]}}</b>{', ' * bool(name)}{name}<br>marginal mean %{{x:.4f}}<br>"
            "95% [%{customdata[1]:.4f}, %{customdata[2]:.4f}]<br>se %{customdata[3]:.4f}, df %{customdata[4]:.1f}"
            "<br>plain mean %{customdata[5]:.4f}<extra></extra>"
        )
        also, legend = (part["se"], part["df"], part["raw"]), len(parts) > 1 or raw
        label, words = part[names[0]].astype(str), name or "marginal mean, 95% interval"
        traces.interval_rows(fig, part, "mean", label, place, words, (colour, symbol), hover, *also, showlegend=legend)
        if raw:
            fig.add_scatter(
                x=part["raw"],
                y=place,
                mode="markers",
                name="plain mean of the rows",
                hoverinfo="skip",
                marker={"symbol": f"{symbol.removesuffix('-open')}-open", "size": 7, "color": colour},
                showlegend=i == 0,
                legendgroup="raw",
                legendrank=2000,  # last
            )
    return _rows_layout(fig, rows, len(parts), _measure(metric), title, dark)


def contrasts_figure(
    contrasts: pd.DataFrame, by: str = "", *, metric: str = "ndcg10", title: str = "", dark: bool = False
) -> go.Figure:
    """Draw differences with their intervals and a line at zero, a row each; filled markers: the interval excludes zero.

    ``contrasts`` is the frame of :func:`drscale.mixed.margins.contrasts`, whose intervals are those of the method in
    its column ``adjust``; or rows of :func:`drscale.mixed.margins.specialisation` behind columns that name them. ``by``
    is the column for the colour; for contrasts ``within`` a column the default is that column. More than 60 rows are
    drawn closer together and without their names, which are still shown when hovering.
    """
    contrasts = contrasts.reset_index(drop=True)
    value = "difference" if "difference" in contrasts else "estimate"
    names = _names(contrasts, value)
    if by and by not in names:
        raise ValueError(f"by={by!r}: allowed are {', '.join(map(repr, names))}")
    by = by or next((n for n in names if {"first", "second"} < set(names) and n not in ("first", "second")), "")
    label = contrasts[[n for n in names if n != by]].astype(str)
    joined = label.agg((" − " if "first" in label else ", ").join, axis=1)
    rows, c = list(pd.unique(joined)), style.colours(dark)
    parts = [("", contrasts)] if not by else [(str(n), p) for n, p in contrasts.groupby(by, sort=False)]
    fig = go.Figure()
    for i, (name, part) in enumerate(parts):
        colour, symbol = style.series(i, dark)
        part = part[part[value].notna()]
        sure = (part["low"] > 0) | (part["high"] < 0)
        words = [p_text(p) for p in part["p"]] if "p" in part else [""] * len(part)
        hover = f"<b>%{{customdata[0]}}</b>{', ' * bool(name)}{name}<br>%{{x:+.4f}}, 95% [%{{customdata[1]:+.4f}}, "
        hover += "%{customdata[2]:+.4f}]" + "<br>p %{customdata[3]}" * ("p" in part) + "<extra></extra>"
        marks = [symbol.removesuffix("-open") if s else f"{symbol.removesuffix('-open')}-open" for s in sure]
        own = joined[part.index]
        place = traces.row_places(own, rows, i, len(parts), 0.5 / len(parts))
        more: dict[str, Any] = {"size": 8 if len(rows) <= MOST else 4, "showlegend": False, "legendgroup": name}
        traces.interval_rows(fig, part, value, own, place, name or "difference", (colour, marks), hover, words, **more)
        if by:
            plane.legend_entry(fig, name, colour, symbol.removesuffix("-open"))
    fig.add_vline(x=0, line={"color": c["faint"], "width": 1, "dash": "dot"})
    kinds = list(dict.fromkeys(contrasts["adjust"])) if "adjust" in contrasts else ["none"]
    method = " and ".join(ADJUSTED.get(k, k) for k in kinds)
    axis = f"Difference, {_measure(metric)}<br>(95% intervals, {method})"
    _rows_layout(fig, rows if len(rows) <= MOST else [], len(parts), axis, title, dark)
    if len(rows) > MOST:
        fig.update_layout(height=520, yaxis={"showticklabels": False, "range": [-len(rows), 1]})
    return fig


def format_intervals(frame: pd.DataFrame, digits: int = 3) -> pd.DataFrame:
    """Means, contrasts or tests as text: ``0.018 [0.008, 0.027]``, and p-values, the small ones as < 0.001.

    Intervals join the number that stands before them (``mean``, ``difference``, ``estimate``, ``effect`` or
    ``share``); other columns stay as they are. A missing number is a dash.
    """
    table = frame.copy()
    value = next((c for c in ("mean", "difference", "estimate", "effect", "share") if c in frame), "")
    if value and {"low", "high"} <= set(frame):
        ends = frame[[value, "low", "high"]].itertuples(index=False)
        table[value] = [
            "–" if any(np.isnan(v)) else f"{v[0]:.{digits}f} [{v[1]:.{digits}f}, {v[2]:.{digits}f}]".replace("-", "−")
            for v in ends
        ]
        table = table.drop(columns=["low", "high"])
    if "p" in table:
        table["p"] = [p_text(p) for p in table["p"]]
    return table


def p_text(p: float) -> str:
    """A p-value in words: three decimals, and never exactly zero."""
    if np.isnan(p):
        return "–"
    return f"< {LEAST_P}" if p < LEAST_P else f"{p:.3f}"


def interaction_figure(
    means: pd.DataFrame, x: str = "", *, metric: str = "ndcg10", title: str = "", dark: bool = False
) -> go.Figure:
    """Draw how marginal means change from level to level: ``x`` (default: the second column) across, a line a model.

    Lines that are not parallel show an interaction. Models are drawn side by side, so that no interval is hidden.
    """
    names = _names(means, "mean")
    if len(names) != 2:
        raise ValueError(f"means: by {', '.join(names)}, but an interaction needs marginal means by two columns")
    across = x or names[1]
    if across not in names:
        raise ValueError(f"x={x!r}: allowed are {', '.join(map(repr, names))}")
    (other,) = [n for n in names if n != across]
    levels = list(pd.unique(means[across].astype(str)))
    fig, models = go.Figure(), list(pd.unique(means[other]))
    for i, model in enumerate(models):
        part = means[(means[other] == model) & means["mean"].notna()]
        colour, symbol = style.series(i, dark)
        place = np.array([levels.index(str(v)) for v in part[across]]) + _dodge(i, len(models), 0.16)
        hover = (
            f"<b>{model}</b>, %{{customdata[0]}}<br>marginal mean %{{y:.4f}}<br>"
            "95% [%{customdata[1]:.4f}, %{customdata[2]:.4f}]<extra></extra>"
        )
        told = np.column_stack([part[across].astype(str), part["low"], part["high"]])
        fig.add_scatter(
            x=place,
            y=part["mean"],
            mode="lines+markers",
            name=str(model),
            customdata=told,
            hovertemplate=hover,
            line={"color": colour, "width": 1.5},
            marker={"symbol": symbol, "size": 9, "color": colour},
            error_y=traces.bars(part["mean"], part["low"], part["high"], colour),
        )
    axis = {"tickvals": list(range(len(levels))), "ticktext": levels, "range": [-0.5, len(levels) - 0.5]}
    look = {"template": style.template(dark), "height": 420, "hovermode": "closest"}
    fig.update_layout(**look, **_title(title), xaxis=axis | {"title": {"text": across}})
    fig.update_yaxes(title={"text": _measure(metric)})
    return fig


def caterpillar_figure(
    effects: pd.DataFrame, *, metric: str = "ndcg10", title: str = "", dark: bool = False
) -> go.Figure:
    """Draw each dataset's or query's own effect with its interval, the hardest at the bottom; filled markers: the
    interval excludes zero.

    More than 60 are drawn closer together and without their names, which are still shown when hovering.
    """
    names = _names(effects, "rows")
    ordered = effects.sort_values("effect", kind="stable")
    label = ordered[names].astype(str).agg(", ".join, axis=1).tolist()
    c, sure = style.colours(dark), ((ordered["low"] > 0) | (ordered["high"] < 0)).to_numpy()
    fig = go.Figure()
    place = np.arange(1 - len(label), 1)
    hover = "<b>%{customdata[0]}</b><br>%{x:+.4f}, 95% [%{customdata[1]:+.4f}, %{customdata[2]:+.4f}]"
    hover += "<br>%{customdata[3]} rows<extra></extra>"
    for kept, words, symbol in (
        (sure, "interval spares zero", "circle"),
        (~sure, "interval holds zero", "circle-open"),
    ):
        part, own, form = ordered[kept], np.array(label, dtype=object)[kept], (c["in_domain"], symbol)
        more: dict[str, Any] = {"size": 8 if len(label) <= MOST else 3, "bar": style.tint(c["in_domain"], 0.6)}
        traces.interval_rows(fig, part, "effect", own, place[kept], words, form, hover, part["rows"], **more)
    fig.add_vline(x=0, line={"color": c["faint"], "width": 1, "dash": "dot"})
    words = f"Effect on {_measure(metric)}<br>(harder left, easier right)"
    _rows_layout(fig, label[::-1] if len(label) <= MOST else [], 1, words, title, dark)
    if len(label) > MOST:
        fig.update_layout(height=520, yaxis={"showticklabels": False, "range": [-len(label), 1]})
    if not ordered[["effect", "low", "high"]].to_numpy().any():
        note = "no variance<br>between these:<br>every effect is zero"
        look = {"xanchor": "left", "showarrow": False, "bgcolor": c["paper"]}
        fig.add_annotation(text=note, x=0.54, y=0.5, xref="paper", yref="paper", **look)
        fig.update_layout(showlegend=False, xaxis={"range": [-0.1, 0.1], "tickvals": [0]})
    return fig


def shares_figure(
    shares: pd.DataFrame | Mapping[str, pd.DataFrame], *, title: str = "", dark: bool = False
) -> go.Figure:
    """Draw shares of variance as bars with their intervals; several fits, by their names, side by side."""
    given = {"": shares} if isinstance(shares, pd.DataFrame) else dict(shares)
    if not given:
        raise ValueError("shares={}: at least one frame of shares")
    rows = list(dict.fromkeys(str(v) for frame in given.values() for v in require(frame, "source", "share")["source"]))
    fig = go.Figure()
    for i, (name, frame) in enumerate(given.items()):
        colour, _ = style.series(i, dark)
        part = frame[frame["share"].notna()]
        wide, ends = 0.7 / len(given), {}
        place = traces.row_places(part["source"], rows, i, len(given), wide)
        told = f"<b>%{{customdata}}</b>{', ' * bool(name)}{name}<br>%{{x:.1%}} of the variance<extra></extra>"
        if "low" in part:
            ends = {"error_x": traces.bars(part["share"], part["low"], part["high"], style.colours(dark)["ink"])}
        fig.add_bar(
            x=part["share"],
            y=place,
            orientation="h",
            width=0.85 * wide,
            name=name or "share",
            customdata=part["source"],
            hovertemplate=told,
            marker={"color": style.tint(colour, 0.75)},
            showlegend=len(given) > 1,
            **ends,
        )
    _rows_layout(fig, rows, len(given), "Share of the variance", title, dark)
    fig.update_layout(barmode="overlay", xaxis={"tickformat": ".0%", "rangemode": "tozero"})
    return fig


def _names(frame: pd.DataFrame, first: str) -> list[str]:
    """The columns before the numbers, which name each row."""
    names = list(require(frame, first, "low", "high").columns[: list(frame.columns).index(first)])
    if not names or frame.empty:
        raise ValueError(
            f"the frame has {'no rows' if frame.empty else f'no column before {first!r} to name its rows'}"
        )
    return names


def _dodge(i: int, n: int, width: float) -> float:
    """How far the i-th of n series stands beside the middle."""
    return 0.0 if n == 1 else width * (i / (n - 1) - 0.5)


def _measure(metric: str) -> str:
    return style.MEASURES.get(metric, metric)


def _title(text: str) -> dict[str, Any]:
    return traces.title(pd.DataFrame(), text)


def _rows_layout(fig: go.Figure, rows: Sequence[str], series: int, words: str, title: str, dark: bool) -> go.Figure:
    """Names of rows on the left, the first one on top, and room for each."""
    high = max(ROW, 44) if any("<br>" in traces.broken(row) for row in rows) else ROW  # two lines of a name
    height = 110 + high * len(rows) * (1 + 0.5 * (series - 1)) + 40 * bool(title)
    look = {"template": style.template(dark), "height": max(height, 220), "hovermode": "closest"}
    fig.update_layout(**look, **_title(title), yaxis=traces.row_axis(rows))
    fig.update_xaxes(title_text=traces.beside_rows(words, rows))
    return fig
