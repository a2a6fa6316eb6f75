"""Finished runs of a sweep in an experiment tracker beside their records; the records stay what counts."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from drscale.commands.arguments import TRACKERS, UserError
from drscale.runs import Run, as_columns


def tracker(name: str, project: str) -> Callable[[Run], None]:
    """The callback that ``run_study(note=...)`` calls for each finished run: its curve step by step, then its measures.

    ``name`` is a module with trackio's ``init``, ``log`` and ``finish``.
    """
    if name not in TRACKERS:
        raise UserError(f"--track {name}: allowed are {', '.join(TRACKERS)}")
    try:
        module: Any = importlib.import_module(name)
    except ModuleNotFoundError as e:
        raise UserError(f"--track {name}: {e}; bring it with: pip install {name}") from None

    def note(run: Run) -> None:
        try:
            module.init(project=project, name=run.key, config={**asdict(run.recipe), "status": run.status})
            for point in run.curve:
                module.log({k: v for k, v in point.items() if k != "step"}, step=int(point["step"]))
            module.log({**run.cost, **as_columns(run.measures)})
            module.finish()
        except Exception as e:  # whatever a tracker raises, the sweep goes on
            warnings.warn(f"{run.key}: not in {name}, {type(e).__name__}: {e}; its record is kept", stacklevel=2)

    return note
