"""Figures that follow their controls: pure functions plus ranges, testable without a browser. Never imports torch."""

from __future__ import annotations

import html
import math
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

import ipywidgets
import numpy as np
import pandas as pd
import plotly.graph_objects as go

from drscale.plotting import files as export
from drscale.plotting import files as numbers
from drscale.stats.tables import count_text


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


Settings = Mapping[str, Any]
ROUND = (1, 1.25, 1.5, 2, 2.5, 3, 4, 5, 6, 8)  # the steps of a slider in each decade
WIDTH = 900  # pixels of an explorer's figure: a screen of 1366 has them beside the list of files
WRAP = {"flex_flow": "row wrap"}
HEAVIEST = 3_000_000  # bytes of a file that a page still takes as a link


class View(NamedTuple):
    """What an explorer shows for its settings: a figure, its numbers as a sentence, and a table of them."""

    figure: go.Figure
    sentence: str
    table: pd.DataFrame


class Explorer(ipywidgets.VBox):
    """Controls over one live figure, with its sentence, its table, a way to save it and its settings as code.

    ``draw`` is a pure function from the controls' values, by name, to a :class:`View`; ``code`` writes the call that
    makes the same figure. ``rows`` arranges the controls' names, a list inside a row being a column, and so on; without
    it, each has a row of its own. ``offer``, called with the name of a control that changed (None at first), adapts
    what the others offer. Tests and code may set ``controls[name].value`` and read ``figure``, ``sentence``,
    ``table``, ``code`` and ``settings``.
    """

    def __init__(
        self,
        draw: Callable[[Settings], View],
        controls: Mapping[str, Any],
        code: Callable[[Settings], str],
        rows: Sequence[Any] | None = None,
        *,
        offer: Callable[[str | None], None] | None = None,
        name: str = "figure",
    ) -> None:
        self._draw, self._code, self._offer = draw, code, offer
        self._busy, self._settling = threading.RLock(), False
        self.controls = dict(controls)
        if offer is not None:
            offer(None)
        view = draw(self.settings)
        self.figure = LiveFigure(view.figure)
        self.sentence = ipywidgets.HTML(_paragraph(view.sentence))
        self.table = ipywidgets.HTML(table_html(view.table), layout={"overflow": "auto"})
        self.code = ipywidgets.Textarea(code(self.settings), layout={"width": "98%", "height": "14em"})
        self.saver = Saver(self.figure, name)
        for key, control in self.controls.items():
            control.observe(lambda _, key=key: self._follow(key), names="value")
        more = ipywidgets.Accordion([self.saver, self.code], titles=("Save the figure", "These settings as code"))
        chosen = self._arranged(rows or [[n] for n in controls])
        own_box = ipywidgets.VBox([self.figure])  # a figure wider than the page scrolls alone
        super().__init__([chosen, own_box, self.sentence, self.table, more])

    @property
    def settings(self) -> dict[str, Any]:
        """The value of every control, by its name."""
        return {name: control.value for name, control in self.controls.items()}

    def _arranged(self, rows: Sequence[Any], across: bool = False) -> Any:
        parts = [self.controls[p] if isinstance(p, str) else self._arranged(p, not across) for p in rows]
        return ipywidgets.HBox(parts, layout=WRAP | {"grid_gap": "0 1.5em"}) if across else ipywidgets.VBox(parts)

    def _follow(self, changed: str) -> None:
        with self._busy:  # pages call from threads of their own; the last one through sees every control's last value
            if self._settling:  # a control that offer() moved
                return
            self._settling = True
            try:
                if self._offer is not None:
                    self._offer(changed)
            finally:
                self._settling = False
            settings = self.settings
            try:
                view = self._draw(settings)
            except ValueError as e:  # settings that no law can be fitted to: said where the sentence stands
                self.sentence.value = _paragraph(f"Not with these settings: {e}.")
                return
            self.figure.redraw(view.figure)
            self.sentence.value = _paragraph(view.sentence)
            self.table.value = table_html(view.table)
            self.code.value = self._code(settings)

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        bundle: dict[str, Any] = super()._repr_mimebundle_(**options)
        return bundle | self.figure.still(f"{self.sentence.value}\n\n{self.table.value}")


class Saver(ipywidgets.VBox):
    """A name, a kind of file and a button: writes the figure as it stands into the folder that it shows.

    The page may be open to others than its owner, so the name is a file's and no path, and a file that this saver has
    not written stays as it is.
    """

    def __init__(self, figure: go.Figure, name: str) -> None:
        self._figure, self._written = figure, set[Path]()
        self.folder = Path.cwd()
        self.name = ipywidgets.Text(name, description="name")
        self.kind = ipywidgets.Dropdown(options=[*export.FIGURE_FORMATS, ".csv"], description="kind")
        self.width = ipywidgets.Dropdown(options=["column", "page"], value="page", description="width")
        self.button = ipywidgets.Button(description="Save the figure", icon="download")
        self.said = ipywidgets.HTML(_paragraph(f"Files go into {self.folder}."))
        self.button.on_click(self._save)
        super().__init__([ipywidgets.HBox([self.name, self.kind, self.width, self.button], layout=WRAP), self.said])

    def _save(self, _: Any) -> None:
        self.button.disabled, self.said.value = True, _paragraph("Drawing ...")
        try:
            path = self._place((self.name.value or "figure").removesuffix(self.kind.value) + self.kind.value)
            self._written.add(save(self._figure, path, self.width.value))
            self.said.value = f"<p>Written: {html.escape(str(path))}. {link(path)}</p>"
        except (OSError, ValueError, export.NoBrowser) as e:  # a name that cannot be, or nothing to draw with
            self.said.value = _paragraph(f"Not written: {e}")
        finally:
            self.button.disabled = False

    def _place(self, name: str) -> Path:
        """Where a file of this name is written; ValueError where that is outside the folder or somebody else's."""
        if name.startswith(".") or any(c in r"/\:" or not c.isprintable() for c in name):
            raise ValueError(
                f"name={name!r}: a file's name is needed, without folders and not hidden; it goes into {self.folder}"
            )
        path = self.folder / name
        if path not in self._written and os.path.lexists(path):
            raise ValueError(f"name={name!r}: {self.folder} has such a file already; choose another name")
        return path


def save(figure: go.Figure, path: Path, width: export.Width = "page") -> Path:
    """Write a figure, or with .csv the numbers it draws; see :func:`drscale.plotting.files.export`."""
    plain = go.Figure(figure)
    return export.export(numbers.drawn(plain) if path.suffix == ".csv" else plain, path, width)


def link(path: Path) -> str:
    """A link through which a page takes a file along, or nothing where it is too large."""
    if path.stat().st_size > HEAVIEST:
        return ""
    where = numbers.data_uri(path.read_bytes(), path.suffix)
    return f'<a style="color:#0b5cad" download="{html.escape(path.name)}" href="{where}">Download</a>'


def slider(
    description: str,
    start: float,
    low: float,
    high: float,
    say: Callable[[float], str],
    *,
    zero: bool = False,
    width: str = "32em",
) -> ipywidgets.SelectionSlider:
    """A slider over round values, ten a decade, and exactly ``start``; ``zero`` puts 0 before them.

    It picks among values, so what Python reads is what was given: a slider of floats would move ``start`` to its grid.
    """
    values = grid(start, low, high, zero=zero)
    return ipywidgets.SelectionSlider(
        options=[(say(v), v) for v in values],
        value=start,
        description=description,
        style={"description_width": "10em"},
        layout={"width": width, "max_width": "100%"},
    )


def grid(start: float, low: float, high: float, *, zero: bool = False) -> list[float]:
    """Round values from ``low`` to ``high``, widened to hold ``start``, which takes the place of its neighbours."""
    positive = [v for v in (start, low) if v > 0]
    decades = range(math.floor(math.log10(min(positive))), math.ceil(math.log10(max(start, high))) + 1)
    steps = [float(f"{d}e{k}") for k in decades for d in ROUND]
    inside = [v for v in steps if min(positive) <= v <= max(start, high) and abs(v / (start or math.inf) - 1) > 0.02]
    return sorted({*([0.0] if zero else []), *inside, start})


def table_html(table: pd.DataFrame) -> str:
    """A small table as HTML, its numbers with three digits; quicker than pandas, for it is made at every step."""
    cells = [[str(c) for c in table.columns], *([_said(v) for v in row] for row in table.itertuples(index=False))]
    rows = ["".join(f'<td style="padding-right:1.5em">{html.escape(cell)}</td>' for cell in row) for row in cells]
    head, *body = (f"<tr>{row}</tr>" for row in rows)
    return f'<table style="line-height:1.4"><thead style="font-weight:600">{head}</thead>{"".join(body)}</table>'


def call(function: Callable[..., Any], *given: str, **settings: Any) -> str:
    """The source of a call: names of things that are there already, then settings as they are written in Python."""
    lines = [*given, *(f"{name}={source(value)}" for name, value in settings.items())]
    return f"{function.__name__}(\n" + "".join(f"    {line},\n" for line in lines) + ")"


def source(value: Any) -> str:
    """A setting as Python would read it back; a law by its name in ``laws``."""
    if callable(value):
        return f"laws.{value.__name__}"
    if isinstance(value, list | tuple):
        inner = ", ".join(source(v) for v in value)
        return f"[{inner}]"
    return repr(value.item() if isinstance(value, np.generic) else value)


def _paragraph(words: str) -> str:
    return f"<p>{html.escape(words)}</p>"


def _said(value: Any) -> str:
    if not isinstance(value, float | np.floating):
        return str(value)
    return "" if math.isnan(value) else count_text(float(value))
