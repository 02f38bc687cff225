"""Sharing: adapter files with metadata, model cards, and atomic writes."""
