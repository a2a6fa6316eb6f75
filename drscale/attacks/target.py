"""The attacked encoder, the measure of similarity, and the words that matter most for a passage's score."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from drscale.attacks.substitutes import Spot
from drscale.encoder import BiEncoder, TableEmbedding, minilm
from drscale.evaluate.entropy import Encode, checked, normalised

SPACES = re.compile(r"[ \t\n\r]+")  # white space to every tokenizer
LONG = 64  # characters: longer texts, such as Chinese sentences, rarely occur again and are not cached
SLACK = 40  # characters kept beyond the part that an encoder reads, for swaps that shorten the text before


@dataclass(frozen=True)
class Target:
    """A retriever under attack: how it encodes, and the encoder itself if the attack is white-box."""

    encode_queries: Encode
    encode_passages: Encode
    encoder: BiEncoder | None = None
    tokens: Callable[[Sequence[str]], list[np.ndarray]] | None = None

    def cuts(self, passages: Sequence[str], ends: Sequence[int]) -> list[int]:
        """How many characters of each passage must be given to an encoder that reads to ``ends``, with some slack.

        The text behind is cut off at white space, where no tokenizer looks back, so that it is not tokenised again and
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
    """Token ids of passages as the encoder reads them, with the text between spaces tokenised once and cached.

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

    The vectors are the same except for rounding, and small encoders are a third faster.
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
    return normalised(minilm().encode_passages if similarity == "minilm" else similarity, "similarity")


MARGIN, CHUNK = 1.0, 64


@dataclass(frozen=True)
class Read:
    """What an encoder reads of texts: token ids of each, and the characters that each token covers."""

    ids: list[np.ndarray]
    spans: list[np.ndarray]

    @property
    def ends(self) -> list[int]:
        """The character at which reading stops."""
        return [int(s[:, 1].max(initial=0)) for s in self.spans]


def read(encoder: BiEncoder, passages: Sequence[str]) -> Read:
    """Tokenise passages as the encoder does, keeping which characters each token covers."""
    rust = encoder.tokenizer.backend_tokenizer
    rust.no_padding()
    rust.enable_truncation(encoder.lengths[1])
    encoded = rust.encode_batch(list(passages))
    spans = [np.asarray(e.offsets, dtype=np.int64).reshape(-1, 2) for e in encoded]
    return Read([np.asarray(e.ids, dtype=np.int32) for e in encoded], spans)


def gradients(
    encoder: BiEncoder, queries: np.ndarray, ids: Sequence[np.ndarray], rivals: np.ndarray | None = None
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Each passage's token embeddings and the gradient of its score with respect to them, both (tokens, width).

    ``queries`` are vectors, one a passage. With ``rivals`` (passages, k), scores of the passages at the top of the
    list, the gradient is that of minus the sum of hinges max(0, 1 - score + rival). In a bi-encoder a rival's score
    does not depend on the passage, so this is the score's gradient times the number of rivals not yet left behind by
    the margin: the order of the words is the same, and a passage that has left all behind has no gradient.
    """
    tower, device = encoder.passage_tower, encoder.device
    words = tower.body.get_input_embeddings()  # type: ignore[operator]
    was, _ = encoder.training, encoder.eval()
    order = np.argsort([len(i) for i in ids], kind="stable")
    found: list[tuple[np.ndarray, np.ndarray]] = [(np.empty(0), np.empty(0))] * len(ids)
    for at in range(0, len(order), CHUNK):
        rows = order[at : at + CHUNK]
        kept: list[Tensor] = []

        def leaf(module: object, given: object, out: Tensor, kept: list[Tensor] = kept) -> Tensor:
            kept.append(out.detach().requires_grad_())
            return kept[0]

        hook = words.register_forward_hook(leaf)
        try:
            padded, mask = _padded([ids[r] for r in rows], encoder.pad, device)
            with torch.enable_grad():
                vectors = tower(padded, mask)  # (rows, dimension)
                scores = (vectors * torch.from_numpy(queries[rows]).to(vectors)).sum(-1)
                if rivals is not None:
                    others = torch.from_numpy(rivals[rows]).to(scores)
                    scores = -torch.relu(MARGIN - scores.unsqueeze(1) + others).sum(1)
                (gradient,) = torch.autograd.grad(scores.sum(), kept[0])  # (rows, tokens, width)
        finally:
            hook.remove()
        values, slopes = kept[0].detach().float().cpu().numpy(), gradient.float().cpu().numpy()
        for i, r in enumerate(rows):
            found[r] = values[i, : len(ids[r])], slopes[i, : len(ids[r])]
    encoder.train(was)
    return found


def _padded(batch: Sequence[np.ndarray], pad: int, device: torch.device) -> tuple[Tensor, Tensor]:
    tensors = [torch.from_numpy(ids).long() for ids in batch]
    ids = torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True, padding_value=pad)
    mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(t) for t in tensors], batch_first=True)
    return ids.to(device), mask.to(device)


def tokens_of(spot: Spot, spans: np.ndarray) -> np.ndarray:
    """The tokens that cover a word."""
    return np.flatnonzero((spans[:, 0] < spot.at + len(spot.word)) & (spans[:, 1] > spot.at))


def norms(spots: Sequence[Spot], spans: np.ndarray, slopes: np.ndarray) -> np.ndarray:
    """The importance of each word: the L2 norm of the gradient over all its tokens."""
    return np.array([np.linalg.norm(slopes[tokens_of(s, spans)]) for s in spots])


def gains(
    spots: Sequence[Spot], spans: np.ndarray, values: np.ndarray, slopes: np.ndarray, means: dict[str, np.ndarray]
) -> list[np.ndarray]:
    """The first-order gain of each candidate of each word: the gradient times the change of the embeddings.

    A word of several tokens is met by the mean of its candidate's tokens, as the original attack does.
    """
    found = []
    for spot in spots:
        rows = tokens_of(spot, spans)
        now = float((slopes[rows] * values[rows]).sum())
        found.append(np.array([float(slopes[rows].sum(0) @ means[c]) - now for c in spot.candidates]))
    return found


def nearest(
    spots: Sequence[Spot],
    spans: np.ndarray,
    values: np.ndarray,
    slopes: np.ndarray,
    means: dict[str, np.ndarray],
    eps: float,
) -> list[Spot]:
    """Each word with the one candidate whose embedding is nearest, by cosine, to the word's perturbed one.

    The embeddings of all swappable words take one step of length ``eps`` along their gradient (PRADA's projected
    gradient descent has three); a word of several tokens is their mean.
    """
    rows = [tokens_of(spot, spans) for spot in spots]
    length = float(np.linalg.norm(slopes[np.unique(np.concatenate(rows))])) if rows else 0.0
    found = []
    for spot, own in zip(spots, rows, strict=True):
        if not len(own):  # behind what this encoder reads
            found.append(Spot(spot.at, spot.word, spot.candidates[:1]))
            continue
        wanted = (values[own] + eps * slopes[own] / max(length, 1e-30)).mean(0)
        table = np.stack([means[c] for c in spot.candidates])  # (candidates, width)
        cosines = table @ wanted / np.maximum(np.linalg.norm(table, axis=1), 1e-30)
        found.append(Spot(spot.at, spot.word, (spot.candidates[int(cosines.argmax())],)))
    return found


@torch.inference_mode()
def mean_embeddings(encoder: BiEncoder, words: Sequence[str]) -> dict[str, np.ndarray]:
    """The mean of the embeddings of each word's tokens, as the passage tower sees them."""
    if not words:
        return {}
    rust = encoder.tokenizer.backend_tokenizer
    rust.no_padding()
    rust.no_truncation()
    ids = [e.ids for e in rust.encode_batch(list(words), add_special_tokens=False)]
    table = encoder.passage_tower.body.get_input_embeddings()  # type: ignore[operator]
    flat = torch.tensor([i for word in ids for i in word], device=encoder.device)
    vectors = table(flat.unsqueeze(0))[0].float().cpu().numpy()  # (tokens, width)
    cuts = np.cumsum([len(word) for word in ids])[:-1]
    return {w: part.mean(0) for w, part in zip(words, np.split(vectors, cuts), strict=True)}
