"""Clips: videos, animated pictures and folders of frames, read by one rule and written without loss."""
