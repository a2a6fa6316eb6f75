"""Pools of workers: how many threads each has, what takes a broken one's place, and that none outlives its sweep."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent import futures
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from functools import lru_cache
from multiprocessing import connection, forkserver, resource_tracker
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any, TypeVar

from tqdm import tqdm

from drscale import ahead

T = TypeVar("T")

# What a worker has read when it begins a run, if it is a copy: by name, as whoever only reads tables has no torch.
READ_AHEAD = ["drscale.sweep", "drscale.evaluate.entropy"]
READ_AHEAD += [f"drscale.training.{name}" for name in ("loop", "packed", "prepare")]
READ_AHEAD += ["transformers.models.bert.modeling_bert", "transformers.convert_slow_tokenizer", "pyarrow.dataset"]
GPUS = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")


def context() -> BaseContext:
    """How this machine starts workers: as copies of a process that has read the libraries once, or each by itself.

    To read them takes a worker ten seconds of a core, to copy one who has read them less than a tenth of a second. A
    library for a GPU may have looked at it while it was read, and such a process must not be copied: there, and on
    systems other than Linux, each worker begins afresh.

    >>> from concurrent.futures import ProcessPoolExecutor
    >>> with ProcessPoolExecutor(2, mp_context=context()) as pool:
    ...     pool.submit(abs, -2).result()
    2
    """
    if sys.platform != "linux" or any(Path(at).exists() for at in GPUS):
        return multiprocessing.get_context("spawn")
    copying = multiprocessing.get_context("forkserver")
    copying.set_forkserver_preload(["drscale.ahead"])
    # Else it would take a library's name for a file in the folder where it is started.
    given = {"PYTHONSAFEPATH": "1", ahead.NAMES: ",".join(READ_AHEAD)}
    before = {name: os.environ.get(name) for name in given}
    resource_tracker.ensure_running()  # which would else be started in between, and hear Ctrl+C again
    os.environ.update(given)
    heard = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # Ctrl+C is for this process alone
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, heard)
        for name, value in before.items():
            os.environ.pop(name)
            os.environ.update({name: value} if value is not None else {})
    return copying


def end_copying() -> None:
    """End the process that workers are copies of, if there is one: it has nothing to save, and its copies go on.

    By itself it ends with this process, but not before it has read what it was to read.
    """
    server: Any = forkserver._forkserver
    if server._forkserver_pid is not None:
        with suppress(ProcessLookupError):
            os.kill(server._forkserver_pid, signal.SIGKILL)


def submit(pool: Executor, call: Callable[..., Any], *given: Any) -> Any:
    """Submit a job; a pool on this machine that cannot start a process for it is a broken one."""
    try:
        return pool.submit(call, *given)
    except (EOFError, ConnectionError) as e:
        if not isinstance(pool, ProcessPoolExecutor):
            raise
        raise BrokenProcessPool("the process that starts workers died") from e


def begin(environment: dict[str, str]) -> None:
    """Let a worker begin with the environment of its sweep, and end with it, even before it has a run.

    A copy has the environment of the moment when the process it is a copy of began; what a library has read of that by
    then stays as it was.
    """
    os.environ.clear()
    os.environ.update(environment)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    if sys.platform != "win32":
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    end_with_parent()
    # Its own lock would be a semaphore of the system, and that of a killed worker Python would call a leak.
    tqdm.set_lock(threading.RLock())


def like(broken: Executor) -> Callable[..., ProcessPoolExecutor]:
    """New pools like one whose worker died: as many workers unless told otherwise, set up in the same way."""
    if not isinstance(broken, ProcessPoolExecutor):
        raise ValueError(f"{type(broken).__name__}: its workers died; run the study again, finished runs are kept")
    inside: Any = broken
    workers, each = inside._max_workers, threads(broken)

    def fresh(count: int = workers) -> ProcessPoolExecutor:
        if inside._mp_context.get_start_method() == "forkserver":
            context()  # what workers are copies of may have died, and a new one has to read ahead, too
        pool = ProcessPoolExecutor(count, inside._mp_context, inside._initializer, inside._initargs)
        pool.threads = each  # type: ignore[attr-defined]
        return pool

    return fresh


@contextmanager
def ending(pool: ProcessPoolExecutor) -> Iterator[ProcessPoolExecutor]:
    """A pool whose workers are killed when an error, an interrupt for instance, leaves it; every write is atomic."""
    try:
        yield pool
    except BaseException:
        for process in list((pool._processes or {}).values()):
            process.kill()
        raise
    finally:
        pool.shutdown()


def threads(executor: Executor) -> int | None:
    """The threads of each worker: the same for every run of a sweep, as results differ in their last digits by them."""
    workers, given = getattr(executor, "_max_workers", None), getattr(executor, "threads", None)
    return given or (max(1, (os.cpu_count() or 1) // workers) if workers else None)


def as_completed(waiting: list[Any], seconds: float = 1.0) -> Iterable[Any]:
    """Hand out jobs as they end; submitit's are no ``Future`` of the standard library's and have to be asked."""
    if all(isinstance(job, Future) for job in waiting):
        yield from futures.as_completed(waiting)
        return
    left = list(waiting)
    while left:
        ended = [job for job in left if job.done()]
        left = [job for job in left if job not in ended]
        yield from ended
        if left:
            time.sleep(seconds)


DEATHS = (  # what executors raise where the process of a job died; the job itself may be as good as any
    "concurrent.futures.process.BrokenProcessPool",
    "submitit.core.utils.UncompletedJobError",
    "distributed.scheduler.KilledWorker",
)


def is_death(error: Exception) -> bool:
    """Whether an error says that a process died, and not what went wrong in it."""
    return f"{type(error).__module__}.{type(error).__qualname__}" in DEATHS


def check_starts(pool: Executor) -> None:
    """Raise ValueError where a pool cannot start a process, so that none of its jobs is to blame."""
    try:
        submit(pool, os.getpid).result()
    except Exception as e:
        if not is_death(e):
            raise
        if isinstance(pool, ProcessPoolExecutor):
            hint = "is a script's work below `if __name__ ...`?"
            raise ValueError(f"workers: no worker process can start; {hint}") from None
        raise ValueError(f"{type(pool).__name__}: no worker process can start; its logs say why") from e


def answers(jobs: dict[Any, T]) -> Generator[tuple[T, str | None], None, None]:
    """What jobs answer as they end, None where a job's process died; any other error cancels those that are left."""
    try:
        for job in as_completed(list(jobs)):
            answer = None
            try:
                answer = job.result()
            except Exception as e:
                if isinstance(e, BrokenExecutor) or not is_death(e):  # a broken pool has no other answers
                    raise
            yield jobs[job], answer
    except BaseException:
        for job in jobs:
            job.cancel()
        raise


@lru_cache(maxsize=1)
def end_with_parent() -> None:
    """Let a worker process end when the process that started it is gone, killed for instance."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)  # every write is atomic

    threading.Thread(target=watch, daemon=True).start()
