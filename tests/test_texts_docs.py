"""The text of installed packages: read without running it, cleaned of markup, and a split that leaks nothing."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
import textwrap
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from drscale.texts import Benchmark, Collection, TextsWarning, benchmark, collection
from drscale.texts.docs import OUTSIDE, TRAIN, docs_collection
from drscale.texts.docstrings import clean, docstrings, pair_of, prose_of, split_summary

BODY = " ".join(f"word{i}" for i in range(20))

PACKAGE = {
    "__init__.py": '''
        """A package that must never be imported, only read.

        Whoever imports it meets an error, so this text can only have come out of the syntax tree of the file. Good.
        """
        raise RuntimeError("imported")
        ''',
    "sub/work.py": '''
        import numpy
        class Thing:
            r"""Hold a thing that several people share :class:`~a.b.Other`.

            Explanation
            ===========

            It holds ``what`` you put into it, see `the guide <https://example.org>`_ and [1]_, \\
            *not* more than **one** at a time, and it does so for as long as you like.

            .. math:: a + b

                c + d

            .. deprecated:: 1.2
               Use something else.

            .. note:: Kept note.

            Parameters
            ----------
            size : int
                How large it is.

            Notes
            -----
            A remark that prose keeps as well, and that has enough words to count as something of its own.

            Examples
            --------
            >>> Thing(3)  # doctest: +SKIP
            Thing(3)
            """
            async def later(self):
                """Do the thing at a later time.

                :param when: the time at which it shall be done
                :returns: nothing at all, since it happens later and nobody can know the result before it is there
                """
        if numpy:
            def f(x):
                """Fold x with itself many times.

                Args:
                    x (int): what is folded, a number between one and ten, of which the caller keeps the ownership here
                """
        else:
            def f(x):
                """Fold x but otherwise than above.

                Args:
                    x: it is a wholly other description of the argument, with as many words as one needs for a pair
                """
        add_docstr(numpy.ger, r"""
        ger(input, vec2, *, out=None) -> Tensor

        Outer product of the two vectors given.

        If input is a vector of size n and vec2 of size m, out must be a matrix of the size n times m, or none {a}
        """.format(a=1))
        add_newdoc("mod", "name", ("attr", """Attribute that was described elsewhere.

        Its description stands in a call and not in a definition, because the thing itself is written in another tongue.
        """))
        ''',
    "tests/test_it.py": f'"""A test that is no documentation.\n\n{BODY}"""',
    "broken.py": f'"""A file with a syntax error inside.\n\n{BODY}"""\ndef (',
    "latin.py": f'"""A file of another encoding é.\n\n{BODY}"""',
    "copy.py": '''
        """A package that must never be imported, only read.

        An equal query with another text, which is dropped since one could not say whose passage is the right one here.
        """
        def near():
            """Nearly the same passage as another function has.

            It holds what you put into it, see the guide and not more than one at a time, and it does so for as long as
            you like, or not quite. A different end of it makes it no other text. size : int How large it is.
            """
        def near2():
            """Very nearly the same passage as another.

            It keeps what you put into it, see the guide and not more than one at a time, and it does so for as long as
            you like, or not quite. A different end of it makes it no other text. size : int How large it is.
            """
        def inside():
            """Stands in its own passage verbatim.

            The query stands in its own passage verbatim. That would be too easy, and so it is left out of the pairs.
            """
        def short():
            """Has a passage that is short.

            Too short.
            """
        ''',
}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    for file, source in PACKAGE.items():
        path = tmp_path / "readonly" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(source), encoding="latin-1" if file == "latin.py" else "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("DRSCALE_CACHE", str(tmp_path / "cache"))
    return "readonly"


def pairs(c: Collection) -> dict[str, tuple[str, str]]:
    rows = zip(c.queries["id"].to_pylist(), c.queries["text"].to_pylist(), c.passages["text"].to_pylist(), strict=True)
    return {name: (query, passage) for name, query, passage in rows}


def test_a_package_is_read_but_never_run(package: str) -> None:
    c = collection(f"docs:{package}", progress=False)
    assert package not in sys.modules
    assert (c.name, c.domain, c.synthetic) == ("docs:readonly", "readonly", False)
    assert c.versions[package].startswith("files-")  # it belongs to no distribution
    found = pairs(c)
    assert list(found) == [
        "readonly",
        "readonly.copy.near",
        "readonly.sub.work.Thing",
        "readonly.sub.work.Thing.later",
        "readonly.sub.work.f",
        "readonly.sub.work.f#2",
        "readonly.sub.work:numpy.ger",
        "readonly.sub.work:mod.name.attr",
    ]
    assert found["readonly.sub.work.Thing"] == (
        "Hold a thing that several people share a.b.Other.",
        "It holds what you put into it, see the guide and , not more than one at a time, and it does so for as long as"
        " you like. Kept note. size : int How large it is. A remark that prose keeps as well, and that has enough words"
        " to count as something of its own. Thing(3) Thing(3)",
    )
    assert found["readonly.sub.work:numpy.ger"] == (
        "Outer product of the two vectors given.",
        "If input is a vector of size n and vec2 of size m, out must be a matrix of the size n times m, or none",
    )
    assert found["readonly.sub.work.Thing.later"][1].startswith("when: the time at which it shall be done : nothing")


def test_prose_leaves_parameters_and_examples_out(package: str) -> None:
    found = pairs(collection(f"docs:{package}?body=prose", progress=False))
    passage = found["readonly.sub.work.Thing"][1]
    assert "A remark that prose keeps" in passage
    assert "Kept note" in passage
    assert "How large" not in passage
    assert "Thing(3)" not in passage
    assert "readonly.sub.work.f" not in found


def test_other_processes_read_the_same(package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prints = set()
    for processes in (1, 2):
        monkeypatch.setenv("DRSCALE_CACHE", str(tmp_path / f"cache{processes}"))
        prints.add(docs_collection(package, progress=False, processes=processes).fingerprint)
    assert len(prints) == 1


def test_a_part_of_a_package_and_a_package_without_pairs(package: str, tmp_path: Path) -> None:
    assert all(
        name.startswith("readonly.sub.work") for name in pairs(collection(f"docs:{package}.sub", progress=False))
    )
    assert len(collection(f"docs:{package}.sub.work", progress=False)) == 6
    (tmp_path / "bare.py").write_text("x = 1\n")
    with pytest.raises(ValueError, match=r"docs:bare.*no docstring makes a pair"):
        collection("docs:bare", progress=False)


def test_a_changed_package_without_a_version_is_read_again(package: str, tmp_path: Path) -> None:
    before = collection(f"docs:{package}", progress=False)
    (tmp_path / package / "copy.py").write_text('"""Another text than the one before."""\n')
    assert collection(f"docs:{package}", progress=False).fingerprint != before.fingerprint


@pytest.mark.parametrize(
    ("raw", "cleaned"),
    [
        (":func:`numpy.sum` and :meth:`~a.b.c`, :math:`x^2`", "numpy.sum and a.b.c, x^2"),
        ("see :ref:`the guide <guide>` or ``code`` or `name`_", "see the guide or code or name"),
        ("a [link](https://x.y) in [`Markdown`]", "a link in [Markdown]"),
        ("Title here\n==========\ntext", "text"),
        ("+---+---+\n| a | b |\n+---+---+", "| a | b |"),
        (".. versionadded:: 1.0\n   More of it.\n\nafter", "after"),
        (".. warning::\n   Mind this.\n\nafter", "Mind this. after"),
        (".. comment that is hidden\n\nafter", "after"),
        (".. image:: a.png\n   :width: 3\n\nafter", "after"),
        ("f(*args, **kwargs) and *emphasis* and **strong**", "f(*args, **kwargs) and emphasis and strong"),
        ("2**3 * 4 and x*y and 'a*b*'", "2**3 * 4 and x*y and 'a*b*'"),
        ("[1] * 30 + [0]*(n - 30)", "[1] * 30 + [0]*(n - 30)"),
        (">>> f(1\n...   , 2)\n3", "f(1 , 2) 3"),
        ("<Tip>\n\nMind *this*.\n\n</Tip>", "Mind this."),
        ("keep <bos> and <unk> tokens", "keep <bos> and <unk> tokens"),
        ("```python\nx = 1\n\n```", "x = 1"),
        (":param int size: how large", "int size: how large"),
        ("- one\n- two\n* three", "one two three"),
        ("As here::\n\n    code", "As here: code"),
    ],
)
def test_markup_is_stripped(raw: str, cleaned: str) -> None:
    assert clean(raw) == cleaned


@pytest.mark.parametrize(
    ("doc", "summary"),
    [
        ("f(x, y=(1, 2)) -> Tensor\n\nThe sum of both.\n\nRest.", "The sum of both."),
        ("f(x) -> int\n\nf(x, y) -> float\n\nThe sum.\n\nRest.", "The sum."),
        ("f(x)\nThe sum of it.\n\nRest.", "f(x) The sum of it."),
        ("===\nTitle\n===\n\nThe text.\n\nRest.", "The text."),
        ("Title\n=====\nThe text.\n\nRest.", "The text."),
        (".. note:: Not this.\n\nBut this.\n\nRest.", "But this."),
        ("Over\ntwo lines.\n\nRest.", "Over two lines."),
        ("", ""),
        ("f(x)", ""),
    ],
)
def test_the_summary_is_the_first_paragraph_of_prose(doc: str, summary: str) -> None:
    assert split_summary(doc)[0] == summary


def test_sections_that_prose_keeps() -> None:
    rest = "Extended.\n\nArgs:\n    x: no\n\nNotes\n-----\nNoted.\n\nReturns\n-------\nno"
    assert clean(prose_of(rest)) == "Extended. Noted."


@given(st.text(st.sampled_from("ab \n.:`*_=-<>[](){}%\\>~|"), max_size=80))
def test_any_docstring_is_read_without_a_crash(doc: str) -> None:
    for body in ("full", "prose"):
        pair = pair_of(f"{doc}\n\n{BODY}", body)
        assert pair is None or (4 <= len(pair[0].split()) <= 60 and len(pair[1].split()) >= 15)
    assert "\n" not in clean(doc)


def test_definitions_in_every_corner_are_found() -> None:
    source = """
try:
    def a(): "doc a"
except ImportError:
    def b(): "doc b"
with x:
    class C:
        "doc C"
        def d(self):
            "doc d"
            def e(): "doc e"
match x:
    case 1:
        async def f(): "doc f"
"""
    assert dict(docstrings(source, "m")) == {
        "m.a": "doc a", "m.b": "doc b", "m.C": "doc C", "m.C.d": "doc d", "m.C.d.e": "doc e", "m.f": "doc f"
    }  # fmt: skip


def test_the_text_is_the_one_that_studies_were_measured_on() -> None:
    """Where a package has the version of the study, its collection has the study's fingerprint."""
    reference = json.loads((ROOT / "tests" / "reference" / "texts.json").read_text())
    there = {name: collection(f"docs:{name}", progress=False) for name in reference}
    same = {name: c for name, c in there.items() if c.versions[name] == reference[name]["version"]}
    assert {name: c.fingerprint for name, c in same.items()} == {name: reference[name]["fingerprint"] for name in same}
    assert len(same) >= 12  # constraints.txt pins the packages; the standard library's version may differ


# The benchmark


@pytest.fixture(scope="module")
def docs() -> Benchmark:
    return benchmark("docs", progress=False)


def test_the_benchmark_has_its_parts(docs: Benchmark) -> None:
    assert 16_000 <= len(docs.train) <= 19_000
    assert (len(docs.test), len(docs.validation)) == (1000, 500)
    assert tuple(docs.ood) == OUTSIDE
    assert all(300 <= len(c) <= 1000 for c in docs.ood.values())
    assert len(docs.ood) >= 8
    assert not docs.synthetic
    assert docs.versions.keys() == {*TRAIN, *OUTSIDE}


def test_splits_are_stratified_over_packages(docs: Benchmark) -> None:
    def shares(c: Collection) -> np.ndarray:
        packages = [name.split(".")[0].split(":")[0] for name in c.queries["id"].to_pylist()]
        return np.array([packages.count(package) for package in TRAIN]) / len(c)

    assert sum(shares(docs.train)) == pytest.approx(1)
    np.testing.assert_allclose(shares(docs.test), shares(docs.train), atol=0.02)
    np.testing.assert_allclose(shares(docs.validation), shares(docs.train), atol=0.02)


def test_every_pair_keeps_the_rules(docs: Benchmark) -> None:
    for name, c in docs.parts().items():
        rows = c.pairs
        assert [r.tolist() for r in rows] == [list(range(len(c)))] * 2, name  # its own passages only, in order
        for query, passage in zip(c.queries["text"].to_pylist(), c.passages["text"].to_pylist(), strict=True):
            assert 4 <= len(query.split()) <= 60, (name, query)
            assert len(passage.split()) >= 15, (name, query)
            assert query.lower() not in passage.lower(), (name, query)
        texts = [passage[:300].lower() for passage in c.passages["text"].to_pylist()]
        assert len(set(texts)) >= 0.999 * len(texts)  # distinct within a package, and nearly so across


def sides(c: Collection) -> tuple[list[str], list[str]]:
    """The queries and the passages of all pairs, in lower case."""
    queries, passages = (
        [text.lower() for text in table["text"].take(rows).to_pylist()]
        for table, rows in zip((c.queries, c.passages), c.pairs, strict=True)
    )
    return queries, passages


def sets_of_shingles(texts: list[str]) -> list[np.ndarray]:
    """Each text's distinct 4-word shingles as Python's own hashes; written anew, not taken from the package."""
    out = []
    for text in texts:
        words = re.sub(r"\W+", " ", text).split()
        grams = {hash(tuple(words[i : i + 4])) for i in range(len(words) - 3)} or {hash(tuple(words))}
        out.append(np.fromiter(grams, np.int64, len(grams)))
    return out


def largest_jaccard(left: list[np.ndarray], right: list[np.ndarray]) -> float:
    """The largest exact Jaccard similarity over all pairs of rows that share any shingle."""
    vocabulary = np.intersect1d(np.concatenate(left), np.concatenate(right))
    if not len(vocabulary):
        return 0.0

    def matrix(rows: list[np.ndarray]) -> sparse.csr_matrix:
        row, flat = np.repeat(np.arange(len(rows)), [len(r) for r in rows]), np.concatenate(rows)
        place = np.minimum(np.searchsorted(vocabulary, flat), len(vocabulary) - 1)
        known = vocabulary[place] == flat
        ones = np.ones(int(known.sum()), np.int32)
        return sparse.csr_matrix((ones, (row[known], place[known])), (len(rows), len(vocabulary)))

    mine, theirs = matrix(left), matrix(right).T.tocsr()
    my_sizes, their_sizes = (np.array([len(r) for r in rows]) for rows in (left, right))
    largest = 0.0
    for start in range(0, len(left), 500):
        shared = (mine[start : start + 500] @ theirs).tocoo()
        if shared.nnz:
            union = my_sizes[start + shared.row] + their_sizes[shared.col] - shared.data
            largest = max(largest, float((shared.data / union).max()))
    return largest


def test_the_measure_of_the_next_test_is_right() -> None:
    left, right = (sets_of_shingles(texts) for texts in (["x y", "a b c d e f"], ["a b c d e g", "p q r s t"]))
    assert largest_jaccard(left, right) == 2 / 4
    assert largest_jaccard(left[:1], right[1:]) == 0


@pytest.mark.slow
def test_no_query_passage_or_near_duplicate_is_shared(docs: Benchmark) -> None:
    parts: dict[str, list[Collection]] = {name: [docs.parts()[name]] for name in ("train", "validation", "test")}
    parts["ood"] = list(docs.ood.values())
    queries: dict[str, set[str]] = {}
    shingles: dict[str, tuple[list[np.ndarray], list[np.ndarray]]] = {}
    for name, collections in parts.items():
        asked, told = ([text for c in collections for text in sides(c)[side]] for side in (0, 1))
        queries[name] = {re.sub(r"\W+", " ", q).strip() for q in asked}
        whole = [f"{q} {p}" for q, p in zip(asked, told, strict=True)]
        shingles[name] = sets_of_shingles(told), sets_of_shingles(whole)
    for one, other in combinations(parts, 2):
        assert not queries[one] & queries[other], (one, other)
        for mine, theirs in zip(shingles[one], shingles[other], strict=True):
            assert largest_jaccard(theirs, mine) < 0.5, (one, other)


def test_the_benchmark_comes_from_the_cache_without_being_built(docs: Benchmark) -> None:
    code = (
        "import drscale.texts.docs as docs; kept = docs.cached; "
        "docs.cached = lambda name, key, load, build: kept(name, key, load, None); "  # None cannot build
        "from drscale.texts import benchmark; print(benchmark('docs', progress=False).fingerprint)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout.strip() == docs.fingerprint


def test_a_missing_domain_is_named(docs: Benchmark, monkeypatch: pytest.MonkeyPatch) -> None:
    gone: set[str] = set()
    left: dict[str, Collection] = dict(docs.ood)
    keys = []
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in gone else find(name))

    def cached(name: str, key: str, *_: object) -> Benchmark:
        keys.append(key)
        return docs.but(ood=left)

    monkeypatch.setattr("drscale.texts.docs.cached", cached)
    benchmark("docs")
    gone.add("tornado")
    del left["tornado"]
    with pytest.warns(TextsWarning, match="without tornado"):
        benchmark("docs")
    assert keys[0] != keys[1]
    for name in ("pydantic", "numpy"):
        del left[name]
    with pytest.raises(ValueError, match=r"without numpy, tornado, pydantic.*at least 8 domains outside"):
        benchmark("docs")
    gone.add("torch")
    with pytest.raises(ValueError, match="docs:torch: no installed package"):
        benchmark("docs")
