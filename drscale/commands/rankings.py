"""``drscale compare`` and ``drscale stability``: TREC runs held against each other on the same queries. No torch."""

from __future__ import annotations

import argparse
import itertools
import math
import sys
import warnings
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from drscale.commands import tables
from drscale.commands.arguments import Impossible, UserError
from drscale.mixed.mteb import mteb_name, to_mteb
from drscale.mixed.scores import scores_from_trec
from drscale.plotting.files import FIGURE_FORMATS
from drscale.recipe import Recipe
from drscale.results import did_you_mean
from drscale.stability.drops import drop_rates
from drscale.stability.plot import leaderboard_figure, rates_from_records, stability_card
from drscale.stats.correlate import adjusted
from drscale.stats.tables import check_level

FEW = 25  # queries below which a t test leans on their scores being normal
ABOUT = ("model", "dataset", "query", "positives", "answered")  # columns of score rows that are no measures


def _named(words: Sequence[str]) -> dict[str, Path]:
    """The files by name: NAME=FILE, or a file, which is called by its stem."""
    found: dict[str, Path] = {}
    for word in words:
        name, sign, rest = word.partition("=")
        given = sign and not Path(word).exists()
        if given and not name.strip():
            raise UserError(f"{word}: a name is needed before =, as NAME=FILE")
        path = Path(rest if given else word)
        label = name if given else path.stem
        if not path.is_file():
            near = did_you_mean(path.name, [p.name for p in path.parent.glob("*")] if path.parent.is_dir() else [])
            raise UserError(f"{path}: no such file{near}")
        if label in found:
            raise UserError(f"{word}: another run is called {label!r} too; NAME=FILE gives it a name")
        found[label] = path
    return found


def _scores(arguments: argparse.Namespace) -> tuple[pd.DataFrame, dict[str, str], list[str], list[str]]:
    """A row a run and query, the column of each measure, the runs' names, and what is said of missing queries."""
    files = _named(arguments.runs)
    if not arguments.qrels.is_file():
        raise UserError(f"--qrels {arguments.qrels}: no such file")
    measures = [m for word in arguments.measures for m in word.split(",") if m]
    if not measures:
        raise UserError("--measures: at least one is needed, as nDCG@10")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        rows = scores_from_trec(files, arguments.qrels, measures)
    columns = [str(c) for c in rows if c not in ABOUT]
    labels = dict(zip(columns, measures if len(measures) == len(columns) else columns, strict=True))
    return rows, labels, list(files), [str(w.message) for w in caught]


def _doubts(rows: pd.DataFrame, names: Sequence[str], few: str) -> list[str]:
    one = rows[rows["model"] == names[0]]
    none, queries = int((one["positives"] == 0).sum()), len(one)
    said = [f"{none} of {queries} queries have no relevant document and score 0 for every run"] if none else []
    if queries < FEW:
        said.append(f"only {queries} queries: {few}")
    return said


def compare(arguments: argparse.Namespace) -> int:
    """Compare TREC runs query by query: ``drscale compare``."""
    check_level(arguments.level)
    tables.check_out(arguments.out, figures=False)
    if len(arguments.runs) < 2:
        raise UserError(f"{arguments.runs[0]}: two runs or more are needed to compare")
    rows, labels, names, said = _scores(arguments)
    if arguments.baseline is not None and arguments.baseline not in names:
        hint = did_you_mean(arguments.baseline, names) or ";"
        raise UserError(f"--baseline {arguments.baseline}: no such run{hint} there are {', '.join(names)}")
    if rows["query"].nunique() < 2:
        raise Impossible(f"{arguments.qrels}: one query only; a comparison needs at least two")
    first = arguments.baseline
    pairs = [(n, first) for n in names if n != first] if first else list(itertools.combinations(names, 2))
    means, differences = [], []
    main = next((column for column in labels if mteb_name(column)), "")
    if arguments.mteb is not None and not main:
        raise UserError(f"--mteb: MTEB has no name for {', '.join(labels.values())}; ask for nDCG@10, RR@10 or R@100")
    for column, label in labels.items():
        wide = rows.pivot_table(index="query", columns="model", values=column, sort=False)
        means += [{"measure": label, "run": n, **_mean(wide[n].to_numpy(float), arguments.level)} for n in names]
        for a, b in pairs:
            gap = wide[a].to_numpy(float) - wide[b].to_numpy(float)
            wins = {"better": int((gap > 0).sum()), "equal": int((gap == 0).sum()), "worse": int((gap < 0).sum())}
            differences.append({"measure": label, "run": a, "minus": b, **_difference(gap, arguments.level), **wins})
    table = pd.DataFrame(differences)
    holm = np.where(table["p"].notna(), adjusted(table["p"].fillna(1.0), "holm"), np.nan)
    table.insert(list(table).index("p") + 1, "p_holm", holm)
    table.attrs["about"] = (
        f"Differences paired by query; low and high: {arguments.level:.0%} intervals, each by itself; "
        "p: paired t test; p_holm: for all rows together"
    )
    doubts = [*said, *_doubts(rows, names, "p-values and intervals assume that differences are nearly normal")]
    doubts += [
        f"{row.run} minus {row.minus}, {row.measure}: the same for every query, so there is no interval and no p"
        for row in table[table["p"].isna()].itertuples()
    ]
    written = tables.write_out(arguments.out, table, None, arguments.quiet)
    if arguments.mteb is not None:
        written += [str(path) for path in to_mteb(rows, arguments.mteb, main=main)]
        if not arguments.quiet:
            print(f"wrote {len(names)} result files below {arguments.mteb}", file=sys.stderr)
    if arguments.json:
        told: dict[str, Any] = {"qrels": arguments.qrels, "queries": rows["query"].nunique(), "level": arguments.level}
        tables.print_json("compare", **told, means=means, differences=table, doubts=doubts, written=written)
        return 0
    print(f"{len(names)} runs on {rows['query'].nunique()} queries of {arguments.qrels}\n")
    print(f"Means, with intervals of {arguments.level:.0%} over queries:\n{tables.shown(pd.DataFrame(means))}\n")
    print("Differences, paired by query; an interval holds alone; p by a paired t test, p_holm for all rows together:")
    print(f"{tables.shown(table)}\n\n{tables.listed('Doubts', doubts)}")
    return 0


def _mean(scores: np.ndarray, level: float) -> dict[str, float]:
    half = stats.t.ppf(0.5 + level / 2, len(scores) - 1) * scores.std(ddof=1) / np.sqrt(len(scores))
    return {"mean": float(scores.mean()), "low": float(scores.mean() - half), "high": float(scores.mean() + half)}


def _difference(gap: np.ndarray, level: float) -> dict[str, float]:
    """The mean difference with its interval and the p of a paired t test; runs that are alike have p = 1."""
    if np.ptp(gap) == 0:
        value = float(gap[0])
        ends = (0.0, 0.0, 1.0) if value == 0 else (math.nan,) * 3  # gaps without scatter tell nothing of other queries
        return {"difference": value, **dict(zip(("low", "high", "p"), ends, strict=True))}
    found = stats.ttest_1samp(gap, 0.0)
    ends = found.confidence_interval(level)
    told = {"difference": float(gap.mean()), "low": float(ends.low), "high": float(ends.high)}
    return told | {"p": float(found.pvalue)}


def stability(arguments: argparse.Namespace) -> int:
    """Say how much is lost on queries in other words, from TREC runs or from records: ``drscale stability``."""
    check_level(arguments.level)
    tables.check_out(arguments.out)
    doubts: list[str] = []
    if len(arguments.runs) == 1 and Path(arguments.runs[0]).is_dir():
        rates = _recorded(Path(arguments.runs[0]))
        if arguments.level != 0.95:
            raise UserError(f"--level {arguments.level}: records keep intervals of 0.95")
    else:
        rates, doubts = _dropped(arguments)
    several = len(set(rates["model"])) > 1
    drawn = [path for path in arguments.out if path.suffix in FIGURE_FORMATS]
    if drawn and len(set(rates["metric"])) > 1:
        raise UserError(f"--out {drawn[0]}: a figure shows one measure; name it in --measures")

    def figure() -> Any:
        return leaderboard_figure(rates) if several else stability_card(rates)

    written = tables.write_out(arguments.out, rates, figure, arguments.quiet)
    if arguments.json:
        tables.print_json("stability", level=arguments.level, drops=rates, doubts=doubts, written=written)
        return 0
    wanted = ("model", "family", "metric", "clean", "varied", "drop", "low", "high", "queries")
    print(f"Drops, (clean - varied) / clean, with intervals of {arguments.level:.0%} over queries:")
    print(tables.shown(rates[[c for c in wanted if c in rates]]))
    print(f"\n{tables.listed('Doubts', doubts)}")
    return 0


def _recorded(folder: Path) -> pd.DataFrame:
    """The drops that a folder of records holds, each run called by its rung and what else tells it from others."""
    store, _ = tables.open_store(folder)
    table = tables.stored_runs(folder)
    usual = {f.name: f.default for f in fields(Recipe)}
    varying = [n for n in usual if n not in ("rung", "rate") and len(set(table[n].astype(str))) > 1]
    label = pd.Series(
        [
            ", ".join([str(row["rung"]), *(f"{n}={row[n]}" for n in varying if row[n] != usual[n])])
            for row in table.to_dict("records")
        ]
    )
    label = table["key"].reset_index(drop=True) if label.duplicated().any() else label
    try:
        return rates_from_records(store.domains(), dict(zip(table["key"], label, strict=True)))
    except ValueError:
        raise Impossible(f"{folder}: no run there was measured for stability") from None


def _dropped(arguments: argparse.Namespace) -> tuple[pd.DataFrame, list[str]]:
    """The drops from the run of the unchanged queries to each other run."""
    if arguments.qrels is None or len(arguments.runs) < 2:
        lacking = "--qrels is" if len(arguments.runs) > 1 else "a second run is"
        raise UserError(
            f"{lacking} needed: give the run of the unchanged queries, a run for each rewording under the same query "
            "ids, and --qrels; or one folder of records"
        )
    rows, labels, names, said = _scores(arguments)
    parts = []
    for column, label in labels.items():
        wide = rows.pivot_table(index=["dataset", "query"], columns="model", values=column, sort=False)
        long = [
            pd.DataFrame({"model": names[0], "family": family, "seed": 0, "changed": True, column: wide[family]})
            .assign(**{f"{column}_clean": wide[names[0]]})
            .reset_index()
            for family in names[1:]
        ]
        with tables.busy(f"{label}: drawing the queries anew"):
            found = drop_rates(pd.concat(long, ignore_index=True), column, level=arguments.level)
        parts.append(found.assign(metric=label).drop(columns=["seed_mean", "seed_sd", "seeds", "changed", "dataset"]))
    rates = pd.concat(parts, ignore_index=True)
    doubts = [*said, *_doubts(rows, names, "the bootstrap's intervals are too narrow")]
    doubts += [
        f"{row.metric} of {row.family}: no drop, for the unchanged queries score 0"
        for row in rates[rates["drop"].isna()].itertuples()
    ]
    return rates, doubts
