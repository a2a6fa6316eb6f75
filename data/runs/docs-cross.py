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
    lists("cross"),
    lists(*THREE),
    lists(*THREE, "cross"),
    lists("minilm"),
    lists("bm25"),
]
FIXED = {"corpus": "whole", "steps": STEPS, "iterations": 3, "strategy": "supervised", "variant": "uniform"}
recipes = [tuned(48, **FIXED, teachers=teachers, seed=seed) for teachers in CELLS for seed in (0, 1)]
store = "docs-cross"
