"""From a table of runs to laws. Never imports torch."""
