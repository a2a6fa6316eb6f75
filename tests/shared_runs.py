"""Train a few steps of every strategy, alone or as one of the processes that share each run, and keep the weights."""

import json
import os
import sys
import warnings
from pathlib import Path

from drscale import sweep
from drscale.attacks.substitutes import Given
from drscale.encoder import build
from drscale.recipe import STRATEGIES, Recipe
from drscale.runs import RunStore
from drscale.training import loop, prepare, processes
from drscale.training.batches import tokenised
from drscale.training.processes import Encoding, this_process

SMALL = Recipe(texts="folder:tiny", rung="L2H12", steps=3, batch=16, negatives=31, projection=24, rate=3e-3)
LABELS = {"teachers": "bm25", "top": 5}
CACHED = "standard, gradients cached"
RECIPES = {
    **{f"standard {pool}": SMALL.but(pool=pool) for pool in ("in_batch", "shared", "both")},
    "standard two towers": SMALL.but(towers="two"),
    CACHED: SMALL.but(pool="both", towers="two"),
    "standard bf16": SMALL.but(precision="bf16"),
    "hard_negative shared": SMALL.but(strategy="hard_negative", pool="shared", share=0.5),
    **{
        f"{name} {variant}": SMALL.but(strategy=name, variant=variant, share=0.6)
        for name in ("hard_negative", "denoising", "adversarial")
        for variant in STRATEGIES[name].variants
    },
    **{
        f"{balance}": SMALL.but(strategy="adversarial", variant="pool", share=0.6, balance=balance)
        for balance in ("fixed", "pareto", "mgda", "pcgrad")
    },
    **{
        f"supervised {variant}": SMALL.but(strategy="supervised", variant=variant, **LABELS)
        for variant in STRATEGIES["supervised"].variants
    },
    **{
        f"instructed {variant}": SMALL.but(strategy="instructed", variant=variant, texts="instructed", query_tokens=32)
        for variant in STRATEGIES["instructed"].variants
    },
}
SCORED = SMALL.but(strategy="adversarial", share=0.2)  # made, trained and scored as a sweep does


def encoder_of(model):
    return getattr(model.model, "module", model.model)


def main(folder: Path) -> None:
    """Train each recipe and write its weights; then make one whole run."""
    import torch
    from safetensors.torch import save_file
    from test_instructions import made
    from test_instructions import ready as with_instructions
    from test_training_strategies import ready
    from tiny import tiny

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    prepare.sources.synonyms = lambda spec: Given({"badoba": ["dodoki"]}, source=spec)
    for name, recipe in RECIPES.items():
        encoder = build(recipe)
        if recipe.strategy == "instructed":
            strategy = with_instructions(encoder, made().part("train"), recipe)
        elif recipe.strategy == "supervised":
            strategy = prepare.made_ready(recipe, tiny().train, tokenised(encoder, tiny().train), encoder)
        else:
            strategy = ready(recipe, encoder)
        os.environ[processes.CHUNK] = "128" if name == CACHED else ""
        loop.train(encoder, strategy.pairs, recipe, strategy=strategy)
        if this_process().is_main_process:
            weights = {n: p.detach().contiguous() for n, p in encoder.named_parameters()}
            save_file(weights, folder / f"{name}.safetensors")
        if name == "adversarial kl":  # AdamW hardly sees how large a gradient is
            model = Encoding(build(recipe), accelerator := processes.accelerator(recipe.precision))
            loss, _ = strategy.loss(model, strategy.draw(0), accelerator, {}, [])
            accelerator.backward(loss)
            gradients = {n: p.grad for n, p in encoder_of(model).named_parameters() if p.grad is not None}
            save_file(gradients, folder / f"gradients-{accelerator.process_index}.safetensors")
    run = sweep.run_one(SCORED, RunStore(folder / "runs"), texts=tiny())
    if this_process().is_main_process:
        means = {scope: measures["entropy"].mean for scope, measures in run.measures.items()}
        (folder / "run.json").write_text(json.dumps(means))


if __name__ == "__main__":
    Path(sys.argv[1]).mkdir(exist_ok=True)
    main(Path(sys.argv[1]))
    import torch.distributed as dist

    if dist.is_initialized():
        dist.destroy_process_group()
