"""Which columns of somebody's table are size, pairs and loss: known by their names. Never imports torch."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

import pandas as pd

# Names that columns usually have, the first one of a table is taken; drscale's own come first.
SIZES = [
    "params_layers",
    "parameters",
    "params",
    "n_params",
    "n_parameters",
    "num_params",
    "num_parameters",
    "parameter_count",
    "non_embedding_parameters",
    "model_size",
    "n",
]
PAIRS = [
    "train_pairs",
    "pairs",
    "n_pairs",
    "num_pairs",
    "training_pairs",
    "annotations",
    "examples",
    "train_size",
    "data_size",
    "tokens",
    "d",
]
LOSSES = [
    "in_domain_entropy",
    "entropy",
    "contrastive_entropy",
    "test_loss",
    "eval_loss",
    "validation_loss",
    "val_loss",
    "loss",
]
DATA = re.compile(r"pair|data|token|example|annot|sample|quer")
# Words by which a column is known whose whole name is not usual, as "Params (M)" or "Pairs in training" ...
SIZE_WORDS = {"param", "params", "parameter", "parameters"}
PAIR_WORDS = {"pair", "pairs", "annotation", "annotations", "examples"}
# ... unless one of these is among them: then it is a rate, a price or the like.
OTHER_WORDS = {
    "per",
    "rate",
    "norm",
    "time",
    "seconds",
    "hours",
    "share",
    "ratio",
    "price",
    "cost",
    "loss",
    "test",
    "eval",
}


def _usual(frame: pd.DataFrame, names: Sequence[str], words: Collection[str] = ()) -> str | None:
    """The first column that has one of the usual names, or the only one in whose name one of the words stands."""
    own = {re.sub(r"\W+", "_", str(c)).strip("_").lower(): str(c) for c in reversed(list(frame.columns))}
    found = next((own[name] for name in names if name in own), None)
    if found is None and words:
        parts = {column: set(name.split("_")) for name, column in own.items()}
        alike = [c for c, own_words in parts.items() if own_words & set(words) and not own_words & OTHER_WORDS]
        found = alike[0] if len(alike) == 1 else None
    return found


def size_of(frame: pd.DataFrame) -> str | None:
    """The column of the model size, if its name says so."""
    return _usual(frame, SIZES, SIZE_WORDS)


def pairs_of(frame: pd.DataFrame) -> str | None:
    """The column of the training pairs, if its name says so."""
    return _usual(frame, PAIRS, PAIR_WORDS)


def loss_of(frame: pd.DataFrame) -> str | None:
    """The column of the loss, if its name is usual."""
    return _usual(frame, LOSSES)
