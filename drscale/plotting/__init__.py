"""The parts that figures are made of, live figures, and export. Never imports torch."""
