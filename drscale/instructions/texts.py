"""Queries with an instruction: which package must answer a need that several packages answer.

A need is a function of one name in several packages whose summaries say nearly the same. The needs, queries and
passages are real text, docstrings of installed packages. The instructions are made: a template, such as "answer from
{}", filled with a package's name. Where one need is answered by two packages, the same query with the other
instruction asks for the other passage, so the two are each other's negatives and only the instruction tells them apart.
"""

from __future__ import annotations

import hashlib
import math
import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import pandas as pd
import pyarrow as pa

from drscale.texts.cache import cached_table, key_of
from drscale.texts.collection import Benchmark, Collection, from_pairs, shuffled
from drscale.texts.docs import OUTSIDE, TRAIN, docs_collections
from drscale.texts.near import near_duplicates, normalised
from drscale.texts.sources import Source
from drscale.texts.split import related
from drscale.texts.tables import TextsWarning

LEAST = 0.25  # summaries this similar, and a common name, are one need
COPIED = 0.5  # bodies this similar are copies of each other: no reader could tell them apart by their package
STEM = 5  # letters of a word that count, so that "array" is "arrays"
WORD = re.compile(r"[a-z]+")


def short_name(name: str) -> str:
    """What a documented thing is called, without its module, in lower case: ``numpy.fft._pocketfft.fft`` is ``fft``."""
    return re.split(r"[.:]", name.partition("#")[0])[-1].lower().strip("_")


class Alike:
    """How alike two summaries are: the Jaccard similarity of their words' stems, rare words weighing more.

    A stem weighs ln(summaries / summaries that have it); both sums run over these weights. Between 0 and 1.
    """

    def __init__(self, summaries: Sequence[str]) -> None:
        self.stems = [frozenset(w[:STEM] for w in WORD.findall(s.lower())) for s in summaries]
        seen = Counter(stem for stems in self.stems for stem in stems)
        self.weights = {stem: math.log(len(summaries) / n) for stem, n in seen.items()}

    def __call__(self, one: int, other: int) -> float:
        a, b = self.stems[one], self.stems[other]
        return self._weight(a & b) / (self._weight(a | b) or 1.0)

    def _weight(self, stems: frozenset[str]) -> float:
        return math.fsum(self.weights[stem] for stem in stems)


def find_needs(docs: pd.DataFrame, least: float = LEAST) -> list[list[int]]:
    """Find sets of rows that answer one need in different packages, at most one row a package.

    ``docs`` has the columns id, package, query (the summary) and passage. The most similar pair is joined first; two
    sets are joined where every pair across them is alike enough, of one name, and no copy of the other. Special methods
    (``__init__``) are left out: their names say nothing. Sorted; the same rows give the same sets everywhere.
    """
    if not 0 < least <= 1:
        raise ValueError(f"find_needs(least={least}): must lie in (0, 1]")
    packages, alike = docs["package"].tolist(), Alike(docs["query"].tolist())
    edges = _edges(docs["id"].tolist(), packages, alike, least)
    rows = sorted({row for pair in edges for row in pair})
    for one, other in near_duplicates([docs["passage"].iloc[row] for row in rows], threshold=COPIED).tolist():
        edges.pop((rows[one], rows[other]), None)
    home = {row: row for row in rows}
    members = {row: [row] for row in rows}
    for one, other in sorted(edges, key=lambda pair: (-edges[pair], pair)):
        a, b = home[one], home[other]
        across = [(min(i, j), max(i, j)) for i in members[a] for j in members[b]]
        if a == b or any(pair not in edges for pair in across):  # rows of one package have no edge
            continue
        members[a] += members.pop(b)
        home.update(dict.fromkeys(members[a], a))
    return sorted(sorted(some) for some in members.values() if len(some) > 1)


def siblings(docs: pd.DataFrame, needs: Sequence[Sequence[int]]) -> set[int]:
    """The rows in no need that share their name and package with a row of one: they may answer it as well."""
    inside = {row for need in needs for row in need}
    names, packages = [short_name(i) for i in docs["id"]], docs["package"].tolist()
    taken = {(names[row], packages[row]) for row in inside}
    return {row for row in range(len(docs)) if row not in inside and (names[row], packages[row]) in taken}


def sides(docs: pd.DataFrame, needs: Sequence[Sequence[int]]) -> list[int]:
    """Number the groups of needs that share a name, so that a split can keep each on one side."""
    first: dict[str, int] = {}
    return [first.setdefault(short_name(docs["id"].iloc[need[0]]), len(first)) for need in needs]


def _edges(names: list[str], packages: list[str], alike: Alike, least: float) -> dict[tuple[int, int], float]:
    """Pairs of rows of one name in two packages, and how alike they are."""
    called: dict[str, list[int]] = defaultdict(list)
    for row, name in enumerate(names):
        if not name.partition("#")[0].endswith("__"):
            called[short_name(name)].append(row)
    return {
        (one, other): value
        for rows in called.values()
        for i, one in enumerate(rows)
        for other in rows[i + 1 :]
        if packages[one] != packages[other] and (value := alike(one, other)) >= least
    }


BUILDER = 1  # raise when what comes out changes: it is part of the cache key
SEPARATOR = " "  # between query and instruction, in this order
TEMPLATES = (
    "answer from {}",
    "use {}",
    "in {}",
    "the {} way",
    "only {} documentation",
    "I work with {}",
)
UNSEEN = ("show me what {} offers", "I can import nothing but {}")  # asked in the test only
SPOKEN = {
    "sklearn": "scikit-learn",
    "stdlib": "the standard library",
    "torch": "PyTorch",
    "huggingface_hub": "Hugging Face Hub",
    "sentence_transformers": "Sentence Transformers",
}
# Words that give a package away: its own name, the one it is spoken by, and the short name it is imported under.
TELLING = ("np", "pd", "nx", "sm", "scikit", "huggingface", "hugging", "python", "transformer", "dataset")
MOST_WORDS = 24  # of a query, so that the instruction behind it is read
SINGLES = 1000  # test pairs of one package's own
SHARE = 1 / 3  # of the needs, held out for the test
VALIDATION = 1 / 4  # of the test side's needs and single pairs, for the validation of a benchmark
COLUMNS = ["id", "package", "query", "passage", "need", "split"]


@dataclass(frozen=True, eq=False)
class Instructed:
    """Docstrings by package, the needs they share and which side of the split they are on.

    ``docs`` has a row a docstring: id, package, query, passage, need (-1 for what one package alone answers) and split
    (``train`` or ``test``). ``left_out`` counts what was not taken, and why.
    """

    docs: pd.DataFrame
    left_out: Mapping[str, int] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if missing := [c for c in COLUMNS if c not in self.docs.columns]:
            raise ValueError(f"Instructed: docs lacks the columns {', '.join(missing)}")
        if twice := self.docs["id"][self.docs["id"].duplicated()].tolist():
            raise ValueError(f"Instructed: docs has the id {twice[0]!r} more than once")

    def __repr__(self) -> str:
        return f"Instructed({len(self.docs):,} docstrings, {self.fingerprint[:12]})"

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over the rows."""
        rows = self.docs[COLUMNS].to_json(orient="values", force_ascii=True)
        return hashlib.sha256(rows.encode()).hexdigest()

    def part(self, split: str) -> Instructed:
        """One side of the split."""
        allowed = sorted(self.docs["split"].unique())
        if split not in allowed:
            raise ValueError(f"part(split={split!r}): allowed are {', '.join(allowed)}")
        return replace(self, docs=self.docs[self.docs["split"] == split].reset_index(drop=True))

    @cached_property
    def pool(self) -> Collection:
        """All docstrings, each query with its own passage: one object, whose passages a retriever encodes once."""
        return _pairs(self.docs)

    @property
    def counts(self) -> pd.DataFrame:
        """What there is on each side: needs, passages that answer one, questions asked of them, single pairs."""
        rows = []
        for split, docs in self.docs.groupby("split"):
            sizes = docs.loc[docs["need"] >= 0, "need"].value_counts()
            row = {"split": split, "needs": len(sizes), "passages": int(sizes.sum())}
            row |= {"questions": int((sizes**2).sum()), "triplets": int((sizes**2 * (sizes - 1)).sum())}
            rows.append(row | {"singles": int((docs["need"] < 0).sum()), "packages": docs["package"].nunique()})
        return pd.DataFrame(rows)


def instructed(progress: bool = True) -> Instructed:
    """Find the needs that installed packages share, and split them into train and test.

    The packages are those of the benchmark ``docs``. A query has at most 24 words and names no package; a need has one
    passage a package, and what else of a package is called the same is left out, as it may answer too. A third of the
    needs is held out, those of one name together, and with them 1,000 single pairs. Training loses what is related to
    the test (:func:`drscale.texts.related`) or is called like one of its needs. Built once for a set of versions.
    """
    collections = docs_collections(_installed(), progress=progress)
    versions = {name: v for c in collections for name, v in c.versions.items()}
    key = key_of([c.fingerprint for c in collections], BUILDER, LEAST, COPIED, MOST_WORDS, SINGLES, SHARE, TELLING)
    kept = cached_table("instructed", key, lambda: _build(_rows(collections)))
    out, docs = kept[kept["split"].str.startswith("out: ")], kept[~kept["split"].str.startswith("out: ")]
    left_out = {str(why).removeprefix("out: "): int(n) for why, n in out["split"].value_counts().items()}
    return Instructed(docs.reset_index(drop=True), left_out, versions)


def instruction(package: str, template: str = TEMPLATES[0]) -> str:
    """Write the instruction that a package must answer."""
    return template.format(SPOKEN.get(package, package))


def asked(query: str, told: str) -> str:
    """A query with an instruction behind it."""
    return f"{query}{SEPARATOR}{told}" if told else query


def questions(part: Instructed, templates: tuple[str, ...] = TEMPLATES, seed: int = 0) -> pd.DataFrame:
    """Every query asked of every package that answers its need, a row a question.

    Columns: query (an id), need, home (the package whose summary the query is), package (the one asked), told (the
    instruction), text (the query alone), passage (the id that answers). A need of k packages gives k * k questions, a
    single docstring one. The template is drawn by the seed, the query and the package, the same for all models.
    """
    if not templates or any("{}" not in t for t in templates):
        raise ValueError(f"templates={templates!r}: at least one, each with a {{}} for the package")
    own = part.docs[["id", "package", "need", "query"]].rename(columns={"package": "home", "query": "text"})
    own = own.assign(
        place=range(len(own)), group=[n if n >= 0 else i for n, i in zip(own["need"], own["id"], strict=True)]
    )
    answers = own.rename(columns={"id": "passage", "home": "package"})[["passage", "package", "group"]]
    rows = own.merge(answers, on="group").sort_values(["place", "passage"], kind="stable", ignore_index=True)
    picked = [
        templates[_draw(f"{seed}/{i}/{p}", len(templates))] for i, p in zip(rows["id"], rows["package"], strict=True)
    ]
    rows["told"] = [instruction(package, template) for package, template in zip(rows["package"], picked, strict=True)]
    rows["query"] = rows["id"] + ">" + rows["package"]
    alike = pd.DataFrame({"text": rows["text"].map(normalised), "package": rows["package"], "need": rows["group"]})
    rows = rows[~alike.duplicated()].reset_index(drop=True)  # two packages may word their summaries alike
    return rows[["query", "need", "home", "package", "told", "text", "passage"]]


def triplets(part: Instructed, templates: tuple[str, ...] = TEMPLATES, seed: int = 0) -> pd.DataFrame:
    """Questions beside the contradicting ones: the same query, another package, another passage; a row a pair of them.

    Adds to :func:`questions` the columns other, other_told and other_passage. Single docstrings have none.
    """
    rows = questions(part, templates, seed)
    rows = rows[rows["need"] >= 0].assign(asked_by=lambda r: [q.rpartition(">")[0] for q in r["query"]])
    others = rows[["asked_by", "package", "told", "passage"]].add_prefix("other_")
    both = rows.merge(others, left_on="asked_by", right_on="other_asked_by").rename(columns={"other_package": "other"})
    return both[both["package"] != both["other"]].drop(columns=["asked_by", "other_asked_by"]).reset_index(drop=True)


@dataclass(frozen=True, eq=False)
class Questions(Collection):
    """Questions and all passages of a part; ``part`` are the docstrings that the strategy ``instructed`` draws from.

    The passages stand in the order of the part's rows. A selection of questions is a plain collection again.
    """

    part: Instructed | None = None


def collection(part: Instructed, rows: pd.DataFrame, name: str = "instructed", told: bool = True) -> Questions:
    """Make a collection of questions and all passages of a part; ``told=False`` leaves the instructions out.

    Every question has the one passage that its package gives, told or not, so that the two can be compared.
    """
    texts = [asked(t, i if told else "") for t, i in zip(rows["text"], rows["told"], strict=True)]
    return Questions(
        name,
        pa.table({"id": rows["query"].tolist(), "text": texts}),
        pa.table({"id": part.docs["id"].tolist(), "text": part.docs["passage"].tolist()}),
        pa.table(
            {
                "query": rows["query"].tolist(),
                "passage": rows["passage"].tolist(),
                "relevance": pa.array([1] * len(rows), pa.int32()),
            }
        ),
        versions=dict(part.versions),
        part=part,
    )


def instructed_benchmark(source: Source, progress: bool = True) -> Benchmark:
    """Read the source ``instructed``: questions with their instructions, or without them (``told=0``)."""
    told = source.number("told", 1)
    if told not in (0, 1):
        raise ValueError(f"texts {str(source)!r}: told={told}, allowed are 0 and 1")
    return benchmark_of(instructed(progress), str(source), told=bool(told))


def benchmark_of(texts: Instructed, name: str = "instructed", *, told: bool = True) -> Benchmark:
    """Make a benchmark of questions: the training side, and the test side in two, with no domain outside.

    A quarter of the test side's needs, those of one name together, and of its single docstrings is the validation, less
    what is related to the rest, which is the test. The measures of instructions ask the whole test side, so a recipe
    that selects by validation has seen a part of their questions; ``select="last"`` has not.
    """
    docs = texts.part("test").docs
    called = docs["id"].map(short_name)
    names, singles = sorted(set(called[docs["need"] >= 0])), np.flatnonzero(docs["need"] < 0)
    drawn = {names[i] for i in shuffled(len(names), 2)[: round(VALIDATION * len(names))]}
    away = np.array(called.isin(drawn) & (docs["need"] >= 0))
    away[singles[shuffled(len(singles), 3)[: round(VALIDATION * len(singles))]]] = True
    held, rest = docs[away], docs[~away]
    close = related(_pairs(held), _pairs(rest))
    gone = set(held["need"][close]) - {-1}  # a need goes as a whole
    sides = {"train": texts.part("train").docs, "validation": held[~close & ~held["need"].isin(gone)], "test": rest}
    made: dict[str, Collection] = {}
    for side, rows in sides.items():
        part = replace(texts, docs=rows.reset_index(drop=True))
        made[side] = collection(part, questions(part), f"{name}/{side}", told)
    return Benchmark(name, made["train"], made["validation"], made["test"])


def names_a_package(text: str) -> bool:
    """Whether a text has a word that gives a package away, in the singular or the plural."""
    return bool(_telling().search(text))


def _telling() -> re.Pattern[str]:
    words = {w for p in (*TRAIN, *OUTSIDE) for w in (p, *SPOKEN.get(p, p).split())} - {"the", "standard", "library"}
    words -= {"Face", "Hub", "Sentence"}
    return re.compile(rf"\b(?:{'|'.join(sorted(map(re.escape, {*words, *TELLING})))})s?\b", re.IGNORECASE)


def _installed() -> list[str]:
    import importlib.util

    found = [p for p in (*TRAIN, *OUTSIDE) if p == "stdlib" or importlib.util.find_spec(p) is not None]
    if absent := [p for p in (*TRAIN, *OUTSIDE) if p not in found]:
        warnings.warn(f"instructed: without {', '.join(absent)} (not installed)", TextsWarning, stacklevel=3)
    return found


def _rows(collections: list[Collection]) -> pd.DataFrame:
    parts = [
        pd.DataFrame(
            {
                "id": c.queries["id"].to_pylist(),
                "package": c.domain,
                "query": c.queries["text"].to_pylist(),
                "passage": c.passages["text"].to_pylist(),
            }
        )
        for c in collections
    ]
    return pd.concat(parts, ignore_index=True)


def _build(rows: pd.DataFrame) -> pd.DataFrame:
    """Mark every row with its need and its split; what is left out says why."""
    telling = _telling()
    rows = rows.assign(need=-1, split="")
    long = np.array([len(text.split()) > MOST_WORDS for text in rows["query"]])
    told = np.array([bool(telling.search(text)) for text in rows["query"]])
    rows.loc[told, "split"] = "out: the query names a package"
    rows.loc[long, "split"] = "out: a long query"
    free = np.flatnonzero(rows["split"] == "")
    docs = rows.iloc[free].reset_index(drop=True)
    found = find_needs(docs)
    for number, need in enumerate(found):
        rows.loc[free[need], "need"] = number
    rows.loc[free[sorted(siblings(docs, found))], "split"] = "out: named like what answers a need"
    _split(rows, sides(docs, found))
    return rows[COLUMNS]


def _split(rows: pd.DataFrame, sides: list[int]) -> None:
    """Hold out whole groups of needs and single rows; put out of training what is related to them."""
    groups = max(sides) + 1
    held = set(shuffled(groups, 0)[: round(SHARE * groups)].tolist())
    tested = np.array([side in held for side in sides])
    some, single = rows["need"] >= 0, (rows["need"] < 0) & (rows["split"] == "")
    rows.loc[some, "split"] = np.where(tested[rows.loc[some, "need"].to_numpy()], "test", "train")
    free = np.flatnonzero(single)
    rows.loc[free, "split"] = "train"
    rows.loc[free[shuffled(len(free), 1)[:SINGLES]], "split"] = "test"
    test, train = rows[rows["split"] == "test"], np.flatnonzero(rows["split"] == "train")
    names = set(test.loc[test["need"] >= 0, "id"].map(short_name))
    inside = rows.iloc[train]
    close = related(_pairs(inside), _pairs(test)) | inside["id"].map(short_name).isin(names).to_numpy()
    gone = set(rows.iloc[train[close]]["need"]) - {-1}  # a need goes as a whole
    out = np.zeros(len(rows), bool)
    out[train] = close | inside["need"].isin(gone).to_numpy()
    rows.loc[out, "need"], rows.loc[out, "split"] = -1, "out: related to the test"


def _pairs(rows: pd.DataFrame) -> Collection:
    """Rows as a collection in which each query has its own passage; equal queries stay apart by their ids."""
    return from_pairs("docstrings", zip(rows["id"], rows["query"], rows["passage"], strict=True))


def _draw(text: str, count: int) -> int:
    """A number below ``count`` that depends on the text alone."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") % count
