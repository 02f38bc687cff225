"""Statistics of comparisons: win rates with intervals, control for length, agreement with labels."""
