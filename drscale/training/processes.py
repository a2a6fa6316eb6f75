"""The processes that share a run: accelerate's where it is installed, else this one alone."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn


def accelerator(precision: str) -> Any:
    """What trains a model in a precision: accelerate's Accelerator, or where it is not installed :class:`Alone`."""
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


def notes() -> dict[str, str]:
    """What of this machine a record names: the threads, whose number changes last digits, and the card."""
    card = {"device": torch.cuda.get_device_name()} if torch.cuda.is_available() else {}
    return {"threads": str(torch.get_num_threads()), **card}


class Alone:
    """One process with what the training loop asks of accelerate, for machines without it."""

    num_processes, process_index, is_main_process = 1, 0, True

    def __init__(self, precision: str) -> None:
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
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
            with torch.autocast(self.device.type, torch.bfloat16):
                return model(*args)

        return under

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
