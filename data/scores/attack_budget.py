"""The attack by words and size: each model of data/runs/docs-attack attacked with 1 to 20 words.

Among the 17,915 passages of training and test, on 100 queries and nine documents each; white box (gradient) and,
without a floor, the black box of a surrogate (L2H48, another seed). Models that are not there are trained first.
Interrupt it as you like: a model's rows are written when it is done, and it goes on with the next.

    python data/scores/attack_budget.py
"""

import runpy
from pathlib import Path

import pandas as pd

from drscale.attacks.entropy import budget_curve
from drscale.attacks.protocol import encode_collection, within
from drscale.attacks.substitutes import synonyms
from drscale.models import load_model
from drscale.recipe import Recipe
from drscale.runs import RunStore, write_atomic
from drscale.sweep import run_one
from drscale.texts import benchmark

HERE = Path(__file__).parent
STUDY = HERE.parent / "runs" / "docs-attack.py"
OUT = HERE / "attack_budget.parquet"
SURROGATE = 48  # the black box's width; its seed is none of the study's
QUERIES = 100


def rows_of(recipe, store, texts, surrogate):
    """A model under all budgets: the table of budget_curve, and which model it is of."""
    run = run_one(recipe, store, texts=texts, keep=True)
    model, source = load_model(recipe, store, texts), synonyms("wordnet")
    among = within(texts.test, texts.train)
    common = {"temperature": run.temperature, "encoded": encode_collection(model, among, queries=QUERIES)}
    white = budget_curve(model, among, source, **common)
    black = budget_curve(model, among, source, methods=("surrogate",), floors=(None,), surrogate=surrogate, **common)
    about = {"rung": recipe.rung, "params_layers": run.parameters["layers"], "seed": recipe.seed}
    return pd.concat([white, black], ignore_index=True).assign(**about, **{"passages": len(among.passages)})


def main():
    study = runpy.run_path(str(STUDY))
    store, texts = RunStore(STUDY.with_name(study["store"])), benchmark("docs")
    done = pd.read_parquet(OUT) if OUT.is_file() else pd.DataFrame(columns=["rung", "seed"])
    other: Recipe = study["tuned"](SURROGATE, seed=99, corpus="whole")
    run_one(other, store, texts=texts, keep=True)
    surrogate = load_model(other, store, texts)
    for recipe in study["recipes"]:
        if not ((done["rung"] == recipe.rung) & (done["seed"] == recipe.seed)).any():
            rows = rows_of(recipe, store, texts, surrogate)
            done = pd.concat([done, rows], ignore_index=True) if len(done) else rows
            write_atomic(OUT, done.to_parquet(index=False))
            print(recipe.rung, recipe.seed, "done", flush=True)


if __name__ == "__main__":
    main()
