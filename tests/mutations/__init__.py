"""Faulty inputs by the hundred, from a seed: what a reader does with a file that no one meant to write.

Three modules make them: ``file_bytes`` from the content of a file, ``values`` from what a YAML or JSON file says, and
``folders`` from a folder of files. ``trial`` hands each to a function and counts what became of it: read, refused
in a short sentence, or a fault (another exception, a message of pages, control characters, too much time)::

    trial = try_all("recipes", load, mutated_bytes(content, 200, seed=0))
    trial.check()  # prints the count; fails with the first tracebacks
"""

from tests.mutations.file_bytes import mutated_bytes
from tests.mutations.folders import mutated_folders
from tests.mutations.trial import Trial, try_all
from tests.mutations.values import mutated_json, mutated_values, mutated_yaml

__all__ = ["Trial", "mutated_bytes", "mutated_folders", "mutated_json", "mutated_values", "mutated_yaml", "try_all"]
