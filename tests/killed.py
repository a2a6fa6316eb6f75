"""A worker for tests of clusters: its sweeps are small, and the first to make a run of seed 1 is killed half-way in."""

import os
import signal
import sys
from functools import lru_cache, partial
from pathlib import Path

from scripts import script

from drscale import sweep
from drscale.recipe import Recipe
from drscale.runs import RunStore
from drscale.study import plan_study
from drscale.training import loop

BASE = Recipe(texts="planted", rung="L2H12", start="scratch", projection=8, steps=12, batch=8, rate=3e-3)
HALF = 6


@lru_cache(maxsize=1)
def breakage():
    """The benchmark that breaks sweeps, as a module."""
    return script("benchmarks/breakage.py")


@lru_cache(maxsize=1)
def set_up():
    """Make this process's sweeps small, with a checkpoint after every step."""
    breakage().make_small()
    loop.CHECKPOINT_SECONDS = 0.0
    return loop.rate_at


def work(deaths, recipe, store, *rest):
    """Make a run in a worker; of seed 1 the first ``deaths`` processes die half-way in and leave their number."""
    loop.rate_at = partial(dying, set_up(), Path(store).parent / "dead", deaths)
    return sweep.work(recipe, store, *rest)


def dying(rate_at, dead, deaths, recipe, step):
    if step == HALF and recipe.seed == 1:
        dead.mkdir(exist_ok=True)
        if len(list(dead.iterdir())) < deaths:
            (dead / str(os.getpid())).touch()
            os.kill(os.getpid(), signal.SIGKILL)
    return rate_at(recipe, step)


class Deadly:
    """An executor whose workers die; its jobs are those of the executor inside."""

    def __init__(self, inside, deaths=1):
        self.inside, self.deaths = inside, deaths

    def submit(self, call, *given):
        return self.inside.submit(partial(work, self.deaths) if call is sweep.work else call, *given)


def plan(path, seeds=(0, 1, 2)):
    """What a store lacks of a few small runs."""
    return plan_study([BASE.but(seed=seed) for seed in seeds], RunStore(path))


if __name__ == "__main__":  # the same runs, undisturbed
    set_up()
    sweep.run_study(plan(sys.argv[1]), progress=False)
