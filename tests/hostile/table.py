"""Judge the bad inputs of every room, and fill the page that counts them.

Call it with ``python tests/hostile/table.py``, or with names of rooms to see what they say to each input.
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


def show(rooms: list[str]) -> None:
    """Print each verdict of some rooms, the failures last."""
    for room in rooms:
        verdicts = sorted(judged(room), key=lambda v: KINDS.index(v.kind))
        quiet = os.environ.get("BRIEF")
        for v in verdicts:
            if not quiet or v.kind in KINDS[3:]:
                print(f"{v.kind:9} {v.case.what[:60]}: {v.said[:300]}")
        print(room, len(verdicts), dict(Counter(v.kind for v in verdicts)), flush=True)


if __name__ == "__main__":
    show(sys.argv[1:] or list(ROOMS))
