"""Print how much faster passages are attacked side by side than one candidate at a time, with the same result.

Each ratio is of CPU seconds within this run, on one thread, so that other work on the machine does not count; on
passages of the docs benchmark, with untrained encoders. With more threads or a GPU the ratio grows, as only work side
by side can use them. With
``--textattack PYTHON``, an interpreter that has TextAttack 0.3.11 (and drscale), its greedy word-swap search is run on
the same encoder, passages, substitutes and budget.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import time
from pathlib import Path

import numpy as np
import torch

from drscale.attacks.substitutes import Synonyms, swapped, synonyms
from drscale.attacks.target import read, target
from drscale.attacks.words import TIE, Attack, attack_texts, plan
from drscale.encoder import BiEncoder, build
from drscale.evaluate.entropy import Encode
from drscale.recipe import Recipe
from drscale.texts import benchmark


def one_at_a_time(
    encoder: BiEncoder, query: str, passage: str, source: Synonyms, attack: Attack, unit: Encode | None = None
) -> tuple[str, float, float]:
    """Attack a passage with the plain loop: for each word each candidate, encode, score, keep if better.

    Returns the text and its score before and after. ``unit`` gives vectors of length 1 to judge similarity by.
    """
    asked = encoder.encode([query])
    (made,) = plan(target(encoder), asked, [query], [passage], source, attack)
    vector = encoder.encode_passages([passage])[0]
    before = now = float(vector @ asked[0])
    tie = TIE * float(np.linalg.norm(vector) * np.linalg.norm(asked[0]))
    swaps: list[tuple[int, str, str]] = []
    for spot in made.slots:
        if len(swaps) == made.budget:
            break
        kept = None
        for candidate in spot.candidates:
            tried = [*swaps, (spot.at, spot.word, candidate)]
            score = float(encoder.encode_passages([swapped(passage, tried)])[0] @ asked[0])
            if score > now + tie and _close(unit, passage[: made.read], tried, attack.floor):
                kept, now = candidate, score
        if kept is not None:
            swaps.append((spot.at, spot.word, kept))
    return swapped(passage, swaps), before, now


def _close(unit: Encode | None, passage: str, swaps: list[tuple[int, str, str]], floor: float | None) -> bool:
    if unit is None or floor is None:
        return True
    first, second = unit([passage, swapped(passage, swaps)])
    return bool(first @ second >= floor)


def cases(count: int, cut: BiEncoder | None = None, seed: int = 0) -> tuple[list[str], list[str]]:
    """Queries of the docs benchmark and passages that answer others, as far as an encoder reads them."""
    test = benchmark("docs").test
    rows = np.random.default_rng(seed).permutation(len(test.queries))[: 2 * count]
    queries = test.queries["text"].take(rows[:count]).to_pylist()
    passages = test.passages["text"].take(rows[count:]).to_pylist()
    ends = [len(p) for p in passages] if cut is None else read(cut, passages).ends
    return queries, [p[:end] for p, end in zip(passages, ends, strict=True)]


def compare(rung: str, source: Synonyms, attack: Attack, few: int, many: int) -> None:
    """Attack ``many`` passages side by side and the first ``few`` of them one candidate at a time; print the ratio."""
    encoder = build(Recipe(rung=rung)).eval()
    queries, passages = cases(many)
    attack_texts(encoder, queries, passages, source, attack, similarity=None)  # words looked up and cut, for both
    started = time.process_time()
    together = attack_texts(encoder, queries, passages, source, attack, similarity=None)
    fast = (time.process_time() - started) / many
    started = time.process_time()
    plain = [one_at_a_time(encoder, q, p, source, attack) for q, p in zip(queries[:few], passages, strict=False)]
    slow = (time.process_time() - started) / few
    same = sum(text == mine for (text, _, _), mine in zip(plain, together["attacked"], strict=False))
    if same < few:
        raise SystemExit(f"{rung}: the two ways agree on {same} of {few} passages only")
    each = together["encodings"].mean()
    print(
        f"{rung}: side by side {1 / fast:.1f} passages a second ({each:.0f} encodings each), one candidate at a time "
        f"{1 / slow:.2f}; the same {same} of {few} texts; ratio {slow / fast:.1f}"
    )


def versus_textattack(python: str, rung: str, spelling: str, attack: Attack, few: int) -> None:
    """Run TextAttack's greedy search in its own interpreter and print both rates."""
    encoder = build(Recipe(rung=rung)).eval()
    queries, passages = cases(few, cut=encoder)
    source = synonyms(spelling)
    attack_texts(encoder, queries[:2], passages[:2], source, attack, similarity=None)
    started = time.process_time()
    ours = attack_texts(encoder, queries, passages, source, attack, similarity=None)
    fast = (time.process_time() - started) / few
    command = [python, str(Path(__file__).with_name("attacks_textattack.py")), rung, spelling]
    command += [str(few), str(attack.words), str(attack.candidates)]
    there = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parent), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=there)
    if done.returncode:
        raise SystemExit(f"TextAttack did not run: {(done.stderr.strip().splitlines() or ['no word'])[-1]}")
    seconds, lift, asked = map(float, done.stdout.strip().splitlines()[-1].split())
    gained = float((ours["score_after"] - ours["score_before"]).mean())
    print(
        f"{rung}, deletion: {1 / fast:.2f} passages a second (mean lift {gained:.3f}, {ours['encodings'].mean():.0f} "
        f"encodings each), TextAttack's greedy search {few / seconds:.2f} (mean lift {lift:.3f}, {asked:.0f} encodings "
        f"each); ratio {seconds / few / fast:.1f}"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rungs", nargs="+", default=["L2H16", "L2H32", "L2H64", "L2H128"])
    parser.add_argument("--source", default="encoder?least=0.3")
    parser.add_argument("--few", type=int, default=64, help="passages for the plain loop")
    parser.add_argument("--many", type=int, default=128, help="passages side by side")
    parser.add_argument("--textattack", default="", metavar="PYTHON", help="an interpreter that has textattack 0.3.11")
    options = parser.parse_args()
    torch.set_num_threads(1)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    source = synonyms(options.source)
    for rung in options.rungs:
        compare(rung, source, Attack(floor=None), options.few, options.many)
    if options.textattack:
        versus_textattack(
            options.textattack,
            "L2H32",
            options.source,
            Attack("deletion", floor=None, constraints=("stop_words",)),
            min(options.few, 6),
        )
    else:
        print("TextAttack was not compared: give --textattack the python of an environment that has it")


if __name__ == "__main__":
    main()
