"""Starts that read the passages first: masked language modelling, and a masked auto-encoder after RetroMAE.

Both train the layers of an encoder on the frozen word-piece table (``start="table"``) on the passages of a benchmark's
training collection, whole, with one seed, for a few hundred steps: a start is one checkpoint, the same for all runs of
a rung, however many pairs and whichever seed they have. It is small, and real: no label is read.

``mlm``: 15% of the pieces become [MASK] and are predicted (Devlin et al. 2019). ``retromae``: 30% of them are masked
for the encoder, which predicts them and makes the passage's vector; a decoder of one layer gets that vector and the
passage with 50% masked, and predicts these (Liu and Shao 2022, RetroMAE). What they add as enhanced decoding, for each
position an attention of its own, is left out. Only the :data:`WORDS` commonest pieces of the passages are masked and
predicted, by the table's own vectors, so that no output layer of the vocabulary's size is learnt.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor, nn

from drscale.encoder import BiEncoder, Tokens, build, minilm_table, seed_for
from drscale.files import write_atomic
from drscale.ladder import TABLE_WIDTH, Shape, flops_per_token
from drscale.recipe import Recipe
from drscale.texts import Collection
from drscale.texts.cache import cached, key_of

VERSION = 1  # raise when what is trained here changes
STEPS, BATCH, RATE = 300, 32, 2e-3  # RATE is the most; 0.1 / width where that is less
WORDS = 4096
MASKED = {"mlm": 0.15, "retromae": 0.30}  # of the encoder's input
DECODED = 0.50  # of the decoder's


@dataclass(frozen=True)
class Begun:
    """What a start was made by, for a run's record: ``notes``, ``cost`` and a ``mark`` for its checkpoint."""

    notes: dict[str, str] = field(default_factory=dict)
    cost: dict[str, float] = field(default_factory=dict)
    mark: str = ""


def begin(encoder: BiEncoder, recipe: Recipe, collection: Collection, *, steps: int = STEPS) -> Begun:
    """Give an encoder's layers the weights that ``start="mlm"`` or ``"retromae"`` stands for; others stay as built.

    The projection stays as the recipe's seed drew it; two towers begin as copies of one, projection and all. Kept in
    the cache by the collection's fingerprint, the shape, the length passages are cut at, the pooling and the steps.
    """
    if recipe.start not in MASKED:
        return Begun()
    plain = Recipe(
        rung=recipe.rung,
        ladder=recipe.ladder,
        start=recipe.start,
        pooling=recipe.pooling,
        passage_tokens=recipe.passage_tokens,
        projection=0,
        steps=steps,
        batch=BATCH,
        rate=min(RATE, float(f"{0.1 / encoder.shape.width:.2g}")),
    )
    key = key_of("pretrained", VERSION, collection.fingerprint, str(plain), WORDS, MASKED, DECODED)
    kept = cached("pretrained", key, _Weights.load, lambda _: _pretrain(build(plain), plain, collection))
    weights = {n: p for n, p in encoder.query_tower.body.named_parameters() if p.requires_grad}
    with torch.no_grad():
        for name, weight in weights.items():
            weight.copy_(kept.tensors[name])
    if encoder.passage_tower is not encoder.query_tower:
        encoder.passage_tower.load_state_dict(encoder.query_tower.state_dict())
    said = f"{recipe.start} on {collection.name}'s passages, {steps} steps"
    return Begun({"start": said}, {f"start_{name}": value for name, value in kept.cost.items()}, key)


@dataclass(frozen=True)
class _Weights:
    """A body's weights and what they cost, as they are kept."""

    tensors: dict[str, Tensor]
    cost: dict[str, float]

    def save(self, folder: str | Path) -> Path:
        path = Path(folder)
        path.mkdir(parents=True, exist_ok=True)
        write_atomic(path / "weights.safetensors", save(self.tensors, {"cost": json.dumps(self.cost)}))
        return path

    @classmethod
    def load(cls, folder: Path) -> _Weights:
        from safetensors import SafetensorError, safe_open

        path = folder / "weights.safetensors"
        try:
            with safe_open(path, framework="pt") as f:
                cost = json.loads((f.metadata() or {})["cost"])
                return cls({name: f.get_tensor(name) for name in f.keys()}, cost)  # noqa: SIM118
        except (OSError, SafetensorError, KeyError) as e:
            raise ValueError(f"{path}: no start of drscale's ({e})") from None


class Head(nn.Module):
    """Predict pieces from states: a map to the table's width, and the scores of the table's own vectors."""

    def __init__(self, width: int, vectors: Tensor) -> None:
        super().__init__()
        self.vectors: Tensor
        self.register_buffer("vectors", vectors, persistent=False)
        self.map = nn.Sequential(nn.Linear(width, TABLE_WIDTH), nn.GELU(), nn.LayerNorm(TABLE_WIDTH))
        self.bias = nn.Parameter(torch.zeros(len(vectors)))

    def forward(self, states: Tensor, targets: Tensor) -> Tensor:
        """The mean cross-entropy, in nats, of states (masked, width) for places in the vocabulary (masked,)."""
        return nn.functional.cross_entropy(self.map(states) @ self.vectors.T + self.bias, targets)


def _pretrain(encoder: BiEncoder, recipe: Recipe, collection: Collection) -> _Weights:
    started = time.perf_counter()
    tokens = encoder.tokens(collection.passages["text"].to_pylist(), "passage")
    place = common_pieces(tokens, encoder.tokenizer.all_special_ids)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(seed_for(0, "pretrain"))
    tower, shape = encoder.query_tower.to(device).train(), encoder.shape
    vocabulary = torch.as_tensor(np.flatnonzero(place >= 0)[np.argsort(place[place >= 0])])
    parts: dict[str, nn.Module] = {"tower": tower, "head": Head(shape.width, minilm_table()[vocabulary])}
    if recipe.start == "retromae":
        parts["decoder"] = nn.TransformerEncoderLayer(
            shape.width, shape.heads, shape.feed, 0.0, activation="gelu", batch_first=True
        )
    model = nn.ModuleDict(parts).to(device)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=recipe.rate, weight_decay=recipe.decay)
    losses, flops = [], 0.0
    for step in range(recipe.steps):
        rng = np.random.default_rng([0, step])
        rows = rng.integers(len(tokens), size=recipe.batch)
        loss, spent = _loss(model, recipe, tokens.rows(rows), place, rng, encoder, shape)
        for group in optimiser.param_groups:
            group["lr"] = recipe.rate * min((step + 1) / max(1, recipe.steps // 10), 1 - step / recipe.steps)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimiser.step()
        losses.append(float(loss.detach()))
        flops += spent
    tenth = max(1, len(losses) // 10)
    cost = {"flops": flops, "seconds": time.perf_counter() - started}
    cost |= {"loss_first": float(np.mean(losses[:tenth])), "loss": float(np.mean(losses[-tenth:]))}
    weights = {n: p.detach().cpu().contiguous() for n, p in tower.body.named_parameters() if p.requires_grad}
    return _Weights(weights, cost)


def common_pieces(tokens: Tokens, special: list[int], most: int = WORDS) -> np.ndarray:
    """The place of each word piece among the commonest, -1 for the rest and the special ones; ties by the lower id."""
    times = np.bincount(tokens.ids)
    times[[i for i in special if i < len(times)]] = 0
    order = np.argsort(-times, kind="stable")[: min(most, int((times > 0).sum()))]
    place = np.full(len(times), -1)
    place[order] = np.arange(len(order))
    return place


def _loss(
    model: Any,
    recipe: Recipe,
    texts: list[np.ndarray],
    place: np.ndarray,
    rng: np.random.Generator,
    encoder: BiEncoder,
    shape: Shape,
) -> tuple[Tensor, float]:
    """The loss of a batch of passages, and the FLOPs of training on it."""
    device = encoder.device
    longest = max(map(len, texts))
    ids, there = np.full((len(texts), longest), encoder.pad), np.zeros((len(texts), longest), bool)
    for i, text in enumerate(texts):
        ids[i, : len(text)], there[i, : len(text)] = text, True
    targets = np.where(there, place[ids], -1)
    mask, one = torch.as_tensor(there, device=device).long(), encoder.tokenizer.mask_token_id

    def hide(share: float) -> tuple[Tensor, Tensor]:
        hidden = masked(targets, share, rng)
        return torch.as_tensor(np.where(hidden, one, ids), device=device), torch.as_tensor(hidden, device=device)

    wanted = torch.as_tensor(targets, device=device)
    read, hidden = hide(MASKED[recipe.start])
    states = model["tower"].body(input_ids=read, attention_mask=mask).last_hidden_state  # (texts, tokens, width)
    loss, count = model["head"](states[hidden], wanted[hidden]), int(hidden.sum())
    tokens, layer = int(there.sum()), 0
    if "decoder" in model:
        weight = mask.unsqueeze(-1).to(states.dtype)
        vector = states[:, 0] if recipe.pooling == "cls" else (states * weight).sum(1) / weight.sum(1)
        read, hidden = hide(DECODED)
        inputs = torch.cat([vector.unsqueeze(1), model["tower"].body.embeddings(input_ids=read)[:, 1:]], dim=1)
        decoded = model["decoder"](inputs, src_key_padding_mask=mask == 0)
        loss = loss + model["head"](decoded[hidden], wanted[hidden])
        count += int(hidden.sum())
        one_layer = Shape(1, shape.width, shape.heads, shape.feed)
        layer = flops_per_token(one_layer, longest, recipe.start, training=True)
    spent = tokens * (flops_per_token(shape, longest, recipe.start, training=True) + layer)
    return loss, float(spent + 6 * count * TABLE_WIDTH * (shape.width + len(model["head"].bias)))


def masked(targets: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Choose a share of the pieces that can be predicted (targets >= 0), at least one of a batch."""
    can = targets >= 0
    chance = np.where(can, rng.random(targets.shape), 2.0)
    hidden: np.ndarray = chance < max(share, float(chance.min()) + 1e-12)
    return hidden
