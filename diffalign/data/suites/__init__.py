"""Prompt suites: published lists of prompts with their categories, read as published.

    read_suite("parti_prompts", "PartiPrompts.tsv")      # prompts with their category and challenge

To add a suite, write its row in the file of its medium; ``@suite:NAME:FILE`` then reads it wherever prompts are given.
"""

from diffalign.data.suites.suite import Suite, SuitePrompt, merge_categories
from diffalign.data.suites.table import SUITES, read_suite

__all__ = ["SUITES", "Suite", "SuitePrompt", "merge_categories", "read_suite"]
