"""What a run prints and logs: header, progress, previews, trackers, and advice on its health."""
