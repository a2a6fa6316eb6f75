"""Queries with an instruction: which package shall answer a need that several packages answer.

The needs, queries and passages are real text, docstrings of installed packages (:mod:`drscale.texts.needs`). The
instructions are made: a template, such as "answer from {}", filled with a package's name. Where one need is answered by
two packages, the same query with the other instruction asks for the other passage, so the two are each other's
negatives and nothing but the instruction tells them apart.
"""

from __future__ import annotations

import hashlib
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import pandas as pd
import pyarrow as pa

from drscale.texts import needs
from drscale.texts.cache import cached_table, key_of
from drscale.texts.collection import Collection, from_pairs, shuffled
from drscale.texts.docs import OUTSIDE, TRAIN, docs_collections
from drscale.texts.near import normalised
from drscale.texts.split import related
from drscale.texts.tables import TextsWarning

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
    key = key_of(
        [c.fingerprint for c in collections], BUILDER, needs.LEAST, needs.COPIED, MOST_WORDS, SINGLES, SHARE, TELLING
    )
    kept = cached_table("instructed", key, lambda: _build(_rows(collections)))
    out, docs = kept[kept["split"].str.startswith("out: ")], kept[~kept["split"].str.startswith("out: ")]
    left_out = {str(why).removeprefix("out: "): int(n) for why, n in out["split"].value_counts().items()}
    return Instructed(docs.reset_index(drop=True), left_out, versions)


def instruction(package: str, template: str = TEMPLATES[0]) -> str:
    """Say in words that a package shall answer."""
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


def collection(part: Instructed, rows: pd.DataFrame, name: str = "instructed", told: bool = True) -> Collection:
    """Make a collection of questions and all passages of a part; ``told=False`` leaves the instructions out.

    Every question has the one passage that its package gives, told or not, so that the two can be compared.
    """
    texts = [asked(t, i if told else "") for t, i in zip(rows["text"], rows["told"], strict=True)]
    return Collection(
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
    )


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
    found = needs.find_needs(docs)
    for number, need in enumerate(found):
        rows.loc[free[need], "need"] = number
    rows.loc[free[sorted(needs.siblings(docs, found))], "split"] = "out: named like what answers a need"
    _split(rows, needs.sides(docs, found))
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
    names = set(test.loc[test["need"] >= 0, "id"].map(needs.short_name))
    inside = rows.iloc[train]
    close = related(_pairs(inside), _pairs(test)) | inside["id"].map(needs.short_name).isin(names).to_numpy()
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
