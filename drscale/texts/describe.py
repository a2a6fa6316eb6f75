"""Look at texts: pairs side by side, their lengths and how many words they share, as tables."""

from __future__ import annotations

import numpy as np
import pandas as pd

from drscale.texts.collection import Benchmark, Collection
from drscale.texts.near import WORD
from drscale.texts.tables import rows_at


def pair_table(collection: Collection) -> pd.DataFrame:
    """A row for each pair: id, query, passage, their words, and the share of the query's words in a passage.

    ``overlap`` counts the query's distinct words that its own passage has, ``overlap_other`` those that the passage of
    another pair has (half the collection away), which is what two texts of this domain share anyway.
    """
    queries, passages = collection.pairs
    asked, told = rows_at(collection.queries, queries), rows_at(collection.passages, passages)["text"].to_pylist()
    frame = pd.DataFrame({"id": asked["id"].to_pylist(), "query": asked["text"].to_pylist(), "passage": told})
    words = [set(WORD.findall(text.lower())) for text in frame["query"]]
    bags = [set(WORD.findall(text.lower())) for text in frame["passage"]]
    half = len(bags) // 2
    frame["query_words"] = [len(text.split()) for text in frame["query"]]
    frame["passage_words"] = [len(text.split()) for text in frame["passage"]]
    for column, others in (("overlap", bags), ("overlap_other", bags[half:] + bags[:half])):
        frame[column] = [len(w & b) / len(w) if w else np.nan for w, b in zip(words, others, strict=True)]
    return frame


def describe(benchmark: Benchmark) -> pd.DataFrame:
    """A row for each part: its scope, pairs, median words of queries and passages, mean overlaps."""
    rows = []
    for name, part in benchmark.parts().items():
        pairs = pair_table(part)
        rows.append(
            {
                "part": name.removeprefix("ood:"),
                "scope": "ood" if name.startswith("ood:") else "in_domain",
                "pairs": len(pairs),
                "query_words": pairs["query_words"].median(),
                "passage_words": pairs["passage_words"].median(),
                "overlap": pairs["overlap"].mean(),
                "overlap_other": pairs["overlap_other"].mean(),
            }
        )
    return pd.DataFrame(rows).set_index("part")
