"""The numbers of a table of runs that a law can be fitted to. Never imports torch."""

from __future__ import annotations

import warnings
from dataclasses import fields

import numpy as np
import pandas as pd

from drscale.laws._families import Array
from drscale.recipe import Recipe
from drscale.runs import StoreWarning


def done(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of runs that came to their end; in a table without a status column, all."""
    if not isinstance(table, pd.DataFrame):
        raise ValueError(f"table={table!r}: a DataFrame is needed, as pandas.read_csv or RunStore.table give it")
    return table[table["status"] == "done"] if "status" in table else table


def numbers(table: pd.DataFrame, x: str, y: str) -> tuple[Array, Array]:
    """x and y of the runs that are done; ValueError for what no law can be fitted to."""
    xs, ys = values(table, x, y)
    return xs, ys


def values(table: pd.DataFrame, *columns: str) -> list[Array]:
    """Columns of the runs that are done; ValueError for what no law can be fitted to."""
    rows, found = done(table), []
    if rows.empty:
        said = f" (column 'status' says {', '.join(map(str, pd.unique(table['status'])))})" if len(table) else ""
        raise ValueError(f"the table has {len(table)} runs and none is done{said}: nothing to fit")
    for name in columns:
        if name not in table:
            raise ValueError(f"the table has no column {name!r}; it has {', '.join(map(str, table.columns))}")
        if not pd.api.types.is_numeric_dtype(rows[name]):
            raise ValueError(_text_in(name, rows[name]))
        got = rows[name].to_numpy(dtype=float, na_value=np.nan)
        wrong = ~np.isfinite(got) | (got <= 0)
        if wrong.any():
            i = int(np.argmax(wrong))
            raise ValueError(
                f"column {name!r} is {got[i]:g} in row {rows.index[i]!r} ({wrong.sum()} such of {len(got)}): "
                "a law needs finite numbers above zero, leave such runs out first"
            )
        found.append(got)
    return found


class TooFewLevels(ValueError):
    """A table with too few different values of x for the parameters of a law."""


def check_level(level: float) -> None:
    """ValueError unless ``level`` is a share of certainty, as 0.95."""
    if not 0 < level < 1:
        raise ValueError(f"level={level!r}: must lie between 0 and 1")


def _text_in(name: str, column: pd.Series) -> str:
    """What keeps a column from being numbers, and where."""
    wrong = column[pd.to_numeric(column, errors="coerce").isna() & column.notna()]
    if not column.map(lambda v: isinstance(v, str)).any():
        return f"column {name!r} holds {column.dtype}, not numbers"
    if wrong.empty:
        return f"column {name!r} holds numbers as {column.dtype}: turn it with pandas.to_numeric first"
    first, where = wrong.iloc[0], wrong.index[0]
    return f"column {name!r} is {first!r} in row {where!r} ({len(wrong)} such of {len(column)}), not a number"


def warn_if_mixed(table: pd.DataFrame, *x: str, stacklevel: int = 3) -> None:
    """Warn when runs are about to be fitted together that differ in more than ``x``, rate and seed.

    In texts, in being synthetic, and where ``x`` are sizes or numbers of pairs in any other field of the recipe.
    """
    said = []
    if "fingerprint" in table:
        prints = sorted({str(f) for f in table["fingerprint"].dropna() if str(f)})
        if len(prints) > 1:
            some = ", ".join(p[:12] for p in prints[:4])
            said.append(f"{len(prints)} different text fingerprints ({some} ...): filter by 'fingerprint' first")
    if "synthetic" in table and len(set(table["synthetic"].dropna())) > 1:
        said.append("measured and synthetic runs: filter by 'synthetic' first")
    attacks = "strategy" in table and set(table["strategy"]) <= {"standard", "hard_negative"}  # only when scored
    scored = ("attacked", "synonyms") if attacks else ("attacked",)
    free = {"rung" if n.startswith("params_") else "pairs" for n in x if n.startswith("params_") or n == "train_pairs"}
    counts = {"rung": "params_layers", "pairs": "train_pairs"}  # of a table that is no record of ours
    for name, count in counts.items() if free else ():
        if name not in table and name not in free and count in table and len(set(table[count].dropna())) > 1:
            said.append(f"{len(set(table[count].dropna()))} different {count!r}: keep one, or fit a law of both")
    for f in fields(Recipe) if free else ():
        told = f.name in table and f.name not in {"seed", "rate", "warmup", *scored, *free}
        if told and len(found := sorted(set(table[f.name].dropna()), key=str)) > 1:
            one = f'keep one with query("{f.name} == {found[0]!r}")'
            said.append(f"{len(found)} different {f.name!r}, as {', '.join(map(str, found[:4]))}: {one} first")
    for sentence in said:
        warnings.warn(f"one fit of {sentence}", StoreWarning, stacklevel=stacklevel)
