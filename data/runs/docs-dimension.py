"""How many numbers does a vector need? Seven dimensions at three sizes, two seeds, to fit a law of the dimension.

The third axis beside parameters and pairs (Killingback et al. 2026, arXiv 2602.05062). All else is the recipe of
docs-decoders' encoder. The models of 768 dimensions are kept, to be cut and quantised afterwards.
"""

import runpy
from pathlib import Path

tuned = runpy.run_path(str(Path(__file__).with_name("docs-decoders.py")))["tuned"]
SIZES = ((2, 32), (2, 128), (4, 256))
DIMENSIONS = (768, 8, 32, 128, 16, 64, 256)
recipes = [tuned(*size, projection=n, seed=seed) for seed in (0, 1) for n in DIMENSIONS for size in SIZES]
store = "docs-dimension"
