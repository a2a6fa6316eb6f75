"""Does following grow with size? Two objectives of docs-instructed at a smaller and a larger rung, two seeds.

The rung between them, L2H32, is in docs-instructed. The rate is 0.1 / width, as there. Weights are kept:
`python data/scores/instructions.py sizes` measures them.
"""

import runpy
from pathlib import Path

from drscale.sweep import grid

tuned = runpy.run_path(str(Path(__file__).with_name("docs-instructed.py")))["tuned"]
RATES = {"L2H16": 0.0062, "L2H64": 0.0016}
VARIANTS = ("uninstructed", "joint_softmax")
recipes = [
    one for rung, rate in RATES.items() for one in grid(tuned.but(rung=rung, rate=rate), seed=(0, 1), variant=VARIANTS)
]
store = "docs-instructed-sizes"
keep = True
