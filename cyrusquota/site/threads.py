"""Do many small readings at once: each waits for the disk, and the disk can serve several."""

from __future__ import annotations

import threading
from typing import Callable, Sequence, TypeVar, cast

S = TypeVar("S")
T = TypeVar("T")

#: More threads make it no faster; so few items are not worth a thread.
_THREADS = 8
_WORTH_A_THREAD = 16


def each(work: Callable[[S], T], items: Sequence[S]) -> list[T]:
    """Return what `work` makes of each item, in their order. Raises what it raises."""
    count = min(_THREADS, len(items) // _WORTH_A_THREAD)
    if count < 2:
        return list(map(work, items))
    found = cast("list[T]", [None] * len(items))
    failures: list[BaseException] = []

    def worker(first: int) -> None:
        try:
            for index in range(first, len(items), count):
                found[index] = work(items[index])
        except BaseException as error:
            failures.append(error)

    running = [threading.Thread(target=worker, args=(first,)) for first in range(count)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    if failures:
        raise failures[0]
    return found
