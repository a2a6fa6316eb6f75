"""Write figures, tables and results to files that a paper can take in. Never imports torch."""

from __future__ import annotations

import asyncio
import atexit
import base64
import concurrent.futures
import os
import textwrap
import threading
from collections.abc import Callable, Coroutine, Mapping
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from drscale.files import write_atomic
from drscale.plotting import plane

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


COLUMN, PAGE = 3.33, 7.0  # inches: a column and the text width of a two-column paper
PIXELS = 96  # to the inch; a browser's PDF has 0.75 pt to the pixel
LEAST_FONT = 9.5  # pixels: 7.1 pt
FONT = 10.0
LETTER = 0.55  # of a font's size, about: how wide a letter is
NARROW = 5  # inches: a figure that is not as wide has less room for its legend
DOTS = 300  # to the inch in a PNG
PATIENCE = 90  # seconds for one figure, the browser's start included
FIGURE_FORMATS, TABLE_FORMATS = (".pdf", ".svg", ".png", ".html"), (".tex", ".csv")

Width = Literal["column", "page"] | float


class NoBrowser(RuntimeError):
    """PDF, SVG and PNG need a browser, and none was found or it does not work."""


def browser() -> str | None:
    """The path of the browser that draws PDF, SVG and PNG, or None."""
    from choreographer.browsers.chromium import Chromium

    path = os.environ.get("BROWSER_PATH") or Chromium.find_browser(skip_local=False)
    return str(path) if path and os.access(path, os.X_OK) and Path(path).is_file() else None


def export(thing: Any, path: str | Path, width: Width = "column", height: float | None = None, **options: Any) -> Path:
    """Write a figure (.pdf .svg .png .html) or a table or anything with ``table()`` (.tex .csv); the suffix decides.

    ``width`` is "column" (3.33 in), "page" (7 in) or inches, and ``height`` inches; fonts come out at 7 pt or more at
    that size. ``options`` go to :func:`latex`. The file appears whole or not at all.

    >>> import drscale as ds
    >>> fit = ds.fit_law(ds.example_runs(), ds.size_law, warn=False)
    >>> ds.export(fit, "law.tex").read_text().count("tabular")
    2
    """
    if not isinstance(path, str | Path) or "\0" in str(path):
        raise ValueError(f"path={path!r}: the path of a file is needed, such as 'law.tex'")
    path = Path(path)
    figure = isinstance(thing, go.Figure) or hasattr(thing, "to_plotly_json")
    if not figure and not isinstance(thing, pd.DataFrame) and not callable(getattr(thing, "table", None)):
        raise ValueError(
            f"thing={type(thing).__name__}: a plotly figure, a DataFrame, a fitted law, a plan, or "
            "anything else with table() is needed"
        )
    allowed = FIGURE_FORMATS if figure else TABLE_FORMATS
    if path.suffix not in allowed:
        what = "figure" if figure else "table"
        raise ValueError(f"path={str(path)!r}: a {what} can be written as {', '.join(allowed)}")
    if figure:
        _inches(width, height)  # an HTML figure fills its page, but a wrong size is an error for all
    if figure and path.suffix == ".html":
        write_atomic(path, go.Figure(thing).to_html(include_plotlyjs=True))
    elif figure:
        write_atomic(path, draw(at_size(thing, width, height), path.suffix[1:]))
    else:
        frame = thing if isinstance(thing, pd.DataFrame) else thing.table()
        named = any(name is not None for name in frame.index.names)  # then it says what a row is about
        frame = frame.reset_index() if named else frame
        write_atomic(path, latex(frame, **options) if path.suffix == ".tex" else frame.to_csv(index=False))
    return path


def export_all(things: Mapping[str | Path, Any], width: Width = "column", **options: Any) -> list[Path]:
    """Write several things, by path; the browser starts once."""
    if not isinstance(things, Mapping):
        raise ValueError(f"things={type(things).__name__}: a dict is needed, the path of each thing and the thing")
    return [export(thing, path, width, **options) for path, thing in things.items()]


def draw(fig: go.Figure, form: str) -> bytes:
    """A figure as PDF, SVG or PNG, by a browser that stays up until the program ends."""
    if browser() is None:
        raise NoBrowser(
            f"no browser found to draw {form.upper()}: install Chromium (Debian: apt-get install chromium) or set "
            "BROWSER_PATH to its program; .html, .csv and .tex need none"
        )
    size = {"width": fig.layout.width, "height": fig.layout.height, "scale": DOTS / PIXELS if form == "png" else 1}
    if not _open:
        _open.append(_Browser())
    return bytes(_open[0].ask(lambda kaleido: kaleido.calc_fig(fig.to_plotly_json(), opts={"format": form, **size})))


def close() -> None:
    """End the browser that :func:`draw` started, if one runs; at the program's end this happens by itself."""
    while _open:
        _open.pop().ask(lambda kaleido: kaleido.close())


_open: list[_Browser] = []  # one at most: to start a browser takes seconds


class _Browser:
    """A browser that draws, in a thread of its own, on pages without a margin: kaleido's 0.1 inch cut off a PDF."""

    def __init__(self) -> None:
        import kaleido

        class Page(kaleido.PageGenerator):
            header = kaleido.PageGenerator.header + "<style>@page { margin: 0; }</style>"

        async def start() -> Any:
            return await kaleido.Kaleido(n=1, page_generator=Page())

        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()
        self.kaleido = self._wait(start())
        # Only now: the last one registered runs first, and tempfile would delete the profile of a browser that runs.
        atexit.register(close)

    def ask(self, what: Callable[[Any], Coroutine[Any, Any, Any]]) -> Any:
        """The answer of kaleido to ``what``, which calls it."""
        return self._wait(what(self.kaleido))

    def _wait(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """An answer from the thread; kaleido by itself waits for ever for a browser that died."""
        answer = asyncio.run_coroutine_threadsafe(coroutine, self.loop)
        try:
            return answer.result(PATIENCE)
        except concurrent.futures.TimeoutError:
            answer.cancel()
            while _open:  # the next figure starts another
                asyncio.run_coroutine_threadsafe(_open.pop().kaleido.close(), self.loop)
            raise NoBrowser(
                f"the browser {browser()} did not draw within {PATIENCE} s: does it start by hand?"
            ) from None


def at_size(fig: go.Figure, width: Width = "column", height: float | None = None) -> go.Figure:
    """A copy of a figure for print: its size in inches, its fonts and lines scaled to fit."""
    inches = _inches(width, height)
    copy = go.Figure(_unpacked(go.Figure(fig).to_plotly_json()))
    base = copy.layout.font.size or (copy.layout.template.layout.font.size if copy.layout.template else None) or 12
    shrink, usual = FONT / base, inches * (0.72 if inches < NARROW else 0.5)
    if height is None:
        wide, high = copy.layout.width, copy.layout.height
        if high and wide:  # what stands around the plot does not shrink, so a narrow figure is not flatter than usual
            height = max(inches * high / wide, usual if inches < NARROW else 0.0)
        else:
            height = high * shrink / PIXELS if high else usual
    layout = _shrunk(copy.layout.to_plotly_json(), shrink)
    layout.setdefault("font", {})["size"] = FONT
    copy = go.Figure(data=[_thinner(t.to_plotly_json(), shrink) for t in copy.data], layout=layout)
    below = copy.layout.legend.yref == "container"  # the legend; else it stands between title and plot
    words = copy.layout.title.text or ""
    more = words.count("<br>")
    top = (20 if below else 46) + 14 * more if words else 4
    heads = [a for a in copy.layout.annotations if a.yref == "paper" and (a.y or 0) >= 1 and a.yanchor == "bottom"]
    top += 13 * max((a.text.count("<br>") + 1 for a in heads), default=0)  # titles of panels
    copy.update_layout(
        width=round(inches * PIXELS),
        height=round(height * PIXELS),
        margin={"l": 30 if any(y.title.text for y in copy.select_yaxes()) else 4, "r": 8, "t": top, "b": 4},
        title={"y": 1, "yanchor": "top", "yref": "container", "pad": {"t": 3 + 7 * more}, "font": {"size": FONT}},
        legend={"font": {"size": LEAST_FONT}, "title": {"font": {"size": LEAST_FONT}}, "tracegroupgap": 0},
    )
    copy.update_layout(legend={"indentation": -8 if inches < NARROW else 0})  # less, and entries touch
    for axis in [key for key in copy.layout if key.startswith(("xaxis", "yaxis"))]:
        copy.update_layout({axis: {"ticklen": 3, "title": {"standoff": 4, "font": {"size": FONT}}}})
        copy.update_layout({axis: {"tickfont": {"size": LEAST_FONT}}})
    copy.update_annotations(font_size=LEAST_FONT)
    _break_titles(copy)
    plane.place_again(copy, LEAST_FONT)
    return copy


def _break_titles(fig: go.Figure) -> None:
    """Break the title of an axis that is longer than there is room for: plotly cuts it at the edge of the figure."""
    width, height = fig.layout.width, fig.layout.height
    rows = [t for y in fig.select_yaxes() for t in y.ticktext or ()]
    columns = [getattr(trace, "y", None) for trace in fig.data]  # a pie or a table has no y
    rows += [t for column in columns if column is not None for t in column if isinstance(t, str)]
    left = 30 + LETTER * LEAST_FONT * max((len(part) for t in rows for part in str(t).split("<br>")), default=0)
    for axis in [*fig.select_xaxes(), *fig.select_yaxes()]:
        start, end = axis.domain or (0.0, 1.0)
        if axis.plotly_name.startswith("x"):
            middle = left + (start + end) / 2 * (width - left)
            room = 2 * min(middle, width - middle) if end - start > 0.9 else 1.1 * (end - start) * (width - left)
        else:
            room = max(0.9 * (end - start), 0.6 if end - start > 0.9 else 0.0) * (height - 40)
        text, letters = axis.title.text or "", int(room / (LETTER * FONT))
        if len(text) > letters and "<" not in text:
            axis.title.text = "<br>".join(textwrap.wrap(text, max(letters, 12)))


def _unpacked(value: Any) -> Any:
    """A figure's JSON with arrays where plotly packed them as base64."""
    if isinstance(value, Mapping):
        return _array(value) if "bdata" in value else {key: _unpacked(v) for key, v in value.items()}
    return [_unpacked(v) for v in value] if isinstance(value, list | tuple) else value


def _inches(width: Width, height: float | None) -> float:
    """The width in inches; ValueError for a size that no page has."""
    inches = {"column": COLUMN, "page": PAGE}.get(width) if isinstance(width, str) else width
    if not isinstance(inches, Real) or not 1 <= inches <= 40:
        raise ValueError(f"width={width!r}: allowed are 'column', 'page' or inches between 1 and 40")
    if height is not None and (not isinstance(height, Real) or not 0.5 <= height <= 40):
        raise ValueError(f"height={height!r}: inches between 0.5 and 40")
    return float(inches)


def _shrunk(value: Any, shrink: float) -> Any:
    """Every font size of a layout made smaller, but not too small to read."""
    if isinstance(value, list | tuple):
        return [_shrunk(v, shrink) for v in value]
    if not isinstance(value, dict):
        return value
    made = {}
    for key, inner in value.items():
        if key == "template":
            made[key] = inner
        elif key.endswith("font") and isinstance(inner, dict) and "size" in inner:
            made[key] = inner | {"size": max(LEAST_FONT, inner["size"] * shrink)}
        else:
            made[key] = _shrunk(inner, shrink)
    return made


def _thinner(trace: dict[str, Any], shrink: float) -> dict[str, Any]:
    """Markers, lines, bars and words of a trace made smaller."""
    made = dict(trace)
    for part, sizes in (
        ("marker", ("size",)),
        ("line", ("width",)),
        ("textfont", ("size",)),
        ("error_x", ("thickness", "width")),
        ("error_y", ("thickness", "width")),
    ):
        if isinstance(made.get(part), dict):
            made[part] = dict(made[part])
            for size in sizes:
                if size in made[part]:
                    smaller = np.multiply(made[part][size], shrink if part == "textfont" else 0.85 * shrink)
                    made[part][size] = (np.maximum(smaller, LEAST_FONT) if part == "textfont" else smaller).tolist()
            if part == "marker" and "width" in made[part].get("line", {}):
                line = made[part]["line"]
                made[part]["line"] = line | {"width": np.multiply(line["width"], shrink).tolist()}
    return made


_SPECIAL = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
}
_SYMBOLS = {
    "M": "$M$",
    "B": "$B$",
    "D": "$D$",
    "N": "$N$",
    "mu": r"$\mu$",
    "eta": r"$\eta$",
    "delta": r"$\delta$",
    "R2": "$R^2$",
    "r2": "$R^2$",
    "R2_log": "$R^2_{\\log}$",
}


def latex(frame: pd.DataFrame, *, digits: int = 3, symbols: bool = True) -> str:
    """A table as a LaTeX tabular with booktabs rules.

    Columns ``low`` and ``high`` join ``value`` as an interval, ``x_low`` and ``x_high`` join ``x``; text is escaped, a
    missing number is a dash, and with ``symbols`` a parameter's name becomes its Greek letter. Below the tabular stands
    what it is of, if ``frame.attrs["about"]`` says so, what intervals these are, if ``frame.attrs["level"]`` does, as
    0.95, and what a column ``note`` says. A ``stderr`` beside an interval is left out: it takes runs as independent.
    """
    if not isinstance(digits, Integral) or not 1 <= digits <= 17:
        raise ValueError(f"digits={digits!r}: a whole number from 1 to 17")
    if frame.columns.has_duplicates:
        raise ValueError(f"the table has several columns {frame.columns[frame.columns.duplicated()][0]!r}: keep one")
    joined, texts = _joined(list(map(str, frame.columns))), frame.set_axis(list(map(str, frame.columns)), axis=1)
    columns = [c for c in map(str, texts) if c not in {e for pair in joined.values() for e in pair}]
    columns = [c for c in columns if c != "stderr" or "value" not in joined]  # it takes runs as independent
    columns = [c for c in columns if not (texts[c].isna() | (texts[c].astype(str) == "")).all()]
    numeric = {c: pd.api.types.is_numeric_dtype(texts[c]) and not pd.api.types.is_bool_dtype(texts[c]) for c in columns}

    def cell(row: pd.Series, column: str) -> str:
        if not numeric[column]:
            missing = row[column] is None or row[column] is pd.NA or row[column] != row[column]
            return "--" if missing else escape(str(row[column]), symbols)
        text = number(row[column], digits)
        ends = [row[e] for e in joined.get(column, ())]
        if not ends or any(pd.isna(e) for e in ends):
            return text
        return f"{text} [{number(ends[0], digits)}, {number(ends[1], digits)}]"

    noted = len(columns) > 1 and "note" in columns and not numeric["note"]
    columns = [c for c in columns if not (noted and c == "note")]
    cells = [[cell(row, c) for c in columns] for _, row in texts.iterrows()]
    lines = [" & ".join(row) + r" \\" for row in cells]
    heads = [escape(c, symbols) for c in columns]
    shape = "".join("r" if numeric[c] else "l" for c in columns)
    begin = ["% needs \\usepackage{booktabs}", rf"\begin{{tabular}}{{{shape}}}", r"\toprule"]
    table = [*begin, " & ".join(heads) + r" \\", r"\midrule", *lines, r"\bottomrule", r"\end{tabular}"]
    level, about = frame.attrs.get("level"), frame.attrs.get("about")
    cells_joined = [text for row in cells for c, text in zip(columns, row, strict=True) if c in joined]
    brackets = isinstance(level, Real) and any("[" in text for text in cells_joined)
    said = [escape(f"{about}.")] * isinstance(about, str)
    said += [f"In brackets: {100 * level:g}\\% intervals."] if isinstance(level, Real) and brackets else []
    table += _small(" ".join(said)) if said else []
    if noted:
        keys = [i for i, c in enumerate(columns) if c not in joined]
        told = [[f"{heads[i]} {row[i]}" if numeric[columns[i]] else row[i] for i in keys] for row in cells]
        table += _notes(_row_names(told), texts["note"])
    return "\n".join([*table, ""])


def _row_names(rows: list[list[str]]) -> list[str]:
    """What a row is called: its first cells, as few as tell the rows apart and three at most, or else its number."""
    for n in (1, 2, 3):
        names = [" / ".join(row[:n]) for row in rows]
        if len(set(names)) == len(names):
            return names
    return [f"row {i}" for i in range(1, len(rows) + 1)]


def _notes(names: list[str], notes: pd.Series) -> list[str]:
    """The lines below a table: a sentence for each distinct note, which begins with the names of its rows."""
    rows: dict[str, list[str]] = {}
    for name, said in zip(names, notes, strict=True):
        if not pd.isna(said) and str(said).strip():
            rows.setdefault(str(said).strip(), []).append(name)
    sentences = [f"{', '.join(found)}: {escape(said.removesuffix('.'))}." for said, found in rows.items()]
    return _small(f"Notes: {' '.join(sentences)}") if sentences else []


def _small(words: str) -> list[str]:
    """A paragraph in small letters below a table."""
    return [r"\par\smallskip", rf"{{\footnotesize {words}\par}}"]


def _joined(columns: list[str]) -> dict[str, tuple[str, str]]:
    """Which columns carry an interval, and the columns of its ends."""
    found = {c: (f"{c}_low", f"{c}_high") for c in columns if {f"{c}_low", f"{c}_high"} <= set(columns)}
    return found | ({"value": ("low", "high")} if {"value", "low", "high"} <= set(columns) else {})


def escape(text: str, symbols: bool = False) -> str:
    """Text that LaTeX prints as it stands."""
    if symbols and text in _SYMBOLS:
        return _SYMBOLS[text]
    return "".join(_SPECIAL.get(c, c) for c in text)


def number(value: float, digits: int = 3) -> str:
    """A number with so many significant digits; very large and very small ones as powers of ten."""
    if pd.isna(value):
        return "--"
    if np.isinf(value):
        return r"$\infty$" if value > 0 else r"$-\infty$"
    if float(value).is_integer() and abs(value) < 1e4:
        return f"{int(value)}" if value >= 0 else f"$-{abs(int(value))}$"
    if 1e-3 <= abs(value) < 1e4:
        places = max(digits - 1 - int(np.floor(np.log10(abs(value)))), 0)
        text = f"{abs(value):.{places}f}"
        return text if value > 0 else f"${'-'}{text}$"
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    return rf"${mantissa} \times 10^{{{int(exponent)}}}$"
