"""Speed and memory beside a hand-written loop, as ratios of one run. Nothing here is a test."""
