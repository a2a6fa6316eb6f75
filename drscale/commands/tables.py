"""Tables of runs for the verbs: read from what an analyst has, checked, printed, written. Never imports torch."""

from __future__ import annotations

import argparse
import csv
import difflib
import io
import json
import keyword
import logging
import math
import re
import sys
import threading
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from drscale import __version__
from drscale.commands.arguments import UserError
from drscale.commands.cells import Signs, check_signs, grouped_doubts, signs_of, tidied
from drscale.files import write_atomic
from drscale.results import did_you_mean
from drscale.runs import RunStore
from drscale.stats.columns import unit_of

if TYPE_CHECKING:
    from drscale.study import Study

SEPARATORS = ",;\t|"
TEXTS, RECORDS = (".csv", ".tsv", ".txt"), (".jsonl", ".json")
READ = (*TEXTS, ".parquet", *RECORDS)
WRITTEN = (".csv", ".tsv", ".parquet", ".jsonl", ".tex")
PATIENCE = 2.0  # seconds before a verb says what it is doing
LOG = logging.getLogger("drscale")
FEW = 20  # columns that a message names; of a wider table it names those with a similar spelling


# --------------------------------------------------------------------------------------------------------- reading


def read_runs(source: str | Path, signs: Signs | None = None) -> pd.DataFrame:
    """Read a table of runs: a CSV, TSV, Parquet or JSON lines file, a folder of run records, or a study.

    Columns of a CSV may be separated by commas, semicolons (then 0,5 may be a number), tabs or bars; "-" reads one from
    the standard input. Blanks around a cell do not count. ``signs`` says what is not to be found out, and how thousands
    are separated. Rows are numbered as a spreadsheet numbers them: the header is row 1.

    >>> from pathlib import Path
    >>> from drscale.commands.tables import read_runs
    >>> text = "parameters;loss" + chr(10) + "1000;2,5" + chr(10)
    >>> written = Path("runs.csv").write_text(text)
    >>> read_runs("runs.csv")["loss"].tolist()
    [2.5]
    """
    path, signs = Path(source), signs or Signs()
    if (said := signs.options()) and str(source) != "-" and path.exists() and path.suffix.lower() not in TEXTS:
        raise UserError(f"{said}: for a text table ({', '.join(TEXTS)}), which {source} is not")
    if str(source) == "-":
        frame = _separated("standard input", sys.stdin.buffer.read(), signs)
    elif path.is_dir() or path.suffix in (".py", ".toml"):
        return stored_runs(path)
    elif not path.exists():
        near = did_you_mean(path.name, [p.name for p in path.parent.glob("*")] if path.parent.is_dir() else [])
        raise UserError(f"{path}: no such file or folder{near}")
    elif path.suffix.lower() not in READ:
        raise UserError(
            f"{path}: a table is a file {', '.join(READ)}, a folder of run records, or a study (.py, .toml)"
        )
    elif path.suffix.lower() == ".parquet":
        try:
            frame = pd.read_parquet(path)
        except (ValueError, OSError) as e:  # pyarrow.ArrowInvalid is a ValueError
            raise UserError(f"{path}: not a Parquet file that can be read: {str(e).splitlines()[0]}") from None
        frame = frame.reset_index(drop=True)
    elif path.suffix.lower() in RECORDS:
        frame = _records(path)
    else:
        frame = _separated(str(path), path.read_bytes(), signs)
    if frame.empty:
        raise UserError(f"{source}: the table has a header and no row")
    names = [str(c).strip() for c in frame]
    if twice := [n for n in dict.fromkeys(names) if names.count(n) > 1]:
        raise UserError(f"{source}: column {twice[0]!r} stands there twice")
    return frame.set_axis(names, axis=1)


def stored_runs(path: Path) -> pd.DataFrame:
    """The table of a folder of run records, or of the runs that belong to a study."""
    store, keys = open_store(path)
    frame = store.table() if store.path.is_dir() else None
    if frame is not None and keys is not None and not frame.empty:
        frame = frame[frame["key"].isin(keys)]
    if frame is None or frame.empty:
        raise UserError(f"{store.path}: no runs yet")
    return frame


def open_study(path: Path) -> Study:
    """A study of a file or a pack."""
    from drscale.study import load_study  # slow to load

    return load_study(path)


def open_store(path: Path) -> tuple[RunStore, list[str] | None]:
    """The store of a study and its keys, or the store that a folder is (and None: all of its keys)."""
    if path.is_dir():
        return RunStore(path / "runs" if (path / "pack.json").is_file() else path), None
    if path.suffix not in (".py", ".toml"):
        raise UserError(f"{path}: neither a folder of runs nor a study (.py or .toml)")
    study = open_study(path)
    return study.store, [str(recipe) for recipe in dict.fromkeys(study.recipes)]


def _decoded(name: str, raw: bytes) -> str:
    for start, encoding in ((b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"), (b"", "utf-8-sig")):
        if raw.startswith(start):
            try:
                return raw.decode(encoding)
            except UnicodeDecodeError:
                break
    warnings.warn(f"{name}: not UTF-8, read as Windows-1252", UserWarning, stacklevel=2)
    return raw.decode("cp1252", errors="replace")


def _separated(name: str, raw: bytes, signs: Signs) -> pd.DataFrame:
    """The table of a CSV or its kin."""
    text = _decoded(name, raw)
    if not text.strip():
        raise UserError(f"{name}: the file is empty; the first line must name the columns")
    if "\0" in text:
        raise UserError(f"{name}: not a text file")
    told = re.match(r"sep=(.)\r?\n", text)  # Excel's own first line
    text = text[told.end() :] if told else text
    header = text.lstrip("\r\n").splitlines()[0]
    plain = re.sub(r'"[^"]*"', "", header)
    separator = signs.sep or (told[1] if told else max(SEPARATORS, key=plain.count))
    names = [n.strip() for n in next(csv.reader([header], delimiter=separator))]
    if twice := [n for n in dict.fromkeys(names) if n and names.count(n) > 1]:
        raise UserError(f"{name}: the header names {twice[0]!r} twice")
    # Between semicolons a comma may be the decimal sign: where it makes more columns numbers, it is.
    decimals = [signs.decimal] if signs.decimal else [".", ","] if separator == ";" else ["."]
    frames = {d: tidied(_parsed(name, text, separator, decimal=d), d, signs.thousands) for d in decimals}
    decimal = max(frames, key=lambda d: len(frames[d].select_dtypes("number").columns))
    frame, first = frames[decimal], 3 if told else 2
    frame.index += first
    if signs.decimal is None:
        cells = _parsed(name, text, separator, dtype=str, keep_default_na=False)
        cells.index += first
        check_signs(name, frame, cells, Signs(separator, None, decimal))
        for doubt in grouped_doubts(name, frame, cells, decimal) if signs.thousands is None else []:
            warnings.warn(doubt, UserWarning, stacklevel=2)
    nameless = [c for c in frame if re.fullmatch(r"Unnamed: \d+", str(c)) and frame[c].isna().all()]
    return frame.drop(columns=nameless).dropna(how="all")


def _parsed(name: str, text: str, separator: str, **options: Any) -> pd.DataFrame:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # rows that are longer than the header
            return pd.read_csv(
                io.StringIO(text.lstrip("\r\n")),
                sep=separator,
                index_col=False,
                skipinitialspace=True,
                skip_blank_lines=False,
                **options,
            )
    except pd.errors.ParserWarning:
        raise UserError(f"{name}: its rows have more fields than the header names") from None
    except pd.errors.ParserError as e:
        counts = re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", str(e))
        if counts is None:
            raise UserError(f"{name}: no table: {str(e).strip()}") from None
        raise UserError(f"{name}:{counts[2]}: {counts[3]} fields where the header names {counts[1]}") from None


def _records(path: Path) -> pd.DataFrame:
    """The table of a file of JSON: a record a line, a list of records, or what ``--json`` prints of a table."""
    text = _decoded(str(path), path.read_bytes())
    if not text.strip():
        raise UserError(f"{path}: the file is empty")
    rows: Any
    try:
        if path.suffix == ".jsonl":
            rows = [json.loads(line) for line in text.splitlines() if line.strip()]
        else:
            body = json.loads(text)
            rows = body.get("runs") if isinstance(body, dict) else body
    except ValueError as e:
        raise UserError(f"{path}: not JSON: {e}") from None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise UserError(f"{path}: a record (an object) for each run is needed")
    return pd.DataFrame(rows)


def chosen(frame: pd.DataFrame, where: str | None) -> pd.DataFrame:
    """The rows that a query keeps."""
    if where is None:
        return frame
    try:
        kept = frame.query(where, engine="python")
    except KeyError:  # a column of numbers, taken for labels
        kept = None
    except Exception as e:  # whatever pandas raises for an expression of the user's
        missing = re.search(r"name '(\w+)' is not defined", str(e))
        hint = did_you_mean(missing[1], list(map(str, frame))) if missing else ""
        hint = _written_wrong(where, list(map(str, frame))) or hint
        raise UserError(f"--where {where!r}: {str(e).splitlines()[0] if str(e) else type(e).__name__}{hint}") from None
    if not isinstance(kept, pd.DataFrame):
        raise UserError(f"--where {where!r}: a condition is needed, as 'pairs == 0'")
    if kept.empty:
        raise UserError(f"--where {where!r}: none of the {len(frame)} rows fits")
    return kept.apply(_as_numbers)


def _as_numbers(column: pd.Series) -> pd.Series:
    """A column of text as numbers, where the rows that are left hold nothing else."""
    if pd.api.types.is_numeric_dtype(column) or column.isna().all():
        return column
    number = pd.to_numeric(column, errors="coerce")
    return number if (number.notna() == column.notna()).all() else column


def _written_wrong(where: str, names: Sequence[str]) -> str:
    """What is wrong with a condition that Python cannot read, where it is one of the usual mistakes."""
    bare = re.sub(r"`[^`]*`|'[^']*'|\"[^\"]*\"", "", where)
    for name in names:
        word = name.isidentifier() and not keyword.iskeyword(name)
        if not word and re.search(r"[^\W\d]", name) and re.search(rf"(?<!\w){re.escape(name)}(?!\w)", bare):
            return f"; write `{name}` in backticks"
    return "; write == to compare" if re.search(r"(?<![=!<>])=(?!=)", bare) else ""


MEASURED = re.compile(r"(entropy|calibrated|loss|ndcg\d*|mrr\d*|recall\d*)$")  # a name that --y may mean


def column(frame: pd.DataFrame, name: str, option: str, source: str) -> str:
    """A column that the table has; otherwise a UserError with the nearest name and those that there are."""
    if name in frame:
        return name
    known = list(map(str, frame.columns))
    if len(bare := [c for c in known if unit_of(c)[0] == name]) == 1:
        return bare[0]  # as the output calls it
    listed = ", ".join(known)
    if len(known) > FEW:
        measured = [c for c in known if option == "--y" and MEASURED.search(c.lower())]
        near = difflib.get_close_matches(name, measured or known, 5, 0.4) or measured[:5]
        listed = f"{len(known)} columns" + (
            f", among them {', '.join(near)}" if near else f", as {', '.join(known[:5])}"
        )
    near_by = did_you_mean(name, known)
    has = f"{near_by} It has" if near_by else "; it has"
    raise UserError(f"{option} {name}: {source} has no such column{has} {listed}")


# -------------------------------------------------------------------------------------------------------- writing


def plain(value: Any) -> Any:
    """A value as JSON has it: a missing number is null, an infinite one the text "inf", a table a list of records."""
    if isinstance(value, pd.DataFrame):
        return [plain(row) for row in value.to_dict("records")]
    if isinstance(value, pd.Series):
        return plain(value.to_dict())
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | np.ndarray):
        return [plain(v) for v in value]
    if value is None or value is pd.NA or value is pd.NaT:
        return None
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else ("inf" if value > 0 else "-inf")
    return value if isinstance(value, bool | int | float | str) else str(value)


def print_json(command: str, **body: Any) -> None:
    """Print one JSON document."""
    print(json.dumps(plain({"drscale": __version__, "command": command, **body}), indent=1, allow_nan=False))


def shown(frame: pd.DataFrame, digits: int = 4) -> str:
    """A table for a terminal: four digits, nothing where a number is missing, no column that is empty."""
    columns = []
    for name in frame.columns:
        values, right = frame[name], pd.api.types.is_numeric_dtype(frame[name])
        decimal = pd.api.types.is_float_dtype(values)
        cells = ["" if pd.isna(v) else f"{v:.{digits}g}" if decimal else str(v) for v in values]
        if any(cells):
            wide = max(map(len, [str(name), *cells]))
            columns.append([cell.rjust(wide) if right else cell.ljust(wide) for cell in (str(name), *cells)])
    return "\n".join("  ".join(row).rstrip() for row in zip(*columns, strict=True))


def listed(title: str, sentences: Iterable[str]) -> str:
    """Sentences below a title, or that there are none."""
    lines = [f"  - {sentence.rstrip('.')}." for sentence in dict.fromkeys(sentences)]
    return "\n".join([f"{title}:", *lines]) if lines else f"{title}: none."


def check_out(paths: Sequence[Path], figures: bool = True) -> None:
    """Raise a UserError for a file that could not be written, before anything is computed."""
    from drscale.plotting.files import FIGURE_FORMATS, TABLE_FORMATS

    allowed = (*TABLE_FORMATS, *(FIGURE_FORMATS if figures else ()))
    for path in paths:
        if path.suffix not in allowed:
            raise UserError(f"--out {path}: allowed are {', '.join(allowed)}")
        if path.is_dir():
            raise UserError(f"--out {path}: it is a folder")


@contextmanager
def busy(what: str) -> Iterator[None]:
    """Log what is being done, once it has taken two seconds.

    >>> from drscale.commands.tables import busy
    >>> with busy("comparing laws"):
    ...     quick = 1 + 1
    """
    timer = threading.Timer(PATIENCE, LOG.info, ["%s ...", what])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def written_to(path: Path) -> str:
    """The path of a file that is to be written, and that its folder is new if it has to be made."""
    return str(path) if path.parent.exists() else f"{path} (its folder {path.parent} is new)"


def write_out(paths: Sequence[Path], table: Any, figure: Any, quiet: bool) -> list[str]:
    """Write a table (a DataFrame or a result) or a figure (made by a function) to each path, and say so."""
    from drscale.plotting.files import FIGURE_FORMATS, export

    for path in paths:
        told = written_to(path)
        with busy(f"writing {path}"):
            export(figure() if path.suffix in FIGURE_FORMATS else table, path)
        if not quiet:
            print(f"wrote {told}", file=sys.stderr)
    return [str(path) for path in paths]


def write_table(frame: pd.DataFrame, path: Path) -> None:
    """Write a table of runs in the format that the suffix names."""
    if path.suffix == ".parquet":
        buffer = io.BytesIO()
        frame.to_parquet(buffer, index=False)
        write_atomic(path, buffer.getvalue())
    elif path.suffix == ".jsonl":
        write_atomic(path, "".join(json.dumps(row, allow_nan=False) + "\n" for row in plain(frame)))
    elif path.suffix == ".tsv":
        write_atomic(path, frame.to_csv(index=False, sep="\t"))
    else:
        from drscale.plotting.files import export

        export(frame.reset_index(drop=True), path)


def export_runs(arguments: argparse.Namespace) -> int:
    """Write a table of runs in another format: ``drscale export``."""
    source, to = arguments.runs, arguments.to
    if to is None and not arguments.json:
        raise UserError(f"--to FILE is needed, with one of {', '.join(WRITTEN)} (or --json)")
    if to is not None and to.suffix not in WRITTEN:
        raise UserError(f"--to {to}: allowed are {', '.join(WRITTEN)}")
    if to is not None and to.exists() and Path(source).exists() and to.samefile(source):
        raise UserError(f"--to {to}: that is the table itself; give another file")
    frame = chosen(read_runs(source, signs_of(arguments)), arguments.where)
    if arguments.columns:
        names = [n.strip() for n in arguments.columns.split(",") if n.strip()]
        if not names:
            raise UserError(f"--columns {arguments.columns}: names of columns are needed, as A,B")
        frame = frame[[column(frame, n, "--columns", source) for n in names]]
    told = written_to(to) if to is not None else ""
    if to is not None:
        write_table(frame, to)
    if arguments.json:
        print_json("export", source=source, written=None if to is None else str(to), runs=frame)
    elif not arguments.quiet:
        print(f"wrote {told}: {len(frame)} rows, {frame.shape[1]} columns")
    return 0
