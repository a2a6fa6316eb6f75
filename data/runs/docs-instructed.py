"""Training to follow instructions: four objectives on the same rows, three seeds, one small rung; notebook 17.

The rate is that of docs-standard, 0.1 / width. Their weights are kept: data/scores/instructions.py measures them.
"""

from drscale.recipe import Recipe
from drscale.sweep import grid

SEEDS = (0, 1, 2)
OBJECTIVES = ("uninstructed", "passages_only", "joint_softmax", "sum_of_terms")
tuned = Recipe(
    texts="instructed",
    rung="L2H32",
    steps=600,
    rate=0.0031,
    schedule="linear",
    warmup=100,
    dropout=0.1,
    query_tokens=48,  # a query of 24 words and its instruction
    strategy="instructed",
)
recipes = grid(tuned, seed=SEEDS, variant=OBJECTIVES)
store = "docs-instructed"
keep = True
