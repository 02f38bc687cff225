"""Policies: the models that are aligned, with their references. ``policy`` is the interface; the rest is shared.

diffusion/   denoisers of diffusers, with log-probabilities from errors at noisy latents
language/    causal language models of transformers, with log-probabilities of tokens
"""
