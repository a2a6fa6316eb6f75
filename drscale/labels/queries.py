"""Training queries without people: sentences cropped from passages, queries that a generator writes, and mixtures.

An annotated collection is a :class:`Collection` like any other: new queries, one relevant passage each, and all the
passages, with or without the cropped sentence. ``versions`` says how its queries were made.
"""

from __future__ import annotations

import hashlib
import re
import warnings
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pyarrow as pa

from drscale.labels.generate import Generator, queries_of
from drscale.recipe import Annotation
from drscale.texts import Benchmark, Collection, TextsWarning, normalised, rows_at
from drscale.texts.cache import cached, key_of
from drscale.texts.collection import taken
from drscale.texts.readers import Sink
from drscale.texts.tables import QRELS, TEXTS

LEAST = 4  # words of a crop, as of a query of the docs benchmark
BATCH = 4096  # passages read at once
NOTE = "annotation"  # the key in a collection's versions
Labels = Callable[[str], tuple[list[str], str]]  # a passage in; its queries and what is left of it out
# A sentence ends at a mark, behind closing quotes or brackets, before a space; at a Chinese mark; or at a new line.
END = re.compile(r"[.!?]+[\"'\u201d\u2019)\]]*(?=\s)|[\u3002\uff01\uff1f]+[\u201d\u2019\u300d\u300f\uff09]*|\n+")
ABBREVIATION = re.compile(
    r"(?:^|[\s(\[])(?:[A-Za-z]|e\.g|i\.e|etc|vs|cf|al|resp|approx|figs?|eqs?|secs?|no|dr|mr|ms|st)$", re.I
)
# A word, or a character of a script that writes no spaces between them.
WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W\u3040-\u30ff\u3400-\u9fff]+")


def sentences(text: str) -> list[str]:
    """Cut a text into its sentences, by punctuation and new lines; together they hold every word of it.

    >>> from drscale.labels.queries import sentences
    >>> sentences("Open a file, e.g. a log. The mode is 'r' by default! See also close.")
    ['Open a file, e.g. a log.', "The mode is 'r' by default!", 'See also close.']
    """
    found, start = [], 0
    for mark in END.finditer(text):
        following = text[mark.end() :].lstrip()
        small = following[:1].islower()  # "v. close", ". of": no new sentence
        short = mark[0][0] == "." and ABBREVIATION.search(text[max(start, mark.start() - 12) : mark.start()])
        if mark[0][0] in ".!?" and (small or short):
            continue
        found.append(text[start : mark.end()])
        start = mark.end()
    return [piece for part in (*found, text[start:]) if (piece := part.strip())]


def crop_sentences(collection: Collection, *, least: int = LEAST) -> Collection:
    """Make a query of every sentence of every passage (DRAGON, Lin et al. 2023, Section 3.1).

    Sentences of fewer than ``least`` words (in Chinese and Japanese: characters) are left out, and a passage without
    any is named in a warning and stays among the passages. Passages are read and queries written in batches, so a
    large corpus need not fit into memory.

    >>> from drscale import collection
    >>> from drscale.labels.queries import crop_sentences
    >>> len(crop_sentences(collection("planted?pairs=200")))
    200
    """

    def labels(passage: str) -> tuple[list[str], str]:
        return [s for s in sentences(passage) if _words(s) >= least], passage

    return _labelled(collection, "cropped", labels, f"no sentence of {least} words", [least])


def inverse_cloze(collection: Collection, *, remove: bool = True, seed: int = 0, least: int = LEAST) -> Collection:
    """Make a query of one random sentence of each passage and, with ``remove``, take it out of the passage.

    This is the inverse cloze task (Lee et al. 2019). The sentence depends on the seed and the passage's text alone, so
    the queries are the same with and without removal. A passage needs a sentence of ``least`` words and as many beside
    it; one that has not gives no pair, is counted in a warning and stays among the passages.

    >>> from drscale.labels.queries import inverse_cloze
    >>> from drscale.texts.collection import from_pairs
    >>> some = from_pairs("a", [("1", "q", "Open the file for reading. Close the file when it was read.")])
    >>> inverse_cloze(some).table().iloc[0].tolist()
    ['Close the file when it was read.', 'Open the file for reading.']
    """

    def labels(passage: str) -> tuple[list[str], str]:
        parts = sentences(passage)
        long = [i for i, s in enumerate(parts) if _words(s) >= least <= _words(passage) - _words(s)]
        if not long:
            return [], passage
        at = long[int(hashlib.sha256(f"{seed} {passage}".encode()).hexdigest()[:12], 16) % len(long)]
        return [parts[at]], " ".join(parts[:at] + parts[at + 1 :]) if remove else passage

    said = f"no sentence of {least} words with as many beside it"
    return _labelled(collection, "ict" if remove else "ict_kept", labels, said, [seed, least])


def generate_queries(
    collection: Collection,
    generator: Generator | None = None,
    *,
    count: int = 1,
    seed: int = 0,
    made_by: str = "",
    refresh: bool = False,
    progress: bool = True,
) -> Collection:
    """Make queries of what a generator writes for each passage, ``count`` each.

    ``generator`` is :func:`hub_generator`'s, :func:`train_docs2query`'s (the default, trained on the collection's own
    pairs), or a function ``(passages, count, seed)`` that gives a list of texts for each passage. What it writes is
    kept in the cache, block by block, under ``made_by``: by default the generator's ``name``; a function without one is
    asked every time. Too few or empty texts are counted in a warning, and the passage goes on with those it has.

    >>> from drscale import collection
    >>> from drscale.labels import generate_queries
    >>> def first_words(passages, count, seed):
    ...     return [[" ".join(p.split()[:4])] * count for p in passages]
    >>> len(generate_queries(collection("planted?pairs=200"), first_words))
    200
    """
    if count < 1:
        raise ValueError(f"count={count}: at least 1 query a passage")
    if generator is None:
        from drscale.labels.docs2query import train_docs2query

        generator = train_docs2query(collection)
    made_by = made_by or str(getattr(generator, "name", ""))
    ids, texts, answers = [], [], []
    names = (name for batch in collection.passages["id"].chunks for name in batch.to_pylist())
    written = queries_of(collection, generator, count, seed, made_by, refresh=refresh, progress=progress)
    for name, queries in zip(names, written, strict=True):
        for number, text in enumerate(queries):
            ids.append(f"{name}#g{number}")
            texts.append(text)
            answers.append(name)
    if not ids:
        raise ValueError(f"{collection.name}: the generator {made_by or generator} wrote no query")
    queries, qrels = pa.table({"id": ids, "text": texts}, TEXTS), _judged(ids, answers)
    said = f"generated: {count} a passage by {made_by or 'a function'}, seed {seed}"
    return _annotated(collection, "generated", queries, collection.passages, qrels, said)


def annotate(collection: Collection, how: str, *, generator: Generator | None = None, seed: int = 0) -> Collection:
    """Give a collection the training queries that a recipe's ``annotation`` names.

    ``human`` is the collection as it is; ``ict`` and ``ict_kept`` crop one sentence of each passage, with and without
    taking it out; ``cropped`` crops every sentence; ``generated`` asks the generator for one query a passage;
    ``mixture`` has half cropped and half generated queries, as many as there are of both.

    >>> from drscale import collection
    >>> from drscale.labels import annotate
    >>> annotate(collection("planted?pairs=200"), "cropped").name
    'planted?pairs=200[cropped]'
    """
    if how not in get_args(Annotation):
        raise ValueError(f"annotation={how!r}: allowed are {', '.join(map(repr, get_args(Annotation)))}")
    if how == "human":
        return collection
    if how in ("ict", "ict_kept"):
        return inverse_cloze(collection, remove=how == "ict", seed=seed)
    cropped = crop_sentences(collection) if how != "generated" else None
    generated = generate_queries(collection, generator, seed=seed) if how != "cropped" else None
    if cropped is None or generated is None:
        return cropped or generated  # type: ignore[return-value]
    half = min(len(cropped), len(generated))
    parts = [c.select(taken(len(c), half, seed)) for c in (cropped, generated)]
    queries, qrels = (pa.concat_tables([getattr(p, t) for p in parts]) for t in ("queries", "qrels"))
    said = f"mixture: {half:,} cropped and {half:,} generated; {generated.versions[NOTE]}"
    return _annotated(collection, "mixture", queries, collection.passages, qrels, said)


@lru_cache(maxsize=2)
def annotated(texts: Benchmark, how: str) -> Collection:
    """The whole training collection of a benchmark under a recipe's ``annotation``, kept in memory."""
    return annotate(texts.train, how)


def share_copied(labelled: Collection, human: Collection) -> float:
    """The share of a collection's queries that equal, but for case and marks, a person's query of their passage.

    >>> from drscale import collection
    >>> from drscale.labels.queries import share_copied
    >>> human = collection("planted?pairs=200")
    >>> share_copied(human, human)
    1.0
    """
    known = {(p, normalised(q)) for p, q in _asked(human)}
    return float(np.mean([(p, normalised(q)) in known for p, q in _asked(labelled)]))


# ------------------------------------------------------------------------------------------------------ small parts


def _asked(collection: Collection) -> list[tuple[str, str]]:
    queries, passages = collection.pairs
    ids, texts = rows_at(collection.passages, passages)["id"], rows_at(collection.queries, queries)["text"]
    return list(zip(ids.to_pylist(), texts.to_pylist(), strict=True))


def _words(text: str) -> int:
    return len(WORD.findall(text))


def _labelled(collection: Collection, how: str, labels: Labels, lacking: str, options: list[Any]) -> Collection:
    """Label a collection's passages one by one, in batches, into the cache; warn of those that give no query."""

    def build(work: Path) -> Collection:
        without, first = 0, ""
        with (
            Sink(work / "queries.arrow", TEXTS) as queries,
            Sink(work / "passages.arrow", TEXTS) as passages,
            Sink(work / "qrels.arrow", QRELS) as qrels,
        ):
            for batch in collection.passages.to_batches(max_chunksize=BATCH):
                for name, passage in zip(batch["id"].to_pylist(), batch["text"].to_pylist(), strict=True):
                    texts, left = labels(passage)
                    passages.add(name, left)
                    for number, text in enumerate(texts):
                        queries.add(f"{name}#s{number}", text)
                        qrels.add(f"{name}#s{number}", name, 1)
                    if not texts:
                        without, first = without + 1, first or name
            if without == len(collection.passages):
                raise ValueError(f"{collection.name}: annotation {how!r} finds {lacking} in any of its passages")
            tables = queries.table(), passages.table(), qrels.table()
        said = f"{how}: {without:,} of {len(tables[1]):,} passages give no query, {lacking}"
        if without:
            warnings.warn(f"{collection.name}: {said}, the first is {first!r}", TextsWarning, stacklevel=5)
        return _annotated(collection, how, *tables, said)

    key = key_of("labels/1", how, *options, collection.name, collection.fingerprint)
    return cached(f"labels-{how}", key, Collection.load, build)


def _annotated(
    collection: Collection, how: str, queries: pa.Table, passages: pa.Table, qrels: pa.Table, said: str
) -> Collection:
    about: dict[str, Any] = {
        "language": collection.language,
        "domain": collection.domain,
        "synthetic": collection.synthetic,
    }
    versions = {**collection.versions, NOTE: said}
    return Collection(f"{collection.name}[{how}]", queries, passages, qrels, versions=versions, **about)


def _judged(queries: list[str], passages: list[str]) -> pa.Table:
    relevance = pa.array([1] * len(queries), pa.int32())
    return pa.table([pa.array(queries, pa.string()), pa.array(passages, pa.string()), relevance], schema=QRELS)
