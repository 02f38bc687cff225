"""What the formats share about a single row: its cells, its turns, and the prompt that its answers have in common."""
