"""Metrics of an aligned policy that are not losses: calibration, token credit, ranking accuracy, monitors."""
