"""The plane of two measures, effectiveness and robustness: its axes, points, names and front. Never imports torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from drscale.plotting import parts as traces
from drscale.plotting import style
from drscale.stats.tables import Array

Inverse = Literal["none", "minmax", "reciprocal"]


@dataclass(frozen=True)
class Axis:
    """How values of a column are drawn: where each goes, the axis's title, and whether higher up is then better."""

    place: Callable[[Any], Array]
    title: str
    higher: bool


def axis(values: Array, name: str, inverse: Inverse = "none", higher: bool = False) -> Axis:
    """The axis of a column named ``name``; ``higher`` says which way its values are better.

    The paper draws an "inverse normalization" of entropy and does not define it. Our readings: "minmax" is 0 for the
    worst and 1 for the best value drawn, linear between (so it shifts with what is drawn); "reciprocal" is 1 / value.
    """
    if inverse == "none":
        return Axis(lambda v: np.asarray(v, dtype=float), name, higher)
    if inverse == "reciprocal":
        if higher or not (values > 0).all():
            raise ValueError("inverse='reciprocal': for values above zero of which lower ones are better")
        return Axis(
            lambda v: 1 / np.asarray(v, dtype=float),
            f"1 / {name[0].lower()}{name[1:]}".replace("(nats)", "(1/nats)"),
            True,
        )
    if inverse == "minmax":
        worst, best = (values.min(), values.max()) if higher else (values.max(), values.min())
        span = best - worst if best != worst else 1.0
        text = f"{name.removesuffix(' (nats)')}, worst 0 to best 1"
        return Axis(lambda v: (np.asarray(v, dtype=float) - worst) / span, text, True)
    raise ValueError(f"inverse={inverse!r}: allowed are 'none', 'minmax', 'reciprocal'")


def words(column: str) -> str:
    """A run table's column as an axis says it, as in "In-domain entropy (nats)"."""
    if "+" in column:
        parts = [w[0].lower() + w[1:] for w in map(words, column.split("+"))]
        ends = {w.partition(" ")[2] for w in parts}
        if len(ends) > 1:
            return "Mean of " + " and ".join(parts)
        return f"Mean of {' and '.join(w.partition(' ')[0] for w in parts)}<br>{ends.pop()}"  # one metric, many scopes
    scopes = style.SCOPES | {"adversarial:alone": "Adversarial-alone"}
    scope = next((s for s in scopes if column.startswith(f"{s}_")), None)
    if scope is None:
        return column
    metric = column.removeprefix(f"{scope}_")
    short = {"entropy": "entropy (nats)", "calibrated": "calibrated entropy (nats)"}
    return f"{scopes[scope]} {short.get(metric, style.MEASURES.get(metric, metric))}"


def point_trace(
    fig: go.Figure,
    part: pd.DataFrame,
    name: str,
    columns: tuple[str, str],
    axes: list[Axis],
    look: tuple[str, str],
    hover: list[str],
    lines: bool = False,
    bars: str | None = None,
    **options: Any,
) -> None:
    """Points with the intervals that the table has, and a hover with the values as measured.

    ``bars`` is the colour of the intervals, if not that of the points; ``options`` go to the trace, ``marker``'s to its
    marker.
    """
    values: dict[str, Any] = {}
    data, said = [np.array(hover, dtype=object)], f"<b>{name}</b><br>%{{customdata[0]}}"
    for c, a, letter in zip(columns, axes, "xy", strict=True):
        middle = a.place(part[c])
        values[letter] = middle
        said += f"<br>{words(c)} %{{customdata[{len(data)}]:.4g}}"
        data.append(part[c].to_numpy())
        if {f"{c}_low", f"{c}_high"} <= set(part):
            pair = np.sort([a.place(part[f"{c}_low"]), a.place(part[f"{c}_high"])], axis=0)
            mean, low, high = (pd.Series(v) for v in (middle, *pair))
            values[f"error_{letter}"] = traces.bars(mean, low, high, bars or look[0])
            said += f" [%{{customdata[{len(data)}]:.4g}}, %{{customdata[{len(data) + 1}]:.4g}}]"
            data += [part[f"{c}_low"].to_numpy(), part[f"{c}_high"].to_numpy()]
    fig.add_scatter(
        **values,
        mode="lines+markers" if lines else "markers",
        name=name,
        marker={"color": look[0], "symbol": look[1], "size": 9} | options.pop("marker", {}),
        line={"color": look[0], "width": 2},
        customdata=np.column_stack([data[0], *map(_shown, data[1:])]),
        hovertemplate=said + "<extra></extra>",
        **options,
    )


def layout(axes: list[Axis], dark: bool) -> dict[str, Any]:
    """Template, axes with their titles, the legend below, and an arrow in the corner where both are better."""
    made: dict[str, Any] = {"template": style.template(dark), "hovermode": "closest", "height": 520}
    made |= {"legend": {"yref": "container", "y": 0, "yanchor": "bottom"}, "margin": {"t": 44}}
    return made | {f"{letter}axis": {"title": {"text": a.title}} for letter, a in zip("xy", axes, strict=True)}


def corner(fig: go.Figure, axes: list[Axis], text: str, dark: bool, beside: bool = False) -> None:
    """Write a word with an arrow in the corner where both are better, or text in the one ``beside`` it."""
    right, up = (a.higher for a in axes)
    arrow = {(True, True): "↗", (True, False): "↘", (False, True): "↖", (False, False): "↙"}[right, up]
    if not beside:
        text = f"{text} {arrow}" if right else f"{arrow} {text}"
    at_right = right != beside
    fig.add_annotation(
        text=text,
        x=float(at_right),
        y=float(up),
        xref="paper",
        yref="paper",
        xanchor="right" if at_right else "left",
        yanchor="top" if up else "bottom",
        align="right" if at_right else "left",
        showarrow=False,
        font={"color": style.colours(dark)["faint"], "size": 12},
    )


def legend_entry(fig: go.Figure, text: str, colour: str, symbol: str) -> None:
    """A line of the legend for no point in particular."""
    marker = {"symbol": symbol, "size": 10, "color": colour}
    fig.add_scatter(x=[None], y=[None], mode="markers", marker=marker, name=text, legendgroup=text, hoverinfo="skip")


def scale(parameters: Array, dark: bool) -> dict[str, Any]:
    """Marker colours by size, with a bar that says what they mean."""
    ticks = style.log_ticks(float(parameters.min()), float(parameters.max()))
    scale = [[i / 10, style.ramp(i / 10, dark)] for i in range(11)]
    bar: dict[str, Any] = {"title": {"text": "N", "side": "right"}, "thickness": 12, "len": 0.7, "outlinewidth": 0}
    bar |= {"tickvals": np.log10(ticks).tolist(), "ticktext": [style.count_text(t) for t in ticks]}
    return {"color": np.log10(parameters), "colorscale": scale, "showscale": True, "colorbar": bar}


def _shown(values: np.ndarray) -> np.ndarray:
    """Numbers as a hover shows them: more digits only make stored figures heavy."""
    return np.array([float(f"{v:.7g}") for v in values], dtype=object)


def name_points(
    fig: go.Figure,
    rows: pd.DataFrame,
    label: str,
    columns: tuple[str, str],
    axes: list[Axis],
    dark: bool,
    size: int = 11,
) -> None:
    """Write each row's label beside its point, where it covers least of the others; ``<br>`` breaks its line.

    The corner where both are better is kept free for :func:`corner`'s word.
    """
    at = np.column_stack([a.place(rows[c]) for a, c in zip(axes, columns, strict=True)])
    texts = [str(t) for t in rows[label]]
    marked = [t for t in fig.data if t.mode and "markers" in t.mode and t.x[0] is not None]
    largest = max(12.0, *(float(np.max(t.marker.size)) for t in marked if t.marker.size is not None))
    drawn = np.concatenate([np.column_stack([t.x, t.y]) for t in marked]).astype(float)
    spread = np.maximum(np.ptp(drawn, axis=0), 1e-12) / (560, 340)  # of a pixel, about
    points, centres, halves = drawn / spread, [], []
    for (px, py), text in zip(at / spread, texts, strict=True):
        parts = text.split("<br>")
        half = np.array([0.3 * size * max(map(len, parts)), 0.65 * size * len(parts)])
        centres.append([(px + dx * (half[0] + 10), py + dy * (half[1] + 8)) for _, dx, dy in _PLACES])
        halves.append(half)
    taken = _word(points, axes)
    places = [_PLACES[i][0] for i in _clear(np.array(centres), np.array(halves), points, taken)]
    font = {"size": size, "color": style.colours(dark)["ink"]}
    fig.add_scatter(
        x=at[:, 0],
        y=at[:, 1],
        mode="markers+text",
        marker={"size": largest, "opacity": 0},  # keeps the text off the marker drawn there
        text=texts,
        textposition=places,
        textfont=font,
        showlegend=False,
        hoverinfo="skip",
        cliponaxis=False,
        name="names",
    )


def _word(points: Array, axes: list[Axis]) -> Array:
    """Points, in pixels, along the word "better" in its corner; plotly draws axes about so far beyond the points."""
    signs = np.array([1 if a.higher else -1 for a in axes])
    end = np.where(signs > 0, points.max(axis=0), points.min(axis=0)) + signs * (40, 28)
    return end - signs * np.array([(inward, 8) for inward in (4, 16, 28, 40)])


def _clear(centres: Array, halves: Array, points: Array, taken: Array) -> list[int]:
    """Which place each label takes, of ``centres`` (labels, places, 2), so that least is covered of points and labels.

    ``taken`` are points that no label should cover, either. Labels move one by one, then two by two, as long as that
    helps; among equals the earlier place is taken.
    """
    low, high = points.min(axis=0) - 25, points.max(axis=0) + 25
    half = halves[:, None, :]
    points = np.concatenate([points, taken])
    covered = (np.abs(points - centres[:, :, None]) < half[:, :, None] + 7).all(axis=-1).sum(axis=-1)
    outside = np.clip([low - centres + half, centres + half - high], 0, None).sum(axis=(0, -1))
    alone = covered + outside / 10 + 0.01 * np.arange(centres.shape[1])  # (labels, places)
    apart = np.abs(centres[:, :, None, None] - centres)  # (labels, places, labels, places, 2)
    room = half[:, :, None, None] + half[None, None]
    pair = np.prod(np.clip(room - apart, 0, None), axis=-1) / 50
    n = np.arange(len(centres))
    pair[n, :, n] = 0
    chosen = alone.argmin(axis=1)
    for _ in range(10):
        before = chosen.copy()
        for i in n:
            chosen[i] = (alone[i] + pair[i][:, n, chosen].sum(axis=1)).argmin()
        for i in n:
            for j in n[:i]:
                others = n[(n != i) & (n != j)]
                a, b = (alone[k] + pair[k][:, others, chosen[others]].sum(axis=1) for k in (i, j))
                both = a[:, None] + b + pair[i, :, j]
                chosen[[i, j]] = np.unravel_index(both.argmin(), both.shape)
        if (chosen == before).all():
            break
    return chosen.tolist()


_PLACES = (
    ("middle right", 1, 0),
    ("top center", 0, 1),
    ("middle left", -1, 0),
    ("bottom center", 0, -1),
    ("top right", 1, 1),
    ("bottom right", 1, -1),
    ("top left", -1, 1),
    ("bottom left", -1, -1),
)
