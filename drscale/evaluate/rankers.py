"""How each kind of retriever that is no pair of vectors ranks: encode queries, index passages, search."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from inspect import signature
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from drscale.encoder import Tokens, first_line, minilm, why_not_loaded
from drscale.evaluate.entropy import unit_rows
from drscale.evaluate.ranking import bm25_index, bm25_rank, search

Ranked = tuple[np.ndarray, np.ndarray]  # rows and scores, both (queries, depth), the best first
Rank = Callable[[list[str], list[str], int], Ranked]
Vectors = Callable[[list[str]], list[np.ndarray]]  # a text's token vectors, (tokens, dimension), of length 1
FIRST = 50  # passages of BM25's list that a cross-encoder reads
EACH = 100  # passages of BM25, and by mean token vectors, among which MaxSim ranks
EXACT = 4_000_000  # queries times passages up to which MaxSim looks at all of them
CUT = 64  # tokens of a text, with the special ones, whose vectors MiniLM's late interaction compares
PAIRS = 100  # pairs that a cross-encoder reads at once (A.4 of Lin et al. 2023)


@dataclass(frozen=True)
class Steps:
    """The three steps of a retriever; what ``encode`` and ``index`` give is for ``search`` alone."""

    encode: Callable[[list[str]], Any]
    index: Callable[[list[str]], Any]
    search: Callable[[Any, Any, int], Ranked]


def bm25() -> Steps:
    """BM25 with bm25s's usual settings; its tokens are counted as search."""
    return Steps(list, _words, _by_words)


def wordllama() -> Steps:
    """WordLlama's table of 32,000 word pieces and 256 dimensions, a text being their mean, by cosine: a weak teacher.

    The files of its wheel are read and its code is not imported, since that changes the logging of the whole process.
    """
    table, tokenizer = _wordllama()

    def encode(texts: list[str]) -> np.ndarray:
        ids = [e.ids for e in tokenizer.encode_batch(texts, add_special_tokens=False)]
        starts = np.cumsum([0, *map(len, ids)])
        sums = np.zeros((len(ids), table.shape[1]), np.float32)
        full = np.flatnonzero(np.diff(starts))
        if len(full):
            vectors = table[np.concatenate([np.asarray(i, np.int64) for i in ids])]
            sums[full] = np.add.reduceat(vectors, starts[full], axis=0)
        return unit_rows(sums)

    return Steps(encode, encode, by_vector)


def splade(name: str) -> Steps:
    """Learned sparse vectors of a sentence-transformers SparseEncoder, by inner product over all passages."""
    return sparse_steps(loaded("SparseEncoder", f"splade:{name}", name))


def sparse_steps(model: Any) -> Steps:
    """The steps of a SparseEncoder that is there already."""

    def sparse(encode: Callable[..., Any]) -> Callable[[list[str]], Any]:
        def matrix(texts: list[str]) -> Any:
            from scipy.sparse import csr_array

            found = encode(texts, convert_to_sparse_tensor=True, show_progress_bar=False).cpu().coalesce()
            places, values = found.indices().numpy(), found.values().float().numpy()
            return csr_array((values, (places[0], places[1])), shape=tuple(found.shape))

        return matrix

    def find(queries: Any, passages: Any, depth: int) -> Ranked:
        parts = []
        for at in range(0, queries.shape[0], 256):
            scores = (queries[at : at + 256] @ passages.T).toarray()
            best = np.argsort(-scores, axis=1, kind="stable")[:, :depth]
            value = np.take_along_axis(scores, best, 1)
            parts.append((np.where(value > 0, best, -1), value))  # no word in common: not found
        rows, values = map(np.concatenate, zip(*parts, strict=True))
        return rows, values

    return Steps(sparse(model.encode_query), sparse(model.encode_document), find)


def crossencoder(name: str) -> Steps:
    """A sentence-transformers CrossEncoder over BM25's first 50 passages, 100 pairs at a time."""
    return pair_steps(loaded("CrossEncoder", f"crossencoder:{name}", name), f"crossencoder:{name}")


def pair_steps(model: Any, name: str) -> Steps:
    """The steps of a CrossEncoder that is there already."""

    def score(queries: list[str], index: Any, asked: np.ndarray, told: np.ndarray) -> np.ndarray:
        pairs = [(queries[i], index[1][j]) for i, j in zip(asked.tolist(), told.tolist(), strict=True)]
        values = np.asarray(model.predict(pairs, batch_size=PAIRS, show_progress_bar=False), np.float32)
        if values.shape != (len(pairs),):
            raise ValueError(f"{name}: gives scores of shape {values.shape}, one a pair is needed")
        return values

    def find(queries: list[str], index: Any, depth: int) -> Ranked:
        return rescored(lambda asked, told: score(queries, index, asked, told), queries, index[0], depth)

    return Steps(list, lambda texts: (_words(texts), texts), find)


def rescored(
    score: Callable[[np.ndarray, np.ndarray], np.ndarray], queries: list[str], words: Any, depth: int
) -> Ranked:
    """Score the pairs of BM25's first 50 passages, or ``depth`` if that is more, and order them anew."""
    first, _ = _by_words(queries, words, max(depth, FIRST))
    asked, place = np.nonzero(first >= 0)
    scores = np.full(first.shape, -np.inf, np.float32)
    if len(asked):
        scores[asked, place] = score(asked, first[asked, place])
    return best_first(first, scores, depth)


def best_first(rows: np.ndarray, scores: np.ndarray, depth: int) -> Ranked:
    """Order lists by score and cut them; equal scores stay in their order."""
    order = np.argsort(-scores, axis=1, kind="stable")[:, :depth]
    return np.take_along_axis(rows, order, 1), np.take_along_axis(scores, order, 1)


# ------------------------------------------------------------------------------------------------ late interaction


def maxsim(exact: bool) -> Steps:
    """MiniLM's token vectors, of the first 64 tokens with the special ones, by MaxSim."""
    return _late(_minilm_vectors, _minilm_vectors, exact)


def colbert(name: str, exact: bool) -> Steps:
    """Token vectors of a multi-vector model of sentence-transformers 6, or of PyLate where that is older, by MaxSim."""
    try:
        model = loaded("MultiVectorEncoder", f"colbert:{name}", name)
    except AttributeError:
        model = _pylate(name)
    return late_steps(model, exact)


def late_steps(model: Any, exact: bool) -> Steps:
    """The steps of a model that gives token vectors: sentence-transformers' MultiVectorEncoder or PyLate's ColBERT."""
    encode = getattr(model, "encode", None)
    if not hasattr(model, "encode_query") or (encode is not None and "is_query" in signature(encode).parameters):
        model = _Both(model)

    def of(encode: Callable[..., Any]) -> Vectors:
        def vectors(texts: list[str]) -> list[np.ndarray]:
            found = encode(texts, convert_to_numpy=True, show_progress_bar=False)
            return [np.asarray(v, np.float32) for v in found]

        return vectors

    return _late(of(model.encode_query), of(model.encode_document), exact)


def maxsim_scores(queries: Sequence[np.ndarray], tokens: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Score every query with every passage by MaxSim, sum_i max_j q_i . p_j (Khattab and Zaharia 2020).

    ``queries`` are token vectors (tokens, dimension), ``tokens`` those of all passages one after another, ``starts``
    where each passage begins; the result is (queries, passages).
    """
    products = tokens @ np.concatenate(list(queries)).T  # (passage tokens, query tokens)
    largest = np.maximum.reduceat(products, starts, axis=0)  # (passages, query tokens)
    begins = np.cumsum([0, *(len(q) for q in queries)])[:-1]
    scores: np.ndarray = np.add.reduceat(largest, begins, axis=1).T
    return scores


class _Late(NamedTuple):
    """Passages as token vectors one after another, their means, and BM25; the last two where not all are looked at."""

    tokens: np.ndarray
    bounds: np.ndarray
    means: np.ndarray
    words: Any


def _late(queries: Vectors, passages: Vectors, exact: bool) -> Steps:
    def encode(texts: list[str]) -> tuple[list[str], list[np.ndarray]]:
        return texts, queries(texts)

    def index(texts: list[str]) -> _Late:
        found = passages(texts)
        if not all(map(len, found)):
            raise ValueError("a passage has no token vector: each needs one")
        bounds = np.cumsum([0, *map(len, found)])
        means = np.empty((0, 0), np.float32) if exact else _means(found)
        return _Late(np.concatenate(found), bounds, means, None if exact else _words(texts))

    return Steps(encode, index, _among_all if exact else _among_first)


def _among_all(encoded: tuple[list[str], list[np.ndarray]], index: _Late, depth: int) -> Ranked:
    """The best of all passages, a block of them and of the queries at a time."""
    vectors, count = encoded[1], len(index.bounds) - 1
    parts = []
    for at in range(0, len(vectors), 16):
        scores = []
        for low in range(0, count, 2048):
            high = min(low + 2048, count)
            own = index.tokens[index.bounds[low] : index.bounds[high]]
            scores.append(maxsim_scores(vectors[at : at + 16], own, index.bounds[low:high] - index.bounds[low]))
        whole = np.concatenate(scores, axis=1)
        parts.append(best_first(np.broadcast_to(np.arange(count), whole.shape), whole, depth))
    rows, values = map(np.concatenate, zip(*parts, strict=True))
    return rows, values


def _among_first(encoded: tuple[list[str], list[np.ndarray]], index: _Late, depth: int) -> Ranked:
    """The best of BM25's first hundred and of the first hundred by the cosine of mean token vectors, together."""
    texts, vectors = encoded
    count, each = len(index.bounds) - 1, max(EACH, depth)
    _, near = search(_means(vectors), index.means, each)
    worded, _ = _by_words(texts, index.words, each)
    rows, scores = np.full((len(texts), depth), -1), np.full((len(texts), depth), -np.inf, np.float32)
    for i, own in enumerate(vectors):
        some = np.union1d(near[i], worded[i])
        some = some[(some >= 0) & (some < count)]
        sizes = index.bounds[some + 1] - index.bounds[some]
        starts = np.cumsum(sizes) - sizes
        places = np.arange(sizes.sum()) + np.repeat(index.bounds[some] - starts, sizes)
        best = best_first(some[None], maxsim_scores([own], index.tokens[places], starts), depth)
        width = best[0].shape[1]
        rows[i, :width], scores[i, :width] = best[0][0], best[1][0]
    return rows, scores


def _means(vectors: Sequence[np.ndarray]) -> np.ndarray:
    return unit_rows(np.stack([v.mean(0) for v in vectors]).astype(np.float32))


@torch.inference_mode()
def _minilm_vectors(texts: list[str]) -> list[np.ndarray]:
    """The last hidden states of MiniLM's tokens, each at length 1, [CLS] and [SEP] among them."""
    encoder = minilm(CUT)
    tokens = encoder.tokens(texts)
    found: list[np.ndarray] = [np.empty(0)] * len(texts)
    order = np.argsort(tokens.lengths, kind="stable")
    for at in range(0, len(order), 64):
        rows = order[at : at + 64]
        ids, mask = batch_of(tokens, rows)
        states = encoder.query_tower.body(input_ids=ids, attention_mask=mask).last_hidden_state
        unit = torch.nn.functional.normalize(states.float(), dim=-1).numpy()  # (texts, tokens, 384)
        for i, row in enumerate(rows):
            found[row] = unit[i, : tokens.lengths[row]]
    return found


def batch_of(tokens: Tokens, rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and mask of some texts, padded on the right with 0."""
    own = tokens.rows(rows)
    ids = np.zeros((len(own), max(map(len, own))), np.int64)
    mask = np.zeros_like(ids)
    for i, text in enumerate(own):
        ids[i, : len(text)], mask[i, : len(text)] = text, 1
    return torch.from_numpy(ids), torch.from_numpy(mask)


# ------------------------------------------------------------------------------------------------- the small parts


def loaded(kind: str, spelling: str, name: str) -> Any:
    """A model of sentence-transformers: safetensors only, no code of the hub's; AttributeError if it is too old."""
    try:
        library = importlib.import_module("sentence_transformers")
    except ModuleNotFoundError:
        raise ValueError(f"{spelling}: pip install sentence-transformers") from None
    make = getattr(library, kind)  # AttributeError, which colbert() meets, where the library is too old
    try:
        return make(name, trust_remote_code=False, model_kwargs={"use_safetensors": True})
    except Exception as e:  # sentence-transformers and what it loads raise whatever they like
        raise ValueError(f"{spelling}: {why_not_loaded(e)}") from e


@contextmanager
def one_sentence(name: str) -> Iterator[None]:
    """Raise what a model of another library raises as a ValueError of one line; a memory error stays what it is."""
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as e:  # the libraries raise whatever they like
        said = first_line(e)
        if isinstance(e, ValueError) and said == str(e) and name in said:
            raise
        raise ValueError(f"{name}: {said}") from e


def looks_at_all(queries: int, passages: int) -> bool:
    """Whether late interaction compares every query with every passage."""
    return queries * passages <= EXACT


def model_version(package: str, name: str = "") -> str:
    """A package's version and, where the model is a folder, its files' sizes and times: a part of the cache's key."""
    try:
        found = metadata.version(package)
    except metadata.PackageNotFoundError:
        raise ValueError(f"this retriever needs {package}, which is not installed: pip install {package}") from None
    files = sorted(p for p in Path(name).rglob("*") if p.is_file()) if name and Path(name).is_dir() else []
    return " ".join([found, *(f"{p.name}:{p.stat().st_size}:{p.stat().st_mtime_ns}" for p in files)])


def _pylate(name: str) -> Any:
    try:
        models = importlib.import_module("pylate.models")
    except ModuleNotFoundError:
        raise ValueError(f"colbert:{name}: pip install 'sentence-transformers>=6', or pylate") from None
    try:
        return _Both(models.ColBERT(name, trust_remote_code=False, model_kwargs={"use_safetensors": True}))
    except Exception as e:  # PyLate and what it loads raise whatever they like
        raise ValueError(f"colbert:{name}: {why_not_loaded(e)}") from e


@dataclass(frozen=True)
class _Both:
    """PyLate's model, which has one function for both sides."""

    model: Any

    def encode_query(self, texts: list[str], **options: Any) -> Any:
        return self.model.encode(texts, is_query=True, **options)

    def encode_document(self, texts: list[str], **options: Any) -> Any:
        return self.model.encode(texts, is_query=False, **options)


def _wordllama() -> tuple[np.ndarray, Any]:
    from safetensors.numpy import load_file
    from tokenizers import Tokenizer

    spec = find_spec("wordllama")
    if spec is None or not spec.submodule_search_locations:
        raise ValueError("wordllama needs its wheel, which is not installed: pip install wordllama")
    folder = Path(spec.submodule_search_locations[0])
    table = load_file(folder / "weights" / "l2_supercat_256.safetensors")["embedding.weight"].astype(np.float32)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizers" / "l2_supercat_tokenizer_config.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return table, tokenizer


def _words(texts: list[str]) -> tuple[Any, int]:
    return bm25_index(texts), len(texts)


def _by_words(queries: list[str], index: tuple[Any, int], depth: int) -> Ranked:
    scores, rows = bm25_rank(index[0], queries, min(depth, index[1]))
    return rows, scores


def by_vector(queries: np.ndarray, passages: np.ndarray, depth: int) -> Ranked:
    scores, rows = search(queries, passages, depth)
    return rows, scores
