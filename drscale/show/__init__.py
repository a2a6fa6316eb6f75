"""From a table or a law to a figure, a widget, a file. Never imports torch."""
