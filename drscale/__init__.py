"""How the effectiveness and the robustness of dense retrievers scale, and what the next dollar should buy.

``import drscale as ds`` loads nothing heavy: every name of ``ds.__all__`` is loaded when it is first used, and torch
only by a name that needs it. A table of runs becomes a law, a law a plan, and everything prints, draws and exports:

>>> import drscale as ds
>>> runs = ds.example_runs()
>>> fit = ds.fit_law(runs[runs["pairs"] == 0], ds.size_law, warn=False)  # 0: all pairs
>>> round(fit.best_values["mu"], 2)
0.45
"""

import importlib
from typing import Any

import lazy_loader

__version__ = "0.1.0"

_attached, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> Any:
    """Load a name of the door; where a library that it needs is not installed, say what brings it."""
    try:
        return _attached(name)
    except ModuleNotFoundError as e:
        if (e.name or "drscale").partition(".")[0] == "drscale":
            raise
        doctor = importlib.import_module("drscale.doctor")
        module = (e.name or "").partition(".")[0].replace("_", "-")
        known = {extra: [d.replace("_", "-") for d in doctor.requirements(extra)] for extra in ("", "lab")}
        brings = next((extra for extra, names in known.items() if {module, f"{module}-cpu"} & set(names)), None)
        if brings is None:
            raise
        said = f"ds.{name} needs {e.name}, which is not installed; this brings it: {doctor.extra(brings)}"
        raise ModuleNotFoundError(said, name=e.name) from None
