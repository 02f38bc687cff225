"""Frozen encoders of a diffusion model: images and prompts become cached tensors."""
