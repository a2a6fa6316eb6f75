"""Stability and geometry of the models of data/runs/docs-models, added to their records.

Stability: 300 queries of the test set in five families of other words, five seeds, synonyms from WordNet. Geometry: on
the test set's passages. Both need the trained models: `drscale sweep data/runs/docs-models.py` makes those that are
not there. Interrupt it as you like, it goes on where it was.

    python data/scores/docs_models.py
"""

import sys
from pathlib import Path

from drscale.evaluate.retrievers import retriever
from drscale.geometry.measure import geometry_of_records
from drscale.models import kept_recipes, measure
from drscale.runs import RunStore
from drscale.stability.measure import stability_of_records
from drscale.stability.vary import families

VARY = {"synonyms": "wordnet"}


def stable(encoder, texts, run):
    """What five families of other words do to a model."""
    return stability_of_records(
        retriever(encoder, run.recipe.rung), texts.test, families(**VARY), note=f"families {VARY}"
    )


def main(folder):
    store = RunStore(folder)
    recipes = kept_recipes(store)
    for name, function in (("stability", stable), ("geometry", geometry_of_records)):
        measure(store, recipes, name, function)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[1] / "runs" / "docs-models")
