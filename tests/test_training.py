import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import tiny, tiny_collection

from drscale.encoder import build
from drscale.recipe import Recipe
from drscale.runs import StoreWarning
from drscale.training import batches, loop
from drscale.training.batches import draw, tokenised, touched_pairs

SMALL = Recipe(texts="tiny", rung="L2H12", steps=8, batch=16, negatives=32, projection=24, rate=3e-3)


def weights(encoder):
    return {n: p.detach().clone() for n, p in encoder.named_parameters()}


def trained(recipe, **options):
    encoder = build(recipe, ["ba do"] * 50)
    return encoder, loop.train(encoder, tokenised(encoder, tiny().train), recipe, **options)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 5), st.sampled_from(["in_batch", "shared", "both"]), st.integers(2, 64))
def test_an_epoch_has_every_pair_once_and_negatives_are_clean(seed, pool, batch):
    recipe = SMALL.but(seed=seed, pool=pool, batch=batch)
    encoder = build(SMALL)
    pairs = tokenised(encoder, tiny_collection("x", 100, 1))
    drawn = [draw(pairs, recipe, s) for s in range(math.ceil(100 / batch))]
    queries = np.concatenate([d.queries for d in drawn])[:100]
    assert sorted(queries) == list(range(100))
    for d in drawn:
        assert len(d.negatives) == (0 if pool == "in_batch" else 32)
        assert not set(d.negatives) & set(d.positives)
        assert len(set(d.negatives)) == len(d.negatives)
    again = draw(pairs, recipe, 1)
    assert all(
        np.array_equal(a, b)
        for a, b in zip(vars(drawn[1] if len(drawn) > 1 else again).values(), vars(again).values(), strict=True)
    )


@pytest.mark.parametrize("pool", ["in_batch", "shared", "both"])
def test_training_learns_and_is_deterministic(pool):
    recipe = SMALL.but(pool=pool, steps=60, dropout=0.1)
    one, went = trained(recipe, looks=4)
    two, again = trained(recipe, looks=4)
    assert went.curve == again.curve
    assert all(torch.equal(a, b) for a, b in zip(weights(one).values(), weights(two).values(), strict=True))
    assert went.curve[-1]["loss"] < went.curve[0]["loss"] - 0.2
    assert [p["step"] for p in went.curve] == [15, 30, 45, 60]
    assert went.tokens > 0
    assert went.flops > 6 * 3768 * went.tokens  # more than the layers alone: attention and the map count too


def test_looks_are_evenly_spaced_with_early_ones_before():
    assert sorted(loop.looks_at(800, 10)) == [20, 40, 80, 160, 240, 320, 400, 480, 560, 640, 720, 800]
    assert sorted(loop.looks_at(60, 4)) == [15, 30, 45, 60]
    assert sorted(loop.looks_at(7, 10)) == [1, 2, 3, 4, 5, 6, 7]


def test_pairs_come_in_the_order_in_which_stored_runs_had_them():
    assert batches._epoch(8, seed=3, epoch=2).tolist() == [5, 6, 3, 4, 7, 0, 2, 1]
    assert batches.CANDIDATES == 1000  # the depth of the lists that stored runs were attacked and scored with


def test_the_table_stays_frozen():
    encoder, _ = trained(SMALL)
    from drscale.encoder import minilm_table

    assert torch.equal(encoder.query_tower.body.get_input_embeddings().table, minilm_table())
    assert not any("table" in n for n, _ in encoder.named_parameters())


def test_a_resumed_run_equals_one_that_was_not_interrupted(tmp_path):
    recipe = SMALL.but(dropout=0.1, select="validation", schedule="cosine", warmup=3, pool="both", steps=12)
    looks = iter([5.0, 4.0, 6.0, 7.0])
    whole, went = trained(recipe, watch=lambda e: next(looks), looks=4)
    path, steps = tmp_path / "run.safetensors", []
    looks = iter([5.0, 4.0, 6.0, 7.0])
    trained(
        recipe,
        watch=lambda e: next(looks),
        looks=4,
        checkpoint=path,
        note=lambda s, v: steps.append(s),
        stopped=lambda: 7 in steps,
    )
    assert max(steps) == 7
    assert path.exists()
    resumed, again = trained(recipe, watch=lambda e: next(looks), looks=4, checkpoint=path)
    assert again.curve == went.curve
    assert (
        (again.tokens, again.flops, again.best_step)
        == (went.tokens, went.flops, went.best_step)
        == (went.tokens, went.flops, 6)
    )
    assert all(torch.equal(a, b) for a, b in zip(weights(whole).values(), weights(resumed).values(), strict=True))


def test_a_foreign_checkpoint_is_refused_by_name(tmp_path):
    path = tmp_path / "run.safetensors"
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(ValueError, match=r"run\.safetensors"):
        trained(SMALL, checkpoint=path)
    trained(
        SMALL.but(rung="L2H16"), checkpoint=(other := tmp_path / "o.safetensors"), stopped=iter([False, True]).__next__
    )
    with pytest.raises(ValueError, match="another encoder"):
        trained(SMALL, checkpoint=other)


def test_validation_selects_the_best_look_and_last_does_not():
    def ends(select):
        looks, kept = iter([3.0, 1.0, 2.0, 4.0]), []

        def watch(encoder):
            kept.append(weights(encoder))
            return next(looks)

        encoder, _ = trained(SMALL.but(select=select), watch=watch, looks=4)
        return [all(torch.equal(k[n], w) for n, w in weights(encoder).items()) for k in kept]

    assert ends("validation") == [False, True, False, False]
    assert ends("last") == [False, False, False, True]


def test_a_checkpoint_that_cannot_be_written_ends_no_run(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    (tmp_path / "file").write_text("where a folder would be")
    with pytest.warns(StoreWarning, match=r"run\.safetensors: no checkpoint is kept, .*; the run goes on"):
        _, went = trained(SMALL, checkpoint=tmp_path / "file" / "run.safetensors")
    assert went.step == SMALL.steps
    assert not went.reason


def test_a_checkpoint_of_other_texts_is_named_and_left(tmp_path):
    path = tmp_path / "run.safetensors"
    trained(SMALL, checkpoint=path, mark="these", stopped=iter([False, False, True]).__next__)
    with pytest.warns(StoreWarning, match=r"run\.safetensors.*other texts"):
        _, went = trained(SMALL, checkpoint=path, mark="those")
    assert went.curve == trained(SMALL)[1].curve


def test_low_precision_encodes_low_and_scores_high():
    _, exact = trained(SMALL, looks=8)
    for pool in ("in_batch", "both"):
        _, exact = trained(SMALL.but(pool=pool), looks=8)
        _, low = trained(SMALL.but(pool=pool, precision="bf16"), looks=8)
        first = [went.curve[0]["loss"] for went in (exact, low)]
        assert 0 < abs(first[0] - first[1]) < 0.02
        assert any(p["loss"] != float(torch.tensor(p["loss"]).bfloat16()) for p in low.curve)


def test_selecting_needs_a_measure_and_the_test_set_is_named():
    with pytest.raises(ValueError, match="watch"):
        trained(SMALL.but(select="validation"))
    _, went = trained(SMALL.but(select="test"), watch=lambda e: 1.0)
    assert {"test"} == went.curve[0].keys() - {"step", "loss"}


def test_divergence_ends_the_run_with_a_reason():
    _, went = trained(SMALL.but(rate=1e30, steps=30))
    assert went.reason.startswith("diverged")
    assert went.step < 30


def test_rates():
    recipe = SMALL.but(steps=10, warmup=2, rate=1.0, schedule="linear")
    assert [round(loop.rate_at(recipe, s), 4) for s in range(10)] == [
        0.5,
        1,
        1,
        0.875,
        0.75,
        0.625,
        0.5,
        0.375,
        0.25,
        0.125,
    ]
    cosine = recipe.but(schedule="cosine")
    assert loop.rate_at(cosine, 6) == pytest.approx(0.5)


def test_too_many_negatives_is_one_sentence():
    with pytest.raises(ValueError, match="negatives=390"):
        trained(SMALL.but(pool="shared", negatives=390))


@pytest.mark.parametrize(("count", "share", "touched"), [(50, 0.001, 1), (50, 0.05, 2), (50, 1.0, 50), (1, 0.5, 1)])
def test_a_share_touches_its_pairs_and_at_least_one(count, share, touched):
    some = touched_pairs(count, share, seed=3)
    assert len(set(some.tolist())) == len(some) == touched
    assert touched_pairs(count, 1.0, seed=3)[:touched].tolist() == some.tolist()
