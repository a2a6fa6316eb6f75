"""How good are labels from teachers? Accuracy and diversity of each teacher, of each prefix, and of their fused list.

On the training queries of `docs`, whose people's labels are held back (DRAGON's section A.2 and Table 9). The lists
come from the cache where they are; MiniLM takes a quarter of an hour of one core otherwise.

    python data/scores/supervision.py
"""

from pathlib import Path

import torch

from drscale.files import write_atomic
from drscale.labels import supervision_quality
from drscale.texts import benchmark

TEACHERS = ("bm25", "minilm", "maxsim")
OUT = Path(__file__).with_name("supervision_quality.csv")


def main():
    torch.set_num_threads(1)
    quality = supervision_quality(benchmark("docs").train, TEACHERS)
    write_atomic(OUT, quality.to_csv(index=False, float_format="%.6g"))
    print(quality.to_string(index=False))


if __name__ == "__main__":
    main()
