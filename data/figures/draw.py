"""Draw the README's figures from the measured study: the size law and the data law, the largest level held out."""

from pathlib import Path

from drscale.laws.diagnostics import converged_runs
from drscale.laws.plot import data_figure, size_figure
from drscale.plotting.files import export_all
from drscale.runs import RunStore

HERE = Path(__file__).resolve().parent


def main() -> None:
    store = RunStore(HERE.parent / "runs" / "docs-standard")
    runs = converged_runs(store.table(), store.curves())
    sizes, data = runs[runs["pairs"] == 0], runs[runs["rung"] == "L2H128"]
    figures = {
        "fig2a.svg": size_figure(sizes, above=sorted(sizes["params_layers"].unique())[-2]),
        "fig2b.svg": data_figure(data, above=sorted(data["train_pairs"].unique())[-2]),
    }
    for path in export_all({HERE / name: figure for name, figure in figures.items()}, width=4.6):
        print(f"wrote {path.relative_to(HERE.parent.parent)}")


if __name__ == "__main__":
    main()
