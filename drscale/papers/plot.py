"""Figures of laws that were printed without their points, and of verdicts on prose. Never imports torch."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from drscale.budget.plot import LOSS
from drscale.laws.curve import Curve
from drscale.papers._rounded import FAILS, HOLDS, LEVEL, OPEN
from drscale.papers.claims import by_claim
from drscale.plotting import parts as lines
from drscale.plotting import style
from drscale.stats.tables import Array, count_text, require

TITLES = {"N": "Parameters N", "D": "Training pairs D"}
# Okabe and Ito's blue, grey and vermilion, which differ in lightness, too.
SENTENCE = 58  # characters in a line of a claim: they fit a column of a paper
ROW = 66  # pixels for a claim: its marks stand nearer to its own sentence than to the next, in print too
VERDICTS = {HOLDS: "#0072B2", OPEN: "#A8A8A8", FAILS: "#D55E00"}


def curves_figure(
    panels: Mapping[str, Mapping[str, Curve]], *, span: float = 4.0, y_title: str = LOSS, dark: bool = False
) -> go.Figure:
    """Draw laws of one thing as lines, a panel for each group: solid where they were fitted, dashed beyond.

    ``panels`` maps a panel's title to its laws by name; those of a panel share their argument. Lines reach ``span``
    times beyond the fitted range; a law without one takes the panel's. A law with draws has a band, the central 95% of
    them: for :func:`drscale.papers.published.uncertain` what rounding and the noise of the fit leave open.
    """
    if not panels or not all(panels.values()):
        raise ValueError(f"panels={list(panels)!r}: at least a panel, and a law in each")
    names = list(dict.fromkeys(n for laws in panels.values() for n in laws))
    titles = [lines.broken(title, 16 if len(panels) > 1 else 40) for title in panels]
    fig = make_subplots(cols=len(panels), subplot_titles=titles, horizontal_spacing=0.1)
    for k, (title, laws) in enumerate(panels.items(), start=1):
        arguments = {c.arguments for c in laws.values()}
        if len(arguments) != 1 or len(next(iter(arguments))) != 1:
            raise ValueError(f"panels[{title!r}]: laws of one and the same argument are needed")
        ((argument,),) = arguments
        known = [c.box[argument] for c in laws.values() if argument in c.box]
        if not known:
            raise ValueError(f"panels[{title!r}]: no law there says over which {argument} it was fitted")
        low, high = min(a for a, _ in known), max(b for _, b in known)
        seen, place = list[float](), "" if k == 1 else str(k)
        for name, curve in laws.items():
            ends = [x for x in curve.box.get(argument, ()) if low / span < x < high * span]
            x = np.unique(np.concatenate([np.geomspace(low / span, high * span, 30), ends]))
            look = lines.look(names.index(name), dark, 2.5)
            y, traces = curve(**{argument: x}), _line_traces(curve, argument, x, name, look)
            fig.add_traces([t | {"xaxis": f"x{place}", "yaxis": f"y{place}"} for t in traces])
            seen += y.tolist()
        x_axis = lines.log_axis(low / span, high * span, TITLES[argument], count_text, 6)
        y_axis = lines.log_axis(min(seen) / 1.2, max(seen) * 1.2, "" if place else y_title, lines.short)
        fig.layout[f"xaxis{place}"].update(x_axis)
        fig.layout[f"yaxis{place}"].update(y_axis)
    for i, name in enumerate(names):
        line = lines.look(i, dark, 2.5)["line"]
        fig.add_trace(lines.scatter([None], [None], name, "lines", line=line, showlegend=True))
    fig.update_layout(
        template=style.template(dark),
        height=420,
        hovermode="closest",
        legend={"y": 1.16 if "<br>" in "".join(titles) else 1.1},
    )
    return fig


def _line_traces(curve: Curve, argument: str, x: Array, name: str, look: Mapping[str, Any]) -> list[lines.Trace]:
    """Band, fitted part and dashed part of a law."""
    at, known = {argument: x}, argument in curve.box
    ends = None if curve.draws is None else curve.interval(LEVEL, **at)
    where = "WHERE" if known else "the fitted range is not known"
    hover = f"<b>{name}</b>, {where}<br>%{{x:.4s}}: %{{y:.3f}} nats<extra></extra>"
    return lines.curve_with_band(x, curve(**at), curve.inside(**at) & known, name, look, ends, hover)


def verdict_figure(verdicts: pd.DataFrame, *, dark: bool = False) -> go.Figure:
    """Draw each claim: its sentence, and below it a mark for each case, the overall verdict as words, and its place.

    ``verdicts`` is the table of :func:`drscale.papers.claims.verdicts` or rows of it; the hover has the numbers.
    """
    require(verdicts, "claim", "kind", "where", "says", "case", "verdict", "numbers", what="verdicts")
    order, c = {v: i for i, v in enumerate(VERDICTS)}, style.colours(dark)
    table = verdicts.assign(rank=verdicts["verdict"].map(order)).sort_values("rank", kind="stable")
    table = table.assign(place=table.groupby("claim").cumcount() + 1)
    fig = go.Figure()
    for verdict, colour in VERDICTS.items():
        rows = table[table["verdict"] == verdict]
        words = ["<br>".join(textwrap.wrap(f"{r.case}: {r.verdict}. {r.numbers}", 90)) for r in rows.itertuples()]
        symbol = ("square", "square-open", "x")[order[verdict]]
        marker: dict[str, Any] = {"symbol": symbol, "size": 12, "color": colour}
        marker |= {"line": {"width": 2, "color": colour}} if verdict == OPEN else {}
        hover = "<b>%{y}</b><br>%{text}<extra></extra>"
        at = {"x": rows["place"], "y": rows["says"], "text": words, "hovertemplate": hover}
        fig.add_scatter(**at, mode="markers", name=verdict, marker=marker)
    claims = by_claim(verdicts)
    for row in claims.itertuples():
        sentence = "<br>".join(textwrap.wrap(str(row.says), SENTENCE))
        verdict = f"{row.verdict} <span style='color:{c['faint']}'>· {row.where}</span>"
        for x, text, anchor, up in ((0, sentence, "bottom", 6), (0.34, verdict, "middle", 0)):
            at = {"x": x, "xref": "paper", "xanchor": "left", "y": row.says, "yref": "y", "yanchor": anchor}
            look = {"text": text, "showarrow": False, "align": "left", "font": {"size": 12}, "yshift": up}
            fig.add_annotation(at | look)
    most, n = max(float(table["place"].max()), 8.0), len(claims)
    order_down = {"categoryorder": "array", "categoryarray": list(claims["says"])[::-1]}
    fig.update_layout(
        template=style.template(dark),
        height=60 + ROW * n,
        margin={"l": 8, "r": 8, "t": 40, "b": 8},
        xaxis={"visible": False, "range": [0.4, most + 0.6], "domain": [0, 0.31]},
        yaxis={"visible": False, "range": [-0.25, n - 0.2], **order_down},
        legend={"y": 1.0, "x": 0.0, "xanchor": "left"},
    )
    return fig
