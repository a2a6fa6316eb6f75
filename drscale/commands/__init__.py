"""The verbs of the command line that an analyst needs: tables and TREC runs in, sentences, tables and figures out."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
