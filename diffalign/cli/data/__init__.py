"""Commands of `diffalign data`: check, measure, generate and transform preference data."""
