"""How good are labels from teachers? Accuracy and diversity of each teacher, of each prefix, and of their fused list.

On the training queries of `docs`, whose people's labels are held back (DRAGON's section A.2 and Table 9). The lists
come from the cache where they are; MiniLM takes a quarter of an hour of one core otherwise. Crops, generated queries
and both are those of docs-final, from the lists in build/lists, where data/scores/some_lists.py has made them; their
label is the passage that a query was made from.

    python data/scores/supervision.py
    python data/scores/some_lists.py queries; python data/scores/supervision.py made
"""

import sys
from pathlib import Path

import pandas as pd
import torch
from some_lists import EACH, part_of

from drscale.files import write_atomic
from drscale.labels import supervision_quality
from drscale.labels.queries import annotated
from drscale.texts import benchmark

TEACHERS = ("bm25", "minilm", "maxsim")
OUT = Path(__file__).with_name("supervision_quality.csv")


MADE = ("cropped", "generated", "mixture")


def of_made(texts, how):
    """The quality of the labels of queries that were made from passages, and how many relevant ones they have."""
    lists = [f"trec:build/lists/{how}-{teacher}.run" for teacher in TEACHERS]
    quality = supervision_quality(part_of(annotated(texts, how), EACH[how]), lists)
    names = dict(zip(lists, TEACHERS, strict=True))
    return quality.assign(teachers=["+".join(names[one] for one in row.split("+")) for row in quality["teachers"]])


def main(also):
    torch.set_num_threads(1)
    texts = benchmark("docs")
    parts = [supervision_quality(texts.train, TEACHERS).assign(queries_from="human")]
    if also == ["made"]:
        parts += [of_made(texts, how).assign(queries_from=how) for how in MADE]
    elif also or (OUT.is_file() and len(pd.read_csv(OUT)) > len(parts[0])):
        raise SystemExit("supervision.py: 'made' keeps the rows of queries that were made; else delete the file first")
    quality = pd.concat(parts, ignore_index=True)
    write_atomic(OUT, quality.to_csv(index=False, float_format="%.6g"))
    print(quality.to_string(index=False))


if __name__ == "__main__":
    main(sys.argv[1:])
