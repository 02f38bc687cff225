"""Compares an aligned model with its base: win rates, drift, lengths, and the scores of the previews of a run."""
