"""Attack a retriever: words of passages swapped for synonyms, and what that does to ranks and to entropy."""
