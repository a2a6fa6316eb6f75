"""The parts of figures: points, curves with bands, rows of intervals, axes, panels. Never imports torch."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import plotly.graph_objects as go

from drscale.plotting import style
from drscale.stats.tables import Array, require

Trace = dict[str, Any]
DASH = "4px,3px"  # of what is extrapolated


def look(i: int, dark: bool, width: float) -> dict[str, Any]:
    """Colour and marker of the i-th law."""
    colour = style.SERIES[i % 7]
    colour = style.colours(dark)["ink"] if dark and colour == "#000000" else colour
    marker = {"symbol": style.SERIES_MARKERS[i % 7], "color": colour, "size": 10}
    return {"line": {"color": colour, "width": width}, "marker": marker}


def scatter(x: Any, y: Any, name: str, mode: str, **more: Any) -> Trace:
    """A scatter trace as a dict, which is quicker made than an object."""
    return {"type": "scatter", "x": light(x), "y": light(y), "name": name, "mode": mode, "showlegend": False} | more


def light(values: Any) -> Any:
    """Numbers in single precision, half of what a stored notebook has to carry."""
    return np.asarray(values, dtype=np.float32)


def band(x: Array, low: Any, high: Any, name: str, look: Mapping[str, Any]) -> Trace:
    """The area between two lines; an empty trace where there are none."""
    ends = np.asarray(low, dtype=float), np.asarray(high, dtype=float)
    around: Any = np.concatenate([x, x[::-1]]) if ends[0].size else []
    fill = {"fill": "toself", "fillcolor": style.tint(look["line"]["color"], 0.16), "line": {"width": 0}}
    return scatter(around, np.concatenate([ends[1], ends[0][::-1]]), f"{name}, band", "lines", hoverinfo="skip", **fill)


def parts(
    y: Array, inside: npt.NDArray[np.bool_], whole: bool = False
) -> list[tuple[str, npt.NDArray[np.intp], Array, dict[str, str]]]:
    """A line in two, "fitted" inside and "extrapolated" outside: the name, which points, their values, the dash.

    The outer part begins at the last inner point, and of two outer parts a point without a value keeps them apart. A
    part without points is left out, unless ``whole`` keeps both parts at all points.
    """
    outside = ~inside
    for i in np.flatnonzero(inside[1:] != inside[:-1]):
        if not (inside[i] and outside[i - 1]):  # else the two outer parts would join across the inner one
            outside[i if inside[i] else i + 1] = True
    made = []
    for name, kept, dash in (("fitted", inside, {}), ("extrapolated", outside, {"dash": DASH})):
        if whole or kept.any():
            gap = ~kept & np.append(False, kept[:-1]) & (np.cumsum(kept) < kept.sum())
            take = np.flatnonzero(kept | gap | whole)
            made.append((name, take, np.where(kept, y, np.nan)[take], dash))
    return made


def curve_with_band(
    x: Array,
    y: Array,
    inside: npt.NDArray[np.bool_],
    name: str,
    look: Mapping[str, Any],
    ends: Sequence[Any] | None = None,
    hover: str = "",
    data: Array | None = None,
    whole: bool = False,
    **more: Any,
) -> list[Trace]:
    """Make the band of a curve, its part inside the fitted range and, dashed, the part outside.

    In ``hover`` WHERE stands for the part; ``data`` are numbers for it, one for each point. ``whole`` as in
    :func:`parts`.
    """
    traces = [] if ends is None else [band(x, ends[0], ends[1], name, look)]
    for where, take, values, dash in parts(y, inside, whole):
        words = {"hovertemplate": hover.replace("WHERE", where)} if hover else {}
        own = {} if data is None else {"customdata": light(data[take])}
        line = look["line"] | dash
        traces.append(scatter(x[take], values, f"{name}, {where}", "lines", line=line, **words, **own))
    return [trace | more for trace in traces]


def log_axis(low: float, high: float, title: str, form: Callable[[float], str], most: int = 8) -> dict[str, Any]:
    """A log axis from low to high, at ``most`` so many ticks, written by ``form``."""
    ticks = style.log_ticks(low, high)
    ticks = ticks[:: math.ceil(len(ticks) / most)]
    return {
        "type": "log",
        "title": {"text": title},
        "range": [math.log10(low), math.log10(high)],
        "tickvals": ticks,
        "ticktext": [form(t) for t in ticks],
    }


def note(words: str, c: Mapping[str, str], x: float, y: float, xref: str = "paper", yref: str = "paper") -> Trace:
    """Words whose lower left corner is at a point."""
    at = {"x": x, "y": y, "xref": xref, "yref": yref, "xanchor": "left", "yanchor": "bottom"}
    return {"text": words, "showarrow": False, "align": "left", "font": {"color": c["faint"], "size": 12}} | at


def places(count: int) -> list[str]:
    """What plotly hangs on the axes of the panels: nothing, 2, 3 ..."""
    return ["", *map(str, range(2, count + 1))]


def short(value: float) -> str:
    """A loss in two digits."""
    return f"{value:.2g}" if value < 100 else f"{value:,.0f}"


@dataclass(frozen=True)
class Series:
    """A column drawn in one colour and marker; ``name`` leads the names of its traces, ``label`` is the legend's."""

    column: str
    name: str
    label: str
    colour: str
    symbol: str


def bars(mean: pd.Series, low: pd.Series, high: pd.Series, colour: str) -> dict[str, Any]:
    """Error bars from a mean to both ends of its interval."""
    below, beyond = (mean - low).to_numpy(dtype=float), (high - mean).to_numpy(dtype=float)
    return {
        "type": "data",
        "symmetric": False,
        "array": beyond,
        "arrayminus": below,
        "color": colour,
        "thickness": 1.5,
        "width": 0,  # no caps: a short stroke across is a single run
    }


def chance(fig: go.Figure, log_y: bool, dark: bool) -> None:
    """A dotted line at the entropy of a guess."""
    line, words = chance_parts(log_y, dark)
    fig.add_shape(line)
    fig.add_annotation(words)


def chance_parts(log_y: bool, dark: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """The shape and the annotation of :func:`chance`."""
    faint = style.colours(dark)["faint"]
    line = {
        "type": "line",
        "x0": 0,
        "x1": 1,
        "xref": "x domain",
        "y0": style.CHANCE,
        "y1": style.CHANCE,
        "line": {"dash": "dot", "color": faint, "width": 1.5},
    }
    words = {
        "x": 1,
        "xref": "paper",
        "xanchor": "right",
        "y": math.log10(style.CHANCE) if log_y else style.CHANCE,  # annotations, unlike shapes, count in decades
        "yanchor": "bottom",
        "text": style.CHANCE_TEXT,
        "showarrow": False,
        "font": {"color": faint},
    }
    return line, words


def value_axis(bottom: float, top: float, text: str, log_y: bool) -> dict[str, Any]:
    """The axis of values between two ends, with its title."""
    title = {"text": text}
    if not log_y:
        pad = 0.06 * (top - bottom)
        return {"title": title, "range": [max(bottom - pad, 0.0), top + 1.5 * pad]}
    pad = (top / bottom) ** 0.06
    low, high = bottom / pad, top * pad**1.5
    ticks = style.log_ticks(low, high)
    labels = [f"{t:.3g}" for t in ticks]
    return {
        "title": title,
        "type": "log",
        "tickvals": ticks,
        "ticktext": labels,
        "range": [math.log10(low), math.log10(high)],
    }


def title(done: pd.DataFrame, text: str = "") -> dict[str, Any]:
    """The layout of a title, with room for it above the legend; of synthetic runs it always says that they are.

    Its two parts stand below each other, which a phone has room for.
    """
    if "synthetic" in done and bool(done["synthetic"].fillna(False).any()):
        text = "<br>".join(["<b>SYNTHETIC</b>: planted, not measured", *([text] if text else [])])
    if not text:
        return {}
    more = text.count("<br>")
    place = {"yref": "container", "y": 1, "yanchor": "top", "pad": {"t": 10 + 10 * more}}  # plotly lifts a second line
    return {
        "title": {"text": text} | place,
        "margin": {"t": 76 + 18 * more},
    }


def ends(done: pd.DataFrame, columns: list[str]) -> tuple[float, float]:
    """The least and the greatest value of columns, their intervals included."""
    found = done[[c + end for c in columns for end in ("", "_low", "_high") if c + end in done]]
    return float(found.min().min()), float(found.max().max())


GAP = 0.09  # of the width, between two panels


Parts = tuple[Sequence[Mapping[str, Any]], Mapping[str, Any]]


def beside(panels: Mapping[str, go.Figure | Parts]) -> go.Figure:
    """One figure with a panel for each, left to right, its title above it and the first one's legend and template.

    A panel is a figure, or its traces and layout as dicts, which is quicker. Traces leave the legend if an earlier
    panel has one of their name there. Axes stay each panel's own.
    """
    if not panels:
        raise ValueError("panels={}: at least one figure is needed")
    width, data, layout = (1 - GAP * (len(panels) - 1)) / len(panels), [], dict[str, Any]()
    shapes, notes, seen = [], [], set[str]()
    for i, (title, panel) in enumerate(panels.items()):
        place, start = "" if i == 0 else str(i + 1), i * (width + GAP)
        traces, own = panel if isinstance(panel, tuple) else panel.to_plotly_json().values()
        layout = layout or {k: v for k, v in own.items() if k not in ("xaxis", "yaxis")}
        for trace in traces:
            moved = dict(trace) | {"xaxis": f"x{place}", "yaxis": f"y{place}"}
            data.append(moved | ({"showlegend": False} if trace.get("name") in seen else {}))
        seen |= {t["name"] for t in traces if t.get("showlegend", True) and "name" in t}
        shapes += [s | _moved(s, place) for s in own.get("shapes", ())]
        notes += [n | _moved(n, place) for n in own.get("annotations", ())]
        notes += [_title(title, start + width / 2)] if len(panels) > 1 else []
        for axis, other in (("x", "y"), ("y", "x")):
            layout[f"{axis}axis{place}"] = own.get(f"{axis}axis", {}) | {"anchor": f"{other}{place}"}
        if place and layout[f"yaxis{place}"].get("title") == layout["yaxis"].get("title"):
            layout[f"yaxis{place}"]["title"] = {"text": ""}  # said once, on the left
        layout[f"xaxis{place}"]["domain"] = [start, min(1.0, start + width)]
    if len(panels) > 1:  # the legend stands above the panels' titles
        layout["legend"] = layout.get("legend", {}) | {"y": 1.08}
        layout["margin"] = layout.get("margin", {}) | {"t": 70}
    return go.Figure(data, layout | {"shapes": shapes, "annotations": notes})


def _moved(part: Mapping[str, Any], place: str) -> dict[str, str]:
    """The axes of a shape or an annotation in its new panel; of what stands on the paper, none."""
    refs = {r: str(part.get(r, r[0])) for r in ("xref", "yref")}
    return {r: r[0] + place + v[1:] for r, v in refs.items() if v[0] == r[0]}


def _title(text: str, x: float) -> dict[str, Any]:
    place = {"x": x, "y": 1, "xref": "paper", "yref": "paper", "xanchor": "center", "yanchor": "bottom"}
    return place | {"text": f"<b>{text}</b>", "showarrow": False}


STEP = 0.16  # of a row, from a series to the next


def row_places(column: Iterable[Any], rows: Iterable[Any], i: int = 0, n: int = 1, step: float = STEP) -> Array:
    """The heights of rows, the first at 0, the next at -1; the i-th of n series a ``step`` below the one before."""
    heights = {str(row): -k for k, row in enumerate(rows)}
    return np.array([heights[str(v)] for v in column]) - step * (i - (n - 1) / 2)


PHONE = 390  # pixels
NAME, WIDE = 26, 8.3  # letters in a line of a row's name; pixels to a letter of an axis' title


def broken(name: Any, most: int = NAME) -> str:
    """A name in lines of so many letters, longer words whole; one with tags (breaks too) or entities stays as it is."""
    text = str(name)
    return (
        text if "<" in text or "&" in text else "<br>".join(textwrap.wrap(text, most, break_long_words=False)) or text
    )


def beside_rows(title: str, rows: Iterable[Any]) -> str:
    """The title of an axis below rows, in lines that fit a phone's width right of the rows' names."""
    left = 8 * max((len(part) for row in rows for part in broken(row).split("<br>")), default=0) + 20
    return broken(title, max(12, int((PHONE - left) / WIDE)))


def row_axis(rows: Iterable[Any], low: float = 0.6, high: float = 0.6) -> dict[str, Any]:
    """The axis of :func:`row_places` with a name for each row, and room below the last and above the first."""
    names = [broken(row) for row in rows]
    places = [-k for k in range(len(names))]
    return {"tickvals": places, "ticktext": names, "range": [1 - low - len(names), high]}


def interval_rows(
    fig: go.Figure,
    rows: pd.DataFrame,
    value: str,
    label: Iterable[Any],
    places: Any,
    name: str,
    look: tuple[str, Any],
    hover: str,
    *also: Any,
    size: int = 9,
    bar: str = "",
    **more: Any,
) -> None:
    """Add a marker for each row at its ``value``, with a bar from its ``low`` to its ``high``; rows go down the y axis.

    ``look`` is the colour and the symbol, ``bar`` another colour for the bars. ``hover`` may use customdata: the row's
    ``label``, low, high, then ``also``.
    """
    told = [np.array(list(v), dtype=object) for v in (label, rows["low"], rows["high"], *also)]
    fig.add_scatter(
        x=rows[value],
        y=places,
        mode="markers",
        name=name,
        marker={"color": look[0], "symbol": look[1], "size": size},
        error_x=bars(rows[value], rows["low"], rows["high"], bar or look[0]),
        customdata=np.column_stack(told).tolist(),
        hovertemplate=hover,
        **more,
    )


def interval_figure(
    table: pd.DataFrame,
    of: str,
    by: str = "model",
    *,
    label: str = "mean",
    names: Sequence[str] = (),
    at: float | None = None,
    dark: bool = False,
) -> go.Figure:
    """Draw each row's mean and interval (columns mean, low and high): ``of`` says its line, ``by`` its colour.

    ``label`` is the axis' text, ``names`` the models in their order (all that are there, unless given), ``at`` a value
    that deserves a line across, such as no change at 0.
    """
    require(table, of, by, "mean", "low", "high")
    chosen = list(names) or list(dict.fromkeys(table[by]))
    if unknown := [n for n in chosen if n not in set(table[by])]:
        raise ValueError(f"names={unknown}: {by} has {', '.join(map(str, table[by].unique()))}")
    lines, fig = list(dict.fromkeys(table[of])), go.Figure(layout={"template": style.template(dark)})
    if at is not None:
        fig.add_vline(x=at, line={"color": style.colours(dark)["faint"], "width": 1, "dash": "dot"})
    hover = "%{customdata[0]}: %{x:.3f} (%{customdata[1]:.3f} to %{customdata[2]:.3f})"
    step = min(STEP, 0.8 / len(chosen))  # the series of a row stay apart from those of the next
    for i, name in enumerate(chosen):
        rows = table[table[by] == name]
        places = row_places(rows[of], lines, i, len(chosen), step)
        interval_rows(fig, rows, "mean", rows[of].astype(str), places, str(name), style.series(i, dark), hover)
    fig.update_xaxes(title_text=beside_rows(label, lines))
    fig.update_yaxes(row_axis(lines, max(0.4, step * (len(chosen) - 1) / 2 + 0.2)), showgrid=False)
    return fig.update_layout(height=130 + round(46 * STEP / step) * len(lines), hovermode="closest")
