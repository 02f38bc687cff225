"""Speed and memory compared with a hand-written loop, as ratios measured in one run. These are not tests."""
