"""Add up all figures of all quota roots, as a program that uses the library does."""

from __future__ import annotations

import sys

import cyrusquota


def main(path: str) -> None:
    total = 0
    for root in cyrusquota.read(path):
        total += root.storage.used + (root.storage.limit or 0)
        total += root.message.used + (root.message.limit or 0)
        total += root.annotation_storage.used + (root.annotation_storage.limit or 0)
        total += root.mailbox.used + (root.mailbox.limit or 0)
    print(total)


if __name__ == "__main__":
    main(sys.argv[1])
