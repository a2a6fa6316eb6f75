"""The waist of the house: run records and the store that keeps them. Never imports torch.

A :class:`~drscale.recipe.Recipe` says how a run is made, a :class:`Run` says what came out, a :class:`RunStore` keeps
one JSON file per run with the per-query values as Parquet beside it, and :meth:`RunStore.table` hands all to pandas.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from drscale.recipe import Recipe
from drscale.results import Result

FORMAT = "drscale-run/1"
SCOPES = ("in_domain", "ood", "adversarial")
# What a run's row in the table takes from the record as it is.
TOLD = ("status", "reason", "fingerprint", "synthetic", "train_pairs", "temperature", "best_step", "commit", "finished")


class StoreWarning(UserWarning):
    """A file in a run store could not be read, or runs that do not belong together were mixed."""


@dataclass(frozen=True)
class Measure:
    """A mean over ``n`` queries with its 95% bootstrap interval over queries."""

    mean: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Found:
    """What a measurement says of a model: measures by scope, the per-query rows behind them, how they were made."""

    measures: dict[str, dict[str, Measure]]
    queries: pd.DataFrame
    note: str


def as_columns(measures: Mapping[str, Mapping[str, Measure]]) -> dict[str, float]:
    """Measures by scope and metric as columns of a run table: ``<scope>_<metric>``, with ``_low`` and ``_high``."""
    every = ((f"{scope}_{metric}", m) for scope, ms in measures.items() for metric, m in ms.items())
    return {k: v for name, m in every for k, v in ((name, m.mean), (f"{name}_low", m.low), (f"{name}_high", m.high))}


def measure_table(measures: Mapping[str, Mapping[str, Measure]]) -> pd.DataFrame:
    """Measures by scope and metric as rows: scope, metric, mean, low, high, n."""
    rows = [(s, name, m.mean, m.low, m.high, m.n) for s, ms in measures.items() for name, m in ms.items()]
    return pd.DataFrame(rows, columns=["scope", "metric", "mean", "low", "high", "n"])


def divisors(scopes: Iterable[str]) -> dict[str, int]:
    """What each domain's mean is divided by in a mean over data sets; parts (before a slash: their set) count once."""
    sets = {scope: scope.partition("/")[0] for scope in scopes}
    sizes = Counter(sets.values())
    return {scope: len(sizes) * sizes[name] for scope, name in sets.items()}


@dataclass(frozen=True)
class Run(Result):
    """A recipe plus what was measured; a failed run is a record too, with its reason.

    ``parameters`` holds the count under every convention, ``cost`` the FLOPs, tokens, seconds, peak_mb and steps,
    ``measures`` maps a scope (``in_domain``, ``ood``, ``ood:numpy`` ...) to metrics, ``curve`` is what was noted along
    the way, ``omega`` the weight of the robustness loss at every step where a run moves it. What is missing is absent.

    >>> import drscale as ds
    >>> run = ds.Run(ds.Recipe(texts="planted"), "failed", reason="out of memory")
    >>> print(run)
    texts=planted,rung=L2H128: failed, out of memory
    >>> ds.Run.from_json(run.to_json()).reason
    'out of memory'
    """

    recipe: Recipe
    status: Literal["done", "failed"]
    reason: str = ""
    fingerprint: str = ""
    synthetic: bool = False
    train_pairs: int | None = None
    temperature: float | None = None
    best_step: int | None = None
    parameters: dict[str, int] = field(default_factory=dict)
    cost: dict[str, float] = field(default_factory=dict)
    measures: dict[str, dict[str, Measure]] = field(default_factory=dict)
    curve: list[dict[str, float]] = field(default_factory=list)
    omega: list[float] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    commit: str = ""
    finished: str = ""

    @property
    def key(self) -> str:
        return str(self.recipe)

    def table(self) -> pd.DataFrame:
        """What was measured, a row a scope and metric: mean, low, high (95% over queries) and the number of queries."""
        return measure_table(self.measures)

    def __str__(self) -> str:
        text = f"{self.key}: {self.status}"
        if self.status == "failed":
            return f"{text}, {self.reason}"
        losses = [(s, ms["entropy"].mean) for s, ms in self.measures.items() if "entropy" in ms and ":" not in s]
        return ", ".join([text, *(f"{scope.replace('_', ' ')} {value:.3f} nats" for scope, value in losses)])

    def to_json(self) -> str:
        body = {"format": FORMAT, "key": self.key, **{k: v for k, v in asdict(self).items() if v or k != "omega"}}
        if body["recipe"]["attack"] == Recipe.attack:  # a field younger than the format: named where it says something
            del body["recipe"]["attack"]
        return json.dumps(body, indent=1, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Run:
        """Read a record; ValueError says what is wrong with it."""
        body = json.loads(text)
        if not isinstance(body, dict) or body.get("format") != FORMAT:
            raise ValueError(f"not a run record of format {FORMAT}")
        missing = {"recipe", "status", "key"} - body.keys()
        if missing:
            raise ValueError(f"the record lacks {', '.join(sorted(missing))}")
        body.pop("format")
        key = body.pop("key")
        if body["status"] not in ("done", "failed"):
            raise ValueError(f"status={body['status']!r}: allowed are 'done', 'failed'")
        unknown = body.keys() - {f.name for f in fields(cls)}
        if unknown:
            raise ValueError(f"the record has unknown fields {', '.join(sorted(unknown))}")
        try:
            body["recipe"] = Recipe(**body["recipe"])
            body["measures"] = {
                s: {m: Measure(**v) for m, v in ms.items()} for s, ms in body.get("measures", {}).items()
            }
        except (TypeError, AttributeError) as e:
            raise ValueError(str(e)) from None
        _check_numbers(body)
        if key != str(body["recipe"]):
            raise ValueError(f"the key {key!r} is not its recipe, {body['recipe']}")
        return cls(**body)


def _check_numbers(body: dict[str, Any]) -> None:
    """Refuse a record whose counts, costs, curve or measures are anything but numbers by name."""

    def numbers(values: object) -> bool:
        plain = isinstance(values, dict) and all(isinstance(v, int | float) for v in values.values())
        return plain and not any(isinstance(v, bool) for v in values.values())  # type: ignore[attr-defined]

    for name in ("parameters", "cost"):
        if not numbers(body.get(name, {})):
            raise ValueError(f"{name} must be numbers by name")
    curve = body.get("curve", [])
    if not isinstance(curve, list) or not all(numbers(point) for point in curve):
        raise ValueError("curve must be a list of points, each of numbers by name")
    omega = body.get("omega", [])
    if not isinstance(omega, list) or not numbers(dict(enumerate(omega))):
        raise ValueError("omega must be a list of numbers")
    for scope, metrics in body["measures"].items():
        for metric, m in metrics.items():
            if not numbers(vars(m)):
                raise ValueError(f"the measure {metric} of {scope} must be numbers")


def write_atomic(path: Path, data: bytes | str) -> None:
    """Write a file so that a reader, or a crash, sees the old content or the new and nothing between."""
    raw = data.encode() if isinstance(data, str) else data
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:40]}-", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as f:
            f.write(raw)
            f.flush()
            os.fsync(f.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    if hasattr(os, "O_DIRECTORY"):
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def rows_kept(path: str | Path, key: Mapping[str, str | int], make: Callable[[], pd.DataFrame]) -> pd.DataFrame:
    """Give the rows of a key from a Parquet file; where it has none, make them once and add them to it.

    ``key`` is what the rows have in common, a value for each of some columns; rows that ``make()`` gives without these
    columns get them. The whole file is written in one step, so a script that measures key by key loses at most the rows
    in the making when it is interrupted, and does the others the next time. A column that is a category in the old rows
    or in the new is one in the file. To make rows anew, take them out of the file, or delete it.

    >>> import pandas as pd
    >>> from drscale.runs import rows_kept
    >>> for seed in (0, 1, 0):
    ...     rows = rows_kept("scores.parquet", {"seed": seed}, lambda: pd.DataFrame({"value": [0.5, 0.7]}))
    >>> len(rows), len(pd.read_parquet("scores.parquet"))
    (2, 4)
    """
    path = Path(path)
    if not key:
        raise ValueError("key={}: at least one column and its value are needed")
    if path.is_file():
        there = pd.read_parquet(path, filters=[(column, "==", value) for column, value in key.items()])
        if len(there):
            return there.reset_index(drop=True)
    rows = make()
    rows = rows.assign(**{column: value for column, value in key.items() if column not in rows})
    if not len(rows) or not all((rows[column] == value).all() for column, value in key.items()):
        raise ValueError(f"make: gave {len(rows)} rows; at least one is needed, and all of {dict(key)}")
    parts = [pd.read_parquet(path), rows] if path.is_file() else [rows]
    text = {column for part in parts for column in part if part[column].dtype == "category"}
    plain = [part.astype({column: "str" for column in part if column in text}) for part in parts]
    table = pd.concat(plain, ignore_index=True).astype(dict.fromkeys(text, "category"))
    write_atomic(path, table.to_parquet(index=False, compression="zstd"))
    return rows.reset_index(drop=True)


class RunStore:
    """Keep runs in a folder: ``<recipe>.json`` for the record and ``<recipe>.parquet`` for its per-query rows.

    >>> import drscale as ds
    >>> store = ds.RunStore("runs")
    >>> store.save(ds.Run(ds.Recipe(texts="planted"), "failed", reason="out of memory")).suffix
    '.json'
    >>> store.table()["status"].tolist()
    ['failed']
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def __repr__(self) -> str:
        return f"RunStore({str(self.path)!r})"

    def save(self, run: Run, queries: pd.DataFrame | None = None) -> Path:
        """Write the per-query rows, then the record that makes them count; an earlier record is replaced."""
        path = self.path / f"{run.recipe.file_stem}.json"
        if queries is not None:
            write_atomic(path.with_suffix(".parquet"), queries.to_parquet(index=False, compression="zstd"))
        write_atomic(path, run.to_json())
        return path

    def add(self, run: Run, name: str, found: Found) -> Run:
        """Add a later measurement, of new scopes, to a record and its rows; ``measured:<name>`` says how it came."""
        again = sorted(run.measures.keys() & found.measures.keys())
        if again or f"measured:{name}" in run.versions:
            raise ValueError(f"{run.key}: has {', '.join(again) or name} already; a measurement is added once")
        versions = run.versions | {f"measured:{name}": found.note}
        made = replace(run, measures=run.measures | found.measures, versions=versions)
        kept = self.queries(run.key).drop(columns="key", errors="ignore")
        # A crash between the two writes leaves rows without a measure: the next call brings the same rows again.
        kept = kept[~kept["scope"].isin(set(found.queries.get("scope", [])))] if len(kept) else kept
        self.save(made, pd.concat([kept, found.queries], ignore_index=True) if len(found.queries) else None)
        return made

    def load(self, recipe: Recipe) -> Run | None:
        """The record of a recipe, or None if there is none."""
        path = self.path / f"{recipe.file_stem}.json"
        return _read(path) if path.exists() else None

    def runs(self) -> list[Run]:
        """Every readable record, sorted by key; an unreadable file is named in a StoreWarning and skipped."""
        found = []
        for path in sorted(self.path.glob("*.json")):
            try:
                found.append(_read(path))
            except (ValueError, OSError) as e:
                warnings.warn(f"skipped {e}", StoreWarning, stacklevel=2)
        return sorted(found, key=lambda r: r.key)

    def table(self, scopes: Sequence[str] = SCOPES) -> pd.DataFrame:
        """One tidy frame, a row a run: the recipe's fields, counts, cost, and each metric with its interval.

        Columns of the counts are ``params_<convention>``, those of a metric ``<scope>_<metric>`` with ``_low`` and
        ``_high``, for each of ``scopes``; :meth:`domains` tells which others there are.
        """
        if not self.path.is_dir():
            raise ValueError(f"RunStore({str(self.path)!r}): no such folder")
        rows, runs = [], self.runs()
        known = {*SCOPES, *(scope for run in runs for scope in run.measures)}
        if isinstance(scopes, str) or not known.issuperset(scopes):
            raise ValueError(f"scopes={scopes!r}: a list of {', '.join(sorted(known))}")
        for run in runs:
            row: dict[str, Any] = {"key": run.key, **asdict(run.recipe)}
            row |= {name: math.nan if (v := getattr(run, name)) is None else v for name in TOLD}
            row |= {f"params_{name}": n for name, n in run.parameters.items()} | run.cost
            rows.append(row | as_columns({s: run.measures[s] for s in scopes if s in run.measures}))
        return pd.DataFrame(rows)

    def domains(self) -> pd.DataFrame:
        """A row for each run, scope and metric: key, scope, metric, mean, low, high, n."""
        rows = [
            {"key": run.key, "scope": scope, "metric": metric, **asdict(m)}
            for run in self.runs()
            for scope, ms in run.measures.items()
            for metric, m in ms.items()
        ]
        return pd.DataFrame(rows, columns=["key", "scope", "metric", "mean", "low", "high", "n"])

    def curves(self) -> pd.DataFrame:
        """A row for each run and noted step: key, step and whatever was noted."""
        return pd.DataFrame([{"key": run.key, **point} for run in self.runs() for point in run.curve])

    def queries(self, key: str | None = None) -> pd.DataFrame:
        """The per-query rows of one run, or of all that are done; a missing or broken file is named and skipped."""
        frames = []
        for run in self.runs():
            if run.status != "done" or (key is not None and run.key != key):
                continue
            path = self.path / f"{run.recipe.file_stem}.parquet"
            try:
                frames.append(pd.read_parquet(path).assign(key=run.key))
            except (OSError, ValueError) as e:  # pyarrow.ArrowInvalid is a ValueError
                warnings.warn(f"{path}: skipped, {str(e).splitlines()[0]}", StoreWarning, stacklevel=2)
        return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def _read(path: Path) -> Run:
    """The record in a file; ValueError names the file and what is wrong with it."""
    try:
        run = Run.from_json(path.read_text(encoding="utf-8"))
    except ValueError as e:
        raise ValueError(f"{path}: {e}") from None
    if path.stem != run.recipe.file_stem:
        raise ValueError(f"{path}: the file is named otherwise than its recipe, {run.key}")
    return run


def example_runs() -> pd.DataFrame:
    """Forty measured runs as a table: two-layer encoders of ten sizes and six amounts of pairs, on Python's docs.

    They are the runs of data/runs/docs-standard that are done, with the columns that laws and figures need.

    >>> import drscale as ds
    >>> runs = ds.example_runs()
    >>> len(runs), runs["rung"].nunique(), runs["pairs"].nunique()
    (40, 10, 6)
    """
    return pd.read_csv(Path(__file__).with_name("example_runs.csv"))
