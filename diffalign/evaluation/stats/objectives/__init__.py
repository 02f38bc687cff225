"""Several objectives kept apart: who dominates whom, and how good a set of trade-offs is."""
