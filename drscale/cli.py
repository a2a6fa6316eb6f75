"""The command line: studies (plan, sweep, pack, status, table), doctor, and the verbs of drscale.commands."""

from __future__ import annotations

import argparse
import importlib.util
import json
import logging
import multiprocessing
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, InvalidStateError, ProcessPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext, redirect_stdout
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drscale import __version__
from drscale.commands.arguments import (
    EPILOG,
    TRACKERS,
    Impossible,
    Parser,
    UserError,
    add_verbs,
    as_json,
    both_ways,
    parse,
)

if TYPE_CHECKING:
    import pandas as pd

    from drscale.runs import Run

# What `drscale table` prints beside the recipe's varying fields; --csv writes every column.
SHOWN = ("status", "train_pairs", "params_layers", "in_domain_entropy", "ood_entropy", "in_domain_ndcg10", "ood_ndcg10")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0 well, 1 something failed, 2 a user's error, 130 interrupted."""
    arguments = parse(*_parsers(), argv)
    _wait_asleep()
    quiet = getattr(arguments, "quiet", False)
    with warnings.catch_warnings(), _logging(logging.INFO if sys.stderr.isatty() and not quiet else logging.WARNING):
        warnings.simplefilter("ignore" if quiet else "default", UserWarning)
        warnings.showwarning = _say_warning
        try:
            return int(arguments.command(arguments))
        except KeyboardInterrupt:
            kept = ": finished runs are kept, and the same command goes on from there" * (arguments.name == "sweep")
            print(f"interrupted{kept}", file=sys.stderr)
            return 130
        except BrokenPipeError:  # `drscale table | head` has read enough
            sys.stderr.close()
            return 0
        except (UserError, Impossible, ValueError, OSError) as e:
            if arguments.traceback:
                raise
            print(f"drscale {arguments.name}: {' '.join(str(e).split())}", file=sys.stderr)
            return 1 if isinstance(e, Impossible) else 2
        except ModuleNotFoundError as e:
            if arguments.traceback or (e.name or "").partition(".")[0] == "drscale":
                raise
            from drscale.doctor import extra

            print(f"drscale {arguments.name}: {e}; this brings it: {extra('lab')}", file=sys.stderr)
            return 2
        except RuntimeError as e:
            if arguments.traceback or type(e).__name__ != "NoBrowser":  # its module is slow to load
                raise
            print(f"drscale {arguments.name}: {e}", file=sys.stderr)
            return 2


@contextmanager
def _logging(level: int) -> Iterator[None]:
    """Write what drscale logs to the standard error while a command runs; progress goes to a terminal only."""
    log, handler = logging.getLogger("drscale"), logging.StreamHandler()
    before = log.level
    log.addHandler(handler)
    log.setLevel(level)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(before)


def _parsers() -> tuple[Parser, dict[str, Parser]]:
    """The parser of the command and those of its verbs."""
    parser = Parser(
        "drscale",
        description="Measure how dense retrievers scale, and read what was found.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"drscale {__version__}")
    parser.add_argument("--traceback", action="store_true", help="show where an error comes from")
    verbs = parser.add_subparsers(dest="name", required=True, metavar="COMMAND", parser_class=Parser)
    found: dict[str, Parser] = {}

    def verb(name: str, said: str, command: Any = _analyst) -> Parser:
        found[name] = verbs.add_parser(name, help=said, description=f"{said[0].upper()}{said[1:]}.")
        found[name].set_defaults(command=command)
        found[name].add_argument(
            "--traceback", action="store_true", default=argparse.SUPPRESS, help="show where an error comes from"
        )
        return found[name]

    add_verbs(verb)
    p = verb("demo", "train a small ladder, fit two laws, attack a model: a page in three minutes", demo)
    p.add_argument("folder", type=Path, nargs="?", default=Path("drscale-demo"), help="where to write it")
    p.add_argument("--texts", default="docs:torch", help="texts to train on (default docs:torch)")
    as_json(p)
    study = "a study: a .py file that defines 'recipes', a .toml file, or a pack"
    either = "a study (.py or .toml), or a folder of run records"
    p = verb("plan", "say what is done, to do and failed, with predicted FLOPs and time", plan)
    p.add_argument("study", type=Path, help=study)
    p.add_argument("--quick", action="store_true", help="leave the texts closed, which may have to be downloaded")
    both_ways(p)
    p = verb("sweep", "run what a study has left; finished runs are never repeated", sweep)
    p.add_argument("study", type=Path, help=study)
    p.add_argument("--workers", type=int, default=1, metavar="N", help="runs at a time (default 1)")
    p.add_argument(
        "--executor",
        choices=("inline", "process"),
        help="in this process, or in worker processes (default: process if N > 1)",
    )
    p.add_argument("--retry-failed", action="store_true", help="run again what failed")
    p.add_argument("--keep", action="store_true", help="keep the trained models beside their records")
    p.add_argument("--track", choices=TRACKERS, help="send finished runs to an experiment tracker as well")
    as_json(p)
    p.add_argument("--quiet", action="store_true", help="print no line for each finished run, and no warnings")
    p = verb("pack", "write a study into one folder for a machine without a network", pack)
    p.add_argument("study", type=Path, help=study)
    p.add_argument("folder", type=Path, help="where to write the pack; must not be there yet")
    p.add_argument("--most-mb", type=float, default=60.0, metavar="MB", help="refuse a larger pack (default 60)")
    as_json(p)
    p = verb("status", "count what is done, to do and failed, and say why runs failed", status)
    p.add_argument("source", type=Path, help=either)
    both_ways(p)
    p = verb("table", "print the measurements, a row a run", table)
    p.add_argument("source", type=Path, help=either)
    p.add_argument("--csv", type=Path, metavar="FILE", help="write every column to a CSV file instead")
    both_ways(p)
    p = verb("doctor", "look at this machine and say what is missing", doctor)
    p.add_argument("--json", action="store_true", help="print the findings as JSON")
    return parser, found


# Where an analyst's verb is done; the module is loaded when it is called.
HOMES = {
    "fit": ("law", "fit"),
    "allocate": ("law", "plan"),
    "compare": ("rankings", "compare"),
    "stability": ("rankings", "stability"),
    "export": ("tables", "export_runs"),
    "app": ("apps", "serve"),
}


def _analyst(arguments: argparse.Namespace) -> int:
    """Call a verb of drscale.commands."""
    if arguments.name == "completion":
        from drscale.commands.completion import script

        print(script(arguments.shell, _parsers()[1]), end="")
        return 0
    module, function = HOMES[arguments.name]
    return int(getattr(importlib.import_module(f"drscale.commands.{module}"), function)(arguments))


def demo(arguments: argparse.Namespace) -> int:
    """Make the first study and say where its page is."""
    from drscale.commands.tables import print_json

    with _told_aside(arguments):
        if importlib.util.find_spec("torch") is not None:
            print(f"loading torch and reading {arguments.texts}: some seconds, then a line for each run", flush=True)
        from drscale.demo import first_study

        made = first_study(arguments.folder, texts=arguments.texts)
    page = made.page.resolve()
    if arguments.json:
        told = {"seconds": made.seconds, "runs": made.runs, "laws": made.laws, "choice": made.choice}
        print_json("demo", page=page, store=page.parent / "runs", **told, doubts=made.doubts)
    else:
        print(f"{page}: open it in a browser; the records are in {page.parent / 'runs'}")
    return 0


def _wait_asleep() -> None:
    """Where other programs want the cores, let threads that wait for each other sleep: results are the same.

    By default torch's threads wait busily, which is a fifth faster on a quiet machine and takes twice as long on a full
    one (LOG.md, 2026-11-29). It has to be said before torch is loaded.
    """
    if hasattr(os, "getloadavg") and os.getloadavg()[0] > (os.cpu_count() or 1) / 2:
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def _told_aside(arguments: argparse.Namespace) -> AbstractContextManager[object]:
    """While something is made: what is printed goes to the standard error where a JSON document is asked for."""
    return redirect_stdout(sys.stderr) if arguments.json else nullcontext()


def plan(arguments: argparse.Namespace) -> int:
    """Print the plan of a study, and how the texts of its open runs are split: they are read here, and kept."""
    from drscale.commands.tables import busy, open_study, print_json
    from drscale.models import texts_of
    from drscale.recipe import Recipe
    from drscale.study import plan_study
    from drscale.texts.split import cut_sentence, split_sentence

    study = open_study(arguments.study)
    planned = plan_study(study.recipes, study.store, keep=study.keep)
    splits: list[str] = []
    todo = [] if arguments.quick else planned.todo(retry_failed=True)
    for spelling in dict.fromkeys(recipe.texts for recipe in todo):
        with busy(f"reading {spelling}"):
            texts = texts_of(spelling)
        own_lengths = {(r.query_tokens, r.passage_tokens) for r in todo if r.texts == spelling}
        cut = cut_sentence(texts, *map(max, zip(*own_lengths, strict=True)))
        splits.append(split_sentence(texts) + f"; {cut}" * bool(cut))
        changed = [run.key for run in study.store.runs() if _made_on_other(run, spelling, texts.fingerprint)]
        if changed:
            said = f"of other texts than {spelling} is now: {len(changed)} finished, as {changed[0]}"
            print(f"warning: {said}: keep the studies apart", file=sys.stderr)
        own = [recipe for recipe in todo if recipe.texts == spelling and recipe.annotation == Recipe().annotation]
        most = max(own, key=lambda recipe: recipe.pairs, default=Recipe())
        if most.pairs > len(texts.train):
            raise UserError(f"{most}: pairs={most.pairs}, at most {len(texts.train)} are there to train on")
    if arguments.json:
        counts = {str(k): int(n) for k, n in planned.rows["status"].value_counts().items()}
        told: dict[str, Any] = {"how": planned.rows.attrs.get("how", ""), "texts": splits}
        print_json("plan", study=study.name, store=study.store.path, counts=counts, runs=planned.rows, **told)
    else:
        print(planned, *splits, sep="\n")
    return 0


def _made_on_other(run: Run, spelling: str, fingerprint: str) -> bool:
    return run.status == "done" and run.recipe.texts == spelling and run.fingerprint not in ("", fingerprint)


def sweep(arguments: argparse.Namespace) -> int:
    """Run what a study has left; 1 if a run failed."""
    import pandas as pd

    from drscale.commands.tables import open_study, print_json
    from drscale.runs import StoreWarning, as_columns
    from drscale.stats.tables import guess_doubt
    from drscale.study import plan_study
    from drscale.sweep import run_study

    workers, how = arguments.workers, arguments.executor or ("process" if arguments.workers > 1 else "inline")
    if workers < 1:
        raise UserError(f"--workers {workers}: at least 1")
    if how == "inline" and workers > 1:
        raise UserError(
            f"--workers {workers} --executor inline: one process runs one at a time, use --executor process"
        )
    study = open_study(arguments.study)
    keep = arguments.keep or study.keep
    planned = plan_study(study.recipes, study.store, keep=keep)
    left = len(planned.todo(arguments.retry_failed))
    if left and importlib.util.find_spec("torch") is None:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")
    # Of the processes that share a run under `accelerate launch`, one speaks.
    first = os.environ.get("RANK", "0") == "0"
    with _told_aside(arguments):
        if first:
            before = 0 if arguments.retry_failed else int((planned.rows["status"] == "failed").sum())
            again = f"; {before} failed before, --retry-failed makes {'them' if before > 1 else 'it'} again" * bool(
                before
            )
            to_do = f"{left} of {len(planned.recipes)} runs to do"
            lines = "; a line for each run when it ends" * (left > 0 and not arguments.quiet)
            print(f"{study.name}: {to_do}, kept in {study.store.path}{lines}{again}", flush=True)
        options: dict[str, Any] = {"retry_failed": arguments.retry_failed, "progress": first and not arguments.quiet}
        options |= {"keep": keep, "pack": study.pack, "study": study.file}
        if arguments.track and first and left:
            from drscale.commands.track import tracker

            options["note"] = tracker(arguments.track, study.name)
        if not left:
            study.store.tidy()  # what a sweep left that was killed in its last moment
            made = []
        elif how == "inline":
            made = run_study(planned, **options)
        else:
            with _pool(workers) as executor:
                made = run_study(planned, executor, **options)
        failed = sum(run.status == "failed" for run in made)
        others = left - len(made)
        if first and left:
            elsewhere = f", {others} in the hands of another sweep" * bool(others)
            print(f"{len(made) - failed} done, {failed} failed{elsewhere}")
    doubt = guess_doubt(pd.DataFrame([as_columns(run.measures) for run in made if run.status == "done"]))
    if first and doubt:
        warnings.warn(doubt, StoreWarning, stacklevel=2)
    if first and arguments.json:
        counts = {"recipes": len(planned.recipes), "before": len(planned.recipes) - left}
        counts |= {"done": len(made) - failed, "failed": failed, "left": others}
        ended = [{"key": r.key, "status": r.status, "reason": r.reason, "seconds": r.cost.get("seconds")} for r in made]
        print_json("sweep", study=study.name, store=study.store.path, **counts, runs=ended, doubts=_listed(doubt))
    return int(failed > 0)


@contextmanager
def _pool(workers: int) -> Iterator[Executor]:
    """Worker processes that die with an interrupt at once: a run's checkpoint is on disk, so waiting gains nothing.

    A polite kill, as a scheduler sends it, counts as an interrupt: by itself it would leave the workers running.
    """
    from drscale import pools

    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    how, given = pools.context(), (dict(os.environ),)
    told = threading.excepthook
    try:
        with ProcessPoolExecutor(workers, mp_context=how, initializer=pools.begin, initargs=given) as executor:
            try:
                yield executor
            except BaseException:
                # The pool's own thread tells a cancelled job that its worker died, and fails at that.
                threading.excepthook = lambda e: None if isinstance(e.exc_value, InvalidStateError) else told(e)
                pools.end_copying()
                for child in multiprocessing.active_children():
                    child.kill()  # every write is atomic
                raise
            finally:
                signal.signal(signal.SIGTERM, before)
    finally:
        pools.end_copying()
        threading.excepthook = told


def pack(arguments: argparse.Namespace) -> int:
    """Pack a study: token ids, start weights, recipes and code."""
    from drscale.commands.tables import open_study, print_json
    from drscale.pack import write_pack

    study = open_study(arguments.study)
    with _told_aside(arguments):
        made = write_pack(study.recipes, arguments.folder, study.name, arguments.most_mb)
    if arguments.json:
        files = [p for p in arguments.folder.rglob("*") if p.is_file()]
        told = {"recipes": len(made.recipes), "bytes": sum(p.stat().st_size for p in files), "files": len(files)}
        print_json("pack", study=study.name, folder=arguments.folder, **told)
        return 0
    print(f"{arguments.folder}: {made}\nthere: drscale sweep {arguments.folder}, or without drscale: python FOLDER")
    return 0


def status(arguments: argparse.Namespace) -> int:
    """Count the runs of a study or a folder and list the failed ones."""
    from drscale.commands.tables import open_store, print_json

    store, keys = open_store(arguments.source)
    runs = {r.key: r for r in store.runs()}
    if keys is None:
        keys = list(runs)
    found = [runs[k] for k in keys if k in runs]
    failed = [r for r in found if r.status == "failed"]
    others = len(runs.keys() - set(keys))
    if arguments.json:
        counts = {"done": len(found) - len(failed), "todo": len(keys) - len(found), "failed": len(failed)}
        reasons = [{"key": run.key, "reason": run.reason} for run in failed]
        print_json("status", store=store.path, **counts, others=others, failures=reasons)
        return 0
    print(f"{store.path}: {len(found) - len(failed)} done, {len(keys) - len(found)} to do, {len(failed)} failed")
    if others:
        print(f"{others} records there belong to other recipes")
    for run in failed:
        print(f"  failed: {run.key}: {run.reason or 'no reason given'}")
    return 0


def table(arguments: argparse.Namespace) -> int:
    """Print or write the measurements of a study or a folder."""
    from drscale.commands.tables import print_json, stored_runs, written_to
    from drscale.files import write_atomic
    from drscale.runs import StoreWarning
    from drscale.stats.tables import guess_doubt

    frame = stored_runs(arguments.source)
    if doubt := guess_doubt(frame):
        warnings.warn(doubt, StoreWarning, stacklevel=2)
    told = written_to(arguments.csv) if arguments.csv is not None else ""
    if arguments.csv is not None:
        write_atomic(arguments.csv, frame.to_csv(index=False))
    if arguments.json:
        print_json("table", source=arguments.source, written=arguments.csv, runs=frame, doubts=_listed(doubt))
    elif arguments.csv is None:
        print(_brief(frame).to_string(index=False))
    else:
        print(f"wrote {told}: {len(frame)} runs, {frame.shape[1]} columns (data/README.md explains them)")
    return 0


def _listed(doubt: str) -> list[str]:
    return [doubt] if doubt else []


def doctor(arguments: argparse.Namespace) -> int:
    """Print what this machine has and lacks; 1 if something needed is missing."""
    from drscale import doctor as looking

    found = looking.look()
    print(json.dumps(looking.as_data(found), indent=1) if arguments.json else looking.report(found))
    return int(any(f.needed and not f.well for f in found))


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
