"""Corpus poisoning: passages made so that a retriever lists them for unseen queries.

HotFlip in two forms. Each passage belongs to a cluster of training queries, and a step looks at one of its tokens: the
gradient of the score with respect to that token's embedding names the candidates, encoding them picks the best.
``queries`` (Zhong et al. 2023) scores against a fresh batch of the cluster's queries each time, ``centroid`` (Li et al.
2025) against their mean. A mean of inner products is the inner product with the mean, so the two differ in the batch's
noise and in the acceptance of steps, not in their aim.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Literal, get_args

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from drscale.attacks.target import gradients, mapped
from drscale.encoder import BiEncoder
from drscale.evaluate.entropy import checked
from drscale.texts import Collection

HELD, HELD_SHARE = 1000, 0.3  # held-out queries of a cluster: at most so many, and this share


@dataclass(frozen=True)
class Cluster:
    """The queries for which one passage is made, as vectors; the held-out ones only test it.

    ``gold`` are the scores of each query's own passage, where some are held out, and ``text`` is one of these passages.
    """

    centroid: np.ndarray
    queries: np.ndarray
    held: np.ndarray
    gold: np.ndarray | None
    held_gold: np.ndarray | None
    text: str

    def __len__(self) -> int:
        return len(self.queries) + len(self.held)


def pairs_of(queries: Sequence[str] | Collection, gold: Sequence[str] | None) -> tuple[list[str], list[str] | None]:
    """Queries, each with its gold passage if there is one; a collection gives each query its first."""
    if isinstance(queries, Collection):
        if gold is not None:
            raise ValueError("gold: a collection brings its own; give it with a list of queries only")
        asked, first = np.unique(queries.pairs[0], return_index=True)
        passages = queries.passages["text"].take(queries.pairs[1][first]).to_pylist()
        return queries.queries["text"].take(asked).to_pylist(), passages
    if isinstance(queries, str) or not len(queries):
        raise ValueError("queries: a non-empty list of strings or a Collection is needed")
    if gold is not None and len(gold) != len(queries):
        raise ValueError(f"gold: {len(gold)} passages for {len(queries)} queries; one each is needed")
    return list(queries), None if gold is None else list(gold)


def kmeans(vectors: np.ndarray, clusters: int, seed: int = 0, rounds: int = 25) -> np.ndarray:
    """The cluster of each vector by faiss' k-means on Euclidean distances; no cluster stays empty.

    Passages are drawn in the space of inner products, clusters in that of distances, as both papers do.
    """
    import faiss

    if not 1 <= clusters <= len(vectors):
        raise ValueError(f"clusters={clusters}: must lie between 1 and the {len(vectors)} vectors")
    if clusters == 1:
        return np.zeros(len(vectors), dtype=np.int64)
    points = np.ascontiguousarray(vectors, np.float32)
    options = {"niter": rounds, "seed": seed, "min_points_per_centroid": 1, "max_points_per_centroid": len(points)}
    found = faiss.Kmeans(points.shape[1], clusters, **options)
    found.train(points)
    distances, nearest = found.index.search(points, 1)
    labels, far = nearest[:, 0].astype(np.int64), np.argsort(-distances[:, 0], kind="stable")
    for empty in np.setdiff1d(np.arange(clusters), labels):  # the farthest query of a cluster that can spare it
        spare = next(i for i in far if (labels == labels[i]).sum() > 1)
        labels[spare] = empty
    return labels


def clusters_of(
    encoder: BiEncoder, queries: list[str], gold: list[str] | None, count: int, seed: int, held: bool
) -> list[Cluster]:
    """Cut queries into ``count`` clusters, the largest first; ``held`` says whether some are held out for tests."""
    vectors = checked(encoder.encode, queries, "encode(queries)")
    own = None  # the score of each query's gold passage, which only held-out queries are asked about
    if held and gold is not None:
        own = (vectors * checked(encoder.encode_passages, gold, "encode(gold)")).sum(1)
    labels = kmeans(vectors, count, seed)
    sizes = np.bincount(labels, minlength=count)
    made = []
    for place, label in enumerate(np.argsort(-sizes, kind="stable")):
        rows = np.flatnonzero(labels == label)
        mixed = np.random.default_rng([seed, place, 1]).permutation(rows)
        out = min(HELD, int(HELD_SHARE * len(rows))) if held else 0
        judging, rest = mixed[:out], mixed[out:]
        made.append(
            Cluster(
                centroid=vectors[rows].astype(np.float64).mean(0).astype(np.float32),
                queries=vectors[rest],
                held=vectors[judging],
                gold=None if own is None else own[rest],
                held_gold=None if own is None else own[judging],
                text="" if gold is None else gold[int(mixed[-1])],
            )
        )
    return made


Form = Literal["centroid", "queries"]
Start = Literal["mask", "gold"]
Pieces = Literal["words", "all"]
# A difference below this share of |aim| |passage| is a tie, so that rounding decides nothing.
TIE = 1e-5
CPU_TOKENS, GPU_TOKENS = 2048, 1 << 17  # encoded at once: what stays in a CPU's cache


@dataclass(frozen=True)
class Poison:
    """Say how passages are made.

    One passage for each cluster of training queries, ``tokens`` word pieces long, is changed in ``steps`` steps of one
    token and ``candidates`` candidates (the published runs took 5,000 steps). The form ``queries`` draws ``batch``
    queries twice in each step. ``start`` fills the passage with mask tokens or with one of the cluster's gold passages.
    ``pieces`` are the candidates: ``words`` allows only whole words, so that the text is read back as the same tokens;
    ``all`` also allows pieces that continue a word, as published. Special tokens are never allowed, unlike in the
    original.
    """

    form: Form = "centroid"
    passages: int = 10
    tokens: int = 50
    steps: int = 500
    candidates: int = 100
    batch: int = 64
    start: Start = "mask"
    pieces: Pieces = "words"
    seed: int = 0

    def __post_init__(self) -> None:
        for name, kind in (("form", Form), ("start", Start), ("pieces", Pieces)):
            if getattr(self, name) not in get_args(kind):
                raise ValueError(f"Poison.{name}={getattr(self, name)!r}: allowed are {', '.join(get_args(kind))}")
        for name in ("passages", "tokens", "candidates", "batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"Poison.{name}={getattr(self, name)}: at least 1")
        if self.steps < 0 or self.seed < 0:
            raise ValueError(f"Poison: steps={self.steps} and seed={self.seed} must not be negative")


@dataclass
class _Passage:
    """A passage in the making: its current state, and its best state so far."""

    cluster: Cluster
    ids: np.ndarray
    vector: np.ndarray
    rng: np.random.Generator
    order: np.ndarray
    steps: int = 0
    accepted: int = 0

    def __post_init__(self) -> None:
        self.start = self.vector
        self.best, self.best_vector, self.merit = self.ids, self.vector, _merit(self.cluster, self.vector)
        self.vain: set[int] = set()  # tokens looked at in vain since the last move


def poison(
    encoder: BiEncoder,
    queries: Sequence[str] | Collection,
    attack: Poison = Poison(),
    *,
    gold: Sequence[str] | None = None,
    note: Callable[[int, dict[str, float]], None] | None = None,
    stopped: Callable[[], bool] = lambda: False,
    progress: bool = False,
) -> pd.DataFrame:
    """Make poisoned passages against an encoder with accessible weights: one row each, the largest cluster first.

    ``queries`` are training queries, or a collection that brings their gold passages; a list may bring them as
    ``gold``. Gold passages are needed by ``start="gold"``; without them the form ``queries`` uses scores alone.
    ``note`` is called with the mean score after each step; once ``stopped`` is true, the current result is returned. A
    longer run begins like a shorter one with the same seed. Positions come in random order, each once before any comes
    again; a passage of the form ``centroid`` that no position can improve is finished, because further steps would only
    repeat.

    Columns: ``cluster``, ``queries`` (how many), ``text``, ``ids`` (tokens without special ones), ``exact`` (whether
    the text is read back as these), ``masks`` (mask tokens left), ``score_before``, ``score_after`` (mean inner product
    with all queries of the cluster), ``score_text`` (that of the text as it is read back), ``accuracy`` (share of
    held-out queries whose gold passage still wins; form ``queries``), ``steps`` (until it was done),
    ``accepted``, ``seconds`` (the share of a passage; all are made side by side).

    >>> import drscale as ds
    >>> from drscale.encoder import build
    >>> from drscale.poisoning import Poison
    >>> docs = ds.collection("planted?pairs=60")
    >>> encoder = build(ds.Recipe(rung="L2H12", start="scratch"), docs.passages["text"].to_pylist())
    >>> made = ds.poison(encoder, docs.queries["text"].to_pylist(), Poison(passages=2, tokens=4, steps=3, candidates=5))
    >>> bool((made["score_after"] >= made["score_before"]).all())
    True
    """
    if not isinstance(encoder, BiEncoder):
        raise ValueError(
            f"encoder={type(encoder).__name__}: the attack looks into the weights of a drscale BiEncoder, as "
            "load_model gives one; passages made against one are tried on any other retriever by poison_ranks()"
        )
    asked, own = pairs_of(queries, gold)
    if attack.tokens > encoder.lengths[1] - 2:
        raise ValueError(f"Poison.tokens={attack.tokens}: the encoder reads {encoder.lengths[1] - 2} of a passage")
    if attack.start == "gold" and own is None:
        raise ValueError("Poison.start='gold': give gold, a passage for each query, or a Collection")
    by_queries, was, began = attack.form == "queries", encoder.training, time.perf_counter()
    try:
        clusters = clusters_of(encoder.eval(), asked, own, attack.passages, attack.seed, by_queries)
        made, frame = _searched(encoder, clusters, attack, note, stopped, progress)
    finally:
        encoder.train(was)
    seconds = (time.perf_counter() - began) / len(made)
    frame = frame.assign(steps=[p.steps for p in made], accepted=[p.accepted for p in made], seconds=seconds)
    frame.attrs = {"attack": asdict(attack)}
    return frame


def _searched(
    encoder: BiEncoder,
    clusters: Sequence[Cluster],
    attack: Poison,
    note: Callable[[int, dict[str, float]], None] | None,
    stopped: Callable[[], bool],
    progress: bool,
) -> tuple[list[_Passage], pd.DataFrame]:
    allowed = real_pieces(encoder, attack.pieces)
    with mapped(encoder):
        words = encoder.passage_tower.body.get_input_embeddings()  # type: ignore[operator]
        table = words.weight.detach().float().cpu().numpy()[allowed]
        made = _started(encoder, clusters, attack)
        for step in tqdm(range(attack.steps), desc="poison", unit="step", disable=not progress):
            left = [p for p in made if len(p.vain) < attack.tokens]
            if stopped() or not left:
                break
            _step(encoder, left, step, attack, allowed, table)
            if note is not None:
                note(step + 1, {"score": float(np.mean([p.vector @ p.cluster.centroid for p in made]))})
        return made, _told(encoder, made)


def _started(encoder: BiEncoder, clusters: Sequence[Cluster], attack: Poison) -> list[_Passage]:
    if attack.start == "mask":
        if encoder.tokenizer.mask_token_id is None:
            raise ValueError("Poison.start='mask': the encoder's tokenizer has no mask token; take 'gold'")
        rows = np.full((len(clusters), attack.tokens), encoder.tokenizer.mask_token_id, dtype=np.int64)
    else:
        read = _read(encoder, [c.text for c in clusters])
        if not all(map(len, read)):
            raise ValueError("Poison.start='gold': a gold passage has no token that the encoder reads")
        rows = np.array([np.resize(ids, attack.tokens) for ids in read])  # a passage that is too short begins again
    rounds = -(-attack.steps // attack.tokens)
    made = []
    for place, (cluster, ids, vector) in enumerate(zip(clusters, rows, encode_ids(encoder, rows), strict=True)):
        rng = np.random.default_rng([attack.seed, place, 2])
        places = np.random.default_rng([attack.seed, place, 3])
        order = np.concatenate([np.empty(0, int), *(places.permutation(attack.tokens) for _ in range(rounds))])
        made.append(_Passage(cluster, ids, vector, rng, order.astype(int)))
    return made


def _step(
    encoder: BiEncoder, made: list[_Passage], step: int, attack: Poison, allowed: np.ndarray, table: np.ndarray
) -> None:
    """Try one token of each passage: choose candidates, score them, take the best or keep the token."""
    by_queries, places = attack.form == "queries", [p.order[step] for p in made]
    aims = np.stack(
        [p.cluster.queries[_draw(p, attack.batch)].mean(0) if by_queries else p.cluster.centroid for p in made]
    )
    slopes = gradients(encoder, aims, list(_framed(encoder, np.stack([p.ids for p in made]))))
    steepest = np.stack([slope[at + 1] for (_, slope), at in zip(slopes, places, strict=True)])  # +1: [CLS]
    picked = candidates(table, steepest, attack.candidates)  # (passages, candidates), rows of the table
    tried = np.repeat(np.stack([p.ids for p in made])[:, None], picked.shape[1], 1)  # (passages, candidates, tokens)
    tried[np.arange(len(made)), :, places] = allowed[picked]
    vectors = encode_ids(encoder, tried.reshape(-1, tried.shape[-1])).reshape(*picked.shape, -1)
    for p, at, ids, found in zip(made, places, tried, vectors, strict=True):
        p.steps += 1
        if by_queries:
            _judge_by_batch(p, ids, found, attack.batch)
        elif _judge_by_centroid(p, ids, found):
            p.vain.clear()
        else:
            p.vain.add(int(at))


def candidates(table: np.ndarray, slopes: np.ndarray, count: int) -> np.ndarray:
    """The rows of a word table with the largest first-order gain along each slope, the best first: (slopes, count)."""
    promise = slopes @ table.T  # (slopes, pieces)
    count = min(count, len(table))
    top = np.argpartition(-promise, count - 1, axis=1)[:, :count]
    order = np.argsort(-np.take_along_axis(promise, top, 1), axis=1, kind="stable")
    return np.take_along_axis(top, order, 1)


def _draw(p: _Passage, batch: int) -> np.ndarray:
    count = len(p.cluster.queries)
    return p.rng.choice(count, min(batch, count), replace=False)


def _move(p: _Passage, ids: np.ndarray, vector: np.ndarray) -> None:
    p.ids, p.vector, p.accepted = ids.copy(), vector, p.accepted + 1


def _judge_by_centroid(p: _Passage, ids: np.ndarray, found: np.ndarray) -> bool:
    aim = p.cluster.centroid
    scores = found @ aim  # (candidates,)
    best = int(scores.argmax())
    better = bool(scores[best] > p.vector @ aim + TIE * np.linalg.norm(aim) * np.linalg.norm(p.vector))
    if better:
        _move(p, ids[best], found[best])
        p.best, p.best_vector = p.ids, p.vector
    return better


def _judge_by_batch(p: _Passage, ids: np.ndarray, found: np.ndarray, batch: int) -> None:
    rows = _draw(p, batch)
    asked = p.cluster.queries[rows]
    aim = asked.mean(0)
    scores, now = found @ aim, p.vector @ aim
    best = int(scores.argmax())
    better = scores[best] > now + TIE * np.linalg.norm(aim) * np.linalg.norm(p.vector)
    if p.cluster.gold is not None and not better:
        own = p.cluster.gold[rows]
        wins = (own > found @ asked.T).mean(1)  # (candidates,): how often the gold passage still wins
        better = bool(wins.min() < (own > asked @ p.vector).mean())
    if not better:
        return
    _move(p, ids[best], found[best])
    merit = _merit(p.cluster, p.vector)
    if merit > p.merit:
        p.best, p.best_vector, p.merit = p.ids, p.vector, merit


def _merit(cluster: Cluster, vector: np.ndarray) -> tuple[float, float]:
    """The criterion for the best: how rarely gold wins on the held-out queries, then the mean score there."""
    held = len(cluster.held) > 0  # a tiny cluster has no held-out queries
    asked, gold = (cluster.held, cluster.held_gold) if held else (cluster.queries, cluster.gold)
    scores = asked @ vector
    return 0.0 if gold is None else -float((gold > scores).mean()), float(scores.mean())


def _told(encoder: BiEncoder, made: list[_Passage]) -> pd.DataFrame:
    texts = [text_of(encoder, p.best) for p in made]
    read = _read(encoder, texts)
    by_text = encoder.encode_passages(texts)
    rows = []
    for place, (p, text, back, vector) in enumerate(zip(made, texts, read, by_text, strict=True)):
        aim, mask = p.cluster.centroid, encoder.tokenizer.mask_token_id
        rows.append(
            {
                "cluster": place,
                "queries": len(p.cluster),
                "text": text,
                "ids": p.best.tolist(),
                "exact": back.tolist() == p.best.tolist(),
                "masks": int((p.best == mask).sum()) if mask is not None else 0,
                "score_before": float(p.start @ aim),
                "score_after": float(p.best_vector @ aim),
                "score_text": float(vector @ aim),
                "accuracy": float("nan") if p.cluster.held_gold is None else -_merit(p.cluster, p.best_vector)[0],
            }
        )
    return pd.DataFrame(rows)


# ------------------------------------------------------------------------------------------------ tokens and texts


def real_pieces(encoder: BiEncoder, pieces: Pieces = "words") -> np.ndarray:
    """The ids that candidates are drawn from: never a special or unused token, and with ``words`` only whole words.

    A whole word is a piece that, written alone, is read as itself; spaces between such words keep them so.
    """
    vocabulary = sorted(encoder.tokenizer.get_vocab().items(), key=lambda item: item[1])
    special = set(encoder.tokenizer.all_special_ids)
    known = [
        (piece, i) for piece, i in vocabulary if i not in special and not re.fullmatch(r"\[[^\]]+\]|<[^>]+>", piece)
    ]
    if pieces == "words":
        rust = encoder.tokenizer.backend_tokenizer
        rust.no_padding()
        rust.no_truncation()
        read = rust.encode_batch_fast([text_of(encoder, np.array([i])) for _, i in known], add_special_tokens=False)
        known = [(piece, i) for (piece, i), e in zip(known, read, strict=True) if e.ids == [i]]
    if not known:
        raise ValueError("encoder: its tokenizer has no piece that stands as a word of its own; take pieces='all'")
    return np.array([i for _, i in known], dtype=np.int64)


def text_of(encoder: BiEncoder, ids: np.ndarray) -> str:
    """Write token ids as text: words between spaces, continuing word pieces (##) glued on."""
    if type(encoder.tokenizer.backend_tokenizer.model).__name__ != "WordPiece":
        return str(encoder.tokenizer.decode(ids.tolist(), clean_up_tokenization_spaces=False))
    pieces = encoder.tokenizer.convert_ids_to_tokens(ids.tolist())
    return "".join(p[2:] if i and p.startswith("##") and len(p) > 2 else f" {p}" for i, p in enumerate(pieces)).strip()


@torch.inference_mode()
def encode_ids(encoder: BiEncoder, rows: np.ndarray) -> np.ndarray:
    """Encode passages of equal length from their tokens, without the special ones: (passages, dimension)."""
    device = encoder.device
    batch = torch.from_numpy(_framed(encoder, rows)).to(device)
    at_once = max(1, (CPU_TOKENS if device.type == "cpu" else GPU_TOKENS) // batch.shape[1])
    parts = [encoder.passage_tower(part, torch.ones_like(part)) for part in batch.split(at_once)]
    vectors: np.ndarray = torch.cat(parts).float().cpu().numpy()
    return vectors


def _framed(encoder: BiEncoder, rows: np.ndarray) -> np.ndarray:
    """Put the special tokens around rows of tokens."""
    rust = encoder.tokenizer.backend_tokenizer
    rust.no_padding()
    rust.no_truncation()
    ends = rust.encode("").ids
    if len(ends) != 2:
        raise ValueError(
            f"encoder: its tokenizer puts {len(ends)} special tokens around a text, not 2 as BERT's kin do"
        )
    return np.pad(rows, ((0, 0), (1, 1)), constant_values=((0, 0), tuple(ends))).astype(np.int64)


def _read(encoder: BiEncoder, texts: Sequence[str]) -> list[np.ndarray]:
    """Token ids of passages, without the special ones."""
    tokens = encoder.tokens(texts, "passage")
    return [ids[1:-1] for ids in tokens.rows(np.arange(len(tokens)))]
