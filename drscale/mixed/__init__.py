"""Mixed-effects models of per-query scores: how well a retriever generalises over data sets. Never imports torch."""
