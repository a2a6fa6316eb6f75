"""Sweeps on Dask's and submitit's executors, a worker killed in the middle of a run: nothing lost, nothing twice."""

import os
import re
import subprocess
import sys
from pathlib import Path

import copies
import killed
import pytest
from conftest import ROOT

from drscale import pools, sweep
from drscale.runs import Run, RunStore


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """What a sweep of three runs leaves where nobody is killed."""
    path = tmp_path_factory.mktemp("undisturbed") / "runs"
    copies.run(Path(killed.__file__), path, environment=os.environ | {"PYTHONPATH": str(ROOT)})
    return RunStore(path)


@pytest.fixture
def workers(tmp_path, monkeypatch):
    """New processes find this package and the workers' module, and have one thread each."""
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join([str(ROOT), str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    )
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return tmp_path / "runs"


def content(store, seeds=(0, 1, 2)):
    """What the store holds of some seeds, without times."""
    some = killed.breakage().Content(store)
    some.runs = {key: run for key, run in some.runs.items() if key in {str(killed.BASE.but(seed=s)) for s in seeds}}
    some.rows = some.rows[some.rows["key"].isin(list(some.runs))].reset_index(drop=True)
    return some


def dead(path):
    """The processes that were killed; none of them is there any more."""
    found = [int(at.name) for at in (path.parent / "dead").iterdir()]
    assert not any(Path(f"/proc/{pid}").exists() for pid in found)
    return found


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_a_killed_dask_worker_costs_nothing(workers, undisturbed):
    import dask

    how = pools.context().get_start_method()  # workers as Dask starts them by itself: the page's script, below
    dask.config.set({"distributed.worker.multiprocessing-method": how})
    from distributed import Client, LocalCluster  # which looks at that once

    plan = killed.plan(workers)
    two = LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None)
    with two as cluster, Client(cluster) as client:
        before = set(client.run(os.getpid).values())
        made = sweep.run_study(plan, killed.Deadly(client.get_executor()), progress=False)
    assert sorted((run.recipe.seed, run.status) for run in made) == [(0, "done"), (1, "done"), (2, "done")]
    assert len(before & set(dead(workers))) == 1
    assert content(plan.store).differences(content(undisturbed)) == []
    assert killed.breakage().left_over(plan.store, workers.parent)[0] == []
    assert sweep.run_study(killed.plan(workers), progress=False) == []


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_a_killed_submitit_job_costs_nothing(workers, undisturbed, monkeypatch):
    import submitit

    monkeypatch.setattr(submitit.LocalJob, "_results_timeout_s", 1)  # for how long a dead job's answer is waited for
    executor = submitit.LocalExecutor(workers.parent / "logs")
    executor.update_parameters(timeout_min=5)
    plan = killed.plan(workers, seeds=[0, 1])
    made = sweep.run_study(plan, killed.Deadly(executor), progress=False)
    assert sorted((run.recipe.seed, run.status) for run in made) == [(0, "done"), (1, "done")]
    assert len(dead(workers)) == 1
    assert content(plan.store).differences(content(undisturbed, seeds=[0, 1])) == []
    assert killed.breakage().left_over(plan.store, workers.parent)[0] == []


def script_of_the_page() -> str:
    """The script of docs/clusters.md that starts a cluster of its own."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "clusters.md").read_text(), re.DOTALL)
    (found,) = (block for block in blocks if "LocalCluster" in block)
    return str(found)


def started(folder: Path, text: str) -> subprocess.CompletedProcess[str]:
    """A script in a folder with a study of two tiny runs."""
    (folder / "study.toml").write_text(
        '[base]\ntexts = "planted?pairs=300"\nstart = "scratch"\nsteps = 2\nbatch = 8\nrung = "L2H12"\n'
        "[[grid]]\nseed = [0, 1]\n"
    )
    (folder / "script.py").write_text(text)
    command = [sys.executable, "script.py"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=400, check=False)


@pytest.mark.slow
def test_the_pages_script_with_a_local_cluster_makes_the_runs(workers):
    done = started(workers.parent, script_of_the_page())
    assert done.returncode == 0, done.stderr
    assert [run.status for run in RunStore(workers.parent / "study").runs()] == ["done", "done"]


@pytest.mark.slow
def test_a_pool_in_a_script_without_the_guard_is_one_sentence(workers):
    text = "from concurrent.futures import ProcessPoolExecutor as Pool\nimport multiprocessing, drscale as ds\n"
    text += 'study = ds.load_study("study.toml")\nplan = ds.plan_study(study.recipes, study.store)\n'
    text += 'ds.run_study(plan, Pool(2, multiprocessing.get_context("spawn")))\n'
    done = started(workers.parent, text)
    assert done.returncode == 1
    last = done.stderr.rstrip().splitlines()[-1]
    assert last == "ValueError: workers: no worker process can start; is a script's work below `if __name__ ...`?"
    assert not list((workers.parent / "study").glob("*.json"))


# ------------------------------------------------------------------------------------------------------- stand-ins


class Job:
    """A job as submitit has it; it answers, or its process dies."""

    def __init__(self, dies, call, *given):
        self.dies, self.call, self.given, self.cancelled = dies, call, given, False

    def cancel(self):
        self.cancelled = True

    def done(self):
        return True

    def result(self):
        from submitit.core.utils import UncompletedJobError

        if self.dies:
            raise UncompletedJobError("has not produced any output")
        return self.call(*self.given)


class Cluster:
    """Its jobs die so often: those that make runs, and those that only look whether a process starts."""

    def __init__(self, runs, looks=0):
        self.left, self.submitted, self.jobs = {"runs": runs, "looks": looks}, [], []

    def submit(self, call, *given):
        kind = "runs" if given else "looks"
        self.left[kind] -= 1
        self.submitted.append(kind)
        self.jobs.append(Job(self.left[kind] >= 0, call, *given))
        return self.jobs[-1]


@pytest.mark.parametrize(("deaths", "status", "submitted"), [(1, "done", 2), (2, "failed", 3)])
def test_a_job_that_dies_is_submitted_once_more(tmp_path, monkeypatch, deaths, status, submitted):
    store, cluster = RunStore(tmp_path / "runs"), Cluster(deaths)
    monkeypatch.setattr(sweep, "run_one", lambda recipe, store, **options: Run(recipe, "done"))
    (made,) = sweep.run_study(killed.plan(store.path, seeds=[0]), cluster, progress=False)
    assert made.status == status
    assert len(cluster.submitted) == submitted
    if status == "failed":  # the record says so, and another try is the user's
        assert store.load(made.recipe) == made
        assert "died twice" in made.reason


def test_a_run_that_another_sweep_holds_did_not_fail(tmp_path):
    store, cluster = RunStore(tmp_path / "runs"), Cluster(2)
    (recipe,) = (planned := killed.plan(store.path, seeds=[0])).todo()
    with store.claim(recipe) as mine:  # its process died twice here, and somebody else is making it
        assert mine
        assert sweep.run_study(planned, cluster, progress=False) == []
    assert store.load(recipe) is None


def test_jobs_that_cannot_start_condemn_no_run(tmp_path):
    store, cluster = RunStore(tmp_path / "runs"), Cluster(9, 9)
    with pytest.raises(ValueError, match="Cluster: no worker process can start"):
        sweep.run_study(killed.plan(store.path), cluster, progress=False)
    assert store.runs() == []
    assert [job.cancelled for job in cluster.jobs] == [False] * 3 + [True] * 3 + [False]  # runs, runs again, a look


def test_a_job_that_raises_is_not_one_whose_process_died():
    from distributed.scheduler import KilledWorker
    from submitit.core.utils import FailedJobError, UncompletedJobError

    assert pools.is_death(KilledWorker("run", None, 3))
    assert pools.is_death(UncompletedJobError())
    assert not pools.is_death(FailedJobError())  # a subclass: the function itself raised
