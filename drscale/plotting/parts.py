"""Means with their intervals, a line a condition and a colour a model: what instructions do. Never imports torch.

Lines of laws that come without points: looks, bands, dashes, axes. Never imports torch.

The parts that figures of laws are made of: curves with their band, points with their intervals, axes. No torch.

Figures of one panel each, set side by side in one. Never imports torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import lmfit
import numpy as np
import numpy.typing as npt
import pandas as pd
import plotly.graph_objects as go

from drscale.laws import fit as laws
from drscale.laws import intervals as trust
from drscale.laws.curve import Array
from drscale.plotting import style

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


def parts(y: Array, inside: npt.NDArray[np.bool_]) -> list[tuple[str, npt.NDArray[np.intp], Array, dict[str, str]]]:
    """A line in two, "fitted" inside and "extrapolated" outside: the name, which points, their values, the dash.

    The outer part begins at the last inner point, and of two outer parts a point without a value keeps them apart. A
    part without points is left out.
    """
    outside = ~inside
    for i in np.flatnonzero(inside[1:] != inside[:-1]):
        if not (inside[i] and outside[i - 1]):  # else the two outer parts would join across the inner one
            outside[i if inside[i] else i + 1] = True
    made = []
    for name, kept, dash in (("fitted", inside, {}), ("extrapolated", outside, {"dash": DASH})):
        if kept.any():
            gap = ~kept & np.append(False, kept[:-1]) & (np.cumsum(kept) < kept.sum())
            take = np.flatnonzero(kept | gap)
            made.append((name, take, np.where(kept, y, np.nan)[take], dash))
    return made


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


def law_traces(
    result: lmfit.model.ModelResult | None,
    series: Series,
    reach: tuple[float, float],
    level: float = 0.95,
    text: str = "",
    curve: pd.DataFrame | None = None,
) -> list[dict[str, Any]]:
    """Band, curve and dashed curve of a fit, or empty ones; ``text``, its equation, goes to the hover.

    ``curve`` is what :func:`drscale.laws.intervals.predict` says at :func:`points_along`, if that is known already.
    """
    colour = series.colour
    grid = low = high = fit = np.array([])
    inside = np.array([], dtype=bool)
    if result is not None:
        p = trust.predict(result, points_along(result, reach), level, warn=False) if curve is None else curve
        grid = p[laws.fitted(result).x_name].to_numpy()
        low, high, fit, inside = (p[c].to_numpy() for c in ("band_low", "band_high", "fit", "extrapolated"))
        inside = ~inside
    # The dashed parts start at the last solid point, and a gap keeps the lower from the upper one.
    solid, dashed = np.where(inside, fit, np.nan), np.where(inside, np.nan, fit)
    edges = np.flatnonzero(inside[1:] != inside[:-1])
    for i in edges:
        j = i if inside[i] else i + 1
        dashed[j] = fit[j]
    hover = f"<b>{series.label}</b>, KIND<br>{text}<br>%{{x:.4s}}: %{{y:.3f}}<extra></extra>"
    # Single precision halves what a stored notebook has to carry.
    grid, low, high, solid, dashed = (v.astype(np.float32) for v in (grid, low, high, solid, dashed))
    line = {"color": colour, "width": 2.5, "simplify": False}
    shown: list[dict[str, Any]] = [
        {
            "x": np.concatenate([grid, grid[::-1]]),
            "y": np.concatenate([high, low[::-1]]),
            "fill": "toself",
            "fillcolor": style.tint(colour, 0.18),
            "line": {"width": 0},
            "hoverinfo": "skip",
            "name": f"{series.name} band",
        },
        {
            "x": grid,
            "y": solid,
            "line": line,
            "name": f"{series.name} fit",
            "hovertemplate": hover.replace("KIND", "fitted"),
        },
        {
            "x": grid,
            "y": dashed,
            "line": line | {"dash": "4px,3px"},
            "name": f"{series.name} extrapolated",
            "hovertemplate": hover.replace("KIND", "extrapolated"),
        },
    ]
    common = {"type": "scatter", "mode": "lines", "legendgroup": series.name, "showlegend": False}
    return [common | trace for trace in shown]


def points_along(
    result: lmfit.model.ModelResult, reach: tuple[float, float], count: int = 40
) -> npt.NDArray[np.float64]:
    """Where a curve is drawn: evenly over the reach, and at both ends of what was measured."""
    measured = laws.fitted(result).x
    ends = [v for v in (measured.min(), measured.max()) if reach[0] < v < reach[1]]
    return np.unique(np.concatenate([np.geomspace(*reach, count), ends]))


def point_traces(
    done: pd.DataFrame,
    x: str,
    series: Series,
    above: float | None = None,
    result: lmfit.model.ModelResult | None = None,
    fixed: Mapping[str, float] | None = None,
) -> list[dict[str, Any]]:
    """Single runs, means by level, and held-out means of one column; ``fixed`` are a law's further arguments."""
    column, colour, symbol = series.column, series.colour, series.symbol
    whose = [f"row {i}" for i in done.index]
    if {"rung", "seed"} <= set(done):
        whose = [f"{rung}, seed {seed}" for rung, seed in zip(done["rung"], done["seed"], strict=True)]
    common = {"type": "scatter", "mode": "markers", "legendgroup": series.name}
    shown: list[dict[str, Any]] = [
        {
            "x": done[x].to_numpy(),
            "y": done[column].to_numpy(),
            "marker": {"symbol": "line-ew", "size": 9, "line": {"color": colour, "width": 1.5}},
            "name": f"{series.name} runs",
            "showlegend": False,
            "customdata": whose,
            "hovertemplate": "one run: %{customdata}<br>%{x:.4s}: %{y:.4f}<extra></extra>",
        }
    ]
    present = [c for c in (column, f"{column}_low", f"{column}_high") if c in done]
    levels = done.groupby(x)
    means = levels[present].mean().assign(runs=levels.size())
    held = means.index > (math.inf if above is None else above)
    predicted = np.full(len(means), np.nan)
    if result is not None:
        more = {argument: np.full(len(means), value) for argument, value in (fixed or {}).items()}
        predicted = result.eval(**{result.model.independent_vars[0]: means.index.to_numpy(dtype=float)}, **more)
    means["error"] = predicted / means[column] - 1
    said = "<br>%{x:.4s}: %{y:.4f}"
    if f"{column}_low" in means:
        said += "<br>95% over queries [%{customdata[1]:.4f}, %{customdata[2]:.4f}]"
    if result is not None:
        said += "<br>the curve is off by %{customdata[3]:+.1f}%"
    for part, kind, extra in ((means[~held], symbol, ""), (means[held], f"{symbol}-open", "held out, ")):
        low, high = (part.get(f"{column}{end}", part[column]) for end in ("_low", "_high"))
        marker = {"symbol": kind, "size": 9, "color": colour, "line": {"width": 2 if extra else 0, "color": colour}}
        shown.append(
            {
                "x": part.index.to_numpy(),
                "y": part[column].to_numpy(),
                "marker": marker,
                "error_y": bars(part[column], low, high, colour),
                "name": f"{series.name} held out" if extra else series.label,
                "showlegend": not extra,
                "customdata": np.column_stack([part["runs"], low, high, 100 * part["error"]]),
                "hovertemplate": f"<b>{series.label}</b>, {extra}mean of %{{customdata[0]}} runs{said}<extra></extra>",
            }
        )
    return [common | trace for trace in shown]


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
    """The layout of a title, with room for it above the legend; of synthetic runs it always says that they are."""
    if "synthetic" in done and bool(done["synthetic"].fillna(False).any()):
        text = " · ".join(["<b>SYNTHETIC</b>: planted, not measured", *([text] if text else [])])
    if not text:
        return {}
    return {
        "title": {"text": text, "yref": "container", "y": 1, "yanchor": "top", "pad": {"t": 10}},
        "margin": {"t": 76},
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
        layout[f"xaxis{place}"]["domain"] = [start, start + width]
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


APART = 0.16  # between two models on one line, of the space between lines


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
    lacking = [c for c in (of, by, "mean", "low", "high") if c not in table.columns]
    if lacking:
        raise ValueError(f"interval_figure: the table lacks the columns {', '.join(lacking)}")
    chosen = list(names) or list(dict.fromkeys(table[by]))
    if unknown := [n for n in chosen if n not in set(table[by])]:
        raise ValueError(f"names={unknown}: {by} has {', '.join(map(str, table[by].unique()))}")
    lines = list(dict.fromkeys(table[of]))
    place = {line: -i for i, line in enumerate(lines)}
    fig = go.Figure(layout={"template": style.template(dark)})
    if at is not None:
        fig.add_vline(x=at, line={"color": style.colours(dark)["faint"], "width": 1, "dash": "dot"})
    for i, name in enumerate(chosen):
        rows, (colour, marker) = table[table[by] == name], style.series(i, dark)
        fig.add_scatter(
            name=str(name),
            x=rows["mean"].tolist(),
            y=[place[line] + APART * ((len(chosen) - 1) / 2 - i) for line in rows[of]],
            error_x={
                "type": "data",
                "array": (rows["high"] - rows["mean"]).tolist(),
                "arrayminus": (rows["mean"] - rows["low"]).tolist(),
                "thickness": 1.5,
                "width": 0,
            },
            mode="markers",
            marker={"color": colour, "symbol": marker, "size": 9},
            customdata=rows[["low", "high"]].assign(line=rows[of].astype(str)).to_numpy().tolist(),
            hovertemplate="%{customdata[2]}: %{x:.3f} (%{customdata[0]:.3f} to %{customdata[1]:.3f})",
        )
    fig.update_xaxes(title_text=label)
    fig.update_yaxes(
        tickvals=[place[line] for line in lines],
        ticktext=[str(line) for line in lines],
        range=[0.6 - len(lines), 0.6],
        showgrid=False,
    )
    fig.update_layout(height=130 + 46 * len(lines), hovermode="closest")
    return fig
