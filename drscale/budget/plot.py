"""Figures of budgets: the loss along a budget, over sizes and pairs, and at the best plans. Never imports torch."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from drscale.budget import plan as planning
from drscale.budget.plan import Allocation
from drscale.budget.prices import Prices
from drscale.laws.curve import Curve
from drscale.plotting import parts as lines
from drscale.plotting import style
from drscale.plotting.parts import Trace
from drscale.stats.tables import Array, count_text

LOSS, SIZE, PAIRS = "Predicted entropy (nats)", "Parameters N", "Annotated pairs D"
CLOUD = 150  # draws shown around a plan
CONTOURS = 8
LABEL = 0.28, 0.09  # of a window's width and height, about: what the box's label takes
Box = Mapping[str, tuple[float, float]]


def budget_figure(
    panels: Mapping[str, Mapping[str, Curve]],
    budgets: Iterable[float],
    prices: Prices,
    *,
    y_title: str = LOSS,
    level: float = 0.95,
    dark: bool = False,
) -> go.Figure:
    """Draw the predicted loss against model size when the rest of a budget buys pairs, as Figure 6.

    ``panels`` maps a panel's title to its laws by name, as ``{"Robustness": {"Standard": ..., "Pareto": ...}}``. Each
    law has one line for each budget, thicker for more money, with its best size marked. Lines are dashed where size or
    pairs are outside the law's fitted box, and sizes outside it are shaded. Laws with draws have a band of that level.
    """
    money = sorted(float(b) for b in budgets)
    if not money or not panels or not all(panels.values()):
        raise ValueError(f"panels={list(panels)!r}, budgets={money!r}: at least a panel with a law, and a budget")
    c, names = style.colours(dark), list(dict.fromkeys(n for laws in panels.values() for n in laws))
    widths = dict(zip(money, np.linspace(1.5, 3.2, len(money)) if len(money) > 1 else [2.5], strict=True))
    titles = [lines.broken(title, 16 if len(panels) > 1 else 40) for title in panels]
    fig = make_subplots(cols=len(panels), subplot_titles=titles, horizontal_spacing=0.1)
    for place, laws in zip(lines.places(len(panels)), panels.values(), strict=True):
        on, ends, nowhere = {"xaxis": f"x{place}", "yaxis": f"y{place}"}, list[float](), []
        low = min([money[0] / prices.per_parameter / 100, *(v.box["N"][0] for v in laws.values() if "N" in v.box)])
        for amount in money:
            fitted = False
            for name, curve in laws.items():
                look = lines.look(names.index(name), dark, widths[amount])
                made, (least, first), inside = _budget_line(curve, name, amount, prices, low, level, look)
                fig.add_traces([trace | on for trace in made])
                ends += [least, first]
                fitted |= inside
            nowhere += [] if fitted else [prices.money(amount)]
        if y_title == LOSS and max(ends) * 1.3 > style.CHANCE:
            ends.append(style.CHANCE)
            _chance(fig, place, c)
        wide = (low, money[-1] / prices.per_parameter)
        fig.layout[f"xaxis{place}"].update(lines.log_axis(*wide, SIZE, count_text, 6))
        fig.layout[f"yaxis{place}"].update(
            lines.log_axis(min(ends) / 1.3, max(ends) * 1.3, "" if place else y_title, lines.short)
        )
        box = next(iter(laws.values())).box
        for shape in _veil({"N": box["N"]} if "N" in box else {}, wide, (0, 1), c):
            fig.add_shape(shape | {"xref": f"x{place}", "yref": f"y{place} domain"})
        if nowhere:
            words = f"{' and '.join(nowhere)}:<br>outside the fitted box"
            note = lines.note(words, c, 0.5, 0.97, f"x{place} domain", f"y{place} domain")
            fig.add_annotation(
                note | {"xanchor": "center", "yanchor": "top", "align": "center"}
            )  # no curve passes there
    for i, name in enumerate(names):
        fig.add_trace(lines.scatter([None], [None], name, "lines+markers", showlegend=True, **lines.look(i, dark, 2.5)))
    for amount in money:
        line = {"color": c["ink"], "width": widths[amount]}
        fig.add_trace(lines.scatter([None], [None], prices.money(amount), "lines", line=line, showlegend=True))
    line = {"color": c["faint"], "width": 2, "dash": lines.DASH}
    fig.add_trace(lines.scatter([None], [None], "extrapolated", "lines", line=line, showlegend=True))
    fig.update_layout(
        template=style.template(dark),
        height=430,
        hovermode="closest",
        legend={"y": 1.16 if "<br>" in "".join(titles) else 1.1},
    )
    return fig


def isocost_figure(
    curve: Curve,
    budget: float,
    prices: Prices,
    *,
    within: Literal["box"] | None = None,
    span: Box | None = None,
    level: float = 0.95,
    series: int = 1,
    dark: bool = False,
) -> go.Figure:
    """Draw everything that a budget can buy as a line over contours of the predicted loss, and the best plan on it.

    The area outside the fitted box is shaded. For a curve with draws, their best plans are a cloud around the plan, and
    bars for the intervals of N and D. ``span`` fixes the window, as ``{"N": (1e4, 1e8), "D": (1e3, 1e6)}``, which is
    useful with a slider; ``series`` chooses colour and marker. There are always six traces: contours, their values, the
    best plans for other budgets, what this one buys, the cloud, the plan.
    """
    given: dict[str, Any] = {"within": within, "span": span, "level": level, "series": series, "dark": dark}
    return go.Figure(*isocost_parts(curve, budget, prices, **given))


def isocost_parts(
    curve: Curve,
    budget: float,
    prices: Prices,
    *,
    within: Literal["box"] | None = None,
    span: Box | None = None,
    level: float = 0.95,
    series: int = 1,
    dark: bool = False,
) -> tuple[list[Trace], dict[str, Any]]:
    """The traces and the layout of :func:`isocost_figure`, for callers that combine several panels."""
    plan, bare = planning.allocate(curve, budget, prices, within=within, level=level), replace(curve, draws=None)
    free = planning.allocate(bare, budget, prices)
    c, money = style.colours(dark), prices.money(budget)
    n, d = (_window(curve, name, getattr(free, name), span) for name in "ND")
    others = planning.path(bare, np.geomspace(budget / 1e4, budget * 1e4, 81), prices)
    others = others[others["N"].between(*n) & others["D"].between(*d)]
    N = _along(n[0], n[1], budget / prices.per_parameter)
    below = (budget - prices.pair * d[0]) / prices.per_parameter  # where the line leaves the window
    N = np.append(N, below) if len(N) and N[-1] < below <= n[1] else N
    D = planning.isocost(budget, prices, N)
    cloud = pd.DataFrame({"N": [], "D": []})
    if curve.draws is not None and within is None:
        cloud = planning.optima(curve, budget, prices).iloc[:CLOUD]
    contours, values = _contours(bare, n, d)
    bought = [f"{money}: predicted loss {v:.3f}" for v in (curve(N=N, D=D) if len(N) else [])]
    hover = "%{text}<br>%{x:.4s} parameters, %{y:.4s} pairs<extra></extra>"
    ink, look = {"color": c["ink"]}, lines.look(series, dark, 2.5)
    pale = {"color": style.tint(look["marker"]["color"], 0.3), "size": 4}
    x, y, written = values
    text = {"text": written, "textposition": "top left", "textfont": {"color": c["faint"], "size": 11}}
    traces = [
        lines.scatter(*contours, "loss contours", "lines", line={"color": c["faint"], "width": 0.8}, hoverinfo="skip"),
        lines.scatter(x, y, "contour values", "text", hoverinfo="skip", **text),
        lines.scatter(
            others["N"], others["D"], "best for other budgets", "lines", line=ink | {"width": 1.8, "dash": "dot"}
        ),
        lines.scatter(N, D, f"what {money} buys", "lines", text=bought, line=ink | {"width": 2.5}),
        lines.scatter(cloud["N"], cloud["D"], "best plans of draws", "markers", marker=pale, hoverinfo="skip"),
        _plan_trace(plan, look),
    ]
    traces[2] |= {"text": [f"best for {prices.money(b)}" for b in others["budget"]], "hovertemplate": hover}
    traces[3] |= {"hovertemplate": hover}
    traces[5] |= {"name": "best plan in the box"} if within else {}
    for trace, shown in zip(traces[2:], (True, True, len(cloud) > 0, plan.feasible), strict=True):
        trace["showlegend"] = shown
    known = {"N", "D"} <= set(curve.box)
    paths = [contours, (others["N"], others["D"]), (N, D)]
    layout = {
        "template": style.template(dark),
        "height": 480,
        "hovermode": "closest",
        "shapes": _veil(curve.box if known else {"N": (n[0], n[0])}, n, d, c),
        "annotations": [_box_label(curve.box, n, d, paths, c) if known else _boxless(n, d, c)],
        "xaxis": lines.log_axis(*n, SIZE, count_text),
        "yaxis": lines.log_axis(*d, PAIRS, count_text),
    }
    return traces, layout


def path_figure(
    paths: Mapping[str, pd.DataFrame],
    prices: Prices,
    *,
    box: Box | None = None,
    y_title: str = LOSS,
    dark: bool = False,
) -> go.Figure:
    """Draw how the best size, the best number of pairs and the loss change with the budget.

    ``paths`` maps names to tables of :func:`drscale.budget.plan.path`; their intervals become bands, and plans
    outside the fitted box are dashed. ``box`` shades sizes and pairs that were not fitted.
    """
    if not paths:
        raise ValueError("paths={}: at least one table of path() is needed")
    c, budgets = style.colours(dark), np.concatenate([t["budget"] for t in paths.values()])
    rows: dict[str, tuple[str, Callable[[float], str]]] = {"N": (SIZE, count_text), "D": (PAIRS, count_text)}
    rows["loss"] = (y_title, lines.short)
    fig = make_subplots(rows=3, shared_xaxes=True, vertical_spacing=0.04)
    wide = (float(budgets.min()) / 1.1, float(budgets.max()) * 1.1)
    for place, (column, (title, form)) in zip(lines.places(3), rows.items(), strict=True):
        on = {"xaxis": f"x{place}", "yaxis": f"y{place}"}
        for i, (name, table) in enumerate(paths.items()):
            made = _path_lines(table.dropna(subset=[column]), column, name, lines.look(i, dark, 2.5))
            fig.add_traces([trace | on for trace in made])
        seen = pd.concat([t[column] for t in paths.values()]).dropna()
        high = (float(seen.min()) / 1.4, float(seen.max()) * 1.4)
        fig.layout[f"yaxis{place}"].update(lines.log_axis(*high, title, form))
        fig.layout[f"xaxis{place}"].update(lines.log_axis(*wide, "Budget" if column == "loss" else "", prices.money))
        for shape in _veil({"D": box[column]} if box and column in box else {}, (0, 1), high, c):
            fig.add_shape(shape | {"xref": f"x{place} domain", "yref": f"y{place}"})
    for i, name in enumerate(paths):
        line = lines.look(i, dark, 2.5)["line"]
        fig.add_trace(lines.scatter([None], [None], name, "lines", line=line, legendgroup=name, showlegend=True))
    fig.update_xaxes(showticklabels=False, row=1, col=1)
    fig.update_xaxes(showticklabels=False, row=2, col=1)
    fig.update_layout(template=style.template(dark), height=720, hovermode="closest")
    return fig


def _budget_line(
    curve: Curve, name: str, amount: float, prices: Prices, low: float, level: float, look: Mapping[str, Any]
) -> tuple[list[Trace], tuple[float, float], bool]:
    """The traces of a law on a budget, its least loss and the smallest model's, and whether any part is in the box."""
    plan, top = planning.allocate(curve, amount, prices, level=level), amount / prices.per_parameter
    edges = [x for x in (*curve.box.get("N", ()), plan.N) if low < x < 0.995 * top]
    N = np.unique(np.concatenate([_along(low, np.inf, top), edges]))
    D = planning.isocost(amount, prices, N)
    loss, inside, label = curve(N=N, D=D), curve.inside(N=N, D=D), f"{name}, {prices.money(amount)}"
    hover = f"<b>{label}</b>, WHERE<br>%{{x:.4s}} parameters, %{{customdata:.4s}} pairs: %{{y:.3f}}<extra></extra>"
    ends = None if curve.draws is None else curve.interval(level, N=N, D=D)
    traces = lines.curve_with_band(N, loss, inside, label, look, ends, hover, D)
    traces.append(_plan_trace(plan, look) | {"name": f"{label}, best size", "y": lines.light([plan.loss])})
    traces[-1] |= {"error_x": None, "error_y": None}
    return traces, (plan.loss, float(loss[0])), bool(inside.any())


def _path_lines(table: pd.DataFrame, column: str, name: str, look: Mapping[str, Any]) -> list[Trace]:
    """Band, fitted part and extrapolated part of one quantity along a path."""
    x, y = table["budget"].to_numpy(dtype=float), table[column].to_numpy(dtype=float)
    ends = (table[f"{column}_low"], table[f"{column}_high"]) if f"{column}_low" in table else None
    hover = f"<b>{name}</b>, WHERE<br>%{{x:.4s}}: {column} = %{{y:.4s}}<extra></extra>"
    inside = table["inside"].to_numpy(dtype=bool)
    return lines.curve_with_band(x, y, inside, name, look, ends, hover, legendgroup=name)


def _contours(
    curve: Curve, n: tuple[float, float], d: tuple[float, float]
) -> tuple[tuple[Array, Array], tuple[Any, ...]]:
    """Lines of equal loss in a window, gaps between them, and where to write which value: x, y, text."""
    worst, best = float(curve(N=n[0], D=d[0])), float(curve(N=n[1], D=d[1]))
    levels = sorted({float(f"{v:.2g}") for v in np.geomspace(best, worst, CONTOURS + 2)[1:-1]})
    wide, high = np.geomspace(*n, 34), np.geomspace(*d, 24)
    xs: list[Any] = []
    ys: list[Any] = []
    marks: list[tuple[float, float, str]] = []
    for level in levels:
        N = np.concatenate([wide, planning.contour(curve, level, D=high)])  # even along both axes
        N = np.sort(N[(n[0] * (1 - 1e-9) <= N) & (n[1] * (1 + 1e-9) >= N)])
        D = planning.contour(curve, level, N=N)
        seen = np.flatnonzero((d[0] <= D) & (d[1] * (1 + 1e-6) >= D))
        if len(seen) > 1:
            xs += [N[seen], [np.nan]]
            ys += [D[seen], [np.nan]]
            marks.append((N[seen[-1]], D[seen[-1]], lines.short(level)))
    x, y, text = zip(*marks, strict=True) if marks else ((), (), ())
    return (np.concatenate([*xs, [np.nan]]), np.concatenate([*ys, [np.nan]])), (x, y, text)


def _plan_trace(plan: Allocation, look: Mapping[str, Any]) -> Trace:
    """The plan as a marker, with bars for the intervals of N and D and its sentence in the hover."""
    bars: Trace = {}
    for axis, name, value in (("error_x", "N", plan.N), ("error_y", "D", plan.D)):
        low, high = plan.intervals.get(name, (value, value))
        ends = {
            "array": lines.light([high - value]),
            "arrayminus": lines.light([value - low]),
            "type": "data",
            "symmetric": False,
        }
        bars[axis] = ends | {"color": look["line"]["color"], "thickness": 1.5, "width": 4}
    words = "<br>".join(textwrap.wrap(str(plan), 64))
    more = {"marker": look["marker"], "hovertemplate": f"{words}<extra></extra>"}
    return lines.scatter([plan.N], [plan.D], "best plan", "markers", **more, **bars)


def _along(low: float, high: float, top: float) -> Array:
    """Sizes from ``low`` up to ``high`` or to nearly the largest affordable, dense where pairs run out."""
    end = min(high, 0.995 * top)
    if not low < end:
        return np.array([])
    first, last = (math.log(x / (top - x)) for x in (low, end))
    return np.asarray(top / (1 + np.exp(-np.linspace(first, last, 32))))


def _window(curve: Curve, name: str, value: float, span: Box | None) -> tuple[float, float]:
    if span and name in span:
        return span[name]
    low, high = curve.box.get(name, (value, value))
    return min(low, value) / 3, max(high, value) * 3


def _veil(box: Box, n: tuple[float, float], d: tuple[float, float], c: Mapping[str, str]) -> list[Trace]:
    """Rectangles over the area outside a box in the window n by d: left, right, below, above."""
    (n0, n1), (d0, d1) = (np.clip(box.get(k, w), *w).tolist() for k, w in (("N", n), ("D", d)))
    sides = [(n[0], n0, *d), (n1, n[1], *d), (n0, n1, d[0], d0), (n0, n1, d1, d[1])]
    look = {"type": "rect", "layer": "below", "line": {"width": 0}, "fillcolor": style.tint(c["faint"], 0.14)}
    return [look | {"x0": x0, "x1": x1, "y0": y0, "y1": y1} for x0, x1, y0, y1 in sides]


def _chance(fig: go.Figure, place: str, c: Mapping[str, str]) -> None:
    """A dotted line in a panel at the value of a random guess; annotations, unlike shapes, count in decades."""
    line = {"type": "line", "line": {"dash": "dot", "color": c["faint"], "width": 1.5}}
    at = {"x0": 0, "x1": 1, "xref": f"x{place} domain", "y0": style.CHANCE, "y1": style.CHANCE, "yref": f"y{place}"}
    fig.add_shape(line | at)
    words = lines.note(style.CHANCE_TEXT, c, 0.03, math.log10(style.CHANCE), f"x{place} domain", f"y{place}")
    fig.add_annotation(words)


def _box_label(
    box: Box, n: tuple[float, float], d: tuple[float, float], lines_there: Sequence[Any], c: Mapping[str, str]
) -> Trace:
    """A label inside the corner of the fitted box that fewest lines cross (pairs of x and y), a right one if equal."""
    (x0, x1), (y0, y1) = (np.log10(np.clip(box[k], *w)).tolist() for k, w in (("N", n), ("D", d)))
    wide, high = (share * math.log10(w[1] / w[0]) for share, w in zip(LABEL, (n, d), strict=True))
    along = [np.log10(np.array(line, dtype=float)).T for line in lines_there]
    steps = np.linspace(0, 1, 9)[:, None, None]
    points = np.concatenate([(at[:-1] + steps * (at[1:] - at[:-1])).reshape(-1, 2) for at in along])

    def crossed(corner: tuple[bool, bool]) -> int:
        left, low = x1 - wide if corner[0] else x0, y1 - high if corner[1] else y0
        return int(((points >= (left, low)) & (points <= (left + wide, low + high))).all(axis=1).sum())

    right, up = min(((True, True), (True, False), (False, True), (False, False)), key=crossed)
    note = lines.note("fitted box<br>(shaded: beyond)", c, x1 if right else x0, y1 if up else y0, "x", "y")
    side = "right" if right else "left"
    return note | {"xanchor": side, "align": side, "yanchor": "top" if up else "bottom"}


def _boxless(n: tuple[float, float], d: tuple[float, float], c: Mapping[str, str]) -> Trace:
    """A label in the upper left corner of a window n by d, for a law without a box."""
    note = lines.note("the fitted range is not known: all is extrapolated", c, math.log10(n[0]), math.log10(d[1]))
    return note | {"xref": "x", "yref": "y", "yanchor": "top"}
