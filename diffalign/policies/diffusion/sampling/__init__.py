"""Samples images from a denoiser: for users, and as candidates for training pairs."""
