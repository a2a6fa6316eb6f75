"""A plotly figure widget that takes a new figure by what differs from the old. Never imports torch."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any

import numpy as np
import plotly.graph_objects as go


class LiveFigure(go.FigureWidget):
    """A FigureWidget that shows its present data, not its first, when a page is loaded again.

    Wrap a finished figure: one that is filled later is empty in Voila. :meth:`redraw` shows another.
    """

    def __init__(self, figure: Any = None, *rest: Any, **options: Any) -> None:
        super().__init__(figure, *rest, **options)
        self._shown = figure if isinstance(figure, go.Figure) else go.Figure(figure)

    def redraw(self, figure: go.Figure) -> None:
        """Show another figure in this one's place, and send the page only what differs between the two.

        What a user changed by hand (a zoom, a trace switched off) stays, for it differs in neither.
        """
        before, self._shown = self._shown, figure
        same = [t.type for t in before.data] == [t.type for t in figure.data]
        with self.batch_update():
            for path, value in _changes(before.layout.to_plotly_json(), figure.layout.to_plotly_json()):
                self.layout[path] = value
            for mine, old, new in zip(self.data, before.data, figure.data, strict=True) if same else ():
                for path, value in _changes(old.to_plotly_json(), new.to_plotly_json()):
                    mine[path] = value
        if not same:
            self.update(data=list(figure.data), overwrite=True)

    def get_state(self, key: Any = None, drop_defaults: bool = False) -> dict[str, Any]:
        """The state a page asks for; plotly keeps the data of creation there, so put in what is drawn now."""
        state: dict[str, Any] = super().get_state(key=key, drop_defaults=drop_defaults)
        if key is None and "_widget_data" in state and getattr(self, "_data", None):
            now = {"_widget_data": deepcopy(self._data), "_widget_layout": deepcopy(self._layout_obj._props)}
            for name, value in now.items():
                to_json = self.trait_metadata(name, "to_json", self._trait_to_json)
                state[name] = to_json(value, self)
        return state

    def _repr_mimebundle_(self, *names: Any, **options: Any) -> dict[str, Any]:
        return super()._repr_mimebundle_(*names, **options) | self.still()

    def still(self, words: str = "") -> dict[str, Any]:
        """What a live figure is without a kernel: a plain figure with its picture, and its words as Markdown.

        Only where PLOTLY_RENDERER asks for it, as ``notebooks/build.py`` does; a live page needs neither.
        """
        if "PLOTLY_RENDERER" not in os.environ:
            return {}
        bundle: dict[str, Any] = go.Figure(self)._repr_mimebundle_()
        return bundle | ({"text/markdown": words} if words else {})


def _changes(old: Mapping[str, Any], new: Mapping[str, Any], at: str = "") -> Iterator[tuple[str, Any]]:
    """The paths, as ``marker.size``, at which two descriptions differ, with the new value."""
    for key in [*new, *(k for k in old if k not in new)]:
        before, after, path = old.get(key), new.get(key), f"{at}{key}"
        if key in ("template", "uid"):
            continue
        if isinstance(before, dict) and isinstance(after, dict) and "bdata" not in before | after:  # a packed array
            yield from _changes(before, after, f"{path}.")
        elif not _equal(before, after):
            yield path, after


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return False
    return bool(a == b)
