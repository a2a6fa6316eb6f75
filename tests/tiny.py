"""A tiny synthetic benchmark for tests: each query shares some invented words with its passage."""

from functools import lru_cache

import numpy as np

from drscale.texts import Benchmark, Collection
from drscale.texts.collection import from_pairs

SYLLABLES = ["ba", "do", "ki", "lu", "me", "no", "pa", "ri", "su", "te", "va", "zo"]
WORDS = [a + b + c for a in SYLLABLES for b in SYLLABLES for c in SYLLABLES[:4]]
PLACE = {w: i for i, w in enumerate(WORDS)}


def bag(texts: list[str]) -> np.ndarray:
    """A bag of words over the tiny world's vocabulary: a real, untrained retriever."""
    out = np.zeros((len(texts), len(WORDS)), np.float32)
    for i, t in enumerate(texts):
        np.add.at(out[i], [PLACE[w] for w in t.split() if w in PLACE], 1)
    return out


def tiny_collection(name: str, pairs: int, seed: int) -> Collection:
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(pairs):
        topic = rng.choice(WORDS, 8, replace=False)
        query, passage = rng.choice(topic, 5), rng.permutation(np.concatenate([topic, rng.choice(WORDS, 8)]))
        rows.append((f"{name}-{i}", " ".join(query), " ".join(passage)))
    return from_pairs(name, rows, synthetic=True)


@lru_cache(maxsize=1)
def tiny() -> Benchmark:
    parts = {
        n: tiny_collection(n, size, i)
        for i, (n, size) in enumerate([("train", 400), ("validation", 260), ("test", 270)])
    }
    return Benchmark("tiny", **parts, ood={"a": tiny_collection("a", 265, 5), "b": tiny_collection("b", 258, 6)})
