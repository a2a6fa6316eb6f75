"""The ladders of sizes: shapes, counts under every convention and FLOPs are those that a hand works out."""

from __future__ import annotations

import pytest

from drscale.ladder import parse_rung


@pytest.mark.parametrize(("rung", "size"), [("L2H128", (2, 128)), ("base", None), ("L2H128x", None)])
def test_rungs_are_read(rung: str, size: tuple[int, int] | None) -> None:
    assert parse_rung(rung) == size
