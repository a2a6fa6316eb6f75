"""Queries that a model or a function writes for passages: in batches, each kept in the cache, so that a killed
generation goes on where it was."""

from __future__ import annotations

import hashlib
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from tqdm import tqdm

from drscale.texts import Collection, TextsWarning
from drscale.texts.cache import cached_table, key_of

if TYPE_CHECKING:
    from torch import Tensor

# Passages, how many queries each, a seed in; so many texts for each passage out.
Generator = Callable[[Sequence[str], int, int], Sequence[Sequence[str]]]
BLOCK = 512  # passages between two writes to the cache
PROMPT = (  # for a language model; ChatGLM3's own prompt is not published with "Scaling Laws for Dense Retrieval"
    "Write one search query that this passage answers. Reply with the query alone.\n\nPassage: {passage}\n\nQuery:"
)


@dataclass(frozen=True)
class ModelGenerator:
    """Write queries with a sequence-to-sequence or a causal model of ``transformers``; made by :func:`hub_generator`.

    With ``beams=0`` queries are sampled from the ``top_k`` likeliest word pieces, as docT5query does with 10; otherwise
    the best ``count`` of so many beams are taken. ``prompt`` is what the model reads, with {passage} in it.
    """

    name: str
    model: Any = field(repr=False)
    tokenizer: Any = field(repr=False)
    causal: bool
    prompt: str = "{passage}"
    beams: int = 0
    top_k: int = 10
    temperature: float = 1.0
    passage_tokens: int = 384
    query_tokens: int = 64
    batch: int = 32

    def __post_init__(self) -> None:
        if "{passage}" not in self.prompt:
            raise ValueError(f"prompt={self.prompt!r}: must hold {{passage}}, where the passage goes")
        for name, least in {"beams": 0, "top_k": 1, "passage_tokens": 4, "query_tokens": 1, "batch": 1}.items():
            if getattr(self, name) < least:
                raise ValueError(f"{name}={getattr(self, name)}: at least {least}")
        if self.temperature <= 0:
            raise ValueError(f"temperature={self.temperature}: must be above 0")

    def __call__(self, passages: Sequence[str], count: int, seed: int) -> list[list[str]]:
        """Write ``count`` queries for each passage."""
        import torch

        if self.beams and count > self.beams:
            raise ValueError(f"count={count}: beams={self.beams} give at most as many queries")
        queries: list[list[str]] = []
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for at in range(0, len(passages), self.batch):
                queries += self._batch(passages[at : at + self.batch], count)
        return queries

    def _batch(self, passages: Sequence[str], count: int) -> list[list[str]]:
        read = [self._prompted(p) for p in self._cut(passages)]
        marked = {"add_special_tokens": not self._chats}  # a chat's template writes its own first token
        inputs = self.tokenizer(read, return_tensors="pt", padding=True, return_token_type_ids=False, **marked)
        how: dict[str, Any] = {"beams": self.beams, "top_k": self.top_k, "temperature": self.temperature}
        padding = {"pad_token_id": self.tokenizer.pad_token_id} if self.causal else {}
        made = written(
            self.model, inputs.to(self.model.device), count=count, tokens=self.query_tokens, **how, **padding
        )
        if self.causal:
            made = made[:, inputs["input_ids"].shape[1] :]  # (passages * count, new tokens): without the prompt
        texts = self.tokenizer.batch_decode(made, skip_special_tokens=True)
        texts = [_first_line(text) for text in texts] if self.causal else [text.strip() for text in texts]
        return [texts[i * count : (i + 1) * count] for i in range(len(passages))]

    def _cut(self, passages: Sequence[str]) -> list[str]:
        """Passages cut to ``passage_tokens``, so that the prompt around them stays whole."""
        ids = self.tokenizer(list(passages), add_special_tokens=False, truncation=True, max_length=self.passage_tokens)
        long = [len(row) == self.passage_tokens for row in ids["input_ids"]]
        return [
            self.tokenizer.decode(row) if cut else passage
            for row, cut, passage in zip(ids["input_ids"], long, passages, strict=True)
        ]

    @property
    def _chats(self) -> bool:
        return bool(self.causal and getattr(self.tokenizer, "chat_template", None))

    def _prompted(self, passage: str) -> str:
        text = self.prompt.replace("{passage}", passage)
        if not self._chats:
            return text
        said = [{"role": "user", "content": text}]
        return str(self.tokenizer.apply_chat_template(said, tokenize=False, add_generation_prompt=True))


def hub_generator(name: str, **options: Any) -> ModelGenerator:
    """Load a model of the hub, or of a local folder, that writes queries: doc2query's kind or a language model's.

    Whether it is a sequence-to-sequence or a causal model is read from its configuration; a causal one is asked with
    ``PROMPT``, as a chat where its tokenizer has a template. ``options`` are the fields of :class:`ModelGenerator`.
    Weights are read as safetensors alone, and code that comes with a model is never run, so a model that needs either
    has to be converted first (ChatGLM3's first release is one).

    >>> from drscale.labels import generate_queries
    >>> from drscale.labels.generate import hub_generator
    >>> writer = hub_generator("doc2query/msmarco-t5-base-v1", batch=16)  # doctest: +SKIP
    >>> generate_queries(passages, writer, count=5)  # doctest: +SKIP
    """
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

    from drscale.encoder import why_not_loaded

    own = {f for f in ModelGenerator.__dataclass_fields__ if f not in ("name", "model", "tokenizer", "causal")}
    if unknown := sorted(options.keys() - own):
        raise ValueError(
            f"{unknown[0]}={options[unknown[0]]!r}: the options of a generator are {', '.join(sorted(own))}"
        )
    try:
        config = AutoConfig.from_pretrained(name, trust_remote_code=False)
        causal = not config.is_encoder_decoder
        kind: Any = AutoModelForCausalLM if causal else AutoModelForSeq2SeqLM
        model = kind.from_pretrained(name, trust_remote_code=False, use_safetensors=True)
        tokenizer: Any = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    except (OSError, ValueError) as e:
        why = why_not_loaded(e)
        raise ValueError(
            f"generator {name!r}: {why if 'cannot be loaded' in why else f'cannot be loaded ({why})'}"
        ) from e
    if causal:
        tokenizer.padding_side = "left"
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token
        options = {"prompt": PROMPT} | options
    commit = getattr(config, "_commit_hash", None) or _state(Path(name))
    shown = {k: v for k, v in sorted(options.items()) if k != "batch"}
    label = f"{name}{f'@{commit[:12]}' if commit else ''}{shown or ''}"
    return ModelGenerator(label, model.eval(), tokenizer, causal, **options)


def _state(folder: Path) -> str:
    """What a local folder holds now, so that a model trained anew is another one; "" for a name of the hub."""
    files = sorted(p for p in folder.glob("*") if p.is_file()) if folder.is_dir() else []
    told = [(p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in files]
    return hashlib.sha256(repr(told).encode()).hexdigest() if told else ""


def written(
    model: Any,
    inputs: Mapping[str, Tensor],
    *,
    count: int,
    tokens: int,
    beams: int = 0,
    top_k: int = 10,
    temperature: float = 1.0,
    **options: Any,
) -> Tensor:
    """Token ids that a model writes for each row of ``inputs``, ``count`` each: sampled, or with beams the best."""
    import torch

    how: dict[str, Any] = {"do_sample": False, "num_beams": beams}
    if not beams:
        how = {"do_sample": True, "top_k": top_k, "temperature": temperature, "num_beams": 1}
    with torch.inference_mode():
        ids: Tensor = model.generate(**inputs, **how, num_return_sequences=count, max_new_tokens=tokens, **options)
    return ids


def _first_line(text: str) -> str:
    """The query in a language model's reply: its first line, without a label, a bullet or quotes."""
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    line = re.sub(r"^(?:[-*\u2022]|\d+[.)])\s+|^(?:search )?(?:query|question)\s*:\s*", "", line, flags=re.IGNORECASE)
    return line.strip("\"'\u201c\u201d` ")


def queries_of(
    collection: Collection,
    generator: Generator,
    count: int,
    seed: int,
    made_by: str,
    *,
    refresh: bool = False,
    progress: bool = True,
) -> Iterator[list[str]]:
    """The queries of each passage of a collection, in its order: none for an empty passage, at most ``count``.

    Blocks of passages are kept in the cache under their texts and ``made_by``; without a name nothing is kept. A
    generator that gives too few texts, or empty ones, is told on once at the end; what it gave is used.
    """
    short: list[str] = []
    starts = range(0, len(collection.passages), BLOCK)
    for start in tqdm(starts, desc="queries", unit="block", disable=None if progress else True):
        block = collection.passages.slice(start, BLOCK)
        texts, ids = block["text"].to_pylist(), block["id"].to_pylist()
        rows = [i for i, text in enumerate(texts) if text.strip()]
        queries: list[list[str]] = [[] for _ in texts]
        answers = _block([texts[i] for i in rows], generator, count, seed, made_by, refresh) if rows else []
        for i, some in zip(rows, answers, strict=True):
            queries[i] = some
        short += [name for name, some in zip(ids, queries, strict=True) if len(some) < count]
        yield from queries
    if short:
        warnings.warn(
            f"{collection.name}: {len(short):,} of {len(collection.passages):,} passages have fewer than {count} "
            f"generated queries, the first is {short[0]!r} (the generator gave too few or empty texts)",
            TextsWarning,
            stacklevel=2,
        )


class _Unusable(Exception):
    """A generator gave texts that belong to no passages."""


def _block(
    passages: list[str], generator: Generator, count: int, seed: int, made_by: str, refresh: bool
) -> list[list[str]]:
    """The queries of a block of passages, without those that are empty."""
    digest = hashlib.sha256("\0".join(passages).encode()).hexdigest()
    key = key_of("queries/1", made_by, count, seed, digest)

    def make() -> pd.DataFrame:
        own_seed = int(hashlib.sha256(f"{seed} {digest}".encode()).hexdigest()[:12], 16)
        given = generator(passages, count, own_seed)
        if len(given) != len(passages):
            raise _Unusable(f"{len(given)} lists of texts for {len(passages)} passages")
        texts = [[_one_line(t) for t in ([some] if isinstance(some, str) else some) or []][:count] for some in given]
        rows = [(row, text) for row, some in enumerate(texts) for text in some if text]
        return pd.DataFrame({"row": [r for r, _ in rows], "text": [t for _, t in rows]}).astype({"text": "str"})

    try:
        made = cached_table("queries", key, make, refresh=refresh) if made_by else make()
    except _Unusable as e:  # not kept, so the next call asks again
        warnings.warn(
            f"generator {made_by or generator}: gave {e}; their queries are left out", TextsWarning, stacklevel=3
        )
        return [[] for _ in passages]
    queries: list[list[str]] = [[] for _ in passages]
    for row, text in zip(made["row"], made["text"], strict=True):
        queries[int(row)].append(str(text))
    return queries


def _one_line(text: object) -> str:
    return " ".join(text.split()) if isinstance(text, str) else ""
