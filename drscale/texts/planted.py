"""The source ``planted``: a made-up world of texts in which what there is to learn is known exactly.

What is known. A concept has two invented words with nothing in common: one that queries use, one that passages use. The
training domain has 400 concepts in 20 topics. A query is six concepts of one topic in the queries' words. Its passage
is the same six in the passages' words, in another order, among ``noise`` words (10) from a list of 300 that mean
nothing. With the chance ``overlap`` (.1) a passage uses the query's word after all. So what a retriever can learn is
the dictionary between the two languages: at ``overlap=1`` there is nothing to learn, at ``overlap=0`` nothing is found
without learning. A pair shows six of the 400 entries, so the dictionary's coverage grows with the training pairs.

The domains outside, ``shift1`` to ``shift3``, regroup the concepts into other topics, and in domain k the share
``k * shift`` (.15 a step) of them never occurs in training: those can be found by overlap only.

No two pairs of a domain ask for the same six concepts, so :func:`oracle`, the encoder that knows the dictionary, ranks
every query's own passage first. All of it is labelled synthetic.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from drscale.texts.collection import Benchmark, Collection, from_pairs, shuffled

CONCEPTS, TOPICS, SPARE, NOISE_WORDS, ASKED = 400, 20, 400, 300, 6
DOMAINS, OOD_PAIRS = ("planted", "shift1", "shift2", "shift3"), 300
MOST_PAIRS = 100_000  # of the 775,200 sets of six concepts that there are
CONSONANTS, VOWELS, CODAS = "bdfgklmnprstvz", "aeiou", ["", "n", "r", "s", "l"]


@dataclass(frozen=True)
class World:
    """A planted world's dials; the same dials make the same texts on every machine."""

    seed: int = 0
    overlap: float = 0.1
    noise: int = 10
    shift: float = 0.15

    def __post_init__(self) -> None:
        if not 0 <= self.overlap <= 1 or not 0 <= self.shift <= 1 / 3:
            raise ValueError(f"planted: overlap={self.overlap} must lie in [0, 1] and shift={self.shift} in [0, 1/3]")
        if not 0 <= self.noise <= 200 or self.seed < 0:
            raise ValueError(
                f"planted: noise={self.noise} must lie in 0..200 and seed={self.seed} must not be negative"
            )


def planted_collection(world: World = World(), pairs: int = 2000, domain: int = 0) -> Collection:
    """Draw pairs of a domain: 0 is the training one, 1 to 3 lie ever further outside; small draws begin larger ones."""
    if not 1 <= pairs <= MOST_PAIRS or domain not in range(len(DOMAINS)):
        raise ValueError(f"planted: pairs={pairs} must lie in 1..{MOST_PAIRS} and domain={domain} in 0..3")
    asked, told, noise = _words(world.seed)
    topics = _topics(world, domain)
    stream = np.random.PCG64([world.seed, domain])
    rows: list[tuple[str, str, str]] = []
    seen: set[tuple[int, ...]] = set()
    while len(rows) < pairs:
        for concepts, order, keep, junk, place in zip(*_draws(stream, topics, world), strict=True):
            key = tuple(sorted(concepts.tolist()))
            if key in seen or len(rows) == pairs:
                continue
            seen.add(key)
            answer = [asked[c] if same else told[c] for c, same in zip(concepts[order], keep, strict=True)]
            answer += [noise[j] for j in junk]
            query = " ".join(asked[c] for c in concepts)
            rows.append((f"{DOMAINS[domain]}-{len(rows)}", query, " ".join(answer[p] for p in place)))
    return from_pairs(_name(world, pairs, domain), rows, domain=DOMAINS[domain], synthetic=True, language="xx")


def planted_benchmark(world: World = World(), pairs: int = 2000) -> Benchmark:
    """The planted world as a benchmark: ``pairs`` to train on, 300 for each of the other parts."""
    drawn = planted_collection(world, pairs + 2 * OOD_PAIRS)
    cuts = {"test": (0, OOD_PAIRS), "validation": (OOD_PAIRS, 2 * OOD_PAIRS), "train": (2 * OOD_PAIRS, len(drawn))}
    name = _name(world, pairs, 0)
    parts = {part: drawn.select(np.arange(*cut), f"{name}/{part}") for part, cut in cuts.items()}
    ood = {DOMAINS[k]: planted_collection(world, OOD_PAIRS, k) for k in (1, 2, 3)}
    return Benchmark(name, parts["train"], parts["validation"], parts["test"], ood)


def oracle(world: World = World()) -> Callable[[list[str]], np.ndarray]:
    """An encoder that knows the dictionary: dot products count the concepts that two texts share."""
    asked, told, _ = _words(world.seed)
    concept = {word: c for words in (asked, told) for c, word in enumerate(words)}

    def encode(texts: list[str]) -> np.ndarray:
        vectors = np.zeros((len(texts), CONCEPTS + SPARE), np.float32)
        for row, text in enumerate(texts):
            vectors[row, [concept[word] for word in text.split() if word in concept]] = 1
        return vectors

    return encode


def _name(world: World, pairs: int, domain: int) -> str:
    dials = {**vars(world), "pairs": pairs, "domain": domain}
    usual = {**vars(World()), "pairs": 2000, "domain": 0}
    shown = [f"{k}={v}" for k, v in sorted(dials.items()) if v != usual[k]]
    return "planted" + ("?" if shown else "") + "&".join(shown)


def _words(seed: int) -> tuple[list[str], list[str], list[str]]:
    """The invented words: those of queries and of passages, a concept a row, and the noise."""
    syllables = [c + v for c in CONSONANTS for v in VOWELS]
    made = [first + second + coda for first in syllables for second in syllables for coda in CODAS]
    words, known = [made[i] for i in shuffled(len(made), seed)], CONCEPTS + SPARE
    return words[:known], words[known : 2 * known], words[2 * known : 2 * known + NOISE_WORDS]


def _topics(world: World, domain: int) -> np.ndarray:
    """The concepts of each topic, shape (topics, concepts a topic)."""
    if domain == 0:
        return np.arange(CONCEPTS).reshape(TOPICS, -1)
    new = round(domain * world.shift * CONCEPTS)
    mixed = shuffled(CONCEPTS, world.seed + 7919 * domain)
    concepts = np.concatenate([mixed[: CONCEPTS - new], CONCEPTS + np.arange(new)])
    return concepts[shuffled(CONCEPTS, world.seed + 104_729 * domain)].reshape(TOPICS, -1)


def _draws(stream: np.random.PCG64, topics: np.ndarray, world: World, n: int = 1024) -> tuple[np.ndarray, ...]:
    """Of ``n`` pairs: concepts, their order in the passage, which keep the query's word, noise, everything's place."""

    def uniform(columns: int) -> np.ndarray:  # from raw bits, the one thing that NumPy promises to keep as it is
        return (stream.random_raw(n * columns) >> np.uint64(11)).reshape(n, columns) * 2.0**-53

    topic = (uniform(1)[:, 0] * len(topics)).astype(np.int64)
    chosen = np.argsort(uniform(topics.shape[1]), axis=1)[:, :ASKED]
    return (
        np.take_along_axis(topics[topic], chosen, axis=1),
        np.argsort(uniform(ASKED), axis=1),
        uniform(ASKED) < world.overlap,
        (uniform(world.noise) * NOISE_WORDS).astype(np.int64),
        np.argsort(uniform(ASKED + world.noise), axis=1),
    )
