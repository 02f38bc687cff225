"""Rates: shares and win rates with their intervals, at equal length and style, and over several trainings."""
