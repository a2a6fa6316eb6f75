"""What cutting or quantising a vector of 768 numbers costs, for the models of data/runs/docs-dimension.

Each model's vectors are computed once and scored as the runs are: whole, cut to its first numbers, turned to the
principal axes of 4,000 training passages and cut, rounded to int8, reduced to signs, and divided by their lengths
(which saves nothing, but a sign has no length either). A row a model, way and number of dimensions in dimension.csv; a
model's rows are written when it is done.

    python data/scores/dimension.py
"""

from pathlib import Path

import numpy as np
import pandas as pd

from drscale.evaluate.compress import compressed, through
from drscale.evaluate.entropy import score_benchmark
from drscale.files import write_atomic
from drscale.models import load_model, texts_of
from drscale.study import load_study

HERE = Path(__file__).parent
STUDY, OUT = HERE.parent / "runs" / "docs-dimension.py", HERE / "dimension.csv"
KEPT = (8, 16, 32, 64, 128, 256)
WAYS = [("whole", 0), ("unit", 0), *((how, k) for how in ("cut", "turned") for k in KEPT), ("int8", 0), ("bit", 0)]
SAMPLE = 4000


def remembered(encode):
    """An encode function that encodes a list of texts once."""
    known = {}

    def vectors(texts):
        key = (len(texts), texts[0], texts[-1])
        if key not in known:
            known[key] = encode(texts)
        return known[key]

    return vectors


def rows_of(recipe, store, texts, ways):
    """A model under some ways: a row for each and each scope."""
    model, run = load_model(recipe, store, texts), store.load(recipe)
    ask, tell = remembered(model.encode), remembered(model.encode_passages)
    passages = texts.train.passages["text"].to_pylist()
    sample = tell([passages[i] for i in np.random.default_rng(0).choice(len(passages), SAMPLE, replace=False)])
    rows = []
    for how, kept in ways:
        way = compressed(sample, how, kept)
        scored = score_benchmark(through(ask, way.queries), texts, encode_passages=through(tell, way.passages))
        about = {"rung": recipe.rung, "params_layers": run.parameters["layers"], "seed": recipe.seed, "way": how}
        about |= {"dimension": way.turn.shape[1], "bytes": way.bytes}
        rows += [
            about | {"scope": scope, "measure": name, "mean": m.mean, "low": m.low, "high": m.high, "n": m.n}
            for scope in ("in_domain", "ood")
            for name, m in scored.measures[scope].items()
        ]
    return pd.DataFrame(rows)


def main():
    study = load_study(STUDY)
    done = pd.read_csv(OUT) if OUT.exists() else pd.DataFrame(columns=["rung", "seed", "way", "dimension"])
    for recipe in [r for r in study.recipes if r.projection == 768]:
        mine = done[(done["rung"] == recipe.rung) & (done["seed"] == recipe.seed)]
        known = set(zip(mine["way"], mine["dimension"], strict=True))
        ways = [(how, kept) for how, kept in WAYS if (how, kept or recipe.projection) not in known]
        if not ways:
            continue
        fresh = rows_of(recipe, study.store, texts_of(recipe.texts), ways)
        done = pd.concat([done, fresh], ignore_index=True) if len(done) else fresh
        write_atomic(OUT, done.to_csv(index=False, float_format="%.6g"))
        print(recipe.rung, recipe.seed, "done", flush=True)


if __name__ == "__main__":
    main()
