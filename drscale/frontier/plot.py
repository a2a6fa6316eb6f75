"""Effectiveness against robustness: joint scaling trends and fronts. Never imports torch."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any, Literal, get_args

import pandas as pd
import plotly.graph_objects as go

from drscale.frontier import contour_lines as contours
from drscale.frontier import dominance as frontier
from drscale.frontier.dominance import X, Y
from drscale.ladder import parse_rung
from drscale.plotting import parts as traces
from drscale.plotting import plane, style
from drscale.plotting.plane import Axis
from drscale.stats.bootstrap import Pool, pooled
from drscale.stats.tables import Better, require, signs

Named = Literal["front", "all"]
NO_FRONT = "fitted front not determined:<br>its point is certain on"
WRAP = 26  # characters of a run's name in a line
SIZES = ("rung", "params_layers", "params_drscale", "params_fang", "params_total")


def joint_figure(
    table: pd.DataFrame,
    by: str | Sequence[str] = ("strategy", "share"),
    contour: str = "rung",
    x: str = X,
    y: str = Y,
    *,
    at: Any = None,
    better: Better = "lower",
    inverse: plane.Inverse = "minmax",
    dark: bool = False,
    x_title: str = "",
    y_title: str = "",
) -> go.Figure:
    """Draw joint scaling trends, as Figures 1 and 5: one line for each strategy, across contours of size or data.

    A marker is the mean of the runs of one strategy (``by``, a column or several) at one level of ``contour`` ("rung"
    or "train_pairs"), with its 95% intervals over queries. The other count (pairs or size) is held at ``at``, by
    default the level with the most runs. Contours are :func:`drscale.frontier.contour_lines.contours`, dotted from run
    to run if none could be fitted or its bend is not certain; the legend then says so. The dashed line joins the
    Pareto-efficient points (our interpretation of the paper's line, which Pareto training follows as size and data
    grow) of the contours that determine one (:func:`drscale.frontier.contour_lines.determined`). If fewer than two
    contours do, no fitted front is drawn and the figure says that it is not determined; the dashed line is then the
    edge of the runs as measured. ``inverse`` as in :func:`drscale.plotting.plane.axis`. The paper's y, the mean of two
    robustnesses, is a column that :func:`drscale.frontier.dominance.robustness` makes.
    """
    columns = [by] if isinstance(by, str) else list(by)
    require(table, *columns, contour)
    rows, held = _held(frontier.checked(table, x, y), contour, at)
    means = pooled(rows, (x, y), [*columns, contour])
    means = means.sort_values(columns, key=_ranks, kind="stable", ignore_index=True)
    means = means.assign(series=[_label(v, columns) for v in means[columns].itertuples(index=False)])
    levels = _levels(means, contour)
    sides = signs(better)
    axes = [
        plane.axis(means[c].to_numpy(dtype=float), title or plane.words(c), inverse, s < 0)
        for c, s, title in zip((x, y), sides, (x_title, y_title), strict=True)
    ]
    fig, fitted = go.Figure(), contours.contours(means, contour, x, y, better=better)
    _contour_traces(fig, means, fitted, contour, levels, (x, y), axes, better, dark)
    rank = style.ranks(means["series"])
    for name, part in means.groupby("series", sort=False):
        part = part.assign(order=part[contour].map(list(levels).index)).sort_values("order")
        hover = [f"{levels[v]}, mean of {n} runs" for v, n in zip(part[contour], part["runs"], strict=True)]
        look = style.series(rank[name], dark)
        plane.point_trace(fig, part, str(name), (x, y), axes, look, hover, lines=True, bars=style.tint(look[0], 0.4))
    _dashed(fig, fitted, means, (x, y), axes, better, dark)
    ends = pd.concat([_end(means[means[contour] == v], (x, y), axes).assign(level=text) for v, text in levels.items()])
    faint, side = style.colours(dark)["faint"], "bottom right" if axes[0].higher == axes[1].higher else "bottom left"
    plane.name_points(fig, ends, "level", (x, y), axes, dark, colour=faint, name="contours", first=side)
    plane.corner(fig, axes, "better", dark)
    fig.update_layout(plane.layout(axes, dark) | traces.title(rows, held))
    return fig


def frontier_figure(
    table: pd.DataFrame,
    x: str = X,
    y: str = Y,
    *,
    better: Better = "lower",
    rows: pd.DataFrame | None = None,
    pool: Pool = None,
    by: str | None = None,
    inverse: plane.Inverse = "none",
    n_boot: int = 2000,
    intervals: bool = True,
    names: Named = "front",
    dark: bool = False,
    warn: bool = True,
) -> go.Figure:
    """Draw runs by x and y: larger, fuller markers are more likely on the front; a dashed line is its measured edge.

    ``rows`` and ``pool`` as in :func:`drscale.frontier.dominance.probability_on_front`, or give a table that has its
    ``probability``. ``by`` colours the runs by a column's values; the default is the strategy if there are several,
    else the parameters, on a scale. Runs on the front are named by the properties that they do not all share (the
    shared ones are in the legend). With ``names="all"`` every run is named, by its value of ``by`` if no other run has
    it, and the legend is left out. ``intervals`` are those of the table, over queries, for each run by itself.
    """
    if names not in get_args(Named):
        raise ValueError(f"names={names!r}: allowed are {', '.join(map(repr, get_args(Named)))}")
    if "probability" in require(table):
        points = frontier.front(table, x, y, better=better, warn=warn).assign(runs=table.get("runs", 1))
    else:
        points = frontier.probability_on_front(
            table, x, y, better=better, rows=rows, pool=pool, n_boot=n_boot, warn=warn
        )
    parts = run_parts(points)
    best = [p for p, on in zip(parts, points["on_front"], strict=True) if on]
    shared = [word for word in best[0] if len(best) > 1 and all(word in p for p in best)]
    points = points.assign(
        label=[", ".join(p) for p in parts], short=[", ".join(w for w in p if w not in shared) for p in parts]
    )
    sides = signs(better)
    axes = [
        plane.axis(points[c].to_numpy(dtype=float), plane.words(c), inverse, s < 0)
        for c, s in zip((x, y), sides, strict=True)
    ]
    fig, faint = go.Figure(), style.tint(style.colours(dark)["faint"], 0.35)
    edge(fig, points, (x, y), axes, better, dark, ", ".join(["front, as measured", *shared]))
    by = ("strategy" if len(set(points.get("strategy", ()))) > 1 else None) if by is None else by
    groups = [("runs", points)] if by is None else [(str(n), g) for n, g in points.groupby(by, sort=False)]
    small, faded = (7, 0.4) if names == "front" else (9, 0.8)  # draw labelled runs more opaque
    shown = points if intervals else points.drop(columns=[c for c in _ends(x, y) if c in points])
    rank = style.ranks(name for name, _ in groups)
    for name, part in groups:
        colour, symbol = style.series(rank[name], dark)
        p = part["probability"].to_numpy(dtype=float)
        hover = [f"{t}, on the front in {q:.0%} of draws" for t, q in zip(part["label"], p, strict=True)]
        marker: dict[str, Any] = {"size": small + 8 * p, "opacity": faded + (1 - faded) * p, "line": {"width": 0}}
        if by is None and len(set(part.get("params_layers", ()))) > 1:
            marker |= plane.scale(part["params_layers"].to_numpy(dtype=float), dark)
        plane.point_trace(
            fig,
            shown.loc[part.index],
            name,
            (x, y),
            axes,
            (colour, symbol),
            hover,
            bars=faint,
            marker=marker,
            showlegend=False,
            legendgroup=name,
        )
        if by is not None and names == "front":
            plane.legend_entry(fig, name, colour, symbol)
    if names == "all":
        own = by is not None and points[by].is_unique
        said = points[by].astype(str) if own else points["label"]
        points = points.assign(short=["<br>".join(textwrap.wrap(t, WRAP)) for t in said])
    plane.name_points(fig, points if names == "all" else points[points["on_front"]], "short", (x, y), axes, dark)
    plane.corner(fig, axes, "better", dark)
    fig.update_layout(plane.layout(axes, dark) | traces.title(points))
    return fig


def _ranks(column: pd.Series) -> pd.Series:
    """The key that sorts a column as the series of a figure."""
    rank = style.ranks(column)
    return pd.Series([rank[value] for value in column], column.index)


def _ends(*columns: str) -> list[str]:
    return [f"{c}{end}" for c in columns for end in ("_low", "_high")]


def _held(rows: pd.DataFrame, contour: str, at: Any) -> tuple[pd.DataFrame, str]:
    """The runs at one level of the other count, and a title that says so."""
    other = "train_pairs" if contour in SIZES else next((c for c in SIZES if c in rows), None)
    if other is None or other not in rows or (at is None and len(set(rows[other])) < 2):
        return rows, ""
    counts = rows.groupby(other)[contour].agg(["nunique", "size"])
    chosen = counts.sort_values(["nunique", "size"], kind="stable").index[-1] if at is None else at
    if chosen not in counts.index:
        raise ValueError(f"at={at!r}: no run has {other} so, there are {', '.join(map(str, counts.index))}")
    said = f"at {style.count_text(chosen)} training pairs" if other == "train_pairs" else f"at {other} {chosen}"
    return rows[rows[other] == chosen], said


def _levels(means: pd.DataFrame, contour: str) -> dict[Any, str]:
    """The levels of a contour from small to large, with the words for each."""
    found = list(means[contour].drop_duplicates())
    if pd.api.types.is_numeric_dtype(means[contour]):
        unit = " pairs" if contour == "train_pairs" else ""
        return {v: f"{style.count_text(v)}{unit}" for v in sorted(found)}

    def size(level: Any) -> tuple[float, str]:
        if "params_layers" in means:
            return float(means.loc[means[contour] == level, "params_layers"].mean()), str(level)
        shape = parse_rung(str(level))
        return float(shape[0] * shape[1] ** 2) if shape else 0.0, str(level)

    return {v: str(v) for v in sorted(found, key=size)}


def _label(values: Sequence[Any], columns: Sequence[str]) -> str:
    parts = [f"{v:.0%}" if c == "share" else str(v) for v, c in zip(values, columns, strict=True)]
    return ", ".join(p for p, c in zip(parts, columns, strict=True) if not (c == "share" and p == "100%"))


def run_parts(rows: pd.DataFrame) -> list[list[str]]:
    """What distinguishes a run: its rung, its pairs and strategy if these differ, its seed if not pooled."""
    many = {c for c in ("rung", "train_pairs", "strategy", "share", "seed") if len(set(rows.get(c, ()))) > 1}
    if not many:
        return [[str(v)] for v in rows.index]
    found = []
    for row in rows.to_dict("records"):
        parts = [str(row["rung"])] if "rung" in many else []
        parts += [f"{style.count_text(row['train_pairs'])} pairs"] if "train_pairs" in many else []
        parts += [str(row["strategy"])] if "strategy" in many else []
        parts += [f"{row['share']:.0%}"] if "share" in many and row["share"] < 1 else []
        parts += [f"seed {row['seed']}"] if "seed" in many and row.get("runs", 1) == 1 else []
        found.append(parts)
    return found


def _contour_traces(
    fig: go.Figure,
    means: pd.DataFrame,
    fitted: pd.DataFrame,
    contour: str,
    levels: dict[Any, str],
    columns: tuple[str, str],
    axes: list[plane.Axis],
    better: Better,
    dark: bool,
) -> None:
    """A thin line for each contour, light for small."""
    curves = contours.trace(fitted[contours.certain(fitted)], better=better)
    rows = contours.points(means, contour, *columns, better=better).sort_values("t")
    for i, (level, text) in enumerate(levels.items()):
        part = curves[curves[contour] == level]
        known = not part.empty
        if not known:
            part = rows[rows[contour] == level].rename(columns=dict(zip(columns, "xy", strict=True)))
        colour = style.ramp(i / max(len(levels) - 1, 1), dark)
        line = {"width": 1.5, "dash": "solid" if known else "dot", "color": colour}
        px, py = axes[0].place(part["x"]), axes[1].place(part["y"])
        row = fitted[fitted[contour] == level].iloc[0]
        said = f"fitted contour, rms {row['rms']:.1%}" if known else f"not determined: {row['note']}"
        hover = f"<b>{text}</b><br>{said}<extra></extra>"
        name = f"contour {text}"
        fig.add_scatter(x=px, y=py, mode="lines", line=line, name=name, showlegend=False, hovertemplate=hover)
    if len(known_levels := set(curves[contour])) < len(levels):
        line = {"width": 1.5, "dash": "dot", "color": style.colours(dark)["faint"]}
        name = f"{'some contours' if known_levels else 'contours'} not determined: dotted from run to run"
        fig.add_scatter(x=[None], y=[None], mode="lines", line=line, name=name, hoverinfo="skip", legendrank=2000)


def _end(part: pd.DataFrame, columns: tuple[str, str], axes: list[plane.Axis]) -> pd.DataFrame:
    """The row of the lower end of a contour, which is farthest from the lines that run from worse to better."""
    right, up = (pd.Series(a.place(part[c]), part.index).rank() for c, a in zip(columns, axes, strict=True))
    return part.loc[[((right if axes[0].higher == axes[1].higher else -right) - up).idxmax()]]


def _dashed(
    fig: go.Figure,
    fitted: pd.DataFrame,
    means: pd.DataFrame,
    columns: tuple[str, str],
    axes: list[plane.Axis],
    better: Better,
    dark: bool,
) -> None:
    """The line through the determined efficient points; with less than two, a note about this, and the edge."""
    known = fitted[contours.determined(fitted)].sort_values("s0")
    if len(known) < 2:
        edge(fig, means, columns, axes, better, dark)
        plane.corner(fig, axes, f"{NO_FRONT} {len(known)} of {len(fitted)} contours", dark, beside=True)
        return
    line = {"color": style.colours(dark)["ink"], "dash": "dash", "width": 2}
    ratio = known[["ratio", "ratio_low", "ratio_high"]].to_numpy()
    hover = "Pareto-efficient point of the contour<br>y / x %{customdata[0]:.3g}"
    fig.add_scatter(
        x=axes[0].place(known["x"]),
        y=axes[1].place(known["y"]),
        mode="lines",
        line=line,
        name="Pareto-efficient (fitted)",
        customdata=ratio,
        hovertemplate=hover + " [%{customdata[1]:.3g}, %{customdata[2]:.3g}]<extra></extra>",
    )


def edge(
    fig: go.Figure,
    rows: pd.DataFrame,
    columns: tuple[str, str],
    axes: list[Axis],
    better: Better,
    dark: bool,
    name: str = "front, as measured",
) -> None:
    """The edge of the area that the front of these rows dominates."""
    sides = signs(better)
    corners = frontier.staircase(frontier.lower(rows[list(columns)].to_numpy(dtype=float), better)) * sides
    line = {"color": style.colours(dark)["ink"], "dash": "dash", "width": 1.5}
    px, py = (a.place(corners[:, i]) for i, a in enumerate(axes))
    told = len(corners) > 1  # a single point has no edge to see
    fig.add_scatter(x=px, y=py, mode="lines", line=line, name=name, hoverinfo="skip", showlegend=told)
