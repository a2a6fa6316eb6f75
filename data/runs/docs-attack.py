"""Models to be attacked with more and more words: standard training by the papers' protocol, five sizes, two seeds."""

import runpy
from pathlib import Path

tuned = runpy.run_path(str(Path(__file__).with_name("docs-standard.py")))["tuned"]
WIDTHS = (12, 24, 48, 96, 32)
recipes = [tuned(width, seed=seed, corpus="whole") for seed in (0, 1) for width in WIDTHS]
store = "docs-attack"
