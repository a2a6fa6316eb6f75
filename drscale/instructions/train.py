"""Train to follow instructions: what a batch is, and objectives named by their structure.

A batch holds questions, each a query and an instruction, and their passages. Three kinds of negatives vary one part of
a question and keep the others, so that they cost O(batch x choices) and not every combination:

* passages: the question against the batch's other passages;
* questions: the passage against the batch's other questions, some under the same instruction;
* instructions: the passage against the same query under ``choices`` other instructions.

==================  ================================================================================================
objective           what is minimised
==================  ================================================================================================
``uninstructed``    the baseline: the same rows without their instructions, one softmax over passages
``passages_only``   instructions in the questions, one softmax over passages
``joint_softmax``   one softmax over all three kinds
``sum_of_terms``    three softmaxes, one a kind, their entropies added
==================  ================================================================================================

The last two have the structure of the losses in the code of InF-IR (arXiv 2505.21439); scores are raw inner products.
They are the variants of the training strategy ``instructed``, which trains on the texts ``instructed``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from drscale.encoder import BiEncoder, Tokens
from drscale.instructions import texts as instructions
from drscale.instructions.texts import Instructed, Questions
from drscale.losses import contrastive_entropy
from drscale.recipe import STRATEGIES, Recipe, check
from drscale.texts.cache import key_of
from drscale.training.batches import Batch, Pairs
from drscale.training.prepare import Ready
from drscale.training.strategies import State, Strategy

OBJECTIVES = STRATEGIES["instructed"].variants
CHOICES = 2  # other instructions that each passage is held against; StrategyRow.texts counts them
WITH_NEGATIVES = ("joint_softmax", "sum_of_terms")
PART = 8  # a batch has one contradiction in so many rows; it brings four of them


@dataclass(frozen=True)
class Rows:
    """A batch's questions: rows of the docstrings that give query and passage, the package asked and the others.

    ``others`` (batch, choices) are packages as numbers, whose instructions the passage does not answer.
    """

    queries: np.ndarray
    passages: np.ndarray
    packages: np.ndarray
    others: np.ndarray


@dataclass(frozen=True)
class Contradictions:
    """Docstrings as arrays, to draw batches from: each one's package and need, and the rows of needs and packages."""

    packages: np.ndarray
    needs: np.ndarray
    shared: tuple[np.ndarray, ...]
    singles: tuple[np.ndarray, ...]

    def draw(self, batch: int, choices: int, seed: int, step: int) -> Rows:
        """Draw a batch, a function of the seed and the step alone.

        One row in four belongs to a contradiction: a query asked of two packages that both answer it. As many are
        single pairs of these packages (another query under the same instruction), the others any single pairs. Of the
        other instructions the first is the contradicting one, where there is one.
        """
        rng = np.random.default_rng([seed, 5, step])
        count = batch // PART
        four = np.array([self._four(self.shared[n], rng) for n in rng.choice(len(self.shared), count)])
        rest = rng.choice(np.concatenate(self.singles), batch - 4 * count, replace=False)
        queries, passages, opposed = (
            np.concatenate([four[:, part].ravel(), plain])
            for part, plain in zip(range(3), (rest, rest, np.full(len(rest), -1)), strict=True)
        )
        packages = self.packages[passages]
        order = rng.random((batch, len(self.singles)))
        order[np.arange(batch), packages] = 2.0  # its own package comes last
        order[opposed >= 0, opposed[opposed >= 0]] = -1.0
        return Rows(queries, passages, packages, np.argsort(order, axis=1)[:, :choices])

    def _four(self, members: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
        """Queries, passages and contradicting packages of four rows: a query asked of two packages, and two singles."""
        one, other = rng.choice(members, 2, replace=False)
        query = rng.choice(members)
        packages = self.packages[[one, other]]
        single = [
            rng.choice(self.singles[p]) if len(self.singles[p]) else passage
            for p, passage in zip(packages, (one, other), strict=True)
        ]
        return [
            np.array([query, query, *single]),
            np.array([one, other, *single]),
            np.array([*packages[::-1], *packages[::-1]]),
        ]


@dataclass(frozen=True, kw_only=True)
class Instructing(Strategy):
    """What a batch of questions is and what is minimised, by the objective that the recipe's variant names.

    Equal seeds draw equal rows whatever the objective.
    """

    choices: int
    part: Instructed
    tokenise: Callable[[Sequence[str]], Tokens]

    def __post_init__(self) -> None:
        check(self.recipe)

    def draw(self, step: int) -> Batch:
        """The batch of a step; ``changed`` holds its questions' token ids, then those under other instructions."""
        rows = self._contradictions.draw(self.recipe.batch, self.choices, self.recipe.seed, step)
        rng = np.random.default_rng([self.recipe.seed, 6, step])
        texts, names = self._texts, self._packages
        told = self.recipe.variant != "uninstructed"

        def worded(query: int, package: int) -> str:
            template = instructions.TEMPLATES[rng.integers(len(instructions.TEMPLATES))]
            return instructions.asked(texts[query], instructions.instruction(names[package], template) if told else "")

        asked = [worded(q, p) for q, p in zip(rows.queries, rows.packages, strict=True)]
        if self.recipe.variant in WITH_NEGATIVES:
            asked += [worded(q, p) for q, some in zip(rows.queries, rows.others, strict=True) for p in some]
        tokens = self.tokenise(asked)
        none = np.empty(0, np.int64)
        return Batch(none, rows.passages, none, rows.queries, changed=tuple(tokens.rows(np.arange(len(tokens)))))

    def loss(
        self, model: Any, batch: Batch, accelerator: Any, state: State, weights: Sequence[Tensor]
    ) -> tuple[Tensor, dict[str, float]]:
        """What is minimised on a batch, and of it the part that ranks passages."""
        objective, count = self.recipe.variant, len(batch.positives)
        texts, passages = model(list(batch.changed), self.pairs.passages.rows(batch.positives))
        texts, passages = texts.float(), passages.float()
        scores = texts[:count] @ passages.T  # (batch, batch)
        others = None
        if objective in WITH_NEGATIVES:
            under = texts[count:].unflatten(0, (count, -1))  # (batch, choices, dim)
            others = (under * passages.unsqueeze(1)).sum(-1)  # (batch, choices)
        same = batch.positives[:, None] == batch.positives[None, :]
        if objective == "uninstructed":  # then every passage of a need answers
            needs = self._contradictions.needs[batch.positives]
            same |= (needs[:, None] == needs[None, :]) & (needs[:, None] >= 0)
        loss, ranking = objective_loss(objective, scores, others, torch.as_tensor(same, device=scores.device))
        return loss.mean(), {"passages": float(ranking.detach().mean())}

    @cached_property
    def _texts(self) -> list[str]:
        return [str(text) for text in self.part.docs["query"]]

    @cached_property
    def _packages(self) -> list[str]:
        return sorted(self.part.docs["package"].unique())

    @cached_property
    def _contradictions(self) -> Contradictions:
        return contradictions(self.part)


def objective_loss(objective: str, scores: Tensor, others: Tensor | None, same: Tensor) -> tuple[Tensor, Tensor]:
    """Give each question's loss, and of it the entropy of its passage among passages, both (batch,) in nats.

    ``scores`` (batch, batch) has questions in rows and passages in columns, question i's passage at i; ``others``
    (batch, choices) each passage's scores with its query under other instructions; ``same`` (batch, batch) what else
    answers a question, which is no negative.
    """
    own = torch.arange(len(scores), device=scores.device)
    away = same.clone().fill_diagonal_(False)
    passages = scores.masked_fill(away, float("-inf"))
    ranking = contrastive_entropy(passages, own)
    if objective not in WITH_NEGATIVES:
        return ranking, ranking
    if others is None:
        raise ValueError(f"others=None: objective={objective!r} needs the scores under other instructions")
    questions = scores.T.masked_fill(same.T | torch.eye(len(scores), dtype=torch.bool, device=same.device), -torch.inf)
    if objective == "joint_softmax":
        return contrastive_entropy(torch.cat([passages, questions, others], dim=1), own), ranking
    positive = scores.diagonal().unsqueeze(1)
    terms = [contrastive_entropy(torch.cat([positive, negatives], dim=1)) for negatives in (questions, others)]
    return ranking + terms[0] + terms[1], ranking


def contradictions(part: Instructed) -> Contradictions:
    """Docstrings as arrays: what can be drawn from them."""
    docs = part.docs
    names = sorted(docs["package"].unique())
    packages = docs["package"].map(names.index).to_numpy(np.int64)
    needs = docs["need"].to_numpy(np.int64)
    shared = tuple(np.flatnonzero(needs == n) for n in np.unique(needs[needs >= 0]))
    singles = tuple(np.flatnonzero((packages == p) & (needs < 0)) for p in range(len(names)))
    if not shared or len(names) < 2:
        raise ValueError("instructions: no need is answered by two packages, so nothing contradicts")
    return Contradictions(packages, needs, shared, singles)


def instructed(r: Ready) -> Instructing:
    """Make the strategy ready for a run on the training questions of the texts ``instructed``, all of them."""
    part = r.collection.part if isinstance(r.collection, Questions) else None
    if part is None:
        raise ValueError(
            f"strategy='instructed': {r.collection.name} has no instructions to draw from; texts='instructed' has, "
            "with pairs=0"
        )
    return instructing(r.encoder, part, r.recipe, r.pairs)


def instructing(
    encoder: BiEncoder, part: Instructed, recipe: Recipe, pairs: Pairs, choices: int = CHOICES
) -> Instructing:
    """Build the batch sampler and the loss, for an encoder and the training part of the texts.

    ``pairs`` has the part's passages, in the order of its rows; its queries are not used, since every step words its
    questions anew.
    """
    if recipe.pool != "in_batch":
        raise ValueError(f"pool={recipe.pool!r}: strategy='instructed' trains with pool='in_batch'")
    found = contradictions(part)
    if not 1 <= choices < len(found.singles):
        raise ValueError(f"choices={choices}: between 1 and {len(found.singles) - 1}, the other packages")
    single = sum(map(len, found.singles))
    if recipe.batch % PART or single < recipe.batch:
        raise ValueError(f"batch={recipe.batch}: a multiple of {PART}, at most the {single} single pairs")
    mark = key_of("instructions", part.fingerprint, recipe.variant, choices)

    def tokenise(texts: Sequence[str]) -> Tokens:
        return encoder.tokens(texts, "query")

    return Instructing(recipe=recipe, pairs=pairs, mark=mark, choices=choices, part=part, tokenise=tokenise)
