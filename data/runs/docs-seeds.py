"""Second seeds of docs-strategies and docs-pareto, where a difference between runs is small or matters most.

Standard, adversarial and steered Pareto training, the weights nearest to the front, denoising with few pairs (the
largest gain there was), and standard training at the largest size.
"""

import runpy
from pathlib import Path

study = runpy.run_path(str(Path(__file__).with_name("docs-pareto.py")))
probed, adversarial, gentle, WIDTHS, CROSS = (study[n] for n in ("probed", "adversarial", "gentle", "WIDTHS", "CROSS"))

weights = [{"balance": "pareto"}, {"balance": "fixed", "omega": 0.25}, {"balance": "pcgrad"}]
trained = [{}, adversarial, adversarial | gentle, *(adversarial | w for w in weights)]
few = [(pairs, strategy) for pairs in (1056, 2112) for strategy in ({}, {"strategy": "denoising", "share": 0.5})]
recipes = [
    *(probed(CROSS, seed=1, **t) for t in trained),
    *(probed(CROSS, seed=1, pairs=p, **s) for p, s in few),
    probed(max(WIDTHS), seed=1),
]
store = "docs-seeds"
