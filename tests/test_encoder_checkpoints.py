"""Bodies of every family: counts and FLOPs against modules, checkpoints in their true formats, masks, poolings."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from tiny import tiny

from drscale.encoder import WEIGHTS, build, first_line, learn_vocabulary
from drscale.evaluate.retrievers import rank_scores, retriever
from drscale.ladder import (
    BODIES,
    counts,
    flops_per_token,
    ladder,
    layer_parameters,
    predicted_flops,
    shape_for,
    shape_from,
    training_factor,
)
from drscale.recipe import Recipe, check
from drscale.runs import YOUNG, Run
from drscale.training.batches import tokenised
from drscale.training.loop import train

TEXTS = ["ba do ki", "lu me no pa ri su te va zo ba do ki lu me", "x", "zo zo zo zo"]
SMALL = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 40, "vocab_size": 70}
NO_ENDS = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2, "sep_token_id": 3}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": ("Bert", {"type_vocab_size": 2}),
    "ernie": ("Ernie", {"type_vocab_size": 4, "use_task_id": True, "task_type_vocab_size": 3}),
    "modernbert": ("ModernBert", NO_ENDS),
    "modernbert-decoder": ("ModernBertDecoder", NO_ENDS),
    "llama": ("Llama", {"num_key_value_heads": 2, **NO_ENDS}),
    "mistral": ("Mistral", {"num_key_value_heads": 1, **NO_ENDS}),
    "qwen2": ("Qwen2", {"num_key_value_heads": 2, **NO_ENDS}),
    "qwen3": ("Qwen3", {"num_key_value_heads": 2, "head_dim": 16, **NO_ENDS}),
}
DECODERS = [kind for kind in FAMILIES if kind in BODIES and BODIES[kind].causal]


def config_of(kind: str, **more: Any) -> Any:
    name, options = FAMILIES[kind]
    known = getattr(transformers, f"{name}Config")
    cls_sep = {"cls_token_id", "sep_token_id"}
    options = {k: v for k, v in options.items() if k not in cls_sep or hasattr(known(), k)}
    return known(**{**SMALL, **options, **more})


def body_of(kind: str, **more: Any) -> Any:
    torch.manual_seed(0)
    pooler = {"add_pooling_layer": False} if kind in ("bert", "ernie") else {}
    return getattr(transformers, f"{FAMILIES[kind][0]}Model")(config_of(kind, **more), **pooler).eval()


def vocabulary(kind: str = "bert") -> Any:
    """Word pieces, or what Qwen's checkpoints have: byte pairs and nothing behind a text."""
    if kind.startswith("qwen"):
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

        rust = Tokenizer(models.BPE())
        rust.pre_tokenizer, rust.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
        letters, ends = pre_tokenizers.ByteLevel.alphabet(), ["<|endoftext|>", "<|im_end|>"]
        trainer = trainers.BpeTrainer(
            vocab_size=300, special_tokens=ends, initial_alphabet=letters, show_progress=False
        )
        rust.train_from_iterator(TEXTS * 9, trainer)
        names = {"pad_token": ends[0], "eos_token": ends[0]}
        return transformers.Qwen2TokenizerFast(tokenizer_object=rust, **names)
    return learn_vocabulary([*TEXTS * 9, *tiny().train.passages["text"].to_pylist()], 300)


def checkpoint(folder: Path, kind: str, **more: Any) -> Any:
    """A tiny random checkpoint, written as transformers writes it."""
    tokenizer = vocabulary(kind)
    body = body_of(kind, vocab_size=len(tokenizer), **more)
    body.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return body


def recipe_of(folder: Path, **more: Any) -> Recipe:
    return Recipe(**{"rung": str(folder), "start": "checkpoint", "projection": 0, **more})


@pytest.mark.parametrize("kind", FAMILIES)
def test_counts_are_those_of_the_module(kind: str) -> None:
    body = body_of(kind)
    shape = shape_from(body.config.to_dict())
    sizes = {name: p.numel() for name, p in body.named_parameters()}
    said = counts(shape, projection=0)
    in_layers = sum(n for name, n in sizes.items() if "layers." in name or ".layer." in name)
    assert said["layers"] == layer_parameters(shape) == in_layers
    assert said["embedding"] == sum(sizes.values()) - in_layers
    assert said["total"] == said["trainable"] == sum(sizes.values())
    assert said["fang"] - (said["pooler"] - said["layers"]) == said["total"] - shape.vocabulary * shape.width
    assert said["pooler"] - said["layers"] == (32 * 32 + 32 if shape.body == "bert" else 0)
    two = counts(shape, projection=8, towers="two")
    assert two["total"] == 2 * (said["total"] + 8 * 32 + 8)


@pytest.mark.parametrize("kind", FAMILIES)
def test_flops_are_those_that_torch_counts(kind: str) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    body = body_of(kind, attn_implementation="eager")
    shape = shape_from(body.config.to_dict())
    for length in (5, 24):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            body(input_ids=torch.randint(1, 60, (1, length)), attention_mask=torch.ones(1, length).long())
        # rotations' angles are a small product, too
        assert counter.get_total_flops() == pytest.approx(flops_per_token(shape, length) * length, rel=0.003)


def test_hub_ladders_have_the_published_sizes() -> None:
    """The hub's own totals of safetensors (Qwen3-Embedding), ModernBERT-base's 149,014,272 (Ettin 150m is its twin)."""
    totals = {k: counts(s, projection=0)["total"] for k, s in ladder("qwen3-embedding").items()}
    assert totals == {"0.6B": 595_776_512, "4B": 4_021_774_336, "8B": 7_567_295_488}
    for kind in ("encoder", "decoder"):
        rungs = ladder(f"ettin-{kind}")
        assert list(rungs) == ["17m", "32m", "68m", "150m", "400m", "1b"]
        assert rungs["17m"].hub == f"jhu-clsp/ettin-{kind}-17m"
        assert counts(rungs["150m"], projection=0)["total"] == 149_014_272
        for name, size in zip(rungs, (17e6, 32e6, 68e6, 150e6, 400e6, 1.03e9), strict=True):
            assert counts(rungs[name], projection=0)["total"] == pytest.approx(size, rel=0.015)
    recipe = Recipe(ladder="qwen3-embedding", rung="4B", start="checkpoint", steps=1)
    assert predicted_flops(recipe) > 1e14


def test_hub_ids_are_a_ladder(tmp_path: Path) -> None:
    checkpoint(tmp_path, "llama")
    ids = ["org/small", str(tmp_path), "org/large"]
    assert list(ladder(ids)) == list(ladder("+".join(ids))) == ids
    recipe = Recipe(ladder="+".join(ids), rung=str(tmp_path), start="checkpoint", projection=0)
    assert Recipe.parse(str(recipe)) == recipe
    assert build(recipe).shape.width == 32
    assert shape_for(recipe.but(rung="org/large")).hub == "org/large"
    for wrong in (["small"], [], ["a/b", "a/b"], ["a/"]):
        with pytest.raises(ValueError, match="hub ids"):
            ladder(wrong)
    with pytest.raises(ValueError, match=r"start='table'.*checkpoints only"):
        build(recipe.but(start="table"))
    with pytest.raises(ValueError, match=r"start='scratch'.*checkpoints only"):
        build(Recipe(ladder="ettin-decoder", rung="17m", start="scratch"), TEXTS)


@pytest.mark.parametrize("kind", FAMILIES)
def test_a_folder_is_loaded_with_its_weights(kind: str, tmp_path: Path) -> None:
    saved = checkpoint(tmp_path, kind)
    pooling = "last" if kind in DECODERS else "mean"
    encoder = build(recipe_of(tmp_path, pooling=pooling)).eval()
    vectors = encoder.encode(TEXTS)
    for text, vector in zip(TEXTS, vectors, strict=True):
        ids = torch.from_numpy(encoder.tokens([text]).ids).long()[None]
        with torch.no_grad():
            states = saved(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state[0].numpy()
        np.testing.assert_allclose(vector, states[-1] if pooling == "last" else states.mean(0), atol=2e-6)
    assert encoder.shape == shape_from(saved.config.to_dict())
    assert sum(p.numel() for p in encoder.parameters()) == counts(encoder.shape, projection=0)["total"]


@pytest.mark.parametrize("kind", DECODERS)
def test_a_decoder_sees_one_side_or_both(kind: str, tmp_path: Path) -> None:
    checkpoint(tmp_path, kind)

    def first_states(mask: str) -> tuple[np.ndarray, np.ndarray]:
        encoder = build(recipe_of(tmp_path, mask=mask, pooling="mean")).eval()
        body, ids = encoder.query_tower.body, torch.tensor([[5, 6, 7, 8], [5, 6, 7, 40], [5, 6, 7, 0]])
        there = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 0]])
        with torch.no_grad():
            states = body(input_ids=ids, attention_mask=there).last_hidden_state.numpy()
            short = body(input_ids=ids[2:, :3], attention_mask=there[2:, :3]).last_hidden_state.numpy()
        np.testing.assert_allclose(states[2, :3], short[0], atol=1e-5)  # padding changes nothing
        return states[0, 0], states[1, 0]

    assert np.allclose(*first_states("own"), atol=1e-5)
    assert not np.allclose(*first_states("bidirectional"), atol=1e-4)
    with pytest.raises(ValueError, match="first token sees itself"):
        build(recipe_of(tmp_path, pooling="cls"))


def test_an_encoder_has_no_mask_to_take_away(tmp_path: Path) -> None:
    checkpoint(tmp_path, "modernbert")
    with pytest.raises(ValueError, match="sees both sides already"):
        build(recipe_of(tmp_path, mask="bidirectional"))
    with pytest.raises(ValueError, match="see both sides already"):
        check(Recipe(mask="bidirectional"))


def test_texts_end_with_the_token_that_is_looked_at(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    checkpoint(tmp_path, "qwen3")
    words = {w: i for i, w in enumerate(["<pad>", "<unk>", "<s>", "<end>", "ba", "do", "ki", "lu", "me", "no"])}
    for start in (None, processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 2)])):
        rust = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
        rust.pre_tokenizer = pre_tokenizers.Whitespace()
        if start is not None:
            rust.post_processor = start
        names = {"pad_token": "<pad>", "unk_token": "<unk>", "eos_token": "<end>"}
        transformers.PreTrainedTokenizerFast(tokenizer_object=rust, **names).save_pretrained(tmp_path)
        encoder = build(recipe_of(tmp_path, pooling="last", query_tokens=5))
        for text in ("ba do", "ba do ki lu me no", ""):
            ids = encoder.tokens([text]).ids
            assert ids[-1] == 3
            assert len(ids) <= 5
        assert (encoder.tokens(["ba"]).ids[0] == 2) == (start is not None)
        assert np.isfinite(encoder.encode(["", "ba"])).all()


def test_an_instruction_precedes_queries_only(tmp_path: Path) -> None:
    checkpoint(tmp_path, "qwen3")
    asked = build(recipe_of(tmp_path, pooling="last", instruction="lu me, no: "))
    plain = build(recipe_of(tmp_path, pooling="last", query_tokens=64))
    assert asked.tokens(["ba do"]).ids.tolist() == plain.tokens(["lu me, no: ba do"]).ids.tolist()
    np.testing.assert_allclose(asked.encode_passages(TEXTS), plain.encode_passages(TEXTS), atol=1e-6)
    recipe = Recipe(instruction="Instruct: find\nQuery: ")
    assert Recipe.parse(str(recipe)) == recipe
    assert Run.from_json(Run(recipe, "failed").to_json()).recipe == recipe


def test_old_keys_and_records_stay() -> None:
    assert str(Recipe()) == "texts=docs,rung=L2H128"
    written = json.loads(Run(Recipe(), "failed").to_json())["recipe"]
    assert not set(YOUNG) & set(written)
    assert {"mask", "instruction", "lora"} <= set(YOUNG)


@pytest.mark.parametrize("kind", ["bert", "ernie"])
def test_a_bin_of_the_true_format_loads_when_asked_for(kind: str, tmp_path: Path, monkeypatch: Any) -> None:
    """Google's miniatures and ERNIE 3.0 are a ``pytorch_model.bin`` of a model with its heads, under its own prefix."""
    tokenizer, name = vocabulary(), FAMILIES[kind][0]
    config = config_of(kind, vocab_size=len(tokenizer))
    torch.manual_seed(0)
    whole = getattr(transformers, f"{name}ForPreTraining")(config).eval()
    weights = whole.state_dict()
    assert f"{kind}.encoder.layer.0.attention.self.query.weight" in weights
    torch.save(weights, tmp_path / "pytorch_model.bin")
    config.architectures = [f"{name}ForPreTraining"]
    config.save_pretrained(tmp_path)
    (tmp_path / "vocab.txt").write_text("\n".join(sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().get)))
    with pytest.raises(ValueError, match=f"no file of safetensors; {WEIGHTS}=torch"):
        build(recipe_of(tmp_path))
    monkeypatch.setenv(WEIGHTS, "torch")
    encoder = build(recipe_of(tmp_path))
    mine = encoder.query_tower.body.state_dict()
    assert {k: v.shape for k, v in mine.items() if "pooler" not in k}
    for key, value in mine.items():
        assert torch.equal(value, weights[f"{kind}.{key}"])
    assert encoder.shape.types == (2 if kind == "bert" else 7)
    monkeypatch.setenv(WEIGHTS, "pickle")
    with pytest.raises(ValueError, match=r"'pickle'.*'safetensors', 'torch'"):
        build(recipe_of(tmp_path))


class Evil:
    def __reduce__(self) -> Any:
        return print, ("code of a checkpoint ran",)


def test_code_in_a_bin_does_not_run(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    checkpoint(tmp_path, "bert")
    (tmp_path / "model.safetensors").unlink()
    torch.save({"a": Evil()}, tmp_path / "pytorch_model.bin")
    monkeypatch.setenv(WEIGHTS, "torch")
    with pytest.raises(ValueError, match="checkpoint") as told:
        build(recipe_of(tmp_path))
    assert "ran" not in capsys.readouterr().out
    assert "\n" not in str(told.value)


def test_what_is_wrong_with_a_checkpoint_is_one_sentence(tmp_path: Path) -> None:
    checkpoint(tmp_path, "llama")
    config = json.loads((tmp_path / "config.json").read_text())
    spoilt = {
        "config.json": ["{", json.dumps(config | {"model_type": "no-such"}), json.dumps(config | {"hidden_size": 64})],
        "model.safetensors": ["no tensors"],
        "tokenizer.json": ["{}", None],
    }
    for name, contents in spoilt.items():
        whole = (tmp_path / name).read_bytes()
        for content in contents:
            (tmp_path / name).unlink() if content is None else (tmp_path / name).write_text(content)
            with pytest.raises(ValueError, match="checkpoint") as told:
                build(recipe_of(tmp_path))
            assert "\n" not in str(told.value)
            with pytest.raises(ValueError, match="checkpoint"):
                retriever(str(tmp_path))
        (tmp_path / name).write_bytes(whole)
    build(recipe_of(tmp_path))
    other = {"num_key_value_heads": 2, "model_type": "gemma"}
    with pytest.raises(ValueError, match=r"'gemma' is not known: allowed are .*'?qwen3"):
        shape_from(SMALL | other)


def test_a_folder_is_a_retriever(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    for kind in ("bert", "qwen3"):
        checkpoint(tmp_path / kind, kind)
        made = retriever(kind)
        rows = rank_scores(made, tiny().test, limit=20)
        assert rows["ndcg10"].mean() > 0.02
        assert made.encode is not None
        np.testing.assert_allclose(np.linalg.norm(made.encode(TEXTS), axis=1), 1, atol=1e-5)
        assert made.module.query_tower.pooling == ("last" if kind == "qwen3" else "mean")
    with pytest.raises(ValueError, match="path of a folder"):
        retriever("none-such")


def test_a_folder_of_sentence_transformers_is_a_retriever(tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    checkpoint(tmp_path / "body", "bert")
    parts = [Transformer(str(tmp_path / "body")), Pooling(32, "cls")]
    SentenceTransformer(modules=parts).save(str(tmp_path / "whole"))
    made = retriever(str(tmp_path / "whole"), "whole")
    assert (made.name, rank_scores(made, tiny().test, limit=5).shape[0]) == ("whole", 5)
    (tmp_path / "whole" / "model.safetensors").write_text("no tensors")
    with pytest.raises(ValueError, match="whole") as told:
        retriever(str(tmp_path / "whole"))
    assert "\n" not in str(told.value)


def test_a_folder_that_holds_no_checkpoint_is_refused_in_a_whole_sentence(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    said = r"empty': the folder has no config\.json; a folder of transformers has config\.json, tokenizer\.json and "
    for ask in (lambda: retriever(str(tmp_path / "empty")), lambda: build(recipe_of(tmp_path / "empty"))):
        with pytest.raises(ValueError, match=said):
            ask()
    assert first_line(ValueError("one of: \n(1) a file \n(2) another")) == "one of: (1) a file (2) another"
    assert first_line(ValueError("no.\nSee more")) == "no."
    assert len(first_line(ValueError("one of:\n" + "word " * 200))) <= 300


def test_own_decoders_are_as_large_as_own_encoders_and_learn() -> None:
    for name, shape in ladder("local").items():
        one, other = layer_parameters(shape), layer_parameters(ladder("local-decoder")[name])
        assert abs(one - other) <= 2 * 12 * shape.width  # two layers, the vectors of each
    recipe = Recipe(
        texts="planted", ladder="local-decoder", rung="L3H16", pooling="last", steps=40, batch=16, rate=5e-3
    )
    check(recipe)
    for mask in ("own", "bidirectional"):
        encoder = build(recipe.but(mask=mask))
        held = counts(encoder.shape, "table", recipe.projection)
        assert held["trainable"] == sum(p.numel() for p in encoder.parameters() if p.requires_grad)
        seen: list[float] = []
        train(encoder, tokenised(encoder, tiny().train), recipe, note=lambda _, v, seen=seen: seen.append(v["loss"]))
        assert np.mean(seen[-5:]) < np.mean(seen[:5]) - 0.3
    assert build(recipe.but(start="scratch"), TEXTS).shape.body == "llama"
    with pytest.raises(ValueError, match=r"halves are rotated; the next are L2H8 and L2H12"):
        build(recipe.but(rung="L2H10"))
    for wrong, said in (
        ({"start": "mlm"}, "'scratch' and 'table'"),
        ({"lora": 4}, "lora=4"),
        ({"ladder": "local", "start": "retromae"}, "pooling='last'"),
    ):
        with pytest.raises(ValueError, match=said):
            check(recipe.but(**wrong))


def test_adapters_need_peft_and_get_every_linear_map(tmp_path: Path, monkeypatch: Any) -> None:
    checkpoint(tmp_path, "llama")
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ValueError, match="pip install peft"):
        build(recipe_of(tmp_path, lora=4))
    asked: dict[str, Any] = {}
    stub = types.ModuleType("peft")
    stub.LoraConfig = lambda **options: asked.update(options)  # type: ignore[attr-defined]
    stub.inject_adapter_in_model = lambda config, body: body  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "peft", stub)
    build(recipe_of(tmp_path, lora=4))
    maps = ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"]
    assert asked == {"r": 4, "lora_alpha": 8, "lora_dropout": 0.0, "target_modules": maps}
    assert training_factor(recipe_of(tmp_path, lora=4)) == pytest.approx(2 / 3)
    assert training_factor(Recipe()) == 1


def test_the_packed_loop_takes_the_last_token_too() -> None:
    from drscale.training.packed import packed_vectors

    encoder = build(Recipe(rung="L2H16", pooling="last", dropout=0.0)).eval()
    tokens = encoder.tokens(TEXTS, "passage")
    starts = torch.from_numpy(tokens.starts)
    segments = torch.repeat_interleave(torch.arange(len(TEXTS)), starts.diff())
    ids = torch.from_numpy(tokens.ids).long()
    with torch.no_grad():
        found = packed_vectors(
            encoder.query_tower, ids, segments, starts, int(tokens.lengths.max()), torch.float32
        ).numpy()
    np.testing.assert_allclose(found, encoder.encode_passages(TEXTS), atol=2e-5)
