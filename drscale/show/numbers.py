"""The numbers that a figure draws, as a table and as a link. Never imports torch."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

MIME = {".csv": "text/csv", ".pdf": "application/pdf", ".svg": "image/svg+xml", ".png": "image/png"}
BARS = {"error_x": "x", "error_y": "y"}


def drawn(figure: go.Figure | Mapping[str, Any]) -> pd.DataFrame:
    """Every point of every trace, a row each: trace, panel, x, y, z of a grid, and the ends of its bars.

    ``figure`` is a figure or its JSON as a notebook stores it. ``panel`` numbers the axes and columns that say nothing
    are left out.
    """
    described = figure.to_plotly_json() if isinstance(figure, go.Figure) else figure
    parts = [_points(trace, i) for i, trace in enumerate(described.get("data", ()))]
    parts = [part for part in parts if len(part)]
    if not parts:
        return pd.DataFrame(columns=["trace", "x", "y"])
    table = pd.concat(parts, ignore_index=True)
    return table.drop(columns="panel") if len(set(table["panel"])) == 1 else table


def data_uri(content: bytes, suffix: str) -> str:
    """A file as an address of its own, so that a page carries it along."""
    kind = MIME.get(suffix, "application/octet-stream")
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _points(trace: Mapping[str, Any], place: int) -> pd.DataFrame:
    z = _array(trace.get("z"))
    x, y = (_array(trace.get(a)) for a in "xy")
    if z is not None and z.ndim == 2:
        x = np.arange(z.shape[1]) if x is None else x
        y = np.arange(z.shape[0]) if y is None else y
        columns = {"x": np.tile(x, len(y)), "y": np.repeat(y, len(x)), "z": z.ravel()}
    else:
        have = {a: v for a, v in (("x", x), ("y", y), ("z", z)) if v is not None}
        if not have:
            return pd.DataFrame()
        n = max(len(v) for v in have.values())
        columns = {a: have[a] if a in have else np.arange(n) for a in ("x", "y")} | (
            {"z": have["z"]} if "z" in have else {}
        )
        for name, axis in BARS.items():
            bars = trace.get(name) or {}
            beyond = _array(bars.get("array"))
            below = _array(bars.get("arrayminus")) if "arrayminus" in bars else beyond
            if beyond is not None and len(beyond) == n:
                columns |= {f"{axis}_low": columns[axis] - below, f"{axis}_high": columns[axis] + beyond}
    name = trace.get("name") or f"{trace.get('type', 'scatter')} {place + 1}"
    panel = str(trace.get("xaxis") or "x").removeprefix("x") or "1"
    return pd.DataFrame({"trace": name, "panel": panel, **columns})


def _array(value: Any) -> np.ndarray[Any, Any] | None:
    """An array of a trace, also one that plotly packed as base64."""
    if value is None:
        return None
    if isinstance(value, Mapping):
        found = np.frombuffer(base64.b64decode(value["bdata"]), dtype=value["dtype"])
        return found.reshape([int(n) for n in str(value["shape"]).split(",")]) if "shape" in value else found
    return np.asarray(value)
