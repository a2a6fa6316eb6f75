"""Print how long a fresh sweep of six tiny runs takes, and the same sweep again: `python benchmarks/tiny_sweep.py`.

Both are timed as a user would see them: a new process and the command line. Exits with 1 over 60 s or over 2 s.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

STUDY = """
store = "runs"

[base]
texts = "planted"
steps = 20
batch = 16
projection = 32
rate = 0.003

[[grid]]
rung = ["L2H12", "L2H16", "L2H24"]
seed = [0, 1]
"""


def main() -> int:
    """Time the sweep twice and print both."""
    with tempfile.TemporaryDirectory() as folder:
        study = Path(folder) / "tiny.toml"
        study.write_text(STUDY)
        words = [sys.executable, "-m", "drscale.cli", "sweep", str(study)]
        seconds = []
        for _ in range(2):
            start = time.perf_counter()
            subprocess.run(words, check=True, capture_output=True, text=True)
            seconds.append(time.perf_counter() - start)
        made = len(list((Path(folder) / "runs").glob("*.json")))
    print(f"six tiny runs: fresh {seconds[0]:.1f} s ({made} records), again {seconds[1]:.2f} s; ratio", end=" ")
    print(f"{seconds[0] / seconds[1]:.0f}")
    return int(made != 6 or seconds[0] > 60 or seconds[1] > 2)


if __name__ == "__main__":
    sys.exit(main())
