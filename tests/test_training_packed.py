"""The loop with everything on the device trains as the plain one does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from drscale.encoder import build
from drscale.models import texts_of
from drscale.recipe import Recipe
from drscale.sweep import run_one
from drscale.training import loop, packed
from drscale.training.batches import tokenised

BASE = Recipe(texts="planted?pairs=300", rung="L2H16", steps=12, batch=8, rate=1e-3, warmup=2, schedule="linear")
TEXTS = texts_of(BASE.texts)


def went(train: Any, recipe: Recipe, **options: Any) -> tuple[loop.Progress, dict[str, np.ndarray]]:
    encoder = build(recipe)
    progress = train(encoder, tokenised(encoder, TEXTS.train), recipe, **options)
    return progress, {n: p.detach().numpy().copy() for n, p in encoder.named_parameters()}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"pool": "shared", "negatives": 32},
        {"pool": "both", "negatives": 20},
        {"towers": "two", "projection": 0},
        {"pairs": 100, "corpus": "whole"},
        {"ladder": "local-decoder", "pooling": "last"},
        {"ladder": "local-decoder", "mask": "bidirectional", "pool": "shared", "negatives": 32},
    ],
)
def test_it_trains_as_the_plain_loop(changes: dict[str, Any]) -> None:
    recipe = BASE.but(**changes)
    (plain, before), (ours, after) = went(loop.train, recipe), went(packed.train, recipe)
    assert ours.tokens == plain.tokens
    assert ours.flops == pytest.approx(plain.flops)
    assert [c["step"] for c in ours.curve] == [c["step"] for c in plain.curve]
    assert [c["loss"] for c in ours.curve] == pytest.approx([c["loss"] for c in plain.curve], abs=2e-4)
    moved = [np.abs(before[n] - build(recipe).state_dict()[n].numpy()).max() for n in list(before)[:3]]
    assert max(moved) > 3e-4  # it did train
    matrices = [n for n, values in before.items() if values.ndim == 2]  # a bias may have no gradient but rounding
    assert matrices
    for name in matrices:
        assert np.abs(after[name] - before[name]).mean() < 0.05 * max(moved), name


@pytest.mark.parametrize(("pooling", "ladder"), [("mean", "local"), ("cls", "local"), ("last", "local-decoder")])
def test_texts_that_nobody_looks_at_change_nothing(pooling: Any, ladder: str) -> None:
    encoder = build(BASE.but(pooling=pooling, ladder=ladder)).eval()
    pairs = tokenised(encoder, TEXTS.train)
    feed = packed.Feed(pairs, BASE, 1, torch.device("cpu"))
    ids, segments, starts, real = feed.packed(0, torch.tensor([3]))
    assert len(ids) == feed.caps[0]
    assert real == 16
    assert feed.caps[0] % 128 == 0
    vectors = packed.packed_vectors(encoder.query_tower, ids, segments, starts, feed.longest[0], torch.float32)[:real]
    batch = packed.draw(pairs, BASE, 3)
    queries, passages = encoder(pairs.queries.rows(batch.queries), pairs.passages.rows(batch.positives))
    assert torch.allclose(vectors, torch.cat([queries, passages]), atol=1e-5)


def test_a_run_goes_on_from_its_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", -1.0)
    recipe = BASE.but(dropout=0.2)
    _, whole = went(packed.train, recipe, looks=4)
    seen = []

    def stopped() -> bool:
        seen.append(1)
        return len(seen) > 2

    file = tmp_path / "run.safetensors"
    part, _ = went(packed.train, recipe, looks=4, checkpoint=file, stopped=stopped)
    assert 0 < part.step < recipe.steps
    assert file.is_file()
    rest, values = went(packed.train, recipe, looks=4, checkpoint=file)
    assert rest.step == recipe.steps
    for name, value in whole.items():
        assert np.abs(values[name] - value).max() < 1e-5, name


def test_a_loss_that_is_not_finite_ends_the_run() -> None:
    progress, _ = went(packed.train, BASE.but(rate=1e30, warmup=0))
    assert progress.reason.startswith("diverged: the loss is not finite at step ")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"strategy": "hard_negative"}, "makes batches of its own"),
        ({"iterations": 2}, "start the optimiser anew"),
        ({"precision": "fp16"}, "loss scaler"),
    ],
)
def test_what_it_cannot_train_is_the_plain_loops(
    changes: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = BASE.but(**changes)
    encoder = build(recipe)
    assert packed.engine_of(encoder, recipe) == "plain"
    monkeypatch.setenv(packed.VARIABLE, "packed")
    with pytest.raises(ValueError, match=said):
        packed.engine_of(encoder, recipe)
    monkeypatch.setenv(packed.VARIABLE, "fast")
    with pytest.raises(ValueError, match="allowed are 'auto', 'plain', 'packed'"):
        packed.engine_of(encoder, recipe)


def test_the_record_says_which_loop_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(packed.VARIABLE, "packed")
    run = run_one(BASE.but(steps=2))
    assert run.versions["engine"] == "packed"
    assert 0 < run.cost["training_seconds"] < run.cost["seconds"]
    monkeypatch.delenv(packed.VARIABLE)
    assert "engine" not in run_one(BASE.but(steps=2)).versions
