"""Looking for few records among very many: what a caller asks for, and what comes of it.

`Picks` judges records by the thousand. A backend's fast path may ask it about any version of a
record, live or not, and about the records in any order; what it hands out must be what `sifted`
makes of the plain reader, or None, which means that the plain reader has to decide.
"""

from __future__ import annotations

import itertools
import marshal
import os
import sys
from typing import Callable, Iterable, Optional, Sequence, TypeVar, cast

import attrs

T = TypeVar("T")
Record = tuple[bytes, bytes]
#: Given the keys and the values of some records: the indexes of those that are wanted.
Picks = Callable[[Sequence[bytes], Sequence[bytes]], list[int]]

#: Records that are judged at a time.
BATCH = 1 << 13


@attrs.frozen
class Sifted:
    """How many live records there are, and those of them that are wanted."""

    records: int
    kept: list[Record]


def sifted(records: Iterable[Record], picks: Picks) -> Sifted:
    """What `picks` wants of `records`, the plain way."""
    count, kept = 0, list[Record]()
    iterator = iter(records)
    while True:
        batch = list(itertools.islice(iterator, BATCH))
        if not batch:
            return Sifted(count, kept)
        count += len(batch)
        keys, values = zip(*batch)
        kept.extend(batch[index] for index in picks(keys, values))


#: Everything but what parts keys from values and lines from one another.
_TEXT = bytes(byte for byte in range(256) if byte not in b"\t\n")


def columns(data: bytes) -> Optional[tuple[list[bytes], list[bytes]]]:
    """The keys and the values of lines KEY TAB VALUE; None if one of the lines is none."""
    is_whole = data.endswith(b"\n")
    if not is_whole or data.translate(None, _TEXT) != b"\t\n" * data.count(b"\n"):
        return None
    fields = data.replace(b"\n", b"\t").split(b"\t")
    return fields[:-1:2], fields[1::2]


def merged(shares: Iterable[Optional[tuple[int, list[Record]]]]) -> Optional[Sifted]:
    """The sum of what several processes counted and kept; None if one of them gave up."""
    whole = Sifted(0, [])
    for share in shares:
        if share is None:
            return None
        whole = Sifted(whole.records + share[0], whole.kept + share[1])
    return whole


def processors() -> int:
    """How many processes can work at once; 1 where forking is not safe."""
    threading = sys.modules.get("threading")
    if threading is not None and threading.active_count() > 1:
        return 1
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return 1


def parallel(tasks: Sequence[Callable[[], Optional[T]]]) -> list[Optional[T]]:
    """What each task gives, each but the first run in a process of its own.

    Tasks give what `marshal` can carry. One that raises, or whose process dies, gives None.
    """
    children = [_started(task) for task in tasks[1:]]
    try:
        first = tasks[0]()
    finally:
        rest = [cast("Optional[T]", _outcome(pid, pipe)) for pid, pipe in children]
    return [first, *rest]


def _started(task: Callable[[], object]) -> tuple[int, int]:
    """A child that runs `task`: its process id, and the pipe that it will answer through."""
    reading, writing = os.pipe()
    try:
        pid = os.fork()
    except OSError:
        os.close(writing)
        return 0, reading
    if pid:
        os.close(writing)
        return pid, reading
    # Nothing of the parent may run in the child: no handlers, no flushing of its buffers.
    try:
        os.close(reading)
        with open(writing, "wb") as pipe:
            pipe.write(marshal.dumps(task()))  # type: ignore[arg-type]
    finally:
        os._exit(0)


def _outcome(pid: int, pipe: int) -> object:
    with open(pipe, "rb") as answer:
        raw = answer.read()
    if pid:
        os.waitpid(pid, 0)
    try:
        return marshal.loads(raw)
    except (EOFError, ValueError, TypeError):
        return None
