"""Losses on ranked lists: several candidates of one prompt, best first. One row each in :data:`LISTS`."""

from diffalign.losses.catalogue import Loss

LISTS: tuple[Loss, ...] = ()
"""The rows of this folder, in the order of listings."""
