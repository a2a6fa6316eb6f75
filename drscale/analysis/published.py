"""The laws and tables that papers printed, read from data/published with their doubts. Never imports torch."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from drscale.analysis import laws as formulas
from drscale.analysis.curve import Curve

FOLDER = Path(__file__).resolve().parents[2] / "data" / "published"
POWER, JOINT = ("tables_1_2", "table_3", "fang"), ("table_4", "fang_joint")
LAWS: dict[str, Callable[..., Any]] = {
    "size_law": formulas.size_law,
    "data_law": formulas.data_law,
    "joint_law": formulas.joint_law,
}
PARAMETERS: dict[str, tuple[str, ...]] = {"size_law": ("M", "mu", "delta"), "data_law": ("B", "eta", "delta")}
PARAMETERS |= {"joint_law": ("M", "mu", "B", "eta", "delta")}
NUMBERS = ("M", "mu", "B", "eta", "delta", "r2", "n_low", "n_high", "d_low", "d_high")
TEXTS = (
    "name",
    "source",
    "table",
    "page",
    "law",
    "training",
    "training_set",
    "aspect",
    "scope",
    "reading",
    "seen",
    "note",
)
DRAGON = (2, 3, 4, 5, 8, 9, 10, 11)


def laws(folder: str | Path | None = None) -> pd.DataFrame:
    """Every published law, a row each; a row that can be read in several ways has a row for each ``reading``.

    M and mu belong to the size, B and eta to the pairs (the papers' D and eta, or B and beta); ``n_low`` to ``d_high``
    is the box fitted in, as far as it was said. ``seen`` tells a paper's own text from a secondary source.
    """
    table = _printed(folder)
    numbers = table[list(NUMBERS)].apply(pd.to_numeric)
    return pd.concat([table[["name"]], numbers, table[[t for t in TEXTS if t != "name"]]], axis=1)


def curve(name: str, reading: str | None = None, folder: str | Path | None = None) -> Curve:
    """A published law as a Curve, by the name it has in :func:`laws`; a damaged row needs a ``reading``."""
    return _curve(_row(name, reading, folder))


def rounded(name: str, reading: str | None = None, folder: str | Path | None = None) -> Curve:
    """A published law whose draws are the corners of what its printed digits may have been rounded from.

    That is all that is known of its uncertainty. The corners are no sample: take their least and greatest values, not
    their quantiles.
    """
    row = _row(name, reading, folder)
    return _curve(row, _corners(row))


def all_rounded(folder: str | Path | None = None) -> dict[str, dict[str, Curve]]:
    """:func:`rounded` for every law whose parameters are all known, by name and by reading ("" where there is one)."""
    found: dict[str, dict[str, Curve]] = {}
    for _, row in _printed(folder).iterrows():
        if all(row[p] for p in PARAMETERS[row["law"]]):
            found.setdefault(row["name"], {})[row["reading"]] = _curve(row, _corners(row))
    return found


def half_unit(printed: str) -> float:
    """Half a unit of the last digit of a printed number: 0.005 for "0.55", 50 for "3.70e4"."""
    mantissa, _, exponent = printed.lower().partition("e")
    decimals = len(mantissa.partition(".")[2])
    return float(f"5e{int(exponent or 0) - decimals - 1}")


def dragon(table: int, folder: str | Path | None = None) -> pd.DataFrame:
    """A table of Lin et al., How to Train Your DRAGON, in long form; a row a printed number (or a row of Table 10)."""
    if table not in DRAGON:
        raise ValueError(f"table={table!r}: allowed are {', '.join(map(str, DRAGON))}")
    frame = pd.read_csv(path(f"dragon_{table}", folder), dtype={"column": str})
    if table == 4:
        about = pd.read_csv(path("dragon_4_models", folder), dtype={"column": str})
        frame = frame.merge(about.drop(columns="model"), on="column")
    return frame


def path(name: str, folder: str | Path | None = None) -> Path:
    """The CSV file of that name among the published tables."""
    base = FOLDER if folder is None else Path(folder)
    file = base / f"{name}.csv"
    if not file.is_file():
        raise ValueError(
            f"folder={str(base)!r}: no {file.name} there; the published tables are in data/published of drscale's "
            "repository, say where that is"
        )
    return file


def _printed(folder: str | Path | None) -> pd.DataFrame:
    """The rows of all laws in one shape, numbers as the text they were printed as."""
    frames = []
    for name in POWER:
        t = pd.read_csv(path(name, folder), dtype=str, keep_default_na=False)
        size = t["law"] == "size_law"
        for column, of_size, of_data in (("coefficient", "M", "B"), ("exponent", "mu", "eta")):
            t[of_size], t[of_data] = t[column].where(size, ""), t[column].where(~size, "")
        for end in ("low", "high"):
            t[f"n_{end}"], t[f"d_{end}"] = t[f"x_{end}"].where(size, ""), t[f"x_{end}"].where(~size, "")
        frames.append(t)
    frames += [pd.read_csv(path(name, folder), dtype=str, keep_default_na=False) for name in JOINT]
    whole = pd.concat(frames, ignore_index=True).fillna("")
    return whole[[*TEXTS, *NUMBERS]]


def _row(name: str, reading: str | None, folder: str | Path | None) -> pd.Series:
    table = _printed(folder)
    rows = table[table["name"] == name]
    if rows.empty:
        raise ValueError(f"name={name!r}: no such published law; there are {', '.join(dict.fromkeys(table['name']))}")
    readings = [r for r in rows["reading"] if r]
    if readings and reading not in readings:
        raise ValueError(
            f"reading={reading!r}: the printed row of {name} is damaged and can be read as {', '.join(readings)}; "
            "say which"
        )
    if reading is not None and not readings:
        raise ValueError(f"reading={reading!r}: {name} has one reading, leave it out")
    row = rows[rows["reading"] == reading].iloc[0] if readings else rows.iloc[0]
    missing = [p for p in PARAMETERS[row["law"]] if not row[p]]
    if missing:
        raise ValueError(f"name={name!r}: its {', '.join(missing)} is not known to us, see its note: {row['note']}")
    return row


def _corners(row: pd.Series) -> pd.DataFrame:
    names = PARAMETERS[row["law"]]
    ends = [(float(row[n]) - half_unit(row[n]), float(row[n]) + half_unit(row[n])) for n in names]
    return pd.DataFrame(itertools.product(*ends), columns=list(names))


def _curve(row: pd.Series, draws: pd.DataFrame | None = None) -> Curve:
    law = LAWS[row["law"]]
    box = {x.upper(): (float(row[f"{x}_low"]), float(row[f"{x}_high"])) for x in "nd" if row[f"{x}_low"]}
    values = {p: float(row[p]) for p in PARAMETERS[row["law"]]}
    name = row["name"] + (f" ({row['reading']})" if row["reading"] else "")
    source = row["source"] + (f", Table {row['table']}" if row["table"] else "")
    source += ", from a SECONDARY source" if row["seen"] == "secondary" else ""
    return Curve(law, values, box, draws, name, source)
