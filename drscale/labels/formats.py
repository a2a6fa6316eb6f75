"""Files of ranked lists that others train on: dpr-scale's JSONL, and lists of hard negatives."""

from __future__ import annotations

import csv
import io
import json
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from drscale.evaluate.lists import LabelWarning as LabelWarning
from drscale.evaluate.lists import Lists as Lists
from drscale.evaluate.lists import check_lists, padded
from drscale.evaluate.lists import read_trec as read_trec
from drscale.evaluate.lists import write_trec as write_trec
from drscale.files import write_atomic
from drscale.texts import Collection
from drscale.texts.readers import jsonl, lines, sound_id, utf8
from drscale.texts.tables import QRELS, TEXTS

NEGATIVES = slice(45, 50)  # ranks 46 to 50 (Lin et al. 2023)


def write_dpr(
    collection: Collection,
    lists: Lists,
    path: str | Path,
    light: bool = False,
    positives: int = 10,
    negatives: slice = NEGATIVES,
) -> Path:
    """Write ranked lists as training rows of dpr-scale: question, positive_ctxs and hard_negative_ctxs.

    The first ``positives`` of a list are positive and its ranks in ``negatives`` hard negatives, by default ranks 46 to
    50; ``relevance`` is the teacher's score. With ``light`` the contexts are line numbers (``docidx``, from 0) of the
    corpus, which is written beside the file (:func:`corpus_path`) with the columns id, text and title. A list that ends
    before the negatives' ranks gives a row without negatives, which dpr-scale pads; an empty one gives no row; a
    LabelWarning counts both.
    """
    check_lists(lists, collection)
    if not isinstance(positives, int) or positives < 1 or not isinstance(negatives, slice):
        raise ValueError(f"positives={positives}, negatives={negatives}: at least 1, and a slice such as slice(45, 50)")
    asked, told = (getattr(collection, t).to_pydict() for t in ("queries", "passages"))
    rows, empty, short = [], 0, 0
    for i, (own, scores) in enumerate(zip(lists.rows, lists.scores, strict=True)):
        places = np.arange(lists.depth)
        first, last = (places[s][own[s] >= 0] for s in (slice(0, positives), negatives))
        empty, short = empty + (not len(first)), short + (len(first) > 0 and not len(last))
        if len(first):
            sides = ([_context(told, int(own[j]), float(scores[j]), light) for j in side] for side in (first, last))
            body = dict(zip(("positive_ctxs", "hard_negative_ctxs"), sides, strict=True))
            rows.append(json.dumps({"id": asked["id"][i], "question": asked["text"][i], **body}, ensure_ascii=False))
    if not rows:
        raise ValueError(f"{path}: all {len(lists):,} lists are empty, so there is nothing to write")
    said = f"{empty:,} queries have an empty list and no row" * bool(empty)
    said += "; " * bool(empty and short)
    said += f"{short:,} lists are shorter than the negatives' ranks and have none" * bool(short)
    if said:
        warnings.warn(f"{path}: {said}", LabelWarning, stacklevel=2)
    if light:
        table = io.StringIO()
        sheet = csv.writer(table, delimiter="\t", lineterminator="\n")
        sheet.writerow(["id", "text", "title"])
        sheet.writerows([name, " ".join(text.split()), ""] for name, text in zip(told["id"], told["text"], strict=True))
        write_atomic(corpus_path(path), table.getvalue())
    write_atomic(Path(path), "\n".join(rows) + "\n")
    return Path(path)


def read_dpr(path: str | Path, corpus: str | Path | None = None) -> tuple[Collection, Lists]:
    """Read training rows of dpr-scale as a collection and its ranked lists.

    A row's positives are relevant to its question; its list has the positives and then the hard negatives, so that
    ``write_dpr(..., positives=P, negatives=slice(P, P + N))`` writes it again. Scores are the contexts' ``relevance``
    where all of a row have one that falls along the list, else 0, -1, -2 ... Rows with ``ctxs`` are split by
    ``has_answer``. ``corpus`` is the TSV of the light form, beside the file unless given. A row without an id gets one.
    """
    known = _corpus(Path(corpus) if corpus else corpus_path(path))
    seen: dict[str, int] = {name: i for i, name in enumerate(known["id"])}
    queries: dict[str, list[str]] = {"id": [], "text": []}
    qrels: dict[str, list[Any]] = {"query": [], "passage": [], "relevance": []}
    found: list[np.ndarray] = []
    scores: list[np.ndarray] = []
    given = _ids(Path(path))
    for number, (place, values) in enumerate(jsonl(Path(path))):
        question, sides = values.get("question"), _sides(values, place)
        if not isinstance(question, str) or not question.strip():
            raise ValueError(f"{place}: question is {question!r:.60}, expected text")
        utf8(question, place)
        name = sound_id(str(values["id"]), place) if values.get("id") is not None else _free(f"q{number}", given)
        positive, negative = ([_row_of(c, known, seen, place) for c in side] for side in sides)
        own = list(dict.fromkeys([*positive, *negative]))  # a passage of both sides stays positive
        queries["id"].append(name)
        queries["text"].append(question)
        for row in dict.fromkeys(positive):
            for column, value in zip(qrels, (name, known["id"][row], 1), strict=True):
                qrels[column].append(value)
        found.append(np.array(own, np.int32))
        scores.append(_relevance([c for side in sides for c in side], len(own), place))
    if not found:
        raise ValueError(f"{path}: the file has no row")
    bare = sum(1 for own in found if not len(own))
    if bare:
        warnings.warn(f"{path}: {bare:,} rows have no context, so their lists are empty", LabelWarning, stacklevel=2)
    tables = (pa.table(queries, TEXTS), pa.table(known, TEXTS), pa.table(qrels, QRELS))
    collection = Collection(f"dpr:{Path(path).name}", *tables)
    return collection, padded(found, scores, max(map(len, found)))


def _ids(path: Path) -> set[str]:
    """The ids that the rows of a file give themselves, each once."""
    known: set[str] = set()
    for place, values in jsonl(path):
        if values.get("id") is not None:
            name = str(values["id"])
            if name in known:
                raise ValueError(f"{place}: id {name!r} stands in an earlier row, too; each row needs its own")
            known.add(name)
    return known


def _free(name: str, taken: set[str]) -> str:
    return name if name not in taken else _free(f"{name}-", taken)


def corpus_path(path: str | Path) -> Path:
    """Where the corpus of a light file lies: ``train.jsonl`` has ``train.corpus.tsv``."""
    place = Path(path)
    return place.with_name(place.name.removesuffix(".gz").removesuffix(".jsonl") + ".corpus.tsv")


# --------------------------------------------------------------------------------------- lists of hard negatives


def read_hard_negatives(path: str | Path, systems: tuple[str, ...] = ()) -> pd.DataFrame:
    """Read JSONL of qid, pos and neg by system, as sentence-transformers' msmarco-hard-negatives: a row a passage.

    Columns: query and passage (ids, as text), system ("pos", or who mined it), rank from 1, and score, which is minus
    the rank. ``systems`` keeps some of them. A system's rows are ranked lists by :func:`lists_from`.

    >>> from pathlib import Path
    >>> from drscale.labels import read_hard_negatives
    >>> size = Path("hard.jsonl").write_text('{"qid": 1, "pos": [7], "neg": {"bm25": [3, 5]}}')
    >>> read_hard_negatives("hard.jsonl")[["query", "passage", "system", "rank"]]
      query passage system  rank
    0     1       7    pos     1
    1     1       3   bm25     1
    2     1       5   bm25     2
    """
    rows: list[tuple[str, str, str, int]] = []
    for place, values in jsonl(Path(path)):
        negatives = values.get("neg")
        if "qid" not in values or not isinstance(values.get("pos"), list) or not isinstance(negatives, Mapping):
            raise ValueError(f"{place}: qid, pos (a list) and neg (lists by system) are expected")
        for system, ids in {"pos": values["pos"], **negatives}.items():
            if not isinstance(ids, list):
                raise ValueError(f"{place}: neg of {system!r} is a {type(ids).__name__}, expected a list of ids")
            if not systems or system in systems:
                rows += [(str(values["qid"]), str(name), system, rank) for rank, name in enumerate(ids, start=1)]
    if not rows:
        raise ValueError(f"{path}: no row" + f" of the systems {', '.join(systems)}" * bool(systems))
    frame = pd.DataFrame(rows, columns=["query", "passage", "system", "rank"])
    return frame.assign(score=-frame["rank"].astype(float))


# ------------------------------------------------------------------------------------------------- the small parts


def _context(told: dict[str, list[str]], row: int, score: float, light: bool) -> dict[str, Any]:
    text = {"docidx": row} if light else {"title": "", "text": told["text"][row], "id": told["id"][row]}
    return {**text, "relevance": score}


def _sides(values: dict[str, Any], place: str) -> tuple[list[Any], list[Any]]:
    """A row's positive contexts and its hard negatives."""
    if "ctxs" in values and "positive_ctxs" not in values:
        every = values["ctxs"]
        if not isinstance(every, list) or not all(isinstance(c, dict) and "has_answer" in c for c in every):
            raise ValueError(f"{place}: ctxs is expected to be a list of contexts with has_answer")
        return [c for c in every if c["has_answer"]], [c for c in every if not c["has_answer"]]
    sides = values.get("positive_ctxs"), values.get("hard_negative_ctxs", [])
    if not all(isinstance(side, list) and all(isinstance(c, dict) for c in side) for side in sides):
        raise ValueError(f"{place}: positive_ctxs and hard_negative_ctxs are expected, as lists of contexts")
    return sides  # type: ignore[return-value]


def _row_of(context: dict[str, Any], known: dict[str, list[str]], seen: dict[str, int], place: str) -> int:
    """The row of a context's passage, which joins the known ones if it is new."""
    if "docidx" in context:
        row = context["docidx"]
        if not isinstance(row, int) or not 0 <= row < len(known["id"]):
            raise ValueError(f"{place}: docidx is {row!r}, the corpus has the lines 0 to {len(known['id']) - 1}")
        return row
    title, text = context.get("title") or "", context.get("text")
    if not isinstance(text, str):
        raise ValueError(f"{place}: a context's text is {text!r:.60}, expected text or docidx")
    whole = f"{title} {text}" if title and text else title or text
    whole = utf8(whole, place)
    given = str(context.get("id", context.get("passage_id", "")))
    name = sound_id(given, place) or f"text:{whole}"
    if name not in seen:
        seen[name] = len(known["id"])
        known["id"].append(name if not name.startswith("text:") else f"p{len(known['id'])}")
        known["text"].append(whole)
    elif known["text"][seen[name]] != whole:
        raise ValueError(f"{place}: the passage {name!r} has had another text before")
    return seen[name]


def _relevance(contexts: list[dict[str, Any]], count: int, place: str) -> np.ndarray:
    values = [c.get("relevance") for c in contexts]
    for value in values:
        if value is not None and (not isinstance(value, int | float) or not abs(value) < 1e38):
            raise ValueError(f"{place}: relevance is {value!r:.40}, expected a finite number")
    if len(values) == count and all(isinstance(v, int | float) for v in values):
        given = np.array(values, np.float32)
        if np.isfinite(given).all() and (np.diff(given) <= 0).all():
            return given
    return -np.arange(count, dtype=np.float32)


def _corpus(path: Path) -> dict[str, list[str]]:
    """The passages of a light file's corpus, in the order of its lines; none where there is no such file."""
    known: dict[str, list[str]] = {"id": [], "text": []}
    if not path.is_file():
        return known
    for number, values in _tabs(path):
        if number == 1 and values[:2] == ["id", "text"]:
            continue
        if len(values) < 2:
            raise ValueError(f"{path}:{number}: {len(values)} fields, expected id, text and title")
        title = values[2] if len(values) > 2 else ""
        known["id"].append(values[0])
        known["text"].append(f"{title} {values[1]}" if title else values[1])
    return known


def _tabs(path: Path) -> Iterator[tuple[int, list[str]]]:
    for number, line in lines(path):
        yield number, next(csv.reader([line.rstrip("\r\n")], delimiter="\t"), [])
