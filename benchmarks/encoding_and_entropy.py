"""Print what sorting by length and drawing negatives in one go save: `python benchmarks/encoding_and_entropy.py`.

Each ratio is measured within this run, on the real passages of the docs benchmark, best of three.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch

from drscale.encoder import BiEncoder, Tokens, build
from drscale.evaluate.entropy import entropies, negative_scores, negative_table
from drscale.recipe import Recipe
from drscale.texts import benchmark


def best_of(times: int, work: Callable[[], object]) -> float:
    """Seconds of the fastest of several calls."""
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


@torch.inference_mode()
def as_they_come(encoder: BiEncoder, tokens: Tokens, batch: int = 64) -> np.ndarray:
    """Encode in the order given, each batch padded to its longest text, as most training scripts do."""
    parts = []
    for at in range(0, len(tokens), batch):
        rows = tokens.rows(np.arange(at, min(at + batch, len(tokens))))
        ids = torch.nn.utils.rnn.pad_sequence([torch.from_numpy(r).long() for r in rows], batch_first=True)
        mask = torch.nn.utils.rnn.pad_sequence([torch.ones(len(r), dtype=torch.long) for r in rows], batch_first=True)
        parts.append(encoder.passage_tower(ids, mask))
    return torch.cat(parts).numpy()


def one_by_one(queries: np.ndarray, passages: np.ndarray, own: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Contrastive entropy in a plain loop over queries and repeats, as the original code has it."""
    out = np.empty(len(own))
    for i, positive in enumerate(own):
        each = []
        for negatives in table[i]:
            scores = passages[np.concatenate([[positive], negatives])] @ queries[i]
            top = scores.max()
            each.append(top + np.log(np.exp(scores - top).sum()) - scores[0])
        out[i] = np.mean(each)
    return out


def main() -> None:
    """Measure and print both ratios."""
    torch.set_num_threads(1)
    test = benchmark("docs").test
    encoder = build(Recipe(rung="L2H128")).eval()
    mixed = [*test.queries["text"].to_pylist(), *test.passages["text"].to_pylist()]
    tokens = encoder.tokens([mixed[i] for i in np.random.default_rng(0).permutation(len(mixed))], "passage")
    sorted_seconds = best_of(3, lambda: encoder.encode_all(tokens, "passage"))
    plain_seconds = best_of(3, lambda: as_they_come(encoder, tokens))
    if not np.allclose(encoder.encode_all(tokens, "passage"), as_they_come(encoder, tokens), atol=1e-4):
        raise SystemExit("the two ways of encoding disagree")
    rate = len(tokens) / sorted_seconds
    print(f"encode {len(tokens)} texts: sorted, in chunks {sorted_seconds:.2f} s ({rate:.0f} a second), as they come")
    print(f"  {plain_seconds:.2f} s; ratio {plain_seconds / sorted_seconds:.2f}")

    queries, passages = (
        encoder.encode(test.queries["text"].to_pylist()),
        encoder.encode_all(tokens)[: len(test.passages)],
    )
    table, own = negative_table(test), test.pairs[1]
    together = best_of(3, lambda: entropies(negative_scores(queries, passages, own, table)))
    loop = best_of(1, lambda: one_by_one(queries, passages, own, table))
    same = np.allclose(
        entropies(negative_scores(queries, passages, own, table)), one_by_one(queries, passages, own, table), atol=1e-4
    )
    if not same:
        raise SystemExit("the two entropies disagree")
    print(
        f"entropy of {len(own)} pairs x 10 repeats x 256 negatives: at once {together:.3f} s, in a loop {loop:.2f} s;"
    )
    print(f"  ratio {loop / together:.1f}")


if __name__ == "__main__":
    main()
