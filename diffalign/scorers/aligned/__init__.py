"""Scorers that aligned policies are: each rewards what it learnt to prefer."""
