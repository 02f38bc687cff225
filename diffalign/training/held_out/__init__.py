"""Evaluates a policy on held-out pairs while training."""
