"""Policies that denoise: pictures, through diffusers, judged by their errors; ``load.load_policy`` builds one."""
