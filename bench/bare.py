"""Read every file of a quotalegacy tree, and do nothing else."""

from __future__ import annotations

import os
import sys


def main(base: str) -> None:
    for letter in os.listdir(base):
        for name in os.listdir(os.path.join(base, letter)):
            file = os.open(f"{base}/{letter}/{name}", os.O_RDONLY)
            os.read(file, 4096)
            os.close(file)


if __name__ == "__main__":
    main(sys.argv[1])
