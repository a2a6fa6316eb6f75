"""Execute the notebooks, to store them with static figures or to see that every cell still runs.

``python notebooks/build.py store`` executes each notebook in place; ``python notebooks/build.py run`` leaves the
notebooks alone, and draws nothing that they would store. Names after that choose among the notebooks.
``docs/make_site.py`` shows them as stored.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
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

from drscale.files import write_atomic
from drscale.plotting.files import browser

HERE = Path(__file__).resolve().parent
CELL_SECONDS = 240  # a slow machine trains for half of that in one cell
KERNELS = 2  # notebooks that run at a time
WIDGET = "application/vnd.jupyter.widget-view+json"
WIDGET_SAYS = "(A widget stands here: run this cell in JupyterLab to use it.)"
SVG, FIGURE = "image/svg+xml", "application/vnd.plotly.v1+json"
# Plotly imports jsonschema, which parses a grammar for seconds to check addresses; no figure has one.
NO_GRAMMAR = "import sys; sys.modules.setdefault('rfc3987_syntax', None)"
# One browser for all figures of a kernel, instead of one that starts for each.
ONE_BROWSER = "import kaleido; kaleido.start_sync_server(n=1, silence_warnings=True)"
HUSH = "import warnings; warnings.filterwarnings('ignore', message='The kopts argument')"


def execute(path: Path, threads: int | None = None, pictures: bool = True) -> Any:
    """Run a notebook from top to bottom in a fresh kernel and hand it back, tidy; a failing cell raises.

    ``threads`` are the kernel's, where several run at a time. Without ``pictures`` its figures are made as JupyterLab
    makes them, and no browser draws them for a page of paper.
    """
    notebook = nbformat.read(path, as_version=4)
    drawn = browser() is not None and (pictures or any("export" in cell.source for cell in notebook.cells))
    lines = [NO_GRAMMAR, *([ONE_BROWSER, HUSH] if drawn else [])]
    client = NotebookClient(
        notebook,
        timeout=CELL_SECONDS,
        kernel_name="python3",
        extra_arguments=["--log-level=ERROR", *(f"--IPKernelApp.exec_lines={line}" for line in lines)],
        resources={"metadata": {"path": str(path.parent)}},
        store_widget_state=False,
        record_timing=False,
    )
    given = {"PLOTLY_RENDERER": "plotly_mimetype+svg" if drawn and pictures else "plotly_mimetype"}
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


def store(paths: list[Path]) -> None:
    """Execute notebooks in place."""
    for path in paths:
        started = time.perf_counter()
        write_atomic(path, nbformat.writes(execute(path)) + "\n")
        print(f"{path.name}: {time.perf_counter() - started:.0f} s, {path.stat().st_size / 1000:.0f} kB", flush=True)


def run(paths: list[Path]) -> None:
    """Execute notebooks, several at a time, and leave them as they are."""
    with ThreadPoolExecutor(KERNELS) as pool:
        running = [pool.submit(_seconds, path) for path in paths]
        try:
            for path, one in zip(paths, running, strict=True):
                print(f"{path.name}: {one.result():.0f} s", flush=True)
        finally:
            for waiting in running:
                waiting.cancel()


def _seconds(path: Path) -> float:
    started = time.perf_counter()
    execute(path, threads=1, pictures=False)
    return time.perf_counter() - started


def at(name: Path) -> Path:
    """The notebook that a path names, or a bare name of one that is here."""
    own = HERE / name.with_suffix(".ipynb")
    return own if not name.is_file() and name.parent == Path() and own.is_file() else name.resolve()


def main() -> int:
    parser = argparse.ArgumentParser(description="Execute the notebooks, and store them or leave them alone.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb, says in (("store", "execute in place"), ("run", "execute and leave as they are")):
        named = "paths, or names as 03_size_law; without any: all"
        verbs.add_parser(verb, help=says).add_argument("names", nargs="*", type=Path, metavar="NOTEBOOK", help=named)
    arguments = parser.parse_args()
    paths = [at(name) for name in arguments.names] or sorted(HERE.glob("*.ipynb"))  # digits before letters
    missing = [p for p in paths if not p.is_file()]
    if missing or not paths:
        print(f"no such notebook: {missing[0] if missing else HERE / '*.ipynb'}", file=sys.stderr)
        return 2
    try:
        {"store": store, "run": run}[arguments.verb](paths)
    except (CellExecutionError, CellTimeoutError) as e:
        print(e, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
