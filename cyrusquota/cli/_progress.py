"""A progress bar for those who watch: on a terminal only, and only when there is time to see it."""

from __future__ import annotations

import sys
import time
from typing import Callable, Iterable, Iterator, Optional, TypeVar

import click

_T = TypeVar("_T")

#: Seconds before it appears.
PATIENCE = 1.0
#: Items from one look at the terminal to the next.
_STEP = 500


def progress(
    items: Iterable[_T], done: Callable[[], int], expected: Optional[int] = None
) -> Iterator[_T]:
    """`items`, with a bar on standard error if they take long.

    `done` tells how many have been read by now, those that are no items included, and `expected`
    guesses how many there will be.
    """
    if not sys.stderr.isatty():
        yield from items
        return
    begun, rest = time.monotonic(), iter(items)
    for item in rest:
        yield item
        if time.monotonic() - begun > PATIENCE:
            yield from _with_bar(rest, done, expected)


def _with_bar(
    items: Iterator[_T], done: Callable[[], int], expected: Optional[int]
) -> Iterator[_T]:
    length = None if expected is None else max(1, expected)
    with click.progressbar(
        items, length=length, label="quota roots", file=sys.stderr, update_min_steps=_STEP
    ) as bar:
        for item in items:
            bar.update(done() - bar.pos)
            yield item
