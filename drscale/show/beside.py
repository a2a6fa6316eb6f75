"""Figures of one panel each, set side by side in one. Never imports torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

GAP = 0.09  # of the width, between two panels


Parts = tuple[Sequence[Mapping[str, Any]], Mapping[str, Any]]


def beside(panels: Mapping[str, go.Figure | Parts]) -> go.Figure:
    """One figure with a panel for each, left to right, its title above it and the first one's legend and template.

    A panel is a figure, or its traces and layout as dicts, which is quicker. Traces leave the legend if an earlier
    panel has one of their name there. Axes stay each panel's own.
    """
    if not panels:
        raise ValueError("panels={}: at least one figure is needed")
    width, data, layout = (1 - GAP * (len(panels) - 1)) / len(panels), [], dict[str, Any]()
    shapes, notes, seen = [], [], set[str]()
    for i, (title, panel) in enumerate(panels.items()):
        place, start = "" if i == 0 else str(i + 1), i * (width + GAP)
        traces, own = panel if isinstance(panel, tuple) else panel.to_plotly_json().values()
        layout = layout or {k: v for k, v in own.items() if k not in ("xaxis", "yaxis")}
        for trace in traces:
            moved = dict(trace) | {"xaxis": f"x{place}", "yaxis": f"y{place}"}
            data.append(moved | ({"showlegend": False} if trace.get("name") in seen else {}))
        seen |= {t["name"] for t in traces if t.get("showlegend", True) and "name" in t}
        shapes += [s | _moved(s, place) for s in own.get("shapes", ())]
        notes += [n | _moved(n, place) for n in own.get("annotations", ())]
        notes += [_title(title, start + width / 2)] if len(panels) > 1 else []
        for axis, other in (("x", "y"), ("y", "x")):
            layout[f"{axis}axis{place}"] = own.get(f"{axis}axis", {}) | {"anchor": f"{other}{place}"}
        if place and layout[f"yaxis{place}"].get("title") == layout["yaxis"].get("title"):
            layout[f"yaxis{place}"]["title"] = {"text": ""}  # said once, on the left
        layout[f"xaxis{place}"]["domain"] = [start, start + width]
    if len(panels) > 1:  # the legend stands above the panels' titles
        layout["legend"] = layout.get("legend", {}) | {"y": 1.08}
        layout["margin"] = layout.get("margin", {}) | {"t": 70}
    return go.Figure(data, layout | {"shapes": shapes, "annotations": notes})


def _moved(part: Mapping[str, Any], place: str) -> dict[str, str]:
    """The axes of a shape or an annotation in its new panel; of what stands on the paper, none."""
    refs = {r: str(part.get(r, r[0])) for r in ("xref", "yref")}
    return {r: r[0] + place + v[1:] for r, v in refs.items() if v[0] == r[0]}


def _title(text: str, x: float) -> dict[str, Any]:
    place = {"x": x, "y": 1, "xref": "paper", "yref": "paper", "xanchor": "center", "yanchor": "bottom"}
    return place | {"text": f"<b>{text}</b>", "showarrow": False}
