"""The plan of a run's memory: what each stage needs, whether it fits, and what to change so that it does."""
