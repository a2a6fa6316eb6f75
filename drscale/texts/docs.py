"""The source ``docs:PACKAGE``: the docstrings of an installed package, the summary asking for the rest.

Read docstrings out of Python files by their syntax tree, and clean them into (summary, rest) pairs.

Nothing is imported or executed. The module needs the standard library only and also runs as a script, so that another
interpreter can do the parsing: a JSON list of [path, module name] pairs on stdin, a line of JSON for each file out.
"""

from __future__ import annotations

import ast
import concurrent.futures
import importlib.metadata
import importlib.util
import inspect
import json
import os
import platform
import re
import subprocess
import sys
import sysconfig
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tqdm import tqdm

from drscale.texts.cache import cached, key_of
from drscale.texts.collection import Benchmark, Collection, from_pairs
from drscale.texts.near import near_duplicates, normalised
from drscale.texts.split import SPLITTER, compose
from drscale.texts.tables import TextsWarning

# Raise when the text that comes out changes: it is part of the cache key. The measured studies in data/runs stand on
# the text as it comes out now (tests/reference/texts.json), so a change wants new studies.
PARSER = 3
ADDERS = ("add_docstr", "_add_docstr", "add_docstr_all", "add_newdoc")

RULE = re.compile(r"^\s*([=\-~^\"'`#*+_:.<>])\1{2,}\s*$")
TABLE = re.compile(r"^[\s=+|\-_:~^*.#]*$")
SIGNATURE = re.compile(r"^[\w.\[\]]+\s?\((?:[^()]|\([^()]*\))*\)\s*(?:->[^.]{1,60}|:\s*[\w.,\[\]() |*]+)?\s*$")
SIGNATURE_START = re.compile(
    r"^[\w.]+\((?:[^()]|\([^()]*\))*\)\s*->\s*(?:\([^()]*\)|[\w.\[\], |]+?)(?:\s*[:.]?\s*\n|$)"
)
DIRECTIVE = re.compile(r"^(\s*)\.\.\s+(?:\|[\w ]+\|\s+)?([\w:+-]+?)::\s*(.*)$")
KEPT_DIRECTIVES = {"note", "warning", "tip", "important", "caution", "hint", "attention", "danger", "seealso", "rubric"}
KEPT_DIRECTIVES |= {"admonition", "topic", "container", "epigraph", "sidebar", "only", "describe", "todo"}
LOOSE_DIRECTIVE = re.compile(r"^\s*\.\.\s+(?:note|warning|tip|important):\s", re.IGNORECASE)
COMMENT = re.compile(r"^(\s*)\.\.(?:\s+(?!\[)\S.*)?$")
FIELD = re.compile(r"^\s*:(?:param|type|returns?|rtype|raises?|arg|keyword|var|ivar|cvar|yields?)\b\s*([^:]*):")
NO_SUMMARY = (".. ", "@", "-*-", "!!!", "```", ">>>")
# A list of parameters, or code, where the summary should be.
NO_QUERY = re.compile(r"^\w+ \([^)]*\boptional\b|^from [\w.]+ import |^[\w.]+ = ")
SECTION = re.compile(
    r"^(?:args|arguments|parameters?|params|returns?|yields?|raises?|attributes|examples?|notes?|references|warnings?|"
    r"shape|inputs?|outputs?|usage|see also|other parameters|keyword arguments|keyword args|kwargs|methods|receives|"
    r"keywords?|variables|example usage|usage example|description|explanation|warns|todo)\s*::?$",
    re.IGNORECASE,
)
TAGS = (
    "a|b|i|p|br|em|strong|div|span|tip|code|pre|img|table|tr|td|th|ul|ol|li|h[1-6]|details|summary|hfoptions?|sup|sub"
)
INLINE = (
    (re.compile(r"```+[\w.]*"), " "),  # code fences, the code stays
    (re.compile(rf"<!--.*?-->|</?(?:{TAGS})(?:\s[^<>]*)?/?>", re.IGNORECASE), " "),
    (re.compile(r"!?\[([^\]\[]+)\]\([^()\s]*\)"), r"\1"),  # markdown links
    (re.compile(r":[a-zA-Z][\w:+-]*:`+([^`<]*?)\s*<[^`>]*>`+"), r"\1"),  # :role:`title <target>`
    (re.compile(r":[a-zA-Z][\w:+-]*:`+[~!]?\.?([^`]*)`+"), r"\1"),  # :role:`target`
    (re.compile(r"`([^`<]+?)\s*<[^`>]*>`_*"), r"\1"),  # `title <url>`_
    (re.compile(r"`+(?:~|\.(?=[A-Za-z_]))?([^`]*)`+_{0,2}"), r"\1"),
    (re.compile(r"\[#?[\w*-]*\]_"), " "),  # footnotes
    (re.compile(r"""(?<![\w*'"(\])])\*{1,2}(?=[^\s'"])([^*\n]*?[^\s*])\*{1,2}(?![\w*'"])"""), r"\1"),  # emphasis
    (re.compile(r"%\(\w+\)[sdr]|(?<![\w{])\{\w+\}(?![\w}])"), " "),  # templates
    (re.compile(r"#\s*(?:doctest|xdoctest)\s*:.*"), " "),
    (re.compile(r"^\s*>(?:\s\[!\w+\]|\s)", re.MULTILINE), " "),  # markdown quotes
    (re.compile(r"^\s*(?:>>>|\.\.\.|In \[\d*\]:|Out\[\d*\]:)(?=\s|$)", re.MULTILINE), " "),
    (re.compile(r"^\s*(?:[*+-]|\.\. \[[\w*#-]+\])\s+", re.MULTILINE), " "),  # bullets
    (re.compile(r"::(?=\s|$)"), ":"),
    (re.compile(r"\\(?=[*_`|\s])"), ""),
)


def docstrings(source: str, module: str) -> Iterator[tuple[str, str]]:
    """Yield (qualified name, raw docstring) of the module, its classes and functions, and of added docstrings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # invalid escapes in other people's strings
        tree = ast.parse(source)
    yield from _walk(tree, module)


def _walk(node: ast.AST, name: str) -> Iterator[tuple[str, str]]:
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        text = ast.get_docstring(node)
        if text:
            yield name, text
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _walk(child, f"{name}.{child.name}")
        elif isinstance(child, ast.stmt):
            if isinstance(child, ast.Expr | ast.Assign) and isinstance(child.value, ast.Call):
                yield from _added(child.value, name)
            yield from _walk(child, name)
        elif isinstance(child, ast.ExceptHandler | ast.match_case):
            yield from _walk(child, name)


def _added(call: ast.Call, name: str) -> Iterator[tuple[str, str]]:
    """The docstring that a call like ``add_docstr(torch.abs, "...")`` attaches."""
    function = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if function not in ADDERS or len(call.args) < 2:
        return
    # add_docstr(object, text), add_newdoc(name, text), add_newdoc(module, name, text or (attribute, text))
    *target, text = call.args[:3] if function == "add_newdoc" else call.args[:2]
    if isinstance(text, ast.Tuple) and len(text.elts) == 2:
        target, text = [*target, text.elts[0]], text.elts[1]
    label = ".".join(str(t.value) if isinstance(t, ast.Constant) else ast.unparse(t) for t in target)
    if doc := _literal(text):
        yield f"{name}:{label}", inspect.cleandoc(doc)


def _literal(node: ast.expr) -> str:
    """The string in an expression, templates unfilled: a literal, a sum, ``.format(...)``, ``%``, an f-string."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if isinstance(node, ast.BinOp):
        return _literal(node.left) + (_literal(node.right) if isinstance(node.op, ast.Add) else "")
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        return _literal(node.func.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(_literal(value) for value in node.values)
    return ""


def split_summary(doc: str) -> tuple[str, str]:
    """The summary paragraph and the raw rest; leading headings, directives and signatures are passed over."""
    rest = doc.strip()
    while rest:
        rest = SIGNATURE_START.sub("", rest, count=1).lstrip()
        paragraph, _, after = (part.strip("\n") for part in _partition(rest))
        lines = paragraph.splitlines()
        heading = len(lines) > 1 and any(RULE.match(line) for line in lines[:3])
        if heading:
            # A title above its rule, or between two; what follows directly is the summary.
            last = max(i for i, line in enumerate(lines[:3]) if RULE.match(line))
            rest = "\n".join(lines[last + 1 :]) + "\n\n" + after
            rest = rest.strip()
            continue
        text = clean(paragraph)
        if not text or SIGNATURE.match(text) or lines[0].lstrip().startswith(NO_SUMMARY):
            rest = after.strip()
            continue
        return text, after
    return "", ""


def _partition(text: str) -> tuple[str, str, str]:
    match = re.search(r"\n[ \t]*\n", text)
    return (text[: match.start()], "\n", text[match.end() :]) if match else (text, "", "")


def prose_of(rest: str) -> str:
    """The extended description and the Notes of a docstring's rest, without its other sections."""
    kept, keep, lines = [], True, rest.splitlines()
    i = 0
    while i < len(lines):
        line, following = lines[i], lines[i + 1] if i + 1 < len(lines) else ""
        if line.strip() and RULE.match(following):
            keep = line.strip().lower() in ("notes", "note", "explanation", "description", "extended summary")
            i += 2
            continue
        if SECTION.match(line.strip()) or FIELD.match(line):
            keep = bool(re.match(r"\s*(?:notes?|description|explanation)\b", line, re.IGNORECASE))
            i += 1
            continue
        if keep and not line.lstrip().startswith((">>>", "...")):
            kept.append(line)
        i += 1
    return "\n".join(kept)


def clean(text: str) -> str:
    """Strip markup from a piece of docstring: directives, headings, rules, roles, prompts; one line comes out."""
    lines = _without_directives(text.splitlines())
    kept = []
    for i, line in enumerate(lines):
        following = lines[i + 1] if i + 1 < len(lines) else ""
        if (line.strip() and len(line.split()) < 8 and RULE.match(following)) or TABLE.match(line):
            continue
        if SECTION.match(line.strip()):
            continue
        kept.append(FIELD.sub(r" \1:", line))
    out = "\n".join(kept)
    for pattern, replacement in INLINE:
        out = pattern.sub(replacement, out)
    return " ".join(out.split())


def _without_directives(lines: list[str]) -> list[str]:
    kept: list[str] = []
    i = 0
    while i < len(lines):
        line = LOOSE_DIRECTIVE.sub("   ", lines[i])
        directive, comment = DIRECTIVE.match(line), COMMENT.match(line)
        if directive and directive[2].lower() in KEPT_DIRECTIVES:
            kept.append(f"{directive[1]}   {directive[3]}")
        elif directive or comment:
            indent = len((directive or comment)[1])  # type: ignore[index]
            while i + 1 < len(lines) and (not lines[i + 1].strip() or _indent(lines[i + 1]) > indent):
                i += 1
            kept.append("")
        else:
            kept.append(line)
        i += 1
    return kept


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def pair_of(doc: str, body: str) -> tuple[str, str] | None:
    """The (query, passage) pair of a docstring, or None where there is no fit one.

    A query has 4 to 60 words and does not stand verbatim in its passage, a passage has at least 15 words. ``body``
    is ``full`` or ``prose``.
    """
    query, rest = split_summary(doc)
    if not 4 <= len(query.split()) <= 60 or NO_QUERY.match(query):
        return None
    passage = clean(prose_of(rest) if body == "prose" else rest)
    if len(passage.split()) < 15 or query.lower().rstrip(".") in passage.lower():
        return None
    return query, passage


def pairs_in(path: str, module: str, body: str) -> list[tuple[str, str, str]]:
    """The (name, query, passage) triples of one file; a file that is no Python of this version has none."""
    try:
        source = Path(path).read_bytes().decode("utf-8-sig")
        found = list(docstrings(source, module))
    except (SyntaxError, UnicodeDecodeError, ValueError, RecursionError):
        return []
    return [(name, *pair) for name, doc in found if (pair := pair_of(doc, body))]


def main() -> None:
    body, files = json.load(sys.stdin)
    for path, module in files:
        print(json.dumps(pairs_in(path, module, body)), flush=True)


if __name__ == "__main__":
    main()


BODIES = ("full", "prose")
BUILDER = 1  # raise when the choice among the parsed pairs changes: it is part of the cache key
NEAR = 0.7
SAME_START = 300  # characters of the passage that may not be equal
LARGE = 400  # files from which on other processes help
SHARE = 40  # files handed to a process at a time
DROPPED = {"tests", "test", "conftest", "idle_test", "_internal_testing", "ensurepip", "lib2to3", "turtledemo"}
DROPPED |= {"_vendor", "vendor", "vendored", "_vendored", "externals", "extern", "_external", "third_party"}
DROPPED |= {"site-packages", "dist-packages", "__pycache__", "array_api_compat", "array_api_extra", "pydevd"}

TRAIN = ("torch", "sympy", "transformers", "scipy", "sklearn", "statsmodels")
NEAR_OUTSIDE = ("pandas", "networkx", "numpy", "stdlib")
FAR_OUTSIDE = ("huggingface_hub", "IPython", "datasets", "sentence_transformers", "tornado", "pydantic")
OUTSIDE = (*NEAR_OUTSIDE, *FAR_OUTSIDE)
LEAST_PAIRS, MOST_PAIRS, LEAST_DOMAINS = 300, 1000, 8

File = tuple[str, str]  # path and module name


def docs_collection(
    package: str, body: str = "full", progress: bool = True, processes: int | None = None
) -> Collection:
    """Read an installed package's docstrings, or the standard library's (``stdlib``), without importing it.

    ``body`` is ``full`` (a passage is everything after the summary) or ``prose`` (the extended description and the
    notes). Parsed once for each version of the package, then mapped from the cache. ``processes`` is the number of
    interpreters that parse, by default one a core for large packages.
    """
    return docs_collections([package], body, progress, processes)[0]


def docs_collections(
    packages: Sequence[str], body: str = "full", progress: bool = True, processes: int | None = None
) -> list[Collection]:
    """Read several packages under one progress line."""
    if body not in BODIES:
        raise ValueError(f"docs: body={body!r}, allowed are {', '.join(BODIES)}")
    installed = importlib.metadata.packages_distributions()
    found = [_find(package, installed) for package in packages]
    with tqdm(desc="reading docstrings", unit=" files", disable=not progress, leave=False, delay=0.5) as bar:

        def build(package: str, root: Path, version: str) -> Collection:
            files = list(_files(package, root))
            bar.set_postfix_str(package)
            bar.total = (bar.total or 0) + len(files)
            return _collect(package, version, body, _parse(files, body, bar, processes))

        return [
            cached(
                f"docs-{package}-{body}",
                key_of(package, version, PARSER, BUILDER, body, NEAR),
                Collection.load,
                lambda _, p=package, r=root, v=version: build(p, r, v),  # type: ignore[misc]
            )
            for package, (root, version) in zip(packages, found, strict=True)
        ]


def _find(package: str, installed: Mapping[str, list[str]]) -> tuple[Path, str]:
    """The package's folder (or single file) and its version, found without importing it."""
    if package == "stdlib":
        return Path(sysconfig.get_path("stdlib")), platform.python_version()
    top, *inner = package.split(".")
    try:
        spec = importlib.util.find_spec(top) if all(part.isidentifier() for part in (top, *inner)) else None
    except ValueError:  # a module that runs without a spec, such as __main__
        spec = None
    places = list(spec.submodule_search_locations or ()) if spec else []
    if spec is not None and not places and spec.origin and spec.origin.endswith(".py"):
        places = [spec.origin]
    root = Path(places[0], *inner) if places else Path()
    if places and inner and not root.exists():
        root = root.with_suffix(".py")
    if not places or not root.exists():
        raise ValueError(
            f"docs:{package}: no installed package of that name with Python files; give an importable name such as"
            f" numpy, or stdlib (pip install it, or look at 'pip list')"
        )
    return root, _version(installed.get(top, []), root)


def _version(distributions: list[str], root: Path) -> str:
    """The distribution's version; a package that has none, or is editable, is known by its files instead."""
    for name in distributions:
        distribution = importlib.metadata.distribution(name)
        if '"editable": true' not in (distribution.read_text("direct_url.json") or ""):
            return distribution.version
    files = [root] if root.is_file() else sorted(root.rglob("*.py"))
    listing = [[str(f), f.stat().st_size, f.stat().st_mtime_ns] for f in files]
    return f"files-{key_of(listing)[:12]}"


def _files(package: str, root: Path) -> Iterator[File]:
    if root.is_file():
        yield str(root), package
        return
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(f for f in folders if f not in DROPPED and not f.endswith(("-info", ".egg")))
        parts = Path(folder).relative_to(root).parts
        if parts[-2:] == ("testing", "_internal"):
            folders.clear()
            continue
        for file in sorted(files):
            stem = file[:-3]
            if file.endswith(".py") and stem not in DROPPED and not stem.startswith("test_"):
                yield str(Path(folder, file)), ".".join([package, *parts, *([stem] if stem != "__init__" else [])])


def _parse(files: list[File], body: str, bar: tqdm, processes: int | None) -> list[tuple[str, str, str]]:
    """The triples of all files, in their order."""
    workers = processes if processes is not None else (os.cpu_count() or 1) if len(files) >= LARGE else 1
    if workers <= 1:
        found = []
        for path, module in files:
            found += pairs_in(path, module, body)
            bar.update()
        return found
    shares = [files[i : i + SHARE] for i in range(0, len(files), SHARE)]
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        results = []
        for share, result in zip(shares, pool.map(lambda s: _parse_outside(s, body), shares), strict=True):
            results += result
            bar.update(len(share))
    return results


def _parse_outside(files: list[File], body: str) -> list[tuple[str, str, str]]:
    """Parse in another interpreter.

    The parser runs as a script: unlike a process pool this needs no ``if __name__`` guard in the caller's script, does
    not fork a process that may hold threads, and starts in the time of the standard library.
    """
    command = [sys.executable, "-I", __file__]
    done = subprocess.run(command, input=json.dumps([body, files]), capture_output=True, text=True, encoding="utf-8")
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed: {done.stderr.strip()}")
    return [tuple(triple) for line in done.stdout.splitlines() for triple in json.loads(line)]


def _collect(package: str, version: str, body: str, triples: list[tuple[str, str, str]]) -> Collection:
    """Drop what occurs twice, exactly or nearly, and make a collection of the rest; the first in file order stays."""
    queries: set[str] = set()
    starts: set[str] = set()
    kept = []
    for name, query, passage in triples:
        asked, start = normalised(query), passage[:SAME_START].lower()
        if asked and asked not in queries and start not in starts:
            queries.add(asked)
            starts.add(start)
            kept.append((name, query, passage))
    near = near_duplicates([passage for _, _, passage in kept], threshold=NEAR)
    dropped: set[int] = set()
    for first, second in near.tolist():  # sorted, so that a dropped text drops no further one
        if first not in dropped:
            dropped.add(second)
    kept = [row for i, row in enumerate(kept) if i not in dropped]
    if not kept:
        raise ValueError(f"docs:{package}?body={body}: no docstring makes a pair (a summary of 4-60 words and a body)")
    name = f"docs:{package}" if body == "full" else f"docs:{package}?body={body}"
    return from_pairs(name, _numbered(kept), domain=package, versions={package: version})


def _numbered(rows: list[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    """Make names unique: a function defined three times in a file becomes f, f#2, f#3."""
    seen: dict[str, int] = {}
    out = []
    for name, query, passage in rows:
        seen[name] = seen.get(name, 0) + 1
        out.append((name if seen[name] == 1 else f"{name}#{seen[name]}", query, passage))
    return out


def docs_benchmark(body: str = "full", progress: bool = True) -> Benchmark:
    """Train on six packages' documentation, measure on held-out pairs of theirs and on ten other packages.

    1,000 pairs are held out for the test and 500 for validation, stratified over packages; a domain outside has at most
    1,000 pairs, and one with fewer than 300 is left out with a warning. Built once for a set of package versions.
    """
    name = "docs" if body == "full" else f"docs?body={body}"
    installed, found = importlib.metadata.packages_distributions(), {}
    for package in (*TRAIN, *OUTSIDE):
        try:
            found[package] = _find(package, installed)[1]
        except ValueError:
            if package in TRAIN:
                raise

    def build(_: Path) -> Benchmark:
        collections = {c.domain: c for c in docs_collections(list(found), body, progress)}
        outside = {p: collections[p] for p in OUTSIDE if p in found and len(collections[p]) >= LEAST_PAIRS}
        with tqdm(desc="keeping the splits apart", total=1, disable=not progress, leave=False):
            return compose(
                [collections[p] for p in TRAIN],
                {p: c.take(min(MOST_PAIRS, len(c))) for p, c in outside.items()},
                name=name,
            )

    key = key_of(found, PARSER, BUILDER, SPLITTER, body, NEAR)
    benchmark = cached(f"benchmark-{name}", key, Benchmark.load, build)
    absent = [p for p in OUTSIDE if p not in benchmark.ood]
    if absent:
        what = f"benchmark {name}: without {', '.join(absent)} (not installed, or fewer than {LEAST_PAIRS} pairs)"
        if len(benchmark.ood) < LEAST_DOMAINS:
            raise ValueError(f"{what}; at least {LEAST_DOMAINS} domains outside are needed")
        warnings.warn(what, TextsWarning, stacklevel=2)
    return benchmark
