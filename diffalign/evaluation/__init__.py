"""Evaluation: base and aligned on the same prompts and seeds, judged, compared with intervals, and told in one page."""
