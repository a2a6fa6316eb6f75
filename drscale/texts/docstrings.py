"""Read docstrings out of Python files by their syntax tree, and clean them into (summary, rest) pairs.

Nothing is imported or executed. The module needs the standard library only and also runs as a script, so that another
interpreter can do the parsing: a JSON list of [path, module name] pairs on stdin, a line of JSON for each file out.
"""

from __future__ import annotations

import ast
import gc
import inspect
import json
import re
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

# Raise when the text that comes out changes: it is part of the cache key. The measured studies in data/runs stand on
# the text as it comes out now (tests/reference/texts.json), so a change wants new studies.
PARSER = 3
# What holds statements, in the order in which a node's fields stand; statements with a name; usual ones that hold none.
BLOCKS = ("body", "cases", "handlers", "orelse", "finalbody")
NAMED = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
DOCUMENTED = (ast.Module, *NAMED)
FLAT = (ast.Return, ast.Raise, ast.Assert, ast.AnnAssign, ast.AugAssign, ast.Import, ast.ImportFrom, ast.Pass)
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
    if isinstance(node, DOCUMENTED):
        text = ast.get_docstring(node)
        if text:
            yield name, text
    for block in BLOCKS:
        for child in getattr(node, block, ()):
            if isinstance(child, NAMED):
                yield from _walk(child, f"{name}.{child.name}")
                continue
            if isinstance(child, (ast.Expr, ast.Assign)):
                if isinstance(child.value, ast.Call):
                    yield from _added(child.value, name)
            elif not isinstance(child, FLAT):
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
    if NO_QUERY.match(query):
        return None
    return fit(query, clean(prose_of(rest) if body == "prose" else rest))


def fit(query: str, passage: str) -> tuple[str, str] | None:
    """The pair if the query has 4 to 60 words and is not in its passage, which has at least 15 words; else None."""
    if not 4 <= len(query.split()) <= 60 or len(passage.split()) < 15 or query.lower().rstrip(".") in passage.lower():
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
    gc.disable()  # a tree has no cycles, and to look for some takes a quarter of the time; this process ends soon
    body, files = json.load(sys.stdin)
    for path, module in files:
        print(json.dumps(pairs_in(path, module, body)), flush=True)


if __name__ == "__main__":
    main()
