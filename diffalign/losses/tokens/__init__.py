"""Losses that read the parts of a candidate: tokens of a text, positions of a latent. Their rows: :data:`TOKENS`."""

from diffalign.losses.loss import Loss
from diffalign.losses.tokens.segment_regret import SEGMENT
from diffalign.losses.tokens.sparse_po import SPARSE_PO

TOKENS: tuple[Loss, ...] = (SPARSE_PO, SEGMENT)
"""The rows of this folder, in the order of listings."""
