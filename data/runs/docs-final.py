"""The final model: students of crops, of generated queries and of both, and of both from a masked start (Table 4).

DRAGON-S, DRAGON-Q, DRAGON and DRAGON+ of *How to Train Your DRAGON* are progressive supervision by its teachers for
crops, for generated queries, for the mixture, and for the mixture from RetroMAE's start. Here the teachers are BM25,
MiniLM and MiniLM's token vectors, the generator is docs2query, and each has about 8,400 queries, for which
data/scores/some_lists.py made the lists. Standard training and progressive supervision on people's 16,915 are in
docs-supervision. L2H48, 801 steps in three iterations, two seeds.
"""

import runpy
from pathlib import Path

tuned = runpy.run_path(str(Path(__file__).with_name("docs-standard.py")))["tuned"]
WIDTH, STEPS = 48, 801


def lists(how: str) -> str:
    return "+".join(f"trec:build/lists/{how}-{name}.run" for name in ("bm25", "minilm", "maxsim"))


def student(how: str, seed: int, **more: object):
    about = {"strategy": "supervised", "variant": "progressive", "teachers": lists(how), "annotation": how, **more}
    return tuned(WIDTH, corpus="whole", seed=seed, steps=STEPS, iterations=3, **about)


recipes = [
    one
    for seed in (0, 1)
    for one in (
        student("mixture", seed),
        student("cropped", seed),
        student("generated", seed),
        student("mixture", seed, start="retromae"),
    )
]
store = "docs-final"
