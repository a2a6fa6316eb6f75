"""From a plan to run records, on any concurrent.futures executor."""

from __future__ import annotations

import math
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from tqdm import tqdm

from drscale import pools
from drscale.labels.queries import annotated
from drscale.ladder import counts
from drscale.models import keep_model, load_model, model_path, texts_of, trained_on
from drscale.pack import Pack, opened
from drscale.recipe import BUILT_IN, Recipe, check
from drscale.recipe import grid as grid
from drscale.runs import CHANCE, CHECKPOINTS, Run, RunStore, StoreWarning, commit, peak_mb, reset_peak, versions
from drscale.study import Plan, about, check_names, execute, plan_study, reason_of
from drscale.texts import Benchmark

if TYPE_CHECKING:
    from drscale.encoder import BiEncoder

_ONE_AT_A_TIME = threading.Lock()
SAID = {"in_domain": "in-domain", "ood": "ood"}  # what the line of a finished run tells


def run_study(
    plan: Plan,
    executor: Executor | None = None,
    *,
    retry_failed: bool = False,
    progress: bool = True,
    note: Callable[[Run], None] | None = None,
    keep: bool = False,
    pack: str | Path = "",
    study: str | Path = "",
) -> list[Run]:
    """Run what a plan has left, in this process or on any ``concurrent.futures.Executor``; hand back the new records.

    Each run is saved where it was made the moment it ends, so an interrupt, a kill and a restart lose nothing that was
    finished and repeat nothing; a run cut short goes on from its checkpoint. Workers need to see the store's folder.
    ``keep`` keeps the trained models beside their records, for :func:`drscale.models.load_model`; make the plan with
    it, too, to have the models of runs that were finished without. ``pack`` is the folder of a pack
    (:mod:`drscale.pack`) to take texts and start weights from. ``study`` is the Python study whose strategies, attacks,
    texts and teachers the recipes name (``load_study(path).file``): each worker executes it before its first run.

    >>> import drscale as ds
    >>> recipes = ds.grid(ds.Recipe(texts="planted", steps=100), rung=["L2H12", "L2H16"])
    >>> plan = ds.plan_study(recipes, ds.RunStore("runs"))
    >>> [run.status for run in ds.run_study(plan)]  # doctest: +SKIP
    ['done', 'done']
    """
    todo, made, began = plan.todo(retry_failed), [], time.perf_counter()
    for done in _each(todo, plan.store, executor, _Job(keep, str(pack), _program(study))):
        made.append(done)
        if note is not None:
            note(done)
        if progress:
            seconds = f", {done.cost['seconds']:.0f} s" if "seconds" in done.cost else ""
            means = {w: done.measures[s]["entropy"].mean for s, w in SAID.items() if s in done.measures}
            guess = f" (a guess has {CHANCE:.2f})" * (means.get("in-domain", 0.0) >= CHANCE)
            said = done.reason or f"{', '.join(f'{w} {mean:.3f}' for w, mean in means.items())} nats{guess}"
            seconds += _left(plan, todo, made, time.perf_counter() - began, executor)
            print(f"[{len(made)}/{len(todo)}] {done.key}: {done.status}, {said}{seconds}", flush=True)
    return made


def _program(study: str | Path) -> str:
    """The Python file that workers execute; a study in TOML registers nothing."""
    if study and not Path(study).is_file():
        raise ValueError(f"study={str(study)!r}: no such file; a study's .py file is needed")
    return str(Path(study).resolve()) if study and Path(study).suffix == ".py" else ""


def _left(plan: Plan, todo: list[Recipe], made: list[Run], seconds: float, executor: Executor | None) -> str:
    """How long the rest of a sweep takes, by what the plan foresaw and what the runs so far took instead.

    Nothing is said before each worker has ended a run, nor of what is over in a moment.
    """
    ended = {run.recipe for run in made}
    rest = todo[todo.index(made[-1].recipe) + 1 :] if executor is None else [r for r in todo if r not in ended]
    times = plan.rows[["seconds", "scoring"]].sum(axis=1)  # what is unknown counts nothing
    foreseen = dict(zip(plan.recipes, times, strict=True))
    weight = (lambda recipe: foreseen[recipe]) if all(foreseen[r] > 0 for r in todo) else (lambda recipe: 1.0)
    left = seconds * sum(map(weight, rest)) / sum(map(weight, ended))
    return f"; {about(left)} left" if left >= 1 and len(ended) >= getattr(executor, "_max_workers", 1) else ""


def model_of(recipe: Recipe, store: RunStore, texts: Benchmark | None = None) -> BiEncoder:
    """Load a recipe's trained model; where the store has none, make the run and keep its model first.

    >>> import drscale as ds
    >>> from drscale.sweep import model_of
    >>> recipe, store = ds.Recipe(texts="planted", rung="L2H12", steps=100), ds.RunStore("runs")
    >>> model_of(recipe, store).encode(["open a file"]).shape  # doctest: +SKIP
    (1, 768)
    """
    run_study(plan_study([recipe], store, keep=True), keep=True)
    return load_model(recipe, store, texts)


@dataclass(frozen=True)
class _Job:
    """What holds for all runs of a sweep: whether models are kept, a pack to take texts from, a study to execute."""

    keep: bool = False
    pack: str = ""
    study: str = ""

    def submitted(self, recipe: Recipe, pool: Executor, store: RunStore) -> Any:
        place, threads = str(store.path.resolve()), pools.threads(pool)
        return pools.submit(pool, work, str(recipe), place, threads, self.keep, self.pack, self.study)


def _each(todo: Sequence[Recipe], store: RunStore, executor: Executor | None, job: _Job) -> Iterable[Run]:
    if todo:
        store.check_writable()
    store.tidy(todo)
    if executor is None:
        for recipe in todo:
            made = _shown(recipe, store, job)
            if made is not None:
                yield made
        return
    left, pool, died = dict.fromkeys(todo), executor, set[Recipe]()
    with ExitStack() as opened:
        while left:
            try:
                yield from _pooled(left, pool, store, job, died)
            except BrokenProcessPool:
                fresh = pools.like(executor)
                for recipe in list(left)[: getattr(executor, "_max_workers", 1)]:  # those that were under way
                    with pools.ending(fresh(1)) as alone:
                        made = _alone(recipe, alone, store, job)
                    del left[recipe]
                    if made is not None:
                        yield made
                pool = opened.enter_context(pools.ending(fresh()))
    store.tidy()  # a worker may have died between its record and its checkpoint's removal


def _shown(recipe: Recipe, store: RunStore, job: _Job) -> Run | None:
    with tqdm(total=recipe.steps, desc=str(recipe)[:60], unit="step", disable=None, leave=False) as bar:
        return _claimed(recipe, store, job, lambda step, values: bar.update(step - bar.n))


def _pooled(left: dict[Recipe, None], pool: Executor, store: RunStore, job: _Job, died: set[Recipe]) -> Iterable[Run]:
    """Run recipes in the workers of a pool and take each out of ``left`` when it has ended.

    One whose process died stays in there, to be submitted once more; the second time it is a failed record.
    """
    with closing(pools.answers({job.submitted(recipe, pool, store): recipe for recipe in left})) as answers:
        for recipe, made in answers:
            if made is None and recipe not in died:
                died.add(recipe)
                continue
            if made is None:
                pools.check_starts(pool)
            del left[recipe]
            if (ended := _died(recipe, store) if made is None else Run.from_json(made) if made else None) is not None:
                yield ended


def _alone(recipe: Recipe, pool: Executor, store: RunStore, job: _Job) -> Run | None:
    """Run a recipe in a process of its own: where that dies, too, the run is a failed record with the reason."""
    pools.check_starts(pool)
    try:
        made = job.submitted(recipe, pool, store).result()
        return Run.from_json(made) if made else None
    except BrokenProcessPool:
        return _died(recipe, store)


def _died(recipe: Recipe, store: RunStore) -> Run | None:
    """The failed record of a run whose process died twice; what is finished stays, and None is for what others make."""
    for seconds in (0.0, 0.1, 0.3, 1.0):  # a death may be told a moment before the system lets go of the dead's claim
        time.sleep(seconds)
        with store.claim(recipe) as mine:
            if (known := _known(recipe, store)) is not None and known.status == "done":
                return known
            if mine:
                reason = "the worker process died twice, killed or out of memory"
                store.save(failed := Run(recipe, "failed", reason, versions=versions(), commit=commit()))
                return failed
    return None


def _claimed(
    recipe: Recipe, store: RunStore, job: _Job, note: Callable[[int, dict[str, float]], Any] | None = None
) -> Run | None:
    """Make a run unless another sweep on the same store is making it (None) or has made it since (its record)."""
    with store.claim(recipe) as mine:
        if not mine:
            return None
        made = _known(recipe, store)
        if made is not None and made.status == "done" and (not job.keep or model_path(recipe, store).is_file()):
            return made
        packed = opened(job.pack) if job.pack else None
        return run_one(recipe, store, note=note, keep=job.keep, pack=packed)


def _known(recipe: Recipe, store: RunStore) -> Run | None:
    """The record of a recipe; one that cannot be read is named in a warning and counts as none."""
    try:
        return store.load(recipe)
    except (ValueError, OSError) as e:
        warnings.warn(f"made again: {e}", StoreWarning, stacklevel=2)
        return None


def work(
    recipe: str, store: str, threads: int | None = None, keep: bool = False, pack: str = "", study: str = ""
) -> str:
    """Make one run in a worker; plain strings in and out, so that any executor can carry them.

    The answer is "" where another sweep on the same store is making the run.
    """
    import torch

    pools.end_with_parent()
    with _ONE_AT_A_TIME:  # threads of one process share torch's random numbers
        before = torch.get_num_threads()
        torch.set_num_threads(threads or before)
        try:
            if study:
                execute(study)
            _check_known(asked := Recipe.parse(recipe))
            made = _claimed(asked, RunStore(store), _Job(keep, pack))
            return made.to_json() if made is not None else ""
        finally:
            torch.set_num_threads(before)


def _check_known(recipe: Recipe) -> None:
    """Refuse in a worker what its sweep's process knew: that the worker does not is no failure of the run."""
    try:
        check_names(recipe, files=False)  # a file that is gone costs its run and no other
    except ValueError as e:
        ways = "run_study(..., study='study.py'), or an executor whose initializer imports it"
        raise ValueError(f"{e}; this is in a worker process, which has to register it, too: {ways}") from None


def run_one(
    recipe: Recipe,
    store: RunStore | None = None,
    *,
    texts: Benchmark | None = None,
    note: Callable[[int, dict[str, float]], None] | None = None,
    stopped: Callable[[], bool] = lambda: False,
    looks: int = 10,
    refresh: bool = False,
    keep: bool = False,
    pack: Pack | None = None,
) -> Run:
    """Make one run: build, train, score, record. A run that is stopped leaves no record, only its checkpoint.

    ``keep`` keeps the trained model beside the record; a finished record is left as it is. ``refresh`` mines and
    attacks anew what a strategy would take from the cache. What fails on the way (out of memory, say) is a failed
    record with its reason; without a store it is raised.

    >>> import drscale as ds
    >>> recipe = ds.Recipe(texts="planted?pairs=300", rung="L2H12", start="scratch", projection=8, steps=1, batch=8)
    >>> run = ds.run_one(recipe)
    >>> print(run)
    texts=planted...: done, in domain 5.5... nats, ood 5.5... nats
    """
    if texts is None:
        texts = pack.texts(recipe) if pack is not None else texts_of(recipe.texts)
    try:
        return _make(recipe, store, texts, note, stopped, looks, refresh, keep, pack)
    except Exception as e:  # bad labels and a strategy of one's own cost their run and no other
        labels = (ValueError,) if recipe.teachers or recipe.annotation != "human" else ()
        if store is None or (recipe.strategy in BUILT_IN and not isinstance(e, (RuntimeError, MemoryError, *labels))):
            raise
        if (known := _known(recipe, store)) is not None and known.status == "done":
            raise  # a finished record stays
        reason = reason_of(e)
        kept: dict[str, Any] = {
            "versions": {**texts.versions, **versions()},
            "commit": commit(),
            "fingerprint": texts.fingerprint,
        }
        failed = Run(recipe, "failed", reason, synthetic=texts.synthetic, **kept)
        store.save(failed)
        return failed


def _make(
    recipe: Recipe,
    store: RunStore | None,
    texts: Benchmark,
    note: Callable[[int, dict[str, float]], None] | None,
    stopped: Callable[[], bool],
    looks: int,
    refresh: bool,
    keep: bool,
    pack: Pack | None,
) -> Run:
    from drscale.encoder import build
    from drscale.evaluate.entropy import NEGATIVES, NotFiniteError, mean_entropy, most_negatives, score_benchmark
    from drscale.training import loop, packed, processes
    from drscale.training.batches import tokenised
    from drscale.training.prepare import all_texts, made_ready
    from drscale.training.pretrain import begin

    check(recipe)
    for part in (texts.test, *texts.ood.values()):
        if most_negatives(part) < NEGATIVES:
            raise ValueError(f"{part.name}: too few passages to score with; {NEGATIVES} negatives are needed")
    if recipe.attacked:
        from drscale.attacks.entropy import check_probe, probe

        check_probe(texts.test, recipe.attacked, recipe.synonyms, recipe.attack)
    earlier = store.load(recipe) if store is not None and keep else None
    earlier = earlier if earlier is not None and earlier.status == "done" else None  # only its model is made again
    if earlier is not None and earlier.fingerprint != texts.fingerprint:
        raise ValueError(f"{recipe}: its record was made on other texts than {texts.name} is now")
    with processes.in_turn():
        source = pack.source(recipe) if pack is not None else annotated(texts, recipe.annotation)
    if recipe.pairs > len(source):
        raise ValueError(f"pairs={recipe.pairs}: {source.name} has {len(source)} training pairs")
    reset_peak()
    collection = trained_on(recipe, texts, source)
    words = all_texts(collection) if recipe.start == "scratch" and pack is None else None
    encoder = pack.build(recipe) if pack is not None else build(recipe, words)
    split = texts.test if recipe.select == "test" else texts.validation

    def watch(e: Any) -> float:
        try:
            return mean_entropy(e.encode, split, encode_passages=e.encode_passages)
        except NotFiniteError:
            return math.nan  # the loop ends such a run as diverged

    checkpoint = store.path / CHECKPOINTS / f"{recipe.file_stem}.safetensors" if store else None
    pairs = tokenised(encoder, collection)
    with processes.in_turn():
        begun = begin(encoder, recipe, texts.train)
        strategy = made_ready(recipe, collection, pairs, encoder, source=source, refresh=refresh, start_on=texts.train)
    mark = texts.fingerprint + ("" if source is texts.train else source.fingerprint) + strategy.mark + begun.mark
    kept: dict[str, Any] = {"checkpoint": checkpoint, "mark": mark, "strategy": strategy}
    engine = packed.engine_of(encoder, recipe)
    train = packed.train if engine == "packed" else loop.train
    went = train(encoder, pairs, recipe, watch=watch, looks=looks, note=note, stopped=stopped, **kept)
    held = {
        "trainable": sum(p.numel() for p in encoder.parameters() if p.requires_grad),
        "total": sum(p.numel() for p in encoder.parameters()) + encoder.frozen_parameters,
    }
    common: dict[str, Any] = {
        "recipe": recipe,
        "fingerprint": texts.fingerprint,
        "synthetic": texts.synthetic,
        "train_pairs": len(collection),
        "parameters": counts(encoder.shape, recipe.start, recipe.projection, recipe.towers) | held,
        "curve": went.curve,
        "omega": went.omega,
        "versions": {
            **texts.versions,
            **source.versions,
            **versions(),
            **processes.notes(engine),
            **({"pack": "MiniLM in half precision"} if pack is not None and recipe.start != "scratch" else {}),
            **strategy.notes,
            **begun.notes,
        },
        "commit": pack.head["commit"] if pack is not None else commit(),
    }
    cost = {"flops": went.flops, "tokens": went.tokens, "seconds": went.seconds, "steps_done": went.step}
    cost |= {"training_seconds": went.training_seconds} if engine == "packed" else {}
    cost |= strategy.cost | begun.cost
    if went.step < recipe.steps and not went.reason:
        return Run(status="failed", reason="stopped by hand", cost=cost, **common)
    state = processes.this_process()
    if store is not None and earlier is not None:
        if went.reason:
            raise RuntimeError(f"{recipe}: trained again for its model, {went.reason}; its record stays as it is")
        if state.is_main_process:
            keep_model(encoder, recipe, store, texts.fingerprint)
            if checkpoint is not None:
                checkpoint.unlink(missing_ok=True)
        processes.wait()
        return earlier
    if store is not None and not state.is_main_process:  # several processes train one run; one of them scores it
        processes.wait()
        made = store.load(recipe)
        if made is None:
            raise RuntimeError(f"{recipe}: the main process left no record in {store.path}")
        return made
    before, scored, probed, reason = time.perf_counter(), None, None, went.reason
    if not reason:
        try:
            scored = score_benchmark(encoder.encode, texts, encode_passages=encoder.encode_passages)
            if recipe.attacked:
                beside = (texts.train,) if recipe.corpus == "whole" else ()
                asked = texts.test, recipe.attacked, recipe.synonyms, scored.temperature
                probed = probe(encoder, *asked, beside=beside, attack=recipe.attack)
        except NotFiniteError as e:
            reason = f"diverged: {e}"
        except (RuntimeError, MemoryError, ValueError) as e:  # what was measured so far is kept
            if store is None or scored is None:
                raise
            reason = f"under attack: {reason_of(e)}"
    common["cost"] = cost | {"score_seconds": time.perf_counter() - before, "peak_mb": peak_mb()}
    common["finished"] = datetime.now(UTC).isoformat(timespec="seconds")
    if scored is not None:
        best = recipe.steps if recipe.select == "last" else went.best_step
        common |= {"measures": scored.measures, "temperature": scored.temperature, "best_step": best}
        common["versions"] |= scored.notes
    if probed is not None:
        common["measures"] |= probed.measures
        common["versions"] |= {"attack": probed.note}
    made = Run(status="failed" if reason else "done", reason=reason, **common)
    if store is not None:
        rows = [part.queries for part in (scored, probed) if part is not None]
        if keep and not reason:
            keep_model(encoder, recipe, store, texts.fingerprint)
        store.save(made, pd.concat(rows, ignore_index=True) if rows else None)
        if checkpoint is not None:
            checkpoint.unlink(missing_ok=True)
    processes.wait()
    return made
