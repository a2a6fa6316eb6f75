"""Bad texts: tables of pairs, spellings, BEIR's folders, and the heads of folders in the cache."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from drscale.texts import Benchmark, Collection, benchmark, cache, cache_folder, collection, compose
from hostile.judge import Case

HEAD = "query,passage\n"
ROW = "how to open a file,use open\n"
CONTROLS = {"NUL": "\0", "a bell": "\x07", "a line break": "\n", "an escape": "\x1b", "delete": "\x7f"}
SURROGATE = "\\ud800"


def _read(spelling: str) -> object:
    return collection(spelling, progress=False)


def pairs_cases(place: Path) -> list[Case]:
    """Tables of pairs in every ending, wrong in their bytes, their columns, and their cells."""
    files: dict[str, tuple[str, bytes]] = {}

    def text(what: str, ending: str, body: str) -> None:
        files[f"{ending}: {what}"] = ending, body.encode()

    for ending, comma in ((".csv", ","), (".tsv", "\t")):
        row, head = ROW.replace(",", comma), HEAD.replace(",", comma)
        for what, body in (
            ("empty", ""),
            ("blank lines only", "\n\n\n"),
            ("a header and no row", head),
            ("no column of the query", f"q{comma}passage\na{comma}b\n"),
            ("no column of the passage", f"query{comma}p\na{comma}b\n"),
            ("one column", "query\na\n"),
            ("a field too few", head + row + "only one\n"),
            ("a field too many", head + row + f"a{comma}b{comma}c\n"),
            ("an open quote", head + '"how to open' + comma + "use open\n"),
            ("a quote behind a quoted field", head + f'"how"x{comma}use open\n'),
            ("an empty query", head + row + f"{comma}use open\n"),
            ("an empty passage", head + row + f"how{comma}\n"),
            ("a blank query", head + f"   {comma}use open\n"),
            ("a query of zero-width marks", head + f"\u200b\u200d\ufeff{comma}use open\n"),
            ("a query of control characters", head + f"\x01\x02\x07{comma}use open\n"),
            ("a query of NUL", head + f"\0{comma}use open\n"),
            ("a passage of soft hyphens", head + f"how to open{comma}\u00ad\u00ad\n"),
            ("a column twice", f"query{comma}passage{comma}passage\na{comma}b{comma}c\n"),
            ("the other's separator", (HEAD + ROW).replace(",", ";")),
            ("no header", row),
        ):
            text(what, ending, body)
    good = {"query": "how to open a file", "passage": "use open"}
    for what, line in (
        ("no JSON", "{query: 1}"),
        ("cut off", json.dumps(good)[:-4]),
        ("a list", "[1, 2]"),
        ("a number", "5"),
        ("null", "null"),
        ("an empty object", "{}"),
        ("no query", json.dumps({"passage": "b"})),
        ("no passage", json.dumps({"query": "a"})),
        ("a query that is null", json.dumps({**good, "query": None})),
        ("a query that is a number", json.dumps({**good, "query": 5})),
        ("a query that is a list", json.dumps({**good, "query": ["a"]})),
        ("a query that is a table", json.dumps({**good, "query": {"text": "a"}})),
        ("a passage that is true", json.dumps({**good, "passage": True})),
        ("a passage that is an empty list", json.dumps({**good, "passage": []})),
        ("a passage of lists of nothing", json.dumps({**good, "passage": [[], [None]]})),
        ("a passage without text", json.dumps({**good, "passage": {"title": "a"}})),
        ("a passage with a text of null", json.dumps({**good, "passage": {"text": None}})),
        ("a passage with a title that is a list", json.dumps({**good, "passage": {"title": ["a"], "text": "b"}})),
        ("a negative that is a number", json.dumps({**good, "negative": 5})),
        ("a label of maybe", json.dumps({**good, "label": "maybe"})),
        ("a label of 2", json.dumps({**good, "label": 2})),
        ("a label that is a list", json.dumps({**good, "label": [1]})),
        ("an instruction that is a number", json.dumps({**good, "instruction": 5})),
        ("half a surrogate pair", f'{{"query": "a {SURROGATE}", "passage": "b"}}'),
        ("half a surrogate pair in an id", f'{{"query": "a", "passage": {{"docid": "{SURROGATE}", "text": "b"}}}}'),
        (
            "half a surrogate pair in a query's id",
            f'{{"query": "a", "query_id": "{SURROGATE}", "passage": [{{"docid": "1", "text": "b"}}]}}',
        ),
        *(
            (f"{name} in an id", json.dumps({"query": "a", "passage": {"docid": f"d{sign}1", "text": "b"}}))
            for name, sign in CONTROLS.items()
        ),
        *(
            (
                f"{name} in a query's id",
                json.dumps({"query": "a", "query_id": f"q{sign}1", "passage": [{"docid": "1", "text": "b"}]}),
            )
            for name, sign in CONTROLS.items()
        ),
        ("other names in the second line", json.dumps(good) + "\n" + json.dumps({"q": "a", "p": "b"})),
        ("nested 100,000 deep", '{"query": ' + "[" * 100_000),
        ("nested deep and closed", '{"query": "a", "passage": ' + "[" * 5000 + "]" * 5000 + "}"),
        ("NaN", '{"query": NaN, "passage": "b"}'),
        ("zero-width marks", json.dumps({**good, "query": "\u200b\u200b"})),
    ):
        text(what, ".jsonl", line + "\n")
    files |= {
        ".csv: Latin-1": (".csv", (HEAD + "caf\u00e9,b\n").encode("latin-1")),
        ".csv: UTF-16": (".csv", (HEAD + ROW).encode("utf-16")),
        ".csv: random bytes": (".csv", np.random.default_rng(0).bytes(300)),
        ".csv.gz: no gzip": (".csv.gz", (HEAD + ROW).encode()),
        ".csv.gz: empty": (".csv.gz", b""),
        ".csv.gz: cut in half": (".csv.gz", gzip.compress((HEAD + ROW * 900).encode())[:60]),
        ".csv.gz: a broken stream": (".csv.gz", gzip.compress(HEAD.encode())[:10] + b"\xff" * 40),
        ".csv.gz: a wrong sum": (".csv.gz", gzip.compress((HEAD + ROW).encode())[:-8] + b"12345678"),
        ".jsonl.gz: no gzip": (".jsonl.gz", json.dumps(good).encode()),
        ".parquet: empty": (".parquet", b""),
        ".parquet: text": (".parquet", HEAD.encode()),
        ".parquet: random bytes": (".parquet", np.random.default_rng(1).bytes(400)),
        ".parquet.gz": (".parquet.gz", b"x"),
        ".xlsx": (".xlsx", b"PK"),
        ".json": (".json", json.dumps([good]).encode()),
        ".txt": (".txt", (HEAD + ROW).encode()),
        "no ending": ("", (HEAD + ROW).encode()),
        ".zip": (".zip", b"PK\x03\x04"),
    }
    found = []
    for i, (what, (ending, raw)) in enumerate(files.items()):
        path = place / f"bad{i}{ending}"
        path.write_bytes(raw)
        found.append(Case(what, partial(_read, f"pairs:{path}"), (path.name,)))

    def table(what: str, frame: pd.DataFrame, change: Callable[[bytes], bytes] | None = None) -> None:
        path = place / f"bad{len(found)}.parquet"
        pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), path)
        if change:
            path.write_bytes(change(path.read_bytes()))
        found.append(Case(f".parquet: {what}", partial(_read, f"pairs:{path}"), (path.name,)))

    both = pd.DataFrame({"query": ["how to open", "how to close"], "passage": ["use open", "use close"]})
    table("no rows", both.iloc[:0])
    table("numbers", pd.DataFrame({"query": [1, 2], "passage": [3, 4]}))
    table("bytes", both.map(str.encode))
    table("a missing query", both.assign(query=pd.Series(["how", None], dtype=object)))
    table("a missing passage", both.assign(passage=pd.Series([None, "b"], dtype=object)))
    table("no column of the passage", both.drop(columns="passage"))
    table("cut in half", both, lambda data: data[: len(data) // 2])
    table("a flipped byte in the pages", both, lambda data: data[:30] + bytes([data[30] ^ 255]) + data[31:])
    path = place / "good.csv"
    path.write_text(HEAD + ROW)
    for options in ("query=none", "passage=none", "query=passage", "passage=query", "language=", "language=klingon!"):
        found.append(Case(f"?{options}", partial(_read, f"pairs:{path}?{options}"), (options.partition("=")[0],)))
    found.append(Case("no such file", partial(_read, f"pairs:{place}/none.csv"), ("none.csv",)))
    found.append(Case("a folder", partial(_read, f"pairs:{place}"), (place.name,)))
    found.append(Case("NUL in the path", partial(_read, "pairs:a\0b.csv"), ("pairs:a",)))
    well = {
        "a byte order mark": (".csv", ("\ufeff" + HEAD + ROW).encode(), "spreadsheets write one"),
        "lines end as on Windows": (".csv", (HEAD + ROW).replace("\n", "\r\n").encode(), "RFC 4180 ends lines so"),
        "a line break inside quotes": (".csv", (HEAD + '"how to\nopen",use open\n').encode(), "RFC 4180 allows it"),
        "a pair twice": (".csv", (HEAD + ROW + ROW).encode(), "an equal pair counts once"),
        "a query equal to its passage": (".csv", (HEAD + "open,open\n").encode(), "a title may repeat its text"),
        "text from right to left": (".csv", (HEAD + "\u05e9\u05dc\u05d5\u05dd,\u202eabc\n").encode(), "a language"),
        "one character": (".csv", (HEAD + "?,!\n").encode(), "short, but text"),
        "HTML": (".csv", (HEAD + "<script>x</script>,b\n").encode(), "texts may be about HTML; pages escape it"),
        "blank lines between": (".jsonl", (json.dumps(good) + "\n\n\n").encode(), "a blank line holds no row"),
        "a field of 200 KB": (".csv", (HEAD + "a," + "b " * 100_000 + "\n").encode(), "passages are cut when encoded"),
        "NUL inside a query": (".csv", (HEAD + "how to\0open,use open\n").encode(), "tokenisers pass over it"),
        "NUL inside a passage": (".csv", (HEAD + "how to open,use\0open\n").encode(), "tokenisers pass over it"),
        "a name twice": (
            ".jsonl",
            b'{"query": "a", "query": "b", "passage": "c"}\n',
            "the last one counts, as for every reader of JSON; to look for it would slow the reading of a corpus",
        ),
        "a title of -": (
            ".jsonl",
            b'{"query": "a", "passage": {"title": "-", "text": "b"}}\n',
            "Tevatron's empty title",
        ),
    }
    for i, (what, (ending, raw, why)) in enumerate(well.items()):
        path = place / f"well{i}{ending}"
        path.write_bytes(raw)
        found.append(Case(what, partial(_read, f"pairs:{path}"), accept=why))
    return found


def spelling_cases(place: Path) -> list[Case]:
    """Wrong spellings of texts."""
    wrong: dict[str, tuple[str, ...]] = {
        "": ("texts",),
        " ": ("texts",),
        "doc": ("doc",),
        "Docs": ("Docs",),
        "docs:": ("docs", "PACKAGE"),
        "docs:no_such_package_here": ("no_such_package_here",),
        "docs:../etc": ("../etc",),
        "docs:os.path/..": ("os.path",),
        "docs?body=half": ("half",),
        "docs?colour=red": ("colour",),
        "docs?body": ("body",),
        "docs?body=": ("body",),
        "docs?body=full&body=full": ("body",),
        "docs?": ("docs",),
        "folder:": ("folder", "PATH"),
        "folder": ("folder",),
        "folder:/no/such/place": ("/no/such/place",),
        "folder:a\0b": ("folder:a",),
        "pairs": ("pairs",),
        "pairs:": ("pairs", "FILE"),
        "pairs:x.csv?text=a": ("text",),
        "hub": ("hub",),
        "hub:": ("hub", "ID"),
        "hub:no-such-owner/no-such-data": ("no-such-owner",),
        "hub:a/b/c": ("a/b/c",),
        "hub:../x": ("../x",),
        "hub:a b": ("a b",),
        "planted:x": ("planted",),
        "planted?pairs=ten": ("pairs", "ten"),
        "planted?pairs=0": ("pairs",),
        "planted?pairs=-5": ("pairs",),
        "planted?pairs=1.5": ("pairs",),
        "planted?pairs=nan": ("pairs",),
        "planted?pairs=99999999999": ("pairs",),
        "planted?seed=-1": ("seed",),
        "planted?overlap=2": ("overlap",),
        "planted?overlap=nan": ("overlap",),
        "planted?noise=-1": ("noise",),
        "planted?noise=inf": ("noise",),
        "planted?shift=x": ("shift",),
        "planted?shift=9": ("shift",),
        "planted?domain=99": ("domain",),
        "planted?domain=-1": ("domain",),
        "planted?colour=red": ("colour",),
        "planted&pairs=50": ("planted",),
        "compose": ("compose",),
        "compose?ood=planted": ("compose",),
        "compose?train=compose": ("compose",),
        "compose?train=nothing": ("nothing",),
        "compose?train=planted&train=": ("train",),
        "english:x": ("english",),
        "english?root=/no/such/place": ("/no/such/place",),
        "chinese?ood=none": ("none",),
        "instructed?told=maybe": ("maybe", "told"),
        "http://example.org/x.csv": ("http",),
        "/etc/passwd": ("/etc/passwd",),
        "texts=docs": ("docs",),
        "docs numpy": ("docs numpy",),
        "\ud800": ("texts",),
    }
    found = [Case(f"collection({text!r})", partial(_read, text), names) for text, names in wrong.items()]
    several = ["english", "compose?train=planted", "instructed"]
    found += [Case(f"collection({t!r})", partial(_read, t), (t.partition("?")[0],)) for t in several]
    for value in (None, 5, b"docs", ["docs"], Path("docs"), True, {"kind": "docs"}):
        found.append(Case(f"collection({value!r})", partial(collection, value, False), ("texts", "spec")))  # type: ignore[arg-type]
    made = {
        "compose": ("train",),
        "compose?ood=planted": ("train",),
        "planted?domain=1": ("domain",),
        "compose?train=planted?pairs=50": ("too few", "pairs"),
        "compose?train=planted%3Fpairs=700&test_pairs=-1": ("test_pairs",),
        "compose?train=planted%3Fpairs=700&validation_pairs=many": ("validation_pairs",),
        "compose?train=planted%3Fpairs=700&near=2": ("near",),
        "compose?train=planted%3Fpairs=700&near=nan": ("near",),
        "compose?train=planted%3Fpairs=700&seed=-1": ("seed",),
        "compose?train=planted%3Fpairs=700&test_pairs=0": ("test_pairs",),
    }
    found += [Case(f"benchmark({t!r})", partial(benchmark, t, progress=False), names) for t, names in made.items()]
    why = "the planted test draws 300 pairs of its own"
    found.append(
        Case("benchmark('planted?pairs=50')", partial(benchmark, "planted?pairs=50", progress=False), accept=why)
    )
    for text, why in (
        ("planted?pairs=60&seed=3", "options may stand in any order"),
        ("planted?pairs=%36%31", "percent signs spell characters"),
        ("planted?pairs= 62", "int() reads blanks around a number"),
    ):
        found.append(Case(f"collection({text!r})", partial(_read, text), accept=why))
    return found


CORPUS = [{"_id": f"d{i}", "title": "", "text": f"passage number {i}"} for i in range(4)]
ASKED = [{"_id": f"q{i}", "text": f"question {i}"} for i in range(2)]
QRELS = "query-id\tcorpus-id\tscore\nq0\td0\t1\nq1\td1\t2\n"


def _lines(rows: Iterable[Mapping[str, object]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def beir_cases(place: Path) -> list[Case]:
    """BEIR's folders: a corpus, queries, qrels, each wrong in its own way."""
    good = {"corpus.jsonl": _lines(CORPUS), "queries.jsonl": _lines(ASKED), "qrels/test.tsv": QRELS}
    changes: list[tuple[str, dict[str, str | bytes | None], tuple[str, ...]]] = []

    def wrong(what: str, name: str, content: str | bytes | None, *names: str) -> None:
        changes.append((f"{name}: {what}", {name: content}, names or (Path(name).name,)))

    wrong("missing", "corpus.jsonl", None, "no corpus", "corpus.jsonl")
    wrong("missing", "queries.jsonl", None)
    wrong("missing", "qrels/test.tsv", None, "qrels")
    for name, row in (("corpus.jsonl", CORPUS[0]), ("queries.jsonl", ASKED[0])):
        rest = _lines(CORPUS[1:] if name.startswith("c") else ASKED[1:])
        for what, line in (
            ("no JSON", "{_id: 1}"),
            ("a list", "[]"),
            ("null", "null"),
            ("a number", "7"),
            ("no id", json.dumps({"text": "a"})),
            ("no text", json.dumps({"_id": "d0"})),
            ("an id of null", json.dumps({**row, "_id": None})),
            ("an id of a float", json.dumps({**row, "_id": 1.5})),
            ("an id of true", json.dumps({**row, "_id": True})),
            ("an empty id", json.dumps({**row, "_id": ""})),
            ("a text of null", json.dumps({**row, "text": None})),
            ("a text of a number", json.dumps({**row, "text": 5})),
            ("a text of a list", json.dumps({**row, "text": ["a"]})),
            ("a title of a number", json.dumps({**row, "title": 5})),
            ("half a surrogate pair", f'{{"_id": "d0", "text": "{SURROGATE}"}}'),
            ("half a surrogate pair in the id", f'{{"_id": "{SURROGATE}", "text": "a"}}'),
            *((f"{name} in the id", json.dumps({**row, "_id": f"x{sign}y"})) for name, sign in CONTROLS.items()),
            ("nested 100,000 deep", '{"_id": "d0", "metadata": ' + "[" * 100_000),
            ("nested deep and closed", '{"_id": "d0", "text": "a", "metadata": ' + "[" * 5000 + "]" * 5000 + "}"),
        ):
            wrong(what, name, line + "\n" + rest)
        wrong("an id twice", name, json.dumps(row) + "\n" + json.dumps(row) + "\n" + rest)
        wrong("empty", name, "")
        wrong("Latin-1", name, json.dumps({**row, "text": "caf\u00e9"}, ensure_ascii=False).encode("latin-1"))
    wrong("an empty query", "queries.jsonl", _lines([{"_id": "q0", "text": " "}, ASKED[1]]))
    head = "query-id\tcorpus-id\tscore\n"
    for what, body in (
        ("empty", ""),
        ("a header only", head),
        ("blanks for tabs", head + "q0 d0 1\n"),
        ("two fields", head + "q0\td0\n"),
        ("four fields", head + "q0\t0\td0\t1\n"),
        ("a score of text", head + "q0\td0\tgood\n"),
        ("a score of a half", head + "q0\td0\t0.5\n"),
        ("a score of NaN", head + "q0\td0\tnan\n"),
        ("a score of infinity", head + "q0\td0\tinf\n"),
        ("a huge score", head + f"q0\td0\t{'9' * 30}\n"),
        ("a score of 400 digits", head + f"q0\td0\t{'9' * 400}\n"),
        ("a score of 5,000 digits", head + f"q0\td0\t{'9' * 5000}\n"),
        ("a score of Arabic digits", head + "q0\td0\t\u0661\u0662\u00b2\n"),
        ("an empty score", head + "q0\td0\t\n"),
        ("two minuses", head + "q0\td0\t--1\n"),
        ("only zeros", head + "q0\td0\t0\nq1\td1\t0\n"),
        ("only negative", head + "q0\td0\t-1\n"),
        ("two scores of one pair", head + "q0\td0\t1\nq0\td0\t2\n"),
        ("unknown queries only", head + "q8\td0\t1\n"),
        ("unknown passages only", head + "q0\td8\t1\n"),
        ("an unknown query", head + "q0\td0\t1\nq8\td0\t1\n"),
        ("an unknown passage", head + "q0\td0\t1\nq1\td8\t1\n"),
        *((f"{name} in a query's id", head + f"q0\td0\t1\nq{sign}1\td1\t1\n") for name, sign in CONTROLS.items()),
        *((f"{name} in a passage's id", head + f"q0\td0\t1\nq1\td{sign}1\t1\n") for name, sign in CONTROLS.items()),
        ("random bytes", np.random.default_rng(3).bytes(200)),
    ):
        wrong(what, "qrels/test.tsv", body, "test.tsv", "qrels")
    found = []

    def folder(name: str, files: dict[str, str | bytes | None]) -> Path:
        at = place / name
        (at / "qrels").mkdir(parents=True)
        for file, content in {**good, **files}.items():
            if content is not None:
                (at / file).write_bytes(content if isinstance(content, bytes) else content.encode())
        return at

    for i, (what, files, names) in enumerate(changes):
        found.append(Case(what, partial(_read, f"folder:{folder(f'bad{i}', files)}"), names))
    whole = folder("whole", {})
    for option, names in (
        ("split=dev", ("dev",)),
        ("split=../test", ("split",)),
        ("strict=maybe", ("strict",)),
        ("colour=red", ("colour",)),
        ("split=", ("split",)),
    ):
        found.append(Case(f"?{option}", partial(_read, f"folder:{whole}?{option}"), names))
    strict = folder("strict", {"qrels/test.tsv": head + "q0\td0\t1\nq1\td8\t1\n"})
    found.append(Case("?strict=1", partial(_read, f"folder:{strict}?strict=1"), ("test.tsv",)))
    well: dict[str, tuple[dict[str, str | bytes | None], str]] = {
        "no header": ({"qrels/test.tsv": "q0\td0\t1\nq1\td1\t1\n"}, "some of BEIR's files have none"),
        "a pair twice alike": ({"qrels/test.tsv": head + "q0\td0\t1\nq0\td0\t1\n"}, "the same judgement"),
        "a score of 1.0": ({"qrels/test.tsv": head + "q0\td0\t1.0\nq1\td1\t2\n"}, "a whole number"),
        "an id that is a number": (
            {"corpus.jsonl": _lines([dict[str, object](CORPUS[0], _id=7), *CORPUS])},
            "ids of numbers are usual",
        ),
        "a tab in a passage's id": (
            {"corpus.jsonl": _lines([*CORPUS, {"_id": "d\t9", "text": "more"}])},
            "JSON spells it, and the id comes back as it was",
        ),
        "a bell in a passage": (
            {"corpus.jsonl": _lines([*CORPUS, {"_id": "d9", "text": "mo\are"}])},
            "a text comes back as it was, and tokenisers pass over it",
        ),
        "unasked queries": (
            {"queries.jsonl": _lines([*ASKED, {"_id": "q9", "text": "more"}])},
            "BEIR has all splits' queries",
        ),
        "an empty passage": (
            {"corpus.jsonl": _lines([*CORPUS, {"_id": "d9", "text": ""}])},
            "BEIR's corpora have some",
        ),
        "another file": ({"notes.txt": "x"}, "a folder may hold a README"),
    }
    for i, (what, (files, why)) in enumerate(well.items()):
        found.append(Case(what, partial(_read, f"folder:{folder(f'well{i}', files)}"), accept=why))
    return found


# Wrong values of the fields in the head of a kept collection (meta.json), of a benchmark (benchmark.json), and of both.
BOTH: dict[str, list[object]] = {
    "format": ["", "drscale-collection/2", None, 1, ["drscale-collection/1"]],
    "name": ["", None, 5, ["toy"], {"name": "toy"}],
    "fingerprint": ["", "abc", "F" * 64, None, 5, []],
}
HEADS: dict[str, dict[str, list[object]]] = {
    "meta.json": {
        "language": [None, 5, ["en"]],
        "domain": [None, 5, {}],
        "synthetic": ["no", 1, None, []],
        "versions": [5, None, [], "numpy", True, {"numpy": 2}, {"numpy": None}, {"numpy": ["2"]}],
        "files": [5, None, [], "queries.arrow", True, {}, {"queries.arrow": 5}, {"queries.arrow": "0" * 64}],
    },
    "benchmark.json": {
        "parts": [
            *(5, None, [], "part-00", True, {}, {"train": 5}, {"train": None}, {"train": ["part-00"]}),
            {"train": "part-00", "validation": "part-01"},
            {"train": "part-00", "validation": "part-01", "test": "part-01"},
            {"train": "part-00", "validation": "part-01", "test": "part-02", "tests": "part-02"},
            {"train": "none", "validation": "part-01", "test": "part-02"},
            {"train": "", "validation": "part-01", "test": "part-02"},
            {"train": "a\0b", "validation": "part-01", "test": "part-02"},
            {"train": "a" * 500, "validation": "part-01", "test": "part-02"},
        ],
        "left_out": [
            *(5, None, [], "none", {"train": -1}, {"train": 1.5}, {"train": "ten"}, {"train": True}),
            *({"train": None}, {"train": math.nan}),
        ],
    },
}


def cache_cases(place: Path) -> list[Case]:
    """Odd heads of folders in the cache: what was kept is built again, and comes out as it was."""
    rows = ({"query": f"question number {i}", "passage": f"answer {i} of many"} for i in range(40))
    (place / "texts.jsonl").write_text(_lines(rows))
    texts = collection(f"pairs:{place / 'texts.jsonl'}", progress=False)
    whole = compose(texts, test_pairs=8, validation_pairs=4, near=1)
    kept: dict[str, Collection | Benchmark] = {"meta.json": texts, "benchmark.json": whole}

    def met(head: str, raw: bytes) -> None:
        folder = cache_folder() / f"{head}-kept"
        (folder if folder.is_dir() else kept[head].save(folder)).joinpath(head).write_bytes(raw)
        again: Collection | Benchmark
        if head == "meta.json":
            again = cache.cached(head, "kept", Collection.load, lambda _: texts)
        else:
            again = cache.cached(head, "kept", Benchmark.load, lambda _: whole)
        assert again.fingerprint == kept[head].fingerprint

    found = []
    for head, fields in HEADS.items():
        body = json.loads((kept[head].save(place / head) / head).read_text())
        text = json.dumps(body)
        raws = {
            f"{field} = {value!r:.70}": json.dumps(body | {field: value}).encode()
            for field, values in (BOTH | fields).items()
            for value in values
        }
        needed = ("format", "name", "fingerprint", "files" if head == "meta.json" else "parts")
        raws |= {
            f"without {name}": json.dumps({k: v for k, v in body.items() if k != name}).encode() for name in needed
        }
        raws |= {
            "an empty file": b"",
            "blanks": b" \n ",
            "cut in half": text[: len(text) // 2].encode(),
            "two heads in one file": (text + text).encode(),
            "in a list": f"[{text}]".encode(),
            "null": b"null",
            "a number": b"5",
            "zeros": b"\0" * 64,
            "random bytes": np.random.default_rng(5).bytes(200),
            "UTF-16": text.encode("utf-16"),
            "another alphabet's bytes": text.replace("name", "n\u00e4me").encode("latin-1"),
            "nested 100,000 deep": b"[" * 100_000,
            "nested deep inside": text.replace('"name"', f'"more": {"[" * 5000}{"]" * 5000}, "name"').encode(),
            "a number of 5,000 digits": text.replace('"name"', f'"more": {"9" * 5000}, "name"').encode(),
        }
        names = ("meta.json", "benchmark.json")
        found += [Case(f"{head}: {what}", partial(met, head, raw), names) for what, raw in raws.items()]
        for what, made, why in (
            ("fields in another order", dict(reversed(body.items())), "JSON has no order"),
            ("a field more", body | {"colour": "red"}, "a later drscale may say more"),
        ):
            found.append(Case(f"{head}: {what}", partial(met, head, json.dumps(made).encode()), accept=why))
    return found
