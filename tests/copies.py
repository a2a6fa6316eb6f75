"""Scripts in processes of their own, as copies of one that has read torch and transformers: a start costs nothing."""

from __future__ import annotations

import os
import runpy
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from drscale import pools


class Copy:
    """A script that runs in a session of its own; what it says goes to a file."""

    def __init__(self, script: Path, *words: object, environment: Mapping[str, str] | None = None) -> None:
        self.said = Path(f"{words[0]}.said")
        given = [str(script), *map(str, words)]
        self._process = pools.context().Process(target=_run, args=(given, dict(environment or os.environ), self.said))
        self._process.start()

    @property
    def pid(self) -> int:
        """The process's number, and that of its session."""
        assert self._process.pid is not None
        return self._process.pid

    def poll(self) -> int | None:
        """The exit code, None while it runs."""
        return self._process.exitcode

    def wait(self, seconds: float | None = None) -> int | None:
        """Wait for the end; hand out the exit code."""
        self._process.join(seconds)
        return self._process.exitcode


def run(script: Path, *words: object, environment: Mapping[str, str] | None = None) -> str:
    """Run a script to its end; hand out what it said, and fail with that where it fails."""
    copy = Copy(script, *words, environment=environment)
    code = copy.wait(600)
    said = copy.said.read_text()
    if code is None:
        os.kill(copy.pid, signal.SIGKILL)
    assert code == 0, said
    return said


def _run(words: list[str], environment: dict[str, str], said: Path) -> None:
    os.setsid()
    with said.open("w") as out:
        for number in (1, 2):
            os.dup2(out.fileno(), number)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = words
    sys.path[0:1] = [str(Path(words[0]).parent), *filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))]
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    runpy.run_path(words[0], run_name="__main__")
