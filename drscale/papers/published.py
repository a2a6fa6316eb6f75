"""The laws and tables that papers printed, read with their doubts; the files come with drscale. Never imports torch."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from drscale.ladder import counts, ladder
from drscale.laws import fit as formulas
from drscale.laws.curve import Curve
from drscale.stats.tables import Array

FOLDER = Path(__file__).parent / "tables"  # in a clone a link to data/published, in a wheel the files
POWER, JOINT = ("tables_1_2", "table_3", "fang"), ("table_4", "fang_joint")
LAWS: dict[str, Callable[..., Any]] = {
    "size_law": formulas.size_law,
    "data_law": formulas.data_law,
    "joint_law": formulas.joint_law,
}
PARAMETERS: dict[str, tuple[str, ...]] = {"size_law": ("M", "mu", "delta"), "data_law": ("B", "eta", "delta")}
PARAMETERS |= {"joint_law": ("M", "mu", "B", "eta", "delta")}
NUMBERS = ("M", "mu", "B", "eta", "delta", "r2", "n_low", "n_high", "d_low", "d_high", "points")
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
DRAWS = 1000
DRAGON = tuple(range(1, 12))


def published_laws(folder: str | Path | None = None) -> pd.DataFrame:
    """Every published law, a row each; a row that can be read in several ways has a row for each ``reading``.

    M and mu belong to the size, B and eta to the pairs (the papers' D and eta, or B and beta); ``n_low`` to ``d_high``
    is the box fitted in, as far as it was said. ``seen`` tells a paper's own text from a secondary source.

    >>> import drscale as ds
    >>> ds.published_laws()[["name", "M", "mu"]].head(2)
                             name        M    mu
    0            size/msmarco/ood  37000.0  0.55
    1  size/msmarco/effectiveness  34800.0  0.55
    """
    table = _printed(folder)
    numbers = table[list(NUMBERS)].apply(pd.to_numeric)
    return pd.concat([table[["name"]], numbers, table[[t for t in TEXTS if t != "name"]]], axis=1)


def published_curve(name: str, reading: str | None = None, folder: str | Path | None = None) -> Curve:
    """A published law as a Curve, by the name it has in :func:`published_laws`; a damaged row needs a ``reading``."""
    return _curve(_row(name, reading, folder))


def uncertain(
    name: str, reading: str | None = None, folder: str | Path | None = None, r2: float | None = None
) -> Curve:
    """A published law with draws of what it may have been, before its digits were rounded and its points were noisy.

    Each draw takes every printed number from the range that rounds to it. Where R2 and the number of points were
    printed, they give the residual: the squares left over are (1 - R2) / R2 of those that the curve explains at its
    points, and as so few points say little of their own noise, each draw divides them by a chi-squared number with as
    many degrees of freedom as points beyond the parameters (which makes ranges those of Student's t). The law is then
    fitted anew to the curve with that noise, by least squares in nats, its floor not below zero. The points are taken
    to be evenly spaced in log x and their errors independent. Table 4 has no R2: its draws are rounding alone, unless
    ``r2`` says what to assume there, on all pairs for each of 19 sizes and four smaller amounts for the largest.
    """
    row = _row(name, reading, folder)
    return _curve(row, _draws(row, r2))


def readings(name: str, folder: str | Path | None = None) -> Curve:
    """A damaged row as one law: the values of the middle reading by M, and as draws those of all readings."""
    table = _printed(folder)
    rows = table[(table["name"] == name) & (table["reading"] != "")]
    if rows.empty:
        damaged = table.loc[table["reading"] != "", "name"].unique()
        raise ValueError(f"name={name!r}: no damaged row; allowed are {', '.join(damaged)}")
    rows = rows.loc[rows["M"].astype(float).sort_values().index]
    return _curve(rows.iloc[len(rows) // 2], pd.concat([_draws(r) for _, r in rows.iterrows()], ignore_index=True))


def all_uncertain(folder: str | Path | None = None, r2: float | None = None) -> dict[str, dict[str, Curve]]:
    """:func:`uncertain` for every law whose parameters are all known, by name and reading ("" where there is one)."""
    found: dict[str, dict[str, Curve]] = {}
    for _, row in _printed(folder).iterrows():
        if all(row[p] for p in PARAMETERS[row["law"]]):
            found.setdefault(row["name"], {})[row["reading"]] = _curve(row, _draws(row, r2))
    return found


def half_unit(printed: str) -> float:
    """Half a unit of the last digit of a printed number: 0.005 for "0.55", 50 for "3.70e4"."""
    mantissa, _, exponent = printed.lower().partition("e")
    decimals = len(mantissa.partition(".")[2])
    return float(f"5e{int(exponent or 0) - decimals - 1}")


def dragon(number: int, folder: str | Path | None = None) -> pd.DataFrame:
    """A table of Lin et al., How to Train Your DRAGON, in long form; a row a printed number (or of Tables 1 and 10)."""
    if number not in DRAGON:
        raise ValueError(f"number={number!r}: allowed are {', '.join(map(str, DRAGON))}")
    frame = pd.read_csv(path(f"dragon_{number}", folder), dtype={"column": str})
    if number == 4:
        about = pd.read_csv(path("dragon_4_models", folder), dtype={"column": str})
        frame = frame.merge(about.drop(columns="model"), on="column")
    return frame


def data_sets(folder: str | Path | None = None) -> pd.DataFrame:
    """The public data sets of Li et al., On the Robustness of LLM-Based Dense Retrievers, with their factors.

    ``task_type`` and ``corpus_type`` are the authors' own, from their code; a column is what
    :func:`drscale.mixed.with_factor` takes.

    >>> from drscale.papers.published import data_sets
    >>> data_sets().set_index("dataset").loc["scifact"].tolist()
    ['Fact Checking', 'Scientific Paper']
    """
    return pd.read_csv(path("robust_sets", folder))


def corpus_means(folder: str | Path | None = None) -> pd.DataFrame:
    """Nine retrievers' nDCG@10 by the type of corpus, over the queries of :func:`data_sets`: mean, sd and queries.

    >>> from drscale.papers.published import corpus_means
    >>> corpus_means().query("model == 'bm25'").set_index("corpus_type")["mean"].idxmax()
    'Online Community'
    """
    return pd.read_csv(path("robust_corpus", folder))


def path(name: str, folder: str | Path | None = None) -> Path:
    """The CSV file of that name among the published tables."""
    base = FOLDER if folder is None else Path(folder)
    file = base / f"{name}.csv"
    if not file.is_file():
        if folder is None:  # a link that a clone on Windows, or a ZIP, did not keep
            raise ValueError(f"{base}: the published tables are missing; they are in data/published of the repository")
        raise ValueError(
            f"folder={str(base)!r}: no {file.name} there; leave folder out to read the tables that come with drscale"
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


def _draws(row: pd.Series, r2: float | None = None) -> pd.DataFrame:
    return _drawn(tuple((str(k), str(v)) for k, v in row.items()), r2).copy()


@lru_cache(maxsize=64)
def _drawn(items: tuple[tuple[str, str], ...], r2: float | None) -> pd.DataFrame:
    row = dict(items)
    rng = np.random.default_rng(zlib.crc32(row["name"].encode()))  # laws apart, readings of one row together

    def printed(text: str) -> Array:
        return float(text) + half_unit(text) * rng.uniform(-1, 1, DRAWS)

    drawn = pd.DataFrame({n: printed(row[n]) for n in PARAMETERS[row["law"]]})
    assumed = row["law"] == "joint_law" and r2 is not None and row["n_low"]
    if not assumed and not row["points"]:
        return drawn
    law, explained = LAWS[row["law"]], np.full(DRAWS, r2) if assumed else printed(row["r2"])
    points, names = _points(row), PARAMETERS[row["law"]]
    curves = law(**points, **{n: drawn[n].to_numpy()[:, None] for n in names})
    squares = ((curves - curves.mean(axis=1, keepdims=True)) ** 2).sum(axis=1) * (1 - explained) / explained
    sigma = np.sqrt(squares / rng.chisquare(curves.shape[1] - len(names), DRAWS))
    noisy = curves + sigma[:, None] * rng.standard_normal(curves.shape)
    exact = law(**points, **{n: float(row[n]) for n in names})
    table = pd.DataFrame({**points, "y": exact})
    fit = formulas.fit_law(table, law, dict(zip(points, points, strict=True)), "y", space="linear", warn=False)
    return pd.DataFrame(formulas.fitted(fit).problem.refit(np.ones_like(noisy), noisy), columns=list(names))


def _points(row: Mapping[str, str]) -> dict[str, Array]:
    """The sizes or pairs that a law was fitted on, or both, as far as the paper says."""
    ends = {x: [float(row[f"{x}_{end}"]) for end in ("low", "high") if row[f"{x}_{end}"]] for x in "nd"}
    if row["law"] == "joint_law":  # as the paper's experiments go: all sizes on all pairs, all amounts at the largest
        sizes, pairs = _even(ends["n"], 19), _even(ends["d"], 5)
        return {"N": np.append(sizes, [sizes[-1]] * 4), "D": np.append([pairs[-1]] * 19, pairs[:-1])}
    count = int(row["points"])
    if row["law"] == "data_law":
        return {"D": _even(ends["d"], count)}
    ernies = [float(counts(shape)["drscale"]) for shape in ladder("ernie").values()]
    return {"N": _even(ends["n"], count) if ends["n"] else np.array(ernies[:count])}


def _even(ends: list[float], count: int) -> Array:
    return np.geomspace(ends[0], ends[1], count)


def _curve(row: pd.Series, draws: pd.DataFrame | None = None) -> Curve:
    law = LAWS[row["law"]]
    box = {x.upper(): (float(row[f"{x}_low"]), float(row[f"{x}_high"])) for x in "nd" if row[f"{x}_low"]}
    values = {p: float(row[p]) for p in PARAMETERS[row["law"]]}
    name = row["name"] + (f" ({row['reading']})" if row["reading"] else "")
    source = row["source"] + (f", Table {row['table']}" if row["table"] else "")
    source += ", from a SECONDARY source" if row["seen"] == "secondary" else ""
    return Curve(law, values, box, draws, name, source)
