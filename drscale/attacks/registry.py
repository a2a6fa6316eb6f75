"""The registry of attacks: by name, how passages are made to rank higher for their queries. Loads no torch itself."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import pandas as pd

from drscale.attacks.substitutes import WORD, Synonyms, synonyms

Own = Callable[[Any, Sequence[str], Sequence[str], Synonyms], Sequence[str]]
WORDS = "words"


# The registry: the model, queries, passages (one a query) and a source of substitutes in, texts out. The word swaps
# have options of their own and stand where their name says (``module:name``).
ATTACKS: dict[str, Own | str] = {WORDS: "drscale.attacks.words:attack_texts"}


def register_attack(name: str, function: Own) -> Own:
    """Add an attack of your own, for use by name in ``attack_texts``, ``attack_collection`` and a recipe's ``attack``.

    ``function(model, queries, passages, substitutes)`` gives a text for each passage, which is to rank higher for its
    query; ``model`` is what is attacked, ``substitutes.of(words)`` knows substitutes. A text that does not lift the
    score is not used: the passage then stays unchanged. Recipes with ``attack=name`` are scored by it, in any process
    that registers it. Registering a name again replaces its function; ``del ATTACKS[name]`` removes it.

    >>> import drscale as ds
    >>> def query_in_front(model, queries, passages, substitutes):
    ...     return [f"{q} {p}" for q, p in zip(queries, passages)]
    >>> attack = ds.register_attack("query_in_front", query_in_front)
    >>> str(ds.Recipe(attacked=100, attack="query_in_front"))
    'texts=docs,rung=L2H128,attacked=100,attack=query_in_front'
    >>> from drscale.attacks.registry import ATTACKS
    >>> del ATTACKS["query_in_front"]
    """
    if not isinstance(name, str) or not name.isidentifier() or name == WORDS:
        raise ValueError(f"name={name!r}: a name of your own is needed, letters, digits and _; 'words' is built in")
    if not callable(function):
        raise ValueError(
            f"function={function!r}: a function (model, queries, passages, substitutes) -> texts is needed"
        )
    ATTACKS[name] = function
    return function


def check_attack(name: str) -> None:
    """Raise a ValueError unless an attack of this name is registered here."""
    if name not in ATTACKS:
        raise ValueError(f"attack={name!r}: allowed are {', '.join(map(repr, ATTACKS))}")


def own_texts(
    name: str,
    model: Any,
    queries: Sequence[str],
    passages: Sequence[str],
    source: Synonyms | str,
    *,
    encode_passages: Any = None,
    similarity: Any | Literal["minilm"] | None = "minilm",
) -> pd.DataFrame:
    """Run a registered attack; the result has the columns of :func:`drscale.attacks.words.attack_texts`.

    ``encodings`` is missing: how often such an attack asks the model is not known, and so its cost is not either.
    """
    from drscale.attacks.target import judge, target
    from drscale.evaluate.entropy import checked

    check_attack(name)
    function = ATTACKS[name]
    if isinstance(function, str):
        raise ValueError(f"attack={name!r}: ask {function} for it")
    known = synonyms(source) if isinstance(source, str) else source
    if len(queries) != len(passages) or not len(passages):
        raise ValueError(f"attack: {len(queries)} queries and {len(passages)} passages; one query a passage is needed")
    after = list(function(model, list(queries), list(passages), known))
    if len(after) != len(passages) or not all(isinstance(t, str) and t for t in after):
        raise ValueError(f"attack={name!r}: gave {len(after)} texts for {len(passages)} passages, one each is needed")
    aim = target(model, encode_passages)
    vectors = checked(aim.encode_queries, list(queries), "encode(queries)")
    tried = [(vectors * checked(aim.encode_passages, t, "encode_passages")).sum(1) for t in (list(passages), after)]
    lifted = (tried[1] > tried[0]) & [a != b for a, b in zip(after, passages, strict=True)]
    texts = [a if up else b for a, b, up in zip(after, passages, lifted, strict=True)]
    unit, cosines = judge(similarity), [math.nan] * len(texts)
    if unit is not None:
        cosines = (unit(list(passages)) * unit(texts)).sum(1).tolist()
    rows = pd.DataFrame(
        {
            "changed": lifted,
            "words": [len(WORD.findall(p)) for p in passages],
            "words_changed": [_changed(p, t) for p, t in zip(passages, texts, strict=True)],
            "swaps": [[] for _ in texts],
            "places": [[] for _ in texts],
            "similarity": cosines,
            "score_before": tried[0],
            "score_after": [b if up else a for a, b, up in zip(*tried, lifted, strict=True)],
            "original": list(passages),
            "attacked": texts,
            "encodings": math.nan,
            **{f"step_{kind}": [[] for _ in texts] for kind in ("scores", "similarities", "encodings")},
            "source": known.source,
            "method": name,
        }
    )
    judged = "minilm" if similarity == "minilm" else "none" if similarity is None else "given"
    rows.attrs = {"attack": {"name": name}, "source": known.source, "part_of_speech": False, "similarity": judged}
    return rows


def _changed(before: str, after: str) -> int:
    """How many words are changed, added or removed."""
    old, new = WORD.findall(before), WORD.findall(after)
    parts = difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
    return sum(max(b - a, d - c) for kind, a, b, c, d in parts if kind != "equal")
