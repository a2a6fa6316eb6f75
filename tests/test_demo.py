"""The first study: runs on record, a page with both laws and the attack; it goes on where it was stopped."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import ROOT

from drscale import cli, demo
from drscale.runs import RunStore


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "a & b"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "RUNGS", ("L2H12", "L2H16", "L2H24"))
        patch.setattr(demo, "SHARES", (4, 2, 1))  # nine runs are enough here
        return demo.demo(folder, texts="planted?pairs=700", steps=3, progress=False)


def test_the_page_tells_of_the_runs_the_laws_and_the_attack(page: Path) -> None:
    text = page.read_text()
    runs = RunStore(page.parent / "runs").table()
    assert len(runs) == 9
    assert (runs["status"] == "done").all()
    assert "Synthetic texts." in text
    assert f"{runs[demo.Y].min():.2f} nats" in text
    for words in ("additive_law", "joint_law", "Doubts about the joint law", "words_changed", "What to do next"):
        assert words in text
    assert text.count('class="plotly-graph-div"') == 2
    assert "a &amp; b&#x27;/runs" in text
    assert "<script src=" not in text  # nothing asks another host


def test_it_goes_on_where_it_was(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*given: object, **options: object) -> None:
        raise AssertionError("a finished run was made again")

    monkeypatch.setattr("drscale.sweep.run_one", never)
    monkeypatch.setattr(demo, "RUNGS", ("L2H12", "L2H16", "L2H24"))
    monkeypatch.setattr(demo, "SHARES", (4, 2, 1))
    assert demo.demo(page.parent, texts="planted?pairs=700", steps=3, progress=False) == page


def test_it_is_told_as_json(page: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(demo, "RUNGS", ("L2H12", "L2H16", "L2H24"))
    monkeypatch.setattr(demo, "SHARES", (4, 2, 1))
    monkeypatch.setattr(demo.first_study, "__kwdefaults__", {**demo.first_study.__kwdefaults__, "steps": 3})
    assert cli.main(["demo", str(page.parent), "--texts", "planted?pairs=700", "--json"]) == 0
    seen = capsys.readouterr()
    assert "loading torch and reading planted?pairs=700" in seen.err.splitlines()[0]
    told = json.loads(seen.out)
    assert (told["command"], told["page"], told["runs"]) == ("demo", str(page.resolve()), 9)
    assert told["store"] == str(page.resolve().parent / "runs")
    assert told["seconds"] > 0
    assert [law["name"] for law in told["laws"]] == ["additive_law", "joint_law"]
    assert all(law["M_low"] is None or law["M"] > 0 for law in told["laws"])
    assert told["choice"] in page.read_text().replace("&#x27;", "'")
    assert set(told["doubts"]) == {"additive_law", "joint_law"}


def test_without_torch_that_is_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "find_spec", lambda name: None)
    assert cli.main(["demo", str(tmp_path / "d")]) == 2
    said = capsys.readouterr().err
    assert "torch is not installed; this brings it: pip install" in said
    assert not (tmp_path / "d").exists()


def test_git_ignores_its_folder_in_a_clone() -> None:
    assert "drscale-demo/" in (ROOT / ".gitignore").read_text().splitlines()
    assert cli._parsers()[0].parse_args(["demo"]).folder == Path("drscale-demo")


def test_too_few_pairs_are_refused_in_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["demo", str(tmp_path / "d"), "--texts", "planted?pairs=40"]) == 2
    said = capsys.readouterr().err
    assert "training pairs are too few for a demo" in said
    assert len(said.strip().splitlines()) == 1
