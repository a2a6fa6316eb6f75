"""What money buys: prices, the best split of a budget, and what reaches a target. Never imports torch."""
