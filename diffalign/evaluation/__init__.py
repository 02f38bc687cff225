"""Compares an aligned model with its base on the same prompts and seeds, and reports the result on one page."""
