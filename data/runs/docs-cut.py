"""What is a trained first layer worth? A student that begins as MiniLM's first layer, beside one that begins at random.

DRAGON's Table 7 compares starts, and all of its starts are whole trained models; the start nearest to these here is
MiniLM cut to its first layer (width 384, so not L2H48), beside the same shape with random layers on MiniLM's table.
Progressive supervision by three teachers of people's queries, as in docs-dragon. The trained start has two rates on
seed 0, that of docs-standard for its width and the 5e-5 of study card; the one with the lowest entropy on the
validation split is trained with seed 1, too.
"""

import runpy
from pathlib import Path

student = runpy.run_path(str(Path(__file__).with_name("docs-dragon.py")))["student"]
CUT = {"rung": "minilm-L1", "ladder": "minilm"}
usual = student(width=384).rate


def cut(start: str, seed: int, rate: float = usual):
    """A student of the shape of MiniLM's first layer."""
    return student(width=384, start=start, seed=seed, rate=rate, **CUT)


recipes = [cut("checkpoint", 0), cut("checkpoint", 0, 5e-5), cut("table", 0), cut("table", 1)]
store = "docs-cut"
