"""Can a cross-encoder alone teach as much as three unlike retrievers? DRAGON's Table 5, on every fourth query.

The cross-encoder is the one trained here on the same pairs (labels/cross.py), over BM25's first fifty. It reads fifty
passages a query, so its lists were made for every fourth of people's queries (4,229), by data/scores/some_lists.py; all
students of this study learn from these queries alone, with the teachers, steps and texts of docs-supervision. Two
seeds a cell.
"""

import runpy
from pathlib import Path

tuned = runpy.run_path(str(Path(__file__).with_name("docs-standard.py")))["tuned"]
STEPS = 801


def lists(*teachers: str) -> str:
    return "+".join(f"trec:build/lists/human-{name}.run" for name in teachers)


THREE = ("bm25", "minilm", "maxsim")
CELLS = [
    ("uniform", lists("cross")),
    ("uniform", lists(*THREE)),
    ("uniform", lists("minilm")),
    ("uniform", lists(*THREE, "cross")),
    ("uniform", lists("bm25")),
]
recipes = [
    tuned(48, corpus="whole", seed=seed, steps=STEPS, iterations=3, strategy="supervised", variant=v, teachers=t)
    for seed in (0, 1)
    for v, t in CELLS
]
store = "docs-cross"
