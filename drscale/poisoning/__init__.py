"""Plant passages that many queries retrieve, count how often they do, and guard against them."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
