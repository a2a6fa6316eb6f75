"""From a table of runs to laws, how far to trust them, budgets and frontiers. Never imports torch.

The doors are ``laws`` (fit one), ``trust`` (intervals, prediction, what was held out), ``compare`` (several laws),
``budget`` (what money buys), ``frontier`` and ``contours`` (effectiveness against robustness), ``resample`` (runs that
share their queries, compared), ``duration`` (how long to train), ``published`` and ``claims`` (the papers), ``scores``
(rows of any retriever), ``mixed``, ``margins`` and ``shares`` (how well it generalises), ``relations`` (correlations
over models). What else stands here is behind them.
"""
