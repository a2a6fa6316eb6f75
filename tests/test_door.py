"""The front door: few names, all of them there, typed by a stub, and nothing heavy behind an import."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import pytest
from conftest import NO_TORCH, ROOT

import drscale as ds
from drscale.laws import LawWarning
from drscale.results import Result

PACKAGES = sorted(p.parent.name for p in (ROOT / "drscale").glob("*/__init__.pyi"))
MOST, MOST_IN_PACKAGES = 60, 250


def test_the_door_is_small_and_every_name_is_there() -> None:
    assert len(ds.__all__) <= MOST
    assert [name for name in ds.__all__ if getattr(ds, name, None) is None] == []
    assert set(ds.__all__) <= set(dir(ds))


def test_every_name_of_a_package_is_there() -> None:
    names = {package: importlib.import_module(f"drscale.{package}").__all__ for package in PACKAGES}
    assert sum(map(len, names.values())) <= MOST_IN_PACKAGES
    for package, own in names.items():
        module = importlib.import_module(f"drscale.{package}")
        for name in own:
            # A function of its module's name would be overwritten by the module once that is imported.
            assert not isinstance(getattr(module, name), type(ast)), f"{package}.{name} is a module"


@pytest.mark.parametrize("space", [ds.plot, ds.explore])
def test_figures_have_short_names(space: object) -> None:
    for name in space.__all__:
        assert callable(getattr(space, name))
    with pytest.raises(AttributeError, match="has no 'lawn'; it has "):
        space.lawn  # noqa: B018


def test_a_name_that_needs_torch_says_what_brings_it() -> None:
    code = f"import sys\n{NO_TORCH}\nimport drscale as ds\nds.fit_law, ds.benchmark\nds.score_benchmark(None, None)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    said = "ds.score_benchmark needs torch, which is not installed; this brings it: pip install -c constraints.txt "
    assert done.stderr.splitlines()[-1] == f"ModuleNotFoundError: {said}'.[lab]'"
    without = NO_TORCH.replace("gone = {", 'gone = {"plotly", ')
    code = f"{without}\nimport drscale as ds\nds.fit_law"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.stderr.splitlines()[-1].endswith("this brings it: pip install -c constraints.txt .")
    with pytest.raises(AttributeError, match=r"drscale.*score_benchmrk"):
        ds.score_benchmrk  # noqa: B018


def test_the_import_is_light() -> None:
    code = (
        "import sys, time; start = time.process_time(); import drscale; print(time.process_time() - start, "
        "*sorted({'torch', 'numpy', 'pandas', 'plotly', 'lmfit'} & sys.modules.keys()))"
    )
    taken = []
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
        assert done[1:] == []
        taken.append(float(done[0]))
    assert min(taken) < 0.2


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="fit_lawn"):
        ds.fit_lawn  # noqa: B018


def test_six_lines_from_a_table_to_latex(tmp_path) -> None:
    runs = ds.example_runs()
    fit = ds.fit_law(runs, ds.additive_law, warn=False)
    ends = fit.intervals()
    plan = ds.allocate(fit.curve(100), budget=5000, prices=ds.paper_prices())
    figure = ds.plot.laws(runs[runs["pairs"] == 0], ds.size_law, warn=False)
    for thing, name in ((fit, "fit.tex"), (plan, "plan.tex"), (ends, "ends.csv"), (figure, "law.html")):
        assert ds.export(thing, tmp_path / name).stat().st_size > 100


def test_the_site_opens_with_code_that_runs(capsys) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "index.md").read_text(), re.DOTALL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LawWarning)  # the fit's doubts, which a reader is to see
        exec(code, {})  # our own page
    assert "predicted" in capsys.readouterr().out


def test_a_law_of_two_is_drawn_as_a_fan() -> None:
    fit = ds.fit_law(ds.example_runs(), ds.additive_law, warn=False)
    names = [trace.name for trace in fit.plot().data]
    assert sum(name.startswith("train_pairs") and "," not in name for name in names) == 6
    lone = [name for name in names if name.startswith("train_pairs 528,") and "fitted" in name]
    fitted = next(trace for trace in fit.plot().data if trace.name == lone[0])
    at_528 = ds.example_runs().query("train_pairs == 528")["params_layers"]
    assert (min(fitted.x), max(fitted.x)) == pytest.approx((at_528.min(), at_528.max()))


def test_a_fit_answers_by_itself() -> None:
    runs = ds.example_runs()
    fit = ds.fit_law(runs[runs["pairs"] == 0], ds.size_law, warn=False)
    assert isinstance(fit, ds.LawFit)
    assert fit.law is ds.size_law
    assert fit.equation.startswith("(")
    assert list(fit.intervals()["name"]) == ["M", "mu", "delta"]
    assert len(fit.bootstrap(50)) == 50
    assert fit.predict([1e5], warn=False)["fit"].iloc[0] == pytest.approx(float(fit.eval(N=1e5)))
    assert isinstance(fit.plot(), go.Figure)
    assert all(isinstance(sentence, str) for sentence in fit.doubts)
    html = fit._repr_html_()
    assert "size_law of in_domain_entropy" in html
    assert "95%" in repr(fit)
    for sentence in fit.doubts:
        assert sentence in repr(fit)


def test_every_result_has_a_table(tmp_path) -> None:
    runs = ds.example_runs()
    results = [
        ds.fit_law(runs, ds.additive_law, warn=False),
        ds.fit_law(runs, ds.additive_law, warn=False).curve(50),
        ds.choose_law(runs, y="in_domain_entropy"),
        ds.plan_study([ds.Recipe()], ds.RunStore(tmp_path)),
        ds.RunStore(ROOT / "data" / "runs" / "docs-standard"),
    ]
    for result in results:
        assert isinstance(result.table(), pd.DataFrame)
        assert len(result.table())
        assert str(result)


def test_a_result_shows_itself_and_escapes() -> None:
    class Rows(Result):
        def table(self) -> pd.DataFrame:
            return pd.DataFrame({"text": ["<b>"] * 25})

        def __str__(self) -> str:
            return "<script>"

    html = Rows()._repr_html_()
    assert "&lt;script&gt;" in html
    assert "&lt;b&gt;" in html
    assert "5 more rows" in html
    with pytest.raises(NotImplementedError, match="Result has no table"):
        Result().table()


def test_example_runs_are_the_study_s() -> None:
    runs, table = ds.example_runs(), ds.RunStore(ROOT / "data" / "runs" / "docs-standard").table()
    assert list(runs["key"]) == list(table["key"])
    assert runs["in_domain_entropy"].to_numpy() == pytest.approx(table["in_domain_entropy"].to_numpy(), abs=1e-5)
    assert not runs["synthetic"].any()


def test_no_public_name_is_that_of_a_module_beside_it() -> None:
    """``from drscale.stats import correlations`` would give the function or the module, by what was imported first."""
    for package in PACKAGES:
        beside = {path.stem for path in (ROOT / "drscale" / package).glob("*.py")}
        assert not beside & set(importlib.import_module(f"drscale.{package}").__all__)


# One word, one meaning: the annotations that each word may have in the signatures of public names (docs/design.md).
COLUMN_NAMES = r"(laws\.)?(str|Columns|tuple\[str, str\]|Mapping\[str, str\]|Sequence\[str\]|None|Names)"
VALUES = r"npt\.ArrayLike|Mapping\[str, npt\.ArrayLike\]|pd\.DataFrame|Any"
MEANINGS = {
    "runs": r"pd\.DataFrame|Iterable\[Run\]|Sample \| pd\.DataFrame",
    "rows": r"pd\.DataFrame( \| None)?|pd\.DataFrame \| pd\.Series \| Mapping\[str, Any\]",
    "texts": r"Benchmark( \| None)?|Sequence\[str\]( \| Shingles)?",
    "queries": r"(Sequence\[str\]|list\[str\]|Mapping\[str, str\]|Collection|str|None| \| )+",
    "passages": r"Sequence\[str\]|list\[str\]",
    "n_queries": r"int( \| None)?",
    "level": r"float",
    "by": rf"({COLUMN_NAMES}( \| )?)+",
    "unit": r"Unit|str",
    "n_boot": r"int",
    "draws": r"int \| pd\.DataFrame",  # a table of draws, or how many to make
    "negatives": r"int|slice",
    "x": rf"({COLUMN_NAMES}( \| )?|({VALUES})( \| )?)+",
    "y": rf"({COLUMN_NAMES}( \| )?)+",
    "seed": r"int|str \| int",
    "warn": r"bool",
    "dark": r"bool",
    "collection": r"Collection|Callable\[.*\] \| None",
}
OTHER_WORDS = {
    "samples": "n_boot",
    "n_samples": "n_boot",
    "bootstraps": "n_boot",
    "confidence": "level",
    "alpha": "level",
}


def public_functions() -> Iterator[tuple[str, Any]]:
    for room in ["", *(f".{m.name}" for m in pkgutil.iter_modules(ds.__path__))]:
        module = importlib.import_module(f"drscale{room}")
        for name in getattr(module, "__all__", ()):
            thing = getattr(module, name)
            if inspect.isfunction(thing):
                yield f"{thing.__module__}.{name}", thing
            elif inspect.isclass(thing) and thing.__module__.startswith("drscale"):
                for method, function in inspect.getmembers(thing, inspect.isfunction):
                    if not method.startswith("_") and function.__module__.startswith("drscale"):
                        yield f"{thing.__module__}.{name}.{method}", function


def test_one_word_has_one_meaning_in_every_signature() -> None:
    wrong, seen = [], 0
    for place, function in public_functions():
        for word, parameter in inspect.signature(function).parameters.items():
            seen += word in MEANINGS
            if word in OTHER_WORDS:
                wrong.append(f"{place}({word}): say {OTHER_WORDS[word]}")
            elif word in MEANINGS and not re.fullmatch(MEANINGS[word], str(parameter.annotation)):
                wrong.append(f"{place}({word}: {parameter.annotation})")
    assert not wrong, "\n".join(wrong)
    assert seen > 200
