"""Reading while Cyrus writes: every read is one committed state, and time never runs backwards.

A real `cyr_dbtool ... batch` makes one transaction after the other, each with a number. The number
says what must be in the database then, to the byte, so any mixture of two states shows.
"""

from __future__ import annotations

import os
import random
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Callable, Iterator, Optional

import attrs
import pytest

from cyrusquota import cyrusdb
from cyrusquota.cyrusdb import flat, sorted_run
from cyrusquota.cyrusdb.database import differs, identity
from cyrusquota.cyrusdb.skiplist import lookup as skiplist_lookup
from cyrusquota.cyrusdb.skiplist import scan as skiplist
from cyrusquota.cyrusdb.twoskip import lookup as twoskip_lookup
from cyrusquota.cyrusdb.twoskip import scan as twoskip

from .cyrus import Cyrus

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("needs_cyrus")]

#: Seconds to read for at least, and to wait for what has to happen at most.
SECONDS, PATIENCE = 4, 60
READS = 300
#: Transactions of one process.
ROUND = 100

NUMBER = b"user.0number"
SET = [b"user.set%02d" % number for number in range(16)]
#: Never touched: whatever is missing of these was lost by the reader.
FIXED = {b"user.fixed%d" % number: b"%%(S (%d 10))" % number for number in range(5)}
#: Comes and goes between the others, so that what follows one of them changes.
PASSING = (b"user.set00a", b"user.set05.sub", b"user.a", b"user.zz")


def expected(number: int) -> dict[bytes, bytes]:
    """What is in the database after the transaction `number`: every fifth deletes the set."""
    value = b"%%(S (%d 10) M (%d))" % (number, number)
    state = {NUMBER: b"%d" % number, **FIXED}
    if number % 5 != 4:
        state.update(dict.fromkeys(SET, value))
    if number % 3:
        state[PASSING[number % len(PASSING)]] = value * (number % 7)
    return state


def _set(key: bytes, value: bytes) -> bytes:
    return b"SET %b {%d+}\r\n%b\n" % (key, len(value), value)


def batch(number: int) -> bytes:
    """The transaction `number`, and now and then one that is taken back."""
    before, after = expected(number - 1) if number else {}, expected(number)
    keys = sorted(after)
    random.Random(number).shuffle(keys)
    changes = [_set(key, after[key]) for key in keys if before.get(key) != after[key]]
    changes += [b"DELETE %b\n" % key for key in before if key not in after]
    whole = b"BEGIN\n" + b"".join(changes) + b"COMMIT\n"
    if number % 7 == 3:
        aborted = b"".join(_set(key, b"aborted") for key in keys)
        whole += b"BEGIN\n" + aborted + b"DELETE %b\nABORT\n" % NUMBER
    return whole


class Writer:
    """Cyrus writes as fast as it can, from the first transaction until it is told to end.

    In rounds, a process each: twoskip is repacked by a process when it ends.
    """

    def __init__(self, cyrus: Cyrus, path: Path, backend: str) -> None:
        self._cyrus = cyrus
        self._words = ("cyr_dbtool", "-n", str(path), backend, "batch")
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._write)
        self._error: Optional[BaseException] = None
        self.last = -1

    def __enter__(self) -> Writer:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self._ended.set()
        self._thread.join(PATIENCE)
        if self._error is not None:
            raise self._error

    def is_running(self) -> bool:
        return self._thread.is_alive()

    def _write(self) -> None:
        try:
            while not self._ended.is_set():
                numbers = range(self.last + 1, self.last + 1 + ROUND)
                output = self._cyrus.run(*self._words, stdin=b"".join(map(batch, numbers)))
                assert output == b""
                self.last = numbers[-1]
        except BaseException as error:
            self._error = error


@attrs.define
class Reads:
    """How often was read, and with how many of the reads Cyrus wrote at the same time."""

    quiet: int = 0
    disturbed: int = 0
    states: int = 0
    repacks: int = 0

    def count(self, disturbed: bool) -> None:
        self.disturbed += disturbed
        self.quiet += not disturbed


@pytest.fixture
def cyrus() -> Iterator[Cyrus]:
    with Cyrus() as tools:
        yield tools


def until_enough(writer: Writer, reads: Reads) -> Iterator[None]:
    """Go on for a while, and until there are enough reads, of which Cyrus disturbed some."""
    start = time.monotonic()
    while True:
        took = time.monotonic() - start
        enough = reads.quiet + reads.disturbed >= READS and reads.disturbed > READS // 20
        if (took > SECONDS and enough and reads.states > 10) or took > PATIENCE:
            break
        assert writer.is_running()
        yield


def wait_for_first_commit(writer: Writer, path: Path, backend: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        assert writer.is_running()
        if path.exists():
            with cyrusdb.open(path, backend, on_problem=lambda problem: None) as database:
                if dict(database).keys() >= expected(0).keys():
                    return
        time.sleep(0.001)
    raise AssertionError("Cyrus wrote nothing")


@pytest.mark.parametrize("backend", ["flat", "skiplist", "twoskip"])
def test_every_read_is_one_committed_state(cyrus: Cyrus, backend: str) -> None:
    path, reads = cyrus.lib / "quotas.db", Reads()
    number, size = -1, 0
    with Writer(cyrus, path, backend) as writer:
        wait_for_first_commit(writer, path, backend)
        for _ in until_enough(writer, reads):
            with cyrusdb.open(path, backend) as database:
                rows = list(database)
                reads.count(disturbed=database.has_changed())
                snapshot = database.snapshot()
            found = dict(rows)
            before, number = number, int(found[NUMBER])
            assert number >= before
            assert found == expected(number)
            assert len(rows) == len(found) == snapshot.records
            reads.states += number != before
            reads.repacks += backend != "flat" and snapshot.size < size // 2
            size = snapshot.size
    with cyrusdb.open(path, backend) as database:
        assert dict(database) == expected(writer.last)
    assert reads.disturbed > READS // 20
    assert reads.repacks or backend == "flat"
    # Shown with -rP.
    print(f"{backend}: {writer.last + 1} transactions, {reads}")


SCANS: dict[str, Callable[[Path, cyrusdb.Predicate], Optional[cyrusdb.Selected]]] = {
    "flat": flat.select,
    "skiplist": skiplist.select,
    "twoskip": twoskip.select,
}


@pytest.mark.parametrize("backend", SCANS)
def test_every_fast_reading_is_one_committed_state(
    cyrus: Cyrus, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or it is left to the plain reader; with so many deletions in so small a file, often."""
    monkeypatch.setattr(sorted_run, "WORTH_IT", 0)
    for module in (flat, sorted_run):
        monkeypatch.setattr(module, "_PIECE", 512)
    path, reads = cyrus.lib / "quotas.db", Reads()
    number, left = -1, 0
    with Writer(cyrus, path, backend) as writer:
        wait_for_first_commit(writer, path, backend)
        for _ in until_enough(writer, reads):
            then = identity(os.stat(path))
            found = SCANS[backend](path, lambda keys, values: list(range(len(keys))))
            if found is None:
                left += 1
                continue
            reads.count(disturbed=differs(path, then))
            rows = dict(found.kept)
            before, number = number, int(rows[NUMBER])
            assert number >= before
            assert rows == expected(number)
            assert len(rows) == len(found.kept) == found.records
            reads.states += number != before
    assert reads.quiet + reads.disturbed >= READS
    print(f"{backend}: {writer.last + 1} transactions, {reads}, {left} left to the plain reader")


LOOKUPS: dict[str, Callable[[Path, set[bytes]], Optional[dict[bytes, Optional[bytes]]]]] = {
    "skiplist": skiplist_lookup.lookup,
    "twoskip": twoskip_lookup.lookup,
}


@pytest.mark.parametrize("backend", LOOKUPS)
def test_every_look_up_is_of_one_committed_state(cyrus: Cyrus, backend: str) -> None:
    """Or it is left to the plain reader, while Cyrus writes without a pause."""
    path, reads = cyrus.lib / "quotas.db", Reads()
    keys = {NUMBER, *SET, *FIXED, *PASSING, b"user.nobody", b"a", b"zz"}
    number, left = -1, 0
    with Writer(cyrus, path, backend) as writer:
        wait_for_first_commit(writer, path, backend)
        for _ in until_enough(writer, reads):
            then = identity(os.stat(path))
            found = LOOKUPS[backend](path, keys)
            if found is None:
                left += 1
                continue
            reads.count(disturbed=differs(path, then))
            before, number = number, int(found[NUMBER] or b"-1")
            assert number >= before
            assert found == {key: expected(number).get(key) for key in keys}
            reads.states += number != before
    last = expected(writer.last)
    assert cyrusdb.lookup(path, keys, backend) == {key: last.get(key) for key in keys}
    assert reads.states > 10
    print(f"{backend}: {writer.last + 1} transactions, {reads}, {left} left to the plain reader")


def test_every_file_of_a_tree_is_one_committed_version(cyrus: Cyrus) -> None:
    """quotalegacy renames the files of a transaction one by one, so each key is on its own."""
    reads, numbers = Reads(), dict[bytes, int]()
    with Writer(cyrus, cyrus.lib / "quotas.db", "quotalegacy") as writer:
        wait_for_first_commit(writer, cyrus.lib / "quota", "quotalegacy")
        for _ in until_enough(writer, reads):
            with cyrusdb.open(cyrus.lib) as database:
                rows = list(database)
                reads.count(disturbed=database.has_changed())
            found = dict(rows)
            assert len(rows) == len(found)
            assert found.keys() <= {NUMBER, *SET, *PASSING, *FIXED}
            assert found.items() >= FIXED.items()
            reads.states += int(found[NUMBER]) != numbers.get(NUMBER)
            for key in {NUMBER, *SET} & found.keys():
                number = int(found[key].translate(None, b"%()SM").split()[0])
                assert number >= numbers.get(key, 0)
                assert found[key] == expected(number)[key]
                numbers[key] = number
    with cyrusdb.open(cyrus.lib) as database:
        assert dict(database) == expected(writer.last)
    assert reads.disturbed > READS // 20
    print(f"quotalegacy: {writer.last + 1} transactions, {reads}")
