"""Headers that a follower catches while they are being rewritten."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Callable, Iterator
from unittest import mock
from zlib import crc32

import pytest

from cyrusquota import cyrusdb
from cyrusquota.cyrusdb import follow
from cyrusquota.cyrusdb.follow import Followed, NeedsRescan
from cyrusquota.cyrusdb.twom.xxh3 import checksum
from cyrusquota.strategies.writers import WRITERS, Writer
from cyrusquota.strategies.writers.twom import NULL, TwomWriter

V1, V2, V3 = b"%(S (1 1))", b"%(S (2 1))", b"%(S (3 1))"
#: Where the committed size stands in the header of each format (lib/cyrusdb_twoskip.c, twom.c).
SIZE = {"twoskip": (48, ">Q"), "twom": (80, "<Q")}


@pytest.fixture(params=list(SIZE))
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def writer(backend: str, tmp_path: Path) -> Writer:
    made = WRITERS[backend](tmp_path / "quotas.db")
    made.begin()
    made.set(b"user.a", V1)
    made.commit()
    return made


@pytest.fixture
def followed(writer: Writer) -> Iterator[Followed]:
    with follow.open(writer.path) as found, cyrusdb.open(writer.path) as db:
        found.begin(db.snapshot())
        yield found


def _torn(backend: str, writer: Writer) -> tuple[bytes, bytes]:
    """A file whose header names a new size under the old checksum, and the one after the commit."""
    before = writer.path.read_bytes()
    writer.begin()
    writer.set(b"user.a", V2)
    writer.commit()
    after = writer.path.read_bytes()
    at, form = SIZE[backend]
    assert struct.unpack_from(form, before, at) < struct.unpack_from(form, after, at)
    head = before[:at] + after[at : at + 8] + before[at + 8 : 96]
    return head + after[96:], after


def _after_pauses(count: int, do: Callable[[], object]) -> Callable[[float], None]:
    """A sleep that lasts no time, and does something in the `count`th pause."""
    pauses = iter(range(1, 1 << 20))

    def sleep(seconds: float) -> None:
        if seconds > 0 and next(pauses) == count:
            do()

    return sleep


def test_a_header_that_is_right_a_moment_later_is_read_again(
    backend: str, writer: Writer, followed: Followed
) -> None:
    torn, after = _torn(backend, writer)
    for count in (1, 2):
        writer.path.write_bytes(torn)
        heal = _after_pauses(count, lambda: writer.path.write_bytes(after))
        with mock.patch("time.sleep", heal):
            found = followed.changes().by_key
        # It was all read the first time.
        assert found == ({b"user.a": V2} if count == 1 else {})


def test_what_a_header_under_a_wrong_checksum_names_is_not_read(
    backend: str, writer: Writer, followed: Followed
) -> None:
    torn, after = _torn(backend, writer)
    writer.path.write_bytes(torn)
    with mock.patch("time.sleep"):
        for _ in range(3):
            found = followed.changes()
            assert (found.by_key, found.records) == ({}, None)
    writer.path.write_bytes(after)
    assert followed.changes().by_key == {b"user.a": V2}


def test_a_header_that_never_settles_is_damage_in_the_end(
    backend: str, writer: Writer, followed: Followed
) -> None:
    torn, after = _torn(backend, writer)
    with mock.patch("time.sleep"):
        for _ in range(3):
            # A right one in between starts the count again.
            writer.path.write_bytes(torn)
            for _ in range(15):
                followed.changes()
            writer.path.write_bytes(after)
            followed.changes()
        writer.path.write_bytes(torn)
        with pytest.raises(NeedsRescan, match="settle"):
            for _ in range(100):
                followed.changes()


#: Where else something stands: the magic, the version, the generation.
OTHERS = {
    "twoskip": {"magic": (0, ">I"), "version": (20, ">I"), "generation": (24, ">Q")},
    "twom": {"magic": (0, "<I"), "version": (32, "<I"), "generation": (40, "<Q")},
}


def _resealed(backend: str, content: bytes) -> bytes:
    if backend == "twoskip":
        return content[:60] + struct.pack(">I", crc32(content[:60])) + content[64:]
    return content[:92] + struct.pack("<I", checksum(content[:92])) + content[96:]


@pytest.mark.parametrize("field", ["magic", "version", "generation"])
def test_a_header_of_another_file_is_lost(
    field: str, backend: str, writer: Writer, followed: Followed
) -> None:
    content = bytearray(writer.path.read_bytes())
    at, form = OTHERS[backend][field]
    (true,) = struct.unpack_from(form, content, at)
    struct.pack_into(form, content, at, true + 1)
    writer.path.write_bytes(_resealed(backend, bytes(content)))
    with pytest.raises(NeedsRescan):
        followed.changes()


def test_what_was_committed_after_a_repack_goes_before_what_was_before(
    writer: Writer, followed: Followed
) -> None:
    for value in (V2, V3):
        writer.begin()
        writer.set(b"user.a", value)
        writer.commit()
        if value == V2:
            writer.repack()
    assert followed.changes().by_key == {b"user.a": V3}


def test_the_number_of_records_is_not_known_while_a_writer_is_at_work(tmp_path: Path) -> None:
    """A replaced record is counted off before the header says that it is dirty."""
    writer = WRITERS["twoskip"](tmp_path / "quotas.db")
    writer.begin()
    writer.set(b"user.a", V1)
    writer.commit()
    with follow.open(writer.path) as found, cyrusdb.open(writer.path) as db:
        found.begin(db.snapshot())
        assert found.changes().records == 1
        content = bytearray(writer.path.read_bytes())
        struct.pack_into(">I", content, 56, 1)
        writer.path.write_bytes(_resealed("twoskip", bytes(content)))
        assert found.changes().records is None


def test_a_header_without_a_checksum_has_to_be_the_same_twice(tmp_path: Path) -> None:
    writer = TwomWriter(tmp_path / "quotas.db", checksums=NULL)
    writer.begin()
    writer.set(b"user.a", V1)
    writer.commit()
    with follow.open(writer.path) as found, cyrusdb.open(writer.path) as db:
        found.begin(db.snapshot())
        before = writer.path.read_bytes()
        torn, after = _torn("twom", writer)
        contents = iter([torn, before[:96] + after[96:]])
        pread = os.pread

        def change(descriptor: int, size: int, offset: int) -> bytes:
            content = next(contents, None) if offset == 0 else None
            if content is not None:
                writer.path.write_bytes(content)
            return pread(descriptor, size, offset)

        with mock.patch("os.pread", change):
            assert found.changes().by_key == {}
        writer.path.write_bytes(after)
        assert found.changes().by_key == {b"user.a": V2}
