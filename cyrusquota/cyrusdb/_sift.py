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

_MOST_PROCESSES = 8
#: Pieces of work for each process, so that all are done at about the same time.
SHARES = 6
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
        return min(len(os.sched_getaffinity(0)), _MOST_PROCESSES)
    except AttributeError:
        return 1


def parallel(tasks: Sequence[Callable[[], Optional[T]]], processes: int) -> list[Optional[T]]:
    """What each task gives, in their order.

    Each of the processes, of which this is one, takes the next task that nobody has taken, so that
    none waits for another for long. Tasks give what `marshal` can carry. Those of a process that
    dies give None.
    """
    left, giving = os.pipe()
    # Far less than a pipe holds.
    os.write(giving, bytes(range(len(tasks))))
    os.close(giving)
    children = [_started(tasks, left) for _ in range(min(processes, len(tasks)) - 1)]
    try:
        done = _done(tasks, left)
    finally:
        os.close(left)
        others = [_outcome(pid, pipe) for pid, pipe in children]
    for other in others:
        done.update(cast("dict[int, Optional[T]]", other))
    return [done.get(index) for index in range(len(tasks))]


def _done(tasks: Sequence[Callable[[], T]], left: int) -> dict[int, T]:
    """What came of the tasks that this process got hold of."""
    found: dict[int, T] = {}
    while True:
        taken = os.read(left, 1)
        if not taken:
            return found
        found[taken[0]] = tasks[taken[0]]()


def _started(tasks: Sequence[Callable[[], object]], left: int) -> tuple[int, int]:
    """A child that helps: its process id, 0 if there is none, and where it will answer."""
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
            pipe.write(marshal.dumps(_done(tasks, left)))
    finally:
        os._exit(0)


def _outcome(pid: int, pipe: int) -> dict[int, object]:
    with open(pipe, "rb") as answer:
        raw = answer.read()
    if pid:
        os.waitpid(pid, 0)
    try:
        return cast("dict[int, object]", marshal.loads(raw))
    except (EOFError, ValueError, TypeError):
        return {}
