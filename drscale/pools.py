"""Pools of workers: how many threads each has, what takes a broken one's place, and that none outlives its sweep."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from multiprocessing import connection
from typing import Any


def like(broken: Executor) -> Callable[..., ProcessPoolExecutor]:
    """New pools like one whose worker died: as many workers unless told otherwise, set up in the same way."""
    if not isinstance(broken, ProcessPoolExecutor):
        raise ValueError(f"{type(broken).__name__}: its workers died; run the study again, finished runs are kept")
    inside: Any = broken
    workers, each = inside._max_workers, threads(broken)

    def fresh(count: int = workers) -> ProcessPoolExecutor:
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
