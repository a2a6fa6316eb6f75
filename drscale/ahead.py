"""What the process that workers are copies of reads before it is copied (``drscale.pools``)."""

from __future__ import annotations

import importlib
import os
import signal
from collections.abc import Sequence

NAMES = "DRSCALE_READ_AHEAD"  # where the process finds the names of what it shall read


def read(names: Sequence[str]) -> None:
    """Import what is named, as long as the process that asked for it is there.

    What cannot be imported is left to the worker that needs it, which says what is wrong with it.

    >>> read(["json", "no_such_library"])
    """
    parent = os.getppid()
    for name in names:
        if os.getppid() != parent:
            os._exit(1)
        try:
            importlib.import_module(name)
        except Exception:  # a broken library may raise whatever it likes
            continue


if NAMES in os.environ:
    read(os.environ.pop(NAMES).split(","))  # nobody whom a copy starts shall read it again
    # It was started deaf to Ctrl+C, which is for its parent: forget one that came while it read, and hear the next.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    signal.signal(signal.SIGINT, before)
