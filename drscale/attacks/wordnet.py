"""WordNet's dictionary files read as they are: synonyms of a word in its part of speech, put into the word's form."""

from __future__ import annotations

import os
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

# Debian's wordnet-base and its like, then the places where NLTK's downloader puts its data.
PLAIN = ("/usr/share/wordnet", "/usr/local/share/wordnet", "/usr/share/WordNet", "/opt/homebrew/share/wordnet")
NLTK = ("~/nltk_data", "/usr/share/nltk_data", "/usr/local/share/nltk_data", "/usr/lib/nltk_data")
INSTALL = "apt-get install wordnet-base, or python -m nltk.downloader wordnet"

PARTS = ("noun", "verb", "adj", "adv")
_TAGS = {"1": "noun", "2": "verb", "3": "adj", "4": "adv", "5": "adj"}
# Regular endings and what they came from, by form; the order is that of trying.
_ENDINGS = {
    ("noun", "s"): (("ies", "y"), ("es", ""), ("s", "")),
    ("verb", "s"): (("ies", "y"), ("es", "e"), ("es", ""), ("s", "")),
    ("verb", "ed"): (("ied", "y"), ("ed", "e"), ("ed", "")),
    ("verb", "ing"): (("ing", "e"), ("ing", "")),
}
# Verbs whose past is the verb itself: nothing lists them.
_UNCHANGED = {
    "bet",
    "burst",
    "cast",
    "cost",
    "cut",
    "hit",
    "hurt",
    "let",
    "offset",
    "put",
    "quit",
    "read",
    "reset",
    "rid",
}
_UNCHANGED |= {"rid", "set", "shed", "shut", "slit", "split", "spread", "thrust", "upset"}


def find() -> str:
    """Where WordNet stands on this machine: a folder, or NLTK's zip file; empty where it does not."""
    plain = (p for p in (os.environ.get("WNSEARCHDIR", ""), *PLAIN) if p and (Path(p) / "data.noun").is_file())
    roots = [*filter(None, os.environ.get("NLTK_DATA", "").split(os.pathsep)), *NLTK, f"{sys.prefix}/nltk_data"]
    inner = ("corpora/wordnet", "corpora/wordnet.zip")
    return next(plain, "") or next(
        (str(p) for r in roots for i in inner if (p := Path(r).expanduser() / i).exists()), ""
    )


@dataclass(frozen=True)
class Reading:
    """One way to read a word: its lemma, part of speech and form, and how often such a lemma was counted in text."""

    lemma: str
    part: str
    form: str
    times: int


@dataclass(frozen=True)
class WordNet:
    """WordNet in a folder or in NLTK's zip file; files are read when first asked for."""

    place: str

    def __post_init__(self) -> None:
        if "data.noun" not in self._names:
            raise ValueError(f"WordNet: {self.place!r} is no folder or zip file with data.noun in it; {INSTALL}")

    def synonyms(self, word: str, senses: int = 3, same_part: bool = True) -> list[str]:
        """Single words that share one of the word's ``senses`` most frequent senses, in the word's own form.

        The commonest sense comes first; 0 takes all senses. With ``same_part`` only the part of speech in which the
        lemma was counted most often is read, as nothing here tags words in their context; else every one.
        """
        readings = self.readings(word)
        found: dict[str, None] = {}
        for reading in readings[: 1 if same_part else None]:
            for offset in self._index(reading.part).get(reading.lemma, ())[: senses or None]:
                for lemma in self._members(reading.part, offset):
                    inflected = self.inflected(lemma, reading.part, reading.form) if lemma != reading.lemma else ""
                    if inflected and inflected != word:
                        found.setdefault(inflected)
        return list(found)

    def readings(self, word: str) -> list[Reading]:
        """How a word may be read, most often counted first: as it stands, or as a regular or irregular form."""
        found = []
        for part in PARTS:
            index = self._index(part)
            forms = {word: ""} if word in index else self._lemmas(word, part)
            found += [Reading(lemma, part, form, self._times.get((lemma, part), 0)) for lemma, form in forms.items()]
        order = {part: i for i, part in enumerate(PARTS)}
        senses = {r: len(self._index(r.part)[r.lemma]) for r in found}
        return sorted(found, key=lambda r: (-r.times, -senses[r], order[r.part], r.lemma))

    def inflected(self, lemma: str, part: str, form: str) -> str:
        """A lemma in a form ("", s, ed or ing); empty where that form is irregular and not to be told from others."""
        if not form:
            return lemma
        irregular = self._irregular(part).get(lemma, [])
        if form == "s" and part == "noun":
            return irregular[0] if irregular else _with_s(lemma)
        if form == "s":
            return f"{lemma}es" if lemma.endswith("o") else _with_s(lemma)
        if form == "ed" and lemma in _UNCHANGED:
            return ""
        listed = [f for f in irregular if f.endswith(form)]
        others = [f for f in irregular if not f.endswith(("ing", "ed", "s"))]
        if listed:
            return listed[0]
        if form == "ed" and others:  # went or gone: past and participle differ, and nothing says which is meant
            return ""
        if form == "ed" and lemma.endswith("y") and lemma[-2:-1] not in "aeiou":
            return f"{lemma[:-1]}ied"
        stem = lemma[:-1] if lemma.endswith("e") and not lemma.endswith(("ee", "oe", "ye")) else lemma
        return stem + form if form == "ing" or stem != lemma or not lemma.endswith("e") else f"{lemma}d"

    def _lemmas(self, word: str, part: str) -> dict[str, str]:
        """The lemmas that a word may be a form of, with that form."""
        index, exceptions = self._index(part), self._exceptions(part)
        if word in exceptions:
            if part not in ("noun", "verb"):
                return {}
            form = "s" if part == "noun" or word.endswith("s") else "ing" if word.endswith("ing") else "ed"
            return {lemma: form for lemma in exceptions[word] if lemma in index}
        found: dict[str, str] = {}
        for (of, form), endings in _ENDINGS.items():
            for ending, came in endings if of == part and not word.endswith("ss") else ():
                lemma = word.removesuffix(ending) + came
                if word.endswith(ending) and lemma in index and self.inflected(lemma, part, form) == word:
                    found.setdefault(lemma, form)
        return found

    # ------------------------------------------------------------------------------------------------- the files

    @cached_property
    def _names(self) -> dict[str, str]:
        path = Path(self.place)
        if path.is_dir():
            return {p.name: p.name for p in path.iterdir()}
        if not zipfile.is_zipfile(path):
            return {}
        with zipfile.ZipFile(path) as z:
            return {name.rpartition("/")[2]: name for name in z.namelist()}

    @cached_property
    def _held(self) -> dict[str, Any]:
        return {}

    def _bytes(self, name: str) -> bytes:
        if name not in self._names:
            return b""  # cntlist.rev and the lists of exceptions may be missing
        if Path(self.place).is_dir():
            return (Path(self.place) / name).read_bytes()
        with zipfile.ZipFile(self.place) as z:
            return z.read(self._names[name])

    def _index(self, part: str) -> dict[str, tuple[int, ...]]:
        """The offsets of each single-word lemma's senses, the commonest first."""
        return self._kept(f"index.{part}", self._read_index)

    def _read_index(self, name: str) -> dict[str, tuple[int, ...]]:
        index = {}
        for line in self._bytes(name).decode("ascii", "replace").splitlines():
            lemma, *fields = line.split(" ")
            if lemma and lemma.isalpha():  # lines of the licence begin with a space
                index[lemma] = tuple(int(f) for f in fields if len(f) == 8 and f.isdigit())
        return index

    def _members(self, part: str, offset: int) -> list[str]:
        """The single words, all in lower case, of the synset at an offset of a data file."""
        data = self._kept(f"data.{part}", self._bytes)
        fields = data[offset : data.index(b"\n", offset)].split(b" | ")[0].decode("ascii", "replace").split()
        if len(fields) < 4 or int(fields[0]) != offset:
            raise ValueError(f"{self.place}: data.{part} and index.{part} do not belong together (offset {offset})")
        words = (fields[4 + 2 * i].partition("(")[0] for i in range(int(fields[3], 16)))
        return [w for w in words if w.isalpha() and w.islower()]

    def _exceptions(self, part: str) -> dict[str, list[str]]:
        """Irregular forms with their lemmas."""
        return self._kept(f"{part}.exc", self._read_exceptions)

    def _read_exceptions(self, name: str) -> dict[str, list[str]]:
        lines = (line.split() for line in self._bytes(name).decode("ascii", "replace").splitlines())
        return {fields[0]: fields[1:] for fields in lines if len(fields) > 1}

    def _irregular(self, part: str) -> dict[str, list[str]]:
        """Lemmas with their irregular forms."""

        def turned(_: str) -> dict[str, list[str]]:
            found: dict[str, list[str]] = {}
            for form, lemmas in self._exceptions(part).items():
                for lemma in lemmas if form.isalpha() else ():
                    found.setdefault(lemma, []).append(form)
            return found

        return self._kept(f"{part}.exc turned", turned)

    @cached_property
    def _times(self) -> dict[tuple[str, str], int]:
        """How often each lemma was met in tagged text, by part of speech."""
        times: dict[tuple[str, str], int] = {}
        for line in self._bytes("cntlist.rev").decode("ascii", "replace").splitlines():
            key, _, count = line.split(" ")
            lemma, _, rest = key.partition("%")
            place = (lemma, _TAGS[rest[0]])
            times[place] = times.get(place, 0) + int(count)
        return times

    def _kept(self, name: str, read: Callable[[str], T]) -> T:
        if name not in self._held:
            self._held[name] = read(name)
        kept: T = self._held[name]
        return kept


def _with_s(lemma: str) -> str:
    if lemma.endswith("y") and lemma[-2:-1] not in "aeiou":
        return f"{lemma[:-1]}ies"
    return f"{lemma}es" if lemma.endswith(("s", "x", "z", "ch", "sh")) else f"{lemma}s"
