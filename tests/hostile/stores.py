"""Bad run stores: records, files that are none, rows beside them, and what a mixed model makes of damaged rows."""

from __future__ import annotations

import copy
import json
import math
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from drscale.mixed import fit_mixed, scores_from_runs
from drscale.recipe import Recipe
from drscale.runs import Measure, Run, RunStore
from hostile.judge import Case

RECIPE = Recipe(texts="planted", rung="L2H12")
METRICS = ("entropy", "ndcg10")
SCOPES = ("in_domain", "ood:a", "ood:b")
QUERIES = 12


def rows_of(seed: int, queries: int = QUERIES) -> pd.DataFrame:
    """Rows of single queries, as a scored run leaves them."""
    rng, parts = np.random.default_rng(seed), []
    for scope in SCOPES:
        names = [f"{scope}-{i}" for i in range(queries)]
        values = {"entropy": rng.uniform(0.5, 3, queries), "ndcg10": rng.uniform(0, 1, queries)}
        parts.append(pd.DataFrame({"query": names, "scope": scope, "condition": "clean", **values}))
    return pd.concat(parts, ignore_index=True)


def record(recipe: Recipe, rows: pd.DataFrame) -> Run:
    """The record to which rows belong."""
    measures = {
        scope: {m: Measure(float(part[m].mean()), 0.0, 5.0, len(part)) for m in METRICS}
        for scope, part in rows.groupby("scope")
    }
    about: dict[str, Any] = {"fingerprint": "f" * 64, "synthetic": True, "train_pairs": 400, "temperature": 1.0}
    about |= {"parameters": {"layers": 1000, "drscale": 2000}, "cost": {"flops": 1e9, "seconds": 2.0}, "omega": [0.5]}
    about |= {"curve": [{"step": 1.0, "loss": 2.0}], "versions": {"python": "3"}, "best_step": 7}
    return Run(recipe, "done", measures=measures, **about)


def good() -> dict[str, Any]:
    """A good record as its JSON has it."""
    body: dict[str, Any] = json.loads(record(RECIPE, rows_of(0)).to_json())
    return body


def read(place: Path, name: str = "") -> object:
    """Read a store as an analyst does: its table, its runs, its curves."""
    store = RunStore(place)
    return store.table(), store.runs(), store.curves(), store.domains()


def at(body: dict[str, Any], path: str, value: object) -> dict[str, Any]:
    """The record with the value at a path, as "measures/in_domain/entropy/n"."""
    made = copy.deepcopy(body)
    *first, last = path.split("/")
    inner = made
    for name in first:
        inner = inner[name]
    inner[last] = value
    return made


NAN, INF, HUGE = math.nan, math.inf, 10**400
WRONG: dict[str, list[object]] = {
    "format": ["", "drscale-run/2", None, 1],
    "key": ["", "texts=planted", None, 5, "texts=planted,rung=L2H16"],
    "status": ["", "Done", "running", None, True, ["done"]],
    "reason": [5, None, [], {"why": "x"}],
    "fingerprint": [5, [1], None, {}],
    "synthetic": ["no", 1, None, []],
    "train_pairs": [-4, "many", 1.5, True, [400], NAN, HUGE],
    "temperature": ["hot", 0, -1.0, NAN, INF, [], True],
    "best_step": [-1, "last", 2.5, True],
    "parameters": [{"layers": -5}, {"layers": HUGE}, {"layers": "many"}, {"layers": 1.5}, [1], "x", None, 7],
    "cost": [
        {"flops": NAN},
        {"flops": INF},
        {"seconds": -1},
        {"seconds": "long"},
        {"status": 1},
        {"rung": 2},
        [],
        None,
    ],
    "curve": [{}, [1], [{"step": "one"}], [{"step": NAN}], [{"step": None}], "x", None],
    "omega": [{}, ["x"], [NAN], [None], "x", None],
    "versions": ["abc", None, [], {"python": 3}],
    "commit": [{}, 5, None],
    "finished": [["now"], 5, None],
    "measures": [None, [], "x", {"in_domain": None}, {"in_domain": []}, {"in_domain": {"entropy": 1.5}}],
    "measures/in_domain/entropy/mean": [NAN, INF, -0.5, "low", None, True, [1.0], HUGE],
    "measures/in_domain/entropy/low": [NAN, 9.0, "low", None],
    "measures/in_domain/entropy/high": [INF, -9.0, "high", None],
    "measures/in_domain/entropy/n": [-3, 1.5, "all", None, True],
    "measures/in_domain/entropy/extra": [1],
    "recipe": [None, [], "texts=planted", {}, {"texts": "planted", "rung": "L2H12", "colour": "red"}],
    "recipe/steps": [0, "ten", 1.5, None],
    "unheard": [1],
}


def record_cases(place: Path) -> list[Case]:
    """Records with one wrong value, and files that are no record at all."""
    body, stem = good(), RECIPE.file_stem
    texts: dict[str, bytes] = {}
    for path, values in WRONG.items():
        for value in values:
            texts[f"{path} = {value!r:.24}"] = json.dumps(at(body, path, value)).encode()
    whole = json.dumps(body)
    texts |= {f"without {name}": json.dumps({k: v for k, v in body.items() if k != name}).encode() for name in ("key",)}
    texts |= {
        "without a recipe": json.dumps({k: v for k, v in body.items() if k != "recipe"}).encode(),
        "an empty file": b"",
        "blanks": b" \n ",
        "cut in half": whole[: len(whole) // 2].encode(),
        "two records in one file": (whole + whole).encode(),
        "in a list": f"[{whole}]".encode(),
        "null": b"null",
        "a number": b"5",
        "zeros": b"\0" * 64,
        "random bytes": np.random.default_rng(0).bytes(200),
        "UTF-16": whole.encode("utf-16"),
        "another alphabet's bytes": whole.replace("planted", "pl\u00e4nted").encode("latin-1"),
        "nested 100,000 deep": b"[" * 100_000,
        "nested deep inside": whole.replace('"reason": ""', f'"reason": {"[" * 5000}{"]" * 5000}').encode(),
        "a name twice": whole.replace('"status"', '"status": "failed", "status"').encode(),
        "a number of 5,000 digits": whole.replace('"best_step": 7', f'"best_step": {"9" * 5000}').encode(),
        "YAML": b"format: drscale-run/1\nstatus: done\n",
    }
    found = []
    for i, (what, raw) in enumerate(texts.items()):
        folder = place / str(i)
        folder.mkdir()
        (folder / f"{stem}.json").write_bytes(raw)
        found.append(Case(what, partial(read, folder), (stem,)))
    for i, (what, raw, why) in enumerate(
        (
            ("lines end as on Windows", whole.replace(", ", ",\r\n").encode(), "JSON allows any white space"),
            ("fields in another order", json.dumps(dict(reversed(body.items()))).encode(), "JSON has no order"),
        )
    ):
        folder = place / f"well{i}"
        folder.mkdir()
        (folder / f"{stem}.json").write_bytes(raw)
        found.append(Case(what, partial(read, folder), accept=why))
    return found


def file_cases(place: Path) -> list[Case]:
    """Things in a store's folder that are no record's file, and folders that are no store."""
    text, stem = json.dumps(good()), RECIPE.file_stem
    away = place / "away.json"
    away.write_text(text)

    def store(name: str, make: Callable[[Path], object]) -> Path:
        folder = place / name
        folder.mkdir()
        make(folder)
        return folder

    warned: dict[str, Callable[[Path], object]] = {
        "a folder": lambda f: (f / f"{stem}.json").mkdir(),
        "a FIFO": lambda f: os.mkfifo(f / f"{stem}.json"),
        "a link to nothing": lambda f: (f / f"{stem}.json").symlink_to("nothing"),
        "a link to itself": lambda f: (f / f"{stem}.json").symlink_to(f / f"{stem}.json"),
        "a link to a device": lambda f: (f / f"{stem}.json").symlink_to("/dev/zero"),
        "a link to the folder": lambda f: (f / f"{stem}.json").symlink_to(f),
        "another recipe's name": lambda f: (f / "texts=planted,rung=L2H99.json").write_text(text),
        "a name without a recipe": lambda f: (f / "notes.json").write_text(text),
        "somebody's JSON": lambda f: (f / "package.json").write_text("{}"),
        "a name with a line break": lambda f: (f / "a\nb.json").write_text(text),
    }
    words = (stem, "rung=L2H99", "notes.json", "package.json", "a\\nb.json", "a\nb.json")
    found = [Case(what, partial(read, store(f"w{i}", m)), words) for i, (what, m) in enumerate(warned.items())]
    well: dict[str, tuple[Callable[[Path], object], str]] = {
        "a link to a record": (lambda f: (f / f"{stem}.json").symlink_to(away), "a record may lie elsewhere"),
        "a hard link": (lambda f: os.link(away, f / f"{stem}.json"), "it is the record"),
        "a left-over temporary file": (lambda f: (f / ".x-1.tmp").write_text("half"), "writers leave them when killed"),
        "a text beside the records": (lambda f: (f / "README.md").write_text("ours"), "only *.json are records"),
        "a subfolder": (lambda f: (f / "old").mkdir(), "a store is one folder, not a tree"),
        "nothing": (lambda f: None, "a study that has just begun has no records"),
    }
    found += [Case(what, partial(read, store(f"o{i}", m)), (), why) for i, (what, (m, why)) in enumerate(well.items())]
    (place / "file").write_text("x")
    for what, path in (("no folder", place / "none"), ("a file", place / "file"), ("NUL", f"{place}/a\0b")):
        found.append(Case(f"the store is {what}", partial(read, path), (str(path), "RunStore")))  # type: ignore[arg-type]
    for value in (None, 5, b"runs", ["runs"], ""):
        found.append(Case(f"RunStore({value!r})", partial(RunStore, value), ("path",)))  # type: ignore[arg-type]
    return found


def damages() -> dict[str, Callable[[Path, pd.DataFrame], object]]:
    """What may have happened to a file of rows, by name."""

    def frame(change: Callable[[pd.DataFrame], pd.DataFrame]) -> Callable[[Path, pd.DataFrame], object]:
        return lambda path, rows: change(rows).to_parquet(path, index=False)

    def raw(change: Callable[[bytes], bytes]) -> Callable[[Path, pd.DataFrame], object]:
        def write(path: Path, rows: pd.DataFrame) -> None:
            rows.to_parquet(path, index=False)
            path.write_bytes(change(path.read_bytes()))

        return write

    def flipped(data: bytes) -> bytes:
        return data[:40] + bytes([data[40] ^ 255]) + data[41:]

    def somewhere(rows: pd.DataFrame, value: object) -> pd.DataFrame:
        made = rows.copy()
        made["ndcg10"] = made["ndcg10"].astype(object if isinstance(value, str) else float)
        made.loc[3, "ndcg10"] = value
        return made.astype({"ndcg10": str}) if isinstance(value, str) else made

    return {
        "missing": lambda path, rows: path.unlink(missing_ok=True),
        "a folder": lambda path, rows: path.mkdir(),
        "empty": lambda path, rows: path.write_bytes(b""),
        "text": lambda path, rows: path.write_text("query,scope\n"),
        "cut in half": raw(lambda data: data[: len(data) // 2]),
        "without its end": raw(lambda data: data[:-8]),
        "one byte flipped": raw(flipped),
        "random bytes": lambda path, rows: path.write_bytes(np.random.default_rng(1).bytes(500)),
        "foreign columns": frame(lambda rows: pd.DataFrame({"a": [1], "b": [2]})),
        "no scope": frame(lambda rows: rows.drop(columns="scope")),
        "no query": frame(lambda rows: rows.drop(columns="query")),
        "no condition": frame(lambda rows: rows.drop(columns="condition")),
        "no metric": frame(lambda rows: rows.drop(columns=list(METRICS))),
        "a metric less": frame(lambda rows: rows.drop(columns="ndcg10")),
        "no rows": frame(lambda rows: rows.iloc[:0]),
        "half of the rows": frame(lambda rows: rows.iloc[::2]),
        "a row less": frame(lambda rows: rows.iloc[:-1]),
        "every row twice": frame(lambda rows: pd.concat([rows, rows])),
        "another run's rows": frame(lambda rows: rows_of(7)),
        "values x 100": frame(lambda rows: rows.assign(ndcg10=100 * rows["ndcg10"])),
        "values + 0.01": frame(lambda rows: rows.assign(ndcg10=rows["ndcg10"] + 0.01)),
        "a NaN": frame(lambda rows: somewhere(rows, NAN)),
        "an infinity": frame(lambda rows: somewhere(rows, INF)),
        "a text": frame(lambda rows: somewhere(rows, "high")),
        "all texts": frame(lambda rows: rows.astype({"ndcg10": str})),
        "no name of a scope": frame(lambda rows: rows.assign(scope=None)),
        "scopes renamed": frame(lambda rows: rows.assign(scope=rows["scope"] + "2")),
        "a scope less": frame(lambda rows: rows[rows["scope"] != "ood:b"]),
        "a query's name twice": frame(
            lambda rows: rows.assign(query=rows["query"].where(rows.index != 1, "in_domain-0"))
        ),
        "a query without a name": frame(lambda rows: rows.assign(query=rows["query"].where(rows.index != 1, None))),
    }


def _with_rows(folder: Path, damage: Callable[[Path, pd.DataFrame], object]) -> RunStore:
    """A store of three good runs, the rows of the first damaged."""
    store = RunStore(folder)
    for i, rung in enumerate(("L2H12", "L2H16", "L2H24")):
        rows = rows_of(i)
        path = store.save(record(RECIPE.but(rung=rung), rows), rows if i else None).with_suffix(".parquet")
        if not i:
            damage(path, rows)
    return store


def rows_cases(place: Path) -> list[Case]:
    """Damaged rows beside a good record."""
    names = (f"{RECIPE.file_stem}.parquet",)
    found = []
    for i, (what, damage) in enumerate(damages().items()):
        folder = place / str(i)
        found.append(Case(what, lambda f=folder, d=damage: _with_rows(f, d).queries(), names))  # type: ignore[misc]
    return found


def mixed_cases(place: Path) -> list[Case]:
    """The same on the way to a mixed model: nothing of it may change the estimates unsaid."""
    names = (f"{RECIPE.file_stem}.parquet",)

    def estimate(folder: Path, damage: Callable[[Path, pd.DataFrame], object]) -> object:
        return fit_mixed(scores_from_runs(_with_rows(folder, damage)), "ndcg10")

    several = list(damages().items())[::2]
    return [Case(what, partial(estimate, place / str(i), d), names) for i, (what, d) in enumerate(several)]
