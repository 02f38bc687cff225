"""Losses that look at the parts of a candidate: tokens of a text, positions of a latent. One row each in
:data:`TOKENS`."""

from diffalign.losses.catalogue import Loss

TOKENS: tuple[Loss, ...] = ()
"""The rows of this folder, in the order of listings."""
