"""Figures of laws, curves and domains as functions of a table. Never imports torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import lmfit
import numpy as np
import pandas as pd
import plotly.graph_objects as go

from drscale.analysis import laws
from drscale.ladder import parse_rung
from drscale.runs import Recipe
from drscale.show import style, traces


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

    A marker is the mean of the runs at one x with its 95% interval over queries, a short stroke a single run. Runs at
    x > ``above`` are held out of the fit and drawn open; the curve is dashed where it extrapolates. ``measure`` is
    "entropy" or "calibrated"; of a table without such columns ``y`` names the one to draw, with ``y_title`` on its
    axis (else its name). ``options`` go to :func:`drscale.analysis.laws.fit`. Per scope, or for y, there are always six
    traces: band, curve, dashed curve, runs, means, held-out means.
    """
    laws.done(table)  # refuses what is no table
    name = laws.default_x(law) if x is None else x
    drawn = _series(table, measure, scopes, dark) if y is None else [_plain(table, y, dark)]
    done, fig = laws.done(table), go.Figure()
    everything = np.concatenate([laws.numbers(table, name, s.column)[0] for s in drawn])
    reach = (everything.min(), everything.max() * 1.6)
    for series in drawn:
        result = None
        if fitted:
            part = done if above is None else done[done[name] <= above]
            result = laws.fit(part, law, name, series.column, warn=warn, **options)
        fig.add_traces(traces.law_traces(result, series, reach, level, "" if result is None else equation(result)))
        fig.add_traces(traces.point_traces(done, name, series, above, result))
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


def length_figure(lengths: pd.DataFrame, *, dark: bool = False) -> go.Figure:
    """Draw each rung's lowest look by the length it was trained for, mean over seeds, a line a rung.

    ``lengths`` is :func:`drscale.analysis.duration.durations` of runs on all pairs. A full marker is the length
    that for no seed the next longer one betters much; where there is none, it is not known how far the rung would go.
    """
    fig, rungs = go.Figure(), lengths.sort_values("params_layers")["rung"].unique()
    for i, rung in enumerate(rungs):
        part = lengths[lengths["rung"] == rung]
        longer = part["steps"] < part.groupby("seed")["steps"].transform("max")  # seeds that were lengthened from here
        best, ended = part.groupby("steps")["best"].mean(), part[longer].groupby("steps")["settled"].all()
        done = ended.reindex(best.index, fill_value=False)
        colour = style.ramp(i / max(len(rungs) - 1, 1), dark)
        fig.add_scatter(
            x=best.index,
            y=best.to_numpy(),
            mode="lines+markers",
            line={"color": colour, "width": 2},
            marker={"symbol": ["circle" if d else "circle-open" for d in done], "size": 10, "color": colour},
            name=rung,
            hovertemplate=f"{rung}, %{{x}} steps: %{{y:.3f}}<extra></extra>",
        )
    ticks = sorted(set(lengths["steps"]))
    x_axis = {"type": "log", "tickvals": ticks, "ticktext": [f"{t:,}" for t in ticks], "title": "Training steps in all"}
    fig.update_layout(template=style.template(dark), xaxis=x_axis, yaxis={"title": style.MEASURES["validation"]})
    fig.update_layout(legend={"orientation": "v", "x": 1.01, "y": 1, "yanchor": "top"}, height=440)
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
    found = domains[(domains["metric"] == metric) & domains["scope"].str.match("in_domain$|ood:")]
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
    fig = go.Figure()
    for i, (key, name) in enumerate(names.items()):
        rows = found[found["key"] == key].set_index("scope").reindex(first["scope"])
        colour, symbol = style.series(i, dark)
        fig.add_scatter(
            x=rows["mean"],
            y=[labels[s] for s in rows.index],
            mode="markers",
            name=name,
            marker={"symbol": symbol, "color": colour, "size": 9},
            error_x=traces.bars(rows["mean"], rows["low"], rows["high"], colour),
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
            text=style.CHANCE_TEXT,
            textangle=-90,
            showarrow=False,
            font={"color": style.colours(dark)["faint"]},
        )
    return fig


_LESS_IS_BETTER = ("entropy", "calibrated")


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
    if y not in table:
        raise ValueError(f"y={y!r}: the table has no such column; it has {', '.join(map(str, table.columns))}")
    return traces.Series(y, y, y, style.colours(dark)["in_domain"], style.MARKERS["in_domain"])


def equation(result: lmfit.model.ModelResult) -> str:
    """The fitted law in one line of plain text, as (34.8K / N)^0.55 + 0.05; a law of one's own by its numbers."""
    law, v = laws.fitted(result).law, {n: float(p.value) for n, p in result.params.items()}
    if law not in laws.LAWS:
        return ", ".join(f"{n} = {style.count_text(value)}" for n, value in v.items())
    count, two = ({n: form(value) for n, value in v.items()} for form in (style.count_text, "{:.2f}".format))
    floor = f"{v['delta']:.3g}"
    if law is laws.joint_law:
        return f"(({count['M']} / N)^({two['mu']}/{two['eta']}) + {count['B']} / D)^{two['eta']} + {floor}"
    if law is laws.additive_law:
        return f"({count['M']} / N)^{two['mu']} + ({count['B']} / D)^{two['eta']} + {floor}"
    coefficient, exponent, *_ = v
    power = f"({count[coefficient]} / {result.model.independent_vars[0]})^{two[exponent]}"
    if law is laws.broken_law:
        power += f", turning to ^{two['nu']} at {count['K']},"
    return f"{power} + {floor}"


def _legend_only(fig: go.Figure, text: str, dark: bool) -> None:
    faint = style.colours(dark)["faint"]
    marker = {"symbol": "circle-open", "size": 10, "color": faint, "line": {"width": 2, "color": faint}}
    fig.add_scatter(x=[None], y=[None], mode="markers", marker=marker, name=text, hoverinfo="skip")


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
