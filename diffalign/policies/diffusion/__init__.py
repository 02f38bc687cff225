"""Policies that are diffusers denoisers, scored by their errors; ``load.load_policy`` builds one."""
