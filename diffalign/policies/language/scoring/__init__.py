"""Log-probabilities of answers under a language model and its reference."""
