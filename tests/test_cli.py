"""The command line: what a person sees, exit codes, and that the reading verbs need no torch."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import InvalidStateError
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from conftest import NO_TORCH, ROOT
from tiny import tiny

import drscale as ds
from drscale import __version__, cli, doctor, models, pools, sweep
from drscale.attacks import wordnet as wordnet_files
from drscale.cli import main
from drscale.commands.track import tracker
from drscale.recipe import STRATEGIES, Recipe
from drscale.runs import Measure, Run, RunStore
from drscale.study import load_study

BASE = Recipe(texts="planted", rung="L2H12", steps=6, batch=16, projection=24, rate=3e-3)
TOML = """
store = "runs"
[base]
texts = "planted"
rung = "L2H12"
steps = 6
batch = 16
projection = 24
rate = 0.003
[[grid]]
seed = [0, 1]
"""


@pytest.fixture
def study(tmp_path: Path) -> Path:
    path = tmp_path / "seeds.toml"
    path.write_text(TOML)
    return path


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    for room in (models, sweep):
        monkeypatch.setattr(room, "texts_of", lambda spec: tiny())


def measured(seed: int, entropy: float = 2.0) -> Run:
    measures = {s: {"entropy": Measure(entropy, entropy - 0.1, entropy + 0.1, 50)} for s in ("in_domain", "ood")}
    return Run(BASE.but(seed=seed), "done", measures=measures, parameters={"layers": 4000}, train_pairs=1700)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    store = RunStore(tmp_path / "runs")
    store.save(measured(0))
    store.save(Run(BASE.but(seed=1), "failed", reason="loss is NaN at step 3"))
    return store.path


def drscale(*words: str | Path, code: str = "") -> subprocess.CompletedProcess[str]:
    script = f"import sys\n{code}\nfrom drscale.cli import main\nsys.exit(main(sys.argv[1:]))"
    return subprocess.run([sys.executable, "-c", script, *map(str, words)], capture_output=True, text=True, check=False)


def undocumented(store: RunStore) -> set[str]:
    """The columns of a store's frames that data/README.md does not name."""
    named = set(re.findall(r"`(\w+)`", (ROOT / "data" / "README.md").read_text()))
    frames = (store.table(), store.queries(), store.curves())
    columns = {str(column) for frame in frames for column in frame}
    return {re.sub(r"^(in_domain|ood)_|_(low|high)$", "", column) for column in columns} - named


def test_plan_sweep_and_the_same_sweep_again(study: Path, small: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(study)]) == 0
    assert "0 done, 2 to do, 0 failed" in capsys.readouterr().out
    assert main(["table", str(study)]) == 2
    assert "no runs yet" in capsys.readouterr().err
    assert main(["sweep", str(study), "--quiet"]) == 0
    assert "seeds: 2 of 2 runs to do" in (said := capsys.readouterr().out)
    assert "2 done, 0 failed" in said
    files = {p: p.stat().st_mtime_ns for p in (study.parent / "runs").iterdir() if p.is_file()}
    assert len(files) == 4
    left = study.parent / "runs" / ".checkpoints" / f"{BASE.file_stem}.safetensors"
    left.parent.mkdir(exist_ok=True)
    left.touch()  # as a kill leaves it between the last record and the removal of its checkpoint
    os.utime(left, (1.0, 1.0))
    assert main(["sweep", str(study)]) == 0
    assert not left.exists()
    assert "0 of 2 runs to do" in capsys.readouterr().out
    assert {p: p.stat().st_mtime_ns for p in files} == files
    assert main(["status", str(study)]) == 0
    assert "2 done, 0 to do, 0 failed" in capsys.readouterr().out
    assert main(["table", str(study)]) == 0
    assert capsys.readouterr().out.split()[:3] == ["seed", "status", "train_pairs"]
    assert undocumented(RunStore(study.parent / "runs")) == set()


def test_a_sweep_is_told_as_json(study: Path, small: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", str(study), "--json"]) == 0
    seen = capsys.readouterr()
    told = json.loads(seen.out)  # one document, nothing else
    counts = {"command": "sweep", "study": "seeds", "recipes": 2, "before": 0, "done": 2, "failed": 0, "left": 0}
    assert counts.items() <= told.items()
    assert Path(told["store"]).resolve() == (study.parent / "runs").resolve()
    keys = [run.key for run in RunStore(study.parent / "runs").runs()]
    assert sorted(run["key"] for run in told["runs"]) == sorted(keys)
    assert all(run["status"] == "done" and run["reason"] == "" and run["seconds"] > 0 for run in told["runs"])
    for said in ("seeds: 2 of 2 runs to do", "[2/2] ", "2 done, 0 failed"):
        assert said in seen.err
    assert main(["sweep", str(study), "--json", "--quiet"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert {"before": 2, "done": 0, "left": 0, "runs": []}.items() <= again.items()


def test_plan_opens_the_texts_and_says_how_they_are_split(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"ask": f"what is {i}", "answer": " ".join(f"w{i}x{k}" for k in range(8))} for i in range(400)]
    again = [{"ask": f"and what is {i}", "answer": rows[i]["answer"]} for i in range(60)]  # of a passage that is there
    file, study = tmp_path / "faq.jsonl", tmp_path / "s.toml"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows + again))
    texts = f"pairs:{file}?query=ask"
    study.write_text(TOML.replace('"planted"', f'"{texts}"').replace("[0, 1]", "[0]"))
    assert main(["plan", str(study)]) == 0
    told = capsys.readouterr().out.splitlines()[-1]
    found = re.fullmatch(
        r"pairs:.*: (\d+) pairs to train, 46 to validation, 300 to test, (\d+) left out as near-duplicates of .*", told
    )
    assert found is not None, told
    train, left_out = map(int, found.groups())
    assert left_out > 10
    assert train + 46 + 300 + left_out == 460
    study.write_text(study.read_text().replace("[[grid]]", "passage_tokens = 4\n[[grid]]"))
    assert main(["plan", str(study)]) == 0
    assert "; at least 100% of passages are longer than passage_tokens=4 word pieces" in capsys.readouterr().out
    study.write_text(study.read_text().replace("passage_tokens = 4\n", ""))
    study.write_text(study.read_text() + "pairs = [460]\n")
    assert main(["plan", str(study)]) == 2
    assert f"pairs=460, at most {train} are there to train on" in capsys.readouterr().err
    study.write_text(TOML.replace('"planted"', f'"{texts.replace("ask", "question")}"'))
    assert main(["plan", str(study)]) == 2
    assert "faq.jsonl:1: no column 'question'; there is ask, answer" in capsys.readouterr().err
    study.write_text(TOML.replace('"planted"', '"pairs:nowhere.csv"'))
    assert main(["plan", str(study)]) == 2
    seen = capsys.readouterr()
    assert (seen.out, "nowhere.csv" in seen.err) == ("", True)  # no counts of a plan that cannot be carried out
    assert main(["plan", str(study), "--quick"]) == 0
    assert "left out" not in capsys.readouterr().out


def test_plan_names_runs_that_were_made_on_other_texts(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = RunStore(study.parent / "runs")
    recipe = load_study(study).recipes[0]
    store.save(Run(recipe, "done", fingerprint="of yesterday"))
    assert main(["plan", str(study)]) == 0
    seen = capsys.readouterr()
    assert "1 done, 1 to do" in seen.out
    assert f"of other texts than planted is now: 1 finished, as {recipe}" in seen.err
    store.save(Run(recipe, "done", fingerprint=sweep.texts_of("planted").fingerprint))
    assert main(["plan", str(study)]) == 0
    assert capsys.readouterr().err == ""


def test_an_own_strategy_that_breaks_costs_its_run_and_no_other(
    study: Path, small: None, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(recipe: Recipe, collection: Any, pairs: Any, encoder: Any) -> Any:
        from drscale.training.strategies import Strategy

        return Strategy(recipe, pairs)

    ds.register_strategy("broken", broken)
    try:
        study.write_text(study.read_text().replace("[0, 1]", "[0]") + 'strategy = ["broken", "standard"]\n')
        assert main(["sweep", str(study)]) == 1
        said = capsys.readouterr().out
    finally:
        del STRATEGIES["broken"]
    assert re.search(r"strategy=broken: failed, test_cli\.py:\d+: ValueError: strategy='broken': needs touch", said)
    assert "1 done, 1 failed" in said


@pytest.mark.parametrize(
    ("natural", "said"),
    [
        (lambda views, batch: views.scores.mean(), "its loss has the shape (), needed is one value a query"),
        (lambda views, batch: views.scores.detach().mean(1), "its loss has no gradient, so nothing can be learnt"),
    ],
)
def test_an_own_loss_that_cannot_be_learnt_from_is_refused(
    natural: Any, said: str, study: Path, small: None, capsys: pytest.CaptureFixture[str]
) -> None:
    def own(recipe: Recipe, collection: Any, pairs: Any, encoder: Any) -> Any:
        from drscale.training.strategies import Strategy

        return Strategy(recipe, pairs, natural=natural)

    ds.register_strategy("useless", own)
    try:
        study.write_text(TOML.replace("[0, 1]", "[0]").replace("[base]\n", '[base]\nstrategy = "useless"\n'))
        assert main(["sweep", str(study)]) == 1
        assert f"strategy='useless': {said}" in capsys.readouterr().out
    finally:
        STRATEGIES.pop("useless", None)


def test_an_own_loss_that_raises_gives_its_line(study: Path, small: None, capsys: pytest.CaptureFixture[str]) -> None:
    program = study.with_name("mine.py")
    program.write_text(
        "import drscale as ds\n"
        "from drscale.training.strategies import Strategy\n"
        "def own(recipe, collection, pairs, encoder):\n"
        "    def natural(views, batch):\n"
        "        return views.scores.mean(1).reshape(-1, 7777)\n"
        "    return Strategy(recipe, pairs, natural=natural)\n"
        "ds.register_strategy('shapeless', own)\n"
        "recipes = [ds.Recipe(texts='planted', rung='L2H12', steps=2, batch=16, strategy='shapeless')]\n"
    )
    try:
        assert main(["sweep", str(program)]) == 1
        assert "failed, mine.py:5: RuntimeError: shape '[-1, 7777]' is invalid" in capsys.readouterr().out
        assert main(["status", str(program)]) == 0
        assert "mine.py:5: RuntimeError" in capsys.readouterr().out
    finally:
        STRATEGIES.pop("shapeless", None)


def test_runs_no_better_than_a_guess_are_told_with_what_to_do(
    study: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def measured(recipe: Recipe, store: RunStore, **options: Any) -> Run:
        raw, calibrated = (13.09, 4.29) if recipe.seed else (5.56, 5.55)
        metrics = {"entropy": Measure(raw, raw, raw, 300), "calibrated": Measure(calibrated, 4.1, calibrated, 300)}
        store.save(made := Run(recipe, "done", measures={"in_domain": metrics}))
        return made

    monkeypatch.setattr(sweep, "run_one", measured)
    doubt = "2 of 2 runs are no better than a guess (ln 257 = 5.55 nats): once calibrated, 1 of 2 beat it"
    assert main(["sweep", str(study), "--json"]) == 0
    seen = capsys.readouterr()
    assert "in-domain 13.090 nats (a guess has 5.55)" in seen.err
    assert f"warning: {doubt}" in seen.err
    (told,) = json.loads(seen.out)["doubts"]
    assert 'select = "validation"' in told
    assert "; the others: train more steps" in told
    assert main(["table", str(study)]) == 0
    seen = capsys.readouterr()
    assert f"warning: {doubt}" in seen.err
    assert "warning" not in seen.out
    assert main(["table", str(study), "--quiet"]) == 0
    assert capsys.readouterr().err == ""


def test_a_failed_run_shows_in_the_exit_code_and_is_tried_again_when_asked(
    study: Path, small: None, capsys: pytest.CaptureFixture[str]
) -> None:
    study.write_text(
        TOML.replace("rate = 0.003", "rate = 1e30").replace("steps = 6", "steps = 40").replace("[0, 1]", "[0]")
    )
    assert main(["sweep", str(study)]) == 1
    assert "diverged" in capsys.readouterr().out
    assert main(["sweep", str(study)]) == 0
    assert "0 of 1 runs to do" in capsys.readouterr().out
    capsys.readouterr()
    assert main(["sweep", str(study), "--retry-failed", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert (told["done"], told["failed"]) == (0, 1)
    assert "diverged" in told["runs"][0]["reason"]
    assert main(["status", str(study)]) == 0
    assert "failed: texts=planted,rung=L2H12" in capsys.readouterr().out


def test_a_table_of_a_folder(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["table", str(folder)]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert rows[0].split() == ["seed", "status", "train_pairs", "params_layers", "in_domain_entropy", "ood_entropy"]
    assert rows[1].split() == ["0", "done", "1,700", "4,000", "2", "2"]
    assert rows[2].split() == ["1", "failed"]
    assert main(["table", str(folder), "--csv", str(tmp_path / "out.csv")]) == 0
    assert "2 runs" in capsys.readouterr().out
    pd.testing.assert_frame_equal(
        pd.read_csv(tmp_path / "out.csv")[["key", "ood_entropy", "params_layers"]],
        RunStore(folder).table()[["key", "ood_entropy", "params_layers"]],
        check_dtype=False,
    )


def test_the_status_of_a_folder_and_of_a_study_in_it(
    folder: Path, study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status", str(folder)]) == 0
    said = capsys.readouterr().out
    assert "1 done, 0 to do, 1 failed" in said
    assert said.rstrip().endswith("seed=1: loss is NaN at step 3")
    study.write_text(TOML.replace("[0, 1]", "[0, 5]"))
    assert main(["status", str(study)]) == 0
    said = capsys.readouterr().out
    assert "1 done, 1 to do, 0 failed" in said
    assert "1 records there belong to other recipes" in said


def test_an_unreadable_record_is_a_warning_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "notes.json").write_text("{")
    assert main(["status", str(folder)]) == 0
    assert capsys.readouterr().err.startswith(f"warning: skipped {folder / 'notes.json'}: ")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("no.toml", None, "no.toml: no such file"),
        ("study.yaml", "a: 1", "a study is a .py or a .toml file"),
        ("study.toml", "grid = [", "study.toml: "),
        ("study.toml", "[base]\nwings = 2", "study.toml: "),
        ("study.toml", "[sweep]\nseed = [1]", "unknown tables sweep"),
        ("study.toml", "[base]\nsteps = 0", "Recipe.steps=0: at least 1"),
        ("study.py", "recipes = 3", "must give 'recipes', a non-empty list of Recipe"),
        ("study.py", "x = 1\nrecipes = [y]", "study.py:2: NameError: name 'y' is not defined"),
        ("study.py", "recipes = [", "study.py:1: SyntaxError"),
        (
            "study.py",
            "from drscale.runs import Recipe\n\nrecipes = [Recipe(steps=0)]",
            "study.py:3: ValueError: Recipe",
        ),
        ("study.py", "import not_there", "study.py:1: ModuleNotFoundError: No module named 'not_there'"),
    ],
)
def test_a_mistake_is_one_sentence(
    tmp_path: Path, name: str, text: str | None, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    assert main(["plan", str(tmp_path / name)]) == 2
    seen = capsys.readouterr()
    assert seen.out == ""
    assert len(seen.err.splitlines()) == 1
    assert seen.err.startswith("drscale plan: ")
    assert said in seen.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--workers", "0"], "--workers 0: at least 1"),
        (["--workers", "2", "--executor", "inline"], "use --executor process"),
    ],
)
def test_impossible_workers(study: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", str(study), *words]) == 2
    assert said in capsys.readouterr().err


class Tracker:
    """A stand-in for trackio: it writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def init(self, project: str, name: str, config: dict[str, Any]) -> None:
        self.told.append((project, name, config["seed"], config["status"]))

    def log(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.told.append((step, metrics))

    def finish(self) -> None:
        self.told.append(("finish",))


def test_finished_runs_go_to_a_tracker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trackio", stand_in := Tracker())  # type: ignore[arg-type]
    measures = {"in_domain": {"entropy": Measure(2.0, 1.9, 2.1, 5)}}
    curve = [{"step": 1.0, "loss": 3.0}, {"step": 2.0, "loss": 2.5}]
    run = Run(Recipe(texts="planted", seed=7), "done", measures=measures, curve=curve, cost={"flops": 1e9})
    note = tracker("trackio", "mine")
    note(run)
    assert stand_in.told[0] == ("mine", run.key, 7, "done")
    assert stand_in.told[1:3] == [(1, {"loss": 3.0}), (2, {"loss": 2.5})]
    assert stand_in.told[3][1]["in_domain_entropy_low"] == 1.9
    assert stand_in.told[3][1]["flops"] == 1e9
    assert stand_in.told[4:] == [("finish",)]
    monkeypatch.setattr(Tracker, "log", lambda *a, **k: 1 / 0)
    with pytest.warns(UserWarning, match="not in trackio, ZeroDivisionError.*its record is kept"):
        note(run)


def test_a_tracker_that_is_missing_is_told_before_training(
    study: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "trackio", None)  # type: ignore[arg-type]
    monkeypatch.setattr(sweep, "run_study", lambda *a, **k: pytest.fail("it trained"))
    assert main(["sweep", str(study), "--track", "trackio"]) == 2
    said = capsys.readouterr().err
    assert "--track trackio: " in said
    assert "bring it with: pip install trackio" in said


def test_a_folder_without_runs_and_a_place_without_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["table", str(tmp_path)]) == 2
    assert "no runs yet" in capsys.readouterr().err
    assert main(["status", str(tmp_path / "none")]) == 2
    assert "neither a folder of runs nor a study" in capsys.readouterr().err


def test_the_traceback_is_there_for_who_asks(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such file"):
        main(["--traceback", "plan", str(tmp_path / "no.toml")])


def test_usage(capsys: pytest.CaptureFixture[str]) -> None:
    for words, status in ((["--version"], 0), ([], 2), (["train"], 2), (["--help"], 0)):
        with pytest.raises(SystemExit) as left:
            main(words)
        assert left.value.code == status
    seen = capsys.readouterr()
    assert f"drscale {__version__}" in seen.out
    assert "invalid choice: 'train'" in seen.err


def test_ctrl_c_is_one_sentence(
    study: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sweep, "run_study", interrupted)
    assert main(["sweep", str(study)]) == 130
    assert capsys.readouterr().err == "interrupted: finished runs are kept, and the same command goes on from there\n"


def _ends(group: int, seconds: float = 10) -> bool:
    """Whether every process of a group ends within some seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="needs process groups")
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_the_workers_and_keeps_what_is_finished(study: Path, sent: signal.Signals) -> None:
    # One quick run and two that would take minutes: the interrupt comes while a worker is in the middle of one.
    text = TOML.replace("seed = [0, 1]", "steps = [6, 20000, 20001]").replace("batch = 16", "batch = 128")
    study.write_text(text.replace("[base]\n", '[base]\nladder = "local"\n'))
    # A terminal's process listens to an interrupt; one that a test runner's worker starts inherits deafness to it.
    listen = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    code = f"{listen}; import sys; from drscale.cli import main; sys.exit(main(sys.argv[1:]))"
    words = [sys.executable, "-c", code, "sweep", str(study), "--workers", "2"]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    store, end = RunStore(study.parent / "runs"), time.monotonic() + 300
    with subprocess.Popen(words, start_new_session=True, **pipes) as running:
        try:
            while not store.runs():
                assert running.poll() is None, running.communicate()
                assert time.monotonic() < end, "no run was finished"
                time.sleep(0.2)
            os.kill(running.pid, sent)  # to the parent alone, as `kill` or a scheduler would
            _, err = running.communicate(timeout=180)
            assert _ends(running.pid), "a worker is left behind"
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(running.pid, signal.SIGKILL)
    assert running.returncode == 130, err
    assert "interrupted: finished runs are kept" in err
    assert "Traceback" not in err
    assert [r.status for r in store.runs()] == ["done"]


@pytest.mark.skipif(not hasattr(os, "getloadavg"), reason="no load is known here")
def test_threads_wait_asleep_where_the_cores_are_wanted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    monkeypatch.setenv("OMP_WAIT_POLICY", "")  # so that it is put back as it was
    for load, given, then in ((1.9, None, None), (2.1, None, "PASSIVE"), (2.1, "ACTIVE", "ACTIVE")):
        os.environ.pop("OMP_WAIT_POLICY", None)
        os.environ.update({"OMP_WAIT_POLICY": given} if given else {})
        monkeypatch.setattr(os, "getloadavg", lambda load=load: (load, 0.0, 0.0))
        assert main(["status", str(tmp_path / "none")]) == 2
        assert os.environ.get("OMP_WAIT_POLICY") == then


def test_an_interrupt_silences_one_error_of_the_pools_own_thread_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[type[BaseException]] = []

    def fail(error: Exception) -> None:
        def in_a_thread() -> None:
            raise error

        thread = threading.Thread(target=in_a_thread)
        thread.start()
        thread.join()

    def hear(of: threading.ExceptHookArgs) -> None:
        told.append(of.exc_type)

    monkeypatch.setattr(threading, "excepthook", hear)
    monkeypatch.setattr(pools, "end_copying", lambda: (fail(InvalidStateError()), fail(ValueError())))
    with pytest.raises(KeyboardInterrupt), cli._pool(1):
        raise KeyboardInterrupt
    assert set(told) == {ValueError}
    assert threading.excepthook is hear


@pytest.mark.skipif(sys.platform != "linux", reason="only there are workers copies")
@pytest.mark.parametrize("whole_group", [True, False])
def test_an_interrupt_while_the_libraries_are_read_leaves_nothing_and_says_one_sentence(
    study: Path, whole_group: bool
) -> None:
    listen = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    code = f"{listen}; import sys; from drscale.cli import main; sys.exit(main(sys.argv[1:]))"
    words = [sys.executable, "-c", code, "sweep", str(study), "--workers", "2"]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(words, start_new_session=True, **pipes) as running:
        try:
            reading = Path(f"/proc/{running.pid}/task/{running.pid}/children")
            end = time.monotonic() + 60
            while not any("forkserver" in _command(child) for child in reading.read_text().split()):
                assert time.monotonic() < end, "nothing was started"
                time.sleep(0.05)
            time.sleep(0.5)
            (os.killpg if whole_group else os.kill)(running.pid, signal.SIGINT)
            _, err = running.communicate(timeout=60)
            assert _ends(running.pid), "a process is left behind"
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(running.pid, signal.SIGKILL)
    assert running.returncode == 130
    assert len(err.splitlines()) == 1, err
    assert "interrupted: finished runs are kept" in err


def _command(process: str) -> str:
    try:
        return Path(f"/proc/{process}/cmdline").read_text()
    except OSError:  # it has ended meanwhile
        return ""


@pytest.mark.skipif(sys.platform != "linux", reason="only there are workers copies")
def test_a_broken_library_is_told_by_the_worker_that_needs_it(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken" / "torch").mkdir(parents=True)
    (tmp_path / "broken" / "torch" / "__init__.py").write_text("raise OSError('libcudart.so.12: cannot open it')\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "broken"), str(ROOT)]))
    done = drscale("sweep", study, "--workers", "2")
    assert done.returncode != 0
    assert "libcudart.so.12: cannot open it" in done.stderr.splitlines()[-1]
    assert "EOFError" not in done.stderr


def test_a_failed_run_of_before_is_told_with_what_makes_it_again(
    study: Path, small: None, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = load_study(study)
    for recipe in plan.recipes:
        plan.store.save(Run(recipe, "failed", reason="no room"))
    assert main(["sweep", str(study)]) == 0
    said = capsys.readouterr().out
    assert "0 of 2 runs to do" in said
    assert "2 failed before, --retry-failed makes them again" in said


# ------------------------------------------------------------------------------------------- without the torch side


@pytest.mark.parametrize("verb", ["table", "status"])
def test_reading_needs_no_torch(folder: Path, verb: str) -> None:
    done = drscale(verb, folder, code=NO_TORCH)
    assert done.returncode == 0, done.stderr
    assert "failed" in done.stdout


def test_planning_needs_no_torch(study: Path) -> None:
    done = drscale("plan", study, code=NO_TORCH)
    assert done.returncode == 0, done.stderr
    assert "2 to do" in done.stdout


def test_a_sweep_without_torch_says_what_brings_it(study: Path) -> None:
    done = drscale("sweep", study, code=NO_TORCH)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""  # and promises no lines first
    assert "pip install -c constraints.txt '.[lab]'" in done.stderr


def test_the_doctor_needs_no_torch() -> None:
    done = drscale("doctor", code=NO_TORCH)
    assert done.returncode == 0, done.stderr
    assert "unknown without torch" in done.stdout


# ------------------------------------------------------------------------------------------------------------- doctor


def test_the_doctor_says_it_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    found = {f["name"]: f for f in json.loads(capsys.readouterr().out)}
    assert found["pandas"]["found"] == pd.__version__
    assert found["pandas"]["needed"]
    assert not found["torch"]["needed"]
    assert {"threads", "GPU", "browser for PDF, SVG, PNG", "wordnet", "docs:scipy", "parsed texts"} <= found.keys()
    assert all(f["brings"] for f in found.values() if not f["well"])


def test_the_doctor_names_what_is_needed_and_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda name: "" if name in ("lmfit", "faiss-cpu") else real(name))
    assert main(["doctor"]) == 1
    said = capsys.readouterr().out
    assert "! lmfit" in said
    assert "bring it with: pip install -c constraints.txt lmfit" in said
    assert "- faiss-cpu" in said
    assert "needed and missing: lmfit" in said.splitlines()[-1]


def test_the_doctor_names_the_place_that_drscale_came_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clone, wheel = tmp_path / "a clone", tmp_path / "drscale-9-py3-none-any.whl"
    clone.mkdir()
    for file in (clone / "pyproject.toml", clone / "constraints.txt", wheel):
        file.touch()
    told: dict[str, Any] = {}

    class Installed:
        version = "9"

        def read_text(self, name: str) -> str | None:
            return json.dumps(told) if told and name == "direct_url.json" else None

    monkeypatch.setattr(doctor, "CLONE", tmp_path / "site-packages" / "pyproject.toml")
    monkeypatch.setattr(doctor.importlib.metadata, "distribution", lambda name: Installed())
    told |= {"url": clone.as_uri(), "dir_info": {}}
    assert doctor.extra("lab") == f"pip install -c '{clone}/constraints.txt' '{clone}[lab]'"
    monkeypatch.chdir(clone)
    assert doctor.extra("lab") == "pip install -c constraints.txt '.[lab]'"
    told["url"] = wheel.as_uri()
    assert doctor.extra("lab") == f"pip install '{wheel}[lab]'"
    told |= {"url": "https://example.org/drscale.git", "vcs_info": {"vcs": "git", "commit_id": "0"}}
    assert doctor.extra("lab") == "pip install 'drscale[lab] @ git+https://example.org/drscale.git@0'"
    told |= {"url": "https://me:secret@example.org/a%27b.git", "subdirectory": "py"}
    told["vcs_info"]["requested_revision"] = "v1"
    assert doctor.extra("") == "pip install 'drscale @ git+https://example.org/a%27b.git@v1#subdirectory=py'"
    del told["vcs_info"], told["subdirectory"]
    told["url"] = (tmp_path / "gone").as_uri()
    assert "gone" not in doctor.extra("lab")


@pytest.mark.parametrize("text", ["{", "[]", "null", "{}", '{"url": null}', '{"url": "git:x", "vcs_info": {}}'])
def test_an_odd_note_of_pip_leaves_the_name_of_a_wheel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setattr(doctor, "CLONE", tmp_path / "pyproject.toml")
    found = SimpleNamespace(read_text=lambda name: text, version="9")
    monkeypatch.setattr(doctor.importlib.metadata, "distribution", lambda name: found)
    assert doctor.extra("lab").startswith("pip install 'drscale-")


def test_what_one_command_brings_is_one_line() -> None:
    lab = [doctor.Finding("Lab", f"piece{i}", "", "pip install lab") for i in range(9)]
    there = doctor.Finding("Lab", "torch", "2.0")
    alone = doctor.Finding("Synonyms", "wordnet", "", "apt-get install wordnet")
    needed = doctor.Finding("Analysis", "lmfit", "", "pip install lmfit", needed=True)
    said = doctor.report([needed, *lab[:3], there, *lab[3:], alone]).splitlines()
    names = ", ".join(f"piece{i}" for i in range(6))
    (lab_line,) = (line for line in said if "install lab" in line)
    assert lab_line == f"  - 9 pieces  missing: {names} and 3 more; bring them with: pip install lab"
    assert sum(line.startswith("  ") for line in said) == 4
    assert "  - wordnet  missing; bring it with: apt-get install wordnet" in said
    assert said[-1] == "needed and missing: lmfit; 10 optional pieces missing"


def test_the_doctor_finds_wordnet_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def wordnet() -> str:
        return next(f.found for f in doctor.look() if f.name == "wordnet")

    monkeypatch.setattr(wordnet_files, "PLAIN", ())
    monkeypatch.setattr(wordnet_files, "NLTK", ())
    monkeypatch.setenv("NLTK_DATA", str(tmp_path))
    assert wordnet() == ""
    (tmp_path / "corpora").mkdir()
    (tmp_path / "corpora" / "wordnet.zip").touch()
    assert wordnet() == str(tmp_path / "corpora" / "wordnet.zip")
    (tmp_path / "data.noun").touch()
    monkeypatch.setenv("WNSEARCHDIR", str(tmp_path))
    assert wordnet() == str(tmp_path)


def test_requirements_are_read_from_the_package() -> None:
    assert {"pandas", "plotly", "lmfit"} <= set(doctor.requirements())
    assert {"torch", "jupyterlab"} <= set(doctor.requirements("lab"))
    assert not set(doctor.requirements()) & set(doctor.requirements("lab"))
