"""What else DRAGON asks of its students: the start, one tower or two, each iteration, how many queries, robustness.

The questions of *How to Train Your DRAGON* that docs-supervision leaves out, with its teachers, steps and texts: the
start of the layers (its Table 7), one tower or two by size (section 4.3), progressive against uniform supervision after
each iteration (Table 9), crops by number (Figure 3); and one that neither paper asks: do diverse labels move a student
under attack, for which runs are attacked among the passages of training and test as in docs-whole. Two seeds a cell.
Where a cell's partner stands in docs-supervision, it is not run again.
"""

import runpy
from pathlib import Path

here = Path(__file__)
tuned = runpy.run_path(str(here.with_name("docs-standard.py")))["tuned"]
STEPS, THREE = 801, "bm25+minilm+maxsim"
PART = STEPS // 3  # the steps of an iteration


def student(variant: str = "progressive", teachers: str = THREE, width: int = 48, **more: object):
    """A student of teachers, as in docs-supervision."""
    about = {"corpus": "whole", "steps": STEPS, "iterations": 3, "strategy": "supervised"}
    return tuned(width, **{**about, "variant": variant, "teachers": teachers, **more})


def plain(width: int = 48, **more: object):
    """Standard training on people's labels with the students' schedule."""
    return tuned(width, **{"corpus": "whole", "steps": STEPS, "iterations": 3, **more})


def early(part: int, seed: int):
    """Students as they are after ``part`` iterations, progressive and uniform."""
    first = "+".join(THREE.split("+")[:part])
    short = {"steps": part * PART, "iterations": part, "seed": seed}
    return [student("progressive", first, **short), student("uniform", **short)]


SEEDS = (0, 1)
starts = [student(seed=s, start=start) for s in SEEDS for start in ("scratch", "mlm", "retromae")]
towers = [
    student(width=w, towers=t, seed=s)
    for s in SEEDS
    for w in (48, 24, 96)
    for t in ("two", "shared")
    if t == "two" or w == 96  # L2H48's partner is in docs-supervision, L2H24's among the attacked
]
parts = [one for s in SEEDS for part in (1, 2) for one in early(part, s)]
COUNTS = (2112, 8448, 33792)  # of 75,151 crops; all of them are in docs-supervision
crops = [student("uniform", "bm25", annotation="cropped", top=1, pairs=n, seed=s) for s in SEEDS for n in COUNTS]
PROBED = {"attacked": 100, "synonyms": "wordnet"}
LABELS = (
    {"variant": "uniform", "teachers": "minilm"},
    {"variant": "uniform"},
    {"variant": "progressive"},
    {"variant": "uniform", "teachers": "bm25"},
)
attacked = [
    one
    for s in SEEDS
    for w in (48, 24)
    for one in (plain(w, seed=s, **PROBED), *(student(width=w, seed=s, **labels, **PROBED) for labels in LABELS))
]
recipes = [*towers, *starts, *parts, *attacked, *crops]
store = "docs-dragon"
