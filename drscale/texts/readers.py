"""Files as rows, and rows as Arrow files: what all readers of texts share.

Files are read as a stream and kept as Arrow, so that a corpus may be larger than memory. What is wrong is one sentence
that names the file and the line, and nothing is kept of a source that is wrong.
"""

from __future__ import annotations

import csv
import gzip
import json
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from drscale.files import CONTROL, check_id

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
    except (OSError, EOFError, zlib.error) as e:
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
        except RecursionError:
            raise ValueError(f"{path}:{number}: the JSON is nested too deeply") from None
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
                other = next((sign for sign in (";", "\t") if len(names) == 1 and sign in names[0]), "")
                if other:
                    way = "rename it to .tsv" if other == "\t" else "write it with commas"
                    raise ValueError(f"{path}:{begins}: no comma, but {other!r}, stands between the columns: {way}")
                if len(set(names)) < len(names):
                    raise ValueError(f"{path}:{begins}: a column is named twice in {', '.join(names)}")
                continue
            if len(values) != len(names):
                raise ValueError(f"{path}:{begins}: {len(values)} fields, expected {len(names)} ({', '.join(names)})")
            yield Row(f"{path}:{begins}", dict(zip(names, values, strict=True)))
    finally:
        csv.field_size_limit(usual)


def columns_as_rows(batches: Iterable[pa.RecordBatch | pa.Table], where: str, first: int = 0) -> Iterator[Row]:
    """Go through Arrow batches row by row, each column turned into Python objects at once."""
    number = first
    for batch in batches:
        names = batch.schema.names
        for values in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            yield Row(f"{where}:row {number}", dict(zip(names, values, strict=True)))
            number += 1


def parquet(path: Path) -> Iterator[Row]:
    """Read a Parquet file, a batch at a time; places count rows."""
    try:
        with pq.ParquetFile(path) as f:
            yield from columns_as_rows(f.iter_batches(batch_size=ROWS), str(path), first=1)
    except (pa.ArrowInvalid, OSError, UnicodeDecodeError) as e:
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

    def put(self, batch: pa.RecordBatch) -> None:
        """Add a batch of the sink's own columns as it is."""
        self._flush()
        self._writer.write_batch(batch)
        self.count += len(batch)

    def table(self) -> pa.Table:
        self._flush()
        self._close()
        return pa.ipc.open_file(pa.memory_map(str(self.path))).read_all()

    def _close(self) -> None:
        if not self._file.closed:
            self._writer.close()
            self._file.close()

    def _flush(self) -> None:
        if not self._columns[0]:
            return
        arrays = [pa.array(c, t) for c, t in zip(self._columns, self.schema.types, strict=True)]
        self._writer.write_batch(pa.record_batch(arrays, schema=self.schema))
        self._columns = [[] for _ in self.schema]


READER = 2  # raise when the same files come out otherwise: it is part of the cache key


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
    return utf8(str(name), place, "id"), utf8(f"{title} {text}" if title and text else title or text, place)


def no_repeats(table: pa.Table, where: str, ids: Iterator[tuple[str, str]]) -> None:
    """Raise if an id occurs twice or holds a control character; ``ids``, (place, id) pairs, name the place then."""
    if not len(table):
        raise ValueError(f"{where}: the file has no row")
    if pc.any(pc.match_substring_regex(table["id"], CONTROL)).as_py():
        for place, name in ids:
            check_id(name, place)
    if pc.count_distinct(table["id"]).as_py() != len(table):
        seen: dict[str, str] = {}
        for place, name in ids:
            if name in seen:
                raise ValueError(f"{place}: the id {name!r} has occurred before, at {seen[name]}")
            seen[name] = place


def blank(text: str) -> bool:
    """Whether a text shows nothing: blanks, control characters and marks without a width."""
    return not any(c.isprintable() and c != " " for c in text)


def sound_id(name: str, place: str, what: str = "id") -> str:
    """An id as it came, or a ValueError if it holds a control character or half a surrogate pair."""
    check_id(name, place, what)
    return utf8(name, place, what)


def utf8(text: str, place: str, what: str = "text") -> str:
    """The text, or a ValueError if it holds half a surrogate pair, which JSON can spell and Arrow cannot hold."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as e:
            raise ValueError(f"{place}: character {e.start} of the {what} is half a surrogate pair") from None
    return text
