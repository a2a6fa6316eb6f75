"""Effectiveness against robustness: which runs are on the front, how surely, and its contours. Never imports torch."""
