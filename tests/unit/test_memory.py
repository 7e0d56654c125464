"""A length that cannot be true costs no memory: what is read is never larger than the file."""

from __future__ import annotations

import importlib
import io
import pkgutil
import struct
import tracemalloc
from pathlib import Path
from typing import Any, BinaryIO, Callable, Iterator

import pytest

from cyrusquota import cyrusdb
from cyrusquota.cyrusdb.twom.xxh3 import checksum
from cyrusquota.errors import CyrusQuotaError
from cyrusquota.parse import dump, report, value
from cyrusquota.strategies.writers import WRITERS, close
from cyrusquota.strategies.writers.twom import TwomWriter
from tests.damaged_databases import with_header

HUGE = 1 << 63
#: Bytes; the files here have a few hundred.
ENOUGH = 1 << 18


@pytest.fixture
def peak() -> Iterator[Callable[[], int]]:
    """How much memory was taken at most, in bytes, without that of modules imported on demand."""
    for module in pkgutil.walk_packages(cyrusdb.__path__, f"{cyrusdb.__name__}."):
        importlib.import_module(module.name)
    importlib.import_module("sqlite3")
    tracemalloc.start()
    yield lambda: tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()


def small(path: Path, backend: str) -> bytes:
    """A database of one record, whose key has eleven bytes."""
    writer = TwomWriter(path, fat=True) if backend == "twom" else WRITERS[backend](path)
    writer.begin()
    writer.set(b"user.jane-x", b"%(S (1 1))")
    writer.commit()
    close(writer)
    return path.read_bytes()


def put(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new) :]


def _twom_size(data: bytes) -> bytes:
    header = put(data[:92], 80, struct.pack("<Q", HUGE))
    return header + struct.pack("<I", checksum(header)) + data[96:]


FORGED: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "twoskip, committed size": ("twoskip", lambda data: with_header(data, size=HUGE)),
    "twoskip, number of records": ("twoskip", lambda data: with_header(data, records=HUGE)),
    "twoskip, key": (
        "twoskip",
        lambda data: put(data, 336, struct.pack(">BBHIQ", ord("+"), 1, 0xFFFF, 5, HUGE)),
    ),
    "twoskip, value": (
        "twoskip",
        lambda data: put(data, 336, struct.pack(">BBHIQ", ord("+"), 1, 5, 0xFFFFFFFF, HUGE)),
    ),
    "twom, committed size": ("twom", _twom_size),
    "twom, key": ("twom", lambda data: put(data, 368 + 8, struct.pack("<Q", HUGE))),
    "twom, value": ("twom", lambda data: put(data, 368 + 16, struct.pack("<Q", HUGE))),
    "skiplist, start of the log": ("skiplist", lambda data: put(data, 40, b"\xff\xff\xff\xfc")),
    "skiplist, key": ("skiplist", lambda data: put(data, 144 + 4, b"\x7f\xff\xff\xfc")),
    "skiplist, value": ("skiplist", lambda data: put(data, 144 + 8 + 12, b"\x7f\xff\xff\xfc")),
    "sql, number of pages": ("sql", lambda data: put(data, 28, b"\x7f\xff\xff\xff")),
    "sql, a row": ("sql", lambda data: put(data, data.rindex(b"\x03\x23\x21") - 2, b"\xff" * 8)),
}


@pytest.mark.parametrize("name", FORGED)
def test_a_length_that_cannot_be_allocates_nothing(
    name: str, tmp_path: Path, peak: Callable[[], int]
) -> None:
    backend, forge = FORGED[name]
    path = tmp_path / "quotas.db"
    whole = small(path, backend)
    forged = forge(whole)
    assert len(forged) == len(whole)
    assert forged != whole
    path.write_bytes(forged)
    tracemalloc.reset_peak()
    problems: list[CyrusQuotaError] = []
    try:
        with cyrusdb.open(path, backend, on_problem=problems.append) as database:
            records = dict(database)
    except CyrusQuotaError as error:
        records, problems = {}, [error]
    assert problems or records == {b"user.jane-x": b"%(S (1 1))"}
    assert peak() < ENOUGH


@pytest.mark.parametrize(
    "raw", [b"%(S ({999999999999999999}\r\n1", b"9" * 5000 + b" 1", b"%(S (" + b"9" * 5000 + b"))"]
)
def test_a_number_that_cannot_be_allocates_nothing(raw: bytes, peak: Callable[[], int]) -> None:
    value.usages(raw, on_problem=lambda problem: None)
    assert peak() < ENOUGH


class Generated(io.RawIOBase):
    """What a generator gives, without ever being in memory as a whole."""

    def __init__(self, lines: Iterator[bytes]) -> None:
        self._lines = lines
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, into: Any, /) -> int:
        line = self._rest or next(self._lines, b"")
        given, self._rest = line[: len(into)], line[len(into) :]
        into[: len(given)] = given
        return len(given)


def _dump() -> Iterator[bytes]:
    return (b"user.%d%s\t5 1\n" % (number, b"x" * 5_000) for number in range(2_000))


def _report() -> Iterator[bytes]:
    yield b"   Quota   % Used     Used Root\n"
    for number in range(2_000):
        yield b"      10      100       10 user.%d%s\n" % (number, b"x" * 5_000)


def _json() -> Iterator[bytes]:
    yield b"{"
    for number in range(2_000):
        yield b'"user.%d%s": {"STORAGE": {"used": 1}},\n' % (number, b"x" * 5_000)
    yield b'"user.x": {}}'


@pytest.mark.parametrize(
    ("read", "lines", "count"),
    [(dump.records, _dump, 2_000), (report.roots, _report, 2_000), (report.roots, _json, 2_001)],
    ids=["dump", "text", "json"],
)
def test_reports_and_dumps_are_read_as_a_stream(
    read: Callable[[BinaryIO], Iterator[object]],
    lines: Callable[[], Iterator[bytes]],
    count: int,
    peak: Callable[[], int],
) -> None:
    """Ten megabytes, of which only a few lines are ever in memory."""
    stream = io.BufferedReader(Generated(lines()))
    assert sum(1 for _ in read(stream)) == count
    assert peak() < 2 * ENOUGH
