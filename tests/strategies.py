"""A synthetic study with strategies, for the figures that set them side by side."""

from __future__ import annotations

import numpy as np
import pandas as pd

from drscale.laws import fit as laws

# Strategy and share: how much better the geometric mean of both losses is, and how far it leans to effectiveness.
TRAITS = {
    ("standard", 1.0): (0.00, 0.40),
    ("hard_negatives", 0.75): (0.07, 0.30),
    ("hard_negatives", 0.5): (0.09, 0.20),
    ("denoising", 0.75): (0.10, 0.05),
    ("denoising", 0.5): (0.08, -0.10),
    ("adversarial", 0.75): (0.06, -0.20),
    ("adversarial", 0.5): (-0.02, -0.40),
}


def strategy_table(noise: float = 0.01, seeds: int = 2, seed: int = 0) -> pd.DataFrame:
    """Runs of seven strategies on a cross of sizes and data sizes; synthetic, and marked as such."""
    rng, rows = np.random.default_rng(seed), []
    for (strategy, share), (better, lean) in TRAITS.items():
        cross = [(w, 16000) for w in (32, 64, 128, 256)] + [(96, d) for d in (1000, 2000, 4000, 8000, 16000)]
        for width, pairs in cross:
            n = 2 * (12 * width**2 + 13 * width)
            level = laws.joint_law(n, pairs, M=3e4, mu=0.4, B=2e3, eta=0.7, delta=0.8) * np.exp(-better)
            for i in range(seeds):
                clean, robust = level * np.exp(np.array([-lean, lean]) / 2 + noise * rng.standard_normal(2))
                row = {"rung": f"L2H{width}", "params_layers": n, "train_pairs": pairs, "strategy": strategy}
                row |= {"share": share, "seed": i, "in_domain_entropy": clean, "ood_entropy": 1.5 * robust}
                for c in ("in_domain_entropy", "ood_entropy"):
                    row |= {f"{c}_low": 0.98 * row[c], f"{c}_high": 1.02 * row[c]}
                rows.append(row | {"synthetic": True})
    return pd.DataFrame(rows)
