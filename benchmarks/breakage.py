"""What a sweep survives: a killed process, a full disk, a second sweep on its store. Linux only.

Each trial runs `drscale sweep STUDY --workers 2`, breaks it at a random moment, looks at what is left, runs the same
command again, and compares the store with that of a sweep which nothing disturbed: the same records, rows and models.

- A kill is SIGKILL to the main process, to one of its workers, or to the process that workers are copies of. One trial
  in four kills the second run as well.
- A full disk is a small file system of its own (tmpfs, so only root can) which holds the store and the cache, and which
  is filled to the last byte until the sweep ends.
- A double is two sweeps started at once on one store and one empty cache.

The runs are small: planted texts with 24 test queries, a two-layer encoder of width 12, a checkpoint every hundredth of
a second, models kept, so that the moment often falls into a write. The sweep and the process that its workers are
copies of are forks of this one, which has torch loaded already; with --fresh each is a new interpreter, as a user's is,
and most moments fall into its first ten seconds, when it reads libraries.

    python benchmarks/breakage.py --kills 100 --disks 50 --doubles 20         # minutes
    python benchmarks/breakage.py --kills 10 --disks 5 --doubles 5 --fresh
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import process
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing import util
from pathlib import Path
from typing import Any
from unittest import mock

import pandas as pd

from drscale import cli, pools
from drscale.files import TEMPORARY, write_atomic
from drscale.recipe import Recipe
from drscale.runs import Run, RunStore, StoreWarning

STUDY = """
store = "runs"
keep = true
[base]
texts = "planted"
rung = "L2H12"
start = "scratch"
projection = 8
steps = 12
batch = 8
rate = 0.003
[[grid]]
seed = [0, 1]
[[grid]]
strategy = ["hard_negative"]
"""
# What two runs of one recipe share; the rest is times and memory.
SHARED = ("status", "measures", "curve", "temperature", "best_step", "parameters", "train_pairs", "versions")
COSTS = ("flops", "tokens", "steps_done")
FAULTS = ("lost", "twice", "half-written", "orphans", "left over", "unequal", "no sentence")
ORPHAN_SECONDS = 30.0  # a worker notices within this time that its parent is gone
DISK_MB = 24
BEGIN_WORKER = pools.begin
SPAWN = util.spawnv_passfds


def make_small() -> None:
    """Make texts, scoring and checkpoints of this process small enough for hundreds of sweeps."""
    import torch

    from drscale import sweep
    from drscale.evaluate import entropy
    from drscale.texts import benchmark
    from drscale.training import loop

    torch.set_num_threads(1)
    texts, run_one = benchmark("planted?pairs=60"), sweep.run_one
    few = {name: part.take(24) for name, part in list(texts.ood.items())[:1]}
    small = texts.but(test=texts.test.take(24), validation=texts.validation.take(24), ood=few)

    def run_small(recipe: Recipe, store: RunStore, **options: Any) -> Run:
        made = run_one(recipe, store, looks=3, **options)
        note_modules(store.path.parent / "modules")
        return made

    changes: tuple[tuple[Any, str, Any], ...]
    changes = ((sweep, "texts_of", lambda spelling: small), (sweep, "run_one", run_small))
    changes += ((entropy, "NEGATIVES", 16), (entropy, "score", partial(entropy.score, negatives=16)))
    for module, name, value in (*changes, (loop, "CHECKPOINT_SECONDS", 0.01)):
        setattr(module, name, value)


def note_modules(at: Path) -> None:
    """Write down which modules a worker has loaded, where nobody has done that yet."""
    if not at.exists():
        write_atomic(at, "\n".join(sys.modules))


def load_modules(at: Path) -> None:
    """Load what workers load, once for all forks; what cannot be loaded by its name stays away."""
    for name in at.read_text().split():
        with suppress(Exception):
            importlib.import_module(name)


def begin_worker(environment: dict[str, str]) -> None:
    """Set up a worker that is no fork of this process."""
    BEGIN_WORKER(environment)
    make_small()


def run_sweep(study: Path, fresh: bool) -> int:
    """Run the command in this process; unless ``fresh``, what its workers are copies of is a fork of it."""
    make_small()
    words = ["sweep", str(study), "--workers", "2"]
    if fresh:
        with mock.patch.object(pools, "begin", begin_worker):
            return cli.main(words)
    with mock.patch.object(util, "spawnv_passfds", spawn_or_fork):
        return cli.main(words)


def spawn_or_fork(path: bytes, words: list[str], kept: list[int]) -> int:
    """Start what multiprocessing starts: the process that workers are copies of as a fork, all else as it would be."""
    if not words[-1].startswith("from multiprocessing.forkserver"):
        return SPAWN(path, words, kept)
    pid = os.fork()
    if pid:
        return pid
    try:
        for low, high in itertools.pairwise(sorted({2, *kept, os.sysconf("SC_OPEN_MAX")})):
            os.closerange(low + 1, high)
        process._threads_wakeups.clear()  # of pools that the fork does not have
        sys.modules.pop("drscale.ahead", None)  # so that it is read as it would be by a new interpreter
        exec(words[-1], {})
    finally:
        os._exit(0)


class Sweep:
    """A sweep in a session of its own, so that nothing that it started can hide."""

    def __init__(self, study: Path, cache: Path, fresh: bool) -> None:
        self.said = Path(tempfile.mkstemp(prefix="said-", dir=SCRATCH)[1])
        self.began = time.perf_counter()
        self._child: subprocess.Popen[bytes] | None = None
        if fresh:
            words = [sys.executable, __file__, "--sweep", str(study)]
            about = os.environ | {"DRSCALE_CACHE": str(cache)}
            with self.said.open("w") as file:
                child = subprocess.Popen(words, stdout=file, stderr=file, env=about, start_new_session=True)
            self.pid, self._child = child.pid, child
            return
        self.pid = os.fork()
        if self.pid:
            return
        status = 70
        try:
            os.setsid()
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.environ["DRSCALE_CACHE"] = str(cache)
            handle = os.open(self.said, os.O_WRONLY)
            os.dup2(handle, 1)
            os.dup2(handle, 2)
            status = run_sweep(study, fresh)
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            util._exit_function()  # type: ignore[attr-defined]  # what an interpreter does at its end
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    def running(self) -> bool:
        """Whether the main process has not ended."""
        return self.ended(0.0) is None

    def ended(self, seconds: float = 1800.0) -> int | None:
        """The exit status of the main process, a signal's as its negative; None while it runs."""
        end = time.monotonic() + seconds
        while not hasattr(self, "status"):
            if self._child is not None:
                found = self._child.poll()
            else:
                pid, raw = os.waitpid(self.pid, os.WNOHANG)
                found = os.waitstatus_to_exitcode(raw) if pid else None
            if found is not None:
                self.status = found
                break
            if time.monotonic() >= end:
                return None
            time.sleep(0.002)
        return self.status

    def members(self) -> dict[int, int]:
        """The processes of this session that have not ended, each with its parent."""
        found = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    fields = (entry / "stat").read_text().rpartition(")")[2].split()
                except OSError:  # it ended meanwhile
                    continue
                if int(fields[3]) == self.pid and fields[0] not in "ZX":
                    found[int(entry.name)] = int(fields[1])
        return found

    def victims(self, what: str) -> list[int]:
        """The processes to choose from for a kill of ``what``: but not Python's own tracker of semaphores."""
        if what == "main":
            return [self.pid] if self.running() else []
        members = self.members()
        children = [pid for pid, parent in members.items() if parent == self.pid and not is_tracker(pid)]
        return children if what == "source" else [pid for pid, parent in members.items() if parent in children]

    def orphans(self) -> int:
        """How many processes outlive the main one, which has ended; they are ended here."""
        end = time.monotonic() + ORPHAN_SECONDS
        while (left := self.members()) and time.monotonic() < end:
            time.sleep(0.01)
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        return len(left)


def is_tracker(pid: int) -> bool:
    """Whether a process is the one that Python starts to remove semaphores."""
    try:
        return b"resource_tracker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:  # it ended meanwhile
        return True


def finish(sweep: Sweep, faults: Counter[str]) -> None:
    """Wait for a sweep's end and count a traceback, a hang and what it leaves running."""
    status = sweep.ended()
    if status is None:
        os.kill(sweep.pid, signal.SIGKILL)
        sweep.ended()
    said = sweep.said.read_text()
    if status is None or status not in (0, 1, 2, -signal.SIGKILL) or "Traceback" in said:
        faults["no sentence"] += 1
        print(f"status {status}:\n{said[-3000:]}", flush=True)
    faults["orphans"] += sweep.orphans()


def records(store: RunStore) -> dict[str, tuple[int, int]]:
    """Which file each record is: a record that is written once more is another file."""
    files = store.path.glob("*.json")
    return {path.name: (about.st_ino, about.st_mtime_ns) for path in files for about in [path.stat()]}


def look(store: RunStore, faults: Counter[str]) -> None:
    """Count the files of a store that cannot be read, whatever moment the sweep was broken at."""
    from safetensors import SafetensorError, safe_open

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", StoreWarning)
        store.queries()
    faults["half-written"] += len(caught)
    for warning in caught:
        print(f"  {warning.message}", flush=True)
    for path in store.path.rglob("*.safetensors"):
        try:
            with safe_open(path, framework="pt") as file:
                for name in file.keys():  # noqa: SIM118
                    file.get_tensor(name)
        except SafetensorError as e:
            faults["half-written"] += 1
            print(f"  {path}: {e}", flush=True)


def acknowledged(said: Path) -> set[str]:
    """The keys of the runs that a sweep called done on its output."""
    lines = said.read_text(errors="replace").splitlines()
    return {
        line.partition("] ")[2].partition(": done,")[0] for line in lines if line.startswith("[") and ": done," in line
    }


class Content:
    """What a store holds, without times: two sweeps of one study should agree in it."""

    def __init__(self, store: RunStore) -> None:
        self.runs: dict[str, Any] = {run.key: shared(run) for run in store.runs()}
        rows = store.queries()
        self.rows = rows.sort_values(["key", "scope", "condition", "query"], ignore_index=True) if len(rows) else rows
        self.models = {path.name: weights(path) for path in (store.path / "models").glob("*.safetensors")}

    def differences(self, other: Content) -> list[str]:
        """The names of what differs."""
        found = [key for key in self.runs.keys() | other.runs.keys() if self.runs.get(key) != other.runs.get(key)]
        found += [] if self.rows.equals(other.rows) else ["rows"]
        names = self.models.keys() | other.models.keys()
        return found + [name for name in names if self.models.get(name) != other.models.get(name)]


def weights(path: Path) -> tuple[tuple[str, bytes], ...]:
    """The tensors of a model; the bytes of the file itself have its notes in any order."""
    from safetensors import safe_open

    with safe_open(path, framework="np") as file:
        return tuple((name, file.get_tensor(name).tobytes()) for name in sorted(file.keys()))


def shared(run: Run) -> dict[str, Any]:
    """What two runs of one recipe have in common."""
    body = json.loads(run.to_json())
    return {name: body[name] for name in SHARED} | {name: body["cost"].get(name) for name in COSTS}


def left_over(store: RunStore, cache: Path) -> tuple[list[Path], int]:
    """What a whole store has no use for, and how many of these are temporary files that the next sweep may not touch.

    A sweep deletes temporary files of an hour ago, as another sweep may be writing the younger ones; they count as left
    over where they stay although they are made older and a sweep begins.
    """

    def temporary() -> list[Path]:
        return [path for path in store.path.rglob(f".*{TEMPORARY}") if path.is_file()]

    young = temporary()
    for path in young:
        os.utime(path, (time.time() - 7200,) * 2)
    store.check_writable()
    hidden = [path for name in (".checkpoints", ".claims") for path in (store.path / name).glob("*")]
    others = [path for path in store.path.glob(".*") if path.is_file() and not path.name.startswith(".index")]
    building = list(cache.glob(".building-*"))
    return [*temporary(), *hidden, *others], len(young) + len(building)


def whole(study: Path, cache: Path, before: Content, faults: Counter[str], fresh: bool, seen: set[str]) -> None:
    """Run the command once more and count what is lost, made twice or unequal after it."""
    store = RunStore(study.parent / "runs")
    look(store, faults)
    there = records(store)
    names = {Recipe.parse(key).file_stem + ".json" for key in seen}
    faults["lost"] += len(names - there.keys())
    sweep = Sweep(study, cache, fresh)
    finish(sweep, faults)
    after = records(store)
    faults["lost"] += len(there.keys() - after.keys()) + (sweep.ended() != 0)
    faults["twice"] += sum(after.get(name) != mark for name, mark in there.items() if name in after)
    look(store, faults)
    if different := Content(store).differences(before):
        faults["unequal"] += 1
        print(f"  unequal: {different}\n{sweep.said.read_text()[-2000:]}", flush=True)
    left, young = left_over(store, cache)
    faults["left over"] += len(left)
    faults["young temporary files"] += young
    for path in left:
        print(f"  left over: {path}", flush=True)


def kill(rng: random.Random, place: Path, before: Content, seconds: float, fresh: bool) -> tuple[str, Counter[str]]:
    """Kill the main process, a worker or what workers are copies of at a random moment, once or twice."""
    study, cache, faults, seen = begun(place), place / "cache", Counter[str](), set[str]()
    what = rng.choice(["main", "main", "worker", "worker", "source"])
    for _ in range(1 + (rng.random() < 0.25)):
        sweep, moment = Sweep(study, cache, fresh), rng.uniform(0, seconds)
        time.sleep(moment)
        there = sweep.victims(what)
        victim = rng.choice(there) if there else 0
        if victim:
            try:
                os.kill(victim, signal.SIGKILL)
                faults["broken"] += 1
                faults[f"broken {what}"] += 1
            except ProcessLookupError:  # it ended meanwhile
                pass
        finish(sweep, faults)
        seen |= acknowledged(sweep.said)
    whole(study, cache, before, faults, fresh, seen)
    return f"kill {what} at {moment:.2f} s", faults


def fill(rng: random.Random, place: Path, before: Content, seconds: float, fresh: bool) -> tuple[str, Counter[str]]:
    """Fill the disk at a random moment until the sweep ends, then make room."""
    with disk(place):
        study, cache, faults = begun(place), place / "cache", Counter[str]()
        sweep, moment = Sweep(study, cache, fresh), rng.uniform(0, seconds)
        time.sleep(moment)
        faults["broken"] += sweep.running()
        with (place / "ballast").open("wb", buffering=0) as ballast:
            while sweep.running():
                try:
                    ballast.write(bytes(rng.choice([512, 4096, 65536])))
                except OSError:  # full: the sweep frees some room now and then
                    time.sleep(0.002)
        (place / "ballast").unlink()
        finish(sweep, faults)
        said = sweep.said.read_text()
        if sweep.ended() == 2:
            faults["ended with a sentence"] += 1
            if str(place) not in said.strip().rpartition("\n")[2]:  # the first line names the store anyway
                faults["no sentence"] += 1
                print(f"  names no file: {said[-2000:]}", flush=True)
        whole(study, cache, before, faults, fresh, acknowledged(sweep.said))
    return f"disk full at {moment:.2f} s", faults


def double(rng: random.Random, place: Path, before: Content, seconds: float, fresh: bool) -> tuple[str, Counter[str]]:
    """Start two sweeps at once and count the records that are written twice."""
    study, cache, faults = begun(place), place / "cache", Counter[str]()
    one = Sweep(study, cache, fresh)
    pause = rng.choice([0.0, rng.uniform(0, seconds / 2)])
    time.sleep(pause)
    two = Sweep(study, cache, fresh)
    faults["broken"] += one.running()
    first: dict[str, tuple[int, int]] = {}
    while one.running() or two.running():
        for name, mark in records(RunStore(place / "runs")).items():
            faults["twice"] += first.setdefault(name, mark) != mark
            first[name] = mark
        time.sleep(0.005)
    for sweep in (one, two):
        finish(sweep, faults)
        faults["lost"] += sweep.ended() != 0
    whole(study, cache, before, faults, fresh, acknowledged(one.said) | acknowledged(two.said))
    return f"second sweep after {pause:.2f} s", faults


def begun(place: Path) -> Path:
    """A folder with the study in it, and nothing else."""
    place.mkdir(exist_ok=True)
    (place / "study.toml").write_text(STUDY)
    return place / "study.toml"


@contextmanager
def disk(place: Path) -> Iterator[None]:
    """A small file system of its own at a place."""
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(place)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def main() -> int:
    """Break sweeps as often as asked for and print what was found; 1 where there is a fault."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--kills", type=int, default=100)
    options.add_argument("--disks", type=int, default=50)
    options.add_argument("--doubles", type=int, default=20)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--fresh", action="store_true", help="new interpreters instead of forks")
    options.add_argument("--sweep", type=Path, help=argparse.SUPPRESS)  # what --fresh starts
    given = options.parse_args()
    if given.sweep:
        return run_sweep(given.sweep, fresh=True)
    seconds: list[float] = []
    for _ in range(3):  # the first one is slower
        place = SCRATCH / f"whole-{len(seconds)}"
        sweep = Sweep(begun(place), place / "cache", given.fresh)
        if sweep.ended() != 0:
            raise SystemExit(f"the undisturbed sweep ends with {sweep.ended()}:\n{sweep.said.read_text()}")
        seconds.append(time.perf_counter() - sweep.began)
        if not given.fresh:
            load_modules(place / "modules")
    before = Content(RunStore(place / "runs"))
    print(f"undisturbed: {len(before.runs)} runs in {seconds[-1]:.1f} s", flush=True)
    trials: list[tuple[str, int, Callable[..., tuple[str, Counter[str]]]]] = [
        ("kills", given.kills, kill),
        ("disks", given.disks if os.geteuid() == 0 else 0, fill),
        ("doubles", given.doubles, double),
    ]
    rows, bad, stopped = [], 0, False
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    for name, count, trial in trials:
        total, began, i = Counter[str](), time.perf_counter(), 0
        while total["broken"] < count and i < 4 * count and not stopped:  # a moment after the end breaks nothing
            place = SCRATCH / f"{name}-{i}"
            try:
                said, faults = trial(random.Random(f"{given.seed} {name} {i}"), place, before, seconds[-1], given.fresh)
            except KeyboardInterrupt:  # the table says what there is by now
                stopped = True
                break
            i += 1
            wrong = {fault: faults[fault] for fault in FAULTS if faults[fault]}
            print(
                f"{name} {total['broken'] + faults['broken']}/{count}: {said}" + f"  {wrong}" * bool(wrong), flush=True
            )
            bad += bool(wrong)
            total += faults
            shutil.rmtree(place, ignore_errors=True)
        row: dict[str, Any] = {"trials": i, "broken": total["broken"]} | {fault: total[fault] for fault in FAULTS}
        row |= {name: number for name, number in total.items() if name.startswith("broken ")}
        row |= {"young temporary files": total["young temporary files"], "minutes": (time.perf_counter() - began) / 60}
        rows.append({"what": name, **row, "ended with a sentence": total["ended with a sentence"]})
    print(pd.DataFrame(rows).round(1).to_string(index=False))
    return int(bad > 0)


SCRATCH = Path(tempfile.gettempdir())

if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="breakage-") as folder:
        SCRATCH = Path(folder)
        code = main()
    sys.exit(code)
