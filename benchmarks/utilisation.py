"""Print tokens a second and utilisation of each rung's training on this machine's card.

    python benchmarks/utilisation.py PACK [--steps 60] [--csv FILE]

``PACK`` is a folder that ``drscale pack`` wrote. Each rung of its recipes is trained alone for some steps with
everything on the device (``drscale.training.packed``); timed is what comes after the graph is captured. Utilisation is
the model's FLOPs (no padding, no filling up, no recomputation) over the card's rate of bf16 matrix products, measured
in the same process. Without a card it runs on the CPU, to be rehearsed, and gives no utilisation.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from drscale.pack import open_pack
from drscale.training import packed
from drscale.training.batches import tokenised


def main() -> int:
    """Train a rung of each size for some steps and print a row for each."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("pack", type=Path)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--csv", type=Path)
    arguments = parser.parse_args()
    pack, rate, rows, seen = open_pack(arguments.pack), packed.matrix_rate(), [], set()
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    print(f"{name}: bf16 matrix products at {rate / 1e12:.0f} TFLOP/s", flush=True)
    for recipe in pack.recipes:
        kind = (recipe.texts, recipe.rung, recipe.start, recipe.batch, recipe.negatives, recipe.passage_tokens)
        if kind in seen:
            continue
        seen.add(kind)
        some = recipe.but(steps=arguments.steps, warmup=0, select="last")
        encoder = pack.build(some)
        body: Any = encoder.query_tower.body
        went = packed.train(encoder, tokenised(encoder, pack.texts(some).train), some, looks=1)
        rows.append(
            {
                "texts": recipe.texts,
                "rung": recipe.rung,
                "start": recipe.start,
                "parameters": sum(p.numel() for p in body.encoder.parameters()),
                "tokens_a_step": went.tokens / went.step,
                "milliseconds_a_step": 1e3 * went.training_seconds / went.step,
                "tokens_per_second": went.tokens / went.training_seconds,
                "utilisation": went.flops / went.training_seconds / rate,
                "loss": went.curve[-1]["loss"],
            }
        )
        print(pd.DataFrame(rows[-1:]).to_string(index=False, header=len(rows) == 1, float_format="%.4g"), flush=True)
        if arguments.csv is not None:
            frame = pd.DataFrame(rows)
            frame.insert(0, "device", name)
            frame.insert(1, "matrix_rate", rate)
            frame.to_csv(arguments.csv, index=False, float_format="%.6g")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
