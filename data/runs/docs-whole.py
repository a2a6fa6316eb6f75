"""The strategies of docs-strategies anew, by the papers' protocol: sizes crossed with amounts of pairs, three seeds.

Negatives, random, mined and attacked, come from the whole training collection (``corpus="whole"``), and each run is
attacked among its passages and the test's together. The paper's "light" variant (share .25) and its "balanced" one (.5)
stand beside standard training at every size and amount. Everything else is the recipe of docs-standard.
"""

import runpy
from pathlib import Path

from drscale.recipe import Recipe

tuned = runpy.run_path(str(Path(__file__).with_name("docs-standard.py")))["tuned"]
WIDTHS = (48, 32, 24, 12)
PAIRS = (0, 8448, 4224, 2112)  # 0: all 16,915; none so few that a run is at its best inside the warm-up
SHARES = (0.5, 0.25)
SEEDS = (0, 1, 2)
TOUCHING = ("adversarial", "hard_negative", "denoising")
TRAININGS = ({}, *({"strategy": s, "share": share} for share in SHARES for s in TOUCHING))


def probed(width: int, **changes: object) -> Recipe:
    """The study's recipe: whole collection, attacked with WordNet's synonyms when it is scored."""
    return tuned(width, attacked=100, synonyms="wordnet", corpus="whole", **changes)


# Standard training whole, for it is the yardstick; then each training at the paper's shares at eight cells (four sizes,
# two amounts); then the other amounts; last the light forms of hard negatives and denoising, which no paper asks for.
CELLS = [(w, p) for p in PAIRS for w in WIDTHS]
EIGHT = [(w, p) for p in (0, 4224) for w in WIDTHS]
ASKED = [t for t in TRAININGS if t and (t["share"] == 0.5 or t["strategy"] == "adversarial")]
order = [
    *((seed, {}, cell) for seed in SEEDS for cell in CELLS),
    *((seed, t, cell) for seed in SEEDS for t in ASKED for cell in EIGHT),
    *((seed, t, cell) for cells in (EIGHT, CELLS) for seed in SEEDS for t in TRAININGS for cell in cells),
]
recipes = list(dict.fromkeys(probed(w, pairs=p, seed=seed, **t) for seed, t, (w, p) in order))
store = "docs-whole"
