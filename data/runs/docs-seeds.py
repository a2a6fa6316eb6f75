"""Second seeds of docs-strategies and docs-pareto, where a difference between two runs is small or matters most.

Standard, adversarial and steered Pareto training over all five sizes; at one size the weights nearest to the front; and
denoising with few pairs, the largest gain there was.
"""

import runpy
from pathlib import Path

study = runpy.run_path(str(Path(__file__).with_name("docs-pareto.py")))
probed, adversarial, gentle, WIDTHS, CROSS = (study[n] for n in ("probed", "adversarial", "gentle", "WIDTHS", "CROSS"))

sizes = [probed(w, seed=1, **s) for w in WIDTHS for s in ({}, adversarial, adversarial | gentle)]
weights = [
    probed(CROSS, seed=1, **adversarial, **b)
    for b in ({"balance": "pareto"}, {"balance": "fixed", "omega": 0.25}, {"balance": "pcgrad"})
]
denoising = {"strategy": "denoising", "share": 0.5}
few = [probed(CROSS, seed=1, pairs=p, **s) for p in (1056, 2112) for s in ({}, denoising)]
recipes = [
    *(r for r in sizes if r.rung == f"L2H{CROSS}"),
    *weights,
    *few,
    *(r for r in sizes if r.rung != f"L2H{CROSS}"),
]
store = "docs-seeds"
