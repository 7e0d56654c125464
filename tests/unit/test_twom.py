"""twom files by the library of Cyrus itself, and the smallest ones by hand."""

from __future__ import annotations

import json
import os
import struct
import time
from pathlib import Path
from typing import Any, Callable, Optional

import pytest

from cyrusquota import cyrusdb
from cyrusquota.cyrusdb.twom import layout
from cyrusquota.cyrusdb.twom.xxh3 import checksum
from cyrusquota.errors import CyrusQuotaError, DamagedDatabase, UnsupportedBackend
from cyrusquota.strategies.writers.twom import NULL, TwomWriter

FIXTURES = Path(__file__).parents[1] / "fixtures"
HISTORY = FIXTURES / "history" / "twom"
STAGES = [json.loads(line) for line in (HISTORY / "stages.jsonl").read_text().splitlines()]
MAIN = FIXTURES / "main" / "twom"

#: The head of a record as Cyrus's library wrote it, with its checksum.
ADD_HEAD = bytes.fromhex("020209002b000000" + "00" * 24 + "72bbc3aa")
#: Where the first record is, behind the header and the DUMMY.
START = 368


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cyrusquota.cyrusdb.database.PAUSE", 0)


def leniently(path: Path) -> tuple[dict[bytes, bytes], list[CyrusQuotaError]]:
    problems: list[CyrusQuotaError] = []
    with cyrusdb.open(path, on_problem=problems.append) as database:
        return dict(database), problems


def signed(head: bytes, tail: bytes = b"") -> bytes:
    return head + struct.pack("<II", checksum(head), checksum(tail)) + tail


def header(size: int, records: int, *, flags: int = 1 << 28, version: int = 1) -> bytes:
    fields = layout.MAGIC + bytes(16) + struct.pack("<II", version, flags)
    fields += struct.pack("<QQQQQQI", 7, records, 1, 0, START, size, 1)
    null = flags & NULL
    return fields + struct.pack("<I", 0 if null else checksum(fields))


def database(path: Path, *records: bytes, live: int, **options: int) -> Path:
    """A file with these records, which `live` keys should come out of."""
    dummy = signed(bytes((1, 31)) + bytes(6 + 8 * 32))
    body = b"".join((dummy, *records))
    path.write_bytes(header(96 + len(body), live, **options) + body)
    return path


def add(key: bytes, value: bytes) -> bytes:
    tail = key + b"\0" + value + b"\0"
    tail += bytes(-len(tail) % 8)
    return signed(struct.pack("<BBHIQQ", 2, 1, len(key), len(value), 0, 0), tail)


def replace(key: bytes, value: bytes, ancestor: int) -> bytes:
    tail = key + b"\0" + value + b"\0"
    tail += bytes(-len(tail) % 8)
    return signed(struct.pack("<BBHIQQQ", 4, 1, len(key), len(value), ancestor, 0, 0), tail)


def delete(ancestor: int) -> bytes:
    return signed(struct.pack("<BxxxxxxxQ", 6, ancestor))


def spoilt(record: bytes) -> bytes:
    """The record with the last byte of its value changed."""
    end = len(record.rstrip(b"\0"))
    return record[: end - 1] + b"?" + record[end:]


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: str(stage["file"]))
def test_each_stage_of_a_recorded_history(stage: dict[str, Any]) -> None:
    with cyrusdb.open(HISTORY / stage["file"]) as found:
        rows = list(found)
        snapshot = found.snapshot()
    assert {key.decode(): value.decode() for key, value in rows} == stage["state"]
    assert len(rows) == stage["num_records"] == snapshot.records
    assert (snapshot.backend, snapshot.size) == ("twom", stage["current_size"])
    assert snapshot.generation == stage["generation"]


def test_the_roots_of_the_recorded_database() -> None:
    lines = (MAIN / "expected.jsonl").read_text("utf-8").splitlines()
    roots = {
        bytes.fromhex(row["root_hex"]) if "root_hex" in row else row["root"].encode()
        for row in map(json.loads, lines)
    }
    with cyrusdb.open(MAIN / "quotas.db") as found:
        assert {key for key, _ in found} == roots


def test_the_head_that_cyrus_signed_has_our_checksum() -> None:
    assert checksum(ADD_HEAD[:32]) == int.from_bytes(ADD_HEAD[32:], "little")


def test_the_smallest_files(tmp_path: Path) -> None:
    path = tmp_path / "quotas.db"
    assert leniently(database(path, live=0)) == ({}, [])
    assert leniently(database(path, add(b"k", b"v"), live=1)) == ({b"k": b"v"}, [])
    records = (add(b"k", b"v"), replace(b"k", b"w", START))
    assert leniently(database(path, *records, live=1)) == ({b"k": b"w"}, [])
    assert leniently(database(path, add(b"k", b"v"), delete(START), live=0)) == ({}, [])
    path.write_bytes(b"")
    assert dict(cyrusdb.open(path, "twom")) == {}


def test_what_lies_behind_the_committed_size_does_not_matter(tmp_path: Path) -> None:
    path = database(tmp_path / "quotas.db", add(b"k", b"v"), live=1)
    with path.open("ab") as file:
        file.write(add(b"k", b"later") + b"\xff" * 100)
    assert leniently(path) == ({b"k": b"v"}, [])


@pytest.mark.parametrize("length", [65534, 65535, 65536, 70000])
def test_long_keys_and_values(tmp_path: Path, length: int) -> None:
    writer = TwomWriter(tmp_path / "quotas.db")
    for value in (b"old", b"v" * length):
        writer.begin()
        writer.set(b"k" * length, value)
        writer.commit()
    assert leniently(writer.path) == ({b"k" * length: b"v" * length}, [])


def test_a_key_that_an_old_version_cut_is_damage(tmp_path: Path) -> None:
    """Its length was stored modulo 65536, with checksums that say nothing against it."""
    tail = b"k" * 65541 + b"\0v\0" + bytes(-65544 % 8)
    cut = signed(struct.pack("<BBHIQQ", 2, 1, 65541 % 65536, 1, 0, 0), tail)
    path = database(tmp_path / "quotas.db", cut, live=1)
    with pytest.raises(DamagedDatabase):
        leniently(path)


def test_a_byte_that_is_no_nul_behind_the_key_is_damage(tmp_path: Path) -> None:
    record = signed(struct.pack("<BBHIQQ", 2, 1, 1, 1, 0, 0), b"kk\0v\0\0\0\0")
    rows, problems = leniently(database(tmp_path / "quotas.db", record, live=1))
    assert rows == {}
    assert "a NUL behind the key" in str(problems[0])


def test_a_damaged_live_record_is_reported_and_left_out(tmp_path: Path) -> None:
    records = (spoilt(add(b"k", b"v")), add(b"l", b"w"))
    path = database(tmp_path / "quotas.db", *records, live=2)
    rows, problems = leniently(path)
    assert rows == {b"l": b"w"}
    assert f"offset {START}, quota root 'k'" in str(problems[0])
    assert len(problems) == 1
    with pytest.raises(DamagedDatabase):
        cyrusdb.open(path)


def test_damage_in_a_superseded_record_does_not_matter(tmp_path: Path) -> None:
    first = spoilt(add(b"k", b"v"))
    path = tmp_path / "quotas.db"
    assert leniently(database(path, first, replace(b"k", b"w", START), live=1)) == (
        {b"k": b"w"},
        [],
    )
    assert leniently(database(path, first, delete(START), live=0)) == ({}, [])


def test_the_value_that_a_damaged_record_superseded_is_not_handed_out(tmp_path: Path) -> None:
    records = (add(b"k", b"old"), spoilt(replace(b"k", b"new", START)))
    rows, problems = leniently(database(tmp_path / "quotas.db", *records, live=1))
    assert rows == {}
    assert len(problems) == 1


@pytest.mark.parametrize("ancestor", [0, 96, START + 8, START + 48, 1 << 40, (1 << 64) - 1])
def test_a_deletion_of_what_is_no_live_record_is_damage(tmp_path: Path, ancestor: int) -> None:
    path = database(tmp_path / "quotas.db", add(b"k", b"v"), delete(ancestor), live=0)
    with pytest.raises(DamagedDatabase):
        leniently(path)


@pytest.mark.parametrize("kind", [3, 5])
@pytest.mark.parametrize("length", [1 << 20, (1 << 64) - 1])
def test_lengths_beyond_the_end_are_damage(tmp_path: Path, kind: int, length: int) -> None:
    record = signed(struct.pack("<BBxxxxxxQQQQQ", kind, 1, length, length, 0, 0, 0))
    with pytest.raises(DamagedDatabase):
        leniently(database(tmp_path / "quotas.db", record, live=1))


def test_a_number_of_records_other_than_the_headers_is_reported(tmp_path: Path) -> None:
    rows, problems = leniently(database(tmp_path / "quotas.db", add(b"k", b"v"), live=2))
    assert rows == {b"k": b"v"}
    assert "expected 2 live records" in str(problems[0])


def test_checksums_of_a_program_s_own_are_not_supported(tmp_path: Path) -> None:
    path = database(tmp_path / "quotas.db", live=0, flags=1 << 29)
    with pytest.raises(UnsupportedBackend, match="cyr_dbtool"):
        cyrusdb.open(path)


def test_without_flags_checksums_are_made_as_by_default(tmp_path: Path) -> None:
    path = database(tmp_path / "quotas.db", add(b"k", b"v"), live=1, flags=0)
    assert leniently(path) == ({b"k": b"v"}, [])


@pytest.mark.parametrize(("version", "error"), [(0, DamagedDatabase), (2, UnsupportedBackend)])
def test_another_version_is_refused(
    tmp_path: Path, version: int, error: type[CyrusQuotaError]
) -> None:
    with pytest.raises(error, match="version"):
        cyrusdb.open(database(tmp_path / "quotas.db", live=0, version=version))


@pytest.mark.parametrize("size", [0, 95, 96, 367, 369, 376, 1 << 40, (1 << 64) - 8])
def test_a_committed_size_that_cannot_be_is_damage(tmp_path: Path, size: int) -> None:
    path = database(tmp_path / "quotas.db", live=0)
    path.write_bytes(header(size, 0) + path.read_bytes()[96:])
    with pytest.raises(DamagedDatabase):
        cyrusdb.open(path)


def rewriting(path: Path, at: int, right: bytes) -> Callable[[float], None]:
    """A sleep during which a writer puts `right` in place."""

    def sleep(seconds: float) -> None:
        with path.open("r+b") as file:
            os.pwrite(file.fileno(), right, at)

    return sleep


@pytest.mark.parametrize("at", [80, START + 8], ids=["header", "pointers of a record"])
def test_what_a_writer_is_rewriting_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    path = database(tmp_path / "quotas.db", add(b"k", b"v"), live=1)
    right = path.read_bytes()
    path.write_bytes(right[:at] + b"\x60" + right[at + 1 :])
    monkeypatch.setattr(time, "sleep", rewriting(path, at, right[at : at + 1]))
    with cyrusdb.open(path) as found:
        assert dict(found) == {b"k": b"v"}


def test_a_head_that_never_settles_is_damage(tmp_path: Path) -> None:
    path = database(tmp_path / "quotas.db", add(b"k", b"v"), live=1)
    right = path.read_bytes()
    path.write_bytes(right[: START + 8] + b"\x60" + right[START + 9 :])
    with pytest.raises(DamagedDatabase, match="head"):
        leniently(path)


@pytest.mark.parametrize("change", [None, b"new"])
def test_has_changed_tells_a_commit(tmp_path: Path, change: Optional[bytes]) -> None:
    writer = TwomWriter(tmp_path / "quotas.db")
    found = cyrusdb.open(writer.path)
    if change is not None:
        writer.begin()
        writer.set(b"k", change)
        writer.commit()
    assert found.has_changed() is (change is not None)
