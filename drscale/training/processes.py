"""The processes that share a run: accelerate's where it is installed, else this one alone.

Each process encodes its part of a batch's texts and gets the vectors of all (:class:`Encoding`). So each computes the
loss of the whole batch, whatever a strategy looks at, and a run that several processes share is the run that one would
make, but for rounding and for what dropout draws.

With ``DRSCALE_CHUNK`` gradients are cached (Gao, Zhang, Han & Callan 2021, Scaling Deep Contrastive Learning Batch Size
under Memory Limited Setup): texts are encoded a chunk at a time without a graph, the loss gives the gradients of their
vectors, and each chunk is encoded once more to take its gradient to the weights. The graph is that of one chunk,
however large the batch; the price is the second encoding.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from drscale.encoder import BiEncoder

Texts = list[np.ndarray]
CHUNK = "DRSCALE_CHUNK"
WAIT = timedelta(days=7)  # for the main process, which may mine and attack for hours
_GROUPS: list[Any] = []


def chunk_tokens() -> int:
    """The padded tokens of a chunk where gradients are cached, from ``$DRSCALE_CHUNK``; 0 where they are not.

    At 8192 (``encoder.CHUNK_TOKENS``) the chunks are those of plain training, and so is what dropout draws.
    """
    asked = os.environ.get(CHUNK) or "0"
    if not asked.isascii() or not asked.isdigit():
        raise ValueError(f"{CHUNK}={asked!r}: a whole number of tokens is needed, as 8192, or 0 for plain training")
    return int(asked)


def accelerator(precision: str, alone: bool = False) -> Any:
    """What trains a model in a precision: accelerate's Accelerator, or where it is not installed :class:`Alone`.

    With ``alone`` a process trains a model for itself, although others share the run that needs it.
    """
    if alone and together():
        return Alone(precision, together=False)
    try:
        from accelerate import Accelerator
        from accelerate.state import AcceleratorState
    except ModuleNotFoundError:
        return Alone(precision)
    AcceleratorState._reset_state()  # one process may train several runs, each with a precision of its own
    return Accelerator(mixed_precision={"fp32": "no"}.get(precision, precision))


def this_process() -> Any:
    """Which of the processes this is: ``is_main_process`` and ``wait_for_everyone()``."""
    try:
        from accelerate import PartialState
    except ModuleNotFoundError:
        return Alone("fp32")
    return PartialState()


def together() -> bool:
    """Whether several processes were started to share each run, as `accelerate launch` does."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


@contextmanager
def in_turn() -> Iterator[None]:
    """Let the main process go first, so that the others find in the cache what it has made."""
    main = this_process().is_main_process
    _group()  # all make it at the same place
    if not main:
        wait()
    try:
        yield
    finally:  # an error, too, is every process's
        if main:
            wait()


def wait() -> None:
    """Wait for the other processes of a run, as long as one of them mines, attacks or scores: for seven days at most.

    Only this wait is so patient. Where a process has lost the others within a step, the usual time limit ends it.
    """
    group = _group()
    if group is not None:
        torch.distributed.barrier(group=group)


def _group() -> Any:
    """The processes' group for long waits, None where there is one process."""
    if not together() or not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return None
    if not _GROUPS:
        _GROUPS.append(torch.distributed.new_group(backend="gloo", timeout=WAIT))
    return _GROUPS[0]


def notes(engine: str = "plain") -> dict[str, str]:
    """How a record says it was trained: threads, whose number changes last digits, the loop, the card, the chunk."""
    found = {"threads": str(torch.get_num_threads())}
    found |= {"engine": engine} if engine != "plain" else {}
    found |= {"device": torch.cuda.get_device_name()} if torch.cuda.is_available() else {}
    return found | ({"chunk": f"{chunk_tokens()} tokens, gradients cached"} if chunk_tokens() else {})


class Alone:
    """One process with what the training loop asks of accelerate, for machines without it."""

    num_processes, process_index, is_main_process = 1, 0, True

    def __init__(self, precision: str, together: bool | None = None) -> None:
        if globals()["together"]() if together is None else together:
            raise ValueError("several processes share a run by accelerate, which is not installed")
        if precision == "fp16":
            raise ValueError("precision='fp16' needs accelerate, which is not installed; use 'bf16' or 'fp32'")
        self.precision = precision
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def prepare_model(self, model: nn.Module) -> Any:
        """The model, under autocast in bf16."""
        if self.precision == "fp32":
            return model

        def under(*args: Any) -> Any:
            with self.autocast():
                return model(*args)

        return under

    def autocast(self) -> Any:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16")

    def prepare_optimizer(self, optimiser: Any) -> Any:
        return optimiser

    def backward(self, loss: Tensor) -> None:
        loss.backward()

    def clip_grad_norm_(self, weights: Iterable[Tensor], most: float) -> None:
        nn.utils.clip_grad_norm_(weights, most)

    def reduce(self, value: Tensor, how: str) -> Tensor:
        return value

    def wait_for_everyone(self) -> None:
        return None


class Encoding:
    """A batch's texts as vectors: called with the token ids of queries and of passages, it gives the vectors of both.

    Of several processes each encodes its part of either and gathers the others' vectors. With ``chunk`` gradients are
    cached, and :meth:`finish` takes them from the vectors to the weights.
    """

    def __init__(self, encoder: BiEncoder, accelerator: Any, chunk: int = 0) -> None:
        self.accelerator, self.count = accelerator, accelerator.num_processes
        self.cached = Cached(encoder, accelerator, chunk) if chunk else None
        self.model = self.cached or accelerator.prepare_model(encoder)

    def finish(self, weights: Iterable[Tensor]) -> None:
        """Give the weights their gradients, after those of the loss."""
        if self.cached is None:
            return
        self.cached.second_pass()
        for weight in weights if self.count > 1 else ():
            if weight.grad is not None:
                weight.grad = self.accelerator.reduce(weight.grad, "mean")

    def __call__(self, queries: Texts, passages: Texts) -> tuple[Tensor, Tensor]:
        if self.count == 1:
            both: tuple[Tensor, Tensor] = self.model(queries, passages)
            return both
        least = min(len(texts) for texts in (queries, passages) if texts)
        if least < self.count:
            raise ValueError(f"{self.count} processes share a run, and a batch has only {least} texts of a kind")
        sizes = [[len(part) for part in np.array_split(np.arange(len(t)), self.count)] for t in (queries, passages)]
        starts = [sum(each[: self.accelerator.process_index]) for each in sizes]
        own = [each[self.accelerator.process_index] for each in sizes]
        one, other = self.model(*(t[at : at + n] for t, at, n in zip((queries, passages), starts, own, strict=True)))
        return self._gathered(one, sizes[0]), self._gathered(other, sizes[1])

    def _gathered(self, vectors: Tensor, sizes: Sequence[int]) -> Tensor:
        """The rows of all processes, this one's with their gradient."""
        gathered: Tensor = _AllGather.apply(vectors, tuple(sizes), self.accelerator.process_index)
        return gathered


class Cached:
    """An encoder that keeps no graph: vectors first, and the gradients of the weights in a second pass."""

    def __init__(self, encoder: BiEncoder, accelerator: Any, chunk: int) -> None:
        self.encoder, self.accelerator, self.chunk = encoder, accelerator, chunk
        self.kept: list[tuple[Any, Texts, list[np.ndarray], list[Any], Tensor]] = []

    def __call__(self, queries: Texts, passages: Texts) -> tuple[Tensor, Tensor]:
        encoder = self.encoder
        if encoder.query_tower is encoder.passage_tower:
            vectors = self._first_pass(encoder.query_tower, queries + passages)
            return vectors[: len(queries)], vectors[len(queries) :]
        return self._first_pass(encoder.query_tower, queries), self._first_pass(encoder.passage_tower, passages)

    def _first_pass(self, tower: nn.Module, texts: Texts) -> Tensor:
        """The vectors of texts, as a leaf that collects their gradients."""
        chunks, states, parts = self.encoder.chunks(texts, self.chunk), [], []
        for rows in chunks:
            states.append(_random_state(self.encoder.device))
            with torch.no_grad(), self.accelerator.autocast():
                parts.append(tower(*self.encoder.padded(texts, rows)).float())
        order = torch.from_numpy(np.argsort(np.concatenate(chunks))).to(self.encoder.device)
        vectors = torch.cat(parts)[order].requires_grad_()
        self.kept.append((tower, texts, chunks, states, vectors))
        return vectors

    def second_pass(self) -> None:
        """Encode each chunk again, with the same dropout, and take its vectors' gradients to the weights."""
        for tower, texts, chunks, states, vectors in self.kept:
            for rows, state in zip(chunks, states, strict=True):
                if vectors.grad is None:  # the loss has no use for them
                    continue
                _put_random_state(self.encoder.device, state)
                with self.accelerator.autocast():
                    again = tower(*self.encoder.padded(texts, rows)).float()
                again.backward(vectors.grad[torch.from_numpy(rows).to(vectors.device)])
        self.kept.clear()


def _random_state(device: torch.device) -> tuple[Tensor, Tensor | None]:
    return torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else None


def _put_random_state(device: torch.device, state: tuple[Tensor, Tensor | None]) -> None:
    torch.set_rng_state(state[0])
    if state[1] is not None:
        torch.cuda.set_rng_state(state[1], device)


class _AllGather(torch.autograd.Function):
    """Put the processes' rows together.

    All have the same loss, so a row's gradient is the same in each. It goes back to the process that made the row,
    times the number of processes, as gradients of weights are averaged over them.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, sizes: tuple[int, ...], index: int) -> Tensor:
        ctx.rows, ctx.count = slice(sum(sizes[:index]), sum(sizes[: index + 1])), len(sizes)
        padded = nn.functional.pad(x, (0, 0, 0, max(sizes) - len(x))).contiguous()
        parts = [torch.empty_like(padded) for _ in sizes]
        torch.distributed.all_gather(parts, padded)
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return gradients[0][ctx.rows] * ctx.count, None, None
