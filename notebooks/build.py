"""Execute the notebooks, store them with static figures, or bind them into one HTML book.

``python notebooks/build.py store`` executes each notebook in place; ``python notebooks/build.py book build/book``
leaves the notebooks alone and writes linked pages with an index. Names after that choose among the notebooks.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import html
import os
import re
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError
from nbconvert import HTMLExporter

from drscale.plotting import files as numbers
from drscale.plotting.files import browser
from drscale.runs import write_atomic

HERE = Path(__file__).resolve().parent
CELL_SECONDS = 240  # a slow machine trains for half of that in one cell
KERNELS = 2  # notebooks of the book that run at a time
WIDGET = "application/vnd.jupyter.widget-view+json"
WIDGET_SAYS = "(A widget stands here: run this cell in JupyterLab to use it.)"
SVG, FIGURE = "image/svg+xml", "application/vnd.plotly.v1+json"
# One browser for all figures of a kernel, instead of one that starts for each.
ONE_BROWSER = "import kaleido; kaleido.start_sync_server(n=1, silence_warnings=True)"
HUSH = "import warnings; warnings.filterwarnings('ignore', message='The kopts argument')"
STYLE = """<style>
nav.book { display: flex; justify-content: space-between; gap: 2em; max-width: 60em; margin: 1em auto; padding: 0 2em;
  font: 15px/1.4 system-ui, sans-serif; }
nav.book a { color: #0b5cad; text-decoration: none; }
body.index { max-width: 42em; margin: 3em auto; padding: 0 1em; font: 17px/1.5 system-ui, sans-serif; }
body.index li { margin: 0.6em 0; }
p.numbers { margin: 0 0 1em; font-size: 85%; }
p.numbers a { color: #0b5cad; }
</style>"""


def execute(path: Path, threads: int | None = None) -> Any:
    """Run a notebook from top to bottom in a fresh kernel and hand it back, tidy; a failing cell raises.

    ``threads`` are the kernel's, where several run at a time.
    """
    notebook = nbformat.read(path, as_version=4)
    static = browser() is not None
    lines = [ONE_BROWSER, HUSH] if static else []
    client = NotebookClient(
        notebook,
        timeout=CELL_SECONDS,
        kernel_name="python3",
        extra_arguments=["--log-level=ERROR", *(f"--IPKernelApp.exec_lines={line}" for line in lines)],
        resources={"metadata": {"path": str(path.parent)}},
        store_widget_state=False,
        record_timing=False,
    )
    given = {"PLOTLY_RENDERER": "plotly_mimetype+svg" if static else "plotly_mimetype"}
    given |= {"OMP_NUM_THREADS": str(threads)} if threads else {}
    asyncio.run(client.async_execute(env=os.environ | given))  # its loop ends with it, in any thread
    return tidy(notebook)


def tidy(notebook: Any) -> Any:
    """Keep what a reader needs and what is the same every time: no widget state, no machine's own metadata."""
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
    )
    for cell in notebook.cells:
        cell.metadata = nbformat.from_dict({k: v for k, v in cell.metadata.items() if k == "tags"})
        if cell.cell_type != "code":
            continue
        cell.outputs = [part for output in cell.outputs for part in without_kernel(output)]
        for output in cell.outputs:
            output.get("metadata", {}).clear()
            data = output.get("data", {})
            if SVG in data:
                data[SVG] = steady(lean(data[SVG]))
    return notebook


def without_kernel(output: Any) -> list[Any]:
    """What is left of an output where no kernel answers: of a widget its picture, if it has one, and its words."""
    data = output.get("data", {})
    if WIDGET not in data:
        return [output]
    picture = {kind: data[kind] for kind in (FIGURE, SVG, "image/png") if kind in data}
    words = f"{data.get('text/markdown', '')}\n\n*{WIDGET_SAYS}*".strip()
    output.data = nbformat.from_dict({"text/plain": WIDGET_SAYS} | picture)
    if not picture:
        return [output]
    return [output, nbformat.v4.new_output("display_data", {"text/plain": WIDGET_SAYS, "text/markdown": words})]


def with_numbers(notebook: Any, name: str) -> Any:
    """Put a link to the numbers that it draws below each figure, as a CSV that the page carries along."""
    count = 0
    for cell in notebook.cells:
        outputs, cell["outputs"] = cell.get("outputs", []), []
        for output in outputs:
            cell.outputs.append(output)
            if FIGURE not in output.get("data", {}):
                continue
            count += 1
            csv = numbers.drawn(output.data[FIGURE]).to_csv(index=False, float_format="%.6g").encode()
            link = f'<a download="{name}-{count}.csv" href="{numbers.data_uri(csv, ".csv")}">'
            says = f'<p class="numbers">{link}The numbers of this figure (CSV, {max(len(csv) // 1000, 1)} kB)</a></p>'
            cell.outputs.append(nbformat.v4.new_output("display_data", {"text/html": says}))
    return notebook


def lean(svg: str) -> str:
    """Drop from an SVG what draws nothing: empty groups, the legend's click areas, defaults; colours short."""
    svg = re.sub(r'<rect class="legendtoggle"[^>]*/>', "", svg)
    svg = re.sub(r" ?(?<![-\w])(?:opacity: 1|vector-effect: none);", "", svg)
    svg = re.sub(r"rgb\((\d+), (\d+), (\d+)\)", lambda c: "#{:02x}{:02x}{:02x}".format(*map(int, c.groups())), svg)
    for _ in range(4):  # a group of empty groups is empty
        svg = re.sub(r"<g\b[^>]*/>|<g\b[^>]*(?<!/)></g>", "", svg)
    return svg.replace(' style=""', "")


def steady(svg: str) -> str:
    """Name an SVG's parts after its content where plotly draws random characters, so that equal figures are equal."""
    svg = re.sub(r'(class="trace \w+ trace)[0-9a-f]{6}', r"\1", svg)
    found = re.search(r'id="defs-([0-9a-f]{6})"', svg)
    if not found:
        return svg
    bare = svg.replace(found[1], "")
    return svg.replace(found[1], hashlib.sha256(bare.encode()).hexdigest()[:6])


def heading(notebook: Any) -> tuple[str, str]:
    """A notebook's title and its question, the first line in italics."""
    first = notebook.cells[0].source
    title = first.lstrip("# ").splitlines()[0].strip()
    question = re.search(r"^[*_]([^*_].*?)[*_]$", first, flags=re.MULTILINE | re.DOTALL)
    return title, " ".join(question[1].split()) if question else ""


def store(paths: list[Path]) -> None:
    """Execute notebooks in place."""
    for path in paths:
        started = time.perf_counter()
        write_atomic(path, nbformat.writes(execute(path)) + "\n")
        print(f"{path.name}: {time.perf_counter() - started:.0f} s, {path.stat().st_size / 1000:.0f} kB", flush=True)


def book(paths: list[Path], folder: Path) -> None:
    """Execute notebooks and write them as linked pages with an index; the notebooks stay as they are."""
    exporter = HTMLExporter(require_js_url="", embed_images=True)
    exporter.log.setLevel("ERROR")  # it misses alternative texts, which a figure's axes and legend stand in for
    read = [(path, *heading(nbformat.read(path, as_version=4))) for path in paths]
    with ThreadPoolExecutor(KERNELS) as pool:
        running = [pool.submit(_timed, path) for path in paths]
        try:
            for i, (path, title, _) in enumerate(read):
                done, seconds = running[i].result()
                page, _resources = exporter.from_notebook_node(
                    with_numbers(done, path.stem), {"metadata": {"name": title}}
                )
                around = [(read[j][0].stem, read[j][1]) if 0 <= j < len(read) else None for j in (i - 1, i + 1)]
                write_atomic(folder / f"{path.stem}.html", _with_links(page, *around))
                print(f"{path.name}: {seconds:.0f} s", flush=True)
        finally:
            for waiting in running:
                waiting.cancel()
    items = "\n".join(
        f'<li><a href="{path.stem}.html">{html.escape(title)}</a><br>{html.escape(question)}</li>'
        for path, title, question in read
    )
    index = f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>drscale</title>{STYLE}</head>'
    index += f'<body class="index"><h1>drscale</h1><ol>{items}</ol></body></html>\n'
    write_atomic(folder / "index.html", index)
    print(f"wrote {folder / 'index.html'} and {len(read)} pages")


def _timed(path: Path) -> tuple[Any, float]:
    started = time.perf_counter()
    return execute(path, threads=1), time.perf_counter() - started


def _with_links(page: str, before: tuple[str, str] | None, after: tuple[str, str] | None) -> str:
    def link(to: tuple[str, str] | None, text: str) -> str:
        return f'<a href="{to[0]}.html">{text.format(html.escape(to[1]))}</a>' if to else "<span></span>"

    links = f'{link(before, "&larr; {}")}<a href="index.html">Contents</a>{link(after, "{} &rarr;")}'
    nav = f'<nav class="book">{links}</nav>'
    page = page.replace("</head>", f"{STYLE}</head>", 1)
    page = re.sub(r"<body[^>]*>", lambda m: m[0] + nav, page, count=1)
    return f"{nav}</body>".join(page.rsplit("</body>", 1))


def main() -> int:
    parser = argparse.ArgumentParser(description="Execute the notebooks: store them, or bind them into a book.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("store", help="execute in place").add_argument("names", nargs="*", type=Path)
    bind = verbs.add_parser("book", help="execute and write linked HTML pages")
    bind.add_argument("folder", type=Path)
    bind.add_argument("names", nargs="*", type=Path)
    arguments = parser.parse_args()
    paths = [p.resolve() for p in arguments.names] or sorted(HERE.glob("*.ipynb"))  # digits before letters
    missing = [p for p in paths if not p.is_file()]
    if missing or not paths:
        print(f"no such notebook: {missing[0] if missing else HERE / '*.ipynb'}", file=sys.stderr)
        return 2
    try:
        if arguments.verb == "store":
            store(paths)
        else:
            book(paths, arguments.folder)
    except (CellExecutionError, CellTimeoutError) as e:
        print(e, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
