"""Compares an aligned model with its base: win rates, drift, lengths, and how the previews changed."""
