"""Measures properties of pairs under a model before it is trained on them, and the rewards of tokens afterwards."""
