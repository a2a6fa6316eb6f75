"""The strategies of Table 3 and Figures 1, 4 and 5: effectiveness, robustness out of domain, robustness under attack.

Every run is attacked when it is scored: 200 queries of the test set against nine documents each. Half of the pairs are
touched by a strategy, over five sizes at all pairs and over five data sizes at one width; whole and three quarters
stand at that width. Everything else is the recipe of docs-standard.
"""

import runpy
from pathlib import Path

from drscale.recipe import Recipe

tuned = runpy.run_path(str(Path(__file__).with_name("docs-standard.py")))["tuned"]
WIDTHS = (96, 48, 32, 16, 12)
PAIRS = (8448, 4224, 2112, 1056)  # below all 16,915
CROSS = 48  # the width at which pairs and shares vary
TOUCHING = ("adversarial", "denoising", "hard_negative")


def probed(width: int, **changes: object) -> Recipe:
    """The study's recipe, attacked with WordNet's synonyms when it is scored."""
    return tuned(width, attacked=200, synonyms="wordnet", **changes)


def crossed(**changes: object) -> list[Recipe]:
    """Five sizes at all pairs, and four more data sizes at one width."""
    return [*(probed(w, **changes) for w in WIDTHS), *(probed(CROSS, pairs=p, **changes) for p in PAIRS)]


shares = [probed(CROSS, strategy=s, share=share) for s in TOUCHING for share in (1.0, 0.75)]
recipes = [*crossed(), *(r for s in TOUCHING for r in crossed(strategy=s, share=0.5)), *shares]
store = "docs-strategies"
