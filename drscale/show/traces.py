"""The parts that figures of laws are made of: curves with their band, points with their intervals, axes. No torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import lmfit
import numpy as np
import numpy.typing as npt
import pandas as pd
import plotly.graph_objects as go

from drscale.analysis import laws, trust
from drscale.show import style


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

    ``curve`` is what :func:`drscale.analysis.trust.predict` says at :func:`points_along`, if that is known already.
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
