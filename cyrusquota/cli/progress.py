"""A progress bar on standard error, if that is a terminal and reading takes a while."""

from __future__ import annotations

import sys
import time
from typing import Callable, Iterable, Iterator, Optional, TypeVar

import click

_T = TypeVar("_T")

#: Seconds before it appears.
PATIENCE = 1.0
#: Items between two updates.
_STEP = 500


def progress(
    items: Iterable[_T], done: Callable[[], int], expected: Optional[int] = None
) -> Iterator[_T]:
    """Yield `items`, with a bar if they take long.

    `done` returns how many were read so far, those that are not among the items included;
    `expected` is a guess of how many there will be.
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
