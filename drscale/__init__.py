"""How the effectiveness and the robustness of dense retrievers scale, and what the next dollar should buy.

``import drscale as ds`` loads nothing heavy: every name of ``ds.__all__`` is loaded when it is first used, and torch
only by a name that needs it. A table of runs becomes a law, a law a plan, and everything prints, draws and exports:

>>> import drscale as ds
>>> runs = ds.example_runs()
>>> fit = ds.fit_law(runs[runs["pairs"] == 0], ds.size_law, warn=False)  # 0: all pairs
>>> round(fit.best_values["mu"], 2)
0.45
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
