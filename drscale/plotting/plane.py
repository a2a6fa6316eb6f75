"""The plane of two measures, effectiveness and robustness: its axes, points, names and front. Never imports torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any, Literal

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from drscale.plotting import parts as traces
from drscale.plotting import style
from drscale.stats.tables import Array

Inverse = Literal["none", "minmax", "reciprocal"]
BESIDE = 4  # pixels that a label takes its marker for larger
SCREEN, PHONE = (560.0, 340.0), (250.0, 300.0)  # pixels between the axes of a figure on a screen and a phone, about
TWICE = 24  # pixels: points of one name that lie as near on a screen are named once
NAMES = "drscale: names of points"  # the meta of a trace by which its labels are found again


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
    """Write a word with an arrow at the corner where both are better, or text at the one ``beside`` it.

    It stands above the plot if up is better, so that no point's name meets it, and else inside, off the ticks.
    """
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
        yanchor="bottom",
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
    colour: str | Sequence[str] = "",
    name: str = "names",
    first: str = "middle right",
) -> None:
    """Write each row's label beside its point, where it covers least of all that is drawn; ``<br>`` breaks its line.

    One side has to do on a screen and on a phone. Points of one name that nearly coincide are named once. The corner
    where both are better is kept free for :func:`corner`'s word. Labels stay in the ranges of the axes if the figure
    has them already. ``colour`` is the labels', one for all or one each, ``name`` that of their trace, and ``first``
    the side to take if all are equally free.
    """
    at = np.column_stack([a.place(rows[c]) for a, c in zip(axes, columns, strict=True)])
    signs = np.array([1 if a.higher else -1 for a in axes])
    sizes = [t.marker.size for t in _drawn(fig) if "markers" in t.mode]
    largest = BESIDE + max([12.0, *(float(np.max(found)) for found in sizes if found is not None)])
    view = _view(fig, "x", "y")
    texts = _named_once(_drawn(fig), view, at, [str(t) for t in rows[label]])
    font = {"size": size, "color": (colour if isinstance(colour, str) else list(colour)) or style.colours(dark)["ink"]}
    fig.add_scatter(
        x=at[:, 0],
        y=at[:, 1],
        mode="markers+text",
        marker={"size": largest, "opacity": 0},  # keeps the text off the marker drawn there
        text=texts,
        textposition=_sides(_drawn(fig), view, at, texts, signs, largest, size, first, SCREEN, PHONE),
        textfont=font,
        showlegend=False,
        hoverinfo="skip",
        cliponaxis=False,
        name=name,
        meta=NAMES,
    )


def place_again(fig: go.Figure, size: float) -> None:
    """Choose the sides of :func:`name_points`' labels anew for a figure's own width and height, letters of ``size``.

    Labels that a user changed keep their sides: on other axes than linear ones, or without a side or a place for each.
    """
    bar = any(t.marker.showscale for t in fig.data if t.type == "scatter")
    pixels = (0.8 * fig.layout.width - 60 * bar, 0.65 * fig.layout.height)
    word = next((a for a in fig.layout.annotations if a.text and a.text.strip("↗↘↖↙ ") == "better"), None)
    ends = (word.x, word.y) if word and isinstance(word.x, int | float) and isinstance(word.y, int | float) else (1, 1)
    signs = np.array([1 if end > 0 else -1 for end in ends])
    for trace in (t for t in _drawn(fig) if t.meta == NAMES):
        on = _axes(trace)
        others = [t for t in _drawn(fig) if t is not trace and _axes(t) == on]
        view, at, texts = _view(fig, *on), _numbers(trace), trace.text
        told = [part for part in (texts, trace.textposition) if not isinstance(part, str) and part is not None]
        each = len(told) == 2 and len(told[0]) == len(told[1]) == len(at)
        marked = any("markers" in t.mode and np.isfinite(_numbers(t)).all(axis=1).any() for t in others)
        if not (view.linear and each and marked and np.isfinite(at).all() and trace.marker.size is not None):
            continue
        sides = list(trace.textposition)
        first = max(_PLACES, key=lambda side: sides.count(side[0]))[0]
        largest, area = float(np.max(trace.marker.size)), (pixels[0] * view.shares[0], pixels[1] * view.shares[1])
        trace.textposition = _sides(others, view, at, [str(t) for t in texts], signs, largest, size, first, area)


@dataclass(frozen=True)
class _View:
    """A pair of axes: their ranges, if set, the shares of the figure that they take, and whether both are linear."""

    ranges: tuple[Any, Any]
    shares: tuple[float, float]
    width: float | None
    linear: bool


def _axes(trace: Any) -> tuple[str, str]:
    return str(trace.xaxis or "x"), str(trace.yaxis or "y")


def _view(fig: go.Figure, *names: str) -> _View:
    """The axes of these names, as x2 and y2."""
    keys = [f"{name[0]}axis{name[1:]}" for name in names]
    x, y = (fig.layout[key] if key in fig.layout else go.layout.XAxis() for key in keys)
    shares = [1.0 if a.domain is None else float(a.domain[1] - a.domain[0]) for a in (x, y)]
    linear = all(
        a.type in (None, "-", "linear") and all(isinstance(end, Real) for end in a.range or ()) for a in (x, y)
    )
    width = fig.layout.width and fig.layout.width * shares[0]
    return _View((x.range, y.range), (shares[0], shares[1]), width, linear)


def _drawn(fig: go.Figure) -> list[Any]:
    """The traces that draw something at places that are numbers."""
    return [t for t in fig.data if t.type == "scatter" and t.mode and np.isfinite(_numbers(t)).all(axis=1).any()]


def _numbers(trace: Any) -> Array:
    """The places of a trace (n, 2), NaN for what is no number; none at all without an x for each y."""
    if trace.x is None or trace.y is None or len(trace.x) != len(trace.y):
        return np.zeros((0, 2))
    return np.column_stack([_floats(trace.x), _floats(trace.y)])


def _floats(values: Any) -> Array:
    return np.array([float(v) if isinstance(v, Real) and not isinstance(v, bool) else np.nan for v in values])


def _named_once(drawn: list[Any], view: _View, at: Array, texts: Sequence[str]) -> list[str]:
    """The texts, without those of points that lie beside an earlier one of the same text."""
    places = np.concatenate([_numbers(t) for t in drawn if "markers" in t.mode])
    spread, _, _ = _frame(view, places[np.isfinite(places).all(axis=1)], _pieces(drawn), SCREEN)
    kept: list[int] = []
    for i, text in enumerate(texts):
        if not any(texts[k] == text and (np.abs(at[k] - at[i]) < TWICE * spread).all() for k in kept):
            kept.append(i)
    return [text if i in kept else "" for i, text in enumerate(texts)]


def _sides(
    drawn: list[Any],
    view: _View,
    at: Array,
    texts: Sequence[str],
    signs: Array,
    largest: float,
    size: float,
    first: str,
    *areas: tuple[float, float],
) -> list[str]:
    """On which side of its point each label covers least of what is ``drawn``, over ``areas`` of so many pixels."""
    places = np.concatenate([_numbers(t) for t in drawn if "markers" in t.mode])
    places, pieces = places[np.isfinite(places).all(axis=1)], _pieces(drawn)
    sides = sorted(_PLACES, key=lambda side: side[0] != first)
    off = 0.625 * largest + 1  # as plotly keeps text from the middle of a marker
    lines = [text.split("<br>") for text in texts]
    halves = np.array([[0.3 * size * max(map(len, t)), 0.65 * size * len(t) * any(t)] for t in lines])
    ways = np.array([side[1:] for side in sides])
    costs = []
    for area in areas:
        spread, low, high = _frame(view if area == areas[0] else replace(view, width=None), places, pieces, area)
        points, strokes = places / spread, _cells([piece / spread for piece in pieces])
        centres = (at / spread)[:, None] + ways * (halves[:, None] + (off, off - 2))
        hard = np.concatenate([points, _word(points, signs)])
        costs.append(_costs(centres, halves, hard, strokes, (low, high)))
    alone, pair = (np.sum(parts, axis=0) for parts in zip(*costs, strict=True))
    return [sides[i][0] for i in _clear(alone, pair)]


def _frame(
    view: _View, points: Array, pieces: Sequence[Array], size: tuple[float, float]
) -> tuple[Array, Array, Array]:
    """How wide and high a pixel is, about, and between which places, in pixels, there is room for words."""
    every, pixels = np.concatenate([points, *pieces]), np.array(size)
    low, high = every.min(axis=0), every.max(axis=0)
    for i, ends in enumerate(view.ranges):
        if ends:
            low[i], high[i] = sorted(ends)
            pixels[i] = 0.9 * view.width if i == 0 and view.width else 1.1 * pixels[i]
    spread = np.maximum(high - low, 1e-12) / pixels
    low, high, open_ended = low / spread, high / spread, [not ends for ends in view.ranges]
    low = np.where(open_ended, np.minimum(low, points.min(axis=0) / spread - 25), low)
    return spread, low, np.where(open_ended, np.maximum(high, points.max(axis=0) / spread + 25), high)


def _pieces(drawn: Sequence[Any]) -> list[Array]:
    """The straight pieces of lines and bars, each as two points (2, 2)."""
    found = []
    for trace in drawn:
        at = _numbers(trace)
        if "lines" in trace.mode:
            found.append(np.stack([at[:-1], at[1:]], axis=1))
        for i, bars in enumerate((trace.error_x, trace.error_y)):
            beyond = () if bars.array is None else _floats(bars.array)
            below = beyond if bars.arrayminus is None else _floats(bars.arrayminus)
            if len(beyond) == len(below) == len(at):
                ends = np.stack([at, at], axis=1)
                ends[:, 0, i] -= below
                ends[:, 1, i] += beyond
                found.append(ends)
    return [piece for part in found for piece in part if np.isfinite(piece).all()]


def _cells(pieces: Sequence[Array]) -> Array:
    """Points along the pieces, one in each square of 8 pixels that a piece crosses."""
    steps = [np.linspace(0, 1, 2 + int(np.abs(b - a).max() / 8))[:, None] for a, b in pieces]
    along = [a + t * (b - a) for (a, b), t in zip(pieces, steps, strict=True)]
    return np.unique(np.round(np.concatenate([np.zeros((0, 2)), *along]) / 8), axis=0) * 8


def _word(points: Array, signs: Array) -> Array:
    """Points, in pixels, along the word "better" at its corner; plotly draws axes about so far beyond the points."""
    end = np.where(signs > 0, points.max(axis=0), points.min(axis=0)) + signs * (40, 28)
    return end - np.array([(signs[0] * inward, 0) for inward in (4, 16, 28, 40)])


def _costs(
    centres: Array, halves: Array, points: Array, strokes: Array, frame: tuple[Array, Array]
) -> tuple[Array, Array]:
    """What labels cover at each of ``centres`` (labels, places, 2), and, by label and place twice, of each other.

    ``strokes`` are places that are better free, too: twenty of them weigh as much as a point. ``frame`` are two corners
    between which labels should stay. Among equals the earlier place costs less.
    """
    low, high = frame
    half = halves[:, None, :]
    covered = (np.abs(points - centres[:, :, None]) < half[:, :, None] + 7).all(axis=-1).sum(axis=-1)
    crossed = (np.abs(strokes - centres[:, :, None]) < half[:, :, None] + 2).all(axis=-1).sum(axis=-1)
    outside = np.clip([low - centres + half, centres + half - high], 0, None).sum(axis=(0, -1))
    alone = covered + crossed / 20 + outside / 10 + 0.01 * np.arange(centres.shape[1])  # (labels, places)
    apart = np.abs(centres[:, :, None, None] - centres)  # (labels, places, labels, places, 2)
    room = half[:, :, None, None] + half[None, None] + (4, 0)  # so that two labels do not read as one
    pair = np.prod(np.clip(room - apart, 0, None), axis=-1) / 50
    n = np.arange(len(centres))
    pair[n, :, n] = 0
    empty = halves[:, 0] == 0
    alone[empty], pair[empty], pair[:, :, empty] = 0, 0, 0
    return alone, pair


def _clear(alone: Array, pair: Array) -> list[int]:
    """Which place each label takes so that the costs are least.

    Labels move one by one, then two by two, as long as that helps.
    """
    n, chosen = np.arange(len(alone)), alone.argmin(axis=1)
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
