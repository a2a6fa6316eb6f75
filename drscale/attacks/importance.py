"""Which words of a passage its score hangs on: gradients with respect to the embeddings of its tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from drscale.attacks.spots import Spot
from drscale.encoder import BiEncoder

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
