"""Measure how soon an MX's map has what Cyrus commits on several backends, and at what cost.

    sudo python3 -m bench.many --stores 4 --roots 1000000 --rate 1000 --seconds 60

Makes a quota database for each store with cyr_dbtool, and starts a Redis, a publisher for each
store, and a mirror. Then cyr_dbtool commits RATE updates a second in each store; each makes a user
full, or makes room. The latency is the time from just before that commit until the MX's map has it.
Prints a table with what is to be reached. For a try of a minute:

    sudo python3 -m bench.many --stores 2 --roots 20000 --entries 400 --rate 50 --seconds 10
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Iterator, Optional, Sequence, Union

from bench import follow, rcpt
from bench.follow import LOOK, Cyrus, Map, memory_of
from cyrusquota.engine import functions, protocol
from cyrusquota.engine.mirror import MOST
from tests.integration import cyrus, exim, redis_server
from tests.integration.exim_daemon import Daemon
from tests.integration.many_hosts import PROJECT, TIMES, Command, publisher
from tests.integration.processes import cpu_seconds
from tests.integration.redis_server import Redis

MIRRORS = 6
#: Seconds that everything may take to be in the map.
PATIENCE = 600


class Store:
    """A source whose users become full and make room; `first` is the number of the first user."""

    def __init__(self, name: str, base: Path, first: int, asked: argparse.Namespace) -> None:
        self.name = name
        self._cyrus = Cyrus(base, asked.backend)
        self._cyrus.fill(asked.roots, first)
        self.conf = self._cyrus.conf
        self._chance = random.Random(first)
        numbers = range(first, first + asked.roots)
        self._over = [number for number in numbers if not number % follow.OVER]
        self._fine = [number for number in numbers if number % follow.OVER]
        self._writer: Optional[subprocess.Popen[bytes]] = None
        self.done = 0

    def __enter__(self) -> Store:
        self._writer = self._cyrus.writer()
        return self

    def __exit__(self, *error: object) -> None:
        assert self._writer is not None and self._writer.stdin is not None
        self._writer.stdin.close()
        self._writer.wait()

    def change(self) -> tuple[bytes, bool]:
        """Let one user become full, or another make room, in turn; the user, and which."""
        is_over = not self.done % 2
        source, target = (self._fine, self._over) if is_over else (self._over, self._fine)
        at = self._chance.randrange(len(source))
        source[at], source[-1] = source[-1], source[at]
        number = source.pop()
        target.append(number)
        self.done += 1
        assert self._writer is not None and self._writer.stdin is not None
        data = follow.value(follow.used(is_over), self.done + 2)
        self._writer.stdin.write(follow.command(follow.key(number), data))
        return follow.key(number)[5:], is_over

    def flush(self) -> None:
        assert self._writer is not None and self._writer.stdin is not None
        self._writer.stdin.flush()

    @property
    def listed(self) -> int:
        return len(self._over)


class Used:
    """The processor time that processes use from now on."""

    def __init__(self, *processes: Union[Command, Redis]) -> None:
        self._processes = processes
        self._before = self._seconds()

    def _seconds(self) -> float:
        return sum(cpu_seconds(one.process.pid) for one in self._processes)

    def share(self, seconds: float) -> str:
        """Return the part of one core, if they had so many seconds of changes to deal with.

        On a busy machine they are late, so what passes on the clock says nothing.
        """
        return f"{(self._seconds() - self._before) / seconds:.1%} of a core"


def change_for(
    stores: Sequence[Store], rate: float, seconds: float
) -> Iterator[tuple[bytes, bool]]:
    """Change `rate` users a second in each store, for so long; yield them, and nobody between."""
    begun = time.monotonic()
    while (now := time.monotonic()) < begun + seconds:
        due = int((now - begun) * rate)
        for store in stores:
            while store.done < due:
                yield store.change()
            store.flush()
        time.sleep(LOOK)
        yield b"", False


def change_all(stores: Sequence[Store], rate: float, seconds: float) -> None:
    """Change users, and measure nothing."""
    for store in stores:
        store.done = 0
    for _ in change_for(stores, rate, seconds):
        pass


class Known(threading.Thread):
    """Notes when a change of a user is in the engine, as a mirror could read it."""

    def __init__(self, redis: Redis, stores: Sequence[Store]) -> None:
        super().__init__()
        from redis import Redis as Client

        self.at: dict[bytes, float] = {}
        self._client = Client(unix_socket_path=str(redis.socket))
        self._last = {protocol.keys(store.name)[2].encode(): b"$" for store in stores}
        self._ended = threading.Event()

    def run(self) -> None:
        while not self._ended.is_set():
            for stream, changes in self._client.xread(self._last, block=100):
                now = time.monotonic()
                for number, fields in changes:
                    self._last[stream] = number
                    for line in b"".join(fields.values()).splitlines():
                        self.at[line.partition(b"@")[0]] = now

    def end(self) -> None:
        self._ended.set()
        self.join()
        self._client.close()


def latencies(
    stores: Sequence[Store], place: Map, known: Known, asked: argparse.Namespace
) -> tuple[list[float], list[float]]:
    """Change users in all stores; the seconds until the engine and the map had each, in order."""
    waiting: dict[bytes, tuple[float, bool]] = {}
    engine: list[float] = []
    found: list[float] = []

    def look() -> None:
        if waiting and place.look():
            seen = time.monotonic()
            for user, (since, over) in list(waiting.items()):
                if (user in place.keys) == over:
                    found.append(seen - since)
                    # A snapshot is not in the stream.
                    if known.at.get(user, 0) > since:
                        engine.append(known.at[user] - since)
                    del waiting[user]

    for count, (user, over) in enumerate(change_for(stores, asked.rate, asked.seconds)):
        if user and user in waiting:
            # They changed back before the map had them.
            del waiting[user]
        elif user and count % asked.sample == 0:
            waiting[user] = time.monotonic(), over
        elif not user:
            look()
    deadline = time.monotonic() + PATIENCE
    while waiting and time.monotonic() < deadline:
        look()
        time.sleep(LOOK)
    assert not waiting, f"{len(waiting)} changes never reached the map"
    return sorted(engine), sorted(found)


def percentiles(
    name: str, found: Sequence[float], wanted: dict[int, str]
) -> Iterator[tuple[str, str, str]]:
    for percent in (50, 99):
        at = min(len(found) - 1, len(found) * percent // 100)
        yield f"commit to {name}, p{percent}", wanted.get(percent, ""), f"{found[at]:.2f} s"


def mirror(url: str, place: Map, stores: Sequence[Store]) -> Command:
    expected = ",".join(store.name for store in stores)
    words = ("--engine", url, "-o", str(place.path), "--max-change", "off", "--expect", expected)
    return Command("mirror", place.path.parent, *words, times=TIMES, environment=unit())


def unit() -> dict[str, str]:
    """Return the environment in which the unit starts the mirror."""
    lines = (PROJECT / "systemd/cyrusquota-mirror.service").read_text().splitlines()
    found = (line.partition("=")[2] for line in lines if line.startswith("Environment="))
    return dict(setting.split("=", 1) for setting in found)


def published(store: Store, url: str) -> Command:
    options = ("--no-mailboxes", "--max-change", "off")
    return publisher(store.conf.parent, store.conf, url, store.name, *options, times=TIMES)


def wait_for(place: Map, stores: Sequence[Store]) -> float:
    """Wait until the map has as many entries as the stores; the seconds that took."""
    begun, entries = time.monotonic(), sum(store.listed for store in stores)
    while len(place.keys) != entries:
        assert time.monotonic() < begun + PATIENCE, f"{len(place.keys)} entries, not {entries}"
        place.look()
        time.sleep(LOOK)
    return time.monotonic() - begun


def rcpt_seconds(maps: Sequence[Path]) -> list[float]:
    """Return the median time of an RCPT for an unlisted user with each map, asked in turn."""
    taken: list[list[float]] = [[] for _ in maps]
    with contextlib.ExitStack() as stack:
        daemons = [stack.enter_context(Daemon(path)) for path in maps]
        for turn in range(rcpt.ROUNDS):
            for daemon, found in zip(daemons, taken):
                found.append(rcpt.seconds(daemon.port, rcpt.unlisted(turn)))
    return [statistics.median(found) for found in taken]


def measure(base: Path, asked: argparse.Namespace) -> Iterator[tuple[str, str, str]]:
    """Yield what was measured, what is to be reached, and what was seen."""
    names = [f"be{number + 1}" for number in range(asked.stores)]
    begun = time.monotonic()
    stores = [
        Store(name, base / name, number * asked.roots, asked) for number, name in enumerate(names)
    ]
    print(f"{len(stores)} stores, made in {time.monotonic() - begun:.0f} s", flush=True)
    with contextlib.ExitStack() as stack:
        redis = stack.enter_context(Redis(functions=functions.text()))
        publishers = [stack.enter_context(published(store, redis.url)) for store in stores]
        place = Map(base / "mx" / "overquota")
        first = stack.enter_context(mirror(redis.url, place, stores))
        took = wait_for(place, stores)
        yield "entries in the map", "", f"{len(place.keys)}, {took:.1f} s after the start"
        for store in stores:
            stack.enter_context(store)
        # A mirror that has just read whole stores rests so long.
        time.sleep(MOST)
        used = Used(first), Used(*publishers), Used(redis)
        known = Known(redis, stores)
        known.start()
        stack.callback(known.end)
        engine, found = latencies(stores, place, known, asked)
        done = sum(store.done for store in stores)
        yield "changes, and how many were measured", "", f"{done}, {len(found)}"
        yield from percentiles("the engine", engine, {})
        yield from percentiles("the map of the MX", found, {50: "0.5 s", 99: "1 s"})
        by_mirror, by_publishers, by_redis = (one.share(asked.seconds) for one in used)
        yield "mirror", "15 % of a core", by_mirror
        yield "", "100 MB", f"{memory_of(first.process.pid) / 1024:.0f} MB"
        yield "publishers together", "", by_publishers
        yield "Redis with 1 mirror", "", by_redis
        yield from measure_more(base, redis, stores, asked, stack)
        still = base / "still"
        shutil.copy(place.path, still)
        alone, beside = rcpt_seconds((still, place.path))
        yield "RCPT, with a map that nobody replaces", "", f"{alone * 1e3:.2f} ms"
        yield "RCPT, with the mirror's map", "the same", f"{beside * 1e3:.2f} ms"


def measure_more(
    base: Path,
    redis: Redis,
    stores: Sequence[Store],
    asked: argparse.Namespace,
    stack: contextlib.ExitStack,
) -> Iterator[tuple[str, str, str]]:
    """Start more mirrors, and measure Redis alone, for which this machine need not be quiet."""
    places = [Map(base / f"mx{number}" / "overquota") for number in range(1, MIRRORS)]
    for place in places:
        stack.enter_context(mirror(redis.url, place, stores))
    # They are fresh sooner when they change than by their beats.
    change_all(stores, asked.rate, 3)
    for place in places:
        wait_for(place, stores)
    used = Used(redis)
    change_all(stores, asked.rate, asked.seconds / 2)
    for place in places:
        wait_for(place, stores)
    yield f"Redis with {MIRRORS} mirrors", "3 % of a core", used.share(asked.seconds / 2)


def missing() -> Optional[str]:
    return cyrus.missing() or exim.missing() or redis_server.missing()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--stores", type=int, default=4)
    parser.add_argument("--roots", type=int, default=1_000_000, help="in each store")
    parser.add_argument("--entries", type=int, default=20_000, help="of them full, in each store")
    parser.add_argument("--rate", type=float, default=1000, help="changes a second in each store")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--sample", type=int, default=10, help="measure one change in so many")
    parser.add_argument("--backend", default="twoskip")
    parser.add_argument("--directory", default="/dev/shm", help="for some hundred MB a store")
    asked = parser.parse_args()
    reason = missing()
    if reason is not None:
        sys.exit(reason)
    follow.OVER = asked.roots // asked.entries
    base = Path(tempfile.mkdtemp(prefix="cq", dir=asked.directory))
    base.chmod(0o755)
    try:
        rows = [*measure(base, asked)]
    finally:
        shutil.rmtree(base)
    print(f"\n| {os.cpu_count()} cores, load {os.getloadavg()[1]:.1f} | to be reached | seen |")
    print("| --- | ---: | ---: |")
    for row in rows:
        print("| {} | {} | {} |".format(*row))


if __name__ == "__main__":
    main()
