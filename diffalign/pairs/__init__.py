"""Pairs: where comparisons come from."""
