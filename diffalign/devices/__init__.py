"""Devices: the bytes of weights and of free memory, the device to use, and whether it computes in bf16."""
