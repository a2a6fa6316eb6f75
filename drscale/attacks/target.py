"""What is attacked, and what judges meaning: an encoder of ours, read inside, or any function from texts to vectors."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from drscale.encoder import BiEncoder, TableEmbedding, minilm
from drscale.evaluation.score import Encode, checked, unit

SPACES = re.compile(r"[ \t\n\r]+")  # white space to every tokenizer
LONG = 64  # characters: what is longer, as a Chinese sentence, hardly comes again and is not remembered
SLACK = 40  # characters kept behind what an encoder reads, for swaps that make the text before them shorter


@dataclass(frozen=True)
class Target:
    """A retriever under attack: how it encodes, and the encoder itself where it may be looked into."""

    encode_queries: Encode
    encode_passages: Encode
    encoder: BiEncoder | None = None
    tokens: Callable[[Sequence[str]], list[np.ndarray]] | None = None

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
        if self.encoder is None or self.tokens is None:
            return checked(self.encode_passages, [h + t for h, t in place], "encode_passages")[rows]
        ids = self.tokens([h for h, _ in place])
        if any(tail and len(ids[i]) < self.encoder.lengths[1] for i, (_, tail) in enumerate(place)):
            ids = self.tokens([h + t for h, t in place])
        return _encode(self.encoder, ids)[rows]


@torch.inference_mode()
def _encode(encoder: BiEncoder, ids: list[np.ndarray]) -> np.ndarray:
    """Passages' vectors from their token ids; on a CPU in pieces that stay in its cache."""
    was, _ = encoder.training, encoder.eval()
    piece = 2048 if encoder.device.type == "cpu" else 1 << 17
    order = np.argsort([len(i) for i in ids], kind="stable")
    out = np.empty((0, 0), dtype=np.float32)
    for at in range(0, len(ids), 4096):
        rows = order[at : at + 4096]
        vectors = encoder.encode_tokens([ids[r] for r in rows], "passage", piece).float().cpu().numpy()
        out = out if len(out) else np.empty((len(ids), vectors.shape[1]), dtype=np.float32)
        out[rows] = vectors
    encoder.train(was)
    return out


class Tokens:
    """Token ids of passages as the encoder reads them, with what stands between spaces tokenised once and remembered.

    An attack asks for thousands of texts that differ in a word. Only BERT's word pieces are known to be the same
    whether a word stands alone or in a text; any other tokenizer is given the whole text.
    """

    def __init__(self, encoder: BiEncoder) -> None:
        self.encoder = encoder
        self.known: dict[str, list[int]] = {}
        rust = encoder.tokenizer.backend_tokenizer
        kinds = type(rust.pre_tokenizer).__name__, type(rust.model).__name__
        ends = rust.encode("").ids
        self.ends = ends if kinds == ("BertPreTokenizer", "WordPiece") and len(ends) == 2 else None

    def __call__(self, texts: Sequence[str]) -> list[np.ndarray]:
        if self.ends is None:
            tokens = self.encoder.tokens(texts, "passage")
            return tokens.rows(np.arange(len(tokens)))
        parts = [SPACES.split(text) for text in texts]
        fresh = list({part for row in parts for part in row} - self.known.keys())
        rust, room = self.encoder.tokenizer.backend_tokenizer, self.encoder.lengths[1] - 2
        rust.no_padding()
        rust.no_truncation()
        encoded = rust.encode_batch_fast(fresh, add_special_tokens=False)
        now = {part: e.ids for part, e in zip(fresh, encoded, strict=True)}
        self.known |= {part: ids for part, ids in now.items() if len(part) <= LONG}
        first, last = self.ends
        found = []
        for row in parts:
            ids: list[int] = []
            for part in row:
                ids += now[part] if part in now else self.known[part]
                if len(ids) >= room:
                    break
            found.append(np.array([first, *ids[:room], last], dtype=np.int32))
        return found


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
        return Target(model.encode, model.encode_passages, model, Tokens(model))
    if not callable(model):
        raise ValueError(f"model={type(model).__name__}: a BiEncoder or a function from texts to vectors is needed")
    return Target(model, encode_passages or model)


def judge(similarity: Encode | Literal["minilm"] | None) -> Callable[[list[str]], np.ndarray] | None:
    """A function from texts to vectors of length 1, so that products are cosines; None stays None."""
    if similarity is None:
        return None
    return unit(minilm().encode_passages if similarity == "minilm" else similarity, "similarity")
