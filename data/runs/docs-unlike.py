"""Four kinds of own models for the comparison of unlike retrievers (data/scores/unlike.py), at one size, two seeds.

A vocabulary learnt from scratch, MiniLM's frozen table (with one tower and with two) and a causal decoder's last token;
everything else is the recipe of docs-standard. Their weights are kept.
"""

import runpy
from pathlib import Path

tuned = runpy.run_path(str(Path(__file__).with_name("docs-standard.py")))["tuned"]
KINDS = {
    "table": {},
    "scratch": {"start": "scratch"},
    "two towers": {"towers": "two"},
    "decoder": {"ladder": "local-decoder", "pooling": "last"},
}
recipes = [tuned(64, corpus="whole", seed=seed, **about) for seed in (0, 1) for about in KINDS.values()]
store = "docs-unlike"
keep = True
