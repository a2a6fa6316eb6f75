"""The training loop with everything on the device: no padding, no Python lists, one call a tower, a CUDA graph a step.

The plain loop (:mod:`drscale.training.loop`) makes each batch in Python, chunk by chunk; on a fast card its small rungs
wait for that, and its large ones compute padding. Here the texts' token ids lie on the device, and so do the rows of
all steps' batches, which are the plain loop's own. A step gathers its texts' ids into one row without gaps, encodes it
in one call, and on CUDA the whole step is a graph that is replayed. Standard training of BERT's and Llama's kin only;
on a CPU the same code runs without a graph, to be rehearsed.
"""

from __future__ import annotations

import inspect
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from drscale.encoder import BiEncoder, TableEmbedding, Tower, seed_for
from drscale.ladder import flops_per_token
from drscale.losses import contrastive_entropy, mask_repeats, pool_scores
from drscale.recipe import Recipe
from drscale.training import loop
from drscale.training.batches import Pairs, draw
from drscale.training.loop import Note, Progress
from drscale.training.processes import CHUNK, Alone, chunk_tokens
from drscale.training.strategies import Strategy

VARIABLE = "DRSCALE_ENGINE"
ENGINES = ("auto", "plain", "packed")
ACTIVATIONS = {"bert": "gelu", "llama": "silu"}
WARM = 3  # steps on a side stream before a graph is captured, as PyTorch asks


def engine_of(encoder: BiEncoder, recipe: Recipe) -> str:
    """Say which loop trains a run: ``packed`` on CUDA in bf16 where it can, else ``plain``; ``$DRSCALE_ENGINE`` decides
    otherwise.

    >>> import drscale as ds
    >>> from drscale.encoder import build
    >>> from drscale.training.packed import engine_of
    >>> recipe = ds.Recipe(texts="planted", rung="L2H12", precision="fp32")
    >>> engine_of(build(recipe), recipe)
    'plain'
    """
    asked = os.environ.get(VARIABLE) or "auto"
    if asked not in ENGINES:
        raise ValueError(f"{VARIABLE}={asked!r}: allowed are {', '.join(map(repr, ENGINES))}")
    lacking = _lacking(encoder, recipe)
    if asked == "packed" and lacking:
        raise ValueError(f"{VARIABLE}='packed': {lacking}")
    fast = recipe.precision == "bf16" and torch.cuda.is_available()
    return "packed" if asked == "packed" or (asked == "auto" and fast and not lacking) else "plain"


def _lacking(encoder: BiEncoder, recipe: Recipe) -> str:
    """Why a run cannot be trained here; "" where it can."""
    config: Any = encoder.query_tower.body.config
    reasons = {
        f"strategy={recipe.strategy!r} makes batches of its own": recipe.strategy != "standard",
        f"iterations={recipe.iterations} start the optimiser anew": recipe.iterations > 1,
        f"a body of type {config.model_type!r} is neither BERT's nor Llama's": config.model_type not in LAYERS,
        f"the activation {config.hidden_act!r} is not {ACTIVATIONS.get(config.model_type)!r}": (
            config.hidden_act != ACTIVATIONS.get(config.model_type, config.hidden_act)
        ),
        "a Llama with biases is not known": bool(
            getattr(config, "attention_bias", 0) or getattr(config, "mlp_bias", 0)
        ),
        f"lora={recipe.lora} puts adapters into the layers": recipe.lora > 0,
        "several processes share the run": int(os.environ.get("WORLD_SIZE", "1")) > 1,
        f"{CHUNK} asks for cached gradients": chunk_tokens() > 0,
        "precision='fp16' needs a loss scaler": recipe.precision == "fp16",
    }
    return next((said for said, true in reasons.items() if true), "")


# ------------------------------------------------------------------------------------------------------- the encoder


def packed_vectors(tower: Tower, ids: Tensor, segments: Tensor, starts: Tensor, longest: int, dtype: Any) -> Tensor:
    """Encode texts that lie one after another: token i belongs to text ``segments[i]``, which begins at its ``starts``.

    The same layers as the tower's own, computed in ``dtype`` (the residual stream, too); pooled and projected in fp32.
    ``starts`` has an entry more than there are texts. Attention drops nothing out, the hidden states do.
    """
    body: Any = tower.body
    places = torch.arange(len(ids), device=ids.device) - starts[segments]
    x = LAYERS[body.config.model_type](body, ids, _Line(segments, places, starts.to(torch.int32), longest), dtype)
    if tower.pooling == "cls":
        pooled = x[starts[:-1].clamp(max=len(x) - 1)].float()
    elif tower.pooling == "last":
        pooled = x[(starts[1:] - 1).clamp(min=0, max=len(x) - 1)].float()
    else:
        empty = torch.zeros((len(starts) - 1, x.shape[1]), device=x.device)
        pooled = empty.index_add(0, segments, x.float()) / starts.diff().clamp(min=1).unsqueeze(1)
    vectors: Tensor = tower.projection(pooled)
    return vectors


def _words(words: nn.Module, ids: Tensor, dtype: Any) -> Tensor:
    if isinstance(words, TableEmbedding):
        return functional.linear(functional.embedding(ids, words.table).to(dtype), words.map.weight.to(dtype))
    found: Tensor = words(ids)
    return found


@dataclass(frozen=True)
class _Line:
    """Where the tokens of a line of texts stand: the text of each, its place in it, where texts begin (int32)."""

    segments: Tensor
    places: Tensor
    ends: Tensor
    longest: int


def _bert(body: Any, ids: Tensor, line: _Line, dtype: Any) -> Tensor:
    """BERT's hidden states of a line of texts, (tokens, width)."""
    config, embeddings = body.config, body.embeddings
    drop = config.hidden_dropout_prob if body.training else 0.0
    x = (
        _words(body.get_input_embeddings(), ids, dtype)
        + embeddings.position_embeddings(line.places)
        + embeddings.token_type_embeddings.weight[0]
    )
    x = functional.dropout(_norm(x.to(dtype), embeddings.LayerNorm), drop, body.training)
    for layer in body.encoder.layer:
        own, after, out = layer.attention.self, layer.attention.output, layer.output
        linear = (own.query, own.key, own.value, after.dense, layer.intermediate.dense, out.dense)
        parts = [value for m in (*linear, after.LayerNorm, out.LayerNorm) for value in (m.weight, m.bias)]
        x = _bert_layer(x, parts, line, config.num_attention_heads, drop, config.layer_norm_eps)
    return x


def _bert_layer(x: Tensor, parts: list[Tensor], line: _Line, heads: int, drop: float, eps: float) -> Tensor:
    """One layer of BERT over texts that lie one after another; ``parts`` are its weights and biases in their order."""
    wq, bq, wk, bk, wv, bv, wo, bo, w1, b1, w2, b2, g1, a1, g2, a2 = (p.to(x.dtype) for p in parts)
    size = [x.shape[1]]
    qkv = functional.linear(x, torch.cat([wq, wk, wv]), torch.cat([bq, bk, bv])).unflatten(-1, (3, heads, -1))
    mixed = _attend(*qkv.unbind(1), line).flatten(1)  # type: ignore[call-arg]
    x = functional.layer_norm(x + functional.dropout(functional.linear(mixed, wo, bo), drop), size, g1, a1, eps)
    wide = functional.gelu(functional.linear(x, w1, b1))
    return functional.layer_norm(x + functional.dropout(functional.linear(wide, w2, b2), drop), size, g2, a2, eps)


def _llama(body: Any, ids: Tensor, line: _Line, dtype: Any) -> Tensor:
    """Llama's hidden states of a line of texts, (tokens, width); causal unless its mask was taken away."""
    config = body.config
    x = _words(body.get_input_embeddings(), ids, dtype).to(dtype)
    cos, sin = (part.squeeze(0).unsqueeze(1) for part in body.rotary_emb(x.unsqueeze(0), line.places.unsqueeze(0)))
    causal, eps = bool(getattr(config, "is_causal", True)), config.rms_norm_eps
    for layer in body.layers:
        own, wide = layer.self_attn, layer.mlp
        y = _root_norm(x, layer.input_layernorm.weight, eps)
        q, k, v = (
            functional.linear(y, m.weight.to(dtype)).unflatten(-1, (-1, own.head_dim))
            for m in (own.q_proj, own.k_proj, own.v_proj)
        )
        q, k = (part * cos + _turned(part) * sin for part in (q, k))
        k, v = (part.repeat_interleave(q.shape[1] // part.shape[1], 1) for part in (k, v))
        x = x + functional.linear(_attend(q, k, v, line, causal).flatten(1), own.o_proj.weight.to(dtype))
        y = _root_norm(x, layer.post_attention_layernorm.weight, eps)
        gate, up, down = (m.weight.to(dtype) for m in (wide.gate_proj, wide.up_proj, wide.down_proj))
        x = x + functional.linear(functional.silu(functional.linear(y, gate)) * functional.linear(y, up), down)
    return _root_norm(x, body.norm.weight, eps)


def _root_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    wide = x.float()
    return weight.to(x.dtype) * (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + eps)).to(x.dtype)


def _turned(x: Tensor) -> Tensor:
    """The second half of each head, negated, before its first: the other part of a rotation."""
    first, second = x.chunk(2, dim=-1)
    return torch.cat([-second, first], dim=-1)


LAYERS: dict[str, Callable[[Any, Tensor, _Line, Any], Tensor]] = {"bert": _bert, "llama": _llama}


def _norm(x: Tensor, layer: nn.LayerNorm) -> Tensor:
    return functional.layer_norm(x, layer.normalized_shape, layer.weight.to(x.dtype), layer.bias.to(x.dtype), layer.eps)


def _attend(q: Tensor, k: Tensor, v: Tensor, line: _Line, causal: bool = False) -> Tensor:
    """Attention inside each text: flash attention on CUDA, else padded. ``causal``: to no token behind its own."""
    ends, longest = line.ends, line.longest
    if q.is_cuda and q.dtype != torch.float32 and q.shape[-1] % 8 == 0:
        from torch.nn.attention.varlen import varlen_attn

        masked: Any = ({"window_size": (-1, 0)} if _windows() else {"is_causal": True}) if causal else {}
        found: Any = varlen_attn(q, k, v, ends, ends, longest, longest, **masked)
        return torch.as_tensor(found)
    count, at = len(ends) - 1, (line.segments, line.places)
    wide = [x.new_zeros(count, longest, *x.shape[1:]).index_put(at, x) for x in (q, k, v)]
    spots = torch.arange(longest, device=q.device)
    seen = (spots < ends.diff().clamp(min=1).unsqueeze(1))[:, None, None, :]  # (texts, 1, 1, longest)
    seen = seen & (spots <= spots.unsqueeze(1)) if causal else seen
    padded_q, padded_k, padded_v = (x.transpose(1, 2) for x in wide)
    mixed = functional.scaled_dot_product_attention(padded_q, padded_k, padded_v, attn_mask=seen)
    return mixed.transpose(1, 2)[at]


@lru_cache(maxsize=1)
def _windows() -> bool:
    """Whether this torch says a causal mask to flash attention as a window, as it does from 2.11 on."""
    from torch.nn.attention.varlen import varlen_attn

    return "window_size" in inspect.signature(varlen_attn).parameters


# ------------------------------------------------------------------------------------------------------- the batches


class Feed:
    """The texts of all steps on the device: which rows, where their ids begin, how long they are.

    A step's texts stand in the order queries, positives, negatives. The number of tokens differs from step to step, but
    a graph's shapes must not: each role is filled up to its largest step with texts that nobody looks at.
    """

    def __init__(self, pairs: Pairs, recipe: Recipe, towers: int, device: torch.device) -> None:
        batches = [draw(pairs, recipe, step) for step in range(recipe.steps)]
        rows = {
            "query": np.stack([b.queries for b in batches]),
            "passage": np.stack([np.concatenate([b.positives, b.negatives]) for b in batches]),
        }
        tokens = {"query": pairs.queries, "passage": pairs.passages}
        self.batch, self.roles = recipe.batch, ("query", "passage")
        self.counts = np.stack([tokens[r].lengths[rows[r]].sum(1) for r in self.roles], axis=1)  # (steps, roles)
        squares = [(tokens[r].lengths[rows[r]].astype(np.int64) ** 2).sum(1) for r in self.roles]
        self.squares = np.stack(squares, axis=1)
        behind = len(pairs.queries)  # in one row of all ids, queries stand before passages
        offset = len(pairs.queries.ids)
        texts = {"query": rows["query"], "passage": rows["passage"] + behind}
        self.calls = [list(self.roles)] if towers == 1 else [[r] for r in self.roles]
        self.texts = [self._put(np.concatenate([texts[r] for r in call], axis=1), device) for call in self.calls]
        at = [[self.roles.index(r) for r in call] for call in self.calls]
        self.caps = [int(-(-self.counts[:, roles].sum(1).max() // 128) * 128) for roles in at]
        self.longest = [max(int(tokens[r].lengths.max()) for r in call) for call in self.calls]
        least = [int(self.counts[:, roles].sum(1).min()) for roles in at]
        self.fill = [
            max(1, -(-(cap - few) // most)) for cap, few, most in zip(self.caps, least, self.longest, strict=True)
        ]
        self.ids = self._put(np.concatenate([pairs.queries.ids, pairs.passages.ids]), device)
        starts = np.concatenate([pairs.queries.starts[:-1], pairs.passages.starts[:-1] + offset])
        self.starts = self._put(starts, device)
        self.lengths = self._put(np.concatenate([pairs.queries.lengths, pairs.passages.lengths]), device)
        self.queries, self.passages = (self._put(rows[r], device) for r in self.roles)
        self.relevant = self._put(pairs.relevant, device)

    @staticmethod
    def _put(x: np.ndarray, device: torch.device) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(x)).to(device)

    def packed(self, call: int, step: Tensor) -> tuple[Tensor, Tensor, Tensor, int]:
        """A step's ids of one call, the text of each, where texts begin, and how many texts are real."""
        rows, cap, longest = self.texts[call][step].squeeze(0), self.caps[call], self.longest[call]
        lengths = self.lengths[rows]
        left = cap - lengths.sum() - longest * torch.arange(self.fill[call], device=rows.device)
        ends = torch.cat([lengths, left.clamp(0, longest)]).cumsum(0)
        starts = functional.pad(ends, (1, 0))  # (texts + fill + 1,)
        places = torch.arange(cap, device=rows.device)
        segments = torch.searchsorted(ends, places, right=True).clamp(max=len(ends) - 1)
        first = functional.pad(self.starts[rows], (0, len(ends) - len(rows)))
        return self.ids[first[segments] + places - starts[segments]], segments, starts, len(rows)

    def flops(self, encoder: BiEncoder, steps: slice) -> float:
        """The FLOPs of some steps, without what only fills up."""
        start = "table" if encoder.frozen_table else "checkpoint"
        one, two = (flops_per_token(encoder.shape, n, start, training=True) for n in (0, 1))
        return float(one * self.counts[steps].sum() + (two - one) * self.squares[steps].sum())


def step_loss(encoder: BiEncoder, feed: Feed, recipe: Recipe, step: Tensor, dtype: Any) -> Tensor:
    """The mean contrastive entropy of a step's batch, the same as the plain loop's."""
    towers = [encoder.query_tower] if len(feed.calls) == 1 else [encoder.query_tower, encoder.passage_tower]
    found = []
    for call, tower in enumerate(towers):
        ids, segments, starts, real = feed.packed(call, step)
        found.append(packed_vectors(tower, ids, segments, starts, feed.longest[call], dtype)[:real])
    vectors = torch.cat(found)
    queries, passages = vectors[: feed.batch], vectors[feed.batch :]
    rows, asked = feed.passages[step].squeeze(0), feed.queries[step].squeeze(0)
    targets = torch.arange(feed.batch, device=rows.device)
    scores, targets = pool_scores(queries, passages, targets, recipe.pool, feed.batch)
    if recipe.pool == "shared":  # its first place holds each query's own positive
        rows = functional.pad(rows[feed.batch :], (1, 0), value=-2)
    scores = mask_repeats(scores, targets, rows, feed.relevant[asked])
    return contrastive_entropy(scores, targets).mean()


# ---------------------------------------------------------------------------------------------------------- the loop


def train(
    encoder: BiEncoder,
    pairs: Pairs,
    recipe: Recipe,
    *,
    strategy: Strategy | None = None,
    watch: Callable[[BiEncoder], float] | None = None,
    looks: int = 10,
    note: Note | None = None,
    stopped: Callable[[], bool] = lambda: False,
    checkpoint: Path | None = None,
    mark: str = "",
) -> Progress:
    """Train an encoder in place as :func:`drscale.training.loop.train` does, on the device alone.

    Losses are read, checkpoints written and interrupts noticed at the looks only. A resumed run goes on from its last
    look and draws its dropout from there, so it equals an uninterrupted one.
    """
    if recipe.select != "last" and watch is None:
        raise ValueError(f"select={recipe.select!r}: needs watch, the measure to select by; or select='last'")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    encoder.to(device).train()
    dtype = torch.bfloat16 if recipe.precision == "bf16" else torch.float32
    weights: dict[str, Tensor] = {n: p for n, p in encoder.named_parameters() if p.requires_grad}
    towers = 1 if encoder.query_tower is encoder.passage_tower else 2
    feed, on_card = Feed(pairs, recipe, towers, device), device.type == "cuda"
    rate = torch.tensor(recipe.rate, device=device)
    options: dict[str, Any] = {"fused": True, "capturable": True} if on_card else {}
    optimiser = torch.optim.AdamW(list(weights.values()), lr=rate, weight_decay=recipe.decay, **options)
    rates = torch.tensor([loop.rate_at(recipe, s) for s in range(recipe.steps)], device=device)
    step, losses = torch.zeros(1, dtype=torch.long, device=device), torch.zeros(recipe.steps, device=device)

    def one_step() -> None:
        rate.copy_(rates[step].squeeze(0))
        loss = step_loss(encoder, feed, recipe, step, dtype)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(weights.values(), 1.0)
        optimiser.step()
        losses.index_copy_(0, step, loss.detach().reshape(1))
        step.add_(1)

    replay = _captured(one_step, optimiser, step, weights) if on_card else one_step
    captured = {w: dict(optimiser.state[w]) for w in optimiser.state}
    progress, best = loop._resume(checkpoint, mark, encoder, optimiser, weights) or (Progress(), {})
    _into(captured, optimiser, rate)
    step.fill_(progress.step)
    started, saved = time.perf_counter() - progress.seconds, time.perf_counter()
    for end in sorted(at for at in loop.looks_at(recipe.steps, looks) if at > progress.step):
        if stopped():
            break
        torch.manual_seed(seed_for(recipe.seed, f"step {progress.step}"))
        begun, first = time.perf_counter(), progress.step
        for _ in range(first, end):
            replay()
        said = losses[first:end].double().cpu().numpy()  # waits for the device
        progress.training_seconds += time.perf_counter() - begun
        progress.step, progress.tokens = end, progress.tokens + int(feed.counts[first:end].sum())
        progress.flops += feed.flops(encoder, slice(first, end))
        if not np.isfinite(said).all():
            at = first + int(np.argmin(np.isfinite(said))) + 1
            progress.reason = f"diverged: the loss is not finite at step {at}"
            break
        best = loop._look(progress, encoder, recipe, {"loss": float(said[-1])}, watch, note, weights, best)
        encoder.train()
        progress.seconds = time.perf_counter() - started
        if progress.reason:
            break
        if checkpoint is not None and end < recipe.steps and time.perf_counter() - saved > loop.CHECKPOINT_SECONDS:
            loop._save(checkpoint, mark, progress, optimiser, weights, best, Alone(recipe.precision))
            saved = time.perf_counter()
    progress.seconds = time.perf_counter() - started
    if checkpoint is not None and progress.step < recipe.steps and not progress.reason:
        loop._save(checkpoint, mark, progress, optimiser, weights, best, Alone(recipe.precision))
    if recipe.select != "last" and best and not progress.reason:
        loop._put(weights, best)
    return progress


def _into(captured: dict[Any, dict[str, Tensor]], optimiser: torch.optim.Optimizer, rate: Tensor) -> None:
    """Put what a checkpoint brought into the tensors that a graph knows."""
    for weight, old in captured.items():
        for name, value in optimiser.state[weight].items():
            old[name].copy_(value)
        optimiser.state[weight] = old
    optimiser.param_groups[0]["lr"] = rate


def _captured(
    one_step: Callable[[], None], optimiser: torch.optim.Optimizer, step: Tensor, weights: dict[str, Tensor]
) -> Callable[[], None]:
    """Capture a step as a CUDA graph, and leave the weights and the optimiser as they were before."""
    before = {n: w.detach().clone() for n, w in weights.items()}
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARM):
            one_step()
    torch.cuda.current_stream().wait_stream(side)
    optimiser.zero_grad(set_to_none=True)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        one_step()
    loop._put(weights, before)
    with torch.no_grad():
        for state in optimiser.state.values():
            for value in state.values():
                value.zero_()
    step.zero_()
    return graph.replay


@lru_cache(maxsize=1)
def matrix_rate(size: int = 8192, repeats: int = 10) -> float:
    """The card's measured rate of bf16 matrix products in FLOPs a second; NaN without a card."""
    if not torch.cuda.is_available():
        return math.nan
    a, b = (torch.randn(size, size, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    for _ in range(3):
        a @ b
    torch.cuda.synchronize()
    started = time.perf_counter()
    for _ in range(repeats):
        a @ b
    torch.cuda.synchronize()
    return 2 * size**3 * repeats / (time.perf_counter() - started)
