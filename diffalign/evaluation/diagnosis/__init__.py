"""Diagnosis: what a model says of a data set before anything is trained on it."""
