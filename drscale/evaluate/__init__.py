"""Measure an encoder or any retriever: contrastive entropy and ranking metrics, per query first."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
