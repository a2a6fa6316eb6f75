"""TextAttack's greedy word-swap search on one of our encoders; `attacks.py` runs this in an environment that has it.

Prints the CPU seconds it took, the mean lift of the score and the mean number of texts the encoder was asked about.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import torch
from attacks import cases
from textattack import Attack
from textattack.constraints.overlap import MaxWordsPerturbed
from textattack.constraints.pre_transformation import RepeatModification
from textattack.goal_function_results import ClassificationGoalFunctionResult
from textattack.goal_functions import GoalFunction
from textattack.models.wrappers import ModelWrapper
from textattack.search_methods import GreedyWordSwapWIR
from textattack.transformations import WordSwap

from drscale.attacks.substitutes import STOP_WORDS, like, synonyms
from drscale.encoder import build
from drscale.recipe import Recipe


class Scores(ModelWrapper):
    """A query's scores of texts."""

    def __init__(self, encoder: Any, query: str) -> None:
        self.model, self.query = encoder, torch.from_numpy(encoder.encode([query])[0])

    def __call__(self, texts: list[str]) -> torch.Tensor:
        return torch.from_numpy(self.model.encode_passages(list(texts))) @ self.query


class Lift(GoalFunction):
    """As high a score as can be had; never complete, so that the whole budget is used."""

    def _is_goal_complete(self, model_output: Any, attacked_text: Any) -> bool:
        return False

    def _get_score(self, model_output: Any, attacked_text: Any) -> float:
        return float(model_output)

    def _goal_function_result_type(self) -> type:
        return ClassificationGoalFunctionResult

    def _process_model_outputs(self, inputs: Any, scores: Any) -> Any:
        return scores

    def _get_displayed_output(self, raw_output: Any) -> Any:
        return raw_output


class Table(WordSwap):
    """Our substitutes."""

    def __init__(self, source: Any, most: int) -> None:
        super().__init__()
        self.source, self.most = source, most

    def _get_replacement_words(self, word: str) -> list[str]:
        plain = word.lower()
        if plain in STOP_WORDS:
            return []
        return [like(c, word) for c in self.source.of([plain])[plain][: self.most]]


def main(rung: str, spelling: str, few: int, words: int, candidates: int) -> None:
    torch.set_num_threads(1)
    encoder = build(Recipe(rung=rung)).eval()
    queries, passages = cases(few, cut=encoder)
    source = synonyms(spelling)
    source.of(["warm"])
    seconds, lift, asked = 0.0, 0.0, 0
    for query, passage in zip(queries, passages, strict=True):
        goal = Lift(Scores(encoder, query))
        limits = [RepeatModification(), MaxWordsPerturbed(max_num_words=words)]
        attack = Attack(goal, limits, Table(source, candidates), GreedyWordSwapWIR(wir_method="delete"))
        started = time.process_time()
        result = attack.attack(passage, 0)
        seconds += time.process_time() - started
        lift += result.perturbed_result.score - result.original_result.score
        asked += result.num_queries
    print(seconds, lift / few, asked / few)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:6]))
