"""A cdb of ours is one to tinycdb's `cdb`, and the other way round."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from cyrusquota.maps import Entry, cdb

pytestmark = pytest.mark.integration

ENTRIES = [Entry(b"user%05d" % number, b":defer: %d" % number) for number in range(20_000)]


def _cdb(*arguments: str, stdin: bytes = b"") -> bytes:
    done = subprocess.run(["cdb", *arguments], input=stdin, capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, b""), (arguments, done)
    return done.stdout


def _records(entries: list[Entry]) -> bytes:
    """What `cdb -d` prints and `cdb -c` reads."""
    lines = (
        b"+%d,%d:%b->%b\n" % (len(entry.key), len(entry.value), entry.key, entry.value)
        for entry in entries
    )
    return b"".join(lines) + b"\n"


def test_the_tool_reads_ours(needs_cdb: None, tmp_path: Path) -> None:
    path = tmp_path / "map.cdb"
    path.write_bytes(cdb.document(ENTRIES, ["roots: 5", "x"]))
    assert _cdb("-d", str(path)) == _records([Entry(b"", b"roots: 5\nx"), *ENTRIES])
    for entry in ENTRIES[::1000]:
        assert _cdb("-q", str(path), entry.key.decode()) == entry.value
    done = subprocess.run(["cdb", "-q", str(path), "nobody"], capture_output=True)
    assert (done.returncode, done.stdout) == (100, b"")


def test_ours_reads_the_tool_s(needs_cdb: None, tmp_path: Path) -> None:
    path = tmp_path / "map.cdb"
    _cdb("-c", str(path), stdin=_records(ENTRIES))
    assert cdb.body(path.read_bytes()) == cdb.body(cdb.document(ENTRIES, []))


def test_a_map_without_entries_is_a_database(needs_cdb: None, tmp_path: Path) -> None:
    path = tmp_path / "map.cdb"
    path.write_bytes(cdb.document([], []))
    assert _cdb("-d", str(path)) == _records([Entry(b"", b"")])
