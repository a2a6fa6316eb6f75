"""The waist: recipes print as they parse, records survive crashes and strangers, and what is missing stays missing."""

from __future__ import annotations

import json
import math
import os
import re
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_recipe import RECIPES

from drscale import runs
from drscale.files import write_atomic
from drscale.recipe import Recipe
from drscale.runs import Measure, Run, RunStore, StoreWarning
from drscale.stats.tables import warn_if_mixed
from drscale.study import plan_study

# ------------------------------------------------------------------------------------------------------------ records

NUMBERS = st.floats(min_value=-1e200, max_value=1e200)
MEASURE = st.builds(
    lambda ends, mean, n: Measure(mean, min(ends), max(ends), n),
    st.tuples(NUMBERS, NUMBERS),
    NUMBERS,
    st.integers(min_value=0),
)


@given(
    st.builds(
        Run,
        recipe=RECIPES,
        status=st.sampled_from(["done", "failed"]),
        reason=st.text(),
        train_pairs=st.none() | st.integers(min_value=0),
        temperature=st.none() | st.floats(min_value=0.01, max_value=100),
        measures=st.dictionaries(st.text(), st.dictionaries(st.text(), MEASURE, max_size=2), max_size=2),
        cost=st.dictionaries(st.sampled_from(["flops", "seconds"]), st.floats(min_value=0, max_value=1e200)),
    )
)
def test_a_record_reads_as_it_was_written(run: Run) -> None:
    assert Run.from_json(run.to_json()) == run


def finished(seed: int = 0, **more: Any) -> Run:
    measures = {"in_domain": {"entropy": Measure(2.0, 1.9, 2.1, 2)}, "ood:x": {"entropy": Measure(3.0, 2.9, 3.1, 1)}}
    given = {"fingerprint": "f", "parameters": {"layers": 10}, "cost": {"flops": 1e9}, "train_pairs": 7}
    return Run(Recipe(texts="planted", seed=seed), "done", **(given | {"measures": measures} | more))


ROWS = pd.DataFrame({"query": ["a", "b", "c"], "entropy": [1.0, 3.0, 3.0], "condition": "clean"}).assign(
    scope=["in_domain", "in_domain", "ood:x"]
)


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    return RunStore(tmp_path / "store")


def test_a_moving_weight_is_kept_and_a_record_without_one_is_as_it_was() -> None:
    run = finished(omega=[0.5, 0.55])
    assert Run.from_json(run.to_json()).omega == [0.5, 0.55]
    assert "omega" not in json.loads(finished().to_json())
    with pytest.raises(ValueError, match="omega must be a list of numbers"):
        Run.from_json(run.to_json().replace("0.55", '"much"'))


def test_a_run_comes_back_with_its_rows(store: RunStore) -> None:
    run = finished()
    path = store.save(run, ROWS)
    assert store.load(run.recipe) == run
    assert store.load(run.recipe.but(seed=9)) is None
    assert [p.name for p in sorted(store.path.iterdir())] == [path.name, path.with_suffix(".parquet").name]
    pd.testing.assert_frame_equal(store.queries(run.key), ROWS.assign(key=run.key))
    assert store.queries("texts=other,rung=none").empty


def test_what_is_missing_stays_missing(store: RunStore) -> None:
    store.save(finished())
    store.save(Run(Recipe(texts="planted", seed=1), "failed", reason="loss is NaN at step 3"))
    table = store.table().set_index("seed")
    assert list(table["status"]) == ["done", "failed"]
    assert table.loc[1, "reason"] == "loss is NaN at step 3"
    measured = ["train_pairs", "temperature", "params_layers", "flops", "in_domain_entropy", "in_domain_entropy_low"]
    assert table.loc[1, measured].isna().all()
    assert table.loc[0, "params_layers"] == 10
    assert math.isnan(table.loc[0, "temperature"])
    assert "ood:x_entropy" not in table
    domains = store.domains()
    assert set(domains["scope"]) == {"in_domain", "ood:x"}
    assert list(domains.loc[domains["scope"] == "ood:x", "n"]) == [1]


def test_curves_are_rows(store: RunStore) -> None:
    store.save(finished(curve=[{"step": 1, "loss": 3.0}, {"step": 2, "loss": 2.0, "watched": 4.0}]))
    curves = store.curves()
    assert list(curves["step"]) == [1, 2]
    assert curves["watched"].isna().tolist() == [True, False]


def test_a_folder_that_is_not_there_is_an_error_and_an_empty_one_is_empty(store: RunStore) -> None:
    with pytest.raises(ValueError, match="store'\\): no such folder"):
        store.table()
    store.path.mkdir()
    assert store.table().empty


def test_a_record_with_a_key_of_before_is_read(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    run = Run(Recipe(texts="pairs:faq.csv?query=question&passage=answer"), "failed", reason="for the test")
    path = store.save(run)
    path.write_text(path.read_text().replace(f'"key": "{run.key}"', f'"key": "{run.recipe.coded}"'))
    assert run.recipe.coded in path.read_text()
    assert [found.key for found in store.runs()] == [run.key]
    assert plan_study([run.recipe], store).rows["status"].tolist() == ["failed"]


BROKEN = {
    "truncated.json": finished(1).to_json()[:80],
    "empty.json": "",
    "list.json": "[1, 2]",
    "foreign.json": '{"loss": 3}',
    "old.json": finished(1).to_json().replace("drscale-run/1", "drscale-run/0"),
    "renamed.json": finished(2).to_json(),
    f"{finished(3).recipe.file_stem}.json": finished(3).to_json().replace('"done"', '"halfway"'),
    f"{finished(4).recipe.file_stem}.json": finished(4).to_json().replace('"steps": 1000', '"steps": 0'),
    f"{finished(5).recipe.file_stem}.json": finished(5).to_json().replace('"mean"', '"average"'),
    f"{finished(6).recipe.file_stem}.json": json.dumps(json.loads(finished(6).to_json()) | {"note": "mine"}),
    f"{finished(7).recipe.file_stem}.json": json.dumps(json.loads(finished(7).to_json()) | {"key": "rung=x"}),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_named_and_skipped(store: RunStore, name: str) -> None:
    store.save(finished())
    (store.path / name).write_text(BROKEN[name])
    with pytest.warns(StoreWarning, match=re.escape(name)) as seen:
        table = store.table()
    assert len(seen) == 1
    assert list(table["key"]) == [finished().key]


def test_bytes_that_are_no_text_are_named_and_skipped(store: RunStore) -> None:
    store.save(finished())
    (store.path / "binary.json").write_bytes(b"\xff\xfe\x00")
    with pytest.warns(StoreWarning, match=r"skipped .*binary\.json: "):
        assert len(store.runs()) == 1


def test_the_record_of_another_recipe_is_never_handed_out(store: RunStore) -> None:
    path = store.save(finished(1))
    path.rename(store.path / f"{finished(2).recipe.file_stem}.json")
    with pytest.raises(ValueError, match="named otherwise than its recipe"):
        store.load(finished(2).recipe)


def test_missing_and_broken_rows_are_named(store: RunStore) -> None:
    store.save(finished(0), ROWS)
    store.save(finished(1))
    broken = store.save(finished(2), ROWS).with_suffix(".parquet")
    broken.write_bytes(broken.read_bytes()[:40])
    with pytest.warns(StoreWarning) as seen:
        rows = store.queries()
    assert set(rows["key"]) == {finished(0).key}
    assert sorted("seed=1.parquet" in str(w.message) for w in seen) == [False, True]


# ---------------------------------------------------------------------------------------------------------- atomicity


KILLED = """
import os, signal, sys
from pathlib import Path
from drscale import runs
from drscale.runs import Recipe, Run, RunStore
Path.replace = lambda self, target: os.kill(os.getpid(), signal.SIGKILL)
RunStore(sys.argv[1]).save(Run(Recipe(texts="planted"), "failed", reason="never seen"))
"""


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_a_kill_in_the_middle_of_a_write_loses_nothing(store: RunStore) -> None:
    store.save(finished(), ROWS)
    died = subprocess.run([sys.executable, "-c", KILLED, str(store.path)], check=False)
    assert died.returncode == -signal.SIGKILL
    assert len(list(store.path.glob(".*.tmp"))) == 1, "the write did not get as far as its temporary file"
    assert store.runs() == [finished()]
    assert len(store.queries()) == len(ROWS)


# ------------------------------------------------------------------------------------------------------------- mixing


def test_mixed_texts_are_called_out() -> None:
    table = pd.DataFrame({"fingerprint": ["a", "b", None], "synthetic": [False, False, False]})
    with pytest.warns(StoreWarning, match="2 different text fingerprints"):
        warn_if_mixed(table)
    with pytest.warns(StoreWarning, match="measured and synthetic"):
        warn_if_mixed(pd.DataFrame({"synthetic": [True, False]}))


def test_one_source_is_no_mixture() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_if_mixed(pd.DataFrame({"fingerprint": ["a", "a", ""], "synthetic": [False, False, False]}))
        warn_if_mixed(pd.DataFrame({"loss": [1.0]}))


def test_tables_of_others_are_mixed_where_the_other_count_varies():
    sizes = pd.DataFrame({"params_layers": [1, 2, 3], "train_pairs": [10, 10, 20], "loss": 1.0})
    with pytest.warns(StoreWarning, match="2 different 'train_pairs': keep one, or fit a law of both"):
        warn_if_mixed(sizes, "params_layers")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_if_mixed(sizes, "params_layers", "train_pairs")
        warn_if_mixed(sizes.iloc[:2], "params_layers")


def test_size_and_pairs_of_anybodys_table_are_known_by_their_names():
    rows = pd.DataFrame({"parameters": [1e4, 1e5, 1e6], "pairs": [10, 20, 30], "loss": [3.0, 2.0, 1.5]})
    with pytest.warns(StoreWarning, match="3 different 'pairs': keep one, or fit a law of both"):
        warn_if_mixed(rows, "parameters")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_if_mixed(rows, "parameters", "pairs")
        warn_if_mixed(rows.assign(pairs=10), "parameters")
        warn_if_mixed(rows.rename(columns={"pairs": "d"}), "parameters")  # d may be a dimension
        warn_if_mixed(rows.assign(pairs=[[1], [2], [3]]), "parameters")


def test_scopes_that_no_run_has_are_refused(tmp_path):
    (tmp_path / "s").mkdir()
    for scopes in ("ood", ["adverserial"]):
        with pytest.raises(ValueError, match=r"scopes=.*: a list of adversarial, in_domain, ood"):
            RunStore(tmp_path / "s").table(scopes)


# ------------------------------------------------------------------------------------- records are checked when read

IMPOSSIBLE = {
    "nan": ('"mean": 2.0', '"mean": NaN', "finite"),
    "inf": ('"mean": 2.0', '"mean": 1e400', "finite"),
    "negative entropy": ('"mean": 2.0', '"mean": -2.0', "never below 0"),
    "low above high": ('"low": 1.0', '"low": 9.0', "low=9.0 above high"),
    "negative n": ('"n": 2', '"n": -2', "n=-2"),
    "negative parameters": ('"layers": 5', '"layers": -5', "parameters must be whole numbers"),
    "huge parameters": ('"layers": 5', '"layers": 1' + "0" * 400, "parameters must be whole numbers"),
    "pairs in words": ('"train_pairs": 7', '"train_pairs": "many"', "train_pairs='many'"),
    "fewer pairs than none": ('"train_pairs": 7', '"train_pairs": -4', "train_pairs=-4"),
    "fingerprint": ('"fingerprint": "f"', '"fingerprint": 5', "fingerprint=5"),
    "synthetic": ('"synthetic": false', '"synthetic": "no"', "synthetic='no'"),
    "temperature": ('"temperature": 1.5', '"temperature": "hot"', "temperature='hot'"),
    "versions": ('"versions": {}', '"versions": "abc"', "versions must be"),
    "no versions": ('"versions": {}', '"versions": null', "versions must be"),
    "commit": ('"commit": ""', '"commit": {}', "commit={}"),
    "finished": ('"finished": ""', '"finished": []', r"finished=\[\]"),
    "a column of the table": ('"seconds": 3.0', '"status": 3.0', "cost has status"),
    "twice": ('"status": "done"', '"status": "done", "status": "failed"', "'status' is named twice"),
    "deep": ('"curve": []', '"curve": ' + "[" * 100_000 + "]" * 100_000, "nested too deeply"),
}


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_a_value_that_no_run_can_have_is_refused_by_name(name: str) -> None:
    before, after, said = IMPOSSIBLE[name]
    measures = {"in_domain": {"entropy": Measure(2.0, 1.0, 3.0, 2)}}
    whole = {"parameters": {"layers": 5}, "train_pairs": 7, "fingerprint": "f", "temperature": 1.5}
    text = finished(measures=measures, cost={"seconds": 3.0}, **whole).to_json()
    assert Run.from_json(text).measures == measures
    assert before in text
    with pytest.raises(ValueError, match=said):
        Run.from_json(text.replace(before, after, 1))


def _rows(values: Sequence[float] = (1.0, 3.0), **more: Any) -> pd.DataFrame:
    told = {"query": [f"q{i}" for i in range(len(values))], "scope": "in_domain", "condition": "clean"}
    return pd.DataFrame({**told, "entropy": values, **more})


DAMAGED = {
    "no scope": _rows().drop(columns="scope"),
    "no query": _rows().drop(columns="query"),
    "no condition": _rows().drop(columns="condition"),
    "no rows": _rows([]),
    "half": _rows([2.0]),
    "twice": pd.concat([_rows(), _rows()]),
    "another run's": _rows([1.0, 3.5]),
    "nan": _rows([1.0, math.nan]),
    "inf": _rows([1.0, math.inf]),
    "text": _rows(["1", "x"]),
    "times 100": _rows([100.0, 300.0]),
    "foreign": pd.DataFrame({"a": [1], "b": [2]}),
    "another scope": _rows().assign(scope="ood:numpy"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_rows_that_are_not_their_record_s_are_named_and_skipped(store: RunStore, name: str) -> None:
    run = finished(measures={"in_domain": {"entropy": Measure(2.0, 1.0, 3.0, 2)}})
    path = store.save(run, _rows())
    assert len(store.queries()) == len(store.queries(run.key)) == 2
    DAMAGED[name].to_parquet(path.with_suffix(".parquet"))
    with pytest.warns(StoreWarning, match=r"\.parquet: skipped"):
        assert store.queries().empty


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
def test_a_pipe_in_a_store_is_no_record_and_nobody_waits_for_it(store: RunStore) -> None:
    store.save(finished())
    os.mkfifo(store.path / "pipe.json")
    with pytest.warns(StoreWarning, match=r"pipe.json: not a file"):
        assert len(store.runs()) == 1


def test_what_killed_writers_left_is_swept_when_it_is_old(store: RunStore) -> None:
    store.save(finished())
    old, new = store.path / ".a-1.tmp", store.path / ".b-2.tmp"
    for path, hours in ((old, 2), (new, 0)):
        path.write_text("half")
        os.utime(path, (time.time() - 3600 * hours,) * 2)
    store.check_writable()
    assert not old.exists()
    assert new.exists()


@pytest.mark.parametrize("folder", [".checkpoints", "models"])
def test_what_killed_writers_left_is_swept_in_the_folders_of_a_store(store: RunStore, folder: str) -> None:
    old = store.path / folder / ".a-1.tmp"
    old.parent.mkdir(parents=True)
    old.write_text("half")
    os.utime(old, (time.time() - 7200,) * 2)
    store.check_writable()
    assert not old.exists()


def test_the_file_that_tries_a_store_is_swept_like_others(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "unlink", lambda *a, **k: None)  # a kill between writing and deleting it
    store.check_writable()
    (left,) = store.path.iterdir()
    monkeypatch.undo()
    os.utime(left, (time.time() - 7200,) * 2)
    store.check_writable()
    assert not list(store.path.iterdir())


def test_a_store_is_tidied_of_what_finished_runs_need_no_more(store: RunStore) -> None:
    done, failed, held, wanted, again = (finished(seed) for seed in range(5))
    failed = replace(failed, status="failed", reason="out of memory")
    for run in (done, failed, held, wanted, again):
        store.save(run)
        for folder, end in ((".checkpoints", ".safetensors"), (".claims", "")):
            (store.path / folder).mkdir(exist_ok=True)
            (left := store.path / folder / f"{run.recipe.file_stem}{end}").touch()
            # A model that is made again has a checkpoint younger than its record.
            os.utime(left, (2.0**32, 2.0**32) if run is again else (1.0, 1.0))
    stranger = store.path / ".checkpoints" / f"{done.recipe.but(seed=9).file_stem}.safetensors"
    stranger.touch()
    with store.claim(held.recipe):
        store.tidy([wanted.recipe])
    left = {path.name for path in (store.path / ".checkpoints").iterdir()}
    assert left == {f"{run.recipe.file_stem}.safetensors" for run in (failed, held, wanted, again)} | {stranger.name}
    assert not (store.path / ".claims" / done.recipe.file_stem).exists()


def test_a_full_disk_is_told_with_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*kept\.txt'"):
        write_atomic(tmp_path / "kept.txt", "text")
    assert not list(tmp_path.iterdir())


def test_nothing_is_added_to_rows_that_are_not_their_record_s(store: RunStore) -> None:
    run = finished(measures={"in_domain": {"entropy": Measure(2.0, 1.0, 3.0, 2)}})
    path = store.save(run, _rows()).with_suffix(".parquet")
    _rows([1.0, 3.5]).to_parquet(path)
    more = runs.Found({"ood:x": {"entropy": Measure(1.0, 1.0, 1.0, 1)}}, _rows([1.0]).assign(scope="ood:x"), "later")
    with pytest.raises(ValueError, match="not the rows of this record; nothing was added"):
        store.add(run, "later", more)
    assert pd.read_parquet(path)["entropy"].tolist() == [1.0, 3.5]


@pytest.mark.parametrize("measured", ["entropy", "ndcg10"])
def test_rows_are_held_against_every_measure_of_their_scope(store: RunStore, measured: str) -> None:
    run = finished(measures={"varied": {measured: Measure(0.5, 0.1, 0.9, 2)}})  # a scope may have no entropy
    path = store.save(run, _rows()).with_suffix(".parquet")
    _rows().assign(scope="varied", **{measured: [0.25, 0.5]}).to_parquet(path)
    with pytest.warns(StoreWarning, match=f"2 rows of varied with a mean {measured} of 0.375, where the record has 2"):
        assert store.queries().empty
    _rows().assign(scope="varied", **{measured: [0.25, 0.75]}).to_parquet(path)
    assert len(store.queries()) == 2


def test_where_a_file_system_has_no_locks_everything_is_free(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    fcntl = pytest.importorskip("fcntl")

    def none(*args: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    with store.claim(Recipe()) as mine:
        assert mine


def filled(folder: Path, count: int) -> RunStore:
    """A store of so many small records."""
    store = RunStore(folder)
    for seed in range(count):
        measures = {
            "in_domain": {"entropy": Measure(seed + 0.1, 0.0, 1e3, 5)},
            "ood:a": {"mrr10": Measure(0.5, 0, 1, 3)},
        }
        store.save(Run(Recipe(texts="planted", seed=seed), "done", measures=measures))
    return store


def test_a_large_store_is_indexed_and_the_index_is_never_believed_blindly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "MANY", 10)
    store = filled(tmp_path, 12)
    before = store.table()
    path, whole = tmp_path / f"{runs.INDEX}-in_domain-ood-adversarial", tmp_path / runs.INDEX
    assert path.is_file()
    assert not whole.exists()
    assert "ood:a_mrr10" in store.table(["ood:a"])  # of scopes that the usual table lacks there is another index
    assert path.stat().st_size < whole.stat().st_size
    read = []
    monkeypatch.setattr(runs, "_read", lambda path, old=runs._read: read.append(path) or old(path))
    pd.testing.assert_frame_equal(store.table(), before)
    assert not read
    assert "ood:a_mrr10" in store.table(["ood:a"])
    store.save(Run(Recipe(texts="planted", seed=3), "failed", "by hand"))  # a changed file is read
    assert store.table()["status"].tolist().count("failed") == 1
    assert len(read) == 1
    (tmp_path / "texts=planted,rung=L2H128,seed=4.json").unlink()  # a deleted one is gone
    assert len(store.table()) == 11
    index = path.read_text()
    path.write_text(index.replace("7.1", "9.9", 1))  # a damaged index is made again
    assert 7.1 in store.table()["in_domain_entropy"].tolist()
    assert path.read_text() == index


def test_what_a_large_store_keeps_is_in_the_next_table_without_being_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "MANY", 10)
    store, news = filled(tmp_path, 14), tmp_path / runs.NEWS
    lines = news.read_text().splitlines()
    assert len(lines) == 5  # the tenth made it a large one, and those before have an index
    damaged = lines[1].replace('"status": "done"', '"status": "gone"')
    news.write_text("\n".join([lines[0], damaged, *lines[2:], lines[2][:90]]))
    read = []
    monkeypatch.setattr(runs, "_read", lambda path, old=runs._read: read.append(path) or old(path))
    table = store.table()
    assert len(read) == 1  # the one whose line is damaged
    assert table["status"].tolist() == ["done"] * 14
    assert not news.exists()  # the index has them now
    assert store.table().equals(table)
    assert len(read) == 1
    fresh = [json.loads(line.partition(" ")[2]) for line in lines]
    index = json.loads((tmp_path / f"{runs.INDEX}-in_domain-ood-adversarial").read_text().partition("\n")[2])
    assert all(index[name] == row for line in fresh for name, row in line.items())  # noted as it is read


def test_a_record_that_is_replaced_while_it_is_noted_is_read_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "MANY", 3)
    store, whole = filled(tmp_path, 4), runs._read

    def replacing(path: Path) -> Run:
        old = whole(path)
        monkeypatch.setattr(runs, "_read", whole)
        path.write_text(replace(old, status="failed", reason="by another").to_json())
        return old

    monkeypatch.setattr(runs, "_read", replacing)
    store.save(Run(Recipe(texts="planted", seed=9), "done"))
    assert store.table().set_index("seed").loc[9, "status"] == "failed"


def test_a_small_store_has_no_index(tmp_path: Path) -> None:
    assert len(filled(tmp_path, 3).table()) == 3
    assert not list(tmp_path.glob(f"{runs.INDEX}*"))


def test_a_list_of_runs_is_a_line_a_run_at_a_prompt():
    measures = {"in_domain": {"entropy": Measure(2.0, 1.9, 2.1, 50)}}
    run = Run(Recipe(texts="planted"), "done", measures=measures, curve=[{"step": 1.0, "loss": 3.0}] * 100)
    assert repr([run, run]) == f"[<Run {run}>, <Run {run}>]"
    assert len(repr(run)) < 100
