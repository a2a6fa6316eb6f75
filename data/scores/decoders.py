"""What typos, other words and an attack do to the encoders and decoders of data/runs/docs-decoders, and their geometry.

Added to the records of seeds 1 and 2, whose models are kept (those of the card came home in half precision; what is not
there is trained first). Stability as in docs_models.py: 300 queries, five seeds, WordNet. The attack is that of every
study: 100 queries, nine documents each, among the passages of test and training. A record that has a measurement is
left alone, so it goes on where it was interrupted.

    python data/scores/decoders.py
"""

from pathlib import Path

from drscale.attacks.entropy import probe
from drscale.evaluate.retrievers import retriever
from drscale.geometry.measure import geometry_of_records
from drscale.models import measure
from drscale.stability.measure import stability_of_records
from drscale.stability.vary import families
from drscale.sweep import load_study, plan_study, run_study

STUDY = Path(__file__).parents[1] / "runs" / "docs-decoders.py"
VARY = {"synonyms": "wordnet"}


def stable(encoder, texts, run):
    """What five families of other words do to a model."""
    return stability_of_records(
        retriever(encoder, run.recipe.rung), texts.test, families(**VARY), note=f"families {VARY}"
    )


def attacked(encoder, texts, run):
    """What an attack by words does to a model."""
    return probe(encoder, texts.test, 100, "wordnet", run.temperature, beside=(texts.train,))


MEASURES = {"stability": stable, "geometry": geometry_of_records, "attack": attacked}


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
