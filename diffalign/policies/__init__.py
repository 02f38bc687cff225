"""Policies: what is aligned, with its reference. ``policy`` is the seam; here lies what all kinds share.

diffusion/   denoisers of diffusers, judged by their errors at noisy latents
language/    causal language models of transformers, judged by their tokens
"""
