"""A first study in three minutes: a small ladder, two laws fitted and compared, an attacked model, and a page."""

from __future__ import annotations

import html
import shlex
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pandas as pd

from drscale.files import write_atomic
from drscale.plotting import style
from drscale.recipe import Recipe, grid
from drscale.results import Result
from drscale.runs import RunStore
from drscale.study import plan_study
from drscale.sweep import model_of, run_study
from drscale.texts import Benchmark, benchmark

TEXTS = "docs:torch"
RUNGS, SHARES = ("L2H12", "L2H24", "L2H48"), (8, 4, 2, 1)  # the amounts of pairs are all pairs over these
STEPS, ATTACKED = 90, 20  # queries that the largest model is attacked on
Y = "in_domain_calibrated"
NEXT = (
    ("the notebooks, in order, on our own measured runs", "make lab"),
    ("the laws of this page at a prompt", "drscale fit {folder}/runs --y in_domain_calibrated"),
    ("a law, its intervals and its doubts from your CSV", "drscale fit runs.csv"),
    ("the records that this page was made of, as a table", "drscale table {folder}/runs"),
    ("more seeds, more rungs: write a study and sweep it", "drscale plan study.toml; drscale sweep study.toml"),
    ("your own texts: pairs in a CSV, a BEIR folder, a hub data set", 'ds.benchmark("pairs:faq.csv")'),
)


@dataclass(frozen=True)
class FirstStudy(Result):
    """What a demo made: its page, the seconds it took, how many runs it rests on, and both laws with their doubts."""

    page: Path
    seconds: float
    runs: int
    laws: pd.DataFrame
    choice: str
    doubts: dict[str, list[str]]

    def table(self) -> pd.DataFrame:
        """Both laws, one row each."""
        return self.laws

    def __str__(self) -> str:
        return f"{self.page}: {self.runs} runs, {self.seconds:.0f} s; {self.choice}"


def demo(folder: str | Path = "drscale-demo", *, texts: str = TEXTS, steps: int = STEPS, progress: bool = True) -> Path:
    """Train, fit, compare, attack, and write ``folder/index.html``; gives its path. It goes on where it was stopped.

    ``texts`` is any spelling of texts with some hundred pairs; three rungs are trained on four amounts of its pairs,
    ``steps`` steps each, and stored as run records in ``folder/runs``. The numbers are real and rough: one seed, a
    recipe that was not tuned, models of a few thousand parameters.

    >>> from drscale.demo import demo
    >>> demo("my-first-study")  # doctest: +SKIP
    PosixPath('my-first-study/index.html')
    """
    return first_study(folder, texts=texts, steps=steps, progress=progress).page


def first_study(
    folder: str | Path = "drscale-demo", *, texts: str = TEXTS, steps: int = STEPS, progress: bool = True
) -> FirstStudy:
    """Do what :func:`demo` does, and give its laws and its time beside the page.

    >>> from drscale.demo import first_study
    >>> first_study("my-first-study").laws  # doctest: +SKIP
    """
    if find_spec("torch") is None:  # before texts are looked for, which come with it
        raise ModuleNotFoundError("the demo trains models and torch is not installed", name="torch")
    began, folder = time.perf_counter(), Path(folder)
    source = benchmark(texts, progress=progress)
    store, pairs = RunStore(folder / "runs"), len(source.train)
    amounts = sorted({pairs // share for share in SHARES})
    if len(amounts) < len(SHARES) or amounts[0] < 32:
        raise ValueError(f"texts={texts!r}: {pairs} training pairs are too few for a demo; some hundred are needed")
    base = Recipe(texts=texts, steps=steps, rate=4e-3, schedule="linear", warmup=max(1, steps // 10), batch=32)
    recipes = grid(base, pairs=[a if a < pairs else 0 for a in amounts], rung=RUNGS)
    run_study(plan_study(recipes, store, keep=True), progress=progress, keep=True)
    runs = store.table()
    runs = runs[runs["key"].isin([str(r) for r in recipes]) & (runs["status"] == "done")].reset_index(drop=True)
    if len(runs) < len(recipes):
        failed = next((run.reason for run in store.runs() if run.status == "failed"), "they were not made")
        raise ValueError(f"{folder / 'runs'}: {len(recipes) - len(runs)} of {len(recipes)} runs failed: {failed}")
    laws, choice, doubts, said = _laws(runs, amounts)
    parts = [*said, *_attack(recipes[-1], store, source, progress)]
    seconds = time.perf_counter() - began
    page = folder / "index.html"
    write_atomic(page, _page(texts, source, runs, parts, seconds, folder))
    return FirstStudy(page, seconds, len(runs), laws, choice, doubts)


def _laws(runs: pd.DataFrame, amounts: list[int]) -> tuple[pd.DataFrame, str, dict[str, list[str]], list[str]]:
    """Both laws of size and data on the runs, which of them fits better, every doubt, and the page's words on it."""
    from drscale.laws import additive_law, choose_law, data_law, fit_law, joint_law, law_table
    from drscale.laws.plot import series_figure

    choice = choose_law(runs, Y, candidates=[additive_law, joint_law])
    fits = {law.__name__: fit_law(runs, law, y=Y, warn=False) for law in (additive_law, joint_law)}
    doubts = {name: list(fit.doubts) for name, fit in fits.items()}
    laws = law_table(fits)
    page = [
        "<h2>How entropy falls with size and pairs</h2>",
        f"<p>{len(runs)} runs: three sizes, {len(amounts)} amounts of pairs, one seed each. Calibrated contrastive "
        "entropy on held-out queries, in nats; lower is better.</p>",
        _figure(series_figure(runs, data_law, Y, by="rung", warn=False)),
        "<h2>Two laws, compared</h2>",
        f"<p>{html.escape(str(choice))}</p>",
        _table(laws[["name", "M", "mu", "B", "eta", "delta"]]),
        *(
            f"<p>Doubts about the {name.replace('_', ' ')}: {html.escape('; '.join(said) or 'none')}.</p>"
            for name, said in doubts.items()
        ),
    ]
    return laws, str(choice), doubts, page


def _attack(recipe: Recipe, store: RunStore, source: Benchmark, progress: bool) -> list[str]:
    """The largest model on all pairs, attacked: ranks before and after, the measures, and one text to read."""
    from drscale.attacks.plot import attack_view, climb_figure
    from drscale.attacks.protocol import attack_collection, summary, within
    from drscale.attacks.words import Attack

    model, whole = model_of(recipe, store, source), within(source.test, source.train)
    rows = attack_collection(
        model, whole, "encoder", Attack(floor=None), n_queries=ATTACKED, similarity=None, progress=progress
    )
    asked = dict(zip(source.test.queries["id"].to_pylist(), source.test.queries["text"].to_pylist(), strict=True))
    most = int((rows["rank_before"] - rows["rank_after"]).to_numpy().argmax())
    shown = summary(rows).set_index("measure").loc[["success", "boosted", "top10", "words_changed"]].reset_index()
    return [
        "<h2>One model, attacked</h2>",
        f"<p>{recipe.rung} on all pairs. In {len(rows)} passages of {ATTACKED} queries up to ten words were swapped, "
        f"each for one near it in the model's word table, among {len(whole.passages):,} passages.</p>",
        _figure(climb_figure(rows)),
        _table(shown),
        "<p>The passage that climbed most:</p>",
        attack_view(rows.iloc[most], asked).html,
    ]


def _figure(figure: object) -> str:
    """A figure without the library that draws it, which the page holds once."""
    return str(figure.to_html(full_html=False, include_plotlyjs=False, default_height="420px"))  # type: ignore[attr-defined]


def _table(table: pd.DataFrame) -> str:
    return str(table.to_html(index=False, border=0, float_format="{:.3g}".format))


def _page(texts: str, source: Benchmark, runs: pd.DataFrame, parts: list[str], seconds: float, folder: Path) -> str:
    from plotly.offline import get_plotlyjs

    best = runs.sort_values(Y).iloc[0]
    said = "Synthetic texts. " if source.synthetic else ""
    steps = "".join(
        f"<li>{html.escape(what)}: <code>{html.escape(how.format(folder=shlex.quote(str(folder))))}</code></li>"
        for what, how in NEXT
    )
    look = (
        f"body{{font-family:{style.FAMILY};max-width:60em;margin:2em auto;padding:0 1em;line-height:1.5}}"
        "table{border-collapse:collapse}td,th{padding:.2em .8em;text-align:right}code{background:#eee;padding:0 .3em}"
    )
    head = '<!doctype html><html lang="en"><meta charset="utf-8"><title>drscale: a first study</title>'
    about = (
        f"<p>{said}{len(source.train):,} training pairs and {len(source.test.queries):,} test queries of "
        f"<code>{html.escape(texts)}</code>; {len(runs)} bi-encoders trained. "
        f"What was not on record yet took {seconds:.0f} s. "
        f"The best is {html.escape(str(best['rung']))} on {int(best['train_pairs']):,} pairs: {best[Y]:.2f} nats, "
        f"nDCG@10 {best['in_domain_ndcg10']:.2f}. One seed and short training: a look at the tool, and no finding.</p>"
    )
    return (
        f"{head}<style>{look}</style><script>{get_plotlyjs()}</script><body><h1>A first study</h1>{about}"
        f"{''.join(parts)}<h2>What to do next</h2><ul>{steps}</ul></body></html>\n"
    )
