"""Does longer training change a rung of docs-standard? Twice the steps; for narrow rungs up to sixteen times.

Every step count runs through the whole schedule, so a longer run is another run and not the same one continued. What
takes long stands first, so that two workers end together.
"""

import runpy
from pathlib import Path

study = runpy.run_path(str(Path(__file__).with_name("docs-standard.py")))
tuned = study["tuned"]
longer = [tuned(width, steps=steps) for steps in (12_800, 6_400, 3_200) for width in (24, 12)]
longer[2:2] = [tuned(48, steps=6_400)]
recipes = [*longer, tuned(48, steps=3_200), *study["both"](study["WIDTHS"][2:], steps=1_600), tuned(192, steps=1_600)]
store = "docs-doubled"
