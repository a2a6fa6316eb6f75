"""Swap words of passages for synonyms, and measure what that does to ranks and to entropy."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
