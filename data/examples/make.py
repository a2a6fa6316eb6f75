"""Write runs.csv from the measured study: the table of runs as somebody else's CSV might look, names and all.

A run a row, each trained for as long as it paid, in the columns of COLUMNS.
"""

from pathlib import Path

from drscale.files import write_atomic
from drscale.laws import diagnostics as duration
from drscale.runs import RunStore

HERE = Path(__file__).resolve().parent
COLUMNS = {
    "rung": "model",
    "params_layers": "parameters",
    "train_pairs": "pairs",
    "seed": "seed",
    "in_domain_entropy": "test_loss",
    "ood_entropy": "loss_elsewhere",
    "in_domain_ndcg10": "test_ndcg",
}


def main() -> None:
    store = RunStore(HERE.parent / "runs" / "docs-standard")
    runs = duration.converged_runs(store.table(), store.curves())
    table = runs[list(COLUMNS)].rename(columns=COLUMNS).sort_values(["parameters", "pairs", "seed"])
    write_atomic(HERE / "runs.csv", table.to_csv(index=False, float_format="%.5g"))
    print(f"wrote data/examples/runs.csv, {len(table)} runs")


if __name__ == "__main__":
    main()
