"""Two processes that share a run train what one trains on the whole batch, whatever the strategy."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import copies
import numpy as np
import pytest
import shared_runs
import torch
from conftest import ROOT
from safetensors.torch import load_file
from tiny import tiny

from drscale import encoder as encoders
from drscale.encoder import build
from drscale.training import loop, prepare, processes
from drscale.training.batches import tokenised
from drscale.training.packed import engine_of
from drscale.training.strategies import Strategy

# As README has it; without its flag for several GPUs accelerate would start one process on a machine that has none.
LAUNCH = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"]
LAUNCH += ["--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """What one process and what two leave; each begins with an empty cache."""
    given = os.environ | {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "ACCELERATE_USE_CPU": "true"}
    given["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    one, two = found = [tmp_path_factory.mktemp(name) for name in ("one", "two")]
    copies.run(Path(shared_runs.__file__), one, environment=given | {"DRSCALE_CACHE": str(one / "cache")})
    done = subprocess.run(
        [sys.executable, *LAUNCH, shared_runs.__file__, str(two)],
        env=given | {"DRSCALE_CACHE": str(two / "cache")},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return found


# Weights whose gradient is zero: keys' biases, and with two towers what moves all passages' vectors alike. AdamW makes
# whole steps of any rounding there.
KEYS = ("key.bias",)
PASSAGES = ("passage_tower.projection.bias", "passage_tower.body.encoder.layer.1.output.LayerNorm.bias")
TOLERANCE = {"fp32": 3e-5, "bf16": 3e-2}


def distance(one, two, recipe):
    """How far two runs of a recipe end from each other, as a share of the way that its weights go."""
    free = KEYS + PASSAGES if recipe.towers == "two" else KEYS
    start = {name: weight.detach() for name, weight in build(recipe).named_parameters() if not name.endswith(free)}
    moved = sum(float((one[name] - weight).abs().sum()) for name, weight in start.items())
    assert moved > 1
    return sum(float((one[name] - two[name]).abs().sum()) for name in start) / moved


@pytest.mark.slow
@pytest.mark.parametrize("name", shared_runs.RECIPES)
def test_two_processes_train_what_one_does(folders, name):
    recipe, (one, two) = shared_runs.RECIPES[name], (load_file(folder / f"{name}.safetensors") for folder in folders)
    assert distance(one, two, recipe) < TOLERANCE[recipe.precision]


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


# ---------------------------------------------------------------------------------------------------- cached gradients


def trained(recipe, monkeypatch, chunk=0):
    """The weights after a few steps, the last gradients, and the padded tokens of each chunk, with a graph or not."""
    monkeypatch.setenv(processes.CHUNK, str(chunk))
    encoder, seen = build(recipe), []
    for tower in {encoder.query_tower, encoder.passage_tower}:
        tower.register_forward_pre_hook(lambda _, given: seen.append((given[0].numel(), torch.is_grad_enabled())))
    pairs = tokenised(encoder, tiny().train)
    touch = prepare.with_hard_negatives(recipe, pairs, np.roll(pairs.relevant[:, :1], 1, axis=0))
    strategy = Strategy(recipe, pairs, None if recipe.strategy == "standard" else touch)
    loop.train(encoder, pairs, recipe, strategy=strategy)
    weights = dict(encoder.named_parameters())
    last = torch.cat([weight.grad.flatten() for weight in weights.values()])
    return {name: weight.detach() for name, weight in weights.items()}, last, seen


@pytest.mark.parametrize("dropout", [0.0, 0.1])
@pytest.mark.parametrize(
    "recipe",
    [
        shared_runs.SMALL.but(pool="both"),
        shared_runs.SMALL.but(towers="two", precision="bf16"),
        shared_runs.SMALL.but(strategy="hard_negative", share=0.5),
        shared_runs.SMALL.but(strategy="hard_negative", variant="pairwise", pool="shared"),
    ],
    ids=["standard", "two towers, bf16", "hard_negative", "hard_negative pairwise"],
)
def test_cached_gradients_are_those_of_plain_training(recipe, dropout, monkeypatch):
    monkeypatch.setattr(encoders, "CHUNK_TOKENS", 256)
    plain, gradients, before = trained(recipe.but(dropout=dropout), monkeypatch)
    cached, others, seen = trained(recipe.but(dropout=dropout), monkeypatch, chunk=256)
    tolerance = 1e-5 if recipe.precision == "fp32" else TOLERANCE["bf16"]
    assert distance(plain, cached, recipe) < tolerance
    assert (gradients - others).norm() < tolerance * gradients.norm()
    assert all(graph for _, graph in before)
    assert len(before) >= 6  # several chunks a step
    assert [sizes for sizes, graph in seen if graph] == [sizes for sizes, _ in before]
    assert [sizes for sizes, graph in seen if not graph] == [sizes for sizes, _ in before]


def test_smaller_chunks_give_the_same_without_dropout(monkeypatch):
    recipe = shared_runs.SMALL.but(pool="both", batch=32)
    plain, _, before = trained(recipe, monkeypatch)
    cached, _, seen = trained(recipe, monkeypatch, chunk=100)
    assert max(sizes for sizes, _ in before) > 500
    assert max(sizes for sizes, _ in seen) <= 100
    assert distance(plain, cached, recipe) < TOLERANCE["fp32"]


def test_a_record_names_the_chunk_and_a_wrong_one_is_a_sentence(monkeypatch):
    monkeypatch.delenv(processes.CHUNK, raising=False)
    assert "chunk" not in processes.notes()
    monkeypatch.setenv(processes.CHUNK, "8192")
    assert processes.notes()["chunk"] == "8192 tokens, gradients cached"
    assert engine_of(build(shared_runs.SMALL), shared_runs.SMALL.but(precision="bf16")) == "plain"
    mgda = shared_runs.RECIPES["mgda"]
    pairs = tokenised(build(mgda), tiny().train)
    with pytest.raises(ValueError, match="DRSCALE_CHUNK=8192: balance='mgda' needs the whole graph"):
        loop.train(build(mgda), pairs, mgda, strategy=Strategy(mgda, pairs, lambda batch, step: batch))
    monkeypatch.setenv(processes.CHUNK, "64 rows")
    with pytest.raises(ValueError, match="DRSCALE_CHUNK='64 rows': a whole number of tokens"):
        processes.notes()


# ----------------------------------------------------------------------------------------------------- what is refused


def test_fewer_texts_than_processes_are_refused():
    encoder = build(shared_runs.SMALL)
    five = SimpleNamespace(num_processes=5, process_index=0, prepare_model=lambda model: model)
    texts = [np.array([1, 2, 3])] * 4
    with pytest.raises(ValueError, match="5 processes share a run, and a batch has only 4 texts of a kind"):
        processes.Encoding(encoder, five)(texts, texts * 2)
