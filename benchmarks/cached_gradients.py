"""Print the memory and the time of training steps by batch: plain, and with cached gradients (DRSCALE_CHUNK).

    python benchmarks/cached_gradients.py [--rung L2H128] [--batches 256 1024] [--chunks 0 8192 2048] [--steps 2]

Passages of 128 random tokens, queries of 32, in-batch negatives. Each row is a process of its own. Memory is what the
process holds at most above what it holds before it trains; on a card, what lies there at most.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time

import numpy as np
import pandas as pd

LENGTHS = {"queries": 32, "passages": 128}


def measure(rung: str, batch: int, steps: int) -> dict[str, float]:
    """Train a few steps in this process."""
    import torch

    from drscale.encoder import Tokens, build
    from drscale.recipe import Recipe
    from drscale.runs import peak_mb, reset_peak
    from drscale.training import loop
    from drscale.training.batches import Pairs

    recipe = Recipe(texts="planted", rung=rung, batch=batch, steps=steps, passage_tokens=128, select="last")
    rng, rows = np.random.default_rng(0), np.arange(batch * steps)
    texts = {
        side: Tokens(rng.integers(1000, 30000, len(rows) * length), np.arange(len(rows) + 1) * length)
        for side, length in LENGTHS.items()
    }
    pairs, encoder = Pairs(**texts, query_rows=rows, passage_rows=rows, relevant=rows[:, None]), build(recipe)
    reset_peak()
    before, started = peak_mb(), time.perf_counter()
    went = loop.train(encoder, pairs, recipe, looks=1)
    card = torch.cuda.max_memory_allocated() / 1e6 if torch.cuda.is_available() else float("nan")
    seconds = (time.perf_counter() - started) / steps
    return {"mb": peak_mb() - before, "card_mb": card, "seconds": seconds, "loss": went.curve[-1]["loss"]}


def main() -> int:
    """Measure every batch with every chunk and print a table."""
    options = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    options.add_argument("--rung", default="L2H128")
    options.add_argument("--batches", type=int, nargs="+", default=[256, 1024])
    options.add_argument("--chunks", type=int, nargs="+", default=[0, 8192, 2048])
    options.add_argument("--steps", type=int, default=2)
    options.add_argument("--one", type=int, help=argparse.SUPPRESS)  # a batch: measure it in this process
    given = options.parse_args()
    if given.one:
        print(json.dumps(measure(given.rung, given.one, given.steps)))
        return 0
    rows = []
    for batch in given.batches:
        for chunk in given.chunks:
            words = [sys.executable, __file__, "--rung", given.rung, "--steps", str(given.steps), "--one", str(batch)]
            about = os.environ | {"DRSCALE_CHUNK": str(chunk)}
            said = subprocess.run(words, env=about, capture_output=True, text=True, check=True).stdout
            rows.append({"batch": batch, "chunk": chunk, **json.loads(said.splitlines()[-1])})
    print(pd.DataFrame(rows).to_string(index=False, float_format="%.4g"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
