"""Figures of laws, curves and domains as functions of a table. Never imports torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import lmfit
import numpy as np
import pandas as pd
import plotly.graph_objects as go

from drscale.analysis import laws, trust
from drscale.runs import Recipe, parse_rung
from drscale.show import style


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
    x: str | None = None,
    scopes: Iterable[str] = ("in_domain", "ood"),
    above: float | None = None,
    log_y: bool = False,
    dark: bool = False,
    level: float = 0.95,
    fitted: bool = True,
    warn: bool = True,
    **options: Any,
) -> go.Figure:
    """Draw measured points, the fitted law and its confidence band, in-domain and out-of-domain together.

    A marker is the mean of the runs at one x with its 95% interval over queries, a short stroke a single run. Runs at
    x > ``above`` are held out of the fit and drawn open; the curve is dashed where it extrapolates. ``measure`` is
    "entropy" or "calibrated", ``options`` go to :func:`drscale.analysis.laws.fit`. Per scope there are always six
    traces: band, curve, dashed curve, runs, means, held-out means.
    """
    name = laws.default_x(law) if x is None else x
    drawn = [s for s in scopes if f"{s}_{measure}" in table]
    if not drawn:
        wanted = ", ".join(f"{s}_{measure}" for s in scopes)
        raise ValueError(f"measure={measure!r}: the table has no column {wanted}")
    done, fig = laws.done(table), go.Figure()
    everything = np.concatenate([laws.numbers(table, name, f"{s}_{measure}")[0] for s in drawn])
    reach = (everything.min(), everything.max() * 1.6)
    for scope in drawn:
        column = f"{scope}_{measure}"
        result = None
        if fitted:
            part = done if above is None else done[done[name] <= above]
            result = laws.fit(part, law, name, column, warn=warn, **options)
        _law_traces(fig, result, scope, reach, level, dark)
        _point_traces(fig, done, name, scope, measure, above, result, dark)
    if above is not None:
        _legend_only(fig, "held out", dark)
    highs = [done[c] for s in drawn for c in (f"{s}_{measure}", f"{s}_{measure}_high") if c in done]
    lows = [done[c] for s in drawn for c in (f"{s}_{measure}", f"{s}_{measure}_low") if c in done]
    top, bottom = max(float(h.max()) for h in highs), min(float(v.min()) for v in lows)
    if measure in ("entropy", "calibrated") and top > 0.85 * style.CHANCE:
        top = max(top, style.CHANCE)
        _chance(fig, log_y, dark)
    fig.update_layout(
        template=style.template(dark),
        title=_title(done),
        xaxis=style.count_axis(everything, name),
        yaxis=_value_axis(bottom, top, measure, log_y),
        hovermode="closest",
    )
    return fig


def curve_figure(
    curves: pd.DataFrame, value: str = "validation", *, log_x: bool = False, log_y: bool = False, dark: bool = False
) -> go.Figure:
    """Draw training curves, a line a run, light to dark from the smallest rung or fewest pairs to the largest.

    ``curves`` is ``RunStore.curves()``: key, step and what was noted. Runs with equal size and data share a colour and
    a legend entry. A flat end says that a run has plateaued.
    """
    for needed in ("key", "step", value):
        if needed not in curves:
            raise ValueError(f"curves have no column {needed!r}; they have {', '.join(map(str, curves.columns))}")
    labels = _curve_labels(sorted(set(curves["key"])))
    order = sorted(set(labels.values()))
    fig, shown = go.Figure(), set[str]()
    for key, group in sorted(curves.dropna(subset=[value]).groupby("key"), key=lambda item: labels[str(item[0])]):
        size, text = labels[str(key)]
        colour = style.ramp(order.index((size, text)) / max(len(order) - 1, 1), dark)
        fig.add_scatter(
            x=group["step"],
            y=group[value],
            mode="lines",
            line={"color": colour, "width": 2},
            name=text,
            legendgroup=text,
            showlegend=text not in shown,
            hovertemplate=f"{key}<br>step %{{x}}: %{{y:.3f}}<extra></extra>",
        )
        shown.add(text)
    x_axis: dict[str, Any] = {"type": "log" if log_x else "linear", "title": {"text": style.AXES["step"]}}
    y_axis = {"type": "log" if log_y else "linear", "title": {"text": style.MEASURES.get(value, value)}}
    x_axis |= {} if log_x else {"rangemode": "tozero"}
    fig.update_layout(template=style.template(dark), xaxis=x_axis, yaxis=y_axis)
    fig.update_layout(
        legend={"orientation": "v", "x": 1.01, "y": 1, "yanchor": "top"}, height=max(420, 110 + 24 * len(order))
    )
    return fig


def domain_figure(
    domains: pd.DataFrame,
    keys: Mapping[str, str] | Iterable[str] | None = None,
    metric: str = "entropy",
    *,
    dark: bool = False,
) -> go.Figure:
    """Draw each domain's metric with its interval for chosen runs, domains sorted by the first run.

    ``domains`` is ``RunStore.domains()``; ``keys`` are run keys, or a mapping from keys to the names to show.
    """
    found = domains[(domains["metric"] == metric) & (domains["scope"] != "ood")]
    if found.empty:
        have = ", ".join(sorted(set(domains["metric"]))) or "none"
        raise ValueError(f"metric={metric!r}: not among the measured ones, {have}")
    names = dict(keys) if isinstance(keys, Mapping) else {k: k for k in (keys or sorted(set(found["key"])))}
    if not names:
        raise ValueError("keys=[]: at least one run")
    for key in names:
        if key not in set(found["key"]):
            raise ValueError(f"keys: no run {key!r} with {metric} in this table")
    first = found[found["key"] == next(iter(names))].sort_values("mean", ascending=metric not in _LESS_IS_BETTER)
    labels = {s: "in-domain" if s == "in_domain" else str(s).removeprefix("ood:") for s in found["scope"]}
    fig, series = go.Figure(), style.SERIES
    for i, (key, name) in enumerate(names.items()):
        rows = found[found["key"] == key].set_index("scope").reindex(first["scope"])
        colour = style.colours(dark)["ink"] if dark and series[i % 7] == "#000000" else series[i % 7]
        fig.add_scatter(
            x=rows["mean"],
            y=[labels[s] for s in rows.index],
            mode="markers",
            name=name,
            marker={"symbol": style.SERIES_MARKERS[i % 7], "color": colour, "size": 9},
            error_x=_bars(rows["mean"], rows["low"], rows["high"], colour),
            customdata=np.column_stack([rows["low"], rows["high"], rows["n"]]),
            hovertemplate=f"<b>%{{y}}</b>, {name}<br>%{{x:.3f}} [%{{customdata[0]:.3f}}, %{{customdata[1]:.3f}}], "
            "%{customdata[2]} queries<extra></extra>",
        )
    chance = metric in ("entropy", "calibrated") and found["high"].max() > 0.85 * style.CHANCE
    fig.update_layout(template=style.template(dark), height=120 + 26 * len(first))
    low, high = float(found["low"].min()), max(float(found["high"].max()), style.CHANCE if chance else 0.0)
    ends = [low - 0.04 * (high - low), high + 0.04 * (high - low)]
    fig.update_layout(xaxis={"title": {"text": style.MEASURES.get(metric, metric)}, "range": ends})
    if chance:
        fig.add_vline(style.CHANCE, line={"dash": "dot", "color": style.colours(dark)["faint"], "width": 1.5})
        fig.add_annotation(
            x=style.CHANCE,
            xanchor="right",
            y=1,
            yref="paper",
            yanchor="top",
            text="chance, ln 257",
            textangle=-90,
            showarrow=False,
            font={"color": style.colours(dark)["faint"]},
        )
    return fig


_LESS_IS_BETTER = ("entropy", "calibrated")


def _law_traces(
    fig: go.Figure,
    result: lmfit.model.ModelResult | None,
    scope: str,
    reach: tuple[float, float],
    level: float,
    dark: bool,
) -> None:
    """Band, curve and dashed curve of one scope; empty traces where nothing was fitted."""
    colour = style.colours(dark)[scope]
    grid = low = high = curve = np.array([])
    inside = np.array([], dtype=bool)
    text = ""
    if result is not None:
        measured = laws.fitted(result).x
        ends = [v for v in (measured.min(), measured.max()) if reach[0] < v < reach[1]]
        grid = np.unique(np.concatenate([np.geomspace(*reach, 40), ends]))
        p = trust.predict(result, grid, level, warn=False)
        low, high, curve, inside = (p[c].to_numpy() for c in ("band_low", "band_high", "fit", "extrapolated"))
        inside, text = ~inside, equation(result)
    # The dashed parts start at the last solid point, and a gap keeps the lower from the upper one.
    solid, dashed = np.where(inside, curve, np.nan), np.where(inside, np.nan, curve)
    edges = np.flatnonzero(inside[1:] != inside[:-1])
    for i in edges:
        j = i if inside[i] else i + 1
        dashed[j] = curve[j]
    hover = f"<b>{style.SCOPES[scope]}</b>, KIND<br>{text}<br>%{{x:.4s}}: %{{y:.3f}}<extra></extra>"
    # Single precision halves what a stored notebook has to carry.
    grid, low, high, solid, dashed = (v.astype(np.float32) for v in (grid, low, high, solid, dashed))
    group = {"legendgroup": scope, "showlegend": False}
    fig.add_scatter(
        x=np.concatenate([grid, grid[::-1]]),
        y=np.concatenate([high, low[::-1]]),
        fill="toself",
        fillcolor=style.tint(colour, 0.18),
        line={"width": 0},
        mode="lines",
        hoverinfo="skip",
        name=f"{scope} band",
        **group,
    )
    line = {"color": colour, "width": 2.5, "simplify": False}
    fig.add_scatter(
        x=grid,
        y=solid,
        mode="lines",
        line=line,
        name=f"{scope} fit",
        hovertemplate=hover.replace("KIND", "fitted"),
        **group,
    )
    fig.add_scatter(
        x=grid,
        y=dashed,
        mode="lines",
        line=line | {"dash": "4px,3px"},
        name=f"{scope} extrapolated",
        hovertemplate=hover.replace("KIND", "extrapolated"),
        **group,
    )


def _point_traces(
    fig: go.Figure,
    done: pd.DataFrame,
    x: str,
    scope: str,
    measure: str,
    above: float | None,
    result: lmfit.model.ModelResult | None,
    dark: bool,
) -> None:
    """Single runs, means by level, and held-out means of one scope."""
    column, colour, symbol = f"{scope}_{measure}", style.colours(dark)[scope], style.MARKERS[scope]
    group = {"legendgroup": scope}
    whose = [f"row {i}" for i in done.index]
    if {"rung", "seed"} <= set(done):
        whose = [f"{rung}, seed {seed}" for rung, seed in zip(done["rung"], done["seed"], strict=True)]
    fig.add_scatter(
        x=done[x],
        y=done[column],
        mode="markers",
        marker={"symbol": "line-ew", "size": 9, "line": {"color": colour, "width": 1.5}},
        name=f"{scope} runs",
        showlegend=False,
        customdata=whose,
        hovertemplate="one run: %{customdata}<br>%{x:.4s}: %{y:.4f}<extra></extra>",
        **group,
    )
    present = [c for c in (column, f"{column}_low", f"{column}_high") if c in done]
    means = done.groupby(x)[present].mean().assign(runs=done.groupby(x).size())
    held = means.index > (math.inf if above is None else above)
    predicted = np.full(len(means), np.nan)
    if result is not None:
        predicted = trust.predict(result, means.index.to_numpy(dtype=float), warn=False)["fit"].to_numpy()
    means = means.assign(error=predicted / means[column] - 1)
    for part, kind, extra in ((means[~held], symbol, ""), (means[held], f"{symbol}-open", "held out, ")):
        low, high = (part.get(f"{column}{end}", part[column]) for end in ("_low", "_high"))
        fig.add_scatter(
            x=part.index,
            y=part[column],
            mode="markers",
            marker={"symbol": kind, "size": 9, "color": colour, "line": {"width": 2 if extra else 0, "color": colour}},
            error_y=_bars(part[column], low, high, colour),
            name=f"{scope} held out" if extra else style.SCOPES[scope],
            showlegend=not extra,
            customdata=np.column_stack([part["runs"], low, high, 100 * part["error"]]),
            hovertemplate=f"<b>{style.SCOPES[scope]}</b>, {extra}mean of %{{customdata[0]}} runs<br>"
            "%{x:.4s}: %{y:.4f}<br>95% over queries [%{customdata[1]:.4f}, %{customdata[2]:.4f}]<br>"
            "the curve is off by %{customdata[3]:+.1f}%<extra></extra>",
            **group,
        )


def equation(result: lmfit.model.ModelResult) -> str:
    """The fitted power law in one line of plain text, as (34.8K / N)^0.55 + 0.05."""
    coefficient, exponent, delta = (p.value for p in result.params.values())
    argument = result.model.independent_vars[0]
    return f"({style.count_text(coefficient)} / {argument})^{exponent:.2f} + {delta:.3g}"


def _bars(mean: pd.Series, low: pd.Series, high: pd.Series, colour: str) -> dict[str, Any]:
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


def _legend_only(fig: go.Figure, text: str, dark: bool) -> None:
    faint = style.colours(dark)["faint"]
    marker = {"symbol": "circle-open", "size": 10, "color": faint, "line": {"width": 2, "color": faint}}
    fig.add_scatter(x=[None], y=[None], mode="markers", marker=marker, name=text, hoverinfo="skip")


def _chance(fig: go.Figure, log_y: bool, dark: bool) -> None:
    faint = style.colours(dark)["faint"]
    fig.add_hline(style.CHANCE, line={"dash": "dot", "color": faint, "width": 1.5})
    fig.add_annotation(
        x=1,
        xref="paper",
        xanchor="right",
        y=math.log10(style.CHANCE) if log_y else style.CHANCE,  # annotations, unlike shapes, count in decades
        yanchor="bottom",
        text="chance, ln 257",
        showarrow=False,
        font={"color": faint},
    )


def _value_axis(bottom: float, top: float, measure: str, log_y: bool) -> dict[str, Any]:
    title = {"text": style.MEASURES.get(measure, measure)}
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


def _title(done: pd.DataFrame) -> dict[str, Any]:
    if "synthetic" in done and bool(done["synthetic"].fillna(False).any()):
        return {"text": "<b>SYNTHETIC</b>: from a planted law, not measured"}
    return {}


def _curve_labels(keys: list[str]) -> dict[str, tuple[tuple[float, float], str]]:
    """For each run the place in the order and the legend's words: its rung, and its pairs if these are not all."""
    recipes = {key: Recipe.parse(key) for key in keys}
    sizes = {r.rung: parse_rung(r.rung) for r in recipes.values()}
    labels = {}
    for key, r in recipes.items():
        size = sizes[r.rung]
        parameters = size[0] * (12 * size[1] ** 2 + 13 * size[1]) if size else 0
        text = r.rung + (f", {style.count_text(r.pairs)} pairs" if r.pairs else "")
        labels[key] = ((float(parameters), float(r.pairs or math.inf)), text)
    return labels
