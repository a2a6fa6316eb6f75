"""Strategies: what a batch is and what is minimised, in every variant and balance; standard training is as it was."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import tiny, tiny_collection

from drscale import sweep
from drscale.attacks.substitutes import Given
from drscale.encoder import build, seed_for
from drscale.ladder import predicted_flops
from drscale.losses import contrastive_entropy, divergence, mask_repeats, pairwise_loss, pool_scores
from drscale.recipe import STRATEGIES, Recipe, check
from drscale.runs import RunStore
from drscale.study import plan_study
from drscale.texts.collection import taken
from drscale.training import batches as mining
from drscale.training import loop, prepare, strategies
from drscale.training import prepare as augment
from drscale.training import strategies as pareto
from drscale.training.batches import draw, tokenised, touched_pairs
from drscale.training.strategies import Strategy

SMALL = Recipe(texts="folder:tiny", rung="L2H12", steps=40, batch=16, negatives=32, projection=24, rate=3e-3)
# The strategies of this room; those of other rooms have batches and losses of their own, and tests beside them.
ROWS = {name: row for name, row in STRATEGIES.items() if str(row.prepare).startswith("drscale.training.")}
VARIANTS = {name: row.variants for name, row in ROWS.items()}
WITHOUT_LOSS = {(s, v) for s, row in ROWS.items() for v in row.variants if v not in row.losses}
EVERY = [(s, v) for s, variants in VARIANTS.items() for v in variants if s != "standard"]
ROBUST = [row for row in EVERY if row not in WITHOUT_LOSS]
POOLS = ("in_batch", "shared", "both")
pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("DRSCALE_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setattr(prepare.sources, "synonyms", lambda spec: Given({"badoba": ["dodoki"]}, source=spec))


class Swap:
    """An attack that puts the query's first word in front, and counts how often it is asked."""

    def __init__(self):
        self.asked, self.passages = 0, 0

    def __str__(self):
        return "first word in front"

    def __call__(self, encoder, substitutes):
        def perturb(queries, passages):
            self.asked, self.passages = self.asked + 1, self.passages + len(passages)
            return [f"{q.split()[0]} {p}" for q, p in zip(queries, passages, strict=True)]

        return perturb


def ready(recipe, encoder=None, collection=None, **options):
    encoder = encoder or build(recipe)
    collection = collection or tiny().train
    options = {"small": lambda: build(recipe.but(seed=99)), "attack": Swap(), **options}
    return prepare.prepare(recipe, collection, tokenised(encoder, collection), encoder, **options)


def trained(recipe, **options):
    encoder = build(recipe)
    strategy = ready(recipe, encoder)
    return encoder, loop.train(encoder, strategy.pairs, recipe, strategy=strategy, **options)


def weights(encoder):
    return {n: p.detach().clone() for n, p in encoder.named_parameters()}


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(weights(one).values(), weights(other).values(), strict=True))


# ------------------------------------------------------------------------------------------------- standard training


@pytest.mark.parametrize("pool", ["in_batch", "shared", "both"])
@pytest.mark.parametrize("towers", ["shared", "two"])
def test_standard_training_is_bit_for_bit_the_plain_loop(pool, towers) -> None:
    recipe = SMALL.but(steps=12, pool=pool, towers=towers, dropout=0.1)
    one, went = trained(recipe, looks=3)
    other = build(recipe)
    pairs = tokenised(other, tiny().train)
    parts = {n: p for n, p in other.named_parameters() if p.requires_grad}
    optimiser = torch.optim.AdamW(parts.values(), lr=recipe.rate, weight_decay=recipe.decay)
    losses = []
    other.train()
    for step in range(recipe.steps):
        batch = draw(pairs, recipe, step)
        torch.manual_seed(seed_for(recipe.seed, f"step {step}"))
        rows = np.concatenate([batch.positives, batch.negatives])
        queries, passages = other(pairs.queries.rows(batch.queries), pairs.passages.rows(rows))
        scores, targets = pool_scores(queries, passages, torch.arange(16), pool, 16)
        ids = torch.as_tensor(rows if pool != "shared" else [-2, *batch.negatives])
        scores = mask_repeats(scores, targets, ids, torch.as_tensor(pairs.relevant[batch.queries]))
        loss = contrastive_entropy(scores, targets).mean()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parts.values(), 1.0)
        optimiser.step()
        losses.append(float(loss.detach()))
    assert same(one, other)
    assert [p["loss"] for p in went.curve] == [losses[i] for i in (3, 7, 11)]
    assert (went.state, went.omega) == ({}, [])
    assert went.curve[0].keys() == {"step", "loss"}


# ------------------------------------------------------------------------------------------------------ every variant


@pytest.mark.parametrize(("strategy", "variant"), EVERY)
def test_every_variant_learns_and_is_deterministic(strategy, variant) -> None:
    recipe = SMALL.but(strategy=strategy, variant=variant, share=0.75, steps=30, dropout=0.1, rate=6e-3)
    heard, again, half = [], [], {}

    def note(step, values):
        heard.append((step, values))
        if step == 15:
            half.update(weights(one))

    one = build(recipe)
    made = ready(recipe, one)
    went = loop.train(one, made.pairs, recipe, strategy=made, looks=3, note=note)
    again_until_15 = {"note": lambda *seen: again.append(seen), "stopped": lambda: 15 in dict(again)}
    two, _ = trained(recipe, looks=3, **again_until_15)
    assert heard[: len(again)] == again
    assert half
    assert all(torch.equal(half[n], w) for n, w in weights(two).items())
    assert went.curve[-1]["loss"] < went.curve[0]["loss"] - 0.1
    told = {"effectiveness", "robustness"} if (strategy, variant) not in WITHOUT_LOSS else set()
    assert went.curve[0].keys() == {"step", "loss"} | told


@pytest.mark.parametrize(("strategy", "variant"), ROBUST)
def test_what_is_minimised_is_the_natural_loss_and_the_weighted_other(strategy, variant) -> None:
    recipe = SMALL.but(strategy=strategy, variant=variant, share=0.5, weight=0.7, steps=3)
    _, went = trained(recipe, looks=3)
    encoder = build(recipe)
    made = ready(recipe, encoder)
    touched = [len(made.draw(s).touched) for s in range(3)]
    for n, point in zip(touched, went.curve, strict=True):
        expected = point["effectiveness"] + 0.7 * point["robustness"] * n / recipe.batch
        assert point["loss"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("strategy", "variant", "pool"), [(*kind, POOLS[i % 3]) for i, kind in enumerate(ROBUST + ROBUST[:3])]
)
def test_weight_0_is_the_natural_loss_alone(strategy, variant, pool) -> None:
    recipe = SMALL.but(strategy=strategy, variant=variant, weight=0.0, steps=4, pool=pool)
    one, went = trained(recipe, looks=4)
    assert all(p["loss"] == p["effectiveness"] for p in went.curve)
    if variant != "pairwise":
        other, plain = trained(SMALL.but(steps=4, pool=pool), looks=4)
        assert [p["loss"] for p in went.curve] == pytest.approx([p["loss"] for p in plain.curve], rel=1e-4)
        # other texts in a batch change how it is cut into chunks, and so the last bits, which AdamW's first steps
        # magnify where a gradient is next to nothing: few weights may differ, as against all
        apart = [(a - b).abs().flatten() > 1e-4 for a, b in zip(one.parameters(), other.parameters(), strict=True)]
        assert torch.cat(apart).float().mean() < 0.01


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(EVERY), st.sampled_from([1.0, 0.75, 0.5, 0.25]), st.integers(0, 3), st.integers(2, 40))
def test_a_share_touches_so_many_pairs_and_the_amount_of_data_stays(kind, share, seed, batch) -> None:
    recipe = SMALL.but(strategy=kind[0], variant=kind[1], share=share, seed=seed, batch=batch)
    pairs, made = _ready_small(recipe)
    count = len(pairs)
    touched, seen = set(), []
    for step in range(math.ceil(count / batch)):
        got, plain = made.draw(step), draw(pairs, recipe, step)
        for name in ("queries", "positives", "chosen"):
            assert np.array_equal(getattr(got, name), getattr(plain, name))
        touched |= set(got.chosen[got.touched])
        seen += list(got.chosen)
        added = len(got.others) + len(got.changed)
        assert added == len(got.touched) * (2 if kind == ("adversarial", "kl") else 1)
    assert sorted(seen[:count]) == list(range(count))
    whole = touched_pairs(count, 1.0, seed)
    assert touched == set(whole[: round(share * count)])


def test_one_pair_is_touched_at_least():
    assert [len(touched_pairs(10, share, 0)) for share in (0.01, 0.1, 0.2, 1.0)] == [1, 1, 2, 10]


@cache
def _ready_small(recipe):
    encoder, collection = build(SMALL), tiny_collection("x", 100, 1)
    made = ready(recipe, encoder, collection)
    return made.pairs, made


def test_hard_negatives_take_the_place_of_random_ones() -> None:
    for pool, added in (("both", 0), ("shared", 0), ("in_batch", 16)):
        recipe = SMALL.but(strategy="hard_negative", pool=pool)
        batch = ready(recipe).draw(0)
        random = 0 if pool == "in_batch" else recipe.negatives
        assert len(batch.negatives) + len(batch.others) == random + added
        plain = draw(tokenised(build(SMALL), tiny().train), recipe, 0)
        assert np.array_equal(batch.negatives, plain.negatives[: len(batch.negatives)])


def test_a_hard_negative_in_the_pool_counts_for_every_query() -> None:
    recipe = SMALL.but(strategy="hard_negative", steps=1)
    encoder = build(recipe)
    made = ready(recipe, encoder)
    batch = made.draw(0)
    _, went = trained(recipe, looks=1)
    with torch.no_grad():
        pool = np.concatenate([batch.positives, batch.others])
        q, p = encoder(made.pairs.queries.rows(batch.queries), made.pairs.passages.rows(pool))
        scores = mask_repeats(
            q @ p.T, torch.arange(16), torch.as_tensor(pool), torch.as_tensor(made.pairs.relevant[batch.queries])
        )
        assert went.curve[0]["loss"] == pytest.approx(float(contrastive_entropy(scores, torch.arange(16)).mean()))


# ------------------------------------------------------------------------------------------------------------- losses


@given(st.integers(0, 1000))
def test_the_pairwise_loss_is_the_mean_over_pairs_of_what_is_in_the_pool(seed) -> None:
    scores = torch.randn(5, 7, generator=torch.Generator().manual_seed(seed)) * 3
    targets = torch.tensor([0, 3, 6, 1, 1])
    scores[0, 4] = scores[2, 0] = float("-inf")
    got = pairwise_loss(scores, targets)
    for i, own in enumerate(targets):
        rest = [float(s) for j, s in enumerate(scores[i]) if j != own and torch.isfinite(s)]
        expected = np.mean([np.logaddexp(0, s - float(scores[i, own])) for s in rest])
        assert float(got[i]) == pytest.approx(expected, rel=1e-4)


@given(st.integers(0, 1000))
def test_divergence_is_that_of_two_distributions(seed) -> None:
    one, other = torch.randn(2, 4, 6, generator=torch.Generator().manual_seed(seed)).unbind()
    one[1, 2] = other[1, 2] = float("-inf")
    one.requires_grad_()
    got = divergence(one, other)
    p, q = one.softmax(-1), other.softmax(-1)
    expected = torch.where(p > 0, p * (p / q).log(), torch.zeros(())).nansum(-1)
    assert torch.allclose(got, expected, atol=1e-5)
    assert torch.equal(divergence(other, other), torch.zeros(4))
    got.sum().backward()
    assert torch.isfinite(one.grad).all()


def views(pool="in_batch", **changes):
    """Six queries, three of them touched, with random vectors."""
    g = torch.Generator().manual_seed(0)
    q, p, others, changed = (torch.randn(n, 4, generator=g, requires_grad=True) for n in (6, 6, 3, 3))
    scores, targets = (q @ p.T, torch.arange(6)) if pool == "in_batch" else (q @ p.T, torch.zeros(6, dtype=torch.int64))
    made = {"queries": q, "positives": p, "others": others, "changed": changed, "scores": scores, "targets": targets}
    made |= {"touched": torch.tensor([1, 2, 5]), "hidden": torch.zeros(3, 3, dtype=torch.bool), "pool": pool}
    return strategies.Views(**(made | {"teacher": torch.zeros(3, 4)} | changes))


def test_noisy_passages_take_the_place_of_clean_ones() -> None:
    v = views()
    v.scores.data[1, 5] = float("-inf")
    noisy = strategies._with_noise(v)
    for row, query in enumerate((1, 2, 5)):
        for column in range(6):
            at = {1: 0, 2: 1, 5: 2}.get(column)
            expected = v.scores[query, column] if at is None else v.queries[query] @ v.changed[at]
            expected = v.scores[1, 5] if (query, column) == (1, 5) else expected
            assert torch.isclose(noisy[row, column], expected)
    own = strategies._with_noise(v := views("shared"))
    assert torch.allclose(own[:, 0], (v.queries[[1, 2, 5]] * v.changed).sum(-1))
    assert torch.equal(own[:, 1:], v.scores[[1, 2, 5]][:, 1:])


def test_dynamic_denoising_moves_the_noisy_ranking_towards_the_clean_one_only() -> None:
    v = views()
    strategies._noise_kl(v).sum().backward()
    assert v.changed.grad.abs().sum() > 0
    assert v.positives.grad[[1, 2, 5]].abs().sum() == 0  # the clean forms stand on the detached side alone
    same_texts = views(changed=views().positives[[1, 2, 5]])
    assert torch.allclose(strategies._noise_kl(same_texts), torch.zeros(3), atol=1e-6)


def test_an_attack_that_changes_nothing_costs_nothing_and_what_is_relevant_is_left_out() -> None:
    v = views()
    assert torch.allclose(strategies._attack_kl(views(changed=v.others)), torch.zeros(3), atol=1e-6)
    hidden = torch.zeros(3, 3, dtype=torch.bool)
    hidden[0, 2] = True
    losses = []
    for scale in (1.0, 9.0):
        changed = v.changed.detach().clone()
        changed[2] *= scale
        losses.append(strategies._attack_kl(views(changed=changed, hidden=hidden)))
    assert torch.equal(losses[0][0], losses[1][0])
    assert not torch.isclose(losses[0][2], losses[1][2])
    strategies._attack_kl(v).sum().backward()
    assert min(x.grad.abs().sum() for x in (v.queries, v.positives, v.others, v.changed)) > 0


def test_the_loss_on_attacked_data_is_contrastive_entropy_with_the_attacked_passages_in_the_pool() -> None:
    v = views()
    hidden = torch.zeros(3, 3, dtype=torch.bool)
    hidden[1, 0] = True
    got = strategies._attack_pool(views(hidden=hidden))
    for row, query in enumerate((1, 2, 5)):
        beside = [v.queries[query] @ v.changed[k] for k in range(3) if not hidden[row, k]]
        pool = torch.stack([*v.scores[query], *beside])
        assert torch.isclose(got[row], torch.logsumexp(pool, 0) - v.scores[query, query], atol=1e-6)
    clean = contrastive_entropy(v.scores, v.targets)[[1, 2, 5]]
    assert (got > clean).all()  # a pool with more in it is never easier


def test_what_was_made_of_a_relevant_passage_is_hidden_by_its_origin() -> None:
    recipe = SMALL.but(strategy="adversarial", variant="pool", pool="in_batch", steps=1)
    strategy = ready(recipe)
    batch = strategy.draw(0)
    assert len(batch.others) == 0
    assert len(batch.origins) == len(batch.changed) == len(batch.touched)
    own = replace(batch, origins=batch.positives[batch.touched])
    model = build(recipe)
    assert not strategies._views(strategy, model, batch).hidden.diagonal().any()
    assert strategies._views(strategy, model, own).hidden.diagonal().all()


def test_whole_collections_share_their_attacked_passages_among_amounts_and_seeds(monkeypatch) -> None:
    monkeypatch.setattr(augment, "BLOCK", 64)
    attack, source = Swap(), tiny().train
    base = SMALL.but(strategy="adversarial", corpus="whole")

    def made(recipe):
        return augment.attacked(source, recipe, lambda: attack(None, None), str(attack))

    every = made(base)
    assert attack.passages == 400
    known = dict(zip(every.pairs, zip(every.targets, every.texts, strict=True), strict=True))
    for recipe in (base.but(seed=3), base.but(pairs=100, seed=2), base.but(pairs=100, share=0.25, seed=1)):
        examples = made(recipe)
        own = taken(400, recipe.pairs or 400, recipe.seed)
        assert len(examples.pairs) == round(recipe.share * len(own))
        for pair, target, text in zip(examples.pairs, examples.targets, examples.texts, strict=True):
            assert known[own[pair]] == (target, text)
    assert attack.passages == 400
    few = source.take(100, 2, whole=True)
    assert few.passages == source.passages
    strategy = ready(base.but(pairs=100, seed=2), collection=few, source=source)
    assert len(strategy.draw(0).changed) == 16
    with pytest.raises(ValueError, match="give source"):
        ready(base.but(pairs=100, seed=2), collection=few)


def test_negatives_come_from_the_whole_collection_where_that_is_asked_for() -> None:
    source, recipe = tiny().train, SMALL.but(pairs=60, pool="shared", negatives=40, corpus="whole")
    few, own = source.take(60, 0, whole=True), source.take(60, 0)
    assert few.queries == own.queries
    assert few.qrels == own.qrels
    encoder = build(recipe)
    pairs = tokenised(encoder, few)
    drawn = np.unique(np.concatenate([draw(pairs, recipe, step).negatives for step in range(40)]))
    assert len(drawn) > 300  # of 400; the chosen pairs have 60
    ranked = mining.hard_negatives(few)
    assert len(np.unique(ranked[ranked >= 0])) > 60


def test_the_attacked_or_hard_passage_is_put_below_the_positive() -> None:
    v = views()
    expected = np.logaddexp(
        0, [(v.queries[i] @ (v.changed[k] - v.positives[i])).item() for k, i in enumerate((1, 2, 5))]
    )
    assert strategies._above_other(v).tolist() == pytest.approx(expected, rel=1e-4)
    hard = views(changed=torch.empty(0, 4))
    expected = [(hard.queries[i] @ (hard.others[k] - hard.positives[i])).item() for k, i in enumerate((1, 2, 5))]
    assert strategies._above_other(hard).tolist() == pytest.approx(np.logaddexp(0, expected), rel=1e-4)


# ------------------------------------------------------------------------------------------------------------ balance


def loss_of(recipe, effectiveness=(2.0, 4.0), robustness=(1.0,), state=None, parts=()):
    e, r = torch.tensor(effectiveness), torch.tensor(robustness)
    return pareto.combine(recipe, e, r, {} if state is None else state, parts)


BALANCED = SMALL.but(strategy="adversarial", variant="pairwise")


def test_fixed_weights() -> None:
    for omega in (0.0, 0.3, 1.0):
        loss, said = loss_of(BALANCED.but(balance="fixed", omega=omega))
        assert float(loss) == pytest.approx(omega * 1 + (1 - omega) * 3)
        assert said == {"effectiveness": 3.0, "robustness": 1.0}


def test_the_controller_follows_equations_9_to_11() -> None:
    recipe, state = BALANCED.but(balance="pareto", omega=0.5, eta=0.1), {}
    loss, said = loss_of(recipe, state=state)
    assert (said["omega"], float(loss)) == (0.5, 2.0)
    assert state["omega"] == pytest.approx(0.5 - 0.1 * (3 / 1 - 2))
    loss, said = loss_of(recipe, state=state)
    assert said["omega"] == pytest.approx(0.4)
    assert float(loss) == pytest.approx(0.4 * 1 + 0.6 * 3)
    for _ in range(9):
        loss_of(recipe, state=state)
    assert state["omega"] == 0.0


def test_omega_0_read_as_a_ratio_may_exceed_1_and_starts_at_1() -> None:
    state = {}
    _, said = loss_of(BALANCED.but(balance="pareto", omega=4.0, eta=0.01), state=state)
    assert said["omega"] == 1.0
    assert state["omega"] == pytest.approx(1 - 0.01 * (3 - 0.25))


def test_a_smoothed_controller_averages_each_loss() -> None:
    recipe, state = BALANCED.but(balance="pareto", omega=0.5, eta=0.01, smooth=0.9), {}
    loss_of(recipe, state=state)
    assert state["omega"] == pytest.approx(0.5 - 0.01 * (3 - 2))
    loss_of(recipe, (8.0, 8.0), (2.0,), state)
    e, r = 0.9 * 3 + 0.1 * 8, 0.9 * 1 + 0.1 * 2
    assert state["effectiveness"] == pytest.approx(e)
    assert state["omega"] == pytest.approx(0.49 - 0.01 * (e / r - 2))


def test_a_batch_without_a_touched_pair_leaves_the_weight() -> None:
    for balance in ("none", "fixed", "pareto", "mgda", "pcgrad"):
        state = {"omega": 0.2}
        recipe = BALANCED.but(balance=balance)
        loss, said = pareto.combine(recipe, torch.tensor([2.0, 4.0]), torch.empty(0), state, [])
        assert float(loss) == 3.0
        assert state == {"omega": 0.2}
        assert "robustness" not in said


def test_mgda_steps_along_the_shortest_combination() -> None:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    e, r = (x[0] ** 2 + 4).reshape(1), (3 * x[1] + x[0]).reshape(1)  # gradients (2, 0) and (1, 3)
    loss, said = pareto.combine(BALANCED.but(balance="mgda"), e, r, {}, [x])
    loss.backward()
    # the point of the segment between them that lies nearest to zero
    t = 0.2
    assert said["omega"] == pytest.approx(t, abs=1e-3)
    assert torch.allclose(x.grad, torch.tensor([2 * (1 - t) + t, 3 * t]), atol=1e-2)
    assert float(loss.detach()) == pytest.approx((1 - t) * 5 + t * 7, abs=1e-2)


def test_pcgrad_frees_each_gradient_of_what_speaks_against_the_other() -> None:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    e, r = x[0].reshape(1), (x[1] - x[0]).reshape(1)  # gradients (1, 0) and (-1, 1), at an angle of 135 degrees
    loss, said = pareto.combine(BALANCED.but(balance="pcgrad"), e, r, {}, [x])
    loss.backward()
    # (1, 0) freed of (-1, 1) is (.5, .5), and (-1, 1) freed of (1, 0) is (0, 1)
    assert torch.allclose(x.grad, torch.tensor([0.5, 1.5]), atol=1e-3)
    assert said["omega"] == pytest.approx(1.5 / 3.5, abs=1e-3)
    assert float(loss.detach()) == pytest.approx(2 * 1 + 1.5 * 1, abs=1e-2)


def test_mgda_without_torchjd_says_what_to_install(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "torchjd", None)
    x = torch.ones(1, requires_grad=True)
    with pytest.raises(ValueError, match="pip install torchjd"):
        pareto.combine(BALANCED.but(balance="mgda"), x * 2, x * 3, {}, [x])


@pytest.mark.parametrize(("strategy", "variant"), ROBUST)
@pytest.mark.parametrize("balance", ["fixed", "pareto", "mgda", "pcgrad"])
def test_every_balance_trains_and_says_its_weight(strategy, variant, balance) -> None:
    recipe = SMALL.but(strategy=strategy, variant=variant, balance=balance, share=0.5, steps=5)
    _, went = trained(recipe, looks=2)
    assert went.step == 5
    assert (len(went.omega) == 5) == (balance != "fixed")
    assert all(0 <= w <= 1 for w in went.omega)
    assert all(math.isfinite(v) for point in went.curve for v in point.values())


def test_the_loops_loss_is_the_weighted_one() -> None:
    _, went = trained(BALANCED.but(balance="pareto", steps=10, omega=0.6), looks=10)
    for point in went.curve:
        w = point["omega"]
        assert point["loss"] == pytest.approx(w * point["robustness"] + (1 - w) * point["effectiveness"], rel=1e-4)
    first, second = went.curve[:2]
    moved = pareto.next_weight(0.6, first["effectiveness"], first["robustness"], 0.6, 0.1)
    assert second["omega"] == pytest.approx(moved, rel=1e-6)
    assert went.omega == pytest.approx([p["omega"] for p in went.curve], abs=1e-6)


@pytest.mark.parametrize(
    ("strategy", "options"),
    [
        ("hard_negative", {}),
        ("denoising", {"variant": "static"}),
        ("denoising", {"balance": "pareto", "smooth": 0.5}),
        ("adversarial", {"variant": "pairwise", "balance": "pareto"}),
        ("adversarial", {"balance": "mgda"}),
    ],
)
def test_a_resumed_run_equals_one_that_was_not_interrupted(tmp_path, strategy, options) -> None:
    recipe = SMALL.but(strategy=strategy, share=0.75, dropout=0.1, steps=12, schedule="cosine", **options)
    whole, went = trained(recipe, looks=4)
    path, steps = tmp_path / "run.safetensors", []
    trained(recipe, looks=4, checkpoint=path, note=lambda s, v: steps.append(s), stopped=lambda: 7 in steps)
    assert path.exists()
    resumed, again = trained(recipe, looks=4, checkpoint=path)
    assert (again.curve, again.omega, again.state) == (went.curve, went.omega, went.state)
    assert (again.tokens, again.flops) == (went.tokens, went.flops)
    assert same(whole, resumed)


# ----------------------------------------------------------------------------------------- negatives, noise, examples


def test_hard_negatives_are_the_best_by_bm25_and_never_relevant() -> None:
    collection = tiny().train
    rows = mining.hard_negatives(collection)
    assert rows.shape == (400, 40)
    q, p = (c["text"].to_pylist() for c in (collection.queries, collection.passages))
    query_rows, passage_rows = collection.pairs
    own = dict(zip(query_rows, passage_rows, strict=True))
    rng = np.random.default_rng(0)
    closer = 0
    for i in range(400):
        ranked = rows[i][rows[i] >= 0]
        assert own[i] not in ranked
        assert len(set(ranked)) == len(ranked)
        overlap = [len(set(q[i].split()) & set(p[j].split())) for j in (ranked[0], rng.integers(400))]
        closer += overlap[0] > overlap[1]
    assert closer > 300


def test_what_was_mined_is_kept_and_mined_anew_on_request(monkeypatch) -> None:
    first = mining.hard_negatives(tiny().train)
    made = []
    monkeypatch.setattr(mining.Index, "best", lambda *a: made.append(1) or np.zeros((400, 40), np.int32))
    assert np.array_equal(mining.hard_negatives(tiny().train), first)
    assert not made
    assert not mining.hard_negatives(tiny().train, refresh=True).any()
    assert not mining.hard_negatives(tiny().train).any()
    assert len(made) == 1


def test_examples_are_made_once_and_a_larger_share_goes_on(monkeypatch) -> None:
    monkeypatch.setattr(augment, "BLOCK", 64)
    attack, collection = Swap(), tiny().train
    recipe = SMALL.but(strategy="adversarial", share=0.25)

    def made(recipe, refresh=False):
        return augment.attacked(collection, recipe, lambda: attack(None, None), str(attack), refresh=refresh)

    quarter = made(recipe)
    assert attack.passages == 128  # two blocks of 64 hold the 100 that are asked for
    again = made(recipe.but(variant="pairwise", rung="L2H16", rate=1.0))
    assert attack.passages == 128
    assert again.texts == quarter.texts
    assert again.seconds == quarter.seconds > 0
    whole = made(recipe.but(share=1.0))
    assert attack.passages == 400
    assert whole.texts[:100] == quarter.texts
    assert np.array_equal(whole.pairs[:100], quarter.pairs)
    assert made(recipe, refresh=True).texts == quarter.texts
    assert attack.passages == 528
    made(recipe.but(seed=1))
    assert attack.passages == 656
    assert quarter.changed == len(quarter.texts) == 100
    assert quarter.mark != whole.mark


def test_an_example_is_a_low_ranked_passage_moved_towards_its_query() -> None:
    collection = tiny().train
    examples = augment.attacked(collection, SMALL.but(strategy="adversarial"), lambda: Swap()(None, None), "swap")
    q, p = (c["text"].to_pylist() for c in (collection.queries, collection.passages))
    query_rows, passage_rows = collection.pairs
    ranked = mining.Index(collection).best(np.arange(400), 40)
    for pair, target, text in zip(examples.pairs, examples.targets, examples.texts, strict=True):
        assert text == f"{q[query_rows[pair]].split()[0]} {p[target]}"
        assert target != passage_rows[pair]
        assert list(ranked[query_rows[pair]]).index(target) >= 4


def test_a_perturbation_that_loses_a_text_is_refused() -> None:
    with pytest.raises(ValueError, match="gave 399 texts for 400 passages"):
        augment.attacked(tiny().train, SMALL, lambda: lambda q, p: list(p)[1:], "bad")
    with pytest.raises(ValueError, match="one text each"):
        augment.attacked(tiny().train, SMALL, lambda: lambda q, p: ["" for _ in p], "empty")


def test_noise_is_new_at_every_step_and_the_same_for_the_same_step() -> None:
    recipe = SMALL.but(strategy="denoising", batch=400)
    made = ready(recipe)
    one, again, later = made.draw(0), made.draw(0), made.draw(1)

    def by_pair(batch):
        return {int(c): tuple(ids) for c, ids in zip(batch.chosen[batch.touched], batch.changed, strict=True)}

    assert by_pair(one) == by_pair(again)
    differ = [by_pair(one)[c] != by_pair(later)[c] for c in range(400)]
    assert np.mean(differ) > 0.6  # some kinds find nothing to change in words without full stops
    clean = made.pairs.passages.rows(one.positives)
    assert np.mean([not np.array_equal(a, b) for a, b in zip(clean, one.changed, strict=True)]) > 0.5


def test_static_denoising_draws_towards_the_teacher() -> None:
    recipe = SMALL.but(strategy="denoising", variant="static", weight=200.0, steps=40)
    teacher = build(recipe.but(seed=99)).encode_passages(tiny().train.passages["text"].to_pylist())

    def distance(encoder):
        return float(np.square(encoder.encode_passages(tiny().train.passages["text"].to_pylist()) - teacher).mean())

    encoder, _ = trained(recipe)
    assert distance(encoder) < 0.7 * distance(trained(SMALL)[0])


def test_substitutes_are_those_of_the_common_words() -> None:
    table = {word: [f"{word}x"] for word in ("badoba", "zozozo", "never")}
    found = augment.substitutes_of(tiny().train, Given(table, source="hand"))
    assert found == {w: s for w, s in table.items() if any(w in t for t in tiny().train.passages["text"].to_pylist())}


def test_the_surrogate_is_the_same_for_all_rungs_and_kept(tmp_path) -> None:
    recipe = SMALL.but(strategy="adversarial", share=0.5, pairs=50, steps=30)
    plain = prepare.surrogate_recipe(recipe)
    assert plain == prepare.surrogate_recipe(recipe.but(rung="L2H64", rate=1.0, share=1.0, balance="pareto"))
    assert (plain.strategy, plain.pairs, plain.rung, plain.steps) == ("standard", 50, "L2H48", 30)
    assert prepare.surrogate_recipe(Recipe(ladder="bert", start="checkpoint")).rung == "L2H128"
    trained_once = []

    def train(encoder):
        trained_once.append(1)
        loop.train(encoder, tokenised(encoder, tiny().train), plain.but(steps=3))

    one = prepare.remembered(build(plain), tiny().train, plain, train)
    other = prepare.remembered(build(plain.but(seed=7)), tiny().train, plain, train)
    assert len(trained_once) == 1
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


# -------------------------------------------------------------------------------------------------- checks and sweeps


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"strategy": "magic"},
            "strategy='magic': allowed are 'standard', 'adversarial', 'denoising', 'hard_negative'",
        ),
        ({"variant": "kl"}, "variant='kl' of strategy='standard': it has no variants"),
        ({"strategy": "denoising", "variant": "kl"}, "allowed are 'dynamic', 'static', 'pairwise'"),
        ({"share": 0.5}, "share=0.5: strategy='standard' makes no use of it"),
        ({"weight": 0.5}, "weight=0.5: strategy='standard' makes no use of it"),
        ({"strategy": "hard_negative", "weight": 2}, "weight=2.0: strategy='hard_negative' makes no use of it"),
        ({"strategy": "hard_negative", "balance": "pareto"}, "no robustness loss to weigh; variant='pairwise' has one"),
        ({"balance": "mgda"}, "strategy='standard' with balance='mgda' has no robustness loss to weigh"),
        ({"strategy": "adversarial", "omega": 0.4}, "omega=0.4: strategy='adversarial' makes no use of it"),
        ({"strategy": "adversarial", "balance": "fixed", "eta": 0.4}, "eta=0.4: .*'fixed' makes no use of it"),
        ({"strategy": "adversarial", "balance": "fixed", "omega": 1.4}, "omega=1.4: with balance='fixed'"),
        ({"strategy": "adversarial", "balance": "pareto", "omega": 0}, "omega=0.0: with balance='pareto'"),
        ({"strategy": "adversarial", "balance": "pareto", "weight": 2}, "weight=2.0: .* makes no use of it"),
        ({"strategy": "adversarial", "balance": "mgda", "precision": "fp16"}, "use 'fp32' or 'bf16'"),
        ({"strategy": "hard_negative", "synonyms": "wordnet"}, "synonyms=wordnet: .* makes no use of it"),
    ],
)
def test_a_recipe_that_makes_no_sense_is_one_sentence(change, said) -> None:
    with pytest.raises(ValueError, match=said):
        check(SMALL.but(**change))
    with pytest.raises(ValueError, match=said):
        sweep.run_one(SMALL.but(**change), texts=tiny())


def test_a_strategy_needs_what_it_adds_to_a_batch() -> None:
    with pytest.raises(ValueError, match="needs touch"):
        Strategy(SMALL.but(strategy="adversarial"), None)


def test_more_texts_cost_more_and_mgda_a_second_way_back() -> None:
    plain = predicted_flops(SMALL)
    some, all_ = (predicted_flops(SMALL.but(strategy="denoising", share=s)) for s in (0.5, 1.0))
    assert plain < some < all_ < predicted_flops(SMALL.but(strategy="adversarial"))
    assert all_ - plain == pytest.approx(2 * (some - plain))
    one = predicted_flops(BALANCED.but(balance="pareto"))
    for balance in ("mgda", "pcgrad"):
        assert predicted_flops(BALANCED.but(balance=balance)) == pytest.approx(5 / 3 * one)


def test_a_sweep_records_what_the_examples_are(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(sweep, "texts_of", lambda spec: tiny())
    monkeypatch.setattr(prepare, "WordSwaps", Swap)
    base = SMALL.but(steps=6, select="validation")
    recipes = sweep.grid(base, strategy=list(VARIANTS), seed=[0])
    recipes += [BALANCED.but(steps=6, balance="pareto", share=0.5)]
    store = RunStore(tmp_path)
    made = sweep.run_study(plan_study(recipes, store), progress=False)
    assert [r.status for r in made] == ["done"] * 5
    standard, adversarial, denoising, hard, balanced = made
    assert "bm25s" in hard.versions
    assert denoising.versions["synonyms"] == "encoder"
    assert "first word in front" in adversarial.versions["examples"]
    assert str(prepare.surrogate_recipe(base)) in adversarial.versions["examples"]
    assert (adversarial.cost["examples"], balanced.cost["examples"]) == (400, 200)
    assert len(balanced.omega) == 6
    assert store.load(balanced.recipe) == balanced
    assert all(0.2 * predicted_flops(r.recipe) < r.cost["flops"] <= predicted_flops(r.recipe) for r in made)
    assert standard.cost["flops"] < denoising.cost["flops"] < adversarial.cost["flops"]
    from test_cli import undocumented

    assert undocumented(store) == set()
    told = store.curves().set_index("key").loc[balanced.key]
    assert told[["effectiveness", "robustness", "omega"]].notna().all().all()
    again = sweep.run_one(adversarial.recipe, RunStore(tmp_path / "again"))
    assert json.loads(again.to_json())["measures"] == json.loads(adversarial.to_json())["measures"]


def test_every_variant_has_a_robustness_loss_or_is_known_to_have_none() -> None:
    every = {(strategy, variant) for strategy, variants in VARIANTS.items() for variant in variants}
    assert every - strategies.ROBUST.keys() == WITHOUT_LOSS
