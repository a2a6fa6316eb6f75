"""One tower or two, from equal and trained starts: the fair form of DRAGON's section 4.3.

In docs-dragon two towers began as different random layers, with the learning rate of one tower. Here both begin as
copies of one masked language model of the training passages (``start="mlm"``, 300 steps), and each arm has three
learning rates on seed 0: the half, the same and twice the rate of docs-standard. The rate with the lowest entropy on
the validation split is the arm's own, and has seed 1, too. L2H48, progressive supervision by three
teachers, 801 steps. One tower at the usual rate is in docs-dragon, both seeds.
"""

import runpy
from pathlib import Path

dragon = runpy.run_path(str(Path(__file__).with_name("docs-dragon.py")))
student, usual = dragon["student"], dragon["student"]().rate
RATES = {factor: float(f"{usual * factor:.2g}") for factor in (0.5, 1, 2)}
first = [(1, "two"), (2, "two"), (2, "shared"), (0.5, "two"), (0.5, "shared")]
recipes = [student(start="mlm", towers=towers, rate=RATES[factor]) for factor, towers in first]
recipes.append(student(start="mlm", towers="two", seed=1))  # the usual rate was best for both
store = "docs-towers"
