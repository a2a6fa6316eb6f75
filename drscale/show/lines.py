"""Lines of laws that come without points: looks, bands, dashes, axes. Never imports torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from drscale.analysis.curve import Array
from drscale.show import style

Trace = dict[str, Any]
DASH = "4px,3px"  # of what is extrapolated


def look(i: int, dark: bool, width: float) -> dict[str, Any]:
    """Colour and marker of the i-th law."""
    colour = style.SERIES[i % 7]
    colour = style.colours(dark)["ink"] if dark and colour == "#000000" else colour
    marker = {"symbol": style.SERIES_MARKERS[i % 7], "color": colour, "size": 10}
    return {"line": {"color": colour, "width": width}, "marker": marker}


def scatter(x: Any, y: Any, name: str, mode: str, **more: Any) -> Trace:
    """A scatter trace as a dict, which is quicker made than an object."""
    return {"type": "scatter", "x": light(x), "y": light(y), "name": name, "mode": mode, "showlegend": False} | more


def light(values: Any) -> Any:
    """Numbers in single precision, half of what a stored notebook has to carry."""
    return np.asarray(values, dtype=np.float32)


def band(x: Array, low: Any, high: Any, name: str, look: Mapping[str, Any]) -> Trace:
    """The area between two lines; an empty trace where there are none."""
    ends = np.asarray(low, dtype=float), np.asarray(high, dtype=float)
    around: Any = np.concatenate([x, x[::-1]]) if ends[0].size else []
    fill = {"fill": "toself", "fillcolor": style.tint(look["line"]["color"], 0.16), "line": {"width": 0}}
    return scatter(around, np.concatenate([ends[1], ends[0][::-1]]), f"{name}, band", "lines", hoverinfo="skip", **fill)


def parts(y: Array, inside: npt.NDArray[np.bool_]) -> list[tuple[str, npt.NDArray[np.intp], Array, dict[str, str]]]:
    """A line in two, "fitted" inside and "extrapolated" outside: the name, which points, their values, the dash.

    The outer part begins at the last inner point, and of two outer parts a point without a value keeps them apart. A
    part without points is left out.
    """
    outside = ~inside
    for i in np.flatnonzero(inside[1:] != inside[:-1]):
        if not (inside[i] and outside[i - 1]):  # else the two outer parts would join across the inner one
            outside[i if inside[i] else i + 1] = True
    made = []
    for name, kept, dash in (("fitted", inside, {}), ("extrapolated", outside, {"dash": DASH})):
        if kept.any():
            gap = ~kept & np.append(False, kept[:-1]) & (np.cumsum(kept) < kept.sum())
            take = np.flatnonzero(kept | gap)
            made.append((name, take, np.where(kept, y, np.nan)[take], dash))
    return made


def log_axis(low: float, high: float, title: str, form: Callable[[float], str], most: int = 8) -> dict[str, Any]:
    """A log axis from low to high, at ``most`` so many ticks, written by ``form``."""
    ticks = style.log_ticks(low, high)
    ticks = ticks[:: math.ceil(len(ticks) / most)]
    return {
        "type": "log",
        "title": {"text": title},
        "range": [math.log10(low), math.log10(high)],
        "tickvals": ticks,
        "ticktext": [form(t) for t in ticks],
    }


def note(words: str, c: Mapping[str, str], x: float, y: float, xref: str = "paper", yref: str = "paper") -> Trace:
    """Words whose lower left corner is at a point."""
    at = {"x": x, "y": y, "xref": xref, "yref": yref, "xanchor": "left", "yanchor": "bottom"}
    return {"text": words, "showarrow": False, "align": "left", "font": {"color": c["faint"], "size": 12}} | at


def places(count: int) -> list[str]:
    """What plotly hangs on the axes of the panels: nothing, 2, 3 ..."""
    return ["", *map(str, range(2, count + 1))]


def short(value: float) -> str:
    """A loss in two digits."""
    return f"{value:.2g}" if value < 100 else f"{value:,.0f}"
