"""The word substitution ranking attack: a few words of a passage swapped for synonyms, so that it climbs the list.

Words are tried in the order of their importance, each with all its substitutes, and a swap is kept if it lifts the
passage in a list that is otherwise unchanged (Wu et al., PRADA; Liu et al. 2025 attack in the same way). The attack is
white-box if it can use the encoder's weights, black-box if the encoder only encodes.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from numbers import Integral, Real
from typing import Literal, get_args

import numpy as np
import pandas as pd
from tqdm import tqdm

from drscale.attacks import target as importance
from drscale.attacks.registry import WORDS, own_texts
from drscale.attacks.substitutes import CONSTRAINTS, Spot, Synonyms, check_words, count, spots, swapped, synonyms
from drscale.attacks.target import Target, judge, mapped, target
from drscale.encoder import BiEncoder
from drscale.evaluate.entropy import Encode, checked

Method = Literal["gradient", "hinge", "swap", "deletion", "surrogate", "random"]
Rule = Literal["all", "nearest"]
WHITE_BOX = ("gradient", "hinge", "swap")
STEERED = ("gradient", "hinge", "surrogate")  # methods whose gradient can name a candidate
# A swap must lift the score by more than this share of |query| |passage|; a smaller difference counts as a tie
# and the earlier candidate wins, so that rounding, which depends on what shares a batch, decides nothing.
TIE = 1e-5
BLOCK = 256  # passages attacked side by side
FEW = 16  # for fewer, mapping the whole word table does not pay


@dataclass(frozen=True)
class Attack:
    """Say how passages are attacked.

    ``method`` says how the importance of words is computed. White-box: ``gradient`` (the norm of the score's gradient
    with respect to a word's token embeddings), ``hinge`` (the same of the hinges against the top of the list), ``swap``
    (the first-order gain of the word's best substitute; its candidates, too, are tried in the order of their gains).
    Black-box: ``surrogate`` (the gradient of another encoder), ``deletion`` (how much the score moves without the
    word), ``random`` (a control). At most ``words`` words are swapped and at most the ``share`` of all that are read,
    but always one; ``candidates`` is how many substitutes a word is tried with; ``floor`` the least cosine similarity
    to the original (None: none). ``same_part`` keeps the part of speech where the source knows it.

    ``rule`` says which candidates of a word are tried. ``all`` tries each and keeps the best, which is stronger and
    needs more encodings of the target. ``nearest`` is PRADA's rule: one candidate a word, the one whose embedding is
    nearest by cosine to the word's perturbed embedding, e + ``eps`` g / |g|, with g the gradient over all swappable
    words of the passage. PRADA takes three such steps, each with a new gradient; here it is one.
    """

    method: Method = "gradient"
    words: int = 10
    share: float = 1.0
    candidates: int = 20
    floor: float | None = 0.8
    constraints: tuple[str, ...] = ("stop_words", "query_words")
    same_part: bool = True
    seed: int = 0
    rule: Rule = "all"
    eps: float = 45.0

    def __str__(self) -> str:
        """The text for records and caches; it names the rule if this is not the usual one."""
        shown = [f.name for f in fields(self) if self.rule != "all" or f.name not in ("rule", "eps")]
        return f"Attack({', '.join(f'{name}={getattr(self, name)!r}' for name in shown)})"

    def __post_init__(self) -> None:
        if self.method not in get_args(Method):
            raise ValueError(f"Attack.method={self.method!r}: allowed are {', '.join(get_args(Method))}")
        counts = all(isinstance(n, Integral) and n >= 1 for n in (self.words, self.candidates))
        if not counts or not isinstance(self.share, Real) or not 0 < self.share <= 1:
            raise ValueError(
                f"Attack: words={self.words} and candidates={self.candidates} must be at least 1, share={self.share} "
                "in (0, 1]"
            )
        unknown = isinstance(self.constraints, str) or not set(self.constraints) <= set(CONSTRAINTS)
        if unknown:
            raise ValueError(f"Attack.constraints={self.constraints!r}: some of {', '.join(CONSTRAINTS)}, as a tuple")
        if not isinstance(self.seed, Integral) or self.seed < 0:
            raise ValueError(f"Attack.seed={self.seed!r}: a whole number, 0 or more")
        if self.floor is not None and (not isinstance(self.floor, Real) or not -1 <= self.floor <= 1):
            raise ValueError(f"Attack.floor={self.floor!r}: a cosine between -1 and 1, or None")
        if self.rule not in get_args(Rule):
            raise ValueError(f"Attack.rule={self.rule!r}: allowed are {', '.join(get_args(Rule))}")
        if self.rule == "nearest" and (self.method not in STEERED or not self.eps > 0):
            allowed = f"allowed are {', '.join(STEERED)} and eps above 0"
            raise ValueError(f"Attack.rule='nearest': method={self.method!r} and eps={self.eps}; {allowed}")

    def budget(self, words: int) -> int:
        """How many of this number of words may be swapped."""
        return max(1, min(self.words, math.floor(self.share * words)))


STANDARD = Attack()


@dataclass(frozen=True)
class Plan:
    """The plan for a passage: its swappable words, the most important first, and how many may be swapped.

    The passage is cut in two, the part worth tokenising and the rest; the target reads ``read`` characters.
    """

    query: np.ndarray
    head: str
    tail: str
    read: int
    slots: tuple[Spot, ...]
    words: int
    budget: int
    asked: int = 0  # texts that planning had the target encode


@dataclass
class Outcome:
    """The result of a plan: the kept swaps (place, old, new), the scores, the cosine to the original.

    ``steps`` holds for each swap, in the order of keeping, the score, the cosine and the encodings up to it.
    """

    before: float
    after: float
    similarity: float
    swaps: list[tuple[int, str, str]] = field(default_factory=list)
    encodings: int = 1
    steps: list[tuple[float, float, int]] = field(default_factory=list)


def attack_texts(
    model: BiEncoder | Encode,
    queries: Sequence[str],
    passages: Sequence[str],
    source: Synonyms | str,
    attack: Attack | str = STANDARD,
    *,
    encode_passages: Encode | None = None,
    similarity: Encode | Literal["minilm"] | None = "minilm",
    surrogate: BiEncoder | None = None,
    rivals: np.ndarray | None = None,
    block: int = BLOCK,
    progress: bool = False,
) -> pd.DataFrame:
    """Attack passages so that their queries score them higher: one row each, in the given order.

    ``model`` is a BiEncoder, or any function from texts to vectors, with ``encode_passages`` if passages need another
    one; scores are inner products. ``source`` is a spelling or a source of synonyms. ``similarity`` measures the
    similarity of meaning (by default MiniLM; with None the column is empty), on the part of the passage that the model
    reads. ``rivals`` (passages, k) are the scores of the top of each query's list, for ``hinge``. ``attack`` may be the
    name of a registered one (:func:`drscale.attacks.registry.register_attack`).

    Columns: ``changed``, ``words`` (in what is read), ``words_changed``, ``swaps`` ("old -> new"), ``places`` (where
    each began in the original), ``similarity``, ``score_before``, ``score_after``, ``original``, ``attacked``,
    ``encodings`` (texts the model was asked about), ``source``, ``method``. A passage that no swap lifts stays
    unchanged, and ``changed`` is false; a source without a substitute for any word is an error. ``step_scores``,
    ``step_similarities`` (with a floor) and ``step_encodings`` give for each of ``swaps`` the values after it was made;
    later swaps have more encodings (:func:`within_budget`). The settings are in ``attrs``.

    >>> import numpy as np
    >>> import drscale as ds
    >>> from drscale.attacks import Attack, Given
    >>> def model(texts):  # three words are all it knows
    ...     return np.array([[text.count(word) for word in ("huge", "hub", "station")] for text in texts], float)
    >>> source, how = Given({"big": ["huge", "large"]}), Attack("random", words=1, floor=None)
    >>> rows = ds.attack_texts(model, ["a huge hub"], ["the big station"], source, how, similarity=None)
    >>> rows["attacked"].item()
    'the huge station'
    """
    if isinstance(attack, str) and attack != WORDS:
        return own_texts(
            attack, model, queries, passages, source, encode_passages=encode_passages, similarity=similarity
        )
    attack = STANDARD if isinstance(attack, str) else attack
    if not isinstance(attack, Attack):
        raise ValueError(f"attack={attack!r}: an Attack is needed, or the name of a registered one")
    for side, texts in (("queries", queries), ("passages", passages)):
        if (
            isinstance(texts, str)
            or not isinstance(texts, Sequence | np.ndarray | pd.Series)
            or not all(isinstance(t, str) for t in texts)
        ):
            raise ValueError(f"{side}={texts!r:.60}: a list of texts is needed")
    if not isinstance(source, str) and not hasattr(source, "of"):
        raise ValueError(f"source={source!r:.60}: a spelling or a source of synonyms is needed, as 'encoder'")
    if block < 1:
        raise ValueError(f"block={block}: at least 1 passage at a time")
    aim, known = target(model, encode_passages), synonyms(source) if isinstance(source, str) else source
    if len(queries) != len(passages) or not len(passages):
        raise ValueError(f"attack: {len(queries)} queries and {len(passages)} passages; one query a passage is needed")
    _check_means(attack, aim, similarity, surrogate, rivals)
    unit = judge(similarity)
    asked = list(dict.fromkeys(queries))
    place = {q: i for i, q in enumerate(asked)}
    vectors = checked(aim.encode_queries, asked, "encode(queries)")
    guide = vectors if surrogate is None else surrogate.encode(asked)
    order = sorted(range(len(passages)), key=lambda i: passages[i])  # the same passage side by side is encoded once
    rows: list[dict[str, object]] = [{}] * len(passages)
    swappable = 0
    told = tqdm(total=len(passages), desc="attack", unit="passage", disable=not progress)
    with told as bar, mapped(aim.encoder if len(passages) >= FEW else None):
        for at in range(0, len(order), block):
            some = order[at : at + block]
            mine = [place[queries[i]] for i in some]
            plans = plan(
                aim,
                vectors[mine],
                [queries[i] for i in some],
                [passages[i] for i in some],
                known,
                attack,
                surrogate=surrogate,
                guide=guide[mine],
                rivals=None if rivals is None else rivals[some],
                numbers=some,
            )
            for i, p, outcome in zip(some, plans, search(plans, aim, attack, unit), strict=True):
                rows[i] = _row(p, outcome)
            swappable += sum(bool(p.slots) for p in plans)
            bar.update(len(some))
    if not swappable:
        check_words(passages, known, attack.same_part)
    frame = pd.DataFrame(rows).assign(source=known.source, method=attack.method)
    frame.attrs = {
        "attack": {**asdict(attack), "constraints": list(attack.constraints)},
        "source": known.source,
        "part_of_speech": bool(attack.same_part and known.has_parts),
        "similarity": "minilm" if similarity == "minilm" else "none" if similarity is None else "given",
    }
    return frame


def _check_means(
    attack: Attack, aim: Target, similarity: object, surrogate: BiEncoder | None, rivals: np.ndarray | None
) -> None:
    if attack.method in WHITE_BOX and aim.encoder is None:
        raise ValueError(
            f"method={attack.method!r}: needs a BiEncoder; a mere function allows deletion, surrogate, random"
        )
    if attack.method == "surrogate" and surrogate is None:
        raise ValueError("method='surrogate': give surrogate, as train_surrogate makes it")
    if attack.method == "hinge" and rivals is None:
        raise ValueError("method='hinge': give rivals, the scores of the top of each query's list")
    if attack.floor is not None and similarity is None:
        raise ValueError(f"floor={attack.floor}: needs similarity, an encoder to judge it; or floor=None")


def plan(
    aim: Target,
    vectors: np.ndarray,
    queries: Sequence[str],
    passages: Sequence[str],
    source: Synonyms,
    attack: Attack,
    *,
    surrogate: BiEncoder | None = None,
    guide: np.ndarray | None = None,
    rivals: np.ndarray | None = None,
    numbers: Sequence[int] | None = None,
) -> list[Plan]:
    """Find the swappable words of passages and order them by importance.

    ``vectors`` are the target's of the queries, ``guide`` the surrogate's; ``numbers`` seed the random order.
    """
    read = importance.read(aim.encoder, passages) if aim.encoder is not None else None
    ends = read.ends if read else [len(p) for p in passages]
    found = spots(passages, queries, source, attack.constraints, attack.same_part, ends)
    cuts = aim.cuts(passages, ends) if read else ends
    asked = [0] * len(passages)
    if attack.method == "random":
        seeds = range(len(passages)) if numbers is None else numbers
        draws = [np.random.default_rng([attack.seed, n]).random(len(s)) for n, s in zip(seeds, found, strict=True)]
    elif attack.method == "deletion":
        draws = _deletion(aim, vectors, passages, cuts, found)
        asked = [len(s) + bool(s) for s in found]
    else:
        looked = surrogate if attack.method == "surrogate" else aim.encoder
        if looked is None:
            raise ValueError(f"method={attack.method!r}: needs an encoder to look into")
        at = importance.read(looked, passages) if read is None or looked is not aim.encoder else read
        toward = guide if attack.method == "surrogate" and guide is not None else vectors
        slopes = importance.gradients(looked, toward, at.ids, rivals if attack.method == "hinge" else None)
        if attack.method == "swap":
            found, draws = _by_gain(looked, found, at.spans, slopes, attack.candidates)
        else:
            draws = [importance.norms(s, spans, g) for s, spans, (_, g) in zip(found, at.spans, slopes, strict=True)]
        if attack.rule == "nearest":
            found = [[Spot(s.at, s.word, s.candidates[: attack.candidates]) for s in row] for row in found]
            means = importance.mean_embeddings(looked, list({c: None for r in found for s in r for c in s.candidates}))
            found = [
                importance.nearest(s, spans, *both, means, attack.eps)
                for s, spans, both in zip(found, at.spans, slopes, strict=True)
            ]
    plans = []
    for i, (text, cut) in enumerate(zip(passages, cuts, strict=True)):
        order = np.argsort(-draws[i], kind="stable")
        slots = tuple(Spot(s.at, s.word, s.candidates[: attack.candidates]) for s in (found[i][k] for k in order))
        words = count(text, source, ends[i])
        plans.append(Plan(vectors[i], text[:cut], text[cut:], ends[i], slots, words, attack.budget(words), asked[i]))
    return plans


def _deletion(
    aim: Target, vectors: np.ndarray, passages: Sequence[str], cuts: Sequence[int], found: list[list[Spot]]
) -> list[np.ndarray]:
    """How much each word's absence moves the score, up or down."""
    owners, heads = [], []
    for i, (text, cut) in enumerate(zip(passages, cuts, strict=True)):
        tried = [text[:cut], *(swapped(text[:cut], [(s.at, s.word, "")]) for s in found[i])] if found[i] else []
        owners += [i] * len(tried)
        heads += tried
    if not heads:
        return [np.empty(0) for _ in passages]
    scores = (aim.vectors(heads, [passages[i][cuts[i] :] for i in owners]) * vectors[owners]).sum(1)
    parts = np.split(scores, np.cumsum([len(s) + bool(s) for s in found])[:-1])
    return [np.abs(part[1:] - part[:1]) for part in parts]


def _by_gain(
    looked: BiEncoder,
    found: list[list[Spot]],
    spans: list[np.ndarray],
    slopes: list[tuple[np.ndarray, np.ndarray]],
    most: int,
) -> tuple[list[list[Spot]], list[np.ndarray]]:
    """Each word with its best candidates by first-order gain, the best first, and that gain."""
    words = list(dict.fromkeys(c for row in found for s in row for c in s.candidates))
    vectors = importance.mean_embeddings(looked, words)
    ordered, best = [], []
    for row, where, (values, gradient) in zip(found, spans, slopes, strict=True):
        gained = importance.gains(row, where, values, gradient, vectors)
        orders = [np.argsort(-g, kind="stable")[:most] for g in gained]
        ordered.append(
            [Spot(s.at, s.word, tuple(s.candidates[k] for k in o)) for s, o in zip(row, orders, strict=True)]
        )
        best.append(np.array([g.max() for g in gained]))
    return ordered, best


def search(plans: Sequence[Plan], aim: Target, attack: Attack, unit: Encode | None) -> list[Outcome]:
    """Try the words of all plans in turn, all candidates of a turn in one pass, and keep swaps that lift the score.

    Of a word's candidates that lift the score and are not below the floor, the best is kept. The outcome is the same as
    if candidates were tried one after the other. ``unit`` gives the vectors of length 1 for the similarity.
    """
    heads, tails = [p.head for p in plans], [p.tail for p in plans]
    vectors, queries = aim.vectors(heads, tails), np.stack([p.query for p in plans])
    start = (vectors * queries).sum(1)
    ties = TIE * np.linalg.norm(vectors, axis=1) * np.linalg.norm(queries, axis=1)
    same = math.nan if unit is None else 1.0  # no similarity model: NaN even for unchanged texts
    found = [Outcome(float(s), float(s), same, [], 1 + p.asked) for s, p in zip(start, plans, strict=True)]
    origin = None if unit is None else unit([p.head[: p.read] for p in plans])
    for turn in itertools.count():
        active = [i for i, p in enumerate(plans) if turn < len(p.slots) and len(found[i].swaps) < p.budget]
        if not active:
            break
        owners, texts = [], []
        for i in active:
            spot = plans[i].slots[turn]
            for candidate in spot.candidates:
                owners.append(i)
                texts.append(swapped(heads[i], [*found[i].swaps, (spot.at, spot.word, candidate)]))
        scores = (aim.vectors(texts, [tails[i] for i in owners]) * queries[owners]).sum(1)
        cuts = np.cumsum([len(plans[i].slots[turn].candidates) for i in active])[:-1]
        lists = dict(zip(active, np.split(scores, cuts), strict=True))
        for i in active:
            found[i].encodings += len(lists[i])
        while lists:  # a second round only where the best candidate falls below the floor
            chosen = {i: k for i, s in lists.items() if (k := best_of(s, found[i].after, float(ties[i]))) is not None}
            cosines = dict.fromkeys(chosen, math.nan)
            if chosen and attack.floor is not None and unit is not None and origin is not None:
                near = unit([_judged(plans[i], found[i].swaps, turn, k) for i, k in chosen.items()])
                cosines = {i: float(v @ origin[i]) for i, v in zip(chosen, near, strict=True)}
            for i, k in chosen.items():
                if attack.floor is not None and not cosines[i] >= attack.floor:
                    lists[i] = lists[i].copy()
                    lists[i][k] = -np.inf
                    continue
                spot = plans[i].slots[turn]
                found[i].swaps.append((spot.at, spot.word, spot.candidates[k]))
                found[i].after, found[i].similarity = float(lists[i][k]), cosines[i]
                found[i].steps.append((found[i].after, cosines[i], found[i].encodings))
                del lists[i]
            lists = {i: s for i, s in lists.items() if i in chosen}
    _judge_the_rest(plans, found, unit, origin)
    return found


def _judged(p: Plan, swaps: Sequence[tuple[int, str, str]], turn: int, choice: int) -> str:
    """The part of a passage that is read, with a word's candidate put in, as input for the similarity."""
    spot = p.slots[turn]
    return swapped(p.head[: p.read], [*swaps, (spot.at, spot.word, spot.candidates[choice])])


def best_of(scores: np.ndarray, now: float, tie: float) -> int | None:
    """The earliest of the best candidates, or None if none lifts the score."""
    most = float(scores.max(initial=-np.inf))
    return int(np.flatnonzero(scores >= most - tie)[0]) if most > now + tie else None


def _judge_the_rest(
    plans: Sequence[Plan], found: list[Outcome], unit: Encode | None, origin: np.ndarray | None
) -> None:
    """The similarity of passages that were changed without a floor."""
    open_ = [i for i, o in enumerate(found) if math.isnan(o.similarity)]
    if unit is None or origin is None or not open_:
        return
    near = unit([swapped(plans[i].head[: plans[i].read], found[i].swaps) for i in open_])
    for i, vector in zip(open_, near, strict=True):
        found[i].similarity = float(vector @ origin[i])


def _row(p: Plan, o: Outcome) -> dict[str, object]:
    order, whole = sorted(range(len(o.swaps)), key=o.swaps.__getitem__), p.head + p.tail
    swaps, steps = [o.swaps[k] for k in order], [o.steps[k] for k in order]
    return {
        "changed": bool(swaps),
        "words": p.words,
        "words_changed": len(swaps),
        "swaps": [f"{old} -> {new}" for _, old, new in swaps],
        "places": [at for at, _, _ in swaps],
        "similarity": o.similarity,
        "score_before": o.before,
        "score_after": o.after,
        "original": whole,
        "attacked": swapped(whole, swaps),
        "encodings": o.encodings,
        "step_scores": [score for score, _, _ in steps],
        "step_similarities": [cosine for _, cosine, _ in steps if not math.isnan(cosine)],
        "step_encodings": [count for _, _, count in steps],
    }
