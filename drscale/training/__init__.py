"""Train an encoder: what a batch is, and the loop."""
