"""The numbers of a table of runs that a law can be fitted to. Never imports torch."""

from __future__ import annotations

import difflib
import math
import re
import warnings
from collections.abc import Hashable, Iterable
from dataclasses import fields
from numbers import Real
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from drscale.recipe import STRATEGIES, Recipe
from drscale.runs import CHANCE, StoreWarning
from drscale.stats.columns import LOSSES, PAIRS, SIZES, loss_of, pairs_of, size_of

Array = npt.NDArray[np.float64]
MOST = 1e100  # of a number to which a law is fitted: its square has to be one, too
DASHES = frozenset(["-", "--", "\N{EN DASH}", "\N{EM DASH}"])  # where a number is missing
PLAIN_WORDS = {"nat", "param", "parameter", "pair", "example", "token"}
POWERS = {"k": 3, "m": 6, "b": 9, "g": 9}  # of a number with a letter for its zeros
# Numbers that are read as text, and the options of pandas.read_csv that read them.
WRITTEN = (
    (r"[+-]?\d{1,3}(\.\d{3})+(,\d+)?", "sep=';', thousands='.', decimal=','"),
    (r"[+-]?[1-9]\d{0,2}(,\d{3})+(\.\d+)?", "thousands=','"),
    (r"[+-]?\d+,\d+", "sep=';', decimal=','"),
)
MANY = 20  # columns: for a table with more, a message names only those with a similar spelling


def done(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of finished runs; in a table without a status column, all rows."""
    if not isinstance(table, pd.DataFrame):
        shown = repr(table)
        shown = type(table).__name__ if "\n" in shown or len(shown) > 60 else shown
        raise ValueError(f"table={shown}: a DataFrame is needed, as pandas.read_csv or RunStore.table give it")
    column = status_column(table)
    if column is None:
        return table
    return table[_is_done(table[column])]


def status_column(table: pd.DataFrame) -> str | None:
    """The column that says whether a run is done: ``status``, or in capitals or with blanks around it if one is done.

    A ``Status`` that never says so is another project's word for something else, and every row counts.
    """
    if "status" in table:
        return "status"
    for name in table.columns:
        if isinstance(name, str) and name.strip().lower() == "status" and _is_done(table[name]).any():
            return name
    return None


def _is_done(column: pd.Series) -> pd.Series:
    return column.map(lambda word: str(word).strip().lower() == "done").astype(bool)


def require(table: pd.DataFrame, *columns: str, what: str = "the table", hint: str = "") -> pd.DataFrame:
    """Return the table; a ValueError names the first missing column, the existing ones, and how to get it."""
    if not isinstance(table, pd.DataFrame):
        raise ValueError(f"{what} is of the type {type(table).__name__}: a DataFrame is needed")
    for name in columns:
        if not isinstance(name, Hashable) or name not in table:
            known = [repr(c) if isinstance(c, str) and c != c.strip() else str(c) for c in table.columns]
            mark = next((m for m in ";\t|" if len(known) == 1 and m in str(table.columns[0])), "")
            hint = hint or (f"The fields seem to be divided by {mark!r}: read_csv(..., sep={mark!r})" if mark else "")
            near = difflib.get_close_matches(str(name), known, 3) if len(known) > MANY else known
            listed = ", ".join(near) if len(near) == len(known) else ", ".join([*near, f"... {len(known)} in all"])
            raise ValueError(f"{what} has no column {name!r}; it has {listed}{f'. {hint}' if hint else ''}")
        if isinstance(table[name], pd.DataFrame):
            raise ValueError(f"{what} has several columns {name!r}: keep one")
    return table


def numbers(table: pd.DataFrame, x: str, y: str) -> tuple[Array, Array]:
    """x and y of the finished runs; ValueError for values to which no law can be fitted."""
    xs, ys = values(table, x, y)
    return xs, ys


def values(table: pd.DataFrame, *columns: str) -> list[Array]:
    """Columns of the finished runs; ValueError for values to which no law can be fitted."""
    rows, found = done(table), []
    if rows.empty:
        status = status_column(table)
        words = "" if status is None else ", ".join(map(str, pd.unique(table[status])))
        said = f" (column {status!r} says {words})" if len(table) else ""
        raise ValueError(f"the table has {len(table)} runs and none is done{said}: nothing to fit")
    for name in columns:
        require(table, name, hint=by_name(table, *columns))
        if not pd.api.types.is_numeric_dtype(rows[name]) or pd.api.types.is_complex_dtype(rows[name]):
            raise ValueError(_text_in(name, rows[name]))
        got = rows[name].to_numpy(dtype=float, na_value=np.nan)
        wrong = ~np.isfinite(got) | (got <= 0)
        if wrong.any():
            i = int(np.argmax(wrong))
            raise ValueError(
                f"column {name!r} is {got[i]:g} in row {_label(rows.index[i])} ({wrong.sum()} such of {len(got)}): "
                "a law needs finite numbers above zero, leave such runs out first"
            )
        if (got > MOST).any():
            i = int(np.argmax(got > MOST))
            raise ValueError(
                f"column {name!r} is {got[i]:g} in row {_label(rows.index[i])}: at most {MOST:g} is allowed"
            )
        found.append(got)
    return found


def by_name(table: pd.DataFrame, *columns: str) -> str:
    """The arguments that say what a table calls its size, pairs and loss, where it lacks our own names; "" otherwise.

    >>> import pandas as pd
    >>> from drscale.stats.tables import by_name
    >>> by_name(pd.DataFrame({"parameters": [1e6], "loss": [2.5]}), "params_layers", "in_domain_entropy")
    "Name your columns: x='parameters', y='loss'"
    """
    usual = {SIZES[0]: size_of, PAIRS[0]: pairs_of, LOSSES[0]: loss_of}
    columns = tuple(name for name in columns if isinstance(name, str))  # what is no name is told by another sentence
    if len(table.columns) == 1 or all(name in table or name not in usual for name in columns):
        return ""  # one column is a table whose fields were not told apart
    known = {n: n if n in table or n not in usual else usual[n](table) or "..." for n in columns}
    x = [known[name] for name in known if name in (SIZES[0], PAIRS[0])]
    y = [known[name] for name in known if name == LOSSES[0] and name not in table]
    words = [f"x={x[0]!r}" if len(x) == 1 else f"x={tuple(x)!r}"] * bool(x) + [f"y={name!r}" for name in y]
    return f"Name your columns: {', '.join(words)}"


class TooFewLevels(ValueError):
    """A table with too few different values of x for the parameters of a law."""


def check_level(level: float) -> None:
    """Raise a ValueError unless ``level`` is between 0 and 1, such as 0.95."""
    if not isinstance(level, Real) or not 0 < level < 1:
        raise ValueError(f"level={level!r}: must lie between 0 and 1")


def _label(row: object) -> str:
    """A row's label as it is typed: 7, and not np.int64(7)."""
    return repr(row.item() if isinstance(row, np.generic) else row)


def _text_in(name: str, column: pd.Series) -> str:
    """Why a column is not numbers, and in which row."""
    wrong = column[pd.to_numeric(column, errors="coerce").isna() & column.notna()]
    if not column.map(lambda v: isinstance(v, str)).any():
        return f"column {name!r} holds {column.dtype}, not numbers"
    dashes = column[column.astype(str).str.strip().isin(DASHES)]
    others = wrong[~wrong.index.isin(dashes.index)].astype(str).str.strip()
    if len(dashes) and others.str.fullmatch("|".join(pattern for pattern, _ in WRITTEN)).all():
        signs = sorted({str(cell).strip() for cell in dashes})
        where = f"in row {_label(dashes.index[0])} ({len(dashes)} such of {len(column)})"
        return (
            f"column {name!r} is {dashes.iloc[0]!r} {where}, not a number: read the file with pd.read_csv(..., "
            f"na_values={signs!r}) and leave such runs out, table.dropna(subset=[{name!r}])"
        )
    grouped = column.dropna().astype(str).str.strip()
    grouped = grouped[~grouped.str.isdigit()]
    if wrong.empty and len(grouped) and grouped.str.fullmatch(WRITTEN[0][0]).all():  # read with decimal=","
        wrong = grouped
    if wrong.empty:
        return f"column {name!r} holds numbers as {column.dtype}: turn it with pandas.to_numeric first"
    first, where = wrong.iloc[0], _label(wrong.index[0])
    told = f"column {name!r} is {first!r} in row {where} ({len(wrong)} such of {len(column)}), not a number"
    if short := re.fullmatch(r"([+-]?\d+(?:\.\d+)?)\s*([kKmMbBgG])", str(first).strip()):
        told += f"; write {short[1]}e{POWERS[short[2].lower()]} for it"
    if word := shared_word(column):
        cell = f"table[{name!r}]"
        stripped = f"{cell}.astype(str).str.removesuffix({word!r}).astype(float)"
        told += f"; each of these carries {word!r}: strip it, {cell} = {stripped}"
    options = next((o for pattern, o in WRITTEN if re.fullmatch(pattern, str(first).strip())), "")
    return f"{told}; read it with pd.read_csv(..., {options})" if options else told


def shared_word(column: pd.Series) -> str:
    """The word, or the %, that stands behind the numbers of a text column, in all cells or all but bare ones; or "".

    Only words that leave the number as it is: nats and the names of what is counted. ``%`` has to stand in every cell.

    >>> import pandas as pd
    >>> from drscale.stats.tables import shared_word
    >>> shared_word(pd.Series(["1.79 nats", "2.5 nats"])), shared_word(pd.Series(["20k", "30k"]))
    ('nats', '')
    """
    cells = column.dropna().astype(str).str.strip()
    found = cells.str.extract(r"^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?\s*([^\W\d_][\w/]*|%)?$", expand=False)
    words = found[pd.to_numeric(cells, errors="coerce").isna()].unique()  # "1e5" has none
    if len(words) != 1 or not isinstance(words[0], str):
        return ""
    word = words[0].lower()
    if word == "%":
        return "%" if cells.str.endswith("%").all() else ""
    return str(words[0]) if word.removesuffix("s") in PLAIN_WORDS else ""


def warn_if_mixed(table: pd.DataFrame, *x: str, stacklevel: int = 3) -> None:
    """Warn if the runs of one fit differ in more than ``x``, rate and seed.

    It checks texts, ``synthetic``, and, if ``x`` are sizes or numbers of pairs, every other field of the recipe. Of a
    table that somebody else made it knows size and pairs by their names.
    """
    said = []
    if "fingerprint" in table:
        prints = sorted({str(f) for f in table["fingerprint"].dropna() if str(f)})
        if len(prints) > 1:
            some = ", ".join(p[:12] for p in prints[:4])
            said.append(f"{len(prints)} different text fingerprints ({some} ...): filter by 'fingerprint' first")
    if "synthetic" in table and len(set(table["synthetic"].dropna())) > 1:
        said.append("measured and synthetic runs: filter by 'synthetic' first")
    free_of = {name for name, row in STRATEGIES.items() if "synonyms" not in row.options}
    attacks = "strategy" in table and set(table["strategy"]) <= free_of  # only when scored
    scored = ("attacked", "synonyms") if attacks else ("attacked",)
    free = {"rung" if n.startswith("params_") else "pairs" for n in x if n.startswith("params_") or n == "train_pairs"}
    counts = {"rung": "params_layers", "pairs": "train_pairs"}  # for a table that is not from a RunStore
    for name, count in counts.items() if free else ():
        if name not in table and name not in free and count in table and len(set(table[count].dropna())) > 1:
            said.append(f"{len(set(table[count].dropna()))} different {count!r}: keep one, or fit a law of both")
    other = _other_axis(table, x[0]) if len(x) == 1 and not free else None
    if other is not None and (many := int(table[other].nunique())) > 1:
        said.append(f"{many} different {other!r}: keep one, or fit a law of both")
    for f in fields(Recipe) if free else ():
        told = f.name in table and f.name not in {"seed", "rate", "warmup", *scored, *free}
        if told and len(found := sorted(set(table[f.name].dropna()), key=str)) > 1:
            one = f'keep one with query("{f.name} == {found[0]!r}")'
            said.append(f"{len(found)} different {f.name!r}, as {', '.join(map(str, found[:4]))}: {one} first")
    for sentence in said:
        warnings.warn(f"one fit of {sentence}", StoreWarning, stacklevel=stacklevel)


def _other_axis(table: pd.DataFrame, x: str) -> str | None:
    """The pairs of a table whose x is the size, and the other way round, where names of more than a letter say so."""
    size, pairs = size_of(table), pairs_of(table)
    other = pairs if x == size else size if x == pairs else None
    if other is None or min(len(x), len(other)) == 1 or not pd.api.types.is_numeric_dtype(table[other]):
        return None
    return other


def no_better_than_a_guess(entropies: Iterable[float]) -> str:
    """Say how many of some runs' entropies in-domain, in nats, are at or above a guess's; "" if none is.

    >>> from drscale.stats.tables import no_better_than_a_guess
    >>> no_better_than_a_guess([13.1, 2.4])
    '1 of 2 runs are no better than a guess (ln 257 = 5.55 nats)'
    """
    known = pd.to_numeric(pd.Series(list(entropies), dtype=object), errors="coerce").dropna()
    guesses = int((known >= CHANCE).sum())
    return f"{guesses} of {len(known)} runs are no better than a guess (ln 257 = {CHANCE:.2f} nats)" if guesses else ""


def guess_doubt(table: pd.DataFrame) -> str:
    """Say in a sentence which runs of a table are no better in-domain than a guess, and what to do; "" if none is.

    A run whose calibrated entropy lies below a guess's, its interval too, has learnt to rank: it is only overconfident.

    >>> import pandas as pd
    >>> from drscale.stats.tables import guess_doubt
    >>> guess_doubt(pd.DataFrame({"in_domain_entropy": [2.4]}))
    ''
    """
    name = "in_domain_entropy"
    said = no_better_than_a_guess(table[name]) if name in table else ""
    if not said:
        return ""
    least = table.get("in_domain_calibrated_high", pd.Series(math.nan, table.index))
    least = least[pd.to_numeric(table[name], errors="coerce") >= CHANCE]
    confident = int((least < CHANCE).sum())
    beat = f"once calibrated, {confident} of {len(least)} beat it, so these are overconfident"
    ways = [f'{beat}: train fewer steps, on more pairs, or with select = "validation", and fit in_domain_calibrated']
    ways = ways * bool(confident)
    ways += ["train more steps, on more pairs, or with another rate"] * (confident < len(least))
    return f"{said}: {'; the others: '.join(ways)}"


def count_text(value: float) -> str:
    """A count the way people say it: 950, 17.6K, 1.3M, 7B, 30T."""
    if np.isinf(value):
        return "∞" if value > 0 else "-∞"
    for size, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K")):
        if abs(value) >= 0.9995 * size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


Side = Literal["lower", "higher"]

Better = Side | tuple[Side, Side]


def non_dominated(points: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Which points of shape (..., points, axes) no other dominates, lower being better on every axis."""
    p = np.asarray(points, dtype=float)
    if p.ndim < 2 or p.shape[-1] < 2:
        raise ValueError(f"points: shape {p.shape}, expected (..., points, axes) with at least two axes")
    if not np.isfinite(p).all():
        raise ValueError("points: every number must be finite")
    if p.shape[-2] == 0:
        return np.zeros(p.shape[:-1], dtype=bool)
    if p.shape[-1] > 2:
        return _pairwise(p)
    across, along = (np.ascontiguousarray(p[..., i]) for i in (0, 1))
    order, x = np.argsort(across, axis=-1), np.sort(across, axis=-1)
    if ties := bool((x[..., 1:] == x[..., :-1]).any()):
        order = np.lexsort((along, across), axis=-1)
    y = np.take_along_axis(along, order, axis=-1)
    # In this order dominating points come first, and an earlier y is as low only if the point itself is dominated.
    kept = np.ones(y.shape, dtype=bool)
    kept[..., 1:] = y[..., 1:] < np.minimum.accumulate(y, axis=-1)[..., :-1]
    if ties:  # a point equal to the one before it gets the same answer
        twin = np.zeros(y.shape, dtype=bool)
        twin[..., 1:] = (x[..., 1:] == x[..., :-1]) & (y[..., 1:] == y[..., :-1])
        first = np.maximum.accumulate(np.where(twin, 0, np.arange(y.shape[-1])), axis=-1)
        kept = np.take_along_axis(kept, first, axis=-1)
    found = np.empty_like(kept)
    np.put_along_axis(found, order, kept, axis=-1)
    return found


def signs(better: Better, axes: int = 2) -> Array:
    """1 for each axis on which lower is better, -1 where higher is."""
    words = (better,) * axes if isinstance(better, str) else tuple(better)
    if len(words) != axes or not set(words) <= {"lower", "higher"}:
        raise ValueError(f"better={better!r}: 'lower' or 'higher', or one of them for each of {axes} axes")
    return np.array([1.0 if w == "lower" else -1.0 for w in words])


def _pairwise(p: Array) -> npt.NDArray[np.bool_]:
    """The same for any number of axes, by comparing each point with all."""
    found = np.empty(p.shape[:-1], dtype=bool)
    for i in range(p.shape[-2]):
        mine = p[..., i : i + 1, :]
        found[..., i] = ~((p <= mine).all(-1) & (p < mine).any(-1)).any(-1)
    return found
