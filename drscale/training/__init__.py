"""Train an encoder: batches, strategies, the loop."""
