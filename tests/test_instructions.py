"""Instructions: needs that packages share, questions that contradict each other, objectives by structure, p-MRR."""

from __future__ import annotations

import json
import math

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st
from tiny import WORDS

from drscale.encoder import build
from drscale.evaluate.retrievers import Retriever, retriever
from drscale.instructions import texts as instructions
from drscale.instructions import texts as needs
from drscale.instructions.measure import following, found, p_mrr, ranks_of
from drscale.instructions.texts import Instructed
from drscale.instructions.train import CHOICES, OBJECTIVES, contradictions, instructing, objective_loss
from drscale.ladder import predicted_flops
from drscale.models import load_model
from drscale.plotting.parts import interval_figure
from drscale.recipe import STRATEGIES, Recipe
from drscale.runs import RunStore
from drscale.stats.bootstrap import by_question, changes, ratio, two_way
from drscale.study import plan_study
from drscale.sweep import model_of, run_one, run_study
from drscale.texts import Source, benchmark, related
from drscale.texts.collection import from_pairs
from drscale.training.batches import tokenised
from drscale.training.loop import train
from drscale.training.prepare import made_ready

PACKAGES = ("alpha", "beta", "gamma", "delta")
SMALL = Recipe(
    texts="instructed",
    rung="L2H12",
    steps=6,
    batch=16,
    projection=16,
    rate=3e-3,
    query_tokens=32,
    strategy="instructed",
)
RANK = st.integers(1, 2000)


def made(count: int = 12, singles: int = 20) -> Instructed:
    """A made-up world: needs answered by two to four packages, each writing in words of its own."""
    rows = []
    for need in range(count):
        for p in PACKAGES[: 2 + need % 3]:
            body = f"topic{need} {p}ish way of doing things number{need} with {p}like words " * 2
            rows.append((f"{p}.m.thing{need}", p, f"do the topic{need} thing", body, need, "train"))
    for i in range(singles):
        for p in PACKAGES:
            text = f"only{p}{i} here is {p}like and {p}ish prose of its own " * 2
            rows.append((f"{p}.m.lone{i}", p, f"find the only{p}{i} matter", text, -1, "train"))
    docs = pd.DataFrame(rows, columns=instructions.COLUMNS)
    return Instructed(pd.concat([docs, docs.assign(id=docs["id"] + "t", split="test")], ignore_index=True))


def docs_of(*rows: tuple[str, str, str, str]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["id", "package", "query", "passage"])


# ----------------------------------------------------------------------------------------------------------- the needs


def test_a_need_is_one_name_alike_summaries_and_no_copies() -> None:
    long = "the quick brown fox jumps over the lazy dog and runs far away into the deep forest"
    docs = docs_of(
        ("a.x.fft", "a", "Compute the discrete Fourier transform", "first body of its own about one thing"),
        ("b.y.FFT", "b", "The discrete Fourier transforms of arrays", "another text on quite other matters here"),
        ("b.z.fft", "b", "Compute the Fourier transform", "a second candidate of the same package, left out"),
        ("c.fft", "c", "Bake a chocolate cake", "nothing in common but the name"),
        ("a.copy", "a", "Copies one object deeply", long),
        ("b.copy", "b", "Copies one object deeply", long),
        ("a.C.__init__", "a", "Make the object from parts", "one way of making it"),
        ("b.C.__init__", "b", "Make the object from parts", "a different way of making it"),
    )
    found_needs = needs.find_needs(docs)
    assert found_needs == [[0, 1]] or found_needs == [[0, 2]]
    left = {1, 2} - set(found_needs[0])
    assert needs.siblings(docs, found_needs) == left  # what shares name and package, and no row of another package
    assert needs.find_needs(docs.iloc[4:8]) == []
    with pytest.raises(ValueError, match=r"least=0\): must lie in \(0, 1\]"):
        needs.find_needs(docs, least=0)


def test_likeness_is_a_weighted_jaccard_of_stems() -> None:
    alike = needs.Alike(["sort arrays", "sorts an array", "cake", "sort cake"])
    sort, an, cake = (math.log(4 / n) for n in (3, 1, 2))
    assert alike(0, 1) == pytest.approx((math.log(4 / 2)) / (math.log(4 / 2) + 2 * 0 + an + _two(sort, alike)))
    assert alike(0, 2) == 0
    assert alike(0, 0) == 1
    assert alike(2, 3) == alike(3, 2) == pytest.approx(cake / (cake + alike.weights["sort"]))


def _two(sort: float, alike: needs.Alike) -> float:
    """The stems 'sort' and 'sorts' are two: five letters count."""
    return alike.weights["sort"] + alike.weights["sorts"]


def test_needs_of_one_name_stay_on_one_side() -> None:
    docs = docs_of(*((f"{p}.m{k}.f{k % 2}", p, "q", "p") for k in range(4) for p in "ab"))
    assert needs.sides(docs, [[0, 1], [2, 3], [4, 5], [6, 7]]) == [0, 1, 0, 1]


@pytest.mark.parametrize(
    ("name", "short"), [("numpy.fft._pocketfft.FFT", "fft"), ("torch._docs:torch.abs_", "abs"), ("a.b.f#2", "f")]
)
def test_short_names(name: str, short: str) -> None:
    assert needs.short_name(name) == short


# ------------------------------------------------------------------------------------------------------- the real text


@pytest.fixture(scope="module")
def texts() -> Instructed:
    return instructions.instructed(progress=False)


def test_nothing_is_shared_between_the_sides(texts: Instructed) -> None:
    train, test = texts.part("train").docs, texts.part("test").docs
    assert len(test[test["need"] >= 0]["need"].unique()) >= 100
    assert not set(train["need"]) & set(test["need"]) - {-1}
    names = set(test.loc[test["need"] >= 0, "id"].map(needs.short_name))
    assert not names & set(train["id"].map(needs.short_name))
    some = pd.concat([train[train["need"] >= 0], train[train["need"] < 0].iloc[::8]])  # an eighth, for time's sake
    sides = [from_pairs("x", zip(d["id"], d["query"], d["passage"], strict=True)) for d in (some, test)]
    assert not related(*sides).any()
    assert related(sides[1], sides[1]).all()  # the check can fail


def test_a_need_has_one_passage_a_package_and_no_query_names_one(texts: Instructed) -> None:
    shared = texts.docs[texts.docs["need"] >= 0]
    assert not shared.duplicated(["need", "package"]).any()
    assert (shared.groupby("need")["package"].nunique() >= 2).all()
    assert not texts.docs["query"].map(instructions.names_a_package).any()
    assert (texts.docs["query"].str.split().map(len) <= instructions.MOST_WORDS).all()
    assert instructions.names_a_package("Sum a pandas Series")
    assert instructions.names_a_package("from Scikit-Learn.")
    assert not instructions.names_a_package("The standard deviation of a library of numbers")


def test_the_same_versions_give_the_same_texts(texts: Instructed, tmp_path, monkeypatch) -> None:
    assert instructions.instructed(progress=False).fingerprint == texts.fingerprint
    assert texts.part("test").fingerprint != texts.fingerprint
    assert texts.left_out
    assert set(texts.versions) >= {"numpy", "pandas", "scipy"}


# ------------------------------------------------------------------------------------------------------- the questions


def test_triplets_contradict_each_other() -> None:
    part = made().part("test")
    rows = instructions.triplets(part)
    package_of = part.docs.set_index("id")["package"]
    need_of = part.docs.set_index("id")["need"]
    assert (rows["passage"].map(package_of) == rows["package"]).all()
    assert (rows["other_passage"].map(package_of) == rows["other"]).all()
    assert (rows["passage"].map(need_of) == rows["other_passage"].map(need_of)).all()
    assert (rows["package"] != rows["other"]).all()
    back = set(zip(rows["text"], rows["other"], rows["package"], strict=True))
    assert back == set(zip(rows["text"], rows["package"], rows["other"], strict=True))  # mutual
    told = rows.apply(lambda r: r["package"] in r["told"] and r["other"] in r["other_told"], axis=1)
    assert told.all()


def test_counts_are_those_of_the_rows() -> None:
    part = made(count=3, singles=2).part("train")  # needs of 2, 3 and 4 packages
    row = part.counts.iloc[0]
    assert (row["needs"], row["passages"], row["singles"]) == (3, 9, 8)
    assert row["questions"] == 4 + 9 + 16
    assert row["triplets"] == 4 * 1 + 9 * 2 + 16 * 3
    # All queries of a need are worded alike here, so each package is asked once.
    assert len(instructions.questions(part)) == 9 + 8
    assert len(instructions.triplets(part)) == 2 * 1 + 3 * 2 + 4 * 3


def test_instructions_are_templates_and_stand_behind_the_query() -> None:
    assert instructions.instruction("stdlib", "use {}") == "use the standard library"
    assert instructions.asked("sort a list", "use numpy") == "sort a list use numpy"
    assert instructions.asked("sort a list", "") == "sort a list"
    part = made().part("test")
    rows = instructions.questions(part, ("one {}", "two {}"))
    assert set(rows["told"].str.split().str[0]) == {"one", "two"}
    assert rows.equals(instructions.questions(part, ("one {}", "two {}")))
    assert not rows["told"].equals(instructions.questions(part, ("one {}", "two {}"), seed=1)["told"])
    plain = instructions.collection(part, rows, told=False)
    assert plain.queries["text"].to_pylist() == rows["text"].tolist()
    assert plain.qrels.equals(instructions.collection(part, rows).qrels)
    with pytest.raises(ValueError, match="at least one, each with a"):
        instructions.questions(part, ("no place",))
    with pytest.raises(ValueError, match=r"part\(split='dev'\): allowed are test, train"):
        made().part("dev")


def test_bad_rows_are_refused() -> None:
    docs = made().docs
    with pytest.raises(ValueError, match="lacks the columns need"):
        Instructed(docs.drop(columns="need"))
    with pytest.raises(ValueError, match="more than once"):
        Instructed(pd.concat([docs, docs]))


# --------------------------------------------------------------------------------------------------------------- p-MRR


def test_p_mrr_by_hand() -> None:
    """Ranks from FollowIR's description: a fall from 1 to 4 is 1 - 1/4, a rise from 4 to 1 is 1/4 - 1, staying is 0."""
    assert p_mrr(np.array([1, 4, 7, 10, 2]), np.array([4, 1, 7, 5, 3])).tolist() == pytest.approx(
        [0.75, -0.75, 0.0, -0.5, 1 / 3]
    )
    with pytest.raises(ValueError, match="from 1"):
        p_mrr(np.array([0]), np.array([1]))
    with pytest.raises(ValueError, match="from 1"):
        p_mrr(np.array([1, 2]), np.array([3, 0]))


def test_ranks_and_p_mrr_are_those_of_mteb() -> None:
    """Twelve made-up runs with ties and passages not found; values from MTEB, see the file."""
    for case in json.loads((ROOT / "tests" / "reference" / "p_mrr.json").read_text())["cases"]:
        ids, ranks = case["ids"], []
        for run in (case["before"], case["after"]):
            rows = np.array([[ids.index(name) for name in run]])
            ranks.append(ranks_of(np.array([list(run.values())]), rows, np.array([ids.index(case["wanted"])]), ids))
        assert [int(r[0]) for r in ranks] == case["ranks"]
        assert p_mrr(*ranks)[0] == pytest.approx(case["p_mrr"], abs=1e-9)


@given(RANK, RANK)
def test_p_mrr_is_antisymmetric_and_bounded(before: int, after: int) -> None:
    one, back = p_mrr(np.array([before, after]), np.array([after, before]))
    assert one == pytest.approx(-back)
    assert -1 < one < 1
    assert np.sign(one) == np.sign(after - before)


def test_ranks_break_ties_by_id_and_put_the_absent_last() -> None:
    scores = np.array([[3.0, 2.0, 2.0, 1.0], [1.0, 1.0, -np.inf, -np.inf]])
    rows = np.array([[2, 0, 1, 3], [1, 3, -1, -1]])
    ids = ["a", "b", "c", "d"]

    def rank(*wanted: int) -> list[int]:
        return ranks_of(scores, rows, np.array(wanted), ids).tolist()

    assert rank(2, 3) == [1, 1]  # d before b: the greater id first
    assert rank(0, 1) == [3, 2]
    assert rank(1, 0) == [2, 3]  # absent from a list of two: rank 3


@given(st.permutations(range(6)), st.lists(st.sampled_from([0.0, 1.0, 2.0]), min_size=6, max_size=6))
def test_ranks_do_not_depend_on_the_order_of_a_list(order: list[int], values: list[float]) -> None:
    ids = [f"p{i}" for i in range(6)]
    by_hand = sorted(range(6), key=lambda i: (values[i], ids[i]), reverse=True)
    scores, rows = np.array([[values[i] for i in order]] * 6), np.array([list(order)] * 6)
    assert ranks_of(scores, rows, np.array(by_hand), ids).tolist() == [1, 2, 3, 4, 5, 6]


def oracle(follows: bool) -> Retriever:
    """A retriever that knows needs by their topic word and, if it follows, packages by their names."""

    def rank(queries, collection, depth):
        ids, texts = collection.passages["id"].to_pylist(), collection.passages["text"].to_pylist()
        scores = np.zeros((len(queries), len(ids)))
        for i, q in enumerate(queries):
            words = set(q.split())
            for j, text in enumerate(texts):
                scores[i, j] = 10 * bool(words & {w for w in text.split() if w.startswith(("topic", "only"))})
                scores[i, j] += follows * bool(words & {ids[j].split(".")[0]})
        order = np.argsort(-scores, axis=1, kind="stable")[:, :depth]
        return np.take_along_axis(scores, order, 1), order

    return Retriever("oracle", rank)


def test_who_follows_and_who_does_not() -> None:
    part = made().part("test")
    good, deaf = following(oracle(True), part), following(oracle(False), part)
    assert good["swapped"].all()
    assert good["right"].all()
    assert (good["pmrr"] > 0).all()
    assert (good["rank"] == 1).all()
    assert not deaf["swapped"].any()
    assert (deaf["pmrr"] == 0).all()
    assert (deaf["rank"] == deaf["plain_rank"]).all()
    singles = made(count=0).part("test")
    with pytest.raises(ValueError, match="nothing contradicts"):
        following(oracle(True), singles)


def test_found_with_and_without_instructions_and_perturbed() -> None:
    part = made().part("test")
    told, plain = found(oracle(True), part), found(oracle(True), part, told=False)
    assert (told["ndcg10"] == 1).all()
    assert plain["ndcg10"].mean() < 1
    assert (told["query"] == plain["query"]).all()
    assert set(told["dataset"]) == set(plain["dataset"]) == {"instructed"}
    assert not told["changed"].any()
    broken = found(oracle(True), part, change=lambda texts: ["nothing" if "topic" in t else t for t in texts])
    assert broken["changed"].equals(part_is_need(broken))
    assert broken["recall10"].mean() < told["recall10"].mean()
    same = found(oracle(True), part, change=lambda texts: texts)
    pd.testing.assert_frame_equal(same, told)
    with pytest.raises(ValueError, match="one text each is needed"):
        found(oracle(True), part, change=lambda texts: texts[:-1])
    for nothing in ("", None):
        with pytest.raises(ValueError, match="one text each is needed"):
            found(oracle(True), part, change=lambda texts, last=nothing: [*texts[:-1], last])


def part_is_need(rows: pd.DataFrame) -> pd.Series:
    return (rows["need"] >= 0).rename("changed")


def test_bm25_can_be_asked() -> None:
    rows = following(retriever("bm25"), made().part("test"))
    assert len(rows)
    assert rows["pmrr"].between(-1, 1).all()


# ---------------------------------------------------------------------------------------------------------- objectives


def by_hand(objective: str, scores: np.ndarray, others: np.ndarray, same: np.ndarray) -> np.ndarray:
    """The definitions, term by term."""
    out = []
    for i in range(len(scores)):
        own = math.exp(scores[i, i])
        passages = sum(math.exp(scores[i, j]) for j in range(len(scores)) if j != i and not same[i, j])
        asked = sum(math.exp(scores[j, i]) for j in range(len(scores)) if j != i and not same[j, i])
        told = sum(math.exp(s) for s in others[i])
        parts = {"joint_softmax": [passages + asked + told], "sum_of_terms": [passages, asked, told]}
        out.append(sum(math.log((own + p) / own) for p in parts.get(objective, [passages])))
    return np.array(out)


@given(st.integers(0, 1000), st.sampled_from(OBJECTIVES))
def test_objectives_are_their_definitions(seed: int, objective) -> None:
    rng = np.random.default_rng(seed)
    scores, others = rng.normal(size=(5, 5)), rng.normal(size=(5, 3))
    same = rng.random((5, 5)) < 0.2
    same |= np.eye(5, dtype=bool)
    given_scores = [torch.tensor(x) for x in (scores, others, same)]
    loss, ranking = objective_loss(objective, *given_scores)
    assert loss.numpy() == pytest.approx(by_hand(objective, scores, others, same))
    assert ranking.numpy() == pytest.approx(by_hand("passages_only", scores, others, same))


def test_one_softmax_lies_below_the_sum_and_above_each_term() -> None:
    rng = np.random.default_rng(0)
    scores, others = torch.tensor(rng.normal(size=(6, 6))), torch.tensor(rng.normal(size=(6, 2)))
    same = torch.eye(6, dtype=torch.bool)
    joint, ranking = objective_loss("joint_softmax", scores, others, same)
    total, _ = objective_loss("sum_of_terms", scores, others, same)
    assert (joint < total).all()
    assert (joint > ranking).all()
    with pytest.raises(ValueError, match="needs the scores under other instructions"):
        objective_loss("joint_softmax", scores, None, same)


# ------------------------------------------------------------------------------------------------------------ training


def ready(encoder, part: Instructed, recipe: Recipe):
    """The strategy as a run makes it ready."""
    asked = instructions.collection(part, instructions.questions(part))
    return made_ready(recipe, asked, tokenised(encoder, asked), encoder)


def test_questions_grow_with_the_rows_of_a_batch() -> None:
    """What the note's first claim counts: B (1 + y) questions, and nothing that grows faster."""
    from drscale.papers.note import OTHERS

    assert OTHERS == CHOICES
    for batch in (16, 32):
        recipe = SMALL.but(variant="joint_softmax", batch=batch)
        assert len(ready(build(recipe), made().part("train"), recipe).draw(0).changed) == batch * (1 + OTHERS)


def test_a_batch_holds_contradictions_and_companions() -> None:
    part = made().part("train")
    drawn = contradictions(part)
    rows = drawn.draw(32, 3, seed=0, step=4)
    again = drawn.draw(32, 3, seed=0, step=4)
    assert all(np.array_equal(a, b) for a, b in zip(vars(rows).values(), vars(again).values(), strict=True))
    assert not np.array_equal(rows.queries, drawn.draw(32, 3, seed=0, step=5).queries)
    assert rows.others.shape == (32, 3)
    assert not (rows.others == rows.packages[:, None]).any()
    four = np.arange(16).reshape(4, 4)  # the contradictions, kind by kind
    needs_of, packages = drawn.needs, drawn.packages
    assert (needs_of[rows.passages[:16]] >= 0).sum() == 8
    assert (needs_of[rows.queries[:16]] == needs_of[rows.passages[:16]]).all()
    for one, other, single, second in four:
        assert needs_of[rows.passages[one]] == needs_of[rows.passages[other]] >= 0
        assert rows.queries[one] == rows.queries[other]
        assert rows.others[one, 0] == rows.packages[other]
        assert rows.others[other, 0] == rows.packages[one]
        assert (packages[rows.passages[[single, second]]] == packages[rows.passages[[one, other]]]).all()
    assert (needs_of[rows.passages[16:]] == -1).all()


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_training_repeats_and_resumes(objective, tmp_path) -> None:
    recipe, part = SMALL.but(variant=objective), made().part("train")

    def trained(**options):
        encoder = build(recipe)
        strategy = ready(encoder, part, recipe)
        went = train(encoder, strategy.pairs, recipe, strategy=strategy, mark=strategy.mark, **options)
        return encoder.encode(["do the topic1 thing use alpha"]), went

    vectors, went = trained()
    assert went.step == SMALL.steps
    assert went.tokens > 0
    assert np.array_equal(vectors, trained()[0])
    seen: list[int] = []
    file = tmp_path / "half.safetensors"
    trained(checkpoint=file, note=lambda step, _: seen.append(step), stopped=lambda: len(seen) >= 3)
    assert file.exists()
    assert np.array_equal(vectors, trained(checkpoint=file)[0])


def test_objectives_see_the_same_passages_and_only_some_see_instructions() -> None:
    part, encoder = made().part("train"), build(SMALL)
    batches = {o: ready(encoder, part, SMALL.but(variant=o)).draw(2) for o in OBJECTIVES}
    first = batches["uninstructed"]
    for objective, batch in batches.items():
        assert np.array_equal(batch.positives, first.positives)
        wanted = 16 * 3 if objective in ("joint_softmax", "sum_of_terms") else 16
        assert len(batch.changed) == wanted  # marginal: batch x (1 + choices) questions, not batch x packages
    plain = encoder.tokens(part.docs["query"].iloc[first.chosen].tolist())
    assert all(np.array_equal(a, b) for a, b in zip(first.changed, plain.rows(np.arange(16)), strict=True))
    told = batches["passages_only"].changed
    assert all(len(a) > len(b) for a, b in zip(told, first.changed, strict=True))


def test_training_teaches_to_follow() -> None:
    texts = made()
    recipe = SMALL.but(steps=70, batch=32, rate=5e-3)
    swapped = {}
    for objective in ("uninstructed", "joint_softmax"):
        encoder = build(recipe)
        strategy = ready(encoder, texts.part("train"), recipe.but(variant=objective))
        train(encoder, strategy.pairs, recipe, strategy=strategy)
        swapped[objective] = following(retriever(encoder), texts.part("test"))["swapped"].mean()
    assert swapped["joint_softmax"] > swapped["uninstructed"] + 0.3


@pytest.mark.parametrize(
    ("changed", "options", "said"),
    [
        ({"variant": "kl"}, {}, "variant='kl' of strategy='instructed': allowed are 'passages_only'"),
        ({"batch": 12}, {}, "a multiple of 8"),
        ({"pool": "shared"}, {}, "pool='in_batch'"),
        ({}, {"choices": 4}, "between 1 and 3"),
    ],
)
def test_wrong_settings_are_named(changed, options, said) -> None:
    recipe, encoder, part = SMALL.but(**changed), build(SMALL), made().part("train")
    with pytest.raises(ValueError, match=said):
        instructing(encoder, part, recipe, tokenised(encoder, part.pool), **options)


def test_training_needs_a_contradiction() -> None:
    with pytest.raises(ValueError, match="nothing contradicts"):
        contradictions(made(count=0).part("train"))


# ----------------------------------------------------------------------------------------- a source and a strategy

# What the function train_instructed, which this strategy took the place of, made of SMALL and made(): the first three
# numbers of the vector of one query.
BEFORE = {
    "uninstructed": [-0.0781304, 0.4393374, 0.0541885],
    "passages_only": [0.1949990, 0.3765719, -0.0350676],
    "joint_softmax": [0.1827501, 0.4491344, 0.0182783],
    "sum_of_terms": [0.1412603, 0.3807311, 0.0641486],
}


def wide() -> Instructed:
    """A world with enough passages to be scored, no two of them alike."""
    docs = made(count=32, singles=70).docs
    rng = np.random.default_rng(0)
    return Instructed(docs.assign(passage=[" ".join(rng.choice(WORDS, 8)) for _ in range(len(docs))]))


def test_a_benchmark_of_questions_shares_nothing_between_its_parts(texts: Instructed) -> None:
    whole, train_part = instructions.benchmark_of(texts), texts.part("train")
    assert whole.train.part.fingerprint == train_part.fingerprint  # all of it, as the objectives draw from it
    assert whole.train.passages.equals(train_part.pool.passages)
    assert whole.train.queries["text"].to_pylist() == [
        instructions.asked(text, told)
        for text, told in instructions.questions(train_part)[["text", "told"]].itertuples(index=False)
    ]
    held, asked = whole.validation.part.docs, whole.test.part.docs
    assert not set(held["id"]) & set(asked["id"])
    assert set(held["id"]) | set(asked["id"]) <= set(texts.part("test").docs["id"])
    for side in (held, asked):
        shared = side[side["need"] >= 0]
        assert (shared.groupby("need").size() == texts.docs.groupby("need").size()[shared["need"].unique()]).all()
        assert (side["need"] < 0).sum() > 200
    assert not set(held.loc[held["need"] >= 0, "need"]) & set(asked["need"])
    assert not related(instructions._pairs(held), instructions._pairs(asked)).any()
    assert len(whole.test.passages) > 900
    assert not whole.ood
    assert instructions.benchmark_of(texts).fingerprint == whole.fingerprint


def test_instructed_is_a_spelling_like_any_other(texts: Instructed) -> None:
    told, plain = benchmark("instructed", progress=False), benchmark("instructed?told=0", progress=False)
    assert told.fingerprint == instructions.benchmark_of(texts).fingerprint != plain.fingerprint
    assert plain.test.qrels.equals(told.test.qrels)
    for long, short in zip(*(b.test.queries["text"].to_pylist() for b in (told, plain)), strict=True):
        assert long.startswith(f"{short} ")
    with pytest.raises(ValueError, match="told=2, allowed are 0 and 1"):
        benchmark(Source("instructed", "", (("told", "2"),)), progress=False)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_run_trains_the_weights_that_it_trained_before(objective, tmp_path) -> None:
    recipe, store, small = SMALL.but(variant=objective), RunStore(tmp_path), made()
    world = instructions.benchmark_of(wide())
    part = small.part("train")
    own = world.but(train=instructions.collection(part, instructions.questions(part)))
    run = run_one(recipe, store, texts=own, keep=True)
    assert run.status == "done", run.reason
    assert set(run.measures) == {"in_domain"}
    assert run.measures["in_domain"]["ndcg10"].n == len(own.test.queries)
    assert 0 < run.cost["flops"] < predicted_flops(recipe)
    vector = load_model(recipe, store).encode(["do the topic1 thing use alpha"])[0]
    assert vector[:3] == pytest.approx(BEFORE[objective], rel=1e-3, abs=1e-4)


def test_the_strategy_needs_its_texts() -> None:
    own, encoder = wide().part("train"), build(SMALL)
    asked = instructions.collection(own, instructions.questions(own))
    fewer = asked.take(100)
    with pytest.raises(ValueError, match="has no instructions to draw from; texts='instructed' has, with pairs=0"):
        made_ready(SMALL, fewer, tokenised(encoder, fewer), encoder)


def test_the_row_of_the_registry_is_that_of_the_module() -> None:
    row = STRATEGIES["instructed"]
    assert set(BEFORE) == set(OBJECTIVES) == set(row.texts)
    assert {row.texts_of(o) for o in ("joint_softmax", "sum_of_terms")} == {CHOICES}
    assert str(Recipe(strategy="instructed")).endswith("strategy=instructed,variant=passages_only")


def test_a_study_of_them_is_planned_and_its_models_are_made_where_they_are_missing(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(instructions, "instructed", lambda progress: wide())
    monkeypatch.setattr("drscale.models.texts_of", benchmark)  # kept in memory otherwise
    monkeypatch.setattr("drscale.sweep.texts_of", benchmark)
    store, recipes = RunStore(tmp_path), [SMALL.but(steps=1), SMALL.but(steps=1, variant="uninstructed")]
    made_runs = run_study(plan_study(recipes[:1], store, keep=True), keep=True, progress=False)
    assert [run.status for run in made_runs] == ["done"]
    assert plan_study(recipes, store, keep=True).rows["status"].tolist() == ["done", "todo"]
    before = store.load(recipes[0])
    for recipe in recipes:
        assert model_of(recipe, store).encode(["do the topic1 thing"]).shape == (1, 16)
    assert plan_study(recipes, store, keep=True).rows["status"].tolist() == ["done", "done"]
    assert store.load(recipes[0]) == before


# ------------------------------------------------------------------------------------------------- crossed resampling


def grid(effect: float = 0.0, of_seeds: float = 0.0, of_needs: float = 1.0, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    at_seed, at_need = of_seeds * rng.normal(size=4), of_needs * rng.normal(size=40)
    rows = [
        (s, n, f"{n}/{q}", effect + at_seed[s] + at_need[n] + 0.1 * rng.normal())
        for s in range(4)
        for n in range(40)
        for q in range(3)
    ]
    return pd.DataFrame(rows, columns=["seed", "cluster", "query", "v"])


def test_clusters_and_seeds_widen_the_interval() -> None:
    rows = grid(effect=2.0, of_seeds=1.0)
    both = two_way(rows, "v").iloc[0]
    needs_only = two_way(rows, "v", seeds=None).iloc[0]
    alone = two_way(rows.assign(cluster=range(len(rows))), "v", seeds=None).iloc[0]
    width = [r["high"] - r["low"] for r in (both, needs_only, alone)]
    assert width[0] > width[1] > width[2] > 0
    assert both["mean"] == pytest.approx(rows["v"].mean())
    assert (both["clusters"], both["seeds"]) == (40, 4)


def test_the_interval_of_clusters_has_its_textbook_width() -> None:
    rows = grid(of_needs=1.0)
    r = two_way(rows, "v", seeds=None, n_boot=4000).iloc[0]
    error = rows.groupby("cluster")["v"].mean().std(ddof=0) / math.sqrt(40)
    assert (r["high"] - r["low"]) / 2 == pytest.approx(1.96 * error, rel=0.1)


def test_changes_pair_rows() -> None:
    rows = pd.concat([grid().assign(arm="base"), grid().assign(arm="new")])
    rows.loc[rows["arm"] == "new", "v"] += 0.25
    change = changes(rows, "v", "arm", "base")
    assert change["v"].to_numpy() == pytest.approx(0.25)
    assert set(change["arm"]) == {"new"}
    r = two_way(change, "v", "arm").iloc[0]
    assert r["low"] == pytest.approx(0.25)
    assert r["high"] == pytest.approx(0.25)
    with pytest.raises(ValueError, match="rows have no partner"):
        changes(rows.iloc[1:], "v", "arm", "base")
    with pytest.raises(ValueError, match="the rows have base, new"):
        changes(rows, "v", "arm", "old")
    with pytest.raises(ValueError, match="has no column 'w'"):
        two_way(rows, "w")
    with pytest.raises(ValueError, match="finite"):
        two_way(rows.assign(v=math.nan), "v")


def test_a_question_counts_once_however_many_packages_contradict_it() -> None:
    rows = pd.DataFrame(
        [
            ("m", 0, "a>x", "one", 0.2, True, False),
            ("m", 0, "b>x", "two", 0.1, True, True),
            ("m", 0, "b>x", "two", 0.5, False, False),
            ("m", 0, "b>x", "two", 0.9, True, False),
            ("m", 1, "b>x", "two", -1.0, False, False),
        ],
        columns=["model", "seed", "query", "cluster", "pmrr", "right", "swapped"],
    )
    each = by_question(rows)
    assert each["query"].tolist() == ["a>x", "b>x", "b>x"]
    assert each["cluster"].tolist() == ["one", "two", "two"]
    assert each["pmrr"].tolist() == pytest.approx([0.2, 0.5, -1.0])
    assert each["right"].tolist() == pytest.approx([1, 2 / 3, 0])
    assert each["swapped"].tolist() == pytest.approx([0, 1 / 3, 0])
    small = rows.astype({"model": "category", "query": "category", "pmrr": "float32"})  # as in the file
    assert by_question(small)["pmrr"].tolist() == pytest.approx([0.2, 0.5, -1.0])
    assert two_way(each, "pmrr").iloc[0][["mean", "n"]].tolist() == pytest.approx([-0.1, 3])
    assert by_question(rows.drop(columns=["right", "swapped"]), ["pmrr"])["pmrr"].equals(each["pmrr"])
    with pytest.raises(ValueError, match="by_question: the table has no column 'swapped'"):
        by_question(rows.drop(columns="swapped"))


def test_every_need_s_questions_count_once_of_a_retriever() -> None:
    part = made(count=3, singles=0).part("test")  # needs of 2, 3 and 4 packages: 2, 3 and 4 questions
    rows = following(retriever("bm25"), part)
    each = by_question(rows)
    assert len(rows) == 2 * 1 + 3 * 2 + 4 * 3
    assert each.groupby("need").size().tolist() == [2, 3, 4]
    assert each["pmrr"].mean() == pytest.approx(rows.groupby("query")["pmrr"].mean().mean())


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (lambda r: two_way(r.assign(cluster=[None, *r["cluster"][1:]]), "v"), "'cluster' is missing in 1 of 480"),
        (lambda r: two_way(r.assign(seed=[None, *r["seed"][1:]]), "v"), "'seed' is missing in 1 of 480"),
        (lambda r: two_way(r.assign(g=[None] + ["a"] * 479), "v", "g"), "'g' is missing in 1 of 480"),
        (lambda r: two_way(r.assign(cluster=1), "v"), r"two_way\(cluster='cluster'\): one value only; .* at least 2"),
        (lambda r: two_way(r.assign(g=["a"] + ["b"] * 479), "v", "g"), "one value only where g is a"),
        (lambda r: two_way(r, "v", n_boot=0), "n_boot=0"),
        (lambda r: two_way(r, "v", level=95), "level=95"),
        (lambda r: two_way(r, "query"), "'query' holds .*, numbers are needed"),
        (lambda r: two_way(r.iloc[:0], "v"), "no rows"),
        (lambda r: changes(r, "v", "nope", "base"), "changes: the table has no column 'nope'"),
        (lambda r: changes(r.assign(arm="a"), "v", "arm", "a", ["pair"]), "changes: the table has no column 'pair'"),
        (lambda r: changes(r.assign(arm="a", v=math.nan), "v", "arm", "a"), "'v' has 480 values that are missing"),
        (lambda r: ratio(r, "v", "nope"), "ratio: the table has no column 'nope'"),
        (lambda r: ratio(r.iloc[:0], "v", "v"), "ratio: the table has no rows"),
        (lambda r: ratio(r.assign(g=[None] + ["a"] * 479), "v", "v", "g"), "'g' is missing in 1 of 480"),
    ],
)
def test_rows_that_would_be_lost_are_refused(act, said) -> None:
    with pytest.raises(ValueError, match=said):
        act(grid(effect=3.0))


def test_a_ratio_of_means_is_resampled_like_a_mean() -> None:
    rows = grid(effect=3.0, of_needs=0.5).assign(over=lambda r: 2 + 0.2 * r["v"], half=lambda r: r["seed"] % 2)
    parts = ratio(rows, "v", "over")
    assert parts["v"].mean() == pytest.approx(rows["v"].mean() / rows["over"].mean())
    got = two_way(parts, "v", seeds=None, n_boot=4000).iloc[0]
    rng = np.random.default_rng(1)
    sums = rows.groupby("cluster")[["v", "over"]].sum().to_numpy()
    drawn = rng.multinomial(40, np.full(40, 1 / 40), size=4000) @ sums
    low, high = np.quantile(drawn[:, 0] / drawn[:, 1], [0.025, 0.975])
    assert (got["low"], got["high"]) == pytest.approx((low, high), rel=0.02)
    by_half = ratio(rows, "v", "over", "half").groupby("half")["v"].mean()
    assert by_half[0] == pytest.approx(rows.query("half == 0")["v"].mean() / rows.query("half == 0")["over"].mean())
    with pytest.raises(ValueError, match="must be above 0"):
        ratio(rows.assign(over=0.0), "v", "over")


# ----------------------------------------------------------------------------------------------------------- the figure


def test_intervals_are_drawn_as_they_are() -> None:
    table = pd.DataFrame(
        [("clean", "a", 0.5, 0.4, 0.7), ("typos", "a", 0.3, 0.2, 0.4), ("clean", "b", 0.6, 0.5, 0.8)],
        columns=["wording", "model", "mean", "low", "high"],
    )
    fig = interval_figure(table, "wording", at=0.0)
    one, other = fig.data
    assert (list(one.x), list(other.x)) == ([0.5, 0.3], [0.6])
    assert list(one.error_x.array) == pytest.approx([0.2, 0.1])
    assert list(one.error_x.arrayminus) == pytest.approx([0.1, 0.1])
    assert one.y[0] > other.y[0] > one.y[1]  # a line a condition, the first on top, models apart on it
    assert fig.layout.yaxis.ticktext == ("clean", "typos")
    assert [t.name for t in interval_figure(table, "wording", names=["b"]).data] == ["b"]
    with pytest.raises(ValueError, match="model has a, b"):
        interval_figure(table, "wording", names=["c"])
    with pytest.raises(ValueError, match="no column 'high'"):
        interval_figure(table.drop(columns="high"), "wording")


@pytest.mark.parametrize("n", range(1, 10))
@pytest.mark.parametrize("conditions", [1, 3])
def test_every_marker_lies_inside_the_axis_and_in_its_own_row(n: int, conditions: int) -> None:
    rows = [(c, f"model {m}", 0.5, 0.4, 0.6) for c in range(conditions) for m in range(n)]
    fig = interval_figure(pd.DataFrame(rows, columns=["wording", "model", "mean", "low", "high"]), "wording")
    places = np.array([t.y for t in fig.data])  # (models, conditions)
    bottom, top = fig.layout.yaxis.range
    pixels = (fig.layout.height - 130) / conditions
    assert (places.min() - bottom) * pixels > 8
    assert (top - places.max()) * pixels > 8
    assert (places[-1, :-1] - places[0, 1:] > 0.15).all()  # rows stay apart
    assert n == 1 or (-np.diff(places, axis=0) * pixels > 7).all()
