"""Devices: what fits where, which device to take, and whether it computes in bf16."""
