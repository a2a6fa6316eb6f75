"""Measure the geometry of embeddings and how it goes with robustness."""
