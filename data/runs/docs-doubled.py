"""Does longer training change a rung of docs-standard? Twice the steps, the narrower rungs with both seeds."""

import runpy
from pathlib import Path

study = runpy.run_path(str(Path(__file__).with_name("docs-standard.py")))
recipes = [*study["both"](study["WIDTHS"][2:], steps=1600), study["tuned"](192, steps=1600)]
store = "docs-doubled"
