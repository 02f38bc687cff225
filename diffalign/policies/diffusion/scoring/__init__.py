"""Log-probabilities of candidates under a denoiser and its reference."""
