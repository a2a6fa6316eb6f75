"""Fit scaling laws to a table of runs, and say how far to trust them. Never imports torch."""
