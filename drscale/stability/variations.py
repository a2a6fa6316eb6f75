"""Queries in other words, five families: misspelling, naturality, ordering, synonym, paraphrase.

The taxonomy is Penha et al.'s (2022), the methods those of Li et al. (2026), who make them with TextAttack, NLTK and
seq2seq models; where these are not at hand plain rules stand in, and a frame's note says so. Text in, text out.
"""

from __future__ import annotations

import math
import random
import re
import string
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, TypeVar

import numpy as np
import pandas as pd

from drscale.attacks.noise import ROWS
from drscale.attacks.substitutes import STOP_WORDS, WORD, Synonyms, like
from drscale.attacks.substitutes import synonyms as open_synonyms
from drscale.attacks.target import judge
from drscale.evaluate.entropy import Encode
from drscale.evaluate.ranking import HAN, SOUTHEAST
from drscale.stability import paraphrase

T = TypeVar("T")
Vary = Callable[[list[str], int], list[str]]

# The families, with the strength each has where none is given: the share of what it may touch. Misspelling and synonyms
# touch a tenth of the words, and at least one, which is TextAttack's usual; the others touch all.
FAMILIES: Mapping[str, float] = {
    "misspelling": 0.1,
    "naturality": 1.0,
    "ordering": 1.0,
    "synonym": 0.1,
    "paraphrase": 1.0,
}
TYPOS = ("swap", "random", "qwerty", "delete", "insert")
HAN_TYPOS = ("swap", "delete")  # what can be done to characters without a dictionary of words or a table of shapes
FLOORS: Mapping[str, float] = {"synonym": 0.7, "paraphrase": 0.7}  # the least similarity that keeps a meaning
SHORTEST, TRIES = 3, 4  # letters of a word that may be misspelt; synonyms tried before a query is left alone
# Never taken out of a query, though they are stop words: without them it asks for the opposite.
NEGATIONS = frozenset(
    ("cannot", "except", "neither", "never", "no", "none", "nor", "not", "nothing", "unless", "without")
)
FUNCTION_WORDS = STOP_WORDS | {"a", "i"}


def variations(
    queries: Sequence[str] | Mapping[str, str],
    family: str,
    *,
    method: str | Vary | None = None,
    strength: float | None = None,
    seed: int = 0,
    synonyms: str | Synonyms = "encoder",
    similarity: Encode | Literal["minilm"] | None = None,
    floor: float | None = None,
) -> pd.DataFrame:
    """Say queries in other words, a row a query: query, original, varied, family, method, changed, similarity.

    ``queries`` are texts, or texts by id. What happens to a text follows from the seed, the family and the text alone,
    not from its place or its neighbours. ``strength`` between 0 (nothing changes) and 1 is a share of what the family
    may touch, rounded up; what a smaller strength touches, a larger one touches, too:

    - ``misspelling``: words of three letters and more that are neither stop words nor code get one slip each. Methods:
      ``swap`` neighbouring letters, a ``random`` letter, a key beside the right one (``qwerty``), ``delete``,
      ``insert``; None draws one a query. In Chinese, pairs of neighbouring characters get it (``swap`` or ``delete``).
    - ``naturality``: stop words are taken out, but no negation, and never all words.
    - ``ordering``: words change places.
    - ``synonym``: words that are neither stop words nor code are swapped for substitutes out of ``synonyms``
      (:func:`drscale.attacks.substitutes.synonyms`).
    - ``paraphrase``: the strength is the share of the queries. Methods: ``rules`` (the default, of this module's own,
      for English; see :mod:`drscale.stability.paraphrase`), ``hub:ID`` (a seq2seq model), ``back:ID`` (a model that
      translates to German and back) or a function (texts, seed) -> texts.

    ``similarity``, a function from texts to vectors or ``"minilm"``, measures the cosine of both wordings. Synonyms and
    paraphrases below ``floor`` (0.7 unless given) are not taken; another family has a floor only where it is given.
    Whatever changes nothing is a row that says so. How it was made stands in ``attrs["note"]``.

    >>> import drscale as ds
    >>> table = ds.variations(["how to open a large file"], "misspelling", strength=0.5)
    >>> table[["family", "changed"]]
            family  changed
    0  misspelling     True
    >>> table["varied"].item()
    'how to open a largr fole'
    """
    share = _checked(family, method, strength, floor, similarity is None)
    ids = list(queries) if isinstance(queries, Mapping) else [str(i) for i in range(len(queries))]
    texts = list(queries.values()) if isinstance(queries, Mapping) else list(queries)
    for text in texts if share else ():
        _check_script(text, family, method)
    made, named, note = _made(texts, family, method, share, seed, synonyms)
    lowest = FLOORS.get(family) if floor is None else floor
    cosines = np.full(len(texts), np.nan)
    encode = judge(similarity)
    varied, names = [m[0] for m in made], [n[0] for n in named]
    if encode is not None:
        cosines = _settled(texts, made, named, varied, names, encode, -1.0 if lowest is None else lowest)
        note += f"; similarity {'minilm' if similarity == 'minilm' else 'given'}, floor {lowest}"
    frame = pd.DataFrame({"query": ids, "original": texts, "varied": varied, "family": family, "method": names})
    frame["changed"] = frame["varied"] != frame["original"]
    frame["similarity"] = cosines
    frame.loc[~frame["changed"], "method"] = ""
    frame.attrs["note"] = f"{note}; strength {share:g}, seed {seed}"
    return frame


def families(names: Iterable[str] = tuple(FAMILIES), **options: Any) -> dict[str, Vary]:
    """Functions (texts, seed) -> texts by family, as :func:`drscale.stability.measure.measure_stability` takes them.

    ``options`` go to :func:`variations`, a mapping from family to value where they shall differ:
    ``families(strength={"misspelling": 0.5})``. A source of synonyms is opened once.
    """
    chosen = list(names)
    for name in chosen:
        if name not in FAMILIES:
            raise ValueError(f"names: family {name!r}, allowed are {', '.join(FAMILIES)}")
    if "synonym" in chosen and isinstance(options.get("synonyms", "encoder"), str):
        options["synonyms"] = open_synonyms(options.get("synonyms", "encoder"))
    return {name: _varying(name, options) for name in chosen}


def _varying(family: str, options: Mapping[str, Any]) -> Vary:
    own: dict[str, Any] = {k: v.get(family) if isinstance(v, Mapping) else v for k, v in options.items()}

    def vary(texts: list[str], seed: int) -> list[str]:
        varied: list[str] = variations(texts, family, seed=seed, **own)["varied"].tolist()
        return varied

    return vary


def _checked(family: str, method: Any, strength: float | None, floor: float | None, blind: bool) -> float:
    """The strength to work with, after a look at what was asked for."""
    if family not in FAMILIES:
        raise ValueError(f"family={family!r}: allowed are {', '.join(FAMILIES)}")
    share = FAMILIES[family] if strength is None else strength
    if not 0 <= share <= 1:
        raise ValueError(f"strength={strength}: must lie between 0 and 1")
    if floor is not None and (blind or not -1 <= floor <= 1):
        raise ValueError(f"floor={floor}: between -1 and 1, and only together with similarity")
    if family == "paraphrase":
        if method is None or method == "rules" or callable(method) or str(method).startswith(("hub:", "back:")):
            return share
        raise ValueError(f"method={method!r}: of paraphrase, allowed are 'rules', 'hub:ID', 'back:ID' or a function")
    allowed = TYPOS if family == "misspelling" else ()
    if method is not None and method not in allowed:
        said = ", ".join(allowed) if allowed else "none to choose"
        raise ValueError(f"method={method!r}: of {family}, allowed are {said}")
    return share


def _check_script(text: str, family: str, method: Any) -> None:
    """Refuse what needs words between spaces where there are none."""
    own = method not in (None, "rules") and not str(method).startswith("back:")  # that one translates from English
    other = SOUTHEAST.search(text)  # Thai and its neighbours: pairs of their characters are no words either
    if not (HAN.search(text) or other) or (family == "paraphrase" and own):
        return
    if family != "misspelling" or other:
        hint = "; a paraphrase needs method='hub:ID' or a function" if family == "paraphrase" else ""
        raise ValueError(f"family={family!r}: needs spaces between words, and {text[:20]!r} has none{hint}")
    if method is not None and method not in HAN_TYPOS:
        raise ValueError(f"method={method!r}: is for letters; of {text[:20]!r}, allowed are {', '.join(HAN_TYPOS)}")


def _made(
    texts: list[str], family: str, method: Any, share: float, seed: int, source: str | Synonyms
) -> tuple[list[list[str]], list[list[str]], str]:
    """For each text one wording or several to choose from, the method of each, and a note of how they were made."""
    kept = [[t] for t in texts]
    if share == 0:
        return kept, [[""] for _ in texts], family
    luck = [random.Random(f"{seed}/{family}/{text}") for text in texts]
    if family == "misspelling":
        drawn = [_typo_of(text, method, rng) for text, rng in zip(texts, luck, strict=True)]
        typed = [[_misspelt(t, m, share, rng)] for t, m, rng in zip(texts, drawn, luck, strict=True)]
        return typed, [[m] for m in drawn], "misspelling"
    if family == "naturality":
        return (
            [[_keywords(t, share, rng)] for t, rng in zip(texts, luck, strict=True)],
            [["stop_words"]] * len(texts),
            family,
        )
    if family == "ordering":
        return (
            [[_shuffled(t, share, rng)] for t, rng in zip(texts, luck, strict=True)],
            [["shuffle"]] * len(texts),
            family,
        )
    if family == "synonym":
        words = open_synonyms(source) if isinstance(source, str) else source
        known = words.of(sorted({w for t in texts for w in _content(t)}))
        tried = [[_swapped(t, known, share, f"{seed}/{family}/{t}", k) for k in range(TRIES)] for t in texts]
        return tried, [[words.source] * TRIES for _ in texts], f"synonyms {words.source}"
    chosen = [rng.random() < share for rng in luck]
    if callable(method) or (method or "rules") != "rules":
        write = method if callable(method) else _writer(str(method))
        name = method if isinstance(method, str) else "function"
        asked = [t for t, yes in zip(texts, chosen, strict=True) if yes]
        written = iter(_rewritten(write, asked, seed))
        return (
            [[next(written) if yes else t] for t, yes in zip(texts, chosen, strict=True)],
            [[name]] * len(texts),
            name,
        )
    ruled = [paraphrase.rules(t, rng) if yes else (t, "") for t, rng, yes in zip(texts, luck, chosen, strict=True)]
    return [[r[0]] for r in ruled], [[r[1]] for r in ruled], paraphrase.NOTE


def _writer(method: str) -> Vary:
    kind, _, name = method.partition(":")
    return paraphrase.back(name) if kind == "back" else paraphrase.hub(name)


def _rewritten(write: Vary, texts: list[str], seed: int) -> list[str]:
    """What a function or a model makes of each text, each text once, so that equal texts get equal answers."""
    once = list(dict.fromkeys(texts))
    found = list(write(once, seed)) if once else []
    if len(found) != len(once) or not all(isinstance(f, str) for f in found):
        raise ValueError(f"method: gave {len(found)} answers for {len(once)} queries, a text for each is needed")
    table = {text: answer.strip() or text for text, answer in zip(once, found, strict=True)}
    return [table[t] for t in texts]


def _settled(
    texts: list[str],
    made: list[list[str]],
    named: list[list[str]],
    varied: list[str],
    names: list[str],
    encode: Callable[[list[str]], np.ndarray],
    floor: float,
) -> np.ndarray:
    """Choose each query's first wording that is similar enough, in place, and hand back the similarities."""
    known: dict[str, np.ndarray] = {}
    cosines = np.ones(len(texts))
    left = list(range(len(texts)))
    for k in range(max((len(m) for m in made), default=0)):
        fresh = list(dict.fromkeys(t for i in left for t in (texts[i], made[i][k]) if t not in known))
        if fresh:
            known |= dict(zip(fresh, encode(fresh), strict=True))
        again = []
        for i in left:
            cosine = 1.0 if made[i][k] == texts[i] else float(known[texts[i]] @ known[made[i][k]])
            if cosine >= floor:
                varied[i], names[i], cosines[i] = made[i][k], named[i][k], cosine
            elif k + 1 < len(made[i]):
                again.append(i)
            else:
                varied[i], names[i], cosines[i] = texts[i], "", 1.0
        left = again
    return cosines


# -------------------------------------------------------------------------------------------------------- misspelling


def _typo_of(text: str, method: str | None, rng: random.Random) -> str:
    drawn = _pick(rng, HAN_TYPOS if HAN.search(text) else TYPOS)  # drawn always, so that the rest does not depend on it
    return drawn if method is None else method


def _misspelt(text: str, method: str, share: float, rng: random.Random) -> str:
    """Put a slip into each of some words."""
    places = _han_pairs(text) if HAN.search(text) else _words(text)
    out = text
    for at, word, own in sorted(_touched(places, share, rng), reverse=True):
        out = out[:at] + typo(word, method, random.Random(own)) + out[at + len(word) :]
    return out


def typo(word: str, method: str, rng: random.Random) -> str:
    """One slip in a word; a word comes back as it is only where the slip cannot be made (``swap`` in "aaa")."""
    if method == "swap":
        places = [i for i in range(len(word) - 1) if word[i] != word[i + 1]]
        if not places:
            return word
        i = _pick(rng, places)
        return word[:i] + word[i + 1] + word[i] + word[i + 2 :]
    i = _pick(rng, range(len(word)))
    if method == "delete":
        return word[:i] + word[i + 1 :]
    letter = word[i].lower()
    if method == "insert":
        return word[:i] + _like(_pick(rng, string.ascii_lowercase), word[i]) + word[i:]
    beside = next((row[max(0, k - 1) : k] + row[k + 1 : k + 2] for row in ROWS if (k := row.find(letter)) >= 0), "")
    others = beside if method == "qwerty" and beside else string.ascii_lowercase.replace(letter, "")
    return word[:i] + _like(_pick(rng, others), word[i]) + word[i + 1 :]


def _like(letter: str, other: str) -> str:
    return letter.upper() if other.isupper() else letter


def _words(text: str) -> list[tuple[int, str]]:
    """Where words begin that may be misspelt: no stop words, no code, no numbers, three letters and more."""
    return [
        (m.start(), m[0]) for m in WORD.finditer(text) if len(m[0]) >= SHORTEST and m[0].lower() not in FUNCTION_WORDS
    ]


def _han_pairs(text: str) -> list[tuple[int, str]]:
    """Chinese characters two by two, as most words have two; an odd one at the end of a run stays."""
    runs = [(m.start(), m[0]) for m in HAN.finditer(text)]
    return [(at + i, run[i : i + 2]) for at, run in runs for i in range(0, len(run) - 1, 2)]


def _touched(places: Sequence[tuple[int, str]], share: float, rng: random.Random) -> list[tuple[int, str, str]]:
    """Some of the places, rounded up, each with a seed of its own: a larger share only adds to a smaller one's."""
    lots = [(rng.random(), rng.random()) for _ in places]
    order = sorted(range(len(places)), key=lambda i: lots[i][0])
    return [(*places[i], str(lots[i][1])) for i in order[: math.ceil(share * len(places))]]


# ---------------------------------------------------------------------------------------------- naturality and ordering


def _keywords(text: str, share: float, rng: random.Random) -> str:
    """Take stop words out, with the white space behind them."""
    found = list(re.finditer(r"(?<!\S)([^\W\d_]+)(?:\s+|$)", text))
    out = [(m.start(), m[0]) for m in found if m[1].lower() in FUNCTION_WORDS and m[1].lower() not in NEGATIONS]
    if len(out) == len(text.split()):
        return text  # nothing else is in it
    for at, piece, _ in sorted(_touched(out, share, rng), reverse=True):
        text = text[:at] + text[at + len(piece) :]
    return text.rstrip()


def _shuffled(text: str, share: float, rng: random.Random) -> str:
    """Send some words round in a circle, so that each of them leaves its place; the white space stays where it was."""
    parts = re.split(r"(\s+)", text)
    words = [(i, part) for i, part in enumerate(parts) if part and not part.isspace()]
    count = max(2, math.ceil(share * len(words)))
    lots = [rng.random() for _ in words]
    moved = [words[i] for i in sorted(range(len(words)), key=lambda i: lots[i])[:count]]
    for (to, _), (_, word) in zip(moved, moved[1:] + moved[:1], strict=True):
        parts[to] = word
    return "".join(parts)


# ----------------------------------------------------------------------------------------------------------- synonyms


def _content(text: str) -> list[str]:
    return [m[0].lower() for m in WORD.finditer(text) if m[0].lower() not in FUNCTION_WORDS]


def _swapped(text: str, known: Mapping[str, Sequence[str]], share: float, seed: str, attempt: int) -> str:
    """Swap words for substitutes, of which each attempt draws others."""
    places = [(m.start(), m[0]) for m in WORD.finditer(text) if known.get(m[0].lower())]
    places = [(at, word) for at, word in places if word.lower() not in FUNCTION_WORDS]
    for at, word, own in sorted(_touched(places, share, random.Random(seed)), reverse=True):
        other = _pick(random.Random(f"{own}/{attempt}"), known[word.lower()])
        text = text[:at] + like(other, word) + text[at + len(word) :]
    return text


def _pick(rng: random.Random, some: Sequence[T]) -> T:
    return some[int(rng.random() * len(some))]
