"""Arrow tables of texts and judgements: their columns, their checks, their bytes, and rows of them however large."""

from __future__ import annotations

import hashlib
import itertools
import tempfile
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from drscale.files import naming

TEXTS = pa.schema([("id", pa.string()), ("text", pa.string())])
QRELS = pa.schema([("query", pa.string()), ("passage", pa.string()), ("relevance", pa.int32())])
TABLES = {"queries": TEXTS, "passages": TEXTS, "qrels": QRELS}
BATCH = 65_536
DROPPED = "dropped:"  # before a domain's name, in a collection's versions: judgements that were not read


class TextsWarning(UserWarning):
    """Texts are not quite what they are called: a benchmark lacks a usual domain, or qrels name what is missing."""


def rows_at(table: pa.Table, places: np.ndarray | Sequence[int]) -> pa.Table:
    """The rows of a table at these positions, in this order, however large the table is.

    ``pyarrow.Table.take`` puts all chunks of a text column together first: it reads a mapped file whole, and fails on
    columns of more than 2 GiB. This touches the chunks that hold the rows, and copies nothing where nearly all rows of
    a large table are wanted in their order.
    """
    wanted = np.asarray(places, dtype=np.int64)
    batches = [batch for batch in table.to_batches() if len(batch)]
    starts = np.cumsum([0, *map(len, batches)])
    if len(wanted) and not 0 <= wanted.min() <= wanted.max() < starts[-1]:
        raise ValueError(f"rows {wanted.min()} to {wanted.max()}, the table has 0 to {starts[-1] - 1}")
    breaks = np.flatnonzero(np.diff(wanted) != 1) + 1
    if len(wanted) > BATCH and len(breaks) < len(wanted) // 1000:
        ends = [0, *breaks.tolist(), len(wanted)]
        return pa.concat_tables([table.slice(wanted[low], high - low) for low, high in itertools.pairwise(ends)])
    home = np.searchsorted(starts, wanted, side="right") - 1
    order = np.argsort(home, kind="stable")
    bounds = np.searchsorted(home[order], np.arange(len(batches) + 1))
    parts = [
        batches[i].take(pa.array(wanted[order[low:high]] - starts[i]))
        for i, (low, high) in enumerate(itertools.pairwise(bounds))
        if low < high
    ]
    found = pa.Table.from_batches(parts, table.schema)
    return found.take(pa.array(np.argsort(order, kind="stable"))) if (np.diff(order) < 0).any() else found


def write_batches(path: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
    """Write an Arrow file batch by batch under a temporary name, then give it its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}-", suffix=".tmp", delete=False) as f:
        temporary = Path(f.name)
    try:
        with naming(path), pa.OSFile(str(temporary), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
            for batch in batches:
                writer.write_batch(batch)
        temporary.chmod(0o644)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def conform(table: pa.Table, schema: pa.Schema, where: str) -> pa.Table:
    if not isinstance(table, pa.Table):
        raise ValueError(f"{where}: a {type(table).__name__}, expected a pyarrow.Table")
    if set(table.schema.names) != set(schema.names):
        raise ValueError(f"{where} has the columns {table.schema.names}, expected {schema.names}")
    try:
        table = table.select(schema.names).cast(schema)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as e:
        raise ValueError(f"{where}: {str(e).splitlines()[0]}") from None
    for column in schema.names:
        if table[column].null_count:
            raise ValueError(f"{where}: the column {column} has {table[column].null_count:,} missing values")
    if not len(table):
        raise ValueError(f"{where} is empty")
    return table.replace_schema_metadata(None)


def has_duplicates(column: pa.ChunkedArray) -> bool:
    return bool(pc.count_distinct(column).as_py() != len(column))


def check_texts(table: pa.Table, what: str, where: str) -> None:
    if has_duplicates(table["id"]):
        counts = pc.value_counts(table["id"])
        twice = counts.filter(pc.greater(counts.field("counts"), 1))
        raise ValueError(f"{where}: {len(twice):,} ids occur more than once, the first is {twice[0]['values']}")
    start = 0
    for batch in table.to_batches(max_chunksize=BATCH):  # piece by piece: the columns may be larger than memory
        for column in ("id", "text"):
            row = pc.index(pc.equal(pc.utf8_length(pc.utf8_trim_whitespace(batch[column])), 0), True).as_py()
            if row >= 0 and (column, what) != ("text", "passages"):  # real corpora do hold empty passages
                raise ValueError(f"{where}: the {column} of row {start + row} (id {batch['id'][row]}) is empty")
        start += len(batch)


def check_qrels(qrels: pa.Table, queries: pa.Table, passages: pa.Table, where: str) -> None:
    for column, table, what in (("query", queries, "queries"), ("passage", passages, "passages")):
        unknown = pc.is_null(pc.index_in(qrels[column], value_set=table["id"].combine_chunks()))
        row = pc.index(unknown, True).as_py()
        if row >= 0:
            raise ValueError(f"{where}: row {row} names the {column} {qrels[column][row].as_py()!r}, not in {what}")
    if not pc.any(pc.greater(qrels["relevance"], 0)).as_py():
        raise ValueError(f"{where}: no row has a relevance above 0")
    if qrels.group_by(["query", "passage"]).aggregate([]).num_rows != len(qrels):
        raise ValueError(f"{where}: a query and passage occur together more than once")


def without_dangling(
    qrels: pa.Table, known: dict[str, tuple[pa.Table, str]], place: Callable[[int], str], strict: bool
) -> tuple[pa.Table, str]:
    """Drop the judgements of queries or passages that are missing, and say how many and which was the first.

    ``known`` has for each column (query, passage) its texts and what they are called, ``place`` names a row.
    ValueError if ``strict``, and if nothing is left. BEIR's ArguAna has such judgements; trec_eval would keep them, and
    count a passage that is not there as never found.
    """
    missing = {
        column: np.asarray(pc.is_null(pc.index_in(qrels[column], value_set=texts["id"].combine_chunks())))
        for column, (texts, _) in known.items()
    }
    gone = np.logical_or.reduce(list(missing.values()))
    if not gone.any():
        return qrels, ""
    row = int(gone.argmax())
    column = next(c for c, lost in missing.items() if lost[row])
    first = f"{place(row)}: the {column} {qrels[column][row].as_py()!r} is not in {known[column][1]}"
    if strict or gone.all():
        raise ValueError(first)
    return qrels.filter(pa.array(~gone)), f"{int(gone.sum()):,} of {len(qrels):,} judgements dropped, the first {first}"


def warn_dangling(name: str, versions: Mapping[str, str]) -> None:
    """Say what :func:`without_dangling` said when the collection was read, each time that it is."""
    for key, said in versions.items():
        if key.startswith(DROPPED):
            warnings.warn(f"{name}: {said}", TextsWarning, stacklevel=4)


def positions(ids: pa.ChunkedArray, table: pa.ChunkedArray, missing: int | None = None) -> np.ndarray:
    found = pc.index_in(ids, value_set=table.combine_chunks())
    return np.asarray((found if missing is None else pc.fill_null(found, missing)).to_numpy(), dtype=np.int64)


def column_digest(column: pa.ChunkedArray) -> bytes:
    lengths, values = hashlib.sha256(), hashlib.sha256()
    for chunk in column.chunks:
        if pa.types.is_string(chunk.type):
            offsets = np.frombuffer(chunk.buffers()[1], np.int32)[chunk.offset : chunk.offset + len(chunk) + 1]
            lengths.update(np.diff(offsets).astype("<i4").tobytes())
            if len(chunk) and offsets[-1] > offsets[0]:
                values.update(memoryview(chunk.buffers()[2])[offsets[0] : offsets[-1]])
        else:
            values.update(np.ascontiguousarray(chunk.to_numpy(zero_copy_only=False), "<i4").tobytes())
    return lengths.digest() + values.digest()


def grouped(table: pa.Table, by: list[str], largest: Sequence[str] = ()) -> pa.Table:
    """A row for each combination of values of ``by``, in the order in which they come first, with each ``largest``.

    Arrow's own grouping promises no order, and gives another one every now and then.
    """
    numbered = table.append_column("__row", pa.array(np.arange(len(table))))
    found = numbered.group_by(by).aggregate([*((name, "max") for name in largest), ("__row", "min")])
    found = found.sort_by("__row_min").drop_columns("__row_min")
    return found.rename_columns([name.removesuffix("_max") if name not in by else name for name in found.column_names])
