"""Which columns of somebody's table are size, pairs and loss: known by their names. Never imports torch."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

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

# What a name says that its column counts in, as in "Params (M)", "pairs [thousands]" and "parameters in millions".
LETTERS = {"k": 1e3, "m": 1e6, "mn": 1e6, "mio": 1e6, "b": 1e9, "bn": 1e9, "t": 1e12}
WORDS = {"thousand": 1e3, "million": 1e6, "billion": 1e9, "trillion": 1e12}
_WORD = rf"(?:{'|'.join(WORDS)})s?"
_POWER = r"1[0-5]|\d"  # no table of runs counts in units beyond 10^15
_INSIDE = rf"(?:in\s+)?({'|'.join(LETTERS)}|{_WORD}|1e(?:{_POWER})|10\^(?:{_POWER})|1,?000|1,?000,?000)"
UNIT = re.compile(rf"\s*[(\[]\s*{_INSIDE}\s*[)\]]\s*$|[\s_]+(?:in[\s_]+)?({_WORD})\s*$", flags=re.IGNORECASE)
PERHAPS = re.compile(r"(?<=[a-z])_([kmb])$", flags=re.IGNORECASE)  # params_m: millions, or the parameters of model m


def unit_of(name: str) -> tuple[str, float]:
    """The name of a column of sizes or pairs without the unit that it counts in, and that unit.

    The unit is 1 where the name says none, or is no size's and no pairs': "time (m)" may be minutes.

    >>> from drscale.stats.columns import unit_of
    >>> unit_of("Training Pairs (k)"), unit_of("params in millions"), unit_of("pairs")
    (('Training Pairs', 1000.0), ('params', 1000000.0), ('pairs', 1.0))
    """
    bare, unit = _named(name)
    return (bare, unit) if _counts(bare) else (name, 1.0)


def _named(name: str) -> tuple[str, float]:
    found = UNIT.search(name)
    if found is None:
        return name, 1.0
    word = (found[1] or found[2]).lower().replace(",", "")
    power = re.fullmatch(r"10\^(\d+)", word)
    unit = 10.0 ** int(power[1]) if power else LETTERS.get(word) or WORDS.get(word.removesuffix("s")) or float(word)
    return name[: found.start()].strip(), unit


def unit_doubt(name: str) -> str:
    """A sentence on a column whose numbers are no single things by its name, or may be none; "" for any other."""
    _, unit = unit_of(name)
    if unit != 1:
        said = f"column {name!r} counts in units of {unit:,.0f} by its name, and a plan takes them for single ones"
        return f"{said}: multiply it first, table[{name!r}] *= {unit:.0e}, and rename it"
    bare, unit = _named(name)
    if unit != 1 and bare and not OTHER_WORDS & set(re.split(r"[\W_]+", bare.lower())):
        there = f"params{name[len(bare) :]}"
        return f"column {name!r} is read as it stands; if it counts in units of {unit:,.0f}, call it {there!r}"
    perhaps = PERHAPS.search(name)
    if perhaps is None or not _counts(name[: perhaps.start()]):
        return ""
    better = f"{name[: perhaps.start()]} ({perhaps[1].upper()})"
    return (
        f"column {name!r} is read as it stands; if it counts in units of {LETTERS[perhaps[1].lower()]:,.0f}, "
        f"call it {better!r}"
    )


def in_single_units(
    table: pd.DataFrame, columns: Mapping[str, str], own: pd.DataFrame | None = None
) -> tuple[pd.DataFrame, dict[str, str], list[str]]:
    """Columns that count in thousands or millions by their names, as "pairs (k)", as single ones, and what to say.

    Such a column loses the unit from its name, too. ``columns`` says which column each x is; ``own`` marks the rows
    whose cells had a unit of their own, as 20k, and are single already. A column of text is left for others to refuse.

    >>> import pandas as pd
    >>> from drscale.stats.columns import in_single_units
    >>> table, columns, said = in_single_units(pd.DataFrame({"Pairs (k)": [2.0, 8.0]}), {"D": "Pairs (k)"})
    >>> table["Pairs"].tolist(), columns
    ([2000.0, 8000.0], {'D': 'Pairs'})
    >>> said
    ["column 'Pairs (k)' counts in units of 1,000: 2 is read as 2,000"]
    """
    said, found = list[str](), dict(columns)
    if len(set(columns.values())) < len(columns):
        return table, found, said
    for letter, name in columns.items():
        bare, unit = unit_of(name) if isinstance(name, str) and name in table else (name, 1.0)
        if unit == 1 or not pd.api.types.is_numeric_dtype(table[name]):
            continue
        bare = bare if bare not in table else f"{bare}, single"
        plain = pd.Series(True, table.index) if own is None else ~own[name]
        numbers = table[name].where(~plain, table[name] * unit)
        table = table.assign(**{name: numbers}).rename(columns={name: bare})
        found[letter] = bare
        if plain.any():
            first = numbers[plain].iloc[0]
            said.append(f"column {name!r} counts in units of {unit:,.0f}: {first / unit:g} is read as {first:,.0f}")
    return table, found, said


def _counts(name: str) -> bool:
    """Whether a column of this name holds sizes or pairs."""
    empty = pd.DataFrame(columns=[name])
    return size_of(empty) is not None or pairs_of(empty) is not None


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
    return _usual(frame, LOSSES) or _usual(frame, [f"{name}_nats" for name in LOSSES])
