"""Generates samples of a medium (image, video, text) and scores them."""
