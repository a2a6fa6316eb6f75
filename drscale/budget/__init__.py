"""What money buys: prices, the best split of a budget, and what reaches a target. Never imports torch."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
