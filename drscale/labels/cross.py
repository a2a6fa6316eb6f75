"""A cross-encoder trained here: MiniLM's first layers read query and passage together, in two halves that never mix."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from drscale.encoder import BiEncoder, Tokens, Tower, minilm, minilm_body, seed_for, tokenise
from drscale.evaluate.entropy import relevant_rows
from drscale.evaluate.rankers import PAIRS, Ranked, Steps, rescored
from drscale.evaluate.ranking import bm25_index
from drscale.files import write_atomic
from drscale.recipe import Recipe
from drscale.texts import Collection
from drscale.texts.cache import cache_folder, cached, key_of
from drscale.texts.collection import shuffled
from drscale.training.batches import Batch, Pairs, hard_negatives
from drscale.training.loop import train
from drscale.training.strategies import State, Strategy

VERSION = 1  # raise when the same texts come to other weights
LAYERS = 3  # of MiniLM's six; the cost of reading 50 passages a query is theirs
TOKENS = (24, 48)  # of a query and of a passage, with the special ones
OTHERS = 3  # passages beside the positive, from the first 100 of BM25
# Small and quick: a pair's cost in training is three times that of reading it.
TRAINING = Recipe(rung="L2H128", steps=600, batch=4, rate=5e-5, schedule="linear", warmup=60, dropout=0.1)


def cross(collection: Collection) -> Steps:
    """Rerank BM25's first 50 by a cross-encoder trained on the collection's own pairs, crosswise.

    The passages are split into two halves at random, and the queries with their first relevant passage. Each half
    trains a model, which scores the queries of the other half only, so no model scores a query that it was trained on;
    its negatives are of its own half, so it has seen none of the other's positives. A text that is none of the
    collection's queries gets the mean of both models. The loss is the cross-entropy of the positive among itself and
    three passages drawn from the first hundred of BM25 that are not relevant. MiniLM's first three layers of six read
    24 tokens of the query and 48 of the passage; mean pooling and a linear map give the score. Trained once for a
    collection and kept in the cache as safetensors; a training that is interrupted goes on where it was.
    """
    models: list[BiEncoder] = []
    halves = query_halves(collection)
    known = dict(zip(collection.queries["text"].to_pylist(), halves.tolist(), strict=True))
    tokenizer = copy.deepcopy(minilm().tokenizer)

    def encode(texts: list[str]) -> tuple[list[str], Tokens]:
        return texts, tokenise(tokenizer, texts, TOKENS[0])

    def index(texts: list[str]) -> tuple[Any, Tokens]:
        models[:] = [trained(collection, half) for half in (0, 1)]
        return (bm25_index(texts), len(texts)), tokenise(tokenizer, texts, TOKENS[1])

    def search(encoded: tuple[list[str], Tokens], index: tuple[Any, Tokens], depth: int) -> Ranked:
        texts, queries = encoded
        home = np.array([known.get(text, -1) for text in texts])

        def score(asked: np.ndarray, told: np.ndarray) -> np.ndarray:
            found = np.zeros(len(asked), np.float32)
            for half, model in enumerate(models):  # the model of one half scores the queries of the other
                mine = np.flatnonzero(home[asked] != half)
                weight = np.where(home[asked[mine]] < 0, 0.5, 1.0).astype(np.float32)
                found[mine] += weight * pair_scores(model, queries, index[1], asked[mine], told[mine])
            return found

        return rescored(score, texts, index[0], depth)

    return Steps(encode, index, search)


def query_halves(collection: Collection) -> np.ndarray:
    """The half, 0 or 1, of each query: that of its first relevant passage."""
    halves = shuffled(len(collection.queries), 1) % 2  # those with no relevant passage train neither model
    asked, answers = collection.pairs
    first = np.unique(asked, return_index=True)[1]
    halves[asked[first]] = passage_halves(collection)[answers[first]]
    _, same, which = np.unique(collection.queries["text"].to_pylist(), return_index=True, return_inverse=True)
    return halves[same][which]  # queries of one wording stay together


def passage_halves(collection: Collection) -> np.ndarray:
    """The half, 0 or 1, of each passage."""
    return shuffled(len(collection.passages), 0) % 2


def trained(collection: Collection, half: int) -> BiEncoder:
    """The model trained on one half of a collection's pairs, from the cache or trained now."""
    key = key_of(VERSION, LAYERS, TOKENS, OTHERS, str(TRAINING), collection.fingerprint, half)
    at = cache_folder() / f"cross-{key}.checkpoint"

    def build(_: Path) -> _Kept:
        encoder = started()
        strategy = _Reading.of(collection, half, encoder)
        told = train(encoder, strategy.pairs, TRAINING, strategy=strategy, checkpoint=at, mark=key, alone=True)
        if told.reason:
            raise ValueError(f"teacher='cross': its training on {collection.name} {told.reason}")
        return _Kept(encoder)

    found = cached("cross", key, _Kept.load, build).encoder
    at.unlink(missing_ok=True)
    return found.eval()


def started() -> BiEncoder:
    """MiniLM's first layers with mean pooling and a map to one number, the map drawn from the seed."""
    body = minilm_body(LAYERS)
    with torch.random.fork_rng():
        torch.manual_seed(seed_for(TRAINING.seed, "cross"))
        tower = Tower(body, body.config.hidden_size, "mean", 1)
    return BiEncoder(tower, minilm().tokenizer, TOKENS)


def read_together(queries: Sequence[np.ndarray], passages: Sequence[np.ndarray]) -> list[np.ndarray]:
    """[CLS] query [SEP] passage [SEP], of token ids that have both special ones each."""
    return [np.concatenate([q, p[1:]]) for q, p in zip(queries, passages, strict=True)]


@torch.inference_mode()
def pair_scores(model: BiEncoder, queries: Tokens, passages: Tokens, asked: np.ndarray, told: np.ndarray) -> np.ndarray:
    """Score pairs (rows of queries, rows of passages), 100 at a time, those of like length together."""
    order = np.argsort(queries.lengths[asked] + passages.lengths[told], kind="stable")
    scores = np.empty(len(asked), np.float32)
    for at in range(0, len(order), PAIRS):
        some = order[at : at + PAIRS]
        read = read_together(queries.rows(asked[some]), passages.rows(told[some]))
        scores[some] = model.encode_tokens(read, "query", 1 << 20)[:, 0].numpy()
    return scores


class _Reading(Strategy):
    """Training by reading pairs: each query with a positive and some of BM25's negatives, all of one half."""

    table: np.ndarray
    mine: np.ndarray
    others: np.ndarray

    @classmethod
    def of(cls, collection: Collection, half: int, encoder: BiEncoder) -> _Reading:
        asked, answers = collection.pairs
        texts = [getattr(collection, t)["text"].to_pylist() for t in ("queries", "passages")]
        queries, passages = (tokenise(encoder.tokenizer, t, n) for t, n in zip(texts, TOKENS, strict=True))
        made = cls(TRAINING, Pairs(queries, passages, asked, answers, relevant_rows(asked, answers)))
        inside = passage_halves(collection) == half
        table = hard_negatives(collection)
        own = (query_halves(collection)[asked] == half) & inside[answers]
        parts = {
            "table": np.where((table >= 0) & inside[table], table, -1),
            "mine": np.flatnonzero(own),
            "others": np.flatnonzero(inside),
        }
        for name, value in parts.items():
            object.__setattr__(made, name, value)
        if len(made.mine) < 2 or len(made.others) <= OTHERS + made.pairs.relevant.shape[1]:
            raise ValueError(
                f"teacher='cross': a half of {collection.name} has {len(made.mine)} pairs and {len(made.others)} "
                f"passages, too few to train on"
            )
        return made

    def draw(self, step: int) -> Batch:
        rng = np.random.default_rng([self.recipe.seed, 4, step])
        chosen = rng.choice(self.mine, self.recipe.batch, replace=len(self.mine) < self.recipe.batch)
        rows = self.pairs.query_rows[chosen]
        negatives = np.concatenate([self._negatives(rng, row) for row in rows])
        return Batch(rows, self.pairs.passage_rows[chosen], negatives, chosen)

    def _negatives(self, rng: np.random.Generator, row: int) -> np.ndarray:
        hard = self.table[row][self.table[row] >= 0]
        if len(hard) >= OTHERS:
            return rng.choice(hard, OTHERS, replace=False)
        free = np.setdiff1d(self.others, np.concatenate([self.pairs.relevant[row], hard]))
        return np.concatenate([hard, rng.choice(free, OTHERS - len(hard), replace=False)])

    def loss(
        self, model: Any, batch: Batch, accelerator: Any, state: State, weights: Sequence[Tensor]
    ) -> tuple[Tensor, dict[str, float]]:
        told = np.column_stack([batch.positives, batch.negatives.reshape(-1, OTHERS)])
        queries = self.pairs.queries.rows(np.repeat(batch.queries, told.shape[1]))
        scores, _ = model(read_together(queries, self.pairs.passages.rows(told.ravel())), [])
        target = torch.zeros(len(told), dtype=torch.long, device=scores.device)
        return torch.nn.functional.cross_entropy(scores.view(told.shape), target), {}


class _Kept:
    """A trained model that can be kept: its weights as safetensors."""

    def __init__(self, encoder: BiEncoder) -> None:
        self.encoder = encoder

    def save(self, folder: str | Path) -> Path:
        from safetensors.torch import save

        weights = {name: p.detach().contiguous() for name, p in self.encoder.query_tower.state_dict().items()}
        write_atomic(Path(folder) / "model.safetensors", save(weights))
        return Path(folder)

    @classmethod
    def load(cls, folder: Path) -> _Kept:
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        encoder = started()
        try:
            encoder.query_tower.load_state_dict(load_file(folder / "model.safetensors"))
        except (OSError, SafetensorError, RuntimeError) as e:
            raise ValueError(f"{folder / 'model.safetensors'}: {str(e).splitlines()[0]}") from None
        return cls(encoder)
