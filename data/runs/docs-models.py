"""Models to look into: the recipe of docs-standard over eight sizes and two seeds, and three strategies at two sizes.

The two narrowest, where seeds differ most and a run takes a minute, have a third seed.

Their weights are kept, so that stability and geometry can be measured on all of them.
"""

import runpy
from pathlib import Path

tuned = runpy.run_path(str(Path(__file__).with_name("docs-standard.py")))["tuned"]
WIDTHS = (12, 16, 24, 32, 48, 64, 96, 128)
ladder = [tuned(w, seed=seed) for seed in range(2) for w in WIDTHS]
half = [
    {"strategy": "adversarial", "synonyms": "wordnet"},
    {"strategy": "denoising", "synonyms": "wordnet"},
    {"strategy": "hard_negative"},
]
others = [tuned(w, share=0.5, **given) for w in (16, 48) for given in half]
recipes = [*ladder, *others, *(tuned(w, seed=2) for w in WIDTHS[:2])]
store = "docs-models"
keep = True
