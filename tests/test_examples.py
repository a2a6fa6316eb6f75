"""Every public name has an example in its docstring, and every example is true."""

from __future__ import annotations

import doctest
import inspect
from pathlib import Path

import pandas as pd
import pytest

import drscale as ds

NAMES = [name for name in ds.__all__ if not inspect.ismodule(getattr(ds, name))]
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
MOST_SKIPPED = 5  # names whose example needs minutes or a network


def examples(thing: object) -> list[doctest.Example]:
    return doctest.DocTestParser().get_examples(inspect.getdoc(thing) or "")


def skipped(thing: object) -> bool:
    return any(example.options.get(doctest.SKIP) for example in examples(thing))


@pytest.mark.parametrize("name", NAMES)
def test_example(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # an example may write: "runs" is a folder of its own
    assert examples(getattr(ds, name)), f"ds.{name} has no example in its docstring"
    text = inspect.getdoc(getattr(ds, name)) or ""
    test = doctest.DocTestParser().get_doctest(text, {}, f"ds.{name}", None, None)
    said: list[str] = []
    with pd.option_context("display.float_format", None, "display.max_colwidth", 50):  # whatever other tests have set
        doctest.DocTestRunner(optionflags=FLAGS, verbose=False).run(test, out=said.append)
    assert not said, "".join(said)


def test_the_door_itself() -> None:
    assert doctest.testmod(ds, optionflags=FLAGS).failed == 0


def test_few_examples_are_skipped() -> None:
    assert len([name for name in NAMES if skipped(getattr(ds, name))]) <= MOST_SKIPPED
