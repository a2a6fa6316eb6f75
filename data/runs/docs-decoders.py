"""Encoder or decoder? Two bodies of one size on the same data, steps and negatives, four sizes, three seeds.

The second paper's main claim compares checkpoints that were pretrained unlike. Here BERT's layers and Llama's start
from nothing on the same frozen table. Four arms take the difference apart: BERT's body with mean pooling; Llama's with
both sides seen and mean pooling (the body alone differs); Llama's as it is, causal, with mean pooling (the mask as
well); and with the last token (the pooling as well, as published decoders are used). Each arm has the rate that had the
least validation entropy with seed 0, over the four sizes together, of three multiples of 0.1 / width.
"""

from drscale.recipe import Recipe

SIZES = ((2, 32), (2, 64), (2, 128), (4, 128))
FACTORS = (0.5, 1.0, 2.0)
ARMS = {
    "encoder, mean": {},
    "decoder, both sides, mean": {"ladder": "local-decoder", "mask": "bidirectional"},
    "decoder, causal, mean": {"ladder": "local-decoder"},
    "decoder, causal, last": {"ladder": "local-decoder", "pooling": "last"},
}
SHARED = {"batch": 256, "pool": "shared", "negatives": 256, "corpus": "whole", "precision": "bf16"}
SHAPE = {"schedule": "linear", "select": "validation", "query_tokens": 24, "passage_tokens": 64}


def tuned(layers: int, width: int, factor: float = 1.0, **changes: object) -> Recipe:
    """The study's recipe at a size: ``factor`` times the rate of 0.1 / width, to two digits."""
    rate = float(f"{factor * 0.1 / width:.2g}")
    return Recipe(rung=f"L{layers}H{width}", rate=rate, steps=600, warmup=60, **SHARED, **SHAPE, **changes)


def arm(name: str, factor: float, seed: int) -> list[Recipe]:
    """An arm's four sizes."""
    return [tuned(*size, factor, seed=seed, **ARMS[name]) for size in SIZES]


CHOSEN = dict(zip(ARMS, (2.0, 1.0, 0.5, 0.5), strict=True))  # by the pilot's validation; three lie at the range's ends
pilot = [recipe for factor in FACTORS for name in ARMS for recipe in arm(name, factor, 0)]
deciding = [recipe for seed in (1, 2) for name in ARMS for recipe in arm(name, CHOSEN[name], seed)]
recipes = [*pilot, *deciding]
store = "docs-decoders"
