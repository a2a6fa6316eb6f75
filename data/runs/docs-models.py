"""Models to look into: the recipe of docs-standard over eight sizes and three seeds, and three strategies at two sizes.

Their weights are kept, so that stability and geometry can be measured on all of them.
"""

import runpy
from pathlib import Path

tuned = runpy.run_path(str(Path(__file__).with_name("docs-standard.py")))["tuned"]
WIDTHS = (12, 16, 24, 32, 48, 64, 96, 128)
ladder = {seed: [tuned(w, seed=seed) for w in WIDTHS] for seed in range(3)}
half = [
    {"strategy": "adversarial", "synonyms": "wordnet"},
    {"strategy": "denoising", "synonyms": "wordnet"},
    {"strategy": "hard_negative"},
]
others = [tuned(w, share=0.5, **given) for w in (16, 48) for given in half]
recipes = [*ladder[0], *ladder[1], *others, *ladder[2]]
store = "docs-models"
keep = True
