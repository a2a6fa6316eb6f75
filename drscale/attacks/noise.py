"""Textual noise on passages, ten kinds: text in, text out.

The kinds and their numbers are those of De-Ranker (Chen et al. 2023); where it uses spaCy, TextFlint and a stemmer,
this module uses simple rules: sentences end at a full stop, a stem is a word's first five letters, and a typing error
hits the key beside the right one or a letter that looks alike. They are made for languages that put spaces between
words.
"""

from __future__ import annotations

import itertools
import random
import re
import string
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import TypeVar

Synonyms = Callable[[str], Sequence[str]]
T = TypeVar("T")

# The ten kinds, each with its usual strength: the chance that it touches a passage, or, of the kinds that work
# sentence by sentence (SENTENCEWISE), a sentence.
NOISES: Mapping[str, float] = {
    "NrSentH": 1.0,
    "NrSentM": 1.0,
    "NrSentT": 1.0,
    "DupSent": 1.0,
    "RevSent": 1.0,
    "NoSpace": 0.5,
    "RepSyns": 1.0,
    "ExtraPunc": 0.5,
    "NoPunc": 1.0,
    "MisSpell": 0.5,
}
SENTENCEWISE = ("NoSpace", "RepSyns", "ExtraPunc", "MisSpell")
NEED_OTHERS = ("NrSentH", "NrSentM", "NrSentT")

OVERLAP = 0.05  # an irrelevant passage shares fewer stems than this (Dice)
TRIES = 20
MARKS = ("..", "...", "-", "--", "/", "//", "|", "||", "@", "#", "*/", "/*")
PAIRS = ('""', "{}", "[]", "()", "``", "''", "<>", "||")
# Letters next to each key, and letters and digits that are confused in scanned print.
ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
ALIKE = {"o": "0", "l": "1", "i": "l", "s": "5", "e": "c", "b": "6", "g": "9", "u": "v", "n": "h", "m": "n", "q": "9"}
STOPS = re.compile(r"[.!?]+[\"')\]]*\s+|[。！？]+\s*")
STOP = frozenset(
    ("a", "an", "and", "are", "as", "at", "be", "by", "for", "if", "in", "is", "it", "of", "on", "or", "the", "to")
)


def noisy(
    texts: Sequence[str],
    noise: str = "random",
    *,
    strength: float | None = None,
    seed: str | int = 0,
    others: Sequence[str] = (),
    synonyms: Synonyms | None = None,
) -> list[str]:
    """Add noise to passages: one kind, or ``random``, a kind drawn for each passage.

    ``strength`` between 0 (nothing changes) and 1 replaces the kind's own (see ``NOISES``). ``others`` are the passages
    for irrelevant sentences; ``synonyms`` gives a word's substitutes. ``random`` draws only kinds whose inputs are
    given. A passage in which a kind finds nothing to change is returned unchanged. The noise depends only on the seed
    and the passage's position among the texts.
    """
    kinds = _kinds(noise, bool(others), synonyms is not None)
    if strength is not None and not 0 <= strength <= 1:
        raise ValueError(f"strength={strength}: must lie between 0 and 1")
    out = []
    for place, text in enumerate(texts):
        rng = random.Random(f"{seed}/{place}")
        kind = kinds[int(rng.random() * len(kinds))]
        out.append(_touch(text, kind, NOISES[kind] if strength is None else strength, rng, others, synonyms))
    return out


def _kinds(noise: str, others: bool, synonyms: bool) -> tuple[str, ...]:
    if noise != "random" and noise not in NOISES:
        raise ValueError(f"noise={noise!r}: allowed are 'random', {', '.join(map(repr, NOISES))}")
    lacking = {kind: "others" for kind in NEED_OTHERS if not others} | ({} if synonyms else {"RepSyns": "synonyms"})
    if noise in lacking:
        raise ValueError(f"noise={noise!r}: needs {lacking[noise]}")
    return tuple(kind for kind in NOISES if kind not in lacking) if noise == "random" else (noise,)


def _touch(
    text: str, kind: str, strength: float, rng: random.Random, others: Sequence[str], synonyms: Synonyms | None
) -> str:
    if kind in SENTENCEWISE:
        # Whitespace between sentences stays; each sentence has its own random draw.
        pieces = [(piece, rng.random() < strength) for piece in sentences(text)]
        return "".join(_sentence(piece, kind, rng, synonyms) if hit else piece for piece, hit in pieces)
    if rng.random() >= strength:
        return text
    if kind in NEED_OTHERS:
        return _with_irrelevant(text, kind[-1], rng, others)
    if kind == "DupSent":
        return _repeated(text, rng)
    return _rotated(text, rng) if kind == "RevSent" else _without_punctuation(text)


def sentences(text: str) -> list[str]:
    """Cut a text behind its full stops; each piece keeps the whitespace behind it, so that joined they are the text."""
    cuts = [0, *(m.end() for m in STOPS.finditer(text)), len(text)]
    return [text[a:b] for a, b in itertools.pairwise(cuts) if a < b]


# ------------------------------------------------------------------------------------------------------ whole passages


def _with_irrelevant(text: str, where: str, rng: random.Random, others: Sequence[str]) -> str:
    """Put one to three neighbouring sentences of an irrelevant passage at the head, in the middle or at the tail."""
    found = [s.strip() for s in sentences(_irrelevant(text, rng, others))]
    if not found:
        return text
    count = min(_pick(rng, (1, 2, 3)), len(found))
    at = _pick(rng, range(len(found) - count + 1))
    strange, own = " ".join(found[at : at + count]), sentences(text)
    if where == "T":
        return f"{text.rstrip()} {strange}"
    cut = _pick(rng, range(1, len(own))) if where == "M" and len(own) > 1 else 0
    return "".join([*own[:cut], strange, " ", *own[cut:]])


def _irrelevant(text: str, rng: random.Random, others: Sequence[str]) -> str:
    """A random passage with hardly a stem in common, or else the least similar one of some draws."""
    mine, best, least = _stems(text), "", 2.0
    for _ in range(TRIES):
        other = _pick(rng, others)
        theirs = _stems(other)
        overlap = 2 * len(mine & theirs) / max(1, len(mine) + len(theirs))
        if other != text and overlap < least:
            best, least = other, overlap
        if least < OVERLAP:
            break
    return best


@lru_cache(maxsize=1 << 16)
def _stems(text: str) -> frozenset[str]:
    return frozenset(w[:5] for w in re.findall(r"\w+", text.lower()) if w not in STOP)


def _repeated(text: str, rng: random.Random) -> str:
    """Repeat one sentence of 50 to 300 letters (or the longest), so that it is there two or three times."""
    own = sentences(text)
    fit = [i for i, s in enumerate(own) if 50 <= len(s.strip()) <= 300]
    at = _pick(rng, fit) if fit else max(range(len(own)), key=lambda i: len(own[i]), default=None)
    if at is None:
        return text
    again = " ".join([own[at].strip()] * _pick(rng, (1, 2)))
    return "".join([*own[:at], again, " ", *own[at:]])


def _rotated(text: str, rng: random.Random) -> str:
    """Cut between two sentences and swap the halves."""
    own = [s.strip() for s in sentences(text)]
    if len(own) < 2:
        return text
    cut = _pick(rng, range(1, len(own)))
    return " ".join([*own[cut:], *own[:cut]])


def _without_punctuation(text: str) -> str:
    """Remove every punctuation mark; a mark inside a word splits it."""
    bare = re.sub(rf"[{re.escape(string.punctuation)}。，、；：！？“”‘’（）《》]+", " ", text)
    return " ".join(bare.split()) or text


# --------------------------------------------------------------------------------------------- sentence by sentence


def _sentence(piece: str, kind: str, rng: random.Random, synonyms: Synonyms | None) -> str:
    body = piece.strip()
    if not body:
        return piece
    before, _, behind = piece.partition(body)
    parts = re.split(r"(\s+)", body)  # words at even places, the whitespace between them at odd ones
    if kind == "NoSpace":
        joined = _joined(parts, rng)
    elif kind == "ExtraPunc":
        joined = _punctuated(body, parts, rng)
    else:
        change = _misspelt if kind == "MisSpell" else lambda word, rng: _substituted(word, rng, synonyms)
        joined = _changed(parts, change, rng)
    return before + joined + behind


def _joined(parts: list[str], rng: random.Random) -> str:
    """Write two or three neighbouring words as one."""
    gaps = len(parts) // 2
    if not gaps:
        return "".join(parts)
    count = min(_pick(rng, (1, 2)), gaps)
    at = _pick(rng, range(gaps - count + 1))
    gone = {2 * g + 1 for g in range(at, at + count)}
    return "".join(part for i, part in enumerate(parts) if i not in gone)


def _punctuated(body: str, parts: list[str], rng: random.Random) -> str:
    """Put a short sentence between brackets or the like, and marks behind two or three words of a longer one."""
    words = range(0, len(parts), 2)
    if len(body) < 50 or len(words) <= 5:
        around = _pick(rng, PAIRS)
        return f"{around[0]} {body} {around[1]}"
    chosen = set(rng.sample(words, _pick(rng, (2, 3))))
    return "".join(f"{part} {_pick(rng, MARKS)}" if i in chosen else part for i, part in enumerate(parts))


def _changed(parts: list[str], change: Callable[[str, random.Random], str], rng: random.Random) -> str:
    """Change one to three words of a sentence, out of those that ``change`` finds something for."""
    left, wanted, out = list(range(0, len(parts), 2)), _pick(rng, (1, 2, 3)), list(parts)
    rng.shuffle(left)
    for i in left:
        if not wanted:
            break
        out[i] = change(parts[i], rng)
        wanted -= out[i] != parts[i]
    return "".join(out)


def _misspelt(word: str, rng: random.Random) -> str:
    """Replace a letter by one of a neighbouring key, or by one that looks like it; short words stay."""
    places = [i for i, letter in enumerate(word) if letter.isascii() and letter.isalpha()]
    if len(places) < 4:
        return word
    at = _pick(rng, places)
    letter = word[at].lower()
    beside = next((row[max(0, k - 1) : k] + row[k + 1 : k + 2] for row in ROWS if (k := row.find(letter)) >= 0), "")
    wrong = ALIKE[letter] if letter in ALIKE and rng.random() < 0.5 else _pick(rng, beside)
    return word[:at] + (wrong.upper() if word[at].isupper() else wrong) + word[at + 1 :]


def _substituted(word: str, rng: random.Random, synonyms: Synonyms | None) -> str:
    """A synonym in place of the word, with its capital letter and the marks around it."""
    found = re.fullmatch(r"(\W*)(\w[\w-]*?)(\W*)", word)
    if found is None or synonyms is None:
        return word
    before, bare, behind = found.groups()
    known = [s for s in synonyms(bare.lower()) if s != bare.lower()]
    if not known:
        return word
    other = _pick(rng, known)
    return before + (other.capitalize() if bare[:1].isupper() else other) + behind


def _pick(rng: random.Random, some: Sequence[T]) -> T:
    return some[int(rng.random() * len(some))]
