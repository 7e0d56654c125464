"""Whole processes, timed from outside and in turn, so that a busy machine is fair to all."""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from pathlib import Path
from typing import Optional, Sequence

import attrs


@attrs.frozen
class Command:
    """A command, where its output goes, and what it reads."""

    name: str
    words: Sequence[str]
    stdin: Optional[Path] = None
    one_core: bool = False


@attrs.frozen
class Run:
    """Seconds on the clock and of processor time, and the memory of the largest process, in MB."""

    wall: float
    cpu: float
    peak: float


def run(command: Command) -> Run:
    """One run. Raises where the command fails."""
    cores = {min(os.sched_getaffinity(0))} if command.one_core else os.sched_getaffinity(0)
    with open(command.stdin or os.devnull, "rb") as given:
        before = time.perf_counter()
        process = subprocess.Popen(
            command.words,
            stdin=given,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=lambda: os.sched_setaffinity(0, cores),
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - before
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command.words)}: exit status {process.returncode}")
    return Run(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1000)


def medians(commands: Sequence[Command], runs: int) -> list[Run]:
    """The median run of each command; one round of all of them goes before and does not count."""
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
