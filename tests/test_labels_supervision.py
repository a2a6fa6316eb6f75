"""Supervision by teachers: what is drawn and when, what is fused, how good labels are, and iterations of training."""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny import bag, tiny, tiny_collection

from drscale import sweep
from drscale.encoder import build
from drscale.evaluate.lists import LabelWarning
from drscale.labels import supervision
from drscale.labels.supervision import Ranked, fuse, places, supervision_quality, with_labels
from drscale.losses import contrastive_entropy, divergence
from drscale.recipe import Recipe, check, part_of
from drscale.runs import RunStore
from drscale.study import plan_study
from drscale.training import loop, prepare
from drscale.training.batches import Batch, draw, tokenised
from drscale.training.strategies import Strategy

SMALL = Recipe(texts="folder:tiny", rung="L2H12", steps=12, batch=16, projection=24, rate=3e-3)
THREE = SMALL.but(strategy="supervised", teachers="words+noise+luck", iterations=3)
NOISE = {"words": 0.0, "noise": 1.0, "luck": 100.0}  # a teacher's scores: shared words, and so much at random
pytestmark = pytest.mark.usefixtures("teachers")


@cache
def lists_of(teacher, collection, depth=50, refresh=False):
    texts = (bag(t["text"].to_pylist()) for t in (collection.queries, collection.passages))
    queries, passages = texts
    rng = np.random.default_rng(len(teacher))
    scores = queries @ passages.T + NOISE[teacher] * rng.random((len(queries), len(passages)))
    order = np.argsort(-scores, axis=1, kind="stable")[:, :depth].astype(np.int32)
    return SimpleNamespace(rows=order, scores=np.take_along_axis(scores, order, 1).astype(np.float32), seconds=1.5)


@pytest.fixture
def teachers(monkeypatch):
    def teacher_row(name):
        if name not in NOISE:
            raise ValueError(f"teacher={name!r}: allowed are {', '.join(NOISE)}")

    stand_in = SimpleNamespace(teacher_row=teacher_row, ranked_lists=lists_of)
    monkeypatch.setitem(sys.modules, "drscale.labels.teachers", stand_in)


@cache
def tokens(collection):
    return tokenised(build(SMALL), collection)


def ready(recipe, collection=None):
    collection = collection or tiny().train
    return prepare.made_ready(recipe, collection, tokens(collection), None)


def trained(recipe, **options):
    encoder = build(recipe)
    strategy = ready(recipe)
    went = loop.train(encoder, strategy.pairs, recipe, strategy=strategy, **options)
    return encoder, went


def weights(encoder):
    return {n: p.detach().clone() for n, p in encoder.named_parameters()}


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(weights(one).values(), weights(other).values(), strict=True))


def ranks(name, queries, rows):
    """The rank, from 1, of each row in its query's list by a teacher; 0 where it is not listed."""
    hit = lists_of(name, tiny().train).rows[queries] == np.asarray(rows)[:, None]
    return np.where(hit.any(1), 1 + hit.argmax(1), 0)


# --------------------------------------------------------------------------------------------------------- the draws


def test_progressive_supervision_adds_a_teacher_in_each_iteration():
    made = ready(THREE.but(steps=300, batch=64))
    seen = {part: [] for part in range(3)}
    for step in range(0, 300, 5):
        batch = made.draw(step)
        of = [(ranks(n, batch.queries, batch.positives), ranks(n, batch.queries, batch.others)) for n in NOISE]
        drawn = [(p >= 1) & (p <= 10) & (n >= 46) for p, n in of]
        part = part_of(made.recipe, step)[0]
        assert np.any(drawn[: part + 1], axis=0).all()
        seen[part] += [[d.mean() for d in drawn]]
    shares = [np.mean(seen[part], axis=0) for part in range(3)]
    assert shares[0][0] == 1.0
    assert shares[0][2] < 0.05  # both teachers would have to list the same by chance
    assert shares[1][1] == pytest.approx(0.5, abs=0.05)
    assert shares[2][2] == pytest.approx(1 / 3, abs=0.05)


def test_uniform_supervision_draws_from_all_teachers_from_the_start():
    made = ready(THREE.but(variant="uniform", iterations=1, steps=100, batch=64))
    batches = [made.draw(step) for step in range(20)]
    luck = np.concatenate([ranks("luck", b.queries, b.others) >= 46 for b in batches])
    assert luck.mean() == pytest.approx(1 / 3, abs=0.05)


def test_draws_depend_on_seed_and_step_alone():
    one, two = ready(THREE), ready(THREE)
    two.draw(3)
    for name in ("positives", "others"):
        assert np.array_equal(getattr(one.draw(7), name), getattr(two.draw(7), name))
        assert not np.array_equal(getattr(one.draw(7), name), getattr(ready(THREE.but(seed=1)).draw(7), name))
    batch, plain = one.draw(7), draw(one.pairs, THREE, 7)
    assert np.array_equal(batch.queries, plain.queries)
    assert np.array_equal(batch.chosen, plain.chosen)


@pytest.mark.parametrize("top", [1, 5, 10])
def test_every_one_of_the_top_passages_and_none_below_is_drawn(top):
    made = ready(THREE.but(variant="uniform", teachers="words", iterations=1, top=top, steps=100, batch=64))
    batches = [made.draw(step) for step in range(20)]
    drawn = np.concatenate([ranks("words", b.queries, b.positives) for b in batches])
    assert set(drawn) == set(range(1, top + 1))
    below = np.concatenate([ranks("words", b.queries, b.others) for b in batches])
    assert set(below) == {46, 47, 48, 49, 50}


def test_short_lists_give_their_last_tenth_as_negatives():
    rows = np.full((4, 50), -1)
    for i, length in enumerate((50, 41, 8, 2)):
        rows[i, :length] = np.arange(length)
    positives, first, negatives = places(rows, top=10)
    assert positives.tolist() == [10, 10, 7, 1]
    assert first.tolist() == [45, 36, 7, 1]
    assert negatives.tolist() == [5, 5, 1, 1]
    assert places(rows[:1], 10, ranks=(21, 30))[1].tolist() == [20]
    few = tiny_collection("few", 30, 3)
    with pytest.warns(LabelWarning) as told:
        made = ready(THREE.but(batch=8), collection=few)
    assert [str(w.message) for w in told] == [
        f"teachers: {name} lists fewer than 50 passages for 30 of 30 queries (the shortest list has 30); the "
        "last tenth of such a list are its negatives, in place of ranks 46 to 50"
        for name in ("words", "noise", "luck")
    ]
    assert len(made.draw(0).others) == 8
    assert made.cost["short_lists"] == 90


def test_a_list_of_one_passage_is_refused():
    with pytest.raises(ValueError, match=r"words\+noise\+luck lists fewer than two passages for every query"):
        ready(THREE.but(batch=2), collection=tiny_collection("one", 1, 3))


def test_a_teacher_without_a_list_leaves_the_query_to_the_others():
    """The first teacher lists nothing for query 0; the second lists one passage for query 1, too few to draw from."""
    rows = [np.arange(6).reshape(2, 3) + 10 * k for k in range(3)]
    rows[0][0], rows[1][1, 1:] = -1, -1
    lists = [Ranked(r, np.where(r < 0, -np.inf, -np.arange(3.0))) for r in rows]
    batch = draw(tokens(tiny().train), THREE, 0)
    batch = replace(batch, queries=np.arange(16) % 2)
    touch = with_labels(THREE, lists, list(NOISE))
    drawn = [{(q, int(p) // 10) for s in range(6) for q, p in _drawn(touch, batch, 4 * k + s % 4)} for k in range(3)]
    assert drawn == [{(0, 1), (1, 0)}, {(0, 1), (1, 0)}, {(0, 1), (0, 2), (1, 0), (1, 2)}]
    assert fuse(lists).rows[0, :6].tolist() == [10, 20, 11, 21, 12, 22]
    assert fuse([Ranked(rows[0][:1], np.zeros((1, 3))), Ranked(rows[1][:1], np.zeros((1, 3)))]).rows[0, 0] == 10


def _drawn(touch, batch, step):
    made = touch(batch, step)
    return zip(made.queries.tolist(), made.positives.tolist(), strict=True)


# ---------------------------------------------------------------------------------------------- fused and soft labels


def test_fusing_adds_normalised_scores():
    one = Ranked(np.array([[4, 2, 7, -1]]), np.array([[10.0, 6.0, 2.0, 0.0]]), 1.0)
    two = Ranked(np.array([[2, 9, -1, -1]]), np.array([[0.3, 0.1, -np.inf, -np.inf]]), 2.0)
    fused = fuse([one, two], depth=4)
    assert fused.rows.tolist() == [[2, 4, 7, 9]]
    assert fused.scores.tolist() == [[1.5, 1.0, 0.0, 0.0]]
    assert fused.seconds == 3.0
    assert fuse([one, two], depth=2).rows.tolist() == [[2, 4]]
    level = Ranked(np.array([[5, 6]]), np.array([[3.0, 3.0]]))
    assert fuse([level]).scores[0, :3].tolist() == [1.0, 1.0, 0.0]


def test_fused_supervision_draws_from_the_fused_list():
    made = ready(THREE.but(variant="fused", iterations=1))
    fused = fuse([supervision.ranked(name, tiny().train) for name in NOISE])
    batch = made.draw(2)
    for i, query in enumerate(batch.queries):
        assert batch.positives[i] in fused.rows[query, :10]
        assert batch.others[i] in fused.rows[query, 45:]


@pytest.mark.parametrize("pool", ["in_batch", "shared"])
def test_all_contexts_of_the_batch_are_negatives_but_copies_of_the_own_positive(pool):
    recipe = THREE.but(variant="fused", iterations=1, steps=1, pool=pool, negatives=20, top=1)
    encoder = build(recipe)
    made = ready(recipe)
    batch = made.draw(0)
    assert len(batch.negatives) == (0 if pool == "in_batch" else 20)
    with torch.no_grad():
        beside = np.concatenate([batch.negatives, batch.others])
        q, p = encoder(
            made.pairs.queries.rows(batch.queries), made.pairs.passages.rows(np.concatenate([batch.positives, beside]))
        )
        expected = []
        for i, own in enumerate(batch.positives):
            others = [j for j in range(16) if batch.positives[j] != own] if pool == "in_batch" else []
            others += [16 + j for j, row in enumerate(beside) if row != own]
            expected.append(float(contrastive_entropy(q[i] @ p[[i, *others]].T)))
    _, went = trained(recipe, looks=1)
    assert went.curve[0]["loss"] == pytest.approx(np.mean(expected), rel=1e-5)


@pytest.mark.parametrize("pool", ["in_batch", "shared"])
def test_soft_labels_are_the_fused_scores_of_what_is_listed(pool):
    recipe = THREE.but(variant="soft", iterations=1, steps=1, pool=pool, negatives=60)
    encoder = build(recipe)
    made = ready(recipe)
    batch = made.draw(0)
    fused = fuse([supervision.ranked(name, tiny().train) for name in NOISE])
    with torch.no_grad():
        beside = np.concatenate([batch.negatives, batch.others])
        q, p = encoder(
            made.pairs.queries.rows(batch.queries), made.pairs.passages.rows(np.concatenate([batch.positives, beside]))
        )
        expected, listed = [], 0
        for i, own in enumerate(batch.positives):
            kept = [i, *(j for j in range(16) if batch.positives[j] != own and pool == "in_batch")]
            kept += [16 + j for j, row in enumerate(beside) if row != own]
            score = dict(zip(fused.rows[batch.queries[i]], fused.scores[batch.queries[i]], strict=True))
            rows = np.concatenate([batch.positives, beside])[kept]
            labels = torch.tensor([float(score.get(row, -np.inf)) for row in rows])
            listed += int(torch.isfinite(labels).sum())
            expected.append(float(divergence(labels[None], (q[i] @ p[kept].T)[None])))
    assert listed > 2 * 16  # others' positives and negatives, too, where the list has them
    _, went = trained(recipe, looks=1)
    assert went.curve[0]["loss"] == pytest.approx(np.mean(expected), rel=1e-5)


# ------------------------------------------------------------------------------------------------------ whole trainings


@pytest.mark.parametrize("variant", ["progressive", "uniform", "fused", "soft"])
def test_every_variant_learns_and_tells_its_cost(variant):
    recipe = THREE.but(variant=variant, teachers="words+noise", iterations=2, steps=30, rate=1e-2, top=1)
    made = ready(recipe)
    assert made.cost["teachers_seconds"] == 3.0
    assert "words+noise" in made.notes["teachers"]
    _, went = trained(recipe, looks=10)
    assert min(p["loss"] for p in went.curve[-3:]) < went.curve[0]["loss"] - 0.05


def test_a_run_keeps_what_its_labels_cost(tmp_path):
    recipe = THREE.but(steps=3, batch=8)
    run = sweep.run_one(recipe, RunStore(tmp_path), texts=tiny(), looks=1)
    assert (run.status, run.cost["teachers_seconds"], run.cost["short_lists"]) == ("done", 4.5, 0.0)
    assert run.versions["teachers"].startswith("words+noise+luck; negatives from ranks 46 to 50")
    table = RunStore(tmp_path).table()
    assert table["teachers"].tolist() == ["words+noise+luck"]
    assert table["teachers_seconds"].tolist() == [4.5]


def test_another_teacher_is_another_mark():
    marks = {ready(THREE.but(variant=v, iterations=i)).mark for v, i in (("uniform", 1), ("fused", 1), ("soft", 1))}
    other = ready(THREE.but(variant="uniform", iterations=1, teachers="words+noise")).mark
    assert len(marks) == 2  # fused and soft draw from one list
    assert other not in marks


def test_the_sweep_refuses_what_cannot_be_before_anything_is_trained(tmp_path):
    store = RunStore(tmp_path)
    assert len(plan_study([THREE], store).recipes) == 1
    for recipe, said in (
        (THREE.but(teachers=""), "takes its labels from teachers"),
        (THREE.but(teachers="words+oracle+luck"), "teacher='oracle': allowed are words, noise, luck"),
        (THREE.but(teachers="words+luck+luck"), "each teacher once"),
        (THREE.but(iterations=2), "needs iterations=3"),
        (THREE.but(top=46), "below 46"),
        (THREE.but(steps=13), "iterations=3: steps=13 cannot be cut into so many equal parts"),
        (SMALL.but(teachers="words"), "makes no use of it"),
    ):
        with pytest.raises(ValueError, match=said):
            plan_study([recipe], store)


# ----------------------------------------------------------------------------------------------------------- iterations


def test_the_schedule_starts_anew_in_each_iteration():
    recipe = Recipe(steps=12, iterations=3, warmup=2, rate=1.0, schedule="linear")
    one = [0.5, 1.0, 1.0, 0.5]
    assert [loop.rate_at(recipe, step) for step in range(12)] == pytest.approx(one * 3)
    whole = recipe.but(iterations=1)
    assert [loop.rate_at(whole, step) for step in (0, 1, 2, 7)] == pytest.approx([0.5, 1.0, 1.0, 0.5])
    with pytest.raises(ValueError, match="equal parts"):
        check(recipe.but(steps=11))


def test_iterations_are_trainings_that_start_from_the_checkpoint_before():
    """Two iterations of five steps are two trainings of five steps each on the same batches, the second on top."""
    recipe = SMALL.but(steps=10, iterations=2, schedule="linear", warmup=2)
    encoder = build(recipe)
    pairs = tokens(tiny().train)
    loop.train(encoder, pairs, recipe)
    other, one = build(recipe), SMALL.but(steps=5, schedule="linear", warmup=2)
    loop.train(other, pairs, one)
    later = Strategy(one.but(strategy="hard_negative"), pairs, lambda batch, step: draw(pairs, recipe, step + 5))
    loop.train(other, pairs, one, strategy=later)
    assert same(encoder, other)
    once = build(recipe)
    loop.train(once, pairs, recipe.but(iterations=1))
    assert not same(encoder, once)


@pytest.mark.parametrize("stop", [4, 5])
def test_an_interrupted_run_of_iterations_equals_one_that_was_not(tmp_path, stop):
    recipe = THREE.but(dropout=0.1, schedule="linear", warmup=2)
    whole, went = trained(recipe, looks=4)
    path, steps = tmp_path / "run.safetensors", []
    trained(recipe, looks=4, checkpoint=path, note=lambda s, v: steps.append(s), stopped=lambda: stop in steps)
    assert max(steps) == stop
    resumed, again = trained(recipe, looks=4, checkpoint=path)
    assert again.curve == went.curve
    assert same(whole, resumed)


# -------------------------------------------------------------------------------------------------------- their quality


def test_accuracy_is_the_reciprocal_rank_of_the_ranking_by_probability(monkeypatch):
    """Worked by hand: of passages that both teachers list, the one with the larger sum of reciprocal ranks leads."""
    few = tiny_collection("few", 6, 3)
    asked, answer = few.pairs
    assert asked.tolist() == answer.tolist() == list(range(6))
    one = {q: [(q + k) % 6 for k in (1, 0, 2, 3, 4, 5)] for q in range(6)}  # the own passage second
    two = {q: [(q + k) % 6 for k in (3, 2, 0, 1, 4, 5)] for q in range(6)}  # the own passage third

    def given(teacher, collection, depth, refresh=False):
        rows = np.array(list({"one": one, "two": two}[teacher].values()), np.int32)
        return SimpleNamespace(rows=rows, scores=-np.arange(6.0) * np.ones((6, 1)), seconds=0.0)

    monkeypatch.setattr(sys.modules["drscale.labels.teachers"], "ranked_lists", given)
    table = supervision_quality(few, "one+two", top=3).set_index(["set", "teachers"])
    assert table.loc[("single", "one"), "accuracy"] == pytest.approx(1 / 2)
    assert table.loc[("single", "two"), "accuracy"] == pytest.approx(1 / 3)
    # Both list q and q+2: sums 1/2 + 1/3 and 1/3 + 1/2, equal, so the lower row leads; then q+1 and q+3, once each.
    lead = [1.0 if q < (q + 2) % 6 else 0.5 for q in range(6)]
    both = table.loc[("union", "one+two")]
    assert both["accuracy"] == pytest.approx(np.mean(lead))
    assert both["first"] == pytest.approx(np.mean([v == 1 for v in lead]))
    assert (both["diversity"], both["relevant"], both["found"], both["queries"]) == (4.0, 1.0, 1.0, 6)
    assert table.loc[("single", "one"), "diversity"] == 3.0
    top = supervision_quality(few, "one", top=1).iloc[0]
    assert (top["accuracy"], top["found"], top["diversity"]) == (0.0, 0.0, 1.0)


def test_each_set_of_teachers_has_a_row():
    table = supervision_quality(tiny().test, ["words", "noise", "luck"])
    assert table["set"].tolist() == ["single"] * 3 + ["union"] * 2 + ["fused"]
    assert table["teachers"].tolist()[3:] == ["words+noise", "words+noise+luck", "words+noise+luck"]
    rising = table["diversity"].tolist()
    assert rising[0] == rising[5] == 10.0
    assert 10 < rising[3] < rising[4] <= 30
    assert table["accuracy"][0] > 0.9 > 0.1 > table["accuracy"][2]
    with pytest.raises(ValueError, match="top=0"):
        supervision_quality(tiny().test, "words", top=0)
    with pytest.raises(ValueError, match="teachers=''"):
        supervision_quality(tiny().test, "")


def test_a_query_without_labels_gives_its_place_to_one_that_has_some():
    rows = np.tile(np.arange(50), (4, 1))
    rows[2] = -1
    rows[3, 1:] = -1
    touch = with_labels(THREE.but(variant="uniform"), [Ranked(rows, np.ones((4, 50)))], ["words"])
    asked = np.array([0, 1, 2, 3])
    batch = touch(Batch(asked, asked.copy(), np.empty(0, np.int64), asked), 0)
    assert batch.queries.tolist() == [0, 1, 0, 0]
    assert (batch.positives >= 0).all()
    assert (batch.others >= 45).all()
