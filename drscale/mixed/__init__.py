"""Mixed-effects models of per-query scores: how well a retriever generalises over data sets. Never imports torch."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
