"""The analyst's verbs: what they print and write, exit codes, one sentence for a mistake, and no torch."""

from __future__ import annotations

import importlib.util
import io
import json
import logging
import os
import re
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import NO_TORCH, ROOT

from drscale.budget.plan import allocate
from drscale.budget.prices import paper_prices
from drscale.cli import _parsers, main
from drscale.commands import law, tables
from drscale.commands.apps import surroundings
from drscale.commands.arguments import LAWS, SHELLS, SPACES, Impossible, UserError
from drscale.commands.arguments import _amount as amount
from drscale.commands.cells import Signs, counts_of
from drscale.commands.completion import script
from drscale.laws import fit as laws
from drscale.laws.compare import compare_laws
from drscale.laws.plot import law_figure
from drscale.mixed.mteb import from_mteb
from drscale.plotting import files
from drscale.runs import example_runs
from drscale.stats.columns import loss_of, pairs_of, size_of, unit_doubt, unit_of
from drscale.stats.tables import shared_word

OWN = ROOT / "data" / "examples" / "runs.csv"
TREC = ROOT / "data" / "examples" / "trec"


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def sizes(tmp_path: Path) -> Path:
    """Two series of eight sizes by two seeds of a planted law, (3e4 / N)^0.4 + 0.3, one of them 20% above."""
    rng, N = np.random.default_rng(0), np.tile(np.geomspace(1e4, 1e7, 8).round(), 2)
    frames = [
        pd.DataFrame(
            {"parameters": N, "loss": ((3e4 / N) ** 0.4 + 0.3) * up * rng.normal(1, 0.01, 16), "strategy": name}
        )
        for name, up in (("standard", 1.0), ("adversarial", 1.2))
    ]
    path = tmp_path / "runs.csv"
    pd.concat(frames).to_csv(path, index=False)
    return path


def said(capsys: pytest.CaptureFixture[str], *words: object, status: int = 0) -> str:
    """What a command prints; nothing goes to the standard error."""
    assert main(list(map(str, words))) == status
    seen = capsys.readouterr()
    assert seen.err == ""
    return seen.out


def refused(capsys: pytest.CaptureFixture[str], *words: object, status: int = 2) -> str:
    """The one sentence with which a command ends."""
    left: object = None
    try:
        left = main(list(map(str, words)))
    except SystemExit as e:
        left = e.code
    assert left == status
    seen = capsys.readouterr()
    assert seen.out == ""
    assert len(seen.err.splitlines()) == 1
    assert "Traceback" not in seen.err
    return seen.err


@pytest.mark.parametrize(("terminal", "more"), [(True, []), (True, ["--quiet"]), (False, [])])
def test_what_takes_long_is_said_on_a_terminal(
    terminal: bool, more: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class AtOnce:
        """A timer that does not wait, so that no work is too quick for it."""

        def __init__(self, _: float, call: Any, words: list[str]) -> None:
            self.start, self.cancel = lambda: call(*words), lambda: None

    monkeypatch.setattr(tables.threading, "Timer", AtOnce)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    assert main(["fit", str(OWN), *more]) == 0
    shown = capsys.readouterr().err
    assert ("comparing" in shown and "finding the intervals ..." in shown) == (terminal and not more)
    assert logging.getLogger("drscale").handlers == []


def test_an_option_before_the_command_is_sent_behind_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert "options stand behind the command: drscale status ... --quiet" in refused(capsys, "--quiet", "status", ".")


# ---------------------------------------------------------------------------------------------------------------- fit


def test_a_law_is_chosen_and_its_planted_numbers_come_back(sizes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("fit", sizes, "--where", "strategy == 'standard'", "--json", "--out", "law.tex", "--quiet")
    found = json.loads(said(capsys, *words))
    assert found["law"] == "size_law"
    assert found["comparison"]["decided"]
    assert {row["law"] for row in found["comparison"]["laws"]} == {"size_law", "broken_law"}
    for row, truth in zip(found["parameters"], (3e4, 0.4, 0.3), strict=True):
        assert row["low"] <= truth <= row["high"]
    assert found["doubts"] == []
    assert found["goodness"]["runs"] == 16
    assert "tabular" in Path("law.tex").read_text()


def test_a_fit_says_what_it_found_and_what_speaks_against_it(capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, "fit", OWN, "--law", "additive_law")
    assert text.startswith("additive_law of test_loss: (10.9K / N)^0.51 + (330K / D)^0.22 + 0\n")
    assert "N is 'parameters', D is 'pairs'; 40 runs at 20 levels" in text
    assert re.search(r"^mu +0\.5075 +0\.3159 +0\.7209$", text, flags=re.MULTILINE)
    doubts = text.partition("Doubts:\n")[2].splitlines()
    fit = laws.fit_law(pd.read_csv(OWN), laws.additive_law, ("parameters", "pairs"), "test_loss", warn=False)
    assert doubts == [f"  - {sentence}." for sentence in fit.doubts]


def test_the_law_of_both_is_the_one_that_choose_law_takes(capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(said(capsys, "fit", ROOT / "drscale" / "example_runs.csv", "--json"))
    assert (found["law"], found["x"]) == ("additive_law", {"N": "params_layers", "D": "train_pairs"})
    assert found["comparison"]["decided"]


def test_runs_that_do_not_belong_together_are_a_doubt(capsys: pytest.CaptureFixture[str]) -> None:
    assert "one fit of 6 different 'pairs': keep one with --where" in said(
        capsys, "fit", OWN, "--x", "parameters", "--law", "size_law"
    )
    text = said(capsys, "fit", ROOT / "drscale" / "example_runs.csv", "--law", "size_law")
    assert 'keep one with --where "pairs == 0"' in text


def test_a_law_for_each_group(sizes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("fit", sizes, "--by", "strategy", "--out", "law.csv", "--out", "law.html", "--quiet")
    text = said(capsys, *words)
    assert text.startswith("size_law of loss for each strategy: (coefficient / N)^exponent + delta; N is 'parameters'")
    table = pd.read_csv("law.csv")
    assert list(table["strategy"]) == ["standard", "adversarial"]
    assert table["exponent"].to_numpy() == pytest.approx([0.4, 0.4], abs=0.03)
    assert "plotly" in Path("law.html").read_text()


def test_what_is_left_out_of_groups_is_said(sizes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = pd.read_csv(sizes)
    table.loc[:3, "strategy"] = None
    table.loc[20, "loss"] = None
    table.to_csv(sizes, index=False)
    assert "4 rows are left out: their strategy is empty" in said(capsys, "fit", sizes, "--by", "strategy")
    found = json.loads(said(capsys, "fit", sizes, "--by", "strategy", "--json"))
    text = json.dumps(found)
    assert "their strategy is empty" in text
    assert "loss" in text.split("doubts", 1)[1]


def test_a_law_of_one_column_refuses_two(capsys: pytest.CaptureFixture[str]) -> None:
    sentence = refused(capsys, "fit", OWN, "--x", "parameters,pairs", "--law", "size_law")
    assert "size_law takes one column" in sentence


def test_a_group_without_a_law_is_said_and_shows_in_the_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, "fit", OWN, "--x", "parameters", "--law", "size_law", "--by", "pairs", status=1)
    assert "Not fitted:\n  - 528: size_law of test_loss: column 'parameters' has 2 different values" in text


def test_columns_are_lettered_or_told_by_their_names(capsys: pytest.CaptureFixture[str]) -> None:
    for x in ("parameters,pairs", "pairs,parameters", "D=pairs,N=parameters"):
        found = json.loads(said(capsys, "fit", OWN, "--x", x, "--law", "joint_law", "--json"))
        assert found["x"] == {"N": "parameters", "D": "pairs"}
    found = json.loads(said(capsys, "fit", OWN, "--x", "pairs", "--law", "data_law", "--json"))
    assert found["x"] == {"D": "pairs"}


def test_where_the_runs_do_not_decide_there_are_two_plans(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("allocate", OWN, "--where", "pairs > 2000", "--budget", 500, "--prices", "paper", "--draws", 0, "--json")
    found = json.loads(said(capsys, *words))
    assert not found["decided"]
    assert [plan["law"] for plan in found["plans"]] == ["joint_law", "additive_law"]
    assert "the runs do not decide between joint_law and additive_law" in found["plans"][0]["doubts"]


def test_a_law_that_is_the_only_one_is_said_to_be(capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, "fit", OWN, "--where", "parameters > 90000 and pairs == 16915")
    assert "Laws compared: size_law is the only law of 'parameters' alone that these runs allow." in text
    assert "parameters has only 5 levels for 3 unknowns" in text


@pytest.mark.parametrize("words", [(), ("--thousands", ".")])
def test_a_dash_is_a_missing_number_whatever_the_signs(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    rows = ["1000;2,5;-", "2000;2,2;-", "4000;2,0;b", "8000;1,8;b", "{};1,7;b", "32000;1,6;b", "64000;1,5;b"]
    if words:
        rows = [f"{row[: row.index('000;')]}.{row[row.index('000;') :]}" if "000;" in row else row for row in rows]
    for name, cell in (("dash.csv", "-"), ("empty.csv", "")):
        Path(name).write_text("\n".join(["pairs;loss;kind", *(row.format(cell) for row in rows)]) + "\n")
    dash, empty = (said(capsys, "fit", name, *words) for name in ("dash.csv", "empty.csv"))
    assert dash == empty
    assert "1 of 7 runs have no 'pairs' and are left out (row 6)" in dash
    assert "5 runs at 5 levels" in said(capsys, "fit", "dash.csv", *words, "--where", "pairs > 2000 or loss > 2.4")
    signs = Signs(";", ".", ",") if words else Signs()
    assert len(tables.read_runs("dash.csv", signs)["kind"].dropna()) == 7  # in a column of words it is one


def test_python_names_the_dash_and_a_budget_with_a_dot_is_asked_for_again(capsys: pytest.CaptureFixture[str]) -> None:
    frame = two_axes("parameters", "pairs")
    texts = frame.assign(loss=frame["loss"].map("{:.4f}".format))
    texts.loc[2, "loss"] = "-"
    with pytest.raises(
        ValueError, match=r"column 'loss' is '-' in row 2 \(1 such of \d+\), .* na_values=\['-'\]\) and"
    ):
        laws.fit_law(texts, laws.additive_law, {"N": "parameters", "D": "pairs"}, "loss")
    texts.loc[4, "loss"] = "no idea"  # what is wrong is named, and not what is missing
    texts.to_csv("texts.csv", index=False)
    assert "column 'loss' is 'no idea' in row 6 (1 such of " in refused(capsys, "fit", "texts.csv")
    frame.to_csv("runs.csv", index=False)
    error = refused(capsys, "allocate", "runs.csv", "--prices", "paper", "--budget", "5.000")
    assert "argument --budget: '5.000': write 5000 or 5 for it" in error


def test_groups_are_printed_with_the_form_of_their_law(capsys: pytest.CaptureFixture[str]) -> None:
    text = said(
        capsys, "fit", OWN, "--x", "parameters", "--where", "pairs == 16915", "--by", "seed", "--law", "size_law"
    )
    assert text.startswith("size_law of test_loss for each seed: (coefficient / N)^exponent + delta; N is 'parameters'")


def test_the_loss_is_known_by_its_bare_name_first(capsys: pytest.CaptureFixture[str]) -> None:
    frame = two_axes("parameters", "pairs")
    both = frame.assign(loss_nats=frame["loss"] + 1)
    both[["parameters", "pairs", "loss_nats", "loss"]].to_csv("both.csv", index=False)
    assert said(capsys, "fit", "both.csv").partition(":")[0].endswith(" of loss")


def test_a_loss_that_rises_is_no_score_and_a_law_without_a_plan_stops_no_other(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = two_axes("parameters", "pairs")
    frame.assign(loss=1 / frame["loss"]).to_csv("rise.csv", index=False)
    error = refused(capsys, "fit", "rise.csv", status=1)
    assert error == "drscale fit: loss does not fall with parameters or pairs: no law fits\n"
    frame.to_csv("runs.csv", index=False)
    first = law._fitted

    def fitted(series: Any, one: Any, options: Any) -> Any:
        if one is laws.joint_law:
            raise Impossible("no plan today")
        return first(series, one, options)

    monkeypatch.setattr(law, "_fitted", fitted)
    compared = pd.DataFrame({"law": ["joint_law", "additive_law"], "r2": [1, 1]})
    undecided = SimpleNamespace(law=laws.joint_law, decided=False, compared=compared)
    monkeypatch.setattr(law, "choose_law", lambda *_, **__: undecided)
    words = ("allocate", "runs.csv", "--prices", "paper", "--budget", "1000", "--draws", "0")
    assert "there is no plan by joint_law: no plan today." in said(capsys, *words)
    monkeypatch.setattr(law, "_fitted", lambda *_: (_ for _ in ()).throw(Impossible("none")))
    none = "there is no plan by joint_law: none; there is no plan by additive_law: none"
    assert none in refused(capsys, *words, status=1)


def test_a_score_that_rises_has_no_law_and_a_loss_is_known_in_nats(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = pd.read_csv(OWN).rename(columns={"test_loss": "Loss (nats)"})
    runs["score"] = 1 / runs["Loss (nats)"]
    runs["Loss (nats)"] = runs["Loss (nats)"].astype(str)
    runs.loc[3, "Loss (nats)"] = "-"
    runs.to_csv("runs.csv", index=False)
    text = said(capsys, "fit", "runs.csv", "--out", "law.tex", "--quiet")
    assert text.startswith("additive_law of Loss (nats): ")
    assert "1 of 40 runs have no 'Loss (nats)' and are left out (row 5)" in text
    assert r"In brackets: 95\% intervals." in Path("law.tex").read_text()
    assert refused(capsys, "fit", "runs.csv", "--y", "score", status=1) == (
        "drscale fit: score does not fall with parameters or pairs: no law fits; if a larger score is better, "
        "add a column of 1 - score and fit that\n"
    )
    plan = said(capsys, "allocate", "runs.csv", "--prices", "paper", "--budget", "1e9", "--draws", "0")
    assert "--within box keeps the plan inside the sizes and pairs of the runs." in plan
    inside = ("--budget", "1e9", "--within", "box")
    assert "--within box" not in said(capsys, "allocate", "runs.csv", "--prices", "paper", *inside, "--draws", "0")


def test_a_figure_without_a_browser_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(files, "browser", lambda: None)
    error = refused(capsys, "fit", OWN, "--law", "additive_law", "--out", "law.pdf")
    assert error.startswith("drscale fit: no browser found to draw PDF: install Chromium")


# -------------------------------------------------------------------------------------------------------- what is read


def written(name: str, text: str | bytes) -> Path:
    path = Path(name)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "parameters;loss;\n1000;2,5;\n2000;1,5;\n"),
        ("a.csv", "sep=;\nparameters;loss\n1000;2.5\n2000;1.5\n"),
        ("a.tsv", "parameters\tloss\n1000\t2.5\n\n2000\t1.5\n"),
        ("a.csv", "\ufeffparameters, loss\n1000, 2.5\n2000, 1.5\n"),
        ("a.csv", "parameters,loss\n1000,2.5\n2000,1.5\n".encode("utf-16")),
        ("a.jsonl", '{"parameters": 1000, "loss": 2.5}\n{"parameters": 2000, "loss": 1.5}\n'),
        ("a.json", '{"runs": [{"parameters": 1000, "loss": 2.5}, {"parameters": 2000, "loss": 1.5}]}'),
    ],
)
def test_tables_of_many_kinds_are_read(name: str, text: str | bytes) -> None:
    frame = tables.read_runs(written(name, text))
    assert frame.columns.tolist() == ["parameters", "loss"]
    assert frame.to_numpy().tolist() == [[1000, 2.5], [2000, 1.5]]


def test_a_table_comes_from_the_standard_input(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(OWN.read_bytes())))
    assert said(capsys, "export", "-", "--to", "a.csv") == "wrote a.csv: 40 rows, 7 columns\n"


def test_rows_are_numbered_as_in_a_spreadsheet(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [f"{10 ** (3 + i)},{2 - 0.1 * i}" for i in range(8)]
    rows[2] = "1e5,"
    path = written("gap.csv", "\n".join(["parameters,loss", *rows]))
    text = said(capsys, "fit", path, "--law", "size_law")
    assert "1 of 8 runs have no 'loss' and are left out (row 4)" in text
    rows[5] = "1e8,0"
    path = written("zero.csv", "\n".join(["parameters,loss", *rows]))
    assert "column 'loss' is 0 in row 7 (1 such of 7)" in refused(capsys, "fit", path)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "bad.csv: the file is empty"),
        ("parameters,loss\n", "bad.csv: the table has a header and no row"),
        ("parameters,loss\n1,2\n1,2,3\n", "bad.csv:3: 3 fields where the header names 2"),
        ("parameters,loss\n1,2,3\n1,2,3\n", "bad.csv: its rows have more fields than the header names"),
        ("loss,loss\n1,2\n", "bad.csv: the header names 'loss' twice"),
        ("parameters,loss\n1,2\n2,diverged\n", "bad.csv: column 'loss' is 'diverged' in row 3"),
        ("parameters,loss\n1,\n2,\n", "column 'loss' is empty in all of the 2 rows"),
        ("parameters,score\n1,2\n", "--y is needed: bad.csv has no column called in_domain_entropy"),
        ("width,loss\n1,2\n", "--x is needed: name the column of the size or the pairs"),
        (b"a\0b", "bad.csv: not a text file"),
    ],
)
def test_a_bad_table_is_one_sentence(text: str | bytes, sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert refused(capsys, "fit", written("bad.csv", text)).startswith(f"drscale fit: {sentence}")


def test_one_row_is_a_fit_that_is_impossible(capsys: pytest.CaptureFixture[str]) -> None:
    error = refused(capsys, "fit", written("one.csv", "parameters,loss\n1000,2\n"), status=1)
    assert "column 'parameters' has only one value: a law with 3 unknowns (M, mu, delta) needs at least 4" in error


def test_columns_that_count_in_thousands_by_their_names_are_priced_as_single_ones(
    capsys: pytest.CaptureFixture[str],
) -> None:
    single = two_axes("parameters", "pairs")
    single.to_csv("single.csv", index=False)
    names = {"parameters": "Params (M)", "pairs": "Training Pairs (k)"}
    many = single.assign(parameters=single["parameters"] / 1e6, pairs=single["pairs"] / 1e3).rename(columns=names)
    many.to_csv("many.csv", index=False)
    options = ("--law", "additive_law", "--budget", "5000", "--prices", "paper", "--draws", "0")
    plans = [
        json.loads(said(capsys, "allocate", f"{name}.csv", *options, "--json"))["plans"][0]
        for name in ("single", "many")
    ]
    assert plans[1]["N"] == pytest.approx(plans[0]["N"], rel=1e-4)
    assert plans[1]["D"] == pytest.approx(plans[0]["D"], rel=1e-4)
    text = said(capsys, "allocate", "many.csv", *options)
    assert "column 'Training Pairs (k)' counts in units of 1,000: 2 is read as 2,000" in text
    assert "column 'Params (M)' counts in units of 1,000,000: 0.05 is read as 50,000" in text
    assert "D is 'Training Pairs'" in text
    single.rename(columns={"parameters": "params_m"}).to_csv("perhaps.csv", index=False)
    doubt = "column 'params_m' is read as it stands; if it counts in units of 1,000,000, call it 'params (M)'"
    assert doubt in said(capsys, "allocate", "perhaps.csv", *options)
    fit = laws.fit_law(many, laws.additive_law, x=tuple(names.values()), y="loss", warn=False)
    plain = laws.fit_law(single, laws.additive_law, x=("parameters", "pairs"), y="loss", warn=False)
    assert fit.best_values == pytest.approx(plain.best_values, rel=1e-6)  # read as the command reads it
    assert dict(fit.fitted.columns) == {"N": "Params", "D": "Training Pairs"}
    doubt = "column 'Training Pairs (k)' counts in units of 1,000: 2 is read as 2,000"
    bare = said(capsys, "fit", "many.csv", "--x", "N=Params,D=Training Pairs", "--law", "additive_law")
    assert "D is 'Training Pairs'" in bare  # a column answers to the name that the output gives it
    assert doubt in fit.doubts
    assert doubt in allocate(fit.curve(), 5000, paper_prices()).flags


def test_what_draws_a_column_or_predicts_it_counts_as_the_column_does() -> None:
    single = two_axes("parameters", "pairs").query("pairs == pairs.max()")
    many = single.assign(**{"Params (M)": single["parameters"] / 1e6})
    tables_ = [compare_laws(t, [laws.size_law], x, "loss") for t, x in ((single, "parameters"), (many, "Params (M)"))]
    for name in ("r2", "rolling", "leave_one_out"):
        assert tables_[1][name].iloc[0] == pytest.approx(tables_[0][name].iloc[0], rel=1e-6)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        figure = law_figure(many, laws.size_law, x="Params (M)", y="loss")
    assert any("a plan takes them for single ones" in str(w.message) for w in caught)
    assert max(figure.data[0].x) < 100
    wrong = many.assign(**{"Params (M)": many["Params (M)"].mask(many.index == many.index[1], -2.0)})
    with pytest.raises(ValueError, match=r"^column 'Params \(M\)' is -2 in row "):
        laws.fit_law(wrong, laws.size_law, "Params (M)", "loss")


def test_a_law_of_ones_own_takes_a_column_as_it_stands() -> None:
    def halves(N: Any, a: Any) -> Any:
        return a / N

    table = pd.DataFrame({"Params (M)": [1.0, 2.0, 4.0], "loss": [3.0, 1.5, 0.75]})
    fit = laws.fit_law(table, halves, "Params (M)", "loss", start={"a": 1.0}, warn=False)
    assert fit.best_values["a"] == pytest.approx(3)


def test_a_unit_in_the_cells_is_read_or_the_way_to_strip_it_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    frame = two_axes("parameters", "pairs")
    texts = frame.assign(loss=frame["loss"].map("{:.6f} nats".format))
    texts.loc[3, "loss"] = texts.loc[3, "loss"].removesuffix(" nats")
    frame.to_csv("plain.csv", index=False)
    texts.to_csv("nats.csv", index=False)
    plain, read = (
        json.loads(said(capsys, "fit", f"{name}.csv", "--law", "additive_law", "--json")) for name in ("plain", "nats")
    )
    assert [p["value"] for p in read["parameters"]] == pytest.approx(
        [p["value"] for p in plain["parameters"]], rel=1e-3
    )
    assert any(f"column 'loss' is written as '{texts['loss'][0]}' and read as" in doubt for doubt in read["doubts"])
    with pytest.raises(ValueError, match=r"\(49 such of 50\).*each of these carries 'nats': strip it, table") as caught:
        laws.fit_law(texts, laws.additive_law, x=("parameters", "pairs"), y="loss")
    exec(str(caught.value).partition("strip it, ")[2], {"table": texts})
    assert texts["loss"].to_numpy() == pytest.approx(frame["loss"].to_numpy(), abs=1e-6)
    for cells in (["20k", "30k"], ["3 million", "2 million"], ["1 nats", "2 bits"], ["1 nats", "diverged"], ["1e5"]):
        assert shared_word(pd.Series(cells)) == ""
    for cells in (["1 Mparams", "2 Mparams"], ["1 Mrd"], ["1 lakh"], ["3.0 millinats"], ["24%", "0.3"], ["1 MB"]):
        assert shared_word(pd.Series(cells)) == ""  # a word that may change the number
    assert shared_word(pd.Series(["24%", "30%"])) == "%"


def test_a_word_in_the_cells_leaves_the_unit_of_the_heading(capsys: pytest.CaptureFixture[str]) -> None:
    frame = two_axes("parameters", "pairs")
    given = (frame["parameters"] / 1e6).map("{:.6f}".format)
    frame.drop(columns="parameters").assign(**{"Params (M)": given}).to_csv("bare.csv", index=False)
    frame.drop(columns="parameters").assign(**{"Params (M)": given + " params"}).to_csv("words.csv", index=False)
    bare, words = (
        [p["value"] for p in json.loads(said(capsys, "fit", f, "--law", "additive_law", "--json"))["parameters"]]
        for f in ("bare.csv", "words.csv")
    )
    assert words == pytest.approx(bare, rel=1e-6)


def test_a_column_called_size_can_be_an_axis(capsys: pytest.CaptureFixture[str]) -> None:
    two_axes("size", "mean").to_csv("runs.csv", index=False)
    assert "joint_law" in said(capsys, "fit", "runs.csv", "--x", "N=size,D=mean")
    assert "$5,000" in said(
        capsys, "allocate", "runs.csv", "--x", "N=size,D=mean", "--budget", "5000", "--prices", "paper"
    )


def test_an_export_over_the_table_itself_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    two_axes("parameters", "pairs").to_csv("runs.csv", index=False)
    before = Path("runs.csv").read_bytes()
    assert main(["export", "runs.csv", "--where", "parameters > 0", "--to", "runs.csv"]) == 2
    assert "--to runs.csv: that is the table itself; give another file" in capsys.readouterr().err
    assert Path("runs.csv").read_bytes() == before


def test_a_fit_predicts_for_the_table_it_was_made_of() -> None:
    frame = two_axes("parameters", "pairs")
    scaled = frame.assign(**{"Params (M)": frame["parameters"] / 1e6, "Pairs (k)": frame["pairs"] / 1e3})
    fit = laws.fit_law(scaled, laws.additive_law, ("Params (M)", "Pairs (k)"), "loss", warn=False)
    at = scaled[["Params (M)", "Pairs (k)"]]
    single = at.set_axis(["Params", "Pairs"], axis=1) * [1e6, 1e3]
    pd.testing.assert_frame_equal(fit.predict(at), fit.predict(single))


@pytest.mark.parametrize(
    ("header", "cells", "words", "doubted"),
    [
        ("parameters", ["7.000", "24.000", "60.000"], (), True),
        ("parameters", ["7.000", "24.000", "60.0"], (), False),
        ("parameters", ["7.000", "24.000", "60.000"], ("--decimal", "."), False),
        ("parameters", ["7.000", "24.000", "60.000"], ("--thousands", "."), False),
        ("Params (M)", ["7.000", "24.000", "60.000"], (), False),
        ("loss", ["7.123", "4.000", "2.500"], (), False),
    ],
)
def test_thousands_that_look_like_decimals_are_doubted(
    header: str, cells: list[str], words: tuple[str, ...], doubted: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written("a.csv", "\n".join([f"{header},note", *(f"{cell},x" for cell in cells)]))
    assert main(["export", str(path), "--to", "b.csv", *words]) == 0
    sentence = (
        "column 'parameters' is '7.000' in row 2 and read as 7; if '.' stands between thousands, say --thousands ."
    )
    assert (sentence in capsys.readouterr().err) == doubted


def test_a_new_folder_is_said(sizes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        assert main(["fit", str(sizes), "--law", "size_law", "--out", "new/law.tex"]) == 0
    first, second = capsys.readouterr().err.splitlines()
    assert first == "wrote new/law.tex (its folder new is new)"
    assert second == "wrote new/law.tex"
    assert said(capsys, "export", sizes, "--to", "other/a.csv").startswith(
        "wrote other/a.csv (its folder other is new)"
    )


def test_which_column_is_x_is_said_or_asked(sizes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "N is 'parameters', taken by its name (--x names another);" in said(
        capsys, "fit", sizes, "--law", "size_law"
    )
    assert "taken by its name" not in said(capsys, "fit", sizes, "--law", "size_law", "--x", "parameters")
    two_axes("Size", "Examples").rename(columns={"loss": "Score"}).to_csv("theirs.csv", index=False)
    error = refused(capsys, "fit", "theirs.csv", "--y", "Score")
    assert (
        "theirs.csv has 'Examples' and 'Size'; say --x \"N=Size,D=Examples\" for a law of size N and pairs D" in error
    )
    assert "N is 'Size', D is 'Examples'" in said(
        capsys, "fit", "theirs.csv", "--y", "Score", "--x", "N=Size,D=Examples"
    )
    assert "D is 'Examples'" in said(capsys, "fit", "theirs.csv", "--y", "Score", "--law", "data_law")


def test_a_law_that_cannot_be_tried_beyond_a_cut_says_what_helps(capsys: pytest.CaptureFixture[str]) -> None:
    rows = "\n".join(f"{10 ** (4 + i)},{loss}" for i, loss in enumerate((3, 2.2, 1.7, 1.5)))
    text = said(capsys, "fit", written("four.csv", f"parameters,loss\n{rows}"))
    reason = "in the other runs column 'parameters' has 3 different values: a law with 3 unknowns (M, mu, delta) needs"
    assert f"no level above a cut can be predicted: {reason} at least 4; runs at more levels allow it" in text


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        *(("Params (M)", 1e6), ("pairs [thousands]", 1e3), ("parameters in billions", 1e9), ("pairs_thousand", 1e3)),
        *(("Pairs (in k)", 1e3), ("pairs (10^3)", 1e3), ("Params (1e6)", 1e6), ("Pairs (train)", 1), ("pairs", 1)),
        *(("Params (non-embedding)", 1), ("(k)", 1), ("million", 1), ("model b", 1), ("time (m)", 1), ("Loss (M)", 1)),
        *(("Recall@10 (k)", 1), ("per thousand", 1), ("pairs (10^400)", 1), ("params (1e999)", 1), ("N (M)", 1e6)),
    ],
)
def test_a_columns_unit_is_read_from_its_name(name: str, unit: float) -> None:
    assert unit_of(name)[1] == unit


@pytest.mark.parametrize(
    ("name", "doubted"),
    [("Size (M)", True), ("pairs_k", True), ("time (m)", False), ("recall_at_k", False), ("rate_b", False)],
)
def test_a_name_that_may_hold_a_unit_is_doubted(name: str, doubted: bool) -> None:
    assert ("is read as it stands; if it counts in units of" in unit_doubt(name)) == doubted


def test_a_column_with_a_unit_beside_its_twin_or_with_units_in_its_cells_is_counted_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    single = two_axes("parameters", "pairs")
    options = ("--law", "additive_law", "--json")
    single.to_csv("single.csv", index=False)
    plain = json.loads(said(capsys, "fit", "single.csv", "--x", "N=parameters,D=pairs", *options))
    single.assign(**{"pairs (k)": single["pairs"] / 1e3}).to_csv("twins.csv", index=False)
    single.assign(**{"pairs (k)": (single["pairs"] / 1e3).map("{:g}k".format)}).to_csv("cells.csv", index=False)
    for name in ("twins", "cells"):
        found = json.loads(said(capsys, "fit", f"{name}.csv", "--x", "N=parameters,D=pairs (k)", *options))
        assert not [doubt for doubt in found["doubts"] if "units of" in doubt and "is read as" not in doubt]
        assert [p["value"] for p in found["parameters"]] == pytest.approx(
            [p["value"] for p in plain["parameters"]], rel=1e-3
        )


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("fitt", "runs.csv"), "invalid choice: 'fitt'"),
        (("fit", OWN, "--lewel", "0.9"), "unrecognized argument '--lewel'; did you mean '--level'?"),
        (("fit", OWN, "--law", "sizelaw"), "did you mean 'size_law'?"),
        (("fit", OWN, "--x", "paramters"), "has no such column; did you mean 'parameters'? It has model, parameters"),
        (("fit", OWN, "--y", "testloss"), "did you mean 'test_loss'?"),
        (("fit", OWN, "--by", "models"), "did you mean 'model'?"),
        (("fit", OWN, "--where", "pares == 1"), "name 'pares' is not defined; did you mean 'pairs'?"),
        (("fit", OWN, "--where", "pairs =="), "--where 'pairs ==': "),
        (("fit", OWN, "--where", "pairs == 3"), "none of the 40 rows fits"),
        (("fit", OWN, "--level", "95"), "--level: '95': a number between 0 and 1"),
        (("fit", OWN, "--out", "law.docx"), "--out law.docx: allowed are .tex, .csv, .pdf"),
        (("fit", OWN, "--law", "joint_law", "--x", "pairs"), "name the column of the size"),
        (("fit", "runs.xlsx"), "runs.xlsx: no such file or folder"),
        (("allocate", OWN, "--prices", "paper"), "one of the arguments --budget --target is required"),
        (("allocate", OWN, "--budget", "-1", "--prices", "paper"), "--budget -1: a finite number above zero"),
        (
            ("fit", ROOT / "data/runs/docs-standard", "--y", "nosuch"),
            "among them in_domain_entropy, in_domain_calibrated, in_domain_ndcg10",
        ),
        (("allocate", OWN, "--budget", "9"), "prices are missing: give --prices paper, or --pair-price"),
        (("allocate", OWN, "--budget", "9", "--prices", "paper", "--law", "size_law"), "a law of size and pairs"),
        (("export", OWN), "--to FILE is needed"),
        (("export", OWN, "--to", "a.xlsx"), "--to a.xlsx: allowed are .csv, .tsv, .parquet, .jsonl, .tex"),
        (("completion", "tcsh"), "invalid choice: 'tcsh'"),
    ],
)
def test_a_mistake_is_one_sentence(
    words: tuple[object, ...], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sentence in refused(capsys, *words)


def test_prices_of_nothing_and_failed_runs_are_named(sizes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("allocate", OWN, "--budget", 100, "--pair-price")
    assert "--parameter-price 0: a number above 0" in refused(capsys, *words, 1, "--parameter-price", 0)
    assert "--pair-price -1: a number above 0" in refused(capsys, *words, -1, "--parameter-price", 1)
    assert "a condition is needed" in refused(capsys, "fit", sizes, "--where", "loss")
    table = pd.read_csv(sizes).assign(status="failed")
    table.to_csv(sizes, index=False)
    assert f"none of its {len(table)} runs has the status 'done'; there are failed" in refused(capsys, "fit", sizes)
    Path("twice.jsonl").write_text('{"loss": 1, " loss": 2, "parameters": 3}\n')
    assert "column 'loss' stands there twice" in refused(capsys, "fit", "twice.jsonl")


def test_a_wrong_file_name_is_guessed(sizes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no such file or folder; did you mean 'runs.csv'?" in refused(capsys, "fit", sizes.with_name("run.csv"))


def two_axes(size: str, pairs: str) -> pd.DataFrame:
    """Runs of a planted additive law of five sizes by five amounts of pairs, two seeds each."""
    rng = np.random.default_rng(0)
    N, D = (v.ravel() for v in np.meshgrid(np.geomspace(5e4, 1.5e7, 5).round(), np.geomspace(2e3, 2e5, 5).round()))
    frame = pd.DataFrame({size: np.tile(N, 2), pairs: np.tile(D, 2), "Seed": np.repeat([0, 1], 25)})
    mean = (2e4 / frame[size]) ** 0.45 + (3e4 / frame[pairs]) ** 0.35 + 0.6
    return frame.assign(loss=mean * rng.normal(1, 0.01, 50))


@pytest.mark.parametrize(
    ("size", "pairs"), [("# Params", "Train pairs"), ("Params", "Pairs (train)"), ("Anzahl Parameter", "#pairs")]
)
def test_columns_are_known_by_a_word_of_their_names(size: str, pairs: str) -> None:
    frame = two_axes(size, pairs).assign(**{"pairs per second": 3.0})
    assert (size_of(frame), pairs_of(frame), loss_of(frame)) == (size, pairs, "loss")
    both = frame.rename(columns={size: "params of a", pairs: "params of b"})
    assert size_of(both) is None  # which of the two is not for us to say


def test_a_column_that_seems_to_be_the_other_axis_is_a_doubt(capsys: pytest.CaptureFixture[str]) -> None:
    two_axes("Breite", "Train pairs").to_csv("runs.csv", index=False)
    text = said(capsys, "fit", "runs.csv", "--law", "data_law")
    assert "column 'Breite' has 5 values and explains" in text
    assert 'use it with --x "N=Breite,D=Train pairs"' in text
    assert "'Seed'" not in text


def test_a_status_in_capitals_is_obeyed_and_said(sizes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = pd.read_csv(sizes).query("strategy == 'standard'").assign(Status=" done ")
    bad = table.iloc[:2].assign(loss=14.2, Status=["diverged", "Failed"])
    pd.concat([table, bad]).to_csv(sizes, index=False)
    text = said(capsys, "fit", sizes, "--law", "size_law")
    assert "2 of 18 runs are left out: their 'Status' is not 'done' (1 diverged, 1 Failed)" in text
    assert "16 runs at 8 levels" in text


def test_a_status_that_never_says_done_leaves_no_run_out(capsys: pytest.CaptureFixture[str], sizes: Path) -> None:
    table = pd.read_csv(sizes).query("strategy == 'standard'").assign(Status="converged")
    text = said(capsys, "fit", written("theirs.csv", table.to_csv(index=False)), "--law", "size_law")
    assert "left out" not in text


GERMAN = "Modell;parameters;pairs;loss\nx;24.000;200;7,45\ny;1.100.000;3.200;3,73\n"


@pytest.mark.parametrize(
    ("text", "signs", "values"),
    [
        (GERMAN, Signs(thousands=".", decimal=","), [[24000, 200, 7.45], [1100000, 3200, 3.73]]),
        (
            'parameters,loss\n"24,000",2.5\n"1,100,000", 1.5 \n',
            Signs(thousands=",", decimal="."),
            [[24000, 2.5], [1100000, 1.5]],
        ),
        ('parameters,loss\n24000,"2,5"\n25000,"1,5"\n', Signs(decimal=","), [[24000, 2.5], [25000, 1.5]]),
        ("parameters:loss\n24'000:2.5\n25'000:1.5\n", Signs(":", "'", "."), [[24000, 2.5], [25000, 1.5]]),
    ],
)
def test_thousands_are_read_where_their_sign_is_said(text: str, signs: Signs, values: list[list[float]]) -> None:
    frame = tables.read_runs(written("a.csv", text), signs).drop(columns="Modell", errors="ignore")
    assert frame.to_numpy().tolist() == values


def test_a_dot_and_a_comma_in_numbers_are_refused_in_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    small = "parameters;pairs;loss\n24.000;2.000;4,186\n24.000;8.000;3,031\n"
    for verb in (("fit",), ("export", "--json")):
        error = refused(capsys, *verb, written("de.csv", small))
        assert "column 'parameters' is '24.000' in row 2 and column 'loss' is '4,186' in row 2" in error
        assert "say --thousands . --decimal , or" in error
    error = refused(capsys, "fit", written("en.csv", 'parameters,loss\n"24,000",4.186\n"25,000",3.031\n'))
    assert "column 'parameters' is '24,000' in row 2" in error
    assert "say --thousands , --decimal . or" in error
    error = refused(capsys, "fit", written("en.csv", 'parameters,loss\n"24,000",4.18\n"25,000",3.03\n'))
    assert error.endswith("column 'parameters' is '24,000' in row 2 (2 such of 2), not a number; say --thousands ,\n")
    for second, said_of in (("25.000", "'24.000' in row 2 (2 such"), ("1.100.000", "'1.100.000' in row 3 (1 such")):
        grown = f"parameters;pairs;loss;ndcg\n24.000;8;7,45;0,5\n{second};9;6,45;0,6\n"
        error = refused(capsys, "fit", written("de.csv", grown))
        assert error.endswith(f"{said_of} of 2), not a number; say --thousands . --decimal ,\n")
    kept = tables.read_runs(written("fine.csv", "parameters;loss;note\n1000;4.186;a, b\n2000;3.031;1.2\n"))
    assert kept["loss"].tolist() == [4.186, 3.031]  # no number has a comma, so a dot is the decimal sign


def test_blanks_around_cells_and_counts_with_letters_are_read(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [f" m , {n} , {2.5 - 0.2 * i} , done " for i, n in enumerate(("0.55M", "1.2M", "20M", "80 m", "0.3B", "2G"))]
    path = written("units.csv", "\n".join([" Model , Params , Test loss , Status ", *rows, " m , 3B , NaN , done "]))
    frame = tables.read_runs(path)
    assert frame["Model"].tolist() == ["m"] * 7
    assert frame["Test loss"].isna().sum() == 1
    text = said(capsys, "fit", path, "--law", "size_law", "--where", "Status == 'done'")
    assert "column 'Params' is written as '0.55M' and read as 550,000" in text
    assert "1 of 7 runs have no 'Test loss' and are left out (row 8)" in text
    assert counts_of(pd.Series(["0.55M", "20k", "3B", "2T", "7"]))[0].tolist() == [550000, 20000, 3e9, 2e12, 7]
    assert counts_of(pd.Series(["tiny", "2M"]))[0].tolist() == ["tiny", "2M"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--sep", "::"), "--sep ::: one character is needed"),
        (("--thousands", "x"), "--thousands x: a dot, a comma"),
        (("--thousands", ".", "--decimal", "."), "--decimal .: a dot or a comma is needed, not the sign of thousands"),
    ],
)
def test_signs_that_cannot_be(words: tuple[str, ...], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert sentence in refused(capsys, "fit", OWN, *words)


# ----------------------------------------------------------------------------------------------------------- allocate


def test_a_plan_is_that_of_allocate(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["allocate", OWN, "--budget", 5000, "--prices", "paper", "--law", "additive_law", "--draws", 100]
    found = json.loads(said(capsys, *words, "--json", "--out", "plan.tex", "--quiet"))
    (plan,) = found["plans"]
    assert (plan["N"], plan["D"]) == pytest.approx((6137, 3936), rel=1e-3)
    assert plan["intervals"]["N"][0] < plan["N"] < plan["intervals"]["N"][1]
    assert plan["doubts"]
    assert "parameters" in Path("plan.tex").read_text()
    text = said(capsys, *words)
    assert "in all:      $0.6 x D + $0.43 x N" in text
    assert "$5,000 buys 6.14K [" in text
    assert "Doubts:\n  - delta is at its bound 0" in text


def test_prices_of_one_s_own(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("allocate", OWN, "--law", "additive_law", "--draws", 0, "--json", "--target", 3)
    one = json.loads(said(capsys, *words, "--pair-price", 0.6, "--parameter-price", paper_prices().per_parameter))
    other = json.loads(said(capsys, *words, "--prices", "paper"))
    assert one["plans"][0]["cost"] == pytest.approx(other["plans"][0]["cost"])
    assert one["prices"]["per_parameter"] == pytest.approx(other["prices"]["per_parameter"])
    error = refused(capsys, *words, "--pair-price", 1, "--parameter-price", 1, "--steps", 3)
    assert "it stands in place of --steps" in error


def test_a_plan_that_the_box_forbids_is_said_with_status_1(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("allocate", OWN, "--law", "additive_law", "--budget", 1, "--prices", "paper", "--within", "box")
    assert "No plan of $1 lies in the fitted box" in said(capsys, *words, "--draws", 0, status=1)


def test_without_a_plan_a_file_is_not_written_and_that_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["allocate", str(OWN), "--law", "additive_law", "--budget", "1", "--prices", "paper", "--within", "box"]
    assert main([*words, "--draws", "0", "--out", "plan.csv"]) == 1
    assert "no law has a plan, so nothing is written" in capsys.readouterr().err
    assert not Path("plan.csv").exists()


def test_the_plan_of_the_second_law_is_written_where_the_first_has_none(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:

    made, names = law._planned, []

    def first_has_none(curve: Any, arguments: Any, prices: Any) -> Any:
        names.append(curve)
        plan = made(curve, arguments, prices)
        return plan if len(names) > 1 else replace(plan, N=np.nan)

    monkeypatch.setattr(law, "_planned", first_has_none)
    words = ("allocate", OWN, "--where", "pairs > 2000", "--budget", 500, "--prices", "paper", "--draws", 0)
    found = json.loads(said(capsys, *words, "--quiet", "--json", "--out", "plan.csv"))
    assert [plan["feasible"] for plan in found["plans"]] == [False, True]
    assert found["written"] == ["plan.csv"]
    written = pd.read_csv("plan.csv")
    assert found["plans"][1]["N"] in written.select_dtypes("number").to_numpy()


def test_the_server_keeps_the_users_own_jupyter_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUPYTER_PATH", "/theirs")
    assert surroundings(tmp_path)["JUPYTER_PATH"] == f"{tmp_path}{os.pathsep}/theirs"
    monkeypatch.delenv("JUPYTER_PATH")
    assert surroundings(tmp_path)["JUPYTER_PATH"] == str(tmp_path)


@pytest.mark.parametrize(
    ("text", "value"), [("5000", 5e3), ("5K", 5e3), ("1.2m", 1.2e6), ("7B", 7e9), ("2T", 2e12), ("1e3", 1e3)]
)
def test_amounts_are_read_as_people_write_them(text: str, value: float) -> None:
    assert amount(text) == value


@pytest.mark.parametrize("text", ["nan", "inf", "infB", "K", "5KK", "1,000", "$5000", ""])
def test_what_is_no_amount_is_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("allocate", OWN, "--prices", "paper", "--budget", text)
    assert "a number is needed, as 5000, 5K or 1.2M" in refused(capsys, *words)


@pytest.mark.parametrize("level", ["95", "95%", "0", "1", "nan"])
def test_a_level_is_named_by_its_option(level: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert f"--level: {level!r}: a number between 0 and 1" in refused(capsys, "fit", OWN, "--level", level)


def test_the_advice_on_a_bad_cell_works(capsys: pytest.CaptureFixture[str]) -> None:
    rows = ["1e4,3.0", "3e4,x9", "1e5,2.2", "1e6,2.1", "3e6,2.05", "1e7,2.0"]
    Path("bad.csv").write_text("\n".join(["params,loss", *rows]))
    error = refused(capsys, "fit", "bad.csv")
    advice = re.search(r'bad.csv: .* in row (\d+) .*; empty the cell, or leave the run out with --where "(.*)"', error)
    assert advice is not None, error
    assert "5 runs at 5 levels" in said(capsys, "fit", "bad.csv", "--law", "size_law", "--where", advice[2])


def test_usual_mistakes_in_a_condition_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    Path("odd.csv").write_text(
        "Model params (M),5,pairs,dev loss\n" + "\n".join(f"{i},1,9,{3 / i}" for i in range(1, 9))
    )
    words = ("fit", "odd.csv", "--y", "dev loss", "--x", "Model params (M)")
    assert "write == to compare" in refused(capsys, *words, "--where", "pairs = 9")
    assert "write `Model params (M)` in backticks" in refused(capsys, *words, "--where", "Model params (M) > 2")
    assert "backticks" not in refused(capsys, *words, "--where", "pairs >= 5 and (")
    assert "did you mean --y 'dev loss'?" in refused(capsys, "fit", "odd.csv", "--x", "Model params (M)")


def test_pairs_that_vary_beside_any_column_of_size_are_a_doubt(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [f"{2**i},{1000 * 2**i},{1 + 4 / 2**i:.4f}" for i in range(1, 8)]
    Path("both.csv").write_text("\n".join(["width,pairs,loss", *rows]))
    told = said(capsys, "fit", "both.csv", "--x", "width", "--law", "size_law")
    assert "one fit of 7 different 'pairs': keep one with --where, or name both columns in --x" in told


# ---------------------------------------------------------------------------------------------------------- TREC runs


@pytest.fixture
def trec(tmp_path: Path) -> Path:
    """Three runs on forty queries: the relevant document is first, second or third, by luck that differs."""
    rng = np.random.default_rng(0)
    (tmp_path / "q.qrels").write_text("".join(f"q{i} 0 d{i} 1\n" for i in range(40)))
    for name, luck in (("good", 1), ("fair", 3), ("poor", 6)):
        first = [i + int(rng.integers(luck)) for i in range(40)]
        lines = [f"q{i} Q0 d{(first[i] - j) % 40} {j + 1} {9 - j} {name}\n" for i in range(40) for j in range(5)]
        (tmp_path / f"{name}.run").write_text("".join(lines))
    return tmp_path


def test_runs_are_compared_pair_by_pair(trec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("compare", "good.run", "fair.run", "poor.run", "--qrels", "q.qrels", "--measures", "nDCG@10", "RR@10")
    found = json.loads(said(capsys, *words, "--json"))
    assert [row["run"] for row in found["means"]] == ["good", "fair", "poor"] * 2
    assert found["means"][0]["mean"] == 1.0
    rows = pd.DataFrame(found["differences"])
    assert rows[["run", "minus"]].to_numpy().tolist()[:3] == [["good", "fair"], ["good", "poor"], ["fair", "poor"]]
    assert (rows["better"] + rows["equal"] + rows["worse"] == 40).all()
    assert ((rows["low"] <= rows["difference"]) & (rows["difference"] <= rows["high"])).all()
    least = rows["p"].min()
    assert rows.loc[rows["p"].idxmin(), "p_holm"] == pytest.approx(min(1.0, 6 * least))
    text = said(capsys, *words, "--baseline", "good")
    assert "fair  good" in text
    assert "p_holm for all rows together" in text


def test_runs_are_written_as_result_files_of_mteb(trec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("compare", "good.run", "fair.run", "--qrels", "q.qrels", "--measures", "nDCG@10", "RR@10")
    found = json.loads(said(capsys, *words, "--mteb", "results", "--json", "--quiet"))
    assert [Path(name).as_posix() for name in found["written"]] == [
        f"results/{n}/external/q.json" for n in ("good", "fair")
    ]
    rows = from_mteb("results").set_index("model")
    assert rows.loc["good", ["dataset", "split", "ndcg10", "main_score"]].tolist() == ["q", "test", 1.0, 1.0]
    means = {(row["measure"], row["run"]): row["mean"] for row in found["means"]}
    assert rows.loc["fair", "mrr10"] == pytest.approx(means["RR@10", "fair"])
    error = refused(capsys, *words[:-2], "Success@5", "--mteb", "other", "--out", "table.csv")
    assert "--mteb: MTEB has no name for Success@5; ask for nDCG@10" in error
    assert not Path("table.csv").exists()
    said(capsys, *words[:-2], "Success@5", "RR@10", "--mteb", "second", "--quiet")
    assert from_mteb("second")["main_score"].tolist() == from_mteb("second")["mrr10"].tolist()


def test_measures_may_stand_before_the_runs(trec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = ("compare", "--measures", "nDCG@10", "P(rel=1)@5", "good.run", "other=fair.run", "--qrels", "q.qrels")
    after = ("compare", "good.run", "other=fair.run", "--qrels", "q.qrels", "--measures", "nDCG@10", "P(rel=1)@5")
    assert main([*before, "--json"]) == 0
    first = capsys.readouterr().out
    assert main([*after, "--json"]) == 0
    assert capsys.readouterr().out == first


def test_where_an_error_comes_from_may_be_asked_behind_the_verb(trec: Path) -> None:
    words = ["compare", "good.run", "gone.run", "--qrels", "q.qrels"]
    for asked in (["--traceback", *words], [*words, "--traceback"]):
        with pytest.raises(UserError, match=r"gone\.run: no such file"):
            main(asked)
    assert main(words) == 2


def test_a_run_and_itself_are_alike(trec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(said(capsys, "compare", "fair.run", "again=fair.run", "--qrels", "q.qrels", "--json"))
    assert found["differences"][0] | {"p": 1, "low": 0, "high": 0} == found["differences"][0]


def test_gaps_without_scatter_have_no_interval(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "q.qrels").write_text("".join(f"q{i} 0 d{i} 1\n" for i in range(3)))
    (tmp_path / "all.run").write_text("".join(f"q{i} Q0 d{i} 1 1.0 all\n" for i in range(3)))
    (tmp_path / "none.run").write_text("".join(f"q{i} Q0 other 1 1.0 none\n" for i in range(3)))
    words = ("compare", "all.run", "none.run", "--qrels", "q.qrels", "--measures", "nDCG@10")
    assert "the same for every query, so there is no interval and no p" in said(capsys, *words)
    row = json.loads(said(capsys, *words, "--json"))["differences"][0]
    assert (row["difference"], row["low"], row["p"], row["p_holm"]) == (1.0, None, None, None)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("=good.run", "fair.run"), "a name is needed before ="),
        (("good.run", "fair.run", "--measures", ""), "at least one"),
    ],
)
def test_empty_names_and_measures_are_refused(
    trec: Path, words: tuple[str, ...], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sentence in refused(capsys, "compare", *words, "--qrels", "q.qrels")


def test_missing_queries_are_a_doubt(trec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    half = (trec / "fair.run").read_text().splitlines(keepends=True)[:50]
    (trec / "half.run").write_text("".join(half))
    text = said(capsys, "compare", "good.run", "half.run", "--qrels", "q.qrels")
    assert "30 of 40 queries of the qrels are not in the run and score 0" in text


def test_a_figure_of_drops_shows_one_measure(trec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("stability", "good.run", "poor.run", "--qrels", "q.qrels", "--measures", "nDCG@10", "RR@10")
    assert "a figure shows one measure" in refused(capsys, *words, "--out", "drops.html")
    assert not Path("drops.html").exists()


def test_drops_of_a_reworded_run(trec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("stability", "good.run", "typos=poor.run", "fair.run", "--qrels", "q.qrels")
    found = json.loads(said(capsys, *words, "--json", "--out", "drops.csv", "--quiet"))
    rows = pd.DataFrame(found["drops"])
    assert rows["family"].tolist() == ["typos", "fair"]
    assert rows["drop"].to_numpy() == pytest.approx(1 - rows["varied"] / rows["clean"])
    assert len(pd.read_csv("drops.csv")) == 2
    assert "typos" in said(capsys, *words)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("compare", "good.run", "--qrels", "q.qrels"), "two runs or more are needed"),
        (("compare", "good.run", "fare.run", "--qrels", "q.qrels"), "fare.run: no such file; did you mean 'fair.run'?"),
        (("compare", "good.run", "good.run", "--qrels", "q.qrels"), "another run is called 'good' too"),
        (("compare", "good.run", "fair.run", "--qrels", "q.qrel"), "--qrels q.qrel: no such file"),
        (("compare", "good.run", "fair.run", "--qrels", "q.qrels", "--baseline", "god"), "did you mean 'good'?"),
        (
            ("compare", "good.run", "fair.run", "--qrels", "q.qrels", "--measures", "nDGC@10"),
            "allowed are ir-measures'",
        ),
        (("compare", "good.run", "q.qrels", "--qrels", "q.qrels"), "q.qrels:1: fewer than the 6 columns"),
        (("stability", "good.run", "fair.run"), "--qrels is needed: give the run of the unchanged queries"),
    ],
)
def test_a_mistake_with_runs_is_one_sentence(
    trec: Path, words: tuple[str, ...], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sentence in refused(capsys, *words)


def test_records_hold_their_own_stability(capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(said(capsys, "stability", ROOT / "data" / "runs" / "docs-models", "--json"))
    assert {"misspelling", "paraphrase"} <= {row["family"] for row in found["drops"]}
    assert "L2H12, seed=1" in {row["model"] for row in found["drops"]}
    assert "measured for stability" in refused(capsys, "stability", ROOT / "data" / "runs" / "card", status=1)


# ------------------------------------------------------------------------------------------- export, JSON, the machine


def test_a_table_goes_from_one_format_to_the_next(capsys: pytest.CaptureFixture[str]) -> None:
    before = pd.read_csv(OWN)
    last: Any = OWN
    for name in ("a.parquet", "a.jsonl", "a.tsv", "a.csv"):
        assert said(capsys, "export", last, "--to", name) == f"wrote {name}: 40 rows, 7 columns\n"
        last = name
    pd.testing.assert_frame_equal(pd.read_csv(last), before)
    words = ("--columns", "pairs,test_loss", "--where", "pairs == 528", "--to", "a.tex", "--quiet")
    assert said(capsys, "export", OWN, *words) == ""
    assert "pairs & test\\_loss" in Path("a.tex").read_text()


def test_records_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    store = ROOT / "data" / "runs" / "docs-standard"
    found = json.loads(said(capsys, "table", store, "--json"))
    assert [row["key"] for row in found["runs"]] == list(example_runs()["key"])
    counts = json.loads(said(capsys, "status", store, "--json"))
    assert (counts["done"], counts["todo"], counts["failed"], counts["failures"]) == (40, 0, 0, [])


def test_a_plan_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    Path("s.toml").write_text('store = "runs"\n[base]\ntexts = "planted"\n[[grid]]\nseed = [0, 1]\n')
    found = json.loads(said(capsys, "plan", "s.toml", "--quick", "--json"))
    assert found["counts"] == {"todo": 2}
    assert [row["status"] for row in found["runs"]] == ["todo", "todo"]


def test_what_json_cannot_say() -> None:
    odd = {"a": np.nan, "b": np.inf, "c": pd.NA, "d": np.int64(3), "e": Path("x"), "f": (True, None)}
    assert tables.plain(odd) == {"a": None, "b": "inf", "c": None, "d": 3, "e": "x", "f": [True, None]}


def test_words_of_the_parser_are_those_of_the_house() -> None:
    assert {law.__name__ for law in laws.LAWS if laws.LAWS[law].family is not None} == set(LAWS)
    assert SPACES == laws.SPACES
    with pytest.raises(UserError, match="did you mean 'pairs'"):
        tables.column(pd.DataFrame({"pairs": [1]}), "pair", "--x", "runs.csv")


def test_the_help_says_what_an_exit_status_means(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["--help"])
    assert left.value.code == 0
    assert re.search(r"exit status:\n +0 .*\n +1 .*\n +2 .*\n +130 ", capsys.readouterr().out)


CODE = """
import sys
from drscale.cli import main
for command in sys.stdin.read().splitlines():
    status = main(command.split())
    print(command.split()[0], status, *sorted({"torch", "transformers", "faiss"} & sys.modules.keys()), file=sys.stderr)
"""


@pytest.mark.skipif(importlib.util.find_spec("ir_measures") is None, reason="needs ir-measures")
def test_an_analyst_needs_no_torch(trec: Path) -> None:
    of_both = f"{OWN} --law additive_law"
    commands = [
        f"fit {of_both} --out law.tex --out law.html --quiet",
        f"allocate {of_both} --budget 9 --prices paper --draws 0",
        f"export {OWN} --to runs.parquet",
        "compare good.run fair.run --qrels q.qrels",
        "stability good.run fair.run --qrels q.qrels --out drops.html --quiet",
        f"table {ROOT / 'data' / 'runs' / 'docs-standard'} --json",
        "completion bash",
    ]
    done = subprocess.run(
        [sys.executable, "-c", NO_TORCH + CODE], input="\n".join(commands), capture_output=True, text=True, check=False
    )
    assert done.stderr.splitlines() == [f"{command.split()[0]} 0" for command in commands]


def test_the_package_is_a_command() -> None:
    done = subprocess.run([sys.executable, "-m", "drscale", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("drscale ")


# --------------------------------------------------------------------------------------------------------- completion


def completed(words: list[str]) -> list[str]:
    """What bash offers after these words."""
    shell = 'eval "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _drscale; echo "${COMPREPLY[@]}"'
    text = script("bash", _parsers()[1])
    done = subprocess.run(["bash", "-c", shell, "_", text, *words], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["drscale", "st"], ["stability", "status"]),
        (["drscale", "fit", "--la"], ["--law"]),
        (["drscale", "fit", "--law", "s"], ["size_law"]),
        (["drscale", "fit", "--y", "lo"], []),
        (["drscale", "completion", ""], list(SHELLS)),
        (["drscale", "allocate", "x.csv", "--par"], ["--parameter-price"]),
    ],
)
def test_bash_completes(words: list[str], offered: list[str]) -> None:
    assert completed(words) == offered


@pytest.mark.parametrize("shell", SHELLS)
def test_a_script_knows_every_verb_and_option(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, "completion", shell)
    for name, verb in _parsers()[1].items():
        assert re.search(rf"\b{name}\b", text)
        for action in verb._actions:
            for option in action.option_strings:
                assert not option.startswith("--") or re.search(rf"{option[2:]}\b", text), option
    assert text == script(shell, _parsers()[1])
