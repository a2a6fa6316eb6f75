"""Trained models, kept beside the records of their runs: load one again, measure it anew, add that to its record."""

from __future__ import annotations

import copy
import importlib
import inspect
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from drscale.files import write_atomic
from drscale.labels.queries import annotated
from drscale.recipe import Recipe
from drscale.runs import MODELS, Found, Run, RunStore
from drscale.texts import Benchmark, Collection, benchmark

if TYPE_CHECKING:
    from drscale.encoder import BiEncoder


def model_path(recipe: Recipe, store: RunStore) -> Path:
    """Where a store keeps the model of a recipe."""
    return store.path / MODELS / f"{recipe.file_stem}.safetensors"


def keep_model(encoder: BiEncoder, recipe: Recipe, store: RunStore, fingerprint: str) -> Path:
    """Write what was trained of an encoder, as safetensors with the recipe and the texts' fingerprint in its head.

    What a recipe alone rebuilds (the frozen table, the tokenizer) is left out.
    """
    from safetensors.torch import save

    tensors = {n: p.detach().float().cpu().contiguous() for n, p in encoder.named_parameters() if p.requires_grad}
    path = model_path(recipe, store)
    write_atomic(path, save(tensors, {"recipe": str(recipe), "fingerprint": fingerprint}))
    return path


def kept_recipes(store: RunStore) -> list[Recipe]:
    """The recipes of a store's finished runs whose models are kept beside them."""
    return [r.recipe for r in store.runs() if r.status == "done" and model_path(r.recipe, store).is_file()]


def load_model(recipe: Recipe | str, store: RunStore, texts: Benchmark | None = None) -> BiEncoder:
    """Build a recipe's encoder and put the trained weights into it; a recipe's key will do.

    ``texts`` are only needed by ``start="scratch"``, whose vocabulary is learnt from them once more.

    >>> import drscale as ds
    >>> recipe, store = ds.Recipe(texts="planted", rung="L2H12", steps=100), ds.RunStore("runs")
    >>> run = ds.run_one(recipe, store, keep=True)  # doctest: +SKIP
    >>> encoder = ds.load_model(recipe, store)  # doctest: +SKIP
    >>> encoder.encode(["open a file"]).shape  # doctest: +SKIP
    (1, 768)
    """
    from safetensors import SafetensorError, safe_open

    from drscale.encoder import build
    from drscale.training.prepare import all_texts

    recipe = Recipe.parse(recipe) if isinstance(recipe, str) else recipe
    path = model_path(recipe, store)
    if not path.is_file():
        kept = len(kept_recipes(store)) if store.path.is_dir() else 0
        raise ValueError(
            f"{path}: no trained model; `drscale sweep STUDY --keep` makes it, and kept_recipes(store) names the "
            f"{kept} that are there"
        )
    try:
        with safe_open(path, framework="pt") as f:
            marks = f.metadata() or {}
            tensors = {name: f.get_tensor(name) for name in f.keys()}  # noqa: SIM118
    except SafetensorError as e:
        raise ValueError(f"{path}: no trained model of drscale's ({e})") from None
    if marks.get("recipe") not in (str(recipe), recipe.coded):
        raise ValueError(f"{path}: the model of another recipe, {marks.get('recipe')}")
    words = None
    if recipe.start == "scratch":
        texts = texts if texts is not None else texts_of(recipe.texts)
        if texts.fingerprint != marks.get("fingerprint"):
            raise ValueError(f"{path}: trained on other texts than {texts.name} is now, so its vocabulary is lost")
        words = all_texts(trained_on(recipe, texts))
    encoder = build(recipe, words)
    weights = {n: p for n, p in encoder.named_parameters() if p.requires_grad}
    if {n: p.shape for n, p in weights.items()} != {n: t.shape for n, t in tensors.items()}:
        raise ValueError(f"{path}: the weights are not those of {recipe.rung}")
    for name, weight in weights.items():
        weight.data.copy_(tensors[name])
    return encoder.eval()


def measure(
    store: RunStore,
    recipes: Sequence[Recipe],
    name: str,
    function: Callable[[BiEncoder, Benchmark, Run], Found],
    *,
    progress: bool = True,
) -> list[Run]:
    """Measure trained models anew and add what was found to their records; hand back the records that were changed.

    ``function`` takes an encoder, its benchmark and its run so far. A record that was measured under ``name`` before is
    left alone, so an interrupted call goes on where it was.
    """
    changed = []
    for recipe in tqdm(recipes, desc=name, unit="model", disable=None if progress else True):
        run = store.load(recipe)
        if run is None or run.status != "done":
            raise ValueError(f"{recipe}: {store.path} has no finished run of it")
        if f"measured:{name}" in run.versions:
            continue
        texts = texts_of(recipe.texts)
        if texts.fingerprint != run.fingerprint:
            raise ValueError(f"{recipe}: was made on other texts than {texts.name} is now")
        found = function(load_model(recipe, store, texts), texts, run)
        changed.append(store.add(run, name, found))
    return changed


def trained_on(recipe: Recipe, texts: Benchmark, source: Collection | None = None) -> Collection:
    """The training pairs of a recipe, under its annotation: all of the benchmark's, or those that its seed draws.

    ``source`` is the annotated collection where it is at hand, as in a pack.
    """
    source = annotated(texts, recipe.annotation) if source is None else source
    return source.take(recipe.pairs, recipe.seed, whole=recipe.corpus == "whole") if recipe.pairs else source


@lru_cache(maxsize=2)
def texts_of(spec: str) -> Benchmark:
    """The benchmark a recipe names, kept in memory."""
    return benchmark(spec)


# ------------------------------------------------------------------------------------------------------------ out again


POOLINGS = {"mean": "mean", "cls": "cls", "last": "lasttoken"}  # ours, and sentence-transformers' names


def to_sentence_transformers(
    encoder: BiEncoder, folder: str | Path, *, run: Run | None = None, role: str = "query"
) -> Path:
    """Write an encoder as a sentence-transformers model, with a model card made from its run's record.

    ``SentenceTransformer(folder)`` gives the same vectors: a frozen table and its map become plain word embeddings.
    Adapters (``lora``) are added to a copy of the weights, and the encoder stays as it is. Scores are inner products.
    With two towers ``role`` ("query" or "passage") says which one is written, cut where this role's texts are. Else
    ``encode_query`` and ``encode_document`` cut as the encoder does, and ``encode`` where passages are; before version
    6 all three cut there. An instruction stands before the texts of ``encode_query``. The folder must not be there yet,
    and it is written only if what sentence-transformers loads from it has the same weights and gives the same vectors.

    >>> import drscale as ds
    >>> from drscale.models import to_sentence_transformers
    >>> path = to_sentence_transformers(ds.minilm(tokens=16), "minilm-16")  # doctest: +SKIP
    """
    path = Path(folder)
    if path.exists():
        raise ValueError(f"{path}: is there already; give a folder that is not")
    if role not in ("query", "passage"):
        raise ValueError(f"role={role!r}: allowed are 'query' and 'passage'")
    library, parts = _sentence_transformers()
    from torch import nn

    shared = encoder.query_tower is encoder.passage_tower
    tower = encoder.query_tower if role == "query" else encoder.passage_tower
    body: Any = _plain_body(tower.body)
    width = body.config.hidden_size
    with tempfile.TemporaryDirectory() as scratch:
        body.save_pretrained(scratch)
        tokenizer = copy.deepcopy(encoder.tokenizer)
        tokenizer.backend_tokenizer.no_truncation()
        tokenizer.save_pretrained(scratch)
        cut = encoder.lengths[1 if shared or role == "passage" else 0]
        apart = {"query_length": encoder.lengths[0]} if shared and _cuts_apart(parts) else {}
        asks = {"query": encoder.instruction} if encoder.instruction and (shared or role == "query") else None
        with _quiet():  # else it reports a pooler that nobody uses as missing
            modules = [parts.Transformer(scratch, max_seq_length=cut, **apart)]
        modules += [parts.Pooling(width, pooling_mode=POOLINGS[tower.pooling])]
        if isinstance(tower.projection, nn.Linear):
            size = tower.projection.out_features
            dense = parts.Dense(width, size, activation_function=nn.Identity())
            dense.linear.load_state_dict(tower.projection.state_dict())
            modules.append(dense)
        model = library.SentenceTransformer(modules=modules, device="cpu", similarity_fn_name="dot", prompts=asks)
        made = Path(scratch) / "made"
        model.save(str(made), create_model_card=False)
        del model, modules
        _check_export(library, made, body, encoder, role, path)
        (made / "README.md").write_text(
            model_card(run) + (_cut_said(encoder.lengths, bool(apart)) if shared else ""), encoding="utf-8"
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(made, path)
    return path


@contextmanager
def _quiet() -> Iterator[None]:
    """Transformers says nothing but errors."""
    from transformers.utils import logging as talk

    loud = talk.get_verbosity()
    talk.set_verbosity_error()
    try:
        yield
    finally:
        talk.set_verbosity(loud)


EXACT = (
    1e-3  # of the largest value: how far an export's vectors may lie from the encoder's, which rounding does not reach
)
PROBES = ["open a file", "Close it, and then read the 3 lines of what was written before."]


def _check_export(library: Any, made: Path, body: Any, encoder: BiEncoder, role: str, path: Path) -> None:
    """Load an export back: no weight is missing, unexpected or another, and texts have the encoder's vectors."""
    with _quiet():
        model = library.SentenceTransformer(str(made), device="cpu")
    written, loaded = (
        {name: value for name, value in part.state_dict().items() if "pooler" not in name}  # nobody uses it
        for part in (body, model[0].auto_model)
    )
    missing, unexpected = sorted(loaded.keys() - written.keys()), sorted(written.keys() - loaded.keys())
    other = [n for n in loaded if n in written and not loaded[n].equal(written[n].detach().cpu().to(loaded[n].dtype))]
    for names, said in ((missing, "missing"), (unexpected, "unknown to it"), (other, "changed")):
        if names:
            raise ValueError(
                f"{path}: not written, since transformers does not load the body's weights back as they are: "
                f"{len(names)} of {len(written)} {said}, as {names[0]}"
            )
    shared = encoder.query_tower is encoder.passage_tower
    for side, encode in (("query", model.encode_query), ("passage", model.encode_document)):
        if not shared and side != role:
            continue
        ours = encoder.encode(PROBES, side)
        apart = float(abs(encode(PROBES, show_progress_bar=False) - ours).max())
        if not apart <= EXACT * float(abs(ours).max()):
            raise ValueError(
                f"{path}: not written, since sentence-transformers gives other {side} vectors (apart by {apart:.2g})"
            )


def _cuts_apart(parts: Any) -> bool:
    """Whether sentence-transformers can cut queries elsewhere than passages, as it does since version 6."""
    return "query_length" in inspect.signature(parts.Transformer.__init__).parameters


def _cut_said(lengths: tuple[int, int], apart: bool) -> str:
    """What a card says of a model of one tower whose queries and passages were cut at different lengths."""
    queries, passages = lengths
    if queries == passages:
        return ""
    said = f"\nTraining and measuring cut queries at {queries} and passages at {passages} word pieces; "
    if apart:
        return said + f"so do `encode_query` and `encode_document`, and `encode` cuts at {passages}.\n"
    return (
        said + f"this model cuts both at {passages}. So longer queries have other vectors here, and what is measured "
        "with it may differ a little.\n"
    )


def model_card(run: Run | None = None) -> str:
    """The README of a model on the hub: how to load it and, where its run's record is given, how it was made.

    >>> from drscale.models import model_card
    >>> print(model_card().splitlines()[1])
    library_name: sentence-transformers
    """
    lines = ["---", "library_name: sentence-transformers", "pipeline_tag: sentence-similarity", "tags:", "- drscale"]
    lines += ["- sentence-transformers", "---", "", "# A dense retriever trained with drscale", ""]
    lines += ["```python", "from sentence_transformers import SentenceTransformer", ""]
    lines += ['model = SentenceTransformer("FOLDER OR HUB ID")', 'queries = model.encode_query(["a query"])']
    lines += ['passages = model.encode_document(["a passage"])', "print(queries @ passages.T)"]
    lines += ["```", "", "Scores are inner products, as in training.", ""]
    if run is None:
        return "\n".join(lines)
    recipe = run.recipe
    lines += ["## How it was made", "", f"Recipe: `{recipe}`", ""]
    if recipe.instruction:
        lines += [f"`encode_query` puts the instruction of training before each query: {recipe.instruction!r}.", ""]
    lines += [f"{run.train_pairs:,} training pairs of {recipe.texts} (fingerprint {run.fingerprint[:12]})."]
    lines += ["The texts are SYNTHETIC."] if run.synthetic else []
    counted = {k: run.parameters[k] for k in ("layers", "trainable", "total") if k in run.parameters}
    lines += [f"Parameters: {', '.join(f'{n:,} ({name})' for name, n in counted.items())}.", ""]
    lines += ["## What was measured", "", *_measured(run)]
    told = ", ".join(
        f"{name} {run.versions[name]}" for name in ("drscale", "torch", "transformers") if name in run.versions
    )
    return "\n".join([*lines, "", f"Made with {told or 'drscale'}.", ""])


# What a card says of the scopes and measures of a record, in their order; a ranking under attack stands in it once.
WHERE = {
    "in_domain": "held-out queries of the texts that the model was trained on",
    "ood": "queries of domains that it was not trained on, each domain with the same weight",
    "adversarial:alone": (
        "under attack: for each query, passages from lower in the model's own ranking (nine where there are enough) "
        "are changed so that they climb, and the right passage stands against these alone. The entropy here is the "
        "primary measure of robustness; with nine, a guess has ln 10 = 2.30"
    ),
    "adversarial:alone:clean": "the same queries and passages before the attack",
    "adversarial": "under attack: the same passages, and others of the collection up to 256 negatives in all",
    "adversarial:clean": "the same before the attack",
}
WHAT = {
    "entropy": "-log of the right passage's share of exp(score) among itself and its negatives; lower is better",
    "calibrated": "the same with scores divided by a temperature that was fitted to held-out pairs; lower is better",
    "ndcg10": "nDCG@10 of ranking the whole collection, 0 to 1; higher is better",
    "mrr10": "MRR@10 of the same ranking; higher is better",
    "recall10": "recall@10 of the same ranking; higher is better",
    "recall100": "recall@100 of the same ranking; higher is better",
    "success": "share of the attacked passages that climbed",
    "boosted": "ranks that they climbed on average",
    "top10": "share of them among the first ten afterwards",
    "top100": "share of them among the first hundred afterwards",
    "changed": "share of them that the attack changed at all",
    "words_changed": "words that it swapped in each",
    "encodings": "texts that it asked the model about for each",
    "cost100": "encodings for a climb of 100 ranks",
}


def _measured(run: Run) -> list[str]:
    """A card's table of what was measured, and what its scopes and measures are."""
    rows = [
        (scope, name, m)
        for scope in WHERE
        for name, m in run.measures.get(scope, {}).items()
        if ":alone" not in scope or name in ("entropy", "calibrated")  # the rankings are those of adversarial
    ]
    table = ["| where | what | mean | low | high | queries |", "| --- | --- | --: | --: | --: | --: |"]
    table += [f"| {scope} | {name} | {m.mean:.4f} | {m.low:.4f} | {m.high:.4f} | {m.n:,} |" for scope, name, m in rows]
    scopes, names = {scope for scope, _, _ in rows}, {name for _, name, _ in rows}
    said = [
        f"- `{word}`: {text}."
        for words, known in ((WHERE, scopes), (WHAT, names))
        for word, text in words.items()
        if word in known
    ]
    return ["Means with 95% intervals over queries; entropies in nats.", "", *table, "", *said]


def push_to_hub(folder: str | Path, repository: str, *, private: bool = True) -> str:
    """Upload a folder that :func:`to_sentence_transformers` wrote to the Hugging Face hub and hand back its address.

    >>> from drscale.models import push_to_hub
    >>> push_to_hub("minilm-16", "me/minilm-16")  # doctest: +SKIP
    'https://huggingface.co/me/minilm-16'
    """
    path = Path(folder)
    if not (path / "modules.json").is_file():
        raise ValueError(f"{path}: no folder of to_sentence_transformers")
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        address = HfApi().create_repo(repository, private=private, exist_ok=True)
        HfApi().upload_folder(repo_id=repository, folder_path=path)
    except (HfHubHTTPError, HFValidationError, OSError) as e:
        said = " ".join(str(e).split())[:300]
        raise ValueError(
            f"{repository}: not uploaded ({said}); `hf auth login` brings a token that may write"
        ) from None
    return str(address)


def _sentence_transformers() -> tuple[Any, Any]:
    try:
        import sentence_transformers
    except ModuleNotFoundError:
        raise ValueError("this needs sentence-transformers: pip install sentence-transformers") from None
    try:
        parts = importlib.import_module("sentence_transformers.sentence_transformer.modules")
    except ModuleNotFoundError:  # before version 6
        parts = importlib.import_module("sentence_transformers.models")
    return sentence_transformers, parts


def _plain_body(body: Any) -> Any:
    """The body with adapters added to its weights, and plain word embeddings in place of a frozen table and its map."""
    from drscale.encoder import TableEmbedding

    body = _merged(body)
    words = body.get_input_embeddings()
    if not isinstance(words, TableEmbedding):
        return body
    from torch import nn

    plain = copy.deepcopy(body)
    vectors = (words.table @ words.map.weight.T).detach().cpu()
    plain.set_input_embeddings(nn.Embedding.from_pretrained(vectors, padding_idx=0))
    plain.config.vocab_size = len(vectors)
    return plain


def _merged(body: Any) -> Any:
    """A copy of a body in which peft's adapters are added to the weights; the body itself where it has none."""
    adapted = [name for name, layer in body.named_modules() if hasattr(layer, "get_base_layer")]
    if not adapted:
        return body
    plain = copy.deepcopy(body)
    for name in adapted:
        layer = plain.get_submodule(name)
        layer.merge()
        parent, _, own = name.rpartition(".")
        setattr(plain.get_submodule(parent), own, layer.get_base_layer())
    if hasattr(plain, "peft_config"):
        del plain.peft_config
    return plain
