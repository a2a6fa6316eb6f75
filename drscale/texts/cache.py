"""The user's cache folder: what was parsed once is kept as Arrow files, and a damaged piece is built again."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol, TypeVar

import pandas as pd

from drscale.files import naming, one_writer

VARIABLE = "DRSCALE_CACHE"
BUILDING = ".building-"
DAY = 86_400  # seconds


class CacheWarning(UserWarning):
    """A cached collection was damaged and is built again."""


class Kept(Protocol):
    """What can be kept: it saves itself into a folder."""

    def save(self, folder: str | Path) -> Path: ...


T = TypeVar("T", bound=Kept)


def cache_folder() -> Path:
    """Where collections are cached: ``$DRSCALE_CACHE``, or ``~/.cache/drscale``."""
    return Path(os.environ.get(VARIABLE) or Path.home() / ".cache" / "drscale").expanduser()


def key_of(*parts: Any) -> str:
    """A short hash of anything that JSON can write, for the name of a cached folder."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:24]


def cached(name: str, key: str, load: Callable[[Path], T], build: Callable[[Path], T], *, refresh: bool = False) -> T:
    """Load what is cached as ``name`` under ``key``, or build it, keep it and map what was kept.

    ``build`` is given an empty folder beside the cache for files of its own. The finished folder appears under its name
    in one step, so that an interrupted build leaves nothing and processes that build the same thing at once agree.
    ``refresh`` builds it anew: what was there stays until the new folder is whole, and for good if the build fails.
    ``load`` may not ask for anything cached itself.
    """
    final = cache_folder() / f"{_plain(name)}-{key}"
    if not refresh:
        if final.is_dir():
            with suppress(ValueError):
                return load(final)
        if final.parent.is_dir():
            with one_writer(final.parent):  # a refresh puts the folder away for a moment
                if final.is_dir():
                    try:
                        return load(final)
                    except ValueError as e:
                        warnings.warn(f"{e}; the cached folder is built again", CacheWarning, stacklevel=2)
    final.parent.mkdir(parents=True, exist_ok=True)
    _sweep(final.parent)
    with naming(final), tempfile.TemporaryDirectory(dir=final.parent, prefix=BUILDING) as scratch:
        work, ready, old = (Path(scratch) / name for name in ("work", "ready", "old"))
        work.mkdir()
        build(work).save(ready)
        with one_writer(final.parent):  # or one process would put away what another has just mended
            if final.is_dir() and (refresh or not _loads(load, final)):
                with suppress(FileNotFoundError):  # where there are no locks, another process may do so first
                    final.rename(old)
            try:
                ready.rename(final)
            except OSError:
                if not final.is_dir():  # otherwise another process was faster, and its folder is as good
                    if old.is_dir():
                        old.rename(final)
                    raise
    try:
        return load(final)
    except ValueError:  # it is put away again, for a moment
        with one_writer(final.parent):
            return load(final)


def cached_table(name: str, key: str, make: Callable[[], pd.DataFrame], *, refresh: bool = False) -> pd.DataFrame:
    """Read the table cached as ``name`` under ``key``, or make it and keep it; ``refresh`` makes it anew."""
    return cached(name, key, _Table.load, lambda _: _Table(make()), refresh=refresh).frame


class _Table:
    """A frame that can be kept."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self.frame = frame

    def save(self, folder: str | Path) -> Path:
        path = Path(folder)
        path.mkdir(parents=True, exist_ok=True)
        self.frame.to_parquet(path / "table.parquet", index=False, compression="zstd")
        return path

    @classmethod
    def load(cls, folder: Path) -> _Table:
        path = folder / "table.parquet"
        try:
            return cls(pd.read_parquet(path))
        except (OSError, ValueError) as e:  # pyarrow.ArrowInvalid is a ValueError
            raise ValueError(f"{path}: {str(e).splitlines()[0]}") from None


def _loads(load: Callable[[Path], T], folder: Path) -> bool:
    try:
        load(folder)
    except ValueError:
        return False
    return True


def _sweep(folder: Path) -> None:
    """Remove what builds that were killed left behind; nobody builds for a day.

    Several processes may do so at once, and another user's folder may not be ours to remove: neither is an error.
    """
    for left in folder.glob(f"{BUILDING}*"):
        with suppress(FileNotFoundError):
            if time.time() - left.stat().st_mtime > DAY:
                shutil.rmtree(left, ignore_errors=True)


def _plain(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in name)[-60:].strip("-.") or "texts"
