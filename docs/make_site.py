"""Build the site: ``python docs/make_site.py build/book`` lays out its sources, calls Sphinx and checks the pages.

The sources lie as in the repository, so that a link that works there works here, too. Notebooks are shown as stored;
each figure becomes a file with an alternative text, and below it stands a link to the numbers that it draws.
"""

from __future__ import annotations

import argparse
import html
import importlib
import inspect
import re
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import nbformat

import drscale
from drscale.plotting import files as numbers

ROOT = Path(__file__).resolve().parent.parent
PAGES = ["README.md", "LOG.md", "CHANGELOG.md", "data/README.md", "data/published/README.md"]
PAGES += [
    "docs/texts.md",
    "docs/design.md",
    "docs/contributing.md",
    "docs/clusters.md",
    "docs/bare_node.md",
    "docs/size.md",
    "docs/command_line.md",
    "docs/bad_inputs.md",
    "docs/broken_sweeps.md",
    "data/figures/fig2a.svg",
    "data/figures/fig2b.svg",
]
SVG, FIGURE = "image/svg+xml", "application/vnd.plotly.v1+json"
MARK = "NOTEBOOKS_HERE"
LONGEST_ALT = 300
# What a script or a style sheet would ask another host for.
FAR = re.compile(
    r"""(?:(?:@import|\bimport|\bfetch|\burl)[\s(]*(?:["'](?:https?:)?//|https?://)|\bfrom\s*["'](?:https?:)?//)[^"')\s]*"""
)


# ------------------------------------------------------------------------------------------------- notebooks


def heading(notebook: Any) -> tuple[str, str]:
    """A notebook's title and its question, the first line in italics."""
    first = notebook.cells[0].source
    title = first.lstrip("# ").splitlines()[0].strip()
    question = re.search(r"^[*_]([^*_].*?)[*_]$", first, flags=re.MULTILINE | re.DOTALL)
    return title, " ".join(question[1].split()) if question else ""


def plain(text: Any) -> str:
    """A label of plotly without its markup."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", str(text or ""))).split())


def alt_text(figure: dict[str, Any]) -> str:
    """A figure in words, from plotly's own description of it: its title, what its axes show and what is drawn."""
    layout = figure.get("layout", {})

    def axes(letter: str) -> str:
        names = [k for k in layout if re.fullmatch(f"{letter}axis\\d*", k)]
        titles = [plain((layout[k].get("title") or {}).get("text")) for k in sorted(names)]
        return " and ".join(dict.fromkeys(t for t in titles if t))

    title = layout.get("title") or {}
    parts = [plain(title.get("text") if isinstance(title, dict) else title)]
    x, y = axes("x"), axes("y")
    parts.append(f"{y} against {x}" if x and y else x or y)
    traces = figure.get("data", [])
    drawn = list(dict.fromkeys(plain(t.get("name")) for t in traces if t.get("showlegend", True) and t.get("name")))
    parts.append(f"drawn: {', '.join(drawn)}" if drawn else "")
    words = ". ".join(part.rstrip(".") for part in parts if part)
    words = words or f"A figure of {', '.join(dict.fromkeys(t.get('type', 'scatter') for t in traces)) or 'no data'}"
    return words if len(words) <= LONGEST_ALT else words[: LONGEST_ALT - 4].rsplit(" ", 1)[0] + " ..."


def with_figures(notebook: Any, name: str, folder: Path, up: str = "../") -> Any:
    """Write each figure and its numbers as files into ``folder`` and put them into the notebook as HTML."""
    count = 0
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if SVG not in data:
                continue
            count += 1
            stem = f"{name}-{count}"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{stem}.svg").write_text(data[SVG])
            figure = data.get(FIGURE, {})
            words, link = html.escape(alt_text(figure)), f"{up}{folder.name}/{stem}"
            caption = ""
            if figure:
                (folder / f"{stem}.csv").write_text(numbers.drawn(figure).to_csv(index=False, float_format="%.6g"))
                caption = f'<figcaption><a download href="{link}.csv">The numbers of this figure (CSV)</a></figcaption>'
            image = f'<img src="{link}.svg" alt="{words}" loading="lazy">'
            output.data = nbformat.from_dict({"text/html": f'<figure class="drawn">{image}{caption}</figure>'})
    return notebook


def card(notebook: Any, name: str, folder: Path) -> str:
    """A notebook in the index: its first figure, its title, its question."""
    title, question = heading(notebook)
    first = folder / f"{name}-1.svg"
    image = f'<img src="{folder.name}/{first.name}" alt="" loading="lazy">' if first.exists() else ""
    link = f'<a href="notebooks/{name}.html">{html.escape(title)}</a>'
    return f"<li>{image}<p><strong>{link}</strong><br>{html.escape(question)}</p></li>"


# ------------------------------------------------------------------------------------------------- the reference


def names_of(module: ModuleType) -> list[str]:
    """A module's public names; of a lazy one mypy knows nothing."""
    return list(vars(module)["__all__"])


def public() -> Iterator[tuple[str, list[str]]]:
    """The front door and each package with the public names that are not the door's."""
    door = [name for name in names_of(drscale) if not inspect.ismodule(getattr(drscale, name))]
    yield "drscale", door
    at_door = {id(getattr(drscale, name)) for name in door}
    for path in sorted((ROOT / "drscale").glob("*/__init__.py")):
        module = importlib.import_module(f"drscale.{path.parent.name}")
        if own := [n for n in names_of(module) if id(getattr(module, n)) not in at_door]:
            yield module.__name__, own


def entry(module: str, name: str) -> str:
    """A name's own words and signature, as a directive; of what is neither function nor class, its kind and size."""
    thing = getattr(importlib.import_module(module), name)
    if inspect.isclass(thing):
        return f".. autoclass:: {module}.{name}\n   :members:\n"
    if inspect.isroutine(thing):
        return f".. autofunction:: {module}.{name}\n"
    size = f"\n\n   {len(thing)} entries.\n" if hasattr(thing, "__len__") and not isinstance(thing, str) else "\n"
    return f".. py:data:: {module}.{name}\n   :type: {type(thing).__name__}{size}"


def reference(folder: Path) -> None:
    """Write the reference's sources: a page for the front door, one for each package, an index of all."""
    folder.mkdir(parents=True, exist_ok=True)
    pages = []
    for module, names in public():
        said = (importlib.import_module(module).__doc__ or "").split("\n")[0]
        title = "import drscale as ds" if module == "drscale" else module
        lines = [title, "=" * len(title), "", said, "", f".. currentmodule:: {module}", "", ".. autosummary::", ""]
        called = [name for name in sorted(names) if callable(getattr(importlib.import_module(module), name))]
        lines += [f"   {name}" for name in called] + [""] + [entry(module, name) for name in sorted(names)]
        (folder / f"{module}.rst").write_text("\n".join(lines))
        pages.append(module)
    for space in ("plot", "explore"):
        short = importlib.import_module(f"drscale.{space}")
        title = f"ds.{space}"
        lines = [title, "=" * len(title), "", (short.__doc__ or "").split("\n")[0], ""]
        lines += [entry(f"drscale.{space}", name) for name in sorted(names_of(short))]
        (folder / f"{space}.rst").write_text("\n".join(lines))
    order = ["drscale", "plot", "explore", *pages[1:]]
    index = (
        "Reference\n=========\n\nWhat is not named here may change without notice.\n\n.. toctree::\n   :maxdepth: 1\n\n"
    )
    (folder / "index.rst").write_text(index + "".join(f"   {page}\n" for page in order))


# ------------------------------------------------------------------------------------------------- the site


def lay_out(source: Path, notebooks: list[Path]) -> None:
    """Put all that Sphinx reads into one folder, laid out as the repository is."""
    shutil.rmtree(source, ignore_errors=True)
    for page in PAGES:
        (source / page).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / page, source / page)
    shutil.copy(ROOT / "docs" / "conf.py", source)
    shutil.copytree(ROOT / "docs" / "static", source / "static")
    figures, cards = source / "extra" / "figures", []
    figures.mkdir(parents=True)
    (source / "notebooks").mkdir()
    for path in notebooks:
        notebook = with_figures(nbformat.read(path, as_version=4), path.stem, figures)
        nbformat.write(notebook, source / "notebooks" / path.name)
        cards.append(card(notebook, path.stem, figures))
    index = (ROOT / "docs" / "index.md").read_text()
    grid = '```{raw} html\n<ul class="notebooks">\n' + "\n".join(cards) + "\n</ul>\n```"
    (source / "index.md").write_text(index.replace(MARK, grid))
    reference(source / "reference")


def faults(page: str, name: str) -> list[str]:
    """What in a page would ask another host for something, and its images without an alternative text."""
    tags = re.findall(r"<(?:script|img|link|iframe|source|video|audio|embed|object|image|use)\b[^>]*>", page)
    far = [t for t in tags if re.search(r"""\b(?:src|href|data|srcset)\s*=\s*["']?(?:https?:)?//""", t)]
    code = "\n".join(re.findall(r"<(?:script|style)\b[^>]*>(.*?)</(?:script|style)>", page, flags=re.DOTALL))
    far += FAR.findall(code)
    blind = [t for t in tags if t.startswith("<img") and not re.search(r"\balt\s*=", t)]
    found = [f"{name}: asks another host: {t[:120]}" for t in far]
    return found + [f"{name}: has no alternative text: {t[:120]}" for t in blind]


def build(folder: Path, notebooks: list[Path] | None = None) -> int:
    """Build the site into a folder, of all notebooks or of these; 0 where Sphinx had no warning, the pages no fault."""
    from sphinx.cmd.build import build_main  # the tests use the rest of this file without Sphinx

    started, source = time.perf_counter(), folder.parent / f"{folder.name}-source"
    lay_out(source, notebooks or sorted((ROOT / "notebooks").glob("*.ipynb")))  # digits before letters
    shutil.rmtree(folder, ignore_errors=True)
    doctrees = folder.parent / f"{folder.name}-doctrees"
    flags = ["-q", "-W", "--keep-going", "-E", "-b", "html", "-d", str(doctrees)]
    status = build_main([*flags, str(source), str(folder)])  # in this process, which has loaded drscale already
    pages = sorted(folder.rglob("*.html"))
    found = [fault for p in pages for fault in faults(p.read_text(), str(p.relative_to(folder)))]
    for path in [*folder.rglob("*.css")]:
        found += [f"{path.relative_to(folder)}: {far}" for far in far_styles(path.read_text())]
    print(*found, sep="\n", end="\n" if found else "", file=sys.stderr)
    print(f"wrote {folder / 'index.html'} and {len(pages) - 1} more pages in {time.perf_counter() - started:.0f} s")
    return int(bool(status or found))


def far_styles(style: str) -> list[str]:
    """What a style sheet would ask another host for."""
    return FAR.findall(style)


def main() -> int:
    parser = argparse.ArgumentParser(description="Build the site from the stored notebooks, the pages and the code.")
    parser.add_argument("folder", type=Path)
    return build(parser.parse_args().folder.resolve())


if __name__ == "__main__":
    sys.exit(main())
