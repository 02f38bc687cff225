"""A child process that prints its peak memory for a data set: ``python -m tests.data.memory PATH STEP...``."""

import random
import sys
import time
from pathlib import Path

from diffalign.data.readers import read_pairs


def peak() -> int:
    """Returns the peak memory of this process in bytes, including mapped pages of files."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("no VmHWM in /proc/self/status")


def main(path: str, steps: list[str]) -> None:
    """Reads a data set; then, by step, reads all pairs, reads some at random, checks them, or makes a pair source."""
    begin = time.perf_counter()
    dataset = read_pairs(path)
    for step in steps:
        if step == "all":
            assert sum(len(str(pair.chosen)) for pair in dataset.pairs) > 0
        elif step == "random":
            for index in random.Random(0).choices(range(len(dataset)), k=2000):
                assert dataset.pairs[index].id
        elif step == "check":
            from diffalign.data.check.run import check_pairs

            assert check_pairs(dataset).severity == "note"
        else:
            from diffalign.pairs.dataset import DatasetPairs
            from diffalign.pairs.dataset import dataset as make_source

            assert make_source(DatasetPairs(dataset.pairs)).summary()
    print(len(dataset), peak(), f"{time.perf_counter() - begin:.1f} s")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
