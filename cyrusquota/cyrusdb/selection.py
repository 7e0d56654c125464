"""Select few of very many records, or fold all of them: what a caller asks for, and what it gets.

`Predicate` judges records by the thousand. A backend's fast path may ask it about any version of a
record, live or not, and about the records in any order; what it hands out must be what `selected`
makes of the plain reader, or None, which means that the plain reader has to decide.
"""

from __future__ import annotations

import itertools
from typing import Callable, Iterable, Optional, Sequence, Union

import attrs

Record = tuple[bytes, bytes]
#: Given the keys and the values of some records: the indexes of those that are wanted.
Predicate = Callable[[Sequence[bytes], Sequence[bytes]], list[int]]


@attrs.frozen
class Fold:
    """Makes pairs of bytes of the keys and values of some thousand live records.

    What the pairs mean is for the caller to say: they may be sums, or all that there is in a form
    that takes less memory. Each live record is folded once, in any process.
    """

    pairs: Callable[[Sequence[bytes], Sequence[bytes]], Iterable[Record]]


#: What is to be done with all live records.
Work = Union[Predicate, Fold]

#: Records that are judged at a time; with more, they no longer fit a processor's cache.
BATCH = 1 << 12


class FastPathUnsupported(Exception):
    """The fast path does not apply; use the plain reader."""


@attrs.frozen
class Selected:
    """How many live records there are, and those that are wanted, or what a fold made of all."""

    records: int
    kept: list[Record]


def results(work: Work, keys: Sequence[bytes], values: Sequence[bytes]) -> list[Record]:
    """Return what `work` wants or makes of live records."""
    if isinstance(work, Fold):
        return list(work.pairs(keys, values)) if keys else []
    return [(keys[index], values[index]) for index in work(keys, values)]


def everything(keys: Sequence[bytes], values: Sequence[bytes]) -> list[int]:
    """Return the index of every record."""
    return [*range(len(keys))]


def selected(records: Iterable[Record], work: Work) -> Selected:
    """Return what `work` wants or makes of `records`, the plain way."""
    count, kept = 0, list[Record]()
    iterator = iter(records)
    while True:
        batch = list(itertools.islice(iterator, BATCH))
        if not batch:
            return Selected(count, kept)
        count += len(batch)
        keys, values = zip(*batch)
        kept += results(work, keys, values)


#: Everything but what parts keys from values and lines from one another.
_TEXT = bytes(byte for byte in range(256) if byte not in b"\t\n")


def columns(data: bytes) -> Optional[tuple[list[bytes], list[bytes]]]:
    """Return the keys and the values of lines KEY TAB VALUE; None if one of the lines is none."""
    is_whole = data.endswith(b"\n")
    if not is_whole or data.translate(None, _TEXT) != b"\t\n" * data.count(b"\n"):
        return None
    fields = data.replace(b"\n", b"\t").split(b"\t")
    return fields[:-1:2], fields[1::2]


def merged(shares: Iterable[Optional[tuple[int, list[Record]]]]) -> Optional[Selected]:
    """Return the sum of what several processes counted and kept; None if one of them gave up."""
    whole = Selected(0, [])
    for share in shares:
        if share is None:
            return None
        whole = Selected(whole.records + share[0], whole.kept + share[1])
    return whole
