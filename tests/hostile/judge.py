"""One bad input and the verdict on it: a sentence, a warning, rightly accepted, a traceback, or silence."""

from __future__ import annotations

import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

KINDS = ("sentence", "warned", "accepted", "traceback", "silent")
LONGEST = 1000  # characters of a sentence, those of a quoted input included
PATIENCE = 60  # seconds for one input


class Hang(BaseException):
    """An input at which the package waits for ever; no handler for errors catches it."""


@dataclass(frozen=True)
class Case:
    """A bad input: what it is, the call that meets it, and words of which the answer has to say one.

    ``accept`` is the reason why a call may go on without a word; without one, silence is a defect.
    """

    what: str
    call: Callable[[], object]
    names: tuple[str, ...] = ()
    accept: str = ""


@dataclass(frozen=True)
class Verdict:
    """What became of a case; ``said`` is the answer, for the list of failures."""

    case: Case
    kind: str
    said: str = ""


@contextmanager
def patience(seconds: float) -> Iterator[None]:
    """End what takes longer, where signals can do so."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise Hang(f"no answer within {seconds:g} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _named(case: Case, text: str) -> bool:
    return any(word.lower() in text.lower() for word in case.names)


def judge(case: Case) -> Verdict:
    """Meet a bad input and say what came of it.

    A sentence is a ValueError or an OSError of one line that names the thing, a warning one of the package's own that
    names it. A sentence that names nothing counts as a traceback, and so does a warning of another package.
    """
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        try:
            with patience(PATIENCE):
                case.call()
        except (ValueError, OSError) as e:
            text = str(e)
            about = f"{type(e).__name__}: {text}"
            if case.accept:
                return Verdict(case, "traceback", f"declared as accepted, yet refused: {about}")
            if not _named(case, text):
                return Verdict(case, "traceback", f"names none of {case.names}: {about}")
            if len(text) > LONGEST or len(text.strip().splitlines()) > 1:
                return Verdict(case, "traceback", f"more than a sentence: {about}")
            return Verdict(case, "sentence", text)
        except (Exception, Hang, SystemExit) as e:
            return Verdict(case, "traceback", f"{type(e).__name__}: {e}")
    ours = [str(w.message) for w in heard if w.category.__module__.partition(".")[0] == "drscale"]
    strange = [f"{w.category.__name__}: {w.message}" for w in heard if w.category.__module__.split(".")[0] != "drscale"]
    if strange:
        return Verdict(case, "traceback", f"a stranger's warning: {strange[0]}")
    if case.accept:
        return Verdict(case, "accepted", case.accept)
    if named := [text for text in ours if _named(case, text)]:
        return Verdict(case, "warned", named[0])
    return Verdict(case, "silent", f"warnings: {ours}" if ours else "")
