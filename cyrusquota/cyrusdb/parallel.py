"""Do one piece of work on all processors, by forking, which shares what has been read so far."""

from __future__ import annotations

import marshal
import os
import sys
from typing import Callable, Optional, Sequence, TypeVar, cast

T = TypeVar("T")

_MOST_PROCESSES = 8
#: Pieces of work for each process, so that all are done at about the same time.
SHARES = 6


def processors() -> int:
    """Return how many processes can work at once; 1 where forking is not safe."""
    threading = sys.modules.get("threading")
    if threading is not None and threading.active_count() > 1:
        return 1
    try:
        return min(len(os.sched_getaffinity(0)), _MOST_PROCESSES)
    except AttributeError:
        return 1


def parallel(tasks: Sequence[Callable[[], Optional[T]]], processes: int) -> list[Optional[T]]:
    """Return what each task gives, in their order.

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
    """Return what came of the tasks that this process got hold of."""
    found: dict[int, T] = {}
    while True:
        taken = os.read(left, 1)
        if not taken:
            return found
        found[taken[0]] = tasks[taken[0]]()


def _started(tasks: Sequence[Callable[[], object]], left: int) -> tuple[int, int]:
    """Start a child that helps; return its process id, 0 for none, and where it will answer."""
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
