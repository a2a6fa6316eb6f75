"""The cells of a text table: trimmed, missing, and numbers as people write them. Never imports torch."""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass

import pandas as pd

from drscale.commands.arguments import SUFFIXES, UserError
from drscale.stats.columns import pairs_of, size_of, unit_of
from drscale.stats.tables import DASHES, shared_word

# What pandas.read_csv takes for a missing value; here also with blanks around it.
MISSING = frozenset(["", "#N/A", "#N/A N/A", "#NA", "<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"])
GROUPED = re.compile(r"[1-9]\d{0,2}(?:\.\d{3})+")  # thousands in groups, if it is no fraction
COUNT = re.compile(r"(\d+(?:\.\d+)?)\s*([kmbgt]?)", flags=re.IGNORECASE)
THOUSANDS = ".,'_ \N{NO-BREAK SPACE}\N{NARROW NO-BREAK SPACE}\N{RIGHT SINGLE QUOTATION MARK}"


@dataclass(frozen=True)
class Signs:
    """How a text table is written, as ``pandas.read_csv`` names it: what stands between columns, between thousands
    (they are read only if this is said), and before decimals; None is found out."""

    sep: str | None = None
    thousands: str | None = None
    decimal: str | None = None

    def options(self) -> str:
        """The options of a command that say it."""
        given = {"sep": self.sep, "thousands": self.thousands, "decimal": self.decimal}
        return " ".join(f"--{name} {sign}" for name, sign in given.items() if sign is not None)


def signs_of(arguments: argparse.Namespace) -> Signs:
    """The signs that ``--sep``, ``--thousands`` and ``--decimal`` name; a UserError for those that cannot be."""
    sep, thousands, decimal = (getattr(arguments, name, None) for name in ("sep", "thousands", "decimal"))
    sep = "\t" if sep in ("tab", "\\t") else sep
    if sep is not None and (len(sep) != 1 or sep in "\"'\r\n" or sep == decimal):
        raise UserError(f"--sep {sep}: one character is needed, as ';' or tab, no quote and not the decimal sign")
    if thousands is not None and (len(thousands) != 1 or thousands not in THOUSANDS):
        raise UserError(f"--thousands {thousands}: a dot, a comma, an apostrophe, a blank or _ is needed")
    if decimal is None and thousands is not None:
        decimal = "," if thousands == "." else "."
    if decimal is not None and (decimal not in (".", ",") or decimal == thousands):
        beside = f" beside --thousands {thousands}" if decimal == thousands else ""
        raise UserError(f"--decimal {decimal}: a dot or a comma is needed, not the sign of thousands{beside}")
    return Signs(sep, thousands, decimal)


def texts_of(frame: pd.DataFrame) -> list[str]:
    """The columns that hold text."""
    return [str(c) for c in frame if pd.api.types.is_object_dtype(frame[c]) or pd.api.types.is_string_dtype(frame[c])]


def tidied(frame: pd.DataFrame, decimal: str = ".", thousands: str | None = None) -> pd.DataFrame:
    """The table with its texts trimmed, missing words missing, and columns that then hold numbers alone as numbers.

    A lone dash is a missing number where all other cells are numbers, and a text elsewhere.

    >>> import pandas as pd
    >>> from drscale.commands.cells import tidied
    >>> tidied(pd.DataFrame({"pairs": ["24.000 ", "NaN "]}), decimal=",", thousands=".")["pairs"].tolist()
    [24000.0, nan]
    """
    whole = r"\d+" if thousands is None else rf"(?:\d{{1,3}}(?:{re.escape(thousands)}\d{{3}})+|\d+)"
    number = rf"[+-]?(?:{whole}(?:\{decimal}\d*)?|\{decimal}\d+)(?:[eE][+-]?\d+)?"
    found = {}
    for name in texts_of(frame):
        cells = frame[name].map(lambda v: v.strip() if isinstance(v, str) else v)
        cells = cells.mask(cells.isin(MISSING))
        plain = cells.dropna().astype(str)
        plain = plain[~plain.isin(DASHES)] if not plain.isin(DASHES).all() else plain
        if plain.str.fullmatch(number).all():  # of a column that is empty, too
            plain = plain if thousands is None else plain.str.replace(thousands, "", regex=False)
            numbers = pd.to_numeric(plain.str.replace(decimal, ".", regex=False))
            cells = numbers.reindex(cells.index) if len(numbers) else cells.astype(float)
        found[name] = cells
    return frame.assign(**found)


def check_signs(name: str, frame: pd.DataFrame, raw: pd.DataFrame, signs: Signs) -> None:
    """Refuse a table in which a dot and a comma both may be decimal signs: 24.000 beside 7,45 is read as 24 wrongly.

    ``frame`` was read with ``signs.decimal``, ``raw`` has its cells as they are written.
    """
    decimal = signs.decimal or "."
    other = "," if decimal == "." else "."
    in_groups, foreign = rf"[+-]?[1-9]\d{{0,2}}(?:\{decimal}\d{{3}})+", rf"[+-]?\d+\{other}\d+"
    numbers, texts = raw[frame.select_dtypes("float").columns], raw[texts_of(frame)]
    grouped = _first_cell(numbers, rf".*\{decimal}.*", in_groups)
    apart = _first_cell(texts, ".*[.,].*", foreign)
    if grouped is None or apart is None:
        return
    german = signs.sep == ";"  # as its spreadsheets write it; whose cells are then the ones to wonder at
    one, two = (grouped, apart) if decimal == ("." if german else ",") else (apart, grouped)
    ways = [Signs(None, ".", ",").options(), Signs(None, ",", ".").options()]
    first, second = ways if german else reversed(ways)
    raise UserError(
        f"{name}: column {one[0]!r} is {one[1]!r} in row {one[2]} and column {two[0]!r} is {two[1]!r} in row {two[2]}: "
        f"a dot and a comma cannot both stand before decimals; say {first} or {second}"
    )


def grouped_doubts(name: str, frame: pd.DataFrame, raw: pd.DataFrame, decimal: str) -> list[str]:
    """A sentence for each column of sizes or pairs all of whose cells look like 24.000, and so may be thousands.

    ``frame`` was read with ``decimal``, ``raw`` has its cells as they are written. A loss may have three decimals, and
    so may a size that counts in millions by its name.
    """
    said, numbers = [], frame.select_dtypes("float")
    for column in map(str, numbers):
        one = numbers[[column]]
        counts = (size_of(one) or pairs_of(one)) is not None and unit_of(column)[1] == 1
        cell = _first_cell(raw[[column]], ".*", rf"[1-9]\d{{0,2}}\{decimal}\d{{3}}") if counts else None
        if cell is not None:
            value = float(cell[1].replace(decimal, "."))
            read = f"column {column!r} is {cell[1]!r} in row {cell[2]} and read as {value:g}"
            said.append(f"{name}: {read}; if {decimal!r} stands between thousands, say --thousands {decimal}")
    return said


def _first_cell(cells: pd.DataFrame, looked: str, needed: str) -> tuple[str, str, object] | None:
    """Column, text and row of the first cell that looks so, in a column where all that look so are as needed."""
    for name in cells:
        plain = cells[name].dropna().astype(str).str.strip()
        plain = plain[~plain.isin(MISSING | DASHES)]
        such = plain[plain.str.fullmatch(looked)]
        if len(such) and such.str.fullmatch(needed).all():
            return str(name), such.iloc[0], such.index[0]
    return None


def counts_of(column: pd.Series) -> tuple[pd.Series, str]:
    """A column of counts as numbers, and a sentence where they were written as 0.55M, 20k or 7B.

    >>> import pandas as pd
    >>> from drscale.commands.cells import counts_of
    >>> counts_of(pd.Series(["0.55M", "20 k"], name="Params"))[0].tolist()
    [550000.0, 20000.0]
    """
    if pd.api.types.is_numeric_dtype(column):
        return column, ""
    cells = column.map(lambda v: v.strip() if isinstance(v, str) else v)
    cells = cells.mask(cells.isin(MISSING | DASHES))
    found = cells.dropna().map(lambda v: COUNT.fullmatch(str(v)))
    grouped = found.map(lambda m: m is not None and not m[2] and bool(GROUPED.fullmatch(m[1])))
    if found.isna().any() or not len(found) or grouped.any():  # 24.000 in a table whose decimals have commas
        return column, ""
    numbers = found.map(lambda m: float(f"{float(m[1]) * SUFFIXES.get(m[2].lower(), 1.0):.12g}")).astype(float)
    suffixed = found[found.map(lambda m: bool(m[2]))]
    said = ""
    if len(suffixed):
        row = suffixed.index[0]
        said = f"column {str(column.name)!r} is written as {suffixed.iloc[0][0]!r} and read as {numbers[row]:,.0f}"
    return numbers.reindex(column.index), said


def without_word(column: pd.Series) -> tuple[pd.Series, str]:
    """A column as numbers and a sentence, where its cells are numbers with one word behind them, as 1.79 nats.

    >>> import pandas as pd
    >>> from drscale.commands.cells import without_word
    >>> without_word(pd.Series(["1.79 nats", "2.5 nats"], name="loss"))
    (0    1.79
    1    2.50
    Name: loss, dtype: float64, "column 'loss' is written as '1.79 nats' and read as 1.79")
    """
    if pd.api.types.is_numeric_dtype(column):
        return column, ""
    numbers = column.mask(column.astype(str).str.strip().isin(DASHES))
    column, word = numbers, shared_word(numbers)
    if not word:
        return column, ""
    cells = column.map(lambda v: v.strip().removesuffix(word) if isinstance(v, str) else v)
    numbers = pd.to_numeric(cells)
    first = column.index[column.astype(str).str.strip().str.endswith(word)][0]
    return numbers, f"column {str(column.name)!r} is written as {column[first]!r} and read as {numbers[first]:g}"
