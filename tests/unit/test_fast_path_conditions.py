"""When a run is read the fast way, and each thing that leaves it to the plain reader."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from types import ModuleType
from typing import Callable, Mapping, Optional, Sequence
from zlib import crc32

import pytest

from cyrusquota import cyrusdb
from cyrusquota.cyrusdb import Selected, sorted_run
from cyrusquota.cyrusdb.skiplist import layout
from cyrusquota.cyrusdb.skiplist import scan as skiplist
from cyrusquota.cyrusdb.twom import scan as twom
from cyrusquota.cyrusdb.twom.xxh3 import checksum
from cyrusquota.cyrusdb.twoskip import scan as twoskip
from cyrusquota.errors import DamagedDatabase
from cyrusquota.strategies.writers import Writer
from cyrusquota.strategies.writers import twoskip as twoskip_writer
from cyrusquota.strategies.writers.skiplist import SkiplistWriter, record
from cyrusquota.strategies.writers.twom import TwomWriter
from cyrusquota.strategies.writers.twoskip import TwoskipWriter

MODULES: Mapping[str, ModuleType] = {"skiplist": skiplist, "twom": twom, "twoskip": twoskip}
WRITERS: Mapping[str, Callable[[Path], Writer]] = {
    "skiplist": SkiplistWriter,
    "twom": TwomWriter,
    "twoskip": TwoskipWriter,
}
#: Where the fields of each header stand (lib/cyrusdb_skiplist.c, cyrusdb_twom.c, _twoskip.c).
FIELDS: Mapping[str, Mapping[str, tuple[int, str]]] = {
    "skiplist": {
        "magic": (0, ">I"),
        "version": (20, ">I"),
        "max_level": (28, ">I"),
        "level": (32, ">I"),
        "run_end": (40, ">I"),
        "dummy": (48, ">I"),
        "dummy_key": (52, ">I"),
    },
    "twom": {
        "magic": (0, "<I"),
        "version": (32, "<I"),
        "flags": (36, "<I"),
        "records": (48, "<Q"),
        "run_end": (72, "<Q"),
        "end": (80, "<Q"),
        "checksum": (92, "<I"),
        "dummy": (96, "<B"),
        "dummy_level": (97, "<B"),
        "dummy_checksum": (360, "<I"),
    },
    "twoskip": {
        "magic": (0, ">I"),
        "version": (20, ">I"),
        "records": (32, ">Q"),
        "run_end": (40, ">Q"),
        "end": (48, ">Q"),
        "flags": (56, ">I"),
        "checksum": (60, ">I"),
        "dummy": (64, ">B"),
        "dummy_checksum": (328, ">I"),
    },
}
DIRTY, NO_CHECKSUMS, OTHER_CHECKSUMS = 1, 1 << 27, 1 << 29
STATE = {b"user.%03d" % number: b"%d 1" % number for number in range(40)}


def _everything(keys: Sequence[bytes], values: Sequence[bytes]) -> list[int]:
    return list(range(len(values)))


class Database:
    """A run of 40 records and a log with one more and one less, and the fields of its header."""

    def __init__(self, backend: str, directory: Path) -> None:
        self.backend = backend
        self.path = directory / "quotas.db"
        writer = WRITERS[backend](self.path)
        writer.begin()
        for key, value in STATE.items():
            writer.set(key, value)
        writer.commit()
        writer.repack()
        writer.begin()
        writer.set(b"user.zz", b"1 1")
        writer.delete(b"user.007")
        writer.commit()
        self.size = self.path.stat().st_size
        self.end = self.size if backend == "skiplist" else self["end"]

    def __getitem__(self, field: str) -> int:
        at, form = FIELDS[self.backend][field]
        (found,) = struct.unpack_from(form, self.path.read_bytes(), at)
        return int(found)

    def __setitem__(self, field: str, value: int) -> None:
        """Write a field, under checksums that fit unless that is the field."""
        at, form = FIELDS[self.backend][field]
        content = bytearray(self.path.read_bytes())
        struct.pack_into(form, content, at, value)
        if not field.endswith("checksum"):
            if self.backend == "twoskip":
                struct.pack_into(">I", content, 60, crc32(content[:60]))
                struct.pack_into(">I", content, 328, crc32(content[64:328]))
            elif self.backend == "twom":
                struct.pack_into("<I", content, 92, checksum(bytes(content[:92])))
                struct.pack_into("<I", content, 360, checksum(bytes(content[96:360])))
        self.path.write_bytes(content)

    def selected(self) -> Optional[Selected]:
        found: Optional[Selected] = MODULES[self.backend].select(self.path, _everything)
        return found


@pytest.fixture(params=list(MODULES))
def database(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Database:
    monkeypatch.setattr(sorted_run, "WORTH_IT", 0)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    return Database(request.param, tmp_path)


def test_a_sound_file_is_read_the_fast_way(database: Database) -> None:
    found = database.selected()
    assert found is not None
    state = {**STATE, b"user.zz": b"1 1"}
    del state[b"user.007"]
    assert (found.records, dict(found.kept)) == (40, state)


def test_a_file_is_worth_it_from_a_size_on(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    for size, is_worth_it in ((database.end, True), (database.end + 1, False)):
        monkeypatch.setattr(sorted_run, "WORTH_IT", size)
        assert (database.selected() is not None) == is_worth_it


def test_a_log_may_have_a_size(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    log = database.end - database["run_end"]
    assert log > 0
    for size, is_read in ((log, True), (log - 1, False)):
        monkeypatch.setattr(MODULES[database.backend], "_LARGEST_LOG", size)
        assert (database.selected() is not None) == is_read


@pytest.mark.parametrize(
    ("database", "field", "step"),
    [
        (backend, field, step)
        for backend, fields in FIELDS.items()
        for field in fields
        for step in (-1, 1, 4, 8)
        # Any level up to the largest one is possible, and of a dummy only the size matters.
        if field != "flags"
        and (field, step) != ("level", -1)
        and (backend, field) != ("twoskip", "dummy_checksum")
    ],
    indirect=["database"],
)
def test_a_header_with_one_wrong_field_is_left_to_the_plain_reader(
    database: Database, field: str, step: int
) -> None:
    true = database["max_level" if field == "level" else field]
    size = struct.calcsize(FIELDS[database.backend][field][1])
    database[field] = (true + step) % (1 << 8 * size)
    assert database.selected() is None


def test_a_skiplist_may_have_as_many_levels_as_there_can_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sorted_run, "WORTH_IT", 0)
    database = Database("skiplist", tmp_path)
    assert database["level"] < database["max_level"]
    database["level"] = database["max_level"]
    assert database.selected() is not None


def test_a_skiplist_that_adds_a_key_it_has_is_left_to_the_plain_reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cyrus deletes a record of the run before it adds the key again."""
    monkeypatch.setattr(sorted_run, "WORTH_IT", 0)
    writer = SkiplistWriter(tmp_path / "quotas.db")
    for keys in ([b"user.a", b"user.b"], [b"user.c"]):
        writer.begin()
        for key in keys:
            writer.set(key, b"1 1")
        writer.commit()
        if len(keys) > 1:
            writer.repack()
    assert skiplist.select(writer.path, _everything) == Selected(
        3, [(b"user.a", b"1 1"), (b"user.b", b"1 1"), (b"user.c", b"1 1")]
    )
    writer.path.write_bytes(writer.path.read_bytes().replace(b"user.c", b"user.a"))
    assert skiplist.select(writer.path, _everything) is None


def _run_of(backend: str, path: Path, state: Mapping[bytes, bytes]) -> None:
    writer = WRITERS[backend](path)
    writer.begin()
    for key, value in state.items():
        writer.set(key, value)
    writer.commit()
    writer.repack()


@pytest.mark.parametrize("backend", MODULES)
@pytest.mark.parametrize(
    ("key", "value"),
    [
        (b"user.k%l", b"%(S (1 1))"),
        (b"user.k", b"%(S (1 1))\0"),
        (b"user.k\0%(x)", b""),
        (b"user.kkkkkk\0", b""),
        (b"user.k", b""),
        (b"user.k", b"1 1"),
        (b"user.k", b"%(S (1 1))" * 30),
        (b"user." + b"k" * 300, b"%(S (1 1))"),
        (b"user.k" + b"\xff" * 4, b"\xff" * 4 + b"%)"),
    ],
)
def test_a_record_that_is_not_like_the_others_is_read_as_it_is(
    backend: str, key: bytes, value: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sorted_run, "WORTH_IT", 0)
    usual = {b"user.%c" % letter: b"%(S (1 1))" for letter in b"abcdefxyz"}
    _run_of(backend, tmp_path / "quotas.db", {**usual, key: value})
    found = MODULES[backend].select(tmp_path / "quotas.db", _everything)
    assert found is not None
    assert dict(found.kept) == {**usual, key: value}


@pytest.mark.parametrize("extra", [0, 4])
@pytest.mark.parametrize("backend", ["twom", "twoskip"])
def test_records_that_start_where_none_can_are_left_to_the_plain_reader(
    backend: str, extra: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two paddings that are too long, under checksums that fit."""
    monkeypatch.setattr(sorted_run, "WORTH_IT", 0)
    padded, signed = twoskip_writer._tail_bytes, TwomWriter._signed
    longer = {b"user.b": bytes(extra), b"user.d": bytes(extra)}
    monkeypatch.setattr(
        twoskip_writer,
        "_tail_bytes",
        lambda key, value: padded(key, value) + longer.get(key, b""),
    )
    monkeypatch.setattr(
        TwomWriter,
        "_signed",
        lambda self, head, tail: signed(self, head, tail + longer.get(tail[:6], b"")),
    )
    state = {b"user.%c" % letter: b"%(S (123456 1))" for letter in b"abcdefxyz"}
    _run_of(backend, tmp_path / "quotas.db", state)
    found = MODULES[backend].select(tmp_path / "quotas.db", _everything)
    assert (found is None) == bool(extra)


def _skiplist(path: Path, pointers: list[int]) -> None:
    """Write a run of three records, of which the second has an empty value."""
    value = b"%(S (1 1))"
    body = record(layout.DUMMY, b"", b"", [0] * layout.MAX_LEVEL)
    for key, data, linked in ((b"a", value, [0]), (b"b", b"", pointers), (b"c", value, [0])):
        body += record(layout.INORDER, b"user." + key, data, linked)
    version = layout.VERSION, layout.MINOR_VERSION, layout.MAX_LEVEL
    end = layout.HEADER.size + len(body)
    path.write_bytes(layout.HEADER.pack(layout.MAGIC, *version, 4, 3, end, 1) + body)


def test_pointers_that_look_like_a_value_are_left_to_the_plain_reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sorted_run, "WORTH_IT", 0)
    path = tmp_path / "quotas.db"
    _skiplist(path, [8, 8, 8, 0])
    found = skiplist.select(path, _everything)
    assert found is not None
    assert dict(found.kept)[b"user.b"] == b""
    # The length 8 and `%(((((()`; but the last of these is no multiple of 4.
    _skiplist(path, [8, *struct.unpack(">II", b"%(((((()"), 0])
    assert skiplist.select(path, _everything) is None


def test_a_file_that_ends_before_it_should_is_left_to_the_plain_reader(database: Database) -> None:
    os.truncate(database.path, database.end - 8)
    assert database.selected() is None


@pytest.mark.parametrize("flags", [NO_CHECKSUMS, OTHER_CHECKSUMS])
def test_a_twom_file_with_other_checksums_is_left_to_the_plain_reader(
    flags: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sorted_run, "WORTH_IT", 0)
    database = Database("twom", tmp_path)
    database["flags"] = flags
    assert database.selected() is None


#: Where the offset stands in a deletion, and its checksum (lib/cyrusdb_twoskip.c, _twom.c).
DELETIONS: Mapping[str, tuple[str, str, Callable[[bytes], int]]] = {
    "twoskip": (">Q", ">I", crc32),
    "twom": ("<Q", "<I", checksum),
}


@pytest.mark.parametrize("offset", [1 << 62, (1 << 63) - 8, 1 << 63, (1 << 64) - 8])
@pytest.mark.parametrize("backend", DELETIONS)
def test_a_deletion_that_names_an_offset_beyond_all_files_is_damage(
    backend: str, offset: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sorted_run, "WORTH_IT", 0)
    database = Database(backend, tmp_path)
    whole, half, checksum_of = DELETIONS[backend]
    content = bytearray(database.path.read_bytes())
    # The log ends with the deletion and the commit.
    size = 24
    at = database["end"] - 2 * size
    pointer = at + 8
    assert struct.unpack_from(whole, content, pointer)[0] < len(content)
    struct.pack_into(whole, content, pointer, offset)
    struct.pack_into(half, content, at + 16, checksum_of(bytes(content[at : at + 16])))
    database.path.write_bytes(content)
    assert database.selected() is None
    with pytest.raises(DamagedDatabase):
        cyrusdb.select(database.path, _everything)


def test_a_writer_at_work_leaves_the_number_of_records_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sorted_run, "WORTH_IT", 0)
    database = Database("twoskip", tmp_path)
    database["flags"] = DIRTY
    database["records"] = 1
    found = database.selected()
    assert found is not None
    assert found.records == 40


def test_an_empty_run_is_left_to_the_plain_reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sorted_run, "WORTH_IT", 0)
    writer = TwoskipWriter(tmp_path / "quotas.db")
    writer.begin()
    writer.set(b"user.a", b"1 1")
    writer.commit()
    assert twoskip.select(writer.path, _everything) is None
