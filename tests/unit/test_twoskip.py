"""twoskip files that Cyrus 3.6.1 wrote, whole, at every stage of a history, and damaged."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Callable, Optional

import pytest

from cyrusquota import cyrusdb
from cyrusquota.cyrusdb import Snapshot
from cyrusquota.errors import BadValue, CyrusQuotaError, DamagedDatabase
from cyrusquota.site import source
from cyrusquota.strategies.writers.twoskip import TwoskipWriter
from tests.damaged_databases import is_noticed, resealed, with_header
from tests.recorded_fixtures import FIXTURES, TWOSKIP, jsonl, latin1, main_roots, stages

CRASH = FIXTURES / "crash" / "twoskip"
TORN = FIXTURES / "torn" / "twoskip"
EDGE = FIXTURES / "edge" / "twoskip-mboxsort"


def clean_state() -> dict[bytes, bytes]:
    return latin1(json.loads((CRASH / "clean-state.json").read_text("utf-8")))


def state(path: Path) -> dict[bytes, bytes]:
    """The records of a database in which nothing may be amiss."""
    with cyrusdb.open(path) as db:
        records = list(db)
    assert len(dict(records)) == len(records)
    return dict(records)


def damaged(path: Path) -> tuple[dict[bytes, bytes], list[CyrusQuotaError]]:
    problems: list[CyrusQuotaError] = []
    with cyrusdb.open(path, on_problem=problems.append) as db:
        return dict(db), problems


def test_the_recorded_database_has_the_expected_roots() -> None:
    found = list(source.read(TWOSKIP / "quotas.db"))
    assert len(found) == 57
    assert {root.name: root for root in found} == {
        name: root.root for name, root in main_roots().items()
    }


@pytest.mark.parametrize(
    ("path", "expected"), [pytest.param(*stage, id=stage[0].stem) for stage in stages()]
)
def test_every_stage_of_a_history_is_read_as_committed(
    path: Path, expected: dict[bytes, bytes]
) -> None:
    assert state(path) == expected


@pytest.mark.parametrize("stage", jsonl(FIXTURES / "history" / "twoskip" / "stages.jsonl"))
def test_a_snapshot_tells_size_records_and_generation(stage: dict[str, int]) -> None:
    with cyrusdb.open(FIXTURES / "history" / "twoskip" / str(stage["file"])) as db:
        assert db.snapshot() == Snapshot(
            "twoskip", stage["current_size"], stage["num_records"], stage["generation"]
        )


def test_a_database_in_mailbox_order() -> None:
    expected = latin1(json.loads((EDGE / "quotas.db.json").read_text("utf-8")))
    assert state(EDGE / "quotas.db") == expected
    assert len(expected) == 7


@pytest.mark.parametrize(
    "name",
    [
        "clean.db",
        "killed-writer.db",
        "garbage-appended.db",
        "zeros-appended.db",
        "bad-tail-crc-superseded.db",
    ],
)
def test_what_harms_no_live_record_is_no_problem(name: str) -> None:
    assert state(CRASH / name) == clean_state()


def test_a_file_of_no_bytes_is_empty() -> None:
    assert state(CRASH / "zero-bytes.db") == {}


@pytest.mark.parametrize(
    "name", ["short-header.db", "bad-header-crc.db", "cut-4.db", "cut-40.db", "cut-half.db"]
)
def test_a_file_that_cannot_be_proved_right_is_damaged(name: str) -> None:
    with pytest.raises(DamagedDatabase, match=f"{name}, offset [0-9]+: .*db.backup1"):
        damaged(CRASH / name)


def test_a_damaged_record_is_left_out_and_all_others_are_read() -> None:
    records, problems = damaged(CRASH / "bad-tail-crc-live.db")
    expected = clean_state()
    del expected[b"user.u05"]
    assert records == expected
    assert [type(problem) for problem in problems] == [DamagedDatabase]
    assert "quota root 'user.u05'" in str(problems[0])


def test_a_damaged_record_raises_unless_told_otherwise() -> None:
    with pytest.raises(DamagedDatabase, match=r"user\.u05"):
        state(CRASH / "bad-tail-crc-live.db")


def test_values_that_cyrus_calls_bad_are_reported_by_name() -> None:
    problems: list[CyrusQuotaError] = []
    path = FIXTURES / "badvalues" / "twoskip" / "quotas.db"
    found = {root.name: root for root in source.read(path, on_problem=problems.append)}
    assert sorted(found) == ["user.good", "user.trunc"]
    assert found["user.good"].storage.is_over()
    assert found["user.trunc"].storage.limit is None
    keys = [problem.place.key for problem in problems if isinstance(problem, BadValue)]
    assert keys == [b"user.bad", b"user.bad2", b"user.bad3", b"user.trunc"]
    assert len(problems) == 4


def test_a_database_knows_when_its_file_was_replaced(tmp_path: Path) -> None:
    path = tmp_path / "quotas.db"
    shutil.copy(FIXTURES / "history" / "twoskip" / "01-first5.db", path)
    with cyrusdb.open(path) as db:
        assert not db.has_changed()
        shutil.copy(FIXTURES / "history" / "twoskip" / "02-update-b.db", tmp_path / "quotas.db.NEW")
        (tmp_path / "quotas.db.NEW").rename(path)
        assert db.has_changed()
        path.unlink()
        assert db.has_changed()
        assert len(list(db)) == 5


def test_reading_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "quotas.db"
    shutil.copy(CRASH / "killed-writer.db", path)
    before = path.read_bytes(), path.stat().st_mtime_ns
    assert state(path) == clean_state()
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before
    assert list(tmp_path.iterdir()) == [path]


# Files of an independent writer


@pytest.fixture
def written(tmp_path: Path) -> Callable[[bytes], Path]:
    def write(content: bytes) -> Path:
        path = tmp_path / "quotas.db"
        path.write_bytes(content)
        return path

    return write


def two(path: Path) -> TwoskipWriter:
    """A writer of two records, the first of them at offset 336."""
    writer = TwoskipWriter(path, fillers=True)
    writer.begin()
    writer.set(b"user.a", b"1 1")
    writer.set(b"user.b", b"2 1")
    writer.commit()
    return writer


@pytest.fixture
def content(tmp_path: Path) -> bytes:
    """The file of that writer."""
    return two(tmp_path / "two.db").path.read_bytes()


def test_the_writer_used_here_begins_as_cyrus_does(tmp_path: Path) -> None:
    empty = TwoskipWriter(tmp_path / "quotas.db").path.read_bytes()
    recorded = (FIXTURES / "history" / "twoskip" / "00-empty.db").read_bytes()
    assert (len(empty), empty) == (336, recorded)


@pytest.mark.parametrize("length", [0xFFFE, 0xFFFF, 0x10000, 70_000])
def test_long_keys_and_values(length: int, tmp_path: Path) -> None:
    writer = two(tmp_path / "quotas.db")
    writer.begin()
    writer.set(b"k" * length, b"v" * 70_000)
    writer.commit()
    expected = {b"user.a": b"1 1", b"user.b": b"2 1", b"k" * length: b"v" * 70_000}
    assert state(writer.path) == expected


def test_a_key_may_be_empty(tmp_path: Path) -> None:
    writer = two(tmp_path / "quotas.db")
    for value in (b"", b"3 1"):
        writer.begin()
        writer.set(b"", value)
        writer.commit()
        assert state(writer.path) == {b"user.a": b"1 1", b"user.b": b"2 1", b"": value}
    writer.begin()
    writer.delete(b"")
    writer.commit()
    assert state(writer.path) == {b"user.a": b"1 1", b"user.b": b"2 1"}


def test_fillers_between_records_are_skipped(tmp_path: Path) -> None:
    writer = two(tmp_path / "quotas.db")
    for number in range(20):
        writer.begin()
        writer.set(b"user.c", b"%d 1" % number)
        writer.commit()
    writer.begin()
    writer.delete(b"user.a")
    writer.commit()
    assert writer.path.read_bytes().count(b" BLANK\x07\xa0") == 2
    assert state(writer.path) == {b"user.b": b"2 1", b"user.c": b"19 1"}


@pytest.mark.parametrize("change", ["update", "insert", "delete"])
def test_a_copy_made_while_cyrus_writes_reads_as_the_last_committed_state(
    change: str, tmp_path: Path
) -> None:
    before = (TORN / "before.db").read_bytes()
    after = (TORN / f"{change}.db").read_bytes()
    expected, path = state(TORN / "before.db"), tmp_path / "quotas.db"
    assert len(expected) == 5
    torn = [before[:cut] + after[cut:] for cut in range(64, len(before) + 1)]
    assert sum(one[: len(before)] not in (before, after) for one in torn) > 100
    for copy in torn:
        path.write_bytes(copy)
        assert state(path) == expected


def test_a_head_that_no_checksum_proves_hands_nothing_out(tmp_path: Path) -> None:
    """The lengths, the level and the type of each record, changed under a torn head."""
    content = (TORN / "before.db").read_bytes()
    expected, path = state(TORN / "before.db"), tmp_path / "quotas.db"
    heads = [at for at in range(336, len(content), 8) if content[at : at + 1] in b"+-$"]
    assert len(heads) > 5
    for head in heads:
        for at in range(head, head + 8):
            for bit in range(8):
                changed = bytearray(content)
                changed[at] ^= 1 << bit
                path.write_bytes(changed)
                assert is_noticed(path, "twoskip", expected) or state(path) == expected


def test_a_busy_writer_is_no_problem(tmp_path: Path) -> None:
    writer = two(tmp_path / "quotas.db")
    committed = writer.current_size
    writer.begin()
    writer.set(b"user.a", b"9 1")
    content = writer.path.read_bytes()
    assert len(content) > committed
    writer.path.write_bytes(with_header(content, flags=1, size=committed, records=2))
    assert state(writer.path) == {b"user.a": b"1 1", b"user.b": b"2 1"}


@pytest.mark.parametrize(
    ("version", "by", "size", "offset"),
    [
        (2, 0, None, 20),
        (1, 0, 0, 48),
        (1, 0, 63, 48),
        (1, 8, None, 48),
        (1, -4, None, 48),
        (1, 0, 1 << 63, 48),
    ],
)
def test_a_header_that_cannot_be_is_damage(
    version: int,
    by: int,
    size: Optional[int],
    offset: int,
    content: bytes,
    written: Callable[[bytes], Path],
) -> None:
    size = len(content) + by if size is None else size
    path = written(with_header(content, version=version, size=size))
    with pytest.raises(DamagedDatabase, match=f"offset {offset}: "):
        state(path)


def test_a_count_that_neither_log_nor_chain_bears_out_is_damage(
    content: bytes, written: Callable[[bytes], Path]
) -> None:
    # The pointers of the first record, all zero: the list ends at once.
    no_list = content[:72] + bytes(8 * 32) + content[72 + 8 * 32 :]
    with pytest.raises(DamagedDatabase):
        state(written(with_header(resealed(no_list, content), records=3)))


def test_a_count_that_is_merely_wrong_is_no_damage_to_any_record(
    content: bytes, written: Callable[[bytes], Path]
) -> None:
    assert state(written(with_header(content, records=3))) == {b"user.a": b"1 1", b"user.b": b"2 1"}


def test_a_name_in_an_error_does_not_break_its_line(tmp_path: Path) -> None:
    path = tmp_path / "quo\ntas.db"
    path.write_bytes(b"short")
    with pytest.raises(DamagedDatabase) as caught:
        cyrusdb.open(path, "twoskip")
    assert "\n" not in str(caught.value)
