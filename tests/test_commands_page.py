"""The page of the command line: every command on it runs, and prints what stands there (numbers apart)."""

from __future__ import annotations

import importlib.util
import re
from types import ModuleType

import pytest
from conftest import ROOT

from drscale.cli import _parsers


def _maker() -> ModuleType:
    found = importlib.util.spec_from_file_location("make_command_line", ROOT / "docs" / "make_command_line.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


maker = _maker()
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
