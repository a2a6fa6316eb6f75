"""What is a trained first layer worth? A student that begins as MiniLM's first layer, beside one that begins at random.

DRAGON's Table 7 compares starts, and all of its starts are whole trained models; the start nearest to these here is
MiniLM cut to its first layer (width 384, so not L2H48), beside the same shape with random layers on MiniLM's table.
Uniform supervision by three teachers of people's queries for 267 steps, as docs-dragon's students after one iteration.
The trained start has two rates on seed 0, that of docs-standard for its width and the 5e-5 of study card; the one with
the lowest entropy on the validation split is trained with seed 1, too.
"""

import runpy
from pathlib import Path

dragon = runpy.run_path(str(Path(__file__).with_name("docs-dragon.py")))
student, short = dragon["student"], {"steps": dragon["PART"], "iterations": 1}
CUT = {"rung": "minilm-L1", "ladder": "minilm"}
usual = student(width=384).rate


def cut(start: str, seed: int, rate: float = usual):
    """A student of the shape of MiniLM's first layer."""
    return student("uniform", width=384, start=start, seed=seed, rate=rate, **short, **CUT)


recipes = [cut("checkpoint", 0), cut("checkpoint", 0, 5e-5), cut("table", 0), cut("table", 1)]
store = "docs-cut"
