"""Scorers of texts."""
