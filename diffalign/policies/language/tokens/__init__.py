"""Turns conversations into tokens: chat template, spans, and the rules by which long texts are cut."""
