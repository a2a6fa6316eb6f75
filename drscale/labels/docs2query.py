"""A small sequence-to-sequence model that learns from training pairs to write a passage's query.

It plays the role of docT5query where no model can be downloaded, and is called what it is: a T5 of ``transformers``
with random weights, a few million parameters and MiniLM's word pieces, trained here in minutes. It is cross-fitted: the
passages are divided into folds, and each fold's queries come from a model that was trained on the other folds, so that
no query of its own passage is learnt by heart.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from drscale.encoder import minilm_folder, minilm_table, seed_for, tokenise
from drscale.files import write_atomic
from drscale.labels.generate import written
from drscale.results import Result
from drscale.texts import Collection, cache_folder
from drscale.texts.cache import cached, key_of
from drscale.texts.collection import shuffled

CHECKPOINT_SECONDS = 30.0
SHOWN, HELD, LOOKS = 8, 256, 20  # examples; held-out pairs of a look; looks at them
TOGETHER = 256  # passages written for at once
SHORTEST = 4  # word pieces, as a query of the docs benchmark has 4 words or more
SAVED = "model.safetensors"
NOT = -100  # what the loss of transformers passes over
Note = Callable[[int, dict[str, float]], None]


@dataclass(frozen=True)
class Small:
    """The shape of the small model and how it is trained.

    ``width``, ``layers`` (of the encoder, and as many of the decoder), ``heads`` and ``feed`` are the T5's. It trains
    for ``epochs``, but at most for ``most`` steps of ``batch`` pairs, with AdamW at the peak ``rate``; passages and
    queries are cut at ``passage_tokens`` and ``query_tokens``. With ``folds=2`` each half of the passages is
    written for by a model that was trained on the other half; ``folds=1`` trains one model on everything, which
    has then seen the queries of the passages that it writes for.
    """

    width: int = 128
    layers: int = 2
    heads: int = 4
    feed: int = 512
    epochs: float = 3.0
    most: int = 2000
    batch: int = 32
    rate: float = 2e-3
    dropout: float = 0.0
    passage_tokens: int = 64
    query_tokens: int = 24
    folds: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("width", "layers", "heads", "feed", "most", "batch", "folds"):
            if getattr(self, name) < 1:
                raise ValueError(f"Small.{name}={getattr(self, name)}: at least 1")
        if self.width % self.heads:
            raise ValueError(f"Small.heads={self.heads}: must divide width={self.width}")


USUAL = Small()


@dataclass(frozen=True, eq=False)
class Docs2Query(Result):
    """Write queries with the small models, one a fold; a generator for :func:`drscale.labels.generate_queries`.

    ``curve`` has the columns fold, step, loss (of training) and held (of held-out pairs), in nats a word piece;
    ``examples`` shows held-out passages, the query that a person wrote and the one that the model wrote.
    """

    name: str
    small: Small
    models: list[Any]
    pieces: list[np.ndarray]
    curve: pd.DataFrame
    examples: pd.DataFrame
    seconds: float
    top_k: int = 10

    def __str__(self) -> str:
        size = sum(p.numel() for p in self.models[0].parameters())
        last = self.curve.groupby("fold").tail(1)
        trained = "trained on the other folds" if self.small.folds > 1 else "trained on the passages it writes for"
        return (
            f"{self.name}: a T5 of {size / 1e6:.1f} million parameters with random start, {self.small.folds} folds, "
            f"{trained}; held-out loss {last['held'].mean():.2f} nats a word piece, {self.seconds / 60:.1f} min"
        )

    def table(self) -> pd.DataFrame:
        """The losses along the way, a row a look."""
        return self.curve

    def __call__(self, passages: Sequence[str], count: int, seed: int) -> list[list[str]]:
        """Sample ``count`` queries for each passage from the model that has not seen it."""
        folds = np.array([fold_of(p, self.small.folds) for p in passages])
        queries: list[list[str]] = [[] for _ in passages]
        for fold, (model, pieces) in enumerate(zip(self.models, self.pieces, strict=True)):
            rows = np.flatnonzero(folds == fold).tolist()
            mine = [passages[r] for r in rows]
            sampled = _sample(model, pieces, mine, self.small, count, seed_for(seed, f"fold {fold}"), self.top_k)
            for row, some in zip(rows, sampled, strict=True):
                queries[row] = some
        return queries


def fold_of(passage: str, folds: int) -> int:
    """The fold of a passage: it depends on the text alone, so equal passages share one.

    >>> from drscale.labels.docs2query import fold_of
    >>> [fold_of(text, 2) for text in ("open a file", "close a file", "open a file")]
    [0, 1, 0]
    """
    return int.from_bytes(hashlib.sha256(passage.encode()).digest()[:8], "big") % folds


def train_docs2query(collection: Collection, small: Small | None = None, *, note: Note | None = None) -> Docs2Query:
    """Train the small generator on a collection's pairs, or read it from the cache; a killed training goes on.

    ``note(step, values)`` is told of every look. Ten to twelve minutes of one core for the 16,915 pairs of ``docs``.

    >>> from drscale import collection
    >>> from drscale.labels.docs2query import Small, train_docs2query
    >>> writer = train_docs2query(collection("planted?pairs=200"), Small(width=16, feed=32, epochs=1))
    >>> len(writer(["open a file"], 2, 0)[0])
    2
    """
    small = small if small is not None else USUAL
    pairs = collection.table()
    folds = np.array([fold_of(p, small.folds) for p in pairs["passage"]])
    parts = []
    for fold in range(small.folds):
        held = folds == fold
        learnt = pairs[~held] if small.folds > 1 else pairs
        if not len(learnt) or not held.any():
            raise ValueError(f"docs2query of {collection.name}: {len(pairs)} pairs are too few for folds={small.folds}")
        key = key_of("docs2query/1", collection.fingerprint, asdict(small), fold)
        checkpoint = cache_folder() / f"docs2query-{key}.training"

        def build(
            _: Path, fold: int = fold, learnt: Any = learnt, held: Any = held, checkpoint: Path = checkpoint
        ) -> Any:
            return _trained(learnt, pairs[held], small, fold, checkpoint, note)

        parts.append(cached("docs2query", key, _Part.load, build))
        checkpoint.unlink(missing_ok=True)
    return Docs2Query(
        name=f"docs2query({collection.fingerprint[:12]}, {key_of(asdict(small))[:8]})",
        small=small,
        models=[_model(small, len(p.pieces), p.tensors).eval() for p in parts],
        pieces=[p.pieces for p in parts],
        curve=pd.concat([pd.DataFrame(p.notes["curve"]) for p in parts], ignore_index=True),
        examples=pd.concat([pd.DataFrame(p.notes["examples"]) for p in parts], ignore_index=True),
        seconds=sum(p.notes["seconds"] for p in parts),
    )


# --------------------------------------------------------------------------------------------------------- the model


@lru_cache(maxsize=1)
def _tokenizer() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(minilm_folder()))


def _model(small: Small, vocabulary: int, tensors: dict[str, Tensor] | None = None) -> Any:
    from transformers import T5Config, T5ForConditionalGeneration

    # A plain dict: two of the options belong to every configuration, and T5Config's signature lacks them.
    options: dict[str, Any] = {
        "vocab_size": vocabulary,
        "d_model": small.width,
        "d_kv": small.width // small.heads,
        "d_ff": small.feed,
        "num_layers": small.layers,
        "num_decoder_layers": small.layers,
        "num_heads": small.heads,
        "dropout_rate": small.dropout,
        "pad_token_id": 0,
        "eos_token_id": 3,
        "decoder_start_token_id": 0,
        "tie_word_embeddings": True,
    }
    model: Any = T5ForConditionalGeneration(T5Config(**options))
    if tensors is not None:
        model.load_state_dict(tensors | dict.fromkeys(_TIED, tensors["shared.weight"]))
    return model


_TIED = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight")


def _started(small: Small, pieces: np.ndarray, seed: int) -> Any:
    """A model before training: random but for the word pieces and for a decoder that copies what it looks at.

    The word pieces are the first ``width`` principal components of MiniLM's table, with a mean variance of 1 as in T5.
    The values and outputs of the cross-attention start as the identity: with tied word pieces the decoder then
    prefers the passage's own from the first step on, which thousands of steps would have to teach it otherwise.
    """
    torch.manual_seed(seed)
    model = _model(small, len(pieces))
    table = minilm_table()[torch.from_numpy(pieces)]
    centred = table - table.mean(0)
    _, _, axes = torch.linalg.svd(centred, full_matrices=False)
    vectors = centred @ axes[: small.width].T  # (pieces, width), or fewer columns for a width above MiniLM's
    with torch.no_grad():
        model.shared.weight[:, : vectors.shape[1]] = vectors / vectors.std()
        for block in model.decoder.block:
            attention = block.layer[1].EncDecAttention
            attention.v.weight.copy_(torch.eye(small.width))
            attention.o.weight.copy_(torch.eye(small.width))
    return model


def _known_pieces(learnt: pd.DataFrame, small: Small) -> np.ndarray:
    """MiniLM's word pieces that the training texts hold twice or more, behind [PAD], [UNK], [CLS] and [SEP]."""
    tokenizer = _tokenizer()
    cut = ((learnt["query"], small.query_tokens), (learnt["passage"], small.passage_tokens))
    ids = np.concatenate([tokenise(tokenizer, texts.tolist(), length).ids for texts, length in cut])
    special = [getattr(tokenizer, f"{name}_token_id") for name in ("pad", "unk", "cls", "sep")]
    common = np.flatnonzero(np.bincount(ids) > 1)
    return np.array([*special, *common[~np.isin(common, special)]], dtype=np.int64)


def _ids(texts: Sequence[str], length: int, pieces: np.ndarray) -> list[np.ndarray]:
    """The model's own ids of texts: places among ``pieces``, 1 ([UNK]) for the others."""
    place = np.full(len(_tokenizer()), 1)
    place[pieces] = np.arange(len(pieces))
    tokens = tokenise(_tokenizer(), texts, length)
    return [place[ids] for ids in tokens.rows(np.arange(len(tokens)))]


def _padded(rows: Sequence[np.ndarray], fill: int = 0) -> Tensor:
    out = np.full((len(rows), max(map(len, rows))), fill)
    for i, row in enumerate(rows):
        out[i, : len(row)] = row
    return torch.from_numpy(out)


def _loss(model: Any, passages: list[np.ndarray], queries: list[np.ndarray]) -> Tensor:
    """Mean cross-entropy of the queries' word pieces and their end, given the passages; nats a piece."""
    ids, labels = _padded(passages), _padded([q[1:] for q in queries], NOT)  # without [CLS]
    loss: Tensor = model(input_ids=ids, attention_mask=(ids > 0).long(), labels=labels).loss
    return loss


def _sample(
    model: Any, pieces: np.ndarray, passages: Sequence[str], small: Small, count: int, seed: int, top_k: int
) -> list[list[str]]:
    """Sample queries for passages, sorted by length so that padding costs little."""
    rows = _ids(passages, small.passage_tokens, pieces) if len(passages) else []
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    out: list[list[str]] = [[] for _ in rows]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for at in range(0, len(order), TOGETHER):
            block = order[at : at + TOGETHER]
            ids = _padded([rows[i] for i in block])
            made = written(
                model,
                {"input_ids": ids, "attention_mask": (ids > 0).long()},
                count=count,
                tokens=small.query_tokens,
                top_k=top_k,
                suppress_tokens=[0, 1, 2],  # [PAD], [UNK], [CLS]
                min_new_tokens=min(SHORTEST, small.query_tokens),
            )
            texts = _tokenizer().batch_decode(pieces[made.numpy()], skip_special_tokens=True)
            for place, i in enumerate(block):
                out[i] = texts[place * count : (place + 1) * count]
    return out


# ------------------------------------------------------------------------------------------------------ the training


class _Part:
    """One fold's weights, word pieces and notes, as they lie in the cache."""

    def __init__(self, tensors: dict[str, Tensor], pieces: np.ndarray, notes: dict[str, Any]) -> None:
        self.tensors, self.pieces, self.notes = tensors, pieces, notes

    def save(self, folder: str | Path) -> Path:
        path = Path(folder)
        path.mkdir(parents=True, exist_ok=True)
        tensors = self.tensors | {"pieces": torch.from_numpy(self.pieces)}
        write_atomic(path / SAVED, save(tensors, {"notes": json.dumps(self.notes)}))
        return path

    @classmethod
    def load(cls, folder: Path) -> _Part:
        tensors, about = _read(folder / SAVED)
        if "notes" not in about or "pieces" not in tensors:
            raise ValueError(f"{folder / SAVED}: no model of docs2query")
        return cls(tensors, tensors.pop("pieces").numpy(), json.loads(about["notes"]))


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, framework="pt") as f:
            return {k: f.get_tensor(k) for k in f.keys()}, f.metadata() or {}  # noqa: SIM118
    except (OSError, SafetensorError) as e:
        raise ValueError(f"{path}: no safetensors ({e})") from None


def _weights(model: Any) -> dict[str, Tensor]:
    return {n: p.detach().clone().contiguous() for n, p in model.named_parameters()}


def _trained(
    learnt: pd.DataFrame, held: pd.DataFrame, small: Small, fold: int, checkpoint: Path, note: Note | None
) -> _Part:
    """Train one fold's model with a warm-up and a linear decay; the loss is recorded at ``LOOKS`` looks."""
    seed = seed_for(small.seed, f"docs2query {fold}")
    pieces = _known_pieces(learnt, small)
    queries = _ids(learnt["query"].tolist(), small.query_tokens, pieces)
    passages = _ids(learnt["passage"].tolist(), small.passage_tokens, pieces)
    few = held.iloc[np.sort(shuffled(len(held), seed)[:HELD])]
    few_queries = _ids(few["query"].tolist(), small.query_tokens, pieces)
    few_passages = _ids(few["passage"].tolist(), small.passage_tokens, pieces)
    model = _started(small, pieces, seed)
    optimiser = torch.optim.AdamW(model.parameters(), lr=small.rate, weight_decay=0.01)
    each = -(-len(learnt) // small.batch)  # steps an epoch
    steps = max(1, min(small.most, round(small.epochs * each)))
    looks, warmup = max(1, steps // LOOKS), max(1, steps // 20)
    curve, losses, start, before = _resumed(checkpoint, model, optimiser)
    began = saved = time.perf_counter()
    order: tuple[int, np.ndarray] = (-1, np.empty(0))

    for step in range(start, steps):
        # draw: every pair once an epoch, as the seed and the step say
        if order[0] != step // each:
            order = step // each, shuffled(len(learnt), seed_for(seed, f"epoch {step // each}"))
        rows = order[1][(step % each) * small.batch : (step % each + 1) * small.batch]
        torch.manual_seed(seed_for(seed, f"step {step}"))  # dropout; so that a resumed training is the same

        # step
        for group in optimiser.param_groups:
            group["lr"] = small.rate * min((step + 1) / warmup, (steps - step) / max(1, steps - warmup))
        loss = _loss(model.train(), [passages[r] for r in rows], [queries[r] for r in rows])
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()

        # note
        losses.append(loss.item())
        if (step + 1) % looks == 0 or step + 1 == steps:
            with torch.inference_mode():
                measured = _loss(model.eval(), few_passages, few_queries).item()
            seconds = before + time.perf_counter() - began
            curve.append({"fold": fold, "step": step + 1, "loss": float(np.mean(losses)), "held": measured})
            losses = []
            if note is not None:
                note(step + 1, curve[-1] | {"seconds": seconds})
        if time.perf_counter() - saved > CHECKPOINT_SECONDS:
            done = {"step": step + 1, "curve": curve, "losses": losses, "seconds": before + time.perf_counter() - began}
            _keep(checkpoint, model, optimiser, done)
            saved = time.perf_counter()

    seconds = before + time.perf_counter() - began
    shown = few.iloc[:SHOWN]
    sampled = _sample(model.eval(), pieces, shown["passage"].tolist(), small, 1, seed, 10)
    examples = shown.assign(fold=fold, generated=[q[0] for q in sampled]).to_dict("list")
    return _Part(
        _weights(model), pieces, {"curve": curve, "examples": examples, "seconds": seconds, "pairs": len(learnt)}
    )


def _keep(path: Path, model: Any, optimiser: Any, done: dict[str, Any]) -> None:
    names, states = [n for n, _ in model.named_parameters()], optimiser.state_dict()["state"]
    tensors = {f"weight/{n}": w for n, w in _weights(model).items()}
    tensors |= {f"adam/{k}/{n}": v.contiguous() for i, n in enumerate(names) for k, v in states[i].items()}
    write_atomic(path, save(tensors, {"done": json.dumps(done)}))


def _resumed(path: Path, model: Any, optimiser: Any) -> tuple[list[dict[str, float]], list[float], int, float]:
    """Go on where a checkpoint stopped: the curve so far, the losses since its last point, the step, the seconds."""
    if not path.is_file():
        return [], [], 0, 0.0
    try:
        tensors, about = _read(path)
    except ValueError:  # half written by something else than this loop: nothing is lost but time
        return [], [], 0, 0.0
    done = json.loads(about["done"])
    names = [n for n, _ in model.named_parameters()]
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.copy_(tensors[f"weight/{name}"])
    state = optimiser.state_dict()
    state["state"] = {
        i: {k: tensors[f"adam/{k}/{n}"] for k in ("step", "exp_avg", "exp_avg_sq")} for i, n in enumerate(names)
    }
    optimiser.load_state_dict(state)
    return done["curve"], done["losses"], int(done["step"]), float(done["seconds"])
