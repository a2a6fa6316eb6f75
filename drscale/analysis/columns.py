"""The numbers of a table of runs that a law can be fitted to. Never imports torch."""

from __future__ import annotations

import numpy as np
import pandas as pd

from drscale.analysis.shapes import Array


def done(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of runs that came to their end; in a table without a status column, all."""
    return table[table["status"] == "done"] if "status" in table else table


def numbers(table: pd.DataFrame, x: str, y: str) -> tuple[Array, Array]:
    """x and y of the runs that are done; ValueError for what no law can be fitted to."""
    xs, ys = values(table, x, y)
    return xs, ys


def values(table: pd.DataFrame, *columns: str) -> list[Array]:
    """Columns of the runs that are done; ValueError for what no law can be fitted to."""
    rows, found = done(table), []
    if rows.empty:
        raise ValueError(f"the table has {len(table)} runs and none is done: nothing to fit")
    for name in columns:
        if name not in table:
            raise ValueError(f"the table has no column {name!r}; it has {', '.join(map(str, table.columns))}")
        if not pd.api.types.is_numeric_dtype(rows[name]):
            raise ValueError(f"column {name!r} holds {rows[name].dtype}, not numbers")
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
