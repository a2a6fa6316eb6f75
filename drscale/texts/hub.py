"""Texts from a hub of data sets, ``hub:ID``, through ``datasets``: BEIR's and MTEB's layouts, or a table of pairs.

Columns stay Arrow from the hub's file to ours, so that 8.8 million passages pass through no Python object.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from drscale.files import write_atomic
from drscale.texts.cache import CacheWarning, cache_folder, cached, key_of
from drscale.texts.collection import Collection
from drscale.texts.pairs import paired, shape_of
from drscale.texts.readers import READER, Row, Sink, columns_as_rows, no_repeats
from drscale.texts.tables import BATCH, DROPPED, QRELS, TEXTS, grouped, warn_dangling, without_dangling

QUERY_KEYS, PASSAGE_KEYS = ("query-id", "query_id", "qid"), ("corpus-id", "corpus_id", "pid", "passage-id")
SCORE_KEYS = ("score", "relevance", "label")
ID_KEYS = ("_id", "id", "docid", "doc_id", *PASSAGE_KEYS, *QUERY_KEYS)
TEXT_KEYS = ("text", "passage", "contents", "query")
USUAL_SPLITS = {"train", "dev", "validation", "test"}
OTHER_NAMES = {"dev": "validation", "validation": "dev"}
COMMIT = re.compile(r"[0-9a-f]{40}")
NO_SUCH = re.compile(r"BuilderConfig .* not found|Config name is missing|Couldn't find cache|There are multiple ")
CONVERTED = "refs/convert/parquet"  # the hub's own copy of a data set, a folder for each configuration


class HubError(ValueError):
    """A data set cannot be had: the hub cannot be reached, or has none of that name, or does not give it to you."""


def hub_collection(
    name: str,
    split: str = "",
    query: str = "",
    passage: str = "",
    language: str = "en",
    strict: bool = False,
    config: str = "",
    revision: str = "",
) -> Collection:
    """Read a data set of a hub, or of a local folder, by its id.

    With the configurations ``corpus`` and ``queries`` (or ``CONFIG-corpus`` and ``CONFIG-queries``) it is BEIR's and
    MTEB's layout; the qrels are a split of the configuration ``default`` or ``qrels``, or stand under the id with
    ``-qrels`` behind. With the splits ``corpus`` and ``queries`` it is C-MTEB's. An instruction is put behind its
    query. Otherwise it is a table of pairs: :func:`drscale.texts.pairs.shape_of` finds its columns, or ``query`` and
    ``passage`` name them.

    The split is ``test``, or the only one there is, unless ``split`` names it. ``revision`` is a commit, tag or branch.
    Code that comes with a data set is never run. A judgement of a query or passage that is missing is dropped with a
    warning, and counted in ``versions``, where the commit stands too; ``strict`` refuses it. What was read once is read
    again without a network.
    """
    options = {"config": config, "passage": passage, "query": query, "revision": revision}
    options["split"] = split if split != "test" else ""
    spelt = "&".join(f"{k}={v}" for k, v in options.items() if v)
    label = f"hub:{name}" + (f"?{spelt}" if spelt else "")
    strictly = ["strict"] if strict else []
    remembered = cache_folder() / "hub" / f"{key_of(label, language, *strictly)}.txt"
    try:
        parts = _parts(_Hub(name, revision), label, split, query or passage, config)
    except HubError as e:
        parts, key, why = {}, _remembered(remembered), e
        if not key:
            raise
        if not _offline():
            warnings.warn(f"{e}; what was read before is used", CacheWarning, stacklevel=3)
    else:
        stamps = {part: [*_files(data), data.num_rows] for part, data in parts.items()}
        key = key_of(READER, label, language, stamps, *strictly)
    domain = name.rstrip("/").rpartition("/")[2]
    if "corpus" in parts and split and split not in USUAL_SPLITS:
        domain = split  # NanoBEIR: the splits are the data sets
    elif "corpus" in parts and config:
        domain = f"{domain}-{config}"

    def build(work: Path) -> Collection:
        if not parts:
            raise why
        if "pairs" in parts:
            shape = shape_of(parts["pairs"].column_names, label, query, passage)
            rows = _rows(parts["pairs"].select_columns(list(dict.fromkeys(shape.columns))), label)
            queries, passages, qrels = paired(label, rows, query, passage, work)
            return Collection(label, queries, passages, qrels, language, domain, versions=_commits(name, parts))
        passages = _documents(parts["corpus"], f"{label} corpus", work / "passages.arrow")
        qrels = _qrels(parts["qrels"], f"{label} qrels")
        queries = _documents(parts["queries"], f"{label} queries", work / "queries.arrow", queries=True)
        known = {"query": (queries, "queries"), "passage": (passages, "corpus")}
        qrels, said = without_dangling(qrels, known, lambda row: f"{label} qrels:row {row}", strict)
        queries = queries.filter(pc.is_in(queries["id"], value_set=qrels["query"].combine_chunks()))
        if "instruction" in parts:
            queries = _instructed(queries, parts["instruction"], f"{label} instruction")
        versions = _commits(name, parts) | ({f"{DROPPED}{domain}": said} if said else {})
        return Collection(label, queries, passages, qrels, language, domain, versions=versions)

    found = cached(f"hub-{name}", key, Collection.load, build)
    if parts:
        write_atomic(remembered, key)
    warn_dangling(label, found.versions)
    return found


def hub_splits(name: str, config: str = "", revision: str = "") -> list[str]:
    """The splits of a data set whose splits are data sets, as NanoBEIR's; none for any other."""
    try:
        corpus = _Hub(name, revision).load(f"{config}-corpus" if config else "corpus")
    except HubError:  # whoever reads it says what is wrong
        return []
    splits = [] if corpus is None else list(corpus)
    return splits if len(splits) > 1 and not set(splits) <= USUAL_SPLITS and "corpus" not in splits else []


# --------------------------------------------------------------------------------------------- what the hub has


class _Hub:
    """A data set's configurations, loaded by name; ``known`` are those that were said to be there."""

    def __init__(self, name: str, revision: str) -> None:
        self.name, self.revision = name, revision
        self.known: list[str] = []

    def load(self, config: str | None) -> Any:
        """The splits of a configuration, or None where there is none of that name.

        It is asked for straight away, and not looked up in a list of names: without a network that list is wrong.
        """
        import datasets  # here, because importing it takes seconds and most texts do without

        where: dict[str, Any] = {"name": config}
        if self.revision == CONVERTED:
            where = {"data_dir": config or "default"}
            if _offline():
                raise HubError(
                    f"hub:{self.name}: HF_HUB_OFFLINE is set, and datasets does not find {CONVERTED} in its cache; "
                    "load it once with a network and the same DRSCALE_CACHE"
                )
        try:
            found = datasets.load_dataset(self.name, revision=self.revision or None, **where)
        except ValueError as e:
            if not NO_SUCH.match(str(e)):
                raise HubError(_sentence(self.name, self.revision, e)) from e
            listed = re.search(r"in the cache: (.*)|\[(.*)\]", str(e))
            if listed:
                self.known = [n.strip(" '\"[]") for n in (listed[1] or listed[2]).split(",")]
            return None
        except FileNotFoundError as e:
            if self.revision == CONVERTED and "any data files" in str(e):
                return None
            raise HubError(_sentence(self.name, self.revision, e)) from e
        except Exception as e:  # what the clients of the hub and the readers of its files raise is no one's contract
            raise HubError(_sentence(self.name, self.revision, e)) from e
        if COMMIT.fullmatch(self.revision) and _offline():
            places = [part["filename"] for split in found.values() for part in split.cache_files]
            if not all(self.revision in Path(place).parts for place in places):
                raise HubError(
                    f"hub:{self.name}: revision={self.revision} is not in the cache, another one is; load it once "
                    "with a network"
                )
        return found


def _parts(hub: _Hub, label: str, split: str, named: str, config: str) -> dict[str, Any]:
    """The tables of a data set by what they are: corpus, queries, qrels and perhaps instruction; or pairs."""
    prefix = f"{config}-" if config else ""
    corpus = None if named else hub.load(f"{prefix}corpus")
    if corpus is not None:
        queries = hub.load(f"{prefix}queries")
        judged = _judgements(hub, [f"{prefix}qrels"] if config else ["default", "qrels"])
        if queries is None:
            raise ValueError(f"{label}: no configuration {prefix}queries, there are {', '.join(hub.known)}")
        told = hub.load(f"{prefix}instruction")
        extra = {} if told is None else {"instruction": _beside(told, split, "instruction", label)}
        parts = {
            "corpus": _beside(corpus, split, "corpus", label),
            "queries": _beside(queries, split, "queries", label),
        }
        return parts | {"qrels": _chosen(judged, split, label, "qrels")} | extra
    table = hub.load(config or None)
    if table is None and not hub.known:
        raise HubError(f"{label}: no configuration {config or 'default'!r} in the cache of datasets")
    if table is None:
        hint = next((c.removesuffix("-corpus") for c in hub.known if c.endswith("-corpus")), hub.known[0])
        raise ValueError(
            f"{label}: the configurations are {', '.join(hub.known)}; name one: hub:{hub.name}?config={hint}"
        )
    if {"corpus", "queries"} <= set(table) and not named:  # C-MTEB
        return {"corpus": table["corpus"], "queries": table["queries"], "qrels": _chosen(_elsewhere(hub), split, label)}
    return {"pairs": _chosen(table, split, label)}


def _judgements(hub: _Hub, names: list[str]) -> Any:
    """The first configuration that is judgements, or what stands in the repository beside this one."""
    there = [found for found in map(hub.load, names) if found is not None]
    judged = next(filter(_are_qrels, there), None)
    if judged is not None:
        return judged
    try:
        return _elsewhere(hub)
    except HubError:
        if not there:
            raise
        return there[0]  # whose columns are then said to be wrong


def _elsewhere(hub: _Hub) -> Any:
    """The judgements that stand in a repository of their own; a commit is one of the first repository only."""
    other = _Hub(f"{hub.name}-qrels", "" if COMMIT.fullmatch(hub.revision) else hub.revision)
    found = other.load(None)
    if found is None:
        raise ValueError(f"hub:{other.name}: one configuration is expected, there are {', '.join(other.known)}")
    return found


def _are_qrels(found: Any) -> bool:
    names = next(iter(found.values())).column_names
    return any(key in names for key in QUERY_KEYS) and any(key in names for key in PASSAGE_KEYS)


def _chosen(found: Any, split: str, label: str, what: str = "the table") -> Any:
    """The split that is asked for; ``test`` or the only one where none is."""
    wanted = split or ("test" if "test" in found or len(found) > 1 else next(iter(found)))
    wanted = wanted if wanted in found else OTHER_NAMES.get(wanted, wanted)
    if wanted not in found:
        raise ValueError(
            f"{label}: no split {split or 'test'!r} of {what}, there are {', '.join(found)}; split= names one"
        )
    return found[wanted]


def _beside(found: Any, split: str, what: str, label: str) -> Any:
    """The texts of a split: the split itself, the only one, or the one that is named like the configuration."""
    wanted = split or "test"
    if wanted in found:
        return found[wanted]
    if len(found) == 1:
        return next(iter(found.values()))
    return found[what] if what in found else _chosen(found, split, label, what)


def _sentence(name: str, revision: str, e: BaseException) -> str:
    """What went wrong at the hub, and the way out of it."""
    why, kind = (str(e).splitlines() or [""])[0] or type(e).__name__, type(e).__name__
    page = f"https://huggingface.co/datasets/{name}"
    if "scripts are no longer supported" in why:
        way = "code of a data set is never run: try revision=refs/convert/parquet, a copy, or its files by folder:PATH"
    elif "gated" in why.lower():
        way = f"accept its terms at {page} and log in with hf auth login"
    elif _offline():
        way = "HF_HUB_OFFLINE is set, and it is not in the cache: load it once with a network and the same HF_HOME"
    elif isinstance(e, ConnectionError) or kind in ("ConnectError", "ConnectTimeout", "ReadTimeout"):
        way = "without a network, load it once elsewhere and set HF_HUB_OFFLINE=1 and the same HF_HOME here"
    elif "Revision" in why:
        way = f"see the branches, tags and commits at {page}/tree/main"
    elif "doesn't exist" in why or "does not exist" in why:
        way = "see whether the id is right; a private one needs hf auth login"
    else:
        way = f"see {page}" + (f" at {revision}" if revision else "")
    return f"hub:{name}: cannot be loaded ({why.rstrip('.')}); {way}"


def _offline() -> bool:
    import datasets

    return bool(datasets.config.HF_HUB_OFFLINE)


def _commits(name: str, parts: dict[str, Any]) -> dict[str, str]:
    """The commit that a data set was read from, by its id; none for a local folder."""
    places = (Path(part["filename"]) for data in parts.values() for part in data.cache_files)
    found = dict.fromkeys(part for place in places for part in place.parts if COMMIT.fullmatch(part))
    return {f"hub:{name}": "+".join(found)} if found else {}


def _remembered(file: Path) -> str:
    """The key under which a spelling was cached the last time that the hub could be asked, where it still is."""
    try:
        key = file.read_text(encoding="utf-8")
    except OSError:
        return ""
    return key if any(cache_folder().glob(f"*-{key}")) else ""


def _files(data: Any) -> list[Any]:
    paths = [Path(part["filename"]) for part in data.cache_files]
    return [[str(path), path.stat().st_size, path.stat().st_mtime_ns] for path in paths]


# ------------------------------------------------------------------------------------------------ its columns


def _batches(data: Any) -> Iterator[pa.Table]:
    yield from data.with_format("arrow").iter(batch_size=BATCH)


def _rows(data: Any, label: str) -> Iterator[Row]:
    yield from columns_as_rows(_batches(data), label)


def _documents(data: Any, label: str, kept: Path, queries: bool = False) -> pa.Table:
    """Write a table's ids and texts (title and text) to a file of ours, column by column."""
    names = data.column_names
    key, text = (next((k for k in keys if k in names), "") for keys in (ID_KEYS, TEXT_KEYS))
    if not key or not text:
        raise ValueError(f"{label}: _id and text are expected, there is {', '.join(names) or 'nothing'}")
    others = [name for name in ("title", "instruction") if name in names and (name == "instruction") == queries]
    done = 0
    with Sink(kept, TEXTS) as sink:
        for batch in _batches(data.select_columns([key, text, *others])):
            ids, body = (_strings(batch[column], f"{label}:{column}") for column in (key, text))
            if ids.null_count:
                row = done + pc.index(pc.is_null(ids), True).as_py()
                raise ValueError(f"{label}:row {row}: {key} is None, expected a string")
            body = pc.fill_null(body, "")
            for column in others:
                more = pc.fill_null(_strings(batch[column], f"{label}:{column}"), "")
                body = _joined(body, more) if queries else _joined(more, body)
            if (
                queries
                and (row := pc.index(pc.equal(pc.utf8_length(pc.utf8_trim_whitespace(body)), 0), True).as_py()) >= 0
            ):
                raise ValueError(f"{label}:row {done + row}: the text of the query is empty")
            for part in pa.table([ids, body], schema=TEXTS).to_batches():
                sink.put(part)
            done += len(batch)
        table = sink.table()
    no_repeats(table, label, ((f"{label}:row {i}", str(name)) for i, name in enumerate(table["id"])))
    return table


def _strings(column: pa.ChunkedArray, where: str) -> pa.ChunkedArray:
    kinds = (
        pa.types.is_integer,
        pa.types.is_null,
        pa.types.is_string,
        pa.types.is_large_string,
        pa.types.is_string_view,
    )
    if not any(kind(column.type) for kind in kinds):
        raise ValueError(f"{where} is of the type {column.type}, expected text")
    return column.cast(pa.string())


def _joined(first: pa.ChunkedArray, second: pa.ChunkedArray) -> pa.ChunkedArray:
    """Two texts with a blank between, where both have one."""
    both = pc.and_(pc.not_equal(first, ""), pc.not_equal(second, ""))
    blank = pc.if_else(both, " ", "")
    return pc.binary_join_element_wise(first, second, blank)


def _instructed(queries: pa.Table, data: Any, label: str) -> pa.Table:
    """Queries with their instructions behind them, as MTEB joins them."""
    told = pa.concat_tables(_batches(data))
    key = next((k for k in (*QUERY_KEYS, "_id", "id") if k in told.column_names), "")
    if not key or "instruction" not in told.column_names:
        raise ValueError(f"{label}: query-id and instruction are expected, there is {', '.join(told.column_names)}")
    place = pc.index_in(queries["id"], value_set=told[key].cast(pa.string()).combine_chunks())
    more = pc.fill_null(told["instruction"].cast(pa.string()).take(place), "")
    return queries.set_column(1, "text", _joined(queries["text"], more))


def _qrels(data: Any, label: str) -> pa.Table:
    names = data.column_names
    query, passage, score = (
        next((key for key in keys if key in names), None) for keys in (QUERY_KEYS, PASSAGE_KEYS, SCORE_KEYS)
    )
    if query is None or passage is None:
        raise ValueError(f"{label}: the columns are {', '.join(names)}, expected query-id, corpus-id and score")
    table = data.with_format("arrow")[:]
    asked, answers = table[query].combine_chunks(), table[passage].combine_chunks()
    scores = pa.array([1] * len(asked), pa.int32()) if score is None else table[score].combine_chunks()
    if pa.types.is_list(answers.type):  # all passages of a query in one row
        rows = pc.list_parent_indices(answers)
        asked, answers, scores = asked.take(rows), pc.list_flatten(answers), scores.take(rows)
    try:
        qrels = pa.table([asked, answers, scores], names=QRELS.names).cast(QRELS)
    except pa.ArrowInvalid as e:
        raise ValueError(f"{label}: {str(e).splitlines()[0]}") from None
    return grouped(qrels, QRELS.names)  # what is said twice alike counts once
