"""Recipes: the schema of a YAML recipe, how it is loaded, and what its names are bound to."""
