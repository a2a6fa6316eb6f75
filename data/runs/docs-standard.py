"""The measured study: standard training on `docs`, the `local` ladder, ten sizes and six data sizes, two seeds.

One recipe for all rungs, found in the pilots that LOG.md describes: the learning rate is 0.1 / width, dropout 0.1, and
800 steps. What takes long stands first, so that two workers end together.
"""

from drscale.recipe import Recipe
from drscale.sweep import grid

WIDTHS = (256, 192, 128, 96, 64, 48, 32, 24, 16, 12)
PAIRS = (8448, 4224, 2112, 1056, 528)  # below all 16,915, each half of the one before
CROSS = (128, 32)  # the widths at which the pairs vary, too


def tuned(width: int, **changes: int) -> Recipe:
    """The one recipe at a width: AdamW's rate is 0.1 / width, to two digits."""
    rate, rest = float(f"{0.1 / width:.2g}"), {"schedule": "linear", "warmup": 100, "dropout": 0.1}
    return Recipe(rung=f"L2H{width}", steps=800, rate=rate, select="validation", **rest).but(**changes)


def both(widths: tuple[int, ...], **changes: int) -> list[Recipe]:
    return [tuned(width, seed=seed, **changes) for width in widths for seed in (0, 1)]


data = [recipe for width in CROSS for recipe in grid(tuned(width), pairs=PAIRS, seed=(0, 1))]
recipes = [*both(WIDTHS[:3]), *data[:10], *both(WIDTHS[3:]), *data[10:]]
store = "docs-standard"
