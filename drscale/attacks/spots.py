"""The words of a passage that an attack may swap, and what for: constraints, substitutes, spelling in place."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from drscale.attacks.synonyms import HAN, Synonyms, kin

# Letters on their own: no part of a number, a name with underscores or dots, a path, a call or an address.
WORD = re.compile(r"(?<![\w.@/\\'’-])[^\W\d_]{2,}(?![\w@/\\(='’-]|\.\w)")
RUN = re.compile(r"\w+")
LONGEST = 8  # characters of the longest Chinese word looked for
CONSTRAINTS = ("stop_words", "query_words", "query_candidates")

STOP_WORDS = frozenset(
    """
    about above across after again against all almost along already also although always am among an and another any
    are around as at away back be became because been before behind being below between both but by can cannot could
    did do does doing done down during each either else enough etc even ever every few for from further had has have
    having he her here hers him his how however if in into is it its itself just least less like many may me might
    mine more most much must my near neither never no nor not nothing now of off often on once one only onto or other
    others our out over own per quite rather same several shall she should since so some such than that the their them
    then there therefore these they this those though three through throughout thus to too toward two under unless
    until up upon us use used using very via was we were what whatever when where whether which while who whom whose
    why will with within without would yes yet you your
    """.split()  # noqa: SIM905
)


@dataclass(frozen=True)
class Spot:
    """A word in a passage that may be swapped: where it begins, the word, and its substitutes, the best first."""

    at: int
    word: str
    candidates: tuple[str, ...]


def spots(
    passages: Sequence[str],
    queries: Sequence[str],
    synonyms: Synonyms,
    constraints: Sequence[str] = ("stop_words", "query_words"),
    same_part: bool = True,
    ends: Sequence[int] | None = None,
) -> list[list[Spot]]:
    """The swappable words of each passage, given its query, in the order of the text.

    Constraints: words that carry no content stay (``stop_words``), and so do the query's own words and their forms
    (``query_words``); ``query_candidates`` keeps the query's words from being put in. Numbers and what looks like code
    always stay. ``ends`` is the character up to which each passage is read. Runs of Chinese characters are cut into
    words by :func:`chinese`.
    """
    unknown = sorted(set(constraints) - set(CONSTRAINTS))
    if unknown:
        raise ValueError(f"constraints={tuple(constraints)!r}: allowed are {', '.join(CONSTRAINTS)}")
    read = [len(p) for p in passages] if ends is None else ends
    found = [words_of(p, synonyms, e) for p, e in zip(passages, read, strict=True)]
    words = dict.fromkeys(word.lower() for places in found for _, word in places)
    if "stop_words" in constraints:
        words = {w: None for w in words if w not in STOP_WORDS}
    table = synonyms.of(list(words), same_part)
    asked = {q: sorted({w.lower() for w in RUN.findall(q)}) for q in set(queries)}
    return [
        [
            Spot(at, word, candidates)
            for at, word in places
            if (candidates := _allowed(word, table.get(word.lower(), []), asked[query], constraints))
        ]
        for places, query in zip(found, queries, strict=True)
    ]


def words_of(text: str, synonyms: Synonyms, end: int | None = None) -> list[tuple[int, str]]:
    """The words of a text up to a character, each with its place: what WORD finds, and Chinese words a source knows."""
    end = len(text) if end is None else end
    found = [(m.start(), m[0]) for m in WORD.finditer(_without_chinese(text), 0, end + 2) if m.end() <= end]
    for run in HAN.finditer(text, 0, end):
        found += [(run.start() + at, word) for at, word in chinese(run[0], synonyms) if len(word) > 1]
    return sorted(found)


def chinese(run: str, synonyms: Synonyms) -> list[tuple[int, str]]:
    """Cut a run of Chinese characters from the left into the longest words that a source knows and single characters.

    A source says what it knows by ``knows(word)``; of one that lacks it, the words with a substitute are taken.
    """
    tried = {run[at : at + n] for at in range(len(run)) for n in range(2, min(LONGEST, len(run) - at) + 1)}
    asked = getattr(synonyms, "knows", None)
    known = {w for w in tried if asked(w)} if asked else {w for w, s in synonyms.of(sorted(tried)).items() if s}
    found, at = [], 0
    while at < len(run):
        size = next((n for n in range(LONGEST, 1, -1) if run[at : at + n] in known and at + n <= len(run)), 1)
        found.append((at, run[at : at + size]))
        at += size
    return found


def check_words(passages: Sequence[str], source: Synonyms, same_part: bool) -> None:
    """ValueError if it is the source that left nothing to swap: a success of 0 would look like robustness."""
    words = sorted({word.lower() for text in passages for _, word in words_of(text, source)})
    if not any(source.of(words, same_part).values()):
        some = f"as {', '.join(map(repr, words[:3]))}" if words else "for it finds no words that it knows"
        raise ValueError(
            f"synonyms {source.source!r}: no substitute for any word of the {len(passages)} passages, {some}; "
            "give a source in their language"
        )


def count(text: str, synonyms: Synonyms, end: int) -> int:
    """How many words a text has up to a character; in Chinese a character that is in no known word counts as one."""
    plain = len(RUN.findall(_without_chinese(text), 0, end))
    return plain + sum(len(chinese(run[0], synonyms)) for run in HAN.finditer(text, 0, end))


def _without_chinese(text: str) -> str:
    return HAN.sub(lambda run: " " * len(run[0]), text)


def _allowed(word: str, candidates: Sequence[str], asked: Sequence[str], constraints: Sequence[str]) -> tuple[str, ...]:
    """The substitutes that the constraints leave, written like the word they replace."""
    if not candidates or ("query_words" in constraints and _asked(word.lower(), asked)):
        return ()
    kept = [c for c in candidates if "query_candidates" not in constraints or not _asked(c, asked)]
    return tuple(dict.fromkeys(like(c, word) for c in kept if c != word.lower()))


def _asked(word: str, asked: Sequence[str]) -> bool:
    if HAN.fullmatch(word):
        return any(word in q for q in asked)
    return any(q[0] == word[0] and kin(word, q) for q in asked)


def like(candidate: str, word: str) -> str:
    """A substitute in the capitals of the word it replaces."""
    if word.isupper() and len(word) > 1:
        return candidate.upper()
    return candidate[:1].upper() + candidate[1:] if word[:1].isupper() else candidate


def swapped(text: str, swaps: Sequence[tuple[int, str, str]]) -> str:
    """A text with words put in place of others; each swap is (where it began in the original, old word, new word)."""
    parts, done = [], 0
    for at, old, new in sorted(swaps):
        if text[at : at + len(old)] != old or at < done:
            raise ValueError(f"swap at {at}: the text has {text[at : at + len(old)]!r} there, not {old!r}")
        parts += [text[done:at], new]
        done = at + len(old)
    return "".join([*parts, text[done:]])
