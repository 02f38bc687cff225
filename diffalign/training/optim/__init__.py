"""Optimizer, learning rate, optimizer state and moving average of the weights."""
