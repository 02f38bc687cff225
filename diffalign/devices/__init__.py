"""Devices: what fits where. Bytes of weights and of free memory, and which device to take."""
