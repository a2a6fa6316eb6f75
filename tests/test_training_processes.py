"""Two processes that share a run train what one trains on the whole batch, whatever the strategy."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import shared_runs
from conftest import ROOT
from safetensors.torch import load_file

from drscale.encoder import build
from drscale.training import processes

LAUNCH = ["-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """What one process and what two leave; each begins with an empty cache."""
    env = os.environ | {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "ACCELERATE_USE_CPU": "true"}
    env["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    found = []
    for words in ([], LAUNCH):
        folder = tmp_path_factory.mktemp("two" if words else "one")
        done = subprocess.run(
            [sys.executable, *words, shared_runs.__file__, str(folder)],
            env=env | {"DRSCALE_CACHE": str(folder / "cache")},
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        found.append(folder)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", shared_runs.RECIPES)
def test_two_processes_train_what_one_does(folders, name):
    one, two = (load_file(folder / f"{name}.safetensors") for folder in folders)
    start = dict(build(shared_runs.RECIPES[name]).named_parameters())
    kept = [weight for weight in one if not weight.endswith(FREE[start.keys() > {"passage_tower.projection.bias"}])]
    apart = sum(float((one[weight] - two[weight]).abs().sum()) for weight in kept)
    moved = sum(float((one[weight] - start[weight].detach()).abs().sum()) for weight in kept)
    assert moved > 1
    assert apart / moved < TOLERANCE[shared_runs.RECIPES[name].precision]


# Weights whose gradient is zero: keys' biases, and with two towers what moves all passages' vectors alike; AdamW makes
# steps of any rounding there.
FREE = {
    False: ("key.bias",),
    True: ("key.bias", "passage_tower.projection.bias", "passage_tower.body.encoder.layer.1.output.LayerNorm.bias"),
}
TOLERANCE = {"fp32": 3e-5, "bf16": 2e-2}  # of the way that the weights go


@pytest.mark.slow
def test_both_processes_have_the_gradients_of_one(folders):
    one = load_file(folders[0] / "gradients-0.safetensors")
    for index in range(2):
        shared = load_file(folders[1] / f"gradients-{index}.safetensors")
        assert shared.keys() == one.keys()
        for name, gradient in one.items():
            assert (gradient - shared[name]).abs().max() < 1e-5 * max(1.0, float(gradient.abs().max()))


@pytest.mark.slow
def test_a_shared_run_is_made_trained_and_scored_like_one(folders):
    one, two = (json.loads((folder / "run.json").read_text()) for folder in folders)
    assert two == pytest.approx(one, abs=1e-5)
    assert len(one) == 4


def test_fewer_texts_than_processes_are_refused():
    encoder = build(shared_runs.SMALL)
    five = SimpleNamespace(num_processes=5, process_index=0, prepare_model=lambda model: model)
    texts = [np.array([1, 2, 3])] * 4
    with pytest.raises(ValueError, match="5 processes share a run, and a batch has only 4 texts of a kind"):
        processes.Encoding(encoder, five)(texts, texts * 2)
