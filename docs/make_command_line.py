"""Fill the page of the command line: run every command on it and write down what it says.

Call it with ``python docs/make_command_line.py``. A command stands in a
block of its own, after ``$ ``; it runs in the repository's root, and what it writes goes to build/command_line.
"""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from pathlib import Path

from drscale.cli import main

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "command_line.md"
BLOCK = re.compile(r"```console\n\$ drscale (.*)\n((?:.*\n)*?)```\n")


def output(command: str) -> str:
    """What a command prints, both streams, and its exit status where that is not 0."""
    kept = io.StringIO()
    (ROOT / "build" / "command_line").mkdir(parents=True, exist_ok=True)  # or the first command would say it is new
    with contextlib.chdir(ROOT), contextlib.redirect_stdout(kept), contextlib.redirect_stderr(kept):
        try:
            status = main(shlex.split(command))
        except SystemExit as left:
            status = int(left.code or 0)
    lines = [line.rstrip() for line in kept.getvalue().splitlines()]
    return "\n".join(lines + [f"(exit status {status})"] * (status != 0)) + "\n"


def filled(page: str) -> str:
    """The page with the output of every command on it."""
    return BLOCK.sub(lambda block: f"```console\n$ drscale {block[1]}\n{output(block[1])}```\n", page)


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text()))
    print(f"wrote {PAGE.relative_to(ROOT)}")
