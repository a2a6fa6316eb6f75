"""What the README promises, tried: its code runs, its study loads, its targets and files exist."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from conftest import NO_TORCH, ROOT
from scripts import script

import drscale as ds
from drscale.cli import main
from drscale.laws.result import LawWarning
from drscale.recipe import STRATEGIES
from drscale.runs import CHANCE
from drscale.study import load_study, plan_study
from drscale.sweep import run_study
from drscale.texts import benchmark, collection

README = (ROOT / "README.md").read_text()


def blocks(language: str, holding: str = "") -> list[str]:
    return [b for b in re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL) if holding in b]


def test_six_lines_lead_from_a_table_to_latex(tmp_path: Path) -> None:
    (code,) = blocks("python", "ds.allocate")
    tree = ast.parse(code)
    assert sum(isinstance(node, ast.Import | ast.ImportFrom) for node in ast.walk(tree)) == 1
    assert len(tree.body) == 7
    given = f"import sys\n{NO_TORCH}\n{code.replace('.pdf', '.html')}"
    done = subprocess.run([sys.executable, "-c", given], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "tabular" in (tmp_path / "law.tex").read_text()
    assert "tabular" in (tmp_path / "plan.tex").read_text()
    assert "plotly" in (tmp_path / "plan.html").read_text()


def test_the_readmes_plan_is_what_it_says() -> None:
    fit = ds.fit_law(ds.example_runs(), ds.additive_law, warn=False)
    plan = ds.allocate(fit.curve(), budget=5000, prices=ds.paper_prices())
    (size, share, parameter) = re.findall(
        r"plan names ([\d.]+K) parameters.*?\$(\d,\d+) of.*?\$(0\.\d+) a\s+parameter", README, re.DOTALL
    )[0]
    assert f"buys {size} parameters" in str(plan)
    assert f"${share} for encoding" in str(plan)
    assert float(parameter) == round(ds.paper_prices().per_parameter, 2)


def test_the_records_of_a_study_need_three_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = blocks("python", "ds.converged_runs")
    *body, last = code.strip().splitlines()
    monkeypatch.chdir(ROOT)
    names: dict[str, object] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LawWarning)
        exec("\n".join(body), names)
        assert isinstance(eval(last, names), go.Figure)


def test_queries_of_a_model_of_ones_own_are_texts_of_a_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = blocks("python", "write_dpr(")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(code, names)
    assert names["texts"].train.queries.num_rows > 400  # type: ignore[attr-defined]
    made, lists = importlib.import_module("drscale.labels").read_dpr("train.jsonl")
    assert len(lists) == made.queries.num_rows == 600


def test_a_kept_model_goes_out_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = blocks("python", "to_sentence_transformers")
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    assert "`texts=planted" in (tmp_path / "build" / "out" / "model" / "README.md").read_text()


def test_the_analyst_needs_three_lines_and_no_torch(tmp_path: Path) -> None:
    sizes = np.geomspace(1e4, 1e7, 8)
    noise = np.random.default_rng(0).normal(1, 0.01, len(sizes))
    table = pd.DataFrame({"parameters": sizes, "loss": ((3e4 / sizes) ** 0.4 + 0.3) * noise})
    table.to_csv(tmp_path / "runs.csv", index=False)
    (code,) = blocks("python", "pd.read_csv")
    given = f"import sys\n{NO_TORCH}\n{code}"
    done = subprocess.run([sys.executable, "-c", given], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "tabular" in (tmp_path / "law.tex").read_text()


@pytest.mark.slow
def test_any_encoder_is_measured() -> None:
    class Model:
        def encode(self, texts: list[str]) -> np.ndarray:
            return np.array([[len(t), t.count(" "), 1.0] for t in texts], dtype=np.float32)

    (code,) = blocks("python", "score_benchmark(model,")
    names: dict[str, object] = {"model": Model()}
    exec(code.replace('"docs"', '"planted"'), names)
    assert {"in_domain", "ood"} <= names["scored"].measures.keys()  # type: ignore[attr-defined]
    assert "start=checkpoint" in str(names["recipe"])


def test_any_retriever_gets_its_drop_rates() -> None:
    (code,) = blocks("python", "drop_rates")
    names: dict[str, object] = {"model": bag_of_letters, "benchmark": benchmark}
    *body, last = code.replace('"docs"', '"planted"').strip().splitlines()
    exec("\n".join(body), names)
    drops = eval(last, names)
    assert set(drops["model"]) == {"mine", "bm25"}
    assert drops.groupby("model").size().tolist() == [5, 5]


def test_two_runs_and_their_qrels_are_compared(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "tornado.qrels").write_text("".join(f"q{i} 0 d{i} 1\n" for i in range(30)))
    for name, luck in (("bm25", 3), ("mine", 6)):
        first = [i + int(rng.integers(luck)) for i in range(30)]
        lines = [f"q{i} Q0 d{(first[i] + j) % 30} {j + 1} {9 - j} {name}\n" for i in range(30) for j in range(5)]
        (tmp_path / f"{name}.run").write_text("".join(lines))
    (code,) = blocks("python", "from_trec")
    given = f"import sys\n{NO_TORCH}\n{code.replace('.pdf', '.html')}"
    done = subprocess.run([sys.executable, "-c", given], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "bm25 & mine" in (tmp_path / "contrasts.tex").read_text()
    assert "plotly" in (tmp_path / "means.html").read_text()


def bag_of_letters(texts: list[str]) -> np.ndarray:
    return np.array([[text.count(letter) for letter in "abcdefghijklmnopqrstuvwxyz"] for text in texts], dtype=float)


@pytest.mark.slow
def test_the_study_of_seven_hundred_pairs_beats_a_guess_and_gains_with_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    collection("docs:numpy").table().sample(700, random_state=0).to_csv("faq.csv", index=False)
    (tmp_path / "study.toml").write_text(blocks("toml")[0])
    study = load_study(tmp_path / "study.toml")
    few = [recipe for recipe in study.recipes if recipe.seed == 0 and recipe.rung in ("L2H16", "L2H64")]
    runs = run_study(plan_study(few, study.store), progress=False)
    small, large = (run.measures["in_domain"]["entropy"] for run in runs)
    assert large.high < small.mean
    assert small.high < CHANCE


def test_the_study_loads_and_is_planned(tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text(blocks("toml")[0])
    study = load_study(tmp_path / "study.toml")
    assert len(study.recipes) == 12
    assert "12 to do" in str(plan_study(study.recipes, study.store))
    (tmp_path / "labels.toml").write_text(blocks("toml")[1])
    labels = load_study(tmp_path / "labels.toml")
    assert "3 to do" in str(plan_study(labels.recipes, labels.store))


def test_the_study_in_python_is_planned_and_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = blocks("python", "register_strategy")
    file = tmp_path / "study.py"
    file.write_text(code.replace("steps=60", "steps=2"))
    try:
        assert main(["plan", str(file)]) == 0
        assert "2 to do" in capsys.readouterr().out
        assert main(["sweep", str(file)]) == 0
        assert capsys.readouterr().out.endswith("2 done, 0 failed\n")
        file.write_text(code.replace("steps=60", "steps=3").replace("views.targets[:, None]", "views.targets"))
        assert main(["sweep", str(file)]) == 1
        (line,) = re.findall(r"its line, `(study\.py:\d+: )", README)
        assert f"failed, {line}" in capsys.readouterr().out
    finally:
        STRATEGIES.pop("hinge", None)


@pytest.mark.parametrize("code", blocks("python"))
def test_what_is_imported_exists(code: str) -> None:
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom):
            module = importlib.import_module(str(node.module))
            for alias in node.names:
                if not hasattr(module, alias.name):
                    importlib.import_module(f"{node.module}.{alias.name}")


@pytest.mark.parametrize(("target", "extras"), [("lab", "lab"), ("test", "lab,test")])
def test_the_lab_installs_nothing_that_only_tests_need(tmp_path: Path, target: str, extras: str) -> None:
    command = ["make", "-n", target, f"VENV={tmp_path / 'venv'}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert re.findall(r"install .*-e '\.\[([\w,]+)\]'", done.stdout) == [extras]


def test_targets_and_files_exist() -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert set(re.findall(r"\bmake (\w+)", README)) <= targets
    files = re.findall(r"\]\(([^)#:]+)\)", README) + re.findall(r"`((?:tests|data|drscale)/[\w./-]+)`", README)
    assert [f for f in files if not (ROOT / f).exists()] == []


def test_the_page_on_large_collections_has_the_table_of_its_records() -> None:
    module = script("benchmarks/size.py")
    rows = pd.read_csv(ROOT / "data" / "scores" / "size.csv")
    assert module.table_text(rows) in (ROOT / "docs" / "size.md").read_text()
