"""Generates answers: token by token, or by beam search over implicit rewards."""
