"""Chinese text: five sizes from scratch, five amounts of pairs, two seeds; a cloud's documentation, two dictionaries.

The main paper's Chinese side is T2Ranking and BCIR. Here the vocabulary is learnt from the training texts, as MiniLM's
table knows little Chinese; negatives and batch are those of the card's study.
"""

from drscale.recipe import Recipe

SIZES = ((2, 32), (2, 64), (2, 128), (4, 128), (4, 256))
AMOUNTS = (4000, 2000, 1000, 500)  # and all, which the sizes have
SHARED = {"batch": 256, "pool": "shared", "negatives": 256, "corpus": "whole", "precision": "bf16", "dropout": 0.1}
SHAPE = {"schedule": "linear", "select": "validation", "query_tokens": 64, "passage_tokens": 128}


def sized(layers: int, width: int, **changes: object) -> Recipe:
    """The study's recipe at a size: AdamW's rate is 0.1 / width, to two digits."""
    shape = {"texts": "chinese-docs", "rung": f"L{layers}H{width}", "start": "scratch"}
    rate = float(f"{0.1 / width:.2g}")
    return Recipe(rate=rate, steps=600, warmup=60, **shape, **SHARED, **SHAPE, **changes)


recipes = [
    recipe
    for seed in (0, 1)
    for recipe in (
        *(sized(*size, seed=seed) for size in SIZES),
        *(sized(2, 128, pairs=pairs, seed=seed) for pairs in AMOUNTS),
    )
]
store = "chinese-docs"
