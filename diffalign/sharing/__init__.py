"""Sharing: the files that users pass on. Adapters with metadata, model cards, and writing that a kill cannot halve."""
