"""The waist of the house: run records and the store that keeps them. Never imports torch.

A :class:`~drscale.recipe.Recipe` says how a run is made, a :class:`Run` says what came out, a :class:`RunStore` keeps
one JSON file per run with the per-query values as Parquet beside it, and :meth:`RunStore.table` hands all to pandas.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import math
import os
import platform
import subprocess
import sys
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields, replace
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from drscale.files import TEMPORARY, sweep_temporary, write_atomic
from drscale.recipe import Recipe
from drscale.results import Result

FORMAT = "drscale-run/1"
CHECKPOINTS, CLAIMS, MODELS = ".checkpoints", ".claims", "models"  # folders inside a store
# Fields of a recipe that are younger than the format.
YOUNG = ("attack", "annotation", "teachers", "top", "iterations", "mask", "instruction", "lora")
SCOPES = ("in_domain", "ood", "adversarial")
CHANCE = math.log(1 + 256)  # contrastive entropy of a guess among one right passage and 256 others, in nats
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


@dataclass(frozen=True, repr=False)
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

    def __post_init__(self) -> None:
        if not isinstance(self.recipe, Recipe):
            raise ValueError(f"recipe={self.recipe!r:.60}: a Recipe is needed, as ds.Recipe(texts='docs')")
        if self.status not in ("done", "failed"):
            raise ValueError(f"status={self.status!r}: allowed are 'done', 'failed'")

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
        for name in YOUNG:  # an older drscale reads a record that does not name them
            if body["recipe"][name] == getattr(Recipe, name):
                del body["recipe"][name]
        return json.dumps(body, indent=1, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Run:
        """Read a record; ValueError says what is wrong with it."""
        try:
            body = json.loads(text, object_pairs_hook=_each_once)
        except RecursionError:
            raise ValueError("the JSON is nested too deeply") from None
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
        _check_values(body)
        if key != str(body["recipe"]) and key != body["recipe"].coded:
            raise ValueError(f"the key {key!r} is not its recipe, {body['recipe']}")
        return cls(**body)


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object whose names come once each."""
    body = dict(pairs)
    if len(body) < len(pairs):
        twice = next(name for name, n in Counter(name for name, _ in pairs).items() if n > 1)
        raise ValueError(f"{twice!r} is named twice")
    return body


NUMBER = frozenset((int, float))  # the types that JSON's numbers come in; bool is none of them


def _numbers(values: object, least: float = -1e300, kinds: frozenset[type] = NUMBER) -> bool:
    """Whether these are finite numbers by name, none below ``least``."""
    return isinstance(values, dict) and all(type(v) in kinds and least <= v < 1e300 for v in values.values())


def _number(value: Any, least: float = -1e300, kinds: frozenset[type] = NUMBER) -> bool:
    return type(value) in kinds and bool(least <= value < 1e300)


def _check_values(body: dict[str, Any]) -> None:
    """Refuse a record with a value that no run can have: one sentence names the field."""
    if not _numbers(body.get("parameters", {}), 0, frozenset((int,))):
        raise ValueError("parameters must be whole numbers by name, none below 0")
    cost = body.get("cost", {})
    if not _numbers(cost, 0):
        raise ValueError("cost must be finite numbers by name, none below 0")
    taken = sorted(set(cost) & {*TOLD, "key", *(f.name for f in fields(Recipe))})
    if taken:
        raise ValueError(f"cost has {', '.join(taken)}, which a run table has already")
    curve = body.get("curve", [])
    if not isinstance(curve, list) or not all(_numbers(point) for point in curve):
        raise ValueError("curve must be a list of points, each of numbers by name")
    omega = body.get("omega", [])
    if not isinstance(omega, list) or not _numbers(dict(enumerate(omega))):
        raise ValueError("omega must be a list of numbers")
    for name in ("train_pairs", "best_step"):
        if (value := body.get(name)) is not None and not _number(value, 0, frozenset((int,))):
            raise ValueError(f"{name}={value!r}: must be a whole number, 0 or more")
    if (value := body.get("temperature")) is not None and not (_number(value, 0) and value > 0):
        raise ValueError(f"temperature={value!r}: must be a number above 0")
    for name in ("reason", "fingerprint", "commit", "finished"):
        if not isinstance(body.get(name, ""), str):
            raise ValueError(f"{name}={body[name]!r}: must be a text")
    if not isinstance(body.get("synthetic", False), bool):
        raise ValueError(f"synthetic={body['synthetic']!r}: allowed are true and false")
    versions = body.get("versions", {})
    if not isinstance(versions, dict) or not all(isinstance(v, str) for v in versions.values()):
        raise ValueError("versions must be texts by name")
    for scope, metrics in body["measures"].items():
        for metric, m in metrics.items():
            mean, low, high, n = m.mean, m.low, m.high, m.n
            if not (_number(mean) and _number(low) and _number(high) and _number(n)):
                fault = "must be finite numbers"
            elif low > high:
                fault = f"has {low=} above {high=}"
            elif not isinstance(n, int) or n < 0:
                fault = f"has {n=}, which is no count"
            elif mean < 0 and metric in ("entropy", "calibrated"):
                fault = f"is {mean}; an entropy is never below 0"
            else:
                continue
            raise ValueError(f"the measure {metric} of {scope} {fault}")


def _check_rows(run: Run, rows: pd.DataFrame) -> None:
    """Hold the per-query rows against the record: a scope's rows have the number and the mean that the record says."""
    missing = {"query", "scope", "condition"} - set(rows)
    if missing:
        raise ValueError(f"the rows have no column {', '.join(sorted(missing))}")
    measured = {scope: ms for scope, ms in run.measures.items() if scope != "ood"}  # that one is a mean of means
    metrics = [c for c in rows if c in {m for ms in measured.values() for m in ms}]
    wrong = [c for c in metrics if not pd.api.types.is_numeric_dtype(rows[c])]
    if wrong:
        raise ValueError(f"column {wrong[0]!r} holds no numbers")
    if rows[["scope", "query"]].isna().any(axis=None):
        raise ValueError("a row names no scope or query")
    plain = rows["scope"].astype(str).str.match("in_domain$|ood:")  # other measures may ask a query several times
    names = rows.loc[plain, ["scope", "condition", "query"]]
    if (twice := names.duplicated()).any():
        scope, condition, query = names[twice].iloc[0]
        raise ValueError(f"the {condition} query {query!r} of {scope} has two rows")
    # Clean rows beside attacked ones of the same scope are what the record calls "<scope>:clean".
    of, clean = rows["scope"].astype(str), rows["condition"] == "clean"
    both = clean & of.isin(set(of[~clean]))
    by_scope = rows.groupby(of.where(~both, of + ":clean"))
    sizes, means = by_scope.size(), by_scope[metrics].mean()
    for scope, ms in measured.items():
        if scope not in sizes.index and "entropy" not in ms:
            continue  # of the model itself, without rows
        if scope not in sizes.index:
            raise ValueError(f"the rows have none of {scope}, which the record measured")
        lost = sorted(ms.keys() - set(metrics)) if scope == "in_domain" or scope.startswith("ood:") else []
        if lost:  # what an attack or a variation counts has no column of its own
            raise ValueError(f"the rows have no column {lost[0]}, which the record measured of {scope}")
        for metric in (m for m in metrics if m in ms):
            mean, n, said = float(means[metric][scope]), int(sizes[scope]), ms[metric]
            if n != said.n or not abs(mean - said.mean) <= 1e-5 * max(1.0, abs(said.mean)):
                raise ValueError(
                    f"{n} rows of {scope} with a mean {metric} of {mean:.6g}, where the record has {said.n} and "
                    f"{said.mean:.6g}: these are not the rows of this record"
                )


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
        if not isinstance(path, str | Path) or not str(path):
            raise ValueError(f"RunStore(path={path!r}): the path of a folder is needed")
        self.path = Path(path)

    def __repr__(self) -> str:
        return f"RunStore({str(self.path)!r})"

    def save(self, run: Run, rows: pd.DataFrame | None = None) -> Path:
        """Write the per-query rows, then the record that makes them count; an earlier record is replaced."""
        path = self.path / f"{run.recipe.file_stem}.json"
        if rows is not None:
            write_atomic(path.with_suffix(".parquet"), rows.to_parquet(index=False, compression="zstd"))
        write_atomic(path, run.to_json())
        with suppress(OSError, ValueError):  # without an index the next table is slower, and as right
            self._note(path)
        return path

    def _note(self, path: Path) -> None:
        """Tell the index of a large store of a new record, so that the next table need not read it."""
        news = self.path / NEWS
        if not news.exists():
            if sum(1 for _ in islice(self.path.glob("*.json"), MANY)) < MANY:
                return
            self._rows(SCOPES)  # the index of those before
        mark = _mark(path)  # before it is read: a record that is replaced meanwhile has another
        line = json.dumps({path.name: _row(_read(path), mark, SCOPES)})
        with news.open("a", encoding="utf-8") as f:
            f.write(f"{_index_head(line)} {line}\n")

    def check_writable(self) -> None:
        """Raise ValueError if no run can be kept here, and sweep what killed writers left."""
        probe = self.path / f".writable-{os.getpid()}{TEMPORARY}"
        try:
            write_atomic(probe, b"x" * 65536)
            probe.unlink(missing_ok=True)
        except OSError as e:
            raise ValueError(f"{self.path}: no run can be kept here, {e.strerror}") from None
        for folder in (self.path, self.path / CHECKPOINTS, self.path / MODELS):
            sweep_temporary(folder)

    def tidy(self, todo: Iterable[Recipe] = ()) -> None:
        """Remove checkpoints and claims of runs that are done: a run that was killed after its record was kept left
        them. Those of ``todo``, and of what another process is making, stay; so do those younger than their record, of
        runs that are made again for their models."""
        needed = {recipe.file_stem for recipe in todo}
        left = [*(self.path / CHECKPOINTS).glob("*.safetensors"), *(self.path / CLAIMS).glob("*")]
        for stem in sorted({path.name.removesuffix(".safetensors") for path in left} - needed):
            with suppress(ValueError, OSError):
                run = _read(self.path / f"{stem}.json")
                if run.status == "done":
                    with self.claim(run.recipe) as mine:
                        checkpoint = self.path / CHECKPOINTS / f"{stem}.safetensors"
                        written = (self.path / f"{stem}.json").stat().st_mtime_ns
                        if mine and checkpoint.exists() and checkpoint.stat().st_mtime_ns <= written:
                            checkpoint.unlink(missing_ok=True)

    @contextmanager
    def claim(self, recipe: Recipe) -> Iterator[bool]:
        """Hold a recipe, so that two sweeps on one store share the work: True unless somebody else holds it.

        The system lets go when the process ends, however that happens. Everything is True where there are no such locks
        (Windows), and for processes that train one run together.
        """
        try:
            import fcntl
        except ModuleNotFoundError:
            fcntl = None  # type: ignore[assignment]
        if fcntl is None or int(os.environ.get("WORLD_SIZE", "1")) > 1:
            yield True
            return
        path = self.path / CLAIMS / recipe.file_stem
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                held = path.exists() and path.stat().st_ino == os.fstat(file.fileno()).st_ino
            except (BlockingIOError, FileNotFoundError):
                held = False
            except OSError:  # a file system without locks
                yield True
                return
            try:
                yield held  # False, too, in the moment in which another lets go
            finally:
                if held:
                    path.unlink(missing_ok=True)

    def add(self, run: Run, name: str, found: Found) -> Run:
        """Add a later measurement, of new scopes, to a record and its rows; ``measured:<name>`` says how it came."""
        again = sorted(run.measures.keys() & found.measures.keys())
        if again or f"measured:{name}" in run.versions:
            raise ValueError(f"{run.key}: has {', '.join(again) or name} already; a measurement is added once")
        versions = run.versions | {f"measured:{name}": found.note}
        made = replace(run, measures=run.measures | found.measures, versions=versions)
        path = self.path / f"{run.recipe.file_stem}.parquet"
        kept = pd.read_parquet(path) if path.is_file() else pd.DataFrame()
        if len(kept):
            try:
                _check_rows(run, kept)
            except ValueError as e:
                raise ValueError(f"{path}: {e}; nothing was added") from None
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
        found = self._rows(SCOPES if set(scopes).issubset(SCOPES) else None)
        known = {*SCOPES, *(scope for row in found for scope in row["scopes"])}
        if isinstance(scopes, str) or not known.issuperset(scopes):
            raise ValueError(f"scopes={scopes!r}: a list of {', '.join(sorted(known))}")
        rows = [
            row["head"] | {k: v for s in scopes if s in row["scopes"] for k, v in row["scopes"][s].items()}
            for row in found
        ]
        return pd.DataFrame(rows)

    def _rows(self, scopes: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """What a table needs of every readable record, sorted by key: of some scopes, or of all.

        In a store of :data:`MANY` records and more the files that have not changed come from an index beside them; that
        of all scopes is several times as large and a file of its own.
        """
        index = self.path / (INDEX if scopes is None else f"{INDEX}-{'-'.join(scopes)}")
        known, found = _read_index(index), {}
        known |= _read_news(self.path / NEWS) if scopes is not None else {}
        for file in sorted(self.path.glob("*.json")):
            try:
                mark = _mark(file)
                old = known.get(file.name)
                found[file.name] = old if old is not None and old["mark"] == mark else _row(_read(file), mark, scopes)
            except (ValueError, OSError) as e:
                warnings.warn(f"skipped {e}", StoreWarning, stacklevel=3)
        if len(found) >= MANY and found != known:
            body = json.dumps(found)
            with suppress(OSError):  # a store that can only be read has no index
                write_atomic(index, f"{_index_head(body)}\n{body}")
                if scopes is not None:  # a line that comes in between is lost, and its record read
                    (self.path / NEWS).unlink(missing_ok=True)
        return sorted(found.values(), key=lambda row: str(row["head"]["key"]))

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
        """The per-query rows of one run, or of all that are done, held against the records' means and counts.

        A file that is missing, broken or not its record's is named and skipped."""
        frames = []
        one = None if key is None else self.load(Recipe.parse(key))
        for run in self.runs() if key is None else [one] if one is not None else []:
            if run.status != "done":
                continue
            path = self.path / f"{run.recipe.file_stem}.parquet"
            try:
                rows = pd.read_parquet(path)
                _check_rows(run, rows)
                frames.append(rows.assign(key=run.key))
            except (OSError, ValueError) as e:  # pyarrow.ArrowInvalid is a ValueError
                warnings.warn(f"{path}: skipped, {str(e).splitlines()[0]}", StoreWarning, stacklevel=2)
        return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def _read(path: Path) -> Run:
    """The record in a file; ValueError names the file and what is wrong with it."""
    try:
        if not path.is_file():  # reading a pipe would wait for ever
            raise ValueError("not a file")
        run = Run.from_json(path.read_text(encoding="utf-8"))
    except ValueError as e:
        raise ValueError(f"{path}: {e}") from None
    if path.stem != run.recipe.file_stem:
        raise ValueError(f"{path}: the file is named otherwise than its recipe, {run.key}")
    return run


def _row(run: Run, mark: str, scopes: Sequence[str] | None) -> dict[str, Any]:
    head: dict[str, Any] = {"key": run.key, **asdict(run.recipe)}
    head |= {name: math.nan if (v := getattr(run, name)) is None else v for name in TOLD}
    head |= {f"params_{name}": n for name, n in run.parameters.items()} | run.cost
    measures = {s: as_columns({s: ms}) for s, ms in run.measures.items() if scopes is None or s in scopes}
    return {"mark": mark, "head": head, "scopes": measures}


INDEX, MANY = ".index", 500  # smaller stores are read as quickly without one
COLUMNS = ",".join([*(f.name for f in fields(Recipe)), *TOLD])  # an index of others is not believed
NEWS = ".index-news"  # what was kept since the index was written: a line a record, behind its own checksum


def _mark(path: Path) -> str:
    about = path.stat()
    return f"{about.st_ino}:{about.st_size}:{about.st_mtime_ns}"


def _index_head(body: str) -> str:
    return hashlib.sha256(f"keys as spelled {COLUMNS}\n{body}".encode()).hexdigest()


def _read_index(path: Path) -> dict[str, Any]:
    """The rows of an index by file name; an index that is missing, damaged or of another version has none."""
    try:
        head, _, body = path.read_text(encoding="utf-8").partition("\n")
        found: dict[str, Any] = json.loads(body) if head == _index_head(body) else {}
    except (OSError, ValueError):
        return {}
    return found


def _read_news(path: Path) -> dict[str, Any]:
    """The rows of what was kept since the index was written, by file name; a damaged line is none."""
    with suppress(OSError, ValueError):
        lines = [line.partition(" ") for line in path.read_text(encoding="utf-8").splitlines()]
        return dict(row for head, _, body in lines if head == _index_head(body) for row in json.loads(body).items())
    return {}


def example_runs() -> pd.DataFrame:
    """Forty measured runs as a table: two-layer encoders of ten sizes and six amounts of pairs, on Python's docs.

    They are the runs of data/runs/docs-standard that are done, with the columns that laws and figures need.

    >>> import drscale as ds
    >>> runs = ds.example_runs()
    >>> len(runs), runs["rung"].nunique(), runs["pairs"].nunique()
    (40, 10, 6)
    """
    return pd.read_csv(Path(__file__).with_name("example_runs.csv"))


PACKAGES = ("torch", "transformers", "accelerate", "tokenizers", "numpy", "faiss-cpu", "ir-measures")


@lru_cache(maxsize=1)
def versions() -> dict[str, str]:
    """Versions of what a measurement depends on."""
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for name in ("drscale", *PACKAGES):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


@lru_cache(maxsize=1)
def commit() -> str:
    """The commit of the code, with ``+`` when files it tracks differ; empty outside a git checkout."""
    here = Path(__file__).parent

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=here, capture_output=True, text=True, check=True).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", Path(__file__).name)  # installed inside somebody else's checkout, it fails
        return git("rev-parse", "--short=12", "HEAD") + ("+" if git("status", "--porcelain", "-uno", "--", ".") else "")
    except (OSError, subprocess.CalledProcessError):
        return ""


def reset_peak() -> None:
    """Start a new peak of memory where the system can (Linux); elsewhere the peak is the process's own."""
    if sys.platform == "linux" and os.access("/proc/self/clear_refs", os.W_OK):
        Path("/proc/self/clear_refs").write_text("5")


def peak_mb() -> float:
    """The most memory this process has held since, in MB."""
    if sys.platform == "linux":
        line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    import resource  # not on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)
