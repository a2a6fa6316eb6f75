"""Bad inputs by room, made by rules, and what the package says to each of them."""
