"""Stability and geometry of the models of data/runs/docs-models, added to their records.

Stability: 300 queries of the test set in five families of other words, five seeds, synonyms from WordNet. Geometry: on
the test set's passages. A record that has a measurement already is left alone; the models of the others are trained
first where they are not there. Interrupt it as you like, it goes on where it was.

    python data/scores/docs_models.py
"""

import sys
from pathlib import Path

from drscale.evaluate.retrievers import retriever
from drscale.geometry.measure import geometry_of_records
from drscale.models import measure
from drscale.stability.measure import stability_of_records
from drscale.stability.vary import families
from drscale.study import load_study, plan_study
from drscale.sweep import run_study

VARY = {"synonyms": "wordnet"}


def stable(encoder, texts, run):
    """What five families of other words do to a model."""
    return stability_of_records(
        retriever(encoder, run.recipe.rung), texts.test, families(**VARY), note=f"families {VARY}"
    )


def main(file):
    study = load_study(file)
    for name, function in (("stability", stable), ("geometry", geometry_of_records)):
        known = {run.key for run in study.store.runs() if f"measured:{name}" in run.versions}
        lacking = [recipe for recipe in study.recipes if str(recipe) not in known]
        run_study(plan_study(lacking, study.store, keep=True), keep=True)
        measure(study.store, lacking, name, function)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[1] / "runs" / "docs-models.py")
