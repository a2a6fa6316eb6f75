"""Measure an encoder: contrastive entropy and ranking, per query first."""
