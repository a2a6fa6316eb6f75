"""The runs and the columns to which a command fits a law, and what it says of the others. Never imports torch."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from drscale.commands import tables
from drscale.commands.arguments import UserError
from drscale.commands.cells import counts_of, without_word
from drscale.laws import fit as laws
from drscale.laws.result import name_of
from drscale.stats.columns import DATA, LOSSES, in_single_units, loss_of, pairs_of, size_of, unit_doubt, unit_of
from drscale.stats.tables import done, status_column, values

Law = Callable[..., Any]
BY_NAME = {name_of(law): law for law in laws.LAWS}
OWN_UNIT = r"(?i)\d\s*[kmbgt]\s*$"  # of a cell, as 20k


@dataclass
class Series:
    """Runs to fit one law to: the columns of its arguments N and D, that of the loss, and remarks on the rows."""

    rows: pd.DataFrame
    columns: dict[str, str]
    y: str
    said: list[str] = field(default_factory=list)
    by_name: bool = False  # whether the columns of x were known by their names

    def x(self, law: Law) -> str | dict[str, str]:
        """The columns as fit_law takes them for a law."""
        return next(iter(self.columns.values())) if len(self.columns) == 1 else self.columns


def _given(words: Sequence[str], law: Law | None) -> dict[str, str]:
    """The columns of ``--x`` by argument: as they are lettered, then as their names say, then in their order."""
    split = [part.strip() for word in words for part in word.split(",") if part.strip()]
    lettered = {w[0]: w[2:] for w in split if w[:2] in ("N=", "D=")}
    free = [w for w in split if w[:2] not in ("N=", "D=")]
    if not split or len(split) > 2 or len(lettered) + len(free) != len(split):
        raise UserError(f"--x {','.join(words)}: one column or two, as parameters,pairs or N=parameters,D=pairs")
    letters = [letter for letter in "ND" if letter not in lettered]
    if len(free) == 1 and len(split) == 1:
        letters = ["D" if law is laws.data_law or (law is not laws.size_law and DATA.search(free[0].lower())) else "N"]
    elif len(free) == 2 and DATA.search(free[0].lower()) and not DATA.search(free[1].lower()):
        free.reverse()
    found = lettered | dict(zip(letters, free, strict=False))
    return {letter: found[letter] for letter in "ND" if letter in found}


def series_of(frame: pd.DataFrame, arguments: argparse.Namespace, both: bool = False) -> Series:
    """The runs and columns to fit; ``both`` asks for size and pairs."""
    law, source = BY_NAME.get(arguments.law or ""), arguments.runs
    if arguments.x:
        columns = {a: tables.column(frame, c, "--x", source) for a, c in _given(arguments.x, law).items()}
    else:
        usual = {"N": size_of(frame), "D": pairs_of(frame)}
        columns = {a: c for a, c in usual.items() if c is not None}
    if arguments.y is None and (y := loss_of(frame)) is None:
        alike = [str(c) for c in frame if re.search("loss|entropy", str(c).lower())]
        hint = f"; did you mean --y {alike[0]!r}?" if alike else ""
        known = ", ".join(LOSSES)
        raise UserError(f"--y is needed: {source} has no column called {known}; it has {_names(frame)}{hint}")
    y = tables.column(frame, arguments.y, "--y", source) if arguments.y is not None else str(y)
    wanted = _letters(law)
    if not arguments.x and len(columns) == 1 and wanted != list(columns):
        _check_size(frame, columns, source)
    if arguments.x and law is not None and len(columns) > max(1, len(wanted)):
        raise UserError(f"--x {','.join(columns.values())}: {name_of(law)} takes one column")
    if law is not None and set(wanted) <= set(columns):
        columns = {a: columns[a] for a in wanted}
    elif law is laws.broken_law and columns:
        columns = dict([next(iter(columns.items()))])
    lacking = [a for a in (wanted or ("ND" if both else "")) if a not in columns]
    if lacking or not columns:
        words = {"N": "the size", "D": "the pairs"}
        what = " and ".join(words[a] for a in lacking) or "the size or the pairs"
        raise UserError(
            f"--x is needed: name the column of {what}, as --x parameters,pairs; {source} has {_names(frame)}"
        )
    if y in columns.values():
        raise UserError(f"--y {y}: it is a column of --x too")
    if both and law is None and len(columns) < 2:
        raise UserError(f"--x {','.join(columns.values())}: two columns are needed, the size and the pairs")
    finished, unfinished = _finished(frame, source)
    rows, said = _usable(finished, [*columns.values(), y], set(columns.values()), source)
    rows, columns, units = _single(rows, columns, frame)
    return Series(rows, columns, y, [*unfinished, *said, *units], by_name=not arguments.x)


def _check_size(frame: pd.DataFrame, columns: Mapping[str, str], source: str) -> None:
    """Refuse to choose the column of x where one is known by its name and another is called "size", of whatever."""
    ((letter, known),) = columns.items()
    other = "N" if letter == "D" else "D"
    for name in map(str, frame):
        if unit_of(name)[0].strip().lower() in ("size", "sizes") and name != known and len(set(frame[name])) > 1:
            both = ",".join(f"{a}={({letter: known, other: name})[a]}" for a in "ND")
            raise UserError(
                f'--x is needed: {source} has {known!r} and {name!r}; say --x "{both}" for a law of size N and '
                f'pairs D, or --x "{letter}={known}" for one of {known!r} alone'
            )


def _single(
    rows: pd.DataFrame, columns: dict[str, str], frame: pd.DataFrame
) -> tuple[pd.DataFrame, dict[str, str], list[str]]:
    """Columns that count in thousands or millions by their names, as "pairs (k)", as single ones, and what to say.

    A cell that is written as 20k has its own unit.
    """
    doubts = [unit_doubt(name) for name in columns.values() if unit_of(name)[1] == 1]
    cells = frame.loc[rows.index, list(columns.values())].astype(str)
    rows, columns, said = in_single_units(rows, columns, cells.apply(lambda c: c.str.contains(OWN_UNIT)))
    return rows, columns, [doubt for doubt in doubts if doubt] + said


def _finished(frame: pd.DataFrame, source: str) -> tuple[pd.DataFrame, list[str]]:
    """The rows of finished runs, and a sentence on the others."""
    finished, column = done(frame), status_column(frame)
    if column is None or len(finished) == len(frame):
        return finished, []
    others = frame.loc[~frame.index.isin(finished.index), column].map(lambda s: str(s).strip()).value_counts()
    if finished.empty:
        there = ", ".join(sorted(others.index))
        raise UserError(f"{source}: none of its {len(frame)} runs has the {column} 'done'; there are {there}")
    ordered = sorted(others.items(), key=lambda pair: (-pair[1], str(pair[0]).lower()))
    words = ", ".join(f"{count} {word}" for word, count in ordered)
    left = len(frame) - len(finished)
    return finished, [f"{left} of {len(frame)} runs are left out: their {column!r} is not 'done' ({words})"]


def _names(frame: pd.DataFrame) -> str:
    names = list(map(str, frame.columns))
    return ", ".join(names[: tables.FEW]) + (f" ... ({len(names)} in all)" if len(names) > tables.FEW else "")


def _letters(law: Law | None) -> list[str]:
    return [] if law is None else [a for a in laws.LAWS[law].columns if a in "ND"]


def _usable(
    rows: pd.DataFrame, columns: list[str], counts: Collection[str], source: str
) -> tuple[pd.DataFrame, list[str]]:
    """The rows that have a value in every column, and what to say of the others; 0.55M is read in those of counts."""
    said = []
    for name in columns:
        if name in counts:
            numbers, read = counts_of(rows[name])
            rows = rows.assign(**{name: numbers})
            said += [read] if read else []
        numbers, read = without_word(rows[name])
        rows = rows.assign(**{name: numbers})
        said += [read] if read else []
        empty = rows[name].isna()
        if empty.all() and len(rows):
            raise UserError(f"column {name!r} is empty in all of the {len(rows)} rows")
        if empty.any():
            where = ", ".join(str(i) for i in rows.index[empty][:5]) + (" ..." if empty.sum() > 5 else "")
            said.append(f"{int(empty.sum())} of {len(rows)} runs have no {name!r} and are left out (row {where})")
            rows = rows[~empty]
    try:
        values(rows, *columns)  # names the first value that no law can be fitted to
    except ValueError as e:
        said_here = str(e).replace("leave such runs out first", "leave such runs out with --where")
        said_here = re.sub(r"; read it with pd\.read_csv\((.*)\)$", _as_options, said_here)
        bad = re.search(r"in row (\d+) \(\d+ such of \d+\), not a number$", said_here)
        where = f', or leave the run out with --where "index != {bad[1]}"' if bad and "index" not in rows else ""
        out = f"; empty the cell{where}" if bad else ""
        raise UserError(f"{source}: {said_here}{out}") from None
    return rows, said


def _as_options(call: re.Match[str]) -> str:
    """What a call of read_csv says, in options of the command, which finds the separator of columns itself."""
    given = re.findall(r"(thousands|decimal)='(.)'", call[1])
    return "; say " + " ".join(f"--{name} {sign}" for name, sign in given)
