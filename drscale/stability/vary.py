"""Queries in other words, five families: misspelling, naturality, ordering, synonym, paraphrase.

The taxonomy is Penha et al.'s (2022), the methods those of Li et al. (2026), who make them with TextAttack, NLTK and
seq2seq models; if these are not available, simple rules are used, and a frame's note says so. Text in, text out.
"""

from __future__ import annotations

import math
import random
import re
import string
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np
import pandas as pd

from drscale.attacks.noise import ROWS
from drscale.attacks.substitutes import STOP_WORDS, WORD, Synonyms, like
from drscale.attacks.substitutes import synonyms as open_synonyms
from drscale.attacks.target import judge
from drscale.evaluate.entropy import Encode
from drscale.evaluate.ranking import HAN, SOUTHEAST
from drscale.results import did_you_mean
from drscale.stability import paraphrase

T = TypeVar("T")
Vary = Callable[[list[str], int], list[str]]

TYPOS = ("swap", "random", "qwerty", "delete", "insert")
HAN_TYPOS = ("swap", "delete")  # the changes of characters that need no dictionary of words and no table of shapes
FLOORS: Mapping[str, float] = {"synonym": 0.7, "paraphrase": 0.7}  # the least similarity that keeps a meaning
SHORTEST, TRIES = 3, 4  # least letters of a word that may be misspelt; synonyms tried before a query is left unchanged
# Never removed from a query, although they are stop words: without them it asks for the opposite.
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
    """Reword queries, one row each: query, original, varied, family, method, changed, similarity.

    ``queries`` are texts, or texts by id. The change of a text depends only on the seed, the family and the text, not
    on its position or its neighbours. ``strength`` between 0 (nothing changes) and 1 is a share of the parts that the
    family may change, rounded up; a larger strength also changes everything that a smaller one changes:

    - ``misspelling``: words of three letters and more that are neither stop words nor code get one slip each. Methods:
      ``swap`` neighbouring letters, a ``random`` letter, a key beside the right one (``qwerty``), ``delete``,
      ``insert``; None draws one a query. In Chinese, pairs of neighbouring characters get it (``swap`` or ``delete``).
    - ``naturality``: stop words are taken out, but no negation, and never all words.
    - ``ordering``: words change places.
    - ``synonym``: words that are neither stop words nor code are swapped for substitutes out of ``synonyms``
      (:func:`drscale.attacks.substitutes.synonyms`).
    - a family of your own: :func:`register_variation`.
    - ``paraphrase``: the strength is the share of the queries. Methods: ``rules`` (the default, of this module's own,
      for English; see :mod:`drscale.stability.paraphrase`), ``hub:ID`` (a seq2seq model), ``back:ID`` (a model that
      translates to German and back) or a function (texts, seed) -> texts.

    ``similarity``, a function from texts to vectors or ``"minilm"``, measures the cosine of both wordings. Synonyms and
    paraphrases below ``floor`` (default 0.7) are not used; other families have a floor only if it is given. Unchanged
    queries keep their row, with changed=False. ``attrs["note"]`` says how the table was made.

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


def register_variation(
    name: str, function: Callable[[str, random.Random, float], str], share: float = 1.0
) -> Callable[[str, random.Random, float], str]:
    """Add a family of your own, which is then in every table and figure of stability beside the five others.

    ``function(text, rng, strength)`` gives the text in other words. All its randomness must come from ``rng``, a
    ``random.Random`` of the seed, the family and the text; ``strength`` is above 0 and at most 1, by default ``share``.
    Registering a name again replaces its function; ``del FAMILIES[name]`` removes it.

    >>> import drscale as ds
    >>> shout = ds.register_variation("shouting", lambda text, rng, strength: text.upper())
    >>> ds.variations(["sort a list"], "shouting")["varied"].item()
    'SORT A LIST'
    >>> from drscale.stability.vary import FAMILIES
    >>> del FAMILIES["shouting"]
    """
    if not isinstance(name, str) or not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise ValueError(f"name={name!r}: a name of small letters, digits and _ is needed, as 'dialect'")
    if name in BUILT_IN or name in ("all", "clean"):
        raise ValueError(f"name={name!r}: it is taken; give your family a name of its own")
    if not callable(function):
        raise ValueError(f"function={function!r}: a function (text, rng, strength) -> text is needed")
    if not isinstance(share, int | float) or not 0 < share <= 1:
        raise ValueError(f"share={share!r}: above 0 and at most 1")

    def made(texts: list[str], ask: Asked) -> Made:
        found = [function(text, rng, ask.share) for text, rng in zip(texts, ask.luck, strict=True)]
        if wrong := [f for f in found if not isinstance(f, str)]:
            raise ValueError(f"family={name!r}: its function gave {wrong[0]!r}, a text for each query is needed")
        return [[f] for f in found], [[name]] * len(texts), name

    FAMILIES[name] = Family(float(share), made, spaces=False)
    return function


def families(names: Iterable[str] | None = None, **options: Any) -> dict[str, Vary]:
    """Functions (texts, seed) -> texts by family, as :func:`drscale.stability.measure.measure_stability` takes them.

    ``options`` go to :func:`variations`; a mapping from family to value sets an option by family:
    ``families(strength={"misspelling": 0.5})``. A source of synonyms is opened once. By default all families are made,
    those of :func:`register_variation` too.
    """
    chosen = list(FAMILIES if names is None else names)
    for name in chosen:
        if name not in FAMILIES:
            raise ValueError(f"names: family {name!r}, allowed are {', '.join(FAMILIES)}{did_you_mean(name, FAMILIES)}")
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
    """Check the arguments and return the strength to use."""
    if family not in FAMILIES:
        raise ValueError(f"family={family!r}: allowed are {', '.join(FAMILIES)}{did_you_mean(family, FAMILIES)}")
    share = FAMILIES[family].share if strength is None else strength
    if not 0 <= share <= 1:
        raise ValueError(f"strength={strength}: must lie between 0 and 1")
    if floor is not None and (blind or not -1 <= floor <= 1):
        raise ValueError(f"floor={floor}: between -1 and 1, and only together with similarity")
    if family == "paraphrase":
        if method is None or method == "rules" or callable(method) or str(method).startswith(("hub:", "back:")):
            return share
        raise ValueError(f"method={method!r}: of paraphrase, allowed are 'rules', 'hub:ID', 'back:ID' or a function")
    allowed = FAMILIES[family].methods
    if method is not None and method not in allowed:
        said = ", ".join(allowed) if allowed else "none to choose"
        raise ValueError(f"method={method!r}: of {family}, allowed are {said}")
    return share


def _check_script(text: str, family: str, method: Any) -> None:
    """Raise ValueError for scripts without spaces between words."""
    own = method not in (None, "rules") and not str(method).startswith("back:")  # "back:" translates from English
    other = SOUTHEAST.search(text)  # Thai and similar scripts: pairs of their characters are not words either
    if not (HAN.search(text) or other) or (family == "paraphrase" and own):
        return
    if not FAMILIES[family].spaces:
        return
    if family != "misspelling" or other:
        hint = "; a paraphrase needs method='hub:ID' or a function" if family == "paraphrase" else ""
        raise ValueError(f"family={family!r}: needs spaces between words, and {text[:20]!r} has none{hint}")
    if method is not None and method not in HAN_TYPOS:
        raise ValueError(f"method={method!r}: is for letters; of {text[:20]!r}, allowed are {', '.join(HAN_TYPOS)}")


@dataclass(frozen=True)
class Asked:
    """The settings for a family: method, share, seed, source of synonyms, and each text's random numbers."""

    family: str
    method: Any
    share: float
    seed: int
    source: str | Synonyms
    luck: list[random.Random]


# For each text one wording or several to choose from, the method of each, and a note of how they were made.
Made = tuple[list[list[str]], list[list[str]], str]


@dataclass(frozen=True)
class Family:
    """A family of variations: its usual strength, how it is made, its methods, and whether it needs spaces."""

    share: float
    made: Callable[[list[str], Asked], Made]
    methods: tuple[str, ...] = ()
    spaces: bool = True  # whether words must stand between spaces


def _made(
    texts: list[str], family: str, method: Any, share: float, seed: int, source: str | Synonyms
) -> tuple[list[list[str]], list[list[str]], str]:
    if share == 0:
        return [[t] for t in texts], [[""] for _ in texts], family
    luck = [random.Random(f"{seed}/{family}/{text}") for text in texts]
    return FAMILIES[family].made(texts, Asked(family, method, share, seed, source, luck))


def _misspelling(texts: list[str], ask: Asked) -> Made:
    drawn = [_typo_of(text, ask.method, rng) for text, rng in zip(texts, ask.luck, strict=True)]
    typed = [[_misspelt(t, m, ask.share, rng)] for t, m, rng in zip(texts, drawn, ask.luck, strict=True)]
    return typed, [[m] for m in drawn], "misspelling"


def _naturality(texts: list[str], ask: Asked) -> Made:
    found = [[_keywords(t, ask.share, rng)] for t, rng in zip(texts, ask.luck, strict=True)]
    return found, [["stop_words"]] * len(texts), ask.family


def _ordering(texts: list[str], ask: Asked) -> Made:
    found = [[_shuffled(t, ask.share, rng)] for t, rng in zip(texts, ask.luck, strict=True)]
    return found, [["shuffle"]] * len(texts), ask.family


def _synonym(texts: list[str], ask: Asked) -> Made:
    words = open_synonyms(ask.source) if isinstance(ask.source, str) else ask.source
    known = words.of(sorted({w for t in texts for w in _content(t)}))
    tried = [[_swapped(t, known, ask.share, f"{ask.seed}/{ask.family}/{t}", k) for k in range(TRIES)] for t in texts]
    return tried, [[words.source] * TRIES for _ in texts], f"synonyms {words.source}"


def _paraphrase(texts: list[str], ask: Asked) -> Made:
    chosen, method = [rng.random() < ask.share for rng in ask.luck], ask.method
    if callable(method) or (method or "rules") != "rules":
        write = method if callable(method) else _writer(str(method))
        name = method if isinstance(method, str) else "function"
        asked = [t for t, yes in zip(texts, chosen, strict=True) if yes]
        written = iter(_rewritten(write, asked, ask.seed))
        found = [[next(written) if yes else t] for t, yes in zip(texts, chosen, strict=True)]
        return found, [[name]] * len(texts), name
    luck = zip(texts, ask.luck, chosen, strict=True)
    ruled = [paraphrase.rules(t, rng) if yes else (t, "") for t, rng, yes in luck]
    return [[r[0]] for r in ruled], [[r[1]] for r in ruled], paraphrase.NOTE


# The registry. Misspelling and synonyms touch a tenth of the words, and at least one, which is TextAttack's usual; the
# others touch all.
FAMILIES: dict[str, Family] = {
    "misspelling": Family(0.1, _misspelling, TYPOS),
    "naturality": Family(1.0, _naturality),
    "ordering": Family(1.0, _ordering),
    "synonym": Family(0.1, _synonym),
    "paraphrase": Family(1.0, _paraphrase),
}
BUILT_IN = tuple(FAMILIES)


def _writer(method: str) -> Vary:
    kind, _, name = method.partition(":")
    return paraphrase.back(name) if kind == "back" else paraphrase.hub(name)


def _rewritten(write: Vary, texts: list[str], seed: int) -> list[str]:
    """The output of a function or a model for each text, each text once, so that equal texts get equal outputs."""
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
    """Choose each query's first wording that is similar enough, in place, and return the similarities."""
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
    """Put a typing error into each of some words."""
    places = _han_pairs(text) if HAN.search(text) else _words(text)
    out = text
    for at, word, own in sorted(_touched(places, share, rng), reverse=True):
        out = out[:at] + typo(word, method, random.Random(own)) + out[at + len(word) :]
    return out


def typo(word: str, method: str, rng: random.Random) -> str:
    """One typing error in a word; the word is unchanged only if the error is impossible (``swap`` in "aaa")."""
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
    """Remove stop words, with the white space behind them."""
    found = list(re.finditer(r"(?<!\S)([^\W\d_]+)(?:\s+|$)", text))
    out = [(m.start(), m[0]) for m in found if m[1].lower() in FUNCTION_WORDS and m[1].lower() not in NEGATIONS]
    if len(out) == len(text.split()):
        return text  # nothing else is in it
    for at, piece, _ in sorted(_touched(out, share, rng), reverse=True):
        text = text[:at] + text[at + len(piece) :]
    return text.rstrip()


def _shuffled(text: str, share: float, rng: random.Random) -> str:
    """Move some words in a cycle, so that each of them leaves its place; the white space does not move."""
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
    """Replace words by substitutes; each attempt draws other ones."""
    places = [(m.start(), m[0]) for m in WORD.finditer(text) if known.get(m[0].lower())]
    places = [(at, word) for at, word in places if word.lower() not in FUNCTION_WORDS]
    for at, word, own in sorted(_touched(places, share, random.Random(seed)), reverse=True):
        other = _pick(random.Random(f"{own}/{attempt}"), known[word.lower()])
        text = text[:at] + like(other, word) + text[at + len(word) :]
    return text


def _pick(rng: random.Random, some: Sequence[T]) -> T:
    return some[int(rng.random() * len(some))]
