"""Games between policies on a few answers, small enough that every update is exact."""
