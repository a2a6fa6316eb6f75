"""Trained models kept beside their records: the same vectors again, measured anew, added once."""

import sys
import types
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from huggingface_hub import HfApi
from sentence_transformers import SentenceTransformer
from test_encoder_checkpoints import checkpoint
from tiny import tiny

from drscale import models as trained
from drscale import sweep
from drscale.attacks.entropy import TOLD
from drscale.encoder import BiEncoder, build
from drscale.evaluate.ranking import METRICS
from drscale.models import load_model, measure, model_path, push_to_hub, texts_of, to_sentence_transformers
from drscale.recipe import Recipe
from drscale.runs import Found, Measure, Run, RunStore
from drscale.study import plan_study
from drscale.training.prepare import all_texts

BASE = Recipe(texts="planted", rung="L2H12", steps=4, batch=16, projection=24, rate=3e-3)
ASKED = ["a small question", "another one"]


@pytest.fixture
def small(monkeypatch):
    for module in (sweep, trained):
        monkeypatch.setattr(module, "texts_of", lambda spec: tiny())


def told(encoder, texts, run):
    """A later measurement: the norm of a few vectors."""
    norms = np.linalg.norm(encoder.encode(ASKED), axis=1)
    rows = pd.DataFrame({"query": ASKED, "norm": norms, "scope": "norms"})
    return Found({"norms": {"norm": Measure(float(norms.mean()), 0.0, 9.0, 2)}}, rows, f"at {run.recipe.steps} steps")


@pytest.mark.parametrize(
    "changes", [{}, {"start": "scratch"}, {"towers": "two"}, {"pairs": 100, "select": "validation"}]
)
def test_a_kept_model_gives_the_vectors_that_were_scored(small, tmp_path, monkeypatch, changes):
    recipe, store, seen = BASE.but(**changes), RunStore(tmp_path), []
    keep = trained.keep_model

    def watching(encoder, *rest):
        seen.append((encoder.eval().encode(ASKED), encoder.encode_passages(ASKED)))
        return keep(encoder, *rest)

    monkeypatch.setattr(sweep, "keep_model", watching)
    sweep.run_one(recipe, store, keep=True)
    again = load_model(recipe, store)
    assert np.array_equal(again.encode(ASKED), seen[0][0])
    assert np.array_equal(again.encode_passages(ASKED), seen[0][1])
    assert not again.training


def test_models_are_kept_only_where_asked(small, tmp_path):
    store = RunStore(tmp_path)
    sweep.run_study(plan_study([BASE], store), progress=False)
    with pytest.raises(ValueError, match="no trained model; `drscale sweep STUDY --keep`"):
        load_model(BASE, store)
    sweep.run_study(plan_study([BASE.but(seed=1)], store), progress=False, keep=True)
    assert model_path(BASE.but(seed=1), store).is_file()
    assert len(store.runs()) == 2  # a model is no record


def test_a_model_that_is_missing_is_made_again_and_its_record_stays(small, tmp_path, monkeypatch):
    store, recipes = RunStore(tmp_path), [BASE, BASE.but(seed=1)]
    made = sweep.run_study(plan_study(recipes, store), progress=False, keep=True)
    measure(store, recipes, "norms", told, progress=False)
    before = (tmp_path / f"{BASE.file_stem}.json").read_bytes()
    vectors = load_model(BASE, store).encode(ASKED)
    model_path(BASE, store).unlink()
    assert plan_study(recipes, store).todo() == []
    again = plan_study(recipes, store, keep=True)
    assert again.todo() == [BASE]
    assert "1 done, 0 to do, 1 without a model" in str(again)
    assert [r.key for r in sweep.run_study(again, progress=False, keep=True)] == [made[0].key]
    np.testing.assert_array_equal(load_model(BASE, store).encode(ASKED), vectors)
    assert (tmp_path / f"{BASE.file_stem}.json").read_bytes() == before
    model_path(BASE, store).unlink()

    def fail(*args, **options):
        raise RuntimeError("out of memory")

    monkeypatch.setattr("drscale.training.loop.train", fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        sweep.run_study(plan_study(recipes, store, keep=True), progress=False, keep=True)
    assert (tmp_path / f"{BASE.file_stem}.json").read_bytes() == before


def test_a_run_that_fails_leaves_no_model(small, tmp_path):
    store, hot = RunStore(tmp_path), BASE.but(rate=1e30)
    assert sweep.run_one(hot, store, keep=True).status == "failed"
    assert not model_path(hot, store).exists()


def test_a_later_measurement_joins_the_record_once(small, tmp_path):
    store, recipes = RunStore(tmp_path), [BASE, BASE.but(seed=1)]
    sweep.run_study(plan_study(recipes, store), progress=False, keep=True)
    before, rows = store.table(), store.queries()
    assert len(measure(store, recipes[:1], "norms", told, progress=False)) == 1
    assert len(measure(store, recipes, "norms", told, progress=False)) == 1  # goes on where it was
    assert measure(store, recipes, "norms", told, progress=False) == []
    after = store.table(scopes=("in_domain", "ood", "norms"))
    shared = [c for c in before.columns if not c.startswith("params")]
    pd.testing.assert_frame_equal(after[shared], before[shared])
    assert after["norms_norm"].notna().all()
    more = store.queries()
    assert len(more) == len(rows) + 4
    assert more.query("scope != 'norms'")["entropy"].tolist() == rows["entropy"].tolist()
    assert all(r.versions["measured:norms"] == "at 4 steps" for r in store.runs())


def test_rows_of_a_call_that_was_cut_short_are_not_doubled(small, tmp_path):
    store = RunStore(tmp_path)
    run = sweep.run_one(BASE, store, keep=True)
    store.save(
        run, pd.concat([store.queries(run.key).drop(columns="key"), told(load_model(BASE, store), None, run).queries])
    )
    measure(store, [BASE], "norms", told, progress=False)
    assert (store.queries()["scope"] == "norms").sum() == 2


def test_what_is_known_is_not_measured_over(small, tmp_path):
    store = RunStore(tmp_path)
    run = sweep.run_one(BASE, store, keep=True)
    found = Found({"in_domain": {}}, pd.DataFrame(), "")
    with pytest.raises(ValueError, match="has in_domain already; a measurement is added once"):
        store.add(run, "again", found)


def test_kept_models_are_found_by_key(small, tmp_path):
    store = RunStore(tmp_path)
    sweep.run_one(BASE, store, keep=True)
    sweep.run_one(BASE.but(seed=1), store)
    assert trained.kept_recipes(store) == [BASE]
    vectors = [load_model(r, store).encode(ASKED) for r in (BASE, str(BASE))]
    np.testing.assert_array_equal(*vectors)
    with pytest.raises(ValueError, match=r"no trained model.*names the 1 that are there"):
        load_model(str(BASE.but(seed=1)), store)


def test_a_model_that_does_not_belong_is_refused(small, tmp_path, monkeypatch):
    store, scratch = RunStore(tmp_path), BASE.but(start="scratch")
    for recipe in (BASE, scratch):
        sweep.run_one(recipe, store, keep=True)
    other = BASE.but(rung="L2H16")
    model_path(other, store).write_bytes(model_path(BASE, store).read_bytes())
    with pytest.raises(ValueError, match="the model of another recipe, texts=planted,rung=L2H12"):
        load_model(other, store)
    model_path(BASE, store).write_bytes(b"no tensors")
    with pytest.raises(ValueError, match="no trained model of drscale's"):
        load_model(BASE, store)
    with pytest.raises(ValueError, match="has no finished run of it"):
        measure(store, [other], "norms", told, progress=False)
    monkeypatch.setattr(trained, "texts_of", lambda spec: replace(tiny(), ood={}))
    with pytest.raises(ValueError, match="so its vocabulary is lost"):
        load_model(scratch, store)
    with pytest.raises(ValueError, match="was made on other texts"):
        measure(store, [scratch], "norms", told, progress=False)


# ------------------------------------------------------------------------------------------------------------ out again

TEXTS = [
    "open a file and read it",
    "close it",
    "a much longer passage about closing files that were opened for reading",
]


@pytest.mark.parametrize(
    ("changes", "role"),
    [
        ({}, "query"),
        ({"projection": 0, "pooling": "cls"}, "query"),
        ({"start": "scratch"}, "passage"),
        ({"towers": "two"}, "passage"),
    ],
)
def test_sentence_transformers_gives_the_same_vectors(changes: dict[str, Any], role: str, tmp_path: Path) -> None:
    recipe = Recipe(texts="planted?pairs=300", rung="L2H16", **changes)
    words = all_texts(texts_of(recipe.texts).train) if recipe.start == "scratch" else None
    encoder = build(recipe, words).eval()
    run = Run(recipe, "done", measures={"in_domain": {"entropy": Measure(1.5, 1.4, 1.6, 100)}}, train_pairs=300)
    folder = to_sentence_transformers(encoder, tmp_path / "a" / "model", run=run, role=role)
    model = SentenceTransformer(str(folder), device="cpu")
    assert np.abs(model.encode(TEXTS) - encoder.encode(TEXTS, role)).max() < 1e-5
    assert model.similarity_fn_name == "dot"
    card = (folder / "README.md").read_text()
    assert f"`{recipe}`" in card
    assert "| in_domain | entropy | 1.5000 | 1.4000 | 1.6000 | 100 |" in card
    long = [" ".join(TEXTS * 9)]
    if recipe.towers == "shared":
        assert np.abs(model.encode_query(long) - encoder.encode(long)).max() < 1e-5
        assert np.abs(model.encode_document(long) - encoder.encode_passages(long)).max() < 1e-5
        assert np.abs(model.encode_document(long) - encoder.encode(long)).max() > 1e-3  # the cut is seen
    cut = f"cut queries at {recipe.query_tokens} and passages at {recipe.passage_tokens} word pieces"
    assert (cut in card) == (recipe.towers == "shared")  # a tower of its own cuts as in training
    with pytest.raises(ValueError, match="is there already"):
        to_sentence_transformers(encoder, folder)


def test_a_card_lists_the_primary_measure_under_attack_and_says_what_it_is() -> None:
    ranking = {name: Measure(0.25, 0.2, 0.3, 100) for name in ("ndcg10", "recall100")}
    entropy = {name: Measure(2.5, 2.4, 2.6, 100) for name in ("entropy", "calibrated")}
    scopes = ("in_domain", "ood", "ood:numpy", "adversarial", "adversarial:clean", "adversarial:alone")
    measures = dict.fromkeys((*scopes, "adversarial:alone:clean"), entropy | ranking)
    measures["adversarial"] = measures["adversarial"] | {"success": Measure(0.9, 0.8, 1.0, 100)}
    lines = trained.model_card(Run(BASE, "done", measures=measures, train_pairs=300)).splitlines()
    rows = [line.split(" | ")[:2] for line in lines if line.startswith("| ")]
    order = list(dict.fromkeys(scope.removeprefix("| ") for scope, _ in rows[2:]))
    assert order == list(trained.WHERE)
    alone = "adversarial:alone"
    assert [what for scope, what in rows if scope == f"| {alone}"] == ["entropy", "calibrated"]
    assert f"| {alone}:clean | entropy | 2.5000 | 2.4000 | 2.6000 | 100 |" in lines
    said = [line.split("`")[1] for line in lines if line.startswith("- `")]
    assert said == [*trained.WHERE, "entropy", "calibrated", "ndcg10", "recall100", "success"]
    assert any(line.startswith(f"- `{alone}`: under attack:") and "the primary measure" in line for line in lines)
    only = trained.model_card(Run(BASE, "done", measures={"in_domain": entropy}, train_pairs=300))
    assert "adversarial" not in only
    assert set(TOLD) | set(METRICS) | {"entropy", "calibrated"} == set(trained.WHAT)


def test_an_instruction_goes_out_before_queries_and_inside_their_length(tmp_path: Path) -> None:
    recipe = Recipe(rung="L2H12", instruction="find what answers: ", query_tokens=12)
    encoder = build(recipe).eval()
    folder = to_sentence_transformers(encoder, tmp_path / "out", run=Run(recipe, "done", train_pairs=300))
    model = SentenceTransformer(str(folder), device="cpu")
    texts = [*TEXTS, " ".join(TEXTS * 9)]
    assert np.abs(model.encode_query(texts) - encoder.encode(texts)).max() < 1e-5
    assert np.abs(model.encode_document(texts) - encoder.encode_passages(texts)).max() < 1e-5
    assert np.abs(model.encode(texts) - encoder.encode(texts)).max() > 1e-3  # the instruction matters
    assert "before each query: 'find what answers: '." in (folder / "README.md").read_text()
    two = build(recipe.but(towers="two")).eval()
    for role, prompt in (("query", recipe.instruction), ("passage", "")):
        one = SentenceTransformer(str(to_sentence_transformers(two, tmp_path / role, role=role)), device="cpu")
        assert one.prompts["query"] == prompt
        encode = one.encode_query if role == "query" else one.encode_document
        assert np.abs(encode(texts) - two.encode(texts, role)).max() < 1e-5


def test_an_older_sentence_transformers_cuts_both_sides_at_passages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trained, "_cuts_apart", lambda parts: False)
    folder = to_sentence_transformers(build(Recipe(rung="L2H12")).eval(), tmp_path / "out")
    assert "this model cuts both at 64. So longer queries have other vectors" in (folder / "README.md").read_text()
    assert "query_length" not in (folder / "sentence_bert_config.json").read_text().replace('"query_length": null', "")


@pytest.mark.parametrize("kind", ["llama", "qwen3"])
def test_a_decoders_last_token_goes_out_on_either_side_of_the_padding(kind: str, tmp_path: Path) -> None:
    checkpoint(tmp_path / "own", kind)
    recipe = Recipe(rung=str(tmp_path / "own"), start="checkpoint", pooling="last", projection=0)
    encoder = build(recipe).eval()
    model = SentenceTransformer(str(to_sentence_transformers(encoder, tmp_path / "out")), device="cpu")
    texts = [*TEXTS, "x", "zo zo zo zo ba do ki lu me " * 20]
    assert len(set(encoder.tokens(texts, "passage").lengths)) >= 4
    for side in ("right", "left"):
        model.tokenizer.padding_side = side
        assert (np.asarray(model.tokenizer(texts, padding=True)["attention_mask"])[:, 0] == 0).any() == (side == "left")
        assert np.abs(model.encode(texts) - encoder.encode_passages(texts)).max() < 1e-5


def adapted(folder: Path, monkeypatch: pytest.MonkeyPatch | None = None) -> BiEncoder:
    """A tiny checkpoint with trained adapters: peft's, or where a monkeypatch is given those of a stand-in."""
    checkpoint(folder, "qwen3")
    if monkeypatch is not None:
        stub = types.ModuleType("peft")
        stub.LoraConfig = lambda **options: options  # type: ignore[attr-defined]
        stub.inject_adapter_in_model = with_adapters  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "peft", stub)
    encoder = build(Recipe(rung=str(folder), start="checkpoint", projection=24, lora=4, passage_tokens=24)).eval()
    torch.manual_seed(1)
    for name, weight in encoder.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(weight, std=0.3)
    return encoder


class Adapter(torch.nn.Module):
    """What peft puts in the place of a linear map, under its names."""

    def __init__(self, base: torch.nn.Linear, rank: int) -> None:
        super().__init__()
        self.base_layer = base.requires_grad_(False)
        self.lora_A = torch.nn.Linear(base.in_features, rank, bias=False)
        self.lora_B = torch.nn.Linear(rank, base.out_features, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.base_layer(x) + 2 * self.lora_B(self.lora_A(x))

    def get_base_layer(self) -> torch.nn.Linear:
        return self.base_layer

    def merge(self) -> None:
        self.base_layer.weight.data += 2 * self.lora_B.weight.data @ self.lora_A.weight.data


def with_adapters(config: dict[str, Any], body: Any) -> Any:
    for name, layer in list(body.named_modules()):
        if name.rpartition(".")[2] in config["target_modules"]:
            parent, _, own = name.rpartition(".")
            setattr(body.get_submodule(parent), own, Adapter(layer, config["r"]))
    return body


def check_adapters_go_out_merged(encoder: BiEncoder, folder: Path) -> None:
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    path = to_sentence_transformers(encoder, folder)
    after = encoder.state_dict()
    assert after.keys() == before.keys()
    assert all(after[name].equal(value) for name, value in before.items())
    vectors = SentenceTransformer(str(path), device="cpu").encode(TEXTS)
    assert np.abs(vectors - encoder.encode(TEXTS)).max() < 1e-5
    plain = [m for m in encoder.modules() if hasattr(m, "get_base_layer")]
    assert len(plain) == 3 * 7
    for layer in plain:
        layer.forward = layer.get_base_layer().forward
    assert np.abs(vectors - encoder.encode(TEXTS)).max() > 1e-2  # without adapters they are others


def test_adapters_of_a_stand_in_are_merged_into_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_adapters_go_out_merged(adapted(tmp_path / "own", monkeypatch), tmp_path / "out")


def test_adapters_of_peft_are_merged_into_a_copy(tmp_path: Path) -> None:
    pytest.importorskip("peft")
    check_adapters_go_out_merged(adapted(tmp_path / "own"), tmp_path / "out")


def test_an_export_that_does_not_load_as_it_was_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = adapted(tmp_path / "own", monkeypatch)
    monkeypatch.setattr(trained, "_merged", lambda body: body)
    with pytest.raises(ValueError, match=r"not written, .* 21 of 77 missing, as layers\.0\.mlp\.down_proj\.weight"):
        to_sentence_transformers(encoder, tmp_path / "out")
    encoder = build(Recipe(rung="L2H12")).eval()
    monkeypatch.setattr(type(encoder), "encode", lambda self, texts, role="query": np.ones((len(texts), 768)))
    with pytest.raises(ValueError, match=r"not written, since .* gives other query vectors \(apart by"):
        to_sentence_transformers(encoder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_role_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="allowed are 'query' and 'passage'"):
        to_sentence_transformers(build(Recipe(rung="L2H12")), tmp_path / "m", role="both")


def test_a_folder_is_uploaded_and_a_refusal_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="no folder of to_sentence_transformers"):
        push_to_hub(tmp_path, "me/model")
    (tmp_path / "modules.json").write_text("[]")
    asked: list[Any] = []
    monkeypatch.setattr(HfApi, "create_repo", lambda self, name, **about: asked.append((name, about)) or f"hub/{name}")
    monkeypatch.setattr(HfApi, "upload_folder", lambda self, **about: asked.append(about))
    assert push_to_hub(tmp_path, "me/model") == "hub/me/model"
    assert asked[0] == ("me/model", {"private": True, "exist_ok": True})
    assert asked[1] == {"repo_id": "me/model", "folder_path": tmp_path}

    def refused(self: HfApi, name: str, **about: Any) -> str:
        raise OSError("401 Unauthorized")

    monkeypatch.setattr(HfApi, "create_repo", refused)
    with pytest.raises(ValueError, match=r"me/model: not uploaded \(401 Unauthorized\); `hf auth login`"):
        push_to_hub(tmp_path, "me/model")
