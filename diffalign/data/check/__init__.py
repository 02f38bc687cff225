"""Checks a data set before training: ties, duplicates, unreadable files, leaks, and what will be dropped and why."""
