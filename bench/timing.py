"""Time whole processes, in turn, so that a busy machine affects all alike."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Sequence

import attrs

#: Empties the page cache, and those of directory entries and inodes, of the whole machine.
DROP_CACHES = Path("/proc/sys/vm/drop_caches")
_ONCE = str(Path(__file__).with_name("once.py"))


@attrs.frozen
class Command:
    """A command, and its exit status; its output is discarded.

    One that `is_cold` finds no file in the page cache but those that the command `warm` reads.
    """

    name: str
    words: Sequence[str]
    one_core: bool = False
    status: int = 0
    is_cold: bool = False
    warm: Sequence[str] = ()


@attrs.frozen
class Run:
    """Elapsed seconds, seconds of processor time, and the memory of the largest process in MB."""

    wall: float
    cpu: float
    peak: float


def run(command: Command) -> Run:
    """Run a command once. Raises if it fails."""
    cores = sorted(os.sched_getaffinity(0))[: 1 if command.one_core else None]
    once = [sys.executable, "-S", _ONCE, ",".join(map(str, cores))]
    if command.is_cold:
        os.sync()
        DROP_CACHES.write_text("3")
        subprocess.run([*once, *command.warm], stdout=subprocess.DEVNULL, check=True)
    words = [*once, *command.words]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    if done.returncode != command.status:
        raise subprocess.CalledProcessError(done.returncode, words)
    wall, cpu, peak = map(float, done.stdout.split())
    return Run(wall, cpu, peak / 1000)


def medians(commands: Sequence[Command], runs: int) -> list[Run]:
    """Return the median run of each command; a first round of all does not count."""
    found: list[list[Run]] = [[] for _ in commands]
    for count in range(runs + 1):
        for command, kept in zip(commands, found):
            once = run(command)
            if count:
                kept.append(once)
    return [
        Run(*(statistics.median(values) for values in zip(*map(attrs.astuple, kept))))
        for kept in found
    ]
