"""Who should label crops? DRAGON's Table 2 with the queries that its own has: single teachers, fused, uniform.

docs-supervision asks it with people's queries, whose labels are known. Here every ninth sentence of the training
passages is a query (8,350), with the lists that data/scores/some_lists.py makes for docs-final; progressive supervision
by the three teachers on the same crops is there. L2H48, 801 steps in three iterations, two seeds.
"""

import runpy
from pathlib import Path

final = runpy.run_path(str(Path(__file__).with_name("docs-final.py")))
THREE = final["lists"]("cropped")
LABELS = [("uniform", THREE), ("fused", THREE), *(("uniform", one) for one in THREE.split("+"))]
recipes = [
    final["student"]("cropped", seed, variant=variant, teachers=teachers)
    for seed in (0, 1)
    for variant, teachers in LABELS
]
store = "docs-crops"
