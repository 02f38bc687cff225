"""Significance: paired tests, their correction for several judges, and the sizes of differences."""
