"""Effectiveness against robustness: runs on the front, their probability, and its contours. Never imports torch."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
