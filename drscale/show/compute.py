"""Figures of the compute law and of isoFLOP curves. Never imports torch."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from drscale.analysis.compute import ComputeLaw, IsoFlop
from drscale.analysis.curve import count_text
from drscale.show import style
from drscale.show.lines import scatter


def compute_figure(law: ComputeLaw, *, dark: bool = False) -> go.Figure:
    """Draw every size and length by its compute, a line a size, and the law of the lower envelope through it.

    A full marker stands on the envelope: nothing as cheap is better. The law is drawn over the measured range only.
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
    """Draw loss against size, a line a level of compute; a bar below marks each optimum that is determined."""
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
