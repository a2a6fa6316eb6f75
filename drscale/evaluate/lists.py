"""Ranked lists of a collection's passages, and the TREC runs that hold them."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from drscale.files import check_id, write_atomic
from drscale.mixed.scores import trec_columns
from drscale.stats.tables import require
from drscale.texts import Collection
from drscale.texts.tables import positions

RUN = ["query_id", "Q0", "doc_id", "rank", "score", "tag"]


class LabelWarning(UserWarning):
    """Some labels are missing or cannot be used; the others are there."""


@dataclass(frozen=True, eq=False)
class Lists:
    """A teacher's ranked list for each query of a collection, in its order.

    ``rows`` (int32, queries x depth) are positions in ``collection.passages``, the best first; -1 means that nothing
    more was found, and the score there is -inf. ``scores`` (float32) are the teacher's own, ``seconds`` is how long it
    took to make the lists, 0 where they were read.
    """

    rows: np.ndarray
    scores: np.ndarray
    seconds: float = 0.0

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def depth(self) -> int:
        return int(self.rows.shape[1])


def padded(rows: list[np.ndarray], scores: list[np.ndarray], depth: int) -> Lists:
    """Put lists of unequal length into one table."""
    table = Lists(np.full((len(rows), depth), -1, np.int32), np.full((len(rows), depth), -np.inf, np.float32))
    for i, (own, value) in enumerate(zip(rows, scores, strict=True)):
        table.rows[i, : len(own)], table.scores[i, : len(own)] = own[:depth], value[:depth]
    return table


# ------------------------------------------------------------------------------------------------------- TREC's runs


def write_trec(lists: Lists, collection: Collection, path: str | Path, tag: str = "drscale") -> Path:
    """Write ranked lists as a TREC run: query, Q0, passage, rank from 1, score, tag.

    >>> from pathlib import Path
    >>> import drscale as ds
    >>> from drscale.labels import ranked_lists, write_trec
    >>> texts = ds.collection("planted?pairs=40")
    >>> path = write_trec(ranked_lists("bm25", texts, depth=5), texts, "bm25.run", "bm25")
    >>> Path(path).read_text().split()[1::4][:1]
    ['Q0']
    """
    check_lists(lists, collection)
    asked, told = (getattr(collection, t)["id"].to_pylist() for t in ("queries", "passages"))
    for name in (*asked, *told, tag):
        if len(name.split()) != 1 or name.split()[0] != name:
            raise ValueError(f"{path}: the id {name!r} has blanks, which a TREC run cannot hold")
        check_id(name, str(path))
    text = io.StringIO()
    for query, rows, scores in zip(asked, lists.rows.tolist(), lists.scores.tolist(), strict=True):
        for rank, (row, score) in enumerate(zip(rows, scores, strict=True), start=1):
            if row >= 0:
                text.write(f"{query} Q0 {told[row]} {rank} {score:.9g} {tag}\n")
    write_atomic(Path(path), text.getvalue())
    return Path(path)


def read_trec(path: str | Path, collection: Collection) -> Lists:
    """Read a TREC run as ranked lists of a collection: by score, equal scores in the order of the file.

    What names a query or a passage that the collection lacks is left out, and queries without a line have an empty
    list; a LabelWarning counts both. ``depth`` is that of the longest list.
    """
    run = trec_columns(path, RUN, "score")
    again = run.duplicated(["query_id", "doc_id"])
    if again.any():
        i = int(np.argmax(again))
        raise ValueError(
            f"{path}:{run.index[i]}: query {run['query_id'].iloc[i]!r} has {run['doc_id'].iloc[i]!r} twice"
        )
    named = run.rename(columns={"query_id": "query", "doc_id": "passage"})
    return lists_from(named[["query", "passage", "score"]], collection, str(path))


def lists_from(found: pd.DataFrame, collection: Collection, where: str = "found") -> Lists:
    """Make ranked lists of rows with the columns query and passage (ids) and score, in any order."""
    require(found, "query", "passage", "score", what=where)
    if not pd.api.types.is_numeric_dtype(found["score"]) and len(found):
        raise ValueError(f"{where}: column 'score' holds {found['score'].dtype}, not numbers")
    finite = np.isfinite(found["score"].to_numpy(float))
    query, passage = (
        positions(_column(found[side]), getattr(collection, table)["id"], missing=-1)
        for side, table in (("query", "queries"), ("passage", "passages"))
    )
    known = (query >= 0) & (passage >= 0) & finite
    said = []
    for side, lost in (("query", query < 0), ("passage", (query >= 0) & (passage < 0))):
        if lost.any():
            first = found[side].iloc[int(lost.argmax())]
            said.append(f"{int(lost.sum()):,} lines name a {side} that {collection.name} lacks, the first {first!r}")
    if not finite.all():
        said.append(f"{int((~finite).sum()):,} scores are not finite")
    if not known.any():
        raise ValueError(f"{where}: no line can be used; {'; '.join(said) or 'there is none'}")
    query, passage, score = query[known], passage[known], found["score"].to_numpy(np.float32)[known]
    order = np.lexsort((-score, query))  # stable: equal scores stay as they stood
    query, passage, score = query[order], passage[order], score[order]
    counts = np.bincount(query, minlength=len(collection.queries))
    if (counts == 0).any():
        said.append(f"{int((counts == 0).sum()):,} of {len(counts):,} queries have no list")
    if said:
        warnings.warn(f"{where}: {'; '.join(said)}; the rest is used", LabelWarning, stacklevel=3)
    place = np.arange(len(query)) - np.repeat(np.cumsum(counts) - counts, counts)
    lists = padded([np.empty(0)] * len(counts), [np.empty(0)] * len(counts), int(counts.max()))
    lists.rows[query, place], lists.scores[query, place] = passage, score
    return lists


# --------------------------------------------------------------------------------------------------- the small parts


def check_lists(lists: Lists, collection: Collection) -> None:
    """Raise ValueError for lists that are none, or of another collection."""
    whole = lists.rows.ndim == 2 and np.issubdtype(lists.rows.dtype, np.integer)
    if not whole or lists.scores.shape != lists.rows.shape:
        shapes = f"{lists.rows.dtype} {lists.rows.shape} and {lists.scores.shape}"
        raise ValueError(
            f"lists: rows and scores are {shapes}; whole numbers (queries, depth) and as many scores needed"
        )
    if len(lists) != len(collection.queries):
        raise ValueError(f"lists: {len(lists):,} for the {len(collection.queries):,} queries of {collection.name}")
    if lists.rows.size and int(lists.rows.max()) >= len(collection.passages):
        raise ValueError(f"lists: row {lists.rows.max()}, {collection.name} has {len(collection.passages):,} passages")
    if lists.rows.size and int(lists.rows.min()) < -1:
        raise ValueError(f"lists: row {lists.rows.min()}; -1 means that nothing more was found, and no row is below it")
    if np.isnan(lists.scores[lists.rows >= 0]).any():
        raise ValueError("lists: a score is NaN, where every passage needs a number")


def _column(values: pd.Series) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(values.astype(str).tolist(), pa.string())])
