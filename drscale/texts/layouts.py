"""``folder:PATH``: the files of a retrieval collection as its makers lay them out.

BEIR's folders, the TSV files of MS MARCO, T2Ranking and Multi-CPR, LoTTE, and the JSON of TianGong-PDR. Which of them a
folder holds is seen from its file names. ``LAYOUTS`` has a row a layout.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from tqdm import tqdm

from drscale.files import check_id
from drscale.texts.cache import cached, key_of
from drscale.texts.collection import Collection
from drscale.texts.readers import READER, Sink, blank, document, jsonl, lines, no_repeats, sound_id, utf8
from drscale.texts.tables import DROPPED, QRELS, TEXTS, warn_dangling, without_dangling

HEADER = ("query-id", "corpus-id", "score")
IDS = ("pid", "qid", "id", "docid", "query-id", "query_id")  # what the first field of a header is called
LARGEST = 2**31 - 1  # a score
Texts = Iterator[tuple[str, str, str]]  # place, id, text
Judgements = Iterator[tuple[int, str, str, str]]  # line, query, passage, score


# ------------------------------------------------------------------------------------------------ rows of the files


def _records(file: Path) -> Texts:
    for row in jsonl(file):
        yield (row.place, *document(row.values, row.place))


def _columns(file: Path) -> Texts:
    """Read id and text (or id, title and text) with tabs between, with or without a header."""
    for number, line in lines(file):
        fields = line.rstrip("\r\n").split("\t")
        if not line.strip() or (number == 1 and fields[0] in IDS):
            continue
        if len(fields) < 2 or not fields[0].strip():
            raise ValueError(f"{file}:{number}: {len(fields)} fields, expected an id and a text with a tab between")
        yield f"{file}:{number}", fields[0].strip(), " ".join(field for field in fields[1:] if field)


def _triples(file: Path) -> Judgements:
    """Read BEIR's qrels: query, passage and score with tabs between, with or without a header."""
    for number, line in lines(file):
        fields = line.rstrip("\r\n").split("\t")
        if not line.strip() or (number == 1 and fields[-1] == HEADER[-1]):
            continue
        if len(fields) != 3:
            raise ValueError(f"{file}:{number}: {len(fields)} fields, expected {', '.join(HEADER)} with tabs between")
        yield number, fields[0], fields[1], fields[2]


def _qrels(file: Path) -> Judgements:
    """Read TREC's four columns (query, 0, passage, score) or two (query, passage), with or without a header."""
    for number, line in lines(file):
        fields = line.split()
        if not fields or (number == 1 and fields[0] in IDS):
            continue
        if len(fields) not in (2, 4):
            raise ValueError(f"{file}:{number}: {len(fields)} fields, expected qid, 0, pid, score or qid, pid")
        yield number, fields[0], fields[-2] if len(fields) == 4 else fields[1], fields[3] if len(fields) == 4 else "1"


def _answers(file: Path) -> Judgements:
    """Read LoTTE's answers: a JSON object a line, with qid and answer_pids."""
    for number, row in enumerate(jsonl(file), start=1):
        if not {"qid", "answer_pids"} <= row.values.keys():
            raise ValueError(f"{row.place}: qid and answer_pids are expected, there is {', '.join(row.values)}")
        for passage in dict.fromkeys(row.values["answer_pids"]):
            query, told = (sound_id(str(n), row.place) for n in (row.values["qid"], passage))
            yield number, query, told, "1"


# ---------------------------------------------------------------------------------- TianGong-PDR: one JSON, all in it


GRADES = ("relevance", "label", "rel", "passage_relevance", "passage_labels")


def _first(values: Any, keys: tuple[str, ...], place: str) -> Any:
    if not isinstance(values, dict):
        raise ValueError(f"{place}: a JSON {type(values).__name__}, expected an object")
    for key in keys:
        if key in values:
            return values[key]
    raise ValueError(f"{place}: {' or '.join(keys)} is expected, there is {', '.join(map(str, values)) or 'nothing'}")


def _listed(value: Any, place: str) -> list[Any]:
    """A list, or the values of an object whose keys are numbers or ids (which become ``id`` where there is none)."""
    if isinstance(value, dict):
        return [{"id": key, **item} if isinstance(item, dict) else item for key, item in value.items()]
    if not isinstance(value, list):
        raise ValueError(f"{place}: a JSON {type(value).__name__}, expected a list")
    return value


def _parsed(file: Path) -> Any:
    """A JSON file, or one with an object a line."""
    text = "".join(line for _, line in lines(file))
    try:
        return json.loads(text)
    except ValueError as e:
        if not text.lstrip().startswith("{"):
            raise ValueError(f"{file}: no JSON ({e})") from None
    return [row.values for row in jsonl(file)]


def _graded(file: Path) -> Iterator[tuple[int, str, str, list[tuple[str, str, str]]]]:
    """Yield number, id and text of each query, and of the passages of its documents: id, text, grade (0 to 3)."""
    for number, query in enumerate(_listed(_parsed(file), str(file)), start=1):
        place = f"{file}: query {number}"
        name = str(_first(query, ("qid", "id"), place))
        docs = _listed(_first(query, ("docs", "documents", "doc"), place), place)
        passages: list[tuple[str, str, str]] = []
        for rank, doc in enumerate(docs, start=1):
            where = f"{place}, document {rank}"
            parts = _listed(_first(doc, ("passages", "paragraphs", "content"), where), where)
            own = _first({**doc, "rank": rank}, ("docid", "doc_id", "did", "id", "rank"), where)
            if all(isinstance(part, str) for part in parts):  # texts, and their grades in a list beside them
                grades = _listed(_first({k: v for k, v in doc.items() if isinstance(v, list)}, GRADES, where), where)
                if len(grades) != len(parts):
                    raise ValueError(f"{where}: {len(parts)} passages and {len(grades)} grades")
                parts = [{"text": text, "relevance": grade} for text, grade in zip(parts, grades, strict=True)]
            for i, part in enumerate(parts, start=1):
                at = f"{where}, passage {i}"
                text, grade = _first(part, ("text", "passage", "content", "paragraph"), at), _first(part, GRADES, at)
                passages.append((f"{name}-{own}-{i}", str(text), str(grade)))
        yield number, name, str(_first(query, ("query", "query_text", "text"), place)), passages


def _graded_queries(file: Path) -> Texts:
    for number, name, text, _ in _graded(file):
        yield f"{file}: query {number}", name, text


def _graded_passages(file: Path) -> Texts:
    for number, _, _, passages in _graded(file):
        for name, text, _ in passages:
            yield f"{file}: query {number}", name, text


def _graded_qrels(file: Path) -> Judgements:
    for number, query, _, passages in _graded(file):
        for name, _, grade in passages:
            yield number, query, name, grade


# ---------------------------------------------------------------------------------------------------------- layouts


@dataclass(frozen=True)
class Layout:
    """File names, of which ``{split}`` is the split, and how the files are read; the first name that is there counts.

    ``marks`` is a file by which the layout is known where its corpus has the name of another's.
    """

    name: str
    corpora: tuple[str, ...]
    queries: tuple[str, ...]
    qrels: tuple[str, ...]
    passages_of: Callable[[Path], Texts]
    queries_of: Callable[[Path], Texts]
    judgements_of: Callable[[Path], Judgements]
    marks: str = ""

    @property
    def files(self) -> str:
        """Its files, for a message."""
        names = dict.fromkeys((self.corpora[0], self.queries[0], self.qrels[0]))
        return " and ".join(", ".join(names).replace("{split}", "<split>").rsplit(", ", 1))


LAYOUTS = (
    Layout("BEIR", ("corpus.jsonl",), ("queries.jsonl",), ("qrels/{split}.tsv",), _records, _records, _triples),
    Layout(
        "LoTTE",
        ("collection.tsv",),
        ("questions.{split}.tsv",),
        ("qas.{split}.jsonl",),
        *(_columns, _columns, _answers),
        marks="qas.*.jsonl",
    ),
    Layout(
        "MS MARCO",
        ("collection.tsv", "corpus.tsv"),
        ("queries.{split}.tsv", "{split}.query.txt"),
        ("qrels.retrieval.{split}.tsv", "qrels.{split}.tsv"),
        *(_columns, _columns, _qrels),
    ),
    Layout("TianGong-PDR", ("*.json",), ("*.json",), ("*.json",), _graded_passages, _graded_queries, _graded_qrels),
)
OTHER_NAMES = {"dev": ("dev.small", "validation"), "validation": ("dev", "dev.small")}
SEVERAL_OF_ONE = ("pooled",)  # LoTTE's topics together: no topic of its own


def layout_of(folder: Path) -> Layout | None:
    """The layout whose corpus lies in a folder."""
    for layout in LAYOUTS:
        if _there(folder, layout.corpora) and (not layout.marks or any(folder.glob(layout.marks))):
            return layout
    return None


def folder_collection(
    path: str, split: str = "", language: str = "en", progress: bool = True, strict: bool = False
) -> Collection:
    """Read a folder in one of the ``LAYOUTS``: a corpus, queries and the qrels of a split.

    The queries are those that the split's qrels name; ``split`` may be left out where there is a ``test`` or only one.
    A passage is its title and its text. A judgement of a query or passage that is missing is dropped with a warning,
    and counted in ``versions``; ``strict`` refuses it. T2Ranking's qrels are those for retrieval.
    """
    folder = _home(path)
    if parts := folder_parts(path):
        first = next(iter(parts))
        raise ValueError(
            f"folder:{path}: a data set of {len(parts)} folders ({first} ...), each a collection of its own; read "
            f"folder:{path}/{parts[first]}, or all of them as ood of compose"
        )
    layout = layout_of(folder)
    if layout is None:
        known = "; ".join(f"{each.name}: {each.files}" for each in LAYOUTS)
        raise ValueError(f"folder:{path}: no corpus in a known layout ({known})")
    if not any("{split}" in name for name in layout.queries):
        _file(folder, layout, layout.queries, "")  # what is missing is said before the split is looked for
    chosen = _split(folder, layout, split)
    corpus, queries, qrels = (_file(folder, layout, n, chosen) for n in (layout.corpora, layout.queries, layout.qrels))
    name = f"folder:{path}" + (f"?split={split}" if split else "")
    domain = next(p for p in (folder, *folder.parents) if p.name not in ("data", "dev", "test")).name

    def build(work: Path) -> Collection:
        passages = _documents(layout.passages_of, corpus, work / "passages.arrow", progress)
        asked = _documents(layout.queries_of, queries, work / "queries.arrow", progress, queries=True)
        known = {"query": (asked, queries.name), "passage": (passages, corpus.name)}
        judged, said = _judged(layout.judgements_of(qrels), qrels, known, strict)
        asked = asked.filter(pc.is_in(asked["id"], value_set=judged["query"].combine_chunks()))
        versions = {f"{DROPPED}{domain}": said} if said else {}
        return Collection(name, asked, passages, judged, language, domain, versions=versions)

    stamps = [[str(file), file.stat().st_size, file.stat().st_mtime_ns] for file in (corpus, queries, qrels)]
    key = key_of(READER, name, language, stamps, *(["strict"] if strict else []))
    found = cached(f"folder-{domain}", key, Collection.load, build)
    warn_dangling(name, found.versions)
    return found


def folder_parts(path: str) -> dict[str, str]:
    """The collections of a data set that is several folders: their names and their paths below it.

    CQADupStack's forums are twelve; LoTTE's topics are five, each with a folder ``test`` (or else ``dev``).
    """
    folder, whole = _home(path), Path(path).expanduser().resolve()
    if layout_of(folder) is not None:
        return {}
    parts = {}
    for part in sorted(p for p in folder.iterdir() if p.is_dir() and p.name not in SEVERAL_OF_ONE):
        inner = next((f for f in (part, part / "test", part / "dev") if layout_of(f) is not None), None)
        if inner is not None:
            parts[part.name] = str(inner.relative_to(whole))
    return parts


def _home(path: str) -> Path:
    """The folder of the files: the one that is named, or ``data`` in it, as repositories have it."""
    folder = Path(path).expanduser().resolve()
    if not folder.is_dir():
        raise ValueError(f"folder:{path}: no such folder")
    return folder / "data" if layout_of(folder) is None and (folder / "data").is_dir() else folder


def _documents(
    read: Callable[[Path], Texts], file: Path, kept: Path, progress: bool, queries: bool = False
) -> pa.Table:
    bar = tqdm(read(file), desc=f"reading {file.name}", unit=" rows", disable=not progress, leave=False, delay=0.5)
    with Sink(kept, TEXTS) as sink:
        for place, name, text in bar:
            if queries and blank(text):
                raise ValueError(f"{place}: the text of the query is empty")
            sink.add(utf8(name, place, "id"), utf8(text, place))
        table = sink.table()
    no_repeats(table, str(file), ((place, name) for place, name, _ in read(file)))
    return table


def _judged(
    judgements: Judgements, file: Path, known: dict[str, tuple[pa.Table, str]], strict: bool
) -> tuple[pa.Table, str]:
    """Check every judgement and make a table of them; one that is said twice alike counts once."""
    seen: dict[tuple[str, str], tuple[int, int]] = {}
    for number, query, passage, score in judgements:
        for name in (query, passage):
            check_id(name, f"{file}:{number}")
        try:
            relevance = int(score) if score.lstrip("-").isdigit() else int(_whole(float(score)))
        except ValueError:
            raise ValueError(f"{file}:{number}: the score {score!r:.40} is no whole number") from None
        if not -LARGEST <= relevance <= LARGEST:
            raise ValueError(f"{file}:{number}: the score {score:.40} is beyond {LARGEST:,}")
        if seen.setdefault((query, passage), (relevance, number))[0] != relevance:
            raise ValueError(
                f"{file}:{number}: the query and passage {(query, passage)} have occurred together before, with "
                "another score"
            )
    if not seen:
        raise ValueError(f"{file}: the file has no row")
    queries, passages = zip(*seen, strict=True)
    relevance_, numbers = zip(*seen.values(), strict=True)
    table = pa.table([list(queries), list(passages), pa.array(relevance_, pa.int32())], schema=QRELS)
    table, said = without_dangling(table, known, lambda row: f"{file}:{numbers[row]}", strict)
    if pc.max(table["relevance"]).as_py() <= 0:
        raise ValueError(f"{file}: no score is above 0, so no query has an answer")
    return table, said


def _whole(score: float) -> float:
    if not score.is_integer():
        raise ValueError(score)
    return score


def folder_splits(path: str) -> dict[str, str]:
    """The splits of a folder that has one to train on, as ``benchmark`` uses them: ``train``, ``test``, ``validation``.

    The values are their names in the folder. A folder without a split ``train`` is one collection and gives none.
    Without a ``test`` one measures on ``dev``, as is usual for MS MARCO.
    """
    folder = _home(path)
    layout = layout_of(folder)
    there = set() if layout is None else _splits(folder, layout)
    if "train" not in there:
        return {}
    found = {"train": "train"} | ({"test": "test"} if "test" in there else {})
    dev = next((name for name in ("dev", *OTHER_NAMES["dev"]) if name in there), None)
    return found if dev is None else found | {"validation" if "test" in found else "test": dev}


def _splits(folder: Path, layout: Layout) -> set[str]:
    """The splits that have judgements."""
    found: set[str] = set()
    if "{split}" not in layout.qrels[0]:
        return found
    for pattern in layout.qrels:
        before, after = pattern.split("{split}")
        for ending in (after, f"{after}.gz"):
            places = (str(file.relative_to(folder)) for file in folder.glob(f"{before}*{ending}"))
            found |= {place[len(before) : -len(ending)] for place in places}
    return {name for name in found if not name.startswith("retrieval.")}


def _split(folder: Path, layout: Layout, split: str) -> str:
    """The split that is asked for, or its other name; "test" or the only one where none is asked for."""
    if "{split}" not in layout.qrels[0]:
        return ""
    found = _splits(folder, layout)
    wanted = split or ("test" if "test" in found or len(found) != 1 else next(iter(found)))
    chosen = next((name for name in (wanted, *OTHER_NAMES.get(wanted, ())) if name in found), None)
    if chosen is None:
        ending = Path(layout.qrels[-1]).suffix
        there = f"there are {', '.join(sorted(found))}" if found else f"there is no {ending} file"
        raise ValueError(f"{(folder / layout.qrels[-1]).parent}: no split {wanted!r}, {there}")
    return chosen


def _there(folder: Path, patterns: tuple[str, ...]) -> Path | None:
    """The first file of a folder that has one of these names, zipped or not."""
    names = (name for pattern in patterns for name in (pattern, f"{pattern}.gz"))
    return next((file for name in names for file in sorted(folder.glob(name)) if file.is_file()), None)


def _file(folder: Path, layout: Layout, patterns: tuple[str, ...], split: str) -> Path:
    names = tuple(pattern.replace("{split}", split) for pattern in patterns)
    found = _there(folder, names)
    if found is None:
        raise ValueError(f"{folder / names[0]}: no such file; {layout.name}'s layout is {layout.files}")
    return found
