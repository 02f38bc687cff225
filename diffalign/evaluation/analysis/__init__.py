"""Analysis of comparisons that were made: judges in detail and together, several trainings, several models."""
