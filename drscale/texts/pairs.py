"""Tables of pairs, ``pairs:FILE`` and those of a hub: a row is a query, passages that answer it, and some that do not.

The columns are found by the names that the field gives them, whether flat (sentence-transformers' pairs, triplets and
hard negatives, FollowIR and InF-IR) or nested (Tevatron, DPR, BGE); any other column is named in the spelling.
"""

from __future__ import annotations

import hashlib
import re
from array import array
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from tqdm import tqdm

from drscale.texts.cache import cached, key_of
from drscale.texts.collection import Collection
from drscale.texts.readers import READER, Row, Sink, blank, reader_of, sound_id, utf8
from drscale.texts.tables import QRELS, TEXTS, grouped, rows_at

# Column names, the first that is there is taken: sentence-transformers, Tevatron, DPR, BGE, FollowIR, InF-IR.
QUERIES = ("query", "anchor", "question", "query_positive")
PASSAGES = (
    "passage", "positive", "positive_passages", "positive_ctxs", "answer", "document", "document_positive", "pos"
)  # fmt: skip
NEGATIVES = re.compile(r"(hard_)?negatives?(_passages|_ctxs|_document)?(_\d+)?|neg")
INSTRUCTIONS = ("instruction", "instruction_positive")
QUERY_IDS = ("query_id", "qid")
PASSAGE_IDS = ("docid", "passage_id", "_id", "id", "pid")
RELEVANT = {True: 1, False: 0, "true": 1, "false": 0, "relevant": 1, "not relevant": 0, "1": 1, "0": 0}


class Shape(NamedTuple):
    """The columns of a table of pairs; "" where there is none."""

    query: str
    passage: str
    negatives: tuple[str, ...]
    instruction: str
    label: str
    query_id: str

    @property
    def columns(self) -> list[str]:
        named = (self.query, self.passage, *self.negatives, self.instruction, self.label, self.query_id)
        return [name for name in named if name]


def shape_of(names: Sequence[str], where: str, query: str = "", passage: str = "") -> Shape:
    """Find the columns of a table of pairs; ``query`` and ``passage`` name those two, where the usual names fail.

    >>> shape_of(["anchor", "positive", "negative_1"], "f.csv")[:3]
    ('anchor', 'positive', ('negative_1',))
    """
    sides = {}
    for side, given, usual in (("query", query, QUERIES), ("passage", passage, PASSAGES)):
        as_written = {str(name).strip().lower(): name for name in reversed(names)}
        known = [name if name in names else as_written.get(name, "") for name in usual]
        sides[side] = given * (given in names) if given else next(filter(None, known), "")
        if not sides[side]:
            there = ", ".join(map(str, names)) or "nothing"
            if given:
                raise ValueError(f"{where}: no column {given!r}; there is {there}")
            raise ValueError(
                f"{where}: no column of the {side} ({', '.join(usual)}); there is {there}; name it: ?{side}=COLUMN"
            )
    if sides["query"] == sides["passage"]:
        raise ValueError(f"{where}: query and passage are both the column {query or passage!r}; name two columns")
    rest = [name for name in names if name not in sides.values()]
    return Shape(
        sides["query"],
        sides["passage"],
        tuple(name for name in rest if NEGATIVES.fullmatch(name)),
        next((name for name in INSTRUCTIONS if name in rest), ""),
        "label" if "label" in rest and sides["passage"] in ("document", "answer", "passage") else "",
        next((name for name in QUERY_IDS if name in rest), ""),
    )


def pairs_collection(
    path: str, query: str = "", passage: str = "", language: str = "en", progress: bool = True
) -> Collection:
    """Read pairs from a CSV, TSV, JSONL or Parquet file; :func:`shape_of` says which columns it looks for.

    Equal queries become one query with several passages, equal passages one passage; an equal pair counts once. What
    a column of negatives holds is judged 0 for its query. A NUL character stays in a query as in a passage, where
    tokenisers pass over it; an id with a control character is refused.
    """
    file = Path(path).expanduser().resolve()
    if not file.is_file():
        raise ValueError(f"pairs:{path}: no such file")
    read = reader_of(file)
    usual = {"passage": "passage", "query": "query"}
    shown = [f"{k}={v}" for k, v in (("passage", passage), ("query", query)) if v and v != usual[k]]
    name = f"pairs:{path}" + ("?" if shown else "") + "&".join(shown)

    def build(work: Path) -> Collection:
        rows = tqdm(read(file), desc=f"reading {file.name}", unit=" rows", disable=not progress, leave=False, delay=0.5)
        queries, passages, qrels = paired(str(file), rows, query, passage, work)
        return Collection(name, queries, passages, qrels, language, file.stem)

    stamp = [str(file), file.stat().st_size, file.stat().st_mtime_ns]
    return cached(f"pairs-{file.stem}", key_of(READER, name, language, stamp), Collection.load, build)


def paired(
    where: str, rows: Iterable[Row], query: str, passage: str, work: Path
) -> tuple[pa.Table, pa.Table, pa.Table]:
    """Make queries, passages and qrels of rows; every text once, under the ids that nested rows bring."""
    judged = array("q"), array("q"), array("i")
    shape, names = None, None
    with _Texts(work / "queries.arrow", "q") as asked, _Texts(work / "passages.arrow", "p") as told:
        for place, values in rows:
            if shape is None or values.keys() != names:
                shape, names = shape_of(list(values), place, query, passage), values.keys()
            found = list(_passages(values, shape, place))
            if not found:
                continue
            text = _text(values[shape.query], shape.query, place)
            if shape.instruction and values[shape.instruction]:
                text = f"{text} {_text(values[shape.instruction], shape.instruction, place)}"
            nested = shape.query_id and not isinstance(values[shape.passage], str)
            row = asked.row(sound_id(str(values[shape.query_id]), place, shape.query_id) if nested else "", text)
            for name, content, relevance in found:
                for column, value in zip(judged, (row, told.row(name, content), relevance), strict=True):
                    column.append(value)
        if not len(judged[0]):
            raise ValueError(f"{where}: the file has no row")
        queries, passages = asked.table(), told.table()
    pairs = pa.table([np.frombuffer(column, column.typecode) for column in judged], names=["query", "passage", "grade"])
    best = grouped(pairs, ["query", "passage"], ["grade"])
    ids = [rows_at(t, best[c].to_numpy())["id"] for t, c in ((queries, "query"), (passages, "passage"))]
    return queries, passages, pa.table([*ids, best["grade"].cast(pa.int32())], schema=QRELS)


class _Texts:
    """Texts as they come in, every one once: ``row`` says at which row of ``table()`` a text stands."""

    def __init__(self, path: Path, letter: str) -> None:
        self.sink, self.letter = Sink(path, TEXTS), letter
        self.seen: dict[bytes, int] = {}

    def __enter__(self) -> _Texts:
        return self

    def __exit__(self, *error: Any) -> None:
        self.sink.__exit__(*error)

    def row(self, name: str, text: str) -> int:
        mark = b"id:" + name.encode() if name else hashlib.blake2b(text.encode(), digest_size=16).digest()
        if mark not in self.seen:
            self.sink.add(name or f"{self.letter}{len(self.seen)}", text)
            self.seen[mark] = len(self.seen)
        return self.seen[mark]

    def table(self) -> pa.Table:
        return self.sink.table()


def _passages(values: dict[str, Any], shape: Shape, place: str) -> Iterator[tuple[str, str, int]]:
    """The passages of a row: id ("" where it has none), text and relevance (1, or 0 for a negative)."""
    grade = 1
    if shape.label:
        label = values[shape.label]
        known = isinstance(label, str | int | float)
        grade = RELEVANT.get(label.lower() if isinstance(label, str) else label, -1) if known else -1
        if grade < 0:
            raise ValueError(f"{place}: {shape.label} is {label!r:.60}, expected true or false")
    for name, text in _contents(values[shape.passage], shape.passage, place):
        yield name, text, grade
    for column in shape.negatives:
        if values[column] is not None and values[column] != "":  # rows may have fewer negatives than others
            for name, text in _contents(values[column], column, place):
                yield name, text, 0


def _contents(value: Any, column: str, place: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, list):
        for item in value:
            yield from _contents(item, column, place)
    elif isinstance(value, dict):
        text = value["text"] if "text" in value else value.get("contents")
        title = value.get("title") or ""
        if not isinstance(title, str):
            raise ValueError(f"{place}: the title in {column} is {title!r:.60}, expected text")
        name = next((value[key] for key in PASSAGE_IDS if value.get(key) is not None), "")
        yield (
            sound_id(str(name), place),
            _text(f"{title} {text}" if title and title != "-" and text else text, column, place),
        )
    else:
        yield "", _text(value, column, place)


def _text(text: Any, column: str, place: str) -> str:
    if not isinstance(text, str) or blank(text):
        raise ValueError(f"{place}: {column} is {text!r:.60}, expected text")
    return utf8(text, place)
