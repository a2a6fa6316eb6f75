"""Write drscale/example_runs.csv, the table behind ``ds.example_runs()``: the runs of data/runs/docs-standard.

python data/examples/make_runs.py
"""

from pathlib import Path

from drscale.runs import RunStore

ROOT = Path(__file__).parents[2]
ABOUT = ["key", "texts", "rung", "pairs", "seed", "strategy", "steps", "status", "fingerprint", "synthetic"]
COUNTS = ["train_pairs", "params_layers", "params_drscale", "params_trainable", "flops", "seconds", "tokens"]
MEASURES = ["entropy", "calibrated", "ndcg10"]


def main() -> None:
    table = RunStore(ROOT / "data" / "runs" / "docs-standard").table()
    columns = [f"{s}_{m}{end}" for s in ("in_domain", "ood") for m in MEASURES for end in ("", "_low", "_high")]
    table[[*ABOUT, *COUNTS, *columns]].round(5).to_csv(ROOT / "drscale" / "example_runs.csv", index=False)


if __name__ == "__main__":
    main()
