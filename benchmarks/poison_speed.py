"""Print what a poisoned passage costs in both forms at equal success, and against scoring candidates one by one.

Each ratio is of CPU seconds within this run, on one thread, on the docs benchmark. Queries are encoded once here, in
both forms; the form ``queries`` as it was published encodes its two batches anew at every step, which is measured and
told apart. The encoder is trained briefly first, unless ``--store`` names a store that has kept one.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from drscale.attacks.target import gradients
from drscale.encoder import BiEncoder, build
from drscale.evaluate.retrievers import Retriever, retriever
from drscale.models import load_model, model_path
from drscale.poisoning.exposure import attack_success, poison_ranks
from drscale.poisoning.make import Poison, clusters_of, poison, real_pieces
from drscale.recipe import Recipe
from drscale.runs import RunStore
from drscale.texts import Benchmark, Collection, benchmark
from drscale.training.batches import tokenised
from drscale.training.loop import train

LENGTHS = (10, 20, 30, 40, 60, 80, 120, 160)  # steps; a longer run begins like a shorter one


def encoder_for(rung: str, steps: int, texts: Benchmark, folder: str) -> BiEncoder:
    """The encoder of a store at this rung, or one trained for so many steps."""
    if folder:
        store = RunStore(Path(folder))
        found = [r.recipe for r in store.runs() if r.recipe.rung == rung and model_path(r.recipe, store).is_file()]
        if not found:
            raise SystemExit(f"{folder}: has kept no model of {rung}")
        return load_model(found[0], store)
    recipe = Recipe(rung=rung, steps=steps, rate=3.1e-3, schedule="linear", warmup=steps // 10)
    encoder = build(recipe)
    train(encoder, tokenised(encoder, texts.train), recipe)
    return encoder.eval()


def course(
    encoder: BiEncoder, model: Retriever, asked: Collection, test: Collection, attack: Poison, k: int
) -> np.ndarray:
    """Seconds a passage and success in-domain after so many steps: (lengths, 2), the clustering not counted."""
    rows = []
    none = time.process_time()
    poison(encoder, asked, replace(attack, steps=0))
    none = time.process_time() - none
    for steps in LENGTHS:
        started = time.process_time()
        made = poison(encoder, asked, replace(attack, steps=steps))
        taken = max(time.process_time() - started - none, 1e-9) / attack.passages
        rows.append(
            (taken, float(attack_success(poison_ranks(model, test, made["text"].tolist()), (k,))["asr"].iloc[0]))
        )
    return np.array(rows)


def seconds_at(path: np.ndarray, goal: float) -> float:
    """Seconds at which a course first reaches a success rate, straight between what was measured."""
    at = int((path[:, 1] >= goal).argmax())
    if at == 0:
        return float(path[0, 0])
    (t0, a0), (t1, a1) = path[at - 1], path[at]
    return float(t0 + (t1 - t0) * (goal - a0) / (a1 - a0))


def reencoding(encoder: BiEncoder, texts: Benchmark, attack: Poison, times: int = 10) -> float:
    """Seconds a step that encoding the two batches of a step anew takes."""
    asked = texts.train.queries["text"].slice(0, attack.batch * 2).to_pylist()
    started = time.process_time()
    for _ in range(times):
        encoder.encode(asked)
    return (time.process_time() - started) / times


def one_at_a_time(encoder: BiEncoder, queries: list[str], attack: Poison) -> list[list[int]]:
    """The same search by the plain loop: a passage, a step, a candidate after the other, each encoded alone."""
    tokenizer, allowed = encoder.tokenizer, real_pieces(encoder, attack.pieces)
    words = encoder.passage_tower.body.get_input_embeddings()  # type: ignore[operator]
    with torch.no_grad():
        table = words(torch.from_numpy(allowed)).numpy()
    found = []
    for place, cluster in enumerate(clusters_of(encoder, queries, None, attack.passages, attack.seed, False)):
        ids = np.array([tokenizer.cls_token_id, *[tokenizer.mask_token_id] * attack.tokens, tokenizer.sep_token_id])
        rng = np.random.default_rng([attack.seed, place, 3])
        order = np.concatenate([rng.permutation(attack.tokens) for _ in range(-(-attack.steps // attack.tokens))])
        now = float(_vector(encoder, ids) @ cluster.centroid)
        for at in order[: attack.steps] + 1:
            ((_, slopes),) = gradients(encoder, cluster.centroid[None], [ids])
            best, kept = now, ids
            for piece in allowed[np.argsort(-(table @ slopes[at]))[: attack.candidates]]:
                tried = ids.copy()
                tried[at] = piece
                score = float(_vector(encoder, tried) @ cluster.centroid)
                if score > best:
                    best, kept = score, tried
            now, ids = best, kept
        found.append(ids[1:-1].tolist())
    return found


@torch.inference_mode()
def _vector(encoder: BiEncoder, ids: np.ndarray) -> np.ndarray:
    row = torch.from_numpy(ids)[None]
    vector: np.ndarray = encoder.passage_tower(row, torch.ones_like(row))[0].numpy()
    return vector


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rung", default="L2H32")
    parser.add_argument("--steps", type=int, default=200, help="training steps of the encoder")
    parser.add_argument("--store", default="", help="take the encoder from this store instead")
    parser.add_argument("--passages", type=int, default=4)
    parser.add_argument("--queries", type=int, default=2000, help="training queries to cluster")
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--few", type=int, default=10, help="steps of the plain loop")
    options = parser.parse_args()
    torch.set_num_threads(1)
    texts = benchmark("docs")
    encoder = encoder_for(options.rung, options.steps, texts, options.store)
    model, attack = retriever(encoder, options.rung), Poison(passages=options.passages)
    asked, forms = texts.train.take(options.queries), {f: replace(attack, form=f) for f in ("centroid", "queries")}
    paths = {f: course(encoder, model, asked, texts.test, how, options.k) for f, how in forms.items()}
    goal = 0.98 * min(path[:, 1].max() for path in paths.values())
    cost = {form: seconds_at(path, goal) for form, path in paths.items()}
    step = float(np.interp(cost["queries"], paths["queries"][:, 0], LENGTHS))  # steps taken until then
    published = cost["queries"] + step * reencoding(encoder, texts, attack)
    print(f"{options.rung}, {options.passages} passages, CPU seconds a passage to ASR@{options.k} = {goal:.3f}:")
    for how, taken in (*cost.items(), ("queries, encoded anew each step", published)):
        print(f"  {how}: {taken:.2f} s, ratio to centroid {taken / cost['centroid']:.2f}")
    for form, path in paths.items():
        print(f"  {form}: " + ", ".join(f"{n} steps {t:.2f} {a:.3f}" for n, (t, a) in zip(LENGTHS, path, strict=True)))
    queries, small = texts.train.queries["text"].slice(0, 500).to_pylist(), replace(attack, steps=options.few)
    poison(encoder, queries, replace(small, steps=1))  # warm caches
    none = time.process_time()
    poison(encoder, queries, replace(small, steps=0))
    started = time.process_time()
    made = poison(encoder, queries, small)
    fast = time.process_time() - started - (started - none)
    started = time.process_time()
    plain = one_at_a_time(encoder, queries, small)
    slow = time.process_time() - started
    same = sum(ids == mine for ids, mine in zip(plain, made["ids"], strict=True))
    each = fast / options.few / options.passages, slow / options.few / options.passages
    print(
        f"{options.rung}: a step of {attack.candidates} candidates {each[0] * 1000:.1f} ms side by side, "
        f"{each[1] * 1000:.1f} ms one at a time; the same {same} of {options.passages} passages; "
        f"ratio {slow / fast:.1f}"
    )


if __name__ == "__main__":
    main()
