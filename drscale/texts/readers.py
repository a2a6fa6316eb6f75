"""Texts from files: ``folder:PATH`` in BEIR's layout and ``pairs:FILE`` of queries and passages.

Files are read as a stream and kept as Arrow, so that a corpus may be larger than memory. What is wrong is one sentence
that names the file and the line, and nothing is kept of a source that is wrong.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from tqdm import tqdm

from drscale.texts.cache import cached, key_of
from drscale.texts.collection import Collection
from drscale.texts.tables import DROPPED, QRELS, TEXTS, warn_dangling, without_dangling

ROWS = 20_000  # rows of a batch
LONGEST_FIELD = 1 << 30


class Row(NamedTuple):
    """A record, and its place: ``path:line``."""

    place: str
    values: dict[str, Any]


def reader_of(path: Path) -> Callable[[Path], Iterator[Row]]:
    """The function that reads a file of this ending."""
    plain = path.name.removesuffix(".gz")
    for ending, reader in READERS.items():
        if plain.endswith(ending) and (ending != ".parquet" or plain == path.name):
            return reader
    raise ValueError(f"{path}: no reader for this ending, allowed are {', '.join(READERS)} (and .gz, but for Parquet)")


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (number, line) of a UTF-8 file, gzipped or not; a line that is no UTF-8 is named."""
    number = 0
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as f:
            for number, raw in enumerate(f, start=1):
                try:
                    yield number, raw.decode("utf-8-sig" if number == 1 else "utf-8")
                except UnicodeDecodeError as e:
                    raise ValueError(f"{path}:{number}: byte {e.start} of the line is no UTF-8 ({e.reason})") from None
    except (OSError, EOFError) as e:
        raise ValueError(f"{path}:{number + 1}: cannot be read ({e})") from None


def jsonl(path: Path) -> Iterator[Row]:
    """Read a JSON object a line; blank lines are passed over."""
    for number, line in lines(path):
        if not line.strip():
            continue
        try:
            values = json.loads(line)
        except ValueError as e:
            raise ValueError(f"{path}:{number}: no JSON ({e})") from None
        if not isinstance(values, dict):
            raise ValueError(f"{path}:{number}: a JSON {type(values).__name__}, expected an object")
        yield Row(f"{path}:{number}", values)


def separated(path: Path) -> Iterator[Row]:
    """Read a CSV or TSV file whose first line names the columns; a row may go over several lines."""
    tabs = path.name.removesuffix(".gz").endswith(".tsv")
    usual = csv.field_size_limit(LONGEST_FIELD)
    table = csv.reader((line for _, line in lines(path)), delimiter="\t" if tabs else ",", strict=True)
    names: list[str] = []
    try:
        while True:
            begins = table.line_num + 1
            try:
                values = next(table)
            except StopIteration:
                return
            except csv.Error as e:
                raise ValueError(f"{path}:{begins}: {e}") from None
            if not values:
                continue
            if not names:
                names = values
                if len(set(names)) < len(names):
                    raise ValueError(f"{path}:{begins}: a column is named twice in {', '.join(names)}")
                continue
            if len(values) != len(names):
                raise ValueError(f"{path}:{begins}: {len(values)} fields, expected {len(names)} ({', '.join(names)})")
            yield Row(f"{path}:{begins}", dict(zip(names, values, strict=True)))
    finally:
        csv.field_size_limit(usual)


def parquet(path: Path) -> Iterator[Row]:
    """Read a Parquet file, a batch at a time; places count rows."""
    try:
        with pq.ParquetFile(path) as f:
            number = 0
            for batch in f.iter_batches(batch_size=ROWS):
                for values in batch.to_pylist():
                    number += 1
                    yield Row(f"{path}:row {number}", values)
    except (pa.ArrowInvalid, OSError) as e:
        raise ValueError(f"{path}: no Parquet file that can be read ({str(e).splitlines()[0]})") from None


READERS: dict[str, Callable[[Path], Iterator[Row]]] = {
    ".jsonl": jsonl,
    ".csv": separated,
    ".tsv": separated,
    ".parquet": parquet,
}


class Sink:
    """Write rows to an Arrow file in batches; ``table()`` ends the writing and maps the file into memory."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.path, self.schema, self.count = path, schema, 0
        self._columns: list[list[Any]] = [[] for _ in schema]
        self._file = pa.OSFile(str(path), "wb")
        self._writer = pa.ipc.new_file(self._file, schema)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._close()

    def add(self, *values: Any) -> None:
        for column, value in zip(self._columns, values, strict=True):
            column.append(value)
        self.count += 1
        if len(self._columns[0]) == ROWS:
            self._flush()

    def table(self) -> pa.Table:
        self._flush()
        self._close()
        return pa.ipc.open_file(pa.memory_map(str(self.path))).read_all()

    def _close(self) -> None:
        if not self._file.closed:
            self._writer.close()
            self._file.close()

    def _flush(self) -> None:
        arrays = [pa.array(c, t) for c, t in zip(self._columns, self.schema.types, strict=True)]
        self._writer.write_batch(pa.record_batch(arrays, schema=self.schema))
        self._columns = [[] for _ in self.schema]


READER = 1  # raise when the same files come out otherwise: it is part of the cache key
HEADER = ("query-id", "corpus-id", "score")
LARGEST = 2**31 - 1  # a score


def folder_collection(
    path: str, split: str = "", language: str = "en", progress: bool = True, strict: bool = False
) -> Collection:
    """Read a folder in BEIR's layout: ``corpus.jsonl``, ``queries.jsonl`` and ``qrels/<split>.tsv``.

    The queries are those that the split's qrels name; ``split`` may be left out where there is a ``test`` or only one.
    A passage is its title and its text. A judgement of a query or passage that is missing is dropped with a warning,
    and counted in ``versions``; ``strict`` refuses it.
    """
    folder = Path(path).expanduser().resolve()
    if parts := folder_parts(path):
        raise ValueError(
            f"folder:{path}: a data set of {len(parts)} folders ({parts[0]} ...), each a collection of its own; read "
            f"folder:{path}/{parts[0]}, or all of them as ood of compose"
        )
    corpus, queries = (_plain_or_zipped(folder / name) for name in ("corpus.jsonl", "queries.jsonl"))
    qrels = _split_file(folder / "qrels", split)
    name = f"folder:{path}" + (f"?split={split}" if split else "")

    def build(work: Path) -> Collection:
        passages = _documents(corpus, work / "passages.arrow", progress)
        asked = _documents(queries, work / "queries.arrow", progress)
        judged, said = _qrels(qrels, {"query": (asked, queries.name), "passage": (passages, corpus.name)}, strict)
        asked = asked.filter(pc.is_in(asked["id"], value_set=judged["query"].combine_chunks()))
        versions = {f"{DROPPED}{folder.name}": said} if said else {}
        return Collection(name, asked, passages, judged, language, folder.name, versions=versions)

    stamps = [_stamp(file) for file in (corpus, queries, qrels)]
    key = key_of(READER, name, language, stamps, *(["strict"] if strict else []))
    found = cached(f"folder-{folder.name}", key, Collection.load, build)
    warn_dangling(name, found.versions)
    return found


def folder_parts(path: str) -> list[str]:
    """The names of the folders in BEIR's layout of a data set that is several, as CQADupStack's forums are twelve."""
    folder = Path(path).expanduser().resolve()
    if not folder.is_dir():
        raise ValueError(f"folder:{path}: no such folder")
    corpora = ("corpus.jsonl", "corpus.jsonl.gz")
    if any((folder / name).is_file() for name in corpora):
        return []
    return sorted(part.name for part in folder.iterdir() if any((part / name).is_file() for name in corpora))


def pairs_collection(
    path: str, query: str = "query", passage: str = "passage", language: str = "en", progress: bool = True
) -> Collection:
    """Read pairs from a CSV, TSV, JSONL or Parquet file with a column for each side.

    Equal queries become one query with several passages, equal passages one passage; an equal pair counts once.
    """
    file = Path(path).expanduser().resolve()
    if not file.is_file():
        raise ValueError(f"pairs:{path}: no such file")
    read = reader_of(file)
    shown = [f"{k}={v}" for k, v in (("passage", passage), ("query", query)) if v != k]
    name = f"pairs:{path}" + ("?" if shown else "") + "&".join(shown)

    def build(work: Path) -> Collection:
        rows = tqdm(read(file), desc=f"reading {file.name}", unit=" rows", disable=not progress, leave=False, delay=0.5)
        queries, passages, qrels = paired(str(file), rows, query, passage, work)
        return Collection(name, queries, passages, qrels, language, file.stem)

    return cached(f"pairs-{file.stem}", key_of(READER, name, language, _stamp(file)), Collection.load, build)


def paired(
    where: str, rows: Iterable[Row], query: str, passage: str, work: Path
) -> tuple[pa.Table, pa.Table, pa.Table]:
    """Make queries, passages and qrels of rows that have a column for each side, every text once."""
    known: tuple[dict[bytes, str], dict[bytes, str]] = ({}, {})
    couples: dict[tuple[str, str], None] = {}
    with Sink(work / "queries.arrow", TEXTS) as asked, Sink(work / "passages.arrow", TEXTS) as told:
        for place, values in rows:
            ids = []
            for column, seen, sink, letter in ((query, known[0], asked, "q"), (passage, known[1], told, "p")):
                text = _text(values, column, place)
                mark = hashlib.blake2b(text.encode(), digest_size=16).digest()
                if mark not in seen:
                    seen[mark] = f"{letter}{len(seen)}"
                    sink.add(seen[mark], text)
                ids.append(seen[mark])
            couples[ids[0], ids[1]] = None
        if not couples:
            raise ValueError(f"{where}: the file has no row")
        columns = [*map(list, zip(*couples, strict=True)), pa.array([1] * len(couples), pa.int32())]
        return asked.table(), told.table(), pa.table(columns, schema=QRELS)


def document(values: dict[str, Any], place: str) -> tuple[str, str]:
    """The id (``_id`` or ``id``) and the text (title and text) of a record in BEIR's layout."""
    key = "_id" if "_id" in values else "id"
    if key not in values or "text" not in values:
        raise ValueError(f"{place}: _id and text are expected, there is {', '.join(values) or 'nothing'}")
    name, title, text = values[key], values.get("title") or "", values["text"]
    if not isinstance(name, str | int) or isinstance(name, bool) or not str(name).strip():
        raise ValueError(f"{place}: {key} is {name!r}, expected a string")
    if not isinstance(text, str) or not isinstance(title, str):
        raise ValueError(f"{place}: text and title must be strings, text is {text!r:.60}")
    return str(name), _utf8(f"{title} {text}" if title and text else title or text, place)


def no_repeats(table: pa.Table, where: str, ids: Iterator[tuple[str, str]]) -> None:
    """Raise if an id occurs twice; ``ids``, (place, id) pairs, are gone through only then, to name the place."""
    if not len(table):
        raise ValueError(f"{where}: the file has no row")
    if pc.count_distinct(table["id"]).as_py() != len(table):
        seen: dict[str, str] = {}
        for place, name in ids:
            if name in seen:
                raise ValueError(f"{place}: the id {name!r} has occurred before, at {seen[name]}")
            seen[name] = place


def _documents(file: Path, kept: Path, progress: bool) -> pa.Table:
    bar = tqdm(jsonl(file), desc=f"reading {file.name}", unit=" rows", disable=not progress, leave=False, delay=0.5)
    with Sink(kept, TEXTS) as sink:
        for row in bar:
            name, text = document(row.values, row.place)
            if not text.strip() and "queries" in file.name:
                raise ValueError(f"{row.place}: the text of the query is empty")
            sink.add(name, text)
        table = sink.table()
    no_repeats(table, str(file), ((row.place, document(row.values, row.place)[0]) for row in jsonl(file)))
    return table


def _qrels(file: Path, known: dict[str, tuple[pa.Table, str]], strict: bool) -> tuple[pa.Table, str]:
    """Read tab-separated query, passage and relevance, with or without a header, and check every line."""
    columns: dict[str, list[Any]] = {"query": [], "passage": [], "relevance": [], "line": []}
    for number, line in lines(file):
        parts = line.rstrip("\r\n").split("\t")
        if not line.strip() or (number == 1 and parts[-1] == HEADER[-1]):
            continue
        if len(parts) != 3:
            raise ValueError(f"{file}:{number}: {len(parts)} fields, expected {', '.join(HEADER)} with tabs between")
        try:
            relevance = int(parts[2])
        except ValueError:
            raise ValueError(f"{file}:{number}: the score {parts[2]!r} is no whole number") from None
        if not -LARGEST <= relevance <= LARGEST:
            raise ValueError(f"{file}:{number}: the score {parts[2]} is beyond {LARGEST:,}")
        for column, value in zip(columns, (*parts[:2], relevance, number), strict=True):
            columns[column].append(value)
    if not columns["line"]:
        raise ValueError(f"{file}: the file has no row")
    couples = list(zip(columns["query"], columns["passage"], strict=True))
    if len(set(couples)) < len(couples):
        seen: set[tuple[str, str]] = set()
        for couple, number in zip(couples, columns["line"], strict=True):
            if couple in seen:
                raise ValueError(f"{file}:{number}: the query and passage {couple} have occurred together before")
            seen.add(couple)
    table = pa.table([columns[name] for name in QRELS.names], schema=QRELS)
    table, said = without_dangling(table, known, lambda row: f"{file}:{columns['line'][row]}", strict)
    if pc.max(table["relevance"]).as_py() <= 0:
        raise ValueError(f"{file}: no score is above 0, so no query has an answer")
    return table, said


def _text(values: dict[str, Any], column: str, place: str) -> str:
    if column not in values:
        there = ", ".join(map(str, values)) or "nothing"
        raise ValueError(f"{place}: no column {column!r}; there is {there}")
    text = values[column]
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"{place}: {column} is {text!r:.60}, expected text")
    return _utf8(text, place)


def _utf8(text: str, place: str) -> str:
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as e:
            raise ValueError(f"{place}: character {e.start} of the text is half a surrogate pair") from None
    return text


def _plain_or_zipped(file: Path) -> Path:
    for found in (file, file.with_name(f"{file.name}.gz")):
        if found.is_file():
            return found
    raise ValueError(f"{file}: no such file; BEIR's layout is corpus.jsonl, queries.jsonl and qrels/<split>.tsv")


def _split_file(folder: Path, split: str) -> Path:
    found = {file.stem: file for file in sorted(folder.glob("*.tsv"))}
    chosen = split or ("test" if "test" in found or len(found) != 1 else next(iter(found)))
    if chosen not in found:
        there = f"there are {', '.join(found)}" if found else "there is no .tsv file"
        raise ValueError(f"{folder}: no split {chosen!r}, {there}")
    return found[chosen]


def _stamp(file: Path) -> list[Any]:
    return [str(file), file.stat().st_size, file.stat().st_mtime_ns]
