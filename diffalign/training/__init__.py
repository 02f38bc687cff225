"""Training: recipes, the one loop, its state on disk, and what it says about itself."""
