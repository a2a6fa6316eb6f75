"""Vary queries (typos, synonyms, paraphrases) and measure how much a retriever loses."""
