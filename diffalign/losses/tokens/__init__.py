"""Losses that read the parts of a candidate: tokens of a text, positions of a latent. Their rows: :data:`TOKENS`."""

from diffalign.losses.loss import Loss
from diffalign.losses.tokens.segment_regret import SEGMENT
from diffalign.losses.tokens.sparse_po import SPARSE_PO
from diffalign.losses.tokens.tdpo2 import TDPO2

TOKENS: tuple[Loss, ...] = (SPARSE_PO, TDPO2, SEGMENT)
"""The rows of this folder, in the order of listings."""
