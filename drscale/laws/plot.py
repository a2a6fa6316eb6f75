"""Figures of laws: one law, several series, the compute law and isoFLOP curves. Never imports torch."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import lmfit
import numpy as np
import numpy.typing as npt
import pandas as pd
import plotly.graph_objects as go

from drscale.laws import fit as laws
from drscale.laws import intervals as trust
from drscale.laws.compute import ComputeLaw, IsoFlop
from drscale.laws.result import equation
from drscale.plotting import parts as traces
from drscale.plotting import style
from drscale.plotting.parts import Series, bars, scatter
from drscale.stats.tables import TooFewLevels, count_text, require

FAN = 7  # curves of a law of two arguments in one figure


def size_figure(table: pd.DataFrame, measure: str = "entropy", **options: Any) -> go.Figure:
    """Entropy against model size with the fitted Eq. 7, as Figure 2 (a); options as :func:`law_figure`."""
    return law_figure(table, laws.size_law, measure, **options)


def data_figure(table: pd.DataFrame, measure: str = "entropy", **options: Any) -> go.Figure:
    """Entropy against training pairs with the fitted Eq. 8, as Figure 2 (b); options as :func:`law_figure`."""
    return law_figure(table, laws.data_law, measure, **options)


def law_figure(
    table: pd.DataFrame,
    law: Callable[..., Any],
    measure: str = "entropy",
    *,
    y: str | None = None,
    x: str | None = None,
    scopes: Iterable[str] = ("in_domain", "ood"),
    above: float | None = None,
    y_title: str = "",
    log_y: bool = False,
    dark: bool = False,
    level: float = 0.95,
    fitted: bool = True,
    warn: bool = True,
    **options: Any,
) -> go.Figure:
    """Draw measured points, the fitted law and its confidence band, in-domain and out-of-domain together.

    A marker is the mean of the runs at one x with its 95% interval over queries; a short stroke is a single run. Runs
    at x > ``above`` are held out of the fit and drawn open; the curve is dashed where it extrapolates. Where x has too
    few values for the law, the points stand alone and the legend says so. ``measure`` is
    "entropy" or "calibrated"; if a table has no such columns, ``y`` names the column to draw, and ``y_title`` is the
    title of its axis (by default its name). ``options`` go to :func:`drscale.laws.fit.fit_law`. Per scope, or for y,
    there are always six traces: band, curve, dashed curve, runs, means, held-out means.
    """
    laws.done(table)  # raises an error if it is not a table
    name = laws.default_x(law) if x is None else x
    drawn = _series(table, measure, scopes, dark) if y is None else [_plain(table, y, dark)]
    done, fig = laws.done(table), go.Figure()
    everything = np.concatenate([laws.numbers(table, name, s.column)[0] for s in drawn])
    reach = (everything.min(), everything.max() * 1.6)
    for series in drawn:
        result = None
        if fitted:
            part = done if above is None else done[done[name] <= above]
            try:
                result = laws.fit_law(part, law, name, series.column, warn=warn, single=False, **options)
            except TooFewLevels as e:  # the points are worth a look all the same
                series = replace(series, label=f"{series.label} (no law: {e})")
        fig.add_traces(law_traces(result, series, reach, level, "" if result is None else equation(result)))
        fig.add_traces(point_traces(done, name, series, above, result))
    if above is not None:
        _legend_only(fig, "held out", dark)
    bottom, top = traces.ends(done, [s.column for s in drawn])
    if y is None and measure in ("entropy", "calibrated") and top > 0.85 * style.CHANCE:
        top = max(top, style.CHANCE)
        traces.chance(fig, log_y, dark)
    fig.update_layout(
        template=style.template(dark),
        **traces.title(done),
        xaxis=style.count_axis(everything, name),
        yaxis=traces.value_axis(bottom, top, y_title or (y or style.MEASURES.get(measure, measure)), log_y),
        hovermode="closest",
    )
    return fig


def fit_figure(
    result: lmfit.model.ModelResult, *, level: float = 0.95, dark: bool = False, y_title: str = ""
) -> go.Figure:
    """Draw a fitted law: the runs it was fitted to, their means, the curve and its band.

    A law of two arguments is drawn against the first one, a curve for each value of the second: seven values at most,
    spread over all. Each curve is dashed beyond the runs at its own value.
    """
    f = laws.fitted(result)
    if len(f.columns) > 1:
        return _fan(result, level, dark, y_title)
    runs = pd.DataFrame({f.x_name: f.x, f.y_name: f.y})
    series = _plain(runs, f.y_name, dark)
    reach = (float(f.x.min()), float(f.x.max()) * 1.6)
    fig = go.Figure()
    fig.add_traces(law_traces(result, series, reach, level, equation(result)))
    fig.add_traces(point_traces(runs, f.x_name, series, None, result))
    bottom, top = traces.ends(runs, [f.y_name])
    fig.update_layout(
        template=style.template(dark),
        xaxis=style.count_axis(f.x, f.x_name),
        yaxis=traces.value_axis(bottom, top, y_title or f.y_name.replace("_", " "), False),
        hovermode="closest",
    )
    return fig


def _fan(result: lmfit.model.ModelResult, level: float, dark: bool, y_title: str) -> go.Figure:
    """A law of two arguments against the first, a colour for each value of the second."""
    f = laws.fitted(result)
    (first, x), (second, other) = f.points.items()
    values = np.unique(other)
    values = values[np.unique(np.linspace(0, len(values) - 1, FAN).round().astype(int))]
    reach, fig = (float(x.min()), float(x.max())), go.Figure()
    for i, value in enumerate(values):
        own = other == value
        name, look = f"{f.columns[second]} {count_text(float(value))}", traces.look(i, dark, 2.5)
        grid = np.unique(np.concatenate([np.geomspace(*reach, 40), [x[own].min(), x[own].max()]]))
        at = trust.predict_law(result, {first: grid, second: np.full(len(grid), value)}, level, warn=False)
        inside = (grid >= x[own].min()) & (grid <= x[own].max())
        ends = at["band_low"], at["band_high"]
        fig.add_traces(traces.curve_with_band(grid, at["fit"].to_numpy(), inside, name, look, ends))
        shown = {"marker": look["marker"] | {"size": 8}, "showlegend": True}
        fig.add_trace(scatter(x[own], f.y[own], name, "markers") | shown)
    bottom, top = float(f.y.min()), float(f.y.max())
    fig.update_layout(
        template=style.template(dark),
        xaxis=style.count_axis(x, f.columns[first]),
        yaxis=traces.value_axis(bottom, top, y_title or f.y_name.replace("_", " "), False),
        hovermode="closest",
    )
    return fig


def _series(table: pd.DataFrame, measure: str, scopes: Iterable[str], dark: bool) -> list[traces.Series]:
    """A measure in the scopes that the table has it for."""
    wanted = list(scopes)
    drawn = [s for s in wanted if f"{s}_{measure}" in table]
    if not drawn:
        columns = ", ".join(f"{s}_{measure}" for s in wanted)
        raise ValueError(f"measure={measure!r}: the table has no column {columns}; y names another column to draw")
    found = []
    for i, s in enumerate(drawn):
        words = style.SCOPES.get(s, s.replace("_", " ").replace(":", ", "))
        colour, marker = style.scope(s, i, dark)
        found.append(traces.Series(f"{s}_{measure}", s, words, colour, marker))
    return found


def _plain(table: pd.DataFrame, y: str, dark: bool) -> traces.Series:
    """One column as it stands."""
    require(table, y)
    return traces.Series(y, y, y, style.colours(dark)["in_domain"], style.MARKERS["in_domain"])


def _legend_only(fig: go.Figure, text: str, dark: bool) -> None:
    faint = style.colours(dark)["faint"]
    marker = {"symbol": "circle-open", "size": 10, "color": faint, "line": {"width": 2, "color": faint}}
    fig.add_scatter(x=[None], y=[None], mode="markers", marker=marker, name=text, hoverinfo="skip")


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
    words for the values of ``by`` and their order; each has a colour, and each series a marker. A series in which
    :func:`unfit` finds no law is a thin line from mean to mean, and the legend says why. ``options`` go to
    :func:`drscale.laws.fit.fit_law`.
    """
    name = laws.default_x(law) if x is None else x
    columns = {y: ""} if isinstance(y, str) else dict(y)
    if not columns:
        raise ValueError("y={}: at least one column")
    require(table, by, *columns)
    done, fig = laws.done(table), go.Figure()
    everything = np.concatenate([laws.numbers(table, name, c)[0] for c in columns])
    reach = (everything.min(), everything.max() * 1.6)
    values = style.in_order(done[by], names or ())
    rank = style.ranks(values, names or ())
    for value, (k, column) in itertools.product(values, enumerate(columns)):
        part = done[done[by] == value]
        result, why = _fitted(part, law, name, column, least, warn, options)
        words = ", ".join(w for w in ((names or {}).get(value, str(value)), columns[column]) if w)
        colour, symbol = style.series(rank[value], dark)[0], style.series(rank[value] * len(columns) + k)[1]
        label = f"{words} (no law: {why})" if why else words
        drawn = traces.Series(column, f"{value} {column}", label, colour, symbol)
        if result is None:
            _plain_line(fig, part, name, drawn)
        else:
            fig.add_traces(law_traces(result, drawn, reach, level, equation(result)))
        fig.add_traces(point_traces(part, name, drawn, result=result))
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


def _opened(symbol: str) -> str:
    """The marker of runs that are held out; from the eighth series on the others are open already."""
    return f"{symbol}-dot" if symbol.endswith("-open") else f"{symbol}-open"


def unfit(result: lmfit.model.ModelResult, least: float = 0.9) -> str:
    """Why a series follows no law that is worth drawing, in a few words; empty if it follows one.

    There is no such law if y does not fall with x at all, or if the curve explains less than ``least`` of the runs'
    variance (R² of :func:`drscale.laws.fit.goodness`; the least that the paper accepts in its tables is 0.908).
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
    result = laws.fit_law(part, law, x, y, warn=warn, single=False, **options)
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


def compute_figure(law: ComputeLaw, *, dark: bool = False) -> go.Figure:
    """Draw every size and length by its compute, one line for each size, and the law of the lower envelope.

    A full marker is on the envelope: no run of equal or lower cost is better. The law is drawn over the measured range
    only.
    """
    fig, rows = go.Figure(), law.cells
    size = next(c for c in map(str, rows) if c.startswith("params_"))
    sizes, ink = sorted(set(rows[size])), style.colours(dark)["ink"]
    for i, n in enumerate(sizes):
        part, colour = rows[rows[size] == n].sort_values("flops"), style.ramp(i / max(len(sizes) - 1, 1), dark)
        full = ["circle" if on else "circle-open" for on in part["on_envelope"]]
        marker, text = {"symbol": full, "size": 10, "color": colour}, [f"{s:,} steps" for s in part["steps"]]
        more = {"line": {"color": colour, "width": 1.2}, "marker": marker, "text": text, "showlegend": True}
        fig.add_trace(scatter(part["flops"], part[law.y], count_text(n), "lines+markers", **more))
    x = np.geomspace(rows["flops"].min(), rows["flops"].max(), 80)
    values = law.fit.eval(**{next(iter(law.fit.fitted.columns)): x})
    line = {"color": ink, "width": 2}
    fig.add_trace(scatter(x, values, "law of the envelope", "lines", line=line, showlegend=True))
    return _laid(fig, x, law.y, "flops", dark)


def isoflop_figure(found: IsoFlop, *, dark: bool = False) -> go.Figure:
    """Draw loss against size, one line for each level of compute; a bar below marks each determined optimum."""
    fig, levels = go.Figure(), sorted(set(found.points["flops"]))
    least = found.points[found.y].min()
    for i, flops in enumerate(levels):
        part = found.points[found.points["flops"] == flops]
        colour, name = style.ramp(i / max(len(levels) - 1, 1), dark), f"{flops:.2g} FLOPs"
        marker, line = {"color": colour, "size": 9, "symbol": style.SERIES_MARKERS[i % 7]}, {"color": colour}
        more = {"marker": marker, "line": line, "showlegend": True}
        fig.add_trace(scatter(part[found.size], part[found.y], name, "lines+markers", **more))
        best = found.optima[(found.optima["flops"] == flops) & found.optima["determined"]]
        for _, row in best.iterrows():
            ends = {"array": [row["high"] - row["optimal"]], "arrayminus": [row["optimal"] - row["low"]]}
            bar = {"marker": marker | {"symbol": "line-ns-open", "size": 14}, "error_x": ends}
            fig.add_trace(scatter([row["optimal"]], [0.97 * least], f"{name}, optimum", "markers", **bar))
    return _laid(fig, found.points[found.size], found.y, found.size, dark)


def _laid(fig: go.Figure, x: object, y: str, column: str, dark: bool) -> go.Figure:
    measure = y.rpartition("_")[2]
    x_axis = style.count_axis(np.asarray(x, dtype=float), column)
    if column == "flops":
        x_axis |= {"ticktext": [f"{t:.0e}".replace("e+", "e") for t in x_axis["tickvals"]]}  # type: ignore[attr-defined]
    y_axis = {"title": style.MEASURES.get(measure, y)}
    fig.update_layout(template=style.template(dark), xaxis=x_axis, yaxis=y_axis, height=460)
    fig.update_layout(legend={"orientation": "v", "x": 1.01, "y": 1, "yanchor": "top"})
    return fig


def law_traces(
    result: lmfit.model.ModelResult | None,
    series: Series,
    reach: tuple[float, float],
    level: float = 0.95,
    text: str = "",
    curve: pd.DataFrame | None = None,
) -> list[dict[str, Any]]:
    """Band, curve and dashed curve of a fit, or empty ones; ``text``, its equation, goes to the hover.

    ``curve`` is the table of :func:`drscale.laws.intervals.predict_law` at :func:`points_along`, if it is known
    already.
    """
    grid = low = high = fit = np.array([])
    inside = np.array([], dtype=bool)
    if result is not None:
        p = trust.predict_law(result, points_along(result, reach), level, warn=False) if curve is None else curve
        grid = p[laws.fitted(result).x_name].to_numpy()
        low, high, fit, inside = (p[c].to_numpy() for c in ("band_low", "band_high", "fit", "extrapolated"))
        inside = ~inside
    hover = f"<b>{series.label}</b>, WHERE<br>{text}<br>%{{x:.4s}}: %{{y:.3f}}<extra></extra>"
    look = {"line": {"color": series.colour, "width": 2.5, "simplify": False}}
    return traces.curve_with_band(
        grid, fit, inside, series.name, look, (low, high), hover, whole=True, legendgroup=series.name
    )


def points_along(
    result: lmfit.model.ModelResult, reach: tuple[float, float], count: int = 40
) -> npt.NDArray[np.float64]:
    """Where a curve is drawn: evenly over the reach, and at both ends of the measured range."""
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
    """Single runs, means by level, and held-out means of one column; ``fixed`` are the law's other arguments."""
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
    for part, kind, extra in ((means[~held], symbol, ""), (means[held], _opened(symbol), "held out, ")):
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
