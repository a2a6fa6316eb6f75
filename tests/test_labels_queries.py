"""Queries without people: cropped sentences, generators, the small model, and recipes that train on them."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny

from drscale.labels import docs2query, generate, queries
from drscale.labels.docs2query import Small, fold_of, train_docs2query
from drscale.labels.generate import hub_generator
from drscale.labels.queries import (
    NOTE,
    annotate,
    crop_sentences,
    generate_queries,
    inverse_cloze,
    sentences,
    share_copied,
)
from drscale.models import trained_on
from drscale.recipe import Recipe
from drscale.sweep import run_one
from drscale.texts import Collection, TextsWarning
from drscale.texts.cache import CacheWarning, cache_folder
from drscale.texts.collection import from_pairs
from drscale.training.batches import tokenised

ROWS = [
    ("a", "How is a file opened?", "Open the file for reading. Close the file after reading it. See also the manual."),
    ("b", "How are rows sorted?", "Rows are sorted by the key, e.g. by name. The order is stable! Ties stay in place."),
    ("c", "what a matrix is", "A matrix is a table of numbers. It has rows and columns, as in Fig. 2 of the book."),
]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRSCALE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def few() -> Collection:
    return from_pairs("few", ROWS)


def world(pairs: int = 300) -> Collection:
    """A training collection of the tiny world whose passages have three sentences, each with a real word to swap."""
    old = tiny.tiny_collection("world", pairs, 9)
    words = [p.split() for p in old.passages["text"].to_pylist()]
    real = {0: "large", 5: "house", 10: "money"}
    texts = [" ".join(f"{' '.join(w[i : i + 5]).capitalize()} {real[i]}." for i in real) for w in words]
    asked = old.queries["text"].to_pylist()
    return from_pairs("world", zip(old.queries["id"].to_pylist(), asked, texts, strict=True), synthetic=True)


def first_words(passages: Sequence[str], count: int, seed: int) -> list[list[str]]:
    return [[f"{' '.join(p.split()[:3])} {n}" for n in range(count)] for p in passages]


# ------------------------------------------------------------------------------------------------------------ crops


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("One is here. Two is there? Three!", ["One is here.", "Two is there?", "Three!"]),
        (
            "See Fig. 2 and Smith et al. 2020, e.g. Table 1. Then go.",
            ["See Fig. 2 and Smith et al. 2020, e.g. Table 1.", "Then go."],
        ),
        ("Version 1.5 of torch.nn works. (It does.) Fine.", ["Version 1.5 of torch.nn works.", "(It does.)", "Fine."]),
        ("打开文件。读取内容！“关闭它。”完成", ["打开文件。", "读取内容！", "“关闭它。”", "完成"]),
        ("a line\nanother line\n\n", ["a line", "another line"]),
        ("he stopped. then went on", ["he stopped. then went on"]),
        (" \n ", []),
    ],
)
def test_sentences(text: str, parts: list[str]) -> None:
    assert sentences(text) == parts
    assert "".join("".join(parts).split()) == "".join(text.split())


def test_every_sentence_of_every_passage_is_a_query(few: Collection) -> None:
    made = crop_sentences(few, least=3)
    expected = [(s, p) for _, _, p in ROWS for s in sentences(p)]
    assert list(made.table().itertuples(index=False, name=None)) == expected
    assert made.passages.equals(few.passages)
    assert len(made) == 8
    assert made.versions[NOTE].startswith("cropped: 0 of 3 passages")


def test_crops_do_not_depend_on_how_a_table_is_cut(few: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = crop_sentences(few, least=3).fingerprint
    shutil.rmtree(cache_folder())
    monkeypatch.setattr(queries, "BATCH", 1)
    assert crop_sentences(few, least=3).fingerprint == whole


def test_the_inverse_cloze_task_takes_the_sentence_out(few: Collection) -> None:
    cut, kept = inverse_cloze(few), inverse_cloze(few, remove=False)
    assert cut.queries.equals(kept.queries)
    assert len(cut) == 3
    assert kept.passages.equals(few.passages)
    for (query, left), (_, _, passage) in zip(cut.table().itertuples(index=False), ROWS, strict=True):
        assert query in passage
        assert query not in left
        assert sorted([query, *sentences(left)]) == sorted(sentences(passage))
    seeds = {inverse_cloze(few, seed=seed).fingerprint for seed in range(6)}
    assert len(seeds) > 1
    assert inverse_cloze(few, seed=3).fingerprint in seeds


def test_passages_without_a_crop_are_named_and_stay() -> None:
    some = from_pairs(
        "some", [*ROWS, ("d", "a query", "Short."), ("e", "another", "One sentence that stands alone here.")]
    )
    with pytest.warns(TextsWarning, match="ict: 2 of 5 passages give no query, .* the first is 'd'"):
        cut = inverse_cloze(some)
    assert len(cut) == 3
    assert len(cut.passages) == 5
    assert "2 of 5" in cut.versions[NOTE]
    assert cut.passages["text"].to_pylist()[3:] == ["Short.", "One sentence that stands alone here."]
    with pytest.warns(TextsWarning, match="cropped: 1 of 5 passages"):
        assert "e#s0" in crop_sentences(some).queries["id"].to_pylist()
    with pytest.raises(ValueError, match="'cropped' finds no sentence of 99 words"):
        crop_sentences(some, least=99)


def test_characters_count_where_there_are_no_spaces() -> None:
    made = crop_sentences(from_pairs("zh", [("1", "问题", "打开这个文件。完。")], language="zh"))
    assert made.queries["text"].to_pylist() == ["打开这个文件。"]
    assert made.language == "zh"


def test_no_crop_is_a_copy_of_a_persons_query(few: Collection) -> None:
    assert share_copied(crop_sentences(few), few) == 0
    told = from_pairs("told", [("a", "Open the FILE for reading", ROWS[0][2]), *ROWS[1:]])
    assert share_copied(crop_sentences(told), told) == pytest.approx(1 / len(crop_sentences(told)))


# ------------------------------------------------------------------------------------------------------- generators


def test_a_function_writes_queries(few: Collection) -> None:
    made = generate_queries(few, first_words, count=2, progress=False)
    assert len(made) == 6
    assert made.queries["id"].to_pylist()[:3] == ["a#g0", "a#g1", "b#g0"]
    assert made.table()["query"][0] == "Open the file 0"
    assert made.passages.equals(few.passages)
    with pytest.raises(ValueError, match="count=0"):
        generate_queries(few, first_words, count=0)


def test_too_few_and_empty_texts_are_counted_and_the_rest_goes_on(few: Collection) -> None:
    def lazy(passages: Sequence[str], count: int, seed: int) -> list[list[str]]:
        return [["a first one", "  "], [], ["one\n  line", "two", "three"]]

    with pytest.warns(TextsWarning, match="2 of 3 passages have fewer than 2 generated queries, the first is 'a'"):
        made = generate_queries(few, lazy, count=2, progress=False)
    assert made.queries["text"].to_pylist() == ["a first one", "one line", "two"]
    with pytest.warns(TextsWarning), pytest.raises(ValueError, match="wrote no query"):
        generate_queries(few, lambda passages, count, seed: [[] for _ in passages], progress=False)


def test_a_block_of_the_wrong_length_is_left_out_and_asked_again(
    few: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generate, "BLOCK", 2)
    asked: list[int] = []

    def broken(passages: Sequence[str], count: int, seed: int) -> list[list[str]]:
        asked.append(len(passages))
        return first_words(passages, count, seed)[: 1 if len(asked) < 3 else None]

    with pytest.warns(TextsWarning) as told:
        made = generate_queries(few, broken, made_by="broken", progress=False)
    assert "gave 1 lists of texts for 2 passages" in str(told[0].message)
    assert made.queries["id"].to_pylist() == ["c#g0"]
    assert len(generate_queries(few, broken, made_by="broken", progress=False)) == 3
    assert asked == [2, 1, 2]  # the last block came from the cache


def test_a_killed_generation_goes_on_and_a_half_written_block_is_made_again(
    few: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generate, "BLOCK", 1)
    asked: list[str] = []

    def killed(passages: Sequence[str], count: int, seed: int) -> list[list[str]]:
        asked.append(passages[0])
        if len(asked) == 3:
            raise KeyboardInterrupt
        return first_words(passages, count, seed)

    with pytest.raises(KeyboardInterrupt):
        generate_queries(few, killed, made_by="killed", progress=False)
    made = generate_queries(few, killed, made_by="killed", progress=False)
    assert len(made) == 3
    assert len(asked) == 4
    table = next(cache_folder().glob("queries-*/table.parquet"))
    table.write_bytes(table.read_bytes()[:40])
    with pytest.warns(CacheWarning, match="built again"):
        again = generate_queries(few, killed, made_by="killed", progress=False)
    assert again.fingerprint == made.fingerprint
    assert len(asked) == 5
    generate_queries(few, killed, made_by="killed", seed=1, progress=False)
    assert len(asked) == 8
    generate_queries(few, killed, made_by="killed", refresh=True, progress=False)
    assert len(asked) == 11


def test_an_empty_passage_is_not_asked_about() -> None:
    some = from_pairs("some", [*ROWS, ("d", "a query", " ")])
    with pytest.warns(TextsWarning, match="1 of 4 passages have fewer than 1 generated queries, the first is 'd'"):
        assert len(generate_queries(some, first_words, progress=False)) == 3


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A tiny random T5 and a tiny random GLM (the language model that ChatGLM3's kin are in transformers)."""
    from transformers import GlmConfig, GlmForCausalLM, T5Config, T5ForConditionalGeneration

    small = {"vocab_size": 30522, "pad_token_id": 0, "eos_token_id": 102}
    t5 = T5Config(**small, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2, decoder_start_token_id=0)
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "head_dim": 4}
    glm = GlmConfig(**small, **sizes, num_key_value_heads=1)
    found = {}
    for name, model in (("t5", T5ForConditionalGeneration(t5)), ("glm", GlmForCausalLM(glm))):
        path = tmp_path_factory.mktemp(name)
        model.save_pretrained(path)
        docs2query._tokenizer().save_pretrained(path)
        found[name] = str(path)
    return found


@pytest.mark.parametrize("name", ["t5", "glm"])
@pytest.mark.parametrize("beams", [0, 3])
def test_models_of_the_hub_write_queries(folders: dict[str, str], few: Collection, name: str, beams: int) -> None:
    writer = hub_generator(folders[name], beams=beams, query_tokens=5, passage_tokens=12, batch=2)
    assert writer.causal == (name == "glm")
    written = writer(few.passages["text"].to_pylist(), 2, 0)
    assert [len(some) for some in written] == [2, 2, 2]
    assert writer(few.passages["text"].to_pylist(), 2, 0) == written
    if not beams:
        assert writer(few.passages["text"].to_pylist(), 2, 1) != written
    else:
        with pytest.raises(ValueError, match="count=4: beams=3"):
            writer(["a"], 4, 0)


def test_a_prompt_stands_whole_around_a_cut_passage(folders: dict[str, str]) -> None:
    writer = hub_generator(folders["glm"], passage_tokens=4, prompt="Read: {passage} Ask:")
    assert writer._prompted(writer._cut(["one two three four five six"])[0]) == "Read: one two three four Ask:"
    writer.tokenizer.chat_template = "<user>{{ messages[0]['content'] }}<bot>"
    assert writer._prompted("x") == "<user>Read: x Ask:<bot>"
    asked: list[bool] = []
    plain = writer.tokenizer

    class Watching:
        """The tokenizer, which notes whether prompts get a second first token beside the template's own."""

        def __call__(self, *given: Any, **options: Any) -> Any:
            asked.append(options["add_special_tokens"])
            return plain(*given, **options)

        def __getattr__(self, name: str) -> Any:
            return getattr(plain, name)

    replace(writer, tokenizer=Watching())._batch(["x"], 1)
    assert asked == [False, False]  # the cut, then the prompts
    with pytest.raises(ValueError, match="must hold"):
        hub_generator(folders["glm"], prompt="Ask!")
    with pytest.raises(ValueError, match="beam=3: the options of a generator are"):
        hub_generator(folders["glm"], beam=3)
    with pytest.raises(
        ValueError, match=r"generator 'no/where': cannot be loaded \(.*\); HF_HUB_OFFLINE is set, and it is "
    ):
        hub_generator("no/where")


def test_the_query_in_a_reply() -> None:
    replies = ["\n Query: how to sort\nBecause", '1. "how to sort"', "- how to sort", "", "Question: how to sort"]
    assert [generate._first_line(r) for r in replies] == ["how to sort"] * 3 + ["", "how to sort"]


# --------------------------------------------------------------------------------------------------- the small model

SMALL = Small(width=16, feed=16, heads=2, layers=1, epochs=4, batch=16, query_tokens=12)


def test_the_small_model_learns_from_the_other_fold_and_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = world(80)
    told: list[int] = []
    writer = train_docs2query(texts, SMALL, note=lambda step, values: told.append(step))
    curve = writer.table()
    assert set(curve["fold"]) == {0, 1}
    assert told
    for _, part in curve.groupby("fold"):
        assert part["loss"].iloc[-1] < part["loss"].iloc[0]
    held = writer.examples
    passages = dict(zip(texts.passages["text"].to_pylist(), texts.queries["text"].to_pylist(), strict=True))
    assert all(
        fold_of(p, 2) == fold and passages[p] == q
        for p, q, fold in zip(held["passage"], held["query"], held["fold"], strict=True)
    )
    monkeypatch.setattr(docs2query, "_trained", lambda *_: pytest.fail("trained again"))
    again = train_docs2query(texts, SMALL)
    some = texts.passages["text"].to_pylist()[:9]
    assert again(some, 2, 5) == writer(some, 2, 5)
    assert "2 folds" in str(again)
    assert again.name == writer.name
    kept = next(cache_folder().glob("docs2query-*/model.safetensors"))
    kept.write_bytes(kept.read_bytes()[:99])
    with pytest.warns(CacheWarning, match="built again"), pytest.raises(pytest.fail.Exception):
        train_docs2query(texts, SMALL)


def test_a_killed_training_ends_as_one_in_one_go(monkeypatch: pytest.MonkeyPatch) -> None:
    texts, whole = world(60), replace(SMALL, folds=1, dropout=0.1)
    plain = train_docs2query(texts, whole)
    shutil.rmtree(cache_folder())
    monkeypatch.setattr(docs2query, "CHECKPOINT_SECONDS", 0.0)

    def kill(step: int, values: dict[str, float]) -> None:
        if step == 9:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_docs2query(texts, whole, note=kill)
    assert list(cache_folder().glob("*.training"))
    steps: list[int] = []
    resumed = train_docs2query(texts, whole, note=lambda step, values: steps.append(step))
    assert min(steps) == 9
    assert not list(cache_folder().glob("*.training"))
    assert resumed.curve.equals(plain.curve)
    for a, b in zip(resumed.models[0].parameters(), plain.models[0].parameters(), strict=True):
        assert np.array_equal(a.detach().numpy(), b.detach().numpy())


def test_small_shapes_and_few_pairs_are_refused(few: Collection) -> None:
    with pytest.raises(ValueError, match="heads=3: must divide width=16"):
        Small(width=16, heads=3)
    with pytest.raises(ValueError, match="too few for folds=9"):
        train_docs2query(few, Small(folds=9))


# ---------------------------------------------------------------------------------------------------------- recipes


def test_annotations_of_a_collection(few: Collection) -> None:
    assert annotate(few, "human") is few
    sizes = {how: len(annotate(few, how, generator=first_words)) for how in ("ict", "ict_kept", "cropped", "generated")}
    assert sizes == {"ict": 3, "ict_kept": 3, "cropped": 8, "generated": 3}
    mixed = annotate(few, "mixture", generator=first_words)
    marks = [q.split("#")[1][0] for q in mixed.queries["id"].to_pylist()]
    assert len(mixed) == 6
    assert marks.count("s") == marks.count("g") == 3
    assert len(mixed.passages) == 3
    with pytest.raises(ValueError, match="annotation='clicks': allowed are 'human', 'ict'"):
        annotate(few, "clicks")


def test_a_recipe_takes_its_pairs_from_its_annotation(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = tiny.tiny().but(train=world())
    monkeypatch.setattr(docs2query, "USUAL", replace(SMALL, most=2))
    recipe = Recipe(texts="tiny", rung="L2H12", pairs=40, corpus="whole")
    drawn = {how: trained_on(recipe.but(annotation=how), texts) for how in ("human", "ict", "cropped", "mixture")}
    assert {how: (len(c), len(c.passages)) for how, c in drawn.items()} == dict.fromkeys(drawn, (40, 300))
    larger = trained_on(recipe.but(annotation="cropped", pairs=80), texts)
    assert set(drawn["cropped"].queries["id"].to_pylist()) < set(larger.queries["id"].to_pylist())
    assert len(trained_on(recipe.but(annotation="cropped", pairs=0), texts)) == 900


@pytest.mark.parametrize(
    ("annotation", "strategy", "corpus"),
    [("ict", "adversarial", "whole"), ("cropped", "hard_negative", "chosen")],
)
def test_runs_on_annotated_pairs(annotation: str, strategy: str, corpus: str) -> None:
    texts = tiny.tiny().but(train=world())
    small = {
        "texts": "tiny",
        "rung": "L2H12",
        "projection": 8,
        "start": "scratch",
        "steps": 2,
        "batch": 16,
        "pairs": 64,
    }
    run = run_one(Recipe(**small, annotation=annotation, strategy=strategy, corpus=corpus), texts=texts)
    assert run.status == "done"
    assert run.train_pairs == 64
    assert run.versions[NOTE].startswith(f"{annotation}: 0 of 300")
    with pytest.raises(ValueError, match=r"pairs=301: world\[ict\] has 300 training pairs"):
        run_one(Recipe(**small | {"pairs": 301}, annotation="ict"), texts=texts)


def test_crops_of_one_passage_are_no_negatives_of_each_other() -> None:
    from drscale.encoder import build

    few = from_pairs("few", ROWS)
    pairs = tokenised(build(Recipe(rung="L2H12", projection=8)), crop_sentences(few, least=3))
    assert [row[row >= 0].tolist() for row in pairs.relevant] == [[r] for r in pairs.passage_rows]
    assert len(set(pairs.passage_rows.tolist())) == 3
    assert len(pairs) == 8
