"""Rows of text files, one at a time, each with the place it came from; and a sink that writes them on to Arrow."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import pyarrow as pa
import pyarrow.parquet as pq

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
