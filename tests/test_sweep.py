import calendar
import importlib
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import forkserver, resource_tracker
from pathlib import Path

import copies
import numpy as np
import pytest
import torch
from tiny import WORDS, tiny
from tqdm import tqdm

from drscale import pools, sweep
from drscale.attacks import entropy as measure
from drscale.evaluate.entropy import NotFiniteError
from drscale.recipe import STRATEGIES, Recipe
from drscale.runs import Run, RunStore, StoreWarning
from drscale.study import Plan, plan_study
from drscale.training import loop

BASE = Recipe(texts="planted", rung="L2H12", steps=6, batch=16, projection=24, rate=3e-3)
FEW = BASE.but(texts="planted?pairs=260")  # for other processes, which cannot be given ``small``


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(sweep, "texts_of", lambda spec: tiny())


def test_a_grid_is_every_combination_once():
    recipes = sweep.grid(BASE, rung=["L2H12", "L2H16"], seed=range(3))
    assert len(recipes) == len(set(recipes)) == 6
    assert [r.seed for r in recipes[:3]] == [0, 1, 2]
    with pytest.raises(ValueError, match="wings"):
        sweep.grid(BASE, wings=[2])


def test_equal_seeds_give_equal_records(small, tmp_path):
    def stable(run):
        body = json.loads(run.to_json())
        body["cost"] = {k: v for k, v in body["cost"].items() if k in ("flops", "tokens", "steps_done")}
        return {k: v for k, v in body.items() if k != "finished"}

    one, two = RunStore(tmp_path / "one"), RunStore(tmp_path / "two")
    a, b = sweep.run_one(BASE, one), sweep.run_one(BASE, two)
    assert stable(a) == stable(b)
    assert one.queries().equals(two.queries())
    assert stable(sweep.run_one(BASE.but(seed=1), one))["measures"] != stable(a)["measures"]


def test_plan_run_and_plan_again(small, tmp_path, capsys):
    store, recipes = RunStore(tmp_path), sweep.grid(BASE, rung=["L2H12", "L2H16"], rate=[3e-3, 1e30])
    before = plan_study(recipes, store)
    assert before.rows["status"].tolist() == ["todo"] * 4
    assert "guess" in str(before)
    made = sweep.run_study(before)
    assert [r.status for r in made] == ["done", "failed", "done", "failed"]
    after = plan_study(recipes, store)
    assert after.rows["status"].tolist() == ["done", "failed", "done", "failed"]
    assert "diverged" in store.table().set_index("key").loc[str(recipes[1]), "reason"]
    assert sweep.run_study(after) == []
    assert len(after.todo(retry_failed=True)) == 2
    assert "[4/4]" in capsys.readouterr().out
    more = plan_study([*recipes, BASE.but(seed=9)], store)
    assert "learnt from 2" in str(more)
    assert more.rows["seconds"].iloc[-1] > 0
    assert not list(tmp_path.glob(".checkpoints/*"))


def test_predicted_flops_bound_the_measured_ones(small, tmp_path):
    run = sweep.run_one(BASE, RunStore(tmp_path))
    predicted = plan_study([BASE.but(seed=5)], RunStore(tmp_path)).rows["flops"].iloc[0]
    assert 0.2 * predicted < run.cost["flops"] <= predicted


@pytest.mark.slow
def test_processes_and_threads_give_what_this_process_gives(tmp_path):
    recipes = sweep.grid(FEW, seed=[0, 1])
    stores = [RunStore(tmp_path / n) for n in ("inline", "processes")]
    sweep.run_study(plan_study(recipes, stores[0]), progress=False)
    with ProcessPoolExecutor(2, mp_context=pools.context()) as pool:
        sweep.run_study(plan_study(recipes, stores[1]), pool, progress=False)
    a, b = (s.table().set_index("key") for s in stores)
    assert list(a.index) == list(b.index)
    assert abs(a["ood_entropy"] - b["ood_entropy"]).max() < 1e-4


OWN = """
import drscale as ds
from near_by import SHARE


def own_loss(recipe, collection, pairs, encoder):
    from drscale.training.strategies import Strategy
    from later import margin  # found when the run is made, long after the study was read

    def natural(views, batch):
        right = views.scores.gather(1, views.targets[:, None])
        return (margin() + views.scores - right).clamp(min=0).mean(1)

    return Strategy(recipe, pairs, natural=natural)


ds.register_strategy("own_loss", own_loss)
ds.register_source("own_texts", benchmark=lambda source, progress: ds.benchmark("planted?pairs=260"))
ds.register_attack("own_attack", lambda model, queries, passages, substitutes: [p + " more" for p in passages])
base = ds.Recipe(texts="own_texts", rung="L2H12", steps=2, batch=8, start="scratch", strategy="own_loss", share=SHARE)
recipes = ds.grid(base.but(attacked=3, attack="own_attack"), seed=[0, 1])
"""


@pytest.mark.slow
def test_workers_know_what_a_study_registers(tmp_path):
    (tmp_path / "study.py").write_text(OWN)
    (tmp_path / "near_by.py").write_text("SHARE = 1.0\n")
    (tmp_path / "later.py").write_text("def margin():\n    return 1.0\n")
    command = [sys.executable, "-P", "-m", "drscale", "sweep", str(tmp_path / "study.py"), "--workers", "2"]
    environment = os.environ | {"PYTHONPATH": str(Path(sweep.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd="/", env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 done, 0 failed" in done.stdout
    runs = RunStore(tmp_path / "study").runs()
    assert [(run.recipe.strategy, run.status) for run in runs] == [("own_loss", "done")] * 2


@pytest.mark.slow
def test_what_only_the_sweeps_process_knows_is_one_sentence_and_no_failed_run(tmp_path):
    STRATEGIES["only_here"] = STRATEGIES["standard"]
    try:
        plan = plan_study([Recipe(texts=FEW.texts, rung="L2H12", steps=2, strategy="only_here")], RunStore(tmp_path))
        said = "strategy='only_here': allowed are .*this is in a worker process.*run_study.*study='study.py'"
        with ProcessPoolExecutor(1, mp_context=pools.context()) as pool, pytest.raises(ValueError, match=said):
            sweep.run_study(plan, pool, progress=False)
        with pytest.raises(ValueError, match=r"study='nowhere.py': no such file"):
            sweep.run_study(plan, study="nowhere.py")
    finally:
        del STRATEGIES["only_here"]
    assert RunStore(tmp_path).runs() == []


def test_a_teachers_file_that_is_gone_costs_its_run_and_no_other(tmp_path):
    gone = Recipe(texts=FEW.texts, rung="L2H12", steps=2, strategy="supervised", teachers="trec:gone.run")
    made = Run.from_json(sweep.work(str(gone), str(tmp_path)))
    assert made.status == "failed"
    assert "no such file gone.run" in made.reason


def test_a_failed_run_that_never_trained_tells_no_seconds(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sweep, "run_one", lambda recipe, store, **options: Run(recipe, "failed", "out of luck"))
    sweep.run_study(plan_study([BASE], RunStore(tmp_path)))
    assert capsys.readouterr().out.strip() == f"[1/1] {BASE}: failed, out of luck"


class Job:
    """A job as submitit has it: done() and result(), and no Future."""

    def __init__(self, work, *arguments):
        self.work, self.arguments, self.asked = work, arguments, 0

    def done(self):
        self.asked += 1
        return self.asked > 1

    def result(self):
        return self.work(*self.arguments)


def test_executors_whose_jobs_are_no_futures_serve_too(small, tmp_path, monkeypatch):
    class Cluster:
        def submit(self, work, *arguments):
            return Job(work, *arguments)

    monkeypatch.setattr(sweep.time, "sleep", lambda seconds: None)
    store, recipes = RunStore(tmp_path), sweep.grid(BASE, seed=[0, 1])
    made = sweep.run_study(plan_study(recipes, store), Cluster(), progress=False)
    assert sorted(r.recipe.seed for r in made) == [0, 1]
    assert len(store.runs()) == 2


def test_a_broken_run_does_not_take_the_finished_ones_along(small, tmp_path, monkeypatch):
    store, recipes, real = RunStore(tmp_path), sweep.grid(BASE, seed=[0, 1, 2]), sweep.run_one

    def breaks(recipe, *rest, **options):
        if recipe.seed == 1:
            raise KeyboardInterrupt
        return real(recipe, *rest, **options)

    monkeypatch.setattr(sweep, "run_one", breaks)
    with pytest.raises(KeyboardInterrupt):
        sweep.run_study(plan_study(recipes, store), progress=False)
    assert plan_study(recipes, store).rows["status"].tolist() == ["done", "todo", "todo"]
    with ThreadPoolExecutor(1) as pool, pytest.raises(KeyboardInterrupt):
        sweep.run_study(plan_study(recipes, store), pool, progress=False)


KILLED = """
import sys
import torch
from drscale import sweep
from drscale.runs import Recipe, RunStore
from drscale.study import plan_study
from drscale.training import loop
torch.set_num_threads(1)
loop.CHECKPOINT_SECONDS = 0.3
base = Recipe.parse({base!r})
sweep.run_study(plan_study(sweep.grid(base, seed=[0, 1, 2]), RunStore(sys.argv[1])))
"""


@pytest.mark.slow
def test_kill_nine_and_restart_lose_nothing_and_repeat_nothing(tmp_path):
    base = FEW.but(steps=100)
    script = tmp_path / "study.py"
    script.write_text(KILLED.format(base=str(base)))
    first, second = (tmp_path / "store" / f"{base.but(seed=s).file_stem}.json" for s in (0, 1))
    checkpoint = tmp_path / "store" / ".checkpoints" / f"{base.but(seed=1).file_stem}.safetensors"

    child = copies.Copy(script, tmp_path / "store")
    deadline = time.monotonic() + 300  # a busy machine imports torch for minutes
    while not (first.exists() and checkpoint.exists()) and child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(child.pid, signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    assert first.exists()
    assert checkpoint.exists()
    assert not second.exists()
    written = first.stat().st_mtime_ns

    assert "[2/2]" in copies.run(script, tmp_path / "store")  # only the two that were not finished
    assert first.stat().st_mtime_ns == written
    assert len(RunStore(tmp_path / "store").runs()) == 3
    assert not list((tmp_path / "store" / ".checkpoints").iterdir())

    whole = RunStore(tmp_path / "whole")
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # as in the script: sums in another order are other numbers
    unbroken = sweep.run_one(base.but(seed=1), whole)
    torch.set_num_threads(before)
    resumed = Run.from_json(second.read_text())
    assert resumed.curve == unbroken.curve
    assert resumed.measures == unbroken.measures


def test_a_run_that_breaks_is_a_failed_record_and_the_others_go_on(small, tmp_path, monkeypatch):
    from drscale.training import loop

    real = loop.train

    def breaks(encoder, pairs, recipe, **options):
        if recipe.seed == 0:
            raise torch.OutOfMemoryError("no room for 3 GiB")
        return real(encoder, pairs, recipe, **options)

    monkeypatch.setattr(loop, "train", breaks)
    store = RunStore(tmp_path)
    made = sweep.run_study(plan_study(sweep.grid(BASE, seed=[0, 1]), store), progress=False)
    assert [r.status for r in made] == ["failed", "done"]
    assert "no room" in store.table().set_index("seed").loc[0, "reason"]
    with pytest.raises(torch.OutOfMemoryError):
        sweep.run_one(BASE)


def test_threads_of_one_process_train_what_it_trains_alone(small, tmp_path):
    recipes = sweep.grid(BASE, seed=[0, 1, 2, 3])
    alone, threads = RunStore(tmp_path / "alone"), RunStore(tmp_path / "threads")
    sweep.run_study(plan_study(recipes, alone), progress=False)
    with ThreadPoolExecutor(4) as pool:
        sweep.run_study(plan_study(recipes, threads), pool, progress=False)
    assert alone.table()["ood_entropy"].tolist() == pytest.approx(threads.table()["ood_entropy"].tolist(), abs=1e-5)


def test_texts_too_small_to_score_are_told_before_training(tmp_path):
    short = tiny().but(test=tiny().test.take(200))
    with pytest.raises(ValueError, match="256 negatives"):
        sweep.run_one(BASE, RunStore(tmp_path), texts=short, note=lambda s, v: pytest.fail("it trained"))


def test_wrong_requests(small, tmp_path):
    with pytest.raises(ValueError, match="pairs=401"):
        sweep.run_one(BASE.but(pairs=401))
    with pytest.raises(ValueError, match="strategy"):
        sweep.run_one(BASE.but(strategy="magic"))


def test_a_stopped_run_is_not_recorded_but_goes_on_later(small, tmp_path):
    store, steps = RunStore(tmp_path), []
    stopped = sweep.run_one(BASE, store, note=lambda s, v: steps.append(s), stopped=lambda: len(steps) >= 3)
    assert stopped.status == "failed"
    assert store.runs() == []
    steps.clear()
    assert sweep.run_one(BASE, store, note=lambda s, v: steps.append(s)).status == "done"
    assert min(steps) > 3 - 1


def test_a_run_is_scored_under_attack_where_its_recipe_asks_for_it(small, tmp_path):
    rng = np.random.default_rng(0)
    base = rng.normal(size=(len(WORDS) // 8 + 1, 12)).repeat(8, axis=0)[: len(WORDS)]
    lines = [
        f"{w} {' '.join(f'{x:.4f}' for x in v)}"
        for w, v in zip(WORDS, base + rng.normal(size=base.shape) / 9, strict=True)
    ]
    vectors = tmp_path / "near.txt"
    vectors.write_text("\n".join(lines))
    store, recipe = RunStore(tmp_path / "runs"), BASE.but(steps=40, attacked=20, synonyms=f"vectors:{vectors}")
    run = sweep.run_one(recipe, store)
    assert Recipe.parse(run.key) == recipe
    assert "near.txt" in run.versions["attack"]
    clean, attacked = run.measures["adversarial:clean"], run.measures["adversarial"]
    assert attacked["entropy"].n == clean["entropy"].n == 20
    assert attacked["success"].mean > 0.8
    assert attacked["boosted"].low > 0
    assert attacked["entropy"].mean > clean["entropy"].mean
    rows = store.queries()
    alone, before = run.measures["adversarial:alone"], run.measures["adversarial:alone:clean"]
    assert alone["entropy"].mean - before["entropy"].mean > attacked["entropy"].mean - clean["entropy"].mean
    counts = rows["scope"].value_counts()
    assert counts["adversarial"] == counts["adversarial:clean"] == 20
    mine = rows[rows["scope"] == "adversarial"]
    assert np.average(mine["entropy"], weights=mine["positives"]) == pytest.approx(attacked["entropy"].mean, rel=1e-5)
    wider = store.table(("ood", "adversarial:alone")).iloc[0]
    assert wider["adversarial:alone_entropy"] == alone["entropy"].mean
    assert "in_domain_entropy" not in wider
    table = store.table().iloc[0]
    assert table["adversarial_entropy"] == attacked["entropy"].mean
    assert table["adversarial_success_low"] <= table["adversarial_success"]


def test_an_attack_that_cannot_work_is_refused_before_training(small, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "train", lambda *_, **__: pytest.fail("trained first"))
    with pytest.raises(ValueError, match="no-such-file"):
        sweep.run_one(BASE.but(attacked=20, synonyms="vectors:no-such-file.txt"), RunStore(tmp_path))
    with pytest.raises(ValueError, match="attacked=5000: test has 270 queries"):
        sweep.run_one(BASE.but(attacked=5000), RunStore(tmp_path))


@pytest.mark.parametrize("error", [RuntimeError("out of memory"), NotFiniteError("vectors"), ValueError("no document")])
def test_what_fails_under_attack_keeps_what_was_measured_before(small, tmp_path, monkeypatch, error):
    def fails(*_, **__):
        raise error

    monkeypatch.setattr(measure, "probe", fails)
    store = RunStore(tmp_path)
    run = sweep.run_one(BASE.but(attacked=20), store)
    assert run.status == "failed"
    assert str(error) in run.reason
    assert run.curve
    assert "in_domain" in run.measures
    assert store.load(run.recipe) == run


# ------------------------------------------------------------------------------------------------- what breaks a sweep


def test_a_store_that_cannot_be_written_is_noticed_before_training(small, tmp_path):
    (tmp_path / "runs").write_text("a file where the folder would be")
    plan = plan_study([BASE], RunStore(tmp_path / "runs"))
    with pytest.raises(ValueError, match=r"runs: no run can be kept here"):
        sweep.run_study(plan, progress=False)


def test_a_claimed_recipe_is_left_to_the_other_sweep(small, tmp_path):
    store, other = RunStore(tmp_path / "runs"), BASE.but(seed=1)
    with store.claim(BASE) as mine:
        assert mine
        made = sweep.run_study(plan_study([BASE, other], store), progress=False)
    assert [run.recipe for run in made] == [other]
    assert not list((store.path / ".claims").iterdir())
    assert [run.recipe for run in sweep.run_study(plan_study([BASE, other], store), progress=False)] == [BASE]


def test_what_another_sweep_made_since_the_plan_is_not_made_twice(small, tmp_path, monkeypatch):
    store = RunStore(tmp_path / "runs")
    early = plan_study([BASE], store)
    (first,) = sweep.run_study(plan_study([BASE], store), progress=False)
    monkeypatch.setattr(sweep, "run_one", lambda *a, **k: pytest.fail("made twice"))
    assert sweep.run_study(early, progress=False) == [first]


DYING = """
import os, signal, sys
from concurrent.futures import ProcessPoolExecutor
from drscale import pools, sweep
from drscale.recipe import Recipe
from drscale.runs import Run, RunStore, StoreWarning
from drscale.study import plan_study


def fake(recipe, store, *, keep=False, note=None, pack=None):
    if recipe.seed == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    if recipe.seed == 3:
        checkpoint = store.path / ".checkpoints" / f"{recipe.file_stem}.safetensors"
        checkpoint.parent.mkdir(exist_ok=True)
        checkpoint.touch()
    run = Run(recipe, "done")
    store.save(run)
    if recipe.seed == 3:  # its process dies between the record and the removal of its checkpoint
        os.kill(os.getpid(), signal.SIGKILL)
    return run


def set_up():
    sweep.run_one = fake


if __name__ == "__main__":
    store = RunStore(sys.argv[1])
    plan = plan_study([Recipe(texts="planted", seed=s) for s in range(4)], store)
    with ProcessPoolExecutor(2, mp_context=pools.context(), initializer=set_up) as pool:
        made = sweep.run_study(plan, pool, progress=False)
    print(sorted((run.recipe.seed, run.status) for run in made))
"""


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_a_killed_worker_costs_its_run_and_no_other(tmp_path):
    script = tmp_path / "dying.py"
    script.write_text(DYING)
    done = subprocess.run([sys.executable, str(script), str(tmp_path / "runs")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[(0, 'done'), (1, 'failed'), (2, 'done'), (3, 'done')]"
    (failed,) = [run for run in RunStore(tmp_path / "runs").runs() if run.status == "failed"]
    assert "worker process died twice" in failed.reason
    assert not list((tmp_path / "runs" / ".checkpoints").iterdir())


def test_the_time_left_goes_by_what_the_plan_foresaw(tmp_path):
    store, recipes = RunStore(tmp_path), [BASE.but(rung=rung) for rung in ("L2H12", "L2H16", "L2H64")]
    plan = plan_study(recipes, store)
    plan.rows["seconds"], plan.rows["scoring"] = [10.0, 20.0, 300.0], [0.0, 0.0, np.nan]
    first, second, third = (Run(recipe, "done") for recipe in recipes)
    assert sweep._left(plan, recipes, [first], 5.0, None) == "; about 2.7 min left"
    assert sweep._left(plan, recipes, [second], 10.0, None) == "; about 2.5 min left"  # another sweep had the first
    assert sweep._left(plan, recipes, [first, second, third], 200.0, None) == ""
    with ThreadPoolExecutor(2) as pool:
        assert sweep._left(plan, recipes, [first], 5.0, pool) == ""  # its other worker has ended nothing yet
        assert sweep._left(plan, recipes, [second, first], 12.0, pool) == "; about 2.0 min left"


@pytest.mark.skipif(os.name != "posix", reason="needs locks")
def test_a_claim_that_the_system_lets_go_late_hides_no_death(tmp_path):
    store, held = RunStore(tmp_path), threading.Event()

    def hold(seconds):
        with store.claim(BASE) as mine:
            assert mine
            held.set()
            time.sleep(seconds)

    with ThreadPoolExecutor(1) as other:
        holding = other.submit(hold, 0.2)
        assert held.wait(10)
        assert sweep._died(BASE, store).status == "failed"
        holding.result()
        (tmp_path / f"{BASE.file_stem}.json").unlink()
        held.clear()
        other.submit(hold, 4.0)
        assert held.wait(10)
        assert sweep._died(BASE, store) is None  # another sweep is making it


ORPHANED = """
import multiprocessing, sys, time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from drscale import pools


def wait(folder):
    pools.end_with_parent()
    import os
    Path(folder, "pid").write_text(str(os.getpid()))
    time.sleep(60)


if __name__ == "__main__":
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        pool.submit(wait, sys.argv[1]).result()
"""


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_a_worker_ends_when_its_sweep_was_killed(tmp_path):
    script = tmp_path / "orphaned.py"
    script.write_text(ORPHANED)
    main = subprocess.Popen([sys.executable, str(script), str(tmp_path)])
    pid = tmp_path / "pid"
    until(lambda: pid.is_file() and pid.read_text())
    main.kill()
    main.wait()
    until(lambda: not alive(int(pid.read_text())))


IDLE = """
import os, sys, time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from drscale import pools


def begin(folder):
    Path(folder, f"{os.getpid()}.pid").touch()
    pools.begin(dict(os.environ))


if __name__ == "__main__":
    with ProcessPoolExecutor(2, mp_context=pools.context(), initializer=begin, initargs=(sys.argv[1],)) as pool:
        for _ in range(2):
            pool.submit(time.sleep, 60)
"""


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_a_worker_ends_with_its_sweep_before_it_has_a_run(tmp_path):
    script = tmp_path / "idle.py"
    script.write_text(IDLE)
    main = subprocess.Popen([sys.executable, str(script), str(tmp_path)])
    until(lambda: len(list(tmp_path.glob("*.pid"))) == 2)
    main.kill()
    main.wait()
    for path in tmp_path.glob("*.pid"):
        until(lambda pid=int(path.stem): not alive(pid))


def until(true, seconds=60):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.05)


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    return not (state.is_file() and state.read_text().rpartition(")")[2].split()[0] == "Z")


SHADOWED = """
import sys


def looked():
    import calendar
    return calendar.__file__, "fractions" in sys.modules


if __name__ == "__main__":
    import os
    from concurrent.futures import ProcessPoolExecutor
    from drscale import pools
    pools.READ_AHEAD[:] = ["calendar", "fractions"]
    with ProcessPoolExecutor(1, mp_context=pools.context()) as pool:
        print(*pool.submit(looked).result(), os.environ.get("PYTHONSAFEPATH"))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only there are workers copies")
def test_a_copy_takes_no_library_from_the_folder_where_it_is_started(tmp_path):
    (tmp_path / "calendar.py").write_text("a file of the user's, and no Python")
    script = tmp_path / "scripts" / "shadowed.py"
    script.parent.mkdir()
    script.write_text(SHADOWED)
    done = subprocess.run([sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [calendar.__file__, "True", "None"]
    assert not done.stderr


def looked():
    return "torch" in sys.modules, os.environ.get("SAID"), Path.cwd()


@pytest.mark.skipif(sys.platform != "linux", reason="only there are workers copies")
def test_a_worker_has_read_torch_and_has_the_environment_of_its_sweep(tmp_path, monkeypatch):
    how = pools.context()  # begun before what follows
    monkeypatch.setenv("SAID", "later")
    monkeypatch.chdir(tmp_path)
    with ProcessPoolExecutor(1, mp_context=how, initializer=pools.begin, initargs=(dict(os.environ),)) as pool:
        assert pool.submit(looked).result() == (True, "later", tmp_path)


def bar_and_semaphores():
    sent = []
    resource_tracker._resource_tracker._send = lambda *told: sent.append(told)
    tqdm(disable=True).close()
    with tqdm(total=1, file=io.StringIO()) as bar:
        bar.update()
    return sent


@pytest.mark.skipif(sys.platform != "linux", reason="only there are workers copies")
def test_a_workers_bars_take_no_semaphore_that_would_stay_when_it_is_killed():
    how, given = pools.context(), (dict(os.environ),)
    with ProcessPoolExecutor(1, mp_context=how, initializer=pools.begin, initargs=given) as pool:
        assert pool.submit(bar_and_semaphores).result() == []


@pytest.mark.skipif(sys.platform != "linux", reason="only there are workers copies")
def test_a_new_pool_has_read_ahead_although_what_its_workers_are_copies_of_died(tmp_path, monkeypatch):
    monkeypatch.setenv("SAID", "again")
    monkeypatch.chdir(tmp_path)
    given = {"initializer": pools.begin, "initargs": (dict(os.environ),)}
    with ProcessPoolExecutor(1, mp_context=pools.context(), **given) as pool:
        pool.submit(abs, 1).result()
        pools.end_copying()
        until(lambda: not alive(forkserver._forkserver._forkserver_pid))
        with pools.like(pool)() as fresh:
            assert fresh.submit(looked).result() == (True, "again", tmp_path)


def test_a_pool_whose_starter_died_is_a_broken_one(monkeypatch):
    def ended(*_):
        raise EOFError("unexpected EOF")

    with ProcessPoolExecutor(1) as pool:
        monkeypatch.setattr(pool, "submit", ended)
        with pytest.raises(BrokenProcessPool, match="the process that starts workers died"):
            pools.submit(pool, abs, -1)
    with ThreadPoolExecutor(1) as pool:
        monkeypatch.setattr(pool, "submit", ended)
        with pytest.raises(EOFError):
            pools.submit(pool, abs, -1)


def test_what_is_read_ahead_is_there():
    for name in pools.READ_AHEAD:  # a server of copies passes over in silence what it cannot import
        importlib.import_module(name)


def test_a_machine_with_a_gpu_copies_no_process(tmp_path, monkeypatch):
    assert pools.context().get_start_method() == ("forkserver" if sys.platform == "linux" else "spawn")
    monkeypatch.setattr(pools, "GPUS", (str(tmp_path),))
    assert pools.context().get_start_method() == "spawn"


def test_threads_are_in_the_record(small, tmp_path):
    run = sweep.run_one(BASE, RunStore(tmp_path / "runs"))
    assert int(run.versions["threads"]) >= 1


def test_an_unreadable_record_is_made_again(small, tmp_path):
    store = RunStore(tmp_path / "runs")
    (run,) = sweep.run_study(plan_study([BASE], store), progress=False)
    path = store.path / f"{BASE.file_stem}.json"
    path.write_text(path.read_text().replace('"status": "done"', '"status": "eaten"'))
    with pytest.warns(StoreWarning, match="eaten"):
        (again,) = sweep.run_study(plan_study([BASE], store), progress=False)
    assert again.measures == run.measures


UNGUARDED = """
import sys
from concurrent.futures import ProcessPoolExecutor
import multiprocessing
from drscale import sweep
from drscale.recipe import Recipe
from drscale.runs import RunStore
from drscale.study import plan_study


def broken():
    raise RuntimeError("cannot be set up")


if __name__ == "__main__":
    plan = plan_study([Recipe(texts="planted")], RunStore(sys.argv[1]))
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn"), initializer=broken) as pool:
        try:
            sweep.run_study(plan, pool, progress=False)
        except ValueError as e:
            print(e)
"""


def test_a_pool_that_cannot_start_condemns_no_run(tmp_path):
    script = tmp_path / "unguarded.py"
    script.write_text(UNGUARDED)
    done = subprocess.run([sys.executable, str(script), str(tmp_path / "runs")], capture_output=True, text=True)
    assert "no worker process can start" in done.stdout, done.stderr
    assert not list((tmp_path / "runs").glob("*.json"))


def test_nothing_to_do_needs_no_writable_store(small, tmp_path):
    (tmp_path / "runs").write_text("a file where the folder would be")
    assert sweep.run_study(Plan([], RunStore(tmp_path / "runs"), sweep.pd.DataFrame({"status": []}))) == []
