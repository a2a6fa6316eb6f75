"""The first measured study: standard training on `docs`, the `local` ladder, ten sizes and six data sizes, two seeds.

One recipe for all rungs, found in the pilot that LOG.md describes; the learning rate is 0.1 / width for every rung. The
first recipes take longest, so that two workers end together.
"""

from drscale.ladder import parse_rung
from drscale.recipe import Recipe
from drscale.sweep import grid

WIDTHS = (256, 192, 128, 96, 64, 48, 32, 24, 16, 12)
PAIRS = (8448, 4224, 2112, 1056, 528)  # below all 16,915, each half of the one before


def tuned(rung: str, **changes: int) -> Recipe:
    """The one recipe at a rung: AdamW's rate is 0.1 / width, to two digits."""
    size = parse_rung(rung)
    if size is None:
        raise ValueError(f"rung={rung!r}: expected L<layers>H<width>")
    rate = float(f"{0.1 / size[1]:.2g}")
    return Recipe(rung=rung, steps=800, schedule="linear", warmup=100, select="validation", rate=rate).but(**changes)


first, second = ([tuned(f"L2H{width}", seed=seed) for width in WIDTHS] for seed in (0, 1))
data = grid(tuned("L2H96"), pairs=PAIRS, seed=(0, 1))
recipes = [*first[:3], *second[:3], *data, *first[3:], *second[3:]]
store = "docs-first"
