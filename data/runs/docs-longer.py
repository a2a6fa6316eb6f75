"""Does longer training change a rung of docs-first? Narrow ones get twice the steps, wide ones 1.5 times."""

import runpy
from pathlib import Path

tuned = runpy.run_path(str(Path(__file__).with_name("docs-first.py")))["tuned"]
recipes = [tuned(f"L2H{width}", steps=1200) for width in (256, 192, 128)]
recipes += [tuned(f"L2H{width}", steps=1600) for width in (12, 24, 48)]
store = "docs-longer"
