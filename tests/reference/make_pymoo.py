"""Make pymoo.json: point sets with pymoo's non-dominated layers and hypervolumes, lower being better.

pymoo is not among our requirements, so this runs in an environment of its own:

    python -m venv build/pymoo
    build/pymoo/bin/pip install pymoo==0.6.2
    build/pymoo/bin/python tests/reference/make_pymoo.py
"""

import json
from pathlib import Path

import numpy as np
import pymoo
from pymoo.indicators.hv import HV
from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting

rng, sets = np.random.default_rng(0), []
for axes in (2, 3):
    for count, digits in ((1, 3), (5, 3), (30, 3), (30, 1), (40, 0)):  # few digits make ties and twins
        angle = rng.uniform(0, 1, (count, axes)) ** 2
        points = np.round(3 * rng.uniform(0.5, 1.5, (count, 1)) * angle / angle.sum(1, keepdims=True), digits)
        layers = np.zeros(count, dtype=int)
        for depth, members in enumerate(NonDominatedSorting().do(points), start=1):
            layers[members] = depth
        for reference in (np.full(axes, 5.0), np.full(axes, 1.5)):  # all inside, and some beyond
            volume = float(HV(ref_point=reference)(points))
            sets.append(
                {
                    "points": points.tolist(),
                    "reference": reference.tolist(),
                    "layers": layers.tolist(),
                    "volume": volume,
                }
            )

path = Path(__file__).with_name("pymoo.json")
lines = ",\n".join(json.dumps(s) for s in sets)
path.write_text(f'{{"made_with": "pymoo {pymoo.__version__}", "sets": [\n{lines}\n]}}\n')
