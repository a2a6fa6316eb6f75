"""The papers' regime on one card: api-docs, 256 negatives shared from the whole collection, bf16, up to BERT-base.

Sizes from L2H128 to L12H768 from scratch (a vocabulary of the texts' own) with two seeds, MiniLM whole, and five
amounts of pairs at L2H256 on MiniLM's frozen table. ``drscale pack data/runs/card.py card.pack`` writes what a machine
without a network needs; there, ``python card.pack --workers 3``. On the docs benchmark stands the study "docs-paper":
depths 2, 4 and 6 at three widths, and MiniLM cut to one to six layers, two seeds, against BM25 on the same queries.
"""

from drscale.recipe import Recipe

BATCH = {"batch": 256, "pool": "shared", "negatives": 256, "corpus": "whole", "precision": "bf16", "dropout": 0.1}
SHAPE = {"schedule": "linear", "select": "validation", "query_tokens": 24, "passage_tokens": 64}


def sized(width: int, **changes: object) -> Recipe:
    """The study's recipe at a width: AdamW's rate is 0.1 / width, as in docs-standard."""
    return Recipe(rate=float(f"{0.1 / width:.2g}"), **BATCH, **SHAPE, **changes)


SIZES = ((2, 128), (2, 256), (4, 256), (4, 512), (8, 512), (12, 768))
AMOUNTS = (0, 30_000, 10_000, 3_000, 1_000)
TUNED = {"ladder": "minilm", "start": "checkpoint", "rate": 5e-5}
api, long = {"texts": "api-docs"}, {"steps": 1200, "warmup": 120}
scratch = [sized(h, rung=f"L{n}H{h}", start="scratch", seed=s, **api, **long) for s in (0, 1) for n, h in SIZES[::-1]]
tuned = Recipe(rung="minilm-L6", **BATCH, **SHAPE, **api, **long, **TUNED)
amounts = [sized(256, rung="L2H256", pairs=n, seed=s, **api, **long) for s in (0, 1) for n in AMOUNTS]
paper = {"texts": "docs", "steps": 600, "warmup": 60}
DEPTHS = ((6, 256), (4, 256), (2, 256), (6, 128), (4, 128), (2, 128), (6, 64), (4, 64), (2, 64))
depths = [sized(h, rung=f"L{n}H{h}", seed=s, **paper) for s in (0, 1) for n, h in DEPTHS]
cut = [Recipe(rung=f"minilm-L{n}", seed=s, **BATCH, **SHAPE, **paper, **TUNED) for s in (0, 1) for n in range(6, 0, -1)]
first, second = scratch[: len(SIZES)], scratch[len(SIZES) :]
recipes = [first[0], tuned, *first[1:], *amounts, *cut, *second[1:], *depths, second[0]]  # a machine may be taken away
store = "card"
