"""A child process that says what its memory peaked at over a data set: ``python -m tests.data.memory PATH STEP...``."""

import random
import sys
import time
from pathlib import Path

from diffalign.data.readers import read_pairs


def peak() -> int:
    """Most bytes that this process has held, the mapped pages of files included."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("no VmHWM in /proc/self/status")


def main(path: str, steps: list[str]) -> None:
    """Reads; then, as asked, looks at all pairs, at some in random order, checks them, makes a data set of them."""
    begin = time.perf_counter()
    found = read_pairs(path)
    for step in steps:
        if step == "look":
            assert sum(len(str(pair.chosen)) for pair in found.pairs) > 0
        elif step == "random":
            for index in random.Random(0).choices(range(len(found)), k=2000):
                assert found.pairs[index].id
        elif step == "check":
            from diffalign.data.check.run import check_pairs

            assert check_pairs(found).severity == "note"
        else:
            from diffalign.pairs.dataset import DatasetPairs, dataset

            assert dataset(DatasetPairs(found.pairs)).summary()
    print(len(found), peak(), f"{time.perf_counter() - begin:.1f} s")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
