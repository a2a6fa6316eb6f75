"""Measure an encoder or any retriever: contrastive entropy and ranking metrics, per query first."""
