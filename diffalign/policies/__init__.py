"""Policies: image, video and language models behind one seam; ``load.load_policy`` builds one from a folder."""
