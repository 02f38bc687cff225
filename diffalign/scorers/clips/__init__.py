"""Scorers of clips: measures of motion and steadiness, scorers of images on every frame, learned judges of clips."""
