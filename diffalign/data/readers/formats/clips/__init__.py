"""Published formats of video preferences, one file each."""
