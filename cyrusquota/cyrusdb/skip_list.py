"""Look up single keys along the pointers of a skip list, as Cyrus does; few records are read.

Each record lies in the lowest list and in some of those above it, which pass over ever more records
and only save steps: the lowest list decides. So a key that is not there lies between two records
that are neighbours in it. How a record looks, and what proves it, is for the module of each format
to say; whatever is unusual is left to the plain readers, which define what is right.
"""

from __future__ import annotations

import abc
import os
from typing import AbstractSet, Any, Callable, ClassVar, Iterator, NamedTuple, Optional, TypeVar

from cyrusquota.cyrusdb.database import Unreadable, attempts, descriptor_of
from cyrusquota.cyrusdb.selection import FastPathUnsupported
from cyrusquota.errors import AnyPath

#: How often a file is tried that is written to meanwhile.
_TRIES = 20
#: More steps than a list of any size takes.
_MOST_STEPS = 10_000
#: In how many bytes a record is read, one after the other until it is whole.
_SIZES = (1 << 9, 1 << 16, 1 << 20)

T = TypeVar("T")
#: Gives what to sort a key by.
Order = Callable[[bytes], Any]
Values = dict[bytes, Optional[bytes]]


class Node(NamedTuple):
    """A record: its offset, its key, its value (None if deleted), and what follows in each list."""

    at: int
    key: bytes
    value: Optional[bytes]
    following: tuple[int, ...]


class SkipList(abc.ABC):
    """The records of an open file, as of one commit.

    The methods raise `Unreadable` where another attempt may succeed, because a writer is at work,
    and `FastPathUnsupported` where none will.
    """

    #: The orders that the keys of this format may be in.
    orders: ClassVar[tuple[Order, ...]]

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        #: Those of the orders that nothing seen contradicts; a file does not say which one it has.
        self.possible = self.orders

    @abc.abstractmethod
    def first(self) -> Node:
        """Return the record without a key that all lists start from."""

    @abc.abstractmethod
    def next(self, node: Node, level: int) -> Optional[Node]:
        """Return the record behind `node` in a list; None at its end, or where only 0 can tell."""

    @abc.abstractmethod
    def is_current(self) -> bool:
        """Return whether the file is still as it was when this was made."""

    def value(self, key: bytes) -> Optional[bytes]:
        """Return the value of `key`, or None."""
        node = self.find(key)
        return None if node is None else node.value

    def find(self, key: bytes) -> Optional[Node]:
        """Return the record of `key`, or None where it is not in the list."""
        return self.agreed(lambda order: self._find(key, order))

    def agreed(self, answer: Callable[[Order], T]) -> T:
        """Return what `answer` gives for each order that is possible after all of them were tried.

        Raises `FastPathUnsupported` where they do not agree.
        """
        answers = [(order, answer(order)) for order in self.possible]
        first, *others = (found for order, found in answers if order in self.possible)
        if any(other != first for other in others):
            raise FastPathUnsupported
        return first

    def in_order(self, key: bytes, other: bytes) -> None:
        """Rule out the orders in which `other`, which stands behind `key`, does not come behind.

        Raises `FastPathUnsupported` where none is left.
        """
        self.possible = tuple(order for order in self.possible if order(key) < order(other))
        if not self.possible:
            raise FastPathUnsupported

    def neighbours(self, key: Optional[bytes]) -> tuple[Optional[bytes], Optional[bytes]]:
        """Return the live keys before `key` (of all, if None) and from it on; None for none."""
        return self.agreed(lambda order: self._neighbours(key, order))

    def _neighbours(
        self, key: Optional[bytes], order: Order
    ) -> tuple[Optional[bytes], Optional[bytes]]:
        before, behind = self._around(key, order)
        is_first = before.at == self.first().at
        return None if is_first else before.key, None if behind is None else behind.key

    def _find(self, key: bytes, order: Order) -> Optional[Node]:
        _, behind = self._around(key, order)
        return behind if behind is not None and behind.key == key else None

    def _around(self, key: Optional[bytes], order: Order) -> tuple[Node, Optional[Node]]:
        """Return the last record whose key is less than `key`, and the next one, if there is."""
        first = node = self.first()
        wanted, steps = None if key is None else order(key), 0
        for level in reversed(range(len(first.following))):
            while (behind := self.next(node, level)) is not None:
                if node is not first:
                    self.in_order(node.key, behind.key)
                if wanted is not None and order(behind.key) >= wanted:
                    break
                steps += 1
                if len(behind.following) <= level or steps > _MOST_STEPS:
                    raise FastPathUnsupported
                node = behind
        return node, behind


def lookup(
    path: AnyPath, keys: AbstractSet[bytes], opened: Callable[[int], SkipList]
) -> Optional[Values]:
    """Return the value of each key, None where there is none, or None if the plain reader decides.

    `opened` returns the list of an open file.
    """
    try:
        descriptor = descriptor_of(path)
    except (OSError, ValueError):
        return None
    try:
        for _ in attempts(_TRIES):
            try:
                records = opened(descriptor)
                found = {key: records.value(key) for key in keys}
                if records.is_current():
                    return found
            except Unreadable:
                continue
    except (OSError, FastPathUnsupported):
        pass
    finally:
        os.close(descriptor)
    return None


def beginnings(descriptor: int, at: int, end: int) -> Iterator[bytes]:
    """Yield what is between `at` and `end`, more of it each time, for a record that starts at `at`.

    Raises `FastPathUnsupported` after the last one: records are not that long.
    """
    if at >= end:
        raise Unreadable(at, "the offset of a record")
    for size in _SIZES:
        yield os.pread(descriptor, min(size, end - at), at)
    raise FastPathUnsupported
