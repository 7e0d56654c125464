"""A progress bar for those who watch: on a terminal only, and only when there is time to see it."""

from __future__ import annotations

import sys
import time
from typing import Iterable, Iterator, Optional, TypeVar

import click

_T = TypeVar("_T")

#: Seconds before it appears.
PATIENCE = 1.0
#: Items from one look at the terminal to the next.
_STEP = 500


def progress(items: Iterable[_T], expected: Optional[int] = None) -> Iterator[_T]:
    """`items`, with a bar on standard error if they take long; `expected` guesses how many."""
    if not sys.stderr.isatty():
        yield from items
        return
    begun, rest = time.monotonic(), iter(items)
    for number, item in enumerate(rest, 1):
        yield item
        if time.monotonic() - begun > PATIENCE:
            left = None if expected is None else max(1, expected - number)
            yield from _with_bar(rest, left)


def _with_bar(items: Iterator[_T], left: Optional[int]) -> Iterator[_T]:
    with click.progressbar(
        items, length=left, label="quota roots", file=sys.stderr, update_min_steps=_STEP
    ) as bar:
        yield from bar
