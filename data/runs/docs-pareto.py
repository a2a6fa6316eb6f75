"""Pareto training and what it is compared with: the loss of notebook 11's adversarial runs, weighed in several ways.

Adversarial training at half of the pairs. ``steered`` is the controller with omega_0 read as the ratio of robustness to
effectiveness in training, as the plain adversarial run at L2H48 of docs-strategies has it, a smaller step and a moving
average; it is crossed over sizes and data sizes. At one size stand the paper's own settings, the same with both
losses pairwise, fixed weights, MGDA and PCGrad.
"""

import runpy
from pathlib import Path

study = runpy.run_path(str(Path(__file__).with_name("docs-strategies.py")))
probed, crossed, WIDTHS, CROSS = (study[name] for name in ("probed", "crossed", "WIDTHS", "CROSS"))
RATIO = 0.08  # robustness / effectiveness in training: the means of the run's looks from step 400 on, 0.12 and 1.5
adversarial = {"strategy": "adversarial", "share": 0.5}
gentle = {"balance": "pareto", "omega": RATIO, "eta": 0.002, "smooth": 0.9}

steered = crossed(**adversarial, **gentle)
paper = [
    probed(CROSS, **adversarial, balance="pareto"),
    probed(CROSS, **adversarial, balance="pareto", variant="pairwise"),
    probed(CROSS, **adversarial, balance="pareto", omega=RATIO),
]
fixed = [probed(CROSS, **adversarial, balance="fixed", omega=omega) for omega in (0.5, 0.25, 0.75, 0.9)]
mgda, pcgrad = (probed(CROSS, **adversarial, balance=balance) for balance in ("mgda", "pcgrad"))
# What answers most stands first: one size, then the other sizes, then the amounts of data.
at_cross = [r for r in steered if r.rung == f"L2H{CROSS}" and not r.pairs]
recipes = [*at_cross, *paper, *fixed[:1], mgda, pcgrad, *fixed[1:], *(r for r in steered if r not in at_cross)]
store = "docs-pareto"
