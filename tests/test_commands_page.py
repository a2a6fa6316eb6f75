"""The page of the command line: every command on it runs, and prints what stands there (numbers apart)."""

from __future__ import annotations

import re

import pytest
from scripts import script

from drscale.cli import _parsers

maker = script("docs/make_command_line.py")
PAGE = maker.PAGE.read_text()


def masked(text: str) -> list[str]:
    """Words and layout without numbers, whose last digits are another machine's."""
    return re.sub(r"[-+]?\d[\d.,e+-]*[KMGT%]?", "#", re.sub(r" +", " ", text)).splitlines()


@pytest.mark.parametrize(("command", "text"), maker.BLOCK.findall(PAGE), ids=lambda s: s[:24].split("\n")[0])
def test_a_command_prints_what_the_page_says(command: str, text: str) -> None:
    assert masked(maker.output(command)) == masked(text)


def test_the_page_names_every_command() -> None:
    first = PAGE.partition("\n\n`drscale COMMAND")[0]
    assert set(_parsers()[1]) <= set(re.findall(r"`(\w+)`", first))
