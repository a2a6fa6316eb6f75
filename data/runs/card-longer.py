"""Was it the steps? Three sizes of the card's study from scratch, three times as long (3,600 steps of 256 pairs)."""

import runpy
from pathlib import Path

sized = runpy.run_path(str(Path(__file__).with_name("card.py")))["sized"]
SIZES = ((2, 128), (4, 256), (8, 512))
long = {"texts": "api-docs", "start": "scratch", "steps": 3600, "warmup": 360}
recipes = [sized(width, rung=f"L{layers}H{width}", **long) for layers, width in SIZES]
store = "card-longer"
