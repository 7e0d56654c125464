"""Measure what an RCPT costs with a callout, smmapd, and a map, as docs/choosing.md has them.

`python -m bench.choosing` asks real Exim daemons about users of a real Cyrus who are not full, the
usual case, in short sessions that take turns. It prints medians of what a session takes longer than
one without a map in the same turn, and the processor time of Exim and Cyrus together.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import sys
from pathlib import Path
from typing import Iterator, NamedTuple

from bench import rcpt
from cyrusquota.maps import FORMATS, Entry
from tests.integration import cyrus, exim, recipes
from tests.integration.cyrus import Cyrus
from tests.integration.exim_daemon import VARIANTS, Daemon
from tests.integration.recipes import RECIPES, Recipe

USERS = [f"user{number:02d}" for number in range(40)]
#: Full users in the maps.
ENTRIES = 1_000
MAPS = ("lsearch", "cdb")
WAYS = {
    "callout": RECIPES["callout"],
    "smmapd": RECIPES["smmapd"],
    **{name: Recipe(VARIANTS[name]) for name in MAPS},
}
ROUNDS = 60
NONE = "none"
_TICK = os.sysconf("SC_CLK_TCK")


class Cost(NamedTuple):
    """Of one RCPT in milliseconds: elapsed, and processor time of all processes."""

    elapsed: float
    processor: float


def _processor_seconds(sessions: set[int]) -> float:
    """Return the processor time that all processes in these sessions have used."""
    ticks = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()
            if int(fields[3]) in sessions:
                # utime, stime, and those of children that have ended.
                ticks += sum(map(int, fields[11:15]))
    return ticks / _TICK


@contextlib.contextmanager
def _daemons() -> Iterator[tuple[int, dict[str, Daemon]]]:
    """Start everything; yield the session of Cyrus, and the daemons."""
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(exim.readable_directory())
        for name in MAPS:
            entries = (Entry(b"full%06d" % number, rcpt.VALUE) for number in range(ENTRIES))
            (directory / name).write_bytes(FORMATS[name].document(entries, []))
        server = stack.enter_context(Cyrus())
        installed = {name: recipes.install(server, recipe) for name, recipe in WAYS.items()}
        server.start()
        assert len(server.create_with_root(USERS, 1000)) == len(USERS)
        daemons = {NONE: stack.enter_context(Daemon(directory / "none"))}
        for name, there in installed.items():
            daemon = Daemon(directory / name, there.recipe.variant, macros=there.macros)
            daemons[name] = stack.enter_context(daemon)
        yield server.pid, daemons


def measure() -> dict[str, Cost]:
    with _daemons() as (session, daemons):
        elapsed: dict[str, list[float]] = {name: [] for name in daemons}
        used = dict.fromkeys(daemons, 0.0)
        for turn in range(ROUNDS + 1):
            for name, daemon in daemons.items():
                processes = {session, daemon.pid}
                before = _processor_seconds(processes)
                milliseconds = 1000 * rcpt.seconds(daemon.port, USERS)
                # The first turn starts processes.
                if turn:
                    elapsed[name].append(milliseconds)
                    used[name] += _processor_seconds(processes) - before
    asked = ROUNDS * len(USERS)
    return {
        name: Cost(
            statistics.median(ours - base for ours, base in zip(times, elapsed[NONE])),
            1000 * (used[name] - used[NONE]) / asked,
        )
        for name, times in elapsed.items()
        if name != NONE
    } | {NONE: Cost(statistics.median(elapsed[NONE]), 1000 * used[NONE] / asked)}


def main() -> None:
    missing = exim.missing() or cyrus.missing()
    if missing is not None:
        sys.exit(missing)
    costs = measure()
    without = costs.pop(NONE)
    print(
        f"An RCPT that asks nobody takes {without.elapsed:.2f} ms, and {without.processor:.2f} ms "
        "of processor time. Added to that:\n"
    )
    print("| | elapsed, ms | processor, ms |\n| --- | ---: | ---: |")
    for name, cost in costs.items():
        print(f"| {name} | {cost.elapsed:.2f} | {cost.processor:.2f} |")


if __name__ == "__main__":
    main()
