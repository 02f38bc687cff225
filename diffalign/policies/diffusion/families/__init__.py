"""Families of denoisers: what differs between Stable Diffusion, SDXL and others, one file each."""
