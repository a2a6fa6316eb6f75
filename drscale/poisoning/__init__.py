"""Plant passages that many queries retrieve, count how often they do, and guard against them."""
