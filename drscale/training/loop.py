"""The training loop: draw, score, step, note; resumable inside a run and equal for equal seeds."""

from __future__ import annotations

import itertools
import json
import math
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from drscale.encoder import BiEncoder, seed_for
from drscale.files import write_atomic
from drscale.ladder import flops_per_token, training_factor
from drscale.recipe import BY_GRADIENTS, Recipe, part_of
from drscale.runs import StoreWarning
from drscale.training import processes
from drscale.training.batches import Batch, Pairs
from drscale.training.strategies import Strategy

Note = Callable[[int, dict[str, float]], None]
CHECKPOINT_SECONDS = 20.0


@dataclass
class Progress:
    """Where a run stands: what the loop notes along the way, and what a checkpoint keeps beside the weights.

    ``seconds`` holds the looks, too, ``training_seconds`` (where the packed loop takes them) the steps alone.
    ``state`` belongs to the strategy; ``omega`` is the robustness loss's weight at every step, where it moves.
    """

    step: int = 0
    tokens: int = 0
    flops: float = 0.0
    seconds: float = 0.0
    training_seconds: float = 0.0
    best_step: int = 0
    best: float = math.inf
    reason: str = ""
    curve: list[dict[str, float]] = field(default_factory=list)
    state: dict[str, float] = field(default_factory=dict)
    omega: list[float] = field(default_factory=list)


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
    alone: bool = False,
) -> Progress:
    """Train an encoder in place for ``recipe.steps`` steps and say how it went.

    ``strategy`` says what a batch is and what is minimised; standard training is the one that needs nothing but pairs.
    ``watch`` measures the encoder along the way, at :func:`looks_at` (lower is better); unless ``recipe.select`` is
    ``last``, the best look's weights are put back at the end. ``note(step, values)`` is told of every step. A loss or
    a look that is not finite ends the run with ``reason``; ``stopped`` ends it early; ``checkpoint`` is a file to
    resume from, if it carries the same ``mark`` (the texts' fingerprint); another's is named and left unused.
    Each of ``recipe.iterations`` parts goes on from the weights of the one before, with AdamW's moments at zero.
    ``alone`` trains in this process, although several may share the run that asks for it.
    """
    if recipe.select != "last" and watch is None:
        raise ValueError(f"select={recipe.select!r}: needs watch, the measure to select by; or select='last'")
    accelerator = processes.accelerator(recipe.precision, alone)
    chunk = 0 if alone else processes.chunk_tokens()
    if chunk and recipe.balance in BY_GRADIENTS:
        raise ValueError(f"{processes.CHUNK}={chunk}: balance={recipe.balance!r} needs the whole graph; unset it")
    model = processes.Encoding(encoder.to(accelerator.device), accelerator, chunk)
    weights: dict[str, Tensor] = {n: p for n, p in encoder.named_parameters() if p.requires_grad}
    optimiser = torch.optim.AdamW(weights.values(), lr=recipe.rate, weight_decay=recipe.decay)
    optimiser = accelerator.prepare_optimizer(optimiser)
    strategy = strategy if strategy is not None else Strategy(recipe, pairs)
    progress, best = _resume(checkpoint, mark, encoder, optimiser, weights) or (Progress(), {})
    seen_at = looks_at(recipe.steps, looks)
    started, saved = time.perf_counter() - progress.seconds, time.perf_counter()
    encoder.train()

    while progress.step < recipe.steps and not progress.reason and not stopped():
        # draw
        batch = strategy.draw(progress.step)
        mine = f" of process {accelerator.process_index}" if accelerator.process_index else ""
        torch.manual_seed(seed_for(recipe.seed, f"step {progress.step}{mine}"))  # dropout; a resumed run is the same

        # score
        loss, said = strategy.loss(model, batch, accelerator, progress.state, list(weights.values()))

        # step
        if progress.step and part_of(recipe, progress.step)[1] == 0:
            optimiser.state.clear()
        for group in optimiser.param_groups:
            group["lr"] = rate_at(recipe, progress.step)
        optimiser.zero_grad()
        accelerator.backward(loss)
        model.finish(weights.values())
        accelerator.clip_grad_norm_(weights.values(), 1.0)
        optimiser.step()

        # note
        value = float(accelerator.reduce(loss.detach(), "mean"))
        _count(progress, encoder, pairs, batch, training_factor(recipe))
        progress.step += 1
        progress.seconds = time.perf_counter() - started
        progress.omega += [round(said["omega"], 6)] if "omega" in said else []
        if not math.isfinite(value):
            progress.reason = f"diverged: the loss is not finite at step {progress.step}"
            break
        if note is not None:
            note(progress.step, {"loss": value, **said})
        if progress.step in seen_at:
            best = _look(progress, encoder, recipe, {"loss": value, **said}, watch, note, weights, best)
        if checkpoint is not None and time.perf_counter() - saved > CHECKPOINT_SECONDS:
            _save(checkpoint, mark, progress, optimiser, weights, best, accelerator)
            saved = time.perf_counter()

    if checkpoint is not None and progress.step < recipe.steps and not progress.reason:
        _save(checkpoint, mark, progress, optimiser, weights, best, accelerator)
    if recipe.select != "last" and best and not progress.reason:
        _put(weights, best)
    return progress


def looks_at(steps: int, looks: int) -> frozenset[int]:
    """The steps at which a run is measured: ``looks`` evenly spaced ones, and the first of them halved down to 20.

    What has few pairs to learn from is often best long before a tenth of its steps.
    """
    spaced = max(1, steps // max(looks, 1))
    early = itertools.takewhile(lambda step: step >= 20, (spaced >> k for k in range(1, steps.bit_length())))
    return frozenset({*range(spaced, steps + 1, spaced), *early, steps})


def rate_at(recipe: Recipe, step: int) -> float:
    """The learning rate of a step: in each part a linear warm-up, then constant, linear or cosine decay to zero."""
    at, steps = part_of(recipe, step)[1], recipe.steps // recipe.iterations
    if at < recipe.warmup:
        return recipe.rate * (at + 1) / recipe.warmup
    done = (at - recipe.warmup) / max(1, steps - recipe.warmup)
    factor = {"constant": 1.0, "linear": 1 - done, "cosine": 0.5 * (1 + math.cos(math.pi * done))}[recipe.schedule]
    return recipe.rate * factor


# ------------------------------------------------------------------------------------------------- the small parts


def _count(progress: Progress, encoder: BiEncoder, pairs: Pairs, batch: Batch, factor: float) -> None:
    lengths = np.concatenate(
        [
            pairs.queries.lengths[batch.queries],
            pairs.passages.lengths[batch.positives],
            pairs.passages.lengths[batch.negatives],
            pairs.passages.lengths[batch.others],
            [len(ids) for ids in batch.changed],
        ]
    ).astype(np.int64)
    start = "table" if encoder.frozen_table else "checkpoint"
    one, two = (flops_per_token(encoder.shape, n, start, training=True) for n in (0, 1))
    progress.tokens += int(lengths.sum())
    progress.flops += float((one * lengths + (two - one) * lengths**2).sum()) * factor


def _look(
    progress: Progress,
    encoder: BiEncoder,
    recipe: Recipe,
    values: dict[str, float],
    watch: Callable[[BiEncoder], float] | None,
    note: Note | None,
    weights: dict[str, Tensor],
    best: dict[str, Tensor],
) -> dict[str, Tensor]:
    """Measure along the way; hand back the best weights so far."""
    point = {"step": float(progress.step), **values}
    if watch is not None:
        measured = watch(encoder)
        if not math.isfinite(measured):
            progress.reason = f"diverged: the encoder's vectors are not finite at step {progress.step}"
            return best
        point["test" if recipe.select == "test" else "validation"] = measured
        in_last_part = progress.step > recipe.steps - recipe.steps // recipe.iterations
        if measured < progress.best and in_last_part:
            progress.best, progress.best_step = measured, progress.step
            best = {n: p.detach().clone() for n, p in weights.items()}
    progress.curve.append(point)
    if note is not None:
        note(progress.step, point)
    return best


def _put(weights: dict[str, Tensor], values: dict[str, Tensor]) -> None:
    with torch.no_grad():
        for name, weight in weights.items():
            weight.copy_(values[name])


def _save(path: Path, mark: str, progress: Progress, optimiser: Any, weights: Any, best: Any, accelerator: Any) -> None:
    """Write weights, optimiser moments and progress as safetensors; no pickle."""
    if not accelerator.is_main_process:
        return
    tensors = {f"weight/{n}": p.detach().cpu().contiguous() for n, p in weights.items()}
    tensors |= {f"best/{n}": p.cpu().contiguous() for n, p in best.items()}
    states = optimiser.state_dict()["state"]
    for name, state in ((n, states[i]) for i, n in enumerate(weights) if i in states):
        tensors |= {f"adam/{k}/{name}": v.cpu().contiguous() for k, v in state.items()}
    body = {k: (None if v == math.inf else v) for k, v in vars(progress).items()}
    try:
        write_atomic(path, save(tensors, {"progress": json.dumps(body, allow_nan=False), "mark": mark}))
    except OSError as e:  # a full disk is no reason to end a healthy run
        warnings.warn(f"{path}: no checkpoint is kept, {e.strerror}; the run goes on", StoreWarning, stacklevel=3)


def _resume(path: Path | None, mark: str, encoder: BiEncoder, optimiser: Any, weights: dict[str, Tensor]) -> Any:
    """Take up a run where its checkpoint left it; None without one."""
    if path is None or not path.exists():
        return None
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt", device=str(encoder.device)) as f:
            body, marked = json.loads(f.metadata()["progress"]), f.metadata().get("mark", "")
            tensors = {k: f.get_tensor(k) for k in f.keys()}  # noqa: SIM118
    except (SafetensorError, KeyError, TypeError) as e:
        raise ValueError(f"{path}: no checkpoint of drscale's ({e}); delete it to start the run afresh") from e
    if marked != mark:
        warnings.warn(f"{path}: left by a run on other texts, so this run starts afresh", StoreWarning, stacklevel=3)
        return None
    kept = {k[7:]: v.shape for k, v in tensors.items() if k.startswith("weight/")}
    if kept != {n: w.shape for n, w in weights.items()}:
        raise ValueError(f"{path}: a checkpoint of another encoder; delete it to start the run afresh")
    _put(weights, {k[7:]: v for k, v in tensors.items() if k.startswith("weight/")})
    state = optimiser.state_dict()
    state["state"] = {
        i: {k: tensors[f"adam/{k}/{n}"].cpu() if k == "step" else tensors[f"adam/{k}/{n}"] for k in _MOMENTS}
        for i, n in enumerate(weights)
        if f"adam/step/{n}" in tensors
    }
    optimiser.load_state_dict(state)
    body["best"] = math.inf if body["best"] is None else body["best"]
    return Progress(**body), {k[5:]: v for k, v in tensors.items() if k.startswith("best/")}


_MOMENTS = ("step", "exp_avg", "exp_avg_sq")
