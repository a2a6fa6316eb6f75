"""The attack by words and size: each model of data/runs/docs-attack attacked with 1 to 20 words.

Among the 17,915 passages of training and test, on 100 queries and nine documents each; white box (gradient) and the
black box of a surrogate (L2H48, another seed), both without a floor of similarity. Models that are not there are
trained first. The floor is for the smallest and the largest model of seed 0 only, at the end: MiniLM, which judges how
alike two texts are, takes several times as long as the attack.
Interrupt it as you like: a model's rows are written when it is done, and it goes on with the next.

    python data/scores/attack_budget.py
"""

import runpy
from functools import cache
from pathlib import Path

import pandas as pd

from drscale.attacks.entropy import budget_curve
from drscale.attacks.protocol import encode_collection, within
from drscale.attacks.substitutes import synonyms
from drscale.files import rows_kept
from drscale.study import load_study
from drscale.sweep import model_of
from drscale.texts import benchmark

HERE = Path(__file__).parent
STUDY = HERE.parent / "runs" / "docs-attack.py"
OUT = HERE / "attack_budget.parquet"
SURROGATE = 48  # the black box's width; its seed is none of the study's
QUERIES = 100
FLOORED = ("L2H12", "L2H96")  # the models that are also attacked under the floor


def rows_of(recipe, store, texts, surrogate, floor=None):
    """A model under all budgets: the table of budget_curve, and which model it is of."""
    model, source = model_of(recipe, store, texts), synonyms("wordnet")
    run = store.load(recipe)
    among = within(texts.test, texts.train)
    common = {"temperature": run.temperature, "encoded": encode_collection(model, among, n_queries=QUERIES)}
    white = budget_curve(model, among, source, floors=(floor,), **common)
    black = []
    if floor is None:
        black = [
            budget_curve(model, among, source, methods=("surrogate",), floors=(None,), surrogate=surrogate, **common)
        ]
    about = {"rung": recipe.rung, "params_layers": run.parameters["layers"], "seed": recipe.seed}
    return pd.concat([white, *black], ignore_index=True).assign(**about, **{"passages": len(among.passages)})


def main():
    study, texts = load_study(STUDY), benchmark("docs")

    @cache
    def surrogate():
        return model_of(runpy.run_path(str(STUDY))["tuned"](SURROGATE, seed=99, corpus="whole"), study.store, texts)

    plain = [(recipe, None) for recipe in study.recipes]
    floored = [(recipe, 0.8) for recipe in study.recipes if recipe.rung in FLOORED and recipe.seed == 0]
    for recipe, floor in [*plain, *floored]:
        key = {"rung": recipe.rung, "seed": recipe.seed, "floor": "none" if floor is None else f"{floor:g}"}
        rows_kept(OUT, key, lambda r=recipe, f=floor: rows_of(r, study.store, texts, surrogate(), f))
        print(*key.values(), "done", flush=True)


if __name__ == "__main__":
    main()
