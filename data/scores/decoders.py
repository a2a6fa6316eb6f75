"""What typos, other words and attacks do to the encoders and decoders of data/runs/docs-decoders, and their geometry.

Added to the records of seeds 1 and 2, whose models are kept (those of the card came home in half precision; what is not
there is trained first). Stability: 300 queries misspelt and with WordNet's synonyms, five draws. The attack by words is
that of every study: 100 queries, nine documents each, among the passages of test and training. Poisoning: ten passages
made against each model, as in poison.py. A record that has a measurement is left alone, so it goes on where it was
interrupted.

    python data/scores/decoders.py
"""

from pathlib import Path

import pandas as pd

from drscale.attacks.entropy import probe
from drscale.evaluate.retrievers import retriever
from drscale.geometry.measure import geometry_of_records
from drscale.models import measure
from drscale.poisoning.exposure import poison_ranks, rate_interval
from drscale.poisoning.make import Poison, poison
from drscale.runs import Found, Measure
from drscale.stability.measure import stability_of_records
from drscale.stability.vary import families
from drscale.study import load_study, plan_study
from drscale.sweep import run_study

STUDY = Path(__file__).parents[1] / "runs" / "docs-decoders.py"
FAMILIES = ("misspelling", "synonym")


def stable(encoder, texts, run):
    """What typos and synonyms do to a model."""
    vary = families(FAMILIES, synonyms="wordnet")
    return stability_of_records(retriever(encoder, run.recipe.rung), texts.test, vary, note="synonyms of WordNet")


def attacked(encoder, texts, run):
    """What an attack by words does to a model."""
    return probe(encoder, texts.test, 100, "wordnet", run.temperature, beside=(texts.train,))


def poisoned(encoder, texts, run):
    """How many test queries list one of ten planted passages among their first ten, as poison.py makes them."""
    how = Poison(steps=100, candidates=20, passages=10, seed=run.recipe.seed)
    made = poison(encoder, texts.train.take(4000), how)
    ranks = poison_ranks(retriever(encoder, run.recipe.rung), texts.test, made["text"].tolist())["rank"]
    share = Measure(*rate_interval((ranks <= 10).to_numpy(float)), len(ranks))
    return Found({"poison": {"listed10": share}}, pd.DataFrame(), f"{how}")


MEASURES = {"stability": stable, "attack": attacked, "geometry": geometry_of_records, "poison": poisoned}


def main():
    study = load_study(STUDY)
    deciding = [recipe for recipe in study.recipes if recipe.seed]
    for name, function in MEASURES.items():
        known = {run.key for run in study.store.runs() if f"measured:{name}" in run.versions}
        lacking = [recipe for recipe in deciding if str(recipe) not in known]
        run_study(plan_study(lacking, study.store, keep=True), keep=True)
        measure(study.store, lacking, name, function)


if __name__ == "__main__":
    main()
