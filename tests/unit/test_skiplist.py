"""Skiplist files, by real Cyrus and by hand, whole and damaged.

A format without checksums cannot tell a changed byte of a key or value from the original, so those
bytes are left out of what is expected to be noticed below.
"""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path
from typing import Callable, Iterator, Optional

import pytest

from cyrusquota import cyrusdb
from cyrusquota.cyrusdb import database
from cyrusquota.cyrusdb.database import Identity, identity
from cyrusquota.cyrusdb.skiplist import reader as skiplist
from cyrusquota.errors import CyrusQuotaError, DamagedDatabase, NoSuchSource, SourceError
from cyrusquota.strategies.writers.skiplist import SkiplistWriter

_FIXTURES = Path(__file__).parent.parent / "fixtures"
_HISTORY = _FIXTURES / "history" / "skiplist"
_STAGES = [json.loads(line) for line in (_HISTORY / "stages.jsonl").read_text().splitlines()]

_HEADER = (
    b"\xa1\x02\x8b\x0dskiplist file\0\0\0"
    b"\0\0\0\1\0\0\0\2\0\0\0\x14\0\0\0\1\0\0\0\0\0\0\0\x90\x65\x53\xf1\x00"
)
_DUMMY = b"\0\0\1\1" + bytes(8) + bytes(80) + b"\xff\xff\xff\xff"
#: An empty database: 144 bytes.
_EMPTY = _HEADER + _DUMMY
#: At offset 0x90: user.a has the value "1 2", and one pointer.
_ADD_A = b"\0\0\0\2\0\0\0\6user.a\0\0\0\0\0\0031 2\0\0\0\0\0\xff\xff\xff\xff"  # 32 bytes
_DELETE_A = b"\0\0\0\4\0\0\0\x90"
_COMMIT = b"\0\0\0\xff"
_ZEROS = bytes(4)


def _read(path: Path, problems: Optional[list[CyrusQuotaError]] = None) -> dict[bytes, bytes]:
    """The records; each problem raised, or kept in `problems`."""
    if problems is None:
        db = cyrusdb.open(path, "skiplist")
    else:
        db = cyrusdb.open(path, "skiplist", on_problem=problems.append)
    with db:
        return dict(db)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "quotas.db"


@pytest.mark.parametrize("stage", _STAGES, ids=lambda stage: str(stage["file"]))
def test_every_stage_of_a_history_reads_as_cyrus_meant_it(stage: dict[str, object]) -> None:
    with cyrusdb.open(_HISTORY / str(stage["file"])) as db:
        assert {key.decode(): value.decode() for key, value in db} == stage["state"]
        assert db.snapshot().size == stage["committed_end"]


@pytest.mark.parametrize("kind", ["main", "badvalues"])
def test_reads_what_cyrus_wrote(kind: str) -> None:
    """`user.scan...` of main/skiplist were rewritten when the text beside it was made."""
    beside = "sqlite" if kind == "main" else "skiplist"
    shown = (_FIXTURES / kind / beside / "text" / "cyr_dbtool-show.txt").read_bytes()
    expected = dict(line.split(b"\t", 1) for line in shown.splitlines())
    assert _read(_FIXTURES / kind / "skiplist" / "quotas.db") == expected


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", {}),
        (_HEADER, {}),
        (_EMPTY, {}),
        (_EMPTY + _ADD_A + _COMMIT, {b"user.a": b"1 2"}),
        (_EMPTY + _ADD_A + _COMMIT + _DELETE_A + _COMMIT, {}),
        (_EMPTY + _ADD_A + _DELETE_A + _COMMIT, {}),
        (_EMPTY + _ADD_A + _COMMIT + _DELETE_A + _ADD_A + _COMMIT, {b"user.a": b"1 2"}),
        (_EMPTY + _COMMIT + _COMMIT, {}),
    ],
    ids=[
        "0 bytes",
        "being created",
        "empty",
        "set",
        "deleted",
        "set and deleted",
        "replaced",
        "commits alone",
    ],
)
def test_smallest_files(path: Path, content: bytes, expected: dict[bytes, bytes]) -> None:
    path.write_bytes(content)
    assert _read(path) == expected


@pytest.mark.parametrize(
    "tail",
    [
        *(_DELETE_A, _DELETE_A + _ADD_A, _DELETE_A[:6], _DELETE_A + _ADD_A[:20], b"\0\0\0", _ZEROS),
        *(bytes(1 << 12), _DELETE_A + bytes(400), b"\0\0\0\2\xff\xff\xff\xf0user"),
        b"\0\0\0\2\0\0\0\4abcd\0\0\0\xff",
    ],
)
def test_an_unfinished_transaction_counts_for_nothing(path: Path, tail: bytes) -> None:
    path.write_bytes(_EMPTY + _ADD_A + _COMMIT + tail)
    with cyrusdb.open(path) as db:
        assert dict(db) == {b"user.a": b"1 2"}
        assert db.snapshot().size == len(_EMPTY + _ADD_A + _COMMIT)


def test_zeros_between_transactions_are_passed_over(path: Path) -> None:
    path.write_bytes(_EMPTY + _ZEROS * 3 + _ADD_A + _COMMIT + _ZEROS + _COMMIT)
    assert _read(path) == {b"user.a": b"1 2"}


def test_many_zeros_are_passed_over_at_once(path: Path) -> None:
    path.write_bytes(_EMPTY + bytes(1 << 24) + _ADD_A + _COMMIT)
    assert _read(path) == {b"user.a": b"1 2"}


@pytest.mark.parametrize(
    ("content", "offset", "expected"),
    [
        (b"\xa1\x02\x8b\x0dskiplist file\0\0\0", 0, "a skiplist header"),
        (b"x" * 200, 0, "a skiplist header"),
        (_EMPTY[:20] + b"\0\0\0\2" + _EMPTY[24:], 20, "version 1"),
        (_EMPTY[:28] + b"\0\0\0\x15" + _EMPTY[32:], 28, "levels up to 20"),
        (_EMPTY[:40] + b"\0\0\0\x94" + _EMPTY[44:], 40, "a start of the log within"),
        (_EMPTY[:40] + b"\0\0\0\x8c" + _EMPTY[44:], 40, "a start of the log within"),
        (_HEADER + _ZEROS, 48, "a whole dummy record"),
        (_HEADER[:36] + b"\0\0\0\1" + _HEADER[40:], 48, "a whole dummy record"),
        (_HEADER[:43] + b"\xb0" + _HEADER[44:], 48, "a whole dummy record"),
        (_EMPTY[:-2], 48, "a whole dummy record"),
        (_HEADER + _ZEROS + _DUMMY[4:], 48, "a dummy record of 20 levels"),
        (_EMPTY + b"\0\0\0\3" + _COMMIT, 144, "a type of record"),
        (_EMPTY + b"\0\0\0\1" + _ADD_A[4:] + _COMMIT, 144, "a type of record"),
        (_EMPTY + _ADD_A + b"\0\0\0\xfe", 176, "a type of record"),
        (_EMPTY + _ADD_A + _ZEROS + _COMMIT, 176, "a type of record, as the transaction"),
        (_EMPTY + b"\0\0\0\2\0\0\0\0" + _COMMIT, 144, "a record with a key"),
        (_EMPTY + b"\0\0\0\2\x7f" + _ADD_A[5:] + _COMMIT, 144, "as a commit follows"),
        (_EMPTY + _ADD_A.replace(b"a\0\0", b"a\0x") + _COMMIT, 144, "zeros behind a key"),
        (_EMPTY + _ADD_A[:24] + _ADD_A[28:] + _COMMIT, 144, "pointers"),
        (_EMPTY + _ADD_A[:-1] + b"\xfe" + _COMMIT, 144, "pointers"),
        (_EMPTY + _ADD_A[:27] + b"\xff" + _ADD_A[28:] + _COMMIT, 144, "pointers"),
        (_EMPTY + _ADD_A[:24] + _ZEROS * 21 + _ADD_A[28:] + _COMMIT, 144, "at most 20 pointers"),
        (_EMPTY + b"\0\0\0\4\0\0\0\x94" + _COMMIT, 144, "the offset of a record"),
        (_EMPTY + b"\0\0\0\4\xff\xff\xff\xfc" + _COMMIT, 144, "the offset of a record"),
        (_EMPTY + b"\0\0\0\2\0\1" + _ADD_A[6:] + _DELETE_A + _COMMIT, 144, "as a commit follows"),
    ],
)
def test_what_cannot_be_read_makes_the_whole_unusable(
    path: Path, content: bytes, offset: int, expected: str
) -> None:
    """Even where problems are only collected."""
    path.write_bytes(content)
    with pytest.raises(DamagedDatabase, match=expected) as caught:
        _read(path, [])
    if "pointers" not in expected and "zeros" not in expected:
        assert caught.value.place.offset == offset
    assert "ctl_cyrusdb -r" in str(caught.value)


@pytest.mark.parametrize(
    ("tail", "expected"),
    [
        (_ADD_A + _COMMIT, "a deletion before the key is added again"),
        (_DELETE_A + _ADD_A + _DELETE_A + _COMMIT, "the deletion of a live record"),
    ],
)
def test_a_log_that_contradicts_itself_costs_the_key(
    path: Path, tail: bytes, expected: str
) -> None:
    other = _ADD_A.replace(b"user.a", b"user.b")
    path.write_bytes(_EMPTY + _ADD_A + other + _COMMIT + tail)
    problems: list[CyrusQuotaError] = []
    assert _read(path, problems) == {b"user.b": b"1 2"}
    (problem,) = problems
    assert expected in str(problem)
    assert "user.a" in str(problem)
    with pytest.raises(DamagedDatabase, match=expected):
        _read(path)


def test_a_contradicted_key_counts_again_once_it_is_replaced(path: Path) -> None:
    second = len(_EMPTY + _ADD_A + _COMMIT)
    replaced = b"\0\0\0\4" + struct.pack(">I", second) + _ADD_A
    path.write_bytes(_EMPTY + _ADD_A + _COMMIT + _ADD_A + _COMMIT + replaced + _COMMIT)
    assert _read(path) == {b"user.a": b"1 2"}


def _small(path: Path) -> dict[bytes, bytes]:
    """A database with records in order and a log, and what is in it."""
    writer = SkiplistWriter(path)
    writer.begin()
    for name in (b"user.ab", b"user.b", b"example!user.c"):
        writer.set(name, b"%(S (1024 10))")
    writer.commit()
    writer.repack()
    for key in (b"user.b", b"user.d", b"user.b"):
        writer.begin()
        writer.set(key, b"%(S (20 10))")
        writer.commit()
    writer.begin()
    writer.delete(b"user.d")
    writer.commit()
    state = dict.fromkeys((b"user.ab", b"example!user.c"), b"%(S (1024 10))")
    return {**state, b"user.b": b"%(S (20 10))"}


def _commits(data: bytes) -> list[int]:
    """Where the transactions of `_small` end."""
    (log_start,) = struct.unpack_from(">I", data, 40)
    words = range(log_start, len(data), 4)
    return [log_start, *(at + 4 for at in words if data[at : at + 4] == _COMMIT)]


def test_every_truncation_reads_as_an_earlier_state_or_is_noticed(path: Path) -> None:
    """The end of the file is all that says where it ends: whole transactions go unnoticed."""
    _small(path)
    data = path.read_bytes()
    ends = _commits(data)
    states = []
    for end in ends:
        path.write_bytes(data[:end])
        states.append(_read(path))
    assert [len(state) for state in states] == [3, 3, 4, 4, 3]
    for size in range(1, len(data)):
        path.write_bytes(data[:size])
        if size < ends[0]:
            with pytest.raises(DamagedDatabase):
                _read(path, [])
        else:
            committed = max(index for index, end in enumerate(ends) if end <= size)
            assert _read(path) == states[committed]


def _contents(data: bytes) -> Iterator[int]:
    """The offsets of all bytes of keys, values and their lengths, and of what is deleted."""
    at = 144
    while at < len(data):
        (kind,) = struct.unpack_from(">I", data, at)
        if kind == 255:
            at += 4
        elif kind == 4:
            yield from range(at + 4, at + 8)
            at += 8
        else:
            for _ in range(2):
                (length,) = struct.unpack_from(">I", data, at + 4)
                yield from range(at + 4, at + 8 + length)
                at += 4 + length + -length % 4
            at = data.index(b"\xff\xff\xff\xff", at) + 4


def test_every_flipped_bit_outside_of_keys_and_values_is_harmless_or_noticed(path: Path) -> None:
    state = _small(path)
    data = path.read_bytes()
    unnoticeable = set(_contents(data))
    assert len(unnoticeable) < len(data) / 2
    unnoticed = []
    for at in range(len(data)):
        for bit in range(8):
            flipped = bytearray(data)
            flipped[at] ^= 1 << bit
            path.write_bytes(flipped)
            problems: list[CyrusQuotaError] = []
            try:
                records = _read(path, problems)
            except CyrusQuotaError:
                continue
            if records != state and not problems and at not in unnoticeable:
                unnoticed.append((at, bit))
    assert unnoticed == []


def test_lengths_that_lead_out_of_the_file_take_no_memory(path: Path) -> None:
    path.write_bytes(_EMPTY + b"\0\0\0\2\xff\xff\xff\xff" + _ADD_A[8:])
    assert _read(path) == {}


def _meanwhile(monkeypatch: pytest.MonkeyPatch, happens: Callable[[], None]) -> None:
    """Let something happen each time after a file was opened and before it is read."""

    def then(status: os.stat_result) -> Identity:
        known = identity(status)
        happens()
        return known

    monkeypatch.setattr("cyrusquota.cyrusdb.skiplist.reader.identity", then)
    monkeypatch.setattr(database, "PAUSE", 0)


def _replaced(path: Path) -> None:
    """A checkpoint of Cyrus."""
    new = path.with_name("quotas.db.NEW")
    new.write_bytes(path.read_bytes())
    with path.open("r+b") as old:
        os.replace(new, path)
        old.truncate(0)


def test_a_file_that_is_replaced_and_cut_while_it_is_read_is_read_again(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = _small(path)
    times = iter((True, False, False, False))

    def replace_once() -> None:
        if next(times):
            _replaced(path)

    _meanwhile(monkeypatch, replace_once)
    assert _read(path) == state


def test_a_file_that_grows_all_the_time_is_read_all_the_same(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = _small(path)

    def grow() -> None:
        with path.open("ab") as file:
            file.write(_COMMIT)

    _meanwhile(monkeypatch, grow)
    assert _read(path) == state


def test_a_file_that_is_replaced_all_the_time_is_an_error(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _small(path)
    _meanwhile(monkeypatch, lambda: _replaced(path))
    with pytest.raises(SourceError, match="is being replaced all the time"):
        _read(path)


def test_snapshot_tells_the_last_recovery_and_changes_are_seen(path: Path) -> None:
    writer = SkiplistWriter(path)
    with cyrusdb.open(path) as db:
        assert db.snapshot() == cyrusdb.Snapshot("skiplist", 144, 0, 1_700_000_000)
        assert not db.has_changed()
        writer.begin()
        writer.set(b"user.a", b"1 2")
        writer.commit()
        assert db.has_changed()


def test_an_empty_file_has_no_last_recovery(path: Path) -> None:
    path.touch()
    with cyrusdb.open(path, "skiplist") as db:
        assert db.snapshot() == cyrusdb.Snapshot("skiplist", 0, 0, None)


def test_no_file_is_no_such_source(path: Path) -> None:
    with pytest.raises(NoSuchSource):
        skiplist.Skiplist(path, lambda problem: None)
