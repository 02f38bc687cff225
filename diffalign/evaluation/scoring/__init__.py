"""Scores of samples: several scorers in one pass, batch by batch, resumable, over several processes."""
