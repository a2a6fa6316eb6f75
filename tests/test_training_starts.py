"""Starts: layers that have read the passages before, and MiniLM cut to its first layers."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from tiny import tiny

from drscale import sweep
from drscale.encoder import Tokens, build, minilm
from drscale.ladder import counts, flops_per_token, ladder, predicted_flops, shape_for
from drscale.recipe import ON_TABLE, Recipe
from drscale.training import pretrain
from drscale.training.pretrain import begin, common_pieces, masked

SMALL = Recipe(texts="folder:tiny", rung="L2H16", steps=4, batch=8, projection=8, passage_tokens=32)
pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture(scope="module")
def own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DRSCALE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def body(tower):
    return {n: p for n, p in tower.body.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("start", ["mlm", "retromae"])
@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_a_start_is_one_checkpoint_for_all_seeds_and_towers(start, pooling, monkeypatch):
    recipe = SMALL.but(start=start, towers="two", pooling=pooling)
    encoder, plain = build(recipe), build(recipe)
    begun = begin(encoder, recipe, tiny().train, steps=30)
    assert begun.cost["start_loss"] < begun.cost["start_loss_first"] - 0.1
    assert begun.cost["start_flops"] > 0
    assert begun.notes["start"] == f"{start} on train's passages, 30 steps"
    one, two = encoder.query_tower.state_dict(), encoder.passage_tower.state_dict()
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)  # copies of one, their projections too
    assert one["projection.weight"].data_ptr() != two["projection.weight"].data_ptr()
    assert torch.equal(encoder.query_tower.projection.weight, plain.query_tower.projection.weight)
    assert not torch.equal(*(e.query_tower.body.encoder.layer[1].output.dense.weight for e in (encoder, plain)))

    def again(*_):
        raise AssertionError("what is cached is not trained again")

    monkeypatch.setattr(pretrain, "_pretrain", again)
    other = build(recipe.but(seed=5))
    assert begin(other, recipe.but(seed=5, pairs=100), tiny().train, steps=30) == begun
    for one, two in zip(body(encoder.query_tower).values(), body(other.query_tower).values(), strict=True):
        assert torch.equal(one, two)
    with pytest.raises(AssertionError, match="cached"):
        begin(other, recipe, tiny().train, steps=31)


def test_other_starts_have_nothing_to_read():
    encoder = build(SMALL)
    before = {n: p.clone() for n, p in body(encoder.query_tower).items()}
    assert begin(encoder, SMALL, tiny().train) == pretrain.Begun()
    assert all(torch.equal(before[n], p) for n, p in body(encoder.query_tower).items())


def test_the_same_seeds_give_the_same_start():
    plain = SMALL.but(start="retromae", projection=0)
    one, two = (pretrain._pretrain(build(plain), plain, tiny().train) for _ in range(2))
    assert all(torch.equal(one.tensors[n], two.tensors[n]) for n in one.tensors)
    assert one.cost["loss"] == two.cost["loss"]


def test_masks_hide_their_share_of_the_common_pieces_and_nothing_else():
    tokens = Tokens(np.array([101, 7, 7, 9, 8, 8, 8, 102]), np.array([0, 8]))
    place = common_pieces(tokens, [101, 102], most=2)
    assert place[[8, 7, 9, 101, 102]].tolist() == [0, 1, -1, -1, -1]
    targets = np.where(np.random.default_rng(0).random((200, 50)) < 0.8, 3, -1)
    hidden = masked(targets, 0.3, np.random.default_rng(1))
    assert not hidden[targets < 0].any()
    assert hidden[targets >= 0].mean() == pytest.approx(0.3, abs=0.02)
    assert masked(targets[:1, :3], 0.001, np.random.default_rng(1)).any()


def test_a_run_that_starts_with_reading_says_so(monkeypatch):
    recipe = SMALL.but(start="mlm")
    monkeypatch.setattr(pretrain, "begin", partial(begin, steps=3))
    run = sweep.run_one(recipe, texts=tiny(), looks=1)
    assert run.status == "done"
    assert run.versions["start"] == "mlm on train's passages, 3 steps"
    assert run.cost["start_seconds"] > 0
    assert run.parameters["trainable"] == counts(shape_for(recipe), "mlm", 8)["trainable"]


def test_starts_on_the_table_count_as_the_table():
    shape = shape_for(SMALL)
    assert ON_TABLE == ("table", "mlm", "retromae")
    for start in ON_TABLE:
        assert counts(shape, start) == counts(shape, "table") != counts(shape, "checkpoint")
        assert flops_per_token(shape, 9, start) == flops_per_token(shape, 9, "table")
        assert predicted_flops(SMALL.but(start=start)) == predicted_flops(SMALL)


def test_the_minilm_ladder_is_the_checkpoint_cut_to_its_first_layers():
    rungs = ladder("minilm")
    assert list(rungs) == [f"minilm-L{n}" for n in range(1, 7)]
    recipe = Recipe(ladder="minilm", rung="minilm-L2", start="checkpoint", projection=0, query_tokens=16)
    encoder, whole = build(recipe).eval(), minilm()
    assert encoder.shape.layers == shape_for(recipe).layers == 2
    texts = ["open a file", "close it"]
    ids = torch.from_numpy(np.stack(encoder.tokens(["open a file"]).rows(np.array([0])))).long()
    with torch.no_grad():
        states = whole.query_tower.body(ids, torch.ones_like(ids), output_hidden_states=True).hidden_states
    assert np.allclose(encoder.encode(texts)[0], states[2].mean(1)[0].numpy(), atol=1e-5)
    said = counts(encoder.shape, "checkpoint", 0)
    assert said["trainable"] == sum(p.numel() for p in encoder.parameters() if p.requires_grad)
    assert said["layers"] == 2 * (12 * 384**2 + 13 * 384)
    assert predicted_flops(recipe.but(rung="minilm-L4")) == pytest.approx(2 * predicted_flops(recipe))
    with pytest.raises(ValueError, match=r"rung='L2H384': the ladder 'minilm' has minilm-L1"):
        shape_for(recipe.but(rung="L2H384"))
