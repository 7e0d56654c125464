"""Headers that a follower catches while they are being rewritten."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Callable, Iterator
from unittest import mock

import pytest

from cyrusquota import cyrusdb
from cyrusquota.cyrusdb import tail
from cyrusquota.cyrusdb.tail import Lost, Tail
from cyrusquota.strategies.writers import WRITERS, Writer

V1, V2 = b"%(S (1 1))", b"%(S (2 1))"
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
def followed(writer: Writer) -> Iterator[Tail]:
    with tail.opened(writer.path) as found, cyrusdb.open(writer.path) as db:
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
    backend: str, writer: Writer, followed: Tail
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
    backend: str, writer: Writer, followed: Tail
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
    backend: str, writer: Writer, followed: Tail
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
        with pytest.raises(Lost, match="settle"):
            for _ in range(100):
                followed.changes()
