"""Files stay whole: after a crash, and with several writers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from drscale import files
from drscale.files import rows_kept, write_atomic


def test_a_crash_before_the_rename_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "record.json"
    write_atomic(path, "old")

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(files.Path, "replace", crash)
        with pytest.raises(KeyboardInterrupt):
            write_atomic(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
    write_atomic(path, b"new")
    assert path.read_text() == "new"


WRITER = """
import sys
import pandas as pd
from drscale.files import rows_kept
for i in range(12):
    rows_kept(sys.argv[1], {"by": sys.argv[2], "i": i}, lambda: pd.DataFrame({"value": [i, i + 1]}))
"""


def test_two_scripts_share_one_file_of_rows(tmp_path: Path) -> None:
    path = tmp_path / "not" / "there" / "rows.parquet"
    made = [subprocess.Popen([sys.executable, "-c", WRITER, str(path), who]) for who in "abc"]
    assert [p.wait(timeout=120) for p in made] == [0, 0, 0]
    rows = pd.read_parquet(path)
    assert len(rows) == 3 * 12 * 2
    assert (rows.groupby(["by", "i"]).size() == 2).all()
    assert sorted(p.name for p in path.parent.iterdir()) == ["rows.parquet"]


def test_rows_that_somebody_else_made_meanwhile_are_taken(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"

    def slow() -> pd.DataFrame:
        rows_kept(path, {"i": 0}, lambda: pd.DataFrame({"value": [1.0]}))
        return pd.DataFrame({"value": [2.0]})

    assert rows_kept(path, {"i": 0}, slow)["value"].tolist() == [1.0]
    assert len(pd.read_parquet(path)) == 1
