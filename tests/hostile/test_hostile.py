"""Nothing breaks, nothing passes silently: over a thousand bad inputs, a sentence or a warning for each."""

from __future__ import annotations

import pytest

from hostile.judge import Case, judge
from hostile.table import PAGE, ROOMS, counted, filled, judged


@pytest.mark.parametrize("room", ROOMS)
def test_no_bad_input_breaks_or_passes_silently(room: str) -> None:
    bad = [f"{v.kind}: {v.case.what}: {v.said}" for v in judged(room) if v.kind in ("traceback", "silent")]
    assert not bad, "\n".join(bad)
    assert len(judged(room)) >= ROOMS[room][1]


def test_there_are_a_thousand() -> None:
    assert sum(counted(room)["inputs"] for room in ROOMS) >= 1000


@pytest.mark.parametrize("room", ROOMS)
def test_no_input_is_tried_twice(room: str) -> None:
    names = [v.case.what for v in judged(room)]
    assert sorted(names) == sorted(set(names))


def test_the_page_is_current() -> None:
    page = PAGE.read_text()
    assert filled(page) == page, "fill it with: python tests/hostile/table.py"


def test_the_judge_can_fail() -> None:
    def fails(error: Exception) -> Case:
        def call() -> None:
            raise error

        return Case("x", call, ("steps",))

    assert judge(fails(ValueError("steps=0: at least 1"))).kind == "sentence"
    assert judge(fails(ValueError("bad value"))).kind == "traceback"
    assert judge(fails(TypeError("steps"))).kind == "traceback"
    assert judge(fails(ValueError("steps\nand more"))).kind == "traceback"
    assert judge(Case("x", dict, ("steps",))).kind == "silent"
    assert judge(Case("x", dict, accept="an empty table is a table")).kind == "accepted"
    assert judge(Case("x", fails(ValueError("no")).call, accept="declared in vain")).kind == "traceback"
