"""Who should label? Positives from teachers' lists instead of people: one teacher, several, and in which order.

*How to Train Your DRAGON* asks it on MS MARCO with five teachers and cropped queries (its Tables 2, 3, 5 and 8). Here
the queries are the docstrings' summaries, so that human labels stand beside the teachers' ones on the same queries;
the teachers are BM25, MiniLM, MiniLM's token vectors (maxsim) and wordllama. One positive from a list's first ten, one
negative from ranks 46 to 50, all passages of the batch in the pool. One size (L2H48), two seeds, 801 steps in three
equal iterations, each with its own warm-up and decay, in every cell; everything else as in docs-standard. The first two
recipes are standard training on human labels, and the same with BM25's negatives. The last six ask whether the answer
on the number of positives depends on the queries: BM25 labels the 75,151 crops, top 10 and 1, and people's, top 1.
"""

import runpy
from pathlib import Path

tuned = runpy.run_path(str(Path(__file__).with_name("docs-standard.py")))["tuned"]
WIDTH, STEPS = 48, 801


def labelled(teachers: str, variant: str, seed: int, **more: object):
    """The study's recipe for a list of teachers."""
    about = {"strategy": "supervised", "variant": variant, "teachers": teachers, **more}
    return tuned(WIDTH, corpus="whole", seed=seed, steps=STEPS, iterations=3, **about)


THREE = "bm25+minilm+maxsim"
CELLS = [
    ("uniform", "bm25", {}),
    ("uniform", "minilm", {}),
    ("uniform", "maxsim", {}),
    ("uniform", THREE, {}),
    ("progressive", THREE, {}),
    ("fused", THREE, {}),
    ("progressive", "maxsim+minilm+bm25", {}),
    ("progressive", "minilm+bm25+maxsim", {}),
    ("progressive", "bm25+maxsim+minilm", {}),
    ("soft", THREE, {}),
    ("progressive", THREE, {"top": 5}),
    ("progressive", THREE, {"top": 1}),
    ("uniform", "wordllama", {}),
]
recipes = [
    recipe
    for seed in (0, 1)
    for recipe in (
        tuned(WIDTH, corpus="whole", seed=seed, steps=STEPS, iterations=3),
        tuned(WIDTH, corpus="whole", seed=seed, steps=STEPS, iterations=3, strategy="hard_negative"),
        *(labelled(teachers, variant, seed, **more) for variant, teachers, more in CELLS),
    )
]
recipes += [labelled("bm25", "uniform", seed, annotation="cropped", top=top) for seed in (0, 1) for top in (10, 1)]
recipes += [labelled("bm25", "uniform", seed, top=1) for seed in (0, 1)]  # its top 10 is above
store = "docs-supervision"
