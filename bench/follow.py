#!/usr/bin/env python3
"""Measure how soon the map has a change after Cyrus commits it, and at what cost.

    sudo python3 -m bench.follow --roots 1000000 --rate 1000 --seconds 60

Makes a quota database with cyr_dbtool, starts `cyrusquota-export --follow`, and lets cyr_dbtool
commit RATE updates a second, each in its own transaction. Most change no verdict; with a few each
second a user becomes full or not full any more. The latency is the time from just before that
commit until the map has the change. Prints percentiles, the fraction of one core that the follower
used, and its memory at the beginning and the end.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Iterator

from tests.integration.processes import cpu_seconds

PROJECT = Path(__file__).resolve().parents[1]
TOOL = "/usr/lib/cyrus/bin/cyr_dbtool"
CONF = """\
configdirectory: {base}/lib
proc_path: {base}/proc
mboxname_lockpath: {base}/lock
defaultpartition: default
partition-default: {base}/spool
unixhierarchysep: no
quota_db: {backend}
"""
LIMIT = 1 << 20
#: What a cyrus.header begins with.
HEADER = b"\xa1\x02\x8b\x0dCyrus mailbox header\nsecond line\n\tthird line\n"
#: Seconds between two checks of the map.
LOOK = 0.002
#: One in so many users is over at the beginning.
OVER = 50


def value(used: int, modseq: int) -> bytes:
    return b"%%(S (%d %d) M (3) AS (0) NF (2) MODSEQ %d)" % (used, LIMIT, modseq)


def command(key: bytes, data: bytes) -> bytes:
    return b"SET {%d+}\r\n%b {%d+}\r\n%b\n" % (len(key), key, len(data), data)


def key(number: int) -> bytes:
    return b"user.u%07d" % number


def used(is_over: bool, more: int = 0) -> int:
    return LIMIT * 1024 + 1 + more if is_over else LIMIT * 512 + more


class Cyrus:
    """A database that cyr_dbtool writes."""

    def __init__(self, base: Path, backend: str) -> None:
        for name in ("lib/db", "lock", "proc", "spool"):
            (base / name).mkdir(parents=True)
        self.conf = base / "imapd.conf"
        self.conf.write_text(CONF.format(base=base, backend=backend))
        stamp = int(time.time()) - 1000
        (base / "lib/db/skipstamp").write_bytes(stamp.to_bytes(4, "big"))
        subprocess.run(["chown", "-R", "cyrus:mail", base], check=True)
        self.path = base / "lib/quotas.db"
        self._command = [TOOL, "-C", str(self.conf), "-n", str(self.path), backend, "batch"]
        self._has_transactions = backend != "quotalegacy"

    def fill(self, roots: int, first: int = 0) -> None:
        """Give as many users a root, from the number `first` on; one in `OVER` is over."""
        with subprocess.Popen(self._command, stdin=subprocess.PIPE) as tool:
            assert tool.stdin is not None
            tool.stdin.write(b"BEGIN\n" if self._has_transactions else b"")
            for number in range(first, first + roots):
                tool.stdin.write(command(key(number), value(used(not number % OVER), 1)))
            tool.stdin.write(b"COMMIT\n" if self._has_transactions else b"")
        assert tool.returncode == 0

    def fill_mailboxes(self, roots: int) -> None:
        """Give each user an INBOX, and a header that names their root."""
        tool = [TOOL, "-C", str(self.conf), "-n", str(self.path.with_name("mailboxes.db"))]
        rows = b"".join(command(key(number), b"0 default u\tlrs\t") for number in range(roots))
        batch = b"BEGIN\n%bCOMMIT\n" % rows
        subprocess.run([*tool, "twoskip", "batch"], input=batch, check=True)
        for number in range(roots):
            name = key(number)
            directory = self.conf.parent / "spool" / name.decode().replace(".", "/")
            directory.mkdir(parents=True)
            (directory / "cyrus.header").write_bytes(HEADER + name + b"\tid\n")

    def writer(self) -> subprocess.Popen[bytes]:
        """Start a cyr_dbtool that commits each line separately."""
        return subprocess.Popen(self._command, stdin=subprocess.PIPE, stderr=subprocess.PIPE)


def follow(conf: Path, output: Path, *, with_headers: bool) -> subprocess.Popen[bytes]:
    words = ["-m", "cyrusquota.cli.export", "-C", str(conf), "--follow"]
    words += ["--max-change", "off", "-o", str(output)]
    words += [] if with_headers else ["--no-mailboxes"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(PROJECT), *sys.path[1:]))}
    return subprocess.Popen([sys.executable, *words], env=environment)


def memory_of(process: int) -> int:
    """Return the resident memory of a process, in KiB."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * resource.getpagesize() >> 10


class Map:
    """The map in place, and its keys."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen = (0, 0)
        self.keys: set[bytes] = set()

    def look(self) -> bool:
        """Read the map if there is a new one, and return whether there was."""
        try:
            status = os.stat(self.path)
        except FileNotFoundError:
            return False
        if (status.st_ino, status.st_ctime_ns) == self._seen:
            return False
        self._seen = status.st_ino, status.st_ctime_ns
        lines = self.path.read_bytes().splitlines()
        self.keys = {line.partition(b":")[0] for line in lines if not line.startswith(b"#")}
        return True


def updates(roots: int, crossing: int) -> Iterator[tuple[int, bool, bool]]:
    """Yield a user, whether they are over after the update, and whether that changed."""
    is_over = set(range(0, roots, OVER))
    chance = random.Random(1)
    for count in range(1 << 62):
        number = chance.randrange(roots)
        crosses = count % crossing == 0
        if crosses:
            # As many users become full as stop being full, so the map keeps its size.
            wanted = bool(count // crossing % 2)
            while (number in is_over) is not wanted:
                number = chance.randrange(roots)
            is_over ^= {number}
        yield number, number in is_over, crosses


def measure(cyrus: Cyrus, asked: argparse.Namespace, output: Path) -> None:
    follower = follow(cyrus.conf, output, with_headers=asked.headers)
    place = Map(output)
    begun = time.monotonic()
    while not place.look():
        assert follower.poll() is None, "the follower has ended"
        time.sleep(LOOK)
    print(f"first map after {time.monotonic() - begun:.1f} s, {len(place.keys)} entries")
    writer = cyrus.writer()
    assert writer.stdin is not None
    waiting: dict[bytes, tuple[float, bool]] = {}
    latencies: list[float] = []
    done, overtaken = 0, 0
    begun = time.monotonic()
    cpu, own, memory = (
        cpu_seconds(follower.pid, with_children=True),
        cpu_seconds(follower.pid),
        memory_of(follower.pid),
    )
    samples = [memory]
    stream = updates(asked.roots, max(1, asked.rate // asked.crossings))
    next_sample = begun + 60
    while (now := time.monotonic()) < begun + asked.seconds + 3:
        due = int((now - begun) * asked.rate) if now < begun + asked.seconds else done
        for number, over, crosses in (next(stream) for _ in range(due - done)):
            data = value(used(over, done % 1000 if not over else done), done + 2)
            writer.stdin.write(command(key(number), data))
            done += 1
            if crosses:
                # A user who changes back before the map had them does not count.
                overtaken += key(number)[5:] in waiting
                waiting[key(number)[5:]] = now, over
        writer.stdin.flush()
        if place.look():
            seen = time.monotonic()
            for user, (since, over) in list(waiting.items()):
                if (user in place.keys) == over:
                    latencies.append(seen - since)
                    del waiting[user]
        if now > next_sample:
            samples.append(memory_of(follower.pid))
            next_sample += 60
        time.sleep(LOOK)
    took = time.monotonic() - begun
    samples.append(memory_of(follower.pid))
    writer.stdin.close()
    writer.wait()
    all_cpu = cpu_seconds(follower.pid, with_children=True) - cpu
    own_cpu = cpu_seconds(follower.pid) - own
    follower.terminate()
    ended = time.monotonic()
    status = follower.wait()
    latencies.sort()
    print(f"{done} updates in {took:.0f} s, {len(latencies)} users became full or made room")
    for share in (50, 90, 99, 100):
        at = min(len(latencies) - 1, len(latencies) * share // 100)
        print(f"  {share:3} % of them in the map within {latencies[at]:.3f} s")
    print(f"  not seen: {len(waiting)}, overtaken: {overtaken}")
    print(f"follower: {own_cpu / took:.1%} of a core, {all_cpu / took:.1%} with full readings")
    print(f"memory: {samples} KiB, once a minute")
    print(f"ended with {status} after {time.monotonic() - ended:.3f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--backend", default="twoskip")
    parser.add_argument("--roots", type=int, default=1_000_000)
    parser.add_argument("--rate", type=int, default=1000, help="updates a second")
    parser.add_argument("--crossings", type=int, default=20, help="of those, changes of a verdict")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--directory", default="/dev/shm", help="for some hundred MB")
    parser.add_argument("--headers", action="store_true", help="with mailboxes and their headers")
    asked = parser.parse_args()
    if not os.path.exists(TOOL) or os.geteuid() != 0:
        sys.exit("needs root and Cyrus: apt-get install cyrus-imapd cyrus-admin")
    base = Path(tempfile.mkdtemp(prefix="cq", dir=asked.directory))
    base.chmod(0o755)
    try:
        cyrus = Cyrus(base / "cyrus", asked.backend)
        begun = time.monotonic()
        cyrus.fill(asked.roots)
        if asked.headers:
            cyrus.fill_mailboxes(asked.roots)
        print(f"{asked.backend}, {asked.roots} roots, made in {time.monotonic() - begun:.0f} s")
        measure(cyrus, asked, base / "overquota")
    finally:
        shutil.rmtree(base)


if __name__ == "__main__":
    main()
