"""Draw the README's figures from the measured study: the size law and the data law, the largest level held out."""

from pathlib import Path

from drscale.runs import RunStore
from drscale.show.export import export_all
from drscale.show.figures import data_figure, size_figure

HERE = Path(__file__).resolve().parent


def main() -> None:
    table = RunStore(HERE.parent / "runs" / "docs-standard").table()
    trained = table[table["steps"] == table["steps"].mode()[0]]  # some rungs were trained longer too, as a check
    sizes = trained[trained["pairs"] == 0]
    data = trained[trained["rung"] == trained.loc[trained["pairs"] > 0, "rung"].iloc[0]]
    figures = {
        "fig2a.svg": size_figure(sizes, above=sorted(sizes["params_layers"].unique())[-2]),
        "fig2b.svg": data_figure(data, above=sorted(data["train_pairs"].unique())[-2]),
    }
    for path in export_all({HERE / name: figure for name, figure in figures.items()}, width=4.6):
        print(f"wrote {path.relative_to(HERE.parent.parent)}")


if __name__ == "__main__":
    main()
