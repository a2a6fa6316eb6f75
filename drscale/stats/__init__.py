"""Checked columns of tables, bootstraps and correlations. Never imports torch."""
