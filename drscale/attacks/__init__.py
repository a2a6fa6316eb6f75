"""Swap words of passages for synonyms, and measure what that does to ranks and to entropy."""
