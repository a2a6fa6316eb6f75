"""Make lme4.json: what R's lme4, lmerTest, emmeans and car say of four tables.

R is not among our requirements; on Debian:

    apt-get install r-base-core r-cran-lme4 r-cran-lmertest r-cran-emmeans r-cran-car r-cran-jsonlite
    python tests/reference/make_lme4.py

The tables: Pastes (Davies and Goldsmith 1972, Table 6.5) and Oats (Yates 1935), as lme4 and nlme bring them; synthetic
ones with missing rows, without a variance of datasets, and with an empty cell; and measured rows of
data/runs/docs-strategies, which stay where they are.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from mixed_tables import measured, synthetic, without_a_cell  # noqa: E402

TAX = {"model": "m1", "against": "m0", "home": "f0", "abroad": "f1"}
NESTED = "(1 | dataset/query)"
CASES = [
    {"table": "pastes", "formula": f"y ~ 1 + {NESTED}", "reml": True},
    {"table": "pastes", "formula": f"y ~ 1 + {NESTED}", "reml": False},
    {"table": "oats", "formula": f"y ~ model * factor + {NESTED}", "reml": True},
    {"table": "oats", "formula": f"y ~ model + factor + {NESTED}", "reml": True},
    {"table": "oats", "formula": "y ~ model * factor + (1 | dataset)", "reml": True},
    {"table": "synthetic", "formula": f"y ~ model * factor + {NESTED}", "reml": True, "tax": TAX},
    {"table": "synthetic", "formula": f"y ~ model * factor + {NESTED}", "reml": False, "tax": TAX},
    {"table": "synthetic", "formula": f"y ~ model + factor + {NESTED}", "reml": True},
    {"table": "boundary", "formula": f"y ~ model * factor + {NESTED}", "reml": True, "tax": TAX},
    {"table": "empty", "formula": f"y ~ model * factor + {NESTED}", "reml": True},
    {"table": "measured", "formula": f"y ~ model * factor + {NESTED}", "reml": True},
]

with tempfile.TemporaryDirectory() as name:
    folder = Path(name)
    made = {
        "synthetic": synthetic(),
        "boundary": synthetic(dataset_sd=0.0, seed=5),
        "empty": without_a_cell(),
        "measured": measured(),
    }
    for table, rows in made.items():
        rows.to_csv(folder / f"{table}.csv", index=False)
    (folder / "cases.json").write_text(json.dumps(CASES))
    subprocess.run(["Rscript", str(HERE / "lme4.R"), str(folder)], check=True)
    found = json.loads((folder / "lme4.json").read_text())
    stored = {t: pd.read_csv(folder / f"{t}.csv") for t in ("pastes", "oats", "synthetic", "boundary", "empty")}
found["tables"] = {t: {c: v.to_numpy().tolist() for c, v in rows.items()} for t, rows in stored.items()}
(HERE / "lme4.json").write_text(json.dumps(found, separators=(",", ":"), allow_nan=False) + "\n")
