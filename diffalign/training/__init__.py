"""Training: recipes, the loop, its state on disk, and its reports."""
