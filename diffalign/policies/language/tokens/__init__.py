"""Texts to tokens: chat templates, truncation, and which tokens of a response are scored."""
