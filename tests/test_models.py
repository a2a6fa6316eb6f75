"""Trained models kept beside their records: the same vectors again, measured anew, added once."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from huggingface_hub import HfApi
from sentence_transformers import SentenceTransformer
from tiny import tiny

from drscale import models as trained
from drscale import sweep
from drscale.encoder import build
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
    cut = f"cut queries at {recipe.query_tokens} and passages at {recipe.passage_tokens} word pieces"
    assert (cut in card) == (recipe.towers == "shared")  # a tower of its own cuts as in training
    with pytest.raises(ValueError, match="is there already"):
        to_sentence_transformers(encoder, folder)


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
