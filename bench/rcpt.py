"""Measure how much longer an RCPT takes with the overquota router, for lsearch and cdb maps.

`python -m bench.rcpt` asks real Exim daemons about users who are not listed, the usual and slowest
case, in short alternating sessions. It prints the medians minus that of a daemon without a map.
"""

from __future__ import annotations

import contextlib
import statistics
import sys
import time
from pathlib import Path
from typing import Sequence

from cyrusquota.maps import FORMATS, Entry, redirect
from tests.integration import exim, smtp
from tests.integration.exim_daemon import VARIANTS, Daemon

SIZES = (100, 1_000, 10_000, 100_000)
KINDS = ("lsearch", "cdb")
ROUNDS = 40
#: Recipients in a session. Each is looked up; only the first opens the map.
RECIPIENTS = 40
VALUE = redirect.deferral("4.2.2 The user's mailbox is full. Please try re-sending later.")


def _write(directory: Path, kind: str, size: int) -> Path:
    entries = (Entry(b"user%06d" % number, VALUE) for number in range(size))
    path = directory / f"{kind}{size}"
    path.write_bytes(FORMATS[kind].document(entries, []))
    return path


def seconds(port: int, users: Sequence[str]) -> float:
    """Return the mean time of an RCPT in one session; all users are accepted."""
    with smtp.session(port) as talk:
        talk.begin()
        begun = time.perf_counter()
        for user in users:
            assert talk.rcpt(f"{user}@example.net").code == 250
        return (time.perf_counter() - begun) / len(users)


def unlisted(turn: int) -> Sequence[str]:
    """Return the recipients of a session, who were in none before."""
    return [f"nobody.{turn}.{number}" for number in range(RECIPIENTS)]


def main() -> None:
    missing = exim.missing()
    if missing is not None:
        sys.exit(missing)
    cases = [(kind, size) for size in SIZES for kind in KINDS]
    times: dict[tuple[str, int], list[float]] = {case: [] for case in [("none", 0), *cases]}
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(exim.readable_directory())
        daemons = {("none", 0): stack.enter_context(Daemon(directory / "none"))}
        for kind, size in cases:
            path = _write(directory, kind, size)
            daemons[kind, size] = stack.enter_context(Daemon(path, VARIANTS[kind]))
        for turn in range(ROUNDS):
            for case, daemon in daemons.items():
                times[case].append(seconds(daemon.port, unlisted(turn)))
    _print_table({case: 1000 * statistics.median(found) for case, found in times.items()})


def _print_table(medians: dict[tuple[str, int], float]) -> None:
    without = medians["none", 0]
    print(f"Without a map an RCPT takes {without:.2f} ms; with a map it takes this much longer:\n")
    print(f"| entries | {' | '.join(f'{kind}, ms' for kind in KINDS)} |")
    print("| ---: |" + " ---: |" * len(KINDS))
    for size in SIZES:
        added = (f"{max(medians[kind, size] - without, 0):.2f}" for kind in KINDS)
        print(f"| {size:,} | {' | '.join(added)} |")


if __name__ == "__main__":
    main()
