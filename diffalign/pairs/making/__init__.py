"""Makes pairs and ranked lists of a model's own samples, as scorers or a judge rank them."""
