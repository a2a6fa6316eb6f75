"""Vary queries (typos, synonyms, paraphrases) and measure how much a retriever loses."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
