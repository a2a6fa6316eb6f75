"""Judge the bad inputs of every room, and fill the page that counts them.

Call it with ``python tests/hostile/table.py`` to fill the page, or with names of rooms to see what they say to each
input.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    os.environ["HF_HUB_OFFLINE"] = "1"

from hostile import front, recipes, stores, studies, tables, texts, trec
from hostile.judge import KINDS, Case, Verdict, judge

# A room: what is tried in it, the least number of inputs, and what makes them.
ROOMS: dict[str, tuple[str, int, Callable[[Path], list[Case]]]] = {
    "records": ("records (JSON) of a store", 70, stores.record_cases),
    "files": ("a store's folder", 13, stores.file_cases),
    "rows": ("per-query rows (Parquet)", 20, stores.rows_cases),
    "mixed_rows": ("damaged rows on their way into a mixed model", 12, stores.mixed_cases),
    "pairs": ("tables of pairs (CSV, TSV, JSONL, gzip, Parquet)", 80, texts.pairs_cases),
    "spellings": ("spellings of texts", 50, texts.spelling_cases),
    "beir": ("folders in BEIR's layout", 50, texts.beir_cases),
    "cache": ("heads (JSON) of folders in the cache", 100, texts.cache_cases),
    "recipes": ("recipes, rungs, grids, spellings", 400, recipes.recipe_cases),
    "studies": ("studies (TOML and Python)", 60, studies.study_cases),
    "trec": ("TREC runs, qrels, measures, MTEB's results", 60, trec.trec_cases),
    "laws": ("laws: fits, intervals, predictions, figures", 90, tables.law_cases),
    "budget": ("prices, budgets, plans", 90, tables.budget_cases),
    "mixed": ("mixed models", 22, tables.mixed_cases),
    "export": ("files to write", 35, tables.export_cases),
    "labels": ("teachers' lists and files of labels", 20, front.label_cases),
    "commands": ("the analyst's command line", 50, front.command_cases),
    "door": ("retrievers, scores, attacks", 30, front.door_cases),
}


@lru_cache
def judged(room: str) -> tuple[Verdict, ...]:
    """The verdicts on a room's inputs; they are met once."""
    before = os.environ.get("DRSCALE_CACHE")
    with tempfile.TemporaryDirectory() as place:
        inputs = Path(place, "inputs")
        inputs.mkdir()
        os.environ["DRSCALE_CACHE"] = str(Path(place, "cache"))
        try:
            return tuple(judge(case) for case in ROOMS[room][2](inputs))
        finally:
            os.environ.pop("DRSCALE_CACHE")
            if before is not None:
                os.environ["DRSCALE_CACHE"] = before


PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "bad_inputs.md"
MARK = "<!-- made by tests/hostile/table.py from here on -->\n"


def counted(room: str) -> dict[str, int]:
    """How many inputs of a room came to which verdict."""
    found = Counter(v.kind for v in judged(room))
    return {"inputs": len(judged(room)), **{kind: found[kind] for kind in KINDS}}


def filled(page: str) -> str:
    """The page with the counts of all rooms, and with the reason for everything that is accepted."""
    counts = {room: counted(room) for room in ROOMS}
    total = {name: sum(row[name] for row in counts.values()) for name in ("inputs", *KINDS)}
    lines = [f"| room | inputs | {' | '.join(KINDS)} |", f"| --- |{' ---: |' * (1 + len(KINDS))}"]
    for what, row in [*((ROOMS[room][0], row) for room, row in counts.items()), ("**all**", total)]:
        lines.append(f"| {what} | {' | '.join(f'{n:,}' for n in row.values())} |")
    lines += ["", "## Rightly accepted", "", "| room | input | why |", "| --- | --- | --- |"]
    for room in ROOMS:
        for v in judged(room):
            if v.kind == "accepted":
                lines.append(f"| {room} | {_cell(v.case.what)} | {_cell(v.said)} |")
    return page.partition(MARK)[0] + MARK + "\n" + "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    """A text for a cell of the page."""
    return text.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*").replace("`", "'").replace("$", "\\$")


def show(rooms: list[str]) -> None:
    """Print each verdict of some rooms, the failures last."""
    for room in rooms:
        for v in sorted(judged(room), key=lambda v: KINDS.index(v.kind)):
            print(f"{v.kind:9} {v.case.what[:60]}: {v.said[:300]}")
        print(room, counted(room), flush=True)


if __name__ == "__main__":
    if sys.argv[1:]:
        show(sys.argv[1:])
    else:
        PAGE.write_text(filled(PAGE.read_text()))
        print(f"wrote {PAGE}")
