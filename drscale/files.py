"""Files that a crash or a second process leaves whole: one step, one writer at a time. Never imports torch."""

from __future__ import annotations

import os
import re
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import pandas as pd

TEMPORARY = ".tmp"


def write_atomic(path: Path, data: bytes | str | Iterable[str]) -> None:
    """Write a file so that a reader, or a crash, sees the old content or the new and nothing between."""
    parts = [data] if isinstance(data, bytes | str) else data
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:40]}-", suffix=TEMPORARY)
    except OSError as e:
        raise OSError(e.errno, e.strerror, str(path)) from None
    try:
        with os.fdopen(handle, "wb") as f:
            for part in parts:
                f.write(part.encode() if isinstance(part, str) else part)
            f.flush()
            os.fsync(f.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except OSError as e:  # a full disk: say which file
        Path(temporary).unlink(missing_ok=True)
        raise OSError(e.errno, e.strerror, str(path)) from None
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    if hasattr(os, "O_DIRECTORY"):
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Name a file in the system's errors that name none, as pyarrow's of a full disk.

    >>> from pathlib import Path
    >>> from drscale.files import naming
    >>> with naming(Path("texts.arrow")):
    ...     raise OSError(28, "Error writing bytes to file")
    Traceback (most recent call last):
    OSError: [Errno 28] No space left on device: 'texts.arrow'
    """
    try:
        yield
    except OSError as e:
        if e.filename is None and e.errno:
            raise OSError(e.errno, os.strerror(e.errno), str(path)) from None
        raise


def sweep_temporary(folder: Path, seconds: float = 3600) -> int:
    """Delete what killed writers left in a folder, files of an hour ago and older, and say how many there were."""
    old = [p for p in folder.glob(f".*{TEMPORARY}") if p.is_file() and time.time() - p.stat().st_mtime > seconds]
    for path in old:
        path.unlink(missing_ok=True)
    return len(old)


@contextmanager
def one_writer(folder: Path) -> Iterator[None]:
    """Let one process at a time change the files of a folder; the system lets go when the process ends.

    Where there are no such locks (Windows, some network drives) everybody goes on at once. A missing folder is made. It
    is not to be entered again for the same folder inside itself: that would wait for ever.

    >>> from pathlib import Path
    >>> from drscale.files import one_writer
    >>> with one_writer(Path(".")):
    ...     size = Path("table.txt").write_text("whole")
    """
    try:
        import fcntl
    except ModuleNotFoundError:
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def rows_kept(path: str | Path, key: Mapping[str, str | int], make: Callable[[], pd.DataFrame]) -> pd.DataFrame:
    """Give the rows of a key from a Parquet file; where it has none, make them once and add them to it.

    ``key`` is what the rows have in common, a value for each of some columns; rows that ``make()`` gives without these
    columns get them. The whole file is written in one step, one process at a time, so a script that measures key by key
    loses at most the rows in the making when it is interrupted, and two such scripts share one file. A column that is a
    category in the old rows or in the new is one in the file. To make rows anew, take them out of the file.

    >>> import pandas as pd
    >>> from drscale.files import rows_kept
    >>> for seed in (0, 1, 0):
    ...     rows = rows_kept("scores.parquet", {"seed": seed}, lambda: pd.DataFrame({"value": [0.5, 0.7]}))
    >>> len(rows), len(pd.read_parquet("scores.parquet"))
    (2, 4)
    """
    path = Path(path)
    if not key:
        raise ValueError("key={}: at least one column and its value are needed")
    wanted = [(column, "==", value) for column, value in key.items()]
    if path.is_file() and len(there := pd.read_parquet(path, filters=wanted)):
        return there.reset_index(drop=True)
    rows = make()
    rows = rows.assign(**{column: value for column, value in key.items() if column not in rows})
    if not len(rows) or not all((rows[column] == value).all() for column, value in key.items()):
        raise ValueError(f"make: gave {len(rows)} rows; at least one is needed, and all of {dict(key)}")
    with one_writer(path.parent):
        if path.is_file() and len(there := pd.read_parquet(path, filters=wanted)):  # somebody else was faster
            return there.reset_index(drop=True)
        parts = [pd.read_parquet(path), rows] if path.is_file() else [rows]
        text = {column for part in parts for column in part if part[column].dtype == "category"}
        plain = [part.astype({column: "str" for column in part if column in text}) for part in parts]
        table = pd.concat(plain, ignore_index=True).astype(dict.fromkeys(text, "category"))
        write_atomic(path, table.to_parquet(index=False, compression="zstd"))
    return rows.reset_index(drop=True)


CONTROL = r"[\x00-\x08\x0a-\x1f\x7f]"  # what no id holds: files of lists and judgements would break at it


def check_id(name: str, place: str, what: str = "id") -> None:
    """Raise a ValueError if an id holds a control character; a tab is none of these.

    >>> from drscale.files import check_id
    >>> check_id("d\\x001", "corpus.jsonl:1")
    Traceback (most recent call last):
    ValueError: corpus.jsonl:1: the id 'd\\x001' holds a control character, U+0000
    """
    if not name.isprintable() and (odd := re.search(CONTROL, name)):
        raise ValueError(f"{place}: the {what} {name!r:.60} holds a control character, U+{ord(odd[0]):04X}")
