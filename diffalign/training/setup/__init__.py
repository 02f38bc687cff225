"""From a recipe to a run that is ready to step, in four stages: bind, open, prepare, build."""
