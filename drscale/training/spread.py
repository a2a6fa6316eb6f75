"""One batch on several processes: each takes its part, and the pool they score against is gathered from all."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from drscale.training.batches import Batch


def share(batch: Batch, accelerator: Any) -> Batch:
    """This process's part of the batch; the parts are equal, or the gathered pool would not be the batch's."""
    n, i = accelerator.num_processes, accelerator.process_index
    if n == 1:
        return batch
    parts = (batch.queries, batch.positives, batch.negatives, batch.chosen)
    if any(len(p) % n for p in parts):
        raise ValueError(
            f"batch={len(batch.queries)} and negatives={len(batch.negatives)} must divide by {n} processes"
        )
    queries, positives, negatives, chosen = (p[i * len(p) // n : (i + 1) * len(p) // n] for p in parts)
    return Batch(queries, positives, negatives, chosen)


def gather(x: Tensor, accelerator: Any) -> Tensor:
    """The rows of all processes, this one's with their gradient."""
    if accelerator.num_processes == 1:
        return x
    gathered: Tensor = _AllGather.apply(x, accelerator.num_processes, accelerator.process_index)
    return gathered


class _AllGather(torch.autograd.Function):
    """Put the processes' rows together; the gradient of a row goes back, summed, to the process that made it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, processes: int, index: int) -> Tensor:
        ctx.rows = slice(index * len(x), (index + 1) * len(x))
        parts = [torch.empty_like(x) for _ in range(processes)]
        torch.distributed.all_gather(parts, x.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        whole = gradients[0].contiguous().clone()
        torch.distributed.all_reduce(whole)
        return whole[ctx.rows], None, None
