"""How much is lost from queries to the same queries in other words, from a row for each. Never imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from drscale.stats.tables import require

SAMPLES = 2000
BY = ("model", "dataset", "family")


def drop_rates(
    rows: pd.DataFrame,
    metric: str = "ndcg10",
    *,
    by: Sequence[str] = BY,
    total: bool = False,
    n_boot: int = SAMPLES,
    level: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Drop rates, (clean - varied) / clean, of the means over queries; one row for each family.

    ``clean`` and ``varied`` are the means themselves, ``drop`` their drop with an interval ``low`` to ``high``: queries
    are drawn with replacement, each with its clean value and its mean over the seeds, so both means move together. The
    interval is for other queries. ``seed_mean`` and ``seed_sd`` are the mean and the standard deviation of the single
    seeds' drops (:func:`seed_drops`), as Li et al. (2026) report them: they are for other seeds. ``changed`` is the
    share of queries in which the family found something to change. If the clean mean is 0, the drop is missing.
    ``by=("model", "family")`` combines the queries of several data sets; ``total`` adds a row ``all`` for the families
    together, each with the same weight.

    >>> import drscale as ds
    >>> vary = {"shorter": lambda texts, seed: [text[:-3] for text in texts]}
    >>> rows = ds.measure_stability("bm25", ds.collection("planted?pairs=40"), vary, seeds=2)
    >>> drops = ds.drop_rates(rows, n_boot=200)
    >>> drops[["model", "family", "changed"]]
      model   family  changed
    0  bm25  shorter      1.0
    """
    by = [by] if isinstance(by, str) else list(by)
    if not 0 < level < 1 or n_boot < 20:
        raise ValueError(f"level={level}, n_boot={n_boot}: between 0 and 1, and at least 20")
    if total and "family" not in by:
        raise ValueError(f"total=True: by={by} has no family to add up")
    if total:
        rest = [c for c in by if c != "family"]
        options: dict[str, Any] = {"n_boot": n_boot, "level": level, "seed": seed}
        whole = drop_rates(rows, metric, by=rest, **options).assign(family="all")
        both = pd.concat([drop_rates(rows, metric, by=by, **options), whole], ignore_index=True)
        return both.sort_values(rest, kind="stable", key=_first_come, ignore_index=True)
    single = seed_drops(rows, metric, by=by)
    spread = single.groupby(list(by), sort=False)["drop"].agg(seed_mean="mean", seed_sd="std").reset_index()
    out = []
    for key, part in rows.groupby(list(by), sort=False):
        whose = ["model", "dataset", "query"] if "model" in part else ["dataset", "query"]
        each = part.groupby(whose, sort=False).agg(
            clean=(f"{metric}_clean", "first"), varied=(metric, "mean"), changed=("changed", "mean")
        )
        clean, varied = each["clean"].to_numpy(), each["varied"].to_numpy()
        times = np.random.default_rng(seed).multinomial(len(each), np.full(len(each), 1 / len(each)), size=n_boot)
        low, high = _bounds(times @ clean, times @ varied, level)
        row = dict(zip(by, key, strict=True)) | {"metric": metric, "clean": clean.mean(), "varied": varied.mean()}
        row |= {"drop": _drop(clean.mean(), varied.mean()), "low": low, "high": high}
        out.append(row | {"changed": each["changed"].mean(), "queries": len(each), "seeds": part["seed"].nunique()})
    return pd.DataFrame(out).merge(spread, on=list(by), how="left")


def seed_drops(rows: pd.DataFrame, metric: str = "ndcg10", *, by: Sequence[str] = BY) -> pd.DataFrame:
    """Drop rates of each seed alone: the columns of ``by``, seed, clean, varied and drop."""
    needed = dict.fromkeys((*by, "dataset", "query", "seed", metric, f"{metric}_clean"))
    require(rows, *needed, what="rows", hint="measure_stability(...) makes such a table")
    if rows.empty:
        raise ValueError("rows: the table is empty")
    if unknown := int(rows[[metric, f"{metric}_clean", *by]].isna().any(axis=1).sum()):
        raise ValueError(
            f"rows: {unknown} of {len(rows)} lack {metric} or whose they are; no query silently leaves a mean"
        )
    one = [c for c in ("model", "dataset", "family", "seed", "query") if c in rows]
    if (again := rows.duplicated(one)).any():
        who = f"model {rows['model'][again].iloc[0]!r}" if "model" in rows else "a model"
        raise ValueError(
            f"rows: {who} has a query twice in one family and seed; give each retriever a name of its own, as in "
            "retriever(model, 'mine')"
        )
    found = rows.groupby([*by, "seed"], sort=False)[[f"{metric}_clean", metric]].mean().reset_index()
    found = found.rename(columns={f"{metric}_clean": "clean", metric: "varied"})
    found["drop"] = [_drop(c, a) for c, a in zip(found["clean"], found["varied"], strict=True)]
    return found


def _first_come(column: pd.Series[Any]) -> np.ndarray:
    return pd.factorize(column)[0]


def _drop(clean: float, varied: float) -> float:
    return float((clean - varied) / clean) if clean > 0 else float("nan")


def _bounds(clean: np.ndarray, varied: np.ndarray, level: float) -> tuple[float, float]:
    """The interval of the drop over draws; draws without any hit are left out."""
    hit = clean > 0
    if not hit.any():
        return float("nan"), float("nan")
    low, high = np.quantile(1 - varied[hit] / clean[hit], [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
