"""Texts from a hub of data sets, ``hub:ID``: BEIR's and MTEB's layout or a table of pairs, through ``datasets``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from drscale.texts.cache import cached, key_of
from drscale.texts.collection import Collection
from drscale.texts.readers import READER, Row, Sink, document, no_repeats, paired
from drscale.texts.tables import DROPPED, QRELS, TEXTS, warn_dangling, without_dangling

QUERY_KEYS, PASSAGE_KEYS = ("query-id", "query_id", "qid"), ("corpus-id", "corpus_id", "pid", "passage-id")


def hub_collection(
    name: str, split: str = "test", query: str = "", passage: str = "", language: str = "en", strict: bool = False
) -> Collection:
    """Read a data set of a hub, or of a local folder, by its id.

    With the configurations ``corpus`` and ``queries`` it is BEIR's and MTEB's layout; the qrels are the split of the
    configuration ``default`` or ``qrels``, or stand under the id with ``-qrels`` behind. Otherwise it is a table of
    pairs, and ``query`` and ``passage`` name its columns. Code that comes with a data set is never run. A judgement of
    a query or passage that is missing is dropped with a warning, and counted in ``versions``; ``strict`` refuses it.
    """
    import datasets  # here, because importing it takes seconds and most texts do without

    configs = _try(name, datasets.get_dataset_config_names, name)
    spelt = {"passage": passage, "query": query, "split": split if split != "test" else ""}
    options = "&".join(f"{k}={v}" for k, v in spelt.items() if v)
    label = f"hub:{name}" + (f"?{options}" if options else "")
    if bool(query) != bool(passage):
        raise ValueError(f"{label}: query and passage name the two columns of a table of pairs; give both or neither")
    if query:
        parts = {"pairs": _part(name, None, split)}
    elif {"corpus", "queries"} <= set(configs):
        judged = next((config for config in ("qrels", "default") if config in configs), None)
        qrels = _part(name, judged, split) if judged else _part(f"{name}-qrels", None, split)
        parts = {"corpus": _part(name, "corpus"), "queries": _part(name, "queries"), "qrels": qrels}
    else:
        raise ValueError(
            f"{label}: the configurations are {', '.join(configs)}, expected corpus and queries; if it is a table of"
            f" pairs, name its columns: hub:{name}?passage=...&query=..."
        )

    domain = name.rstrip("/").rpartition("/")[2]

    def build(work: Path) -> Collection:
        said = ""
        if query:
            queries, passages, qrels = paired(label, _rows(parts["pairs"], label), query, passage, work)
        else:
            passages = _documents(parts["corpus"], f"{label} corpus", work / "passages.arrow")
            qrels = _qrels(parts["qrels"], f"{label} qrels")
            queries = _documents(parts["queries"], f"{label} queries", work / "queries.arrow")
            known = {"query": (queries, "queries"), "passage": (passages, "corpus")}
            qrels, said = without_dangling(qrels, known, lambda row: f"{label} qrels:row {row}", strict)
            queries = queries.filter(pc.is_in(queries["id"], value_set=qrels["query"].combine_chunks()))
        versions = {f"{DROPPED}{domain}": said} if said else {}
        return Collection(label, queries, passages, qrels, language, domain, versions=versions)

    stamps = {part: [*_files(data), data.num_rows] for part, data in parts.items()}
    key = key_of(READER, label, language, stamps, *(["strict"] if strict else []))
    found = cached(f"hub-{name}", key, Collection.load, build)
    warn_dangling(label, found.versions)
    return found


def _part(name: str, config: str | None, split: str = "") -> Any:
    """One table of a data set; without a split the only one, or the one named like its configuration."""
    import datasets

    found = _try(name, datasets.load_dataset, name, config)
    chosen = split or (next(iter(found)) if len(found) == 1 else config)
    if chosen not in found:
        raise ValueError(f"hub:{name}: no split {chosen!r} of {config or 'it'}, there are {', '.join(found)}")
    return found[chosen]


def _try(name: str, function: Any, *arguments: Any) -> Any:
    try:
        return function(*arguments)
    except (OSError, ValueError, RuntimeError) as e:  # also what datasets and the hub's client derive from these
        why = (str(e).splitlines() or [type(e).__name__])[0]
        raise ValueError(f"hub:{name}: cannot be loaded ({why})") from e


def _files(data: Any) -> list[Any]:
    paths = [Path(part["filename"]) for part in data.cache_files]
    return [[str(path), path.stat().st_size, path.stat().st_mtime_ns] for path in paths]


def _rows(data: Any, label: str) -> Iterator[Row]:
    for number, values in enumerate(data):
        yield Row(f"{label}:row {number}", values)


def _documents(data: Any, label: str, kept: Path) -> pa.Table:
    with Sink(kept, TEXTS) as sink:
        for row in _rows(data, label):
            sink.add(*document(row.values, row.place))
        table = sink.table()
    no_repeats(table, label, ((row.place, document(row.values, row.place)[0]) for row in _rows(data, label)))
    return table


def _qrels(data: Any, label: str) -> pa.Table:
    names = data.column_names
    query = next((key for key in QUERY_KEYS if key in names), None)
    passage = next((key for key in PASSAGE_KEYS if key in names), None)
    if query is None or passage is None or "score" not in names:
        raise ValueError(f"{label}: the columns are {', '.join(names)}, expected query-id, corpus-id and score")
    table = data.with_format("arrow")[:].select([query, passage, "score"]).rename_columns(QRELS.names)
    try:
        return table.cast(QRELS)
    except pa.ArrowInvalid as e:
        raise ValueError(f"{label}: {str(e).splitlines()[0]}") from None
