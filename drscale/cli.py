"""The command line: drscale plan | sweep | pack | status | table | doctor."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drscale import __version__

if TYPE_CHECKING:
    import pandas as pd

    from drscale.runs import RunStore
    from drscale.sweep import Study

# What `drscale table` prints beside the recipe's varying fields; --csv writes every column.
SHOWN = ("status", "train_pairs", "params_layers", "in_domain_entropy", "ood_entropy", "in_domain_ndcg10", "ood_ndcg10")


class UserError(Exception):
    """A mistake of the caller's, told in one sentence."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0 well, 1 something failed, 2 a user's error, 130 interrupted."""
    arguments = _parser().parse_args(argv)
    with warnings.catch_warnings():
        warnings.simplefilter("default", UserWarning)
        warnings.showwarning = _say_warning
        try:
            return int(arguments.command(arguments))
        except KeyboardInterrupt:
            print("interrupted: finished runs are kept, and the same command goes on from there", file=sys.stderr)
            return 130
        except BrokenPipeError:  # `drscale table | head` has read enough
            sys.stderr.close()
            return 0
        except (UserError, ValueError, OSError) as e:
            if arguments.traceback:
                raise
            print(f"drscale {arguments.name}: {' '.join(str(e).split())}", file=sys.stderr)
            return 2
        except ModuleNotFoundError as e:
            if arguments.traceback or (e.name or "").partition(".")[0] == "drscale":
                raise
            print(
                f"drscale {arguments.name}: {e}; bring it with: pip install -c constraints.txt '.[lab]'",
                file=sys.stderr,
            )
            return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "drscale", description="Measure how dense retrievers scale, and read what was found."
    )
    parser.add_argument("--version", action="version", version=f"drscale {__version__}")
    parser.add_argument("--traceback", action="store_true", help="show where an error comes from")
    verbs = parser.add_subparsers(dest="name", required=True, metavar="COMMAND")

    def verb(name: str, command: Any, said: str) -> argparse.ArgumentParser:
        made = verbs.add_parser(name, help=said, description=f"{said[0].upper()}{said[1:]}.")
        made.set_defaults(command=command)
        return made

    study = "a study: a .py file that defines 'recipes', a .toml file, or a pack"
    either = "a study (.py or .toml), or a folder of run records"
    p = verb("plan", plan, "say what is done, to do and failed, with predicted FLOPs and time")
    p.add_argument("study", type=Path, help=study)
    p.add_argument("--quick", action="store_true", help="leave the texts closed, which may have to be downloaded")
    p = verb("sweep", sweep, "run what a study has left; finished runs are never repeated")
    p.add_argument("study", type=Path, help=study)
    p.add_argument("--workers", type=int, default=1, metavar="N", help="runs at a time (default 1)")
    p.add_argument(
        "--executor",
        choices=("inline", "process"),
        help="in this process, or in worker processes (default: process if N > 1)",
    )
    p.add_argument("--retry-failed", action="store_true", help="run again what failed")
    p.add_argument("--keep", action="store_true", help="keep the trained models beside their records")
    p.add_argument("--quiet", action="store_true", help="print no line for each finished run")
    p = verb("pack", pack, "write a study into one folder for a machine without a network")
    p.add_argument("study", type=Path, help=study)
    p.add_argument("folder", type=Path, help="where to write the pack; must not be there yet")
    p.add_argument("--most-mb", type=float, default=60.0, metavar="MB", help="refuse a larger pack (default 60)")
    p = verb("status", status, "count what is done, to do and failed, and say why runs failed")
    p.add_argument("source", type=Path, help=either)
    p = verb("table", table, "print the measurements, a row a run")
    p.add_argument("source", type=Path, help=either)
    p.add_argument("--csv", type=Path, metavar="FILE", help="write every column to a CSV file instead")
    p = verb("doctor", doctor, "look at this machine and say what is missing")
    p.add_argument("--json", action="store_true", help="print the findings as JSON")
    return parser


def plan(arguments: argparse.Namespace) -> int:
    """Print the plan of a study, and how the texts of its open runs are split: they are read here, and kept."""
    from drscale import sweep as sweeping
    from drscale.recipe import Recipe
    from drscale.texts.split import split_sentence

    study = _study(arguments.study)
    planned = sweeping.plan_study(study.recipes, study.store, keep=study.keep)
    print(planned)
    todo = [] if arguments.quick else planned.todo(retry_failed=True)
    for spelling in dict.fromkeys(recipe.texts for recipe in todo):
        texts = sweeping.texts_of(spelling)
        print(split_sentence(texts))
        own = [recipe for recipe in todo if recipe.texts == spelling and recipe.annotation == Recipe().annotation]
        most = max(own, key=lambda recipe: recipe.pairs, default=Recipe())
        if most.pairs > len(texts.train):
            raise UserError(f"{most}: pairs={most.pairs}, at most {len(texts.train)} are there to train on")
    return 0


def sweep(arguments: argparse.Namespace) -> int:
    """Run what a study has left; 1 if a run failed."""
    from drscale import sweep as sweeping

    workers, how = arguments.workers, arguments.executor or ("process" if arguments.workers > 1 else "inline")
    if workers < 1:
        raise UserError(f"--workers {workers}: at least 1")
    if how == "inline" and workers > 1:
        raise UserError(
            f"--workers {workers} --executor inline: one process runs one at a time, use --executor process"
        )
    study = _study(arguments.study)
    keep = arguments.keep or study.keep
    planned = sweeping.plan_study(study.recipes, study.store, keep=keep)
    left = len(planned.todo(arguments.retry_failed))
    first = (
        os.environ.get("RANK", "0") == "0"
    )  # of the processes that share a run under `accelerate launch`, one speaks
    if first:
        print(f"{study.name}: {left} of {len(planned.recipes)} runs to do, kept in {study.store.path}", flush=True)
    if not left:
        return 0
    options: dict[str, Any] = {"retry_failed": arguments.retry_failed, "progress": first and not arguments.quiet}
    options |= {"keep": keep, "pack": study.pack}
    if how == "inline":
        made = sweeping.run_study(planned, **options)
    else:
        with _pool(workers) as executor:
            made = sweeping.run_study(planned, executor, **options)
    failed = sum(run.status == "failed" for run in made)
    others = left - len(made)
    if first:
        print(
            f"{len(made) - failed} done, {failed} failed" + f", {others} in the hands of another sweep" * bool(others)
        )
    return int(failed > 0)


@contextmanager
def _pool(workers: int) -> Iterator[Executor]:
    """Worker processes that die with an interrupt at once: a run's checkpoint is on disk, so waiting gains nothing.

    A polite kill, as a scheduler sends it, counts as an interrupt: by itself it would leave the workers running.
    """
    spawn = multiprocessing.get_context("spawn")
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    with ProcessPoolExecutor(workers, mp_context=spawn, initializer=_die_on_interrupt) as executor:
        try:
            yield executor
        except BaseException:
            for child in multiprocessing.active_children():
                child.kill()  # every write is atomic
            raise
        finally:
            signal.signal(signal.SIGTERM, before)


def _die_on_interrupt() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def pack(arguments: argparse.Namespace) -> int:
    """Pack a study: token ids, start weights, recipes and code."""
    from drscale.pack import write_pack

    study = _study(arguments.study)
    made = write_pack(study.recipes, arguments.folder, study.name, arguments.most_mb)
    print(f"{arguments.folder}: {made}\nthere: drscale sweep {arguments.folder}, or without drscale: python FOLDER")
    return 0


def status(arguments: argparse.Namespace) -> int:
    """Count the runs of a study or a folder and list the failed ones."""
    store, keys = _source(arguments.source)
    runs = {r.key: r for r in store.runs()}
    if keys is None:
        keys = list(runs)
    found = [runs[k] for k in keys if k in runs]
    failed = [r for r in found if r.status == "failed"]
    others = len(runs.keys() - set(keys))
    print(f"{store.path}: {len(found) - len(failed)} done, {len(keys) - len(found)} to do, {len(failed)} failed")
    if others:
        print(f"{others} records there belong to other recipes")
    for run in failed:
        print(f"  failed: {run.key}: {run.reason or 'no reason given'}")
    return 0


def table(arguments: argparse.Namespace) -> int:
    """Print or write the measurements of a study or a folder."""
    from drscale.files import write_atomic

    store, keys = _source(arguments.source)
    frame = store.table() if store.path.is_dir() else None
    if frame is not None and keys is not None and not frame.empty:
        frame = frame[frame["key"].isin(keys)]
    if frame is None or frame.empty:
        raise UserError(f"{store.path}: no runs yet")
    if arguments.csv is None:
        print(_brief(frame).to_string(index=False))
    else:
        write_atomic(arguments.csv, frame.to_csv(index=False))
        print(f"wrote {arguments.csv}: {len(frame)} runs, {frame.shape[1]} columns (data/README.md explains them)")
    return 0


def doctor(arguments: argparse.Namespace) -> int:
    """Print what this machine has and lacks; 1 if something needed is missing."""
    from drscale import doctor as looking

    found = looking.look()
    print(json.dumps(looking.as_data(found), indent=1) if arguments.json else looking.report(found))
    return int(any(f.needed and not f.well for f in found))


def _study(path: Path) -> Study:
    from drscale.sweep import load_study

    try:
        return load_study(path)
    except Exception as e:  # a Python study is a program of the user's: say where in it the error stands
        lines = [step.lineno for step in traceback.extract_tb(e.__traceback__) if step.filename == str(path)]
        if isinstance(e, SyntaxError) and e.filename == str(path):
            lines = [e.lineno]
        if not lines:
            raise
        raise UserError(f"{path}:{lines[-1]}: {type(e).__name__}: {e}") from e


def _source(path: Path) -> tuple[RunStore, list[str] | None]:
    """The store of a study and its keys, or the store that a folder is (and None: all of its keys)."""
    from drscale.runs import RunStore

    if path.is_dir():
        return RunStore(path / "runs" if (path / "pack.json").is_file() else path), None
    if path.suffix not in (".py", ".toml"):
        raise UserError(f"{path}: neither a folder of runs nor a study (.py or .toml)")
    study = _study(path)
    return study.store, [str(recipe) for recipe in dict.fromkeys(study.recipes)]


def _brief(frame: pd.DataFrame) -> pd.DataFrame:
    """The columns a person looks at first: what varies between the recipes, then the main measurements."""
    from drscale.recipe import Recipe

    varying = [f.name for f in fields(Recipe) if len(frame[f.name].unique()) > 1]
    shown = frame[[*(varying or ["texts", "rung"]), *(c for c in SHOWN if c in frame)]].copy()
    for name in shown.select_dtypes("float"):
        whole = shown[name].dropna().mod(1).eq(0).all()
        shown[name] = [("" if v != v else f"{v:,.0f}" if whole else f"{v:.4g}") for v in shown[name]]
    return shown


def _say_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    print(f"warning: {message}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
