"""Rounds: the policy answers prompts, judges rank the answers, pairs are formed, and training goes on with them."""
