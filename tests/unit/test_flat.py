"""Flat files, by real Cyrus and by hand, whole and damaged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Optional

import pytest

from cyrusquota import cyrusdb
from cyrusquota.errors import CyrusQuotaError, DamagedDatabase, NoSuchSource
from cyrusquota.strategies.writers.flat import FlatWriter

_FIXTURES = Path(__file__).parent.parent / "fixtures"
_HISTORY = _FIXTURES / "history" / "flat"
_STAGES = [json.loads(line) for line in (_HISTORY / "stages.jsonl").read_text().splitlines()]
_EDGE = sorted((_FIXTURES / "edge" / "flat").glob("*.db"))


def _read(path: Path, problems: Optional[list[CyrusQuotaError]] = None) -> dict[bytes, bytes]:
    """The records; each problem raised, or kept in `problems`."""
    if problems is None:
        db = cyrusdb.open(path, "flat")
    else:
        db = cyrusdb.open(path, "flat", on_problem=problems.append)
    with db:
        return dict(db)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "quotas.db"


@pytest.mark.parametrize("stage", _STAGES, ids=lambda stage: str(stage["file"]))
def test_every_stage_of_a_history_reads_as_cyrus_meant_it(stage: dict[str, object]) -> None:
    records = _read(_HISTORY / str(stage["file"]))
    assert {key.decode(): value.decode() for key, value in records.items()} == stage["state"]


@pytest.mark.parametrize("kind", ["main", "badvalues"])
def test_reads_what_cyrus_wrote(kind: str) -> None:
    """`user.scan...` of main/flat were rewritten when the text beside it was made."""
    beside = "sqlite" if kind == "main" else "flat"
    shown = (_FIXTURES / kind / beside / "text" / "cyr_dbtool-show.txt").read_bytes()
    expected = dict(line.split(b"\t", 1) for line in shown.splitlines())
    assert _read(_FIXTURES / kind / "flat" / "quotas.db") == expected


@pytest.mark.parametrize("path", _EDGE, ids=lambda path: str(path.stem))
def test_edge_cases_by_cyrus(path: Path) -> None:
    expected = json.loads(path.with_name(path.name + ".json").read_text())
    records = _read(path)
    assert {k.decode("latin-1"): v.decode("latin-1") for k, v in records.items()} == expected


@pytest.mark.parametrize("name", ["clean.db", "killed-writer.db"])
def test_a_killed_writer_does_no_harm(name: str) -> None:
    crash = _FIXTURES / "crash" / "flat"
    expected = json.loads((crash / "clean-state.json").read_text())
    assert {k.decode(): v.decode() for k, v in _read(crash / name).items()} == expected


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", {}),
        (b"user.a\t1 2\n", {b"user.a": b"1 2"}),
        (b"user.b\t1 2\nuser.a\t\n", {b"user.b": b"1 2", b"user.a": b""}),
        (b"user.a\t1\t2\n", {b"user.a": b"1\t2"}),
        (b"user.a\t1 2\r\n", {b"user.a": b"1 2\r"}),
        (
            b"a\xff\x80\xff\x89\xff\x8a\xff\x8d\xff\xff\t\xff\xff\x8a\n",
            {b"a\0\t\n\r\xff": b"\xff\x8a"},
        ),
        (b"user.\xff\xff\x80\t\xff\x8a\n", {b"user.\xff\x80": b"\n"}),
    ],
    ids=["0 bytes", "one", "any order", "TAB in value", "CR", "escapes", "escaped escape"],
)
def test_smallest_files(path: Path, content: bytes, expected: dict[bytes, bytes]) -> None:
    path.write_bytes(content)
    assert _read(path) == expected


@pytest.mark.parametrize("name", [b"user.\xff", b"user.\xffa", b"user.m\xfc\xffller"])
def test_versions_up_to_2_4_escaped_nothing(path: Path, name: bytes) -> None:
    path.write_bytes(name + b"\t1 2\n")
    assert _read(path) == {name: b"1 2"}


@pytest.mark.parametrize(
    ("damage", "line", "expected"),
    [
        (b"user.b 3 4\n", 2, "KEY TAB VALUE"),
        (b"\n", 2, "KEY TAB VALUE"),
        (b"\t3 4\n", 2, "KEY TAB VALUE"),
        (b"user.b\t3\0 4\n", 2, "KEY TAB VALUE"),
        (bytes(512) + b"\t\n", 2, "KEY TAB VALUE"),
        (b"user.b\t3 4", 2, "a line break at the end of the last line"),
        (b"user.b\t3 4\nuser.b\t3 4\n", 3, "one line for a key"),
        (b"user.b\t3 4\nuser.b\t5 6\nuser.b\t7 8\n", 4, "one line for a key"),
    ],
)
def test_damage_costs_no_more_than_the_line(
    path: Path, damage: bytes, line: int, expected: str
) -> None:
    path.write_bytes(b"user.a\t1 2\n" + damage)
    problems: list[CyrusQuotaError] = []
    assert _read(path, problems) == {b"user.a": b"1 2"}
    (problem,) = problems
    assert isinstance(problem, DamagedDatabase)
    assert problem.place.line == line
    assert expected in str(problem)
    assert "remove the line" in str(problem)
    with pytest.raises(DamagedDatabase, match=expected):
        _read(path)


@pytest.mark.parametrize(
    "content",
    [b"\x7fELF" + bytes(range(256)) * 4, b"no tab\nat all\n", b"user.a\t1 2", bytes(4096)],
)
def test_a_file_without_one_sound_line_is_no_flat_database(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(DamagedDatabase):
        _read(path, [])


def test_many_bad_lines_make_a_file_unusable_at_once(path: Path) -> None:
    path.write_bytes(b"user.a\t1 2\n" + b"\n" * (1 << 24))
    problems: list[CyrusQuotaError] = []
    with pytest.raises(DamagedDatabase):
        _read(path, problems)
    assert problems == []


def test_a_file_without_magic_bytes_is_taken_for_flat(path: Path) -> None:
    path.write_bytes(b"user.a\t1 2\n")
    with cyrusdb.open(path) as db:
        assert db.snapshot() == cyrusdb.Snapshot("flat", 11, 1)


def _small(path: Path) -> dict[bytes, bytes]:
    state = {b"user.a": b"%(S (1 2))", b"user.b\t": b"1 2", b"user.\xff": b"\n"}
    writer = FlatWriter(path)
    writer.begin()
    for key, value in state.items():
        writer.set(key, value)
    writer.commit()
    assert _read(path) == state
    return state


def test_every_truncation_loses_no_more_than_what_was_cut_off(path: Path) -> None:
    state = _small(path)
    data = path.read_bytes()
    for size in range(1, len(data)):
        path.write_bytes(data[:size])
        problems: list[CyrusQuotaError] = []
        try:
            records = _read(path, problems)
        except DamagedDatabase:
            assert b"\n" not in data[:size]
            continue
        assert len(records) == data[:size].count(b"\n")
        assert records.items() <= state.items()
        assert bool(problems) == (not data[:size].endswith(b"\n"))


def test_a_flipped_bit_raises_nothing_undocumented_and_costs_at_most_two_lines(path: Path) -> None:
    """Without checksums there is no more to notice than what breaks the form of a line."""
    state = _small(path)
    data = path.read_bytes()
    for at in range(len(data)):
        for bit in range(8):
            flipped = bytearray(data)
            flipped[at] ^= 1 << bit
            path.write_bytes(flipped)
            records = _read(path, [])
            assert len(records.items() & state.items()) >= len(state) - 2


def test_changes_are_seen(path: Path) -> None:
    _small(path)
    with cyrusdb.open(path) as db:
        assert not db.has_changed()
        writer = FlatWriter(path)
        writer.begin()
        writer.set(b"user.c", b"1 2")
        writer.commit()
        assert db.has_changed()


def test_no_file_is_no_such_source(path: Path) -> None:
    with pytest.raises(NoSuchSource):
        _read(path)
