"""Policies that denoise: images, through diffusers, judged by their errors; ``load.load_policy`` builds one."""
