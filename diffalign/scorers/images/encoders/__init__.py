"""Encoders of images and texts in one space, whichever library they come from."""
