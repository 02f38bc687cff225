"""``python -m diffalign`` and ``accelerate launch -m diffalign``."""

from diffalign.cli import main

main()
