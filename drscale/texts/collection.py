"""Collection and Benchmark, the one shape of text: queries, passages and relevance judgements (qrels), in Arrow
tables."""

from __future__ import annotations

import hashlib
import html
import itertools
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from drscale.files import CONTROL, check_id, write_atomic
from drscale.results import Result
from drscale.texts.tables import (
    BATCH,
    QRELS,
    TABLES,
    TEXTS,
    check_qrels,
    check_texts,
    column_digest,
    conform,
    has_duplicates,
    positions,
    rows_at,
    write_batches,
)

FORMAT = "drscale-collection/1"
VERIFY_BELOW = 1 << 28  # bytes; larger files are trusted by their size, or loading would read them whole


@dataclass(frozen=True, eq=False)
class Collection(Result):
    """Hold queries, passages and qrels; a collection that exists is valid.

    ``queries`` and ``passages`` have the columns id and text, ``qrels`` has query, passage (ids) and relevance (int32;
    above 0 means relevant). ``versions`` names the packages the text was read from. ``synthetic`` says that the text
    was made up. ``len()`` counts pairs, the qrels with relevance above 0.
    """

    name: str
    queries: pa.Table
    passages: pa.Table
    qrels: pa.Table
    language: str = "en"
    domain: str = ""
    synthetic: bool = False
    versions: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("Collection.name='': a collection needs a name")
        for table, schema in TABLES.items():
            object.__setattr__(self, table, conform(getattr(self, table), schema, f"{self.name}: {table}"))
        for table in ("queries", "passages"):
            check_texts(getattr(self, table), table, f"{self.name}: {table}")
        check_qrels(self.qrels, self.queries, self.passages, f"{self.name}: qrels")

    @classmethod
    def _trusted(cls, **parts: Any) -> Collection:
        """Build without validation, for tables that came out of a validated collection."""
        collection = object.__new__(cls)
        for name, value in parts.items():
            object.__setattr__(collection, name, value)
        return collection

    def __len__(self) -> int:
        return len(self.pairs[0])

    def table(self) -> pd.DataFrame:
        """Every relevant pair as text, a row each: query and passage."""
        queries, passages = self.pairs
        texts = {"query": self.queries["text"].take(queries), "passage": self.passages["text"].take(passages)}
        return pd.DataFrame({name: column.to_pylist() for name, column in texts.items()})

    def __str__(self) -> str:
        return repr(self)

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(repr(self))}</p>"

    def __repr__(self) -> str:
        made = ", SYNTHETIC" if self.synthetic else ""
        sizes = f"{len(self.queries):,} queries, {len(self.passages):,} passages, {len(self):,} pairs"
        return f"Collection({self.name!r}: {sizes}, {self.language}{made}, {self.fingerprint[:12]})"

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over ids, texts and qrels, whatever the chunking, the name and the folder."""
        digest = hashlib.sha256()
        for table, schema in TABLES.items():
            for column in schema.names:
                digest.update(f"{table}.{column}:".encode())
                digest.update(column_digest(getattr(self, table)[column]))
        return digest.hexdigest()

    @cached_property
    def pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """Row positions (int64) of the query and the passage of every relevant qrel, in the order of the qrels."""
        positive = self.qrels.filter(pc.greater(self.qrels["relevance"], 0))
        return positions(positive["query"], self.queries["id"]), positions(positive["passage"], self.passages["id"])

    @cached_property
    def unjudged(self) -> np.ndarray:
        """Row positions of the passages that are relevant to no query."""
        free = np.ones(len(self.passages), bool)
        free[self.pairs[1]] = False
        return np.flatnonzero(free)

    @cached_property
    def own_rows(self) -> np.ndarray:
        """For each query the row (int64) of the passage that has its id and is not relevant to it; -1 where none is.

        Such a passage is the query itself, as in ArguAna: it belongs neither in the query's ranking nor among its
        negatives. Relevant passages stay: in collections of pairs the two sides share their ids.
        """
        own = positions(self.queries["id"], self.passages["id"], missing=-1)
        asked, answer = self.pairs
        own[asked[own[asked] == answer]] = -1
        return own

    def take(self, n: int, seed: int = 0, *, whole: bool = False) -> Collection:
        """A random subset of ``n`` pairs with their queries; smaller subsets lie inside larger ones.

        It has the pairs' own passages or, with ``whole``, all passages of this collection, to draw negatives from.
        """
        if not 1 <= n <= len(self):
            raise ValueError(f"take(n={n}) from {self.name}: n must lie between 1 and its {len(self):,} pairs")
        name = f"{self.name}[{n}@{seed}{', whole' if whole else ''}]"
        beside = np.arange(len(self.passages)) if whole else ()
        return self.select(taken(len(self), n, seed), name, beside=beside)

    def select(
        self, pairs: np.ndarray | Sequence[int], name: str = "", *, beside: np.ndarray | Sequence[int] = ()
    ) -> Collection:
        """Keep these pairs (positions in ``pairs``) with their queries and passages, and the passages ``beside``."""
        chosen = np.asarray(pairs, dtype=np.int64)
        if not len(chosen):
            raise ValueError(f"select from {self.name}: no pair is left")
        queries, passages = (rows[chosen] for rows in self.pairs)
        passages = np.union1d(passages, np.asarray(beside, dtype=np.int64))
        positive = self.qrels.filter(pc.greater(self.qrels["relevance"], 0))
        return Collection._trusted(
            name=name or self.name,
            queries=rows_at(self.queries, np.unique(queries)),
            passages=self.passages if len(passages) == len(self.passages) else rows_at(self.passages, passages),
            qrels=rows_at(positive, chosen),
            language=self.language,
            domain=self.domain,
            synthetic=self.synthetic,
            versions=dict(self.versions),
        )

    def renamed(self, name: str, domain: str | None = None) -> Collection:
        """The same texts under another name (and domain); the fingerprint does not change."""
        parts = {k: v for k, v in self.__dict__.items() if k not in ("name", "domain")}
        return Collection._trusted(name=name, domain=self.domain if domain is None else domain, **parts)

    def save(self, folder: str | Path) -> Path:
        """Write three Arrow files, then ``meta.json``, without which the folder does not count as a collection."""
        path = Path(folder)
        path.mkdir(parents=True, exist_ok=True)
        (path / "meta.json").unlink(missing_ok=True)
        for table, schema in TABLES.items():
            write_batches(path / f"{table}.arrow", schema, getattr(self, table).to_batches(max_chunksize=BATCH))
        meta = {
            "format": FORMAT,
            "name": self.name,
            "language": self.language,
            "domain": self.domain,
            "synthetic": self.synthetic,
            "versions": dict(self.versions),
            "fingerprint": self.fingerprint,
            "files": {f"{t}.arrow": _seal(path / f"{t}.arrow") for t in TABLES},
        }
        write_atomic(path / "meta.json", json.dumps(meta, indent=1) + "\n")
        return path

    def to_beir(self, folder: str | Path, split: str = "test", *, overwrite: bool = False) -> Path:
        """Write a folder in BEIR's layout: corpus.jsonl, queries.jsonl and qrels/SPLIT.tsv, the qrels last.

        ``folder:PATH`` reads it back, as BEIR, MTEB and Tevatron do. Titles are empty: a passage is one text here. A
        folder that has files in it is refused, or with ``overwrite`` these three are replaced and others stay.

        >>> import drscale as ds
        >>> texts = ds.collection("planted?pairs=40")
        >>> path = texts.to_beir("mine")
        >>> ds.collection("folder:mine").fingerprint == texts.fingerprint
        True
        """
        if not isinstance(folder, str | Path) or not str(folder):
            raise ValueError(f"folder={folder!r}: the path of a folder is needed")
        path = Path(folder)
        if not isinstance(split, str) or not split or Path(split).name != split:
            raise ValueError(f"split={split!r}: the name of a file is needed, as test")
        for table in (self.queries, self.passages):
            if pc.any(odd := pc.match_substring_regex(table["id"], CONTROL)).as_py():
                check_id(table["id"].filter(odd)[0].as_py(), self.name)
        if path.exists() and not path.is_dir():
            raise ValueError(f"{path}: is a file; give a folder")
        if not overwrite and path.is_dir() and (there := sorted(path.iterdir())):
            raise ValueError(
                f"{path}: has {there[0].name} in it; give an empty folder, or overwrite=True to replace what it writes"
            )
        for column in ("query", "passage"):
            odd = pc.match_substring_regex(self.qrels[column], r"[\t\r\n]|^\s|\s$")
            if pc.any(odd).as_py():
                name = self.qrels[column].filter(odd)[0].as_py()
                raise ValueError(f"{self.name}: the id {name!r} has blanks that BEIR's table of judgements cannot hold")
        for table, more in (("passages", {"title": ""}), ("queries", {})):
            name = "corpus" if table == "passages" else table
            write_atomic(path / f"{name}.jsonl", _json_lines(getattr(self, table), more))
        columns = zip(*(self.qrels[c].to_pylist() for c in ("query", "passage", "relevance")), strict=True)
        judged = (f"{query}\t{passage}\t{grade}\n" for query, passage, grade in columns)
        write_atomic(path / "qrels" / f"{split}.tsv", itertools.chain(["query-id\tcorpus-id\tscore\n"], judged))
        return path

    def to_datasets(self) -> dict[str, Any]:
        """The three tables as data sets of Hugging Face's library, under BEIR's names: corpus, queries and qrels.

        >>> import drscale as ds
        >>> sorted(ds.collection("planted?pairs=40").to_datasets())
        ['corpus', 'qrels', 'queries']
        """
        try:
            from datasets import Dataset
        except ModuleNotFoundError:
            raise ValueError("to_datasets needs datasets, which is not installed: pip install datasets") from None
        corpus = self.passages.rename_columns(["_id", "text"]).append_column("title", [[""] * len(self.passages)])
        queries = self.queries.rename_columns(["_id", "text"])
        qrels = self.qrels.select(["query", "passage", "relevance"]).rename_columns(["query-id", "corpus-id", "score"])
        return {name: Dataset(t) for name, t in (("corpus", corpus), ("queries", queries), ("qrels", qrels))}

    @classmethod
    def load(cls, folder: str | Path) -> Collection:
        """Map a saved collection into memory; ValueError if a file is missing, foreign or damaged."""
        path = Path(folder)
        meta = read_meta(path / "meta.json", FORMAT, ("name", "fingerprint", "files"))
        parts: dict[str, Any] = {}
        for table, schema in TABLES.items():
            file = path / f"{table}.arrow"
            try:
                if _seal(file) != meta["files"].get(file.name):
                    raise ValueError(f"{file}: the file is not the one that meta.json describes")
                parts[table] = pa.ipc.open_file(pa.memory_map(str(file))).read_all()
            except OSError as e:
                raise ValueError(f"{file}: {e.strerror or e}") from None
            if parts[table].schema != schema:
                raise ValueError(f"{file}: columns {parts[table].schema.names}, expected {schema.names}")
        for key, default in (("language", "en"), ("domain", ""), ("synthetic", False), ("versions", {})):
            parts[key] = meta.get(key, default)
        return cls._trusted(name=meta["name"], fingerprint=meta["fingerprint"], **parts)


@dataclass(frozen=True, eq=False)
class Benchmark(Result):
    """Train, validation and test of one domain, and the domains outside it; no pair is shared between them.

    Passages that are relevant to no query of a collection may stand in all of its parts. ``left_out`` counts the pairs
    of train and validation that were read and left out because they touch what is measured.
    """

    name: str
    train: Collection
    validation: Collection
    test: Collection
    ood: Mapping[str, Collection] = field(default_factory=dict)
    left_out: Mapping[str, int] = field(default_factory=dict)

    def __repr__(self) -> str:
        parts = ", ".join(f"{name} {len(c):,}" for name, c in self.parts().items())
        made = ", SYNTHETIC" if self.synthetic else ""
        return f"Benchmark({self.name!r}: {parts} pairs{made}, {self.fingerprint[:12]})"

    def table(self) -> pd.DataFrame:
        """The parts, a row each: how many queries, passages and pairs, and in which language."""
        rows = [(n, len(c.queries), len(c.passages), len(c), c.language) for n, c in self.parts().items()]
        return pd.DataFrame(rows, columns=["part", "queries", "passages", "pairs", "language"])

    def __str__(self) -> str:
        return repr(self)

    def parts(self) -> dict[str, Collection]:
        """Every collection by the name it has in figures: train, validation, test, ood:<domain>."""
        inside = {"train": self.train, "validation": self.validation, "test": self.test}
        return inside | {f"ood:{name}": c for name, c in self.ood.items()}

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over the parts' names and fingerprints."""
        return hashlib.sha256("".join(f"{n}={c.fingerprint};" for n, c in self.parts().items()).encode()).hexdigest()

    @property
    def synthetic(self) -> bool:
        return any(c.synthetic for c in self.parts().values())

    @property
    def versions(self) -> dict[str, str]:
        """The packages the text was read from."""
        return {k: v for c in self.parts().values() for k, v in c.versions.items()}

    def but(self, **changes: Any) -> Benchmark:
        """Copy this benchmark with some parts changed."""
        return replace(self, **changes)

    def save(self, folder: str | Path) -> Path:
        """Write every part into a folder of its own, then ``benchmark.json``."""
        path, folders = Path(folder), {}
        (path / "benchmark.json").unlink(missing_ok=True)
        for number, (name, part) in enumerate(self.parts().items()):
            folders[name] = f"part-{number:02d}"
            part.save(path / folders[name])
        meta = {"format": FORMAT, "name": self.name, "fingerprint": self.fingerprint, "parts": folders}
        meta["left_out"] = dict(self.left_out)
        write_atomic(path / "benchmark.json", json.dumps(meta, indent=1) + "\n")
        return path

    @classmethod
    def load(cls, folder: str | Path) -> Benchmark:
        """Map a saved benchmark into memory; ValueError if anything is missing or damaged."""
        path = Path(folder)
        meta = read_meta(path / "benchmark.json", FORMAT, ("name", "fingerprint", "parts"))
        parts = {name: Collection.load(path / where) for name, where in meta["parts"].items()}
        if {"train", "validation", "test"} - parts.keys():
            raise ValueError(f"{path / 'benchmark.json'}: train, validation or test is missing")
        if odd := [n for n in parts if n not in ("train", "validation", "test") and not n.startswith("ood:")]:
            allowed = "train, validation, test and ood:DOMAIN"
            raise ValueError(f"{path / 'benchmark.json'}: a part is called {odd[0]!r}, allowed are {allowed}")
        ood = {name.removeprefix("ood:"): c for name, c in parts.items() if name.startswith("ood:")}
        left_out = meta.get("left_out", {})
        benchmark = cls(meta["name"], parts["train"], parts["validation"], parts["test"], ood, left_out)
        if benchmark.fingerprint != meta["fingerprint"]:
            raise ValueError(f"{path / 'benchmark.json'}: the fingerprint is not that of the parts")
        return benchmark


def shuffled(n: int, seed: int) -> np.ndarray:
    """A permutation of ``range(n)`` that stays the same in every release of NumPy."""
    # Only the raw streams of bit generators are promised to stay as they are; Generator.permutation is not.
    return np.argsort(np.random.PCG64(seed).random_raw(n), kind="stable")


def taken(count: int, n: int, seed: int) -> np.ndarray:
    """Which of ``count`` pairs :meth:`Collection.take` takes, in their order."""
    return np.sort(shuffled(count, seed)[:n])


def from_pairs(name: str, rows: Iterable[tuple[str, str, str]], **about: Any) -> Collection:
    """A collection of (id, query, passage) triples in which each query has the passage of the same id."""
    ids, queries, passages = [list(column) for column in zip(*rows, strict=True)] or [[], [], []]
    relevance = pa.array([1] * len(ids), pa.int32())
    return Collection(
        name,
        pa.table({"id": ids, "text": queries}, TEXTS),
        pa.table({"id": ids, "text": passages}, TEXTS),
        pa.table([pa.array(ids, pa.string()), pa.array(ids, pa.string()), relevance], schema=QRELS),
        **about,
    )


def joined(name: str, collections: Sequence[Collection], **about: Any) -> Collection:
    """Put several collections into one; ids that occur in more than one get their collection's name in front."""
    if not collections:
        raise ValueError(f"{name}: no collection to join")
    if len(collections) == 1:
        return collections[0].renamed(name)
    parts = [{t: getattr(c, t) for t in TABLES} for c in collections]
    if any(has_duplicates(pa.concat_tables([p[t] for p in parts])["id"]) for t in ("queries", "passages")):
        parts = [_prefixed(p, f"{c.name}/") for p, c in zip(parts, collections, strict=True)]
    about.setdefault("versions", {k: v for c in collections for k, v in c.versions.items()})
    about.setdefault("synthetic", any(c.synthetic for c in collections))
    about.setdefault("language", "+".join(sorted({c.language for c in collections})))
    about.setdefault("domain", "+".join(dict.fromkeys(c.domain for c in collections if c.domain)))
    return Collection(name, **{t: pa.concat_tables([p[t] for p in parts]) for t in TABLES}, **about)


def _json_lines(texts: pa.Table, more: Mapping[str, str]) -> Iterator[str]:
    for batch in texts.to_batches(max_chunksize=BATCH):
        for row in zip(batch["id"].to_pylist(), batch["text"].to_pylist(), strict=True):
            yield json.dumps({"_id": row[0], **more, "text": row[1]}, ensure_ascii=False) + "\n"


def _seal(path: Path) -> str:
    size = path.stat().st_size
    if size >= VERIFY_BELOW:
        return f"{size} bytes"
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def _texts(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(v, str) for v in value.values())


def _counts(value: Any) -> bool:
    return isinstance(value, dict) and all(type(v) is int and v >= 0 for v in value.values())


# What a field in the head of a saved folder has to be, in words, and whether a value is that.
FIELDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "name": ("a text that is not empty", lambda v: isinstance(v, str) and v != ""),
    "fingerprint": ("64 hexadecimal digits", lambda v: isinstance(v, str) and bool(re.fullmatch("[0-9a-f]{64}", v))),
    "language": ("a text", lambda v: isinstance(v, str)),
    "domain": ("a text", lambda v: isinstance(v, str)),
    "synthetic": ("true or false", lambda v: isinstance(v, bool)),
    "versions": ("an object of texts", _texts),
    "files": ("an object of texts", _texts),
    "parts": ("an object of texts", _texts),
    "left_out": ("an object of counts", _counts),
}


def read_meta(path: Path, form: str, needed: tuple[str, ...]) -> dict[str, Any]:
    """The JSON head of a saved folder; ValueError if it is missing, of another form or lacks what is needed.

    So it is if a field is not what :data:`FIELDS` says: whoever reads the head can rely on these.
    """
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(meta, dict) or meta.get("format") != form:
            raise ValueError(f"not of the format {form}")
        if missing := [key for key in needed if key not in meta]:
            raise ValueError(f"{', '.join(missing)} missing")
        for key, (expected, holds) in FIELDS.items():
            if key in meta and not holds(meta[key]):
                raise ValueError(f"{key} is {meta[key]!r:.60}, expected {expected}")
    except OSError as e:
        raise ValueError(f"{path}: {e.strerror or e}") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as e:
        raise ValueError(f"{path}: no JSON ({e})") from None
    except RecursionError:
        raise ValueError(f"{path}: the JSON is nested too deeply") from None
    except ValueError as e:
        raise ValueError(f"{path}: {e}") from None
    return meta


def _prefixed(tables: dict[str, pa.Table], prefix: str) -> dict[str, pa.Table]:
    def put(table: pa.Table, column: str) -> pa.Table:
        named = pc.binary_join_element_wise(prefix, table[column], "")
        return table.set_column(table.schema.get_field_index(column), column, named)

    return {
        "queries": put(tables["queries"], "id"),
        "passages": put(tables["passages"], "id"),
        "qrels": put(put(tables["qrels"], "query"), "passage"),
    }
